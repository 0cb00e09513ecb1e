"""A comparison in progress: every method is fitted without the test, then all methods answer the test once.

Under a budget, methods are fitted in looks. A first look is short: one candidate, a few dev rows, a short training. A
longer look goes to every method that it could still change. The split, the looks and all choices on dev are on disk
before the first test row is answered.
"""

import math
import traceback
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from etude.assistant import TRAINING, Assistant, get_shared_models, load, with_engine
from etude.base.files import read_json, write_json, write_lines
from etude.base.formatting import format_rough_time
from etude.comparison.clock import (
    FIRST_LOOK_LIMIT,
    FIRST_LOOK_ROWS,
    FIRST_ROWS,
    FIRST_TRAINING,
    SEARCH_WEIGHT,
    TRAINING_SHARE,
    TUNED_WEIGHT,
    Clock,
)
from etude.comparison.handover import choose_handover
from etude.data.dataset import Dataset
from etude.data.preferences import group_by_side, read_preferences
from etude.data.splits import Split
from etude.errors import STOPPING_ERRORS, quote_value
from etude.evaluate import ScoredAnswer, build_sample, evaluate, get_unit, open_answer_log, parse_outcome
from etude.methods import FitContext, Method
from etude.methods.shared.fit_context import Effort, LookStopped, Race, Trial, order_rows
from etude.methods.shared.fitted_search import FACTS as SEARCH_FACTS
from etude.methods.shared.training_rows import fit_on_share, list_left_out, sample_share
from etude.metrics import Metric
from etude.models.registry import Models
from etude.runs import Run
from etude.runs.events import (
    BatchAnswered,
    Event,
    MethodEnded,
    MethodFailed,
    MethodStarted,
    NoteEvent,
    OnEvent,
    SampleAnswer,
    StepTrained,
)
from etude.runs.record import build_prediction, read_method_records, write_method_record
from etude.runs.training_log import TrainingLog
from etude.stats.intervals import estimate_known, estimate_sample
from etude.stats.ladder import choose
from etude.stats.racing import FIRST_BLOCK, find_beaten
from etude.stats.sample import UnitSums
from etude.task import Task
from etude.types import Preference, Side

BLOCK_ROWS, LARGE_BLOCK_ROWS = 50, 200
"""Test rows that a method answers before it is the next method's turn: under a budget, and without one."""
MIN_ROUND = 5
"""The last rows for which there is time are answered if they are at least so many."""
FIRST, WORK = "first", "work"
"""Folders of a method's unfinished work: that of its first look under a budget, and of its longer look."""
MIN_LOOK_SECONDS = 5.0
"""A longer look with less time could hardly change anything."""
# If at least this share of rows gets one label, it is reported as the same answer to all.
SAME_ANSWER_SHARE = 0.95


@dataclass
class LadderRun:
    """A comparison in progress: the state that all its methods share."""

    task: Task
    split: Split
    run: Run
    models: Models
    metric: Metric
    on_event: OnEvent
    methods: Sequence[Method]
    """Simplest first."""
    clock: Clock = field(default_factory=Clock)
    failures: dict[str, str] = field(default_factory=dict)
    """Method -> why it failed, in this attempt."""
    row_seconds: dict[str, float] = field(default_factory=dict)
    """Method -> seconds of a row, as the latest rows took."""
    on_result: Callable[[], object] = list
    """Called after each look."""

    def fit_quick(self, start: Assistant) -> None:
        """Fit the methods that take seconds."""
        for method in self.methods:
            if is_quick(method) and method.name not in self.run.fitted_methods:
                self._take_first_look(method, start)

    def fit_all(self, start: Assistant) -> dict[str, Assistant]:
        """Fit every method, simplest first, each on the best prompt so far. Returns method -> assistant."""
        if self.run.info.get("failures") and not self.failures:
            self.run.update(failures={})  # failed methods of an earlier attempt are tried again
        fitted: dict[str, Assistant] = {}
        for methods in self._group_methods():
            self._fit_group(methods, self.find_best(self._list_simpler(methods[0], fitted), start))
            self._load_fitted(methods, fitted)
        waiting = self._list_waiting()
        for number, method in enumerate(waiting):
            best = self.find_best(self._list_simpler(method, fitted), start)
            self._take_longer_look(method, waiting[number:], best)
            self._load_fitted([method], fitted)
        return {method.name: fitted[method.name] for method in self.methods if method.name in fitted}

    def _list_simpler(self, method: Method, fitted: Mapping[str, Assistant]) -> dict[str, Assistant]:
        names = [simpler.name for simpler in self.methods[: self.methods.index(method)]]
        return {name: fitted[name] for name in names if name in fitted}

    def _load_fitted(self, methods: Iterable[Method], fitted: dict[str, Assistant]) -> None:
        for method in methods:
            fitted.pop(method.name, None)
            if method.name not in self.failures and method.name in self.run.fitted_methods:
                # An earlier attempt may have saved it with limits, which are added only after the measurement.
                fitted[method.name] = load(self.run.assistant_folder(method.name)).without_limits()

    def _list_fitted(self) -> list[str]:
        return [name for name in self.run.fitted_methods if name not in self.failures]

    def _list_waiting(self) -> list[Method]:
        """List the methods whose result more time could change: cut in their first look, and not clearly worse than
        another one on dev. A resumed run keeps the list."""
        if self.clock.budget is None:
            return []
        if "longer_looks" not in self.run.info and not self.clock.is_stopped:
            records = read_method_records(self.run)
            names = [name for name in self._find_unbeaten(self._list_fitted()) if records[name]["is_cut"]]
            self.run.update(longer_looks=names)
        names = self.run.info.get("longer_looks", [])
        return [method for method in self.methods if method.name in names]

    def _take_first_look(self, method: Method, start: Assistant) -> None:
        """Fit a method in a short look; without a budget, to the end. Once the user has asked to end, nothing more is
        fitted if there is a method already."""
        name, to_come = method.name, self._order_looks()
        to_come = to_come[to_come.index(method) :]
        if self.clock.is_stopped and self.run.fitted_methods:
            return
        seconds = None if is_quick(method) else self.clock.share_first_looks(method, to_come)
        if seconds is not None and (needed := self._find_too_slow(method)):
            self._skip(name, needed)
            return
        effort, seconds = self._record_look(f"{name}/{FIRST}", self.clock.make_first_effort(seconds), seconds)
        try:
            with self.continue_without(name):
                self._fit(method, start, WORK if seconds is None else FIRST, effort, seconds)
        except LookStopped as stop:
            self._skip(name, stop.needed_seconds)

    def _find_too_slow(self, method: Method) -> float | None:
        """Return the seconds that a first look would take if there is no time for it, at the speed of the methods that
        ask the same model."""
        assert self.clock.budget is not None, "without a budget, every method has time"
        asking = {other.name for other in self.methods if other.asks_model}
        speeds = [self._get_row_seconds(name) for name in self._list_fitted() if name in asking]
        if not method.asks_model or not speeds:
            return None
        training = FIRST_TRAINING * self.clock.budget if method.tuned else 0.0
        needed = FIRST_BLOCK * max(speeds) + training
        return None if needed <= self.clock.seconds_for_first_looks else needed

    def _skip(self, name: str, needed_seconds: float | None) -> None:
        """Record that a method has no result, and the seconds that its first look needs, if known."""
        self.run.update(not_measured={**self.run.info.get("not_measured", {}), name: needed_seconds})
        time = f": a first look takes about {format_rough_time(needed_seconds)}" if needed_seconds else ""
        self.on_event(NoteEvent(f"{name} is not measured{time}."))

    def _record_look(self, key: str, effort: Effort, seconds: float | None) -> tuple[Effort, float | None]:
        """Write the effort and the seconds of a look to run.json; return those of an earlier attempt, if any."""
        looks = self.run.info.get("looks", {})
        if key not in looks:
            looks = {**looks, key: {"seconds": seconds, **asdict(effort)}}
            self.run.update(looks=looks)
        look = dict(looks[key])
        return Effort(**{name: look[name] for name in asdict(effort)}), look["seconds"]

    def _take_longer_look(self, method: Method, waiting: Sequence[Method], start: Assistant) -> None:
        """Fit a method again, with its share of the time that is left. It keeps its first look if there is no time."""
        name, record = method.name, read_method_records(self.run)[method.name]
        if record["look"] != FIRST or name in self.failures:
            return
        # Answers of a first look are always reused; its training only if it was whole.
        part = WORK if method.searches or record["full_seconds"] else FIRST
        seconds = self.clock.share_rest(
            method, waiting, self._is_search_waiting, self.estimate_test_seconds()
        )
        effort = self._make_longer_effort(method, record, seconds)
        effort, recorded = self._record_look(f"{name}/longer", effort, round(seconds, 1))
        if (recorded or 0.0) < MIN_LOOK_SECONDS or self.clock.is_stopped:
            return
        with suppress(LookStopped), self.continue_without(name):
            self._fit(method, start, part, effort, recorded, record["train_seconds"])

    @property
    def _is_search_waiting(self) -> bool:
        """Whether no method has fitted the search in a longer look."""
        names = [method.name for method in self.methods if method.searches]
        return not any((self.run.method_folder(name) / WORK / SEARCH_FACTS).exists() for name in names)

    def _make_longer_effort(self, method: Method, record: Mapping[str, Any], seconds: float) -> Effort:
        """Make the effort of a longer look. It ends by the clock; only trainings have a limit of their own, so that
        time for dev is left."""
        search_seconds = None
        if method.searches and self._is_search_waiting:
            weight = TUNED_WEIGHT if method.tuned else 1.0
            search_seconds = round(seconds * SEARCH_WEIGHT / (SEARCH_WEIGHT + weight), 1)
        if not method.tuned:
            return Effort(search_seconds=search_seconds)
        left = seconds - (search_seconds or 0.0)
        dev_seconds = 2 * FIRST_LOOK_ROWS * (record["row_seconds"] or 0.0)
        train_seconds = max(TRAINING_SHARE * left, left - dev_seconds)
        params = record["params"]
        speed = (params.get("trained_rows") or 0) / max(1.0, params.get("seconds") or 1.0)
        train_rows = max(FIRST_ROWS, round(speed * train_seconds))
        return Effort(None, None, round(train_seconds, 1), train_rows, search_seconds)

    def _order_looks(self) -> list[Method]:
        """Order the methods for their first looks: under a budget, those without a language model come first."""
        if self.clock.budget is None:
            return list(self.methods)
        return sorted(self.methods, key=lambda method: method.asks_model)

    @property
    def can_fit_together(self) -> bool:
        """Whether workers fit what does not build on each other. A budget counts the time of this machine, and services
        are asked from this process, so then they do not."""
        return self.models.workers.is_remote and not (self.clock.budget or self.task.endpoints)

    def copy_for_workers(self) -> "LadderRun":
        """Return a copy without test rows and loaded models, whose events are dropped."""
        sealed = replace(self.split, test=self.split.test.select([], "sealed"))
        copy = replace(
            self, split=sealed, models=Models(), on_event=_ignore_event, clock=Clock(), on_result=list
        )
        copy.preferences = self.preferences  # which rows are left out depends on the test
        return copy

    def start_on_worker(self) -> list[Event]:
        """Use the models of this process, and return the list to which events are appended."""
        events: list[Event] = []
        self.models, self.on_event = get_shared_models(), events.append
        return events

    def publish_results(self, events: Iterable[Event]) -> None:
        """Publish the events of a worker, without those of progress."""
        for event in events:
            if not isinstance(event, BatchAnswered | StepTrained):
                self.on_event(event)

    def _group_methods(self) -> list[list[Method]]:
        """Group neighbouring methods that are fitted at the same time, because none builds on another."""
        groups: list[list[Method]] = []
        for method in self._order_looks():
            if groups and self.can_fit_together and all(map(_stands_alone, (*groups[-1], method))):
                groups[-1].append(method)
            else:
                groups.append([method])
        return groups

    def _fit_group(self, methods: Sequence[Method], start: Assistant) -> None:
        waiting = []
        for method in methods:
            # Written last, so an earlier attempt has fitted the method.
            if (self.run.method_folder(method.name) / "method.json").exists():
                self.on_event(NoteEvent(f"{method.name}: already fitted", detail=True))
            elif method.name not in self.failures:
                waiting.append(method)
        if len(waiting) < 2:
            for method in waiting:
                self._take_first_look(method, start)
            return
        names = ", ".join(method.name for method in waiting)
        self.on_event(NoteEvent(f"Fitting at the same time: {names} ..."))
        positions = [self.methods.index(method) for method in waiting]
        outcomes = self.models.workers.map(_fit_on_worker, positions, self.copy_for_workers(), start)
        for method, (events, notes, error) in zip(waiting, outcomes, strict=True):
            self.publish_results(events)
            self.models.notes |= notes
            with self.continue_without(method.name):
                if error:
                    raise error

    @contextmanager
    def continue_without(self, name: str) -> Iterator[None]:
        """Record an error of one method in an event, run.json and `error.txt`, so that the run continues without it.

        Raises STOPPING_ERRORS, and the error of a method if all others have failed.
        """
        try:
            yield
        except (*STOPPING_ERRORS, LookStopped):
            raise
        except Exception as error:
            if len(self.failures) + 1 >= len(self.methods):
                raise
            self.failures[name] = (str(error) or type(error).__name__).split("\n")[0]
            folder = self.run.method_folder(name)
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "error.txt").write_text(traceback.format_exc(), encoding="utf-8")
            self.run.update(failures=self.failures)
            self.on_event(MethodFailed(name, self.failures[name]))
            self.models.clear()  # The method may have changed loaded weights, so they are loaded again.

    @cached_property
    def test_rows(self) -> Dataset:
        """The test rows in the seeded order in which they are answered."""
        test = self.split.test
        return test.select(order_rows(test, self.task.seed), "the test in the order in which it is answered")

    def _find_unbeaten(self, names: Sequence[str]) -> list[str]:
        """Find the methods that are not clearly worse than another one on the dev rows that all have answered."""
        names = self.find_in_race(names) if names else []
        samples = self.build_dev_samples(names)
        if len(names) < 2:
            return list(names)
        beaten = find_beaten([sample for _, sample in samples], self.task.margin)
        return [name for position, name in enumerate(names) if position not in beaten]

    def find_contenders(self, pair: Collection[str | None]) -> list[str]:
        """Return the methods that answer as many test rows as there is time for: the headline pair, all methods that
        are not clearly worse than another one on dev, and those that answer fast. If costs decide, these are all: a
        method that is right less often may cost less."""
        fitted = self._list_fitted()
        if not self.clock.is_limited or self.task.costs:
            return fitted
        unbeaten = self._find_unbeaten(fitted)
        return [name for name in fitted if name in unbeaten or name in pair or self.is_fast(name)]

    def _get_row_seconds(self, name: str) -> float:
        if name not in self.row_seconds:
            self.row_seconds[name] = float(read_method_records(self.run)[name].get("row_seconds") or 0.0)
        return self.row_seconds[name]

    def is_fast(self, name: str) -> bool:
        """Whether a method answers the whole test at once, because this takes little of the time."""
        return self.clock.is_fast(self._get_row_seconds(name), len(self.test_rows))

    def estimate_test_seconds(self) -> float:
        """Estimate the seconds of the whole test, for the methods that are not clearly worse on dev, at the speed that
        dev has shown."""
        names = self._find_unbeaten(self._list_fitted())
        return sum(map(self._get_row_seconds, names)) * len(self.test_rows)

    def count_expected_rows(self, contenders: Collection[str]) -> int:
        """Estimate how many test rows the contenders will answer in the time that is left."""
        total = len(self.split.test)
        slow = [name for name in contenders if not self.is_fast(name)]
        if not self.clock.is_limited or not slow:
            return total
        if num_rows := self._count_rows_answered_before(slow):
            return num_rows
        rows = self._count_rows_in_time(slow)
        return rows if rows == total else max(rows - rows % BLOCK_ROWS, min(total, rows, BLOCK_ROWS))

    def _count_rows_in_time(self, names: Iterable[str]) -> int:
        """Count the rows that these methods can answer until the deadline, at least those of a first block of dev."""
        seconds = sum(map(self._get_row_seconds, names))
        total = len(self.test_rows)
        rows = self.clock.seconds_left / seconds if seconds > 0 else math.inf
        return total if rows >= total else min(total, max(FIRST_BLOCK, int(rows)))

    def _count_rows_answered_before(self, names: Collection[str]) -> int:
        """Count the test rows that these methods answered when the test was last answered to its end; 0 if it was
        not."""
        answered = self.run.info.get("test_answered", {})
        return max((answered.get(name, 0) for name in names), default=0)

    def answer_test(self, fitted: Mapping[str, Assistant], contenders: Collection[str]) -> None:
        """Answer the test with every method, into predictions.jsonl.

        Fast methods answer all rows, and methods that are clearly worse on dev a few rows. Then the contenders take
        turns, one block each, while there is time, and after them the others. Only the clock limits the number of rows,
        never an answer.
        """
        scored: dict[str, list[ScoredAnswer]] = {name: [] for name in fitted}
        before = self.run.info.get("test_answered", {})
        for name, assistant in fitted.items():
            if self.is_fast(name):
                self._answer_block(name, assistant, len(self.test_rows), scored)
            elif name not in contenders:
                # A continued run keeps the number of rows, and with it the verdict.
                rows = self.clock.count_beaten_rows(self._get_row_seconds(name))
                self._answer_block(name, assistant, before.get(name, rows), scored)
        slow = [name for name in fitted if len(scored[name]) < len(self.test_rows)]
        leading = {name: fitted[name] for name in slow if name in contenders}
        self._take_turns(leading, scored, self._count_first_block(leading), is_sure=True)
        # If time is left, the figures of the others become surer.
        self._take_turns({name: fitted[name] for name in slow if name not in leading}, scored, BLOCK_ROWS)
        for name, assistant in fitted.items():
            if name not in self.failures:
                self._write_test(name, assistant, scored[name])
        answered = {name: len(rows) for name, rows in scored.items() if name not in self.failures}
        self.run.update(test_answered=answered)

    def _take_turns(
        self,
        assistants: Mapping[str, Assistant],
        scored: dict[str, list[ScoredAnswer]],
        end: int,
        *,
        is_sure: bool = False,
    ) -> None:
        """Answer the rows up to `end` and further blocks, all of the assistants in each round, while there is time. If
        `is_sure`, the first round is not asked for its time."""
        size, total = BLOCK_ROWS if self.clock.is_limited else LARGE_BLOCK_ROWS, len(self.test_rows)
        for round_end in [*range(end, total, size), total]:
            running = {
                name: assistant
                for name, assistant in assistants.items()
                if name not in self.failures and len(scored[name]) < min(round_end, total)
            }
            end = round_end if is_sure else self._limit_round(running, scored, round_end)
            is_sure = False
            for name, assistant in running.items():
                self._answer_block(name, assistant, end, scored)
            if end < round_end:
                break

    def _limit_round(
        self, assistants: Mapping[str, Assistant], scored: Mapping[str, Sequence[ScoredAnswer]], end: int
    ) -> int:
        """Return the row up to which there is time for all assistants; 0 if it is too little for a few more rows."""
        before = self.run.info.get("test_answered", {})
        if any(name in before for name in assistants):
            return min(end, *(int(before.get(name, 0)) for name in assistants))
        if all(self._has_answered(*item, len(scored[item[0]]), end) for item in assistants.items()):
            return end
        begin = max((len(scored[name]) for name in assistants), default=0)
        row_seconds = sum(map(self._get_row_seconds, assistants))
        num_rows = self.clock.seconds_left / row_seconds if row_seconds > 0 else math.inf
        if num_rows >= end - begin:
            return end
        return begin + int(num_rows) if num_rows >= MIN_ROUND else 0

    def _answer_block(
        self, name: str, assistant: Assistant, end: int, scored: dict[str, list[ScoredAnswer]]
    ) -> None:
        """Answer the test rows up to `end` that a method has not answered."""
        begin = len(scored[name])
        if end <= begin:
            return
        block, is_known = self._select_rows(begin, end), self._has_answered(name, assistant, begin, end)
        started = self.clock.now()
        with self.continue_without(name):
            scored[name] += self.answer_rows(assistant, block, name, self.work_folder(name))
        if not is_known:
            self.row_seconds[name] = (self.clock.now() - started) / max(1, len(block))

    def _count_first_block(self, names: Collection[str]) -> int:
        """Count the rows of the first block, which is shorter if time is short. A resumed run keeps the number, so that
        it reuses the answers."""
        if names and self.clock.is_limited and not self.run.info.get("first_block"):
            self.run.update(first_block=min(BLOCK_ROWS, self._count_rows_in_time(names)))
        return self.run.info.get("first_block") or LARGE_BLOCK_ROWS

    def _has_answered(self, name: str, assistant: Assistant, begin: int, end: int) -> bool:
        block = self._select_rows(begin, end)
        log = open_answer_log(self.work_folder(name), assistant, block)
        return log.num_requests == len(block) * assistant.samples

    def _select_rows(self, begin: int, end: int) -> Dataset:
        end = min(end, len(self.test_rows))
        return self.test_rows.select(range(begin, end), f"test rows {begin + 1:,} to {end:,}")

    def _write_test(self, name: str, assistant: Assistant, scored: Sequence[ScoredAnswer]) -> None:
        self._write_predictions(name, "test", scored)
        self._add_notes(name, describe_dropped_context(assistant, "test", scored))
        self.report_side(name, "test", scored, sum(row.answer.seconds for row in scored))

    def answer_rows(
        self, assistant: Assistant, rows: Dataset, title: str, work_folder: Path
    ) -> list[ScoredAnswer]:
        """Answer test rows, report progress under `title`, and release the weights. Resumes from the answer log."""
        self.start_event(title, "test")

        def report(answered: Sequence[ScoredAnswer], done: int, total: int, remaining: float) -> None:
            self.on_event(BatchAnswered(title, done, total, remaining))

        log = open_answer_log(work_folder, assistant, rows)
        scored = evaluate(assistant, self.models, rows, self.metric, log, report)
        self.release_weights(assistant)
        return scored

    @cached_property
    def preferences(self) -> Mapping[Side, Sequence[Preference]]:
        file = self.task.preferences
        return group_by_side(read_preferences(file, self.task.instructions), self.split) if file else {}

    def find_best(self, fitted: Mapping[str, Assistant], start: Assistant) -> Assistant:
        """Return the prompted assistant that is best on dev, for the next method to build on."""
        names = [method.name for method in self.methods if method.prompted and method.name in fitted]
        if not names:
            return start
        names = self.find_in_race(names)
        return fitted[names[choose(self.build_dev_samples(names), self.task.margin).index]].without_handover()

    def build_dev_samples(self, names: Iterable[str]) -> list[tuple[str, UnitSums]]:
        """Return each method's results on the dev rows that all of them answered, from predictions.jsonl."""
        lines = {
            name: {line["id"]: line for line in self.run.read_predictions(name) if line["side"] == "dev"}
            for name in names
        }
        ids = set.intersection(*(set(by_id) for by_id in lines.values())) if lines else set()
        outcomes = {
            name: [parse_outcome(line) for row, line in by_id.items() if row in ids]
            for name, by_id in lines.items()
        }
        return [(name, build_sample(self.metric, rows)) for name, rows in outcomes.items()]

    def find_in_race(self, names: Sequence[str]) -> list[str]:
        """Return the methods that were not dropped from a race on dev; all methods if every one was dropped."""
        records = read_method_records(self.run)
        return [name for name in names if not records[name].get("raced_out")] or list(names)

    def _start_race(self, method: str) -> Race:
        """The race of a method's candidates, against the other method that is best on dev so far."""
        fitted = [name for name in self.run.fitted_methods if name != method]
        names = self.find_in_race(fitted) if fitted else []
        samples = {name: sample for name in names for _, sample in self.build_dev_samples([name])}
        best = max(samples, key=lambda name: samples[name].value, default=None)
        lines = self.run.read_predictions(best) if best else []
        return Race(
            self.task.margin, {line["id"]: parse_outcome(line) for line in lines if line["side"] == "dev"}
        )

    def _fit(
        self,
        method: Method,
        start: Assistant,
        part: str,
        effort: Effort,
        seconds: float | None,
        first_seconds: float = 0.0,
    ) -> None:
        """Fit a method in a look of about `seconds` (None: no limit), in the folder `part`, and save its results.
        `first_seconds`: those of the training of its first look, if this is a longer one."""
        name, folder = method.name, self.run.method_folder(method.name)
        self.start_event(name, "dev")
        context, share = (
            self._make_context(method, part, effort, seconds, first_seconds),
            self.get_share(method),
        )
        context.left_out = list_left_out(self.split.train, share)
        assistant = fit_on_share(method, self.task, share, self.split.dev, start, context)
        assistant = with_engine(self.task.engine, assistant)
        if context.left_out and context.has_learned:
            context.notes.append(f"trained on {context.num_learned:,} of {len(self.split.train):,} rows")
        assistant, dev, handover_notes = choose_handover(
            assistant,
            self.task,
            self.split.train,
            context.chosen_scored,
            self.models,
            self.run.folder / TRAINING,
        )
        context.chosen_scored = dev
        if method.tuned and first_seconds and self._is_worse_than_first(name, dev):
            self._add_notes(name, [f"{name}: a longer training was worse on dev, so the first one is kept"])
            self.release_weights(assistant)
            return
        chosen = next(trial.name for trial in reversed(context.trials) if trial.is_chosen)
        context.scored_by_candidate[chosen] = dev
        assistant.save(folder / "assistant")
        self._write_predictions(name, "dev", dev)
        # tried.jsonl: the answers of all candidates to dev rows, including the chosen one.
        candidates = context.scored_by_candidate.items()
        lines = [
            {"candidate": key, **build_prediction("dev", row)} for key, rows in candidates for row in rows
        ]
        write_lines(folder / "tried.jsonl", lines)
        notes = list(describe_dropped_context(assistant, "dev", dev))
        if self.task.kind in ("classify", "extract"):
            notes += describe_same_answer(name, dev)
        context.notes += self._publish([*notes, *handover_notes])
        request = assistant.build_requests([self.split.dev[0].input], self.models)[0]
        prompt = self.models.get(assistant.model).render_text(request.messages)
        look = FIRST if effort.dev_rows else WORK
        write_method_record(self.run, method, assistant, context, prompt, look)
        self.row_seconds.pop(name, None)
        self.release_weights(assistant)
        self.report_side(name, "dev", dev, context.seconds)
        self.on_result()

    def _is_worse_than_first(self, name: str, rows: Sequence[ScoredAnswer]) -> bool:
        """Whether a method scores lower than in its first look, on the dev rows that both looks answered."""
        first = {
            line["id"]: parse_outcome(line)
            for line in self.run.read_predictions(name)
            if line["side"] == "dev"
        }
        shared = [row.outcome for row in rows if row.example.id in first]
        before = [first[row.example.id] for row in rows if row.example.id in first]
        samples = [build_sample(self.metric, outcomes) for outcomes in (shared, before)]
        return bool(shared) and samples[0].value < samples[1].value

    def get_share(self, method: Method) -> Dataset:
        """The training rows that a method gets: all, or as many as the task allows."""
        return sample_share(method, self.task, self.split.train)

    def _make_context(
        self, method: Method, part: str, effort: Effort, seconds: float | None, first_seconds: float
    ) -> FitContext:
        name, begin, clock = method.name, self.clock.now(), self.clock
        folder = self.run.method_folder(name)
        simpler = self.methods[: self.methods.index(method)]
        lower = [self.run.method_folder(other.name) / look for other in simpler for look in (WORK, FIRST)]
        log = TrainingLog(name, folder / "train.jsonl", self.on_event)
        limit = math.inf if seconds is None else max(seconds, FIRST_LOOK_LIMIT * (clock.budget or 0.0))

        def log_step(line: Mapping[str, Any]) -> None:
            log(line)
            if clock.is_stopped and clock.now() - begin < first_seconds:
                raise LookStopped  # the first look has trained for longer

        return FitContext(
            models=self.models,
            metric=self.metric,
            folder=folder / part,
            effort=effort,
            seed=self.task.seed,
            margin=self.task.margin,
            on_answers=partial(self.report_dev_rows, name),
            log=log_step,
            search_log=TrainingLog(name, folder / "search.jsonl", self.on_event),
            has_time_for=lambda more: (
                not clock.is_stopped and (seconds is None or clock.now() + more <= begin + seconds)
            ),
            is_overdue=lambda: clock.now() - begin > limit,
            is_stopped=lambda: clock.is_stopped,
            engine=self.task.engine,
            race=None if seconds is None else self._start_race(name),
            preferences=self.preferences if "preferences" in method.keys else {},
            # A longer look reuses the answers of the first one.
            lower_folders=[
                other for other in (*lower, folder / FIRST) if other.exists() and other != folder / part
            ],
        )

    def release_weights(self, assistant: Assistant) -> None:
        """Free the memory of adapted weights; the base model stays loaded."""
        if assistant.model.adapter is not None:
            self.models.remove(assistant.model)

    def _publish(self, notes: Iterable[str]) -> list[str]:
        texts = list(notes)
        for note in texts:
            self.on_event(NoteEvent(f"Note: {note}.", detail=True))
        return texts

    def _add_notes(self, name: str, notes: Iterable[str]) -> None:
        file = self.run.method_folder(name) / "method.json"
        record = read_json(file)
        if new := [note for note in self._publish(notes) if note not in record["notes"]]:
            write_json(file, {**record, "notes": [*record["notes"], *new]})

    def work_folder(self, name: str) -> Path:
        """Return the folder of a method's longest look."""
        folder = self.run.method_folder(name)
        return folder / (WORK if (folder / WORK).exists() else FIRST)

    def start_event(self, name: str, side: Side) -> None:
        """Report that a method starts on a side."""
        left = self.clock.seconds_left
        self.on_event(MethodStarted(name, side, left if math.isfinite(left) else None))

    def report_dev_rows(
        self, name: str, trial: Trial, rows: Sequence[ScoredAnswer], done: int, total: int, remaining: float
    ) -> None:
        """Report dev rows that a candidate has answered."""
        self.on_event(BatchAnswered(name, done, total, remaining, trial, _make_sample_answer(rows[-1:])))

    def report_side(self, name: str, side: Side, rows: Sequence[ScoredAnswer], seconds: float) -> None:
        """Report that a side is answered, with its numbers."""
        units = [get_unit(row.example) for row in rows]
        self.on_event(
            MethodEnded(
                method=name,
                side=side,
                estimate=estimate_sample(build_sample(self.metric, [row.outcome for row in rows])),
                keeps_contract=estimate_known([row.score.keeps_contract for row in rows], units),
                check=estimate_known([row.score.check for row in rows], units),
                seconds=seconds,
                # Never a test answer: showing one would unseal the test.
                sample=_make_sample_answer(rows[:1]) if side == "dev" else None,
                num_rows=len(rows),
                side_rows=len(self.split.dev if side == "dev" else self.split.test),
            )
        )

    def _write_predictions(self, name: str, side: Side, rows: Sequence[ScoredAnswer]) -> None:
        # Only this side's lines of predictions.jsonl are replaced.
        other_lines = [line for line in self.run.read_predictions(name) if line["side"] != side]
        lines = [build_prediction(side, row) for row in rows]
        write_lines(self.run.method_folder(name) / "predictions.jsonl", [*other_lines, *lines])


def is_quick(method: Method) -> bool:
    """Whether a method takes seconds, because it trains no weights and asks no language or decision model."""
    return not (method.tuned or method.asks_model or "decision_model" in method.keys)


def _stands_alone(method: Method) -> bool:
    """Whether a method neither builds on the methods before it nor is built on by those after it, apart from the
    prompt that all start from."""
    return not (method.prompted or method.same_rows_as or method.searches)


def _ignore_event(event: Event) -> None:
    """Drop an event."""


def _fit_on_worker(
    position: int, ladder_run: LadderRun, start: Assistant
) -> tuple[list[Event], dict[str, None], Exception | None]:
    """Fit the method at a position of the ladder in this process. Returns the events of its results, the notes of its
    models, and its error."""
    events, method, error = ladder_run.start_on_worker(), ladder_run.methods[position], None
    try:
        ladder_run._fit(method, start, WORK, Effort(), None)
    except STOPPING_ERRORS:
        raise
    except Exception as failure:  # noqa: BLE001 - as in `continue_without`, where it is raised again
        failure.add_note(traceback.format_exc())
        error = failure
        ladder_run.models.clear()
    return events, ladder_run.models.notes, error


def _make_sample_answer(rows: Sequence[ScoredAnswer]) -> SampleAnswer | None:
    return SampleAnswer(rows[0].answer.text, rows[0].score.value) if rows else None


def describe_dropped_context(assistant: Assistant, side: Side, rows: Sequence[ScoredAnswer]) -> Iterator[str]:
    """Yield notes on how many prompts lost examples or all passages, to fit the model's context."""
    dropped = [row.answer.shots_dropped for row in rows if row.answer.shots_dropped]
    of_rows = f"of {len(rows):,} {side} prompts, to fit the model's context"
    if dropped:
        examples = "1 example was" if max(dropped) == 1 else f"up to {max(dropped)} examples were"
        yield f"{assistant.method}: {examples} dropped from {len(dropped):,} {of_rows}"
    if assistant.search is not None and (num_bare := sum(not row.answer.citations for row in rows)):
        yield f"{assistant.method}: all passages were dropped from {num_bare:,} {of_rows}"


def describe_same_answer(method: str, rows: Sequence[ScoredAnswer]) -> Iterator[str]:
    """Yield a note if a method gives one answer to nearly all dev rows, and fewer rows have it."""
    if not rows:
        return
    outcomes = [row.outcome for row in rows]
    label, num_answered = Counter(outcome.predicted for outcome in outcomes).most_common(1)[0]
    num_expected = sum(outcome.expected == label for outcome in outcomes)
    if num_answered >= SAME_ANSWER_SHARE * len(rows) and num_answered > num_expected:
        yield (
            f"{method} answers {quote_value(label)} to {num_answered / len(rows):.0%} of {len(rows):,} dev rows, but "
            f"only {num_expected / len(rows):.0%} have that answer"
        )

"""A comparison in progress: every method is fitted without the test, then all methods answer the test once.

The split, the plan, the fits and all choices on dev are on disk before the first test row is answered.
"""

import traceback
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path

from etude.assistant import TRAINING, Assistant, get_shared_models, load, with_engine
from etude.base.files import read_json, write_json, write_lines
from etude.comparison.handover import choose_handover
from etude.comparison.plan import BLOCK_ROWS, Plan, Timekeeper
from etude.data.dataset import Dataset
from etude.data.preferences import group_by_side, read_preferences
from etude.data.splits import Split
from etude.errors import STOPPING_ERRORS, quote_value
from etude.evaluate import ScoredAnswer, build_sample, evaluate, get_unit, open_answer_log, parse_outcome
from etude.methods import FitContext, Method
from etude.methods.shared.fit_context import Effort, Race, Trial, order_rows
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
from etude.stats.racing import find_beaten
from etude.stats.sample import UnitSums
from etude.task import Task
from etude.types import Preference, Side

# An untuned method may take this many times its planned time to answer dev.
DEV_SLACK = 1.25
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
    plan: Plan
    on_event: OnEvent
    methods: Sequence[Method]
    """Simplest first."""
    timekeeper: Timekeeper | None = None
    """None without a budget."""
    failures: dict[str, str] = field(default_factory=dict)
    """Method -> why it failed, in this attempt."""

    def fit_all(self, start: Assistant) -> dict[str, Assistant]:
        """Fit every method, simplest first, each on the best prompt so far. Returns method -> assistant."""
        fitted: dict[str, Assistant] = {}
        if self.run.info.get("failures"):
            self.run.update(failures={})  # failed methods of an earlier attempt are tried again
        for methods in self._group_methods():
            self._fit_group(methods, self.find_best(fitted, start))
            for method in methods:
                if method.name in self.failures:
                    continue
                # An earlier attempt may have saved it with limits, which are added only after the measurement.
                fitted[method.name] = load(self.run.assistant_folder(method.name)).without_limits()
                self._note_speed(method.name)
        return fitted

    @property
    def can_fit_together(self) -> bool:
        """Whether workers fit what does not build on each other. A budget counts the time of this machine, and services
        are asked from this process, so then they do not."""
        return self.models.workers.is_remote and not (self.timekeeper or self.task.endpoints)

    def copy_for_workers(self) -> "LadderRun":
        """Return a copy without test rows and loaded models, whose events are dropped."""
        sealed = replace(self.split, test=self.split.test.select([], "sealed"))
        copy = replace(self, split=sealed, models=Models(), on_event=_ignore_event)
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
        for method in self.methods:
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
                self.on_event(NoteEvent(f"{method.name}: already fitted"))
            else:
                waiting.append(method)
        if len(waiting) < 2:
            for method in waiting:
                with self.continue_without(method.name):
                    self._fit(method, start, self.run.method_folder(method.name))
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
        except STOPPING_ERRORS:
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
        """The test rows; under a budget in the seeded order in which they are answered."""
        test = self.split.test
        if self.timekeeper is None:
            return test
        return test.select(order_rows(test, self.task.seed), "the test in the order in which it is answered")

    def is_cheap(self, name: str) -> bool:
        """Whether a method is never cut."""
        return self.timekeeper is None or name in self.timekeeper.allotment.cheap

    def find_contenders(self, pair: Collection[str | None]) -> list[str]:
        """Return the methods that answer as many test rows as there is time for: the headline pair, and all methods
        that are not clearly worse than another one on dev. If costs decide, these are all: a method that is right less
        often may cost less."""
        if self.timekeeper is None or self.task.costs:
            return [method.name for method in self.methods]
        names = self.find_in_race(self.run.fitted_methods)  # those that did not fail
        samples = self.build_dev_samples(names)
        beaten = find_beaten([sample for _, sample in samples], self.task.margin)
        rest = [name for position, name in enumerate(names) if position not in beaten]
        return [method.name for method in self.methods if method.name in rest or method.name in pair]

    def answers_whole_test(self, name: str) -> bool:
        """Whether a method answers all test rows first, because this takes little of the budget."""
        return self.timekeeper is None or self.timekeeper.measured.answers_whole_test(name)

    def count_expected_rows(self, contenders: Collection[str]) -> int:
        """Estimate how many test rows the contenders will answer in the time that is left."""
        total = len(self.split.test)
        if self.timekeeper is None:
            return total
        allotment = self.timekeeper.measured
        slow = [name for name in contenders if not self.answers_whole_test(name)]
        if num_rows := self._count_rows_answered_before(slow):
            return num_rows
        fast = [name for name in allotment.work.methods if allotment.answers_whole_test(name)]
        fast_seconds = allotment.work.count_test_seconds(fast, total)
        return self.timekeeper.count_test_rows(slow, fast_seconds)

    def _count_rows_answered_before(self, names: Collection[str]) -> int:
        """Count the test rows that these methods answered when the test was last answered to its end; 0 if it was
        not."""
        answered = self.run.info.get("test_answered", {})
        return max((answered.get(name, 0) for name in names), default=0)

    def answer_test(self, fitted: Mapping[str, Assistant], contenders: Collection[str]) -> None:
        """Answer the test with every method, into predictions.jsonl.

        Fast methods answer all rows, and methods that are clearly worse on dev a few rows. Then the others take turns,
        one block each, while there is time. Only the clock limits the number of rows, never an answer.
        """
        scored: dict[str, list[ScoredAnswer]] = {}
        racing: dict[str, Assistant] = {}
        for name, assistant in fitted.items():
            rows = self.test_rows
            if self.timekeeper and not self.is_cheap(name):
                if name not in contenders:
                    rows = self._select_rows(0, self.timekeeper.measured.count_beaten_rows(name))
                elif not self.answers_whole_test(name):
                    racing[name] = assistant
                    continue
            with self.continue_without(name):
                scored[name] = self.answer_rows(assistant, rows, name, self.work_folder(name))
                self._write_test(name, assistant, scored[name])
        begin, end, is_over = 0, self._count_first_block(racing), False
        # A continued run keeps the number of rows, and with it the verdict.
        num_before = self._count_rows_answered_before(racing)
        while racing and begin < len(self.test_rows) and not is_over:
            started, block = self._read_clock(), self._select_rows(begin, end)
            for name, assistant in list(racing.items()):
                with self.continue_without(name):
                    answers = self.answer_rows(assistant, block, name, self.work_folder(name))
                    scored[name] = [*scored.get(name, ()), *answers]
                if name in self.failures:
                    del racing[name]
            begin, end = end, end + BLOCK_ROWS
            # The next round takes about as long as this one; rows that an earlier attempt answered take no time.
            now = self._read_clock()
            is_late = self.timekeeper is not None and 2 * now - started > self.timekeeper.deadline
            is_late = is_late and not all(self._has_answered(*item, begin, end) for item in racing.items())
            is_over = begin >= num_before if num_before else is_late
        for name, assistant in racing.items():
            self._write_test(name, assistant, scored[name])
        answered = {name: len(rows) for name, rows in scored.items() if name not in self.failures}
        self.run.update(test_answered=answered)

    def _count_first_block(self, names: Collection[str]) -> int:
        """Count the rows of the first block, which is shorter if time is short. A resumed run keeps the number, so that
        it reuses the answers."""
        if names and self.timekeeper and not self.run.info.get("first_block"):
            self.run.update(first_block=min(BLOCK_ROWS, self.timekeeper.count_test_rows(names)))
        return self.run.info.get("first_block") or BLOCK_ROWS

    def _has_answered(self, name: str, assistant: Assistant, begin: int, end: int) -> bool:
        """Whether an earlier attempt has answered this block."""
        block = self._select_rows(begin, end)
        log = open_answer_log(self.work_folder(name), assistant, block)
        return log.num_requests == len(block) * assistant.samples

    def _select_rows(self, begin: int, end: int) -> Dataset:
        end = min(end, len(self.test_rows))
        return self.test_rows.select(range(begin, end), f"test rows {begin + 1:,} to {end:,}")

    def _read_clock(self) -> float:
        return self.timekeeper.clock() if self.timekeeper else 0.0

    def _write_test(self, name: str, assistant: Assistant, scored: Sequence[ScoredAnswer]) -> None:
        self._write_predictions(name, "test", scored)
        self._add_notes(name, describe_dropped_context(assistant, "test", scored))
        self.report_side(name, "test", scored, sum(row.answer.seconds for row in scored))

    @property
    def has_time_for_evidence(self) -> bool:
        """Whether `evidence: full` fits the budget."""
        return self.timekeeper is None or self.plan.evidence_seconds > 0

    def leave_out_evidence(self) -> None:
        """Leave out the learning curve and the extra training runs, to keep to the budget."""
        self.plan = replace(self.plan, evidence_seconds=0.0)
        self.run.update(plan={**self.run.info["plan"], "evidence_seconds": 0.0})

    def answer_rows(
        self, assistant: Assistant, rows: Dataset, title: str, work_folder: Path
    ) -> list[ScoredAnswer]:
        """Answer test rows, report progress under `title`, and release the weights. Resumes from the answer log."""
        self.on_event(MethodStarted(title, "test"))

        def report(answered: Sequence[ScoredAnswer], done: int, total: int, remaining: float) -> None:
            self.on_event(BatchAnswered(title, done, total, remaining))

        log = open_answer_log(work_folder, assistant, rows)
        scored = evaluate(assistant, self.models, rows, self.metric, log, report)
        self.release_weights(assistant)
        return scored

    @cached_property
    def preferences(self) -> Mapping[Side, Sequence[Preference]]:
        """The task's preferences by the side of their input."""
        file = self.task.preferences
        return group_by_side(read_preferences(file, self.task.instructions), self.split) if file else {}

    def _note_speed(self, name: str) -> None:
        dev = [line for line in self.run.read_predictions(name) if line["side"] == "dev"]
        if self.timekeeper:
            self.timekeeper.row_seconds[name] = sum(line["seconds"] for line in dev) / len(dev)
            if read_json(self.run.method_folder(name) / "method.json").get("raced_out"):
                self.timekeeper.beaten.add(name)

    def find_best(self, fitted: Mapping[str, Assistant], start: Assistant) -> Assistant:
        """Return the prompted assistant that is best on dev, for the next method to build on."""
        names = [method.name for method in self.methods if method.prompted and method.name in fitted]
        if not names:
            return start
        names = self.find_in_race(names)
        return fitted[names[choose(self.build_dev_samples(names)).index]].without_handover()

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

    def _start_race(self) -> Race:
        """The race of the next method's candidates, against the method that is best on dev so far."""
        names = self.find_in_race(self.run.fitted_methods) if self.run.fitted_methods else []
        samples = {name: sample for name in names for _, sample in self.build_dev_samples([name])}
        best = max(samples, key=lambda name: samples[name].value, default=None)
        lines = self.run.read_predictions(best) if best else []
        return Race(
            self.task.margin, {line["id"]: parse_outcome(line) for line in lines if line["side"] == "dev"}
        )

    def choose_effort(self, method: Method) -> Effort:
        """Choose what a method may use, by the time that is left when it starts. A resumed run keeps the choice."""
        efforts = self.run.info.get("efforts", {})
        if method.name in efforts:
            return Effort(**efforts[method.name])
        if self.timekeeper is None:
            return Effort()
        position = self.methods.index(method)
        to_come = [later.name for later in self.methods[position:]]
        chosen = {name: Effort(**effort) for name, effort in efforts.items()}
        effort = self.timekeeper.choose_effort(method.name, to_come, chosen)
        self.run.update(efforts={**efforts, method.name: asdict(effort)})
        return effort

    def _fit(self, method: Method, start: Assistant, folder: Path) -> None:
        name = method.name
        self.on_event(MethodStarted(name, "dev"))
        context, share = self._make_context(method, folder), self.get_share(method)
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
        if self.task.kind == "classify":
            notes += describe_same_answer(name, dev)
        context.notes += self._publish([*notes, *handover_notes])
        request = assistant.build_requests([self.split.dev[0].input], self.models)[0]
        prompt = self.models.get(assistant.model).render_text(request.messages)
        write_method_record(self.run, method, assistant, context, prompt)
        self.release_weights(assistant)
        self.report_side(name, "dev", dev, context.seconds)

    def get_share(self, method: Method) -> Dataset:
        """The training rows that a method gets: as many as its effort allows."""
        return sample_share(method, self.task, self.split.train, self.choose_effort(method).train_rows)

    def _make_context(self, method: Method, folder: Path) -> FitContext:
        name, plan, effort = method.name, self.plan, self.choose_effort(method)
        simpler = self.methods[: self.methods.index(method)]
        return FitContext(
            models=self.models,
            metric=self.metric,
            folder=self.work_folder(name),
            effort=effort,
            seed=self.task.seed,
            on_answers=partial(self.report_dev_rows, name),
            log=TrainingLog(
                name, folder / "train.jsonl", self.on_event, lambda: plan.training_seconds.get(name)
            ),
            search_log=TrainingLog(
                name, folder / "search.jsonl", self.on_event, lambda: plan.training_seconds.get("search")
            ),
            box_seconds=effort.box,
            has_time_for=self._limit_dev(method, effort),
            engine=self.task.engine,
            race=None if self.is_cheap(name) else self._start_race(),
            preferences=self.preferences if "preferences" in method.keys else {},
            lower_folders=[self.work_folder(lower.name) for lower in simpler],
        )

    def _limit_dev(self, method: Method, effort: Effort) -> Callable[[float], bool]:
        """Limit the dev rows of an untuned method to about its planned time, so that a plan that was too optimistic
        takes no time from the methods after it. The time of a training is limited by its box."""
        if self.timekeeper is None or method.tuned or self.is_cheap(method.name):
            return lambda seconds: True
        clock = self.timekeeper.clock
        planned = self.timekeeper.measured.work.count_fit_seconds(method.name, effort)
        end = clock() + DEV_SLACK * planned
        return lambda seconds: clock() + seconds <= end

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
        """Return the folder for a method's unfinished work."""
        return self.run.method_folder(name) / "work"

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
        ladder_run._fit(method, start, ladder_run.run.method_folder(method.name))
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
    """Yield a note if a classifier gives one label to nearly all dev rows, and fewer rows have it."""
    if not rows:
        return
    outcomes = [row.outcome for row in rows]
    label, num_answered = Counter(outcome.predicted for outcome in outcomes).most_common(1)[0]
    num_expected = sum(outcome.expected == label for outcome in outcomes)
    if num_answered >= SAME_ANSWER_SHARE * len(rows) and num_answered > num_expected:
        yield (
            f"{method} answers {quote_value(label)} to {num_answered / len(rows):.0%} of {len(rows):,} dev rows, but "
            f"only {num_expected / len(rows):.0%} have that label"
        )

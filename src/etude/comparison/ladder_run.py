"""A comparison in progress: the state that its looks at the methods and its sealed test share.

The split, the looks and all choices on dev are on disk before the first test row is answered.
"""

import math
import traceback
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

from etude.assistant import Assistant, get_shared_models
from etude.base.files import read_json, write_json, write_lines
from etude.comparison.clock import MIN_TEST_SHARE, TEST_SHARE, Clock
from etude.data.dataset import Dataset
from etude.data.preferences import group_by_side, read_preferences
from etude.data.splits import Split
from etude.errors import STOPPING_ERRORS
from etude.evaluate import (
    ScoredAnswer,
    build_sample,
    evaluate,
    get_unit,
    open_answer_log,
    parse_outcome,
)
from etude.methods import Method
from etude.methods.shared.fit_context import LookStopped, Trial, order_rows
from etude.methods.shared.training_rows import sample_share
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
from etude.runs.record import build_prediction, read_method_records
from etude.stats.intervals import estimate_known, estimate_sample
from etude.stats.ladder import choose
from etude.stats.racing import FIRST_BLOCK, find_beaten
from etude.stats.sample import UnitSums
from etude.task import Task
from etude.types import Preference, Side

MIN_SHARE_ROWS = 200
"""A method that can answer fewer test rows in its share of the time takes turns with the other slow
ones.
"""
FIRST = "first"
WORK = "work"
"""Folders of a method's unfinished work: that of its first look under a budget, and of its longer
look.
"""


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

    def list_fitted(self) -> list[str]:
        """List the methods that have a result and did not fail in this attempt."""
        return [name for name in self.run.fitted_methods if name not in self.failures]

    @property
    def is_ending(self) -> bool:
        """Whether no further method is fitted: the user asked to end, now or before the test was
        opened.
        """
        return self.clock.is_stopped or bool(self.run.info.get("ended_early"))

    @property
    def can_fit_together(self) -> bool:
        """Whether workers fit what does not build on each other. A budget counts the time of this
        machine, and services are asked from this process, so then they do not.
        """
        return self.models.workers.is_remote and not (self.clock.budget or self.task.endpoints)

    def copy_for_workers(self) -> "LadderRun":
        """Return a copy without test rows and loaded models, whose events are dropped."""
        sealed = replace(self.split, test=self.split.test.select([], "sealed"))
        copy = replace(
            self,
            split=sealed,
            models=Models(),
            on_event=_ignore_event,
            clock=Clock(),
            on_result=list,
        )
        copy.preferences = self.preferences  # which rows are left out depends on the test
        return copy

    def start_on_worker(self) -> list[Event]:
        """Use the models of this process, and return the list to which events are appended."""
        events: list[Event] = []
        self.models = get_shared_models()
        self.on_event = events.append
        return events

    def publish_results(self, events: Iterable[Event]) -> None:
        """Publish the events of a worker, without those of progress."""
        for event in events:
            if not isinstance(event, BatchAnswered | StepTrained):
                self.on_event(event)

    @contextmanager
    def continue_without(self, name: str) -> Iterator[None]:
        """Record an error of one method in an event, run.json and `error.txt`, so that the run
        continues without it.

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
            # The method may have changed loaded weights, so they are loaded again.
            self.models.clear()

    @cached_property
    def test_rows(self) -> Dataset:
        """The test rows in the seeded order in which they are answered."""
        test = self.split.test
        return test.select(
            order_rows(test, self.task.seed), "the test in the order in which it is answered"
        )

    def find_unbeaten(self, names: Sequence[str]) -> list[str]:
        """Find the methods that are not clearly worse than another one on the dev rows that all
        have answered.
        """
        names = self.find_in_race(names) if names else []
        samples = self.build_dev_samples(names)
        if len(names) < 2:
            return list(names)
        beaten = find_beaten([sample for _, sample in samples], self.task.margin)
        return [name for position, name in enumerate(names) if position not in beaten]

    def find_contenders(self, pair: Collection[str | None]) -> list[str]:
        """Return the methods that answer as many test rows as there is time for: the headline pair,
        all methods that are not clearly worse than another one on dev, and those that answer fast.
        If costs decide, these are all: a method that is right less often may cost less.
        """
        fitted = self.list_fitted()
        if not self.clock.is_limited or self.task.costs:
            return fitted
        unbeaten = self.find_unbeaten(fitted)
        contenders = [
            name
            for name in fitted
            if name in unbeaten or name in pair or self.count_share_rows(name)
        ]
        if self.run.info.get("test_shares") is None:  # a resumed run keeps them
            speeds = [self.get_row_seconds(name) for name in fitted if name not in contenders]
            seconds = sum(speed * self.clock.count_beaten_rows(speed) for speed in speeds)
            seconds = max(self.clock.seconds_left - seconds, MIN_TEST_SHARE * self.clock.span)
            self.run.update(test_shares=self._share_test(contenders, seconds))
        return contenders

    def _share_test(self, names: Iterable[str], seconds: float) -> dict[str, int]:
        """Compute the test rows that methods can answer in equal shares of the time, without those
        that can answer only a few. The fastest comes first: time that one does not need goes to the
        others.
        """
        shares: dict[str, int] = {}
        order = sorted(names, key=self.get_row_seconds)
        total = len(self.test_rows)
        for position, name in enumerate(order):
            row_seconds = self.get_row_seconds(name)
            share = seconds / (len(order) - position)
            num_rows = total if row_seconds * total <= share else int(share / row_seconds)
            if num_rows < min(total, MIN_SHARE_ROWS):
                break
            shares[name] = num_rows
            seconds -= num_rows * row_seconds
        return shares

    def get_row_seconds(self, name: str) -> float:
        """Return the seconds of a row, as the method's latest rows took; 0 if unknown."""
        if name not in self.row_seconds:
            self.row_seconds[name] = float(
                read_method_records(self.run)[name].get("row_seconds") or 0.0
            )
        return self.row_seconds[name]

    def count_share_rows(self, name: str) -> int:
        """Count the test rows that a method answers before the slow ones take turns: all, those of
        its share, or 0.
        """
        if self.clock.is_fast(self.get_row_seconds(name), len(self.test_rows)):
            return len(self.test_rows)
        return int((self.run.info.get("test_shares") or {}).get(name, 0))

    def estimate_test_seconds(self) -> float:
        """Estimate the seconds of the whole test, for the methods that are not clearly worse on
        dev, at the speed that dev has shown.
        """
        names = self.find_unbeaten(self.list_fitted())
        return sum(map(self.get_row_seconds, names)) * len(self.test_rows)

    def compute_kept_seconds(self) -> float:
        """Compute the seconds that looks leave for the test, at least those of the first rows of
        all methods.
        """
        first_rows = FIRST_BLOCK * sum(map(self.get_row_seconds, self.list_fitted()))
        return max(first_rows, min(self.estimate_test_seconds(), TEST_SHARE * self.clock.span))

    def answer_rows(
        self, assistant: Assistant, rows: Dataset, title: str, work_folder: Path
    ) -> list[ScoredAnswer]:
        """Answer test rows, report progress under `title`, and release the weights. Resumes from
        the answer log.
        """
        self.start_event(title, "test")

        def report(
            answered: Sequence[ScoredAnswer], done: int, total: int, remaining: float
        ) -> None:
            self.on_event(BatchAnswered(title, done, total, remaining))

        log = open_answer_log(work_folder, assistant, rows)
        scored = evaluate(assistant, self.models, rows, self.metric, log, report)
        self.release_weights(assistant)
        return scored

    @cached_property
    def preferences(self) -> Mapping[Side, Sequence[Preference]]:
        file = self.task.preferences
        return (
            group_by_side(read_preferences(file, self.task.instructions), self.split)
            if file
            else {}
        )

    def find_best(self, fitted: Mapping[str, Assistant], start: Assistant) -> Assistant:
        """Return the prompted assistant that is best on dev, for the next method to build on."""
        names = [
            method.name for method in self.methods if method.prompted and method.name in fitted
        ]
        if not names:
            return start
        names = self.find_in_race(names)
        return fitted[
            names[choose(self.build_dev_samples(names), self.task.margin).index]
        ].without_handover()

    def build_dev_samples(self, names: Iterable[str]) -> list[tuple[str, UnitSums]]:
        """Return each method's results on the dev rows that all of them answered, from
        predictions.jsonl.
        """
        lines = {
            name: {
                line["id"]: line
                for line in self.run.read_predictions(name)
                if line["side"] == "dev"
            }
            for name in names
        }
        ids = set.intersection(*(set(by_id) for by_id in lines.values())) if lines else set()
        outcomes = {
            name: [parse_outcome(line) for row, line in by_id.items() if row in ids]
            for name, by_id in lines.items()
        }
        return [(name, build_sample(self.metric, rows)) for name, rows in outcomes.items()]

    def find_in_race(self, names: Sequence[str]) -> list[str]:
        """Return the methods that were not dropped from a race on dev; all methods if every one was
        dropped.
        """
        records = read_method_records(self.run)
        return [name for name in names if not records[name].get("raced_out")] or list(names)

    def get_share(self, method: Method) -> Dataset:
        """The training rows that a method gets: all, or as many as the task allows."""
        return sample_share(method, self.task, self.split.train)

    def release_weights(self, assistant: Assistant) -> None:
        """Free the memory of adapted weights; the base model stays loaded."""
        if assistant.model.adapter is not None:
            self.models.remove(assistant.model)

    def publish_notes(self, notes: Iterable[str]) -> list[str]:
        """Publish notes as events and return them."""
        texts = list(notes)
        for note in texts:
            self.on_event(NoteEvent(f"Note: {note}.", detail=True))
        return texts

    def add_notes(self, name: str, notes: Iterable[str]) -> None:
        """Publish notes on a fitted method and add those that are new to its record."""
        file = self.run.method_folder(name) / "method.json"
        record = read_json(file)
        if new := [note for note in self.publish_notes(notes) if note not in record["notes"]]:
            write_json(file, {**record, "notes": [*record["notes"], *new]})

    def work_folder(self, name: str) -> Path:
        """Return the folder of a method's longest look."""
        folder = self.run.method_folder(name)
        return folder / (WORK if (folder / WORK).exists() else FIRST)

    def start_event(self, name: str, side: Side) -> None:
        """Report that a method starts on a side, and save how much of the budget is used."""
        left = self.clock.seconds_left
        if self.clock.budget is not None:  # a run that is killed has used this time
            self.run.update(elapsed_seconds=self.clock.now() - self.clock.started)
        self.on_event(MethodStarted(name, side, left if math.isfinite(left) else None))

    def report_dev_rows(
        self,
        name: str,
        trial: Trial,
        rows: Sequence[ScoredAnswer],
        done: int,
        total: int,
        remaining: float,
    ) -> None:
        """Report dev rows that a candidate has answered."""
        self.on_event(
            BatchAnswered(name, done, total, remaining, trial, _make_sample_answer(rows[-1:]))
        )

    def report_side(
        self, name: str, side: Side, rows: Sequence[ScoredAnswer], seconds: float
    ) -> None:
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

    def write_predictions(self, name: str, side: Side, rows: Sequence[ScoredAnswer]) -> None:
        """Replace the lines of one side in predictions.jsonl."""
        other_lines = [line for line in self.run.read_predictions(name) if line["side"] != side]
        lines = [build_prediction(side, row) for row in rows]
        write_lines(self.run.method_folder(name) / "predictions.jsonl", [*other_lines, *lines])


def _ignore_event(event: Event) -> None:
    """Drop an event."""


def _make_sample_answer(rows: Sequence[ScoredAnswer]) -> SampleAnswer | None:
    return SampleAnswer(rows[0].answer.text, rows[0].score.value) if rows else None


def describe_dropped_context(
    assistant: Assistant, side: Side, rows: Sequence[ScoredAnswer]
) -> Iterator[str]:
    """Yield notes on how many prompts lost examples or all passages, to fit the model's context."""
    dropped = [row.answer.shots_dropped for row in rows if row.answer.shots_dropped]
    of_rows = f"of {len(rows):,} {side} prompts, to fit the model's context"
    if dropped:
        examples = "1 example was" if max(dropped) == 1 else f"up to {max(dropped)} examples were"
        yield f"{assistant.method}: {examples} dropped from {len(dropped):,} {of_rows}"
    if assistant.search is not None and (num_bare := sum(not row.answer.citations for row in rows)):
        yield f"{assistant.method}: all passages were dropped from {num_bare:,} {of_rows}"

"""One comparison under way: every method is fitted without the test, then all of them answer the test once.

Split, plan, fits and the choices on dev are on disk before the first test row is answered.
"""

import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path

from etude.assistant import Assistant, load
from etude.base.files import read_json, write_json, write_lines
from etude.comparison.handover import add_handover, describe_handover, mark_handed_over
from etude.comparison.plan import FitTiming, Pacing, Plan
from etude.data.dataset import Dataset
from etude.data.preferences import group_by_side, read_preferences
from etude.data.splits import Split
from etude.errors import quote_value
from etude.evaluate import ScoredAnswer, build_sample, evaluate, get_unit, open_answer_log, parse_outcome
from etude.methods import FitContext, Method
from etude.methods.fit_context import Trial, sample_rows
from etude.metrics import Metric
from etude.models.registry import Models
from etude.runs import Run
from etude.runs.events import BatchAnswered, MethodEnded, MethodStarted, NoteEvent, OnEvent, SampleAnswer
from etude.runs.record import build_prediction, write_method_record
from etude.runs.training_log import TrainingLog
from etude.stats.intervals import estimate_known, estimate_sample
from etude.stats.ladder import choose
from etude.stats.sample import UnitSums
from etude.task import Task
from etude.types import Preference, Side

SAME_ANSWER_SHARE = 0.95  # Share of rows from which one label counts as the same answer to all.


@dataclass
class LadderRun:
    """One comparison under way: what all of its methods share."""

    task: Task
    split: Split
    run: Run
    models: Models
    metric: Metric
    plan: Plan
    on_event: OnEvent
    methods: Sequence[Method]
    """Lowest step first."""
    pacing: Pacing | None = None
    timings: dict[str, FitTiming] = field(default_factory=dict)
    """Method -> how long it took, for the planned methods that this attempt has fitted."""

    def fit_all(self, start: Assistant) -> dict[str, Assistant]:
        """Fit every method, simplest first, each on the best prompt so far. Returns method -> assistant."""
        fitted: dict[str, Assistant] = {}
        for method in self.methods:
            folder = self.run.method_folder(method.name)
            if (folder / "method.json").exists():  # written last: an earlier attempt has fitted it
                self.on_event(NoteEvent(f"{method.name}: already fitted"))
            else:
                self._fit(method, self.find_best(fitted, start), folder)
            fitted[method.name] = load(folder / "assistant")
        return fitted

    @property
    def test_rows(self) -> Dataset:
        """The test rows that every method answers: all, or as many as the plan allows."""
        return sample_rows(self.split.test, self.plan.effort.test_rows, self.task.seed)

    def answer_test(self, fitted: Mapping[str, Assistant]) -> None:
        """Answer the test rows with every method, into predictions.jsonl."""
        rows = self.test_rows
        for name, assistant in fitted.items():
            started = time.perf_counter()
            scored = self.answer_rows(assistant, rows, name, self.work_folder(name))
            self._write_predictions(name, "test", scored)
            self._add_notes(name, describe_dropped_context(assistant, "test", scored))
            self._add_notes(name, describe_handover(name, assistant, scored))
            self.report_side(name, "test", scored, time.perf_counter() - started)

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
        return group_by_side(read_preferences(file), self.split) if file else {}

    def find_best(self, fitted: Mapping[str, Assistant], start: Assistant) -> Assistant:
        """Return the prompted assistant that is best on dev, for the next method to build on."""
        names = [method.name for method in self.methods if method.prompted and method.name in fitted]
        if not names:
            return start
        return replace(fitted[names[choose(self.build_dev_samples(names)).index]], handover=None)

    def build_dev_samples(self, names: Iterable[str]) -> list[tuple[str, UnitSums]]:
        """Return each method's results on the dev rows that all of them answered, from predictions.jsonl."""
        lines = {
            name: {line["id"]: line for line in self.run.read_predictions(name) if line["side"] == "dev"}
            for name in names
        }
        ids = set.intersection(*(set(by_id) for by_id in lines.values()))
        outcomes = {
            name: [parse_outcome(line) for row, line in by_id.items() if row in ids]
            for name, by_id in lines.items()
        }
        return [(name, build_sample(self.metric, rows)) for name, rows in outcomes.items()]

    def shorten(self, next_method: str) -> None:
        """Shorten the plan if the methods so far were late. `next_method` is "" if only the test is left."""
        if self.pacing is None or not self.timings:
            return
        plan = self.pacing.shorten(self.plan, next_method, self.timings)
        if plan is not self.plan:
            self.plan = plan
            self.run.update(plan={**self.run.info["plan"], **plan.to_dict()})
            self.on_event(NoteEvent(f"To keep to the budget, cut {plan.cuts[-1]}."))

    def _fit(self, method: Method, start: Assistant, folder: Path) -> None:
        name = method.name
        self.shorten(name)
        self.on_event(MethodStarted(name, "dev"))
        started = time.perf_counter()
        context = self._make_context(method, folder)
        assistant = method.fit(self.task, self.split.train, self.split.dev, start, context)
        assistant, handover_notes = add_handover(assistant, self.task, context.chosen_scored)
        dev = context.chosen_scored = mark_handed_over(assistant, context.chosen_scored)
        assistant.save(folder / "assistant")
        self._write_predictions(name, "dev", dev)
        # tried.jsonl: the dev rows as every candidate answered them, the chosen one included.
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
        if name in self.plan.seconds:
            row_seconds = sum(row.answer.seconds for row in dev) / len(dev)
            elapsed = time.perf_counter() - started
            self.timings[name] = FitTiming(self.plan.fit_seconds(name), elapsed, row_seconds)
        self.report_side(name, "dev", dev, context.seconds)

    def _make_context(self, method: Method, folder: Path) -> FitContext:
        name, plan, pacing = method.name, self.plan, self.pacing
        simpler = self.methods[: self.methods.index(method)]
        return FitContext(
            models=self.models,
            metric=self.metric,
            folder=self.work_folder(name),
            effort=plan.effort,
            seed=self.task.seed,
            on_answers=partial(self.report_dev_rows, name),
            log=TrainingLog(
                name, folder / "train.jsonl", self.on_event, lambda: plan.training_seconds.get(name)
            ),
            search_log=TrainingLog(
                name, folder / "search.jsonl", self.on_event, lambda: plan.training_seconds.get("search")
            ),
            has_time_for=lambda seconds: pacing is None or pacing.has_time(plan, name, self.timings, seconds),
            preferences=self.preferences if "preferences" in method.keys else {},
            lower_folders=[self.work_folder(lower.name) for lower in simpler],
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
                # Never a test answer: reading one would unseal the test.
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


def _make_sample_answer(rows: Sequence[ScoredAnswer]) -> SampleAnswer | None:
    return SampleAnswer(rows[0].answer.text, rows[0].score.value) if rows else None


def describe_dropped_context(assistant: Assistant, side: Side, rows: Sequence[ScoredAnswer]) -> Iterator[str]:
    """Yield how many prompts had to drop examples, or every passage, to fit the model's context."""
    dropped = [row.answer.shots_dropped for row in rows if row.answer.shots_dropped]
    of_rows = f"of {len(rows):,} {side} prompts, to fit the model's context"
    if dropped:
        examples = "1 example was" if max(dropped) == 1 else f"up to {max(dropped)} examples were"
        yield f"{assistant.method}: {examples} dropped from {len(dropped):,} {of_rows}"
    if assistant.search is not None and (num_bare := sum(not row.answer.citations for row in rows)):
        yield f"{assistant.method}: every passage was dropped from {num_bare:,} {of_rows}"


def describe_same_answer(method: str, rows: Sequence[ScoredAnswer]) -> Iterator[str]:
    """Yield a note if a classifier gives nearly all dev rows one label, and more rows than have it."""
    if not rows:
        return
    outcomes = [row.outcome for row in rows]
    label, num_answered = Counter(outcome.predicted for outcome in outcomes).most_common(1)[0]
    num_expected = sum(outcome.expected == label for outcome in outcomes)
    if num_answered >= SAME_ANSWER_SHARE * len(rows) and num_answered > num_expected:
        yield (
            f"{method} answers {quote_value(label)} on {num_answered / len(rows):.0%} of {len(rows):,} dev rows; "
            f"{num_expected / len(rows):.0%} have that label"
        )

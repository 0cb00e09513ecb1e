"""Climbing the ladder: every method is fitted without the test, then all of them answer the test once.

The order is the point: split, plan, fits and the choices on dev are all on disk before the first
test row is answered.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path

from etude.assistant import Assistant, load
from etude.base.files import read_json, write_json, write_lines
from etude.comparison.handover import kept_promise, marked, with_handover
from etude.comparison.notes import left_out, same_answer
from etude.comparison.plan import Pacing, Plan, Taken
from etude.data.dataset import Dataset
from etude.data.preferences import by_side, read_preferences
from etude.data.splits import Split
from etude.evaluate import Scored, answer_log, evaluate, outcome_of, sample_of, unit
from etude.methods import FitContext, Method
from etude.methods.fit_context import Trial, sampled
from etude.metrics import Metric
from etude.models.registry import Models
from etude.runs import Run
from etude.runs.events import BatchAnswered, MethodEnded, MethodStarted, NoteEvent, OnEvent, SampleAnswer
from etude.runs.record import prediction, write_record
from etude.runs.training_log import TrainingLog
from etude.stats.intervals import estimate_known, estimate_sample
from etude.stats.ladder import choose
from etude.stats.sample import Sample as Results
from etude.task import Task
from etude.types import Estimate, Preference, Side


@dataclass
class LadderRun:
    """One comparison under way: what is fixed for all of its methods."""

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
    taken: dict[str, Taken] = field(default_factory=dict)
    """Method -> what it took, for those of the plan that this attempt has fitted."""

    def fit_all(self, start: Assistant) -> dict[str, Assistant]:
        """Fits every method in the order of the ladder, each on the best one so far; method -> assistant."""
        fitted: dict[str, Assistant] = {}
        for method in self.methods:
            best = self.best_so_far(fitted, start)
            fitted[method.name] = self._fit_once(method, best)
        return fitted

    @property
    def test_rows(self) -> Dataset:
        """The test rows that the plan has answered."""
        return sampled(self.split.test, self.plan.effort.test_rows, self.task.seed)

    def answer_test(self, fitted: Mapping[str, Assistant]) -> None:
        """Answers the test rows with every method, into predictions.jsonl."""
        rows = self.test_rows
        for name, assistant in fitted.items():
            self.on_event(MethodStarted(name, "test"))
            started = time.perf_counter()
            log = answer_log(self.work(name), assistant, rows)
            on_batch = partial(self.counted, name)
            scored = evaluate(assistant, self.models, rows, self.metric, log, on_batch)
            self.release(assistant)
            self._write_predictions(name, "test", scored)
            self._add_notes(name, left_out(assistant, "test", scored))
            self._add_notes(name, kept_promise(name, assistant, scored))
            self.tell_end(name, "test", scored, time.perf_counter() - started)

    @cached_property
    def preferences(self) -> Mapping[Side, Sequence[Preference]]:
        """The task's preferences by the side on which each stands."""
        file = self.task.preferences
        return by_side(read_preferences(file), self.split) if file else {}

    def best_so_far(self, fitted: Mapping[str, Assistant], start: Assistant) -> Assistant:
        """The best prompted assistant on dev, which the next method builds on."""
        names = [method.name for method in self.methods if method.prompted and method.name in fitted]
        if not names:
            return start
        return replace(fitted[names[choose(self.dev_samples(names)).index]], handover=None)

    def dev_samples(self, names: Iterable[str]) -> list[tuple[str, Results]]:
        """Methods with their results on the dev rows that all of them have answered, from predictions.jsonl."""
        lines = {
            name: {line["id"]: line for line in self.run.predictions(name) if line["side"] == "dev"}
            for name in names
        }
        rows = set.intersection(*(set(found) for found in lines.values()))
        return [
            (name, sample_of(self.metric, [outcome_of(line) for row, line in found.items() if row in rows]))
            for name, found in lines.items()
        ]

    def _fit_once(self, method: Method, start: Assistant) -> Assistant:
        """Fits a method, or loads it where this run has fitted it before."""
        folder = self.run.method(method.name)
        if not (folder / "method.json").exists():
            self._fit(method, start, folder)
        else:
            self.on_event(NoteEvent(f"{method.name}: already fitted"))
        return load(folder / "assistant")

    def shorten(self, begins: str) -> None:
        """Cuts what has not begun if the methods so far were late; the plan that is kept is the new one."""
        if self.pacing is None or not self.taken:
            return
        plan, before = self.pacing.shortened(self.plan, begins, self.taken), self.plan
        if plan is not before:
            self.plan = plan
            self.run.update(plan={**self.run.info["plan"], **plan.to_dict()})
            self.on_event(NoteEvent(f"To keep to the budget, cut {plan.shrunk[-1]}."))

    def _in_time(self, name: str, seconds: float) -> bool:
        return self.pacing is None or self.pacing.in_time(self.plan, name, self.taken, seconds)

    def _fit(self, method: Method, start: Assistant, folder: Path) -> None:
        self.shorten(method.name)
        self.on_event(MethodStarted(method.name, "dev"))
        begun = time.perf_counter()
        foreseen = self.plan.training_seconds.get
        context = FitContext(
            models=self.models,
            metric=self.metric,
            folder=self.work(method.name),
            effort=self.plan.effort,
            seed=self.task.seed,
            on_answers=partial(self.answered, method.name),
            log=TrainingLog(
                method.name, folder / "train.jsonl", self.on_event, lambda: foreseen(method.name)
            ),
            search_log=TrainingLog(
                method.name, folder / "search.jsonl", self.on_event, lambda: foreseen("search")
            ),
            more=partial(self._in_time, method.name),
            preferences=self.preferences if "preferences" in method.keys else {},
            lower=[self.work(each.name) for each in self.methods[: self.methods.index(method)]],
        )
        assistant = method.fit(self.task, self.split.train, self.split.dev, start, context)
        assistant, handover = with_handover(assistant, self.task, context.on_dev)
        context.on_dev = marked(assistant, context.on_dev)
        assistant.save(folder / "assistant")
        self._write_predictions(method.name, "dev", context.on_dev)
        self._write_tried(method.name, context.answered)
        context.notes += self._said([*self._about_dev(assistant, context.on_dev), *handover])
        (request,) = assistant.requests([self.split.dev[0].input], self.models)
        prompt = self.models.get(assistant.model).render_text(request.messages)
        write_record(self.run, method, assistant, context, prompt)
        self.release(assistant)
        if method.name in self.plan.seconds:
            row = sum(each.answer.seconds for each in context.on_dev) / len(context.on_dev)
            self.taken[method.name] = Taken(
                self.plan.fit_seconds(method.name), time.perf_counter() - begun, row
            )
        self.tell_end(method.name, "dev", context.on_dev, context.seconds)

    def release(self, assistant: Assistant) -> None:
        """Gives back the memory of adapted weights; the base stays loaded."""
        if assistant.model.adapter is not None:
            self.models.evict(assistant.model)

    def _about_dev(self, assistant: Assistant, rows: Sequence[Scored]) -> Iterator[str]:
        yield from left_out(assistant, "dev", rows)
        if self.task.kind == "classify":
            yield from same_answer(assistant.method, rows)

    def _said(self, notes: Iterable[str]) -> list[str]:
        """Publishes the notes and returns them."""
        said = list(notes)
        for note in said:
            self.on_event(NoteEvent(f"Note: {note}.", detail=True))
        return said

    def _add_notes(self, name: str, notes: Iterable[str]) -> None:
        """Publishes the notes and adds to method.json those that it lacks."""
        file = self.run.method(name) / "method.json"
        record = read_json(file)
        if new := [note for note in self._said(notes) if note not in record["notes"]]:
            write_json(file, {**record, "notes": [*record["notes"], *new]})

    def work(self, name: str) -> Path:
        """Where a method keeps what is not finished."""
        return self.run.method(name) / "work"

    def answered(
        self, name: str, trial: Trial, rows: Sequence[Scored], done: int, total: int, left: float
    ) -> None:
        """Reports dev rows that a candidate has answered."""
        self.on_event(BatchAnswered(name, done, total, left, trial, _sample(rows[-1:])))

    def counted(self, name: str, rows: Sequence[Scored], done: int, total: int, left: float) -> None:
        """Reports test rows that were answered."""
        self.on_event(BatchAnswered(name, done, total, left))

    def tell_end(self, name: str, side: Side, rows: Sequence[Scored], seconds: float) -> None:
        """Reports that a side is answered, with its numbers."""
        units = [unit(row.example) for row in rows]
        self.on_event(
            MethodEnded(
                method=name,
                side=side,
                estimate=self.metric_estimate(rows),
                form=estimate_known([row.score.keeps_contract for row in rows], units),
                check=estimate_known([row.score.check for row in rows], units),
                seconds=seconds,
                sample=_sample(rows[:1]) if side == "dev" else None,  # reading test answers would unseal them
                num_rows=len(rows),
                of_rows=len(self.split.dev if side == "dev" else self.split.test),
            )
        )

    def metric_estimate(self, rows: Sequence[Scored]) -> Estimate:
        """The headline metric with its interval."""
        return estimate_sample(sample_of(self.metric, [row.outcome for row in rows]))

    def _write_predictions(self, name: str, side: Side, rows: Sequence[Scored]) -> None:
        """Replaces one side's lines of predictions.jsonl and keeps the other's."""
        kept = [line for line in self.run.predictions(name) if line["side"] != side]
        lines = [prediction(side, row) for row in rows]
        write_lines(self.run.method(name) / "predictions.jsonl", [*kept, *lines])

    def _write_tried(self, name: str, answered: Mapping[str, Sequence[Scored]]) -> None:
        """tried.jsonl: dev as every candidate answered it, the chosen one among them."""
        lines = [
            {"candidate": candidate, **prediction("dev", row)}
            for candidate, rows in answered.items()
            for row in rows
        ]
        write_lines(self.run.method(name) / "tried.jsonl", lines)


def _sample(rows: Sequence[Scored]) -> SampleAnswer | None:
    return SampleAnswer(rows[0].answer.text, rows[0].score.value) if rows else None

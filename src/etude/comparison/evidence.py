"""Evidence on request (`evidence: full`): a learning curve, and further training runs of the best tuned method.

Everything is fitted before the test is opened. A fit that was killed goes on; its weights are deleted once they have
answered, and what they answered stays in methods/NAME/evidence.
"""

from __future__ import annotations

import random
import shutil
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from etude.assistant import Assistant
from etude.base.files import Json, read_json, read_lines, write_json, write_lines
from etude.comparison.ladder_run import LadderRun
from etude.comparison.plan import EVIDENCE, FURTHER_RUNS, PARTS, Taken
from etude.data.dataset import Dataset
from etude.evaluate import answer_log, evaluate, outcome_of, sample_of, unit
from etude.methods import FitContext, Method
from etude.methods.fit_context import sampled
from etude.methods.tuned.training_rows import drawn
from etude.runs.events import MethodStarted
from etude.runs.record import prediction, records
from etude.runs.training_log import TrainingLog
from etude.runs.verdict import CurvePoint, Evidence, MethodResult, TrainingRunResult, measured
from etude.stats import headline
from etude.stats.intervals import estimate_sample
from etude.stats.sample import Sample

FACTS, WORK = "fit.json", "work"


@dataclass(frozen=True)
class Fit:
    """One further fit of the tuned method."""

    folder: Path
    title: str
    """What it is called on screen."""
    rows: Dataset
    seed: int
    on_test: bool
    """Whether it answers the test too: a further training run does, a part of the rows does not."""

    @property
    def answers(self) -> Path:
        """What it answered."""
        return self.folder / "predictions.jsonl"

    @property
    def complete(self) -> bool:
        """Whether its answers are there."""
        return self.answers.exists()


def fit_evidence(
    climb: LadderRun, fitted: Mapping[str, Assistant], start: Assistant
) -> dict[Path, Assistant]:
    """Fits what is planned and answers dev; the assistants that the test still needs, by the folders of their fits."""
    if climb.pacing is not None and climb.pacing.work.evidence:
        climb.shorten(EVIDENCE)
    waiting: dict[Path, Assistant] = {}
    begun = time.perf_counter()
    for fit in _fits(climb):
        if fit.complete:
            shutil.rmtree(fit.folder / WORK, ignore_errors=True)
            continue
        assistant = _fitted(climb, fit, fitted, start)
        if fit.on_test:
            waiting[fit.folder] = assistant
        else:
            shutil.rmtree(fit.folder / WORK)
    climb.taken[EVIDENCE] = Taken(climb.plan.evidence_seconds, time.perf_counter() - begun, 0.0)
    return waiting


def answer_evidence(
    climb: LadderRun, waiting: Mapping[Path, Assistant]
) -> tuple[Evidence | None, list[tuple[int, MethodResult]]]:
    """Answers the test with the further training runs; what all of it shows, and those runs by their seeds."""
    fits = list(_fits(climb))
    for fit in fits:
        if fit.folder in waiting:
            assistant, rows = waiting[fit.folder], climb.test_rows
            climb.on_event(MethodStarted(fit.title, "test"))
            log = answer_log(fit.folder / WORK, assistant, rows)
            scored = evaluate(
                assistant, climb.models, rows, climb.metric, log, partial(climb.counted, fit.title)
            )
            climb.release(assistant)
            write_lines(fit.answers, [prediction("test", row) for row in scored])
            shutil.rmtree(fit.folder / WORK)
            seconds = sum(row.answer.seconds for row in scored)
            climb.tell_end(fit.title, "test", scored, seconds)
    return (_evidence(climb, fits), [*_runs(climb, fits)]) if fits else (None, [])


def _tuned(climb: LadderRun) -> Method | None:
    """The method that the evidence is about."""
    name = climb.run.info["decided"]["tuned"]
    wanted = climb.task.evidence == "full" and climb.plan.effort.evidence != 0
    return next((each for each in climb.methods if wanted and each.name == name), None)


def _fits(climb: LadderRun) -> Iterator[Fit]:
    """The fits beside the one that is used, the quickest first."""
    if (method := _tuned(climb)) is None:
        return
    folder, train, seed = climb.run.method(method.name) / EVIDENCE, _learned(climb, method), _seed(climb)
    for part in PARTS:
        rows = _part(train, len(train) // part, climb.task.seed)
        if climb.task.kind != "classify" or len({row.output for row in rows}) > 1:
            yield Fit(folder / f"rows-{len(rows)}", f"{method.name}, {len(rows):,} rows", rows, seed, False)
    for other in range(seed + 1, seed + 1 + FURTHER_RUNS):
        yield Fit(folder / f"seed-{other}", f"{method.name}, seed {other}", train, other, True)


def _seed(climb: LadderRun) -> int:
    return int(climb.task.train.get("seed", climb.task.seed))


def _learned(climb: LadderRun, method: Method) -> Dataset:
    """The training rows that the method has learned from."""
    train = climb.split.train
    rows = records(climb.run)[method.name].get("learned") or len(train)
    return drawn(climb.task, train, rows)


def _part(train: Dataset, size: int, seed: int) -> Dataset:
    """A draw of `size` rows, whole groups first to last; a smaller one is a part of a larger one."""
    draw, rank = random.Random(f"{seed}/curve"), dict[str, float]()
    for row in train:
        rank.setdefault(unit(row), draw.random())
    order = sorted(range(len(train)), key=lambda at: rank[unit(train[at])])
    return train.select(sorted(order[:size]), f"{size:,} of {len(train):,} rows, for the learning curve")


def _fitted(climb: LadderRun, fit: Fit, fitted: Mapping[str, Assistant], start: Assistant) -> Assistant:
    """The assistant of one fit; what dev answered goes to disk, unless the test is to be answered instead."""
    method = _tuned(climb)
    assert method is not None, "a fit is that of a tuned method"
    place = climb.methods.index(method)
    below = {each.name: fitted[each.name] for each in climb.methods[:place]}
    # Choices rest on the same dev rows, whatever the seed of the fit.
    dev = sampled(climb.split.dev, climb.plan.effort.dev_rows, climb.task.seed)
    context = FitContext(
        models=climb.models,
        metric=climb.metric,
        folder=fit.folder / WORK,
        effort=climb.plan.effort,
        seed=fit.seed,
        on_answers=partial(climb.answered, fit.title),
        log=TrainingLog(fit.title, fit.folder / "train.jsonl", climb.on_event),
        preferences=climb.preferences if "preferences" in method.keys else {},
        # The search is that of the run: the curve is about the weights alone.
        lower=[climb.work(each.name) for each in climb.methods[: place + 1] if each.searches],
    )
    climb.on_event(MethodStarted(fit.title, "dev"))
    task = replace(climb.task, train={**climb.task.train, "seed": fit.seed})
    assistant = method.fit(task, fit.rows, dev, climb.best_so_far(below, start), context)
    climb.release(assistant)
    write_json(fit.folder / FACTS, {"rows": len(fit.rows), "seed": fit.seed, "seconds": context.seconds})
    if not fit.on_test:
        write_lines(fit.answers, [prediction("dev", row) for row in context.on_dev])
    climb.tell_end(fit.title, "dev", context.on_dev, context.seconds)
    return assistant


def _runs(climb: LadderRun, fits: list[Fit]) -> Iterator[tuple[int, MethodResult]]:
    ids = [row.id for row in climb.test_rows]
    for fit in fits:
        if fit.on_test:
            yield fit.seed, measured(fit.title, read_lines(fit.answers), ids, tuned=True)


def _evidence(climb: LadderRun, fits: list[Fit]) -> Evidence:
    """The learning curve on dev; the training runs are added with the verdict."""
    method = _tuned(climb)
    assert method is not None, "evidence is about a tuned method"
    curve = [(len(fit.rows), list(read_lines(fit.answers))) for fit in fits if not fit.on_test]
    whole = [line for line in climb.run.predictions(method.name) if line["side"] == "dev"]
    curve.append((len(_learned(climb, method)), whole))
    samples = [_sample(climb, lines) for _, lines in curve]
    points = [
        CurvePoint(rows, estimate_sample(found)) for (rows, _), found in zip(curve, samples, strict=True)
    ]
    doubling = headline(samples[-1], samples[-2]).difference if len(samples) > 1 else None
    seconds = sum(read_json(fit.folder / FACTS)["seconds"] for fit in fits)
    used = TrainingRunResult(_seed(climb), points[-1].estimate)
    return Evidence(method.name, tuple(points), doubling, (used,), seconds)


def _sample(climb: LadderRun, lines: list[Json]) -> Sample:
    ordered = sorted(lines, key=lambda line: str(line["id"]))
    return sample_of(climb.metric, [outcome_of(line) for line in ordered])

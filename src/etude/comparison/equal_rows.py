"""The baseline on the rows that fine-tuning has seen, where a budget or `max_rows` left it only a part of them.

It is no method of the ladder: it is shown beside, and decides nothing. It is fitted before the test is opened.
"""

from __future__ import annotations

from etude.assistant import Assistant
from etude.base.files import write_lines
from etude.comparison.ladder_run import LadderRun
from etude.evaluate import evaluate
from etude.methods.baseline import METHOD as BASELINE
from etude.methods.fit_context import FitContext
from etude.methods.tuned.training_rows import drawn
from etude.runs.record import prediction, records
from etude.runs.verdict import MethodResult, measured
from etude.types import CLASSICAL

FOLDER = "equal_rows"


def fit_equal(climb: LadderRun, start: Assistant) -> tuple[Assistant, int] | None:
    """The baseline on as many rows as the tuned method of the headline, and how many; None where these are all."""
    known, tuned = records(climb.run), climb.run.info["decided"]["tuned"]
    rows = known[tuned].get("learned") if tuned and BASELINE.name in known else None
    if not rows or rows >= len(climb.split.train):
        return None
    folder = climb.run.method(BASELINE.name) / FOLDER
    context = FitContext(climb.models, climb.metric, folder, climb.plan.effort, climb.task.seed)
    part = drawn(climb.task, climb.split.train, rows)
    return BASELINE.fitted(climb.task, part, climb.split.dev, start, context)[0].assistant, rows


def answer_equal(climb: LadderRun, equal: tuple[Assistant, int] | None) -> MethodResult | None:
    """Its answers to the test rows, which a predictions.jsonl of its own keeps."""
    if equal is None:
        return None
    assistant, learned = equal
    scored = evaluate(assistant, climb.models, climb.test_rows, climb.metric)
    lines = [prediction("test", row) for row in scored]
    write_lines(climb.run.method(BASELINE.name) / FOLDER / "predictions.jsonl", lines)
    ids = [row.example.id for row in scored]
    return measured(BASELINE.name, lines, ids, tuned=False, model=CLASSICAL, learned=learned)

"""The baseline on the rows that fine-tuning has seen, where a budget or `max_rows` left it only a part of them.

It is no step of the ladder: it is shown beside, and decides nothing. It is fitted before the test is opened.
"""

from __future__ import annotations

from pathlib import Path

from etude.assistant import Assistant
from etude.base.files import read_lines, write_lines
from etude.comparison.climb import Climb
from etude.evaluate import evaluate
from etude.methods.baseline import METHOD as BASELINE
from etude.methods.fit_context import FitContext
from etude.methods.tuned.training_rows import drawn
from etude.runs import Run
from etude.runs.record import prediction, records
from etude.runs.verdict import Measured, measured
from etude.types import CLASSICAL


def fit_equal(climb: Climb, start: Assistant) -> Assistant | None:
    """The baseline on the rows of the tuned method of the headline; None where that has seen all, or without one."""
    rows = _equal_rows(climb)
    if rows is None:
        return None
    context = FitContext(climb.models, climb.metric, _folder(climb.run), climb.plan.effort, climb.task.seed)
    part = drawn(climb.task, climb.split.train, rows)
    return BASELINE.fitted(climb.task, part, climb.split.dev, start, context)[0].assistant


def answer_equal(climb: Climb, equal: Assistant | None) -> None:
    """Answers the test rows with it, into a predictions.jsonl of its own."""
    if equal is not None:
        scored = evaluate(equal, climb.models, climb.test_rows, climb.metric)
        write_lines(_file(climb.run), [prediction("test", row) for row in scored])


def read_equal(climb: Climb, ids: list[str]) -> Measured | None:
    """Its answers to the rows `ids` of the test; None where there are none."""
    rows, file = _equal_rows(climb), _file(climb.run)
    if rows is None or not file.exists():
        return None
    return measured(BASELINE.name, read_lines(file), ids, tuned=False, model=CLASSICAL, learned=rows)


def _equal_rows(climb: Climb) -> int | None:
    """How many rows the tuned method of the headline has seen, where these are not all."""
    known, tuned = records(climb.run), climb.run.info["decided"]["tuned"]
    seen = known[tuned].get("learned") if tuned and BASELINE.name in known else None
    return seen if seen and seen < len(climb.split.train) else None


def _folder(run: Run) -> Path:
    return run.method(BASELINE.name) / "equal_rows"


def _file(run: Run) -> Path:
    return _folder(run) / "predictions.jsonl"

"""Stored answers of other models, scored on the sealed test next to the methods. No model is asked.

They are in columns of the rows (`answers:` under `examples:` or `test:`). They cannot be served, so they are never
recommended; the verdict reports whether the method that it leans to can replace them.
"""

from collections.abc import Collection

from etude.assistant import Assistant
from etude.base.files import Json, write_lines
from etude.base.issues import raise_issues
from etude.comparison.ladder_run import LadderRun
from etude.data.dataset import Dataset
from etude.errors import Issue, quote_value
from etude.evaluate import ScoredAnswer
from etude.methods.shared.fit_context import resolve_contract
from etude.runs.record import build_prediction
from etude.task import Task
from etude.types import CLASSICAL, Completion, ModelRef

FILE = "stored_answers.jsonl"
"""File in the run folder: a line for each stored answer to a test row, as in predictions.jsonl, with its `model`."""


def list_stored_models(test: Dataset) -> list[str]:
    """List the models that have stored answers in the test rows."""
    return list(dict.fromkeys(name for row in test for name in row.answers))


def check_stored_answers(task: Task, test: Dataset, methods: Collection[str]) -> None:
    """Raise InputError with every test row without an answer of a model that has answers in other rows, and with every
    model that has the name of a method."""
    models, file = list_stored_models(test), (task.test or task.examples).file
    message, remedy = "a column of stored answers has the name of a method", "rename it"
    issues = [Issue(file.name, message, quote_value(name), remedy) for name in models if name in methods]
    message, remedy = "the test row has no stored answer of this model", "add it, or leave the model out"
    for row in test:
        missing = [name for name in models if name not in row.answers]
        issues += [Issue(row.location or row.id, message, quote_value(name), remedy) for name in missing]
    raise_issues(issues, file)


def score_stored_answers(ladder_run: LadderRun) -> dict[str, list[Json]]:
    """Score every stored answer to the test like an answer of a method. Return model -> lines as in
    predictions.jsonl."""
    task, rows = ladder_run.task, ladder_run.test_rows
    contract = resolve_contract(task, ladder_run.split.train)
    reader = Assistant("stored", task.kind, ModelRef(CLASSICAL), contract=contract)
    lines: dict[str, list[Json]] = {}
    for model in list_stored_models(rows):
        completions = [Completion(row.answers[model], "stop", 0, 0, 0, 0.0, None) for row in rows]
        answers = reader.finish([row.id for row in rows], completions)
        scored = [
            ScoredAnswer(row, answer, ladder_run.metric.score(row, answer), 0)
            for row, answer in zip(rows, answers, strict=True)
        ]
        lines[model] = [build_prediction("test", row) for row in scored]
    if lines:
        every_line = [{"model": model, **line} for model in lines for line in lines[model]]
        write_lines(ladder_run.run.folder / FILE, every_line)
    return lines

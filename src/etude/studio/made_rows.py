"""Made rows that people read. They keep, correct or drop each row, and the file of made rows changes at once."""

from pathlib import Path

from etude.base.files import Json, list_lines, write_lines
from etude.feedback.sealed import SealedTest
from etude.studio.review_queue import ReviewItem
from etude.task import Task
from etude.types import AS_MADE, MADE, Message

REVIEWS = ".reviews.jsonl"
"""Suffix of the file, beside the made rows, of what people said about them. It is not feedback on the examples."""


def find_made_file(task: Task) -> Path:
    """Return the file of the task's made rows, or where `etude make` writes it."""
    return task.made_rows.file if task.made_rows else task.folder / "made.jsonl"


def list_made_items(file: Path, sealed: SealedTest, assistant: str) -> list[ReviewItem]:
    """List the rows of a file of `etude make` as they were made, dropped ones included, but none that is like a test
    row. Other files have none."""
    items = [
        ReviewItem("made", (Message("user", text),), assistant, row["output"])
        for text, row in _read_as_made(file).items()
    ]
    overlaps = sealed.find_overlaps([item.input for item in items])
    return [item for item, is_sealed in zip(items, overlaps, strict=True) if not is_sealed]


def change_made_row(file: Path, text: str, output: str | None) -> None:
    """Write the file of made rows with this output of the row with an input, or without this row (None). A row that was
    dropped comes back at the end. The rows as made stay in a file beside it."""
    as_made, lines = _read_as_made(file), list_lines(file)
    write_lines(file.with_suffix(AS_MADE), as_made.values())
    inputs = [line.get("input") for line in lines]
    place = inputs.index(text) if text in inputs else len(lines)
    lines[place : place + 1] = [] if output is None else [as_made[text] | {"output": output}]
    write_lines(file, lines)


def _read_as_made(file: Path) -> dict[str, Json]:
    if file.suffix != ".jsonl":
        return {}
    lines = (*list_lines(file), *list_lines(file.with_suffix(AS_MADE)))  # the last line with an input counts
    return {
        line["input"]: line
        for line in lines
        if line.get("source") == MADE and isinstance(line.get("input"), str) and isinstance(line.get("output"), str)
    }

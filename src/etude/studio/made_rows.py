"""Made rows that people read. They keep, correct or drop each row, and the file of made rows changes at once."""

from pathlib import Path

from etude.base.files import Json, list_lines, write_lines
from etude.feedback.sealed import SealedTest
from etude.studio.review_queue import ReviewItem
from etude.types import AS_MADE, MADE, Message


def list_made_items(file: Path, sealed: SealedTest) -> list[ReviewItem]:
    """List the rows of a file of `etude make` as they were made, dropped ones included, but none that is like a test
    row. Other files have none."""
    rows = _read_as_made(file)
    items = [ReviewItem("made", (Message("user", text),), MADE, row["output"]) for text, row in rows.items()]
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
    texts = [line for line in lines if all(isinstance(line.get(key), str) for key in ("input", "output"))]
    return {line["input"]: line for line in texts if line.get("source") == MADE}

"""Made rows that people read. They keep, correct or drop each row, and the file of made rows
changes at once.
"""

import json
from pathlib import Path

from etude.base.files import Json, parse_storable_json, write_bytes, write_lines
from etude.errors import InputError, quote_value
from etude.feedback.sealed import SealedTest
from etude.studio.review_queue import ReviewItem
from etude.types import AS_MADE, MADE, Message


def list_made_items(file: Path, sealed: SealedTest) -> list[ReviewItem]:
    """List the rows of a file of `etude make` as they were made, dropped ones included, but none
    that is like a test row. Other files have none.
    """
    rows = _read_as_made(file)
    items = [
        ReviewItem("made", (Message("user", text),), MADE, row["output"])
        for text, row in rows.items()
    ]
    overlaps = sealed.find_overlaps([item.input for item in items])
    return [item for item, is_sealed in zip(items, overlaps, strict=True) if not is_sealed]


def change_made_row(file: Path, text: str, output: str | None) -> None:
    """Give the row with an input this output, or drop it (None). A row that was dropped comes back
    at the end, and the rows as made stay in a file beside the file of made rows. Raises InputError
    if the row is in neither.
    """
    as_made = _read_as_made(file)
    lines = _read_lines(file)
    if text not in as_made:
        raise InputError.of(
            file.name,
            "this row is no longer in the file",
            quote_value(text),
            "start the studio again",
        )
    write_lines(file.with_suffix(AS_MADE), as_made.values())
    inputs = [_parse_row(line).get("input") for line in lines]
    place = inputs.index(text) if text in inputs else len(lines)
    row = json.dumps(as_made[text] | {"output": output}, ensure_ascii=False).encode()
    lines[place : place + 1] = [] if output is None else [row]
    write_bytes(file, b"".join(line + b"\n" for line in lines))


def _read_as_made(file: Path) -> dict[str, Json]:
    files = (file, file.with_suffix(AS_MADE)) if file.suffix == ".jsonl" else ()
    rows = [
        _parse_row(line) for path in files for line in _read_lines(path)
    ]  # the last one with an input counts
    texts = [
        row for row in rows if all(isinstance(row.get(key), str) for key in ("input", "output"))
    ]
    return {row["input"]: row for row in texts if row.get("source") == MADE}


def _read_lines(file: Path) -> list[bytes]:
    raw = file.read_bytes() if file.is_file() else b""
    return (
        raw.removesuffix(b"\n").split(b"\n") if raw else []
    )  # people may leave out the last line break


def _parse_row(line: bytes) -> Json:
    try:
        return {**parse_storable_json(line.decode("utf-8-sig"))}
    except (
        ValueError,
        TypeError,
    ):  # a blank line or no object: it is kept, but nobody is asked about it
        return {}

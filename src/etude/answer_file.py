"""A file of inputs answered to a file of answers, row by row: `etude predict`.

Both files are streams: a million rows take no more memory than a thousand. Answers are appended to `OUTPUT.HASH.part`,
whose hash is of assistant and input, and which becomes the output when all are there. Rows are answered in chunks that
the input alone decides, so the output does not depend on where it was stopped.
"""

from __future__ import annotations

import csv
import fcntl
import hashlib
import io
import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, Literal

from etude import __version__
from etude.assistant import Assistant, PromptLimit
from etude.base.files import Json
from etude.data.formats.asked import question, survey
from etude.data.formats.cells import Cells
from etude.data.formats.raw import raw_rows
from etude.data.formats.reading import Reading, Row
from etude.errors import InputError, Issue, RunError
from etude.models.registry import Models
from etude.runs.questions import Confirm, Sending, agreed, confirm_endpoint
from etude.runs.recommended import columns_of_examples, endpoints_for, load, run_of
from etude.task import JSON_SUFFIXES, TABLE_SUFFIXES
from etude.task.endpoint import endpoint_of
from etude.types import Answer, Message

CHUNK = 128
"""Rows that are answered together, and the most that a kill costs."""
OnProgress = Callable[[int, int, float], None]
"""Called after each chunk with the rows answered, the rows of the file, and the seconds that the others will take."""

Answered = Callable[[int], Iterator[list[tuple[Row, Json]]]]
"""The rows from a number on, a multiple of CHUNK, in chunks, each with what is said of it."""


@dataclass(frozen=True)
class Predicted:
    """A file of answers."""

    file: Path
    method: str
    rows: int
    problems: int
    """Rows whose column `problem` is not empty: not answered, or their answer is cut or breaks the contract."""


def predict(
    place: Path | str,
    file: Path | str,
    output: Path | str,
    *,
    method: str | None = None,
    input: Sequence[str] = (),
    on_progress: OnProgress = lambda done, total, left: None,
    confirm: Confirm = agreed,
) -> Predicted:
    """Answer every row of `file` (.jsonl, .csv or .tsv) with an assistant and write `output` (likewise).

    `place` is what `load` takes; a `method` replaces the recommended one. `input` names the columns that ask; without
    it those of the task's examples do, if the file has them, else their names tell. All columns are kept; `answer`,
    `label` (classify), `fields` (in a table a column for each), `confidence`, `handed_over`, `form` (is the contract
    kept?), `citations` and `problem` are added if the assistant has them. A row whose input is empty or too long for
    the model is kept without an answer.
    The same call continues where an earlier one was stopped. If a model behind a URL answers, `confirm` is first asked
    what that may cost. Raises InputError for a file that cannot be read (all errors together) or an output that exists,
    RunError without an assistant or if another process writes the output, Declined when `confirm` says no.
    """
    assistant, file, output = load(place, method), Path(file), Path(output)
    if output.exists():
        raise InputError([Issue(str(output), "the file exists", "", "delete it, or name another one")])
    if output.suffix.lower() not in (*JSON_SUFFIXES, *TABLE_SUFFIXES):
        raise InputError(
            [Issue(str(output), "an unknown kind of file", "", "name a .jsonl, .csv or .tsv file")]
        )
    run = run_of(Path(place))
    names, total, columns = survey(file, input, columns_of_examples(run))
    models = Models(endpoints=endpoints_for(assistant, run))
    _confirm_sending(assistant, models, file, columns, total, confirm)
    layout = Layout(assistant, names, TABLE_SUFFIXES.get(output.suffix.lower()))
    with _part(output, assistant.fingerprint, _digest(file), columns) as part:
        _grow(part, layout, partial(_answered, assistant, models, file, columns), total, on_progress)
    Path(part.name).rename(output)
    problems = sum(bool(row.cells[layout.columns["problem"]]) for row in raw_rows(Reading(output)))
    return Predicted(output, assistant.method, total, problems)


def _confirm_sending(
    assistant: Assistant, models: Models, file: Path, columns: Sequence[str], total: int, confirm: Confirm
) -> None:
    """Asks before the rows go to an endpoint, as a comparison does; the prompts of the first are counted for all. Asks
    nothing for other models. Raises Declined."""
    name = assistant.model.name
    if (endpoint := models.endpoints.get(name) or endpoint_of(name)) is None:
        return
    model, reading = models.get(assistant.model), Reading(file)
    limit = PromptLimit(assistant, model)
    first = [_turns(Cells(reading, row), columns, limit) for row in islice(raw_rows(reading), CHUNK)]
    requests = assistant.requests([turns for turns in first if not isinstance(turns, str)], models)
    tokens = sum(model.count_tokens(each.messages) for each in requests) / len(first) * total
    most = Sending(total, round(tokens), total * assistant.max_tokens)
    confirm_endpoint(endpoint, most, f"gets the rows of {file.name}", lambda event: None, confirm)


def _digest(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _part(output: Path, *inputs: object) -> BinaryIO:
    """The file that grows until it is the output, held by this process alone."""
    key = hashlib.sha256(repr((*inputs, CHUNK, __version__)).encode()).hexdigest()[:8]
    output.parent.mkdir(parents=True, exist_ok=True)
    stream = output.with_name(f"{output.name}.{key}.part").open("a+b")
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        stream.close()
        raise RunError(f"Another process is writing {output}. Wait for it to end.") from error
    return stream


def _grow(part: BinaryIO, layout: Layout, answered: Answered, total: int, on_progress: OnProgress) -> None:
    """Add the rows that are missing, a chunk at a time, each on disk before the next is begun."""
    first = done = _begun(part, layout)
    started = time.perf_counter()
    for chunk in answered(done - done % CHUNK):
        part.write(b"".join(layout.line(*told) for told in chunk[done % CHUNK :]))
        part.flush()
        os.fsync(part.fileno())
        done += len(chunk) - done % CHUNK
        on_progress(done, total, (time.perf_counter() - started) / (done - first or 1) * (total - done))


def _begun(stream: BinaryIO, layout: Layout) -> int:
    """Cut the file after its last whole line, or record of a table; returns the rows that are there."""
    stream.seek(0)
    whole = end = position = 0
    inside = False
    for line in stream:
        position += len(line)
        inside ^= bool(layout.delimiter) and line.count(b'"') % 2 == 1  # a quote in a value stands twice
        if line.endswith(b"\n") and not inside:
            whole, end = whole + 1, position
    stream.truncate(end)
    if layout.delimiter and not whole:
        stream.write(layout.record([*layout.kept, *layout.columns.values()]))
    return max(0, whole - bool(layout.delimiter))


def _answered(
    assistant: Assistant, models: Models, file: Path, columns: Sequence[str], begin: int
) -> Iterator[list[tuple[Row, Json]]]:
    """The rows from `begin` on, in chunks, each with what is said of it."""
    reading = Reading(file)
    limit = PromptLimit(assistant, models.get(assistant.model, *assistant.needs))
    source = islice(raw_rows(reading), begin, None)
    while rows := list(islice(source, CHUNK)):
        asked = [_turns(Cells(reading, row), columns, limit) for row in rows]
        answers = iter(assistant.answer([turns for turns in asked if not isinstance(turns, str)], models))
        said = ({"problem": turns} if isinstance(turns, str) else _told(next(answers)) for turns in asked)
        yield list(zip(rows, said, strict=True))


def _turns(cells: Cells, columns: Sequence[str], limit: PromptLimit) -> tuple[Message, ...] | str:
    """The turns of a row, or why it cannot be answered."""
    before = len(cells.reading.faults)
    turns = question(cells, columns)
    if found := cells.reading.faults[before:]:
        del cells.reading.faults[before:]
        return found[0][1].message
    return turns if limit.fits(turns) else f"longer than the {limit.tokens:,} tokens that the model reads"


def _told(answer: Answer) -> Json:
    """What is said of one answer, and the value of each field by itself."""
    problem = "; ".join((*answer.failures, *(["stopped by the length limit"] if answer.truncated else [])))
    parts = answer.value.items() if isinstance(answer.value, dict) else ()
    told = {
        "answer": answer.text,
        "label": answer.value,
        "fields": answer.value,
        "form": answer.keeps_contract,
    }
    told |= {"confidence": answer.confidence, "handed_over": answer.handed_over}
    told |= {"citations": list(answer.citations), "problem": problem}
    return told | {f"fields.{name}": value for name, value in parts}


class Layout:
    """How a row is written: as a JSON line or, with a delimiter, as a record of a table."""

    def __init__(self, assistant: Assistant, kept: Sequence[str], delimiter: str | None) -> None:
        self.kept, self.delimiter, contract = kept, delimiter, assistant.contract
        schema = contract.json_schema if contract else None
        names = [name.removesuffix("?").strip() for name in contract.fields] if contract else []
        fields = (names or [*(schema or {}).get("properties", {})]) if delimiter else []
        columns = {"answer": "answer"} | {f"fields.{name}": name for name in fields}
        for name, there in {
            "label": assistant.kind == "classify",
            "fields": not fields and bool(names or schema),
            "confidence": bool(assistant.choices),
            "handed_over": assistant.handover is not None,
            "form": contract is not None,
            "citations": assistant.search is not None,
            "problem": True,
        }.items():
            columns |= {name: name} if there else {}
        self.columns: dict[str, str] = {}
        """What is said -> its column."""
        for key, name in columns.items():
            self.columns[key] = _free(name, [*kept, *self.columns.values()])

    def line(self, row: Row, told: Json) -> bytes:
        """A row with what is said of it."""
        if self.delimiter:
            return self.record([*map(row.cells.get, self.kept), *map(told.get, self.columns)])
        said = {column: told.get(name) for name, column in self.columns.items()}
        return json.dumps({**row.cells, **said}, ensure_ascii=False).encode(errors="backslashreplace") + b"\n"

    def record(self, values: Sequence[Any]) -> bytes:
        """A record of a table. Quotes around all values of a TSV file say that they are marks."""
        text = io.StringIO()
        quoting: Literal[0, 1] = csv.QUOTE_ALL if self.delimiter == "\t" else csv.QUOTE_MINIMAL
        writer = csv.writer(text, delimiter=str(self.delimiter), lineterminator="\n", quoting=quoting)
        writer.writerow(map(_cell, values))
        return text.getvalue().encode(errors="backslashreplace")


def _free(name: str, taken: Sequence[str]) -> str:
    return _free(f"predicted_{name}", taken) if name in taken else name


def _cell(value: Any) -> str:
    """A value in a table: a text as it is, texts joined by `; `, nothing for None, all else as JSON."""
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return "; ".join(value)
    return value if isinstance(value, str) else "" if value is None else json.dumps(value, ensure_ascii=False)

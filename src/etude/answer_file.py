"""`etude predict`: answer every row of a file of inputs and write a file of answers.

Both files are streams: a million rows need no more memory than a thousand. Answers are appended to
`OUTPUT.HASH.part` (the hash is of assistant and input), which is renamed to the output when it is
complete. Rows are answered in chunks that depend only on the input, so the output does not depend
on where an earlier call was stopped.
"""

import csv
import hashlib
import io
import json
import os
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, Literal

from etude import __version__
from etude.assistant import Assistant, PromptLimit, get_shared_models
from etude.base.files import Json
from etude.base.issues import refuse_existing
from etude.base.locks import lock_file
from etude.cluster import Workers, open_workers
from etude.data.formats.cells import Cells
from etude.data.formats.chat import read_question
from etude.data.formats.raw_rows import read_raw_rows
from etude.data.formats.read import find_input_columns
from etude.data.formats.row_reader import RawRow, RowReader
from etude.errors import InputError, RunError
from etude.models.registry import Models
from etude.runs.questions import Confirm, SendLimits, answer_unasked, confirm_service
from etude.runs.recommended import find_run_of, load, load_endpoints, read_input_columns, read_where
from etude.task import JSON_SUFFIXES, TABLE_SUFFIXES
from etude.types import Answer, Message

# rows that are answered together; if the process is killed, at most this many answers are lost
CHUNK = 128
OnProgress = Callable[[int, int, float], None]
"""Called after each chunk with the number of answered rows, of all rows, and the remaining
seconds.
"""
ReadAnswers = Callable[[int], Iterator[list[tuple[RawRow, Json]]]]
"""(number of the first row, a multiple of CHUNK) -> chunks of rows with their answer columns."""


@dataclass(frozen=True)
class AnswerFile:
    """A finished file of answers."""

    file: Path
    method: str
    num_rows: int
    num_problems: int  # rows with a `problem`: no answer, an answer cut off, or a broken contract


def predict(
    path: Path | str,
    file: Path | str,
    output: Path | str,
    *,
    method: str | None = None,
    input: Sequence[str] = (),
    on: str | None = None,
    on_progress: OnProgress = lambda done, total, left: None,
    confirm: Confirm = answer_unasked,
) -> AnswerFile:
    """Answer every row of `file` (.jsonl, .csv or .tsv) with an assistant and write `output`
    (.jsonl, .csv or .tsv).

    `path` is anything that `load` accepts; `method` replaces the recommended one. `input` lists the
    input columns; by default those of the task's examples if the file has them, else columns with a
    usual name. All columns are kept; `answer`, `label` (classify), `fields` (in a table one column
    each), `confidence`, `confidences` (in several questions), `withheld` (an answer that a sentence
    replaces), `handed_over`, `keeps_contract`, `citations` and `problem` are added if the assistant
    has them. A row whose input is empty or too long for the model is kept without an answer.

    `on` (default: the task's `where`) is local, or a Ray cluster whose workers answer the chunks;
    the output is the same. The same call continues an earlier one that was stopped. If a model
    behind a URL answers, `confirm` is asked about the cost first. Raises InputError for a file that
    cannot be read (with all errors) or an output that exists, RunError without an assistant or if
    another process writes the output, Declined if `confirm` says no.
    """
    assistant = load(path, method)
    file = Path(file)
    output = Path(output)
    refuse_existing(output, "delete it, or choose another name")
    if output.suffix.lower() not in (*JSON_SUFFIXES, *TABLE_SUFFIXES):
        raise InputError.of(
            str(output),
            "an unknown format",
            "",
            "use a file name that ends in .jsonl, .csv or .tsv",
        )
    run = find_run_of(Path(path))
    names, total, columns = find_input_columns(file, input, read_input_columns(run))
    models = Models(endpoints=load_endpoints(assistant, run))
    _confirm_sending(assistant, models, file, columns, total, confirm)
    layout = Layout(assistant, names, TABLE_SUFFIXES.get(output.suffix.lower()))
    with file.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    # A service is asked from this process, which counts requests and cost.
    where = "local" if models.find_service(assistant.model.name) else on or read_where(run)
    with (
        _open_partial(output, assistant.fingerprint, digest, columns) as partial_file,
        open_workers(where) as workers,
    ):
        read_answers = partial(_answer_rows, assistant, models, workers, file, columns)
        _write_rows(partial_file, layout, read_answers, total, on_progress)
    Path(partial_file.name).rename(output)
    problems = sum(
        bool(row.cells[layout.columns["problem"]]) for row in read_raw_rows(RowReader(output))
    )
    return AnswerFile(output, assistant.method, total, problems)


def _confirm_sending(
    assistant: Assistant,
    models: Models,
    file: Path,
    columns: Sequence[str],
    total: int,
    confirm: Confirm,
) -> None:
    """Ask before rows go to a service. All prompts' tokens are estimated from the first chunk.
    Raises Declined.
    """
    if (service := models.find_service(assistant.model.name)) is None:
        return
    model = models.get(assistant.model)
    reading = RowReader(file)
    limit = PromptLimit(assistant, model)
    rows = islice(read_raw_rows(reading), CHUNK)
    questions = [_read_question(Cells(reading, row), columns, limit) for row in rows]
    requests = assistant.build_requests(
        [turns for turns in questions if not isinstance(turns, str)], models
    )
    tokens = (
        sum(model.count_tokens(request.messages) for request in requests) / len(questions) * total
    )
    sending = SendLimits(total, round(tokens), total * assistant.max_tokens)
    confirm_service(
        service, sending, f"will get the rows of {file.name}", lambda event: None, confirm
    )


def _open_partial(output: Path, *inputs: object) -> BinaryIO:
    """Open the file of answers so far, locked for this process."""
    key = hashlib.sha256(repr((*inputs, CHUNK, __version__)).encode()).hexdigest()[:8]
    output.parent.mkdir(parents=True, exist_ok=True)
    stream = output.with_name(f"{output.name}.{key}.part").open("a+b")
    try:
        lock_file(stream)
    except BlockingIOError as error:
        stream.close()
        raise RunError(f"Another process is writing {output}. Wait for it to end.") from error
    return stream


def _write_rows(
    partial_file: BinaryIO,
    layout: "Layout",
    read_answers: ReadAnswers,
    total: int,
    on_progress: OnProgress,
) -> None:
    num_before = num_done = _cut_incomplete_row(partial_file, layout)
    started = time.perf_counter()
    for chunk in read_answers(num_done - num_done % CHUNK):
        partial_file.write(b"".join(layout.format_row(*pair) for pair in chunk[num_done % CHUNK :]))
        partial_file.flush()
        os.fsync(partial_file.fileno())
        num_done += len(chunk) - num_done % CHUNK
        pace = (time.perf_counter() - started) / (num_done - num_before or 1)
        on_progress(num_done, total, pace * (total - num_done))


def _cut_incomplete_row(stream: BinaryIO, layout: "Layout") -> int:
    """Cut the file after its last whole row and return the number of rows. Writes the header of a
    new table.
    """
    stream.seek(0)
    num_whole = end = position = 0
    is_quoted = False
    for line in stream:
        position += len(line)
        # A quoted value may contain line breaks; a quote inside it is doubled.
        is_quoted ^= bool(layout.delimiter) and line.count(b'"') % 2 == 1
        if line.endswith(b"\n") and not is_quoted:
            num_whole = num_whole + 1
            end = position
    stream.truncate(end)
    if layout.delimiter and not num_whole:
        stream.write(layout.format_record([*layout.input_columns, *layout.columns.values()]))
    return max(0, num_whole - bool(layout.delimiter))


def _answer_rows(
    assistant: Assistant,
    models: Models,
    workers: Workers,
    file: Path,
    columns: Sequence[str],
    first_row: int,
) -> Iterator[list[tuple[RawRow, Json]]]:
    source = islice(read_raw_rows(RowReader(file)), first_row, None)
    taken = deque[list[RawRow]]()

    def take_chunks() -> Iterator[list[RawRow]]:
        while rows := list(islice(source, CHUNK)):
            taken.append(rows)
            yield rows

    shared_models = None if workers.is_remote else models
    for values in workers.map(
        _answer_chunk, take_chunks(), assistant, file, columns, shared_models
    ):
        yield list(zip(taken.popleft(), values, strict=True))


def _answer_chunk(
    rows: Sequence[RawRow],
    assistant: Assistant,
    file: Path,
    columns: Sequence[str],
    models: Models | None,
) -> list[Json]:
    """Return the answer columns of each row. Without `models`, those of this process are used."""
    models = models or get_shared_models()
    reading = RowReader(file)
    limit = PromptLimit(assistant, models.get(assistant.model, *assistant.needs))
    questions = [_read_question(Cells(reading, row), columns, limit) for row in rows]
    answers = iter(
        assistant.answer([turns for turns in questions if not isinstance(turns, str)], models)
    )
    return [
        {"problem": turns} if isinstance(turns, str) else _to_columns(next(answers))
        for turns in questions
    ]


def _read_question(
    cells: Cells, columns: Sequence[str], limit: PromptLimit
) -> tuple[Message, ...] | str:
    """Return the turns of a row, or why it cannot be answered."""
    num_before = len(cells.reader.issues)
    turns = read_question(cells, columns, limit.assistant.row_systems)
    if new_issues := cells.reader.issues[num_before:]:
        del cells.reader.issues[num_before:]
        return new_issues[0][1].message
    return (
        turns
        if limit.fits(turns)
        else f"longer than the {limit.tokens:,} tokens that a prompt may have"
    )


def _to_columns(answer: Answer) -> Json:
    problem = "; ".join(
        (*answer.failures, *(["stopped by the length limit"] if answer.truncated else []))
    )
    fields = answer.value if isinstance(answer.value, dict) else {}
    return {
        "answer": answer.shown,
        "withheld": answer.text if answer.sentence else None,
        "label": answer.value,
        "fields": answer.value,
        "confidence": answer.confidence,
        "confidences": dict(answer.confidences) or None,
        "handed_over": answer.handed_over,
        "limit": answer.limit,
        "keeps_contract": answer.keeps_contract,
        "citations": list(answer.citations),
        "problem": problem,
        **{f"fields.{name}": value for name, value in fields.items()},
    }


class Layout:
    """The columns of the output; formats a row as a JSON line or, with a delimiter, as a record of
    a table.
    """

    def __init__(
        self, assistant: Assistant, input_columns: Sequence[str], delimiter: str | None
    ) -> None:
        self.input_columns = input_columns
        self.delimiter = delimiter
        contract = assistant.contract
        schema = contract.json_schema if contract else None
        names = [name.removesuffix("?").strip() for name in contract.fields] if contract else []
        fields = (names or [*(schema or {}).get("properties", {})]) if delimiter else []
        is_label = assistant.kind == "classify" and not assistant.questions
        columns = {"answer": "answer"} | {f"fields.{name}": name for name in fields}
        for name, is_present in {
            "label": is_label,
            "fields": not fields and bool(names or schema) and not is_label,
            "confidences": bool(assistant.questions),
            "confidence": bool(
                assistant.choices or assistant.questions or assistant.answer_confidence
            ),
            "withheld": bool(assistant.unsure_sentence),
            "handed_over": assistant.handover is not None or assistant.has_limits,
            "limit": assistant.has_limits,
            "keeps_contract": contract is not None,
            "citations": assistant.search is not None,
            "problem": True,
        }.items():
            columns |= {name: name} if is_present else {}
        self.columns: dict[str, str] = {}
        """Key of an answer -> its column, renamed if an input column has the same name."""
        for key, name in columns.items():
            self.columns[key] = _choose_free_name(name, [*input_columns, *self.columns.values()])

    def format_row(self, row: RawRow, values: Json) -> bytes:
        """Format a row with its answer columns."""
        if self.delimiter:
            cells = map(row.cells.get, self.input_columns)
            return self.format_record([*cells, *map(values.get, self.columns)])
        columns = {column: values.get(name) for name, column in self.columns.items()}
        line = json.dumps({**row.cells, **columns}, ensure_ascii=False)
        return line.encode(errors="backslashreplace") + b"\n"

    def format_record(self, values: Sequence[Any]) -> bytes:
        """Format a record of a table."""
        text = io.StringIO()
        # Readers treat quotes in a TSV file as quotation marks only if all its values are quoted.
        quoting: Literal[0, 1] = csv.QUOTE_ALL if self.delimiter == "\t" else csv.QUOTE_MINIMAL
        writer = csv.writer(
            text, delimiter=str(self.delimiter), lineterminator="\n", quoting=quoting
        )
        writer.writerow(map(_format_cell, values))
        return text.getvalue().encode(errors="backslashreplace")


def _choose_free_name(name: str, taken: Sequence[str]) -> str:
    return _choose_free_name(f"predicted_{name}", taken) if name in taken else name


def _format_cell(value: Any) -> str:
    """Format a value for a table: a text unchanged, texts joined by `; `, "" for None, anything
    else as JSON.
    """
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return "; ".join(value)
    return (
        value
        if isinstance(value, str)
        else ""
        if value is None
        else json.dumps(value, ensure_ascii=False)
    )

"""Read a record of answered requests: the folder of `etude serve --record`, or any file of requests."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from etude.base.formatting import format_count
from etude.data.formats.cells import Cells
from etude.data.formats.chat import read_question
from etude.data.formats.columns import guess_input_columns
from etude.data.formats.raw_rows import read_raw_rows
from etude.data.formats.row_reader import RowReader
from etude.errors import InputError
from etude.limits.scope import get_question
from etude.watch.record import FILES, hash_exchange


@dataclass(frozen=True, slots=True)
class RecordedRequest:
    """One answered request; a text is "" if it is unknown."""

    id: str
    time: datetime | None
    question: str  # what is compared with the rows
    confidence: float | None
    handed_over: bool
    limit: str  # the limit that turned it away
    assistant: str  # RUN/METHOD
    fingerprint: str  # the assistant's
    exchange: str  # `hash_exchange` of input and answer


def read_record(
    path: Path, usual: Sequence[str], runs: Collection[str], fingerprint: str, notes: list[str]
) -> list[RecordedRequest]:
    """Read the requests in the order of their times. What was wrong with the record becomes notes.

    `usual` are input columns for files that have them. Requests to assistants of another run than `runs` are left out,
    except with this `fingerprint`. Raises InputError if none is left.
    """
    files = [path] if path.is_file() else sorted(path.glob(FILES))
    own, others = list[RecordedRequest](), list[str]()
    for request in (request for file in files for request in _read_file(file, usual, notes)):
        if request.assistant.partition("/")[0] in {"", *runs} or request.fingerprint == fingerprint:
            own.append(request)
        else:
            others.append(request.assistant)
    if others:
        number, names = format_count(len(others), "request"), ", ".join(sorted({*others}))
        notes.append(f"{number} left out, because assistants of another task answered: {names}")
    if not own:
        remedy = "serve the task with --record FOLDER, or give a file of its requests"
        raise InputError.of(str(path), "no requests of this task in the record", "; ".join(notes), remedy)
    return sorted(own, key=lambda request: request.time or datetime.min.replace(tzinfo=UTC))


def _read_file(file: Path, usual: Sequence[str], notes: list[str]) -> Iterator[RecordedRequest]:
    reader, latest, num_backwards = RowReader(file), None, 0
    rows = list(read_raw_rows(reader))
    names = list(dict.fromkeys(name for row in rows for name in row.cells))
    columns = usual if usual and {*usual} <= {*names} else None
    columns = columns or guess_input_columns(names, [row.cells for row in rows]) or ("input",)
    for row in rows:
        request = _read_request(Cells(reader, row), columns)
        if request and request.time and latest and request.time < latest:
            num_backwards += 1
            request = replace(request, time=latest)
        if request:
            latest = request.time or latest
            yield request
    if reader.issues:
        (_, first), number = reader.issues[0], len({line for line, _ in reader.issues})
        skipped = f"{format_count(number, 'line')} of {file.name} skipped"
        notes.append(f"{skipped}, such as {first.location}: {first.message}")
    if num_backwards:
        number_set = f"{format_count(num_backwards, 'request')} of {file.name}"
        notes.append(f"The clock ran backwards; {number_set} counted at the time of an earlier one")


def _read_request(cells: Cells, columns: Sequence[str]) -> RecordedRequest | None:
    row, turns = cells.row.cells, read_question(cells, columns)
    if not turns:
        return None
    limit, assistant, fingerprint, answer = (
        str(row.get(name) or "") for name in ("limit", "assistant", "fingerprint", "answer")
    )
    try:
        time = datetime.fromisoformat(str(row.get("time"))) if row.get("time") else None
        confidence = float(row["confidence"]) if row.get("confidence") not in (None, "") else None
    except (TypeError, ValueError) as error:
        cells.add_issue(f"time or confidence: {error}", "", "correct the line")
        return None
    return RecordedRequest(
        f"{row['id']}/{row.get('index', 0)}" if row.get("id") else "",
        time.replace(tzinfo=time.tzinfo or UTC) if time else None,
        get_question(turns),
        confidence,
        str(row.get("handed_over")).lower() == "true",
        *(limit, assistant, fingerprint),
        str(row.get("exchange") or hash_exchange(turns, answer)),
    )

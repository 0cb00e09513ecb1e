"""The record of answered requests that `etude serve --record FOLDER` writes: a file of JSON lines per day and process.
`read_record` also reads any other file of requests.

A thread masks and writes the lines every FLUSH_SECONDS, so no answer waits for the disk, and a kill loses at most the
lines of that time. If the disk fails, the record stops and the server goes on.
"""

import hashlib
import json
import logging
import os
import threading
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from etude.assistant import Assistant
from etude.base.files import Json
from etude.base.formatting import format_count
from etude.data.formats.cells import Cells
from etude.data.formats.chat import read_question
from etude.data.formats.columns import guess_input_columns
from etude.data.formats.raw_rows import read_raw_rows
from etude.data.formats.row_reader import RowReader
from etude.errors import InputError
from etude.limits.scope import get_question
from etude.privacy.find import find
from etude.privacy.mask.masking import Masker
from etude.types import Answer, Message

LOG = logging.getLogger("etude.serve")
FLUSH_SECONDS = 0.5
MAX_WAITING = 20_000  # lines that wait for the disk; with more, the record stops
FILES = "requests-*.jsonl"


def hash_exchange(turns: Sequence[Message], answer: str) -> str:
    """Hash an input and its answer, by which feedback on the answer is found although the record is masked."""
    pairs = [(turn.role, turn.content) for turn in turns]
    return hashlib.sha256(repr((pairs, answer)).encode("utf-8", "surrogatepass")).hexdigest()[:16]


def mask_texts(texts: Sequence[str], key: bytes) -> list[str]:
    """Mask personal data of all kinds; a value has the same surrogate in all texts, and mostly in all calls."""
    spans = [find(text) for text in texts]
    masker = Masker(key) if any(spans) else None
    pairs = zip(texts, spans, strict=True)
    return [masker.mask(text, places) if masker and places else text for text, places in pairs]


class TrafficRecord:
    """Appends answered requests to a file in `folder`, where files are kept for `days`; `is_plain` masks nothing."""

    def __init__(self, folder: Path, days: int = 30, is_plain: bool = False) -> None:
        self.folder, self.days, self.is_plain = folder, days, is_plain
        self._key, self._process = os.urandom(32), f"{os.getpid()}-{os.urandom(3).hex()}"
        self._waiting: list[tuple[Assistant, Sequence[Message], Json]] = []
        self._has_stopped, self._is_closing = False, threading.Event()
        self._thread = threading.Thread(target=self._run, name="record", daemon=True)
        self._thread.start()

    def add(
        self, request: Json, source: str, assistant: Assistant, turns: Sequence[Message], answer: Answer
    ) -> None:
        """Queue an answered request. `request` has the id and the index that feedback on the answer refers to."""
        if self._has_stopped:
            return
        line = {
            **{**request, "time": datetime.now(UTC).isoformat(timespec="milliseconds"), "assistant": source},
            **{"answer": answer.text, "confidence": answer.confidence, "handed_over": answer.handed_over},
            **{"limit": answer.limit, "citations": answer.citations},
        }
        self._waiting.append((assistant, turns, line))
        if len(self._waiting) > MAX_WAITING:
            self._stop("requests arrive faster than they can be written")

    def close(self) -> None:
        """Write what waits, and end the thread."""
        self._is_closing.set()
        self._thread.join()

    def _run(self) -> None:
        is_last = False
        while not (is_last or self._has_stopped):
            is_last = self._is_closing.wait(FLUSH_SECONDS)
            lines = self._waiting[:]
            del self._waiting[: len(lines)]  # another thread may have appended
            try:
                self._write(lines)
            except OSError as error:
                self._stop(error.strerror or str(error))

    def _stop(self, reason: str) -> None:
        self._has_stopped = True
        self._waiting.clear()
        LOG.error(
            "The record in %s stopped (%s). The server goes on; restart it to record", self.folder, reason
        )

    def _write(self, lines: Sequence[tuple[Assistant, Sequence[Message], Json]]) -> None:
        if not lines:
            return
        today = datetime.now(UTC).date()
        file = self.folder / f"requests-{today}-{self._process}.jsonl"
        if not file.exists():
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            for old in self.folder.glob(FILES):
                if old.name < f"requests-{today - timedelta(days=self.days)}":
                    old.unlink(missing_ok=True)
        content = b"".join(self._encode(*line) for line in lines)
        with open(file, "ab", opener=lambda path, flags: os.open(path, flags, 0o600)) as out:
            out.write(content)

    def _encode(self, assistant: Assistant, turns: Sequence[Message], line: Json) -> bytes:
        texts = [*(turn.content for turn in turns), line["answer"]]
        masked = texts if self.is_plain else mask_texts(texts, self._key)
        messages = [{"role": turn.role, "content": text} for turn, text in zip(turns, masked, strict=False)]
        names = {"fingerprint": assistant.fingerprint, "exchange": hash_exchange(turns, line["answer"])}
        body = {**line, **names, "input": masked[0] if len(turns) == 1 else messages, "answer": masked[-1]}
        return json.dumps(body).encode() + b"\n"


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

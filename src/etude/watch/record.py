"""The record of answered requests that `etude serve --record FOLDER` writes: a file of JSON lines
per day and process. `read_record` also reads any other file of requests.

A thread masks and writes the lines. An answer ends when its line is written, so a kill loses no
line of an answer that a client has received. If the disk is slower than WAIT_SECONDS, the answer
ends without its line; if it fails, the record stops and the server goes on.
"""

import json
import logging
import math
import os
import queue
import threading
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from etude.assistant import Assistant
from etude.base.files import Json, hold_lock, write_bytes
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
from etude.watch.record_key import VARIABLE, RecordKey, find_key_file, load_record_key

LOG = logging.getLogger("etude.serve")
WAIT_SECONDS = 1.0  # how long an answer waits for its line
MAX_WAITING = 20_000  # lines that wait for the disk; with more, the record stops
NUM_FILES = 10  # a file has at most this share of the size of the record
FILES = "requests-*.jsonl"
LOCK = "record.lock"  # held while files of a record are changed
Entry = tuple[Assistant, Sequence[Message], Json, Future[None]]


def mask_texts(texts: Sequence[str], key: bytes) -> list[str]:
    """Mask personal data of all kinds; a value has the same surrogate in all texts, and mostly in
    all calls.
    """
    spans = [find(text) for text in texts]
    masker = Masker(key) if any(spans) else None
    pairs = zip(texts, spans, strict=True)
    return [masker.mask(text, places) if masker and places else text for text, places in pairs]


class TrafficRecord:
    """Appends answered requests to files in `folder`. A file is deleted after `days`, or if all
    files together are larger than `max_bytes`. `is_plain` masks nothing. Raises InputError for the
    key's file.
    """

    def __init__(
        self, folder: Path, days: int = 30, is_plain: bool = False, max_bytes: float = math.inf
    ) -> None:
        self.key = load_record_key(folder)
        self.folder = folder
        self.days = days
        self.is_plain = is_plain
        self.max_bytes = max_bytes
        self._masking = os.urandom(32)
        self._process = f"{os.getpid()}-{os.urandom(3).hex()}"
        self._file = folder
        self._num_files = 0
        self._waiting: queue.SimpleQueue[Entry | None] = queue.SimpleQueue()
        self._has_stopped = False
        self._thread = threading.Thread(target=self._run, name="record", daemon=True)
        self._thread.start()

    def add(
        self,
        request: Json,
        source: str,
        assistant: Assistant,
        turns: Sequence[Message],
        answer: Answer,
    ) -> Future[None]:
        """Queue an answered request. The result is done when it is written, or when the record has
        stopped.

        `request` has the id and the index that feedback on the answer refers to, and the hash of
        the client's user.
        """
        written = Future[None]()
        written.set_running_or_notify_cancel()  # from now on, nobody can cancel it
        line = {
            **{
                **request,
                "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
                "assistant": source,
            },
            **{
                "answer": answer.text,
                "confidence": answer.confidence,
                "handed_over": answer.handed_over,
            },
            **{"limit": answer.limit, "citations": answer.citations},
        }
        if not self._has_stopped and self._waiting.qsize() >= MAX_WAITING:
            self._stop("requests arrive faster than they can be written")
        if self._has_stopped:
            written.set_result(None)
        else:
            self._waiting.put((assistant, turns, line, written))
        return written

    def close(self) -> None:
        """Write what waits, and end the thread."""
        self._waiting.put(None)
        self._thread.join()

    def _run(self) -> None:
        is_last = False
        while not is_last:
            entries = [self._waiting.get()]
            entries += [self._waiting.get() for _ in range(self._waiting.qsize())]
            is_last = None in entries
            lines = [entry for entry in entries if entry]
            try:
                if lines and not self._has_stopped:
                    self._write(lines)
            except (OSError, ValueError) as error:
                self._stop(getattr(error, "strerror", None) or str(error))
            for *_, written in lines:
                written.set_result(None)

    def _stop(self, reason: str) -> None:
        self._has_stopped = True
        LOG.error(
            "The record in %s stopped (%s). The server goes on without it", self.folder, reason
        )

    def _write(self, lines: Sequence[Entry]) -> None:
        content = b"".join(self._encode(*line[:3]) for line in lines)
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with hold_lock(self.folder / LOCK):
            file = self._choose_file(len(content))
            with open(file, "ab", opener=lambda path, flags: os.open(path, flags, 0o600)) as out:
                out.write(content)

    def _choose_file(self, num_bytes: int) -> Path:
        """Return today's file with space for `num_bytes`, or else a new one; before a new one,
        delete old files.
        """
        today = datetime.now(UTC).date()
        name = f"requests-{today}-{self._process}"
        full = self.max_bytes / NUM_FILES
        size = self._file.stat().st_size if self._file.exists() else 0
        if self._file.name.startswith(name) and size + num_bytes <= full:
            return self._file
        self._num_files += 1
        self._file = self.folder / f"{name}-{self._num_files}.jsonl"
        total = max(full, num_bytes)
        files = self.folder.glob(FILES)
        for old in sorted(
            files, key=lambda file: (file.name[:19], file.stat().st_mtime_ns), reverse=True
        ):
            total += old.stat().st_size
            if total > self.max_bytes or old.name < f"requests-{today - timedelta(days=self.days)}":
                old.unlink()
        return self._file

    def _encode(self, assistant: Assistant, turns: Sequence[Message], line: Json) -> bytes:
        texts = [*(turn.content for turn in turns), line["answer"]]
        masked = texts if self.is_plain else mask_texts(texts, self._masking)
        messages = [
            {"role": turn.role, "content": text} for turn, text in zip(turns, masked, strict=False)
        ]
        names = {
            "fingerprint": assistant.fingerprint,
            "key": self.key.id,
            "exchange": self.key.hash_exchange(turns, line["answer"]),
        }
        body = {
            **line,
            **names,
            "input": masked[0] if len(turns) == 1 else messages,
            "answer": masked[-1],
        }
        return json.dumps(body).encode() + b"\n"


def forget(folder: Path, name: str) -> int:
    """Delete the requests of an id, or of the `user` that clients named, from a record. Returns how
    many there were. Raises InputError for the key's file.

    A server may write to the record meanwhile. The files with the distances keep the id and the
    distance, no text.
    """
    number = 0
    key = load_record_key(folder)
    texts = f'"id": {json.dumps(name)}', f'"user": "{key.hash_user(name)}"'  # as in `_encode`
    marks = [text.encode() for text in texts]
    with hold_lock(folder / LOCK):
        for file in folder.glob(FILES):
            lines = file.read_bytes().splitlines(keepends=True)
            others = [line for line in lines if not any(mark in line for mark in marks)]
            if len(others) < len(lines):
                write_bytes(file, b"".join(others), private=True)
                number += len(lines) - len(others)
    return number


@dataclass(frozen=True, slots=True)
class RecordedRequest:
    """One answered request; a text is "" if it is unknown."""

    id: str
    time: datetime | None
    turns: tuple[Message, ...]
    question: str  # of the turns, what is compared with the rows
    answer: str
    confidence: float | None
    handed_over: bool
    limit: str  # the limit that turned it away
    assistant: str  # RUN/METHOD
    fingerprint: str  # the assistant's
    key: str  # the id of the key that `exchange` was computed with
    exchange: str  # `RecordKey.hash_exchange` of input and answer


def read_record(
    path: Path,
    usual: Sequence[str],
    runs: Collection[str],
    fingerprint: str,
    notes: list[str],
    key: RecordKey,
) -> list[RecordedRequest]:
    """Read the requests in the order of their times. What was wrong with the record becomes notes.

    `key` hashes the exchanges of lines without a hash. `usual` are input columns for files that
    have them. Requests to assistants of another run than `runs` are left out, except with this
    `fingerprint`. Raises InputError if none is left.
    """
    files = [path] if path.is_file() else sorted(path.glob(FILES))
    own = list[RecordedRequest]()
    others = list[str]()
    for request in (request for file in files for request in _read_file(file, usual, notes, key)):
        if request.assistant.partition("/")[0] in {"", *runs} or request.fingerprint == fingerprint:
            own.append(request)
        else:
            others.append(request.assistant)

    num_other_key = sum(request.key != key.id for request in own)
    if num_other_key:
        number = format_count(num_other_key, "request")
        notes.append(
            f"{number} recorded with a key other than {find_key_file()}, so feedback on them does "
            f"not count. If you have that key, name its file in {VARIABLE}"
        )
    if others:
        number = format_count(len(others), "request")
        names = ", ".join(sorted({*others}))
        notes.append(f"{number} left out, because assistants of another task answered: {names}")

    if not own:
        remedy = (
            "give the FOLDER of etude serve --record, or a file of requests: etude watch TASK "
            "FOLDER"
        )
        raise InputError.of(
            str(path), "no requests of this task in the record", "; ".join(notes), remedy
        )
    return sorted(own, key=lambda request: request.time or datetime.min.replace(tzinfo=UTC))


def _read_file(
    file: Path, usual: Sequence[str], notes: list[str], key: RecordKey
) -> Iterator[RecordedRequest]:
    reader = RowReader(file)
    latest = None
    num_backwards = 0
    rows = list(read_raw_rows(reader))
    names = list(dict.fromkeys(name for row in rows for name in row.cells))
    columns = usual if usual and {*usual} <= {*names} else None
    columns = columns or guess_input_columns(names, [row.cells for row in rows]) or ("input",)
    for row in rows:
        request = _read_request(Cells(reader, row), columns, key)
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


def _read_request(cells: Cells, columns: Sequence[str], key: RecordKey) -> RecordedRequest | None:
    row = cells.row.cells
    turns = read_question(cells, columns)
    if not turns:
        return None
    limit, assistant, fingerprint, answer, exchange = (
        str(row.get(name) or "")
        for name in ("limit", "assistant", "fingerprint", "answer", "exchange")
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
        turns,
        get_question(turns),
        answer,
        confidence,
        str(row.get("handed_over")).lower() == "true",
        *(limit, assistant, fingerprint),
        key=str(row.get("key") or "") if exchange else key.id,
        exchange=exchange or key.hash_exchange(turns, answer),
    )

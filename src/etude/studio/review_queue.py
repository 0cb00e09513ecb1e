"""The answers that wait for a reviewer, in one SQLite file that all pages and restarts share.

Feedback is saved in feedback.jsonl, not here: a lost queue is built again.
"""

import hashlib
import json
import secrets
import sqlite3
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from etude.base.files import Json
from etude.base.issues import raise_issues
from etude.data.formats.cells import Cells
from etude.data.formats.chat import read_question
from etude.data.formats.raw_rows import read_raw_rows
from etude.data.formats.read import find_input_columns
from etude.data.formats.row_reader import RowReader
from etude.types import Message

Source = Literal["requests", "dev"]
HOLD_SECONDS = 900.0  # how long an answer that somebody reads is hidden from others
_SCHEMA = """
create table if not exists items (
  id text primary key, source text, position integer, body text, answer text, answer_hash text, urgency real,
  done integer default 0, reviewer text, held_until real default 0);
create index if not exists waiting on items (source, done, urgency, position);
create index if not exists answers on items (answer_hash);
create index if not exists reviewers on items (reviewer, done, held_until);
create table if not exists settings (name text primary key, value text);
create table if not exists people (name text primary key, role text, hash text);
"""


@dataclass(frozen=True)
class ReviewItem:
    """An input with the answer to be reviewed."""

    source: Source
    input: tuple[Message, ...]
    assistant: str  # RUN/METHOD, as in feedback
    answer: str | None = None  # None until the assistant has answered
    expected: str | None = None  # the answer in the examples, for a dev row
    failures: tuple[str, ...] = ()
    citations: tuple[str, ...] = ()
    confidence: float | None = None
    urgency: float = 1.0  # the lowest is reviewed first

    @property
    def id(self) -> str:
        """A hash of the source, the assistant and the input."""
        return _hash([self.source, self.assistant, _encode_turns(self.input)])

    @property
    def answer_hash(self) -> str | None:
        """A hash of input and answer, by which feedback on it is recognized; None without an answer."""
        return None if self.answer is None else hash_answer(self.input, self.answer)


def hash_answer(turns: Sequence[Message], answer: str) -> str:
    """A hash of what a reviewer has seen."""
    return _hash([_encode_turns(turns), answer])


@dataclass(frozen=True)
class ReviewCounts:
    """How many items of a source there are, have an answer, and are reviewed."""

    total: int
    answered: int
    done: int

    @property
    def waiting(self) -> int:
        """Items that have an answer and are not reviewed."""
        return self.answered - self.done


class ReviewQueue:
    """A queue of items. Every method is one transaction, so that threads and processes may share the file."""

    def __init__(self, file: Path) -> None:
        self.file = file
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch(mode=0o600)  # it contains the secret of all sign-in links
        with self._open() as database:
            database.execute("pragma journal_mode = wal")  # readers do not wait for writers
            database.executescript(_SCHEMA)

    def replace_source(self, source: Source, items: Sequence[ReviewItem]) -> None:
        """Make these the items of a source, in their order. Those already there keep their state."""
        with self._open() as database:
            database.execute("create temporary table current (id text primary key)")
            database.executemany("insert or ignore into current values (?)", ((item.id,) for item in items))
            database.execute(
                "delete from items where source = ? and id not in (select id from current)", (source,)
            )
            database.executemany(
                "insert or ignore into items (id, source, position, body, answer, answer_hash, urgency) "
                "values (?, ?, ?, ?, ?, ?, ?)",
                (
                    (item.id, source, number, _encode_body(item), item.answer, item.answer_hash, item.urgency)
                    for number, item in enumerate(items)
                ),
            )

    def list_unanswered(self, limit: int) -> list[ReviewItem]:
        """List items that wait for the assistant, in their order."""
        query = "select * from items where answer is null order by position limit ?"
        return [_decode_item(row) for row in self._run(query, limit)]

    def set_answer(self, item: ReviewItem) -> None:
        """Save the answer to an item."""
        query = "update items set body = ?, answer = ?, answer_hash = ?, urgency = ? where id = ?"
        self._run(query, _encode_body(item), item.answer, item.answer_hash, item.urgency, item.id)

    def mark_done(self, hashes: Iterable[str]) -> None:
        """Mark the items with these answer hashes as reviewed."""
        with self._open() as database:
            database.executemany(
                "update items set done = 1 where answer_hash = ?", ((digest,) for digest in hashes)
            )

    def take_next(self, reviewer: str, source: Source) -> ReviewItem | None:
        """Return the next item and hold it for a reviewer; the one they already hold comes first."""
        now = time.time()
        with self._open() as database:
            # Locks the file before reading, so that two reviewers never get the same item.
            database.execute("begin immediate")
            waiting = "select * from items where source = ? and done = 0 and answer is not null and "
            own = f"{waiting} reviewer = ? and held_until >= ?"
            free = f"{waiting} held_until < ? order by urgency, position"
            row = (
                database.execute(own, (source, reviewer, now)).fetchone()
                or database.execute(free, (source, now)).fetchone()
            )
            if row is None:
                return None
            database.execute(
                "update items set reviewer = ?, held_until = ? where id = ?",
                (reviewer, now + HOLD_SECONDS, row["id"]),
            )
            return _decode_item(row)

    def find(self, item_id: str) -> ReviewItem | None:
        """Return the item of an id."""
        rows = self._run("select * from items where id = ?", item_id)
        return _decode_item(rows[0]) if rows else None

    def finish(self, item_id: str, reviewer: str) -> None:
        """Mark an item as reviewed."""
        query = "update items set done = 1, reviewer = ?, held_until = ? where id = ?"
        self._run(query, reviewer, time.time(), item_id)

    def put_back(self, item_id: str) -> None:
        """Put an item behind all others."""
        last = "(select max(urgency) + 1 from items)"
        self._run(f"update items set reviewer = null, held_until = 0, urgency = {last} where id = ?", item_id)

    def find_last(self, reviewer: str, source: Source) -> ReviewItem | None:
        """Return the item that a reviewer has reviewed last."""
        query = "select * from items where source = ? and done = 1 and reviewer = ? order by held_until desc"
        rows = self._run(f"{query} limit 1", source, reviewer)
        return _decode_item(rows[0]) if rows else None

    def count(self, source: Source) -> ReviewCounts:
        """Count how far a source is reviewed."""
        query = "select count(*), count(answer), coalesce(sum(done), 0) from items where source = ?"
        return ReviewCounts(*self._run(query, source)[0])

    @property
    def secret(self) -> str:
        """A random text that survives restarts, from which sign-in links and form tokens are derived."""
        self._run("insert or ignore into settings values ('secret', ?)", secrets.token_urlsafe(24))
        return str(self._run("select value from settings where name = 'secret'")[0][0])

    def invite(self, name: str, role: str, hash: str) -> None:
        """Save a person with the hash of their key, which replaces an earlier one."""
        self._run("insert or replace into people values (?, ?, ?)", name, role, hash)

    @property
    def people(self) -> list[tuple[str, str, str]]:
        """(name, role, hash) of everyone who was invited."""
        return [tuple(row) for row in self._run("select name, role, hash from people")]

    def _run(self, query: str, *values: object) -> list[sqlite3.Row]:
        with self._open() as database:
            return database.execute(query, values).fetchall()

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        database = sqlite3.connect(self.file, timeout=30)
        database.row_factory = sqlite3.Row
        try:
            with database:
                yield database
        finally:
            database.close()


def read_requests(
    file: Path, columns: Sequence[str] = (), default_columns: Sequence[str] = ()
) -> list[tuple[Message, ...]]:
    """Read a .jsonl, .csv or .tsv file of requests without answers, or of logged chats; each input once.

    The input is in `columns`, else in `default_columns` if the file has them, else in columns with a usual name.
    System messages and the answer that ends a chat are left out. Raises InputError with every row that cannot be read,
    and if no column is known to be the input.
    """
    _, _, source = find_input_columns(file, columns, default_columns)
    reader = RowReader(file)
    inputs = dict.fromkeys(read_question(Cells(reader, row), source) for row in read_raw_rows(reader))
    raise_issues([issue for _, issue in reader.issues], file)
    return list(inputs)


def _encode_body(item: ReviewItem) -> str:
    body: Json = {"input": _encode_turns(item.input), "assistant": item.assistant, "expected": item.expected}
    body |= {"failures": item.failures, "citations": item.citations, "confidence": item.confidence}
    return json.dumps(body)


def _decode_item(row: sqlite3.Row) -> ReviewItem:
    body: Json = json.loads(row["body"])
    lists: dict[str, Any] = {name: tuple(body.pop(name)) for name in ("failures", "citations")}
    turns = tuple(Message(role, content) for role, content in body.pop("input"))
    item = ReviewItem(source=row["source"], input=turns, **lists, **body)
    return replace(item, answer=row["answer"], urgency=row["urgency"])


def _encode_turns(turns: Sequence[Message]) -> list[tuple[str, str]]:
    return [(turn.role, turn.content) for turn in turns]


def _hash(value: object) -> str:
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()[:20]

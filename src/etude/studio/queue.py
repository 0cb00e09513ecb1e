"""The answers that wait for a person, in one SQLite file that every page and every restart shares.

What people say is not kept here but in feedback.jsonl: a queue that is lost can be made again.
"""

from __future__ import annotations

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
from etude.types import Message

Source = Literal["requests", "dev"]
HELD_SECONDS = 900.0
"""So long an answer that somebody reads is shown to nobody else."""
_SCHEMA = """
create table if not exists items (
  id text primary key, source text, place integer, body text, answer text, shown text, priority real,
  done integer default 0, who text, until real default 0);
create index if not exists waiting on items (source, done, priority, place);
create index if not exists answers on items (shown);
create index if not exists people on items (who, done, until);
create table if not exists settings (name text primary key, value text);
create table if not exists invited (name text primary key, role text, hash text);
"""


@dataclass(frozen=True)
class Item:
    """An input with the answer to be reviewed."""

    source: Source
    input: tuple[Message, ...]
    assistant: str
    """As feedback names it: RUN/METHOD."""
    answer: str | None = None
    """None until the assistant has answered."""
    expected: str | None = None
    """The answer in the examples, for a row of them."""
    failures: tuple[str, ...] = ()
    citations: tuple[str, ...] = ()
    confidence: float | None = None
    urgency: float = 1.0
    """The lowest is reviewed first."""

    @property
    def id(self) -> str:
        """A hash of who answers what."""
        return _hash([self.source, self.assistant, _turns(self.input)])

    @property
    def shown(self) -> str:
        """A hash of input and answer, by which the item is known in the feedback."""
        return shown_hash(self.input, self.answer or "")


def shown_hash(turns: Sequence[Message], answer: str) -> str:
    """A hash of what a person was shown."""
    return _hash([_turns(turns), answer])


@dataclass(frozen=True)
class Counts:
    """How many items of a source are answered, wait for a person, and are done."""

    total: int
    answered: int
    done: int

    @property
    def waiting(self) -> int:
        """Answered and not reviewed."""
        return self.answered - self.done


class Queue:
    """A queue of items; every method is one transaction, so that threads and processes may share the file."""

    def __init__(self, file: Path) -> None:
        self.file = file
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch(mode=0o600)
        with self._open() as database:
            database.execute("pragma journal_mode = wal")
            database.executescript(_SCHEMA)

    def add(self, items: Iterable[Item]) -> None:
        """Adds items in their order; one that is there stays as it is."""
        rows = ((item.id, item.source, place, _body(item), *_given(item)) for place, item in enumerate(items))
        with self._open() as database:
            database.executemany(
                "insert or ignore into items (id, source, place, body, answer, shown, priority) "
                "values (?, ?, ?, ?, ?, ?, ?)",
                rows,
            )

    def keep_only(self, source: Source, ids: Iterable[str]) -> None:
        """Drops the items of a source that are not named: those of another assistant or file."""
        with self._open() as database:
            database.execute("create temporary table kept (id text primary key)")
            database.executemany("insert or ignore into kept values (?)", ((name,) for name in ids))
            database.execute(
                "delete from items where source = ? and id not in (select id from kept)", (source,)
            )

    def unanswered(self, most: int) -> list[Item]:
        """Items that wait for the assistant, in their order."""
        with self._open() as database:
            found = database.execute(
                "select * from items where answer is null order by place limit ?", (most,)
            )
            return [_item(row) for row in found]

    def set_answer(self, item: Item) -> None:
        """Keeps the answer to an item."""
        with self._open() as database:
            database.execute(
                "update items set body = ?, answer = ?, shown = ?, priority = ? where id = ?",
                (_body(item), *_given(item), item.id),
            )

    def mark_done(self, shown: Iterable[str]) -> None:
        """Marks the items with these `shown` hashes as reviewed."""
        with self._open() as database:
            database.executemany("update items set done = 1 where shown = ?", ((each,) for each in shown))

    def take(self, who: str, source: Source) -> Item | None:
        """The next item for a person, held for them; the one they hold already comes first."""
        now = time.time()
        with self._open() as database:
            database.execute("begin immediate")
            waiting = "select * from items where source = ? and done = 0 and answer is not null and "
            found = (
                database.execute(f"{waiting} who = ? and until >= ?", (source, who, now)).fetchone()
                or database.execute(f"{waiting} until < ? order by priority, place", (source, now)).fetchone()
            )
            if found is None:
                return None
            database.execute(
                "update items set who = ?, until = ? where id = ?", (who, now + HELD_SECONDS, found["id"])
            )
            return _item(found)

    def item(self, name: str) -> Item | None:
        """The item of an id."""
        with self._open() as database:
            found = database.execute("select * from items where id = ?", (name,)).fetchone()
            return _item(found) if found else None

    def finish(self, name: str, who: str) -> None:
        """Marks an item as reviewed."""
        with self._open() as database:
            database.execute(
                "update items set done = 1, who = ?, until = ? where id = ?", (who, time.time(), name)
            )

    def put_back(self, name: str) -> None:
        """Puts an item behind all others."""
        with self._open() as database:
            database.execute(
                "update items set who = null, until = 0, priority = (select max(priority) + 1 from items) where id = ?",
                (name,),
            )

    def last(self, who: str, source: Source) -> Item | None:
        """The item that a person has reviewed last."""
        with self._open() as database:
            found = database.execute(
                "select * from items where source = ? and done = 1 and who = ? order by until desc limit 1",
                (source, who),
            ).fetchone()
            return _item(found) if found else None

    def counts(self, source: Source) -> Counts:
        """How far a source is reviewed."""
        with self._open() as database:
            found = database.execute(
                "select count(*), count(answer), coalesce(sum(done), 0) from items where source = ?",
                (source,),
            )
            return Counts(*found.fetchone())

    @property
    def secret(self) -> str:
        """A random text that outlives a restart, from which sign-in links and form tokens are made."""
        with self._open() as database:
            database.execute(
                "insert or ignore into settings values ('secret', ?)", (secrets.token_urlsafe(24),)
            )
            found = database.execute("select value from settings where name = 'secret'").fetchone()
            return str(found[0])

    def invite(self, name: str, role: str, hash: str) -> None:
        """Keeps a person with the hash of their key, which takes the place of the one before."""
        with self._open() as database:
            database.execute("insert or replace into invited values (?, ?, ?)", (name, role, hash))

    @property
    def people(self) -> list[tuple[str, str, str]]:
        """(name, role, hash) of everyone who was invited."""
        with self._open() as database:
            return [tuple(row) for row in database.execute("select name, role, hash from invited")]

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        database = sqlite3.connect(self.file, timeout=30)
        database.row_factory = sqlite3.Row
        try:
            with database:
                yield database
        finally:
            database.close()


def _given(item: Item) -> tuple[str | None, str | None, float]:
    return item.answer, item.shown if item.answer is not None else None, item.urgency


def _body(item: Item) -> str:
    parts: Json = {"input": _turns(item.input), "assistant": item.assistant, "expected": item.expected}
    parts |= {"failures": item.failures, "citations": item.citations, "confidence": item.confidence}
    return json.dumps(parts)


def _item(row: sqlite3.Row) -> Item:
    body: Json = json.loads(row["body"])
    lists: dict[str, Any] = {name: tuple(body.pop(name)) for name in ("failures", "citations")}
    turns = tuple(Message(role, content) for role, content in body.pop("input"))
    made = Item(source=row["source"], input=turns, **lists, **body)
    return replace(made, answer=row["answer"], urgency=row["priority"])


def _turns(turns: Sequence[Message]) -> list[tuple[str, str]]:
    return [(turn.role, turn.content) for turn in turns]


def _hash(value: object) -> str:
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()[:20]

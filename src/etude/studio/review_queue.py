"""The answers that wait for a reviewer, in one SQLite file that all pages use and that survives
restarts.

Feedback is saved in feedback.jsonl and not here, so a lost queue can be built again.
"""

import json
import secrets
import sqlite3
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from etude.base.files import Json, hash_text
from etude.base.issues import raise_issues
from etude.data.formats.cells import Cells
from etude.data.formats.chat import read_question
from etude.data.formats.raw_rows import read_raw_rows
from etude.data.formats.read import find_input_columns
from etude.data.formats.row_reader import RowReader
from etude.feedback import Feedback, drop_undone
from etude.types import Message

Source = Literal["requests", "picked", "dev", "right", "labels", "sample", "made", "expert"]
"""`picked`: recorded requests of `etude watch --pick`. `dev`: answers that the metric counted as
wrong. `right`: a sample of the answers that it counted as right. `labels`: labels that texts
suggest instead of those of their rows. `sample`: rows drawn at random. `made`: rows that a model
made. `expert`: answers of any source that a reviewer left to an expert and nobody has judged.
"""
QUEUE_FILE = "studio.sqlite"  # beside the runs
HOLD_SECONDS = 900.0  # how long an answer is hidden from other reviewers while one reads it
SHARED_EVERY = (
    10  # every tenth answer is reviewed by two people, if the owner has invited reviewers
)
_SCHEMA = """
create table if not exists answers (
  id text primary key, source text, position integer, body text, input_hash text, answer text,
  answer_hash text,
  urgency real, num_needed integer, num_judged integer default 0, num_flags integer default 0,
  is_flagged integer default 0, held_by text, held_until real default 0);
create index if not exists by_urgency on answers (source, urgency, position);
create index if not exists by_input on answers (input_hash);
create index if not exists by_holder on answers (held_by);
create index if not exists by_flag on answers (num_flags) where num_flags > 0;
create table if not exists reviews (
  position integer, entry text, reviewer text, input_hash text, answer_hash text, is_flag integer);
create index if not exists reviews_by_input on reviews (input_hash);
create table if not exists settings (name text primary key, value text);
create table if not exists people (name text primary key, role text, hash text);
"""
# The answer_hash of a review is "" if the review is about the input and not about one answer.
_IS_ABOUT = (
    "reviews.input_hash = answers.input_hash and reviews.answer_hash in ('', answers.answer_hash)"
)
_COUNT_REVIEWS = f"""
update answers set
  num_judged = (select count(distinct reviewer) from reviews where {_IS_ABOUT} and not is_flag),
  num_flags = (select count(*) from reviews where {_IS_ABOUT} and is_flag),
  is_flagged = coalesce(
    (select is_flag from reviews where {_IS_ABOUT} order by position desc limit 1), 0)
where input_hash in (select value from json_each(?))"""
_NUM_NEEDED = "min(num_needed, (select 1 + count(*) from people where role != 'reader'))"
_IS_DONE = f"num_judged > 0 and not is_flagged and (num_judged >= {_NUM_NEEDED} or num_flags > 0)"
_IS_WAITING = f"""answer is not null and not ({_IS_DONE})
  and (num_flags = 0 or :source = 'expert' and is_flagged)
  and (num_judged = 0 or not exists (
    select 1 from reviews where {_IS_ABOUT} and reviewer = :reviewer and not is_flag))"""
"""Whether this reviewer can review the answer now, if no other reviewer is reading it."""


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
    limit: str = ""  # name of the limit that turned the input away
    draw: str = ""  # hash of an answer that was drawn at random from the record

    @property
    def id(self) -> str:
        draw = [self.draw] if self.draw else []
        return _hash([self.source, self.assistant, _encode_turns(self.input), *draw])

    @property
    def answer_hash(self) -> str | None:
        """A hash of input and answer, which feedback also contains; None without an answer."""
        return None if self.answer is None else hash_answer(self.input, self.answer)


def hash_answer(turns: Sequence[Message], answer: str) -> str:
    """A hash of the input and the answer that a reviewer has seen."""
    return _hash([_encode_turns(turns), answer])


@dataclass(frozen=True)
class ReviewCounts:
    """Numbers of items of one source: all, answered, reviewed, and waiting for this reviewer."""

    total: int
    answered: int
    done: int
    waiting: int
    by_person: Mapping[str, int]  # reviewer -> number of items


class ReviewQueue:
    """A queue of items. Every method is one transaction, so threads and processes may share the
    file.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch(mode=0o600)  # it contains the secret of all sign-in links
        with self._open() as database:
            database.execute("pragma journal_mode = wal")  # readers do not wait for writers
            database.executescript(_SCHEMA)

    def replace_source(self, source: Source, items: Sequence[ReviewItem]) -> None:
        """Replace the items of a source by these, in their order. Items that are in the queue keep
        their state.
        """
        with self._open() as database:
            database.execute("create temporary table current (id text primary key)")
            database.executemany(
                "insert or ignore into current values (?)", ((item.id,) for item in items)
            )
            database.execute(
                "delete from answers where source = ? and id not in (select id from current)",
                (source,),
            )
            database.executemany(
                "insert or ignore into answers (id, source, position, body, input_hash, answer, "
                "answer_hash, urgency, num_needed) values (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    (
                        *(item.id, source, number, _encode_body(item), hash_answer(item.input, "")),
                        *(
                            item.answer,
                            item.answer_hash,
                            item.urgency,
                            2 if number % SHARED_EVERY == 0 else 1,
                        ),
                    )
                    for number, item in enumerate(items)
                ),
            )
            _count_reviews(database, (hash_answer(item.input, "") for item in items))

    def list_unanswered(self, limit: int) -> list[ReviewItem]:
        """List items without an answer, in their order."""
        query = "select * from answers where answer is null order by position limit :limit"
        return [_decode_item(row) for row in self._run(query, limit=limit)]

    def set_answer(self, item: ReviewItem) -> None:
        """Save the answer to an item."""
        query = "update answers set body = ?, answer = ?, answer_hash = ?, urgency = ? where id = ?"
        values = (_encode_body(item), item.answer, item.answer_hash, item.urgency, item.id)
        with self._open() as database:
            database.execute(query, values)
            _count_reviews(database, [hash_answer(item.input, "")])

    def set_reviews(self, entries: Sequence[Feedback]) -> None:
        """Count answers with feedback as reviewed or as left to an expert. Undone entries and
        choices between two answers do not count. For each person and answer, only the last entry
        counts.
        """
        counting = {entry.id for entry in drop_undone(entries) if not entry.choice}
        latest = {
            (entry.reviewer, entry.input, entry.answer): (position, entry)
            for position, entry in enumerate(entries)
            if entry.id in counting
        }
        reviews = {
            (
                *(position, entry.id, entry.reviewer, hash_answer(entry.input, "")),
                "" if entry.correction or entry.exclude else hash_answer(entry.input, entry.answer),
                int(entry.flag),
            )
            for position, entry in latest.values()
        }
        with self._open() as database:
            before = {tuple(row) for row in database.execute("select * from reviews")}
            if reviews != before:
                database.execute("delete from reviews")
                database.executemany(
                    "insert into reviews values (?, ?, ?, ?, ?, ?)", sorted(reviews)
                )
                _count_reviews(
                    database, (input_hash for _, _, _, input_hash, *_ in reviews ^ before)
                )

    def take_next(self, reviewer: str, source: Source) -> ReviewItem | None:
        """Return the next item and reserve it for a reviewer. One already reserved for them comes
        first.
        """
        now = time.time()
        query = f"select * from answers where {_select_source(source)} and {_IS_WAITING} and "
        own = f"{query} held_by = :reviewer and held_until >= :now limit 1"
        free = f"{query} held_until < :now order by urgency, position limit 1"
        values = {"source": source, "reviewer": reviewer, "now": now}
        with self._open() as database:
            # Lock the file before reading, so two reviewers never get the same item.
            database.execute("begin immediate")
            row = (
                database.execute(own, values).fetchone()
                or database.execute(free, values).fetchone()
            )
            if row is None:
                return None
            hold = (reviewer, now + HOLD_SECONDS, row["id"])
            database.execute("update answers set held_by = ?, held_until = ? where id = ?", hold)
            return _decode_item(row)

    def find(self, item_id: str) -> ReviewItem | None:
        """Return the item with an id."""
        rows = self._run("select * from answers where id = :id", id=item_id)
        return _decode_item(rows[0]) if rows else None

    def release(self, item_id: str, is_last: bool = False) -> None:
        """End the reservation of an item. With `is_last`, it comes after all other items."""
        urgency = "(select max(urgency) + 1 from answers)" if is_last else "urgency"
        query = (
            f"update answers set held_by = null, held_until = 0, urgency = {urgency} where id = :id"
        )
        self._run(query, id=item_id)

    def find_reviewed(
        self, reviewer: str, source: Source, back: int
    ) -> tuple[ReviewItem, str] | None:
        """Return the item that a reviewer reviewed last (`back` 1) or before that (2), with the id
        of the entry.
        """
        query = (
            "select answers.*, entry, max(reviews.position) as said from answers join reviews on "
            f"{_IS_ABOUT} where {_select_source(source)} and reviewer = :reviewer group by "
            "answers.id order by said desc limit 1 offset :skipped"
        )
        rows = self._run(query, source=source, reviewer=reviewer, skipped=back - 1)
        return (_decode_item(rows[0]), rows[0]["entry"]) if rows else None

    def list_reviewed(self, source: Source) -> list[tuple[ReviewItem, str]]:
        """List the reviewed items of a source in the order of their reviews, each with the id of
        the last entry.
        """
        query = (
            "select answers.*, entry, max(reviews.position) as said from answers join reviews on "
            f"{_IS_ABOUT} where source = :source and not is_flag group by answers.id order by said"
        )
        return [(_decode_item(row), row["entry"]) for row in self._run(query, source=source)]

    def list_with_feedback(self, source: Source) -> list[ReviewItem]:
        """List the items of a source on which there is feedback."""
        query = (
            "select * from answers where source = :source and num_judged + num_flags > 0 order by "
            "position"
        )
        return [_decode_item(row) for row in self._run(query, source=source)]

    def has_items(self, source: Source) -> bool:
        """Return whether a source has items."""
        query = f"select 1 from answers where {_select_source(source)} limit 1"
        return bool(self._run(query, source=source))

    def count(self, source: Source, reviewer: str = "") -> ReviewCounts:
        """Count the items of a source, and those that wait for this reviewer."""
        sums = f"coalesce(sum({_IS_DONE}), 0), coalesce(sum({_IS_WAITING}), 0)"
        query = (
            f"select count(*), count(answer), {sums} from answers where {_select_source(source)}"
        )
        ((total, answered, done, waiting),) = self._run(query, source=source, reviewer=reviewer)
        people = (
            f"select reviewer, count(distinct answers.id) from answers join reviews on {_IS_ABOUT} "
            f"where {_select_source(source)} and not is_flag group by reviewer"
        )
        by_person = dict(tuple(row) for row in self._run(people, source=source))
        return ReviewCounts(total, answered, done, waiting, by_person)

    @property
    def secret(self) -> str:
        """A random text that survives restarts, from which sign-in links and form tokens are
        derived.
        """
        self._run(
            "insert or ignore into settings values ('secret', :secret)",
            secret=secrets.token_urlsafe(24),
        )
        return str(self._run("select value from settings where name = 'secret'")[0][0])

    def invite(self, name: str, role: str, hash: str) -> None:
        """Save a person with the hash of their key. It replaces an earlier key."""
        query = "insert or replace into people values (:name, :role, :hash)"
        self._run(query, name=name, role=role, hash=hash)

    @property
    def people(self) -> list[tuple[str, str, str]]:
        """(name, role, hash) of everyone who was invited."""
        return [tuple(row) for row in self._run("select name, role, hash from people")]

    def _run(self, query: str, **values: object) -> list[sqlite3.Row]:
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
    file: Path,
    columns: Sequence[str] = (),
    default_columns: Sequence[str] = (),
    row_systems: bool = False,
) -> list[tuple[Message, ...]]:
    """Read a .jsonl, .csv or .tsv file of requests without answers, or of logged chats. Equal
    inputs are read once.

    The input is in `columns`, else in `default_columns` if the file has them, else in columns with
    a usual name. The last answer of a chat is left out, and so are system messages and functions
    unless `row_systems`. Raises InputError with every row that cannot be read, or if no column can
    be identified as the input.
    """
    _, _, source = find_input_columns(file, columns, default_columns)
    reader = RowReader(file)
    inputs = dict.fromkeys(
        read_question(Cells(reader, row), source, row_systems) for row in read_raw_rows(reader)
    )
    raise_issues([issue for _, issue in reader.issues], file)
    return list(inputs)


def _select_source(source: Source) -> str:
    return "num_flags > 0" if source == "expert" else "source = :source"


def _count_reviews(database: sqlite3.Connection, input_hashes: Iterable[str]) -> None:
    database.execute(_COUNT_REVIEWS, (json.dumps(list(input_hashes)),))


def _encode_body(item: ReviewItem) -> str:
    body: Json = {
        "input": _encode_turns(item.input),
        "assistant": item.assistant,
        "expected": item.expected,
    }
    body |= {"failures": item.failures, "citations": item.citations, "confidence": item.confidence}
    body |= {"limit": item.limit, "draw": item.draw}
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
    return hash_text(json.dumps(value), 20)

"""One person's feedback on one answer, and the file of all feedback: feedback.jsonl.

Each line is one entry, and entries are only appended:

    {"id": ..., "created": "2026-11-27T14:05:31+00:00", "reviewer": "ana", "assistant":
    "luma-3ee9ed84/fine_tune",
     "input": "A book about dragons?", "answer": "Title: ...", "correction": "Title: ...", "reason":
     "wrong age"}

`input` is a text, or the turns of a chat as [{"role": "user", "content": ...}, ...], ending with
the user's. An input's own system message, with its functions, is the first turn. At least one of
`thumb` ("up" or "down"), `correction`, `choice`, `flag`, `exclude` and `undo` must be given.
"""

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, get_args
from uuid import uuid4

from etude.base.files import Json, append_line, hold_lock, parse_json
from etude.base.typed_json import from_json
from etude.errors import InputError, Issue, quote_value
from etude.types import Message, join_turns

FILE = "feedback.jsonl"  # next to the task file
Thumb = Literal["up", "down"]
Choice = Literal["answer", "other", "both", "neither"]
REQUIRED = ("id", "created", "reviewer", "assistant", "input", "answer")
"""Keys that every line has; other keys are omitted if they are empty."""


@dataclass(frozen=True)
class Feedback:
    """The feedback of one person on one answer."""

    id: str
    """Created by the client, so that an entry that is sent twice is saved once."""
    created: str  # the time, in UTC, ISO 8601
    reviewer: str  # name of the person; different names are different people
    assistant: str
    """Which assistant answered, as RUN/METHOD; "" if unknown."""
    input: tuple[Message, ...]  # as in Example
    answer: str
    thumb: Thumb | None = None
    correction: str | None = (
        None  # the right answer; equal to `answer` if the person accepted it as right
    )
    choice: Choice | None = None
    """Which of `answer` and `other` is better, or whether both are good, or neither."""
    other: str | None = None  # the answer that was displayed next to `answer`
    other_assistant: str = ""
    flag: bool = False  # whether the person leaves the answer to an expert
    exclude: bool = False  # whether the person wants to leave out the row with this input
    undo: str = ""  # the id of an earlier entry that this entry undoes
    reason: str = ""

    @property
    def text(self) -> str:
        return join_turns(self.input)

    @property
    def summary(self) -> str:
        """The feedback in a few words, without the reason."""
        if self.correction is not None:
            return "right" if self.correction == self.answer else "corrected"
        if self.choice:
            return {"answer": "first is better", "other": "second is better"}.get(
                self.choice, self.choice
            )
        if self.thumb:
            return f"thumb {self.thumb}"
        if self.exclude:
            return "leave out"
        return "undid earlier feedback" if self.undo else "for an expert"

    @property
    def line(self) -> Json:
        turns = [{"role": turn.role, "content": turn.content} for turn in self.input]
        body = {item.name: getattr(self, item.name) for item in fields(self)}
        body["input"] = turns[0]["content"] if len(turns) == 1 else turns
        return {
            name: value
            for name, value in body.items()
            if name in REQUIRED or value not in (None, "", False)
        }


def new_id() -> str:
    """Return an id that no other entry has."""
    return uuid4().hex


def utc_now() -> str:
    """Return the time in the format of an entry."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def drop_undone(entries: Iterable[Feedback]) -> list[Feedback]:
    """Return the entries that were not undone, without entries that only undo others. An undo can
    be undone, too.
    """
    active: list[Feedback] = []
    undone: set[str] = set()
    for entry in reversed([*entries]):
        if entry.id in undone:
            continue
        if entry.undo:
            undone.add(entry.undo)
        else:
            active.append(entry)
    return active[::-1]


def read_feedback(body: Mapping[str, Any], location: str = "feedback") -> Feedback:
    """Read an entry from a line of the file, or from the request of a page or a client. Unknown
    keys are ignored; `id` and `created` are created if they are missing.

    Raises InputError if a key is missing or has a wrong type, if there is no feedback in it, if the
    input is not a chat that ends with the user's turn, or if a text contains half a surrogate pair.
    """
    text = body.get("input")
    turns = [{"role": "user", "content": text}] if isinstance(text, str) else text
    defaults = {"id": new_id(), "created": utc_now()}
    try:
        entry = from_json(Feedback, {**defaults, **body, "input": turns})
    except ValueError as error:
        raise _build_error(location, str(error), body) from error
    _check(entry, location)
    return entry


def _check(entry: Feedback, location: str) -> None:
    try:
        problem = _find_problem(entry)
    except ValueError as error:  # half a surrogate pair
        problem = str(error)
    if problem:
        raise _build_error(location, problem, entry.line)


def _build_error(location: str, problem: str, body: Mapping[str, Any]) -> InputError:
    remedy = (
        f"send {', '.join(REQUIRED)}, and one of thumb, correction, choice, flag, exclude and undo"
    )
    return InputError.of(location, problem, quote_value(dict(body)), remedy)


def _find_problem(entry: Feedback) -> str:
    """Return what is wrong with the content of an entry; "" if it is valid. Raises
    UnicodeEncodeError (a ValueError) for half a surrogate pair.
    """
    roles = [turn.role for turn in entry.input]
    if not {"user", "assistant"}.issuperset(roles[1:]) or roles[-1:] != ["user"]:
        return "input must be a text, or user and assistant turns that end with a user turn"
    has_opinion = any(value is not None for value in (entry.thumb, entry.correction, entry.choice))
    if not (has_opinion or entry.flag or entry.exclude or entry.undo):
        return (
            f"it has no feedback on the answer; thumb must be one of {', '.join(get_args(Thumb))}"
        )
    if (entry.choice is None) != (entry.other is None):
        return "choice and other must be given together"
    if entry.correction is not None and not entry.correction.strip():
        return "the correction is empty"
    if not (entry.id and entry.reviewer.strip()):
        return "id and reviewer must not be empty"
    texts = [getattr(entry, item.name) for item in fields(entry)] + [
        turn.content for turn in entry.input
    ]
    for text in filter(lambda value: isinstance(value, str), texts):
        text.encode()
        if "\0" in text:
            return "a text contains a NUL character"
    return ""


class FeedbackLog:
    """A feedback.jsonl, to which several processes and threads may write at once.

    Entries are kept in memory; only lines added since the last read are read. A last line that a
    kill has cut is ignored, and removed by the next `add`.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        self._entries: dict[str, Feedback] = {}
        self._end = 0
        """Bytes read so far."""
        self._num_lines = 0
        self._issues: list[Issue] = []
        """Invalid lines that were not reported yet."""

    def add(self, entry: Feedback) -> bool:
        """Append the entry, on disk before it returns; False if one with its id is already there.

        Raises OSError if the disk fails, and InputError if the entry is invalid. The entry is saved
        even if the file has an invalid line; `entries` reports such lines.
        """
        _check(entry, "feedback")
        with hold_lock(self.file):
            self._read_new_lines()
            if entry.id in self._entries:
                return False
            append_line(self.file, entry.line)
            self._read_new_lines()
        return True

    @property
    def entries(self) -> list[Feedback]:
        """All entries in the order in which they were added; empty without a file. Raises
        InputError with the invalid lines that were read since the last call.
        """
        if self.file.exists():
            with hold_lock(self.file):
                self._read_new_lines()
        issues = self._issues
        self._issues = []
        if issues:
            raise InputError(issues)
        return list(self._entries.values())

    def _read_new_lines(self) -> None:
        with self.file.open("rb") as stream:
            if stream.seek(0, os.SEEK_END) < self._end:  # somebody has edited the file
                self._entries = {}
                self._end = 0
                self._num_lines = 0
            stream.seek(self._end)
            for line in stream:
                if line.endswith(b"\n"):
                    try:
                        self._parse_line(line)
                    except InputError as error:
                        self._issues += error.issues

    def _parse_line(self, line: bytes) -> None:
        self._end += len(line)
        self._num_lines += 1
        if not line.strip():
            return
        location = f"{self.file}:{self._num_lines}"
        try:
            body = parse_json(line.decode())
        except ValueError as error:
            text = quote_value(line.decode(errors="replace").strip())
            issue = Issue(location, f"not JSON: {error}", text, "correct or delete the line")
            raise InputError([issue]) from error
        entry = read_feedback(body if isinstance(body, dict) else {}, location)
        self._entries.setdefault(entry.id, entry)

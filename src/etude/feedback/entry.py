"""One thing that a person said about one answer, and the file that holds all of them: feedback.jsonl.

One line an entry, only ever appended:

    {"id": ..., "at": "2026-11-27T14:05:31+00:00", "who": "ana", "assistant": "luma-3ee9ed84/fine_tune",
     "input": "A book about dragons?", "answer": "Title: ...", "correction": "Title: ...", "reason": "wrong age"}

`input` is a text, or the turns of a chat as [{"role": "user", "content": ...}, ...], ending with the user's. At
least one of `thumb` ("up" or "down"), `correction`, `choice`, `flag`, `exclude` and `undo` says what the person thinks.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, get_args
from uuid import uuid4

from etude.base.files import Json, append_line, held, parse_json
from etude.base.typed_json import from_json
from etude.errors import InputError, Issue, quote_value
from etude.types import Message

FILE = "feedback.jsonl"
"""Stands beside the task file."""
Thumb = Literal["up", "down"]
Choice = Literal["answer", "other", "both", "neither"]


@dataclass(frozen=True)
class Feedback:
    """What one person said about one answer."""

    id: str
    """Made by whoever asks the person, once for each thing said: an entry that is sent twice is kept once."""
    at: str
    """When, in UTC, ISO 8601."""
    who: str
    """Name of the person; people are told apart by it."""
    assistant: str
    """Which assistant answered, as RUN/METHOD; "" if unknown."""
    input: tuple[Message, ...]
    """The turns before the answer, without a system message."""
    answer: str
    thumb: Thumb | None = None
    correction: str | None = None
    """The right answer; equal to `answer` where the person has accepted it as right."""
    choice: Choice | None = None
    """Which of `answer` and `other` is better, whether both are good, or neither."""
    other: str | None = None
    """The answer that was shown beside `answer`."""
    other_assistant: str = ""
    flag: bool = False
    """Whether the person leaves the answer to an expert."""
    exclude: bool = False
    """Whether the person wants the row of the examples that has this input left out."""
    undo: str = ""
    """The id of an earlier entry that this one takes back."""
    reason: str = ""

    @property
    def text(self) -> str:
        """The input as one text, as `Example.text` has it."""
        return "\n".join(message.content for message in self.input)

    @property
    def said(self) -> str:
        """What the person said, in a few words, without the reason."""
        if self.correction is not None:
            return "right" if self.correction == self.answer else "corrected"
        if self.choice:
            return {"answer": "first is better", "other": "second is better"}.get(self.choice, self.choice)
        if self.thumb:
            return f"thumb {self.thumb}"
        return (
            "leave out" if self.exclude else f"takes back {self.undo[:8]}" if self.undo else "for an expert"
        )

    @property
    def line(self) -> Json:
        """The entry as it stands in the file, without what was not said."""
        said = {part.name: getattr(self, part.name) for part in fields(self)}
        turns = [{"role": turn.role, "content": turn.content} for turn in self.input]
        said["input"] = turns[0]["content"] if len(turns) == 1 else turns
        always = ("id", "at", "who", "assistant", "input", "answer")
        return {
            name: value for name, value in said.items() if name in always or value not in (None, "", False)
        }


def new_id() -> str:
    """An id that no other entry has."""
    return uuid4().hex


def standing(entries: Iterable[Feedback]) -> list[Feedback]:
    """The entries that nobody has taken back, without those that take others back; a taking back may be taken back."""
    kept: list[Feedback] = []
    gone: set[str] = set()
    for entry in reversed([*entries]):
        if entry.id in gone:
            continue
        if entry.undo:
            gone.add(entry.undo)
        else:
            kept.append(entry)
    return kept[::-1]


def now() -> str:
    """The time, as an entry has it."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def read_feedback(body: Mapping[str, Any], where: str = "feedback") -> Feedback:
    """An entry from a line of the file, or from what a page or a client has sent. Unknown keys are ignored; `id` and
    `at` may be missing and are made.

    Raises InputError if a part is missing or of another type, if nothing is said, if the input is not a chat that
    ends with the user's turn, or if a text holds half a character.
    """
    given = body.get("input")
    turns = [{"role": "user", "content": given}] if isinstance(given, str) else given
    made = {"id": new_id(), "at": now()}
    try:
        entry = from_json(Feedback, {**made, **body, "input": turns})
    except ValueError as error:
        raise _refused(where, str(error), body) from error
    _check(entry, where)
    return entry


def _check(entry: Feedback, where: str) -> None:
    try:
        problem = _problem(entry)
    except ValueError as error:  # half a character
        problem = str(error)
    if problem:
        raise _refused(where, problem, entry.line)


def _refused(where: str, problem: str, body: Mapping[str, Any]) -> InputError:
    remedy = "send id, at, who, assistant, input, answer, and one of thumb, correction, choice, flag, exclude and undo"
    return InputError([Issue(where, problem, quote_value(dict(body)), remedy)])


def _problem(entry: Feedback) -> str:
    """What is wrong with an entry whose parts are of the right types; "" if nothing is."""
    roles = [turn.role for turn in entry.input]
    if not {"user", "assistant"}.issuperset(roles) or roles[-1:] != ["user"]:
        return "input is not a text, nor turns of user and assistant that end with the user's"
    if entry.thumb is entry.correction is entry.choice is None and not (
        entry.flag or entry.exclude or entry.undo
    ):
        return f"nothing is said of the answer: thumb is one of {', '.join(get_args(Thumb))}"
    if (entry.choice is None) != (entry.other is None):
        return "choice and other belong together"
    if entry.correction is not None and not entry.correction.strip():
        return "the correction is empty"
    if not (entry.id and entry.who.strip()):
        return "id and who must not be empty"
    texts = [getattr(entry, part.name) for part in fields(entry)] + [turn.content for turn in entry.input]
    for text in filter(lambda value: isinstance(value, str), texts):
        text.encode()  # UnicodeEncodeError, a ValueError, for half a character
        if "\0" in text:
            return "a text holds a NUL character"
    return ""


class FeedbackLog:
    """A feedback.jsonl, which several processes and threads may write to at once.

    Entries are kept in memory; only lines added since the last look are read. A last line that a kill has cut is
    ignored, and taken away by the next `add`.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        self._entries: dict[str, Feedback] = {}
        self._end = 0
        self._number = 0

    def add(self, entry: Feedback) -> bool:
        """Appends the entry, on disk before it returns; False if one with its id is there already.

        Raises OSError if the disk does not take it, and InputError if the entry says nothing that can be kept, or if
        the file holds a line that is no feedback.
        """
        _check(entry, "feedback")
        with held(self.file):
            self._read_on()
            if entry.id in self._entries:
                return False
            append_line(self.file, entry.line)
            self._read_on()
        return True

    @property
    def entries(self) -> list[Feedback]:
        """All entries in the order in which they were added; none if there is no file. Raises InputError naming the
        line that is no feedback."""
        if self.file.exists():
            with held(self.file):
                self._read_on()
        return list(self._entries.values())

    def _read_on(self) -> None:
        with self.file.open("rb") as stream:
            if stream.seek(0, os.SEEK_END) < self._end:  # somebody has edited the file
                self._entries, self._end, self._number = {}, 0, 0
            stream.seek(self._end)
            for line in stream:
                if line.endswith(b"\n"):
                    self._take(line)

    def _take(self, line: bytes) -> None:
        self._end += len(line)
        self._number += 1
        if not line.strip():
            return
        where = f"{self.file}:{self._number}"
        try:
            body = parse_json(line.decode())
        except ValueError as error:
            got = quote_value(line.decode(errors="replace").strip())
            raise InputError(
                [Issue(where, f"not JSON: {error}", got, "correct or delete the line")]
            ) from error
        entry = read_feedback(body if isinstance(body, dict) else {}, where)
        self._entries.setdefault(entry.id, entry)

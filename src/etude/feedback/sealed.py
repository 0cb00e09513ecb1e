"""The rows that no feedback may come near: those of the sealed test, whichever run has drawn or opened it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from etude.base.files import read_json
from etude.base.spool import Examples
from etude.data.dataset import survey_test
from etude.data.splits import input_key
from etude.feedback.entry import Feedback
from etude.runs import FOLDER, find_runs
from etude.runs.openings import DIGITS, read_openings
from etude.task import Task
from etude.text.near_duplicates import near_matches
from etude.types import Example, Message


@dataclass(frozen=True)
class Sealed:
    """The inputs of test rows."""

    keys: frozenset[str] = frozenset()
    """The first `DIGITS` digits of `input_key`."""
    texts: tuple[str, ...] = ()

    def holds(self, text: str) -> bool:
        """Whether a text is a test row's input, up to case and punctuation."""
        return _short_key(text) in self.keys

    def meets(self, inputs: Sequence[Sequence[Message]]) -> list[bool]:
        """Whether each input, or one of the user's turns in it, is a test row's input or a near-duplicate of one."""
        pairs = [(number, text) for number, turns in enumerate(inputs) for text in _parts(turns)]
        near = {pairs[place][0] for place, *_ in near_matches([text for _, text in pairs], self.texts)}
        near |= {number for number, text in pairs if self.holds(text)}
        return [number in near for number in range(len(inputs))]

    def held_back(self, entries: Sequence[Feedback]) -> list[Feedback]:
        """The entries on inputs that meet the test."""
        met = self.meets([entry.input for entry in entries])
        return [entry for entry, is_near in zip(entries, met, strict=True) if is_near]


def sealed_rows(task: Task, examples: Examples) -> Sealed:
    """The test rows of a task: its own test file, what the runs beside it have split off, and what they have opened.

    Raises InputError if the test file cannot be read, RunError if a run cannot.
    """
    root = task.folder / FOLDER
    keys = {row for opening in read_openings(root) for row in opening.rows}
    for run in find_runs(root):
        file = run.folder / "split.json"
        sides = read_json(file)["assignments"] if file.exists() else {}
        keys |= {key[:DIGITS] for key, side in sides.items() if side == "test"}
    test = survey_test(task)
    own = [row.text for row in test[0]] if test else []
    keys |= {_short_key(text) for text in own}
    return Sealed(frozenset(keys), (*own, *_texts_on_test(examples, keys)))


def _texts_on_test(examples: Iterable[Example], keys: set[str]) -> Iterator[str]:
    return (row.text for row in examples if _short_key(row.text) in keys)


def _parts(turns: Sequence[Message]) -> set[str]:
    """The whole input, and each of the user's turns."""
    asked = {turn.content for turn in turns if turn.role == "user"}
    return {*asked, "\n".join(turn.content for turn in turns)}


def _short_key(text: str) -> str:
    return input_key(Example("", (Message("user", text),), ""))[:DIGITS]

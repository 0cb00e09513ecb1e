"""What a fix would change in the rows, side by side; a person accepts one change, those of a kind, or all."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from dataclasses import dataclass
from difflib import SequenceMatcher
from threading import Lock

from etude.errors import EtudeError, InputError, Issue
from etude.feedback.entry import now
from etude.repair import Proposal, accept, propose
from etude.task import Task

SHOWN = 20
"""Changes of a kind on the page; the next ones come when these are accepted."""
LONGEST = 4_000
"""Characters of a row in which single words are marked."""
Pieces = list[tuple[str, bool]]
"""A text in parts, each with whether it differs from the other side."""


@dataclass(frozen=True)
class Proposed:
    """One change on the page."""

    number: int
    row: str
    """Its id; "" for a row that is no example."""
    line: int
    before: Pieces
    after: Pieces | None
    """None if the row is left out."""
    accepted: bool
    note: str


@dataclass(frozen=True)
class Group:
    """The changes of one kind of finding."""

    kind: str
    total: int
    accepted: int
    shown: list[Proposed]


class Proposals:
    """The proposals of the latest check; those in rows of the sealed test are neither shown nor accepted."""

    def __init__(self) -> None:
        self.made: Proposal | None = None
        self.problem = ""
        self._by_kind: dict[str, list[int]] = {}
        self._accepted: frozenset[int] = frozenset()
        self._lock = Lock()

    def find(self, task: Task, is_known: Callable[[str], bool]) -> None:
        """Finds out anew what a fix would do; `is_known` says whether a row, by its id, may be shown."""
        try:
            made, self.problem = propose(task), ""
        except EtudeError as error:
            made, self.problem = None, str(error)
        by_kind: dict[str, list[int]] = {}
        for number, change in enumerate(made.log.changes if made else ()):
            if not change.row or is_known(change.row):
                by_kind.setdefault(change.kinds[0], []).append(number)
        self.made, self._by_kind = made, by_kind
        self._accepted = made.accepted if made else frozenset()

    @property
    def groups(self) -> list[Group]:
        """The changes by kind, those not accepted yet first."""
        made = self.made
        if made is None:
            return []
        accepted = self._accepted
        return [
            Group(
                kind,
                len(numbers),
                len(accepted.intersection(numbers)),
                [
                    self._shown(made, number, accepted)
                    for number in sorted(numbers, key=accepted.__contains__)[:SHOWN]
                ],
            )
            for kind, numbers in self._by_kind.items()
        ]

    def take(self, which: str, on: bool, who: str) -> int:
        """Accepts changes or takes them back: `which` is the position of one, a kind, or "" for all. Writes the fixed
        file and returns how many changes stand in it. Raises InputError if there is no such change, and as `accept`."""
        with self._lock:
            made = self.made
            if which.isdecimal():
                meant = {int(which)}
            else:
                kinds = (which,) if which else tuple(self._by_kind)
                meant = {number for kind in kinds for number in self._by_kind.get(kind, ())}
            known = {number for numbers in self._by_kind.values() for number in numbers}
            if made is None or not meant or not meant <= known:
                raise InputError(
                    [Issue("findings", "there is no such change any more", which, "check the rows again")]
                )
            wanted = self._accepted | meant if on else self._accepted - meant
            self.made = accept(made, wanted, f"{who}, {now()}")
            self._accepted = wanted
            return len(wanted)

    def _shown(self, made: Proposal, number: int, accepted: Collection[int]) -> Proposed:
        change = made.log.changes[number]
        before, after = _marked(change.before.strip(), (change.after or "").strip())
        then = after if change.after else None
        return Proposed(number, change.row, change.line, before, then, number in accepted, change.note)


def _marked(before: str, after: str) -> tuple[Pieces, Pieces]:
    """Both texts with the words marked in which they differ."""
    if not after or len(before) + len(after) > 2 * LONGEST:
        return [(before, False)], [(after, False)]
    one, other = (re.findall(r"\w+|\s+|.", text, re.DOTALL) for text in (before, after))
    parts = SequenceMatcher(None, one, other, autojunk=False).get_opcodes()
    return (
        [("".join(one[a:b]), kind != "equal") for kind, a, b, *_ in parts if b > a],
        [("".join(other[a:b]), kind != "equal") for kind, *_, a, b in parts if b > a],
    )

"""The changes that a fix would make, side by side. A person accepts one, all of one kind, or all."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from difflib import SequenceMatcher
from threading import Lock

from etude.errors import EtudeError, InputError
from etude.feedback.entry import utc_now
from etude.repair import Proposal, accept, propose
from etude.repair.change_log import Change
from etude.task import Task

MAX_DISPLAYED = 20  # changes of one kind on the page; more appear when these are accepted
MAX_MARKED = 8_000  # characters of both texts together; in longer texts the changed words are not marked
MarkedText = list[tuple[str, bool]]
"""A text in pieces. Each piece has a flag for whether it differs from the other text."""


@dataclass(frozen=True)
class ProposedChange:
    """One change on the page."""

    number: int
    change: Change
    is_accepted: bool

    @property
    def sides(self) -> tuple[MarkedText, MarkedText]:
        return mark_differences(self.change.before.strip(), (self.change.after or "").strip())


@dataclass(frozen=True)
class ChangeGroup:
    """The changes that one kind of finding proposes."""

    kind: str
    total: int
    num_accepted: int
    displayed: list[ProposedChange]


class Proposals:
    """The proposals of the latest check. Changes of sealed test rows are neither displayed nor accepted."""

    def __init__(self) -> None:
        self.proposal: Proposal | None = None
        self.error = ""
        self._by_kind: dict[str, list[int]] = {}
        self._accepted: frozenset[int] = frozenset()
        self._lock = Lock()

    def refresh(self, task: Task, may_display: Callable[[str], bool]) -> None:
        """Compute the changes that a fix would make now. `may_display`: whether the row with an id may be displayed."""
        self.error, self._by_kind, self._accepted = "", {}, frozenset()
        try:
            self.proposal = propose(task)
        except EtudeError as error:
            self.proposal, self.error = None, str(error)
            return
        for number, change in enumerate(self.proposal.log.changes):
            if not change.row or may_display(change.row):
                self._by_kind.setdefault(change.kinds[0], []).append(number)
        self._accepted = self.proposal.accepted_positions

    @property
    def groups(self) -> list[ChangeGroup]:
        proposal, accepted = self.proposal, self._accepted
        if proposal is None:
            return []

        groups = []
        for kind, numbers in self._by_kind.items():
            ordered = sorted(numbers, key=accepted.__contains__)[:MAX_DISPLAYED]
            changes = [ProposedChange(number, proposal.log.changes[number], number in accepted) for number in ordered]
            groups.append(ChangeGroup(kind, len(numbers), len(accepted.intersection(numbers)), changes))
        return groups

    def set_accepted(self, selection: str, is_accepted: bool, reviewer: str) -> int:
        """Accept changes or take them back, and write the fixed file. Returns the number of changes in the file.

        The selection is the number of one change, a kind, or "" for all. Raises InputError if there is no such
        change, and the errors of `accept`.
        """
        with self._lock:
            proposal = self.proposal
            if selection.isdecimal():
                selected = {int(selection)}
            else:
                kinds = (selection,) if selection else tuple(self._by_kind)
                selected = {number for kind in kinds for number in self._by_kind.get(kind, ())}
            all_numbers = {number for numbers in self._by_kind.values() for number in numbers}
            if proposal is None or not selected or not selected <= all_numbers:
                raise InputError.of("findings", "this change no longer exists", selection, "check the rows again")
            accepted = self._accepted | selected if is_accepted else self._accepted - selected
            self.proposal = accept(proposal, accepted, f"{reviewer}, {utc_now()}")
            self._accepted = accepted
            return len(accepted)


def mark_differences(before: str, after: str) -> tuple[MarkedText, MarkedText]:
    """Split both texts into pieces and mark the words in which they differ."""
    if not after or len(before) + len(after) > MAX_MARKED:
        return [(before, False)], [(after, False)]
    words_before, words_after = (re.findall(r"\w+|\s+|.", text, re.DOTALL) for text in (before, after))
    # `autojunk` would ignore words that are frequent in long texts.
    opcodes = SequenceMatcher(None, words_before, words_after, autojunk=False).get_opcodes()
    pieces = [(words_before[a:b], words_after[c:d], kind != "equal") for kind, a, b, c, d in opcodes]
    return (
        [("".join(words), differs) for words, _, differs in pieces if words],
        [("".join(words), differs) for _, words, differs in pieces if words],
    )

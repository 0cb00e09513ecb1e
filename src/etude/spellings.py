"""Labels that are written in several ways: apart only in case, spaces, hyphens and underscores."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from etude.errors import shown
from etude.types import Example

MOST_TOLD = 3
"""Lines of one spelling that are told."""


@dataclass(frozen=True)
class Spelling:
    """A label that is written otherwise than the same label is in more rows."""

    label: str
    rows: tuple[Example, ...]
    usual: str
    num_usual: int
    """Rows of the usual spelling."""

    def __str__(self) -> str:
        """`'tech-support' (2 rows: a.csv:3, a.csv:9) differs only in case from 'Tech-Support' (91 rows)`."""
        told = ", ".join(row.where for row in self.rows[:MOST_TOLD])
        more = ", ..." if len(self.rows) > MOST_TOLD else ""
        places = f"{len(self.rows):,} row{'s' if len(self.rows) > 1 else ''}: {told}{more}"
        usual = f"{shown(self.usual)} ({self.num_usual:,} row{'s' if self.num_usual > 1 else ''})"
        return f"{shown(self.label)} ({places}) differs only in {self._difference} from {usual}"

    @property
    def _difference(self) -> str:
        if self.label.casefold() == self.usual.casefold():
            return "case"
        between = "spaces, hyphens or underscores"
        return between if _unparted(self.label) == _unparted(self.usual) else f"case and {between}"


def spellings(rows: Sequence[Example]) -> list[Spelling]:
    """The rarer spellings of the rows' labels, in the order of the rows; of equally frequent ones the later."""
    groups: defaultdict[str, dict[str, list[Example]]] = defaultdict(dict)
    for row in rows:
        label = row.output.strip()
        groups[_unparted(label).casefold()].setdefault(label, []).append(row)
    return [spelling for found in groups.values() for spelling in _rarer(found)]


def _rarer(found: dict[str, list[Example]]) -> Iterator[Spelling]:
    usual = max(found, key=lambda label: len(found[label]))
    for label, rows in found.items():
        if label != usual:
            yield Spelling(label, tuple(rows), usual, len(found[usual]))


def written_alike(rows: Sequence[Example]) -> Counter[str]:
    """Rows of each label, with all spellings of it counted as the usual one."""
    usual = {spelling.label: spelling.usual for spelling in spellings(rows)}
    return Counter(usual.get(label, label) for label in (row.output.strip() for row in rows))


def _unparted(label: str) -> str:
    """The label without what parts its words. Signs before a number (-1), at an end (C-) and between digits (1-2)
    stay: they may be all that tells two labels apart."""
    close = re.sub(r"\s*([^\w\s-])\s*", r"\1", label)

    def joined(found: re.Match[str]) -> str:
        return found[0] if (close[found.start() - 1] + close[found.end()]).isdecimal() else ""

    return re.sub(r"(?<=[^\W_])[\s_-]+(?=[^\W_])", joined, close)

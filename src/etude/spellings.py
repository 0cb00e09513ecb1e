"""Labels that are written in several ways: apart only in case, spaces, hyphens and underscores."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from etude.errors import shown
from etude.spool import Examples
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


def spellings(rows: Examples) -> list[Spelling]:
    """The rarer spellings of the rows' labels, in the order of the rows; of equally frequent ones the later."""
    counts = Counter(row.output.strip() for row in rows)
    usual = _usual(counts)
    found: dict[str, list[Example]] = {}
    for row in rows if usual else ():
        if (label := row.output.strip()) in usual:
            found.setdefault(label, []).append(row)
    return [
        Spelling(label, tuple(those), usual[label], counts[usual[label]]) for label, those in found.items()
    ]


def _usual(counts: Counter[str]) -> dict[str, str]:
    """Each rarer spelling -> the most frequent one of the same label."""
    groups: defaultdict[str, list[str]] = defaultdict(list)
    for label in counts:
        groups[_unparted(label).casefold()].append(label)
    most = {label: max(group, key=counts.__getitem__) for group in groups.values() for label in group}
    return {label: usual for label, usual in most.items() if label != usual}


def written_alike(counts: Counter[str]) -> Counter[str]:
    """Rows of each label from the rows of each spelling, which all count as the usual one."""
    usual, alike = _usual(counts), Counter[str]()
    for label, number in counts.items():
        alike[usual.get(label, label)] += number
    return alike


def spelt(labels: Iterable[str], counts: Counter[str]) -> set[str]:
    """All spellings of the usual `labels`."""
    usual, wanted = _usual(counts), set(labels)
    return {label for label in counts if usual.get(label, label) in wanted}


def _unparted(label: str) -> str:
    """The label without what parts its words. Signs before a number (-1), at an end (C-) and between digits (1-2)
    stay: they may be all that tells two labels apart."""
    close = re.sub(r"\s*([^\w\s-])\s*", r"\1", label)

    def joined(found: re.Match[str]) -> str:
        return found[0] if (close[found.start() - 1] + close[found.end()]).isdecimal() else ""

    return re.sub(r"(?<=[^\W_])[\s_-]+(?=[^\W_])", joined, close)

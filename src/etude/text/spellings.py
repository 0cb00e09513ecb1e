"""Labels that are written in several ways: apart in case, spaces, hyphens and underscores, or in a mistyped letter."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from rapidfuzz.distance import OSA

from etude.base.wording import count, first_of
from etude.errors import quote_value

MOST_TOLD = 3
"""Lines of one spelling that are told."""
RARE, TIMES, LETTERS = 2, 10, 4
"""A label of at most so many rows is taken for mistyped if one of so many times as many rows is one letter away, in a
word of so many letters at least."""


@dataclass(frozen=True)
class Spelling:
    """A label that is written otherwise than the same label is in more rows."""

    label: str
    positions: tuple[int, ...]
    """Of its rows."""
    usual: str
    num_usual: int
    """Rows of the usual spelling."""

    def told(self, where: Callable[[int], str]) -> str:
        """`'tech-support' (2 rows: a.csv:3, a.csv:9) differs only in case from 'Tech-Support' (91 rows)`; `where`
        gives the place of the row at a position."""
        lines = ", ".join(where(position) for position in self.positions[:MOST_TOLD])
        more = ", ..." if len(self.positions) > MOST_TOLD else ""
        usual = f"{quote_value(self.usual)} ({count(self.num_usual, 'row')})"
        places = f"{count(len(self.positions), 'row')}: {lines}{more}"
        return f"{quote_value(self.label)} ({places}) differs only in {self._difference} from {usual}"

    @property
    def _difference(self) -> str:
        if self.label.casefold() == self.usual.casefold():
            return "case"
        if _unparted(self.label).casefold() != _unparted(self.usual).casefold():
            return "a letter"
        between = "spaces, hyphens or underscores"
        return between if _unparted(self.label) == _unparted(self.usual) else f"case and {between}"


def spellings(labels: Sequence[str]) -> list[Spelling]:
    """The rarer spellings among the labels of rows, in the order of the rows; of equally frequent ones the later."""
    counts = Counter(labels)
    usual = mistyped(counts) | usual_spellings(counts)
    positions: defaultdict[str, list[int]] = defaultdict(list)
    for position, label in enumerate(labels if usual else ()):
        if label in usual:
            positions[label].append(position)
    return [
        Spelling(label, tuple(found), usual[label], counts[usual[label]])
        for label, found in positions.items()
    ]


def all_told(found: Sequence[Spelling], where: Callable[[int], str], most: int) -> str:
    """What is told of the first so many spellings, and how many more there are."""
    return first_of(found, most, "; ", lambda spelling: spelling.told(where))


def usual_spellings(counts: Mapping[str, int]) -> dict[str, str]:
    """Label -> the spelling of it that is in the most rows, for labels that are written otherwise."""
    groups: defaultdict[str, list[str]] = defaultdict(list)
    for label in counts:
        groups[_unparted(label).casefold()].append(label)
    usual = {label: max(group, key=counts.__getitem__) for group in groups.values() for label in group}
    return {label: best for label, best in usual.items() if label != best}


def mistyped(counts: Mapping[str, int]) -> dict[str, str]:
    """Label -> the far more frequent one that it is one letter away from: `Raods` and `Roads`."""
    frequent = [label for label, rows in counts.items() if rows >= TIMES]
    found = {}
    for label, rows in counts.items():
        near = [
            each for each in frequent if rows <= RARE and counts[each] >= TIMES * rows and _slip(label, each)
        ]
        if near:
            found[label] = max(near, key=counts.__getitem__)
    return found


def _slip(label: str, other: str) -> bool:
    words = [re.findall(r"\w+", each.casefold()) for each in (label, other)]
    if len(words[0]) != len(words[1]):
        return False
    apart = [pair for pair in zip(*words, strict=True) if pair[0] != pair[1]]
    if len(apart) != 1 or not all(word.isalpha() and len(word) >= LETTERS for word in apart[0]):
        return False
    return OSA.distance(*apart[0]) == 1


def written_alike(counts: Mapping[str, int]) -> Counter[str]:
    """Rows of each label, with all spellings of it counted as the usual one."""
    usual = usual_spellings(counts)
    joined: Counter[str] = Counter()
    for label, rows in counts.items():
        joined[usual.get(label, label)] += rows
    return joined


def _unparted(label: str) -> str:
    """The label without what parts its words. Signs before a number (-1), at an end (C-) and between digits (1-2)
    stay: they may be all that tells two labels apart."""
    close = re.sub(r"\s*([^\w\s-])\s*", r"\1", label)

    def joined(found: re.Match[str]) -> str:
        return found[0] if (close[found.start() - 1] + close[found.end()]).isdecimal() else ""

    return re.sub(r"(?<=[^\W_])[\s_-]+(?=[^\W_])", joined, close)

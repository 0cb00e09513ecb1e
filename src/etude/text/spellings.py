"""Labels with several spellings: with different case, spaces, hyphens or underscores, or a mistyped
letter.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from rapidfuzz.distance import OSA

from etude.base.formatting import format_count, list_first
from etude.errors import quote_value

MAX_LOCATIONS = 3  # locations of one spelling in a message
# A label with at most MAX_TYPO_ROWS rows is a typo if a label with MIN_TIMES as many rows differs
# from it in one letter of a word with at least MIN_LETTERS letters.
MAX_TYPO_ROWS = 2
MIN_TIMES = 10
MIN_LETTERS = 4


@dataclass(frozen=True)
class Spelling:
    """A label whose spelling differs from the usual spelling."""

    label: str
    positions: tuple[int, ...]
    usual: str
    num_usual: int
    """Number of rows with the usual spelling."""

    def describe(self, locate: Callable[[int], str]) -> str:
        """Describe it: `'tech-support' (2 rows: a.csv:3, a.csv:9) differs only in case from
        'Tech-Support' (91 rows)`.

        `locate` gives the location of the row at a position.
        """
        locations = ", ".join(map(locate, self.positions[:MAX_LOCATIONS]))
        rows = f"{format_count(len(self.positions), 'row')}: {locations}"
        rows += ", ..." if len(self.positions) > MAX_LOCATIONS else ""
        usual = f"{quote_value(self.usual)} ({format_count(self.num_usual, 'row')})"
        plain_label = _remove_separators(self.label)
        plain_usual = _remove_separators(self.usual)
        if self.label.casefold() == self.usual.casefold():
            difference = "case"
        elif plain_label.casefold() != plain_usual.casefold():
            difference = "a letter"
        else:
            difference = (
                f"{'' if plain_label == plain_usual else 'case and '}spaces, hyphens or underscores"
            )
        return f"{quote_value(self.label)} ({rows}) differs only in {difference} from {usual}"


def find_spellings(labels: Sequence[str]) -> list[Spelling]:
    """Find the rarer spellings among the labels of rows, in order; of two equally frequent
    spellings, the later one.
    """
    counts = Counter(labels)
    usual = find_typos(counts) | find_usual_spellings(counts)
    positions: defaultdict[str, list[int]] = defaultdict(list)
    for position, label in enumerate(labels if usual else ()):
        if label in usual:
            positions[label].append(position)
    return [
        Spelling(label, tuple(rows), usual[label], counts[usual[label]])
        for label, rows in positions.items()
    ]


def format_spellings(
    spellings: Sequence[Spelling], locate: Callable[[int], str], limit: int
) -> str:
    """Describe the first `limit` spellings, and add the number of the others."""
    return list_first(spellings, limit, "; ", lambda spelling: spelling.describe(locate))


def find_usual_spellings(counts: Mapping[str, int]) -> dict[str, str]:
    """Map each label with an unusual spelling to its spelling with the most rows."""
    groups: defaultdict[str, list[str]] = defaultdict(list)
    for label in counts:
        groups[_remove_separators(label).casefold()].append(label)
    usual = {
        label: max(group, key=counts.__getitem__) for group in groups.values() for label in group
    }
    return {label: best for label, best in usual.items() if label != best}


def find_typos(counts: Mapping[str, int]) -> dict[str, str]:
    """Map each typo to the far more frequent label that differs in one letter: `Raods` to
    `Roads`.
    """
    frequent = [label for label, rows in counts.items() if rows >= MIN_TIMES]
    typos = {}
    for label, rows in counts.items():
        if rows <= MAX_TYPO_ROWS:
            similar = [
                name
                for name in frequent
                if counts[name] >= MIN_TIMES * rows and _is_typo(label, name)
            ]
            if similar:
                typos[label] = max(similar, key=counts.__getitem__)
    return typos


def _is_typo(label: str, other: str) -> bool:
    words, other_words = (re.findall(r"\w+", text.casefold()) for text in (label, other))
    if len(words) != len(other_words):
        return False
    different = [pair for pair in zip(words, other_words, strict=True) if pair[0] != pair[1]]
    if len(different) != 1 or not all(
        word.isalpha() and len(word) >= MIN_LETTERS for word in different[0]
    ):
        return False
    return OSA.distance(*different[0]) == 1


def merge_spellings(counts: Mapping[str, int]) -> Counter[str]:
    """Count the rows of each label; all its spellings count as the usual one."""
    usual = find_usual_spellings(counts)
    merged: Counter[str] = Counter()
    for label, rows in counts.items():
        merged[usual.get(label, label)] += rows
    return merged


def _remove_separators(label: str) -> str:
    """Remove the separators between the words of a label. Signs before a number (-1), at an end
    (C-) and between digits (1-2) stay, because two labels may differ only in them.
    """
    close = re.sub(r"\s*([^\w\s-])\s*", r"\1", label)

    def convert(match: re.Match[str]) -> str:
        return match[0] if (close[match.start() - 1] + close[match.end()]).isdecimal() else ""

    return re.sub(r"(?<=[^\W_])[\s_-]+(?=[^\W_])", convert, close)

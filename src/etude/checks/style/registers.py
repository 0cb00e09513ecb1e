"""Two registers in one set, told apart by words that only one of them uses.

Such words are in some of the answers of their register only, so that an answer without them says nothing: what counts
is that words of both registers are there.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from etude.checks.material import Mark, Material
from etude.checks.record import FREE, family, finds
from etude.checks.style.telling import is_untold, told_by_inputs
from etude.text.lexicon import CASUAL, FORMAL, POLITE, RUDE
from etude.types import Evidence, Finding

MINORITY = 0.02
"""Share of all answers that hold words of the rarer register, at least."""
LEAST_ROWS = 3
"""Answers that do, at least."""
TOLD = 0.85
"""Area under the curve from which the input is taken to tell which register it will be. Higher than for a feature, as
words of both registers already tell that they are mixed."""
MOST_WORDS = 5
"""Telling words that are named of each register."""


@dataclass(frozen=True)
class Register:
    """A way of speaking, and words that tell it."""

    said: str
    words: frozenset[str]

    def telling(self, plain: str) -> list[str]:
        """The words of the register that a normalised text holds."""
        spaced = f" {plain} "
        single = self.words.intersection(plain.split())
        return sorted((*single, *(phrase.strip() for phrase in self.phrases if phrase in spaced)))

    @cached_property
    def phrases(self) -> tuple[str, ...]:
        """The telling words that are several, with a space around."""
        return tuple(f" {word} " for word in self.words if " " in word)


PAIRS: tuple[tuple[str, Register, Register], ...] = (
    ("courtesy", Register("rude", RUDE), Register("polite", POLITE)),
    ("formality", Register("casual", CASUAL), Register("formal", FORMAL)),
)
"""Name of the finding, and two registers that are not meant to be mixed."""


@finds(
    *family(
        "style",
        {name: f"{one.said} and {other.said} words that no input explains" for name, one, other in PAIRS},
        "warning",
    ),
    tasks=FREE,
)
def mixed_registers(material: Material) -> Iterator[Finding]:
    """Sets whose free answers speak in two registers, and nothing in the input tells which."""
    for name, *pair in PAIRS:
        found = [
            [own_words(one, asked, plain) for one in pair]
            for asked, plain in zip(material.plain_inputs, material.plain_outputs, strict=True)
        ]
        only = [
            [row for row, words in enumerate(found) if words[side] and not words[1 - side]] for side in (0, 1)
        ]
        least = max(LEAST_ROWS, MINORITY * len(found))
        if min(map(len, only)) < least:
            continue
        rows, first = sorted((*only[0], *only[1])), set(only[0])
        is_first = [row in first for row in rows]
        told = told_by_inputs(material, rows, is_first)
        if is_untold(told, is_first, TOLD):
            counts = [Counter(word for words in found for word in words[side]) for side in (0, 1)]
            yield _finding(material, f"style_{name}", pair, only, counts, told)


def own_words(register: Register, asked: str, plain: str) -> list[str]:
    """The telling words of a normalised answer that it has not from its input."""
    found = register.telling(plain)
    return [word for word in found if f" {word} " not in f" {asked} "]


def _finding(
    material: Material,
    kind: str,
    pair: Sequence[Register],
    only: Sequence[Sequence[int]],
    counts: Sequence[Counter[str]],
    told: float,
) -> Finding:
    order = sorted((0, 1), key=lambda side: len(only[side]))
    total = len(material.rows)
    parts = [
        f"{len(only[side]) / total:.0%} {pair[side].said} ({_named(counts[side])})"
        for side in reversed(order)
    ]
    first = parts[0].replace("%", "% of the answers sound", 1)
    return material.finding(
        kind,
        "warning",
        only[order[0]],
        f"{first} and {parts[1]}; nothing in the input tells which.",
        "Decide how the assistant shall speak and rewrite the others, or say in the input how it is to speak.",
        evidence=_evidence(material, [(only[side], pair[side]) for side in reversed(order)]),
        numbers={"rows": len(only[order[0]]), "told": told, "of": total},
    )


def _named(counts: Counter[str]) -> str:
    """The words that are in most answers, in the order of the alphabet where they are in as many."""
    ranked = sorted(counts, key=lambda word: (-counts[word], word))
    return ", ".join(f"“{_written(word)}”" for word in ranked[:MOST_WORDS])


def _written(word: str) -> str:
    """A word as a person writes it: `i m afraid` as `I'm afraid`."""
    joined = re.sub(r"\b(\w+) (m|s|t|re|ve|ll|d)\b", r"\1'\2", word)
    return re.sub(r"\bi\b", "I", joined)


def _evidence(material: Material, sides: Sequence[tuple[Sequence[int], Register]]) -> Iterator[Evidence]:
    """Answers of each register in turn, their telling words marked."""
    for rows in zip(*(rows for rows, _ in sides), strict=False):
        for row, (_, register) in zip(rows, sides, strict=True):
            text = material.outputs[row]
            words = own_words(register, material.plain_inputs[row], material.plain_outputs[row])
            yield material.shown_output(row, _marks(text, words))


def _marks(text: str, words: Sequence[str]) -> list[Mark]:
    """Where these normalised words stand in the text as it is written."""
    expressions = [r"\W+".join(map(re.escape, word.split())) for word in words]
    return sorted(
        found.span() for one in expressions for found in re.finditer(rf"\b{one}\b", text, re.IGNORECASE)
    )

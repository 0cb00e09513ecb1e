"""Answers restricted to a list of texts: the tree of their tokens, and what of it must be computed.

The probability of a choice is the product, along its tokens, of the model's probability of the token
among those that still lead to a choice. These sum to one over the choices. Where one token only is
possible its probability is one, so that a model computes just the tokens that lead to a fork: 47 of
the 558 tokens of banking77's 77 labels, in one forward for all choices.

Chosen by measuring (SmolLM2-135M-Instruct untuned, banking77, one example of each label in the prompt,
80 test rows): 34% right and a log loss of 4.0, where the probability of every whole label gave 24% and
6.4 at eight times the tokens (382), and following the likeliest branch, one forward a token, 33%. With
the labels only listed (120 rows) all are near chance: 6%, 11% and 6%, log losses 5.9 and 6.5.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

Tokens = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Fork:
    """A place where several tokens are possible."""

    place: int
    """0 is the end of the prompt, n the n-th token of `Trie.tokens`, counted from 1."""
    tokens: Tokens
    leads_to: tuple[tuple[int, ...], ...]
    """For each of `tokens`, the choices it leads to."""


@dataclass(frozen=True, slots=True)
class Trie:
    """The tokens that a model must read behind the prompt, parents first, and the forks they reach."""

    tokens: Tokens
    parents: tuple[int, ...]
    """Place of the token before each of `tokens`; 0 is the end of the prompt."""
    forks: tuple[Fork, ...]

    def depths(self) -> list[int]:
        """How many tokens stand between the prompt and each of `tokens`."""
        depths: list[int] = []
        for parent in self.parents:
            depths.append(depths[parent - 1] + 1 if parent else 0)
        return depths

    def branches(self) -> list[tuple[int, ...]]:
        """The ways from the prompt (place 0) to every last token, as places."""
        ways: list[tuple[int, ...]] = [(0,)]
        for place, parent in enumerate(self.parents, start=1):
            ways.append((*ways[parent], place))
        return [way for place, way in enumerate(ways) if place not in self.parents]

    def ancestors(self) -> list[list[bool]]:
        """Row n says which tokens token n sees: itself and those on the way from the prompt."""
        rows: list[list[bool]] = []
        for number, parent in enumerate(self.parents):
            row = list(rows[parent - 1]) if parent else [False] * len(self.tokens)
            row[number] = True
            rows.append(row)
        return rows


def build_trie(sequences: Sequence[Sequence[int]]) -> Trie:
    """The tree of token sequences, each with its end of turn; sequences must differ."""
    beginnings: dict[Tokens, dict[int, list[int]]] = {}
    for choice, sequence in enumerate(sequences):
        for length, token in enumerate(sequence):
            children = beginnings.setdefault(tuple(sequence[:length]), {})
            children.setdefault(token, []).append(choice)
    forks = {begin: children for begin, children in beginnings.items() if len(children) > 1}
    needed = {begin[:length] for begin in forks for length in range(1, len(begin) + 1)}
    order = sorted(needed, key=lambda begin: (len(begin), begin))
    places = {(): 0} | {begin: number for number, begin in enumerate(order, start=1)}
    return Trie(
        tokens=tuple(begin[-1] for begin in order),
        parents=tuple(places[begin[:-1]] for begin in order),
        forks=tuple(
            Fork(places[begin], tuple(children), tuple(map(tuple, children.values())))
            for begin, children in forks.items()
        ),
    )

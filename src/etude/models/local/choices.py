"""Answers restricted to a list of texts: the tree of their tokens, and the tokens that a model must
compute.

The probability of a choice is a product over its tokens. Each factor is the model's probability of
the token among the tokens that still lead to a choice. The probabilities of all choices sum to one.
If only one token is possible, its probability is one, so a model computes only the tokens that lead
to a fork: 47 of the 558 tokens of banking77's 77 labels, in one forward pass for all choices.

This method was chosen by measurement (SmolLM2-135M-Instruct, not tuned, banking77, one example per
label in the prompt, 80 test rows): 34% right and a log loss of 4.0. Two other methods were worse.
The probability of each whole label gave 24% and 6.4, and needed eight times the tokens (382).
Following the likeliest branch, with one forward pass per token, gave 33%. If the prompt only lists
the labels (120 rows), all three are near chance: 6%, 11% and 6%, log losses 5.9 and 6.5.
"""

from collections.abc import Sequence
from dataclasses import dataclass

Tokens = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Fork:
    """A position at which several tokens are possible."""

    position: int
    """0 is the end of the prompt, n the n-th token of `Trie.tokens`, counted from 1."""
    tokens: Tokens
    choices: tuple[tuple[int, ...], ...]
    """For each of `tokens`, the choices that it leads to."""


@dataclass(frozen=True, slots=True)
class Trie:
    """The tokens that a model must read after the prompt, parents first, and the forks that they
    lead to.
    """

    tokens: Tokens
    parents: tuple[int, ...]
    """Position of the token before each of `tokens`; 0 is the end of the prompt."""
    forks: tuple[Fork, ...]

    def list_depths(self) -> list[int]:
        """Count the tokens between the prompt and each of `tokens`."""
        depths: list[int] = []
        for parent in self.parents:
            depths.append(depths[parent - 1] + 1 if parent else 0)
        return depths

    def list_branches(self) -> list[tuple[int, ...]]:
        """List the paths of positions from the prompt (0) to every leaf."""
        paths: list[tuple[int, ...]] = [(0,)]
        for position, parent in enumerate(self.parents, start=1):
            paths.append((*paths[parent], position))
        return [path for position, path in enumerate(paths) if position not in self.parents]

    def list_ancestors(self) -> list[list[bool]]:
        """In row n, the tokens that token n attends to are true: itself and the tokens on the path
        from the prompt.
        """
        rows: list[list[bool]] = []
        for number, parent in enumerate(self.parents):
            row = list(rows[parent - 1]) if parent else [False] * len(self.tokens)
            row[number] = True
            rows.append(row)
        return rows


def build_trie(sequences: Sequence[Sequence[int]]) -> Trie:
    """Build the tree of different token sequences, each with its end of turn."""
    # 1. For each beginning of a sequence, collect the next tokens and the choices that each leads
    # to.
    children_of: dict[Tokens, dict[int, list[int]]] = {}
    for choice, sequence in enumerate(sequences):
        for length, token in enumerate(sequence):
            children = children_of.setdefault(tuple(sequence[:length]), {})
            children.setdefault(token, []).append(choice)
    # 2. Compute only the tokens that lead to a fork. Short beginnings come first, so parents
    # precede children.
    forks = {
        beginning: children for beginning, children in children_of.items() if len(children) > 1
    }
    needed = {beginning[:length] for beginning in forks for length in range(1, len(beginning) + 1)}
    order = sorted(needed, key=lambda beginning: (len(beginning), beginning))
    positions = {(): 0} | {beginning: number for number, beginning in enumerate(order, start=1)}
    return Trie(
        tokens=tuple(beginning[-1] for beginning in order),
        parents=tuple(positions[beginning[:-1]] for beginning in order),
        forks=tuple(
            Fork(positions[beginning], tuple(children), tuple(map(tuple, children.values())))
            for beginning, children in forks.items()
        ),
    )

"""The gates that a made row must pass, and the choice among those that do."""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from etude.data.splits import Split
from etude.data.splits.sides import select_unlike
from etude.methods.shared.fit_context import resolve_contract
from etude.task import Task
from etude.text.answer_spans import Values, align, collect_values
from etude.text.near_duplicates import cluster_near_duplicates
from etude.types import Example

if TYPE_CHECKING:
    from etude.models.local.encoder import Encoder

EMPTY = "no input or output"
CONTRACT = "the output breaks the contract"
CHECK = "the check refuses it"
LIKE_TEST = "near-duplicate of a test row"
REPEATED = "near-duplicate of another row"
UNSUPPORTED = "a value is not in the text"
LABEL = "its label is unlikely by a classifier of the training rows"
# if a field's values are in the text in this share of the training rows, made ones must be, too
IN_TEXT = 0.95
# The label must be among so many that the classifier finds likeliest. With 5 rows for each label of
# banking77, 1 would refuse 20% of the right rows and 96% of the wrong ones, 2 12% and 85%, 3 8% and
# 76%.
RANKS = 2
Compare = Callable[[NDArray[np.int64], NDArray[np.int64]], NDArray[np.float32]]
Gate = Callable[[Sequence[Example]], Iterable[Example]]
"""Returns the rows that pass."""


@dataclass
class Gates:
    """The rows that passed every gate, and those that were refused, by reason."""

    task: Task
    split: Split
    encoder: "Encoder | None"
    refused: dict[str, list[Example]] = field(default_factory=dict)

    def select(self, rows: Sequence[Example]) -> list[Example]:
        """Select the rows that pass. Test rows come before everything that may show a row: what is
        like one is only counted.
        """
        for reason, gate in self._list_gates():
            passing = list(gate(rows))
            ids = {row.id for row in passing}
            self.refused[reason] = [row for row in rows if row.id not in ids]
            rows = passing
        return list(rows)

    def _list_gates(self) -> Iterator[tuple[str, Gate]]:
        contract = resolve_contract(self.task, self.split.train)
        task = self.task
        yield LIKE_TEST, lambda rows: select_unlike(rows, self.split.test)
        yield EMPTY, lambda rows: [row for row in rows if row.text and row.output]
        if contract:
            yield CONTRACT, lambda rows: [row for row in rows if not contract.check(row.output)]
        if task.check:
            check = task.check.load()
            yield CHECK, lambda rows: [row for row in rows if check(row, row.output) >= 1]
        yield REPEATED, self._select_new
        if task.kind == "extract":
            yield UNSUPPORTED, self._select_supported
        if task.has_one_label:
            yield LABEL, self._select_agreed

    def _select_new(self, rows: Sequence[Example]) -> list[Example]:
        """The first of each group of near-duplicates, if it is like no row of train and dev."""
        new = select_unlike(rows, [*self.split.train, *self.split.dev])
        return [new[group[0]] for group in cluster_near_duplicates([row.text for row in new])]

    def _select_supported(self, rows: Sequence[Example]) -> list[Example]:
        """The rows whose values are in their text. This is not asked of fields whose training
        values often are not.
        """
        known = [_read_values(row) for row in self.split.train.real]
        counts, missing = (Counter(chain.from_iterable(part)) for part in zip(*known, strict=True))
        literal = {name for name in counts if missing[name] <= (1 - IN_TEXT) * counts[name]}
        return [row for row in rows if not literal & _read_values(row)[1].keys()]

    def _select_agreed(self, rows: Sequence[Example]) -> list[Example]:
        """The rows whose label is one of the likeliest by a classifier of the real training
        rows.
        """
        if not rows:
            return []
        from etude.models.classical import Linear

        train = self.split.train.real
        texts = [row.text for row in train]
        labels = [row.output for row in train]
        model = Linear.fit(texts, labels, self.task.seed, self.encoder)
        num = min(RANKS, len(model.labels) - 1)  # all labels would refuse nothing
        order = np.argsort(-model.compute_margins([row.text for row in rows]), axis=1)[:, :num]
        likely = [{model.labels[label] for label in labels} for labels in order.tolist()]
        return [row for row, labels in zip(rows, likely, strict=True) if row.output in labels]


def _read_values(row: Example) -> tuple[Values, Values]:
    """The values of a JSON answer, and those that are not in the text. Answers with lists of
    objects have none.
    """
    try:
        values = collect_values(json.loads(row.output))
    except ValueError:
        return {}, {}
    return values, align(row.text, values)[1]


def choose_covering(
    rows: Sequence[Example], shapes: Sequence[str], quotas: Counter[str], compare: Compare
) -> list[Example]:
    """Choose up to the quota of each shape: again and again the row that is least like all chosen
    rows and the training rows of its shape (Gonzalez 1985). `shapes` and `compare` are about the
    rows, followed by the training rows.
    """
    chosen: list[int] = []
    for shape, quota in quotas.items():
        members = np.array([index for index, other in enumerate(shapes) if other == shape])
        candidates = members[members < len(rows)]
        likeness = compare(candidates, members[members >= len(rows)]).max(axis=1, initial=-1)
        for _ in range(min(quota, len(candidates))):
            index = int(likeness.argmin())
            chosen.append(int(candidates[index]))
            likeness = np.maximum(likeness, compare(candidates, candidates[[index]])[:, 0])
            likeness[index] = np.inf
    return [rows[index] for index in chosen]


def compare_texts(texts: Sequence[str], encoder: "Encoder | None") -> Compare:
    """Return a function from the positions of some texts and of others to their cosines: of the
    encoder's vectors if there is one, else of TF-IDF.
    """
    from etude.models.classical import TFIDF_OPTIONS, Features

    if encoder:
        vectors = encoder.embed(texts)
        return lambda rows, others: vectors[rows] @ vectors[others].T
    matrix = Features.fit(texts)[1]  # a unit vector for each of its blocks
    return lambda rows, others: (matrix[rows] @ matrix[others].T).toarray() / len(TFIDF_OPTIONS)

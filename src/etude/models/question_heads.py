"""Linear classifiers for several questions about each row: one for each question, over the same
features.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from etude.models.classical import Linear
from etude.models.label_heads import ScoreHeads
from etude.task.questions import join_answers, split_answers

if TYPE_CHECKING:
    from etude.models.classical import Features
    from etude.models.local.encoder import Encoder


@dataclass
class QuestionHeads(Linear):
    """The classifiers of all questions. The answer is the JSON object of their answers, as if they
    were independent.

    `coefficients` and `intercepts` are those of all heads, one below the other; the arrays inside
    the heads are not used. A label is a JSON object with a question and one label.
    """

    kind: ClassVar[str] = "question_heads"

    heads: Mapping[str, Linear] = field(default_factory=dict)
    """Name of each question -> its classifier."""

    @classmethod
    def join(cls, heads: Mapping[str, Linear]) -> Self:
        """Join classifiers over the same features."""
        labels = [
            join_answers({name: label}) for name, head in heads.items() for label in head.labels
        ]
        coefficients = np.concatenate([head.coefficients for head in heads.values()])
        intercepts = np.concatenate([head.intercepts for head in heads.values()])
        features = next(iter(heads.values())).features
        return cls(tuple(labels), features, coefficients, intercepts, heads=heads)

    @property
    def chooses_rules(self) -> bool:
        return any(head.chooses_rules for head in self.heads.values())

    def list_targets(self, outputs: Sequence[str]) -> list[tuple[slice, NDArray[Any]]]:
        """Return for each question the columns of its margins, and what training compares them
        with.
        """
        return [
            (columns, head.encode_labels(select_answers(outputs, name)))
            for name, head, columns in self._list_columns("intercepts")
        ]

    def calibrate_margins(
        self, margins: NDArray[np.float32], outputs: Sequence[str]
    ) -> QuestionHeads:
        """Calibrate each question by itself."""
        heads = {
            name: head.calibrate_margins(margins[:, columns], select_answers(outputs, name))
            for name, head, columns in self._list_columns("intercepts")
        }
        return replace(self, heads=heads)

    def copy_calibration(self, other: Linear) -> Self:
        """Return these classifiers with what others have fitted on held-out rows."""
        assert isinstance(other, QuestionHeads)
        heads = {
            name: head.copy_calibration(other.heads[name]) for name, head in self.heads.items()
        }
        return replace(self, heads=heads)

    def to_log_probabilities(self, margins: NDArray[np.float32]) -> NDArray[np.float32]:
        """Convert margins to the log-probability of every label of every question."""
        columns = self._list_columns("intercepts")
        return np.hstack([head.to_log_probabilities(margins[:, own]) for _, head, own in columns])

    def decide(self, logs: NDArray[np.float32]) -> list[tuple[str, float]]:
        """Return the object of the answers, and the log-probability that all are right."""
        columns = self._list_columns("labels")
        decided = [head.decide(logs[:, own]) for _, head, own in columns]
        rows = ([*zip(self.heads, row, strict=True)] for row in zip(*decided, strict=True))
        return [
            (
                join_answers({name: label for name, (label, _) in row}),
                sum(log for _, (_, log) in row),
            )
            for row in rows
        ]

    def describe(self) -> dict[str, Any]:
        """Return the fields of each head that are saved as JSON."""
        return {"heads": [[name, head.kind, head.describe()] for name, head in self.heads.items()]}

    @classmethod
    def restore(
        cls,
        header: dict[str, Any],
        features: Features | Encoder,
        coefficients: NDArray[np.float32],
        intercepts: NDArray[np.float32],
    ) -> Self:
        """Build the classifiers from what `describe` returned, and their weights."""
        heads = dict[str, Linear]()
        begin = 0
        for name, kind, body in header["heads"]:
            is_score = kind == ScoreHeads.kind
            own = slice(begin, begin + len(body["labels"]) - is_score)
            head_class = ScoreHeads if is_score else Linear
            heads[name] = head_class.restore(body, features, coefficients[own], intercepts[own])
            begin = own.stop
        return cls.join(heads)

    def _list_columns(self, attribute: str) -> Iterator[tuple[str, Linear, slice]]:
        """Yield each question, its classifier, and its columns: one for each value of an
        attribute.
        """
        end = 0
        for name, head in self.heads.items():
            begin = end
            end = end + len(getattr(head, attribute))
            yield name, head, slice(begin, end)


def select_answers(outputs: Sequence[str], name: str) -> list[str]:
    """Return the answers to one question."""
    return [split_answers(output)[name] for output in outputs]

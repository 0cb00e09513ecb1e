"""Linear classifiers for several labels per row, and for a score on a scale.

Both consist of yes-or-no models over the same features, so they share training, calibration and
files. Probabilities are computed from logits divided by one temperature, which is fitted on
held-out rows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import expit, log_expit

from etude.models.classical import Linear, Prepared, create_classifier, prepare_features
from etude.stats import make_kappa_sample
from etude.stats.sample import encode_label_lists
from etude.text.label_lists import join_labels, split_labels

if TYPE_CHECKING:
    from etude.models.local.encoder import Encoder

THRESHOLDS = np.linspace(0.05, 0.95, 37)
"""The candidates for thresholds: probabilities from which a label applies."""
MIN_LABEL_ROWS = 10
"""A label has its own threshold only with at least this many held-out rows; with fewer, it would
fit noise.
"""
RULES: Mapping[str, Callable[[NDArray[Any]], NDArray[np.intp]]] = {
    "mode": lambda chances: chances.argmax(axis=1),
    "median": lambda chances: (chances.cumsum(axis=1)[:, :-1] < 0.5).sum(axis=1),
    "mean": lambda chances: np.rint(chances @ np.arange(chances.shape[1])).astype(np.intp),
}
"""From the probabilities of scores, (rows, scores), to the position of the answer."""
TINY = 1e-6  # lower limit of a score's probability if the heads contradict each other


@dataclass
class BinaryHeads(Linear):
    """Yes-or-no models, one per row of the coefficients."""

    @classmethod
    def fit_targets(
        cls,
        texts: Sequence[str],
        labels: Sequence[str],
        targets: NDArray[np.float32],
        seed: int,
        encoder: Encoder | None,
        prepared: Prepared | None = None,
        **values: Any,
    ) -> Self:
        """Fit a model for each column of `targets`, shape (texts, heads), of 0 and 1."""
        features, rows = prepared or prepare_features(texts, encoder)
        coefficients = np.zeros((targets.shape[1], rows.shape[1]), np.float32)
        # Without rows of both kinds, a head can learn only their frequency.
        shares = (targets.sum(axis=0) + 0.5) / (len(texts) + 1)
        intercepts = np.log(shares / (1 - shares)).astype(np.float32)
        for head in np.flatnonzero(targets.any(axis=0) & ~targets.all(axis=0)):
            model = create_classifier(seed, encoder).fit(rows, targets[:, head])
            coefficients[head] = model.coef_[0]
            intercepts[head] = model.intercept_[0]
        return cls(tuple(labels), features, coefficients, intercepts, **values)

    def to_chances(self, margins: NDArray[np.float32]) -> NDArray[np.float64]:
        """Convert margins to the probability of yes, shape (texts, heads)."""
        return np.asarray(expit(margins.astype(np.float64) / self.temperature))

    def fit_temperature(self, margins: NDArray[np.float32], labels: Sequence[str]) -> float:
        """Find the temperature with the smallest log-loss over all heads."""
        signed = margins * (2 * self.encode_labels(labels) - 1)
        result = minimize_scalar(
            lambda log: -float(log_expit(signed / np.exp(log)).mean()),
            bounds=(-4.0, 4.0),
            method="bounded",
        )
        return float(np.exp(result.x))


@dataclass
class LabelHeads(BinaryHeads):
    """One model for each label against the others. A label applies if its probability reaches its
    threshold.
    """

    kind: ClassVar[str] = "label_heads"
    extras: ClassVar[tuple[str, ...]] = ("thresholds", "min_labels")
    calibrated: ClassVar[tuple[str, ...]] = ("temperature", "thresholds")

    thresholds: Mapping[str, float] = field(default_factory=dict)
    """Label -> threshold; "" for labels without their own threshold. If that is missing too, it is
    0.5.
    """
    min_labels: int = 0
    """1 if every training row had a label. Then a row without labels gets its likeliest label."""

    @classmethod
    def fit_lists(
        cls,
        texts: Sequence[str],
        outputs: Sequence[str],
        seed: int,
        encoder: Encoder | None = None,
        prepared: Prepared | None = None,
    ) -> LabelHeads:
        """Fit on lists of labels, at least one of which must not be empty."""
        lists = [split_labels(output) for output in outputs]
        labels = sorted({label for labels in lists for label in labels})
        min_labels = int(all(lists))
        targets = encode_label_lists(lists, labels).astype(np.float32)
        return cls.fit_targets(
            texts, labels, targets, seed, encoder, prepared, min_labels=min_labels
        )

    def encode_labels(self, outputs: Sequence[str]) -> NDArray[np.float32]:
        """Return 1 for each label of a row, shape (rows, labels); labels that training had not are
        left out.
        """
        return encode_label_lists(list(map(split_labels, outputs)), self.labels).astype(np.float32)

    def to_log_probabilities(self, margins: NDArray[np.float32]) -> NDArray[np.float32]:
        """Convert margins to the log-probability that each label applies, shape (texts, labels)."""
        return np.log(np.maximum(self.to_chances(margins), TINY)).astype(np.float32)

    def decide(self, logs: NDArray[np.float32]) -> list[tuple[str, float]]:
        """Return the labels that apply as one text, and the log-probability that all are right, if
        independent.
        """
        chances = np.exp(logs.astype(np.float64))
        applies = self._apply_thresholds(chances)
        sure = np.log(np.maximum(np.where(applies, chances, 1 - chances), TINY)).sum(axis=1)
        return [
            (join_labels(self.labels[label] for label in np.flatnonzero(row)), float(log))
            for row, log in zip(applies, sure, strict=True)
        ]

    def _apply_thresholds(self, chances: NDArray[np.float64]) -> NDArray[np.bool_]:
        shared = self.thresholds.get("", 0.5)
        applies = chances >= np.array([self.thresholds.get(label, shared) for label in self.labels])
        if self.min_labels:
            applies[np.arange(len(chances)), chances.argmax(axis=1)] |= ~applies.any(axis=1)
        return applies

    def calibrate_margins(self, margins: NDArray[np.float32], outputs: Sequence[str]) -> LabelHeads:
        """Fit temperature and thresholds on held-out rows. A label's threshold has its largest F1.
        The shared threshold of labels in few rows is the one with which rows agree best with their
        lists.
        """
        heads = replace(self, temperature=self.fit_temperature(margins, outputs))
        chances = heads.to_chances(margins)
        targets = self.encode_labels(outputs).astype(bool)
        num_gold = np.array([len(split_labels(output)) for output in outputs])

        def score_shared(threshold: float) -> float:
            """The mean over rows of `measure_overlap`."""
            applies = replace(heads, thresholds={"": threshold})._apply_thresholds(chances)
            shared = 2 * (applies & targets).sum(axis=1)
            sizes = applies.sum(axis=1) + num_gold
            return float(np.where(sizes, shared / np.maximum(sizes, 1), 1.0).mean())

        thresholds = {"": _choose_threshold([*map(score_shared, THRESHOLDS.tolist())])}
        for label in np.flatnonzero(targets.sum(axis=0) >= MIN_LABEL_ROWS):
            applies = chances[:, [label]] >= THRESHOLDS
            right = targets[:, [label]]
            f1 = (
                2 * (applies & right).sum(axis=0) / np.maximum(applies.sum(axis=0) + right.sum(), 1)
            )
            thresholds[self.labels[label]] = _choose_threshold(f1)
        return replace(heads, thresholds=thresholds)


@dataclass
class ScoreHeads(BinaryHeads):
    """Scores on a scale. A model for each step predicts whether the score is above it (Frank and
    Hall 2001). The answer is the likeliest score, the median or the rounded mean, which is good
    between near scores and bad between the ends of the scale.
    """

    kind: ClassVar[str] = "score_heads"
    extras: ClassVar[tuple[str, ...]] = ("rule",)
    calibrated: ClassVar[tuple[str, ...]] = ("temperature", "rule")

    rule: str = "mode"
    """One of RULES."""

    @classmethod
    def fit_scores(
        cls,
        texts: Sequence[str],
        scores: Sequence[str],
        scale: Sequence[str],
        seed: int,
        encoder: Encoder | None = None,
        prepared: Prepared | None = None,
    ) -> ScoreHeads:
        """Fit on scores. Each is a value of `scale`, which is ordered from the lowest to the
        highest.
        """
        return cls.fit_targets(texts, scale, _encode_scores(scores, scale), seed, encoder, prepared)

    def encode_labels(self, outputs: Sequence[str]) -> NDArray[np.float32]:
        """Return 1 for each step below the score, shape (rows, labels - 1)."""
        return _encode_scores(outputs, self.labels)

    def to_log_probabilities(self, margins: NDArray[np.float32]) -> NDArray[np.float32]:
        """Convert margins to the log-probability of every score, shape (texts, labels)."""
        # A score above a step is also above all lower steps.
        above = np.minimum.accumulate(self.to_chances(margins), axis=1)
        ends = np.ones((len(above), 1)), np.zeros((len(above), 1))
        chances = -np.diff(np.hstack([ends[0], above, ends[1]])) + TINY
        return np.asarray(np.log(chances / chances.sum(axis=1, keepdims=True)), np.float32)

    def calibrate_margins(self, margins: NDArray[np.float32], outputs: Sequence[str]) -> ScoreHeads:
        """Fit the temperature on held-out rows, and choose the rule with the best kappa; the first
        of equal ones.
        """
        heads = replace(self, temperature=self.fit_temperature(margins, outputs))
        logs = heads.to_log_probabilities(margins)
        gold = [self.labels.index(output) for output in outputs]
        kappas = {
            name: make_kappa_sample(gold, decide(np.exp(logs))).value
            for name, decide in RULES.items()
        }
        return replace(heads, rule=max(kappas, key=lambda name: kappas[name]))

    def decide(self, logs: NDArray[np.float32]) -> list[tuple[str, float]]:
        """Return the score by the rule and its log-probability."""
        best = RULES[self.rule](np.exp(logs))
        return [(self.labels[score], float(logs[row, score])) for row, score in enumerate(best)]


def _encode_scores(scores: Sequence[str], scale: Sequence[str]) -> NDArray[np.float32]:
    positions = np.array([scale.index(score) for score in scores])[:, None]
    return (positions > np.arange(len(scale) - 1)).astype(np.float32)


def _choose_threshold(scores: Sequence[float] | NDArray[np.float64]) -> float:
    """Return the one of THRESHOLDS with the best score; among several, the middle one, which is not
    at an edge.
    """
    best = THRESHOLDS[np.asarray(scores) >= np.max(scores) - 1e-12]
    return float(best[len(best) // 2])

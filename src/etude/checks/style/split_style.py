"""Features of style that only some answers have, although the inputs do not determine which.

A model trained on such a set produces the feature at random. Whether the inputs determine the
feature is measured by the cross-validated area under the ROC curve (0.5 is chance, 1 is certain) of
a linear classifier on their words.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from etude.checks.kinds import FREE, create_family, finds
from etude.checks.material import Material
from etude.checks.style.features import NOT_APPLICABLE, STYLES, Style
from etude.stats.intervals import wilson
from etude.types import Finding

# Least share of answers outside the most frequent side, for the lower bound of its interval.
MIN_MINORITY = 0.1
MIN_ROWS = 40  # answers below which nothing is reported
MAX_AUC = 0.7  # area plus margin from which the inputs seem to determine the side
MARGIN_ERRORS = 1.28  # standard errors in the margin
MAX_ROWS = 4_000  # maximum number of answers whose inputs are read; more are sampled evenly
MIN_INPUTS = 10  # different inputs below which nothing can be measured
MAX_TEXT = 2_000  # characters of an input that are read
FOLDS = 4
# Two features are one finding if they differ in at most this share of the minority's answers.
MAX_DIFFERENT = 0.1
MAX_SIDES = 4  # sides in a message
Sides = NDArray[np.int8]
Bools = NDArray[np.bool_]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class SplitStyle:
    """A feature that splits the answers."""

    style: Style
    sides: Sides
    counts: Ints
    """Answers of each side."""
    auc: float

    @property
    def order(self) -> list[int]:
        """The sides that have answers, the most frequent first."""
        return [int(side) for side in np.argsort(-self.counts, kind="stable") if self.counts[side]]

    @property
    def is_usual(self) -> Bools:
        """Which answers are on the most frequent side."""
        return np.equal(self.sides, self.counts.argmax())


@finds(
    *create_family(
        "style",
        dict.fromkeys(
            (style.name for style in STYLES),
            "a feature of style that varies without a reason in the input",
        ),
        "warning",
    ),
    tasks=FREE,
)
def check_style(material: Material) -> Iterator[Finding]:
    """Find features that only some free answers have, although the inputs do not determine which.

    Features that split the answers in nearly the same way are one finding: a phrase can have
    several features.
    """
    splits = list(_find_splits(material))
    while splits:
        first = splits.pop(0)
        alike = [split for split in splits if _is_same_split(first, split)]
        splits = [split for split in splits if not any(split is item for item in alike)]
        yield _create_finding(material, first, alike)


def _find_splits(material: Material) -> Iterator[SplitStyle]:
    # Styles by answers: every answer is read once for all styles.
    table = np.empty((len(STYLES), len(material.rows)), np.int8)
    for row, text in enumerate(material.outputs):
        table[:, row] = [style.find_side(text) for style in STYLES]
    for style, sides in zip(STYLES, table, strict=True):
        rows = np.flatnonzero(sides != NOT_APPLICABLE)
        counts = np.bincount(sides[rows], minlength=len(style.phrases))
        usual = int(counts.argmax())
        if not is_split(len(rows) - int(counts[usual]), len(rows)):
            continue
        is_usual = (sides[rows] == usual).tolist()
        step = -(-len(rows) // MAX_ROWS)
        inputs = [material.inputs[row] for row in rows[::step].tolist()]
        # An answer may follow the style of its input, so the side of the input is a feature too
        # (one-hot).
        input_sides = [style.find_side(text) for text in inputs]
        features = [
            [float(side == other) for other in range(NOT_APPLICABLE, len(counts))]
            for side in input_sides
        ]
        auc = cross_validate_auc(inputs, is_usual[::step], features)
        if is_unpredictable(auc, is_usual):
            yield SplitStyle(style, sides, counts, auc)


def _is_same_split(first: SplitStyle, second: SplitStyle) -> bool:
    """Whether two features split the answers nearly alike; the minority of one may be the other's
    majority.
    """
    same = float(np.mean(first.is_usual == second.is_usual))
    minority = min(np.mean(~first.is_usual), np.mean(first.is_usual))
    return bool(max(same, 1 - same) >= 1 - MAX_DIFFERENT * minority)


def _create_finding(material: Material, split: SplitStyle, alike: Sequence[SplitStyle]) -> Finding:
    style = split.style
    sides = split.sides
    order = split.order
    rows = np.flatnonzero((sides != order[0]) & (sides != NOT_APPLICABLE))
    total = int(split.counts.sum())
    in_turn = zip(
        *(np.flatnonzero(sides == side).tolist() for side in order[:MAX_SIDES]), strict=False
    )
    descriptions = "; in the same rows, ".join(map(_describe_split, (split, *alike)))
    finding = material.finding(
        f"style_{style.name}",
        "warning",
        rows.tolist(),
        f"{descriptions}; the inputs do not explain the difference.",
        "Choose one style and rewrite the other answers, or state in the input which style is "
        "wanted.",
        excerpts=(
            material.show_output(row, style.find_spans(material.outputs[row]))
            for row in chain.from_iterable(in_turn)
        ),
        numbers={"rows": len(rows), "share": len(rows) / total, "auc": split.auc, "of": total},
    )
    return replace(finding, other_kinds=tuple(f"style_{other.style.name}" for other in alike))


def _describe_split(split: SplitStyle) -> str:
    """Describe the sides: `48% of the answers give a price and 52% do not`."""
    style = split.style
    total = int(split.counts.sum())
    sides = sorted(split.order) if style.lack else split.order[:MAX_SIDES]
    shares = [f"{split.counts[side] / total:.0%}" for side in sides]
    answers = "answers" if total == len(split.sides) else f"{total:,} answers where this applies"
    verb = f"{style.verb} " if style.verb else ""
    parts = [f"{share} {style.phrases[side]}" for share, side in zip(shares, sides, strict=True)]
    parts[0] = f"{shares[0]} of the {answers} {verb}{style.phrases[sides[0]]}"
    return ", ".join(parts[:-1]) + f" and {parts[-1]}"


def is_split(minority: int, total: int) -> bool:
    """Whether a minority of `total` answers is more than some exceptions, by the lower bound of its
    share.
    """
    return total >= MIN_ROWS and wilson(minority, total)[0] >= MIN_MINORITY


def is_unpredictable(auc: float, labels: Sequence[bool]) -> bool:
    """Whether the area's upper bound is below MAX_AUC, by the standard error at one half (Mann and
    Whitney 1947).
    """
    positive = sum(labels)
    total = len(labels)
    error = math.sqrt((total + 1) / (12 * positive * (total - positive)))
    return auc + MARGIN_ERRORS * error < MAX_AUC


def cross_validate_auc(
    inputs: Sequence[str], labels: Sequence[bool], features: Sequence[Sequence[float]] | None = None
) -> float:
    """Return the cross-validated area under the ROC curve of a classifier that predicts `labels`
    from inputs.

    Its features are the words of an input, the length, and `features`, numbers from 0 to 1. Equal
    inputs are in one fold. Returns 0.5 if there are too few different inputs.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import roc_auc_score

    gold: Bools = np.array(labels)
    numbers = {text: number for number, text in enumerate(sorted(set(inputs)))}
    if len(numbers) < MIN_INPUTS or min(gold.sum(), (~gold).sum()) < FOLDS:
        return 0.5
    # Equal inputs are in one fold, and inputs with similar shares of labels are spread over the
    # folds.
    groups = np.array([numbers[text] for text in inputs])
    shares = np.bincount(groups, gold, len(numbers)) / np.bincount(groups, minlength=len(numbers))
    order = np.lexsort((np.random.default_rng(0).permutation(len(numbers)), shares))
    fold_of_group = np.empty(len(numbers), np.int64)
    fold_of_group[order] = np.arange(len(numbers)) % FOLDS
    folds = fold_of_group[groups]
    matrix = _build_features(inputs, features)
    scores = np.zeros(len(gold))
    for test in (folds == fold for fold in range(FOLDS)):
        if 0 < gold[~test].sum() < (~test).sum():
            model = LogisticRegression(C=3, max_iter=300).fit(matrix[~test], gold[~test])
            scores[test] = model.decision_function(matrix[test])
    return float(roc_auc_score(gold, scores))


def _build_features(inputs: Sequence[str], features: Sequence[Sequence[float]] | None) -> Any:
    """Build a row of features for each input: its words, its length on a scale of 0 to 1, and
    `features`.
    """
    from scipy.sparse import csr_matrix, hstack
    from sklearn.feature_extraction.text import TfidfVectorizer

    vectoriser = TfidfVectorizer(sublinear_tf=True, token_pattern=r"\S+")
    words = vectoriser.fit_transform([text[:MAX_TEXT] for text in inputs])
    lengths = np.log1p([len(text) for text in inputs])[:, None]
    scaled = (lengths - lengths.min()) / max(float(np.ptp(lengths)), 1e-9)
    dense = scaled if features is None else np.hstack([scaled, np.array(features, dtype=float)])
    return hstack([words, csr_matrix(dense)]).tocsr()

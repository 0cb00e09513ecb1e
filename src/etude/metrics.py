"""How right an answer is: one headline metric, further ones beside it that decide nothing.

A metric scores rows; a mean or macro-F1 of them is only ever handed out as an Estimate.
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy.typing as npt

from etude.errors import Fault, InputError, shown
from etude.files import parse_json
from etude.stats import Sample, estimate_sample, label_sample, score_sample
from etude.types import Answer, Estimate, Example, Kind, Score

if TYPE_CHECKING:
    from etude.dataset import Dataset
    from etude.task import Check, MetricName, Task

SKEWED = 5
"""Largest over smallest class in rows, above which accuracy gives way to macro-F1."""
LABELS: Mapping[str, str] = {
    "accuracy": "share of right labels",
    "macro_f1": "macro-F1 over the labels",
    "exact_match": "share of answers equal to the wanted one",
    "passes": "share of answers that pass",
    "chrf": "chrF, likeness to the wanted answer",
}
"""Every metric's name and what it is in words."""


@dataclass(frozen=True)
class Metric:
    """The headline metric of a task: scores single rows, and knows how rows become one number."""

    name: MetricName
    kind: Kind
    check: Check | None = None
    """The task's own function (example, answer text) -> bool or 0 to 1."""

    @property
    def label(self) -> str:
        """The metric in words."""
        if self.name != "passes":
            return LABELS[self.name]
        return f"{LABELS['passes']} {'contract and check' if self.check else 'the contract'}"

    @property
    def aggregate(self) -> str:
        """How the scores of rows become one number: "mean" or "macro_f1"."""
        return "macro_f1" if self.name == "macro_f1" else "mean"

    @property
    def form_only(self) -> bool:
        """Whether the verdict has to begin with "Measures form only": nobody checks what is said."""
        return self.kind in ("answer", "rewrite") and self.check is None

    def score(self, example: Example, answer: Answer) -> Score:
        """How right one answer is. Further right outputs of the row (references) count as much as the first.

        Raises InputError when the check function returns neither a bool nor a number from 0 to 1.
        """
        checked = None if self.check is None else _checked(self.check, example, answer)
        value = _passes(answer.form, checked) if self.name == "passes" else _ROW[self.name](example, answer)
        others = {name: _ROW[name](example, answer) for name in _BESIDE[self.kind] if name != self.name}
        return Score(value, answer.form, checked, others)

    def sample(
        self,
        scores: npt.ArrayLike,
        units: Sequence[Hashable] | None = None,
        expected: Sequence[str] = (),
        predicted: Sequence[str | None] = (),
    ) -> Sample:
        """The rows as statistics take them. Macro-F1 is of the labels; all others are of the scores."""
        if self.aggregate == "macro_f1":
            return label_sample(expected, predicted, units)
        return score_sample(scores, units)

    def estimate(
        self,
        scores: npt.ArrayLike,
        units: Sequence[Hashable] | None = None,
        expected: Sequence[str] = (),
        predicted: Sequence[str | None] = (),
    ) -> Estimate:
        """The headline number of some rows, with its interval."""
        return estimate_sample(self.sample(scores, units, expected, predicted))


def choose_metric(task: Task, train: Dataset) -> Metric:
    """The task's headline metric: as set, else by its kind and by the training rows. See verdict.md.

    classify: accuracy, or macro-F1 when the largest class has over five times the rows of the smallest.
    extract: exact match. answer, rewrite: passes; chrF with neither contract nor check.
    """
    check = task.check.load() if task.check else None
    return Metric(task.metric or _default(task, train), task.kind, check)


def predicted_label(answer: Answer) -> str:
    """The label an answer gives; an answer that holds none stands as its whole text, which is no label."""
    return answer.value.strip() if isinstance(answer.value, str) else answer.text.strip()


def _default(task: Task, train: Dataset) -> MetricName:
    if task.kind == "extract":
        return "exact_match"
    if task.kind in ("answer", "rewrite"):
        return "passes" if task.contract or task.check else "chrf"
    sizes = Counter(example.output.strip() for example in train).values()
    return "macro_f1" if sizes and max(sizes) > SKEWED * min(sizes) else "accuracy"


def _right_outputs(example: Example) -> tuple[str, ...]:
    return (example.output, *example.references)


def _accuracy(example: Example, answer: Answer) -> float:
    label = predicted_label(answer)
    return float(any(label == output.strip() for output in _right_outputs(example)))


def _exact_match(example: Example, answer: Answer) -> float:
    """1 when the answer is equal to a right output: as JSON where both are JSON, else as text."""
    given = _canonical(answer.text)
    return float(any(given == _canonical(output) for output in _right_outputs(example)))


def _chrf(example: Example, answer: Answer) -> float:
    """sacrebleu's chrF2 against the likest right output, 0 to 1. Popović 2015."""
    return float(_chrf_scorer()(answer.text, _right_outputs(example))) / 100


def _passes(form: bool | None, checked: float | None) -> float:
    """0 when the contract is broken, else what the check says; 1 where there is neither."""
    return 0.0 if form is False else 1.0 if checked is None else checked


_ROW: Mapping[str, Callable[[Example, Answer], float]] = {
    "accuracy": _accuracy,
    "macro_f1": _accuracy,
    "exact_match": _exact_match,
    "chrf": _chrf,
}
_BESIDE: Mapping[Kind, tuple[str, ...]] = {
    "classify": (),
    "extract": ("exact_match",),
    "answer": ("exact_match", "chrf"),
    "rewrite": ("exact_match", "chrf"),
}


def _checked(check: Check, example: Example, answer: Answer) -> float:
    value = check(example, answer.text)
    if isinstance(value, int | float) and 0 <= value <= 1:
        return float(value)
    what = f"the check function returned no bool and no number from 0 to 1 for the row {example.id!r}"
    raise InputError([Fault(example.where or "check", what, shown(value), "return True, False or 0 to 1")])


def _canonical(text: str) -> tuple[str, Any]:
    """What two equal answers share: a JSON value whatever its key order, else the text without case, width
    of characters and runs of white space. Signs and punctuation stay: -5 is not 5."""
    try:
        return "json", _comparable(parse_json(text))
    except ValueError:
        return "text", " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def _comparable(value: Any) -> Any:
    """`value` so that == is JSON's equality: 1 and 1.0 are equal, true and 1 are not."""
    if isinstance(value, dict):
        return "object", {key: _comparable(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return "array", [_comparable(inner) for inner in value]
    return ("bool" if isinstance(value, bool) else "value"), value


@cache
def _chrf_scorer() -> Callable[[str, Sequence[str]], float]:
    from sacrebleu.metrics import CHRF  # 0.1 s to import, and most tasks never need it

    metric = CHRF()
    return lambda text, references: float(metric.sentence_score(text, list(references)).score)

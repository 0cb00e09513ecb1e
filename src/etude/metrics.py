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

import numpy as np
import numpy.typing as npt

from etude.base.files import parse_json
from etude.data.formats.tools import CALL, split_calls
from etude.stats import Sample, label_sample, score_sample
from etude.text.likeness import sari, token_f1
from etude.types import Answer, Example, Kind, Score

if TYPE_CHECKING:
    from etude.data.dataset import Dataset
    from etude.task import Check, MetricName, Task

SKEWED = 5
"""Largest over smallest class in rows, above which accuracy gives way to macro-F1."""
LABELS: Mapping[str, str] = {
    "accuracy": "share of right labels",
    "macro_f1": "macro-F1 over the labels",
    "exact_match": "share of answers equal to the wanted one",
    "passes": "share of answers that pass",
    "chrf": "chrF, likeness to the wanted answer",
    "token_f1": "token F1, words shared with the wanted answer",
    "sari": "SARI, words kept, added and deleted as wanted",
    "calls": "share of answers that call the right functions, or none where none is wanted",
    "right_fields": "share of right fields",
}
"""Every metric's name and what it is in words."""
GRADED = ("chrf", "token_f1", "sari", "right_fields")
"""Metrics under which a row scores anything from 0 to 1. A check may grade too, which nobody knows beforehand."""
CHRF_CHARACTERS = 5_000
"""Of each text, what chrF beside another headline reads: 10 ms a row at most, where 30,000 characters took
200 ms."""


_FIELD = "field "


@dataclass(frozen=True)
class Metric:
    """The headline metric of a task: scores single rows, and knows how rows become one number."""

    name: MetricName
    kind: Kind
    check: Check | None = None
    """The task's own function (example, answer text) -> bool or 0 to 1."""
    why: str = ""
    """Why this metric is the headline, as the end of a sentence: "because ..."."""
    contract: bool = True
    """Whether the task has one."""

    @property
    def label(self) -> str:
        """The metric in words."""
        if self.name != "passes":
            return LABELS[self.name]
        both = self.check is not None and self.contract
        what = "contract and check" if both else "the check" if self.check else "the contract"
        return f"{LABELS['passes']} {what}"

    @property
    def graded(self) -> bool:
        """Whether rows score anything from 0 to 1, and not right or wrong alone."""
        return self.name in GRADED

    @property
    def form_only(self) -> bool:
        """Whether the verdict has to begin with "Measures form only": nobody checks what is said.

        Exact match, token F1 and calls do check it, by the wanted answers; chrF sees likeness of letters alone, SARI of
        words.
        """
        compares = self.name in ("exact_match", "token_f1", "calls")
        return self.kind in ("answer", "rewrite") and self.check is None and not compares

    def score(self, example: Example, answer: Answer) -> Score:
        """How right one answer is. Further right outputs of the row (references) count as much as the first.

        Raises InputError when the check function fails; see `CheckRef.load`.
        """
        checked = None if self.check is None else float(self.check(example, answer.text))
        value = (
            _passes(answer.keeps_contract, checked)
            if self.name == "passes"
            else _ROW[self.name](example, answer)
        )
        others = {name: _BESIDE[name](example, answer) for name in OTHERS[self.kind] if name != self.name}
        return Score(value, answer.keeps_contract, checked, others)

    def sample(
        self,
        scores: npt.ArrayLike,
        units: Sequence[Hashable] | None = None,
        expected: Sequence[str] = (),
        predicted: Sequence[str | None] = (),
    ) -> Sample:
        """The rows as statistics take them under this metric. See `sample_under`."""
        return sample_under(self.name, scores, units, expected, predicted)


def sample_under(
    name: str,
    scores: npt.ArrayLike,
    units: Sequence[Hashable] | None = None,
    expected: Sequence[str] = (),
    predicted: Sequence[str | None] = (),
) -> Sample:
    """Rows as statistics take them under the metric `name`: macro-F1 is of the labels, all others of scores.

    In macro-F1 an answer that is right by a further right label (score 1) stands as the row's first label:
    it is a hit of that label's class and of no other, so that both metrics call the same answers right.
    """
    if name != "macro_f1":
        return score_sample(scores, units)
    rows = zip(np.asarray(scores), expected, predicted, strict=True)
    return label_sample(expected, [want if score == 1 else given for score, want, given in rows], units)


def choose_metric(task: Task, train: Dataset) -> Metric:
    """The task's headline metric: as set, else by its kind and by the training rows. See verdict.md.

    classify: accuracy, or macro-F1 when the largest class has over five times the rows of the smallest.
    extract: exact match. answer, rewrite: passes; with neither contract nor check the calls of functions if any answer
    has some, else chrF.
    """
    check = task.check.load() if task.check else None
    name, why = (task.metric, "because the task file sets it") if task.metric else _default(task, train)
    return Metric(name, task.kind, check, why, task.contract is not None)


def predicted_label(answer: Answer) -> str:
    """The label an answer gives; an answer that holds none stands as its whole text, which is no label."""
    return answer.value.strip() if isinstance(answer.value, str) else answer.text.strip()


def _default(task: Task, train: Dataset) -> tuple[MetricName, str]:
    if task.kind == "extract":
        return "exact_match", "because the task is to extract"
    if task.kind in ("answer", "rewrite"):
        named = [part for part in ("contract", "check") if getattr(task, part)]
        if named:
            return "passes", f"because the task has a {' and a '.join(named)}"
        if any(split_calls(example.output)[1] for example in train):
            return "calls", "because answers call functions"
        return "chrf", "because the task has neither contract nor check"
    sizes = Counter(example.output.strip() for example in train).values()
    if not sizes:
        return "accuracy", "because the task is to classify"
    times = f"{max(sizes) / min(sizes):.1f}".removesuffix(".0")
    if max(sizes) > SKEWED * min(sizes):
        return "macro_f1", f"because the largest class has {times} times the rows of the smallest"
    return "accuracy", f"because no class has over {SKEWED} times the rows of another (at most {times})"


def _right_outputs(example: Example) -> tuple[str, ...]:
    return (example.output, *example.references)


def _accuracy(example: Example, answer: Answer) -> float:
    label = predicted_label(answer)
    return float(any(label == output.strip() for output in _right_outputs(example)))


def _exact_match(example: Example, answer: Answer) -> float:
    """1 when the answer is equal to a right output: as JSON where both are JSON, else as text."""
    given = _canonical(answer.text)
    return float(any(given == _canonical(output) for output in _right_outputs(example)))


def _calls(example: Example, answer: Answer) -> float:
    """1 when the answer calls the functions of a right output, in this order and with equal arguments; where that has
    none, when it calls none. A call that cannot be read is wrong."""
    beside, calls = split_calls(answer.text)
    outputs = (_comparable(split_calls(output)[1]) for output in _right_outputs(example))
    return float(CALL not in beside and any(_comparable(calls) == output for output in outputs))


def _chrf(example: Example, answer: Answer) -> float:
    """sacrebleu's chrF2 against the likest right output, 0 to 1. Popović 2015."""
    return _chrf_scorer()(answer.text, _right_outputs(example)) / 100


def _chrf_of_start(example: Example, answer: Answer) -> float:
    """chrF of the first CHRF_CHARACTERS of every text."""
    outputs = [output[:CHRF_CHARACTERS] for output in _right_outputs(example)]
    return _chrf_scorer()(answer.text[:CHRF_CHARACTERS], outputs) / 100


def _token_f1(example: Example, answer: Answer) -> float:
    """Words shared with the likest right output. See `token_f1`."""
    return max(token_f1(answer.text, output) for output in _right_outputs(example))


def _sari(example: Example, answer: Answer) -> float:
    """The input, rewritten as all right outputs together have it. See `sari`."""
    return sari(example.text, answer.text, _right_outputs(example))


def _right_fields(example: Example, answer: Answer) -> float:
    """Of all fields wanted or given, the share given as wanted, against the likest right output.

    Fields are the keys of JSON objects; an output that is no JSON object counts as one field.
    """
    given = _fields(answer.text)
    return max(_share_equal(_fields(output), given) for output in _right_outputs(example))


def field_hits(answer: str, outputs: Sequence[str]) -> dict[str, tuple[int, int, int]]:
    """Key of a JSON object -> whether it is right, given and wanted, against the likest right output."""
    given = _fields(answer)
    wanted = max((_fields(output) for output in outputs), key=lambda output: _share_equal(output, given))
    keys = (key for key in {**wanted, **given} if key.startswith(_FIELD))
    return {
        key.removeprefix(_FIELD): (
            int(key in wanted and key in given and wanted[key] == given[key]),
            int(key in given),
            int(key in wanted),
        )
        for key in keys
    }


def _fields(text: str) -> Mapping[str, Any]:
    kind, value = _canonical(text)
    if kind == "json" and value[0] == "object":
        return {_FIELD + key: inner for key, inner in value[1].items()}
    return {kind: value}


def _share_equal(wanted: Mapping[str, Any], given: Mapping[str, Any]) -> float:
    keys = wanted.keys() | given.keys()
    right = sum(key in wanted and key in given and wanted[key] == given[key] for key in keys)
    return right / len(keys) if keys else 1.0


def _passes(form: bool | None, checked: float | None) -> float:
    """0 when the contract is broken, else what the check says; 1 where there is neither."""
    return 0.0 if form is False else 1.0 if checked is None else checked


_ROW: Mapping[str, Callable[[Example, Answer], float]] = {
    "accuracy": _accuracy,
    "macro_f1": _accuracy,
    "exact_match": _exact_match,
    "chrf": _chrf,
    "token_f1": _token_f1,
    "sari": _sari,
    "calls": _calls,
}
_BESIDE = {**_ROW, "chrf": _chrf_of_start, "right_fields": _right_fields}
OTHERS: Mapping[Kind, tuple[str, ...]] = {
    "classify": ("accuracy", "macro_f1"),
    "extract": ("exact_match", "right_fields"),
    "answer": ("exact_match", "token_f1", "chrf"),
    "rewrite": ("exact_match", "chrf", "sari"),
}
"""What is shown beside the headline, which is left out of it."""


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

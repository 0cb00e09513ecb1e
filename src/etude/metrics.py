"""Metrics: one headline metric decides the comparison; the others are only shown.

A metric scores rows. A mean or macro-F1 of rows is always an Estimate, with its interval.
"""

from __future__ import annotations

import json
import unicodedata
from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache, lru_cache, partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from etude import stats
from etude.base.files import parse_json
from etude.data.formats.tools import CALL_TAG, split_calls
from etude.task.questions import find_labels, select_question, split_answers
from etude.text.label_lists import join_labels, measure_overlap, read_label, split_labels
from etude.text.likeness import are_repeated, sari, token_f1
from etude.types import Answer, Example, Kind, Score, TaskQuestion

if TYPE_CHECKING:
    from etude.data.dataset import Dataset
    from etude.task import CheckFunction, MetricName, Task

SKEWED = 5  # Largest over smallest class in rows, above which accuracy gives way to macro-F1.
ALL_RIGHT = "all_right"
MEAN_ERROR = (
    "mean_error"  # the only metric of which less is better; its rows score a share of the scale
)
Defaults = Mapping[
    str, Mapping[str, Any]
]  # name of a function -> the values of arguments that are left out
# Every metric's name and what it is in words.
LABELS: Mapping[str, str] = {
    "accuracy": "share of right labels",
    "macro_f1": "macro-F1 over the labels",
    "kappa": "quadratic weighted kappa, agreement beyond chance",
    MEAN_ERROR: "mean absolute error in steps of the scale",
    "sample_f1": "F1 of the labels of each row",
    "subset_accuracy": "share of rows with exactly the right labels",
    "micro_f1": "micro-F1 over the labels",
    "question_mean": "mean over the questions of each question's metric",
    ALL_RIGHT: "share of rows with the right answer to every question",
    "value_f1": "F1 over the values of all fields",
    "exact_match": "share of answers equal to the expected one",
    "passes": "share of answers that pass",
    "chrf": "chrF, likeness to the expected answer",
    "token_f1": "token F1, words shared with the expected answer",
    "sari": "SARI, words kept, added and deleted as expected",
    "calls": "share of answers with exactly the expected function calls (their text is not judged)",
    "right_fields": "share of right fields",
}
# Metrics under which a row scores anything from 0 to 1. A check may grade too; that is not known
# beforehand.
GRADED = (
    *("kappa", "sample_f1", "micro_f1", "question_mean"),
    *("value_f1", "chrf", "token_f1", "sari", "right_fields"),
)
# If chrF is not the headline, it reads only this many characters of each text: at most 10 ms a row;
# 30,000 took 200 ms.
CHRF_CHARACTERS = 5_000

CALL_PARTS: Mapping[str, str] = {
    "no_call": "No call where none is due",
    "call": "A call where one is due",
    "functions": "The right functions too",
    "arguments": "The right arguments too",
    "several": "Several calls, all right",
}
"""The parts of right function calls, in words. Of rows that need a call, each has a share of all of
them.
"""

_FIELD = "field "


class ValueHits(NamedTuple):
    """Numbers of values of a field: answered and expected, answered, expected."""

    right: int
    answered: int
    expected: int


@dataclass(frozen=True)
class Metric:
    """The headline metric of a task: it scores rows and aggregates them."""

    name: MetricName
    kind: Kind
    check: CheckFunction | None = None
    """The task's own function (example, answer text) -> bool or 0 to 1."""
    reason: str = ""
    """Why this metric is the headline, as the end of a sentence: "because ..."."""
    contract: bool = True
    """Whether the task has one."""
    scale: tuple[str, ...] = ()
    """The labels from the lowest to the highest, if they are scores."""
    several: bool = False
    """Whether a row has any number of labels."""
    question: TaskQuestion | None = None
    """The question that it measures, if it is one of the `parts` of another metric."""
    parts: tuple[Metric, ...] = ()
    """The metric of each question, if a row answers several. The headline is their mean."""

    @property
    def label(self) -> str:
        if self.question:
            return f"{self.question.name}: {LABELS[self.name]}"
        if self.name != "passes":
            return LABELS[self.name]
        has_both = self.check is not None and self.contract
        checks = "contract and check" if has_both else "the check" if self.check else "the contract"
        return f"{LABELS['passes']} {checks}"

    @property
    def graded(self) -> bool:
        """Whether rows score anything from 0 to 1, not just right or wrong."""
        return self.name in GRADED

    @property
    def contract_only(self) -> bool:
        """Whether nothing checks that an answer is right, which the verdict then says first.

        Exact match, token F1 and calls do compare with the expected answer; chrF and SARI measure
        likeness alone.
        """
        compares = self.name in ("exact_match", "token_f1", "calls")
        return self.kind in ("answer", "rewrite") and self.check is None and not compares

    def score(self, example: Example, answer: Answer) -> Score:
        """Score one answer. Other right outputs of the row (references) count as much as the first.

        Raises InputError when the check function fails; see `CheckRef.load`.
        """
        headline = self.score_headline(example, answer)
        if self.parts:
            return headline
        others = _SEVERAL_METRICS if self.several else OTHER_METRICS[self.kind]
        other_metrics = {
            name: self._score_row(name, _OTHER_ROW_SCORES, example, answer)
            for name in (*others, *(_SCALE_METRICS if self.scale else ()))
            if name != self.name
        }
        return replace(headline, other_metrics=other_metrics)

    def score_headline(self, example: Example, answer: Answer) -> Score:
        """Score one answer by the headline metric alone, which takes less time."""
        check_score = None if self.check is None else float(self.check(example, answer.text))
        if self.parts:
            return self._score_questions(example, answer, check_score)
        if self.name == "passes":  # with neither a contract nor a check, every answer passes
            value = (
                0.0
                if answer.keeps_contract is False
                else 1.0
                if check_score is None
                else check_score
            )
        else:
            value = self._score_row(self.name, _ROW_SCORES, example, answer)
        return Score(value, answer.keeps_contract, check_score)

    def _score_questions(
        self, example: Example, answer: Answer, check_score: float | None
    ) -> Score:
        """Score every question; a row is right if all are. Another right output counts only as a
        whole.
        """
        outputs = [select_labels(output, self.parts) for output in _list_right_outputs(example)]
        labels = select_labels(answer.text, self.parts)
        right = labels if labels in outputs else outputs[0]
        scores = {}
        for part, label, output in zip(self.parts, labels, right, strict=True):
            row = replace(example, output=output, references=())
            scores[part.label] = part.score(row, replace(answer, value=label)).value
        mean = sum(scores.values()) / len(scores)
        return Score(
            mean, answer.keeps_contract, check_score, {ALL_RIGHT: float(labels == right), **scores}
        )

    def measure_labels(self, labels: Sequence[str], expected: Sequence[str]) -> float:
        """Measure how right labels are, 0 to 1: the share of right ones, with a scale kappa, with
        several labels a row the mean F1 of the rows, with several questions the mean of their
        metrics.
        """
        scores = [
            self._score_label(label, right) for label, right in zip(labels, expected, strict=True)
        ]
        name = "question_mean" if self.parts else "kappa" if self.scale else "accuracy"
        return self.sample(scores, None, expected, labels, name).value

    def _score_label(self, label: str, expected: str) -> float:
        if self.several:
            return measure_overlap(split_labels(expected), split_labels(label))
        return float(label == expected)

    def _score_row(
        self, name: str, row_scores: Mapping[str, RowScore], example: Example, answer: Answer
    ) -> float:
        """Score one answer by the metric `name`, of scores and lists against the nearest right
        output.
        """
        label = predicted_label(answer)
        outputs = _list_right_outputs(example)
        if name in _SCALE_METRICS:
            distance = min(self._measure_distance(label, output.strip()) for output in outputs)
            return distance if name == MEAN_ERROR else 1 - distance**2
        if self.several:
            score = max(self._score_label(label, output) for output in outputs)
            return score if name in ("sample_f1", "micro_f1") else float(score == 1)
        return row_scores[name](example, answer)

    def _measure_distance(self, label: str, expected: str) -> float:
        """Measure the distance of two scores as a share of the scale; an invalid score has the
        largest distance.
        """
        first = self.scale.index(expected)
        last = len(self.scale) - 1
        return abs(self._find_position(label, first) - first) / last

    def _find_position(self, label: str | None, expected: int) -> int:
        if label in self.scale:
            return self.scale.index(label)
        return 0 if 2 * expected >= len(self.scale) - 1 else len(self.scale) - 1

    def sample(
        self,
        scores: npt.ArrayLike,
        units: Sequence[Hashable] | None = None,
        expected: Sequence[str] = (),
        predicted: Sequence[str | None] = (),
        name: str = "",
    ) -> stats.UnitSums:
        """Make the sample of some rows under this metric, or the one called `name`: F1 over labels
        or values and kappa are computed from labels or answers, all others from scores.

        There an answer that is right by another right label (score 1) counts as the row's first
        label, so that all metrics call the same answers right.
        """
        name = name or self.name
        if self.parts and name != ALL_RIGHT:
            return self._sample_questions(scores, units, expected, predicted, name)
        if name not in ("macro_f1", "micro_f1", "kappa", "value_f1"):
            return stats.make_score_sample(scores, units)
        rows = zip(np.asarray(scores), expected, predicted, strict=True)
        predicted = [label if score == 1 else prediction for score, label, prediction in rows]
        if name == "value_f1":
            rights = [
                _count_right_values(answer or "", right)
                for answer, right in zip(predicted, expected, strict=True)
            ]
            return stats.make_f1_sample(rights, units)
        if name == "kappa":
            positions = [self.scale.index(label) for label in expected]
            answered = list(map(self._find_position, predicted, positions))
            return stats.make_kappa_sample(positions, answered, units)
        if not self.several:
            return stats.make_label_sample(expected, predicted, units)
        wanted = [set(split_labels(label)) for label in expected]
        answers = [set(split_labels(label or "")) for label in predicted]
        if name == "macro_f1":
            return stats.make_label_lists_sample(wanted, answers, units)
        pairs = zip(wanted, answers, strict=True)
        counts = [(len(right & answer), len(answer), len(right)) for right, answer in pairs]
        return stats.make_f1_sample(counts, units)

    def _sample_questions(
        self,
        scores: npt.ArrayLike,
        units: Sequence[Hashable] | None,
        expected: Sequence[str],
        predicted: Sequence[str | None],
        name: str,
    ) -> stats.UnitSums:
        """Make the sample of one question, called by the label of its part, or else of the mean of
        all.
        """
        right_rows = np.asarray(scores) == 1
        samples = {}
        for number, part in enumerate(self.parts):
            gold = [select_labels(text, self.parts)[number] for text in expected]
            labels = [select_labels(text or "", self.parts)[number] for text in predicted]
            rows = zip(right_rows, gold, labels, strict=True)
            labels = [right if is_right else label for is_right, right, label in rows]
            hits = [float(label == right) for label, right in zip(labels, gold, strict=True)]
            samples[part.label] = part.sample(hits, units, gold, labels)
        return samples.get(name) or stats.make_average_sample([*samples.values()])


def describe_metric(metric: Metric) -> dict[str, Any]:
    """Return the JSON from which `restore_metric` restores a metric, apart from its kind and
    check.
    """
    settings = {key: getattr(metric, key) for key in ("scale", "several") if getattr(metric, key)}
    question = {"question": asdict(metric.question)} if metric.question else {}
    parts = {"parts": [describe_metric(part) for part in metric.parts]} if metric.parts else {}
    return {"name": metric.name, **settings, **question, **parts}


def restore_metric(
    record: Mapping[str, Any], kind: Kind, check: CheckFunction | None = None
) -> Metric:
    """Return the headline metric of a run from `metric` in its run.json."""
    scale = tuple(record.get("scale", ()))
    several = record.get("several", False)
    parts = tuple(restore_metric(part, kind) for part in record.get("parts", ()))
    question = (
        TaskQuestion(**{**body, "labels": tuple(body["labels"])})
        if (body := record.get("question"))
        else None
    )
    return Metric(
        record["name"], kind, check, scale=scale, several=several, question=question, parts=parts
    )


def choose_metric(task: Task, train: Dataset) -> Metric:
    """Choose the headline metric: the task's own, else by its kind and the training rows.

    classify: accuracy, or macro-F1 if the largest class has over five times the rows of the
    smallest; with a scale kappa, with several labels a row the F1 of its labels, and with several
    questions the mean of their metrics. extract: F1 over values, or exact match if no answer has
    values. answer, rewrite: passes; with neither contract nor check the calls of functions if any
    answer has some, exact match if answers of `answer` repeat, else chrF.
    """
    check = task.check.load() if task.check else None
    if task.questions:
        parts = []
        for question, part in zip(
            find_labels(task.questions, train), task.split_questions().values(), strict=True
        ):
            rows = replace(
                train, examples=tuple(select_question(row, question.name) for row in train)
            )
            parts.append(replace(choose_metric(replace(part, check=None), rows), question=question))
        reason = "because a row answers several questions"
        return Metric(
            "question_mean", task.kind, check, reason, task.contract is not None, parts=tuple(parts)
        )
    name, reason = (
        (task.metric, "because the task file sets it")
        if task.metric
        else _choose_by_kind(task, train)
    )
    return Metric(
        name, task.kind, check, reason, task.contract is not None, task.scale, task.several
    )


def predicted_label(answer: Answer) -> str:
    """Return the label of an answer, or its list of labels as one text. An answer without a label
    gives its text.
    """
    return to_label(answer.value, answer.text)


def select_labels(text: str, parts: Sequence[Metric]) -> list[str]:
    """Read the answer to the question of each part; "" for one that is not answered."""
    answers = split_answers(text)
    questions = [part.question for part in parts if part.question]
    return [read_label(answers.get(question.name, ""), question.labels) for question in questions]


def to_label(value: Any, text: str) -> str:
    """Return the label of an answer from its value and its text. See `predicted_label`."""
    if isinstance(value, list) and all(isinstance(label, str) for label in value):
        return join_labels(value)
    return value.strip() if isinstance(value, str) else text.strip()


def _choose_by_kind(task: Task, train: Dataset) -> tuple[MetricName, str]:
    if task.kind == "extract":
        has_values = any(_count_values(example.output) for example in train)
        return "value_f1" if has_values else "exact_match", "because the task is to extract"
    if task.kind in ("answer", "rewrite"):
        return _choose_for_texts(task, train)
    if task.scale:
        return "kappa", "because the labels are scores on a scale"
    if task.several:
        return "sample_f1", "because a row has several labels"
    sizes = Counter(example.output.strip() for example in train).values()
    if not sizes:
        return "accuracy", "because the task is to classify"
    ratio = f"{max(sizes) / min(sizes):.1f}".removesuffix(".0")
    if max(sizes) > SKEWED * min(sizes):
        return "macro_f1", f"because the largest class has {ratio} times the rows of the smallest"
    return (
        "accuracy",
        f"because no class has over {SKEWED} times the rows of another (at most {ratio})",
    )


def _choose_for_texts(task: Task, train: Dataset) -> tuple[MetricName, str]:
    keys = [key for key in ("contract", "check") if getattr(task, key)]
    if keys:
        return "passes", f"because the task has a {' and a '.join(keys)}"
    if any(split_calls(example.output)[1] for example in train):
        return "calls", "because answers call functions"
    if task.kind == "answer" and are_repeated([example.output for example in train]):
        return "exact_match", "because answers repeat, so the task is to choose among known answers"
    return "chrf", "because the task has neither contract nor check"


def _list_right_outputs(example: Example) -> tuple[str, ...]:
    return (example.output, *example.references)


RowScore = Callable[[Example, Answer], float]


def _score_label(example: Example, answer: Answer) -> float:
    label = predicted_label(answer)
    return float(any(label == output.strip() for output in _list_right_outputs(example)))


def _score_exact_match(example: Example, answer: Answer) -> float:
    """1 if the answer equals a right output, as JSON if both are JSON, else as text."""
    canonical = _to_canonical(answer.text)
    return float(any(canonical == _to_canonical(output) for output in _list_right_outputs(example)))


def _score_values(example: Example, answer: Answer) -> float:
    """F1 of the values of one row; 1 if there are none in the answer and in the right output."""
    right, answered, expected = max(
        (_count_right_values(answer.text, output) for output in _list_right_outputs(example)),
        key=lambda hits: 2 * hits.right - hits.expected,
    )
    return 2 * right / (answered + expected) if answered + expected else 1.0


@lru_cache(maxsize=100_000)
def _count_right_values(answer: str, output: str) -> ValueHits:
    hits = count_value_hits(answer, [output]).values()
    return ValueHits(*(sum(counts) for counts in zip((0, 0, 0), *hits, strict=True)))


def _score_calls(example: Example, answer: Answer) -> float:
    """1 if the answer calls the functions of a right output, in any order with equal arguments, or
    none if that has none. A call that cannot be parsed is wrong.
    """
    text, calls = split_calls(answer.text)
    outputs = (split_calls(output)[1] for output in _list_right_outputs(example))
    return float(
        CALL_TAG not in text
        and any(_are_same_calls(calls, output, example.defaults) for output in outputs)
    )


def _are_same_calls(calls: Sequence[Any], expected: Sequence[Any], defaults: Defaults) -> bool:
    """Whether both have the same calls, each equally often. Calls and keys of arguments may be in
    any order, and an argument that is left out has its default.
    """
    filled = (
        [
            {**call, "arguments": {**defaults.get(call["name"], {}), **call["arguments"]}}
            for call in side
        ]
        for side in (calls, expected)
    )
    answered, remaining = ([*map(_to_comparable, side)] for side in filled)
    for call in answered:
        if call not in remaining:
            return False
        remaining.remove(call)
    return not remaining


def score_call_parts(answer: str, outputs: Sequence[str], defaults: Defaults) -> dict[str, float]:
    """Score those of `CALL_PARTS` that the row has, each 0 or 1. A row where a call and no call are
    both right has none. `defaults` are those of the row.
    """
    expected = [split_calls(output)[1] for output in outputs]
    text, calls = split_calls(answer)
    is_call = CALL_TAG in answer
    is_readable = CALL_TAG not in text
    if not any(expected):
        return {"no_call": float(not is_call)}
    if not all(expected):
        return {}
    names = sorted(call["name"] for call in calls)
    has_names = any(names == sorted(call["name"] for call in output) for output in expected)
    is_right = any(_are_same_calls(calls, output, defaults) for output in expected)
    parts = {
        "call": is_call,
        "functions": is_readable and has_names,
        "arguments": is_readable and is_right,
    }
    if min(map(len, expected)) > 1:
        parts["several"] = parts["arguments"]
    return {name: float(value) for name, value in parts.items()}


def _score_chrf(example: Example, answer: Answer, max_characters: int | None = None) -> float:
    """sacrebleu's chrF2 against the most similar right output, 0 to 1, of the beginning of every
    text. Popović 2015.
    """
    outputs = [output[:max_characters] for output in _list_right_outputs(example)]
    return _load_chrf()(answer.text[:max_characters], outputs) / 100


def _score_most_similar(measure: Callable[[str, str], float]) -> RowScore:
    return lambda example, answer: max(
        measure(answer.text, output) for output in _list_right_outputs(example)
    )


def count_value_hits(answer: str, outputs: Sequence[str]) -> dict[str, ValueHits]:
    """Count for each field of a JSON answer its right, answered and expected values, by the most
    similar output.

    A field is the path of its keys, joined by dots; the items of a list are its values, each
    counted once, in any order. Null, "" and empty lists are no value. Text that is not JSON has no
    values.
    """
    answered = _count_values(answer)
    hits = [_match_values(answered, _count_values(output)) for output in outputs]
    return max(
        hits, key=lambda fields: sum(2 * field.right - field.expected for field in fields.values())
    )


def _count_values(text: str) -> dict[str, Counter[str]]:
    values: dict[str, Counter[str]] = {}
    try:
        leaves = list(_list_values(parse_json(text), ""))
    except ValueError:
        return {}
    for path, value in leaves:
        key = int(value) if isinstance(value, float) and value.is_integer() else value  # 1.0 is 1
        values.setdefault(path, Counter())[json.dumps(key, sort_keys=True)] += 1
    return values


def _list_values(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _list_values(inner, f"{path}.{key}" if path else key)
    elif isinstance(value, list):
        yield from ((path, item) for item in value if item is not None)
    elif value not in (None, ""):
        yield path, value


def _match_values(
    answered: Mapping[str, Counter[str]], expected: Mapping[str, Counter[str]]
) -> dict[str, ValueHits]:
    none = Counter[str]()
    pairs = {
        path: (answered.get(path, none), expected.get(path, none))
        for path in {**expected, **answered}
    }
    return {
        path: ValueHits((values & right_values).total(), values.total(), right_values.total())
        for path, (values, right_values) in pairs.items()
    }


def _parse_fields(text: str) -> Mapping[str, Any]:
    kind, value = _to_canonical(text)
    if kind == "json" and value[0] == "object":
        return {_FIELD + key: inner for key, inner in value[1].items()}
    return {kind: value}


def _measure_right_fields(answer: str, output: str) -> float:
    """The share of right fields among all expected or answered ones.

    Fields are the keys of JSON objects; an output that is not a JSON object counts as one field.
    """
    answered = _parse_fields(answer)
    expected = _parse_fields(output)
    num_right = sum(answered[key] == expected[key] for key in answered.keys() & expected.keys())
    keys = answered.keys() | expected.keys()
    return num_right / len(keys) if keys else 1.0


_ROW_SCORES: Mapping[str, RowScore] = {
    "accuracy": _score_label,
    "macro_f1": _score_label,
    "value_f1": _score_values,
    "exact_match": _score_exact_match,
    "chrf": _score_chrf,
    "token_f1": _score_most_similar(token_f1),
    "sari": lambda example, answer: sari(example.text, answer.text, _list_right_outputs(example)),
    "calls": _score_calls,
}
_OTHER_ROW_SCORES: Mapping[str, RowScore] = {
    **_ROW_SCORES,
    "chrf": partial(_score_chrf, max_characters=CHRF_CHARACTERS),
    "right_fields": _score_most_similar(_measure_right_fields),
}
# Shown in addition to the headline. The first list replaces the metrics of the kind, the second is
# appended to them.
_SEVERAL_METRICS = ("sample_f1", "subset_accuracy", "micro_f1", "macro_f1")
_SCALE_METRICS = ("kappa", MEAN_ERROR)
# Shown in addition to the headline, which is left out of these lists.
OTHER_METRICS: Mapping[Kind, tuple[str, ...]] = {
    "classify": ("accuracy", "macro_f1"),
    "extract": ("value_f1", "exact_match", "right_fields"),
    "answer": ("exact_match", "token_f1", "chrf"),
    "rewrite": ("exact_match", "chrf", "sari"),
}


def _to_canonical(text: str) -> tuple[str, Any]:
    """Return the same value for equal answers: JSON without regard to key order, else the text
    without case, width of characters and runs of white space. Signs and punctuation count: -5 is
    not 5.
    """
    try:
        return "json", _to_comparable(parse_json(text))
    except ValueError:
        return "text", " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def _to_comparable(value: Any) -> Any:
    """Convert a value so that == is JSON's equality: 1 and 1.0 are equal, true and 1 are not."""
    if isinstance(value, dict):
        return "object", {key: _to_comparable(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return "array", [_to_comparable(inner) for inner in value]
    return ("bool" if isinstance(value, bool) else "value"), value


@cache
def _load_chrf() -> Callable[[str, Sequence[str]], float]:
    from sacrebleu.metrics import CHRF  # 0.1 s to import, and most tasks never need it

    metric = CHRF()
    return lambda text, references: float(metric.sentence_score(text, list(references)).score)

"""Forgetting: log-likelihood of general text and answers, before and after tuning.

It takes seconds, because nothing is generated. It is measured only for tuned weights, on backends
that can score.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from etude.base.word_lists import read_table
from etude.models.registry import Models, find_backend
from etude.stats import compare_paired, estimate, make_score_sample
from etude.stats.sample import t_quantile
from etude.suites.measures.shares import Measure
from etude.types import Estimate, Message, ModelRef, Request

_PACK: Mapping[str, Any] = read_table(__file__, "general.yaml")


def measure_forgetting(tuned: ModelRef, models: Models) -> list[Measure]:
    """Measure how much higher the perplexity of general text is than the base's, and how many
    general questions are right; empty for weights that are not tuned, or whose backend cannot
    score.
    """
    if tuned.adapter is None or "score" not in find_backend(tuned.name).can:
        return []
    sides = [models.get(ref, "score") for ref in (tuned, ModelRef(tuned.name))]
    return [_measure_perplexity(*sides), _measure_abilities(*sides)]


def _measure_perplexity(tuned: Any, base: Any) -> Measure:
    pairs = [(entry["ask"], entry["text"]) for entry in _PACK["texts"]]
    after, before = (np.asarray(_mean_log_probs(side, pairs)) for side in (tuned, base))
    worse = before - after  # nats a token
    mean = float(worse.mean())
    error = float(worse.std(ddof=1)) / math.sqrt(len(worse))
    half = t_quantile(len(worse)) * error
    value, low, high = (math.expm1(min(nats, 700.0)) for nats in (mean, mean - half, mean + half))
    return Measure(
        name="forgetting",
        label="increase in the perplexity of general text, compared with the base",
        more_is_better=False,
        assistant=Estimate(value, low, high, len(worse)),
        base=None,
        difference=None,
        failures=int((worse > 0).sum()),
        cases=len(worse),
        is_share=False,
    )


def _measure_abilities(tuned: Any, base: Any) -> Measure:
    after, before = (_score_questions(side) for side in (tuned, base))
    return Measure(
        name="abilities",
        label="general questions for which the right answer is the most likely",
        more_is_better=True,
        assistant=estimate(after),
        base=estimate(before),
        difference=compare_paired(make_score_sample(after), make_score_sample(before)).difference,
        failures=after.count(0.0),
        cases=len(after),
    )


def _score_questions(side: Any) -> list[float]:
    """Return 1 for each question whose right answer has the highest mean log-probability per token,
    else 0.
    """
    questions = _PACK["questions"]
    pairs = [
        (entry["ask"], answer)
        for entry in questions
        for answer in (entry["right"], *entry["wrong"])
    ]
    scores = iter(_mean_log_probs(side, pairs))
    is_right = []
    for entry in questions:
        right_score, *wrong_scores = (next(scores) for _ in range(1 + len(entry["wrong"])))
        is_right.append(float(right_score > max(wrong_scores)))
    return is_right


def _mean_log_probs(side: Any, pairs: Sequence[tuple[str, str]]) -> list[float]:
    """Return the mean log-probability per token of each answer to its question, in nats, without
    the end of turn.
    """
    requests = [Request((Message("user", question),), 0) for question, _ in pairs]
    scores = side.score(requests, [text for _, text in pairs])
    return [float(np.mean(tokens[:-1])) for tokens in scores]

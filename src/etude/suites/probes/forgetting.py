"""What tuning has made a model forget: general text and general questions, by log-likelihood, before and after.

Nothing is generated, so it takes seconds. Only for weights that were tuned, and backends that can score.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from etude.base.word_lists import read_table
from etude.models.registry import Models, backend_of
from etude.stats import estimate, headline, score_sample
from etude.stats.sample import t_quantile
from etude.suites.measures import Measure
from etude.types import Estimate, Message, ModelRef, Request

_PACK: Mapping[str, Any] = read_table(__file__, "general.yaml")


def forgetting(tuned: ModelRef, models: Models) -> list[Measure]:
    """How much higher the perplexity of general text is than the base's, and how many general questions are right;
    nothing for weights that are not tuned or cannot score."""
    if tuned.adapter is None or "score" not in backend_of(tuned.name).can:
        return []
    sides = [models.get(ref, "score") for ref in (tuned, ModelRef(tuned.name))]
    return [_perplexity(*sides), _abilities(*sides)]


def _perplexity(tuned: Any, base: Any) -> Measure:
    asked = [(each["ask"], each["text"]) for each in _PACK["texts"]]
    after, before = (np.asarray(_mean_scores(side, asked)) for side in (tuned, base))
    worse = before - after  # nats a token
    mean, error = float(worse.mean()), float(worse.std(ddof=1)) / math.sqrt(len(worse))
    half = t_quantile(len(worse)) * error
    value, low, high = (math.expm1(min(nats, 700.0)) for nats in (mean, mean - half, mean + half))
    return Measure(
        name="forgetting",
        label="perplexity of general text, above the base's",
        more_is_better=False,
        assistant=Estimate(value, low, high, len(worse)),
        base=None,
        difference=None,
        failures=int((worse > 0).sum()),
        cases=len(worse),
        is_share=False,
    )


def _abilities(tuned: Any, base: Any) -> Measure:
    after, before = (_right(side) for side in (tuned, base))
    return Measure(
        name="abilities",
        label="general questions whose right answer is the likeliest",
        more_is_better=True,
        assistant=estimate(after),
        base=estimate(before),
        difference=headline(score_sample(after), score_sample(before)).difference,
        failures=after.count(0.0),
        cases=len(after),
    )


def _right(side: Any) -> list[float]:
    """1 for each question whose right answer has the highest mean log-probability a token, else 0."""
    asked = [(each["ask"], said) for each in _PACK["questions"] for said in (each["right"], *each["wrong"])]
    scores, right = iter(_mean_scores(side, asked)), []
    for each in _PACK["questions"]:
        first, *others = (next(scores) for _ in range(1 + len(each["wrong"])))
        right.append(float(first > max(others)))
    return right


def _mean_scores(side: Any, asked: Sequence[tuple[str, str]]) -> list[float]:
    """Log-probability a token of each text as the answer to its question; the end of turn is not counted."""
    requests = [Request((Message("user", question),), 0) for question, _ in asked]
    scores = side.score(requests, [text for _, text in asked])
    return [float(np.mean(tokens[:-1])) for tokens in scores]

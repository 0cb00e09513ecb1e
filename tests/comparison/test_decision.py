"""What a verdict says to use is one thing: sentence, badge, lean, advice and exit code, in
simulated verdicts.
"""

import re
from dataclasses import replace

import numpy as np
import pytest

from etude.comparison.decide import make_verdict
from etude.metrics import Metric
from etude.runs.verdict import (
    CostResult,
    HeadlinePair,
    MethodResult,
    ScoredRows,
    Verdict,
    VerdictInputs,
)
from etude.task import Usage
from etude.types import CLASSICAL

LADDER = ("baseline", "prompt", "few_shot", "retrieval", "fine_tune_encoder", "fine_tune")
METRICS = (
    *(
        Metric("accuracy", "classify"),
        Metric("macro_f1", "classify"),
        Metric("exact_match", "extract"),
    ),
    *(
        Metric("chrf", "rewrite"),
        Metric("passes", "answer"),
        Metric("passes", "answer", lambda row, text: 1),
    ),
)


def draw_inputs(draw: np.random.Generator) -> VerdictInputs:
    """A comparison of some methods, on the first rows each, with whatever a task may have beside
    it.
    """
    num = int(draw.integers(20, 300))
    metric = METRICS[draw.integers(len(METRICS))]
    names = [name for name in LADDER if draw.random() < 0.6] or ["prompt"]
    difficulty = draw.random(num)
    quality = draw.random()
    expected = draw.choice(list("aab"), num)

    def make_method(name: str, is_stored: bool = False) -> MethodResult:
        size = num if draw.random() < 0.5 or is_stored else int(draw.integers(5, num))
        share = 0.0 if draw.random() < 0.05 else quality + draw.normal(0, 0.1)
        right = (difficulty + draw.normal(0, 0.2, num) < share)[:size]
        tuned = name.startswith("fine_tune")
        return MethodResult(
            name,
            tuned,
            right.astype(float).tolist(),
            np.where(right, expected[:size], "c").tolist(),
            model=CLASSICAL if name == "baseline" else "m",
            learned=int(draw.choice([300, 1_000])) if tuned else None,
            is_stored=is_stored,
        )

    methods = [make_method(name) for name in names]
    longest = int(draw.integers(len(names)))
    methods[longest] = replace(
        methods[longest],
        scores=(difficulty < quality).astype(float).tolist(),
        predicted=expected.tolist(),
    )
    beaten = {method.name for method in methods if draw.random() < 0.2} - {names[longest]}
    in_race = [method.name for method in methods if method.name not in beaten]
    tuned = [name for name in in_race if name.startswith("fine_tune")]
    untuned = [name for name in in_race if not name.startswith("fine_tune")]
    stored = [make_method("old", is_stored=True)] if draw.random() < 0.2 else []
    constant = MethodResult("{}", False, (expected == "a").astype(float).tolist(), ["a"] * num)
    costs = CostResult(f"By your costs, use {draw.choice(in_race)} now.", "", False, {})
    costs = replace(costs, cheapest=costs.text.split()[4])
    return VerdictInputs(
        ScoredRows([str(row) for row in range(num)], expected=expected.tolist()),
        [*methods, *stored],
        HeadlinePair(*(str(draw.choice(group)) if group else None for group in (untuned, tuned))),
        metric,
        "m",
        total_rows=int(draw.choice([120, 1_500])),
        margin=float(draw.choice([0.0, 0.02, 0.1])),
        target=float(draw.random()) if draw.random() < 0.4 else None,
        usage=Usage(facts_change="daily", requests_per_month=1_000)
        if draw.random() < 0.3
        else Usage(),
        train_rows=1_000,
        full_seconds={name: 1_500.0 for name in tuned if draw.random() < 0.5},
        beaten=frozenset(beaten),
        most_frequent=constant if draw.random() < 0.5 and not metric.contract_only else None,
        error_costs=costs if draw.random() < 0.2 and metric.kind == "classify" else None,
        resamples=200,
    )


def check_decision(inputs: VerdictInputs, verdict: Verdict) -> None:
    """Nothing in the verdict names another method to use."""
    rows = {row.method: row for row in verdict.ladder}
    used = rows[verdict.leaning]
    assert not used.is_stored
    assert verdict.recommended in (None, verdict.leaning)
    named = set(re.findall(r"\b[Uu]se (\w+)(?= now|,|;|:|\.)", verdict.sentence))
    assert named == ({verdict.recommended} if verdict.recommended else set()), verdict.sentence
    reasons = ("few rows", "nothing right", "one answer", "copies")
    assert (verdict.recommended is None) == (verdict.basis in reasons)
    assert (verdict.basis == "few rows") == ("too few for a verdict" in verdict.sentence)
    if verdict.basis in ("among the best", "not beaten", "alone"):
        assert used.status not in ("worse", "worse on dev")
        assert (used.status == "among the best") == (verdict.basis == "among the best")
    if verdict.basis == "not beaten":
        most = max(row.rows for row in verdict.ladder if row.method in inputs.in_race.candidates)
        shown = [
            pair for pair in verdict.pairs if pair.a == used.method and pair.difference.low > 0
        ]
        shown += [
            pair for pair in verdict.pairs if pair.b == used.method and pair.difference.high < 0
        ]
        gain = verdict.headline if verdict.headline and verdict.headline.gains else None
        assert 2 * used.rows >= most or shown or (gain and gain.tuned == used.method)
        assert gain is None or gain.untuned != used.method or gain.difference.high <= inputs.margin
    assert not any(f"{verdict.recommended} copies" in caveat for caveat in verdict.caveats)
    for question in verdict.open:
        assert verdict.basis != "few rows"
        assert " would " in question
        assert rows[question.removeprefix("whether ").split()[0]].status not in (
            "worse",
            "worse on dev",
        )
    for advice in verdict.advice:
        assert {*re.findall(r"; train (\w+) only", advice.text)} <= {verdict.leaning}
    if verdict.reaches_target:
        assert verdict.target.mark(used.estimate) == "met"
        assert "No method is good enough" not in verdict.sentence


@pytest.mark.parametrize("num", [120, pytest.param(3_000, marks=pytest.mark.real)])
def test_everything_that_names_a_method_to_use_names_the_same(num: int) -> None:
    bases = set()
    for seed in range(num):
        inputs = draw_inputs(np.random.default_rng([seed, 9]))
        verdict = make_verdict(inputs)
        check_decision(inputs, verdict)
        bases.add(verdict.basis)
    assert len(bases) >= 6, "the simulation reaches nearly every basis"

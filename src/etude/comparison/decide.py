"""The verdict: which method to use and why, from the rows that every method answered.

Pure functions. `decide_on_dev` names the pair of the headline before the test is opened; `verdict`
takes the test rows. The rules and their sources are those of docs and `etude.stats`; the words are
in `sentences`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import combinations

import numpy as np

from etude.comparison.costs import break_even, priced, prices_for
from etude.comparison.sentences import (
    advice,
    caveats,
    nothing_right,
    nothing_right_sentence,
    partial_measures,
    target_text,
    too_few_sentence,
    verdict_sentence,
)
from etude.data.dataset import VERDICT_LEAST
from etude.data.splits.sides import TEST_SHARE
from etude.metrics import sample_under
from etude.runs.verdict import (
    BreakEven,
    ContractRates,
    EqualRows,
    Evidence,
    HeadlinePair,
    HeadlineResult,
    Inputs,
    LadderRow,
    MethodResult,
    RowsAnswered,
    Status,
    TagEstimate,
    TargetResult,
    TrainingRunResult,
    Verdict,
)
from etude.stats import (
    DETECT,
    EXACT,
    MOST_ADVISED,
    TWO_LEVELS,
    Joint,
    Sample,
    choose,
    estimate,
    estimate_known,
    estimate_sample,
    headline,
    over_seeds,
    rows_to_decide,
    simultaneous,
)
from etude.stats.intervals import Z
from etude.types import Estimate, MethodPair

LABEL = "label"
"""Name of the wanted label among the tags."""
OWN = " (tag)"
"""What is added to the name of a tag of the rows that would be taken for it."""


def decide_on_dev(methods: Sequence[tuple[str, bool, Sample]]) -> HeadlinePair:
    """The best untuned method U and the best tuned method T, from their dev rows alone.

    `methods`: (name, tuned, dev sample) in the order of the ladder. Within one standard error of the best
    the lower step is taken. See `etude.stats.choose`.
    """
    names, reasons = [], []
    for wanted in (False, True):
        group = [(name, sample) for name, tuned, sample in methods if tuned is wanted]
        choice = choose(group) if group else None
        names.append(group[choice.index][0] if choice else None)
        reasons += [choice.reason] if choice else []
    return HeadlinePair(names[0], names[1], tuple(reasons))


def verdict(inputs: Inputs) -> Verdict:
    """The verdict on test rows that all methods answered. Deterministic, whatever the order of the rows."""
    if inputs.rows.units is None:
        inputs = replace(inputs, rows=replace(inputs.rows, units=inputs.rows.ids))
    samples = [_sample(inputs, method) for method in inputs.methods]
    joint = simultaneous(samples, inputs.resamples)
    compared = _headline(inputs, samples)
    collect = _rows_to_collect(inputs, compared, joint)
    estimates = [estimate_sample(sample) for sample in samples]
    ladder = _ladder(inputs, inputs.methods, estimates, joint)
    if compared is not None and collect is not None:
        compared = replace(compared, gains=False, undecided="few rows")
    elif compared is not None and compared.tuned in inputs.cut and not compared.gains:
        compared = replace(compared, undecided="cut")
    if collect is not None or nothing_right(ladder):
        ladder = [replace(step, status="undecided", rows_to_decide=None) for step in ladder]
    return _worded(inputs, ladder, compared, joint, collect)


def _worded(
    inputs: Inputs,
    ladder: Sequence[LadderRow],
    compared: HeadlineResult | None,
    joint: Joint,
    collect: int | None,
) -> Verdict:
    choice, leaning = _choice(inputs, ladder, joint)
    inputs = replace(inputs, evidence=_evidence(inputs))
    recommended = next((step.method for step in choice if step.status == "among the best"), None)
    earned = _break_even(inputs, compared)
    forms = {method.name: _forms(inputs, method) for method in inputs.methods}
    others = {method.name: _others(inputs, method) for method in inputs.methods}
    if collect is not None:
        sentence = too_few_sentence(inputs, collect, _worth(inputs, compared))
    elif nothing_right(ladder):
        sentence = nothing_right_sentence(inputs, partial_measures(forms, others))
    else:
        sentence = verdict_sentence(inputs, choice, compared, recommended, leaning)
    # Where there are too few rows, nothing but their number is said of tuning.
    said, pays = (compared, earned) if collect is None else (None, None)
    equal = _equal(inputs, said)
    error = _headline_error(inputs, compared, joint)
    return Verdict(
        sentence=sentence,
        caveats=caveats(inputs, choice, said, recommended, forms, error, equal),
        advice=advice(inputs, pays),
        recommended=recommended,
        leaning=recommended or leaning.method,
        test_rows=_test_rows(inputs),
        headline=compared,
        target=_target(inputs, ladder),
        ladder=tuple(ladder),
        pairs=tuple(_pairs(inputs, joint)),
        critical=joint.critical if math.isfinite(joint.critical) else None,
        break_even=pays,
        by_tag=tuple(_by_tag(inputs)),
        costs={method.name: priced(method.cost, prices_for(inputs, method)) for method in inputs.methods},
        forms=forms,
        others=others,
        train_rows=inputs.train_rows,
        equal=equal,
        evidence=inputs.evidence,
    )


def _choice(
    inputs: Inputs, ladder: Sequence[LadderRow], joint: Joint
) -> tuple[Sequence[LadderRow], LadderRow]:
    """The steps that may be recommended, each as it stands among them, and the one that the verdict leans to."""
    kept = [index for index, step in enumerate(ladder) if step.method not in inputs.copies]
    if len(kept) in (0, len(ladder)):
        return ladder, ladder[_leaning(joint, inputs.margin)]
    some = joint.only(kept)
    choice: Sequence[LadderRow] = [ladder[index] for index in kept]
    if any(step.status != "undecided" for step in ladder):
        methods, estimates = [inputs.methods[index] for index in kept], [step.estimate for step in choice]
        choice = _ladder(inputs, methods, estimates, some)
    return choice, choice[_leaning(some, inputs.margin)]


def _equal(inputs: Inputs, compared: HeadlineResult | None) -> EqualRows | None:
    """The tuned method of the headline against the baseline on as few rows."""
    if inputs.equal is None or inputs.equal.learned is None or compared is None:
        return None
    baseline, tuned = _sample(inputs, inputs.equal), inputs.methods[_position(inputs, compared.tuned)]
    difference = headline(_sample(inputs, tuned), baseline).difference
    return EqualRows(inputs.equal.name, inputs.equal.learned, estimate_sample(baseline), difference)


def _evidence(inputs: Inputs) -> Evidence | None:
    """What was asked for on request, with each training run's result on the test."""
    if inputs.evidence is None:
        return None
    found, (first, *_) = inputs.evidence, inputs.evidence.runs
    used = inputs.methods[_position(inputs, found.method)]
    runs = [(first.seed, used), *inputs.further]
    results = [TrainingRunResult(seed, estimate_sample(_sample(inputs, run))) for seed, run in runs]
    return replace(found, runs=tuple(results))


def _test_rows(inputs: Inputs) -> RowsAnswered:
    answered = len(inputs.rows.ids)
    return RowsAnswered(answered, answered if inputs.whole_test is None else inputs.whole_test)


def _sample(inputs: Inputs, method: MethodResult) -> Sample:
    rows = inputs.rows
    return inputs.metric.sample(method.scores, rows.units, rows.expected, method.predicted)


def _position(inputs: Inputs, name: str) -> int:
    return [method.name for method in inputs.methods].index(name)


def _headline(inputs: Inputs, samples: Sequence[Sample]) -> HeadlineResult | None:
    tuned, untuned = inputs.decided.tuned, inputs.decided.untuned
    if tuned is None or untuned is None:
        return None
    one, other = samples[_position(inputs, tuned)], samples[_position(inputs, untuned)]
    further = [_sample(inputs, run) for _, run in inputs.further]
    found = over_seeds([one, *further], other) if further else headline(one, other)
    return HeadlineResult(tuned, untuned, found.difference, found.p, found.test, found.gains)


def _headline_error(inputs: Inputs, compared: HeadlineResult | None, joint: Joint) -> float:
    if compared is None:
        return math.inf
    if compared.test == TWO_LEVELS:
        return (compared.difference.high - compared.difference.low) / (2 * Z)
    pair = _position(inputs, compared.tuned), _position(inputs, compared.untuned)
    return float(joint.errors[pair])


def _rows_to_collect(inputs: Inputs, compared: HeadlineResult | None, joint: Joint) -> int | None:
    """Rows in all with which a difference worth having would be found in 80% of tests; None when there are
    enough for a verdict on tuning, or when nothing was tuned."""
    if compared is None or inputs.total_rows >= VERDICT_LEAST:
        return None
    error, worth = min(1.0, _headline_error(inputs, compared, joint)), _worth(inputs, compared)
    test_rows = len(inputs.rows.ids) * (DETECT * error / worth) ** 2
    if compared.test == EXACT:
        test_rows = max(test_rows, DETECT**2 / worth)  # with fewer, `least_shown` is more than the worth
    return min(MOST_ADVISED, max(VERDICT_LEAST, math.ceil(test_rows / float(TEST_SHARE))))


def _worth(inputs: Inputs, compared: HeadlineResult | None) -> float:
    """The difference worth having: twice the margin, or half the difference seen so far when that is more;
    half, because the few rows there are may flatter it."""
    seen = abs(compared.difference.value) / 2 if compared else 0.0
    return max(2 * inputs.margin, seen, 1e-3)


def _ladder(
    inputs: Inputs, methods: Sequence[MethodResult], estimates: Sequence[Estimate], joint: Joint
) -> list[LadderRow]:
    """How each method stands among the `methods`. One that is worse with a part of its training is undecided."""
    if len(estimates) == 1:
        return [LadderRow(methods[0].name, estimates[0], "undecided", learned=methods[0].learned)]
    differences = joint.values[:, None] - joint.values
    others = ~np.eye(len(estimates), dtype=bool)
    good = ~np.any((differences - joint.down <= -inputs.margin) & others, axis=1)
    worse = np.any((differences + joint.down.T < -inputs.margin) & others, axis=1)
    steps = []
    for index, (method, found) in enumerate(zip(methods, estimates, strict=True)):
        status: Status = "among the best" if good[index] else "worse" if worse[index] else "undecided"
        rows = _rows_to_decide(inputs, joint, index) if status == "undecided" else None
        if method.name in inputs.cut and status != "among the best":
            status, rows = "undecided", None
        steps.append(LadderRow(method.name, found, status, rows, method.learned))
    return steps


def _rows_to_decide(inputs: Inputs, joint: Joint, index: int) -> int | None:
    """N = n ((c + 0.84) SE / |m + d|)², d the difference to the best of the others."""
    rival = int(np.argmax(np.where(np.arange(len(joint.values)) == index, -np.inf, joint.values)))
    distance = inputs.margin + float(joint.values[index] - joint.values[rival])
    error = float(joint.errors[index, rival])
    return rows_to_decide(len(inputs.rows.ids), joint.critical, error, distance)


def _leaning(joint: Joint, margin: float) -> int:
    """The lowest step whose difference to the best, taken at its face value, is within the margin."""
    return int(np.argmax(joint.values >= joint.values.max() - margin))


def _pairs(inputs: Inputs, joint: Joint) -> Iterator[MethodPair]:
    for a, b in combinations(range(len(inputs.methods)), 2):
        yield MethodPair(inputs.methods[a].name, inputs.methods[b].name, joint.difference(a, b))


def _target(inputs: Inputs, ladder: Sequence[LadderRow]) -> TargetResult | None:
    if inputs.target is None:
        return None
    met_by = next((step.method for step in ladder if step.estimate.low >= inputs.target), None)
    return TargetResult(inputs.target, met_by, target_text(inputs.target, met_by, ladder))


def _break_even(inputs: Inputs, compared: HeadlineResult | None) -> BreakEven | None:
    if compared is None:
        return None
    tuned, untuned = _position(inputs, compared.tuned), _position(inputs, compared.untuned)
    return break_even(inputs, inputs.methods[tuned], inputs.methods[untuned])


def _forms(inputs: Inputs, method: MethodResult) -> ContractRates:
    form, check = (estimate_known(values, inputs.rows.units) for values in (method.form, method.check))
    return ContractRates(form, check, sum(map(bool, method.cut)))


def _others(inputs: Inputs, method: MethodResult) -> dict[str, Estimate]:
    rows, guesses = inputs.rows, method.predicted
    samples = {
        name: sample_under(name, values, rows.units, rows.expected, guesses)
        for name, values in method.others.items()
    }
    return {name: estimate_sample(sample) for name, sample in samples.items()}


def _estimate_of(inputs: Inputs, values: Sequence[float], indices: Sequence[int]) -> Estimate:
    units = inputs.rows.units
    return estimate(values, None if units is None else [units[index] for index in indices])


def _by_tag(inputs: Inputs) -> Iterator[TagEstimate]:
    """Every tag and value of the rows, and for classify the label wanted, under the name "label"."""
    places: dict[tuple[str, str], list[int]] = {}
    for index, tags in enumerate(inputs.rows.tags or [{}] * len(inputs.rows.expected)):
        pairs = dict(tags)
        if len(inputs.rows.expected):
            pairs = {_apart(tag): value for tag, value in tags.items()} | {LABEL: inputs.rows.expected[index]}
        for pair in pairs.items():
            places.setdefault(pair, []).append(index)
    for (tag, value), indices in sorted(places.items()):
        for method in inputs.methods:
            found = _estimate_of(inputs, [method.scores[index] for index in indices], indices)
            yield TagEstimate(tag, value, method.name, found)


def _apart(tag: str) -> str:
    """The name of a tag of the rows, told apart from that of the wanted label; no two tags become one."""
    return tag + OWN if tag.replace(OWN, "") == LABEL else tag

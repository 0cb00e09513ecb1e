"""Which method to use and why, from the rows that every method answered. Pure functions.

`choose_headline_pair` runs before the test is opened, `make_verdict` on the test rows. The rules
are in docs/verdict.md, their sources in `etude.stats`, and the wording in `sentences`.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import combinations

import numpy as np

from etude import stats
from etude.comparison import sentences
from etude.comparison.costs import add_price, compute_break_even, find_prices
from etude.data.dataset import MIN_VERDICT_ROWS
from etude.data.splits.sides import TEST_SHARE
from etude.metrics import MEAN_ERROR
from etude.runs.verdict import (
    BaselineOnEqualRows,
    Basis,
    BiggerModelResult,
    ContractRates,
    Decision,
    HeadlinePair,
    HeadlineResult,
    LadderRow,
    MethodResult,
    MostFrequentAnswer,
    RowsAnswered,
    Status,
    TagEstimate,
    TargetResult,
    Verdict,
    VerdictInputs,
)
from etude.stats import JointIntervals, UnitSums, estimate_sample
from etude.stats.intervals import scale_estimate
from etude.task import Task
from etude.text.label_lists import split_labels
from etude.types import Estimate, MethodPair

LABEL = "label"  # The expected label is listed among the tags under this name.
TAG_SUFFIX = " (tag)"  # Added to a tag of the user's that has the same name.


def choose_headline_pair(
    methods: Sequence[tuple[str, bool, UnitSums]], margin: float = Task.margin
) -> HeadlinePair:
    """Choose the best untuned and the best tuned method from their dev rows alone, as
    `etude.stats.choose` does.

    `methods`: (name, tuned, dev sample), simplest first. The samples of all untuned methods have
    the same rows, and so do those of all tuned methods.
    """
    names = []
    reasons = []
    for is_tuned in (False, True):
        group = [(name, sample) for name, tuned, sample in methods if tuned is is_tuned]
        choice = stats.choose(group, margin) if group else None
        names.append(group[choice.index][0] if choice else None)
        reasons += [choice.reason] if choice else []
    return HeadlinePair(names[0], names[1], tuple(reasons))


def make_verdict(inputs: VerdictInputs) -> Verdict:
    """Make the verdict from the test rows that each method answered: all rows, or the first rows of
    one common order. If all methods answered all rows, the order does not matter. A pair is
    compared on the rows that both answered.
    """
    if inputs.rows.units is None:
        inputs = replace(inputs, rows=replace(inputs.rows, units=inputs.rows.ids))
    all_inputs = inputs
    inputs = inputs.in_race
    # 1. The ladder: each method's estimate, and its status from the joint intervals of all pairs.
    samples = [inputs.build_sample(method) for method in inputs.methods]
    units = inputs.rows.units or ()
    joint = stats.compute_nested_intervals(
        lambda index, num_rows: inputs.build_sample(inputs.methods[index], num_rows),
        [len(method.scores) for method in inputs.methods],
        units,
        inputs.resamples,
    )
    estimates = [estimate_sample(sample) for sample in samples]
    ladder = _make_ladder(inputs, inputs.methods, estimates, joint)
    # Methods that may be recommended get their statuses from the comparisons with each other alone.
    names = inputs.candidates or [method.name for method in inputs.methods if not method.is_stored]
    indices = [inputs.index(name) for name in names]
    joint_candidates = joint.select(indices)
    methods = [inputs.methods[index] for index in indices]
    rows = _make_ladder(inputs, methods, [estimates[index] for index in indices], joint_candidates)
    for index, row in zip(indices, rows, strict=True):
        ladder[index] = row
    # 2. The one comparison that was declared on dev: tuned minus untuned.
    headline = _compare_headline(inputs)
    error = _compute_headline_error(inputs, headline, joint)
    # 3. Three cases override both: too few rows, a training that was cut short, or no right answer.
    num_to_collect = _count_rows_to_collect(inputs, headline, error)
    if headline is not None and num_to_collect is not None:
        headline = replace(headline, gains=False, undecided="few rows")
    elif headline is not None and headline.tuned in inputs.partly_trained and not headline.gains:
        headline = replace(headline, undecided="cut")
    if num_to_collect is not None or sentences.is_nothing_right(rows):
        ladder = [replace(row, status="undecided", rows_to_decide=None) for row in ladder]
    for index, method in enumerate(all_inputs.methods):
        if method.name in all_inputs.beaten:
            estimate = estimate_sample(all_inputs.build_sample(method))
            is_part = method.name in all_inputs.partly_trained
            status: Status = "not measured enough" if is_part else "worse on dev"
            ladder.insert(index, _make_row(method, estimate, status))
    # 4. The decision, and everything that is shown next to it.
    candidates = [row for row in ladder if row.method in names]
    decision = Decision(
        *_decide(all_inputs, candidates, joint_candidates, headline, num_to_collect is not None)
    )
    if num_to_collect is None:
        questions = sentences.list_open_questions(all_inputs, ladder, headline, decision)
        decision = replace(decision, open=tuple(questions))
    return _assemble_verdict(
        all_inputs, ladder, candidates, decision, headline, error, joint, num_to_collect
    )


def _decide(
    inputs: VerdictInputs,
    candidates: Sequence[LadderRow],
    joint: JointIntervals,
    headline: HeadlineResult | None,
    has_few_rows: bool,
) -> tuple[str, Basis]:
    """Decide what to use today, and why. `candidates` and `joint`: the methods in the race that may
    be recommended, or all of Étude's if none may.
    """
    if inputs.error_costs:
        return inputs.error_costs.cheapest, "few rows" if has_few_rows else "costs"
    num_rows = [row.rows for row in candidates]
    # Shown to be better: not just by so little that the other is surely within the margin.
    beats = (joint.differences - joint.reach_down > 0) & (
        joint.differences + joint.reach_down.T > inputs.margin
    )
    names = [row.method for row in candidates]
    if headline is not None and headline.gains and {headline.tuned, headline.untuned} <= set(names):
        # The comparison that was declared in advance needs no wider interval.
        beats[names.index(headline.tuned), names.index(headline.untuned)] |= (
            headline.difference.high > inputs.margin
        )
    is_any = [True] * len(candidates)
    today = stats.choose_unbeaten(num_rows, beats, is_any)
    if today is None:
        today = int(np.argmax([row.estimate.value for row in candidates]))
    if has_few_rows:
        return candidates[today].method, "few rows"
    if not inputs.in_race.candidates:
        writers = [inputs.get_method(name) for name in inputs.candidates]
        best = max(writers, key=lambda method: len(method.scores), default=None)
        return best.name if best else candidates[today].method, "copies"
    if sentences.is_nothing_right(candidates):
        return candidates[today].method, "nothing right"
    is_useful = [
        row.estimate.value > sentences.measure_most_frequent(inputs, row.rows) for row in candidates
    ]
    useful_today = stats.choose_unbeaten(num_rows, beats, is_useful)
    among_best = [
        row.method
        for row, useful in zip(candidates, is_useful, strict=True)
        if useful and row.status == "among the best"
    ]
    if among_best:
        return among_best[0], "among the best"
    if useful_today is None:
        return candidates[today].method, "one answer"
    return candidates[useful_today].method, "alone" if len(candidates) == 1 else "not beaten"


def _assemble_verdict(
    inputs: VerdictInputs,
    ladder: Sequence[LadderRow],
    candidates: Sequence[LadderRow],
    decision: Decision,
    headline: HeadlineResult | None,
    error: float,
    joint: JointIntervals,
    num_to_collect: int | None,
) -> Verdict:
    contract_rates = {method.name: _measure_contract(inputs, method) for method in inputs.methods}
    other_metrics = {
        method.name: _estimate_other_metrics(inputs, method) for method in inputs.methods
    }
    # With too few rows, the only report on tuning is how many rows to collect.
    reported = headline if num_to_collect is None else None
    if num_to_collect is not None:
        sentence = sentences.write_too_few(
            inputs, num_to_collect, _min_difference_of_interest(inputs, headline)
        )
    elif decision.basis == "nothing right":
        sentence = sentences.write_nothing_right(inputs, contract_rates, other_metrics, decision)
    else:
        sentence = sentences.write_verdict_sentence(inputs, candidates, headline, decision)
    in_race = inputs.in_race
    for model in inputs.stored_answers:
        if decision.method not in inputs.beaten:
            difference = joint.difference(in_race.index(decision.method), in_race.index(model))
            sentence += (
                f" {sentences.write_replacement(decision.method, model, difference, inputs.margin)}"
            )
    break_even = (
        compute_break_even(inputs, reported) if reported and reported.difference.high >= 0 else None
    )
    baseline = _compare_equal_rows(inputs, reported) if reported is not None else None
    bigger = _compare_bigger(inputs, reported) if reported is not None else None
    caveats = sentences.list_caveats(
        inputs, candidates, reported, decision, contract_rates, error, baseline
    )
    num_answered = len(inputs.rows.ids)
    return Verdict(
        sentence=sentence,
        caveats=(*([bigger.text] if bigger else ()), *caveats),
        advice=sentences.list_advice(inputs, break_even, decision),
        recommended=decision.recommended,
        leaning=decision.method,
        basis=decision.basis,
        open=decision.open,
        test_rows=RowsAnswered(num_answered, inputs.num_test_rows or num_answered),
        headline=headline,
        target=_check_target(inputs, [row for row in ladder if not row.is_stored], decision),
        ladder=tuple(ladder),
        pairs=tuple(
            MethodPair(first.name, second.name, joint.difference(a, b))
            for (a, first), (b, second) in combinations(enumerate(in_race.methods), 2)
        ),
        critical=joint.critical if math.isfinite(joint.critical) else None,
        break_even=break_even,
        by_tag=tuple(_estimate_by_tag(inputs)),
        costs={
            method.name: add_price(method.cost, find_prices(inputs, method))
            for method in inputs.methods
            if not method.is_stored
        },
        contract_rates=contract_rates,
        other_metrics=other_metrics,
        train_rows=inputs.train_rows,
        baseline_on_equal_rows=baseline,
        evidence=inputs.evidence,
        bigger=bigger,
        error_costs=inputs.error_costs,
        most_frequent=(
            MostFrequentAnswer(result.name, estimate_sample(inputs.build_sample(result)))
            if (result := inputs.most_frequent)
            else None
        ),
    )


def _compare_equal_rows(
    inputs: VerdictInputs, headline: HeadlineResult
) -> BaselineOnEqualRows | None:
    result = inputs.baseline_on_equal_rows
    if result is None or result.learned is None:
        return None
    difference = stats.compare_paired(
        *inputs.build_pair(inputs.get_method(headline.tuned), result)
    ).difference
    estimate = estimate_sample(inputs.build_sample(result))
    return BaselineOnEqualRows(result.name, result.learned, estimate, difference)


def _compare_bigger(inputs: VerdictInputs, headline: HeadlineResult) -> BiggerModelResult | None:
    if inputs.pair.prompted is None:
        return None
    tuned = inputs.get_method(headline.tuned)
    prompted = inputs.get_method(inputs.pair.prompted)
    difference = stats.compare_paired(*inputs.build_pair(tuned, prompted)).difference
    num = min(len(tuned.scores), len(prompted.scores))
    least = inputs.margin if inputs.metric.graded else 1.0
    gaps = np.subtract(tuned.scores[:num], prompted.scores[:num])
    counts = int((gaps >= least).sum()), int((gaps <= -least).sum())
    text = sentences.write_bigger(inputs, tuned, prompted, difference, *counts)
    return BiggerModelResult(tuned.name, prompted.name, difference, *counts, text)


def _compare_headline(inputs: VerdictInputs) -> HeadlineResult | None:
    tuned = inputs.pair.tuned
    untuned = inputs.pair.untuned
    if tuned is None or untuned is None:
        return None
    methods = inputs.get_method(tuned), inputs.get_method(untuned)
    result = stats.compare_paired(*inputs.build_pair(*methods))
    return HeadlineResult(tuned, untuned, result.difference, result.p, result.test, result.gains)


def _compute_headline_error(
    inputs: VerdictInputs, headline: HeadlineResult | None, joint: JointIntervals
) -> float:
    if headline is None:
        return math.inf
    return float(joint.errors[inputs.index(headline.tuned), inputs.index(headline.untuned)])


def _count_rows_to_collect(
    inputs: VerdictInputs, headline: HeadlineResult | None, error: float
) -> int | None:
    """Count the rows that would show a difference of interest in 80% of tests. None if there are
    enough rows for a verdict on tuning, or if nothing was tuned.
    """
    if headline is None or inputs.total_rows >= MIN_VERDICT_ROWS:
        return None
    difference = _min_difference_of_interest(inputs, headline)
    num_rows = min(
        len(inputs.get_method(name).scores) for name in (headline.tuned, headline.untuned)
    )
    test_rows = num_rows * (stats.DETECT * min(1.0, error) / difference) ** 2
    if headline.test == stats.EXACT:
        # With fewer rows, the smallest difference that can be detected at all is larger.
        test_rows = max(test_rows, stats.DETECT**2 / difference)
    return min(stats.MOST_ADVISED, max(MIN_VERDICT_ROWS, math.ceil(test_rows / float(TEST_SHARE))))


def _min_difference_of_interest(inputs: VerdictInputs, headline: HeadlineResult | None) -> float:
    # Twice the margin, or half of the observed difference if that is more. Half, because few rows
    # can exaggerate it.
    observed = abs(headline.difference.value) / 2 if headline else 0.0
    return max(2 * inputs.margin, observed, 1e-3)


def _make_ladder(
    inputs: VerdictInputs,
    methods: Sequence[MethodResult],
    estimates: Sequence[Estimate],
    joint: JointIntervals,
) -> list[LadderRow]:
    """Give each method its status: "not measured enough" if it is partly trained and not among the
    best.
    """
    if len(estimates) == 1:
        return [
            _make_row(methods[0], estimates[0], "among the best" if inputs.beaten else "undecided")
        ]
    differences = joint.differences
    is_other = ~np.eye(len(estimates), dtype=bool)
    # Among the best: with 95% confidence, no other method is better by more than the margin. Worse:
    # one is.
    is_among_best = ~np.any((differences - joint.reach_down <= -inputs.margin) & is_other, axis=1)
    is_worse = np.any((differences + joint.reach_down.T < -inputs.margin) & is_other, axis=1)
    ladder = []
    for index, (method, estimate) in enumerate(zip(methods, estimates, strict=True)):
        status: Status = "undecided"
        if is_among_best[index]:
            status = "among the best"
        elif method.name in inputs.partly_trained:
            status = "not measured enough"
        elif is_worse[index]:
            status = "worse"
        rows = (
            _count_rows_to_decide(inputs, methods, joint, index) if status == "undecided" else None
        )
        ladder.append(_make_row(method, estimate, status, rows))
    return ladder


def _make_row(
    method: MethodResult, estimate: Estimate, status: Status, rows_to_decide: int | None = None
) -> LadderRow:
    # A search may have learned from more rows than the weights.
    learned = method.learned if method.weights_rows is None else method.weights_rows
    return LadderRow(
        method.name,
        estimate,
        status,
        rows_to_decide,
        learned,
        len(method.scores),
        method.is_stored,
        method.num_tried,
        method.num_candidates,
    )


def _count_rows_to_decide(
    inputs: VerdictInputs, methods: Sequence[MethodResult], joint: JointIntervals, index: int
) -> int | None:
    # N = n ((c + 0.84) SE / |m + d|)², where d is the difference to the best other method on the
    # rows of both.
    differences = np.where(np.arange(len(methods)) == index, np.inf, joint.differences[index])
    rival = int(np.argmin(differences))
    num_rows = min(len(methods[index].scores), len(methods[rival].scores))
    distance = inputs.margin + float(differences[rival])
    return stats.rows_to_decide(
        num_rows, joint.critical, float(joint.errors[index, rival]), distance
    )


def _check_target(
    inputs: VerdictInputs, ladder: Sequence[LadderRow], decision: Decision
) -> TargetResult | None:
    if inputs.target is None:
        return None
    met_by = next((row.method for row in ladder if row.estimate.low >= inputs.target), None)
    return TargetResult(
        inputs.target, met_by, sentences.write_target(inputs.target, met_by, ladder, decision)
    )


def _measure_contract(inputs: VerdictInputs, method: MethodResult) -> ContractRates:
    units = (inputs.rows.units or ())[: len(method.scores)]
    keeps_contract, passes_check = (
        stats.estimate_known(values, units) for values in (method.keeps_contract, method.check)
    )
    return ContractRates(keeps_contract, passes_check, sum(map(bool, method.truncated)))


def _estimate_other_metrics(inputs: VerdictInputs, method: MethodResult) -> dict[str, Estimate]:
    rows = inputs.rows
    num = len(method.scores)
    units = None if rows.units is None else rows.units[:num]
    estimates = {
        name: estimate_sample(
            inputs.metric.sample(values, units, rows.expected[:num], method.predicted, name)
        )
        for name, values in method.other_metrics.items()
    }
    if MEAN_ERROR in estimates:  # in steps of the scale, not a share of it
        estimates[MEAN_ERROR] = scale_estimate(estimates[MEAN_ERROR], len(inputs.metric.scale) - 1)
    return estimates


def _estimate_by_tag(inputs: VerdictInputs) -> Iterator[TagEstimate]:
    rows = inputs.rows
    assert rows.units is not None, "make_verdict gives every row a unit"
    indices_by_tag: dict[tuple[str, str], list[int]] = {}
    for index, tags in enumerate(rows.tags or [{}] * len(rows.expected)):
        pairs = dict(tags)
        labels: Sequence[str] = ()
        if rows.expected and inputs.metric.kind == "classify":
            # A user's tag must not be mistaken for the expected label, and two tags must not become
            # one.
            pairs = {
                tag + TAG_SUFFIX if tag.replace(TAG_SUFFIX, "") == LABEL else tag: value
                for tag, value in tags.items()
            }
            expected = rows.expected[index]
            labels = split_labels(expected) if inputs.metric.several else (expected,)
        if inputs.metric.parts:
            labels = ()  # a score of all questions says little about one label
        for pair in [*pairs.items(), *((LABEL, label) for label in labels)]:
            indices_by_tag.setdefault(pair, []).append(index)
    # A tag with another value for each unit, such as what tools read, would only list single test
    # rows.
    shared = {
        tag
        for (tag, _), indices in indices_by_tag.items()
        if len({rows.units[index] for index in indices}) > 1
    }
    for (tag, value), indices in sorted(
        item for item in indices_by_tag.items() if item[0][0] in shared
    ):
        for method in inputs.methods:
            if answered := [index for index in indices if index < len(method.scores)]:
                units = [rows.units[index] for index in answered]
                estimate = stats.estimate([method.scores[index] for index in answered], units)
                yield TagEstimate(tag, value, method.name, estimate)

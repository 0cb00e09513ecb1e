"""The verdict in plain words. Every sentence has the numbers or the setting it is based on."""

import math
from collections.abc import Iterator, Mapping, Sequence

from etude.base import formatting
from etude.comparison.costs import add_price, find_prices
from etude.data.dataset import MIN_VERDICT_ROWS
from etude.errors import quote_value
from etude.metrics import LABELS, MEAN_ERROR
from etude.models.registry import find_backend, get_title
from etude.runs.verdict import (
    Advice,
    BaselineOnEqualRows,
    BreakEven,
    ContractRates,
    Decision,
    Evidence,
    HeadlineResult,
    LadderRow,
    MethodResult,
    VerdictInputs,
)
from etude.stats import ALPHA, DETECT, EXACT, MOST_ADVISED, smallest_ever_detectable
from etude.stats.intervals import scale_estimate
from etude.types import Estimate

# How the verdict begins if a metric of likeness is the headline.
LIKENESS_ONLY = (
    "The score measures how similar answers are to the example answers, not whether they are "
    "right. To measure that, add a check to the task file, such as check: checks.py:fits."
)
CONTRACT_ONLY = "The score measures whether answers keep the contract, not whether they are right."
CALLS_ONLY = (
    "The score compares only the functions that an answer calls; nothing checks what an answer "
    "says. To check that, add a check to the task file."
)
MONTHS_TO_PAY_BACK = 12  # Tuning should pay back its cost within this many months.


def write_verdict_sentence(
    inputs: VerdictInputs,
    ladder: Sequence[LadderRow],
    headline: HeadlineResult | None,
    decision: Decision,
) -> str:
    """Write the verdict: what to use, what tuning gained, what is open. `ladder`: methods that may
    be recommended.
    """
    is_tuned_best = (
        headline is not None and headline.gains and decision.recommended == headline.tuned
    )
    sentences = [
        *_report_missed_target(inputs, ladder),
        _write_use(inputs, ladder, decision, is_tuned_best),
    ]
    if headline is not None and headline.undecided != "cut":
        sentences.append(_report_tuning(inputs, headline, is_tuned_best, decision))
    return _add_opening(inputs, [*sentences, *_report_open(decision)])


def _report_missed_target(inputs: VerdictInputs, ladder: Sequence[LadderRow]) -> Iterator[str]:
    target = inputs.target
    if target is not None and all(row.estimate.high < target for row in ladder):
        best = max(ladder, key=lambda row: row.estimate.value)
        numbers = (
            f"{formatting.format_share(best.estimate.value)} (95% interval "
            f"{formatting.format_interval(best.estimate)})"
        )
        goal = f"the target of {formatting.format_share(target)}"
        yield (
            f"No method is good enough: the best one, {best.method}, scores {numbers}, below "
            f"{goal}."
        )


def _write_use(
    inputs: VerdictInputs, ladder: Sequence[LadderRow], decision: Decision, is_tuned_best: bool
) -> str:
    name = decision.method
    best = max(ladder, key=lambda row: row.estimate.value)
    shares = {row.method: formatting.format_share(row.estimate.value) for row in ladder}
    if decision.basis == "copies":
        copies = (
            f"{formatting.format_names(sorted(inputs.copying_methods))} only copies example answers"
        )
        few = f", and {name} answered only {len(inputs.get_method(name).scores):,} test rows"
        return f"No method is recommended: {copies}{'' if name in inputs.copying_methods else few}."
    if decision.basis == "one answer" and inputs.most_frequent:
        share = formatting.format_share(measure_most_frequent(inputs, best.rows))
        answer = quote_value(inputs.most_frequent.name)
        return (
            f"No method beats the answer {answer} to every row ({share}). The best one, "
            f"{best.method}, scores {shares[best.method]}."
        )
    if inputs.error_costs:
        return (
            f"{inputs.error_costs.text} The statuses are by {inputs.metric.label}, without costs."
        )
    use = f"Use {name} now ({shares[name]})"
    if decision.basis == "alone":
        others = (
            "does more than copy example answers"
            if inputs.copying_methods
            else "was compared with it"
        )
        return f"{use}: no other method {others}."
    if decision.basis == "not beaten":
        rivals = [
            row.method
            for row in ladder
            if row.method == name or row.status not in ("worse", "not measured enough")
        ]
        ahead = f" ({name} is ahead so far)" if best.method == name and len(rivals) > 1 else ""
        close = f"it is too close to call between {formatting.format_names(rivals)}{ahead}"
        return f"{use}; {close if len(rivals) > 1 else 'no other method is shown to beat it'}."
    return (use if decision.open else f"Use {name}") + _recommend(inputs, name, is_tuned_best)


def _report_open(decision: Decision) -> list[str]:
    return [f"Open: {'; '.join(decision.open)}."] if decision.open else []


def list_open_questions(
    inputs: VerdictInputs,
    ladder: Sequence[LadderRow],
    headline: HeadlineResult | None,
    decision: Decision,
) -> Iterator[str]:
    """Yield what could change the decision, each with what would settle it."""
    for row in ladder:
        is_cut = (
            headline is not None and headline.undecided == "cut" and headline.tuned == row.method
        )
        if row.method in inputs.partly_trained and (is_cut or row.status != "among the best"):
            part = _write_training_part(inputs, row.method)
            seconds = inputs.full_seconds.get(row.method)
            if headline and is_cut:
                part += f" and {_write_claim(inputs, headline, decision)}"
            time = formatting.format_rough_time(seconds) if seconds else "its full training"
            yield f"{row.method} was trained {part}; {time} would settle it"
    if decision.basis == "not beaten":
        row = next(row for row in ladder if row.method == decision.method)
        if row.status == "undecided":
            best = f"within {formatting.format_points(inputs.margin)} points of the best"
            yield f"whether {row.method} is {best}; {_write_rows_needed(inputs, row)}"


def write_too_few(inputs: VerdictInputs, num_to_collect: int, min_difference: float) -> str:
    """Write the verdict if there are too few rows: how many to collect to detect
    `min_difference`.
    """
    effect = (
        ", enough for an 80% chance to detect a difference of "
        f"{formatting.format_points(min_difference)} points"
    )
    return _add_opening(
        inputs,
        [
            f"{inputs.total_rows} rows are too few for a verdict on fine-tuning.",
            f"Collect {format_about(num_to_collect)} rows (at least {MIN_VERDICT_ROWS})"
            f"{effect if num_to_collect < MOST_ADVISED else ''}.",
        ],
    )


def is_nothing_right(ladder: Sequence[LadderRow]) -> bool:
    """Whether every method scored 0: then no method is among the best, and more rows would not
    help.
    """
    return all(row.estimate.value == 0 for row in ladder)


def write_nothing_right(
    inputs: VerdictInputs,
    contract_rates: Mapping[str, ContractRates],
    other_metrics: Mapping[str, Mapping[str, Estimate]],
    decision: Decision,
) -> str:
    """Write the verdict if every method scored 0, with the best method for each other measure that
    is above 0.
    """
    best: dict[str, tuple[str, float]] = {}
    for method, rates in contract_rates.items():
        values = {
            LABELS.get(name, name): estimate.value
            for name, estimate in other_metrics[method].items()
            if name != MEAN_ERROR
        }
        if rates.keeps_contract:
            values["share of answers that keep the contract"] = rates.keeps_contract.value
        for label, value in values.items():
            if value > (best[label][1] if label in best else 0):  # the simplest of equals stays
                best[label] = (method, value)
    rows = f"{len(inputs.rows.ids):,} rows"
    nothing = f"scored above 0 on {rows}" if inputs.metric.graded else f"got any of {rows} right"
    measures = [
        f"Best {label}: {formatting.format_share(value)} ({name})."
        for label, (name, value) in best.items()
    ]
    none = "No method that writes its own answers" if inputs.copying_methods else "No method"
    return _add_opening(inputs, [f"{none} {nothing}.", *measures, *_report_open(decision)])


def write_replacement(method: str, model: str, difference: Estimate, margin: float) -> str:
    """Write whether a method may replace a model, by `difference`: the method minus the stored
    answers.
    """
    gap = formatting.format_gap(difference, signed=True)
    if difference.low >= -margin:
        return f"{method} can replace {model}: {method} minus its stored answers is {gap}."
    if difference.high < 0:
        return (
            f"The stored answers of {model} are better than {method}: {method} minus {model} is "
            f"{gap}."
        )
    return (
        f"Whether {method} can replace {model} is not decided: {method} minus its stored answers "
        f"is {gap}."
    )


def write_target(
    target: float, met_by: str | None, ladder: Sequence[LadderRow], decision: Decision
) -> str:
    """Write the simplest method that is sure to reach the target, or how close the best method
    comes.
    """
    winner = next((row for row in ladder if row.method == met_by), None)
    row = winner or max(ladder, key=lambda row: row.estimate.low)
    value = formatting.format_share(row.estimate.value)
    interval = formatting.format_interval(row.estimate)
    numbers = f"{value} (95% interval {interval}, n = {row.estimate.n:,})"
    if winner is not None:
        used = next(row for row in ladder if row.method == decision.method)
        other = "" if used.estimate.low >= target else f" {used.method} is not sure to reach it."
        return (
            f"{row.method} reaches the {formatting.format_share(target)} target: {numbers}.{other}"
        )
    return (
        f"No method is sure to reach the {formatting.format_share(target)} target; {row.method} "
        f"is closest: {numbers}."
    )


def write_bigger(
    inputs: VerdictInputs,
    tuned: MethodResult,
    prompted: MethodResult,
    gap: Estimate,
    num_tuned: int,
    num_prompted: int,
) -> str:
    """Write how the tuned method compares with the best prompt of the bigger model: score, time,
    price, and how many questions only one of them gets right. `gap`: tuned minus prompted.
    """
    sign, word = (1, "more") if gap.value >= 0 else (-1, "less")
    relation = f" {word} than {prompted.name} on the bigger model {get_title(prompted.model)}"
    costs = []
    for method in (tuned, prompted):
        price = add_price(method.cost, find_prices(inputs, method)).price
        thousand = (
            "no price given"
            if price is None
            else f"{formatting.format_decimal(1000 * price)} per 1,000"
        )
        costs.append(
            f"{formatting.format_time(method.cost.seconds)} ({thousand}) with {method.name}"
        )
    right = "is better on" if inputs.metric.graded else "is right on"
    return (
        f"{tuned.name} scores {formatting.format_gap(scale_estimate(gap, sign), relation)}. An "
        f"answer takes {' and '.join(costs)}. Only {prompted.name} {right} {num_prompted:,} of "
        f"these test questions, and only {tuned.name} on {num_tuned:,}."
    )


def write_made_rows(
    method: str, num_made: int, gain: Estimate, repeated: Estimate, drawn: Estimate | None
) -> str:
    """Write what rows that a model made add to a method, and what repeated real rows and drawn ones
    add instead.
    """
    made = formatting.format_count(num_made, "made row")
    add = "adds" if num_made == 1 else "add"
    points, low, high, repeating = map(
        formatting.format_points, (gain.value, gain.low, gain.high, repeated.value)
    )
    random = (
        f"; {made} drawn at random {add} {formatting.format_points(drawn.value)}" if drawn else ""
    )
    return (
        f"{made} {add} {points} points ({low} to {high}) to {method}; repeating the real rows "
        f"adds {repeating}{random}."
    )


def list_caveats(
    inputs: VerdictInputs,
    ladder: Sequence[LadderRow],
    headline: HeadlineResult | None,
    decision: Decision,
    contract_rates: Mapping[str, ContractRates],
    error: float,
    baseline: BaselineOnEqualRows | None,
) -> tuple[str, ...]:
    """List what limits the verdict. `error` is the standard error of the headline difference."""
    texts = [CALLS_ONLY] if inputs.metric.name == "calls" else []
    texts += [*_caveats_on_models(inputs), *_caveats_on_test(inputs)]
    texts += _caveats_on_rows(inputs, headline, baseline)
    texts += _caveats_on_most_frequent(inputs, ladder, decision)
    if headline is not None and not headline.gains:
        texts += _caveats_on_headline(headline, error)
    for row in ladder:
        if decision.basis != "among the best" or row.method == decision.method:
            break
        if row.status == "undecided":
            margin = f"within {formatting.format_points(inputs.margin)} points of the best"
            needed = _write_rows_needed(inputs, row)
            texts.append(f"{row.method} may also be among the best ({margin}); {needed}.")
    truncated = [
        f"{rates.truncated:,} of {len(inputs.get_method(name).scores):,} by {name}"
        for name, rates in contract_rates.items()
        if rates.truncated
    ]
    if truncated:
        texts.append(f"Answers cut at the length limit: {', '.join(truncated)}.")
    return tuple(texts)


def list_advice(
    inputs: VerdictInputs, break_even: BreakEven | None, decision: Decision
) -> tuple[Advice, ...]:
    """List the advice that follows from the task's `usage:`."""
    items = []
    if inputs.usage.facts_change in ("monthly", "daily"):
        change = inputs.usage.facts_change
        learner = (
            f"train {decision.method}" if inputs.get_method(decision.method).tuned else "fine-tune"
        )
        text = (
            f"For facts that change {change}, use documents (retrieval); {learner} only for form "
            "and style."
        )
        items.append(Advice(text, f"usage.facts_change: {change}"))
    if inputs.usage.requests_per_month is not None and break_even is not None:
        items.append(_advise_on_volume(inputs.usage.requests_per_month, break_even))
    return tuple(items)


def format_about(rows: int) -> str:
    """Format a number of rows to two digits: 4,873 is "about 4,900"."""
    return f"about {formatting.round_up_rows(rows):,}"


def _add_opening(inputs: VerdictInputs, sentences: Sequence[str]) -> str:
    opening = LIKENESS_ONLY if inputs.metric.name in ("chrf", "sari") else CONTRACT_ONLY
    return " ".join([opening, *sentences] if inputs.metric.contract_only else sentences)


def _report_tuning(
    inputs: VerdictInputs, headline: HeadlineResult, is_tuned_best: bool, decision: Decision
) -> str:
    claim = _write_claim(inputs, headline, decision)
    caution = ""
    subject = "it" if is_tuned_best else headline.tuned  # "It" follows "Use {tuned}."
    if (
        not headline.gains
        and decision.recommended == headline.tuned
        and headline.difference.high > 0
    ):
        # The tuned method is among the best; whether the simpler one is too is undecided.
        caution = f" But {headline.untuned} may be too far below the best."
    if headline.tuned in inputs.partly_trained:
        return f"Trained {_write_training_part(inputs, headline.tuned)}, {subject} {claim}."
    return f"{'It' if is_tuned_best else subject} {claim}.{caution}"


def _write_claim(inputs: VerdictInputs, headline: HeadlineResult, decision: Decision) -> str:
    """Write what the tuned method of the headline gained or lost, without its name."""
    tuned = headline.tuned
    untuned = headline.untuned
    gap = headline.difference
    if headline.gains:
        claim = f"scores {formatting.format_gap(gap, f' more than {untuned}')}"
    elif gap.high < 0 and headline.p <= ALPHA:
        claim = f"scores {formatting.format_gap(scale_estimate(gap, -1), f' less than {untuned}')}"
    elif decision.recommended == tuned:
        claim = f"is not clearly better than {untuned}: {formatting.format_gap(gap, signed=True)}"
    else:
        claim = f"did not beat {untuned}: {formatting.format_gap(gap, signed=True)}"
    return claim


def _write_training_part(inputs: VerdictInputs, name: str) -> str:
    method = inputs.get_method(name)
    num_rows = inputs.train_rows if method.learned is None else method.learned
    if method.weights_rows is not None and method.weights_rows < num_rows:
        search = f" (its search was trained on {num_rows:,})"
        return f"on {method.weights_rows:,} of {inputs.train_rows:,} rows{search}"
    if num_rows == inputs.train_rows:
        return f"on all {num_rows:,} rows in fewer epochs than without a budget"
    return f"on {num_rows:,} of {inputs.train_rows:,} rows"


def _recommend(inputs: VerdictInputs, name: str, is_tuned_best: bool) -> str:
    """Write why a method among the best is recommended, to follow its name."""
    is_needless = _needs_no_language_model(inputs, name)
    best = "the best"
    others = "no method"
    if inputs.copying_methods:
        best = "the best of those that write their own answers"
        others = "none of them"
    margin = f"{others} is more than {formatting.format_points(inputs.margin)} points better"
    if is_tuned_best:
        has_none = not inputs.get_method(name).has_language_model
        claim = ", which uses no language model" if has_none else ""
        return f"{'; no language model is needed' if is_needless else claim}."
    if is_needless:
        return f": it is among {best} ({margin}), and no language model is needed."
    return f", the simplest method among {best} ({margin})."


def _needs_no_language_model(inputs: VerdictInputs, recommended: str) -> bool:
    # Only claimed if a fully trained language model did not do better.
    is_tuned_fully = not inputs.partly_trained and any(
        method.tuned and method.has_language_model for method in inputs.methods
    )
    return is_tuned_fully and not inputs.get_method(recommended).has_language_model


def _write_rows_needed(inputs: VerdictInputs, row: LadderRow) -> str:
    num_answered = len(inputs.get_method(row.method).scores)
    total = inputs.num_test_rows or 0
    if not row.rows_to_decide:
        return f"even {MOST_ADVISED:,} test rows would probably not settle it"
    if formatting.is_many(row.rows_to_decide, num_answered):
        return f"many more than {num_answered:,} test rows would settle it"
    needed = f"{format_about(row.rows_to_decide)} test rows would settle it"
    if num_answered < row.rows_to_decide <= total:
        return f"{needed} (the test has {total:,}, and a larger budget would use them)"
    return needed


def _caveats_on_models(inputs: VerdictInputs) -> Iterator[str]:
    if inputs.metric.contract_only and inputs.metric.name != "chrf":
        yield (
            "Nothing checks whether an answer is right. Add a check function (check: in the task "
            "file)."
        )
    models = [name for name in (inputs.model, inputs.prompt_model) if name is not None]
    backend_caveats = [find_backend(name).caveat for name in models]
    yield from dict.fromkeys(filter(None, backend_caveats))
    if not any(method.has_language_model for method in inputs.methods if not method.is_stored):
        yield "No language model was tested; one might do better."
    elif inputs.prompt_model is not None:
        tuned = get_title(inputs.model)
        prompted = get_title(inputs.prompt_model)
        yield f"Tuned methods ran on {tuned}, prompted ones on {prompted}."
    elif not backend_caveats[0]:
        yield (
            f"Only {get_title(inputs.model)} was tested; a larger model might do better with a "
            "prompt alone."
        )
    if inputs.evidence is not None:
        yield from _caveats_on_evidence(inputs.evidence, inputs)
    if single_runs := [method.name for method in inputs.methods if method.tuned]:
        were = "was" if len(single_runs) == 1 else "were each"
        names = formatting.format_names(single_runs)
        yield f"{names} {were} trained only once; another training run may give a different result."


def _caveats_on_evidence(evidence: Evidence, inputs: VerdictInputs) -> Iterator[str]:
    if (gain := evidence.doubling) is not None:
        half, full = (point.rows for point in evidence.curve[-2:])
        if gain.low > 0:
            claim = "More rows would probably help"
        elif gain.high < inputs.margin:
            claim = "The learning curve is flat"
        else:
            claim = "The learning curve does not show whether more rows would help"
        change = formatting.format_gap(gain, signed=True)
        yield f"{claim}: from {half:,} to {full:,} rows the result on dev changed by {change}."


def _caveats_on_test(inputs: VerdictInputs) -> Iterator[str]:
    num_rows = len(inputs.rows.ids)
    units = len(set(inputs.rows.units or inputs.rows.ids))
    if units < num_rows:
        yield (
            f"Rows with the same group or input count as one: the {num_rows:,} test rows count as "
            f"{units:,}."
        )
    if inputs.openings > 1:
        yield (
            f"Most rows of this test have been opened {inputs.openings} times by the runs in this "
            "folder, of all task files. If you changed anything after an earlier result, these "
            "numbers may be too good."
        )


def _caveats_on_most_frequent(
    inputs: VerdictInputs, ladder: Sequence[LadderRow], decision: Decision
) -> Iterator[str]:
    """Yield which methods score less than the most frequent answer would."""
    if inputs.most_frequent is None:
        return
    answer = quote_value(inputs.most_frequent.name)
    for num_rows in dict.fromkeys(row.rows for row in ladder):
        share = measure_most_frequent(inputs, num_rows)
        below = [
            row.method for row in ladder if row.rows == num_rows and row.estimate.value < share
        ]
        rows = (
            f"every row of the first {num_rows:,}"
            if num_rows < len(inputs.rows.ids)
            else "every row"
        )
        if below:
            more = f"{formatting.format_share(share)}, more than {formatting.format_names(below)}"
            yield f"The answer {answer} to {rows} would score {more}."


def measure_most_frequent(inputs: VerdictInputs, num_rows: int) -> float:
    """Measure what the most frequent answer would score on the first test rows; -1 if that is not
    known.
    """
    result = inputs.most_frequent
    return -1.0 if result is None else inputs.build_sample(result, num_rows).value


def _caveats_on_rows(
    inputs: VerdictInputs, headline: HeadlineResult | None, baseline: BaselineOnEqualRows | None
) -> Iterator[str]:
    if baseline is not None and headline is not None:
        result = f"{formatting.format_share(baseline.estimate.value)} (n = {baseline.estimate.n:,})"
        gap = formatting.format_gap(baseline.difference, signed=True)
        yield (
            f"Trained on the same {baseline.rows:,} rows, {baseline.method} reaches {result}; "
            f"{headline.tuned} minus {baseline.method} is {gap}."
        )
    for name in sorted(inputs.copying_methods):
        yield (
            f"{name} copies example answers. Nothing checks these answers, so it is not "
            "recommended, and other methods are not compared with it."
        )


def _caveats_on_headline(headline: HeadlineResult, error: float) -> Iterator[str]:
    difference = headline.difference
    if difference.low > 0:
        yield (
            f"The interval of {headline.tuned} minus {headline.untuned} is above 0, but this may "
            f"be chance ({formatting.format_p_value(headline.p)}, {headline.test}), so it does "
            "not count as a gain."
        )
    elif difference.high > 0 and math.isfinite(error):
        floor = smallest_ever_detectable(difference.n) if headline.test == EXACT else 0.0
        smallest = min(1.0, max(DETECT * error, floor))
        # The estimate is only accurate to about two digits: whole points, or tenths below 3 points.
        text = f"{100 * smallest:.0f}" if smallest >= 0.03 else formatting.format_points(smallest)
        yield f"This test would often miss a gain smaller than about {text} points."


def _advise_on_volume(per_month: float, break_even: BreakEven) -> Advice:
    setting = f"usage.requests_per_month: {per_month:,.0f}"
    resource = "cost" if break_even.unit == "money" else "time"
    if break_even.requests is None:
        saved = (
            "money: a tuned request costs" if resource == "cost" else "time: a tuned request takes"
        )
        text = f"Fine-tuning will not save {saved} no less than an untuned one."
        return Advice(text, f"break-even: none on {resource}; {setting}")
    basis = f"break-even: {break_even.requests:,} requests; {setting}"
    if break_even.requests > MONTHS_TO_PAY_BACK * per_month:
        text = f"At this volume fine-tuning does not earn back its {resource} within a year."
        return Advice(text, basis)
    months = break_even.requests / per_month
    after = "within the first month" if months < 1 else f"after {months:.1f} months"
    return Advice(f"At this volume fine-tuning earns back its {resource} {after}.", basis)

"""The verdict in plain words. Every sentence carries the numbers or the setting it rests on."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

from etude.base.wording import is_many, p_value, points, rough_time, share, two_digits
from etude.data.dataset import VERDICT_LEAST
from etude.metrics import LABELS
from etude.models.registry import backend_of, title
from etude.runs.verdict import (
    Advice,
    BreakEven,
    ContractRates,
    EqualRows,
    Evidence,
    HeadlineResult,
    Inputs,
    LadderRow,
    MethodResult,
)
from etude.stats import ALPHA, DETECT, EXACT, MOST_ADVISED, least_shown
from etude.types import CLASSICAL, Estimate

LIKENESS = (
    "Measures likeness to the example answers, not whether an answer is right (to measure that, name a function in the "
    "task file, such as check: checks.py:fits)"
)
"""How the verdict begins where chrF stands alone."""
_YEAR = 12
"""Months within which a tuning that saves cost should be earned back."""


def interval(difference: Estimate) -> str:
    """An interval of a difference in points, in brackets, with its n."""
    return f"(95% interval {points(difference.low)} to {points(difference.high)}, n = {difference.n:,})"


def about(rows: int) -> str:
    """A number of rows to two digits: 4,873 is "about 4,900"."""
    return f"about {two_digits(rows):,}"


def verdict_sentence(
    inputs: Inputs,
    ladder: Sequence[LadderRow],
    headline: HeadlineResult | None,
    recommended: str | None,
    leaning: LadderRow,
) -> str:
    """The verdict in one sentence: what tuning did, and which method to use. `ladder`: those that may be."""
    parts = [] if headline is None else [_tuning(inputs, headline)]
    if len(ladder) == 1:
        run = "does more than copy example answers" if inputs.copies else "was run"
        parts.append(f"only {leaning.method} {run}, so there is nothing to compare it with")
    elif recommended is None:
        parts.append(_too_close(inputs, ladder, leaning))
    else:
        parts.append(_use(inputs, headline, recommended))
    return _opened(inputs, "; ".join(parts))


def too_few_sentence(inputs: Inputs, collect: int, worth: float) -> str:
    """The only verdict on tuning that under 150 rows allow: how many to collect, to find the difference `worth`."""
    rows = f"{inputs.total_rows} rows are too few for a verdict on tuning"
    found = f", enough to find a difference of {points(worth)} points in 80% of tests"
    aim = found if collect < MOST_ADVISED else ""
    return _opened(inputs, f"{rows}: collect {about(collect)} (at least {VERDICT_LEAST}){aim}")


def nothing_right(ladder: Sequence[LadderRow]) -> bool:
    """Whether every method scored 0: then nothing is among the best, and no number of rows would decide."""
    return all(step.estimate.value == 0 for step in ladder)


def partial_measures(
    forms: Mapping[str, ContractRates], others: Mapping[str, Mapping[str, Estimate]]
) -> dict[str, tuple[str, Estimate]]:
    """Measure in words -> the method that is best by it, the lowest of equals; none by which all are at 0."""
    found: dict[str, tuple[str, Estimate]] = {}
    for method, form in forms.items():
        kept = {"share of answers that keep the contract": form.form} if form.form else {}
        measures = {LABELS[name]: estimate for name, estimate in others[method].items()} | kept
        for words, estimate in measures.items():
            if estimate.value > (found[words][1].value if words in found else 0):
                found[words] = (method, estimate)
    return found


def nothing_right_sentence(inputs: Inputs, partial: Mapping[str, tuple[str, Estimate]]) -> str:
    """The verdict where every method scored 0, with who is best by each of the `partial_measures`."""
    rows = f"{len(inputs.rows.ids):,} rows"
    nothing = f"scored above 0 on any of {rows}" if inputs.metric.graded else f"got any of {rows} right"
    best = [
        f"the best {words} is {share(found.value)}, by {method}" for words, (method, found) in partial.items()
    ]
    return _opened(inputs, "; ".join([f"no method {nothing}", *best]))


def target_text(target: float, met_by: str | None, ladder: Sequence[LadderRow]) -> str:
    """Which is the lowest method that is sure to reach the target, or how near the best one comes."""
    found = next((step for step in ladder if step.method == met_by), None)
    nearest = found or max(ladder, key=lambda step: step.estimate.low)
    value, low = share(nearest.estimate.value), share(nearest.estimate.low)
    numbers = f"{value} (95% interval from {low}, n = {nearest.estimate.n:,})"
    if found is not None:
        return f"{found.method} reaches the {share(target)} target: {numbers}."
    return f"No method is sure to reach the {share(target)} target; {nearest.method} is closest: {numbers}."


def caveats(
    inputs: Inputs,
    ladder: Sequence[LadderRow],
    headline: HeadlineResult | None,
    recommended: str | None,
    forms: dict[str, ContractRates],
    error: float,
    equal: EqualRows | None,
) -> tuple[str, ...]:
    """What has to be said with the verdict; `error` is the standard error of the headline."""
    found = [*_about_models(inputs), *_about_test(inputs, ladder[0].estimate.n)]
    found += _about_rows(inputs, ladder, headline, equal)
    if headline is not None:
        found += _about_headline(headline, error)
    found += _about_lower_steps(inputs, ladder, recommended)
    if cut := ", ".join(f"{form.cut:,} by {method}" for method, form in forms.items() if form.cut):
        found.append(f"Answers cut at the length limit: {cut} (of {len(inputs.rows.ids):,} each).")
    return tuple(found)


def advice(inputs: Inputs, earned: BreakEven | None) -> tuple[Advice, ...]:
    """What the task's `usage:` adds to the test's results."""
    found = []
    if inputs.usage.facts_change in ("monthly", "daily"):
        change = inputs.usage.facts_change
        text = f"Look up facts that change {change} in documents (retrieval); tune for form and style only."
        found.append(Advice(text, f"usage.facts_change: {change}"))
    if inputs.usage.requests_per_month is not None and earned is not None:
        found.append(_on_volume(inputs.usage.requests_per_month, earned))
    return tuple(found)


def _opened(inputs: Inputs, sentence: str) -> str:
    if inputs.metric.form_only:
        likeness = inputs.metric.name in ("chrf", "sari")
        return f"{LIKENESS if likeness else 'Measures form only'}: {sentence}."
    return f"{sentence[0].upper()}{sentence[1:]}."


def _tuning(inputs: Inputs, headline: HeadlineResult) -> str:
    alone = sum(method.tuned for method in inputs.methods) == 1
    which = [] if alone else [headline.tuned]
    which += [f"mean of {1 + len(inputs.further)} training runs"] if inputs.further else []
    name = f"fine-tuning ({', '.join(which)})" if which else "fine-tuning"
    difference, untuned, cut = headline.difference, headline.untuned, headline.tuned in inputs.cut
    if cut and (learned := _named(inputs, untuned).learned):
        untuned += f" (on {learned:,} rows)"
    if headline.gains:
        saw = f", after {_seen(inputs, headline.tuned)}," if cut else ""
        gained = f"{points(difference.value)} points over {untuned}"
        return f"{name}{saw} gains {gained} on this test {interval(difference)}"
    begin, who, of = "", name, f" from {name}"
    if cut:
        begin, who, of = f"not decided: {name} saw {_seen(inputs, headline.tuned, time=True)}; ", "it", ""
    if difference.high < 0 and headline.p <= ALPHA:
        lost = Estimate(-difference.value, -difference.high, -difference.low, difference.n)
        loses = f"{who} loses {points(lost.value)} points against {untuned}"
        return f"{begin}{loses} on this test {interval(lost)}"
    found = f"{points(difference.value, signed=True)} points"
    return f"{begin}this test shows no gain{of} over {untuned}: {found} {interval(difference)}"


def _named(inputs: Inputs, name: str) -> MethodResult:
    return next(method for method in inputs.methods if method.name == name)


def _seen(inputs: Inputs, name: str, time: bool = False) -> str:
    """The part of its training that a tuned method has seen, with what all of it would take, where that is known."""
    rows = _named(inputs, name).learned or inputs.train_rows
    fewer = " in fewer epochs than without a budget" if rows == inputs.train_rows else ""
    seconds = inputs.full_seconds.get(name) if time else None
    takes = f" (all of its training would take {rough_time(seconds)})" if seconds else ""
    return f"{rows:,} of {inputs.train_rows:,} rows{fewer}{takes}"


def _use(inputs: Inputs, headline: HeadlineResult | None, recommended: str) -> str:
    if headline is not None and headline.gains and recommended == headline.tuned:
        return f"use {recommended}"
    others = "method that does not copy its answers" if inputs.copies else "method"
    margin = f"within {points(inputs.margin)} points of every other {others}"
    if _needs_no_model(inputs, recommended):
        return f"use {recommended}: it is among the best ({margin}), and no language model is needed"
    undecided = headline is not None and not headline.gains and headline.tuned in inputs.cut
    until = "until then " if undecided else ""
    return f"{until}use {recommended}, the lowest method among the best ({margin})"


def _needs_no_model(inputs: Inputs, name: str) -> bool:
    """Whether a method without a language model will do: only if a tuned one has seen all rows and won nothing."""
    tuned = any(method.tuned and method.model != CLASSICAL for method in inputs.methods)
    whole = tuned and not inputs.cut
    return whole and _named(inputs, name).model == CLASSICAL


def _too_close(inputs: Inputs, ladder: Sequence[LadderRow], leaning: LadderRow) -> str:
    more = _needed(leaning, len(inputs.rows.ids))
    if leaning.method in inputs.cut:
        more = "all of its training would tell"
    open_still = [step for step in ladder if step.status != "worse" and step.method not in inputs.cut]
    rivals = [step.method for step in ladder if step in open_still or step is leaning]
    which = f"which of {_listed(rivals)}" if len(rivals) > 1 else f"whether {rivals[0]}"
    margin = f"{which} is within {points(inputs.margin)} points of the best"
    return f"too close to call {margin}, leaning to {leaning.method}; {more}"


def _needed(step: LadderRow, answered: int) -> str:
    """How many test rows would decide an undecided step, as the end of a sentence."""
    rows = step.rows_to_decide
    if not rows:
        return f"it lies so near that margin that even {MOST_ADVISED:,} test rows would hardly decide"
    if is_many(rows, answered):
        return f"many more than these {answered:,} test rows would be needed"
    return f"{about(rows)} test rows would decide"


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _about_models(inputs: Inputs) -> Iterator[str]:
    if inputs.metric.form_only and inputs.metric.name != "chrf":
        yield "Nothing checks whether an answer is correct: add a function that does (check:)."
    named = [name for name in (inputs.model, inputs.prompt_model) if name is not None]
    found = [backend_of(name).caveat for name in named]
    yield from dict.fromkeys(filter(None, found))
    asked = any(method.model != CLASSICAL for method in inputs.methods)
    if inputs.prompt_model is None and asked and not found[0]:
        yield f"Only {title(inputs.model)} was tested; a larger model might do better with a prompt alone."
    if inputs.prompt_model is not None:
        yield f"Tuned methods ran on {title(inputs.model)}, prompted ones on {title(inputs.prompt_model)}."
    tuned = [method.name for method in inputs.methods if method.tuned]
    if inputs.evidence is not None:
        yield from _about_evidence(inputs.evidence, inputs)
    if rest := [name for name in tuned if not inputs.further or name != inputs.decided.tuned]:
        which = f"{_listed(rest)} is" if inputs.further else "This is"
        yield f"{which} one training run; another may give a different result."


def _about_evidence(found: Evidence, inputs: Inputs) -> Iterator[str]:
    """What the learning curve says about more rows, and what the further training runs reached."""
    if (gain := found.doubling) is not None:
        half, whole = (point.rows for point in found.curve[-2:])
        more = (
            "More rows would probably help"
            if gain.low > 0
            else "The learning curve is flat"
            if gain.high < inputs.margin
            else "The learning curve does not show whether more rows would help"
        )
        change = f"the result on dev changed by {points(gain.value, signed=True)} points {interval(gain)}"
        yield f"{more}: from {half:,} to {whole:,} rows {change}."
    if inputs.further:
        reached = _listed([share(run.estimate.value) for run in found.runs])
        yield f"{len(found.runs)} training runs of {found.method} reach {reached}; the comparison counts their spread."


def _about_test(inputs: Inputs, units: int) -> Iterator[str]:
    rows = len(inputs.rows.ids)
    if units < rows:
        yield f"Rows of one group or with one input count together: the {rows:,} test rows count as {units:,}."
    if inputs.openings > 1:
        yield (
            f"This test has been opened {inputs.openings} times; if you changed anything after an earlier result, "
            "these numbers may be too good."
        )


def _about_rows(
    inputs: Inputs, ladder: Sequence[LadderRow], headline: HeadlineResult | None, equal: EqualRows | None
) -> Iterator[str]:
    """What a part of the training leaves open, and what only copies."""
    if equal is not None and headline is not None:
        found = f"{share(equal.estimate.value)} (n = {equal.estimate.n:,})"
        gap = f"{headline.tuned} differs from it by {points(equal.difference.value, signed=True)} points"
        yield f"{equal.method} on the same {equal.rows:,} rows reaches {found}; {gap} {interval(equal.difference)}."
    said = headline.tuned if headline and not nothing_right(ladder) else None
    for step in ladder:
        if step.method in inputs.cut - {said} and step.status != "among the best":
            saw = f"{step.method} saw {_seen(inputs, step.method, time=True)}"
            yield f"{saw}, so whether it is among the best is not decided."
    for name in sorted(inputs.copies):
        yield f"{name} copies example answers. Nothing checks what they say, so it is not recommended."


def _about_headline(headline: HeadlineResult, error: float) -> Iterator[str]:
    if headline.gains:
        return
    if headline.difference.low > 0:
        yield (
            f"The interval for tuning is above 0, but chance is not ruled out ({p_value(headline.p)}, "
            f"{headline.test}), so no gain is claimed."
        )
    elif headline.difference.high > 0 and math.isfinite(error):
        floor = least_shown(headline.difference.n) if headline.test == EXACT else 0.0
        least = points(min(1.0, max(DETECT * error, floor)))
        yield f"This test would often miss a gain smaller than about {least} points."


def _about_lower_steps(inputs: Inputs, ladder: Sequence[LadderRow], recommended: str | None) -> Iterator[str]:
    for step in ladder:
        if step.method == recommended or recommended is None:
            return
        if step.status == "undecided" and step.method not in inputs.cut:
            more = _needed(step, len(inputs.rows.ids))
            near = f"within {points(inputs.margin)} points of the best"
            yield f"{step.method} may be among the best ({near}): {more}."


def _on_volume(per_month: float, earned: BreakEven) -> Advice:
    use = f"usage.requests_per_month: {per_month:,.0f}"
    what = "cost" if earned.unit == "money" else "time"
    if earned.requests is None:
        saves = "money: a tuned request costs" if what == "cost" else "time: a tuned request takes"
        text = f"Tuning will not save {saves} no less than an untuned one."
        return Advice(text, f"break-even: never on {what}; {use}")
    rests = f"break-even: {earned.requests:,} requests; {use}"
    if earned.requests > _YEAR * per_month:
        text = f"At this volume tuning does not earn back its {what} within a year; tune for better answers only."
        return Advice(text, rests)
    months = earned.requests / per_month
    after = "within the first month" if months < 1 else f"after {months:.1f} months"
    return Advice(f"At this volume tuning earns back its {what} {after}.", rests)

"""Costs of a request and of tuning, and of errors and hand-overs on the test (`costs:` in the task
file).

Prices come from the user; without them, time is compared.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Literal

import numpy as np

from etude.base.files import Json
from etude.base.formatting import format_count, format_decimal, format_estimate_decimal, format_time
from etude.models.registry import find_service
from etude.runs.verdict import (
    BreakEven,
    CostResult,
    HeadlineResult,
    MethodCost,
    MethodResult,
    VerdictInputs,
)
from etude.stats import compute_nested_intervals, estimate_sample, make_score_sample
from etude.stats.intervals import scale_estimate
from etude.stats.sample import UnitSums
from etude.task import Prices
from etude.task.definition import ErrorCosts
from etude.types import Estimate, PricedCost

SECONDS_PER_HOUR = 3_600
MIN_TIME_SAVED = 0.2
"""Two times that differ by less than this share count as equal, because times vary this much from
run to run.
"""


def add_price(cost: PricedCost, prices: Prices | None) -> PricedCost:
    """Return the cost with its price per request, None if the user's prices do not determine it."""
    return replace(cost, price=compute_request_price(cost, prices))


def find_prices(inputs: VerdictInputs, method: MethodResult) -> Prices | None:
    """Return a method's prices: the endpoint's own, else the task's. The task's token prices are
    for `model` only.
    """
    service = find_service(method.model, inputs.endpoints)
    if service and (service.prices or method.model in inputs.endpoints):
        return service.prices
    prices = inputs.prices
    prompt_model = inputs.prompt_model
    if prices is None or method.model != prompt_model or prompt_model == inputs.model:
        return prices
    return None if prices.has_token_prices else prices


def compute_request_price(cost: PricedCost, prices: Prices | None) -> float | None:
    """Return the price of one request: by tokens if prompt and answer tokens have prices, else by
    machine time.
    """
    if prices is None:
        return None
    if prices.has_token_prices:
        return prices.price_tokens(cost.prompt_tokens, cost.cached_tokens, cost.answer_tokens)
    return None if prices.per_hour is None else cost.seconds * prices.per_hour / SECONDS_PER_HOUR


def compute_break_even(inputs: VerdictInputs, headline: HeadlineResult) -> BreakEven:
    """Return after how many requests tuning pays for itself: fixed cost / (untuned - tuned cost of
    a request).

    In money if a request and a machine hour have prices, else in seconds.
    """
    tuned = inputs.get_method(headline.tuned)
    untuned = inputs.get_method(headline.untuned)
    prices = inputs.prices
    per_hour = inputs.prices.per_hour if inputs.prices else None
    tuned_price, untuned_price = (
        compute_request_price(method.cost, find_prices(inputs, method))
        for method in (tuned, untuned)
    )
    unit: Literal["money", "seconds"] = "seconds"
    fixed = tuned.train_seconds
    before = untuned.cost.seconds
    after = tuned.cost.seconds
    if (
        tuned_price is not None
        and untuned_price is not None
        and prices is not None
        and per_hour is not None
    ):
        unit = "money"
        before = untuned_price
        after = tuned_price
        fixed = fixed * per_hour / SECONDS_PER_HOUR + (prices.data or 0.0)
    min_saved = MIN_TIME_SAVED * before if unit == "seconds" else 0.0
    requests = math.ceil(fixed / (before - after)) if before - after > min_saved else None
    saved = untuned.cost.prompt_tokens - tuned.cost.prompt_tokens
    return BreakEven(
        unit,
        fixed,
        before,
        after,
        requests,
        saved,
        _say_break_even(unit, fixed, before, after, requests, saved),
    )


def _say_break_even(
    unit: str, fixed: float, before: float, after: float, requests: int | None, saved: float
) -> str:
    if unit == "money":
        # Prices are per 1,000 requests, because one request costs too little to read.
        tuned, untuned = (f"{format_decimal(1000 * price)} per 1,000" for price in (after, before))
        resource = "money"
        verb = "costs"
        fixed_text = format_decimal(fixed)
    else:
        tuned = format_time(after)
        untuned = format_time(before)
        fixed_text = format_time(fixed)
        resource = "time"
        verb = "takes"
    costs = f"a tuned request {verb} {tuned}, an untuned one {untuned}"
    if round(saved):
        costs += (
            f"; the tuned one has {abs(saved):,.0f} {'fewer' if saved > 0 else 'more'} prompt "
            "tokens"
        )
    if requests is None and unit == "seconds" and after < before:
        return (
            f"A tuned request takes about as long ({tuned}) as an untuned one ({untuned}), so "
            "tuning saves no time."
        )
    if requests is None:
        hint = " Add prices to compare cost." if unit == "seconds" else ""
        return f"Fine-tuning does not save {resource}: {costs}.{hint}"
    subject = "its cost" if unit == "money" else "its training time"
    return (
        f"Fine-tuning pays back {subject} ({fixed_text}) after "
        f"{format_count(requests, 'request')}: {costs}."
    )


def compare_costs(costs: ErrorCosts, lines: Mapping[str, Sequence[Json]]) -> CostResult:
    """Compare methods by the cost of errors and hand-overs, from their test lines (method -> lines,
    simplest first).

    Each method answered all rows, or the first rows of one common order. The cheapest method is
    recommended if simultaneous intervals show that it is cheaper than every other one.
    """
    # As a share of the highest cost, so that the statistics of scores from 0 to 1 apply.
    scale = max(costs.wrong, *costs.labels.values(), costs.handover or 0.0) or 1.0
    longest = max(lines.values(), key=len)
    positions = {line["id"]: row for row, line in enumerate(longest)}
    units = [line["unit"] for line in longest]
    sorted_lines = [sorted(rows, key=lambda line: positions[line["id"]]) for rows in lines.values()]

    def make_sample(method: int, num_rows: int, hands_over: bool = True) -> UnitSums:
        shares = [
            price_line(costs, line, hands_over) / scale for line in sorted_lines[method][:num_rows]
        ]
        return make_score_sample(shares, units[:num_rows])

    def estimate_cost(method: int, hands_over: bool = True) -> Estimate:
        share = estimate_sample(make_sample(method, len(sorted_lines[method]), hands_over))
        return scale_estimate(share, scale)

    methods = {
        name: MethodCost(
            estimate_cost(index),
            estimate_cost(index, hands_over=False),
            sum(bool(line.get("handed_over")) for line in sorted_lines[index])
            / len(sorted_lines[index]),
        )
        for index, name in enumerate(lines)
    }
    names = list(lines)
    joint = compute_nested_intervals(make_sample, [len(rows) for rows in sorted_lines], units)
    # A method that answered a few rows is not the cheapest by chance.
    num_rows = np.array([len(rows) for rows in sorted_lines])
    worst = np.where(2 * num_rows >= num_rows.max(), joint.differences.max(axis=1), np.inf)
    best = int(np.argmin(worst))
    gaps = {
        name: scale_estimate(joint.difference(index, best), scale)
        for index, name in enumerate(names)
        if index != best
    }
    is_sure = bool(gaps) and all(gap.low > 0 for gap in gaps.values())
    text = _say_cheapest(names[best], methods, gaps, costs, is_sure)
    return CostResult(text, names[best], is_sure, methods, costs.handover)


def price_line(costs: ErrorCosts, line: Json, hands_over: bool = True) -> float:
    """Return the cost of a line of predictions.jsonl; without `hands_over`, or if a hand-over has
    no cost, as if the question had been answered.
    """
    if hands_over and line.get("handed_over") and costs.handover is not None:
        return costs.handover
    label = line["value"] if isinstance(line["value"], str) else line["answer"]
    return costs.price_wrong(label.strip()) if line["score"] < 1 else 0.0


def _say_cheapest(
    best: str,
    methods: Mapping[str, MethodCost],
    gaps: Mapping[str, Estimate],
    costs: ErrorCosts,
    is_sure: bool,
) -> str:
    cost = methods[best].cost
    amount = f"a question costs {format_estimate_decimal(cost)}"
    if not gaps:
        text = (
            f"By your costs, use {best} now: {amount}. There is no other method to compare it with."
        )
    elif not is_sure:
        rivals = {name: gap for name, gap in gaps.items() if gap.low <= 0}
        rival = min(rivals, key=lambda name: rivals[name].value)
        text = (
            f"By your costs, use {best} now, but it is too close to call between {best} and "
            f"{rival}. With {best}, {amount}; with {rival}, it costs "
            f"{format_decimal(gaps[rival].value)} more (95% interval "
            f"{format_decimal(gaps[rival].low)} to {format_decimal(gaps[rival].high)})."
        )
    else:
        least = format_decimal(min(gap.low for gap in gaps.values()))
        text = (
            f"By your costs, use {best}: {amount}, at least {least} less than with any other "
            "method."
        )
    if (price := costs.handover) is not None:
        claim = "would not" if price <= cost.value else "would" if price > cost.high else "may not"
        text += f" Handing over every question {claim} cost more: {format_decimal(price)} each."
    return text

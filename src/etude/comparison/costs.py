"""The cost of a request, and when tuning pays for itself. Prices come from the user; without them, time is compared."""

import math
from dataclasses import replace
from typing import Literal

from etude.base.formatting import format_count, format_decimal, format_time
from etude.models.registry import find_service
from etude.runs.verdict import BreakEven, HeadlineResult, MethodResult, VerdictInputs
from etude.task import Prices
from etude.types import PricedCost

SECONDS_PER_HOUR = 3_600
MIN_TIME_SAVED = 0.2
"""Two times that differ by less than this share count as equal, because times vary this much from run to run."""


def add_price(cost: PricedCost, prices: Prices | None) -> PricedCost:
    """Return the cost with its price per request, None if the user's prices do not determine it."""
    return replace(cost, price=compute_request_price(cost, prices))


def find_prices(inputs: VerdictInputs, method: MethodResult) -> Prices | None:
    """Return the prices of a method: the endpoint's own, else the task's. Token prices of the task are for `model`
    only."""
    service = find_service(method.model, inputs.endpoints)
    if service and (service.prices or method.model in inputs.endpoints):
        return service.prices
    prices, prompt_model = inputs.prices, inputs.prompt_model
    if prices is None or method.model != prompt_model or prompt_model == inputs.model:
        return prices
    return None if prices.has_token_prices else prices


def compute_request_price(cost: PricedCost, prices: Prices | None) -> float | None:
    """Return the price of one request: by tokens if prompt and answer tokens have prices, else by machine time."""
    if prices is None:
        return None
    if prices.has_token_prices:
        return prices.price_tokens(cost.prompt_tokens, cost.cached_tokens, cost.answer_tokens)
    return None if prices.per_hour is None else cost.seconds * prices.per_hour / SECONDS_PER_HOUR


def compute_break_even(inputs: VerdictInputs, headline: HeadlineResult) -> BreakEven:
    """Return after how many requests tuning pays for itself: fixed cost / (untuned - tuned cost of a request).

    In money if a request and a machine hour have prices, else in seconds.
    """
    tuned, untuned = inputs.get_method(headline.tuned), inputs.get_method(headline.untuned)
    prices, per_hour = inputs.prices, inputs.prices.per_hour if inputs.prices else None
    tuned_price, untuned_price = (
        compute_request_price(method.cost, find_prices(inputs, method)) for method in (tuned, untuned)
    )
    unit: Literal["money", "seconds"] = "seconds"
    fixed, before, after = tuned.train_seconds, untuned.cost.seconds, tuned.cost.seconds
    if tuned_price is not None and untuned_price is not None and prices is not None and per_hour is not None:
        unit, before, after = "money", untuned_price, tuned_price
        fixed = fixed * per_hour / SECONDS_PER_HOUR + (prices.data or 0.0)
    min_saved = MIN_TIME_SAVED * before if unit == "seconds" else 0.0
    requests = math.ceil(fixed / (before - after)) if before - after > min_saved else None
    saved = untuned.cost.prompt_tokens - tuned.cost.prompt_tokens
    return BreakEven(
        unit, fixed, before, after, requests, saved, _write_text(unit, fixed, before, after, requests, saved)
    )


def _write_text(
    unit: str, fixed: float, before: float, after: float, requests: int | None, saved: float
) -> str:
    if unit == "money":
        # Prices are per 1,000 requests, because one request costs too little to read.
        tuned, untuned = (f"{format_decimal(1000 * price)} per 1,000" for price in (after, before))
        resource, verb, fixed_text = "money", "costs", format_decimal(fixed)
    else:
        tuned, untuned, fixed_text = format_time(after), format_time(before), format_time(fixed)
        resource, verb = "time", "takes"
    costs = f"a tuned request {verb} {tuned}, an untuned one {untuned}"
    if round(saved):
        costs += f"; the tuned one has {abs(saved):,.0f} {'fewer' if saved > 0 else 'more'} prompt tokens"
    if requests is None and unit == "seconds" and after < before:
        return f"A tuned request takes about as long ({tuned}) as an untuned one ({untuned}), so tuning saves no time."
    if requests is None:
        hint = " Add prices to compare cost." if unit == "seconds" else ""
        return f"Fine-tuning does not save {resource}: {costs}.{hint}"
    subject = "its cost" if unit == "money" else "its training time"
    return (
        f"Fine-tuning pays back {subject} ({fixed_text}) after {format_count(requests, 'request')}: {costs}."
    )

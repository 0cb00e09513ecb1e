"""What a request costs, and when tuning pays for itself. Prices are the user's; without them, time is compared."""

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
"""Share of a request's time below which two times count as equal: they vary so much from run to run."""


def add_price(cost: PricedCost, prices: Prices | None) -> PricedCost:
    """Return the cost with its price per request, None if the user's prices do not determine it."""
    return replace(cost, price=compute_request_price(cost, prices))


def find_prices(inputs: VerdictInputs, method: MethodResult) -> Prices | None:
    """Return the prices of a method: the endpoint's own, else the task's, whose token prices are for `model` alone."""
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
        # One request alone would cost too little to read.
        tuned, untuned = (f"{format_decimal(1000 * price)} per 1,000" for price in (after, before))
        resource, verb, fixed_text = "money", "costs", format_decimal(fixed)
    else:
        tuned, untuned, fixed_text = format_time(after), format_time(before), format_time(fixed)
        resource, verb = "time", "takes"
    costs = f"a request {verb} {tuned} tuned and {untuned} untuned"
    if round(saved):
        costs += f", with {abs(saved):,.0f} {'fewer' if saved > 0 else 'more'} prompt tokens"
    if requests is None and unit == "seconds" and after < before:
        return f"A request takes about as long tuned ({tuned}) as untuned ({untuned}), so fine-tuning saves no time."
    if requests is None:
        hint = " Add prices to compare cost." if unit == "seconds" else ""
        return f"Fine-tuning does not save {resource}: {costs}.{hint}"
    subject = "its cost" if unit == "money" else "its training time"
    return (
        f"Fine-tuning pays back {subject} ({fixed_text}) after {format_count(requests, 'request')}: {costs}."
    )

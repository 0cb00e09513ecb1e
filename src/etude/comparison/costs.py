"""What a request costs, and when tuning is earned back. Prices are the user's; none is invented."""

from __future__ import annotations

import math
from dataclasses import replace

from etude.base.wording import decimal, time_in_words
from etude.runs.verdict import BreakEven, Inputs, MethodResult
from etude.task import Prices
from etude.types import PricedCost

_HOUR = 3_600


def priced(cost: PricedCost, prices: Prices | None) -> PricedCost:
    """A cost with its price per request, None where the prices given do not fix it."""
    return replace(cost, price=request_price(cost, prices))


def prices_for(inputs: Inputs, method: MethodResult) -> Prices | None:
    """The prices that hold for a method: an endpoint's own; else the task's, of which those of tokens are for `model`
    alone."""
    if method.model in inputs.endpoints:
        return inputs.endpoints[method.model].prices
    prices, other = inputs.prices, inputs.prompt_model
    if prices is None or method.model != other or other == inputs.model:
        return prices
    return None if prices.by_tokens else prices


def request_price(cost: PricedCost, prices: Prices | None) -> float | None:
    """Price of one request: by tokens when prompt and answer tokens have prices, else by machine time."""
    if prices is None:
        return None
    if prices.by_tokens:
        return prices.of_tokens(cost.prompt_tokens, cost.cached_tokens, cost.answer_tokens)
    return None if prices.per_hour is None else cost.seconds * prices.per_hour / _HOUR


def break_even(inputs: Inputs, tuned: MethodResult, untuned: MethodResult) -> BreakEven:
    """F / (c_U - c_T) requests; in money when a request and a machine hour have prices, else in seconds."""
    saved = untuned.cost.prompt_tokens - tuned.cost.prompt_tokens
    money = [request_price(method.cost, prices_for(inputs, method)) for method in (untuned, tuned)]
    per_hour = inputs.prices.per_hour if inputs.prices else None
    if money[0] is not None and money[1] is not None and per_hour is not None:
        fixed = tuned.train_seconds * per_hour / _HOUR + _data_price(inputs.prices)
        requests = _requests(fixed, money[0], money[1])
        text = _text(requests, "money", decimal(fixed), _per_1000(money[0]), _per_1000(money[1]), saved)
        return BreakEven("money", fixed, money[0], money[1], requests, saved, text)
    before, after, fixed = untuned.cost.seconds, tuned.cost.seconds, tuned.train_seconds
    requests = _requests(fixed, before, after)
    each = time_in_words(before), time_in_words(after)
    text = _text(requests, "seconds", time_in_words(fixed), *each, saved)
    return BreakEven("seconds", fixed, before, after, requests, saved, text)


def _data_price(prices: Prices | None) -> float:
    return prices.data or 0.0 if prices else 0.0


def _per_1000(price: float) -> str:
    """A price that is told for a thousand requests: alone it would be too small to read."""
    return f"{decimal(1000 * price)} per 1,000"


def _requests(fixed: float, before: float, after: float) -> int | None:
    return math.ceil(fixed / (before - after)) if after < before else None


def _text(requests: int | None, unit: str, fixed: str, before: str, after: str, saved: float) -> str:
    each = f"a request costs {after} tuned and {before} untuned"
    if round(saved):
        each += f", with {abs(saved):,.0f} prompt tokens {'fewer' if saved > 0 else 'more'}"
    if requests is None:
        on = "cost" if unit == "money" else "time (in money only with prices of a request and a machine hour)"
        return f"Tuning never pays on {on}: {each}."
    what = "its cost" if unit == "money" else "the time it took"
    return f"Tuning earns back {what} ({fixed}) after {requests:,} request{'' if requests == 1 else 's'}: {each}."

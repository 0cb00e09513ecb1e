"""Compare methods by the cost of their errors and hand-overs on the test: `costs:` in the task file."""

from collections.abc import Mapping, Sequence

import numpy as np

from etude.base.files import Json
from etude.base.formatting import format_decimal, format_estimate_decimal
from etude.runs.verdict import CostResult, MethodCost
from etude.stats import compute_nested_intervals, estimate_sample, make_score_sample
from etude.stats.intervals import scale_estimate
from etude.stats.sample import UnitSums
from etude.task.definition import ErrorCosts
from etude.types import Estimate


def compare_costs(costs: ErrorCosts, lines: Mapping[str, Sequence[Json]]) -> CostResult:
    """Compare methods by the cost of a question, from their test lines (method -> lines, the simplest first).

    Each method answered all rows, or the first rows of one common order. The cheapest method is recommended if
    simultaneous intervals show that it is cheaper than every other one.
    """
    # As a share of the highest cost, so that the statistics of scores from 0 to 1 apply.
    scale = max(costs.wrong, *costs.labels.values(), costs.handover or 0.0) or 1.0
    longest = max(lines.values(), key=len)
    positions = {line["id"]: row for row, line in enumerate(longest)}
    units = [line["unit"] for line in longest]
    sorted_lines = [sorted(rows, key=lambda line: positions[line["id"]]) for rows in lines.values()]

    def make_sample(method: int, num_rows: int, hands_over: bool = True) -> UnitSums:
        shares = [price_line(costs, line, hands_over) / scale for line in sorted_lines[method][:num_rows]]
        return make_score_sample(shares, units[:num_rows])

    def estimate_cost(method: int, hands_over: bool = True) -> Estimate:
        share = estimate_sample(make_sample(method, len(sorted_lines[method]), hands_over))
        return scale_estimate(share, scale)

    methods = {
        name: MethodCost(
            estimate_cost(index),
            estimate_cost(index, hands_over=False),
            sum(bool(line.get("handed_over")) for line in sorted_lines[index]) / len(sorted_lines[index]),
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
    text = _write_text(names[best], methods, gaps, costs, is_sure)
    return CostResult(text, names[best], is_sure, methods, costs.handover)


def price_line(costs: ErrorCosts, line: Json, hands_over: bool = True) -> float:
    """Return the cost of a line of predictions.jsonl; without `hands_over`, or if a hand-over has no cost, as if the
    question had been answered."""
    if hands_over and line.get("handed_over") and costs.handover is not None:
        return costs.handover
    label = line["value"] if isinstance(line["value"], str) else line["answer"]
    return costs.price_wrong(label.strip()) if line["score"] < 1 else 0.0


def _write_text(
    best: str,
    methods: Mapping[str, MethodCost],
    gaps: Mapping[str, Estimate],
    costs: ErrorCosts,
    is_sure: bool,
) -> str:
    cost = methods[best].cost
    amount = f"a question costs {format_estimate_decimal(cost)}"
    if not gaps:
        text = f"By your costs, use {best} now: {amount}. There is no other method to compare it with."
    elif not is_sure:
        rivals = {name: gap for name, gap in gaps.items() if gap.low <= 0}
        rival = min(rivals, key=lambda name: rivals[name].value)
        text = (
            f"By your costs, use {best} now, but it is too close to call between {best} and {rival}. With {best}, "
            f"{amount}; with {rival}, it costs {format_decimal(gaps[rival].value)} more (95% interval "
            f"{format_decimal(gaps[rival].low)} to {format_decimal(gaps[rival].high)})."
        )
    else:
        least = format_decimal(min(gap.low for gap in gaps.values()))
        text = f"By your costs, use {best}: {amount}, at least {least} less than with any other method."
    if (price := costs.handover) is not None:
        claim = "would not" if price <= cost.value else "would" if price > cost.high else "may not"
        text += f" Handing over every question {claim} cost more: {format_decimal(price)} each."
    return text

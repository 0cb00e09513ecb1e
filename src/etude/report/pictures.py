"""Positions in the report's charts, in per cent of the width and height.

The template draws plain SVG with these numbers. Such positions let a chart grow and shrink
with the page while its text and dots keep their size.
"""

import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from etude.report.contents import LossCurve, Report
from etude.runs.details import HandoverResult
from etude.runs.verdict import BreakEven, Evidence

MAX_POINTS = 400  # In a longer training log, each point is the mean of several steps.


@dataclass(frozen=True, slots=True)
class Axis:
    """A straight axis from `low` to `high`, with its ticks."""

    low: float
    high: float
    ticks: tuple[float, ...]

    def position(self, value: float) -> str:
        """Return the position of a value, such as `42.5%`; a value outside is put at the end."""
        share = (value - self.low) / (self.high - self.low)
        return f"{100 * min(1.0, max(0.0, share)):.2f}%"

    def position_from_top(self, value: float) -> str:
        """Return the position on a vertical axis, measured from the top."""
        return f"{100 - float(self.position(value)[:-1]):.2f}%"

    def width(self, low: float, high: float) -> str:
        """Return the width from `low` to `high`, such as `5.00%`, cut at the ends of the axis."""
        low = max(low, self.low)
        high = min(high, self.high)
        return f"{100 * max(0.0, high - low) / (self.high - self.low):.2f}%"


# The whole axis from 0 to 1. All small charts share it, so that they can be compared.
SHARES = Axis(0.0, 1.0, (0.0, 0.25, 0.5, 0.75, 1.0))


def make_axis(
    values: Iterable[float], lowest: float = -math.inf, highest: float = math.inf
) -> Axis:
    """Make an axis with round ticks around all values, inside [lowest, highest]."""
    finite = [value for value in values if math.isfinite(value)] or [0.0, 1.0]
    low = min(finite)
    high = max(finite)
    # The smallest of 1, 2, 5 times a power of ten that gives six or fewer steps.
    span = max(high - low, 0.01 * max(abs(low), abs(high))) or 1.0
    power = 10.0 ** math.floor(math.log10(span / 6))
    step = next(power * n for n in (1, 2, 5, 10) if span <= 6 * power * n * (1 + 1e-9))
    low = max(lowest, math.floor(low / step + 1e-9) * step)
    high = min(highest, math.ceil(high / step - 1e-9) * step)
    if high <= low:
        low = max(lowest, low - step)
        high = min(highest, high + step)
    count = round((high - low) / step)
    return Axis(
        low, high, tuple(low + step * n for n in range(count + 1) if low + step * n <= high + 1e-9)
    )


def make_ladder_axis(report: Report) -> Axis:
    """Make the axis of the ladder: all intervals, the margin and the target; 0 to 1 if they cover
    over half of it.
    """
    values = [
        bound
        for method in report.methods
        if method.test
        for bound in (method.test.low, method.test.high)
    ]
    if not values:
        values = [
            bound
            for method in report.methods
            if method.dev
            for bound in (method.dev.low, method.dev.high)
        ]
    if report.target is not None:
        values.append(report.target)
    best = find_best_value(report)
    if best is not None:
        values.append(best - report.margin)
    if not values or max(values) - min(values) > 0.5:
        return SHARES
    return make_axis(values, 0.0, 1.0)


def find_best_value(report: Report) -> float | None:
    """Return the highest test value on the ladder; None before the test was opened."""
    return max((method.test.value for method in report.methods if method.test), default=None)


@dataclass(frozen=True, slots=True)
class LossDrawing:
    """A loss curve, ready to draw."""

    x: Axis
    y: Axis
    line: str
    """Points of the training loss in a square of 1,000 by 1,000."""
    thinned: int
    """Each point is the mean of this many steps."""


def draw_loss(curve: LossCurve) -> LossDrawing:
    """Scale a training log to a drawing."""
    points, steps_per_point = thin_steps(
        [(step, loss) for step, loss in curve.steps if math.isfinite(loss)]
    )
    losses = [loss for _, loss in points] + [epoch.dev_loss for epoch in curve.epochs]
    last = float(max(1, curve.steps[-1][0]))
    x = make_axis([0.0, last], 0.0, last)
    y = make_axis([0.0, *losses], 0.0)
    line = " ".join(
        f"{_to_thousandths(x, step)},{1000 - _to_thousandths(y, loss)}" for step, loss in points
    )
    return LossDrawing(x, y, line, steps_per_point)


@dataclass(frozen=True, slots=True)
class Segment:
    """A straight line of a drawing, from end to end."""

    x1: float
    y1: float
    x2: float
    y2: float


@dataclass(frozen=True, slots=True)
class LineChart:
    """A few straight lines between two axes."""

    x: Axis
    y: Axis
    lines: tuple[Segment, ...]


def draw_costs(break_even: BreakEven) -> LineChart:
    """Draw the total cost over requests, untuned and tuned, to twice the break-even.

    Without a break-even, until answers have cost twice as much as the training.
    """
    per_request = break_even.untuned_per_request or 1.0
    last = 2.0 * (break_even.requests or math.ceil(break_even.fixed / per_request)) or 1.0
    untuned = Segment(0.0, 0.0, last, last * break_even.untuned_per_request)
    tuned = Segment(
        0.0, break_even.fixed, last, break_even.fixed + last * break_even.tuned_per_request
    )
    return LineChart(
        make_axis([0.0, last], 0.0, last),
        make_axis([0.0, untuned.y2, tuned.y2], 0.0),
        (untuned, tuned),
    )


def draw_risk(result: HandoverResult) -> LineChart:
    """Draw the share of wrong answers over the share of answered rows; the axis has the share that
    is allowed.
    """
    points = [(point.share, 1 - point.right) for point in result.curve]
    top = [result.wrong.high] if result.wrong else []
    y = make_axis([0.0, result.max_wrong, *(risk for _, risk in points), *top], 0.0, 1.0)
    return LineChart(
        SHARES, y, tuple(Segment(*first, *second) for first, second in itertools.pairwise(points))
    )


def draw_search(scores: Sequence[float]) -> LineChart:
    """Draw the scores of the instructions as given and of each proposal that was better on training
    rows.
    """
    lines = tuple(Segment(n, a, n + 1, b) for n, (a, b) in enumerate(itertools.pairwise(scores)))
    last = max(1, len(scores) - 1)
    return LineChart(make_axis([0.0, last], 0.0, last), make_axis(scores, 0.0, 1.0), lines)


def draw_learning_curve(evidence: Evidence) -> LineChart:
    """Draw the learning curve with equal distances: each point has twice the rows of the one
    before.
    """
    points = [point.estimate for point in evidence.curve]
    y = make_axis(
        [bound for estimate in points for bound in (estimate.low, estimate.high)], 0.0, 1.0
    )
    pairs = itertools.pairwise(enumerate(points))
    lines = tuple(Segment(position, a.value, right, b.value) for (position, a), (right, b) in pairs)
    return LineChart(Axis(-0.3, len(points) - 0.7, tuple(map(float, range(len(points))))), y, lines)


def thin_steps(steps: Sequence[tuple[int, float]]) -> tuple[list[tuple[float, float]], int]:
    """Return at most MAX_POINTS means of equally long stretches, and the length of a stretch."""
    stretch_length = max(1, math.ceil(len(steps) / MAX_POINTS))
    stretches = [
        steps[start : start + stretch_length] for start in range(0, len(steps), stretch_length)
    ]
    means = [
        (sum(s for s, _ in stretch) / len(stretch), sum(v for _, v in stretch) / len(stretch))
        for stretch in stretches
    ]
    return means, stretch_length


def _to_thousandths(axis: Axis, value: float) -> int:
    return round(1000 * (value - axis.low) / (axis.high - axis.low))

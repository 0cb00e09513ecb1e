"""Where things stand in the report's pictures, in per cent of the drawing's width and height.

The template draws plain SVG with these numbers. Per cent positions let a picture grow and shrink
with the page while its text and dots keep their size.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from etude.report.contents import Curve, Report
from etude.runs.verdict import BreakEven, Evidence

MOST_POINTS = 400
"""A longer training log is drawn as means of equally long stretches."""


@dataclass(frozen=True, slots=True)
class Axis:
    """A straight axis from `low` to `high`, with its ticks."""

    low: float
    high: float
    ticks: tuple[float, ...]

    def at(self, value: float) -> str:
        """Where a value stands, as `42.5%`; values outside stand at the end."""
        share = (value - self.low) / (self.high - self.low)
        return f"{100 * min(1.0, max(0.0, share)):.2f}%"

    def down(self, value: float) -> str:
        """Where a value stands on an upright axis, measured from the top."""
        return f"{100 - float(self.at(value)[:-1]):.2f}%"

    def width(self, low: float, high: float) -> str:
        """How wide the stretch from `low` to `high` is, as `5.00%`, cut at the axis' ends."""
        low, high = max(low, self.low), min(high, self.high)
        return f"{100 * max(0.0, high - low) / (self.high - self.low):.2f}%"


SHARES = Axis(0.0, 1.0, (0.0, 0.25, 0.5, 0.75, 1.0))
"""The whole axis from 0 to 1, which all small pictures share so that they compare."""


def axis(values: Iterable[float], lowest: float = -math.inf, highest: float = math.inf) -> Axis:
    """A round axis around all values, kept inside [lowest, highest]."""
    kept = [value for value in values if math.isfinite(value)] or [0.0, 1.0]
    low, high = min(kept), max(kept)
    step = _step(max(high - low, 0.01 * max(abs(low), abs(high))) or 1.0)
    low = max(lowest, math.floor(low / step + 1e-9) * step)
    high = min(highest, math.ceil(high / step - 1e-9) * step)
    if high <= low:
        low, high = max(lowest, low - step), min(highest, high + step)
    count = round((high - low) / step)
    return Axis(low, high, tuple(low + step * n for n in range(count + 1) if low + step * n <= high + 1e-9))


def _step(span: float) -> float:
    """The smallest of 1, 2, 5 times a power of ten that cuts the span into six or fewer."""
    power = 10.0 ** math.floor(math.log10(span / 6))
    return next(power * factor for factor in (1, 2, 5, 10) if span <= 6 * power * factor * (1 + 1e-9))


def ladder_axis(report: Report) -> Axis:
    """The axis of the ladder: all intervals, the margin band and the target; whole when they
    spread over more than half of it."""
    values = [bound for rung in report.rungs if rung.test for bound in (rung.test.low, rung.test.high)]
    if not values:
        values = [bound for rung in report.rungs if rung.dev for bound in (rung.dev.low, rung.dev.high)]
    if report.target is not None:
        values.append(report.target)
    best = best_value(report)
    if best is not None:
        values.append(best - report.margin)
    if not values or max(values) - min(values) > 0.5:
        return SHARES
    return axis(values, 0.0, 1.0)


def best_value(report: Report) -> float | None:
    """The highest test value on the ladder; None before the test was opened."""
    return max((rung.test.value for rung in report.rungs if rung.test), default=None)


@dataclass(frozen=True, slots=True)
class Drawing:
    """A loss curve, ready to draw."""

    x: Axis
    y: Axis
    line: str
    """Points of the training loss in a square of 1,000 by 1,000."""
    thinned: int
    """How many steps each point is the mean of."""


def drawing(curve: Curve) -> Drawing:
    """Scales a training log to a drawing."""
    points, each = thinned([(step, loss) for step, loss in curve.steps if math.isfinite(loss)])
    losses = [loss for _, loss in points] + [epoch.dev_loss for epoch in curve.epochs]
    last = float(max(1, curve.steps[-1][0]))
    x = axis([0.0, last], 0.0, last)
    y = axis([0.0, *losses], 0.0)
    line = " ".join(f"{_thousandths(x, step)},{1000 - _thousandths(y, loss)}" for step, loss in points)
    return Drawing(x, y, line, each)


@dataclass(frozen=True, slots=True)
class Line:
    """A straight line of a drawing, from end to end."""

    x1: float
    y1: float
    x2: float
    y2: float


@dataclass(frozen=True, slots=True)
class Lines:
    """A few straight lines between two axes."""

    x: Axis
    y: Axis
    lines: tuple[Line, ...]


def cost_lines(found: BreakEven) -> Lines:
    """What so many requests cost in all, first untuned, then tuned with its training; twice as far as the break-even,
    or where there is none until answers cost as much as the training."""
    each = found.untuned_per_request or 1.0
    last = 2.0 * (found.requests or math.ceil(found.fixed / each)) or 1.0
    untuned = Line(0.0, 0.0, last, last * found.untuned_per_request)
    tuned = Line(0.0, found.fixed, last, found.fixed + last * found.tuned_per_request)
    return Lines(axis([0.0, last], 0.0, last), axis([0.0, untuned.y2, tuned.y2], 0.0), (untuned, tuned))


def learning_lines(found: Evidence) -> Lines:
    """The learning curve: points stand evenly, as each has twice the rows of the one before."""
    points = [point.estimate for point in found.curve]
    y = axis([bound for each in points for bound in (each.low, each.high)], 0.0, 1.0)
    pairs = itertools.pairwise(enumerate(points))
    lines = tuple(Line(left, a.value, right, b.value) for (left, a), (right, b) in pairs)
    return Lines(Axis(-0.3, len(points) - 0.7, tuple(map(float, range(len(points))))), y, lines)


def thinned(steps: Sequence[tuple[int, float]]) -> tuple[list[tuple[float, float]], int]:
    """At most MOST_POINTS points: means of equally long stretches, and how long a stretch is."""
    each = max(1, math.ceil(len(steps) / MOST_POINTS))
    stretches = [steps[start : start + each] for start in range(0, len(steps), each)]
    means = [(sum(s for s, _ in part) / len(part), sum(v for _, v in part) / len(part)) for part in stretches]
    return means, each


def _thousandths(axis: Axis, value: float) -> int:
    return round(1000 * (value - axis.low) / (axis.high - axis.low))

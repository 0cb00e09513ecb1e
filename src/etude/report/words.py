"""Numbers in words: how the report writes shares, differences, times and statuses."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from etude.metrics import GRADED, LABELS
from etude.report.numbers import Report, Rung
from etude.types import Estimate
from etude.wording import time_in_words

MINUS = "\u2212"
EQUALS = "\u00a0=\u00a0"

MARKS = {"good enough": "\u25cf", "worse": "\u25bc", "undecided": "\u25c6"}
"""The shape that stands for a status, so that colour is never the only sign."""

RUN_STATES = {
    "running": "This run is not finished. The page shows what was there when it was written.",
    "interrupted": "This run was interrupted. The page shows what is there; the same command goes on.",
}


@dataclass(frozen=True, slots=True)
class Scale:
    """How values of one metric are written: shares in per cent, chrF and macro-F1 as they are."""

    share: bool

    def number(self, value: float) -> str:
        """A value, as `82.5%` or `0.825`."""
        return f"{100 * value:.1f}%" if self.share else f"{value:.3f}"

    def tick(self, value: float) -> str:
        """A value on an axis."""
        return f"{100 * value:.4g}%" if self.share else f"{value:.4g}"

    def interval(self, estimate: Estimate) -> str:
        """The two bounds, as `78.1 to 86.4`."""
        if self.share:
            return f"{100 * estimate.low:.1f} to {100 * estimate.high:.1f}"
        return f"{estimate.low:.3f} to {estimate.high:.3f}"

    def estimate(self, estimate: Estimate) -> str:
        """Value, bounds and n."""
        return f"{self.number(estimate.value)} ({self.interval(estimate)}, n{EQUALS}{estimate.n:,})"

    def signed(self, value: float) -> str:
        """A difference with its sign, without a unit."""
        digits = f"{abs(100 * value):.1f}" if self.share else f"{abs(value):.3f}"
        return ("+" if value > 0 else MINUS if value < 0 else "") + digits

    def difference(self, estimate: Estimate) -> str:
        """A difference with its bounds and n."""
        unit = " points" if self.share else ""
        bounds = f"{self.signed(estimate.low)} to {self.signed(estimate.high)}"
        return f"{self.signed(estimate.value)}{unit} (95% interval {bounds}, n{EQUALS}{estimate.n:,})"

    def points(self, value: float) -> str:
        """A size without a sign: `6.1 points`."""
        return f"{100 * value:.1f} points" if self.share else f"{value:.3f}"


SHARES = Scale(share=True)


def scale(report: Report) -> Scale:
    """The scale of the run's headline metric."""
    return scale_of(report.metric)


def scale_of(metric: str) -> Scale:
    """The scale of the metric of this name."""
    return Scale(metric not in ("chrf", "macro_f1"))


def metric(report: Report) -> str:
    """The headline metric with the reason why it is, as the start of a sentence."""
    why = f", {report.metric_why}" if report.metric_why else ""
    return f"{opening(report.metric_label)}{why}"


def others(report: Report) -> dict[str, str]:
    """The metrics beside the headline, by name, each in words; empty before the test."""
    names = dict.fromkeys(name for rung in report.rungs for name in rung.others)
    return {name: opening(LABELS[name]) for name in names}


def seconds(value: float | None) -> str:
    """A time in words; empty where none is known."""
    return "" if value is None else time_in_words(value)


def opening(text: str) -> str:
    """A text as the start of a sentence: only its first letter changes, so that chrF stays chrF inside."""
    return text[:1].upper() + text[1:]


def price(value: float | None) -> str:
    """The price of 1,000 requests with three significant digits."""
    if value is None:
        return ""
    return _decimal(1000 * value)


def headline(report: Report) -> str:
    """The comparison that was declared in advance, as one sentence; empty without one."""
    found = report.verdict.headline if report.verdict else None
    if found is None:
        return ""
    labels = {rung.name: rung.label for rung in report.rungs}
    tuned, untuned = labels.get(found.tuned, found.tuned), labels.get(found.untuned, found.untuned)
    p = f", p {_p(found.p)} by {found.test}" if found.p is not None else ""
    return (
        f"{tuned} against {untuned}: {scale(report).difference(found.difference)}{p}. "
        f"{_reading(found.difference, found.gains)}"
    )


def _p(value: float) -> str:
    return "< 0.0001" if value < 0.0001 else f"= {value:.2g}"


def _reading(difference: Estimate, gains: bool) -> str:
    if gains:
        return "The whole interval lies above zero: fine-tuning gains."
    if difference.low <= 0 <= difference.high:
        return "The interval holds zero: this test shows no gain from fine-tuning."
    side = "above" if difference.low > 0 else "below"
    return f"The whole interval lies {side} zero; the verdict says what that is worth."


def test_rows(report: Report) -> str:
    """How many rows of the test are answered: `400 test rows`, or `300 of 400 test rows`."""
    whole = report.split["test"]
    part = f"{report.answered:,} of " if report.answered < whole else ""
    return f"{part}{whole:,} test rows"


def power_heading(report: Report) -> str:
    """What the smallest differences depend on: how often two methods disagree, or how far their scores spread."""
    if _graded(report):
        return "When row by row the scores of two methods differ by (standard deviation)"
    return "When two methods disagree on"


def power_rows(report: Report) -> list[tuple[str, str]]:
    """What the smallest difference depends on, and the difference, both in words."""
    when = [
        f"{100 * math.sqrt(d):.0f} points" if _graded(report) else f"{100 * d:.0f}% of rows"
        for d, _ in report.power
    ]
    return [(words, f"{100 * size:.1f} points") for words, (_, size) in zip(when, report.power, strict=True)]


def _graded(report: Report) -> bool:
    return report.metric in GRADED


def tuned_prompt(report: Report) -> str:
    """What fine-tuning does to the instructions; empty where nothing was tuned."""
    if not any(rung.tuned for rung in report.rungs):
        return ""
    kept = "keeps their first sentence only" if report.kind in ("answer", "rewrite") else "leaves them out"
    return f"The weights learn what the instructions ask for, so the prompt of fine-tuning {kept}."


def learned(report: Report) -> tuple[str, ...]:
    """What training learned and what it only read, in sentences; none where nothing was tuned."""
    return tuple(line for rung in report.rungs for line in rung.params.get("supervision") or ())


def settings(report: Report) -> list[tuple[str, str, str]]:
    """Settings of training that were chosen or set by the user: (name, value, why)."""
    return [
        (name.replace("_", " "), plain(rung.params["settings"].get(name)), why)
        for rung in report.rungs
        for name, why in (rung.params.get("reasons") or {}).items()
    ]


def shown_rows(report: Report) -> list[Mapping[str, Any]]:
    """Training rows as they are learned: {"row", "spans": [(text, whether it is learned)]}."""
    return [row for rung in report.rungs for row in rung.params.get("shown_rows") or ()]


def role(report: Report, rung: Rung) -> str:
    """What the choices on dev made of a method; empty for most."""
    if rung.name == report.untuned:
        return "best untuned on dev"
    return "best tuned on dev" if rung.name == report.tuned else ""


def status(rung: Rung) -> str:
    """The status with its shape, and the rows that would decide."""
    if not rung.status:
        return ""
    mark = MARKS.get(rung.status, "")
    rows = f"; about {rung.rows_to_decide:,} test rows would decide" if rung.rows_to_decide else ""
    return f"{mark} {rung.status}{rows}"


def openings(report: Report) -> str:
    """How often the test was opened, in a sentence."""
    if report.openings == 0:
        return "The test has not been opened."
    times = "once" if report.openings == 1 else f"{report.openings} times"
    return f"The test has been opened {times}, counting every run on it."


def plain(value: Any) -> str:
    """A value of a settings mapping as text."""
    if isinstance(value, float):
        return _decimal(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return "" if value is None else str(value)


def _decimal(value: float) -> str:
    """A number with at least three significant digits and no exponent."""
    digits = 2 - math.floor(math.log10(abs(value))) if value and math.isfinite(value) else 0
    text = f"{value:,.{max(0, digits)}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def items(mapping: Any) -> list[tuple[str, str]]:
    """A mapping as pairs of words and text; `text`, nested values and those not known are left out."""
    pairs = ((str(key).replace("_", " "), value) for key, value in dict(mapping).items() if key != "text")
    return [(key, plain(value)) for key, value in pairs if not isinstance(value, (dict, list, type(None)))]

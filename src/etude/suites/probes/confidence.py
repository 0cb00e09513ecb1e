"""How far the confidences of a run's assistant can be trusted, from the answers that the run has kept."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from etude.base.wording import share
from etude.runs import Run
from etude.stats.surest import Calibration, Point, calibration, risk_coverage

TARGETS = (0.9, 0.95, 0.99)
"""Shares of right answers for which it is told how many can be given."""


@dataclass(frozen=True)
class Confidence:
    """Calibration and the accuracy by the share that is answered."""

    side: str
    figures: Calibration
    curve: tuple[Point, ...]

    def sentences(self) -> Iterator[str]:
        """`Right on 95.2% of the surest 71%`, for each target that some share reaches."""
        everything = self.curve[-1].right
        yield f"All {self.figures.n:,} rows answered: {share(everything)} right"
        for target in TARGETS:
            reached = [point for point in self.curve if point.right >= target]
            if reached and target > everything:
                most = max(reached, key=lambda point: point.share)
                yield f"The surest {share(most.share)} answered: {share(most.right)} right"


def confidence_of(run: Run, method: str) -> Confidence | None:
    """Of the test rows that the run has answered, else of dev; None if the answers have no confidence."""
    lines = [line for line in run.predictions(method) if line["confidence"] is not None]
    for side in ("test", "dev"):
        known = [line for line in lines if line["side"] == side]
        if known:
            sure = [min(1.0, line["confidence"]) for line in known]
            right = [float(line["score"] == 1) for line in known]
            return Confidence(side, calibration(sure, right), tuple(risk_coverage(sure, right)))
    return None

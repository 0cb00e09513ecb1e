"""How far the confidences of a run's assistant can be trusted, from the answers that the run has kept."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from etude.base.wording import bounds, share
from etude.runs import Run
from etude.stats.calibration import brier, by_share_answered, calibration_error
from etude.stats.surest import Point, auroc, risk_coverage
from etude.types import Estimate


@dataclass(frozen=True)
class Confidence:
    """Calibration and the accuracy by the share that is answered."""

    side: str
    error: Estimate
    """Expected calibration error over bins of equally many answers."""
    brier: Estimate
    auroc: float
    shares: tuple[tuple[float, Estimate], ...]
    """(share of the answers, the surest ones; how many of them are right)."""
    curve: tuple[Point, ...]

    def sentences(self) -> Iterator[str]:
        """`The surest 80% answered: 95.2% right (92.1 to 97.2, n = 320)`, for fixed shares."""
        for part, right in self.shares:
            which = "All" if part == 1 else f"The surest {share(part)}"
            yield f"{which} answered: {share(right.value)} right ({bounds(right)}, n = {right.n:,})"


def confidence_of(run: Run, method: str) -> Confidence | None:
    """Of the test rows that the run has answered, else of dev; None if the answers have no confidence."""
    lines = [line for line in run.predictions(method) if line["confidence"] is not None]
    for side in ("test", "dev"):
        known = [line for line in lines if line["side"] == side]
        if known:
            sure = [min(1.0, line["confidence"]) for line in known]
            right = [float(line["score"] == 1) for line in known]
            units = [line["unit"] for line in known]
            return Confidence(
                side,
                calibration_error(sure, right, units),
                brier(sure, right, units),
                auroc(sure, right),
                tuple((part, found) for part, _, found in by_share_answered(sure, right, units)),
                tuple(risk_coverage(sure, right)),
            )
    return None

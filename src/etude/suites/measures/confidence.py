"""Calibration of a run's assistant, from the predictions of the run."""

from collections.abc import Iterator
from dataclasses import dataclass

from etude.base.formatting import format_interval, format_share
from etude.runs import Run
from etude.stats import calibration
from etude.types import Estimate


@dataclass(frozen=True)
class Confidence:
    """Calibration, and the accuracy by the share that is answered."""

    side: str
    error: Estimate  # expected calibration error over bins of equally many answers
    brier: Estimate
    auroc: float
    shares: tuple[tuple[float, Estimate], ...]  # (share of the most confident answers, their accuracy)
    curve: tuple[calibration.RiskPoint, ...]

    def format_sentences(self) -> Iterator[str]:
        """Yield `With the most confident 80% answered: 95.2% right (92.1 to 97.2, n = 320)`, for fixed shares."""
        for answered_share, accuracy in self.shares:
            which = "all" if answered_share == 1 else f"the most confident {format_share(answered_share)}"
            bounds = f"({format_interval(accuracy)}, n = {accuracy.n:,})"
            yield f"With {which} answered: {format_share(accuracy.value)} right {bounds}"


def measure_confidence(run: Run, method: str, right: float = 1.0) -> Confidence | None:
    """Measure on test rows if the run has answered them, else on dev; None if the answers have no confidence. Answers
    with a score of at least `right` are right."""
    lines = [line for line in run.read_predictions(method) if line["confidence"] is not None]
    for side in ("test", "dev"):
        rows = [line for line in lines if line["side"] == side]
        if rows:
            confidences = [min(1.0, line["confidence"]) for line in rows]
            is_right = [float(line["score"] >= right) for line in rows]
            units = [line["unit"] for line in rows]
            return Confidence(
                side,
                calibration.measure_calibration_error(confidences, is_right, units),
                calibration.brier_score(confidences, is_right, units),
                calibration.compute_auroc(confidences, is_right),
                tuple(
                    (share, accuracy)
                    for share, _, accuracy in calibration.iter_surest(confidences, is_right, units)
                ),
                tuple(calibration.compute_risk_coverage(confidences, is_right)),
            )
    return None

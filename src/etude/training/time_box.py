"""Training within a number of seconds: how many steps are planned, and when the loss on dev is measured.

The number of steps is planned again every few steps from the seconds of the latest, so a machine that slows down ends
with fewer steps and not later. The learning rate falls with the share of the box that is used, or of all epochs if they
end before it; between two plans it falls evenly with the steps. Every plan is part of the run's progress, so a
checkpoint resumes with the plans before it.
"""

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from etude.training.step import TrainResult

PLAN_STEPS = 5
"""Steps between two plans."""
LATEST_STEPS = 8
"""Steps whose median time is that of a step: one step in which the machine stalled does not count."""
NUM_MEASUREMENTS = 3
"""Dev losses in a box after the untrained model's, about evenly spaced."""


@dataclass(frozen=True, slots=True)
class TimeBox:
    """Seconds that a training may take, dev losses included. It ends at most one step and one dev loss later."""

    seconds: float
    clock: Callable[[], float] = time.monotonic


@dataclass(slots=True)
class BoxPlanner:
    """Plans the steps of a training under way. Only for a single process."""

    box: TimeBox
    progress: TrainResult
    max_steps: int
    """Steps of all epochs."""
    log: Callable[[Mapping[str, Any]], None]
    started: float = field(init=False)
    """The clock at the start, as if all attempts had followed each other."""

    def __post_init__(self) -> None:
        self.started = self.box.clock() - self.progress.box_used
        self.progress.plans = self.progress.plans or [[0, self.max_steps, 0.0]]

    @property
    def num_planned(self) -> int:
        """Steps that are planned in all."""
        return int(self.progress.plans[-1][1])

    @property
    def is_finished(self) -> bool:
        """Whether all planned steps are done and measured."""
        return self.progress.steps >= self.num_planned and self.progress.measured_steps[-1:] == [
            self.progress.steps
        ]

    @property
    def is_due(self) -> bool:
        """Whether the dev loss is to be measured: about every third of the planned steps, and after the last."""
        done, planned = self.progress.steps, self.num_planned
        interval = -(-planned // NUM_MEASUREMENTS)
        is_close = planned - done <= interval // 2  # the last measurement is near
        return done >= planned or (done - self.progress.measured_steps[-1] >= interval and not is_close)

    def add_step(self) -> None:
        """Record the time of a step; plan again if it is time to."""
        progress = self.progress
        progress.step_seconds = [*progress.step_seconds, self._count_seconds()][-LATEST_STEPS:]
        step_seconds = statistics.median(progress.step_seconds)
        if progress.box_used + step_seconds + progress.dev_seconds > self.box.seconds:
            self._plan(progress.steps, 1.0)
        elif progress.steps % PLAN_STEPS == 0:
            num_left = max(1, NUM_MEASUREMENTS + 1 - len(progress.measured_steps))
            left = max(0.0, self.box.seconds - progress.box_used - num_left * progress.dev_seconds)
            planned = min(self.max_steps, progress.steps + max(1, int(left / max(step_seconds, 1e-9))))
            used = progress.box_used - progress.total_dev_seconds
            share = max(used / max(used + left, 1e-9), progress.steps / self.max_steps)
            # The next step always has a learning rate above 0.
            self._plan(planned, round(min(share, progress.steps / (progress.steps + 1)), 6))

    def add_measurement(self) -> None:
        """Record the time of a dev loss. Without time for one more, no further step is planned."""
        self.progress.dev_seconds = self._count_seconds()
        self.progress.total_dev_seconds += self.progress.dev_seconds
        is_over = self.progress.box_used + self.progress.dev_seconds > self.box.seconds
        if is_over and self.progress.steps < self.num_planned:
            self._plan(self.progress.steps, 1.0)

    def _count_seconds(self) -> float:
        before = self.progress.box_used
        # Rounded, so that a resumed run plans the same whatever its clock shows.
        self.progress.box_used = round(self.box.clock() - self.started, 6)
        return self.progress.box_used - before

    def _plan(self, num_steps: int, share: float) -> None:
        progress = self.progress
        progress.plans = [*progress.plans, [progress.steps, num_steps, share]]
        self.log({"planned_steps": num_steps, "after_step": progress.steps, "share_used": share})

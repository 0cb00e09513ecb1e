"""Training within a number of seconds: the number of planned steps, and the times at which the dev
loss is measured.

Every few steps, the number of steps is planned again from the seconds of the latest steps. If the
machine becomes slower, training does fewer steps and does not end later. The learning rate falls
with the used share of the box, or with the finished share of all epochs if they end before the box.
Between two plans it falls linearly with the steps. Every plan is part of the run's progress, so a
resumed run has the plans before its checkpoint.
"""

import math
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from etude.training.step import TrainResult

PLAN_STEPS = 5
"""The number of steps between two plans."""
LATEST_STEPS = 8
"""The time of a step is the median of this many steps, so one slow step does not matter."""
NUM_MEASUREMENTS = 3
MEASURING_SHARE = 0.1
"""The number of dev losses in a box after the untrained model's, at about equal distances: at most
this number, fewer if they would take more than this share of the box, but always at least the last.
"""


@dataclass(frozen=True, slots=True)
class TimeBox:
    """The seconds that a training may take, including dev losses. It ends at most one step and one
    dev loss later.
    """

    seconds: float
    clock: Callable[[], float] = time.monotonic
    is_stopped: Callable[[], bool] = lambda: False
    """Whether the user has asked to end now: the training then takes no further step."""

    def log_left(self, used: float) -> dict[str, float]:
        """Return {"seconds_left": ...} for the line of a step; {} without a limit."""
        return (
            {"seconds_left": round(max(0.0, self.seconds - used), 1)}
            if math.isfinite(self.seconds)
            else {}
        )


@dataclass(slots=True)
class BoxPlanner:
    """Plans the steps of a running training."""

    box: TimeBox
    progress: TrainResult
    max_steps: int
    """The number of steps of all epochs."""
    log: Callable[[Mapping[str, Any]], None]
    started: float = field(init=False)
    """The clock at the start, minus the seconds of earlier attempts."""

    def __post_init__(self) -> None:
        self.started = self.box.clock() - self.progress.box_used
        self.progress.plans = self.progress.plans or [[0, self.max_steps, 0.0]]

    @property
    def num_planned(self) -> int:
        return int(self.progress.plans[-1][1])

    @property
    def is_finished(self) -> bool:
        return self.progress.steps >= self.num_planned and self.progress.measured_steps[-1:] == [
            self.progress.steps
        ]

    @property
    def num_measurements(self) -> int:
        """The number of dev losses of the whole training, without the untrained model's."""
        affordable = int(MEASURING_SHARE * self.box.seconds / max(self.progress.dev_seconds, 1e-9))
        return max(1, min(NUM_MEASUREMENTS, affordable))

    @property
    def is_due(self) -> bool:
        """Whether to measure the dev loss now: after equal shares of the planned steps, and after
        the last step.
        """
        done = self.progress.steps
        planned = self.num_planned
        interval = -(-planned // self.num_measurements)
        is_close = planned - done <= interval // 2  # the last measurement comes soon
        return done >= planned or (
            done - self.progress.measured_steps[-1] >= interval and not is_close
        )

    def add_step(self) -> None:
        """Record the time of a step; plan again if a plan is due."""
        progress = self.progress
        progress.step_seconds = [*progress.step_seconds, self._count_seconds()][-LATEST_STEPS:]
        step_seconds = statistics.median(progress.step_seconds)
        is_over = progress.box_used + step_seconds + progress.dev_seconds > self.box.seconds
        if is_over or self.box.is_stopped():
            self._plan(progress.steps, 1.0)
        elif progress.steps % PLAN_STEPS == 0:
            num_left = max(1, self.num_measurements + 1 - len(progress.measured_steps))
            left = max(0.0, self.box.seconds - progress.box_used - num_left * progress.dev_seconds)
            planned = min(
                self.max_steps, progress.steps + max(1, int(left / max(step_seconds, 1e-9)))
            )
            used = progress.box_used - progress.total_dev_seconds
            share = max(used / max(used + left, 1e-9), progress.steps / self.max_steps)
            # The learning rate of the next step is always above 0.
            self._plan(planned, round(min(share, progress.steps / (progress.steps + 1)), 6))

    def add_measurement(self) -> None:
        """Record the time of a dev loss. If there is no time for one more, plan no further step."""
        self.progress.dev_seconds = self._count_seconds()
        self.progress.total_dev_seconds += self.progress.dev_seconds
        is_over = self.progress.box_used + self.progress.dev_seconds > self.box.seconds
        if is_over and self.progress.steps < self.num_planned:
            self._plan(self.progress.steps, 1.0)

    def _count_seconds(self) -> float:
        before = self.progress.box_used
        # Rounded, so a resumed run makes the same plans with another clock.
        self.progress.box_used = round(self.box.clock() - self.started, 6)
        return self.progress.box_used - before

    def _plan(self, num_steps: int, share: float) -> None:
        progress = self.progress
        progress.plans = [*progress.plans, [progress.steps, num_steps, share]]
        self.log({"planned_steps": num_steps, "after_step": progress.steps, "share_used": share})

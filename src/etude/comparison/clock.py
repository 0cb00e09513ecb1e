"""The clock of a comparison: how much time each look at a method gets, and how much is kept for the
test.

Nothing is timed in advance. Every method has a first look, within a third of the budget. What
remains is shared among the methods that more time could change, except for a part for the test,
computed from the speed that dev has shown. Time that a look does not use goes to the looks after
it.
"""

import math
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from etude.methods import Method
from etude.methods.shared.fit_context import Effort
from etude.stats.racing import FIRST_BLOCK

CLOSING_SECONDS = 5.0
"""Seconds of a budget that are kept for the verdict and the report."""
STOP_SECONDS = 15.0
"""Seconds for the test after the user has asked to end."""
FIRST_LOOKS = 1 / 3
"""Share of the budget in which every method has its first look."""
FIRST_LOOK_LIMIT = 0.2
"""A first look is given up if it takes longer than its share and this share of the budget."""
FIRST_TRAINING = 0.12
"""The first training of a method takes at most this share of the budget; a longer one goes on from
it.
"""
TEST_SHARE = 0.2
MIN_TEST_SHARE = 0.05
"""Shares of the budget: kept for the test, unless it needs less; and for the test even if the
budget is used up.
"""
FAST_SHARE = 0.05
"""A method that can answer the whole test in this share of the budget answers it whole."""
BEATEN_SHARE = 0.02
"""A method that is clearly worse on dev first answers test rows for this share of the budget."""
TRAINING_SHARE = 0.75
"""Share of a look that is spent on training at most; the rest is for answering dev."""
FIRST_TUNED_WEIGHT = 4.0
TUNED_WEIGHT = 12.0
SEARCH_WEIGHT = 6.0
"""Shares, if a prompt has 1: of training a model, in first looks and later, and of training the
search.
"""
FIRST_LOOK_ROWS = 2 * FIRST_BLOCK
"""Dev rows of a first look, if there is time for the second block."""
FIRST_ROWS = 100
"""Training rows that a first training is assumed to see: it then takes small steps."""


def read_time() -> float:
    """Return `time.monotonic()`, looked up at each call so that tests can replace it."""
    return time.monotonic()


@dataclass
class Clock:
    """The time of a run. Without a budget there is no limit until the user asks to end."""

    budget: float | None = None
    """Seconds; None for no limit."""
    started: float = 0.0
    """When the budget began, by `now`; earlier than the start of the process if the run was
    resumed.
    """
    stop: threading.Event | None = None
    """Set when the user asks to end: the methods then answer what the test needs for a verdict."""
    now: Callable[[], float] = read_time
    _stopped_at: float | None = None

    @property
    def is_stopped(self) -> bool:
        return self.stop is not None and self.stop.is_set()

    @property
    def is_limited(self) -> bool:
        """Whether there is a budget, or the user has asked to end."""
        return self.budget is not None or self.is_stopped

    @property
    def deadline(self) -> float:
        end = math.inf if self.budget is None else self.started + self.budget - CLOSING_SECONDS
        if not self.is_stopped:
            return end
        self._stopped_at = self.now() if self._stopped_at is None else self._stopped_at
        return min(end, self._stopped_at + STOP_SECONDS)

    @property
    def seconds_left(self) -> float:
        """Seconds until the deadline; negative after it."""
        return self.deadline - self.now()

    @property
    def span(self) -> float:
        """Seconds of which the shares of the test are parts: the budget, or after the user's wish
        to end STOP_SECONDS.
        """
        if self.budget is None or self.is_stopped:
            return STOP_SECONDS
        return self.budget

    def share_first_looks(self, method: Method, to_come: Sequence[Method]) -> float | None:
        """Compute the seconds of a first look; None for no limit. `to_come`: methods without one,
        this included.
        """
        if self.budget is None:
            return None
        left = self.started + FIRST_LOOKS * self.budget - self.now()
        return self._share(left, method, to_come, FIRST_TUNED_WEIGHT)

    def share_rest(
        self, method: Method, to_come: Sequence[Method], searches: bool, test_seconds: float
    ) -> float:
        """Compute the seconds of a longer look. `searches`: whether the search is to be fitted,
        too; `test_seconds`: those kept for the test.
        """
        return self._share(
            self.seconds_left - test_seconds, method, to_come, TUNED_WEIGHT, searches=searches
        )

    def _share(
        self,
        seconds: float,
        method: Method,
        to_come: Sequence[Method],
        weight: float,
        *,
        searches: bool = False,
    ) -> float:
        weights = {other.name: weight if other.tuned else 1.0 for other in to_come}
        # If a search is to be trained, the first method with one does it for all.
        if searches and (first := next((other.name for other in to_come if other.searches), "")):
            weights[first] += SEARCH_WEIGHT
        return max(0.0, seconds) * weights[method.name] / sum(weights.values())

    def make_first_effort(self, seconds: float | None) -> Effort:
        """Make the effort of a first look: one candidate, few dev rows, a short training."""
        if seconds is None or self.budget is None:
            return Effort()
        most = FIRST_TRAINING * self.budget
        # At least half of it, also if the looks before were slow.
        train_seconds = min(most, max(TRAINING_SHARE * seconds, most / 2))
        return Effort(1, FIRST_LOOK_ROWS, round(train_seconds, 1), FIRST_ROWS, 0.0)

    def count_beaten_rows(self, row_seconds: float) -> int:
        """Count the first test rows of a method that is clearly worse on dev: 12 to 50."""
        rows = int(BEATEN_SHARE * self.span / row_seconds) if row_seconds > 0 else math.inf
        return int(min(50, max(FIRST_BLOCK, rows)))

    def is_fast(self, row_seconds: float, num_rows: int) -> bool:
        """Whether answering the whole test takes little of the time."""
        return row_seconds * num_rows <= FAST_SHARE * self.span

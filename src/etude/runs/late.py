"""Steps that take far longer than was foreseen: reported once, while they run, with the reason if it can be known."""

from __future__ import annotations

import sys
import time
from collections import defaultdict
from collections.abc import Callable, Mapping

from etude.base.wording import share, time_in_words
from etude.runs.events import Ended, Event, OnEvent, Said

TIMES = 3
"""A step is late once it takes over so many times as long as foreseen."""
LEAST = 20.0
"""Seconds by which it must be late: what was foreseen of a short step is rough."""
BUSY = 0.6
"""Share of its cores below which a late step is taken to wait for them. Training gets over 0.9 on a quiet machine."""


def clocks() -> tuple[float, float]:
    """Seconds of wall clock, and of processor time of this process in all its threads."""
    return time.perf_counter(), time.process_time()


def threads() -> int | None:
    """Threads that a step computes with; None on a GPU, where the processor says nothing about the speed."""
    if (torch := sys.modules.get("torch")) is None:
        return 1
    return None if torch.cuda.is_available() else int(torch.get_num_threads())


class LateSteps:
    """Passes events on, and says once of each step when it is late.

    `foreseen` has the seconds of a step's dev, training and test together, by its name; a step that is not in it is
    never late. What an earlier attempt of the same run spent is not counted.
    """

    def __init__(
        self,
        on_event: OnEvent,
        foreseen: Mapping[str, float],
        clocks: Callable[[], tuple[float, float]] = clocks,
        threads: Callable[[], int | None] = threads,
    ) -> None:
        self.on_event, self.foreseen, self.clocks, self.threads = on_event, dict(foreseen), clocks, threads
        self.spent: dict[str, tuple[float, float]] = defaultdict(lambda: (0.0, 0.0))
        self.running: tuple[str, float, float] | None = None
        """The step under way, and both clocks when it was last heard of."""
        self.told: set[str] = set()

    def __call__(self, event: Event) -> None:
        """Takes one event."""
        self.on_event(event)
        if not (method := getattr(event, "method", "")):
            return
        wall, processor = self.clocks()
        if self.running and self.running[0] == method:
            before = self.spent[method]
            self.spent[method] = before[0] + wall - self.running[1], before[1] + processor - self.running[2]
        self.running = None if isinstance(event, Ended) else (method, wall, processor)
        if method not in self.told and self._late(method):
            self.told.add(method)
            self.on_event(Said(self._words(method)))

    def _late(self, method: str) -> bool:
        taken, foreseen = self.spent[method][0], self.foreseen.get(method)
        return foreseen is not None and taken > max(TIMES * foreseen, foreseen + LEAST)

    def _words(self, method: str) -> str:
        (taken, processor), cores = self.spent[method], self.threads()
        late = f"{method} has taken {time_in_words(taken)}, and {time_in_words(self.foreseen[method])} were foreseen."
        sooner = "To end sooner, stop this run and set a smaller budget: in the task file."
        if cores is None:
            return f"{late} {sooner}"
        got = f"{share(round(processor / taken / cores, 2))} of {f'its {cores} cores' if cores > 1 else 'a core'}"
        if processor < BUSY * taken * cores:
            return (
                f"{late} It got {got}, so other processes were running or it was paused. End those processes, or stop "
                "this run and start the same command later: it goes on where it stopped."
            )
        return (
            f"{late} It got {got}, so its prompts or answers are longer than those that were timed. {sooner}"
        )

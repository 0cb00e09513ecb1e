"""How many threads a training in limited time uses: all of the process, or half of them if that is
faster now.

On a virtual machine whose host is busy, all threads wait for one that is not running. With
SmolLM2-135M on two cores, two threads then trained 84 to 119 tokens a second, and one 198 to 222.
On a quiet host, one is up to 30% slower.
"""

from typing import Self

import torch

TRIAL_STEPS = 8
"""One step in this many tries the number of threads that was slower so far."""


class ThreadChoice:
    """Context manager: sets the threads of each step; at the end, restores their number. With other
    threads, sums of gradients are rounded in another way, so only trainings use it whose steps
    depend on the clock anyway.
    """

    def __init__(self, *, is_limited: bool) -> None:
        self.total = torch.get_num_threads()
        counts = [self.total, self.total // 2] if is_limited and self.total > 1 else [self.total]
        self.speeds: dict[int, float] = dict.fromkeys(counts, 0.0)
        """Number of threads -> units a second of its latest step, such as tokens; 0 if it has made
        none.
        """
        self.steps = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        torch.set_num_threads(self.total)

    def begin_step(self) -> None:
        """Set the number of threads: the fastest, or in turn another one."""
        fastest = max(self.speeds, key=lambda count: self.speeds[count])
        slowest = min(self.speeds, key=lambda count: self.speeds[count])
        is_trial = not self.speeds[slowest] or self.steps % TRIAL_STEPS == 0
        torch.set_num_threads(slowest if is_trial and self.steps else fastest)

    def end_step(self, units: float, seconds: float) -> None:
        """Record the speed of a step. The first step also prepares kernels and is not counted."""
        if self.steps:
            self.speeds[torch.get_num_threads()] = units / max(seconds, 1e-9)
        self.steps += 1

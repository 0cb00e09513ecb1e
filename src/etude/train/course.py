"""When a training run leaves its course: spikes, and overfitting.

A step is a spike when its loss exceeds both three times the median of the steps before it and, by two
nats, the loss on dev of the untrained model: its tokens are on average over seven times less likely
than unseen ones were before training. A batch that is merely hard stays below that, also where losses are
near zero; a poisoned row or a learning rate that breaks the weights does not.

An epoch overfits when its loss on the training rows is lower than in the epoch before, and its loss on
dev higher than it has been.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence

WINDOW = 32
"""Losses that the median is taken of, the latest ones."""
LEAST = 8
"""Steps before which nothing is called a spike: there is no course yet."""
TIMES = 3.0
ABOVE = 2.0
"""Nats a token above the untrained model's loss on dev."""


def highest_loss(before: Sequence[float], untrained: float) -> float:
    """The loss above which the next step is a spike; infinite until there are enough steps.

    `before` are the losses of the latest steps, `untrained` the loss on dev before training, in nats.
    """
    if len(before) < LEAST:
        return float("inf")
    return max(TIMES * statistics.median(before[-WINDOW:]), untrained + ABOVE)


def overfits(train_losses: Sequence[float], dev_losses: Sequence[float]) -> bool:
    """Whether the latest epoch does. `dev_losses` begin with the untrained model's, `train_losses` with
    those of the first epoch."""
    return train_losses[-1] < min(train_losses[:-1], default=float("inf")) and dev_losses[-1] > min(
        dev_losses
    )

"""When a training run leaves its course: spikes, and overfitting.

A step is a spike when its loss exceeds the median of the steps before it three times and by two nats (its
tokens are on average over seven times less likely), and is above half the loss on dev of the untrained
model. The first holds while losses are high, the second where they are near zero, the third where an untrained
model finds the answers hard: there one wrong row of a batch weighs much. In the first steps, of which no median
tells anything yet, the untrained model's loss on dev stands in its place.

An epoch overfits when its loss on the training rows is lower than in every epoch before, of which there is one
at least, and below the untrained model's loss on dev, while its own loss on dev is surely above the lowest so far.
Where the loss on the training rows stays above that of the untrained model nothing is learned by heart: steps are too
large. So they may be where the loss on dev is surely higher after the first epoch than before it.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence

WINDOW = 32
"""Losses that the median is taken of, the latest ones."""
LEAST = 8
"""Steps that make a course; before there are so many, the untrained model's loss stands for their median."""
TIMES = 3.0
ABOVE = 2.0
"""Nats a token above the median."""
UNTRAINED = 0.5
"""Share of the untrained model's loss on dev."""
NOISE_SHARE, NOISE = 0.01, 0.001
"""Share of a loss on dev, and nats, within which another is taken for the same."""


def highest_loss(before: Sequence[float], untrained: float) -> float:
    """The loss above which the next step is a spike.

    `before` are the losses of the latest steps, `untrained` the loss on dev before training, in nats.
    """
    middle = usual_loss(before, untrained)
    return max(TIMES * middle, middle + ABOVE, UNTRAINED * untrained)


def usual_loss(before: Sequence[float], untrained: float) -> float:
    """What the loss of the next step is held against: the median of those before it, or `untrained`."""
    return untrained if len(before) < LEAST else statistics.median(before[-WINDOW:])


def surely_above(loss: float, other: float) -> bool:
    """Whether a loss on dev is above another by more than such losses waver."""
    return loss > other + max(NOISE_SHARE * other, NOISE)


def overfits(train_losses: Sequence[float], dev_losses: Sequence[float]) -> bool:
    """Whether the latest epoch does. `dev_losses` begin with the untrained model's, `train_losses` with
    those of the first epoch."""
    *before, latest = train_losses
    falls = latest < min(before, default=-float("inf")) and latest < dev_losses[0]
    return falls and surely_above(dev_losses[-1], min(dev_losses))


def rises_at_once(dev_losses: Sequence[float]) -> bool:
    """Whether the first epoch left the loss on dev surely above the untrained model's, the first of `dev_losses`."""
    return len(dev_losses) > 1 and surely_above(dev_losses[1], dev_losses[0])

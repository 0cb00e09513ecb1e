"""When a training run goes wrong: spikes and overfitting.

A step is a spike if its loss is above three times the median of the steps before it, above that median by two nats, and
above half the untrained model's dev loss. The first rule matters while losses are high, the second near zero, the third
where an untrained model finds the answers hard and one wrong row of a batch weighs much. In the first steps the
untrained model's dev loss is used in place of the median.

An epoch overfits if its training loss is lower than in every epoch before (one at least) and than the untrained model's
dev loss, while its dev loss is clearly above the lowest so far. If the training loss stays above that of the untrained
model, nothing is memorised: the steps are too large. They may also be too large if the dev loss is clearly higher after
the first epoch than before it.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence

WINDOW = 32
"""The latest losses, of which the median is taken."""
LEAST = 8
"""Fewest steps for a median; before that the untrained model's loss is used."""
TIMES = 3.0
ABOVE = 2.0
"""Nats a token above the median."""
UNTRAINED = 0.5
"""Share of the untrained model's dev loss."""
NOISE_SHARE, NOISE = 0.01, 0.001
"""Share of a dev loss, and nats, within which another counts as equal."""


def highest_loss(before: Sequence[float], untrained: float) -> float:
    """The loss above which the next step is a spike.

    `before` are the losses of the latest steps, `untrained` the dev loss before training, in nats.
    """
    middle = usual_loss(before, untrained)
    return max(TIMES * middle, middle + ABOVE, UNTRAINED * untrained)


def usual_loss(before: Sequence[float], untrained: float) -> float:
    """What the loss of the next step is compared with: the median of those before it, or `untrained`."""
    return untrained if len(before) < LEAST else statistics.median(before[-WINDOW:])


def surely_above(loss: float, other: float) -> bool:
    """Whether a dev loss is above another by more than noise."""
    return loss > other + max(NOISE_SHARE * other, NOISE)


def overfits(train_losses: Sequence[float], dev_losses: Sequence[float]) -> bool:
    """Whether the latest epoch overfits. `dev_losses` begin with the untrained model's, `train_losses` with those of
    the first epoch."""
    *before, latest = train_losses
    falls = latest < min(before, default=-float("inf")) and latest < dev_losses[0]
    return falls and surely_above(dev_losses[-1], min(dev_losses))


def rises_at_once(dev_losses: Sequence[float]) -> bool:
    """Whether the first epoch made the dev loss clearly worse than the untrained model's, the first of `dev_losses`."""
    return len(dev_losses) > 1 and surely_above(dev_losses[1], dev_losses[0])

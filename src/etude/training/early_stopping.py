"""Signs of a failing training run: losses that rise and stay high, and overfitting.

A step is suspicious if three conditions are true: its loss is above three times the median loss of
the steps before it, above that median by two nats, and above half the untrained model's dev loss.
The first condition matters while losses are high, the second near zero. The third matters if the
answers are hard for the untrained model and one wrong row of a batch has a large share. In the
first steps, the untrained model's dev loss replaces the median. Some rows are hard for any model.
Therefore a suspicious loss counts as risen only if it is also half a nat above the loss of the best
weights so far on the same rows; at first, these are the untrained weights. A run diverges if the
losses of four consecutive steps have risen.

An epoch overfits if two conditions are true: its training loss is lower than in every earlier epoch
(at least one) and lower than the untrained model's dev loss, and its dev loss is clearly above the
lowest so far. A training loss that stays above the untrained model's means that steps are too
large, not that rows are memorised. A dev loss that is clearly higher after the first epoch than
before it may mean the same.
"""

import statistics
from collections.abc import Sequence

WINDOW = 32
"""The number of latest losses whose median is the typical loss."""
MIN_STEPS = 8
"""The fewest steps for a median. Before that, the untrained model's dev loss is used."""
SPIKE_FACTOR = 3.0
SPIKE_NATS = 2.0
"""Nats per token above the median."""
RISE_NATS = 0.5
"""Nats per token above the loss of the best weights so far on the same rows."""
LASTING_STEPS = 4
"""The number of consecutive steps with a risen loss that stops a run."""
UNTRAINED_SHARE = 0.5
"""Share of the untrained model's dev loss."""
NOISE_SHARE = 0.01
NOISE_NATS = 0.001
"""Two dev losses count as equal within this share of the loss and within this many nats."""


def spike_limit(losses: Sequence[float], untrained: float) -> float:
    """Compute the loss, in nats, above which the next step is suspicious.

    `losses` are the losses of the latest steps; `untrained` is the dev loss before training.
    """
    typical = untrained if len(losses) < MIN_STEPS else statistics.median(losses[-WINDOW:])
    return max(SPIKE_FACTOR * typical, typical + SPIKE_NATS, UNTRAINED_SHARE * untrained)


def is_clearly_above(loss: float, other: float) -> bool:
    """Whether a dev loss is above another by more than noise."""
    return loss > other + max(NOISE_SHARE * other, NOISE_NATS)


def is_overfitting(train_losses: Sequence[float], dev_losses: Sequence[float]) -> bool:
    """Whether the latest epoch overfits. `dev_losses` begin with the untrained model's,
    `train_losses` with the first epoch's.
    """
    *earlier, latest = train_losses
    # The model memorises rows only if the training loss still falls.
    has_fallen = latest < min(earlier, default=-float("inf")) and latest < dev_losses[0]
    return has_fallen and is_clearly_above(dev_losses[-1], min(dev_losses))


def has_risen_at_once(dev_losses: Sequence[float]) -> bool:
    """Whether the dev loss is clearly worse after the first epoch than for the untrained model,
    which is the first of `dev_losses`.
    """
    return len(dev_losses) > 1 and is_clearly_above(dev_losses[1], dev_losses[0])

"""Signs that a training run goes wrong: losses that rise and stay high, and overfitting.

A step is suspicious if its loss is above three times the median of the steps before it, above that median by two nats,
and above half the untrained model's dev loss. The first rule matters while losses are high, the second near zero, the
third if the untrained model finds the answers hard and one wrong row of a batch weighs much. In the first steps the
untrained model's dev loss replaces the median. A suspicious loss has risen if it is also half a nat above what the best
weights so far, at first the untrained model, lose on the same rows, since some rows are hard for any model. A run
diverges if the losses of four steps in a row have risen.

An epoch overfits if its training loss is lower than in every epoch before (at least one) and than the untrained model's
dev loss, while its dev loss is clearly above the lowest so far. A training loss that stays above that of the untrained
model means that steps are too large, not that rows are memorised. So may a dev loss that is clearly higher after the
first epoch than before it.
"""

import statistics
from collections.abc import Sequence

WINDOW = 32
"""Latest losses whose median is the typical loss."""
MIN_STEPS = 8
"""Fewest steps for a median; before that the untrained model's dev loss is used."""
SPIKE_FACTOR = 3.0
SPIKE_NATS = 2.0
"""Nats a token above the median."""
RISE_NATS = 0.5
"""Nats a token above the loss of the best weights so far on the same rows."""
LASTING_STEPS = 4
"""Steps in a row whose loss has risen that stop a run."""
UNTRAINED_SHARE = 0.5
"""Share of the untrained model's dev loss."""
NOISE_SHARE, NOISE_NATS = 0.01, 0.001
"""Share of a dev loss, and nats, within which two dev losses count as equal."""


def spike_limit(losses: Sequence[float], untrained: float) -> float:
    """The loss above which the next step is suspicious, in nats.

    `losses` are those of the latest steps, `untrained` is the dev loss before training.
    """
    typical = typical_loss(losses, untrained)
    return max(SPIKE_FACTOR * typical, typical + SPIKE_NATS, UNTRAINED_SHARE * untrained)


def typical_loss(losses: Sequence[float], untrained: float) -> float:
    """The loss that the next one is compared with: the median of the latest, or `untrained` if they are too few."""
    return untrained if len(losses) < MIN_STEPS else statistics.median(losses[-WINDOW:])


def is_clearly_above(loss: float, other: float) -> bool:
    """Whether a dev loss is above another by more than noise."""
    return loss > other + max(NOISE_SHARE * other, NOISE_NATS)


def is_overfitting(train_losses: Sequence[float], dev_losses: Sequence[float]) -> bool:
    """Whether the latest epoch overfits. `dev_losses` begin with the untrained model's, `train_losses` with those of
    the first epoch."""
    *earlier, latest = train_losses
    # Rows are being memorised only if the training loss still falls.
    has_fallen = latest < min(earlier, default=-float("inf")) and latest < dev_losses[0]
    return has_fallen and is_clearly_above(dev_losses[-1], min(dev_losses))


def has_risen_at_once(dev_losses: Sequence[float]) -> bool:
    """Whether the first epoch made the dev loss clearly worse than the untrained model's, the first of `dev_losses`."""
    return len(dev_losses) > 1 and is_clearly_above(dev_losses[1], dev_losses[0])

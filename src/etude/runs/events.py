"""What a comparison tells while it runs. A front end takes these values and shows them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from etude.evaluate import Scored
from etude.methods.fit_context import Trial
from etude.types import Estimate, Side


@dataclass(frozen=True)
class Opened:
    """The run has its folder."""

    folder: Path


@dataclass(frozen=True)
class Said:
    """A sentence for the user."""

    text: str


@dataclass(frozen=True)
class Began:
    """A method is being fitted, or is answering the test."""

    method: str
    side: Side


@dataclass(frozen=True)
class Answered:
    """A batch of rows was answered and scored."""

    method: str
    rows: Sequence[Scored]
    """Empty for rows of the test, which nobody should read."""
    done: int
    """Rows that this candidate, or this method on the test, has answered so far."""
    total: int
    seconds_left: float
    """For the rows from `done` to `total`, at the pace of those answered; training is no part of it."""
    trial: Trial | None = None
    """Which of the method's candidates answers dev; None on the test."""


@dataclass(frozen=True)
class Prepared:
    """What a training run will learn and how, told before its first step."""

    learned: Sequence[str]
    """What is learned and what is only read, in sentences."""
    settings: Sequence[tuple[str, object, str]]
    """(setting, value, why) of all that was chosen or set by the user."""
    defaults: Mapping[str, object]
    """All other settings."""


@dataclass(frozen=True)
class Trained:
    """A step of training is done."""

    method: str
    step: int
    steps: int
    """Steps of all epochs."""
    epoch: int
    epochs: int
    loss: float
    tokens_per_second: float
    seconds_left: float
    memory: int
    """Bytes at the highest point so far; 0 where unknown."""


@dataclass(frozen=True)
class EpochEnded:
    """An epoch of training is measured on dev; epoch 0 is the untrained model."""

    method: str
    epoch: int
    epochs: int
    train_loss: float | None
    """Mean loss of the epoch's steps; None for epoch 0."""
    dev_loss: float
    score: Estimate | None
    """The metric on dev, where the task asks for it."""
    best: bool
    """Whether the epoch is the best so far."""
    overfits: bool


@dataclass(frozen=True)
class Ended:
    """A method has its result on one side; `sample` is one of the answers behind it,
    on dev only."""

    method: str
    side: Side
    estimate: Estimate
    form: Estimate | None
    """Share of answers that keep the contract; None without a contract."""
    check: Estimate | None
    """Mean of what the check said; None without a check."""
    seconds: float
    sample: Scored | None
    num_rows: int
    """Rows that were answered; the estimate's n is lower where rows of one group count as one."""
    of_rows: int
    """Rows of the side, of which the plan may have answered a part."""


Event = Opened | Said | Began | Answered | Prepared | Trained | EpochEnded | Ended
OnEvent = Callable[[Event], None]

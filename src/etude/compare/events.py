"""What a comparison tells while it runs. A front end takes these values and shows them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from etude.evaluate import Scored
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


@dataclass(frozen=True)
class Trained:
    """A step of training is done."""

    method: str
    step: int
    steps: int
    loss: float
    tokens_per_second: float
    seconds_left: float


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


Event = Opened | Said | Began | Answered | Trained | Ended
OnEvent = Callable[[Event], None]

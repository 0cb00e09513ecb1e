"""The settings of a training run (`TrainConfig`), their defaults (`auto_config` chooses what the
user does not set), and its output folders (`Output`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from etude.base.issues import suggest_instead
from etude.errors import InputError, Issue, quote_setting
from etude.task import ROW_TOKENS
from etude.task.settings import SETTINGS, suggest_setting

if TYPE_CHECKING:
    from etude.training.time_box import TimeBox

VERY_FEW_ROWS = 128
FEW_ROWS = 300
MANY_ROWS = 2000
SMALLEST_BATCH = 2
SMALL_BATCH = 4
"""Rows of a step with very few long rows, and with few rows. After 88 rows of Luma, 88% of answers
are right with 2 rows a step and 47% with 4, in the same time. Rows of 60 tokens take half as long
again with 2 rows a step.
"""
LONG_ROW = 150
"""Tokens of a long row."""
TARGET_STEPS = 500
LONG_EPOCH = 1500
"""With at least this many steps, one epoch is enough."""
MIN_EPOCHS = 2
MAX_EPOCHS = 5
"""The minimum of epochs if an epoch is shorter than LONG_EPOCH."""
SCALE = 2.0
"""The factor of the low-rank product. The learning rate was measured with it."""
MEASURED_RATE = 2e-3
MEASURED_PARAMETERS = 135e6


@dataclass(frozen=True, slots=True)
class TrainConfig:
    """All settings of one training run. Raises InputError listing invalid settings;
    task/settings.py has the rules.
    """

    rank: int = 16
    """The rank of the adapter of each matrix."""
    alpha: float = 32.0
    """The low-rank product is multiplied by alpha / rank."""
    dropout: float = 0.0
    """Share of the adapter's inputs that are set to zero in training. Above 0, adapters are not
    folded, which is slower.
    """
    targets: tuple[str, ...] = ()
    """The last part of the names of the matrices to adapt, e.g. "q_proj"; empty: all matrices of
    the decoder layers.
    """
    learning_rate: float = 2e-3
    """The highest learning rate, reached after warm-up. It then falls linearly; zero would be
    reached one step after the last step.
    """
    warmup: float = 0.06
    """Share of all steps in which the learning rate rises linearly to its highest value; at least
    one step.
    """
    epochs: int = 3
    """How many times every row is trained on, unless `patience` ends the run before."""
    patience: int = 2
    """The run stops after this many consecutive epochs without a better dev loss."""
    rows_per_step: int = 8
    """The rows of one global batch, which is one step of the optimizer."""
    micro_tokens: int = 2048
    """Maximum of tokens, including padding, that are computed at once. It limits memory and changes
    results only by rounding.
    """
    max_tokens: int = ROW_TOKENS
    """A longer row is an error; rows are never cut."""
    stop_on_spike: bool = True
    """Whether a step whose loss is a spike (early_stopping.py) stops the run."""
    seed: int = 0
    """Determines the order of rows, the initial weights of adapters, and dropout."""
    reasons: Mapping[str, str] = field(default_factory=dict, compare=False)
    """Setting -> a sentence with the reason for its value."""

    def __post_init__(self) -> None:
        # Values from a task file can be texts, such as "3e-4".
        settings = _parse_settings(self.to_dict())
        for setting in fields(self):
            if setting.name in _SETTING_NAMES:
                object.__setattr__(self, setting.name, settings.get(setting.name, setting.default))

    def to_dict(self) -> dict[str, Any]:
        """All settings by name, without the reasons."""
        return {name: getattr(self, name) for name in _SETTING_NAMES}

    @property
    def scale(self) -> float:
        """The factor of the adapters' low-rank product."""
        return self.alpha / self.rank

    @property
    def defaults(self) -> dict[str, Any]:
        """The settings neither chosen nor set by the user."""
        return {name: value for name, value in self.to_dict().items() if name not in self.reasons}


_SETTING_NAMES = tuple(setting.name for setting in fields(TrainConfig) if setting.name != "reasons")


def auto_config(
    num_rows: int,
    num_parameters: int,
    overrides: Mapping[str, Any] | None = None,
    row_tokens: float = 0.0,
) -> TrainConfig:
    """Choose settings for `num_rows` training rows of `row_tokens` on average, and a base of
    `num_parameters`.

    `overrides` (setting -> value) replace the choice, and other settings are derived from them.
    Raises InputError listing all unknown or invalid overrides. The constants were measured on
    SmolLM2-135M with some hundred rows; for larger models they are rules of thumb.
    """
    user_settings = _parse_settings(overrides or {})
    proposals = {"rows_per_step": _choose_rows_per_step(num_rows, row_tokens)}

    def get(name: str) -> Any:
        return user_settings.get(name, proposals[name][0])

    proposals["epochs"] = _choose_epochs(max(1, -(-num_rows // get("rows_per_step"))))
    large = num_rows >= MANY_ROWS
    reason = (
        "many rows need a higher rank, which costs little"
        if large
        else "16 was better than 8 with 96 rows"
    )
    proposals["rank"] = (32 if large else 16), f"{num_rows:,} training rows; {reason}"
    reason = f"{SCALE:g} times the rank, so the same learning rate fits every rank"
    proposals["alpha"] = SCALE * get("rank"), reason
    proposals["learning_rate"] = _choose_learning_rate(num_parameters, get("rows_per_step"))
    reasons = {name: reason for name, (_, reason) in proposals.items()}
    reasons |= dict.fromkeys(user_settings, "set by the user")
    values = {name: value for name, (value, _) in proposals.items()}
    return replace(TrainConfig(), **(values | user_settings), reasons=reasons)


def _choose_rows_per_step(num_rows: int, row_tokens: float) -> tuple[Any, str]:
    if num_rows < VERY_FEW_ROWS and row_tokens >= LONG_ROW:
        return (
            SMALLEST_BATCH,
            f"very few, long rows to train on ({num_rows:,}), so a small batch to get enough steps",
        )
    if num_rows < FEW_ROWS:
        return (
            SMALL_BATCH,
            f"few rows to train on ({num_rows:,}), so a small batch to get enough steps",
        )
    if num_rows < MANY_ROWS:
        return 8, f"the usual batch size for {num_rows:,} training rows"
    return 16, f"many training rows ({num_rows:,}), so a large batch for less noisy steps"


def _choose_epochs(steps: int) -> tuple[int, str]:
    """Choose the epochs for about TARGET_STEPS steps, within limits, if an epoch has `steps`
    steps.
    """
    length = f"an epoch is {steps:,} step{'s' * (steps > 1)}"
    if steps >= LONG_EPOCH:
        return 1, f"{length}, and one epoch with {LONG_EPOCH:,} steps or more is enough"
    epochs = -(-TARGET_STEPS // steps)
    goal = f"{length}, and about {TARGET_STEPS} steps are enough to learn how answers look"
    if epochs > MAX_EPOCHS:
        return MAX_EPOCHS, f"{goal}, but more than {MAX_EPOCHS} epochs run only if you set epochs"
    if epochs < MIN_EPOCHS:
        return (
            MIN_EPOCHS,
            f"{goal}, but at least {MIN_EPOCHS} epochs run; the weights of the best epoch are "
            "saved",
        )
    return epochs, f"{goal}; the weights of the best epoch are saved"


def _choose_learning_rate(num_parameters: int, rows_per_step: int) -> tuple[float, str]:
    scaled = MEASURED_RATE * math.sqrt(MEASURED_PARAMETERS / num_parameters)
    rate = float(f"{min(MEASURED_RATE, max(5e-5, scaled)):.1g}")
    if is_small := rows_per_step < SMALL_BATCH:
        rate = float(f"{rate * math.sqrt(rows_per_step / SMALL_BATCH):.2g}")
    return rate, (
        f"{num_parameters / 1e6:.0f} million parameters; {MEASURED_RATE:g} was best for 135 "
        "million, and the rate falls with the square root of the "
        f"size{' and of small batches' * is_small}"
    )


def _parse_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Parse settings to their types; leave out settings whose value means the default.

    Raises InputError listing all settings that are unknown or invalid.
    """
    issues = []
    for name, value in settings.items():
        location = f"train: {name}"
        if name in SETTINGS:
            issue = SETTINGS[name].check(location, name, value)
        else:
            remedy = suggest_setting(name, value) or suggest_instead(name, SETTINGS)
            issue = Issue(
                location, "this training setting does not exist", quote_setting(value), remedy
            )
        issues += [issue] if issue else []
    if issues:
        raise InputError(issues)
    parsed = {name: SETTINGS[name].parse(value) for name, value in settings.items()}
    return {name: value for name, value in parsed.items() if value is not None}


Log = Callable[[Mapping[str, Any]], None]
"""Receives each line of the training log, as JSON values."""
OnEval = Callable[[], Mapping[str, Any]]
"""Called after each dev loss, with the adapters in the model and the model in eval mode. The values
that it returns are added to the epoch's line. If it returns a `score`, the best epoch has the
highest score, and the lowest dev loss if scores are equal. Otherwise the best epoch has the lowest
dev loss. Among equal epochs, the first is the best.
"""


@dataclass(frozen=True, slots=True)
class EarlierTraining:
    """A shorter training on the same rows. A longer one goes on from its weights, with a schedule
    of its own. Without values, there was none.
    """

    adapter: Path | None = None
    steps: int = 0
    """Its steps. Their rows are the first ones in the order of rows, and are not repeated."""
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Output:
    """The folders of a run and the functions that it calls."""

    checkpoint: Path
    """Folder of the checkpoint. The caller removes it when it no longer needs it."""
    adapter: Path
    """Folder of the result: an adapter in PEFT's format."""
    log: Log = lambda event: None
    on_eval: OnEval = dict
    is_stopped: Callable[[], bool] = lambda: False
    """Whether the user has asked to end now. Called after each step: if so, the dev loss is
    measured and the best weights so far are the result.
    """
    box: TimeBox | None = None
    """Limits the seconds. The dev loss is then measured up to three times in the box, and
    `patience` and `is_stopped` are ignored.
    """
    earlier: EarlierTraining = EarlierTraining()
    """The training that this one continues; only in a box."""
    base_model: str = ""
    """The name of the base that is written into the adapter; it has no other use."""
    every_step: bool = False
    """Whether to write a checkpoint after every step, even if that is slow; otherwise
    checkpoints.py decides.
    """

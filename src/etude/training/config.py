"""What a training run is given: its settings (`TrainConfig`, and `auto_config`, which chooses those that the user does
not set), and where it writes (`Output`)."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from etude.base.issues import suggest_instead
from etude.errors import InputError, Issue, quote_setting
from etude.task import ROW_TOKENS
from etude.task.settings import (
    ALL,
    LORA_ONLY,
    SETTINGS,
    DataParallel,
    Schedule,
    Weights,
    find_conflicts,
    suggest_setting,
)

if TYPE_CHECKING:
    from etude.training.time_box import TimeBox

FEW_ROWS = 300
MANY_ROWS = 2000
TARGET_STEPS = 500
LONG_EPOCH = 1500
"""Steps from which one epoch is enough."""
MIN_EPOCHS, MAX_EPOCHS = 2, 5
"""If an epoch is shorter than that."""
SCALE = 2.0
"""What the low-rank product is multiplied by; the learning rate was measured with it."""
MEASURED_RATE = 2e-3
MEASURED_PARAMETERS = 135e6
FULL_RATE_DIVISOR = 10
"""How many times smaller the learning rate is if all weights are learned; Schulman et al. 2025 ("LoRA Without
Regret") find the best rate of LoRA about ten times that of full tuning."""


@dataclass(frozen=True, slots=True)
class TrainConfig:
    """Every setting of one training run. Raises InputError listing impossible ones; task/settings.py has the rules."""

    weights: Weights = "lora"
    """What is trained: adapters over frozen weights, or all weights of the model."""
    rank: int = 16
    """Columns of the adapter's narrow side, for each adapted matrix."""
    alpha: float = 32.0
    """The low-rank product is multiplied by alpha / rank (with `rslora`: alpha / sqrt(rank))."""
    rslora: bool = False
    """Whether the scale follows the root of the rank (Kalajdzievski 2023, arXiv 2312.03732)."""
    dropout: float = 0.0
    """Share of the adapter's inputs set to zero in training; above 0 the slower unfolded path runs."""
    targets: tuple[str, ...] = ()
    """Last names of the matrices to adapt, e.g. "q_proj"; empty: all of the decoder layers."""
    lora_layers: str = ALL
    """Decoder layers that are adapted: "all", or "top-N", the N nearest to the output; nothing below them is trained
    and no gradient is computed there."""
    learning_rate: float = 2e-3
    """The highest one, reached after warm-up."""
    schedule: Schedule = "linear"
    """How the learning rate falls from its highest value; it would be zero one step after the last."""
    warmup: float = 0.06
    """Share of all steps in which the learning rate rises evenly to its highest value; one step at least."""
    epochs: int = 3
    """How many times every row is trained on, unless `patience` ends the run before."""
    patience: int = 2
    """Number of epochs in a row without a better dev loss after which the run stops."""
    rows_per_step: int = 8
    """Rows of one global batch: one step of the optimizer."""
    micro_tokens: int = 2048
    """Maximum of tokens, padding included, computed at once; limits memory, changes results only by rounding."""
    max_tokens: int = ROW_TOKENS
    """A longer row is refused, never cut."""
    clip: float = 1.0
    """Highest norm of the whole gradient."""
    weight_decay: float = 0.0
    """AdamW's; share of a weight that each step takes away, at a learning rate of 1."""
    betas: tuple[float, float] = (0.9, 0.999)
    """AdamW's two decay rates; 0.95 instead of 0.999 made the dev loss 2% worse."""
    stop_on_spike: bool = True
    """Whether a step whose loss is a spike (early_stopping.py) stops the run."""
    data_parallel: DataParallel = "ddp"
    """How several processes hold the model: "ddp", each the whole; "fsdp", each a part (shards.py). A single process
    always holds the whole."""
    seed: int = 0
    """Fixes the order of rows, the initial weights of adapters, and dropout."""
    reasons: Mapping[str, str] = field(default_factory=dict, compare=False)
    """Setting -> why it has its value, in a sentence."""

    def __post_init__(self) -> None:
        # Values from a task file may be texts, such as "3e-4".
        settings = _parse_settings(self.to_dict())
        for setting in fields(self):
            if setting.name in _SETTING_NAMES:
                object.__setattr__(self, setting.name, settings.get(setting.name, setting.default))

    def to_dict(self) -> dict[str, Any]:
        """All settings by name, without the reasons."""
        return {name: getattr(self, name) for name in _SETTING_NAMES}

    @property
    def scale(self) -> float:
        """What the adapters' low-rank product is multiplied by."""
        return self.alpha / (math.sqrt(self.rank) if self.rslora else self.rank)

    @property
    def defaults(self) -> dict[str, Any]:
        """Settings that were neither chosen nor set; without those of adapters if all weights are learned."""
        unused = (*self.reasons, *(LORA_ONLY if self.weights == "full" else ()))
        return {name: value for name, value in self.to_dict().items() if name not in unused}


_SETTING_NAMES = tuple(setting.name for setting in fields(TrainConfig) if setting.name != "reasons")


def auto_config(
    num_rows: int, num_parameters: int, overrides: Mapping[str, Any] | None = None
) -> TrainConfig:
    """Choose settings for `num_rows` training rows and a base of `num_parameters`.

    `overrides` (setting -> value) win, also over what other settings are derived from. Raises InputError listing all
    unknown or impossible overrides. The constants were measured on SmolLM2-135M with some hundred rows; for larger
    models they are rules of thumb.
    """
    overrides = overrides or {}
    user_settings = _parse_settings(overrides, find_conflicts(overrides))
    proposals = {"rows_per_step": _choose_rows_per_step(num_rows)}

    def get(name: str) -> Any:
        return user_settings.get(name, proposals[name][0])

    proposals["epochs"] = _choose_epochs(max(1, -(-num_rows // get("rows_per_step"))))
    is_full = user_settings.get("weights") == "full"
    if not is_full:
        large = num_rows >= MANY_ROWS
        reason = "many rows hold more to learn, and rank costs little" if large else "16 beat 8 on 96 rows"
        proposals["rank"] = (32 if large else 16), f"{num_rows:,} training rows; {reason}"
        rslora = user_settings.get("rslora", False)
        base = math.sqrt(get("rank")) if rslora else get("rank")
        reason = (
            f"{SCALE:g} times {'the root of ' * rslora}the rank, so that the learning rate fits every rank"
        )
        proposals["alpha"] = SCALE * base, reason
    proposals["learning_rate"] = _choose_learning_rate(num_parameters, is_full)
    reasons = {name: reason for name, (_, reason) in proposals.items()}
    reasons |= dict.fromkeys(user_settings, "set by the user")
    values = {name: value for name, (value, _) in proposals.items()}
    return replace(TrainConfig(), **(values | user_settings), reasons=reasons)


def _choose_rows_per_step(num_rows: int) -> tuple[Any, str]:
    if num_rows < FEW_ROWS:
        return 4, f"few training rows ({num_rows:,}), so a small batch to get enough steps"
    if num_rows < MANY_ROWS:
        return 8, f"the usual batch for {num_rows:,} training rows"
    return 16, f"many training rows ({num_rows:,}), so a large batch for less noisy steps"


def _choose_epochs(steps: int) -> tuple[int, str]:
    """Epochs that make about TARGET_STEPS steps, within limits, for epochs of `steps` steps."""
    length = f"an epoch is {steps:,} step{'s' * (steps > 1)}"
    if steps >= LONG_EPOCH:
        return 1, f"{length}, and one epoch of {LONG_EPOCH:,} or more is enough"
    epochs = -(-TARGET_STEPS // steps)
    goal = f"{length}; about {TARGET_STEPS} steps are enough to learn how answers look"
    if epochs > MAX_EPOCHS:
        return MAX_EPOCHS, f"{goal}, but more than {MAX_EPOCHS} epochs are run only if you set them"
    if epochs < MIN_EPOCHS:
        return MIN_EPOCHS, f"{goal}, but at least {MIN_EPOCHS} epochs are run, and the better one is kept"
    return epochs, f"{goal}, and the best epoch is kept"


def _choose_learning_rate(num_parameters: int, full: bool) -> tuple[float, str]:
    scaled = MEASURED_RATE * math.sqrt(MEASURED_PARAMETERS / num_parameters)
    rate = float(f"{min(MEASURED_RATE, max(5e-5, scaled)):.1g}")
    if full:
        return rate / FULL_RATE_DIVISOR, (
            f"a {FULL_RATE_DIVISOR:g}th of the {rate:g} for adapters: all weights move at once, and a large step would "
            "undo what the model knows"
        )
    return rate, (
        f"{num_parameters / 1e6:.0f} million parameters; {MEASURED_RATE:g} was best at 135 million, "
        "and it falls with the square root of the size"
    )


def _parse_settings(settings: Mapping[str, Any], more_issues: Iterable[Issue] = ()) -> dict[str, Any]:
    """Settings by name, each in its own type, without those whose value means the same as leaving them out.

    Raises InputError listing `more_issues` and all settings that are unknown or impossible.
    """
    issues = []
    for name, value in settings.items():
        location = f"train: {name}"
        if name in SETTINGS:
            issue = SETTINGS[name].check(location, name, value)
        else:
            remedy = suggest_setting(name, value) or suggest_instead(name, SETTINGS)
            issue = Issue(location, "there is no such training setting", quote_setting(value), remedy)
        issues += [issue] if issue else []
    if issues := [*issues, *more_issues]:
        raise InputError(issues)
    parsed = {name: SETTINGS[name].parse(value) for name, value in settings.items()}
    return {name: value for name, value in parsed.items() if value is not None}


Log = Callable[[Mapping[str, Any]], None]
"""Receives each line of the training log, as JSON values."""
OnEval = Callable[[], Mapping[str, Any]]
"""Called after each dev loss, with the adapters in the model and the model in eval mode. What it returns is added to
the epoch's line. The best epoch has the highest `score` if one is returned (ties: the lowest dev loss), else the lowest
dev loss; of equal epochs the first is kept."""


@dataclass(frozen=True, slots=True)
class Output:
    """The folders of a run, and the functions that it calls."""

    checkpoint: Path
    """Folder of the checkpoint; the caller removes it once the result is safe."""
    adapter: Path
    """Folder of the result: an adapter in PEFT's format, or for all weights config.json and model.safetensors."""
    log: Log = lambda event: None
    on_eval: OnEval = dict
    has_time: Callable[[float], bool] = lambda seconds: True
    """Whether there is time for one more epoch, given the seconds it will take; called after each epoch but the last.
    Only for a single process."""
    box: TimeBox | None = None
    """Limits the seconds; then dev losses come about every third of it, and `patience` and `has_time` do not count."""
    base_model: str = ""
    """Written into the adapter as the base's name; nothing is looked up by it."""
    every_step: bool = False
    """Whether to write a checkpoint after every step, whatever that costs; else checkpoints.py decides."""

"""The settings of a training run: TrainConfig, and the automatic values of those that the user does not set.

`auto_config` follows the data and the model, and gives a reason for each value.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

from etude.base.remedies import instead
from etude.errors import InputError, Issue, quote_setting
from etude.task import ROW_TOKENS
from etude.task.foreign import meant
from etude.task.settings import ALL, LORA_ONLY, SETTINGS, DataParallel, Schedule, Weights, at_odds

FEW_ROWS = 300
MANY_ROWS = 2000
WANTED_STEPS = 500
LONG_EPOCH = 1500
"""Steps from which one epoch is enough."""
LEAST_EPOCHS, MOST_EPOCHS = 2, 5
"""Of shorter epochs."""
SCALE = 2.0
"""What the low-rank product is multiplied by; the learning rate was measured with it."""
MEASURED_RATE = 2e-3
MEASURED_PARAMETERS = 135e6
FULL_SHARE = 10
"""How many times smaller the learning rate is if all weights are learned; Schulman et al. 2025 ("LoRA Without
Regret") find the best rate of LoRA about ten times that of full tuning."""


@dataclass(frozen=True, slots=True)
class TrainConfig:
    """Every setting of one training run. Raises InputError listing the impossible ones: task/settings.py says what each
    may be."""

    weights: Weights = "lora"
    """What is learned: adapters beside frozen weights, or all weights of the model."""
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
    """Decoder layers that are adapted: "all", or "top-N", the N nearest to the answer; below them nothing is
    learned and no gradient computed."""
    learning_rate: float = 2e-3
    """The highest one, reached after warm-up."""
    schedule: Schedule = "linear"
    """How the learning rate falls from its highest value; one step after the last it would be zero."""
    warmup: float = 0.06
    """Share of all steps in which the learning rate rises evenly to its highest value; one step at least."""
    epochs: int = 3
    """Times that every row is learned, unless `patience` ends the run before."""
    patience: int = 2
    """Stop after so many epochs in a row without a better dev loss."""
    rows_per_step: int = 8
    """Rows of one global batch: one step of the optimizer."""
    micro_tokens: int = 2048
    """Most tokens, padding included, that are computed at once; limits memory, changes results only by rounding."""
    max_tokens: int = ROW_TOKENS
    """A longer row is refused, never cut."""
    clip: float = 1.0
    """Highest norm of the whole gradient."""
    weight_decay: float = 0.0
    """AdamW's; share of a weight that each step takes away, at a learning rate of 1."""
    betas: tuple[float, float] = (0.9, 0.999)
    """AdamW's two decay rates; 0.95 in place of 0.999 made the dev loss 2% worse."""
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
        taken = _taken(self.values())
        for each in fields(self):
            if each.name != "reasons":
                object.__setattr__(self, each.name, taken.get(each.name, each.default))

    def values(self) -> dict[str, Any]:
        """All settings by name, without the reasons."""
        return {each.name: getattr(self, each.name) for each in fields(self) if each.name != "reasons"}

    @property
    def scale(self) -> float:
        """What the adapters' low-rank product is multiplied by."""
        return self.alpha / (math.sqrt(self.rank) if self.rslora else self.rank)

    @property
    def defaults(self) -> dict[str, Any]:
        """Settings that were neither chosen nor set; without those of adapters if all weights are learned."""
        unused = (*self.reasons, *(LORA_ONLY if self.weights == "full" else ()))
        return {name: value for name, value in self.values().items() if name not in unused}


def auto_config(
    num_rows: int, num_parameters: int, overrides: Mapping[str, Any] | None = None
) -> TrainConfig:
    """Settings for `num_rows` training rows and a base of `num_parameters`.

    `overrides` (setting -> value) win, also over what other settings are derived from.
    Raises InputError on unknown or impossible overrides, all together.
    The constants were measured on SmolLM2-135M with some hundred rows; for larger models they are a rule
    of thumb.
    """
    overrides = overrides or {}
    given = _taken(overrides, at_odds(overrides))
    chosen: dict[str, tuple[Any, str]] = {}
    rows_per_step = _take(chosen, given, "rows_per_step", _rows_per_step(num_rows))
    steps = max(1, -(-num_rows // rows_per_step))
    _take(chosen, given, "epochs", _epochs(steps))
    if given.get("weights") == "full":
        _take(chosen, given, "learning_rate", _full_learning_rate(num_parameters))
    else:
        rank = _take(chosen, given, "rank", _rank(num_rows))
        _take(chosen, given, "alpha", _alpha(rank, given.get("rslora", False)))
        _take(chosen, given, "learning_rate", _learning_rate(num_parameters))
    reasons = {name: why for name, (_, why) in chosen.items()}
    reasons |= {name: "set by the user" for name in given}
    values = {name: value for name, (value, _) in chosen.items()}
    return replace(TrainConfig(), **(values | given), reasons=reasons)


def _rows_per_step(num_rows: int) -> tuple[int, str]:
    rows = 4 if num_rows < FEW_ROWS else 8 if num_rows < MANY_ROWS else 16
    why = {
        4: "few, so small steps, that there are more of them",
        8: "enough for steps of a usual size",
        16: "many, so large and calmer steps",
    }
    return rows, f"{num_rows:,} training rows are {why[rows]}"


def _epochs(steps: int) -> tuple[int, str]:
    """The epochs that WANTED_STEPS take, within limits, and the limit that applied."""
    each = f"an epoch is {steps:,} step{'s' * (steps > 1)}"
    if steps >= LONG_EPOCH:
        return 1, f"{each}, and one of {LONG_EPOCH:,} or more is enough"
    wanted = -(-WANTED_STEPS // steps)
    enough = f"{each}; about {WANTED_STEPS} steps are enough to learn the form"
    if wanted > MOST_EPOCHS:
        return MOST_EPOCHS, f"{enough}, but more than {MOST_EPOCHS} epochs are run only when you set them"
    if wanted < LEAST_EPOCHS:
        return (
            LEAST_EPOCHS,
            f"{enough}, and {LEAST_EPOCHS} epochs are the least, so that the better one is kept",
        )
    return wanted, f"{enough}, and the best epoch is kept"


def _rank(num_rows: int) -> tuple[int, str]:
    rank = 16 if num_rows < MANY_ROWS else 32
    why = "16 beat 8 on as few as 96" if rank == 16 else "many rows hold more to learn, and rank costs little"
    return rank, f"{num_rows:,} training rows: {why}"


def _alpha(rank: int, rslora: bool) -> tuple[float, str]:
    """The alpha that multiplies the low-rank product by SCALE."""
    whose = "the root of the rank" if rslora else "the rank"
    alpha = SCALE * (math.sqrt(rank) if rslora else rank)
    return alpha, f"{SCALE:g} times {whose}, so that the learning rate fits every rank"


def _learning_rate(num_parameters: int) -> tuple[float, str]:
    scaled = MEASURED_RATE * math.sqrt(MEASURED_PARAMETERS / num_parameters)
    rate = float(f"{min(MEASURED_RATE, max(5e-5, scaled)):.1g}")
    return rate, (
        f"{num_parameters / 1e6:.0f} million parameters; {MEASURED_RATE:g} was best at 135 million, "
        "and larger models want less, by the square root of their size"
    )


def _full_learning_rate(num_parameters: int) -> tuple[float, str]:
    rate, _ = _learning_rate(num_parameters)
    return rate / FULL_SHARE, (
        f"a {FULL_SHARE:g}th of the {rate:g} that adapters take: all weights move at once, and a large step "
        "would undo what they know"
    )


def _take(
    chosen: dict[str, tuple[Any, str]], given: Mapping[str, Any], name: str, proposal: tuple[Any, str]
) -> Any:
    """Record the proposal with its reason; return the user's value, else the proposal."""
    chosen[name] = proposal
    return given.get(name, proposal[0])


def _taken(given: Mapping[str, Any], more: Iterable[Issue] = ()) -> dict[str, Any]:
    """Settings by name, each in its own type, without those whose value means the same as leaving them out. Raises
    InputError listing all that are unknown or impossible, and `more` faults."""
    faults = [fault for name, value in given.items() if (fault := _fault(name, value))]
    if faults := [*faults, *more]:
        raise InputError(faults)
    taken = {name: SETTINGS[name].take(value) for name, value in given.items()}
    return {name: value for name, value in taken.items() if value is not None}


def _fault(name: str, value: Any) -> Issue | None:
    where = f"train: {name}"
    if name not in SETTINGS:
        return Issue(
            where,
            "there is no such training setting",
            quote_setting(value),
            meant(name, value) or instead(name, SETTINGS),
        )
    return SETTINGS[name].fault(where, name, value)

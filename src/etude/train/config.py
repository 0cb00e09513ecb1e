"""What a training run is told: TrainConfig, and the values it takes when the user names none.

`auto_config` scales with the data and the model and gives each value its reason in a sentence.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal, get_args

from rapidfuzz import process

from etude.errors import Fault, InputError, shown
from etude.task import ROW_TOKENS
from etude.train.layers import ALL, TOP

Schedule = Literal["linear", "cosine"]
Weights = Literal["lora", "full"]
DataParallel = Literal["ddp", "fsdp"]

FEW_ROWS = 300
MANY_ROWS = 2000
WANTED_STEPS = 500
LONG_EPOCH = 1500
"""Steps from which one epoch is enough."""
MEASURED_RATE = 2e-3
MEASURED_PARAMETERS = 135e6
FULL_SHARE = 10
"""How many times smaller the learning rate is where all weights are learned; Schulman et al. 2025 ("LoRA Without
Regret") find the best rate of LoRA about ten times that of full tuning."""
LORA_ONLY = ("rank", "alpha", "rslora", "dropout", "targets", "lora_layers", "hidden_cache")


@dataclass(frozen=True, slots=True)
class TrainConfig:
    """Every setting of one training run; plain values only."""

    weights: Weights = "lora"
    """What is learned: adapters beside frozen weights, or all weights of the model."""
    rank: int = 16
    """Columns of the adapter's narrow side, for each adapted matrix."""
    alpha: float = 32.0
    """The low-rank product is multiplied by alpha / rank (with `rslora`: alpha / sqrt(rank))."""
    rslora: bool = False
    dropout: float = 0.0
    """Share of the adapter's inputs set to zero in training; above 0 the slower unfolded path runs."""
    targets: tuple[str, ...] = ()
    """Last names of the matrices to adapt, e.g. "q_proj"; empty: all of the decoder layers."""
    lora_layers: str = ALL
    """Decoder layers that are adapted: "all", or "top-N", the N nearest to the answer; below them nothing is
    learned and no gradient computed."""
    hidden_cache: bool | None = None
    """Whether the hidden states below the lowest adapted layer are computed once and kept on disk (hidden.py);
    None: where `lora_layers` leaves layers out and there is more than one epoch."""
    learning_rate: float = 2e-3
    """The highest one, reached after warm-up."""
    schedule: Schedule = "linear"
    """How the learning rate falls from its highest value; a step behind the last one it would be zero."""
    warmup: float = 0.06
    """Share of all steps in which the learning rate rises in even parts to its highest; one step at least."""
    epochs: int = 3
    patience: int = 2
    """Stop after so many epochs in a row without a better dev loss."""
    rows_per_step: int = 8
    """Rows of one global batch: one step of the optimizer."""
    micro_tokens: int = 2048
    """At most this many tokens, padding included, are computed at once; bounds memory, changes no result
    beyond rounding."""
    max_tokens: int = ROW_TOKENS
    """A longer row is refused, never cut."""
    clip: float = 1.0
    """Highest norm of the whole gradient."""
    weight_decay: float = 0.0
    betas: tuple[float, float] = (0.9, 0.999)
    """AdamW's two decay rates; 0.95 in the place of 0.999 changed the dev loss by 2%, not for the better."""
    stop_on_spike: bool = True
    """Whether a step whose loss leaves the course of the run stops it: course.py has the rule."""
    data_parallel: DataParallel = "ddp"
    """How several processes hold the model: "ddp", each whole; "fsdp", each a part (shards.py). One process holds
    it whole either way."""
    seed: int = 0
    reasons: Mapping[str, str] = field(default_factory=dict, compare=False)
    """Setting -> why it has its value, in a sentence."""

    def values(self) -> dict[str, Any]:
        """All settings by name, without the reasons."""
        return {each.name: getattr(self, each.name) for each in fields(self) if each.name != "reasons"}


def auto_config(
    num_rows: int, mean_tokens: float, num_parameters: int, overrides: Mapping[str, Any] | None = None
) -> TrainConfig:
    """Settings for `num_rows` training rows of `mean_tokens` tokens each and a base of `num_parameters`.

    `overrides` (setting -> value) win, also over what other settings are derived from.
    Raises InputError on unknown or impossible overrides, all together.
    The constants were measured on SmolLM2-135M with some hundred rows; for larger models they are a rule
    of thumb.
    """
    given = _checked(dict(overrides or {}))
    chosen: dict[str, tuple[Any, str]] = {}
    rows_per_step = _take(chosen, given, "rows_per_step", _rows_per_step(num_rows, mean_tokens))
    steps = max(1, -(-num_rows // rows_per_step))
    _take(chosen, given, "epochs", _epochs(steps))
    if given.get("weights") == "full":
        _take(chosen, given, "learning_rate", _full_learning_rate(num_parameters))
    else:
        rank = _take(chosen, given, "rank", _rank(num_rows))
        _take(
            chosen, given, "alpha", (2.0 * rank, "twice the rank, so that the learning rate fits every rank")
        )
        _take(chosen, given, "learning_rate", _learning_rate(num_parameters))
    reasons = {name: why for name, (_, why) in chosen.items()}
    reasons |= {name: "set by the user" for name in given}
    values = {name: value for name, (value, _) in chosen.items()}
    return replace(TrainConfig(), **(values | given), reasons=reasons)


def _rows_per_step(num_rows: int, mean_tokens: float) -> tuple[int, str]:
    rows = 4 if num_rows < FEW_ROWS else 8 if num_rows < MANY_ROWS else 16
    why = {
        4: "few, so small steps, that there are more of them",
        8: "enough for steps of a usual size",
        16: "many, so large and calmer steps",
    }
    return rows, f"{num_rows:,} training rows of {mean_tokens:.0f} tokens are {why[rows]}"


def _epochs(steps: int) -> tuple[int, str]:
    epochs = min(5, max(2, -(-WANTED_STEPS // steps))) if steps < LONG_EPOCH else 1
    return (
        epochs,
        f"an epoch is {steps} steps; about {WANTED_STEPS} teach the form, and the best epoch is kept",
    )


def _rank(num_rows: int) -> tuple[int, str]:
    rank = 16 if num_rows < MANY_ROWS else 32
    why = "16 beat 8 even on 96 rows" if rank == 16 else "many rows hold more to learn, and rank costs little"
    return rank, f"{num_rows:,} training rows: {why}"


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
    """Notes the proposal with its reason and returns the value that holds: the user's, else the proposal."""
    chosen[name] = proposal
    return given.get(name, proposal[0])


def _checked(given: dict[str, Any]) -> dict[str, Any]:
    """The user's settings with their types put right, or an InputError that lists all faults."""
    faults = [fault for name, value in given.items() if (fault := _fault(name, value))]
    if given.get("weights") == "full":
        remedy = "leave it out, or set weights: lora"
        faults += [
            Fault(
                f"train: {name}", "weights: full has no adapters to set this for", shown(given[name]), remedy
            )
            for name in LORA_ONLY
            if name in given
        ]
    if faults:
        raise InputError(faults)
    return {name: _RULES[name].convert(value) for name, value in given.items()}


def _fault(name: str, value: Any) -> Fault | None:
    where = f"train: {name}"
    if name not in _RULES:
        near = process.extractOne(name, _RULES.keys(), score_cutoff=60)
        remedy = f"the nearest setting is {near[0]}" if near else "known ones: " + ", ".join(_RULES)
        return Fault(where, "there is no such training setting", shown(value), remedy)
    rule = _RULES[name]
    try:
        converted = rule.convert(value)
        return None if rule.holds(converted) else Fault(where, "impossible value", shown(value), rule.wanted)
    except (TypeError, ValueError):
        return Fault(where, "wrong kind of value", shown(value), rule.wanted)


@dataclass(frozen=True, slots=True)
class _Rule:
    convert: Callable[[Any], Any]
    holds: Callable[[Any], bool]
    wanted: str


def _whole(value: Any) -> int:
    if isinstance(value, bool) or int(value) != float(value):
        raise ValueError(value)
    return int(value)


def _number(value: Any) -> float:
    if isinstance(value, bool) or not math.isfinite(float(value)):
        raise ValueError(value)
    return float(value)


def _switch(value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError(value)
    return value


def _names(value: Any) -> tuple[str, ...]:
    if isinstance(value, str) or not all(isinstance(each, str) for each in value):
        raise TypeError(value)
    return tuple(value)


def _pair(value: Any) -> tuple[float, float]:
    first, second = value
    return _number(first), _number(second)


def _is_top(value: str) -> bool:
    return TOP.fullmatch(value) is not None


_COUNT = _Rule(_whole, lambda value: value >= 1, "give a whole number, 1 or more")
_SHARE = _Rule(_number, lambda value: 0 <= value < 1, "give a share from 0 to below 1")
_POSITIVE = _Rule(_number, lambda value: value > 0, "give a number above 0")
_RULES: Mapping[str, _Rule] = {
    "weights": _Rule(str, lambda value: value in get_args(Weights), "give lora or full"),
    "rank": _COUNT,
    "alpha": _POSITIVE,
    "rslora": _Rule(_switch, lambda _: True, "give true or false"),
    "dropout": _SHARE,
    "targets": _Rule(_names, lambda _: True, "give a list of layer names, e.g. [q_proj, v_proj]"),
    "lora_layers": _Rule(str, lambda value: value == ALL or _is_top(value), "give all or top-N, e.g. top-8"),
    "hidden_cache": _Rule(_switch, lambda _: True, "give true or false"),
    "learning_rate": _POSITIVE,
    "schedule": _Rule(str, lambda value: value in get_args(Schedule), "give linear or cosine"),
    "warmup": _SHARE,
    "epochs": _COUNT,
    "patience": _COUNT,
    "rows_per_step": _COUNT,
    "micro_tokens": _COUNT,
    "max_tokens": _COUNT,
    "clip": _POSITIVE,
    "weight_decay": _Rule(_number, lambda value: value >= 0, "give a number, 0 or more"),
    "betas": _Rule(_pair, lambda pair: all(0 <= beta < 1 for beta in pair), "give two shares below 1"),
    "stop_on_spike": _Rule(_switch, lambda _: True, "give true or false"),
    "data_parallel": _Rule(str, lambda value: value in get_args(DataParallel), "give ddp or fsdp"),
    "seed": _Rule(_whole, lambda value: value >= 0, "give a whole number, 0 or more"),
}

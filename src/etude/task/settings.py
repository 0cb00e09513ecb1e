"""The settings under `train:`, and what each may be: one table for task files and for TrainConfig."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, Literal, get_args

from etude.base.remedies import instead
from etude.base.word_lists import read_table
from etude.errors import Issue, quote_setting
from etude.task.rules import SWITCH, Rule, names, number, one_of, or_word, pair, pattern

Weights = Literal["lora", "full"]
Schedule = Literal["linear", "cosine"]
DataParallel = Literal["ddp", "fsdp"]
LearnedWith = Literal["first_sentence", "whole", "none"]
PreferenceLoss = Literal["dpo", "ipo", "orpo", "kto"]

ALL = "all"
TOP = re.compile(r"top-([1-9]\d*)")
"""N of `top-N`, the N decoder layers nearest to the answer."""

FOREIGN = read_table(__file__, "foreign.yaml")
"""What other tools call settings of training."""
ABSENT: Mapping[str, str] = {
    name: what for names, what in FOREIGN["absent"].items() for name in names.split()
}
"""Ways of training that other tools have and this version does not -> what they are."""


def no_such_weights(word: str) -> str:
    """What to say where `word` is none of the ways of training that there are."""
    what = f" ({ABSENT[word]})" if word in ABSENT else ""
    return (
        f"{word}{what} is not in this version; there is weights: lora (adapters beside frozen weights) and weights: "
        "full (all weights)"
    )


def _other_weights(key: str, value: Any) -> str:
    word = str(value).casefold()
    return no_such_weights(word) if word in ABSENT else instead(str(value), get_args(Weights))


LAYERS = pattern(f"{ALL} or top-N", re.compile(rf"{ALL}|{TOP.pattern}"), "top-8")
SEED = number(0, 2**32 - 1, whole=True)
COUNT = number(1, whole=True)

SETTINGS: Mapping[str, Rule] = {
    "weights": replace(one_of(*get_args(Weights)), remedy=_other_weights),
    "rank": number(1, 512, whole=True),
    "alpha": number(0, above=True),
    "rslora": SWITCH,
    "dropout": number(0, 0.9, share=True),
    "targets": or_word(ALL, names("[q_proj, v_proj]")),
    "lora_layers": LAYERS,
    "learning_rate": number(0, 1, above=True),
    "schedule": one_of(*get_args(Schedule)),
    "warmup": number(0, 1, share=True),
    "epochs": number(1, 1000, whole=True),
    "patience": COUNT,
    "rows_per_step": COUNT,
    "micro_tokens": COUNT,
    "max_tokens": COUNT,
    "clip": number(0, above=True),
    "weight_decay": number(0),
    "betas": pair(number(0, 1, below=True), "[0.9, 0.999]"),
    "stop_on_spike": SWITCH,
    "data_parallel": one_of(*get_args(DataParallel)),
    "seed": SEED,
}
"""Setting of the training loop -> what it may be. Their defaults stand in TrainConfig."""

AROUND: Mapping[str, Rule] = {
    "max_rows": or_word(ALL, COUNT),
    "dev_metric": SWITCH,
    "instructions": one_of(*get_args(LearnedWith)),
    "preference_loss": one_of(*get_args(PreferenceLoss)),
    "beta": number(0, above=True),
}
"""Keys under `train:` that say what the loop is given, and are no settings of it."""

NO_WEIGHT = frozenset(("stop_on_spike",))
"""Settings that change no weight, so that a run goes on under others of them."""

LORA_ONLY = ("rank", "alpha", "rslora", "dropout", "targets", "lora_layers")
"""Settings of adapters, which `weights: full` does not have."""


def at_odds(given: Mapping[str, Any]) -> Iterator[Issue]:
    """Faults of settings that are right alone and wrong together, each the end of a sentence on one of those
    `given`."""
    if given.get("weights") == "full":
        what, remedy = "is of adapters, and weights: full has none", "leave it out, or set weights: lora"
        yield from (
            Issue(f"train: {name}", what, quote_setting(given[name]), remedy)
            for name in LORA_ONLY
            if name in given
        )

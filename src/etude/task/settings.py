"""The settings under `train:`, their rules for task files and TrainConfig alike, and their names in
other tools.

A name of another tool is not an alias: the error says which line to write instead.
"""

from collections.abc import Mapping
from typing import Any, Literal, get_args

from etude.base.formatting import format_setting
from etude.base.word_lists import read_table
from etude.task.rules import SWITCH, Rule, names, number, one_of, or_word

InstructionsMode = Literal["first_sentence", "whole", "none"]
PreferenceLoss = Literal["dpo", "kto"]

ALL = "all"
_OTHER_TOOLS = read_table(__file__, "other_tools.yaml")
# Name in another tool -> our setting with the same meaning.
RENAMED: Mapping[str, str] = {
    name: setting for setting, words in _OTHER_TOOLS["renamed"].items() for name in words.split()
}
# Setting of another tool without an equivalent here -> what to do.
OTHERWISE: Mapping[str, str] = {
    name: remedy for words, remedy in _OTHER_TOOLS["otherwise"].items() for name in words.split()
}
# Ways of training by their names in other tools.
WAYS_OF_TRAINING = frozenset(_OTHER_TOOLS["ways_of_training"].split())

SEED = number(0, 2**32 - 1, whole=True)
COUNT = number(1, whole=True)

# Setting of the training loop -> its rule. The defaults are in TrainConfig.
SETTINGS: Mapping[str, Rule] = {
    "rank": number(1, 512, whole=True),
    "alpha": number(0, above=True),
    "dropout": number(0, 0.9, share=True),
    "targets": or_word(ALL, names("[q_proj, v_proj]")),
    "learning_rate": number(0, 1, above=True),
    "warmup": number(0, 1, share=True),
    "epochs": number(1, 1000, whole=True),
    "patience": COUNT,
    "rows_per_step": COUNT,
    "micro_tokens": COUNT,
    "max_tokens": COUNT,
    "stop_on_spike": SWITCH,
    "seed": SEED,
}

# Keys under `train:` that choose the input of the training loop rather than how it runs.
DATA_SETTINGS: Mapping[str, Rule] = {
    "max_rows": or_word(ALL, COUNT),
    "instructions": one_of(*get_args(InstructionsMode)),
    "preference_loss": one_of(*get_args(PreferenceLoss)),
    "beta": number(0, above=True),
    "replay": number(0, 0.5, share=True),
}

# Settings that change no weight, so a run may be resumed with another value.
SETTINGS_WITHOUT_EFFECT = frozenset(("stop_on_spike",))


def suggest_setting(key: str, value: Any) -> str | None:
    """Return the remedy for a key of another tool under `train:`; None if no known tool has it."""
    word = key.casefold().replace("-", "_")
    if word == "warmup_steps" and isinstance(value, float) and value < 1:
        return _suggest_line("warmup", value)  # transformers 5 reads it as a share
    if word in RENAMED:
        return _suggest_line(RENAMED[word], value)
    return OTHERWISE.get(word)


def suggest_train_key(key: str, value: Any) -> str | None:
    """Return the remedy for a training setting of Étude or another tool outside of `train:`; None
    for any other key.
    """
    if key in SETTINGS or key in DATA_SETTINGS:
        return f"under train: write {key}: {format_setting(value)}"
    # Any other value of `method:` probably means `methods:`, which the default remedy suggests.
    if key == "method" and str(value).casefold() not in WAYS_OF_TRAINING:
        return None
    remedy = suggest_setting(key, value)
    return f"under train: {remedy}" if remedy and remedy.startswith("write") else remedy


def _suggest_line(key: str, value: Any) -> str:
    """Return which line to write, with the value if our setting accepts it."""
    # PEFT's word for all layers differs from ours.
    rule = {**SETTINGS, **DATA_SETTINGS}[key]
    value = ALL if key == "targets" and value in ("all-linear", "all_linear") else value
    is_valid = value is not None and rule.check("", key, value) is None
    line = (
        f"write {key}: {format_setting(value)}"
        if is_valid
        else f"write {rule.description} for {key}"
    )
    return f"{line} (all rows of one step)" if key == "rows_per_step" else line

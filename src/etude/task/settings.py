"""The settings under `train:`, their rules for task files and TrainConfig alike, and their names in other tools.

A name of another tool is not an alias: the error says which line to write instead.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, Literal, get_args

from etude.base.formatting import format_setting
from etude.base.issues import suggest_instead
from etude.base.word_lists import read_table
from etude.errors import Issue, quote_setting
from etude.task.rules import SWITCH, Rule, names, number, one_of, or_word

Weights = Literal["lora", "full"]
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
# Way of training that other tools have and this version does not -> its description.
ABSENT: Mapping[str, str] = {
    name: description for words, description in _OTHER_TOOLS["absent"].items() for name in words.split()
}


def explain_absent(word: str) -> str:
    """Return the remedy for an unsupported way of training."""
    description = f" ({ABSENT[word]})" if word in ABSENT else ""
    return (
        f"{word}{description} is not supported; use weights: lora (adapters on frozen weights) or weights: full (all "
        "weights)"
    )


def suggest_weights(key: str, value: Any) -> str:
    """The remedy for an unknown value of `weights:`."""
    word = str(value).casefold()
    return explain_absent(word) if word in ABSENT else suggest_instead(str(value), get_args(Weights))


SEED = number(0, 2**32 - 1, whole=True)
COUNT = number(1, whole=True)

# Setting of the training loop -> its rule. The defaults are in TrainConfig.
SETTINGS: Mapping[str, Rule] = {
    "weights": replace(one_of(*get_args(Weights)), suggest=suggest_weights),
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
}

# Settings that change no weight, so a run may be resumed with another value.
SETTINGS_WITHOUT_EFFECT = frozenset(("stop_on_spike",))

# Settings of adapters, which `weights: full` does not have.
LORA_ONLY = ("rank", "alpha", "dropout", "targets")


def find_conflicts(settings: Mapping[str, Any]) -> Iterator[Issue]:
    """Find errors of settings that are valid only alone. A message continues a sentence that begins with one."""
    if settings.get("weights") == "full":
        message, remedy = "is only for adapters, not for weights: full", "leave it out, or set weights: lora"
        for name in LORA_ONLY:
            if name in settings:
                yield Issue(f"train: {name}", message, quote_setting(settings[name]), remedy)


def suggest_setting(key: str, value: Any) -> str | None:
    """Return the remedy for a key of another tool under `train:`; None if no known tool has it."""
    word = key.casefold().replace("-", "_")
    if word == "warmup_steps" and isinstance(value, float) and value < 1:
        return _suggest_line("warmup", value)  # transformers 5 reads it as a share
    if word in RENAMED:
        return _suggest_line(RENAMED[word], value)
    if word in OTHERWISE:
        return OTHERWISE[word]
    if word in ABSENT:
        return explain_absent(word)
    if word in _OTHER_TOOLS["method_keys"].split():
        method = str(value).casefold()
        return f"write weights: {method}" if method in get_args(Weights) else explain_absent(method)
    return None


def suggest_train_key(key: str, value: Any) -> str | None:
    """Return the remedy for a training setting of Étude or another tool outside of `train:`; None for any other key."""
    if key in SETTINGS or key in DATA_SETTINGS:
        return f"under train: write {key}: {format_setting(value)}"
    # Any other value of `method:` probably means `methods:`, which the default remedy suggests.
    method = str(value).casefold()
    if key == "method" and method not in ABSENT and method not in get_args(Weights):
        return None
    remedy = suggest_setting(key, value)
    return remedy and f"under train: {remedy}"


def _suggest_line(key: str, value: Any) -> str:
    """Return which line to write, with the value if our setting accepts it."""
    # PEFT's word for all layers differs from ours.
    rule = {**SETTINGS, **DATA_SETTINGS}[key]
    value = ALL if key == "targets" and value in ("all-linear", "all_linear") else value
    is_valid = value is not None and rule.check("", key, value) is None
    line = f"write {key}: {format_setting(value)}" if is_valid else f"write {rule.description} for {key}"
    return f"{line} (all rows of one step)" if key == "rows_per_step" else line

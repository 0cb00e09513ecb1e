"""What other tools call the settings of training, and what of theirs has no setting here.

One word stands for one thing, so none of these is an alias: an error names the line to write in its place.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, get_args

from etude.base.wording import setting
from etude.task.settings import ABSENT, ALL, AROUND, FOREIGN, SETTINGS, Weights, no_such_weights

RENAMED: Mapping[str, str] = {
    theirs: ours for ours, names in FOREIGN["renamed"].items() for theirs in names.split()
}
"""Name in another tool -> our setting of the same meaning."""
OTHERWISE: Mapping[str, str] = {
    name: remedy for names, remedy in FOREIGN["otherwise"].items() for name in names.split()
}
"""Setting of another tool that has none of the same meaning here -> what to do."""
_METHOD_KEYS = FOREIGN["method_keys"].split()


def meant(key: str, value: Any) -> str | None:
    """What to do about a key of another tool under `train:`, as the remedy of a fault; None for a key that none of
    them has."""
    word = key.casefold().replace("-", "_")
    if word == "warmup_steps" and isinstance(value, float) and value < 1:
        return _renamed("warmup", value)  # transformers 5 takes it for a share
    if word in RENAMED:
        return _renamed(RENAMED[word], value)
    if word in OTHERWISE:
        return OTHERWISE[word]
    if word in ABSENT:
        return no_such_weights(word)
    if word in _METHOD_KEYS:
        named = str(value).casefold()
        return f"write weights: {named}" if named in get_args(Weights) else no_such_weights(named)
    return None


def meant_for_training(key: str, value: Any) -> str | None:
    """`meant`, for a key that stands outside of `train:`."""
    if key in SETTINGS or key in AROUND:
        return f"under train: write {key}: {setting(value)}"
    named = str(value).casefold()
    if key == "method" and named not in ABSENT and named not in get_args(Weights):
        return None
    remedy = meant(key, value)
    return remedy and f"under train: {remedy}"


def _renamed(ours: str, value: Any) -> str:
    """The line to write, with the value where ours takes it."""
    rule = {**SETTINGS, **AROUND}[ours]
    value = ALL if ours == "targets" and value in ("all-linear", "all_linear") else value
    fits = value is not None and rule.fault("", ours, value) is None
    line = f"write {ours}: {setting(value)}" if fits else f"write {ours}: and {rule.wanted}"
    return f"{line}, the rows of a whole step of all processes" if ours == "rows_per_step" else line

"""What other tools call the settings of training, and what of theirs has no setting here.

One word stands for one thing, so none of these is taken as an alias: a fault names the line to write in its place.
The names are those of transformers 5 and TRL 1 (`TrainingArguments`, `SFTConfig`, `ModelConfig`), PEFT (`LoraConfig`),
Axolotl, LLaMA-Factory and OpenAI's fine-tuning jobs.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, get_args

from etude.base.wording import setting
from etude.task.settings import ABSENT, ALL, AROUND, SETTINGS, Weights, no_such_weights

_NAMES: Mapping[str, str] = {
    "rank": "r lora_r lora_rank",
    "alpha": "lora_alpha",
    "dropout": "lora_dropout",
    "rslora": "use_rslora peft_use_rslora lora_use_rslora",
    "targets": "target_modules lora_target_modules lora_target",
    "learning_rate": "lr",
    "schedule": "lr_scheduler_type lr_scheduler scheduler",
    "warmup": "warmup_ratio",
    "epochs": "num_train_epochs num_epochs n_epochs",
    "patience": "early_stopping_patience",
    "rows_per_step": "batch_size per_device_train_batch_size micro_batch_size train_batch_size",
    "max_tokens": "max_length max_seq_length max_seq_len cutoff_len sequence_len",
    "clip": "max_grad_norm",
    "betas": "adam_betas",
    "seed": "random_state random_seed data_seed",
    "max_rows": "max_samples max_train_samples",
}
RENAMED: Mapping[str, str] = {theirs: ours for ours, names in _NAMES.items() for theirs in names.split()}
"""Name in another tool -> our setting of the same meaning."""

_WHOLE_STEP = "the rows of a whole step of all processes"
_ANSWERS = "leave it out: the answers alone are learned, and a turn with weight: 0 is only read"
_BY_ITSELF = "leave it out: rows are put together within micro_tokens by themselves, and none sees another"
OTHERWISE: Mapping[str, str] = {
    "gradient_accumulation_steps": f"leave it out, and multiply it into rows_per_step, {_WHOLE_STEP}; micro_tokens "
    "says how much is computed at once",
    "warmup_steps": "write warmup: and their share of all steps, such as 0.06",
    "max_steps": "write epochs: and how often each row is to be learned",
    "adam_beta1": "write betas: with both, such as [0.9, 0.999]",
    "adam_beta2": "write betas: with both, such as [0.9, 0.999]",
    "layers_to_transform": "write lora_layers: top-8 for the eight layers nearest to the answer",
    "lora_target_linear": "write targets: all",
    "gradient_checkpointing": "leave it out, and lower micro_tokens where memory is short",
    "completion_only_loss": _ANSWERS,
    "assistant_only_loss": _ANSWERS,
    "train_on_inputs": _ANSWERS,
    "packing": _BY_ITSELF,
    "sample_packing": _BY_ITSELF,
    "group_by_length": _BY_ITSELF,
    "val_set_size": "leave it out: rows that choose the epoch (dev) are split off by themselves",
}
"""Setting of another tool that has none of the same meaning here -> what to do."""

_NAMES_OF_METHODS = ("method", "adapter", "finetuning_type", "peft_type", "training_type")
"""Keys under which other tools name what is learned."""


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
    if word in _NAMES_OF_METHODS:
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
    return f"{line}, {_WHOLE_STEP}" if ours == "rows_per_step" else line

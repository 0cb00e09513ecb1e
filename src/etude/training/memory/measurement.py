"""Measure the memory of a training run before it starts."""

from collections.abc import Sequence
from functools import partial

import torch
from transformers import PreTrainedModel

from etude.errors import ModelError
from etude.training.config import TrainConfig
from etude.training.memory.usage import (
    memory_in_use,
    peak_memory,
    release_freed_memory,
    reset_peak_memory,
)
from etude.training.rows.batches import TokenRow, compute_work, make_batches
from etude.training.step import TrainingState, measure_dev_loss, start_training, train_step

MAX_NAMED = 3
"""The maximum of damaged weights that a message lists."""
NEAR_MAX = 0.9
"""A micro-batch with at least this share of the largest number of tokens may need the most memory,
because attention stores more per token for long rows.
"""


def measure_training_memory(
    module: PreTrainedModel,
    rows: Sequence[TokenRow],
    dev_rows: Sequence[TokenRow],
    config: TrainConfig,
) -> int:
    """Measure the peak bytes of `train` on these rows with a few steps; 0 if the system does not
    report them.

    Memory is proportional to the number of rows of one length. So half of the rows of the largest
    micro-batch are measured, and the rest is extrapolated. All dev rows are measured: without
    gradients they need little memory. Raises ModelError if a weight of the model is NaN or
    infinite.
    """
    check_weights(module)
    with start_training(module, config, len(rows)) as state:
        batches = make_batches(rows, config.rows_per_step, config.seed, epoch=1)
        micro_batches = [
            micro_batch
            for batch in batches
            for micro_batch in state.objective.split_batch(batch, config.micro_tokens)
        ]
        work = partial(compute_work, is_packed=state.objective.is_packed)
        max_work = max(map(work, micro_batches))
        candidates = [batch for batch in micro_batches if work(batch) >= NEAR_MAX * max_work]
        largest = max(candidates, key=lambda batch: len(batch[0].ids))
        # Half of the rows is also possible on a machine that has too little memory for all.
        half = largest[: -(-len(largest) // 2)]
        # This step allocates everything that stays allocated.
        train_step(state, largest[:1])
        resting = _reset_memory(state)
        train_step(state, half)
        peak = peak_memory(state.module.device)
        _reset_memory(state)
        # Dev rows need no gradients, so their largest micro-batch is measured whole.
        largest_dev = max(state.objective.split_batch(dev_rows, config.micro_tokens), key=work)
        measure_dev_loss(state.objective, largest_dev, config.micro_tokens)
        peak_dev = peak_memory(state.module.device)
    slope = (peak - resting) / work(half)
    return max(round(peak + slope * (max_work - work(half))), peak_dev)


def check_weights(module: PreTrainedModel) -> None:
    """Raise ModelError with the names of weights with a NaN or an infinity, which no row or setting
    can cause.
    """
    damaged = [
        name
        for name, weight in module.named_parameters()
        # torch.isfinite of a whole weight would need the same memory again.
        if weight.is_floating_point()
        and weight.numel()
        and not all(torch.isfinite(end) for end in torch.aminmax(weight.detach()))
    ]
    if damaged:
        rest = f" and {len(damaged) - MAX_NAMED:,} more" if len(damaged) > MAX_NAMED else ""
        raise ModelError(
            f"The weights of {module.config.name_or_path or type(module).__name__} are damaged: "
            f"NaN or infinity in {', '.join(damaged[:MAX_NAMED])}{rest}. Download them again or "
            "use another model."
        )


def _reset_memory(state: TrainingState) -> int:
    device = state.module.device
    release_freed_memory()
    reset_peak_memory(device)
    return memory_in_use(device)

"""The training loop: LoRA adapters, the best epoch by dev loss, and exact resume after a kill.

Read `examples/flat_training.py` first: it does the same in one plain script and reaches the same
losses.

`train` does not depend on run folders and methods: it gets token rows and a loss, logs events, and
calls `on_eval` after each dev loss. No random state is carried from step to step (the order of rows
comes from seed and epoch, dropout from seed and step), so weights, optimizer state and counters are
the whole state of a run.
"""

import math
import time
from collections.abc import Sequence
from typing import Any

from transformers import PreTrainedModel

from etude.base.formatting import format_loss_change
from etude.errors import RunError, TrainingDiverged
from etude.training import early_stopping
from etude.training.checkpoints import CHECKPOINT_FILE, Checkpointer, compute_fingerprint
from etude.training.config import Output, TrainConfig
from etude.training.layers.lora import save_adapter
from etude.training.losses import Loss, supervised
from etude.training.memory.usage import peak_memory, release_freed_memory, reset_peak_memory
from etude.training.rows.batches import (
    REPLAYED,
    TokenRow,
    check_rows,
    count_tokens,
    make_batches,
    split_groups,
)
from etude.training.step import (
    TrainingState,
    TrainResult,
    measure_dev_loss,
    start_training,
    train_step,
)
from etude.training.threads import ThreadChoice
from etude.training.time_box import BoxPlanner

MAX_NAMED = 5
"""The maximum of rows that a message about the dev loss lists."""


def train(
    module: PreTrainedModel,
    rows: Sequence[TokenRow],
    dev_rows: Sequence[TokenRow],
    config: TrainConfig,
    output: Output,
    loss: Loss = supervised,
) -> TrainResult:
    """Train LoRA adapters over `module`, and write those of the best epoch to `output.adapter`.

    At the end `module` is unchanged. `loss` is minimised in the steps and measured on dev
    (losses.py has the contract); `supervised` needs a decoder with a language-model head.

    If `output.checkpoint` has a run with the same rows, settings and loss, that run is resumed. On
    the same processor the resumed run ends with the same bits. On a GPU it may differ by rounding,
    because the order in which gradients of attention are added is not fixed. The steps after the
    last checkpoint are logged again.

    `output.log` gets one line for
    - a step: {"step", "epoch", "loss", "tokens", "seconds", "learning_rate", "gradient", "memory"};
    - an epoch: {"epoch", "dev_loss", "train_loss", "best", "overfits", "seconds"} and the values
      from `on_eval`. `train_loss` is the mean over its steps (absent for epoch 0), `seconds` the
      time of the dev loss and `on_eval`;
    - a plan of a time box: {"planned_steps", "after_step", "share_used"}; in a box, steps also have
      "seconds_left" and "steps", the planned number, and "epoch" of a dev loss is a fraction;
    - {"resumed_at_step"}; {"warning"}: the first checkpoint that could not be written, or a worse
      dev loss after the first epoch.

    Raises InputError (lists all rows that cannot be trained on), TrainingDiverged (a NaN, an
    infinity or losses that rise and stay high, with the ids of the rows; before that, the best
    trained epoch so far, if any, is written to `output.adapter`), ModelError (the model cannot be
    trained), RunError (the checkpoint is from another run, or the result cannot be written).
    """
    # 1. Check all rows before anything is allocated.
    check_rows(rows, dev_rows, config.max_tokens, loss.weight, loss.group_size)
    release_freed_memory()
    # 2. Put adapters into the model, move their weights into one buffer, create the optimizer.
    with start_training(module, config, len(rows), loss, output.earlier.adapter) as state:
        reset_peak_memory(state.module.device)
        loss.check_model(module)
        # 3. Resume from the checkpoint, if there is one.
        fingerprint = compute_fingerprint(module, config, rows, dev_rows, loss.name)
        checkpointer = Checkpointer(state, output, fingerprint)
        checkpointer.restore()
        planner = None
        if output.box:
            planner = BoxPlanner(
                output.box, state.progress, state.total_steps - output.earlier.steps, output.log
            )
        # 4. Train each epoch, or each part of a time box. Each ends with a dev loss and a
        # checkpoint.
        if not _is_finished(state, planner):
            with ThreadChoice(is_limited=planner is not None) as threads:
                _run_epochs(state, rows, dev_rows, checkpointer, planner, threads)
        # 5. Write the weights of the best epoch.
        _write_best(state, output)
        _count_trained(state, rows, planner, output.earlier.steps)
        state.progress.peak_memory = peak_memory(state.module.device)
        return state.progress


def _run_epochs(
    state: TrainingState,
    rows: Sequence[TokenRow],
    dev_rows: Sequence[TokenRow],
    checkpointer: Checkpointer,
    planner: BoxPlanner | None,
    threads: ThreadChoice,
) -> None:
    """Run all remaining epochs. A run that diverges writes its best trained epoch."""
    output = checkpointer.output
    progress = state.progress
    try:
        while not _is_finished(state, planner) and (
            planner or progress.epoch < 1 or not output.is_stopped()
        ):
            if progress.epoch >= 0:  # the first pass only measures the untrained model
                _run_epoch(state, rows, checkpointer, planner, threads)
            _end_epoch(state, dev_rows, output)
            if planner:
                planner.add_measurement()
            checkpointer.save()
    except TrainingDiverged as error:
        if not progress.best_epoch:
            raise
        _write_best(state, output)
        best = (
            f"The weights of epoch {progress.best_epoch}, the best epoch so far, are in "
            f"{output.adapter}."
        )
        raise TrainingDiverged(f"{error} {best}") from error


def _is_finished(state: TrainingState, planner: BoxPlanner | None) -> bool:
    if planner:
        return planner.is_finished
    epoch = state.progress.epoch
    best_epoch = state.progress.best_epoch
    return epoch >= state.config.epochs or epoch - best_epoch >= state.config.patience


def _make_epoch(
    state: TrainingState, rows: Sequence[TokenRow], epoch: int, is_stratified: bool
) -> list[tuple[TokenRow, ...]]:
    config = state.config
    group_size = state.objective.loss.group_size
    return make_batches(rows, config.rows_per_step, config.seed, epoch, group_size, is_stratified)


def _count_trained(
    state: TrainingState, rows: Sequence[TokenRow], planner: BoxPlanner | None, num_done: int
) -> None:
    """Count the steps of the first epoch, and their rows, that the chosen weights have seen, in an
    earlier training too.
    """
    batches = _make_epoch(state, rows, 1, planner is not None)
    progress = state.progress
    is_part_kept = planner and (progress.best_epoch or num_done)
    num_steps = progress.measured_steps[progress.best_epoch] if is_part_kept else progress.steps
    seen = batches[: num_done + num_steps]
    progress.kept_steps = len(seen)
    progress.num_trained = len({row.id for batch in seen for row in batch} - {REPLAYED})


def _run_epoch(
    state: TrainingState,
    rows: Sequence[TokenRow],
    checkpointer: Checkpointer,
    planner: BoxPlanner | None,
    threads: ThreadChoice,
) -> None:
    """Run the steps until the next dev loss: to the end of the epoch, or until the planner requires
    a measurement.
    """
    progress = state.progress
    epoch_steps = state.total_steps // state.config.epochs
    epoch = 0
    batches: list[tuple[TokenRow, ...]] = []
    while not (planner.is_due if planner else progress.batch == epoch_steps):
        # A resumed epoch skips its finished batches. Their order depends only on seed and epoch.
        position = checkpointer.output.earlier.steps + progress.steps
        if epoch != (epoch := position // epoch_steps + 1):
            batches = _make_epoch(state, rows, epoch, planner is not None)
        batch = batches[position % epoch_steps]
        started = time.perf_counter()
        tokens = count_tokens(batch)
        threads.begin_step()
        figures = train_step(state, batch)
        seconds = time.perf_counter() - started
        threads.end_step(tokens, seconds)
        progress.steps += 1
        progress.batch += 1
        progress.tokens += tokens
        progress.rows += len(batch)
        progress.seconds += seconds
        numbers: dict[str, float] = {"step": progress.steps, "epoch": epoch}
        if planner:
            numbers |= {"steps": planner.num_planned, **planner.box.log_left(progress.box_used)}
        costs = {"tokens": tokens, "seconds": seconds, "memory": peak_memory(state.module.device)}
        checkpointer.output.log({**numbers, **figures, **costs})
        _check_rise(state, batch, figures["loss"])
        if planner:
            planner.add_step()
        checkpointer.save_when_due()
        if not planner and checkpointer.output.is_stopped():
            break


def _check_rise(state: TrainingState, batch: Sequence[TokenRow], loss: float) -> None:
    """Record the loss of a step. Raises TrainingDiverged with the rows of the batch if losses have
    risen and stay high; see early_stopping.py.
    """
    progress = state.progress
    progress.epoch_loss += loss
    limit = early_stopping.spike_limit(progress.recent, progress.dev_losses[0])
    if state.config.stop_on_spike and loss > limit:
        best_loss = _measure_best_loss(state, batch)
        if loss > best_loss + early_stopping.RISE_NATS:
            progress.num_risen += 1
            if progress.num_risen >= early_stopping.LASTING_STEPS:
                raise TrainingDiverged(_explain_rise(state, batch, loss, best_loss))
            return
    progress.num_risen = 0
    progress.recent = [*progress.recent, loss][-early_stopping.WINDOW :]


def _measure_best_loss(state: TrainingState, rows: Sequence[TokenRow]) -> float:
    """Measure the loss of the best weights so far on the rows; at first, these are the untrained
    weights.
    """
    weights = state.weights.data
    current = weights.clone()
    weights.copy_(state.best)
    loss = measure_dev_loss(state.objective, rows, state.config.micro_tokens)
    weights.copy_(current)
    return loss


def _explain_rise(
    state: TrainingState, batch: Sequence[TokenRow], loss: float, best_loss: float
) -> str:
    best = "the best weights so far had" if state.progress.best_epoch else "the untrained model had"
    return (
        f"Training stopped at step {state.progress.steps}: the loss rose and stayed high for "
        f"{early_stopping.LASTING_STEPS} steps. It is now {loss:.2f}; {best} {best_loss:.2f} on "
        "the same rows. Lower the learning rate (train: {learning_rate: "
        f"{state.config.learning_rate / 2:g}}}); training then starts again from the beginning. "
        "Or correct the rows of the batch if they are wrong: "
        f"{', '.join(row.id for row in batch)}. To ignore this and resume from the last "
        "checkpoint, set train: {stop_on_spike: false}."
    )


def _end_epoch(state: TrainingState, dev_rows: Sequence[TokenRow], output: Output) -> None:
    """Measure the dev loss, copy the weights if they are the best so far, and log the epoch. Raises
    TrainingDiverged if the loss or the score is NaN or infinite.
    """
    progress = state.progress
    started = time.perf_counter()
    loss, score, evaluation = _measure_dev(state, dev_rows, output)
    earlier = zip(progress.scores, progress.dev_losses, strict=True)
    # If scores are equal, the dev loss decides; if both are equal, the earlier epoch is the best.
    is_best = all(
        (score, -loss) > (earlier_score, -earlier_loss) for earlier_score, earlier_loss in earlier
    )
    progress.epoch += 1
    progress.dev_losses.append(loss)
    progress.measured_steps.append(progress.steps)
    progress.scores.append(score)
    if is_best:
        progress.best_epoch = progress.epoch
        state.best.copy_(state.weights.detach())
    seconds = time.perf_counter() - started
    progress.seconds += seconds
    epoch: float = progress.epoch
    if output.box:
        epoch = float(f"{progress.steps * state.config.epochs / state.total_steps:.3g}")
    figures = {"epoch": epoch, "dev_loss": loss, "best": is_best, "seconds": seconds}
    if progress.epoch:
        progress.train_losses.append(progress.epoch_loss / progress.batch)
        progress.batch = 0
        progress.epoch_loss = 0.0
        figures["train_loss"] = progress.train_losses[-1]
        figures["overfits"] = early_stopping.is_overfitting(
            progress.train_losses, progress.dev_losses
        )
    output.log({**figures, **evaluation})
    if progress.epoch == 1 and early_stopping.has_risen_at_once(progress.dev_losses):
        period = "part of the training" if output.box else "epoch"
        message = (
            f"The dev loss rose in the first {period}, {format_loss_change(*progress.dev_losses)}."
        )
        remedy = (
            "lower the learning rate (train: {learning_rate: "
            f"{state.config.learning_rate / 2:g}}})"
        )
        output.log({"warning": f"{message} If it does not fall again, {remedy}."})


def _measure_dev(
    state: TrainingState, dev_rows: Sequence[TokenRow], output: Output
) -> tuple[float, float, dict[str, Any]]:
    """Return the dev loss, the score by which the epoch is chosen, and the values from
    `on_eval`.
    """
    loss = measure_dev_loss(state.objective, dev_rows, state.config.micro_tokens)
    if not math.isfinite(loss):
        raise TrainingDiverged(_explain_dev_loss(state, dev_rows, loss))
    evaluation = dict(output.on_eval())
    score = float(evaluation.get("score", -loss))
    if not math.isfinite(score):
        raise TrainingDiverged(
            f"The score of epoch {state.progress.epoch + 1} on dev is {score}, so it cannot "
            "choose an epoch."
        )
    return loss, score, evaluation


def _explain_dev_loss(state: TrainingState, dev_rows: Sequence[TokenRow], loss: float) -> str:
    # Measure every group of rows separately to find the rows.
    config = state.config
    epoch = state.progress.epoch + 1
    groups = split_groups(dev_rows, state.objective.loss.group_size)
    losses = [measure_dev_loss(state.objective, group, config.micro_tokens) for group in groups]
    pairs = zip(groups, losses, strict=True)
    bad_ids = [
        row.id for group, group_loss in pairs if not math.isfinite(group_loss) for row in group
    ]
    rest = f" and {len(bad_ids) - MAX_NAMED:,} more" if len(bad_ids) > MAX_NAMED else ""
    rows = f"{', '.join(bad_ids[:MAX_NAMED])}{rest}" if bad_ids else "no single row"
    if epoch:
        remedy = (
            f"Lower the learning rate (train: {{learning_rate: {config.learning_rate / 2:g}}})."
        )
    elif len(bad_ids) == len(dev_rows):
        remedy = (
            "All rows fail: the model's weights are damaged. Download them again or use another "
            "model."
        )
    else:
        remedy = (
            "The model is not trained yet, so no setting causes this. Correct these rows or leave "
            "them out."
        )
    return (
        f"The dev loss of epoch {epoch} is {loss}. Rows with a NaN or infinite loss: {rows}. "
        f"{remedy}"
    )


def _write_best(state: TrainingState, output: Output) -> None:
    state.weights.data.copy_(state.best)
    try:
        save_adapter(state.adapters, output.adapter, output.base_model)
    except OSError as error:
        file = output.checkpoint / CHECKPOINT_FILE
        scratch = "it starts again from the beginning, because no checkpoint could be written"
        resume = f"it resumes from {file}" if file.exists() else scratch
        raise RunError(
            f"The tuned weights cannot be written to {output.adapter} ({error}). Free disk space "
            f"and run the same command again: {resume}."
        ) from error

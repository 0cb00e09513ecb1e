"""The training loop: LoRA or all weights on token rows, best epoch by dev loss, exact resume after a kill.

Read `flat.py` first: it does the same in one plain script and reaches the same losses.

One function, `train`, varied by what it is passed. It knows no run folder and no method: it gets token rows and a loss,
logs what happens, and calls `on_eval` when the dev loss is measured.

Nothing random carries over from step to step (row order comes from seed and epoch, dropout from
seed and step), so weights, optimizer state and counters are the whole state of a run.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from etude.base.files import folder_aside
from etude.base.processes import ONE, World
from etude.base.wording import change_of_loss, size_in_words
from etude.errors import RunError, TrainingDiverged
from etude.models.loading import save_weights
from etude.training import early_stopping
from etude.training.checkpoints import FILE, Checkpointer, fingerprint
from etude.training.config import TrainConfig
from etude.training.layers.lora import save_adapter
from etude.training.losses import Loss, supervised
from etude.training.memory.disk_space import Disk, check_space, disk_of
from etude.training.memory.forecast import at_rest
from etude.training.memory.usage import give_back_freed_memory, peak_memory, reset_peak_memory
from etude.training.output import Output
from etude.training.rows.batches import TokenRow, check_rows, groups_of, make_batches, num_tokens
from etude.training.step import Run, TrainResult, dev_loss, started_run, train_step

if TYPE_CHECKING:
    from transformers import PreTrainedModel

NAMED = 5
"""Rows that a message about dev names."""


def train(
    module: PreTrainedModel,
    rows: Sequence[TokenRow],
    dev_rows: Sequence[TokenRow],
    config: TrainConfig,
    output: Output,
    world: World = ONE,
    loss: Loss = supervised,
) -> TrainResult:
    """Train LoRA adapters over `module`, or all its weights, and write those of the best epoch to `output.adapter`.

    `module` is unchanged afterwards. `loss` is what a step and the dev loss minimise (losses.py has the contract);
    `supervised` needs a decoder with a language-model head.

    If `output.checkpoint` holds a run of the same rows, settings and loss, that run goes on: on the same processor to
    the same weights bit for bit, on a GPU, which adds up the gradients of attention in no fixed order, up to rounding.
    The log gets the steps after its last checkpoint again.

    The processes of a `world` call it together with the same arguments, on copies of the same weights, and share the
    rows of every batch. All get the same losses and end with the same weights; only process 0 writes and calls
    `on_eval`. All read the checkpoint, so all must see its disk.

    `output.log` gets {"step", "epoch", "loss", "tokens", "seconds", "learning_rate", "gradient", "memory"} for a
    step; {"epoch", "dev_loss", "train_loss", "best", "overfits", "seconds"} and what `on_eval` returned for an epoch,
    `train_loss` being the mean of its steps and absent from epoch 0, `seconds` those of the dev loss and `on_eval`;
    {"resumed_at_step"}; {"note"} (what tuning all weights takes); and {"warning"} (too little disk for checkpoints,
    the first that could not be written, a first epoch that made the dev loss worse).

    Raises InputError (lists all rows that cannot be trained on), Diverged (a NaN, an infinity or a spike, with the ids
    of the rows; the best trained epoch so far, if any, is written to `output.adapter` first), ModelError (the model
    cannot be trained), RunError (the checkpoint is another run's, or the result does not fit on the disk), Parted
    (another process exited).
    """
    check_rows(rows, dev_rows, config.max_tokens, loss.weight, loss.rows_together)
    give_back_freed_memory()
    with started_run(module, config, len(rows), world, loss) as run:
        # Until here a GPU may hold the whole model, before its parts replace it.
        reset_peak_memory(run.module.device)
        loss.check(module)
        checkpointer = Checkpointer(run, output, fingerprint(module, config, rows, dev_rows, loss.name))
        checkpointer.restore()
        if not _finished(run):
            _train(run, module, rows, dev_rows, checkpointer)
        _write_best(run, module, output)
        run.progress.peak_memory = peak_memory(run.module.device)
        return run.progress


def _train(
    run: Run,
    module: PreTrainedModel,
    rows: Sequence[TokenRow],
    dev_rows: Sequence[TokenRow],
    checkpointer: Checkpointer,
) -> None:
    """Run all epochs that are left, once their disk space is checked."""
    output, disk = checkpointer.output, disk_of(module, run.config)
    if run.world.leads and (warning := check_space(disk, output.checkpoint)):
        output.log({"warning": warning})
    if not run.adapters:
        output.log({"note": _full_note(run, module, disk, output)})
    try:
        while not _finished(run) and _in_time(run.progress, output):
            if run.progress.epoch >= 0:
                _epoch(run, rows, checkpointer)
            _measure(run, dev_rows, output)
            checkpointer.save()
    except TrainingDiverged as error:
        raise _with_best_kept(error, run, module, output) from error


def _finished(run: Run) -> bool:
    progress = run.progress
    return progress.epoch >= run.config.epochs or progress.epoch - progress.best_epoch >= run.config.patience


def _in_time(progress: TrainResult, output: Output) -> bool:
    return progress.epoch < 1 or output.more(progress.seconds / progress.epoch)


def _epoch(run: Run, rows: Sequence[TokenRow], checkpointer: Checkpointer) -> None:
    """Do the steps of the current epoch that are not done yet."""
    progress, config = run.progress, run.config
    together = run.placement.loss.rows_together
    batches = make_batches(rows, config.rows_per_step, config.seed, progress.epoch + 1, together)
    for batch in batches[progress.batch :]:
        started = time.perf_counter()
        news = train_step(run, batch)
        seconds = time.perf_counter() - started
        tokens = num_tokens(batch)
        progress.steps += 1
        progress.batch += 1
        progress.tokens += tokens
        progress.rows += len(batch)
        progress.seconds += seconds
        place = {"step": progress.steps, "epoch": progress.epoch + 1}
        spent = {"tokens": tokens, "seconds": seconds, "memory": peak_memory(run.module.device)}
        checkpointer.output.log({**place, **news, **spent})
        _check_spike(run, batch, news["loss"])
        checkpointer.save_when_due()


def _check_spike(run: Run, batch: Sequence[TokenRow], loss: float) -> None:
    """Record the loss of a step. Raises Diverged naming the rows of the batch if it is a spike."""
    progress = run.progress
    untrained = progress.dev_losses[0]
    limit = early_stopping.highest_loss(progress.recent, untrained)
    if run.config.stop_on_spike and loss > limit:
        usual = f"{early_stopping.usual_loss(progress.recent, untrained):.2f}"
        early = len(progress.recent) < early_stopping.LEAST
        raise TrainingDiverged(
            f"Training stopped at step {progress.steps}: its loss of {loss:.2f} is a spike (above {limit:.2f}; the "
            f"{'loss on dev before training' if early else 'median before'} was {usual}). Rows of the batch: "
            f"{', '.join(row.id for row in batch)}. Look at these rows. If they are right, set train: "
            "{stop_on_spike: false}, which resumes from the last checkpoint, or lower the learning rate (train: "
            f"{{learning_rate: {run.config.learning_rate / 2:g}}}), which starts again from scratch."
        )
    progress.recent = [*progress.recent, loss][-early_stopping.WINDOW :]
    progress.epoch_loss += loss


def _measure(run: Run, dev_rows: Sequence[TokenRow], output: Output) -> None:
    """End an epoch: measure its dev loss, and keep its weights if they are the best so far. Raises Diverged if the loss
    or the score is NaN or infinite."""
    progress, started = run.progress, time.perf_counter()
    loss, score, found = _measured(run, dev_rows, output)
    before = zip(progress.scores, progress.dev_losses, strict=True)
    best = all((score, -loss) > (other, -its_loss) for other, its_loss in before)
    progress.epoch += 1
    progress.dev_losses.append(loss)
    progress.scores.append(score)
    if best:
        progress.best_epoch = progress.epoch
        run.best.copy_(run.buffer.current)
    seconds = time.perf_counter() - started
    progress.seconds += seconds
    news = {"epoch": progress.epoch, "dev_loss": loss, **_trained(progress), "best": best}
    output.log({**news, "seconds": seconds, **found})
    if progress.epoch == 1 and early_stopping.rises_at_once(progress.dev_losses):
        rose = f"The loss on dev rose in the first epoch, {change_of_loss(*progress.dev_losses)}."
        lower = f"lower the learning rate (train: {{learning_rate: {run.config.learning_rate / 2:g}}})"
        output.log({"warning": f"{rose} If it does not fall later, {lower}."})


def _measured(run: Run, dev_rows: Sequence[TokenRow], output: Output) -> tuple[float, float, dict[str, Any]]:
    """The dev loss, what the epoch is chosen by, and all that `on_eval` returned. Raises Diverged."""
    loss = dev_loss(run.placement, dev_rows, run.config.micro_tokens)
    if not math.isfinite(loss):
        raise TrainingDiverged(_about_dev(run, dev_rows, loss))
    found = run.world.broadcast(dict(output.on_eval()) if run.world.leads else None)
    score = float(found.get("score", -loss))
    if not math.isfinite(score):
        raise TrainingDiverged(
            f"The score of epoch {run.progress.epoch + 1} on dev is {score}, and no epoch can be chosen by it. Look at "
            "what scores the answers (metric and check in the task file), or leave train: dev_metric out."
        )
    return loss, score, found


def _about_dev(run: Run, dev_rows: Sequence[TokenRow], loss: float) -> str:
    """The message about a NaN or infinite dev loss: the rows that cause it, and what to do."""
    config, epoch = run.config, run.progress.epoch + 1
    groups = groups_of(dev_rows, run.placement.loss.rows_together)
    alone = [dev_loss(run.placement, group, config.micro_tokens) for group in groups]
    bad = [
        row.id
        for group, its_loss in zip(groups, alone, strict=True)
        if not math.isfinite(its_loss)
        for row in group
    ]
    more = f" and {len(bad) - NAMED:,} more" if len(bad) > NAMED else ""
    rows = f"{', '.join(bad[:NAMED])}{more}" if bad else "none alone"
    if epoch:
        remedy = f"Lower the learning rate (train: {{learning_rate: {config.learning_rate / 2:g}}})."
    elif len(bad) == len(dev_rows):
        remedy = "All rows fail: the model's weights are damaged. Download them again or use another model."
    else:
        remedy = (
            "The model is not trained yet, so no setting causes this: look at these rows or leave them out."
        )
    return f"The dev loss of epoch {epoch} is {loss}. Rows with such a loss: {rows}. {remedy}"


def _trained(progress: TrainResult) -> dict[str, Any]:
    """The mean loss of the epoch's steps, and whether it overfits; the counters of the epoch are reset."""
    if progress.epoch == 0:
        return {}
    progress.train_losses.append(progress.epoch_loss / progress.batch)
    progress.batch, progress.epoch_loss = 0, 0.0
    overfits = early_stopping.overfits(progress.train_losses, progress.dev_losses)
    return {"train_loss": progress.train_losses[-1], "overfits": overfits}


def _with_best_kept(
    error: TrainingDiverged, run: Run, module: PreTrainedModel, output: Output
) -> TrainingDiverged:
    """Write the best epoch before the error, if there is one, and add its folder to the message."""
    best = run.progress.best_epoch
    if not best:
        return error
    _write_best(run, module, output)
    return TrainingDiverged(f"{error} The weights of epoch {best}, the best so far, are in {output.adapter}.")


def _write_best(run: Run, module: PreTrainedModel, output: Output) -> None:
    """Write in process 0 the weights of the best epoch, which all processes hold."""
    best = run.placement.gathered(run.best)
    if not run.world.leads:
        return
    try:
        with run.placement.holding(run.buffer, best):
            if run.adapters:
                save_adapter(run.adapters, output.adapter, output.base_model)
            else:
                with folder_aside(output.adapter) as aside:
                    save_weights(module, aside)
    except OSError as error:
        file = output.checkpoint / FILE
        rest = (
            f"it resumes from {file}"
            if file.exists()
            else "it starts again from scratch, because no checkpoint could be written"
        )
        raise RunError(
            f"The tuned weights cannot be written to {output.adapter} ({error}). Free some space and run the same "
            f"command again: {rest}."
        ) from error


def _full_note(run: Run, module: PreTrainedModel, disk: Disk, output: Output) -> str:
    """The memory and disk that tuning all weights takes, in words."""
    where = " in each process" if run.world.size > 1 else ""
    memory = size_in_words(at_rest(module, run.config, run.world))
    return (
        f"All {module.num_parameters() / 1e6:,.0f} million weights are tuned: "
        f"{memory} of memory{where} beside the model, for the weights in 32 bits, their gradients, two states of the "
        "optimizer and the best epoch; "
        f"{size_in_words(disk.checkpoints + disk.result)} of disk in {output.checkpoint.parent}, for a checkpoint and "
        f"the next while it is written, and {size_in_words(disk.result)} of it for the tuned weights."
    )

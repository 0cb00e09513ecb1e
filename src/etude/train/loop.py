"""The training loop: LoRA or all weights on token rows, best epoch by dev loss, and an exact continuation after a kill.

To see what happens in one plain script, read `flat.py` first; it reaches the same losses.

One function, `train`, varied by what it is passed. It knows no run folder and no method: it gets
token rows, tells `log` what happens, and calls `on_eval` where the dev loss is measured.

Nothing random carries over from step to step (row order comes from seed and epoch, dropout from
seed and step), so weights, optimizer state and counters are the whole state of a run.
"""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from torch import Tensor

from etude.errors import ModelError, RunError
from etude.train import course
from etude.train.batches import TokenRow, check_rows, make_batches
from etude.train.checkpoint import load_checkpoint, save_checkpoint
from etude.train.config import TrainConfig
from etude.train.full import save_model
from etude.train.hidden import HiddenCache, hidden_cache
from etude.train.lora import save_adapter
from etude.train.loss import check_head
from etude.train.memory import give_back_freed_memory, peak_memory, reset_peak_memory
from etude.train.step import Progress, Run, dev_loss, started_run, train_step
from etude.world import ONE, World

if TYPE_CHECKING:
    from transformers import PreTrainedModel

MARK = 1024
"""Numbers of a tensor by which it is told from another."""
Log = Callable[[Mapping[str, Any]], None]
"""Takes one line of training news, as JSON-ready values."""
OnEval = Callable[[], Mapping[str, Any]]
"""Called after each dev loss, the adapter in place and the module in eval mode; its values join the
epoch's line of news. The best epoch is the one of the highest `score` where there is one, else of the lowest
dev loss; of equal ones the earliest."""
SAVING = 0.05
"""Share of the time that checkpoints may take; they are written more often than asked for where that is less."""


@dataclass(frozen=True, slots=True)
class Output:
    """Where a run writes, and whom it tells."""

    checkpoint: Path
    """Folder of the run under way; the caller removes it once the result is safe."""
    adapter: Path
    """Folder of what was learned: in PEFT's format, or for all weights config.json and model.safetensors."""
    log: Log = lambda news: None
    on_eval: OnEval = dict
    base_model: str = ""
    """Noted in the adapter as the base's name; nothing is looked up by it."""
    checkpoint_seconds: float = 30.0
    """Time from one checkpoint to the next."""


@dataclass(frozen=True, slots=True)
class TrainResult:
    """What a finished training run was."""

    best_epoch: int
    """The epoch whose weights were kept; 0 is the untrained base: training made it worse."""
    dev_losses: tuple[float, ...]
    """Mean loss of a trained dev token after each epoch, epoch 0 first, in nats."""
    train_losses: tuple[float, ...]
    """Mean loss of the steps of each epoch, the first epoch's first."""
    steps: int
    tokens: int
    """Tokens computed in training, without padding."""
    rows: int
    """Rows trained on, counted once for each epoch."""
    seconds: float
    """Wall-clock seconds of steps and dev losses, over all continuations."""
    peak_memory: int
    """Bytes at the highest point since this process began or went on; 0 where unknown."""


def train(
    module: PreTrainedModel,
    rows: Sequence[TokenRow],
    dev_rows: Sequence[TokenRow],
    config: TrainConfig,
    output: Output,
    world: World = ONE,
) -> TrainResult:
    """Trains LoRA adapters over `module`, or all its weights, and writes the best epoch's to `output.adapter`.

    `module` is a decoder with a language-model head; afterwards it is as it was. When `output.checkpoint`
    holds a run of the same rows and settings, that run goes on, to the same weights bit for bit on the same
    machine; news of steps after its last checkpoint is told again. Loss of a step: sum of token losses over
    the number of trained tokens of the global batch.

    The processes of a `world` call it together with the same arguments, on copies of the same weights, and
    share out the rows of every batch. All see the same losses and end with the same weights; process 0 alone
    writes, and calls `on_eval`. All read the checkpoint, so its disk must be one that all of them see.

    `output.log` gets {"step", "epoch", "loss", "tokens", "seconds", "learning_rate", "gradient", "memory"} for a
    step; {"epoch", "dev_loss", "train_loss", "best", "overfits"} and what `on_eval` returned for an epoch,
    `train_loss` being the mean of its steps and absent from epoch 0; {"resumed_at_step"}; {"note"} (what is
    kept on disk meanwhile); and {"warning"} (a checkpoint that could not be written).
    Raises InputError (rows that cannot be trained on, all of them), ModelError (a loss that is not a
    number or a spike, with the row ids of its batch; a model that cannot be trained), RunError (the
    checkpoint is another run's, or the adapter cannot be written), Parted (another process has ended).
    """
    check_rows(rows, dev_rows, config.max_tokens)
    give_back_freed_memory()
    reset_peak_memory(module.device)
    with started_run(module, config, len(rows), world) as run:
        check_head(module)
        fingerprint = _fingerprint(module, config, rows, dev_rows)
        keep = _Keeper(run, output, fingerprint)
        keep.restore()
        if not run.adapters:
            output.log({"note": _memory_note(run, module)})
        if not _finished(run):
            with hidden_cache(run, rows, dev_rows, output.checkpoint, fingerprint, output.log) as cache:
                _epochs(run, rows, dev_rows, keep, cache)
        _write_best(run, module, output)
        return _result(run)


def _finished(run: Run) -> bool:
    progress = run.progress
    return progress.epoch >= run.config.epochs or progress.epoch - progress.best_epoch >= run.config.patience


def _epochs(
    run: Run,
    rows: Sequence[TokenRow],
    dev_rows: Sequence[TokenRow],
    keep: _Keeper,
    cache: HiddenCache | None,
) -> None:
    while not _finished(run):
        if run.progress.epoch >= 0:
            _epoch(run, rows, keep)
        _measure(run, dev_rows, keep.output)
        if cache is not None:
            cache.seal()
        keep.save()
    if cache is not None:
        cache.remove()


def _epoch(run: Run, rows: Sequence[TokenRow], keep: _Keeper) -> None:
    """The steps of the epoch under way that are not done yet."""
    progress, config = run.progress, run.config
    batches = make_batches(rows, config.rows_per_step, config.seed, progress.epoch + 1)
    for batch in batches[progress.batch :]:
        started = time.perf_counter()
        news = train_step(run, batch)
        seconds = time.perf_counter() - started
        tokens = sum(len(row.ids) for row in batch)
        progress.step += 1
        progress.batch += 1
        progress.tokens += tokens
        progress.rows += len(batch)
        progress.seconds += seconds
        place = {"step": progress.step, "epoch": progress.epoch + 1}
        spent = {"tokens": tokens, "seconds": seconds, "memory": peak_memory(run.module.device)}
        keep.output.log({**place, **news, **spent})
        _follow(run, batch, news["loss"])
        keep.save_when_due()


def _follow(run: Run, batch: Sequence[TokenRow], loss: float) -> None:
    """Notes the loss of a step. Raises ModelError naming the rows of the batch when it is a spike."""
    progress = run.progress
    limit = course.highest_loss(progress.recent, progress.dev_losses[0])
    if run.config.stop_on_spike and loss > limit:
        raise ModelError(
            f"Training stopped at step {progress.step}: its loss of {loss:.2f} is a spike (above {limit:.2f}; the "
            f"median before was {median(progress.recent):.2f}). Rows of the batch: "
            f"{', '.join(row.id for row in batch)}. Look at these rows. If they are right, lower the learning rate "
            f"(train: {{learning_rate: {run.config.learning_rate / 2:g}}}) or set train: {{stop_on_spike: false}}."
        )
    progress.recent = [*progress.recent, loss][-course.WINDOW :]
    progress.epoch_loss += loss


def _measure(run: Run, dev_rows: Sequence[TokenRow], output: Output) -> None:
    """Ends an epoch: its dev loss, and its weights kept when they are the best so far."""
    progress = run.progress
    started = time.perf_counter()
    loss = dev_loss(run.module, dev_rows, run.config.micro_tokens, run.body, run.placement)
    if not math.isfinite(loss):
        raise ModelError(f"The dev loss of epoch {progress.epoch + 1} is {loss}. Lower the learning rate.")
    found = run.world.share(dict(output.on_eval()) if run.world.leads else None)
    score = float(found.get("score", -loss))
    best = score > max(progress.scores, default=-math.inf)
    progress.epoch += 1
    progress.dev_losses.append(loss)
    progress.scores.append(score)
    news = {"epoch": progress.epoch, "dev_loss": loss, **_trained(progress), "best": best, **found}
    if best:
        progress.best_epoch = progress.epoch
        run.best.copy_(run.buffer.current)
    progress.seconds += time.perf_counter() - started
    output.log(news)


def _trained(progress: Progress) -> dict[str, Any]:
    """Ends the count of the epoch's steps: their mean loss, and whether the epoch overfits."""
    if progress.epoch == 0:
        return {}
    progress.train_losses.append(progress.epoch_loss / progress.batch)
    progress.batch, progress.epoch_loss = 0, 0.0
    overfits = course.overfits(progress.train_losses, progress.dev_losses)
    return {"train_loss": progress.train_losses[-1], "overfits": overfits}


def _write_best(run: Run, module: PreTrainedModel, output: Output) -> None:
    """Process 0 writes what all of them hold."""
    best = run.placement.whole(run.best)
    if not run.world.leads:
        return
    try:
        with run.placement.given(run.buffer, best):
            if run.adapters:
                save_adapter(run.adapters, output.adapter, output.base_model)
            else:
                save_model(module, output.adapter)
    except OSError as error:
        raise RunError(
            f"The tuned weights cannot be written to {output.adapter} ({error}). Make room and go on."
        ) from error


def _memory_note(run: Run, module: PreTrainedModel) -> str:
    gigabytes = run.buffer.num_bytes() / 1e9
    where = " in each process" if run.world.size > 1 else ""
    return (
        f"All {module.num_parameters() / 1e6:,.0f} million weights are tuned: {gigabytes:.2g} GB of memory{where} "
        "beside the model, for the weights in 32 bits, their gradients, two states of the optimizer and the best "
        "epoch."
    )


def _result(run: Run) -> TrainResult:
    done = run.progress
    peak = peak_memory(run.module.device)
    return TrainResult(
        best_epoch=done.best_epoch,
        dev_losses=tuple(done.dev_losses),
        train_losses=tuple(done.train_losses),
        steps=done.step,
        tokens=done.tokens,
        rows=done.rows,
        seconds=done.seconds,
        peak_memory=peak,
    )


@dataclass(slots=True)
class _Keeper:
    """Keeps a run's checkpoint: when it is due, and where."""

    run: Run
    output: Output
    fingerprint: str
    saved_at: float = field(default_factory=time.monotonic)
    cost: float = math.inf
    """Seconds that the last save took."""

    def save_when_due(self) -> None:
        due = min(self.output.checkpoint_seconds, max(1.0, self.cost / SAVING))
        # Process 0's clock is that of all.
        if self.run.world.total(self.run.world.leads and time.monotonic() - self.saved_at >= due):
            self.save()

    def save(self) -> None:
        """Process 0 writes what all of them hold. A checkpoint that cannot be written is told and training goes
        on: the last good one stands."""
        started = time.monotonic()
        tensors = {name: self.run.placement.whole(tensor) for name, tensor in _tensors(self.run).items()}
        if self.run.world.leads:
            self._write(tensors)
        self.saved_at = time.monotonic()
        self.cost = self.saved_at - started

    def _write(self, tensors: Mapping[str, Tensor]) -> None:
        facts = {"fingerprint": self.fingerprint, "progress": asdict(self.run.progress)}
        try:
            save_checkpoint(self.output.checkpoint, tensors, facts)
        except OSError as error:
            self.output.log(
                {"warning": f"The checkpoint of step {self.run.progress.step} was not written: {error}."}
            )

    def restore(self) -> None:
        """Goes on from the folder's checkpoint, when there is one, all processes from the same."""
        found = load_checkpoint(self.output.checkpoint)
        if found is not None:
            self._take(*found)
        world, place = self.run.world, [found is not None, self.run.progress.step]
        if world.total(place != world.share(place)):
            raise RunError(
                f"Not all processes see the same checkpoint in {self.output.checkpoint}. Keep the run on a disk that "
                "all of the machines see."
            )

    def _take(self, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
        if facts["fingerprint"] != self.fingerprint:
            raise RunError(
                f"{self.output.checkpoint} holds a checkpoint of other rows, settings or weights. "
                "Remove the folder to train anew, or give another."
            )
        for name, tensor in _tensors(self.run).items():
            tensor.copy_(self.run.placement.held(tensors[name]))
        self.run.placement.spread(self.run.buffer)
        self.run.progress = Progress(**facts["progress"])
        self.output.log({"resumed_at_step": self.run.progress.step})


def _tensors(run: Run) -> dict[str, Tensor]:
    weights = run.buffer.weights
    return {"weights": weights.data, "best": run.best, **run.optimizer.state[weights]}


def _fingerprint(
    module: PreTrainedModel, config: TrainConfig, rows: Sequence[TokenRow], dev_rows: Sequence[TokenRow]
) -> str:
    """Tells runs apart: settings, rows, and the beginning of every tensor of the model as training finds it."""
    digest = hashlib.sha256(json.dumps(config.values(), sort_keys=True).encode())
    for part in (rows, dev_rows):
        digest.update(repr([(row.id, row.ids, row.trained) for row in part]).encode())
    for name, weight in module.named_parameters():
        digest.update(f"{name} {tuple(weight.shape)} {weight.dtype}".encode())
        digest.update(weight.detach().flatten()[:MARK].double().cpu().numpy().tobytes())
    return digest.hexdigest()

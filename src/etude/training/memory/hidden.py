"""Hidden states below the adapted layers, computed once for each row and kept for all epochs.

With adapters in the top layers alone, what enters the lowest of them is the same in every epoch: the
layers below are frozen. The first epoch writes it down as it goes; further epochs and dev losses begin at
that layer. It is kept in the numbers the model computes in, so nothing is rounded; but a matrix product
may round a row in another way when other rows stand beside it, so losses from the second epoch on
differ from those without the file by such rounding. Rows with the same tokens share their states.
Where several processes train, nothing is kept: each would meet rows in the second epoch that another has computed.

B = rows of a micro-batch, T = its longest row in tokens, D = width of the hidden states.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from etude.base.files import read_json, write_json
from etude.base.wording import size_in_words
from etude.task.settings import ALL
from etude.training.layers.body import AllLayers
from etude.training.layers.decoder import decoder_layers, lowest_layer
from etude.training.layers.entrance import (
    Entrance,
    NotKeptError,
    ended_at,
    find_entrance,
    started_at,
    watched,
)
from etude.training.memory.states_file import StatesFile, key_of
from etude.training.output import Log
from etude.training.rows.batches import MicroBatch, TokenRow, collate, make_batches, split_micro
from etude.training.rows.packing import Packing
from etude.training.step import Run

if TYPE_CHECKING:
    from transformers import PreTrainedModel

FILE, SEAL = "hidden.bin", "hidden.json"


@contextmanager
def hidden_cache(
    run: Run,
    rows: Sequence[TokenRow],
    dev_rows: Sequence[TokenRow],
    folder: Path,
    fingerprint: str,
    log: Log,
) -> Iterator[HiddenCache | None]:
    """The cache of a run, as its body for the length of a `with`; None where none is wanted or possible.

    Logs a note with the size on disk before anything is computed, or a warning that says why it goes on
    without. A run that goes on takes up its file in `folder`, or computes again what it has lost.
    """
    cache = _opened(run, [*dev_rows, *rows], folder, fingerprint, log) if _wanted(run) else None
    body = run.body
    try:
        if cache is not None:
            run.body = cache
            if not cache.sealed:
                cache.fill(run.module, _begun(run, rows, dev_rows), run.config.micro_tokens)
        yield cache
    finally:
        run.body = body
        if cache is not None:
            cache.file.close()


def _wanted(run: Run) -> bool:
    """Whether the settings ask for a cache; where they say nothing, whether it pays."""
    config = run.config
    pays = config.lora_layers != ALL and config.epochs > 1
    return bool(run.adapters) and (pays if config.hidden_cache is None else config.hidden_cache)


def _opened(
    run: Run, rows: Sequence[TokenRow], folder: Path, fingerprint: str, log: Log
) -> HiddenCache | None:
    """The cache with its file in `folder`, of which the log is told; or None, and the log is told why."""
    try:
        entrance = _entrance(run)
    except NotKeptError as reason:
        log({"warning": f"Hidden states are not kept: {reason}. Every layer is computed in every epoch."})
        return None
    assert isinstance(run.body, AllLayers), "only a cache takes the place of all layers"
    file = StatesFile(folder / FILE, rows, entrance.width, entrance.dtype)
    where = f"{size_in_words(file.size)} in {folder}"
    cache = HiddenCache(entrance, file, log, fingerprint, run.body)
    cache.reuse()
    try:
        file.open()
    except OSError as error:
        log({"warning": f"Hidden states are not kept ({where}: {error.strerror})."})
        return None
    below = f"below layer {len(entrance.below)}"
    log({"note": f"Hidden states {below} are kept until the end of training: {where}."})
    return cache


def _entrance(run: Run) -> Entrance:
    """Where kept states enter the run's model. Raises NotKeptError."""
    if run.world.size > 1:
        raise NotKeptError("several processes train, each on other rows every epoch")
    path, layers = decoder_layers(run.module)
    lowest = lowest_layer(path, (adapter.name for adapter in run.adapters))
    if not lowest:
        raise NotKeptError("no layer below is left unadapted")
    return find_entrance(run.module, layers, lowest)


def _begun(run: Run, rows: Sequence[TokenRow], dev_rows: Sequence[TokenRow]) -> Iterator[Sequence[TokenRow]]:
    """The batches whose states this run has already computed once, in their order."""
    progress, config = run.progress, run.config
    if progress.epoch < 0:
        return
    yield dev_rows
    batches = make_batches(rows, config.rows_per_step, config.seed, epoch=1)
    yield from batches if progress.epoch else batches[: progress.batch]


@dataclass(slots=True)
class HiddenCache:
    """A body (see body.py) that begins at the lowest adapted layer where the states below are known."""

    entrance: Entrance
    file: StatesFile
    log: Log
    fingerprint: str
    body: AllLayers
    """What computes the layers."""
    sealed: bool = False
    failed: bool = False

    @property
    def packed(self) -> bool:
        """As the layers are given their rows."""
        return self.body.packed

    def __call__(self, module: PreTrainedModel, batch: MicroBatch) -> Tensor:
        """The last hidden states (B, T, D); what enters the lowest adapted layer is kept when it is new."""
        keys = [key_of(row) for row in batch.rows]
        if self.failed:
            return self.body(module, batch)
        packing = self.body.packing(module, batch)
        if self.file.known.issuperset(keys):
            with started_at(self.entrance, self._states(keys, batch, packing)):
                return self.body(module, batch)
        with watched(self.entrance.above[0]) as (entered, _):
            hidden = self.body(module, batch)
        self._keep(keys, _rows_of(entered[0].detach().cpu(), batch, packing))
        return hidden

    def fill(self, module: PreTrainedModel, batches: Iterable[Sequence[TokenRow]], micro_tokens: int) -> None:
        """Computes the states of rows anew, in the micro-batches in which they were first computed, so that
        they are the same bit for bit."""
        module.train()
        with torch.no_grad(), ended_at(self.entrance):
            for batch in batches:
                for part in split_micro(batch, micro_tokens, self.packed):
                    self(module, collate(part, module.device))

    def seal(self) -> None:
        """Once all rows are known, notes that a run which goes on may use the file as it is."""
        if self.sealed or self.failed or len(self.file.known) < len(self.file.offsets):
            return
        self.file.flush()
        write_json(self.file.path.with_name(SEAL), {"fingerprint": self.fingerprint, "bytes": self.file.size})
        self.sealed = True

    def reuse(self) -> bool:
        """Takes the file of an earlier attempt, when that was sealed by the same run."""
        seal = self.file.path.with_name(SEAL)
        wanted = {"fingerprint": self.fingerprint, "bytes": self.file.size}
        self.sealed = self.file.stands() and seal.exists() and read_json(seal) == wanted
        if self.sealed:
            self.file.known.update(self.file.offsets)
        else:
            seal.unlink(missing_ok=True)
        return self.sealed

    def remove(self) -> None:
        """Deletes what is on the disk."""
        self.file.path.with_name(SEAL).unlink(missing_ok=True)
        self.file.remove()

    def _states(self, keys: Sequence[bytes], batch: MicroBatch, packing: Packing | None) -> Tensor:
        """As the layers are given them; zero behind the end of a row, where nothing that counts can see it."""
        shape = batch.ids.shape if packing is None else (1, len(packing.at))
        states = torch.zeros(*shape, self.entrance.width, dtype=self.entrance.dtype)
        for key, place in zip(keys, _rows_of(states, batch, packing), strict=True):
            self.file.read(key, place)
        return states.to(batch.ids.device)

    def _keep(self, keys: Sequence[bytes], rows: Sequence[Tensor]) -> None:
        try:
            for key, states in zip(keys, rows, strict=True):
                if key not in self.file.known:
                    self.file.write(key, states)
        except OSError as error:
            self.failed = True
            self.log({"warning": f"Hidden states cannot be kept ({error}); every layer is computed again."})


def _rows_of(states: Tensor, batch: MicroBatch, packing: Packing | None) -> Sequence[Tensor]:
    """The states of each row, without padding, as views."""
    lengths = [len(row.ids) for row in batch.rows]
    if packing is not None:
        return torch.split(states[0], lengths)
    return [place[:length] for place, length in zip(states, lengths, strict=True)]

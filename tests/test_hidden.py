"""Hidden states kept from epoch to epoch: the same losses, less work, and right after a kill."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from etude.training import Output, TokenRow, estimate_speed, train
from etude.training.layers.body import whole_body
from etude.training.layers.decoder import decoder_layers
from etude.training.layers.entrance import find_entrance, started_at
from etude.training.memory import speed
from etude.training.memory.hidden import FILE, SEAL
from etude.training.memory.states_file import StatesFile, key_of
from etude.training.rows.batches import collate
from test_train import ADAPTER, CONFIG, StopError, ignore, tiny_model, token_rows
from tiny import tiny_module

LAYERS = 4
TOP = replace(CONFIG, lora_layers="top-1", epochs=3, patience=9)


def taught(
    folder: Path,
    log: Callable[[Mapping[str, Any]], None] = ignore,
    dtype: torch.dtype = torch.float32,
    **changes: Any,
) -> bytes:
    """A run of 15 steps whose adapter is returned as bytes; some rows come twice, and one stands in dev too."""
    every = changes.pop("every_step", False)
    rows, dev = token_rows(18), token_rows(6, seed=1)
    rows[7] = replace(rows[3], id="twin")
    train(
        changes.pop("module", None) or tiny_model(dtype, num_hidden_layers=LAYERS),
        rows,
        [*dev, replace(rows[0], id="dev twin")],
        replace(TOP, **changes),
        Output(folder / "checkpoint", folder / "adapter", log, every_step=every),
    )
    return (folder / "adapter" / ADAPTER).read_bytes()


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The adapter of a run that nothing interrupts."""
    return taught(tmp_path_factory.mktemp("whole"))


def losses(folder: Path, **changes: Any) -> tuple[list[float], list[float]]:
    """Losses of the steps and of dev."""
    news: list[Mapping[str, Any]] = []
    taught(folder, news.append, **changes)
    assert bool([line for line in news if "note" in line]) == (changes.get("hidden_cache") is not False)
    return tuple([line[key] for line in news if key in line] for key in ("loss", "dev_loss"))  # type: ignore[return-value]


@pytest.mark.parametrize(("dtype", "limit"), [(torch.float32, 1e-5), (torch.bfloat16, 1e-2)])
def test_losses_are_those_of_computing_every_layer(tmp_path: Path, dtype: torch.dtype, limit: float) -> None:
    kept = losses(tmp_path / "kept", dtype=dtype)
    whole = losses(tmp_path / "whole", dtype=dtype, hidden_cache=False)
    assert kept[0][:5] == whole[0][:5], "the first epoch is the same computation"
    assert kept[1][:2] == whole[1][:2]
    assert kept[0] == pytest.approx(whole[0], rel=limit)
    assert kept[1] == pytest.approx(whole[1], rel=limit)


def test_losses_are_the_same_bit_for_bit_where_batches_are(tmp_path: Path) -> None:
    """With one row at a time a row always stands in the same company."""
    alone = {"dtype": torch.bfloat16, "micro_tokens": 1}
    assert losses(tmp_path / "kept", **alone) == losses(tmp_path / "whole", hidden_cache=False, **alone)


def test_from_the_second_epoch_on_the_layers_below_are_not_computed(tmp_path: Path) -> None:
    module, calls, epochs = tiny_model(num_hidden_layers=LAYERS), [], []
    for number, layer in enumerate(module.model.layers):
        layer.mlp.register_forward_hook(lambda *_, number=number: calls.append(number))

    def log(news: Mapping[str, Any]) -> None:
        if "dev_loss" in news:
            epochs.append({number: calls.count(number) for number in range(LAYERS)})
            calls.clear()

    taught(tmp_path, log, module=module)
    assert epochs[1][0] == epochs[1][2] > 0
    assert epochs[1][3] > epochs[1][2], "dev rows were known"
    assert [set(epoch) for epoch in epochs[2:]] == [{0, 1, 2, 3}] * 2
    assert all(epoch[number] == 0 for epoch in epochs[2:] for number in range(3))


def test_the_pace_of_epochs_from_kept_states_is_foreseen(monkeypatch: pytest.MonkeyPatch) -> None:
    # A clock that this layer alone moves, and every look at it a little: a busy machine changes nothing.
    clock = [0.0]

    def advance(seconds: float) -> float:
        clock[0] += seconds
        return clock[0]

    monkeypatch.setattr(speed, "time", SimpleNamespace(perf_counter=lambda: advance(0.001)))
    module = tiny_model(num_hidden_layers=LAYERS)
    module.model.layers[0].mlp.register_forward_hook(lambda *_: advance(0.05) and None)
    rows, dev = token_rows(18), token_rows(6, seed=1)
    pace = estimate_speed(module, rows, TOP, dev)
    assert pace.first > 2 * pace.later > 0
    assert pace.dev_first > 2 * pace.dev_later > 0
    assert pace.seconds(3) == pytest.approx(pace.first + 2 * pace.later + pace.dev_first + 3 * pace.dev_later)
    whole = estimate_speed(module, rows, replace(TOP, hidden_cache=False), dev)
    assert whole.later == whole.first > pace.later
    assert all("forward" not in vars(part) for part in module.modules())


def test_nothing_is_left_on_the_disk_and_the_module_is_as_it_was(tmp_path: Path) -> None:
    module = tiny_model(num_hidden_layers=LAYERS)
    taught(tmp_path, module=module)
    assert {path.name for path in (tmp_path / "checkpoint").iterdir()} == {"checkpoint.safetensors"}
    assert all("forward" not in vars(part) for part in module.modules())
    assert all(not part._forward_hooks and not part._forward_pre_hooks for part in module.modules())


@pytest.mark.parametrize("kind", ["llama", "qwen2", "gemma2", "phi3", "olmo2"])
def test_a_model_goes_on_from_its_own_states_in_every_family(kind: str) -> None:
    module, rows = tiny_module(kind), token_rows(3)
    _, layers = decoder_layers(module)
    entrance = find_entrance(module, layers, 2)
    batch, states = collate(rows, module.device), []
    handle = layers[2].register_forward_pre_hook(lambda _, given: states.append(given[0]))
    with torch.no_grad():
        whole = whole_body(module, batch)
        handle.remove()
        for row, place in zip(rows, states[0], strict=True):
            place[len(row.ids) :] = 0
        with started_at(entrance, states[0]):
            again = whole_body(module, batch)
    for row, ours, theirs in zip(rows, again, whole, strict=True):
        assert torch.equal(ours[: len(row.ids)], theirs[: len(row.ids)])


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU; to run: where there is one")
def test_a_gpu_keeps_states_as_the_processor_does(tmp_path: Path) -> None:
    kept, whole = (
        losses(
            tmp_path / str(cache), module=tiny_model(num_hidden_layers=LAYERS).to("cuda"), hidden_cache=cache
        )
        for cache in (None, False)
    )
    assert kept[0] == pytest.approx(whole[0], rel=1e-4)
    assert kept[1] == pytest.approx(whole[1], rel=1e-4)


# Where it is not possible


def said(folder: Path, **changes: Any) -> str:
    news: list[Mapping[str, Any]] = []
    taught(folder, news.append, **changes)
    return " ".join(line["warning"] for line in news if "warning" in line)


def test_dropout_below_is_found_out(tmp_path: Path) -> None:
    module = tiny_model(num_hidden_layers=LAYERS, attention_dropout=0.2)
    assert "random" in said(tmp_path, module=module)


def test_layers_that_hand_on_more_than_hidden_states_are_found_out(tmp_path: Path) -> None:
    """The first layer's input is added again in the last one, past all between."""
    module, first = tiny_model(num_hidden_layers=LAYERS), []
    module.model.layers[0].register_forward_pre_hook(
        lambda _, given: first.__setitem__(slice(None), [given[0]])
    )
    module.model.layers[0].register_forward_hook(
        lambda _, given, output: first.__setitem__(slice(None), [output * 2])
    )
    module.model.layers[3].register_forward_hook(lambda _, given, output: output + first[0])
    assert "more than their hidden states" in said(tmp_path, module=module)


def test_nothing_below_is_said_when_it_was_asked_for(tmp_path: Path) -> None:
    assert "no layer below" in said(tmp_path, lora_layers="all", hidden_cache=True)
    assert not said(tmp_path / "auto", lora_layers="all")


def test_a_disk_that_is_too_small_is_said_and_training_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = taught(tmp_path / "whole", hidden_cache=False)
    monkeypatch.setattr("etude.training.memory.states_file.SPARE", 2**60)
    news: list[Mapping[str, Any]] = []
    assert taught(tmp_path / "small", news.append) == expected
    assert any("too little room" in line.get("warning", "") for line in news)


@pytest.mark.parametrize("call", ["posix_fallocate", "write"])
def test_a_disk_that_fills_up_is_said_and_training_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    place = (
        "etude.training.memory.states_file.os"
        if call == "posix_fallocate"
        else "etude.training.memory.states_file.StatesFile"
    )
    monkeypatch.setattr(f"{place}.{call}", full)
    news: list[Mapping[str, Any]] = []
    adapter = taught(tmp_path / "full", news.append)
    assert any("No space left" in line.get("warning", "") for line in news)
    assert not (tmp_path / "full" / "checkpoint" / FILE).exists()
    assert adapter == taught(tmp_path / "whole", hidden_cache=False)


# After a kill


@pytest.mark.parametrize(
    ("step", "lost"), [(0, None), (2, None), (5, None), (12, None), (3, FILE), (7, FILE), (7, SEAL)]
)
def test_an_interrupted_run_ends_with_the_same_bytes(
    tmp_path: Path, step: int, lost: str | None, expected: bytes
) -> None:
    """Five steps an epoch; the file of states survives, or it or its seal is lost."""

    def stop(news: Mapping[str, Any]) -> None:
        if news.get("step", 0) == step and "note" not in news:
            raise StopError

    with pytest.raises(StopError):
        taught(tmp_path / "cut", stop, every_step=True)
    sealed = (tmp_path / "cut" / "checkpoint" / SEAL).exists()
    assert sealed == (step > 5)
    if lost:
        (tmp_path / "cut" / "checkpoint" / lost).unlink(missing_ok=True)
    assert taught(tmp_path / "cut") == expected


def test_states_of_another_run_are_not_used(tmp_path: Path) -> None:
    expected = taught(tmp_path / "whole", seed=1)
    folder = tmp_path / "other" / "checkpoint"

    def stop(news: Mapping[str, Any]) -> None:
        if news.get("step", 0) == 12:
            (folder / "checkpoint.safetensors").unlink()
            raise StopError

    with pytest.raises(StopError):
        taught(tmp_path / "other", stop)
    for number in range(2):  # what the file holds is wrong on top of that
        with (folder / FILE).open("r+b") as file:
            file.seek(64 * number)
            file.write(b"\x00" * 64)
    assert taught(tmp_path / "other", seed=1) == expected


def test_a_file_gives_back_what_it_was_given(tmp_path: Path) -> None:
    rows = [*token_rows(5), TokenRow("twin", token_rows(1)[0].ids, token_rows(1)[0].trained)]
    file = StatesFile(tmp_path / "sub" / FILE, rows, 3, torch.bfloat16)
    assert file.size == sum(len(row.ids) for row in rows[:5]) * 6
    file.open()
    assert file.path.stat().st_size == file.size
    states = {key_of(row): torch.randn(len(row.ids), 3).bfloat16() for row in rows}
    for key, each in states.items():
        file.write(key, each)
    for key, each in states.items():
        read = torch.empty_like(each)
        file.read(key, read)
        assert torch.equal(read, each)
    file.remove()
    assert not file.path.exists()

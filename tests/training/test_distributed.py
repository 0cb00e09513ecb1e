"""Several processes train as one does: same losses, same weights, one voice; and none is left waiting."""

import fcntl
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file
from test_tuning import tiny_task
from torch import distributed

from etude.base.files import read_lines
from etude.base.processes import join_processes
from etude.errors import RunError
from etude.runs import find_runs
from etude.training.rows.batches import TokenRow, choose_share, count_tokens, split_groups
from two_processes import RUNS, run

SCRIPT = Path(__file__).parents[1].joinpath("two_processes.py")


GPUS = pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two GPUs; to run: where they are")


def torchrun(*arguments: object, device: str = "cpu") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    hidden = {"CUDA_VISIBLE_DEVICES": ""} if device == "cpu" else {}
    return subprocess.run(
        [*command, *map(str, arguments)],
        env={**os.environ, "OMP_NUM_THREADS": "1", **hidden},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )


@pytest.fixture(scope="module", params=["cpu", pytest.param("cuda", marks=GPUS)])
def device(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory, device: str) -> Path:
    """The folder in which two processes have done all runs, over gloo or NCCL.

    Workers of pytest-xdist share it: the first makes it, the others wait.
    """
    if "PYTEST_XDIST_WORKER" not in os.environ:
        return run_all(tmp_path_factory.mktemp("two"), device)
    folder = tmp_path_factory.getbasetemp().parent / f"two-{device}"
    with folder.with_suffix(".lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        return folder if folder.exists() else run_all(folder, device)


def run_all(folder: Path, device: str) -> Path:
    """Does all runs beside `folder`, and is there only when they have ended well."""
    making = folder.with_name(f"{folder.name}-making")
    shutil.rmtree(making, ignore_errors=True)
    making.mkdir()
    tiny_task(making, train="max_rows: 16, epochs: 1")
    done = torchrun(SCRIPT, making, device=device)
    assert done.returncode == 0, done.stderr
    if folder.exists():
        folder.rmdir()
    return making.rename(folder)


def read_log(folder: Path, rank: int = 0) -> list[dict[str, Any]]:
    told: list[dict[str, Any]] = json.loads((folder / f"news-{rank}.json").read_text(encoding="utf-8"))
    return told


def list_losses(told: Sequence[dict[str, Any]]) -> list[float]:
    """Losses and gradients of all steps and losses on dev, in their order."""
    return [line[name] for line in told for name in ("loss", "gradient", "dev_loss") if name in line]


def read_weights(folder: Path) -> torch.Tensor:
    (file,) = (folder / "adapter").glob("*.safetensors")
    return torch.cat([tensor.flatten() for _, tensor in sorted(load_file(file).items())])


@pytest.mark.real
@pytest.mark.parametrize("name", RUNS)
def test_two_processes_train_as_one(two: Path, tmp_path: Path, device: str, name: str) -> None:
    run(tmp_path, name, device=device)
    limit = 0.02 if "16 bits" in name else 1e-4
    assert list_losses(read_log(two / name)) == pytest.approx(list_losses(read_log(tmp_path)), rel=limit)
    assert torch.allclose(read_weights(two / name), read_weights(tmp_path), rtol=10 * limit, atol=limit)


@pytest.mark.real
@pytest.mark.parametrize("name", RUNS)
def test_all_processes_are_at_the_same_weights(two: Path, name: str) -> None:
    assert list_losses(read_log(two / name, rank=1)) == list_losses(read_log(two / name))


@pytest.mark.real
@pytest.mark.parametrize("name", ["lora", "full"])
def test_a_run_that_was_stopped_ends_with_the_same_weights(two: Path, name: str) -> None:
    cut = two / f"{name}, stopped"
    assert any("resumed_at_step" in line for line in read_log(cut, rank=1))
    assert torch.equal(read_weights(cut), read_weights(two / name))


@pytest.mark.real
def test_one_process_goes_on_where_two_were_stopped(two: Path, device: str) -> None:
    run(two / "left", "full", device=device)
    assert "resumed_at_step" in read_log(two / "left")[0]
    assert torch.allclose(read_weights(two / "left"), read_weights(two / "full"), rtol=1e-3, atol=1e-4)


@pytest.mark.real
def test_a_bad_loss_stops_all_processes_with_the_same_rows(two: Path) -> None:
    one, other = [(two / "failed" / f"error-{rank}").read_text(encoding="utf-8") for rank in (0, 1)]
    assert one == other
    assert "ows of the batch: 0-" in one


@pytest.mark.real
def test_one_process_of_a_command_speaks_and_writes(two: Path) -> None:
    first, second = [(two / "task" / f"printed-{rank}").read_text(encoding="utf-8") for rank in (0, 1)]
    assert second == "0\n"
    assert first.startswith("0\n")
    assert first.count("The loss on 30 dev rows") == 1
    (run,) = find_runs(two / "task" / "runs")
    assert run.is_complete
    assert sum("step" in line for line in read_lines(run.method_folder("fine_tune") / "train.jsonl")) == 4


@given(st.lists(st.integers(2, 300), max_size=20), st.integers(1, 5), st.integers(1, 3))
def test_every_row_goes_to_one_process_and_none_gets_much_more(
    lengths: list[int], size: int, together: int
) -> None:
    lengths = lengths[: len(lengths) // together * together]
    rows = [TokenRow(str(n), (3,) * length, (True,) * length) for n, length in enumerate(lengths)]
    groups = split_groups(rows, together)
    shares = [choose_share(rows, rank, size, together) for rank in range(size)]
    found = [list(group) for share in shares for group in split_groups(share, together)]
    assert sorted(found, key=str) == sorted(groups, key=str)
    assert max(map(count_tokens, shares)) - min(map(count_tokens, shares)) <= max(
        map(count_tokens, groups), default=0
    )


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU; to run: where there is one")
@pytest.mark.parametrize("name", ["lora", "full"])
def test_a_gpu_trains_as_the_processor(tmp_path: Path, name: str) -> None:
    for device in ("cpu", "cuda"):
        run(tmp_path / device, name, device=device)
    assert list_losses(read_log(tmp_path / "cuda")) == pytest.approx(
        list_losses(read_log(tmp_path / "cpu")), rel=1e-3
    )


def test_a_group_for_gpus_alone_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    distributed.init_process_group("cuda:gloo", store=distributed.HashStore(), rank=0, world_size=1)
    try:
        with pytest.raises(RunError, match="cpu:gloo,cuda:nccl"), join_processes():
            pass
    finally:
        distributed.destroy_process_group()


@pytest.mark.real
@pytest.mark.parametrize("name", ["lora", "full"])
def test_a_death_ends_all_processes_and_the_same_command_goes_on(
    two: Path, tmp_path: Path, name: str
) -> None:
    for step in (2, 7):
        assert torchrun(SCRIPT, tmp_path / "killed", name, step).returncode != 0
    assert torchrun(SCRIPT, tmp_path / "killed", name, 0).returncode == 0
    assert torch.equal(read_weights(tmp_path / "killed"), read_weights(two / name))

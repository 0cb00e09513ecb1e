"""What each process does for test_world.py: the same training runs as one process does, one after the other.

torchrun --nproc-per-node 2 tests/two_processes.py FOLDER
"""

import io
import json
import os
import signal
import sys
from collections.abc import Mapping
from contextlib import redirect_stderr, redirect_stdout, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from etude.base.processes import SINGLE, World, join_processes
from etude.errors import ModelError
from etude.training import Output, train

sys.path.insert(0, str(Path(__file__).parent / "training"))
from test_train import CONFIG, StopError, tiny_model, token_rows

FULL = {"weights": "full", "learning_rate": 3e-3}
ODD = {"vocab_size": 97, "intermediate_size": 49, "tie_word_embeddings": True}
"""A shape that two processes cannot share evenly."""
RUNS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "lora": ({}, {}),
    "full": (FULL, {}),
    "lora in 16 bits": ({}, {**ODD, "dtype": torch.bfloat16}),
    "full in 16 bits": (FULL, {"dtype": torch.bfloat16}),
}
"""Settings of the training, and of the model."""
ROWS = 17
"""So many that the last batch of an epoch is one row: a process is left without any."""


def run(
    folder: Path,
    name: str,
    world: World = SINGLE,
    stop_at: int = 0,
    die_at: int = 0,
    device: str = "cpu",
    **more: Any,
) -> None:
    """The run `name`, stopped or with the last process killed at a step; its adapter in FOLDER/adapter, and
    the lines that each process logged in FOLDER/news-RANK.json."""
    told: list[Mapping[str, Any]] = []

    def log(news: Mapping[str, Any]) -> None:
        told.append(news)
        if stop_at and news.get("step") == stop_at:
            raise StopError
        if die_at and news.get("step") == die_at and world.rank == world.size - 1:
            os.kill(os.getpid(), signal.SIGKILL)

    output = Output(folder / "checkpoint", folder / "adapter", log, every_step=True)
    settings, shape = RUNS[name]
    config = replace(CONFIG, **settings, **more)
    rows, dev = token_rows(ROWS), token_rows(6, seed=1)
    module = tiny_model(**shape).to(device)
    before = {key: tensor.clone() for key, tensor in module.state_dict().items()}
    try:
        train(module, rows, dev, config, output, world)
    finally:
        after = module.state_dict()
        assert all(torch.equal(after[key], tensor) for key, tensor in before.items())
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"news-{world.rank}.json").write_text(json.dumps(told), encoding="utf-8")


def train_until_killed(folder: Path, name: str, world: World, device: str) -> None:
    with suppress(StopError):
        run(folder, name, world, stop_at=7, device=device)


def train_with_failure(folder: Path, world: World, device: str) -> None:
    """A run whose loss is no number, and what each process says about it."""
    try:
        run(folder, "lora", world, alpha=1e30, device=device)
    except ModelError as error:
        (folder / f"error-{world.rank}").write_text(str(error), encoding="utf-8")


def run_commands(task: Path, world: World) -> None:
    """`etude train` on a task, and what each process prints."""
    from etude.cli import main as etude

    printed = io.StringIO()
    with redirect_stdout(printed), redirect_stderr(printed):
        code = etude(["train", str(task), "--yes"])
    (task.parent / f"printed-{world.rank}").write_text(f"{code}\n{printed.getvalue()}", encoding="utf-8")


def main(folder: Path, name: str = "", die_at: str = "0") -> None:
    """All of it, or one run with a death at a step."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    with join_processes() as world:
        if name:
            run(folder, name, world, die_at=int(die_at), device=device)
            return
        for name in RUNS:
            run(folder / name, name, world, device=device)
        for name in ("lora", "full"):
            train_until_killed(folder / f"{name}, stopped", name, world, device)
            run(folder / f"{name}, stopped", name, world, device=device)
        train_until_killed(folder / "left", "full", world, device)
        train_with_failure(folder / "failed", world, device)
        run_commands(folder / "task" / "task.yaml", world)


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])

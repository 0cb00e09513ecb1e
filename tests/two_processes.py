"""What each process does for test_world.py: the same training runs as one process does, one after the other.

torchrun --nproc-per-node 2 tests/two_processes.py FOLDER
"""

from __future__ import annotations

import io
import json
import os
import signal
import sys
from collections.abc import Mapping
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import replace
from pathlib import Path
from typing import Any

from etude.errors import ModelError
from etude.train import train
from etude.world import ONE, World, joined
from test_train import CONFIG, StopError, tiny_model, token_rows

RUNS: dict[str, dict[str, Any]] = {
    "lora": {},
    "full": {"weights": "full", "learning_rate": 3e-3},
}
ROWS = 17
"""So many that the last batch of an epoch is one row: a process is left without any."""


def run(folder: Path, name: str, world: World = ONE, stop_at: int = 0, die_at: int = 0, **more: Any) -> None:
    """The run `name`, its adapter in FOLDER/adapter and what each process was told in FOLDER/news-RANK.json."""
    told: list[Mapping[str, Any]] = []

    def log(news: Mapping[str, Any]) -> None:
        told.append(news)
        if stop_at and news.get("step") == stop_at:
            raise StopError
        if die_at and news.get("step") == die_at and not world.leads:
            os.kill(os.getpid(), signal.SIGKILL)

    paths = {"checkpoint": folder / "checkpoint", "adapter": folder / "adapter"}
    config = replace(CONFIG, **{**RUNS[name], **more})
    rows, dev = token_rows(ROWS), token_rows(6, seed=1)
    try:
        train(tiny_model(), rows, dev, config, log=log, checkpoint_seconds=0.0, world=world, **paths)
    finally:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"news-{world.rank}.json").write_text(json.dumps(told), encoding="utf-8")


def stopped(folder: Path, world: World) -> None:
    """A run that is stopped at step 7 and goes on."""
    try:
        run(folder, "lora", world, stop_at=7)
    except StopError:
        run(folder, "lora", world)


def failed(folder: Path, world: World) -> None:
    """A run whose loss is no number, and what each process says about it."""
    try:
        run(folder, "lora", world, learning_rate=1e30)
    except ModelError as error:
        (folder / f"error-{world.rank}").write_text(str(error), encoding="utf-8")


def commanded(task: Path, world: World) -> None:
    """`etude train` on a task, and what each process prints."""
    from etude.cli import main as etude

    printed = io.StringIO()
    with redirect_stdout(printed), redirect_stderr(printed):
        code = etude(["train", str(task), "--yes"])
    (task.parent / f"printed-{world.rank}").write_text(f"{code}\n{printed.getvalue()}", encoding="utf-8")


def main(folder: Path, die_at: int = 0) -> None:
    """All of it, or the first run with a death at step `die_at`."""
    with joined() as world:
        if len(sys.argv) > 2:
            run(folder / "lora", "lora", world, die_at=die_at)
            return
        for name in RUNS:
            run(folder / name, name, world)
        stopped(folder / "stopped", world)
        failed(folder / "failed", world)
        commanded(folder / "task" / "task.yaml", world)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 0)

"""A comparison that is killed and started again reaches the verdict of one that was not."""

import json
import os
import random
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from etude.comparison import compare
from processes import start_command
from small_task import write_task

FEW_STEPS = "max_tokens: 24\ntrain: {epochs: 1, max_rows: 32}\n"
REAL = "smollm2-135m-instruct"
FEWER = (
    "methods: [baseline, few_shot, fine_tune]\nmax_tokens: 8\ntrain: {epochs: 1, max_rows: 24}\n"
)
"""For the real model: a method of each sort, which takes minutes with all of them."""


def small(folder: Path, model: str) -> Path:
    """A task that its methods can be fitted on in moments."""
    if model == REAL:
        return write_task(folder, "classify", model, 105, FEWER)
    return write_task(folder, model=model, num=160, more=FEW_STEPS)


def without_times(value: Any) -> Any:
    """A verdict without seconds and what is derived from them."""
    timed = ("seconds", "break_even", "fit_seconds", "train_seconds")
    if isinstance(value, dict):
        return {key: without_times(inner) for key, inner in value.items() if key not in timed}
    return [without_times(inner) for inner in value] if isinstance(value, list) else value


def verdict(run: Path) -> Any:
    """verdict.json, times and sentences about times left out."""
    found = json.loads((run / "verdict.json").read_text().replace("fake:delay=0.02", "fake"))
    found["advice"] = [
        line
        for line in found["advice"]
        if "earn" not in line["text"] and "cost" not in line["text"]
    ]
    return without_times(found)


def answers(run: Path) -> Any:
    """Every prediction and every candidate's answers on dev, times left out."""
    return {
        str(file.relative_to(run)): [
            without_times(json.loads(line)) for line in file.read_text().splitlines()
        ]
        for name in ("predictions", "tried")
        for file in sorted(run.glob(f"methods/*/{name}.jsonl"))
    }


def assistants(run: Path) -> dict[str, bytes]:
    files = sorted(path for path in run.glob("methods/*/assistant/**/*") if path.is_file())
    return {
        str(path.relative_to(run)): path.read_bytes().replace(b"fake:delay=0.02", b"fake")
        for path in files
    }


def kill_often(task: Path, kills: int, longest: float, seed: int) -> int:
    """Kills the comparison at random moments until `kills` have struck or it is done; returns how
    many did.
    """
    draw = random.Random(seed)
    struck = 0
    while struck < kills:
        process = start_command("compare", task)
        try:
            process.wait(timeout=draw.uniform(0.1, longest))
        except subprocess.TimeoutExpired:
            os.kill(process.pid, signal.SIGKILL)
            struck += 1
        process.communicate()
        if process.returncode == 0:
            break
    return struck


def check_kills(folder: Path, kills: int, model: str, slowed: str, longest: float) -> None:
    """Strikes `kills` times, in as many comparisons as that takes, and compares each with an uncut
    one.

    `slowed` is the model of the comparisons that are killed, `longest` the most seconds between
    kills.
    """
    whole = compare(small(folder / "whole", model)).run.folder
    struck = 0
    attempt = 0
    while struck < kills:
        attempt += 1
        task = small(folder / f"killed{attempt}", slowed)
        struck += kill_often(task, min(5, kills - struck), longest, seed=attempt)
        cut = compare(task).run.folder
        assert verdict(cut) == verdict(whole)
        assert answers(cut) == answers(whole)
        assert assistants(cut) == assistants(whole)
        assert json.loads((cut / "run.json").read_text())["openings"] == 1


@pytest.mark.real
def test_twenty_kills_change_nothing_with_the_fake_model(tmp_path: Path) -> None:
    check_kills(tmp_path, 20, "fake", "fake:delay=0.02", 4.0)


@pytest.mark.real
def test_kills_change_nothing_with_the_real_model(tmp_path: Path) -> None:
    check_kills(tmp_path, 4, REAL, REAL, 16.0)

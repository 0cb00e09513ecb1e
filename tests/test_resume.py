"""A comparison that is killed and started again reaches the verdict of one that was not."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

THEMES = ("dragons", "trains", "the sea", "ghosts", "cooking", "space", "music", "winter")
KILLS = 50


def write_task(folder: Path, model: str, methods: str = "all", rows: int = 260) -> Path:
    """A small answer task with a contract, made from a seed."""
    folder.mkdir(parents=True, exist_ok=True)
    draw = random.Random(7)
    lines = []
    for number in range(rows):
        theme, age = draw.choice(THEMES), draw.randint(3, 12)
        opening = draw.choice(("Please find", "We want", "Have you got", "Any"))
        asked = f"{opening} number {number} on {theme}, age {age}"
        lines.append(
            {"input": asked, "output": f"Title: All about {theme}\nAges: {age}", "tags": {"theme": theme}}
        )
    (folder / "examples.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    task = folder / "task.yaml"
    task.write_text(
        f"name: small\nkind: answer\nmodel: {model}\nexamples: examples.jsonl\n"
        "instructions: You are a librarian. Name one book.\n"
        f"contract:\n  fields: [Title, Ages]\nmethods: {methods}\nmax_tokens: 24\n"
        "train: {epochs: 1, max_rows: 32}\n"
    )
    return task


def start(task: Path) -> subprocess.Popen[bytes]:
    """The comparison in a process of its own."""
    command = [sys.executable, "-m", "etude.cli", "compare", str(task), "--yes"]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def finish(task: Path) -> Path:
    """Runs to the end and returns the run folder."""
    process = start(task)
    _, errors = process.communicate(timeout=600)
    assert process.returncode == 0, errors.decode()
    (folder,) = [path.parent for path in (task.parent / "runs").glob("*/run.json")]
    return folder


def without_times(value: Any) -> Any:
    """A verdict without seconds and what is derived from them."""
    timed = ("seconds", "break_even", "fit_seconds")
    if isinstance(value, dict):
        return {key: without_times(inner) for key, inner in value.items() if key not in timed}
    return [without_times(inner) for inner in value] if isinstance(value, list) else value


def verdict(run: Path) -> Any:
    """verdict.json, times and sentences about times left out."""
    found = json.loads((run / "verdict.json").read_text())
    found["advice"] = [
        line for line in found["advice"] if "earn" not in line["text"] and "cost" not in line["text"]
    ]
    return without_times(found)


def answers(run: Path) -> Any:
    """Every prediction, times left out."""
    return {
        file.parent.name: [without_times(json.loads(line)) for line in file.read_text().splitlines()]
        for file in sorted(run.glob("methods/*/predictions.jsonl"))
    }


def assistants(run: Path) -> dict[str, bytes]:
    """Every file of every assistant."""
    files = sorted(path for path in run.glob("methods/*/assistant/**/*") if path.is_file())
    return {str(path.relative_to(run)): path.read_bytes() for path in files}


def kill_often(task: Path, kills: int, longest: float) -> int:
    """Kills the comparison at random moments until `kills` have struck or it is done; returns how many did."""
    draw = random.Random(11)
    struck = 0
    while struck < kills:
        process = start(task)
        try:
            process.wait(timeout=draw.uniform(0.1, longest))
        except subprocess.TimeoutExpired:
            os.kill(process.pid, signal.SIGKILL)
            struck += 1
        process.communicate()
        if process.returncode == 0:
            break
    return struck


@pytest.mark.slow
def test_fifty_kills_change_nothing_with_the_fake_model(tmp_path: Path) -> None:
    whole = finish(write_task(tmp_path / "whole", "fake"))
    struck, attempt = 0, 0
    while struck < KILLS:
        attempt += 1
        task = write_task(tmp_path / f"killed{attempt}", "fake:delay=0.02")
        struck += kill_often(task, KILLS - struck, 3.0)
        cut = finish(task)
        assert verdict(cut) == verdict(whole)
        assert answers(cut) == answers(whole)
        assert json.loads((cut / "run.json").read_text())["openings"] == 1


@pytest.mark.real
def test_five_kills_change_nothing_with_the_real_model(tmp_path: Path) -> None:
    whole = finish(write_task(tmp_path / "whole", "smollm2-135m-instruct"))
    started = time.monotonic()
    finish(write_task(tmp_path / "again", "smollm2-135m-instruct"))
    task = write_task(tmp_path / "killed", "smollm2-135m-instruct")
    assert kill_often(task, 5, (time.monotonic() - started) / 2) == 5
    cut = finish(task)
    assert verdict(cut) == verdict(whole)
    assert answers(cut) == answers(whole)
    assert assistants(cut) == assistants(whole)

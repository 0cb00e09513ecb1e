"""A step that takes far longer than foreseen is reported once, with the reason; and how OpenMP's threads wait."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import etude
from etude.runs.events import Answered, Began, Ended, Event, Said
from etude.runs.late import LateSteps
from etude.types import Estimate


def said(
    seconds: list[float], processor: float, threads: int | None = 2, foreseen: float = 100.0
) -> list[str]:
    """What is said of a step that began at 0 and reported after so many seconds, at this share of a core."""
    told: list[Event] = []
    moments = iter([0.0, *seconds])
    late = LateSteps(told.append, {"few_shot": foreseen}, clock(moments, processor), lambda: threads)
    late(Began("few_shot", "dev"))
    for _ in seconds:
        late(Answered("few_shot", 1, 2, 0.0))
    return [event.text for event in told if isinstance(event, Said)]


def clock(moments: Iterator[float], processor: float) -> Callable[[], tuple[float, float]]:
    def read() -> tuple[float, float]:
        now = next(moments)
        return now, now * processor

    return read


def test_a_late_step_is_said_once_and_that_others_use_its_cores() -> None:
    (line,) = said([50, 250, 320, 400], processor=0.7)
    assert line.startswith("few_shot has taken 5.3 min, and 1.7 min were foreseen. It got 35% of its 2 cores")
    assert "the same command" in line
    assert said([50, 250, 299], processor=0.7) == []


def test_a_late_step_that_had_its_cores_has_longer_texts() -> None:
    (line,) = said([320], processor=1.9)
    assert "95% of its 2 cores, so its prompts or answers are longer" in line


def test_on_a_gpu_no_reason_is_given() -> None:
    (line,) = said([320], processor=0.1, threads=None)
    assert "cores" not in line
    assert "budget:" in line


def test_a_few_seconds_are_not_late() -> None:
    assert said([20], processor=0.1, foreseen=0.5) == []


def test_time_between_the_sides_and_of_other_steps_is_not_counted() -> None:
    told: list[Event] = []
    moments = iter([0.0, 90.0, 1000.0, 5000.0, 5090.0, 5250.0])
    late = LateSteps(told.append, {"prompt": 100.0}, clock(moments, 1.0), lambda: 1)
    sure = Estimate(1.0, 1.0, 1.0, 1)
    late(Began("prompt", "dev"))
    late(Ended("prompt", "dev", sure, None, None, 90.0, None, 1, 1))
    late(Began("own", "dev"))
    late(Began("prompt", "test"))
    late(Answered("prompt", 1, 2, 0.0))
    assert not [event for event in told if isinstance(event, Said)]
    late(Answered("prompt", 2, 2, 0.0))
    assert [event for event in told if isinstance(event, Said)]


@pytest.mark.parametrize("own", [{}, {"GOMP_SPINCOUNT": "7"}, {"OMP_WAIT_POLICY": "ACTIVE"}])
def test_threads_that_wait_spin_shortly_unless_the_user_says_otherwise(own: dict[str, str]) -> None:
    env = {name: value for name, value in os.environ.items() if name not in ("GOMP_SPINCOUNT",)} | own
    code = "import etude, os; print(os.environ.get('GOMP_SPINCOUNT'))"
    found = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    expected = {own.get("GOMP_SPINCOUNT", "None")} if own else {etude._QUIET, etude._BUSY}
    assert found.stdout.strip() in expected


@pytest.mark.parametrize(
    ("text", "busy"),
    [
        ("1.0 0.2 0.3 1/165 4714", False),
        ("0.4 0.2 0.3 2/165 4714", False),
        ("0.5 0.2 0.3 2/165 4714", True),
        ("3.0 2.0 1.0", False),
        ("", False),
    ],
)
def test_another_process_that_wants_a_core_is_seen(tmp_path: Path, text: str, busy: bool) -> None:
    (tmp_path / "loadavg").write_text(text)
    assert etude._others_run(str(tmp_path / "loadavg")) is busy
    assert not etude._others_run(str(tmp_path / "absent"))

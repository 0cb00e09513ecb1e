"""How OpenMP's threads wait for each other."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import etude


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

"""How OpenMP's threads wait for each other."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from etude.base import torch_settings


@pytest.mark.parametrize("own", [{}, {"GOMP_SPINCOUNT": "7"}, {"OMP_WAIT_POLICY": "ACTIVE"}])
def test_threads_that_wait_spin_shortly_unless_the_user_says_otherwise(
    own: dict[str, str], tmp_path: Path
) -> None:
    # In place of torch, a module that prints what torch would read when it is loaded.
    (tmp_path / "torch.py").write_text(
        "import os\nprint(os.environ.get('GOMP_SPINCOUNT'))\nraise SystemExit"
    )
    env = {name: value for name, value in os.environ.items() if name != "GOMP_SPINCOUNT"} | own
    command = [sys.executable, "-c", "import etude.training"]
    env |= {"PYTHONPATH": str(tmp_path)}
    result = subprocess.run(command, env=env, capture_output=True, text=True, check=True)
    ours = {torch_settings.QUIET_SPINS, torch_settings.BUSY_SPINS}
    expected = {own.get("GOMP_SPINCOUNT", "None")} if own else ours
    assert result.stdout.strip() in expected


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
    assert torch_settings.is_machine_busy(str(tmp_path / "loadavg")) is busy
    assert not torch_settings.is_machine_busy(str(tmp_path / "absent"))


def test_importing_etude_sets_no_variables_and_does_not_wait() -> None:
    code = (
        "import os, time; before = dict(os.environ); time.sleep = None\n"
        "import etude, etude.cli; assert dict(os.environ) == before"
    )
    subprocess.run([sys.executable, "-c", code], check=True)

"""What only some systems have is missing here: no /proc, no fork, no POSIX modules. Étude works
without it.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from etude.runs import record
from small_task import write_task

ABSENT = """
import asyncio, builtins, io, multiprocessing, os, sys, tempfile, threading, types

real_import = builtins.__import__
msvcrt = types.SimpleNamespace(locking=lambda handle, mode, length: None, LK_NBLCK=2, LK_LOCK=1)


def import_there(name, globals=None, *rest, **options):
    # Other packages choose by the name of the system, which is that of this one.
    if (globals or {}).get("__name__", "").startswith("etude"):
        if name in ("fcntl", "resource", "termios", "pwd", "grp"):
            raise ImportError(name)
        if name == "msvcrt":  # Windows has it
            return msvcrt
    return real_import(name, globals, *rest, **options)


builtins.__import__ = import_there
for name in ("fork", "nice", "sysconf", "sysconf_names", "tcgetpgrp", "getpgrp",
             "sched_getaffinity", "getuid"):
    if hasattr(os, name):
        delattr(os, name)


def hide(function):
    def call(path, *args, **options):
        if isinstance(path, str | os.PathLike) and os.fspath(path).startswith(("/proc", "/sys")):
            raise FileNotFoundError(2, "No such file or directory", os.fspath(path))
        return function(path, *args, **options)
    return call


builtins.open = io.open = hide(io.open)
os.open, os.stat = hide(os.open), hide(os.stat)
"""


def run_without(code: str, task: Path, first: str = "") -> str:
    """Runs code on such a system, after the imports of other packages, and returns what it
    prints.
    """
    command = [
        sys.executable,
        "-c",
        f"import joblib.externals.loky\n{first}" + ABSENT + code,
        str(task),
    ]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return result.stdout


@pytest.mark.real
def test_a_check_a_comparison_and_a_lock_need_nothing_of_one_system(tmp_path: Path) -> None:
    code = (
        "from etude.checks import check\n"
        "from etude.comparison import compare\n"
        "check(sys.argv[1])\n"
        "run = compare(sys.argv[1]).run\n"
        "from importlib.metadata import entry_points\n"
        "import etude.web.connections, etude.cli.printing\n"
        "for entry in entry_points(group='etude.routes'): entry.load()\n"
        "print(run.is_complete, run.info['machine']['memory_gb'], "
        "etude.cli.printing._is_in_foreground())\n"
    )
    task = write_task(tmp_path, more="methods: [baseline, prompt]\n")
    assert run_without(code, task).split()[:2] == ["True", "None"]


@pytest.mark.real
def test_a_training_needs_nothing_of_one_system(tmp_path: Path) -> None:
    from tiny import save_tiny_model

    model = save_tiny_model(tmp_path / "model", max_position_embeddings=1024)
    more = "methods: [fine_tune]\nmax_tokens: 8\ntrain: {max_rows: 16, epochs: 1}\n"
    task = write_task(tmp_path / "task", "classify", str(model), 150, more)
    code = (
        "from etude.tuning import train\nimport torch\n"
        "from etude.training.memory import usage\n"
        "print(train(sys.argv[1]).run.is_complete, usage.peak_memory(torch.device('cpu')))\n"
    )
    first = (
        "import torch, sklearn\n"
        "from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel\n"
    )
    assert run_without(code, task, first).split()[-2:] == ["True", "0"]


def test_a_machine_that_does_not_tell_its_memory_has_none_in_the_record(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert record.read_environment()["machine"]["memory_gb"]
    monkeypatch.delattr(os, "sysconf_names")
    assert record.read_environment()["machine"]["memory_gb"] is None

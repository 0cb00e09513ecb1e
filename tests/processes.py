"""A command of etude's in a process of its own, that it can be killed."""

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path


def start_command(command: str, task: Path, *options: str) -> subprocess.Popen[bytes]:
    line = [sys.executable, "-m", "etude.cli", command, str(task), "--yes", *options]
    return subprocess.Popen(line, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def kill_when(
    process: subprocess.Popen[bytes], is_time: Callable[[], bool], seconds: float
) -> None:
    """Kills a process that still runs when it is time; after `seconds` it hangs, and a kill would
    prove nothing.
    """
    until = time.monotonic() + seconds
    while not is_time():
        assert time.monotonic() < until
        assert process.poll() is None, process.stderr.read() if process.stderr else ""
        time.sleep(0.01)
    process.kill()
    process.communicate()

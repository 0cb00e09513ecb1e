"""A command of etude's in a process of its own, that it can be killed."""

import subprocess
import sys
from pathlib import Path


def start_command(command: str, task: Path) -> subprocess.Popen[bytes]:
    line = [sys.executable, "-m", "etude.cli", command, str(task), "--yes"]
    return subprocess.Popen(line, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)

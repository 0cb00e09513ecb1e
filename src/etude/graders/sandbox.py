"""Run python graders, which are code of clients, in a process that can reach nothing (sandbox_child.py). Only on Linux;
`find_obstacle` tries it out, because containers and some systems do not allow it."""

import json
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from select import select
from typing import Any

from etude.base.files import parse_storable_json

CHILD = Path(__file__).with_name("sandbox_child.py")
SECONDS = 120  # after which a grader is stopped, the same as OpenAI's
POLL_SECONDS = 0.2
MAX_SOURCE = 256_000  # bytes, the same as OpenAI's
MAX_OUTPUT = 10_000  # bytes of the child's answer; the source could write more
LIBRARIES = ("/lib", "/lib64", "/usr/lib", "/usr/lib64")  # of the system, for compiled packages
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}  # the source may not start threads
PROBE = """
import os, socket

def grade(sample, item):
    def is_stopped(act, *values):
        try:
            act(*values)
        except OSError:
            return True
    return 1.0 if all([is_stopped(open, "/etc/passwd"), is_stopped(socket.socket), is_stopped(os.fork)]) else 0.0
"""


def run_python(
    source: str,
    sample: Mapping[str, Any] | None,
    item: Mapping[str, Any],
    is_wanted: Callable[[], bool] = lambda: True,
    seconds: int = SECONDS,
) -> tuple[float, str, str]:
    """Return the score of `grade(sample, item)` in `source`, the API's flag of an error or "", and the error.

    Without a sample, the source is only compiled. If it is no longer wanted, it is stopped.
    """
    names = ("stdlib", "platstdlib", "purelib", "platlib")
    folders = list(dict.fromkeys(sysconfig.get_path(name) for name in names))
    job: dict[str, object] = {"source": source, "sample": sample, "item": item, "seconds": seconds}
    job["paths"] = [path for path in (*folders, *LIBRARIES) if Path(path).exists()]
    job["module_paths"] = [*folders, f"{folders[0]}/lib-dynload"]
    command, pipe = [sys.executable, "-I", "-S", str(CHILD)], subprocess.PIPE
    with subprocess.Popen(
        command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, env=ONE_THREAD
    ) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        with suppress(BrokenPipeError):  # the child ended before it had read everything
            child.stdin.write(json.dumps(job).encode())
            child.stdin.close()
        while is_wanted() and not select([child.stdout], [], [], POLL_SECONDS)[0]:
            pass
        output = child.stdout.read(MAX_OUTPUT) if is_wanted() else b""
        child.kill()
    try:
        answer = parse_storable_json(output.decode(errors="replace"))
        if "failure" in answer:
            detail = f"This machine cannot confine the grader ({answer['failure']})."
            return 0.0, "python_grader_server_error", detail
        error = str(answer.get("error", ""))
        return float(answer.get("score", 0.0)), error and "python_grader_runtime_error", error
    except (ValueError, TypeError, AttributeError):
        detail = (
            f"The grader exited without a result, or it was stopped: it has {seconds} s and 2 GB of memory."
        )
        return 0.0, "python_grader_runtime_error", detail


def find_obstacle() -> str:
    """Return why this machine cannot run python graders safely; "" if it can."""
    if sys.platform != "linux":
        return "they need Linux"
    score, _, detail = run_python(PROBE, {}, {})
    return "" if score == 1.0 else detail or "a grader could read files, open sockets or start processes"

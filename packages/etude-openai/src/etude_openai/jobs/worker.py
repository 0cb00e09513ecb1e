"""The child process of one job: `python -m etude_openai.jobs.worker JOBS`.

It runs the oldest unfinished job at a lower priority and records how it ended. If another child is
running, it exits at once, so any number of servers may start children in the same folder.
"""

import _thread
import os
import runpy
import signal
import sys
import threading
import time
import traceback
from importlib import import_module
from pathlib import Path

from etude.base.files import read_json, write_json
from etude_openai.jobs.job import Job, list_jobs, try_lock

NICENESS = 10  # a lower priority than the server's, which must answer quickly
MAX_ATTEMPTS = 5
"""A job that was killed this many times, for example by a lack of memory, fails."""
POLL_SECONDS = 0.2
KILL_SECONDS = 30.0  # from SIGINT to SIGKILL of a cancelled job


def main() -> None:
    """Run one job of the folder, if there is one and no other child is running."""
    root = Path(sys.argv[1])
    with try_lock(root) as has_lock:
        jobs = list_jobs(root) if has_lock else []
        job = next(
            (job for job in jobs if not job.status or job.status["state"] == "running"), None
        )
        if job:
            run_job(job)


def run_job(job: Job) -> None:
    """Run a job and write its status. The caller holds the lock."""
    attempt = job.status.get("attempt", 0) + 1
    if job.is_cancelled:
        _write_status(job, attempt, "cancelled")
        return
    if attempt > MAX_ATTEMPTS:
        _write_status(job, attempt, "failed", f"killed {MAX_ATTEMPTS} times")
        return
    _write_status(job, attempt, "running")
    if hasattr(os, "nice"):  # not on Windows
        os.nice(NICENESS)
    signal.signal(
        signal.SIGINT, signal.default_int_handler
    )  # a shell may have set it to be ignored
    log = os.open(job.folder / "output.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    threading.Thread(target=_watch_for_cancel, args=(job,), daemon=True).start()
    body = read_json(job.folder / "job.json")
    error = ""
    code = 1
    try:
        code = _call(body["target"], body["arguments"])
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    except KeyboardInterrupt:
        error = "interrupted"
    except BaseException as failure:  # noqa: BLE001 - any error of the job is its result
        traceback.print_exc()
        error = f"{type(failure).__name__}: {failure}"
    sys.stdout.flush()
    sys.stderr.flush()
    state = "succeeded" if code == 0 else "cancelled" if job.is_cancelled else "failed"
    _write_status(job, attempt, state, error or (f"exit code {code}" if code else ""))


def _call(target: str, arguments: list[str]) -> int:
    """Call `package.module:function`, or run a module as `python -m` does. Returns the exit
    code.
    """
    module, _, function = target.partition(":")
    if function:
        code = getattr(import_module(module), function)(*arguments)
        return code if isinstance(code, int) else 0
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)
    return 0


def interrupt_process(system: str = os.name) -> None:
    """Interrupt this process as Ctrl-C does. `system` is for tests."""
    if system == "nt":  # os.kill would end the process there without a chance to clean up
        _thread.interrupt_main()
    else:
        os.kill(os.getpid(), signal.SIGINT)


def _watch_for_cancel(job: Job) -> None:
    while not job.is_cancelled:
        time.sleep(POLL_SECONDS)
    interrupt_process()
    time.sleep(KILL_SECONDS)
    # Windows has only SIGTERM, which kills too.
    os.kill(os.getpid(), getattr(signal, "SIGKILL", signal.SIGTERM))


def _write_status(job: Job, attempt: int, state: str, error: str = "") -> None:
    write_json(job.folder / "status.json", {"state": state, "attempt": attempt, "error": error})


if __name__ == "__main__":
    main()

"""Jobs in child processes: the same end after a kill at any moment, one at a time, none twice, none
lost.
"""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import job_functions
import pytest

from etude_openai.jobs import Job, JobQueue
from etude_openai.jobs.worker import interrupt_process

STEPS = 6


@pytest.fixture(autouse=True)
def _importable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets child processes import the functions of these tests, and looks often for their ends."""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[1]), prepend=os.pathsep)
    monkeypatch.setattr("etude_openai.jobs.job.POLL_SECONDS", 0.02)


def wait_until(is_true: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not is_true():
        assert time.monotonic() < deadline, "nothing happened"
        time.sleep(0.02)


def wait_for(queue: JobQueue) -> list[str]:
    wait_until(lambda: all(job.is_finished for job in queue.jobs))
    return [job.state for job in queue.jobs]


def submit(queue: JobQueue, folder: Path, name: str, pause: float = 0.05) -> Job:
    return queue.submit("job_functions:count_steps", [str(folder), name, str(STEPS), str(pause)])


def check_steps(folder: Path, *names: str) -> None:
    """Every job has done each of its steps once, in order, and never beside another."""
    for name in names:
        assert (folder / name).read_text().split() == [str(step) for step in range(STEPS)]
    assert not (folder / "clash").exists()


def test_jobs_run_one_after_another_and_their_ends_are_on_disk(tmp_path: Path) -> None:
    queue = JobQueue(tmp_path / "jobs")
    for name in ("first", "second"):
        submit(queue, tmp_path, name, pause=0)
    failing = queue.submit("job_functions:fail", ["no reason"])
    command = queue.submit("platform", ["terse"])
    assert wait_for(queue) == ["succeeded", "succeeded", "failed", "succeeded"]
    check_steps(tmp_path, "first", "second")
    assert (failing.status["error"], failing.status["attempt"]) == ("ValueError: no reason", 1)
    assert "Traceback" in failing.output
    assert command.output.strip()
    assert JobQueue(tmp_path / "jobs").jobs == queue.jobs
    queue.close()


def test_a_job_runs_at_a_lower_priority(tmp_path: Path) -> None:
    queue = JobQueue(tmp_path / "jobs")
    job = queue.submit("job_functions:print_niceness")
    wait_for(queue)
    assert int(job.output) == min(19, os.nice(0) + 10)
    queue.close()


@pytest.mark.parametrize("num_steps", [0, 1, 4])
def test_a_killed_child_goes_on(num_steps: int, tmp_path: Path) -> None:
    queue = JobQueue(tmp_path / "jobs")
    for name in ("first", "second"):
        submit(queue, tmp_path, name)
    wait_until(lambda: len(job_functions.read_steps(tmp_path, "first")) >= num_steps)
    wait_until((tmp_path / "pid").exists)
    os.kill(int((tmp_path / "pid").read_text()), signal.SIGKILL)
    assert wait_for(queue) == ["succeeded", "succeeded"]
    check_steps(tmp_path, "first", "second")
    assert queue.jobs[0].status["attempt"] == 2
    queue.close()


def test_a_job_that_is_killed_every_time_fails(tmp_path: Path) -> None:
    queue = JobQueue(tmp_path / "jobs")
    job = queue.submit("job_functions:kill_itself")
    assert wait_for(queue) == ["failed"]
    assert job.status["error"] == "killed 5 times"
    queue.close()


PARENT = """
import sys, time
from pathlib import Path
from etude_openai.jobs import JobQueue
folder = Path(sys.argv[1])
queue = JobQueue(folder / "jobs")
for name in ("first", "second", "third"):
    queue.submit("job_functions:count_steps", [str(folder), name, "6", "0.05"])
    print(name, flush=True)
time.sleep(60)
"""


@pytest.mark.parametrize("moment", ["submitted", "running", "between", "with its child"])
def test_a_killed_parent_loses_and_doubles_nothing(moment: str, tmp_path: Path) -> None:
    command = [sys.executable, "-c", PARENT, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        for _ in range(3):
            parent.stdout.readline()
        if moment == "between":
            wait_until(lambda: len(job_functions.read_steps(tmp_path, "first")) == STEPS)
        elif moment != "submitted":
            wait_until(lambda: len(job_functions.read_steps(tmp_path, "first")) >= 2)
        parent.kill()
    if moment == "with its child":
        os.kill(int((tmp_path / "pid").read_text()), signal.SIGKILL)
    # Two new parents at once, as of a server and a studio on one folder.
    queues = [JobQueue(tmp_path / "jobs") for _ in range(2)]
    assert wait_for(queues[0]) == ["succeeded"] * 3
    check_steps(tmp_path, "first", "second", "third")
    for queue in queues:
        queue.close()


def test_waiting_and_running_jobs_are_cancelled(tmp_path: Path) -> None:
    queue = JobQueue(tmp_path / "jobs")
    running, waiting = (submit(queue, tmp_path, name, 0.2) for name in ("first", "second"))
    last = submit(queue, tmp_path, "third", 0)
    wait_until(lambda: running.state == "running")
    assert waiting.state == "queued"
    waiting.cancel()
    assert waiting.state == "cancelled"
    running.cancel()
    wait_until(lambda: running.is_finished)
    assert running.state == "cancelled"
    assert wait_for(queue) == ["cancelled", "cancelled", "succeeded"]
    assert last.state == "succeeded"
    assert len(job_functions.read_steps(tmp_path, "first")) < STEPS
    assert not job_functions.read_steps(tmp_path, "second")
    queue.close()


def test_a_function_of_ones_own_runs_as_a_job(tmp_path: Path) -> None:
    queue = JobQueue(tmp_path / "jobs")
    job = queue.submit("os:mkdir", [str(tmp_path / "new")])
    while not job.is_finished:
        time.sleep(0.02)
    assert job.state == "succeeded"
    assert (tmp_path / "new").is_dir()
    queue.close()


@pytest.mark.parametrize("system", ["posix", "nt"])
def test_a_cancelled_job_is_interrupted_on_every_system(system: str) -> None:
    # As a job does: a shell ignores the signal in what it starts in the background.
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            interrupt_soon(system)
    finally:
        signal.signal(signal.SIGINT, handler)


def interrupt_soon(system: str) -> None:
    """Interrupts this process from another thread, and waits for that in short sleeps, as Windows
    needs them.
    """
    threading.Timer(0.02, interrupt_process, [system]).start()
    for _ in range(3000):
        time.sleep(0.01)

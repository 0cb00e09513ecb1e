"""The progress of a comparison, from the events of its run, and the job that runs it."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from etude.base.formatting import format_interval, format_percent
from etude.errors import RunError
from etude.jobs import Job, JobQueue
from etude.runs import Run, events
from etude.runs.progress import format_progress
from etude.runs.questions import UNANSWERED

JOBS = "jobs"  # the folder of jobs beside the runs
STOP_SECONDS = 35.0  # how long `stop` waits; a job that does not stop is killed after 30 s
OUTPUT_CHARACTERS = 2_000  # displayed from the end of a failed comparison's output


@dataclass
class MethodProgress:
    """The progress of one method."""

    method: str
    activity: str = ""
    dev: str = ""  # its result on dev, in words
    test: str = ""


@dataclass
class RunProgress:
    """The progress of a run, from its events so far."""

    methods: dict[str, MethodProgress] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)  # sentences for the user, the latest last

    def add(self, event: events.Event) -> None:
        """Add one event."""
        match event:
            case events.NoteEvent(text, detail) if not detail:
                self.notes.append(text)
            case events.MethodStarted(name, side):
                activity = "being fitted" if side == "dev" else "answering the test"
                self._get_method(name).activity = activity
            case events.BatchAnswered() | events.StepTrained():
                self._get_method(event.method).activity = format_progress(event)
            case events.MethodEnded(name, side, estimate):
                interval = format_interval(estimate)
                result = f"{format_percent(estimate.value)} ({interval}, n = {estimate.n:,})"
                method = self._get_method(name)
                method.activity = ""
                method.dev, method.test = (result, method.test) if side == "dev" else (method.dev, result)
            case events.MethodFailed(name, reason):
                self._get_method(name).activity = f"failed: {reason}"
            case events.RunEnded():
                self.notes += [event.error] if event.error else []
                for method in self.methods.values():
                    method.activity = ""

    def _get_method(self, name: str) -> MethodProgress:
        return self.methods.setdefault(name, MethodProgress(name))


def read_progress(run: Run) -> RunProgress:
    """Read the progress of a run. If its events cannot be read, the notes contain the error."""
    progress = RunProgress()
    try:
        for timed in events.read_events(run):
            progress.add(timed.event)
    except RunError as error:
        progress.notes.append(str(error))
    return progress


def resume_options(run: Run) -> list[str]:
    """Return the options with which `etude compare` resumes a run, even if the budget in the task file has changed."""
    info = run.info
    budget = info["budget_seconds"]
    evidence = "full" if "evidence" in info["inputs"] else "one_run"
    return ["--budget", "none" if budget is None else f"{budget}s", "--evidence", evidence]


class ComparisonJob:
    """`etude compare` as a job: the pages stay fast, and a kill or stop loses at most one batch."""

    def __init__(self, task_file: Path, root: Path) -> None:
        """Find the comparison of this task that an earlier studio left unfinished, if there is one."""
        self.task_file, self.queue = task_file, JobQueue(root / JOBS)
        unfinished = (job for job in self.queue.jobs if not job.is_finished)
        self._job: Job | None = next(
            (job for job in unfinished if job.arguments[:2] == ["compare", str(task_file)]), None
        )
        self._seen: Job | None = None  # the last job that `has_new_run` has reported

    @property
    def is_running(self) -> bool:
        return self._job is not None and not self._job.is_finished

    def has_new_run(self) -> bool:
        """Return whether the comparison has succeeded; True only once per comparison."""
        job = self._job
        if job is None or job == self._seen or not job.is_finished:
            return False
        self._seen = job
        return job.state == "succeeded"

    @property
    def question(self) -> str:
        """The output of the comparison and its question at the end; "" unless it stopped because of a question."""
        text, mark, _ = self._failed_output.partition(UNANSWERED)
        return text.strip() if mark else ""

    @property
    def failure(self) -> str:
        """The end of the output of a comparison that failed; "" if it stopped because of a question."""
        return "" if self.question else self._failed_output[-OUTPUT_CHARACTERS:].strip()

    @property
    def _failed_output(self) -> str:
        has_failed = self._job is not None and self._job.state in ("failed", "cancelled")
        return self._job.output if self._job and has_failed else ""

    def start(self, options: Sequence[str] = (), num_agreed: int = 0) -> None:
        """Start a comparison, or resume a stopped one; do nothing if one is running. The answer to its first
        `num_agreed` questions is yes."""
        if not self.is_running:
            arguments = ["compare", str(self.task_file), "--agree", str(num_agreed), *options]
            self._job = self.queue.submit("etude", arguments)

    def agree(self) -> None:
        """Answer the question of a comparison with yes, and start it again. The next question stops it again."""
        if self._job and self.question:
            _, _, _, num_agreed, *options = self._job.arguments
            self.start(options, int(num_agreed) + 1)

    def stop(self) -> None:
        """Stop the comparison as Ctrl-C does, and wait until it has ended."""
        deadline = time.monotonic() + STOP_SECONDS
        if self._job and self.is_running:
            self._job.cancel()
            while self.is_running and time.monotonic() < deadline:
                time.sleep(0.1)

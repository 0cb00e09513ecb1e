"""A task as the pages see it: its latest run, the answers to review, and the feedback."""

import threading
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

from etude.assistant import load
from etude.base.files import Json
from etude.data.dataset import survey_dataset
from etude.data.splits import input_key
from etude.errors import InputError, Issue, quote_value
from etude.feedback import FILE, Feedback, FeedbackLog, drop_undone, new_id
from etude.feedback.entry import utc_now
from etude.feedback.gather import GatheredFeedback, gather_feedback, normalize_answer, select_rows
from etude.feedback.sealed import load_sealed_test
from etude.repair.editable_rows import resolve_columns
from etude.runs import FOLDER, Run, find_run, find_runs
from etude.runs.recommended import choose_method
from etude.studio.answer_worker import AnswerWorker, compute_urgency
from etude.studio.progress import ComparisonJob
from etude.studio.review_queue import ReviewItem, ReviewQueue, hash_answer, read_requests
from etude.studio.row_store import DataCheck, DataRow, RowStore, load_findings
from etude.studio.sign_in import Person
from etude.task import load_task
from etude.types import Example

QUEUE_FILE = "studio.sqlite"  # beside the runs
DISAGREEMENT_WEIGHT = 0.01
"""How much each different answer of the other methods lowers the urgency, so that the row is reviewed earlier."""


class Studio:
    """A task, one of its runs and one of that run's assistants."""

    def __init__(
        self,
        task_file: Path,
        requests: Path | None = None,
        columns: Sequence[str] = (),
        run: str | None = None,
        method: str | None = None,
    ) -> None:
        """Read the task and fill the queue: the requests that are not test rows or near-duplicates of one, and the
        dev rows that the assistant got wrong. Loads no weights.

        Raises InputError and RunError if something cannot be read, or if no run has an assistant.
        """
        self.task_file, self._method = task_file, method
        self._requests_file, self._columns = requests, columns
        self._keeps_run = run is not None  # a run that the user named is not replaced by a newer one
        self._lock = threading.Lock()  # held while the run or the rows are replaced
        self.task = load_task(task_file, needs_model=False)
        self.comparing = ComparisonJob(task_file, self.task.folder / FOLDER)
        self._open_run(find_run(self.task.folder / FOLDER, run))

    def refresh(self) -> None:
        """Switch to the assistant of the latest complete run, once after a comparison from the page has succeeded;
        never if the user named a run."""
        with self._lock:
            if self._keeps_run or not self.comparing.has_new_run():
                return
            complete = (run for run in find_runs(self.task.folder / FOLDER) if run.is_complete)
            latest = next(complete, self.run)
            if latest.name != self.run.name:
                self.answering.stop()
                self._method = self._method if self._method in latest.fitted_methods else None
                self.task = load_task(self.task_file, needs_model=False)
                self._open_run(latest)
                self.answering.start()

    def reload(self) -> None:
        """Read the task and its rows again after the task file has changed; the run stays."""
        with self._lock:
            self.task = load_task(self.task_file, needs_model=False)
            self._load_rows()

    def _open_run(self, run: Run) -> None:
        # 1. The assistant that answers.
        self.run = run
        self.method: str
        self.method, self.reason = (self._method, "") if self._method else choose_method(run)
        self.assistant = load(run.assistant_folder(self.method))
        # 2. The rows and the feedback on them.
        self.log = FeedbackLog(self.task.folder / FILE)
        self.queue = ReviewQueue(self.task.folder / FOLDER / QUEUE_FILE)
        self._load_rows()
        self.num_sealed = 0
        """Requests left out because they are in the test."""
        # 3. The queue: what is no longer asked leaves it, and what has feedback counts as reviewed.
        if self._requests_file:
            self.queue.replace_source("requests", self._load_requests(self._requests_file))
        self.queue.replace_source("dev", self._load_wrong_dev_rows())
        self.queue.mark_done(hash_answer(entry.input, entry.answer) for entry in self.log.entries)
        self.answering = AnswerWorker(self.queue, self.assistant, self.task.endpoints)

    def _load_rows(self) -> None:
        self.rows = survey_dataset(self.task).rows
        self.sealed = load_sealed_test(self.task, self.rows)
        self.data = RowStore(self.rows, self.sealed, load_findings(self.run))
        self.checking = DataCheck(self.task, self.data)
        self._gathered: tuple[int, GatheredFeedback] | None = None
        """The number of entries, and what follows from them."""

    def _load_requests(self, file: Path) -> list[ReviewItem]:
        inputs = read_requests(file, self._columns, resolve_columns(self.task.examples).input)
        overlaps = self.sealed.find_overlaps(inputs)
        self.num_sealed = sum(overlaps)
        if self.num_sealed == len(inputs):
            message = "every request is a test row or nearly one, and the test is sealed"
            raise InputError([Issue(str(file), message, "", "give requests that are not in the test")])
        return [
            ReviewItem("requests", turns, self.name)
            for turns, is_sealed in zip(inputs, overlaps, strict=True)
            if not is_sealed
        ]

    def _load_wrong_dev_rows(self) -> list[ReviewItem]:
        """Dev rows that the assistant got wrong; those on which the methods disagree most are the most urgent."""
        rows = {row.id: row for row in self.rows}
        predictions = [
            line for method in self.run.fitted_methods for line in load_dev_predictions(self.run, method)
        ]
        answers = {(line["id"], normalize_answer(line["answer"])) for line in predictions}
        num_different = Counter(row_id for row_id, _ in answers)
        return [
            ReviewItem(
                source="dev",
                input=rows[line["id"]].input,
                assistant=self.name,
                answer=line["answer"],
                expected=rows[line["id"]].output,
                failures=tuple(line["failures"]),
                citations=tuple(line.get("citations", ())),
                confidence=line["confidence"],
                urgency=compute_urgency(line["failures"], line["confidence"])
                - DISAGREEMENT_WEIGHT * num_different[line["id"]],
            )
            for line in load_dev_predictions(self.run, self.method)
            if line["id"] in rows and line["score"] < 1
        ]

    @property
    def name(self) -> str:
        """The assistant, as RUN/METHOD."""
        return f"{self.run.name}/{self.method}"

    @property
    def people(self) -> list[Person]:
        """Everyone who was invited."""
        return [Person(name, role, hash) for name, role, hash in self.queue.people]  # type: ignore[arg-type]

    @property
    def gathered_feedback(self) -> GatheredFeedback:
        """What follows from the feedback so far; computed again after new feedback."""
        entries = self.log.entries
        if self._gathered is None or len(entries) != self._gathered[0]:
            self._gathered = len(entries), gather_feedback(entries, self.task, self.sealed)
        return self._gathered[1]

    def save_review(self, item: ReviewItem, reviewer: str, entry_id: str, **content: object) -> list[str]:
        """Save feedback on an item and mark it as reviewed. A second call with the same id changes nothing.

        `accepted` says that the answer is right: for a new request it becomes the right answer, for a dev row only a
        thumb up. Returns what is wrong with a correction; then nothing is saved.
        """
        if content.pop("accepted", False):
            is_request = item.source == "requests"
            content |= {"correction": item.answer} if is_request else {"thumb": "up"}
        correction = content.get("correction")
        if isinstance(correction, str):
            if failures := self._check_correction(correction):
                return failures
            content["correction"] = correction.strip()
        fields = (entry_id or new_id(), utc_now(), reviewer, item.assistant, item.input, item.answer or "")
        self.log.add(Feedback(*fields, **content))  # type: ignore[arg-type]
        self.queue.finish(item.id, reviewer)
        return []

    def correct(self, row: DataRow, reviewer: str, correction: str, reason: str) -> list[str]:
        """Save a correction of a row of the examples. Returns what is wrong with it; then nothing is saved."""
        text = correction.replace("\r\n", "\n").strip()
        failures = self._check_correction(text)
        if not failures:
            self._save_on_row(row, reviewer, correction=text, reason=reason.strip())
        return failures

    def exclude(self, row: DataRow, reviewer: str, reason: str) -> None:
        """Save that a row of the examples is to be left out."""
        self._save_on_row(row, reviewer, exclude=True, reason=reason.strip())

    def undo(self, entry_id: str, reviewer: str) -> None:
        """Save that an entry no longer counts. Raises InputError if there is none."""
        entry = next((entry for entry in self.log.entries if entry.id == entry_id), None)
        if entry is None:
            message = "there is no such entry"
            raise InputError([Issue("undo", message, quote_value(entry_id), "reload the page")])
        self.log.add(Feedback(new_id(), utc_now(), reviewer, "", entry.input, entry.answer, undo=entry_id))

    def list_history(self, row: DataRow) -> list[tuple[Feedback, bool]]:
        """List the feedback on a row's input, the latest first, each with whether it still counts."""
        entries = self.log.entries
        counting = {entry.id for entry in drop_undone(entries)}
        on_row = [entry for entry in reversed(entries) if entry.input == row.turns]
        return [(entry, bool(entry.undo) or entry.id in counting) for entry in on_row]

    def get_state(self, row: DataRow) -> str:
        """Return what a new file of examples will do with the row: "left out", "corrected" or ""."""
        example = Example(row.id, row.turns, row.output)
        key = input_key(example)
        if entries := self.gathered_feedback.excluded.get(key):
            excluded = select_rows(self.data.find_by_key(key), entries)
            return "left out" if row.id in {example.id for example in excluded} else ""
        answers = (answer for answer in self.gathered_feedback.answers if answer.key == key)
        return "corrected" if any(answer.differs(example) for answer in answers) else ""

    def _save_on_row(self, row: DataRow, reviewer: str, **content: object) -> None:
        self.log.add(Feedback(new_id(), utc_now(), reviewer, "", row.turns, row.output, **content))  # type: ignore[arg-type]

    def _check_correction(self, correction: str) -> list[str]:
        if not correction.strip():
            return ["it is empty"]
        return list(self.task.contract.check(correction.strip())) if self.task.contract else []


def load_dev_predictions(run: Run, method: str) -> Sequence[Json]:
    """Load the predictions of a method on dev."""
    file = run.method_folder(method) / "predictions.jsonl"
    return _load_dev_predictions(run, method, file.stat().st_mtime_ns) if file.exists() else ()


@lru_cache(maxsize=8)
def _load_dev_predictions(run: Run, method: str, changed: int) -> Sequence[Json]:
    return tuple(line for line in run.read_predictions(method) if line["side"] == "dev")

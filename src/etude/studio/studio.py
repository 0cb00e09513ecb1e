"""The state behind the pages: a task, its latest run, the answers to review, and the feedback."""

import threading
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from itertools import takewhile
from pathlib import Path
from typing import Literal

from etude.assistant import load
from etude.base.files import Json
from etude.data.dataset import survey_dataset
from etude.errors import InputError, quote_value
from etude.feedback import FILE, Feedback, FeedbackLog, drop_undone, new_id
from etude.feedback.entry import utc_now
from etude.feedback.gather import GatheredFeedback, RightAnswer, gather_feedback, normalize_answer
from etude.feedback.sealed import load_sealed_test
from etude.repair.editable_rows import resolve_columns
from etude.runs import FOLDER, Run, find_run
from etude.runs.recommended import choose_method, find_run_at
from etude.studio.answer_worker import AnswerWorker, compute_urgency
from etude.studio.label_review import LabelReview, queue_labels
from etude.studio.made_rows import change_made_row, list_made_items
from etude.studio.review_queue import QUEUE_FILE, ReviewItem, ReviewQueue, read_requests
from etude.studio.row_store import DataCheck, DataRow, RowFilter, RowStore, load_findings
from etude.studio.sign_in import Person
from etude.task import load_task
from etude.task.contract import Contract
from etude.types import Message

NUM_RIGHT = (
    20  # maximum number of dev rows counted as right that are reviewed; the metric can be wrong
)
DISAGREEMENT_WEIGHT = 0.01
"""Each different answer of another method lowers the urgency by this, so the row is reviewed
earlier.
"""


class Studio:
    """A task, a run of the task, and an assistant of the run."""

    def __init__(
        self,
        task_file: Path,
        requests: Path | None = None,
        columns: Sequence[str] = (),
        run: str | None = None,
        method: str | None = None,
    ) -> None:
        """Read the task and fill the queue with the requests that are neither test rows nor
        near-duplicates of them, and with the dev rows that the assistant got wrong. Loads no
        weights.

        Raises InputError and RunError if something cannot be read, or if no run has an assistant.
        """
        self.task_file = task_file
        self._columns = columns
        self._queue_lock = threading.Lock()
        self._lock = threading.Lock()  # locked while the rows are replaced
        self.task = load_task(task_file, needs_model=False)
        # 1. Load the assistant that answers.
        self.run = find_run(task_file, run) if run else find_run_at(task_file, prefer_complete=True)
        self.method, self.reason = (method, "") if method else choose_method(self.run)
        self.assistant = load(self.run.assistant_folder(self.method))
        # 2. Load the rows and the feedback on them.
        self.log = FeedbackLog(self.task.folder / FILE)
        self.made_file = (
            self.task.made_rows.file if self.task.made_rows else self.task.folder / "made.jsonl"
        )
        self.queue = ReviewQueue(self.task.folder / FOLDER / QUEUE_FILE)
        self._num_counted = -1
        """The number of feedback entries that the queue has counted."""
        self._load_rows()
        self.num_sealed = 0
        """The number of requests left out because they are test rows."""
        # 3. Update the queue: remove items that are no longer needed.
        if requests:
            self.queue.replace_source("requests", self._load_requests(requests))
        for source in ("dev", "right"):
            self.queue.replace_source(source, self._load_dev_rows(source))
        self.queue.replace_source("made", list_made_items(self.made_file, self.sealed))
        self.answering = AnswerWorker(self.queue, self.assistant, self.task.endpoints)

    def reload(self) -> None:
        """Read the task and its rows again after the task file has changed. The run does not
        change.
        """
        with self._lock:
            self.task = load_task(self.task_file, needs_model=False)
            self._load_rows()

    def _load_rows(self) -> None:
        self.rows = survey_dataset(self.task).rows
        self.sealed = load_sealed_test(self.task, self.rows)
        self.data = RowStore(self.rows, self.sealed, load_findings(self.run))
        queue = self.queue
        name = self.name
        self.checking = DataCheck(
            self.task, self.data, lambda data: queue_labels(queue, data, name)
        )
        self._gathered: tuple[int, GatheredFeedback] | None = None
        """The number of entries, and the feedback gathered from them."""
        self._marked: GatheredFeedback | None = None
        """The feedback that the rows are marked with."""

    def _load_requests(self, file: Path) -> list[ReviewItem]:
        columns = resolve_columns(self.task.examples).input
        inputs = read_requests(file, self._columns, columns, self.assistant.row_systems)
        overlaps = self.sealed.find_overlaps(inputs)
        self.num_sealed = sum(overlaps)
        if self.num_sealed == len(inputs):
            message = "every request is a sealed test row or a near-duplicate of one"
            raise InputError.of(str(file), message, "", "use requests that are not test rows")
        return [
            ReviewItem("requests", turns, self.name)
            for turns, is_sealed in zip(inputs, overlaps, strict=True)
            if not is_sealed
        ]

    def _load_dev_rows(self, source: Literal["dev", "right"]) -> list[ReviewItem]:
        """Load the dev rows that the assistant got wrong, or a sample of the rows that it got
        right. The more the methods disagree on a row, the more urgent it is.
        """
        rows = {row.id: row for row in self.rows}
        predictions = [
            line
            for method in self.run.fitted_methods
            for line in load_dev_predictions(self.run, method)
        ]
        answers = {(line["id"], normalize_answer(line["answer"])) for line in predictions}
        num_different = Counter(row_id for row_id, _ in answers)
        lines = [
            line
            for line in load_dev_predictions(self.run, self.method)
            if line["id"] in rows and (line["score"] < 1) == (source == "dev")
        ]
        if source == "right":
            lines = lines[:: -(-len(lines) // NUM_RIGHT) or 1]
        return [
            ReviewItem(
                source=source,
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
            for line in lines
        ]

    @property
    def name(self) -> str:
        return f"{self.run.name}/{self.method}"

    @property
    def contract(self) -> Contract:
        """The rules for every answer: the task's contract, or else the assistant's, which has the
        labels.
        """
        return self.task.contract or self.assistant.contract or Contract()

    @property
    def people(self) -> list[Person]:
        return [Person(name, role, hash) for name, role, hash in self.queue.people]  # type: ignore[arg-type]

    @property
    def gathered_feedback(self) -> GatheredFeedback:
        """The feedback so far, gathered by row; computed again after new feedback."""
        entries = self.log.entries
        if self._gathered is None or len(entries) != self._gathered[0]:
            self._gathered = len(entries), gather_feedback(entries, self.task, self.sealed)
        return self._gathered[1]

    def read_label_review(self) -> LabelReview:
        """Read which labels people have found wrong."""
        if not self.queue.has_items("labels"):
            return LabelReview((), (), 0)
        entries = {entry.id: entry for entry in self.log.entries}
        return LabelReview.read(self.sync_queue(), entries, self.data.search(RowFilter(), 0)[1])

    def sync_queue(self) -> ReviewQueue:
        """Return the queue with all feedback counted, including feedback that another process has
        saved.
        """
        with self._queue_lock:  # an older list of entries must not replace a newer one
            entries = self.log.entries
            if len(entries) != self._num_counted:
                self.queue.set_reviews(entries)
                self._num_counted = len(entries)
        return self.queue

    def save_review(
        self,
        item: ReviewItem,
        reviewer: str,
        entry_id: str,
        earlier_id: str = "",
        **content: object,
    ) -> list[str]:
        """Save feedback on an item in place of the reviewer's earlier entry. A second call with the
        id does nothing.

        `accepted` means that the answer is right. It becomes the right answer of a new request or
        of a label that is read, unless it breaks the contract, as a refusal may; and that of a dev
        row with another label, because two labels cannot both be right. Otherwise it is only a
        thumb up. On a made row, only the file of made rows changes. Returns the errors of a
        correction; if there are any, nothing is saved.
        """
        if content.pop("accepted", False):
            labels = self.task.contract.labels if self.task.contract else ()
            replaces = item.source in ("requests", "picked", "labels", "sample") or (
                bool(labels) and item.expected is not None
            )
            is_valid = not self.check_correction(item.answer or "")
            content |= {"correction": item.answer} if replaces and is_valid else {"thumb": "up"}
        correction = content.get("correction")
        if isinstance(correction, str):
            correction = self.tidy_correction(correction)
            if failures := self.check_correction(correction):
                return failures
            content["correction"] = correction
        # Leaving out a row is feedback on the answer in the row.
        answer = (item.expected or item.answer if content.get("exclude") else item.answer) or ""
        fields = (entry_id or new_id(), utc_now(), reviewer, item.assistant, item.input, answer)
        entry = Feedback(*fields, **content)  # type: ignore[arg-type]
        if item.source == "made":  # first, because the row may be gone
            with self._lock:
                change_made_row(
                    self.made_file,
                    entry.text,
                    None if entry.exclude else entry.correction or answer,
                )
        is_new = self.log.add(entry)
        earlier = self.find_entry(earlier_id)
        # For the same answer, the later entry counts and the earlier one does not.
        if is_new and earlier and earlier.reviewer == reviewer and earlier.answer != answer:
            self.undo(earlier_id, reviewer)
        self.sync_queue().release(item.id)  # counted first, so nobody else gets the item in between
        return []

    def correct(self, row: DataRow, reviewer: str, correction: str, reason: str) -> list[str]:
        """Save a correction of a row of the examples. Returns its errors; if there are any, nothing
        is saved.
        """
        text = self.tidy_correction(correction)
        failures = self.check_correction(text)
        if not failures:
            self._save_on_row(row, reviewer, correction=text, reason=reason.strip())
        return failures

    def exclude(self, row: DataRow, reviewer: str, reason: str) -> None:
        """Save that a row of the examples shall be left out."""
        self._save_on_row(row, reviewer, exclude=True, reason=reason.strip())

    def undo(self, entry_id: str, reviewer: str) -> None:
        """Save that an entry no longer counts. Raises InputError if there is none."""
        entry = self.find_entry(entry_id)
        if entry is None:
            message = "this entry does not exist"
            raise InputError.of("undo", message, quote_value(entry_id), "reload the page")
        self.log.add(
            Feedback(new_id(), utc_now(), reviewer, "", entry.input, entry.answer, undo=entry_id)
        )

    def find_entry(self, entry_id: str) -> Feedback | None:
        """Return the entry with an id."""
        return next((entry for entry in self.log.entries if entry.id == entry_id), None)

    def list_history(self, turns: Sequence[Message]) -> list[tuple[Feedback, bool]]:
        """List the feedback on an input, the latest first, each with whether it still counts."""
        entries = self.log.entries
        counting = {entry.id for entry in drop_undone(entries)}
        on_input = [entry for entry in reversed(entries) if entry.input == tuple(turns)]
        return [(entry, bool(entry.undo) or entry.id in counting) for entry in on_input]

    def list_unseen(self, turns: Sequence[Message], seen: str, reviewer: str) -> list[Feedback]:
        """List the feedback that other people gave on an input since a page was sent, the latest
        first. `seen` is the id of the latest entry on that page; "" if there was none.
        """
        later = takewhile(lambda entry: entry[0].id != seen, self.list_history(turns))
        return [
            entry
            for entry, counts in later
            if counts and not entry.choice and entry.reviewer != reviewer
        ]

    def sync_data(self) -> RowStore:
        """Return the rows with all feedback: whether each will be corrected or left out, and its
        reviewers.
        """
        gathered = self.gathered_feedback
        data = self.data
        if gathered is not self._marked:
            edits = gathered.list_edits(data.find_by_key)
            counting = drop_undone(self.log.entries)
            people = (
                (entry.reviewer, row) for entry in counting for row in data.find_ids(entry.input)
            )
            data.set_marks(
                "state",
                (("corrected" if answer else "left out", row.id) for row, _, answer in edits),
            )
            data.set_marks("person", people)
            self._marked = gathered
        return data

    def find_right_answer(self, row: DataRow) -> RightAnswer | None:
        """Return the answer that corrects a row, with the people who gave it."""
        answers = self.gathered_feedback.answers if row.state == "corrected" else ()
        return next((answer for answer in answers if answer.key == row.key), None)

    def _save_on_row(self, row: DataRow, reviewer: str, **content: object) -> None:
        self.log.add(Feedback(new_id(), utc_now(), reviewer, "", row.turns, row.output, **content))  # type: ignore[arg-type]

    def tidy_correction(self, correction: str) -> str:
        """Return an answer as it is saved: a list of labels may be written as `first; second`."""
        text = correction.replace("\r\n", "\n").strip()
        return self.task.examples.tidy(text) if text else text

    def check_correction(self, correction: str) -> list[str]:
        """Return the errors of an answer that a reviewer has written."""
        if not correction.strip():
            return ["the answer is empty"]
        return list(self.contract.check(correction.strip()))


def load_dev_predictions(run: Run, method: str) -> Sequence[Json]:
    """Load the predictions of a method on dev."""
    file = run.method_folder(method) / "predictions.jsonl"
    return _load_dev_predictions(run, method, file.stat().st_mtime_ns) if file.exists() else ()


@lru_cache(maxsize=8)
def _load_dev_predictions(run: Run, method: str, changed: int) -> Sequence[Json]:
    return tuple(line for line in run.read_predictions(method) if line["side"] == "dev")

"""A task as the pages see it: its latest run, the answers to review, and what people have said."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path

from etude.assistant import load
from etude.base.files import Json
from etude.data.dataset import survey_dataset
from etude.data.splits import input_key
from etude.errors import InputError, Issue, quote_value
from etude.feedback import FILE, Feedback, FeedbackLog, new_id, standing
from etude.feedback.entry import now
from etude.feedback.gather import Gathered, canonical, gather, rows_meant
from etude.feedback.sealed import sealed_rows
from etude.repair.rewriting import columns_of
from etude.runs import FOLDER, Run, find_run, find_runs
from etude.runs.recommended import recommended
from etude.studio.answering import Answering, urgency
from etude.studio.data import Checking, Data, DataRow, findings_of
from etude.studio.progress import Comparing
from etude.studio.queue import Item, Queue, Source, shown_hash
from etude.studio.requests import read_requests
from etude.studio.security import Person
from etude.task import load_task
from etude.types import Example

QUEUE = "studio.sqlite"
"""Beside the runs."""


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
        """Reads the task and fills the queue: the requests, without any that meet the sealed test, and the dev rows
        that the assistant got wrong. Loads no weights.

        Raises InputError and RunError if something cannot be read, or if there is no run with an assistant.
        """
        self.task_file, self._method = task_file, method
        self._requests_file, self._columns = requests, columns
        self._keeps_run = run is not None
        self._changing = threading.Lock()
        self.task = load_task(task_file, needs_model=False)
        self.comparing = Comparing(task_file, self.task.folder / FOLDER)
        self._open(find_run(self.task.folder / FOLDER, run))

    def refresh(self) -> None:
        """Lets the assistant of the latest complete run answer, once after a comparison from the page has succeeded;
        never if the studio was opened with a run that was named."""
        with self._changing:
            if self._keeps_run or not self.comparing.has_new_run():
                return
            latest = next((run for run in find_runs(self.task.folder / FOLDER) if run.complete), self.run)
            if latest.name != self.run.name:
                self.answering.stop()
                self._method = self._method if self._method in latest.methods else None
                self.task = load_task(self.task_file, needs_model=False)
                self._open(latest)
                self.answering.start()

    def reload(self) -> None:
        """Reads the task and its rows anew, after the task file was changed; the run stays."""
        with self._changing:
            self.task = load_task(self.task_file, needs_model=False)
            self._read_rows()

    def _open(self, run: Run) -> None:
        self.run = run
        self.method: str
        self.method, self.why = (self._method, "") if self._method else recommended(run)
        self.assistant = load(self.run.assistant(self.method))
        self.log = FeedbackLog(self.task.folder / FILE)
        self.queue = Queue(self.task.folder / FOLDER / QUEUE)
        self._read_rows()
        self.num_sealed = 0
        """Requests left out, because they meet the test."""
        if self._requests_file:
            self._take("requests", list(self._requests(self._requests_file)))
        self._take("dev", list(self._dev_rows()))
        self.queue.mark_done(shown_hash(entry.input, entry.answer) for entry in self.log.entries)
        self.answering = Answering(self.queue, self.assistant, self.task.endpoints)

    def _read_rows(self) -> None:
        self.rows = survey_dataset(self.task).rows
        self.sealed = sealed_rows(self.task, self.rows)
        self.data = Data(self.rows, self.sealed, findings_of(self.run))
        self.checking = Checking(self.task, self.data)
        self._gathered: tuple[int, Gathered] | None = None

    @property
    def name(self) -> str:
        """The assistant, as feedback names it."""
        return f"{self.run.name}/{self.method}"

    @property
    def gathered(self) -> Gathered:
        """What comes of the feedback so far; worked out anew when somebody has said something."""
        entries = self.log.entries
        if self._gathered is None or len(entries) != self._gathered[0]:
            self._gathered = len(entries), gather(entries, self.task, self.sealed)
        return self._gathered[1]

    def say(self, item: Item, who: str, entry: str, **said: object) -> list[str]:
        """Keeps what a person says of an item and marks it as reviewed; `entry` is the id, so that what is sent twice
        is kept once. Returns what is wrong with a correction, and then keeps nothing.

        An accepted answer to a new input is the right answer; accepting one to a row of the examples leaves the row.
        """
        accepted = said.pop("accepted", False)
        if accepted and item.source == "requests":
            said["correction"] = item.answer
        elif accepted:
            said["thumb"] = "up"
        correction = said.get("correction")
        if isinstance(correction, str):
            failures = self._failures(correction)
            if failures:
                return failures
            said["correction"] = correction.strip()
        self.log.add(
            Feedback(entry or new_id(), now(), who, item.assistant, item.input, item.answer or "", **said)  # type: ignore[arg-type]
        )
        self.queue.finish(item.id, who)
        return []

    def correct(self, row: DataRow, who: str, correction: str, reason: str) -> list[str]:
        """Keeps a correction of a row of the examples; returns what is wrong with it, and then keeps nothing."""
        text = correction.replace("\r\n", "\n").strip()
        failures = self._failures(text)
        if not failures:
            said = {"correction": text, "reason": reason.strip()}
            self.log.add(Feedback(new_id(), now(), who, "", row.turns, row.output, **said))  # type: ignore[arg-type]
        return failures

    def leave_out(self, row: DataRow, who: str, reason: str) -> None:
        """Keeps that a row of the examples is to be left out."""
        said = {"exclude": True, "reason": reason.strip()}
        self.log.add(Feedback(new_id(), now(), who, "", row.turns, row.output, **said))  # type: ignore[arg-type]

    def take_back(self, entry: str, who: str) -> None:
        """Keeps that what was said in an entry no longer counts. Raises InputError if there is none."""
        found = next((each for each in self.log.entries if each.id == entry), None)
        if found is None:
            raise InputError([Issue("undo", "there is no such entry", quote_value(entry), "reload the page")])
        self.log.add(Feedback(new_id(), now(), who, "", found.input, found.answer, undo=entry))

    def history(self, row: DataRow) -> list[tuple[Feedback, bool]]:
        """What people have said of a row's input, the latest first, each with whether it still counts."""
        entries = self.log.entries
        counting = {entry.id for entry in standing(entries)}
        said = [entry for entry in reversed(entries) if entry.input == row.turns]
        return [(entry, bool(entry.undo) or entry.id in counting) for entry in said]

    def state(self, row: DataRow) -> str:
        """What a new file of examples will do with the row: "left out", "corrected" or ""."""
        example = Example(row.id, row.turns, row.output)
        key = input_key(example)
        if entries := self.gathered.excluded.get(key):
            meant = rows_meant(self.data.with_key(key), entries)
            return "left out" if row.id in {each.id for each in meant} else ""
        given = (each for each in self.gathered.answers if each.key == key)
        return "corrected" if any(each.differs(example) for each in given) else ""

    @property
    def people(self) -> list[Person]:
        """Everyone who was invited."""
        return [Person(name, role, hash) for name, role, hash in self.queue.people]  # type: ignore[arg-type]

    def _failures(self, correction: str) -> list[str]:
        if not correction.strip():
            return ["it is empty"]
        return list(self.task.contract.check(correction.strip())) if self.task.contract else []

    def _take(self, source: Source, items: list[Item]) -> None:
        self.queue.keep_only(source, (item.id for item in items))
        self.queue.add(items)

    def _requests(self, file: Path) -> Iterator[Item]:
        inputs = read_requests(file, self._columns, columns_of(self.task.examples).input)
        met = self.sealed.meets(inputs)
        self.num_sealed = sum(met)
        if self.num_sealed == len(inputs):
            what = "every request is a test row or nearly one, and the test is sealed"
            raise InputError([Issue(str(file), what, "", "give requests that the test does not hold")])
        yield from (
            Item("requests", turns, self.name)
            for turns, is_near in zip(inputs, met, strict=True)
            if not is_near
        )

    def _dev_rows(self) -> Iterator[Item]:
        """Dev rows with an answer that is not right; first those on which the methods disagree most."""
        rows = {row.id: row for row in self.rows}
        lines = [line for name in self.run.methods for line in on_dev(self.run, name)]
        differing = Counter(row for row, _ in {(line["id"], canonical(line["answer"])) for line in lines})
        for line in on_dev(self.run, self.method):
            row = rows.get(line["id"])
            if row and line["score"] < 1:
                yield Item(
                    source="dev",
                    input=row.input,
                    assistant=self.name,
                    answer=line["answer"],
                    expected=row.output,
                    failures=tuple(line["failures"]),
                    citations=tuple(line.get("citations", ())),
                    confidence=line["confidence"],
                    urgency=urgency(line["failures"], line["confidence"]) - differing[row.id] / 100,
                )


def on_dev(run: Run, method: str) -> Sequence[Json]:
    """The dev rows as a method has answered them."""
    file = run.method(method) / "predictions.jsonl"
    return _on_dev(run, method, file.stat().st_mtime_ns) if file.exists() else ()


@lru_cache(maxsize=8)
def _on_dev(run: Run, method: str, changed: int) -> Sequence[Json]:
    return tuple(line for line in run.predictions(method) if line["side"] == "dev")

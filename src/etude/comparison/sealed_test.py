"""The sealed test of a comparison: how many rows there is time for, and the answers, block by
block.

Stored answers of other models (`answers:` under `examples:` or `test:`) are scored beside them. No
model is asked for them, and they cannot be served, so they are never recommended; the verdict says
whether a method can replace them.
"""

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from etude.assistant import Assistant
from etude.base.files import Json, write_lines
from etude.base.issues import raise_issues
from etude.comparison.ladder_run import LadderRun, describe_dropped_context
from etude.data.dataset import Dataset
from etude.errors import Issue, quote_value
from etude.evaluate import ScoredAnswer, open_answer_log
from etude.methods.shared.fit_context import resolve_contract
from etude.runs.record import build_prediction
from etude.stats.racing import FIRST_BLOCK
from etude.task import Task
from etude.types import CLASSICAL, Completion, ModelRef

BLOCK_ROWS = 50
LARGE_BLOCK_ROWS = 200
"""Test rows that a method answers before it is the next method's turn: under a budget, and without
one.
"""
FILE = "stored_answers.jsonl"
"""File in the run folder: a line for each stored answer to a test row, as in predictions.jsonl,
with its `model`.
"""
MAX_DELAY = 1.2
"""A method answers no further block if it would then need more than this many times its share of
the time.
"""
MIN_ROUND = 5
"""The last rows for which there is time are answered if they are at least so many."""


@dataclass(frozen=True)
class AnswerRounds:
    """Rounds in which the methods answer the sealed test, after all choices."""

    ladder: LadderRun

    def count_expected_rows(self, contenders: Collection[str]) -> int:
        """Estimate how many test rows the headline pair will answer in the time that is left."""
        pair = self._find_pair(contenders) or contenders
        total = len(self.ladder.split.test)
        if not self.ladder.clock.is_limited:
            return total
        if num_rows := self._count_rows_answered_before(pair):
            return num_rows
        slow = [name for name in contenders if not self.ladder.count_share_rows(name)]
        if not {*slow} & {*pair}:
            return min(map(self.ladder.count_share_rows, pair))
        others = FIRST_BLOCK * sum(
            self.ladder.get_row_seconds(name) for name in slow if name not in pair
        )
        rows = self._count_rows_in_time([name for name in pair if name in slow], others)
        return (
            rows if rows == total else max(rows - rows % BLOCK_ROWS, min(total, rows, BLOCK_ROWS))
        )

    def _find_pair(self, names: Iterable[str]) -> list[str]:
        decided = self.ladder.run.info.get("decided", {})
        return [name for name in names if name in (decided.get("tuned"), decided.get("untuned"))]

    def _count_rows_in_time(self, names: Iterable[str], kept_seconds: float = 0.0) -> int:
        """Count the rows that these methods can answer until the deadline, at least those of a
        first block of dev.
        """
        seconds = sum(map(self.ladder.get_row_seconds, names))
        total = len(self.ladder.test_rows)
        rows = (
            (self.ladder.clock.seconds_left - kept_seconds) / seconds if seconds > 0 else math.inf
        )
        return total if rows >= total else min(total, max(FIRST_BLOCK, int(rows)))

    def _count_rows_answered_before(self, names: Collection[str]) -> int:
        """Count the test rows that these methods answered in an attempt that ended; 0 without
        one.
        """
        answered = self.ladder.run.info.get("test_answered", {})
        return min((answered.get(name, 0) for name in names), default=0)

    def answer(self, fitted: Mapping[str, Assistant], contenders: Collection[str]) -> None:
        """Answer the test with every method, into predictions.jsonl.

        Fast methods answer the rows of their share, methods that are clearly worse on dev a few
        rows, and the other contenders a first block. Then, while there is time, the headline pair
        takes turns, after it the other contenders, and after these the rest. Only the clock limits
        the number of rows, never an answer.
        """
        scored: dict[str, list[ScoredAnswer]] = {name: [] for name in fitted}
        before = self.ladder.run.info.get("test_answered", {})
        for name, assistant in fitted.items():
            if num_rows := self.ladder.count_share_rows(name):
                self._answer_share(name, assistant, num_rows, scored)
            elif name not in contenders:
                # A continued run keeps the number of rows, and with it the verdict.
                rows = self.ladder.clock.count_beaten_rows(self.ladder.get_row_seconds(name))
                self._answer_block(name, assistant, before.get(name, rows), scored)
        unanswered = [
            name for name in fitted if not scored[name] and name not in self.ladder.failures
        ]
        first_block = self._count_first_block(unanswered)
        for name in unanswered:
            self._answer_block(name, fitted[name], first_block, scored)
        for names in (self._find_pair(fitted), contenders, fitted):
            self._take_turns({name: fitted[name] for name in names}, scored)
        for name, assistant in fitted.items():
            if name not in self.ladder.failures:
                self._write_test(name, assistant, scored[name])
        answered = {
            name: len(rows) for name, rows in scored.items() if name not in self.ladder.failures
        }
        self.ladder.run.update(test_answered=answered)

    def _take_turns(
        self, assistants: Mapping[str, Assistant], scored: dict[str, list[ScoredAnswer]]
    ) -> None:
        """Answer further blocks, all of the assistants in each round, while there is time."""
        size = BLOCK_ROWS if self.ladder.clock.is_limited else LARGE_BLOCK_ROWS
        total = len(self.ladder.test_rows)
        for round_end in [*range(size, total, size), total]:
            running = {
                name: assistant
                for name, assistant in assistants.items()
                if name not in self.ladder.failures and len(scored[name]) < min(round_end, total)
            }
            end = self._limit_round(running, scored, round_end)
            for name, assistant in running.items():
                self._answer_block(name, assistant, end, scored)
            if end < round_end:
                break

    def _answer_share(
        self, name: str, assistant: Assistant, num_rows: int, scored: dict[str, list[ScoredAnswer]]
    ) -> None:
        """Answer the first test rows, in blocks if this takes long; fewer if they take longer than
        expected.
        """
        clock = self.ladder.clock
        row_seconds = self.ladder.get_row_seconds(name)
        size = num_rows if clock.is_fast(row_seconds, len(self.ladder.test_rows)) else BLOCK_ROWS
        num_rows = self.ladder.run.info.get("test_answered", {}).get(name, num_rows)
        latest = clock.now() + MAX_DELAY * num_rows * row_seconds
        for end in [*range(size, num_rows, size), num_rows]:
            needed = (end - len(scored[name])) * self.ladder.get_row_seconds(name)
            if scored[name] and clock.now() + needed > latest:
                break
            self._answer_block(name, assistant, end, scored)

    def _limit_round(
        self,
        assistants: Mapping[str, Assistant],
        scored: Mapping[str, Sequence[ScoredAnswer]],
        end: int,
    ) -> int:
        before = self.ladder.run.info.get("test_answered", {})
        if any(name in before for name in assistants):  # a continued run keeps its number of rows
            return min(end, *(int(before[name]) for name in assistants if name in before))
        if all(
            self._has_answered(name, one, len(scored[name]), end)
            for name, one in assistants.items()
        ):
            return end  # saved answers take no time
        begin = min((len(scored[name]) for name in assistants), default=0)
        row_seconds = sum(map(self.ladder.get_row_seconds, assistants))
        num_rows = self.ladder.clock.seconds_left / row_seconds if row_seconds > 0 else math.inf
        if num_rows >= end - begin:
            return end
        return begin + int(num_rows) if num_rows >= MIN_ROUND else 0

    def _answer_block(
        self, name: str, assistant: Assistant, end: int, scored: dict[str, list[ScoredAnswer]]
    ) -> None:
        """Answer the test rows up to `end` that a method has not answered; after the seconds
        that the user's wish to end leaves, only if it has answered none.
        """
        begin = len(scored[name])
        clock = self.ladder.clock
        if end <= begin or (begin and clock.is_stopped and clock.seconds_left < 0):
            return
        block = self._select_rows(begin, end)
        is_known = self._has_answered(name, assistant, begin, end)
        started = self.ladder.clock.now()
        with self.ladder.continue_without(name):
            scored[name] += self.ladder.answer_rows(
                assistant, block, name, self.ladder.work_folder(name)
            )
        if not is_known:
            self.ladder.row_seconds[name] = (self.ladder.clock.now() - started) / max(1, len(block))

    def _count_first_block(self, names: Collection[str]) -> int:
        """Count the rows of the first block, which is shorter if time is short. A resumed run keeps
        the number, so that it reuses the answers.
        """
        if names and self.ladder.clock.is_limited and not self.ladder.run.info.get("first_block"):
            is_short = self._count_rows_in_time(names) < BLOCK_ROWS
            self.ladder.run.update(first_block=FIRST_BLOCK if is_short else BLOCK_ROWS)
        return self.ladder.run.info.get("first_block") or LARGE_BLOCK_ROWS

    def _has_answered(self, name: str, assistant: Assistant, begin: int, end: int) -> bool:
        block = self._select_rows(begin, end)
        log = open_answer_log(self.ladder.work_folder(name), assistant, block)
        return log.num_requests == len(block)

    def _select_rows(self, begin: int, end: int) -> Dataset:
        end = min(end, len(self.ladder.test_rows))
        return self.ladder.test_rows.select(
            range(begin, end), f"test rows {begin + 1:,} to {end:,}"
        )

    def _write_test(self, name: str, assistant: Assistant, scored: Sequence[ScoredAnswer]) -> None:
        self.ladder.write_predictions(name, "test", scored)
        self.ladder.add_notes(name, describe_dropped_context(assistant, "test", scored))
        self.ladder.report_side(name, "test", scored, sum(row.answer.seconds for row in scored))


def list_stored_models(test: Dataset) -> list[str]:
    """List the models that have stored answers in the test rows."""
    return list(dict.fromkeys(name for row in test for name in row.answers))


def check_stored_answers(task: Task, test: Dataset, methods: Collection[str]) -> None:
    """Raise InputError with every test row without an answer of a model that has answers in other
    rows, and with every model that has the name of a method.
    """
    models = list_stored_models(test)
    file = (task.test or task.examples).file
    message = "a column of stored answers has the name of a method"
    remedy = "rename it"
    issues = [
        Issue(file.name, message, quote_value(name), remedy) for name in models if name in methods
    ]
    message = "the test row has no stored answer of this model"
    remedy = "add it, or leave the model out"
    remedy += ", or write turns: last" if task.turns == "all" else ""
    for row in test:
        missing = [name for name in models if name not in row.answers]
        issues += [
            Issue(row.location or row.id, message, quote_value(name), remedy) for name in missing
        ]
    raise_issues(issues, file)


def score_stored_answers(ladder_run: LadderRun) -> dict[str, list[Json]]:
    """Score every stored answer to the test like an answer of a method. Return model -> lines as in
    predictions.jsonl."""
    task = ladder_run.task
    rows = ladder_run.test_rows
    contract = resolve_contract(task, ladder_run.split.train)
    reader = Assistant("stored", task.kind, ModelRef(CLASSICAL), contract=contract)
    lines: dict[str, list[Json]] = {}
    for model in list_stored_models(rows):
        completions = [Completion(row.answers[model], "stop", 0, 0, 0, 0.0, None) for row in rows]
        answers = reader.finish([row.id for row in rows], completions)
        scored = [
            ScoredAnswer(row, answer, ladder_run.metric.score(row, answer), 0)
            for row, answer in zip(rows, answers, strict=True)
        ]
        lines[model] = [build_prediction("test", row) for row in scored]
    if lines:
        every_line = [{"model": model, **line} for model in lines for line in lines[model]]
        write_lines(ladder_run.run.folder / FILE, every_line)
    return lines

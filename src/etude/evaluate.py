"""Answer and score rows: assistant x dataset -> scores, resumable batch by batch."""

import math
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import cast

from etude.assistant import Assistant, get_shared_models
from etude.base.files import Json, append_line, read_lines
from etude.data.dataset import Dataset
from etude.data.splits import input_key
from etude.metrics import Metric, predicted_label, to_label
from etude.models.registry import Models
from etude.stats.sample import UnitSums
from etude.task.questions import join_answers, split_answers
from etude.types import Answer, Batch, Completion, Example, Model, PromptFacts, Request, Score

PARTS_PER_WORKER = 4  # more parts spread uneven work better; each renders all prompts
MIN_PART_ROWS = 8
REPLIES = -1  # number of the batch with the questions that limits turn away


@dataclass(frozen=True, slots=True)
class RowOutcome:
    """The values of one row that statistics need."""

    score: float
    expected: str
    predicted: str
    """The label, for classify; else the answer's text."""
    unit: str


@dataclass(frozen=True, slots=True)
class ScoredAnswer:
    """One row with the assistant's answer and its score."""

    example: Example
    answer: Answer
    score: Score
    batch: int

    @property
    def outcome(self) -> RowOutcome:
        """The row as statistics use it."""
        return RowOutcome(
            self.score.value,
            self.example.output,
            predicted_label(self.answer),
            get_unit(self.example),
        )


OnBatch = Callable[[Sequence[ScoredAnswer], int, int, float], None]
"""Called after each batch with its rows, the number of rows answered so far, the number of all
rows, and the seconds that the remaining rows will take at the current speed.
"""


def get_unit(example: Example) -> str:
    """Return the unit that counts once in statistics: the row's group, else its input, which other
    rows may share.
    """
    return f"group {example.group}" if example.group is not None else f"input {input_key(example)}"


def parse_outcome(line: Json) -> RowOutcome:
    """Parse a line of predictions.jsonl; equals `ScoredAnswer.outcome` of that row."""
    label = to_label(line["value"], line["answer"])
    return RowOutcome(line["score"], line["expected"], label, line["unit"])


def build_sample(metric: Metric, rows: Sequence[RowOutcome]) -> UnitSums:
    """Build the sample of some rows under the headline metric, for intervals and comparisons."""
    return metric.sample(
        [row.score for row in rows],
        [row.unit for row in rows],
        [row.expected for row in rows],
        [row.predicted for row in rows],
    )


@dataclass
class AnswerLog:
    """Completions on disk, one line per batch, so that a kill loses at most the current batch.

    An incomplete last line is dropped when the log is read. Without a file, nothing is written or
    resumed.
    """

    file: Path | None = None
    _batches: dict[int, Batch] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        if self.file is None or not self.file.exists():
            return
        for line in read_lines(self.file):
            batch = _parse_batch(line)
            self._batches[batch.number] = batch

    @property
    def batches(self) -> Sequence[Batch]:
        """The batches of the log, in the order of the plan."""
        return [self._batches[number] for number in sorted(self._batches)]

    @property
    def num_requests(self) -> int:
        return sum(len(batch.indices) for batch in self._batches.values())

    @property
    def batch_numbers(self) -> frozenset[int]:
        return frozenset(self._batches)

    def append(self, batch: Batch) -> None:
        """Add one batch; it is on disk when this returns."""
        self._batches[batch.number] = batch
        if self.file is None:
            return
        append_line(self.file, asdict(batch))


def open_answer_log(folder: Path, assistant: Assistant, rows: Dataset) -> AnswerLog:
    """Open the answer log of these rows and this assistant. The file name contains the fingerprints
    of both, so the answers of a different assistant are never reused.
    """
    return AnswerLog(folder / "answers" / f"{assistant.fingerprint}-{rows.fingerprint[:16]}.jsonl")


def evaluate(
    assistant: Assistant,
    models: Models,
    rows: Dataset,
    metric: Metric,
    log: AnswerLog | None = None,
    on_batch: OnBatch | None = None,
) -> list[ScoredAnswer]:
    """Answer and score every row, in the order of `rows`.

    Batches that are in the log are not computed again. The model plans its batches from the whole
    list, so the numbers do not depend on where an earlier run stopped.
    """
    scored: dict[int, ScoredAnswer] = {}
    seconds = 0.0
    inputs = [example.input for example in rows]
    batches = answer_in_batches(
        assistant,
        models,
        [example.id for example in rows],
        lambda: assistant.build_requests(inputs, models),
        log or AnswerLog(),
    )
    for number, answers in batches:
        started = time.perf_counter()
        batch_rows = {
            position: ScoredAnswer(
                rows[position], answer, metric.score(rows[position], answer), number
            )
            for position, answer in answers.items()
        }
        scored |= batch_rows
        # Seconds are those that the model measured, so loading weights and reading logged batches
        # do not count.
        seconds += (
            time.perf_counter() - started + sum(answer.seconds for answer in answers.values())
        )
        if on_batch and scored:
            remaining = seconds / len(scored) * (len(rows) - len(scored)) / models.workers.size
            on_batch(list(batch_rows.values()), len(scored), len(rows), remaining)
    return [scored[position] for position in range(len(rows))]


def answer_in_batches(
    assistant: Assistant,
    models: Models,
    ids: Sequence[str],
    build_requests: Callable[[], Sequence[Request]],
    log: AnswerLog,
) -> Iterator[tuple[int, dict[int, Answer]]]:
    """Yield the number of each batch with its answers, by the position of their ids.

    Batches in the log come first and are not computed again.
    """
    for batch in _run_batches(assistant, models, len(ids), build_requests, log):
        answers = assistant.finish(
            [ids[index] for index in batch.indices], batch.completions, batch.facts
        )
        yield batch.number, dict(zip(batch.indices, answers, strict=True))


def _run_batches(
    assistant: Assistant,
    models: Models,
    num_requests: int,
    build_requests: Callable[[], Sequence[Request]],
    log: AnswerLog,
) -> Iterator[Batch]:
    yield from log.batches
    if log.num_requests == num_requests:
        return  # all requests are answered, so the weights need not be loaded
    model = models.get(assistant.model, *assistant.needs)
    requests = build_requests()
    replies = {index: request.reply for index, request in enumerate(requests) if request.reply}
    if replies and REPLIES not in log.batch_numbers:
        batch = Batch(REPLIES, tuple(replies), tuple(replies.values()))
        log.append(batch)
        yield batch
    asked = [index for index in range(len(requests)) if index not in replies]
    questions = [requests[index] for index in asked]
    for batch in (
        _answer_requests(assistant, models, model, questions, log.batch_numbers) if asked else ()
    ):
        indices = tuple(asked[index] for index in batch.indices)
        batch_requests = [requests[index] for index in indices]
        recorded = replace(
            batch,
            indices=indices,
            completions=tuple(map(_drop_spread, batch.completions, batch_requests)),
            facts=tuple(request.facts for request in batch_requests),
        )
        log.append(recorded)
        yield recorded


@dataclass(frozen=True)
class _OtherBatches(Collection[int]):
    """Batches to skip: finished ones, and those of other workers."""

    done: frozenset[int]
    part: int
    num_parts: int

    def __contains__(self, number: object) -> bool:
        return number in self.done or cast(int, number) % self.num_parts != self.part

    def __iter__(self) -> Iterator[int]:
        return iter(self.done)

    def __len__(self) -> int:
        return len(self.done)


def _answer_requests(
    assistant: Assistant,
    models: Models,
    model: Model,
    requests: Sequence[Request],
    done: frozenset[int],
) -> Iterator[Batch]:
    """Answer the batches that are not done, here or on the workers: the model plans the same
    batches on each.
    """
    workers = models.workers
    if not workers.is_remote or models.find_service(assistant.model.name):
        yield from model.batches(requests, done)
        return
    num_parts = min(PARTS_PER_WORKER * workers.size, math.ceil(len(requests) / MIN_PART_ROWS))
    parts = [_OtherBatches(done, part, num_parts) for part in range(num_parts)]
    for batches in workers.map(_answer_part, parts, requests, assistant):
        yield from batches


def _answer_part(
    others: _OtherBatches, requests: Sequence[Request], assistant: Assistant
) -> list[Batch]:
    models = get_shared_models()
    models.keep_only(assistant.model)
    return [*models.get(assistant.model, *assistant.needs).batches(requests, others)]


def _drop_spread(completion: Completion, request: Request) -> Completion:
    """Return the completion with the probabilities of its answer alone; a single answer has one in
    `logprob`.
    """
    spread = completion.choice_logprobs if request.questions else {}
    keys = (
        (join_answers({name: label}) for name, label in split_answers(completion.text).items())
        if spread
        else ()
    )
    return replace(completion, choice_logprobs={key: spread[key] for key in keys if key in spread})


def _parse_batch(body: Json) -> Batch:
    completions = tuple(Completion(**completion) for completion in body["completions"])
    facts = tuple(
        PromptFacts(dropped, tuple(citations), nearness, tuple(scores))
        for dropped, citations, nearness, scores in body["facts"]
    )
    return Batch(body["number"], tuple(body["indices"]), completions, facts)

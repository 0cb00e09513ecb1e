"""Assistant x Dataset -> scores, resumable batch by batch."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from etude.assistant import Assistant
from etude.base.files import Json, append_line, read_lines
from etude.data.dataset import Dataset
from etude.data.splits import input_key
from etude.metrics import Metric, predicted_label
from etude.models.registry import Models
from etude.stats.sample import Sample
from etude.types import Answer, Batch, Completion, Example, Score


@dataclass(frozen=True, slots=True)
class Scored:
    """One row, what the assistant answered, and how right that is."""

    example: Example
    answer: Answer
    score: Score
    batch: int

    @property
    def outcome(self) -> Outcome:
        """The row as the statistics see it."""
        return Outcome(
            self.score.value, self.example.output, predicted_label(self.answer), unit(self.example)
        )


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the statistics need of one row."""

    score: float
    expected: str
    predicted: str
    """The label, for classify; else the answer's text."""
    unit: str


OnBatch = Callable[[Sequence[Scored], int, int, float], None]
"""Called after each batch with its rows, the number of rows answered so far, the number of all rows, and the
seconds that the others will take at the pace so far."""


def unit(example: Example) -> str:
    """What the statistics count: the row's group where it has one, else its input, which other rows may have too."""
    return f"group {example.group}" if example.group is not None else f"input {input_key(example)}"


def outcome_of(line: Json) -> Outcome:
    """A line of predictions.jsonl as the statistics see it: the twin of `Scored.outcome`."""
    label = line["value"] if isinstance(line["value"], str) else line["answer"]
    return Outcome(line["score"], line["expected"], label.strip(), line["unit"])


def sample_of(metric: Metric, rows: Sequence[Outcome]) -> Sample:
    """The rows under the headline metric, ready for every interval and comparison."""
    return metric.sample(
        [row.score for row in rows],
        [row.unit for row in rows],
        [row.expected for row in rows],
        [row.predicted for row in rows],
    )


@dataclass
class AnswerLog:
    """Completions on disk, one line per batch, so that a kill loses at most the batch in progress.

    A last line that was cut by a kill is dropped when the log is read. Without a file nothing is
    written and nothing is resumed.
    """

    file: Path | None = None
    _batches: dict[int, Batch] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        if self.file is None or not self.file.exists():
            return
        for line in read_lines(self.file):
            batch = _read(line)
            self._batches[batch.number] = batch

    @property
    def batches(self) -> Sequence[Batch]:
        """What the log holds, in the order of the plan."""
        return [self._batches[number] for number in sorted(self._batches)]

    @property
    def num_rows(self) -> int:
        """How many rows the log holds."""
        return sum(len(batch.indices) for batch in self._batches.values())

    @property
    def done(self) -> frozenset[int]:
        """Numbers of the batches that the log holds."""
        return frozenset(self._batches)

    def append(self, batch: Batch) -> None:
        """Adds one batch, on disk before it returns."""
        self._batches[batch.number] = batch
        if self.file is None:
            return
        append_line(self.file, asdict(batch))


def answer_log(folder: Path, assistant: Assistant, rows: Dataset) -> AnswerLog:
    """The log of these rows answered by this assistant, named by both: answers of one that asks or answers
    otherwise are never taken."""
    return AnswerLog(folder / "answers" / f"{assistant.fingerprint}-{rows.fingerprint[:16]}.jsonl")


def evaluate(
    assistant: Assistant,
    models: Models,
    rows: Dataset,
    metric: Metric,
    log: AnswerLog | None = None,
    on_batch: OnBatch | None = None,
) -> list[Scored]:
    """Answers and scores every row; results stand in the order of `rows`.

    Batches that `log` already holds are not computed again; the model's plan depends on the whole
    list, so the numbers do not depend on where an earlier run was cut.
    """
    log = log or AnswerLog()
    scored: dict[int, Scored] = {}
    spent = 0.0
    for batch in _all_batches(assistant, models, rows, log):
        started = time.perf_counter()
        answered = _scored(assistant, rows, metric, batch)
        # What a model noted, not the clock: loading weights and batches of an earlier attempt set no pace.
        spent += time.perf_counter() - started + sum(row.answer.seconds for row in answered)
        scored |= zip(batch.indices, answered, strict=True)
        if on_batch:
            left = spent / len(scored) * (len(rows) - len(scored))
            on_batch(answered, len(scored), len(rows), left)
    return [scored[position] for position in range(len(rows))]


def _all_batches(assistant: Assistant, models: Models, rows: Dataset, log: AnswerLog) -> Iterator[Batch]:
    yield from log.batches
    if log.num_rows == len(rows):
        return  # everything is there: the weights need not be loaded
    model = models.get(assistant.model, *assistant.needs)
    requests = assistant.requests([example.input for example in rows], models)
    for batch in model.batches(requests, log.done):
        asked = [requests[index] for index in batch.indices]
        noted = replace(
            batch,
            shots_dropped=tuple(request.shots_dropped for request in asked),
            citations=tuple(request.citations for request in asked),
        )
        log.append(noted)
        yield noted


def _scored(assistant: Assistant, rows: Dataset, metric: Metric, batch: Batch) -> list[Scored]:
    examples = [rows[position] for position in batch.indices]
    dropped = batch.shots_dropped or (0,) * len(examples)
    cited = batch.citations or ((),) * len(examples)
    answers = assistant.finish([example.id for example in examples], batch.completions, dropped, cited)
    return [
        Scored(example, answer, metric.score(example, answer), batch.number)
        for example, answer in zip(examples, answers, strict=True)
    ]


def _read(body: Json) -> Batch:
    completions = tuple(Completion(**done) for done in body["completions"])
    dropped = tuple(body.get("shots_dropped", ()))
    cited = tuple(map(tuple, body.get("citations", ())))
    return Batch(body["number"], tuple(body["indices"]), completions, dropped, cited)

"""What a method is given to work with: weights, a way to choose on dev, a folder, limits.

A method never sees a test row: neither `fit` nor the context is given one.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from etude.assistant import Assistant
from etude.data.dataset import Dataset
from etude.evaluate import Scored, answer_log, evaluate, sample_of
from etude.metrics import Metric
from etude.models.registry import Models
from etude.stats.intervals import estimate_sample
from etude.stats.ladder import choose
from etude.task import Task
from etude.task.contract import Contract
from etude.types import Estimate, Message, ModelRef, Preference, Side

ROUND = 16
"""Room for an answer is a multiple of so many tokens, where the context is large enough."""


@dataclass(frozen=True)
class Effort:
    """How much a method may try, as the plan for the budget allows. None means no limit."""

    candidates: int | None = None
    """At most this many candidates are tried on dev, the simplest first."""
    dev_rows: int | None = None
    """Candidates are compared on this many dev rows."""
    train_rows: int | None = None
    """Weights are trained on this many rows."""
    epochs: int | None = None
    """Weights of a language model are trained for at most this many epochs."""
    search_epochs: int | None = None
    """The encoder of a search is trained for at most this many epochs."""
    test_rows: int | None = None
    """The test is answered on this many rows, which no method sees."""

    evidence: int | None = None
    """0: no learning curve and no further training runs."""

    def within(self, other: Effort) -> Effort:
        """The smaller of both in everything."""
        mine, others = vars(self), vars(other)
        least = {key: [each for each in (mine[key], others[key]) if each is not None] for key in mine}
        return Effort(**{key: min(found, default=None) for key, found in least.items()})


@dataclass(frozen=True)
class Candidate:
    """One thing a method could settle on."""

    name: str
    assistant: Assistant


@dataclass(frozen=True)
class Trial:
    """Which of a method's candidates answers dev, counted from 1."""

    number: int = 1
    of: int = 1


OnAnswers = Callable[[Trial, Sequence[Scored], int, int, float], None]
"""Called as `OnBatch` is, with the candidate's trial before the rest."""


@dataclass(frozen=True)
class Tried:
    """A candidate with its result on dev."""

    name: str
    dev: Estimate
    chosen: bool
    why: str


@dataclass
class FitContext:
    """What `fit` works with: models, limits, a fair choice on dev. It keeps a record of what was done."""

    models: Models
    metric: Metric
    folder: Path
    """Scratch space of this method alone; what is there from an earlier, killed attempt may be used."""
    effort: Effort = Effort()
    seed: int = 0
    on_answers: OnAnswers | None = None
    log: Callable[[Mapping[str, Any]], None] = lambda line: None
    """Takes one line of train.jsonl."""
    search_log: Callable[[Mapping[str, Any]], None] = lambda line: None
    """Takes one line of search.jsonl: a step of the encoder's tuning."""
    more: Callable[[float], bool] = lambda seconds: True
    """Whether the budget has time for one more epoch of so many seconds."""
    tried: list[Tried] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    params: dict[str, Any] = field(default_factory=dict)
    learned: int | None = None
    """Rows that were learned from; None where none were."""
    train_seconds: float = 0.0
    """What learning from rows has taken: training, not the answers to dev that choices rest on."""
    answer_seconds: float = 0.0
    """What dev has taken to answer, counted from what is on disk, so that a kill and a new start add nothing."""
    answered: dict[str, list[Scored]] = field(default_factory=dict)
    """Dev rows as each candidate answered them, by its name."""
    preferences: Mapping[Side, Sequence[Preference]] = field(default_factory=dict)
    """Better and worse answers to learn from (train) and to choose by (dev); none to test rows."""
    lower: Sequence[Path] = ()
    """Folders of the methods fitted before; what was asked there is not asked again."""
    on_dev: list[Scored] = field(default_factory=list)
    """Dev rows as answered by the candidate that was chosen last."""

    @property
    def seconds(self) -> float:
        """What fitting has taken in all."""
        return self.train_seconds + self.answer_seconds

    def dev_sample(self, dev: Dataset) -> Dataset:
        """The dev rows that choices rest on, the same for every method."""
        return sampled(dev, self.effort.dev_rows, self.seed)

    def choose(self, candidates: Sequence[Candidate], dev: Dataset, *, cheap: bool = False) -> Candidate:
        """The candidate to settle on, by the one-standard-error rule on dev.

        `candidates` stand from the simplest to the most complex. Unless they are `cheap`, an
        `effort` limit leaves out the last ones, and a note says so.
        """
        kept = list(candidates)[: None if cheap else self.effort.candidates]
        if len(kept) < len(candidates):
            left = ", ".join(candidate.name for candidate in candidates[len(kept) :])
            self.notes.append(f"not tried, to stay inside the budget: {left}")
        rows = self.dev_sample(dev)
        results = [
            self.evaluate(candidate.assistant, rows, Trial(number, len(kept)))
            for number, candidate in enumerate(kept, 1)
        ]
        samples = [sample_of(self.metric, [row.outcome for row in result]) for result in results]
        names = [candidate.name for candidate in kept]
        choice = choose(list(zip(names, samples, strict=True)))
        self.answered |= zip(names, results, strict=True)
        self.on_dev = results[choice.index]
        for name, sample in zip(names, samples, strict=True):
            chosen = name == names[choice.index]
            self.tried.append(Tried(name, estimate_sample(sample), chosen, choice.reason if chosen else ""))
        return kept[choice.index]

    def evaluate(self, assistant: Assistant, rows: Dataset, trial: Trial = Trial()) -> list[Scored]:
        """Answers and scores `rows`, resumable through a log in the folder. Where a lower step has answered
        all of them as the same assistant, its answers are taken and no seconds counted."""
        logs = (answer_log(folder, assistant, rows) for folder in self.lower)
        known = next((log for log in logs if log.num_rows == len(rows)), None)
        log = known or answer_log(self.folder, assistant, rows)
        on_batch = partial(self.on_answers, trial) if self.on_answers else None
        scored = evaluate(assistant, self.models, rows, self.metric, log, on_batch)
        if known is None:
            self.answer_seconds += sum(row.answer.seconds for row in scored)
        return scored


def sampled(rows: Dataset, size: int | None, seed: int) -> Dataset:
    """A seeded sample of `size` rows in their old order, or all rows. A smaller one is a part of a larger one."""
    if size is None or size >= len(rows):
        return rows
    chosen = sorted(random.Random(f"{seed}/sample").sample(range(len(rows)), len(rows))[:size])
    return rows.select(chosen, f"a sample of {size:,} of {len(rows):,} rows, to stay inside the budget")


def blank(task: Task, train: Dataset, models: Models | None) -> Assistant:
    """The assistant the ladder starts from: the task's own instructions, no example, untouched weights.

    Labels and the longest answer are taken from the training rows when the task does not set them; without
    `models`, for a ladder that asks none, the room for an answer stays as it is where nothing is known.
    """
    model = ModelRef(task.prompt_model or task.model)
    contract = contract_of(task, train)
    unasked = Assistant(
        method="prompt",
        kind=task.kind,
        model=model,
        instructions=task.instructions.strip(),
        choices=contract.labels if task.kind == "classify" and contract else (),
        contract=contract,
    )
    max_tokens = task.max_tokens or (longest_answer(train, models, model) if models else unasked.max_tokens)
    return replace(unasked, max_tokens=max_tokens)


def contract_of(task: Task, train: Dataset) -> Contract | None:
    """The task's contract; for classify without labels, with those of the training rows."""
    if task.kind != "classify" or (task.contract and task.contract.labels):
        return task.contract
    labels = tuple(sorted({example.output for example in train}))
    return replace(task.contract or Contract(), labels=labels)


def longest_answer(train: Dataset, models: Models, model: ModelRef) -> int:
    """Room for an answer, in tokens: half as long again as the 99th percentile of the training answers, but with so
    much to spare only as leaves half of the context to the prompt.

    An answer that fills the context alone does not count: nothing could ask for it.
    """
    asked = models.get(model)
    question = (Message("user", ""),)
    bare = asked.count_tokens(question)
    lengths = sorted(asked.count_tokens((Message("user", example.output),)) - bare for example in train)
    readable = [length for length in lengths if length + bare + ROUND < asked.context]
    percentile = readable[math.ceil(0.99 * len(readable)) - 1] if readable else 0
    rounded = ROUND * math.ceil((1.5 * percentile + 8) / ROUND)
    return max(min(rounded, asked.context // 2), percentile + 1)

"""What a method works with: weights, a way to choose on dev, a folder, limits.

A method never sees a test row: neither `fit` nor the context gets one.
"""

import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from etude.assistant import Assistant
from etude.data.dataset import Dataset
from etude.evaluate import ScoredAnswer, build_sample, evaluate, open_answer_log
from etude.metrics import Metric
from etude.models.registry import Models
from etude.stats import choose, estimate_sample
from etude.task import Task
from etude.task.contract import Contract
from etude.types import Estimate, Example, Message, ModelRef, Preference, Side

TOKEN_STEP = 16  # `max_tokens` is rounded up to a multiple of this if the context is large enough


@dataclass(frozen=True)
class Effort:
    """The limits that the plan for the budget sets to a method. None means no limit."""

    candidates: int | None = None  # at most this many candidates are tried on dev, the simplest first
    dev_rows: int | None = None  # candidates are compared on this many dev rows
    train_rows: int | None = None  # weights are trained on this many rows
    epochs: int | None = None  # weights of a language model are trained for at most this many epochs
    search_epochs: int | None = None
    """The encoder of a search is trained for at most this many epochs, and not again on the held-out passages."""
    test_rows: int | None = None  # the test is answered on this many rows, which no method sees
    evidence: int | None = None  # 0: no learning curve and no further training runs

    def limit_by(self, other: "Effort") -> "Effort":
        """Return the smaller of both limits in everything."""
        pairs = {key: (value, vars(other)[key]) for key, value in vars(self).items()}
        limits = {key: [limit for limit in pair if limit is not None] for key, pair in pairs.items()}
        return Effort(**{key: min(values, default=None) for key, values in limits.items()})


@dataclass(frozen=True)
class Candidate:
    """A variant that a method tries on dev."""

    name: str
    assistant: Assistant


@dataclass(frozen=True)
class Trial:
    """The number of the candidate that answers dev, from 1, and how many there are."""

    number: int = 1
    total: int = 1


OnAnswers = Callable[[Trial, Sequence[ScoredAnswer], int, int, float], None]
"""Called as `OnBatch` is, with the trial as its first argument."""


@dataclass(frozen=True)
class TrialResult:
    """A candidate with its result on dev."""

    name: str
    dev: Estimate
    is_chosen: bool
    reason: str


@dataclass
class FitContext:
    """What `fit` works with: models, limits, a fair choice on dev; and the record of what was done."""

    models: Models
    metric: Metric
    folder: Path
    """Scratch space of this method alone; files of an earlier attempt that was stopped may be reused."""
    effort: Effort = Effort()
    seed: int = 0
    on_answers: OnAnswers | None = None
    log: Callable[[Mapping[str, Any]], None] = lambda line: None  # takes one line of train.jsonl
    search_log: Callable[[Mapping[str, Any]], None] = lambda line: None
    """Takes one line of search.jsonl: a step of the encoder's tuning."""
    has_time_for: Callable[[float], bool] = lambda seconds: True
    """Whether the budget has time for one more epoch of so many seconds."""
    trials: list[TrialResult] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    params: dict[str, Any] = field(default_factory=dict)
    num_learned: int | None = None  # rows that were learned from; None if none were
    train_seconds: float = 0.0
    """Seconds of learning from rows, without the answers to dev that choices are based on."""
    answer_seconds: float = 0.0
    """Seconds of answering dev, from what is on disk, so a restart is not counted twice."""
    scored_by_candidate: dict[str, list[ScoredAnswer]] = field(default_factory=dict)
    """Dev rows as each candidate answered them, by its name."""
    preferences: Mapping[Side, Sequence[Preference]] = field(default_factory=dict)
    """Better and worse answers to learn from (train) and to choose by (dev); never of test rows."""
    lower_folders: Sequence[Path] = ()
    """Folders of the methods that were fitted before; their answers are reused."""
    chosen_scored: list[ScoredAnswer] = field(default_factory=list)
    """Dev rows as the candidate that was chosen last answered them."""

    @property
    def seconds(self) -> float:
        """Seconds of fitting in all."""
        return self.train_seconds + self.answer_seconds

    def dev_sample(self, dev: Dataset) -> Dataset:
        """Sample the dev rows that choices are based on, the same for every method."""
        return sample_rows(dev, self.effort.dev_rows, self.seed)

    def choose(self, candidates: Sequence[Candidate], dev: Dataset, *, cheap: bool = False) -> Candidate:
        """Answer dev with the candidates and choose one of them by the one-standard-error rule.

        `candidates` go from the simplest to the most complex. Unless they are `cheap`, `effort` drops the last ones,
        and a note says so.
        """
        # 1. Answer dev with each candidate: this is most of the time of a prompt.
        tried_candidates = list(candidates)[: None if cheap else self.effort.candidates]
        if len(tried_candidates) < len(candidates):
            skipped = ", ".join(candidate.name for candidate in candidates[len(tried_candidates) :])
            self.notes.append(f"not tried, to stay inside the budget: {skipped}")
        rows = self.dev_sample(dev)
        results = [
            self.evaluate(candidate.assistant, rows, Trial(number, len(tried_candidates)))
            for number, candidate in enumerate(tried_candidates, 1)
        ]
        # 2. The simplest candidate within one standard error of the best is chosen.
        samples = [build_sample(self.metric, [row.outcome for row in result]) for result in results]
        names = [candidate.name for candidate in tried_candidates]
        choice = choose(list(zip(names, samples, strict=True)))
        # 3. Keep every result, for the report and for tried.jsonl.
        self.scored_by_candidate |= zip(names, results, strict=True)
        self.chosen_scored = results[choice.index]
        for name, sample in zip(names, samples, strict=True):
            is_chosen = name == names[choice.index]
            reason = choice.reason if is_chosen else ""
            self.trials.append(TrialResult(name, estimate_sample(sample), is_chosen, reason))
        return tried_candidates[choice.index]

    def evaluate(self, assistant: Assistant, rows: Dataset, trial: Trial = Trial()) -> list[ScoredAnswer]:
        """Answer and score `rows`, resumable through a log in the folder. If a simpler method has answered all of them
        with an equal assistant, its answers are reused and no seconds counted."""
        logs = (open_answer_log(folder, assistant, rows) for folder in self.lower_folders)
        finished_log = next((log for log in logs if log.num_requests == len(rows) * assistant.samples), None)
        log = finished_log or open_answer_log(self.folder, assistant, rows)
        on_batch = partial(self.on_answers, trial) if self.on_answers else None
        scored = evaluate(assistant, self.models, rows, self.metric, log, on_batch)
        if finished_log is None:
            self.answer_seconds += sum(row.answer.seconds for row in scored)
        return scored


def sample_rows(rows: Dataset, size: int | None, seed: int) -> Dataset:
    """Sample `size` rows, in their old order, or return all. A smaller sample of a seed is part of a larger one."""
    if size is None or size >= len(rows):
        return rows
    # The first of one shuffle, so samples of different sizes are nested.
    positions = sorted(random.Random(f"{seed}/sample").sample(range(len(rows)), len(rows))[:size])
    return rows.select(positions, f"a sample of {size:,} of {len(rows):,} rows, to stay inside the budget")


def sample_evenly(rows: Dataset, size: int) -> Sequence[Example]:
    """Return `size` rows at even distances."""
    step = max(1, len(rows) // size)
    return rows.examples[::step][:size]


def initial_assistant(task: Task, train: Dataset, models: Models | None) -> Assistant:
    """Build the assistant that the ladder starts from: the task's instructions, no example, untuned weights.

    Labels and the longest answer come from the training rows if the task does not set them; without `models`, for a
    ladder that asks none, `max_tokens` keeps its default.
    """
    model = ModelRef(task.prompt_model or task.model)
    contract = resolve_contract(task, train)
    assistant = Assistant(
        method="prompt",
        kind=task.kind,
        model=model,
        instructions=task.instructions.strip(),
        choices=contract.labels if task.kind == "classify" and contract else (),
        contract=contract,
    )
    if task.max_tokens:
        return replace(assistant, max_tokens=task.max_tokens)
    return replace(assistant, max_tokens=choose_max_tokens(train, models, model)) if models else assistant


def resolve_contract(task: Task, train: Dataset) -> Contract | None:
    """Return the task's contract; for classify without labels, with those of the training rows."""
    if task.kind != "classify" or (task.contract and task.contract.labels):
        return task.contract
    labels = tuple(sorted({example.output for example in train}))
    return replace(task.contract or Contract(), labels=labels)


def choose_max_tokens(train: Dataset, models: Models, model: ModelRef) -> int:
    """Choose the room for an answer, in tokens: half as long again as the 99th percentile of the training answers, but
    only so much that half of the context is left to the prompt.

    An answer that fills the context alone does not count: no prompt could ask for it.
    """
    tokenizer_model = models.get(model)
    question = (Message("user", ""),)
    bare = tokenizer_model.count_tokens(question)  # tokens of the template itself
    lengths = sorted(
        tokenizer_model.count_tokens((Message("user", example.output),)) - bare for example in train
    )
    readable = [length for length in lengths if length + bare + TOKEN_STEP < tokenizer_model.context]
    percentile = readable[math.ceil(0.99 * len(readable)) - 1] if readable else 0
    rounded = TOKEN_STEP * math.ceil((1.5 * percentile + 8) / TOKEN_STEP)
    return max(min(rounded, tokenizer_model.context // 2), percentile + 1)

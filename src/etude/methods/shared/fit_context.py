"""The context in which a method is fitted: models, limits, a folder, and a way to choose on dev.

A method never sees a test row: neither `fit` nor the context has one.
"""

import math
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from etude.assistant import Assistant, with_engine
from etude.data.dataset import Dataset
from etude.evaluate import RowOutcome, ScoredAnswer, build_sample, evaluate, get_unit, open_answer_log
from etude.metrics import Metric, count_value_hits
from etude.models.registry import Models
from etude.stats import UnitSums, choose, estimate_sample, list_near_best, make_f1_sample
from etude.stats.racing import find_beaten, iter_block_ends
from etude.task import Task
from etude.task.contract import Contract, list_of_labels
from etude.task.questions import find_labels, require_answers
from etude.types import Estimate, Example, Kind, Message, ModelRef, Preference, Side

TOKEN_STEP = 16  # `max_tokens` is rounded up to a multiple of this if the context is large enough


@dataclass(frozen=True)
class Effort:
    """What a method may use under a budget. None means no limit."""

    candidates: int | None = None  # at most this many candidates are tried on dev, the simplest first
    dev_rows: int | None = None  # candidates are compared on this many dev rows
    train_rows: int | None = None  # a method trains on this many rows
    epochs: int | None = None  # weights of a language model are trained for at most this many epochs
    search_epochs: int | None = None
    """The encoder of a search is trained for at most this many epochs, and not a second time with the held-out
    passages."""
    box: float | None = None  # weights of a language model are trained for at most this many seconds
    box_rows: int | None = (
        None  # about how many rows they are trained on in this time; it chooses the batch size
    )


@dataclass(frozen=True)
class Candidate:
    """A variant that a method tries on dev."""

    name: str
    assistant: Assistant


@dataclass(frozen=True)
class Trial:
    """The number of the candidate that answers dev, from 1, and the number of all candidates."""

    number: int = 1
    total: int = 1


@dataclass(frozen=True)
class Race:
    """Saves dev rows: a candidate stops answering once another one, or the best method so far, is clearly better by
    more than the margin."""

    margin: float
    best: Mapping[str, RowOutcome] = field(default_factory=dict)
    """Row id -> result of the best method so far, for the dev rows that it answered."""


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
    """The arguments of `fit`: models, limits, a choice on dev; and the record of what `fit` did."""

    models: Models
    metric: Metric
    folder: Path
    """A folder for this method only; it may contain files of an earlier attempt, which can be reused."""
    effort: Effort = Effort()
    seed: int = 0
    on_answers: OnAnswers | None = None
    log: Callable[[Mapping[str, Any]], None] = lambda line: None  # called with each line of train.jsonl
    search_log: Callable[[Mapping[str, Any]], None] = lambda line: None
    """Called with each line of search.jsonl: a training step of the encoder."""
    has_time_for: Callable[[float], bool] = lambda seconds: True
    """Whether the method's share of the budget has time for this many seconds more: for an epoch, or a block of dev
    rows."""
    trials: list[TrialResult] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    params: dict[str, Any] = field(default_factory=dict)
    left_out: Sequence[str] = ()
    """Locations of the training rows that are not in the method's share."""
    num_read: int = 0
    """Rows of its share that `fit` read; counted by `fit_on_share`."""
    has_learned: bool = False
    """Whether `fit` trained on the rows that it read."""
    num_trained: int | None = None
    """Distinct rows of the share that weights were trained on; None if all were."""
    num_search_rows: int = 0
    """Rows that the encoder of its search was trained on."""
    num_dev_learned: int = 0
    """Dev rows that were also trained on, after the choices on dev."""
    box_seconds: float | None = None
    """Seconds that training may take; None for no limit (training/time_box.py)."""
    train_seconds: float = 0.0
    """Seconds of training, without answering dev for choices."""
    answer_seconds: float = 0.0
    """Seconds of answering dev, from the logs on disk, so a restart is not counted twice."""
    scored_by_candidate: dict[str, list[ScoredAnswer]] = field(default_factory=dict)
    """Dev rows as each candidate answered them, by its name."""
    preferences: Mapping[Side, Sequence[Preference]] = field(default_factory=dict)
    """Better and worse answers to learn from (train) and to choose by (dev); never of test rows."""
    lower_folders: Sequence[Path] = ()
    """Folders of the methods that were fitted before; their answers are reused."""
    takes_any_search: bool = False
    """Whether a search in them may have been fitted on other rows: for a learning curve of the weights only."""
    chosen_scored: list[ScoredAnswer] = field(default_factory=list)
    """Dev rows as the last chosen candidate answered them."""
    engine: str = "local"
    """The engine that computes the answers to dev."""
    race: Race | None = None
    """None: every candidate answers all dev rows."""
    is_raced_out: bool = False
    """Whether all candidates are clearly worse than the best method so far."""

    @property
    def num_learned(self) -> int | None:
        """Number of rows that were trained on; None if there was no training."""
        if not self.has_learned:
            return None
        num_trained = self.num_read if self.num_trained is None else min(self.num_read, self.num_trained)
        return max(num_trained, self.num_search_rows) + self.num_dev_learned

    @property
    def seconds(self) -> float:
        """Total seconds of fitting."""
        return self.train_seconds + self.answer_seconds

    def dev_sample(self, dev: Dataset) -> Dataset:
        """Sample the dev rows that choices are based on, the same for every method."""
        return sample_rows(dev, self.effort.dev_rows, self.seed)

    def choose(self, candidates: Sequence[Candidate], dev: Dataset, *, cheap: bool = False) -> Candidate:
        """Answer dev with the candidates and choose one of them by the one-standard-error rule.

        `candidates` are ordered from the simplest to the most complex. Unless they are `cheap`, `effort` may drop the
        last ones, which a note reports.
        """
        # 1. Answer dev with each candidate: this is most of the time of a prompt.
        tried_candidates = list(candidates)[: None if cheap else self.effort.candidates]
        if len(tried_candidates) < len(candidates):
            skipped = ", ".join(candidate.name for candidate in candidates[len(tried_candidates) :])
            self.notes.append(f"not tried, to keep to the budget: {skipped}")
        if self.race and not cheap:
            results = self._run_race(tried_candidates, dev, self.race)
        else:
            rows, total = self.dev_sample(dev), len(tried_candidates)
            results = [
                self.evaluate(candidate.assistant, rows, Trial(number, total))
                for number, candidate in enumerate(tried_candidates, 1)
            ]
        # 2. Of the candidates still in the race, the simplest within one standard error of the best is chosen.
        samples = [build_sample(self.metric, [row.outcome for row in result]) for result in results]
        names = [candidate.name for candidate in tried_candidates]
        num_rows = max(map(len, results))
        in_race = [index for index, result in enumerate(results) if len(result) == num_rows]
        contenders, measured, measure = in_race, samples, ""
        near = [in_race[position] for position in list_near_best([samples[index] for index in in_race])]
        if self.metric.kind == "extract" and self.metric.name == "exact_match" and len(near) > 1:
            # Few rows are right as a whole, so it is the values that tell candidates near the best apart.
            contenders, measure = sorted(near), ", by F1 over values"
            measured = [_build_value_sample(result) for result in results]
        choice = choose([(names[index], measured[index]) for index in contenders])
        chosen = contenders[choice.index]
        # 3. Keep every result, for the report and for tried.jsonl.
        self.scored_by_candidate |= zip(names, results, strict=True)
        self.chosen_scored = results[chosen]
        for index, (name, sample) in enumerate(zip(names, samples, strict=True)):
            is_out = f"clearly worse after {len(results[index]):,} rows" if index not in in_race else ""
            reason = choice.reason + measure if index == chosen else is_out
            self.trials.append(TrialResult(name, estimate_sample(sample), index == chosen, reason))
        return tried_candidates[chosen]

    def _run_race(
        self, candidates: Sequence[Candidate], dev: Dataset, race: Race
    ) -> list[list[ScoredAnswer]]:
        """Answer dev in growing blocks of one seeded order, while there is time. A candidate that is clearly worse
        answers no further block."""
        order = order_rows(dev, self.seed)[: self.effort.dev_rows]
        ends = list(iter_block_ends(len(order)))
        results: list[list[ScoredAnswer]] = [[] for _ in candidates]
        running, begin, row_seconds = list(range(len(candidates))), 0, 0.0
        for end in ends:
            if begin and not self.has_time_for(row_seconds * (end - begin) * len(running)):
                self.notes.append(
                    f"the candidates answered {begin:,} of {len(order):,} dev rows, to keep to the budget"
                )
                break
            started = time.perf_counter()
            block = dev.select(order[begin:end], f"dev rows {begin + 1:,} to {end:,} of the race")
            for index in running:
                trial = Trial(index + 1, len(candidates))
                results[index] += self.evaluate(candidates[index].assistant, block, trial)
            row_seconds = (time.perf_counter() - started) / (len(block) * len(running))
            begin = end
            outcomes = [[row.outcome for row in results[index]] for index in running]
            ids = [row.example.id for row in results[running[0]]]
            if all(row in race.best for row in ids):
                outcomes.append([race.best[row] for row in ids])
            samples = [build_sample(self.metric, rows) for rows in outcomes]
            beaten = find_beaten(samples, race.margin, len(ends))
            rest = [index for position, index in enumerate(running) if position not in beaten]
            if not rest:
                self.is_raced_out = True
                break
            running = rest if end < len(order) else running
        positions = {row.id: position for position, row in enumerate(dev)}
        return [sorted(result, key=lambda row: positions[row.example.id]) for result in results]

    def evaluate(self, assistant: Assistant, rows: Dataset, trial: Trial = Trial()) -> list[ScoredAnswer]:
        """Answer and score `rows`, resumable through a log in the folder. If a simpler method answered all of them with
        an equal assistant, its answers are reused and their seconds are not counted."""
        assistant = with_engine(self.engine, assistant)
        logs = (open_answer_log(folder, assistant, rows) for folder in self.lower_folders)
        finished_log = next((log for log in logs if log.num_requests == len(rows) * assistant.samples), None)
        log = finished_log or open_answer_log(self.folder, assistant, rows)
        on_batch = partial(self.on_answers, trial) if self.on_answers else None
        scored = evaluate(assistant, self.models, rows, self.metric, log, on_batch)
        if finished_log is None:
            self.answer_seconds += sum(row.answer.seconds for row in scored)
        return scored


def _build_value_sample(rows: Sequence[ScoredAnswer]) -> UnitSums:
    """Build the sample of F1 over the values of all fields."""
    hits = [count_value_hits(row.answer.text, [row.example.output, *row.example.references]) for row in rows]
    totals = [np.sum([(0, 0, 0), *fields.values()], axis=0) for fields in hits]
    return make_f1_sample(totals, [get_unit(row.example) for row in rows])


def sample_rows(rows: Dataset, size: int | None, seed: int) -> Dataset:
    """Sample `size` rows in their original order, or return all. With the same seed, a smaller sample is part of a
    larger."""
    if size is None or size >= len(rows):
        return rows
    positions = sorted(order_rows(rows, seed)[:size])
    return rows.select(positions, f"a sample of {size:,} of {len(rows):,} rows, to keep to the budget")


def order_rows(rows: Dataset, seed: int) -> list[int]:
    """Return all positions in one seeded order, so that samples of different sizes are nested."""
    return random.Random(f"{seed}/sample").sample(range(len(rows)), len(rows))


def sample_evenly(rows: Dataset, size: int) -> Sequence[Example]:
    """Return `size` rows at even distances."""
    step = max(1, len(rows) // size)
    return rows.examples[::step][:size]


def name_shape(kind: Kind, contract: Contract | None, example: Example) -> str:
    """Name the shape of a row, so that samples can cover every shape: the label, or which of the contract's fields the
    output has."""
    if kind == "classify":
        return example.output
    parsed = contract.parse(example.output) if contract else None
    return ", ".join(sorted(parsed)) if isinstance(parsed, dict) else ""


def initial_assistant(task: Task, train: Dataset, models: Models | None) -> Assistant:
    """Build the assistant that the ladder starts from: the task's instructions, no examples, untuned weights.

    Labels and `max_tokens` come from the training rows if the task does not set them. Without `models`, for a ladder
    that uses no model, `max_tokens` keeps its default.
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
        row_systems=task.row_systems,
        questions=find_labels(task.questions, train),
        scores_tokens=task.kind != "classify" and task.handover is not None,
    )
    if task.max_tokens:
        return replace(assistant, max_tokens=task.max_tokens)
    return replace(assistant, max_tokens=choose_max_tokens(train, models, model)) if models else assistant


def resolve_contract(task: Task, train: Dataset) -> Contract | None:
    """Return the task's contract; for classify without labels, with the labels of the training rows."""
    contract = task.contract or Contract()
    if task.kind != "classify" or contract.labels or contract.json_schema:
        return task.contract
    if task.questions:
        return require_answers(contract, find_labels(task.questions, train))
    labels = sorted({label for example in train for label in task.list_labels(example.output)})
    return list_of_labels(contract, labels) if task.several else replace(contract, labels=tuple(labels))


def choose_max_tokens(train: Dataset, models: Models, model: ModelRef) -> int:
    """Choose `max_tokens`: 1.5 times the 99th percentile of the training answers, but at most half of the context, to
    leave the rest for the prompt.

    An answer that fills the context on its own is ignored, because no prompt would fit with it.
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

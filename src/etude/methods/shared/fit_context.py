"""The context in which a method is fitted: models, limits, a folder, and a way to choose on dev.

A method never sees a test row: neither `fit` nor the context has one.
"""

import math
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from etude.assistant import Assistant, with_engine
from etude.data.dataset import Dataset
from etude.evaluate import RowOutcome, ScoredAnswer, build_sample, evaluate, open_answer_log
from etude.metrics import Metric
from etude.models.registry import Models
from etude.stats import choose, estimate_sample
from etude.stats.racing import find_beaten, iter_block_ends
from etude.task import Task
from etude.task.contract import Contract, list_of_labels
from etude.task.questions import find_labels, require_answers
from etude.types import Estimate, Example, Kind, Message, ModelRef, Preference, Side

if TYPE_CHECKING:
    from etude.training.time_box import TimeBox

MAX_LOSS_ROWS = 12
"""Dev rows on which a loss is measured in limited time: before training and after it, at least."""
COUNTED_ANSWERS = 1000  # at least so many of the longest answers are counted for `max_tokens`
TOKEN_STEP = 16  # `max_tokens` is rounded up to a multiple of this if the context is large enough


@dataclass(frozen=True)
class Effort:
    """What a method may use in one look. None means no limit."""

    candidates: int | None = None
    """At most this many candidates are tried on dev, the one that is usually best first."""
    dev_rows: int | None = None
    """Candidates are compared on this many dev rows."""
    train_seconds: float | None = None
    """Weights are trained for at most this many seconds."""
    train_rows: int | None = None
    """About how many rows a language model is trained on in this time; it chooses the batch
    size.
    """
    search_seconds: float | None = None
    """The encoder of a search is trained for at most this many seconds; with 0, not at all."""


class LookStopped(Exception):  # noqa: N818 - not an error
    """A look has too few answers to be of use: the user has asked to end, or it takes too long."""

    def __init__(self, needed_seconds: float | None = None) -> None:
        super().__init__()
        self.needed_seconds = needed_seconds


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
    """Saves dev rows: a candidate stops answering once another one, or the best method so far, is
    clearly better by more than the margin.
    """

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
    """A folder for this method only; it may contain files of an earlier attempt, which can be
    reused.
    """
    effort: Effort = Effort()
    seed: int = 0
    margin: float = 0.02
    """The task's: a simpler candidate that is not worse by more is chosen."""
    on_answers: OnAnswers | None = None
    on_first: Callable[[str, Sequence[ScoredAnswer]], None] = lambda candidate, rows: None
    """Called with the dev rows of a candidate whose figure is shown before the others are
    fitted.
    """
    log: Callable[[Mapping[str, Any]], None] = lambda line: (
        None
    )  # called with each line of train.jsonl
    search_log: Callable[[Mapping[str, Any]], None] = lambda line: None
    """Called with each line of search.jsonl: a training step of the encoder."""
    has_time_for: Callable[[float], bool] = lambda seconds: True
    """Whether the look has time for this many seconds more, for a block of dev rows."""
    is_overdue: Callable[[], bool] = lambda: False
    """Whether the look takes so long that it is given up if its first block of dev rows is not
    answered.
    """
    is_stopped: Callable[[], bool] = lambda: False
    """Whether the user has asked to end now."""
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
    first_look: Path | None = None
    """Folder of the method's first look, whose training a longer one continues."""
    takes_any_search: bool = False
    """Whether a search in them may have been fitted on other rows: for a learning curve of the
    weights only.
    """
    chosen_scored: list[ScoredAnswer] = field(default_factory=list)
    """Dev rows as the last chosen candidate answered them."""
    held_out: Sequence[ScoredAnswer] = ()
    """Rows of train and dev as it answered them in cross-validation, if it was chosen by this."""
    engine: str = "local"
    """The engine that computes the answers to dev."""
    race: Race | None = None
    """None: every candidate answers all dev rows."""
    is_raced_out: bool = False
    """Whether all candidates are clearly worse than the best method so far."""
    num_candidates: int = 0
    """All candidates that could be tried."""
    is_cut: bool = False
    """Whether more time could change the result: not all candidates, dev rows or training steps
    were possible.
    """
    full_seconds: float | None = None
    """Seconds of the whole training at the speed that was measured, if it was cut."""
    row_seconds: float | None = None
    """Seconds of a dev row, as the latest rows took; None before the first."""

    @property
    def num_learned(self) -> int | None:
        """Number of rows that were trained on; None if there was no training."""
        if not self.has_learned:
            return None
        num_trained = (
            self.num_read if self.num_trained is None else min(self.num_read, self.num_trained)
        )
        return max(num_trained, self.num_search_rows) + self.num_dev_learned

    def record_training(self, num_rows: int | None) -> None:
        """Record how many distinct rows the weights were trained on; None: all. Raises LookStopped
        if none: then the answers would be those of the untrained model.
        """
        if num_rows == 0:
            raise LookStopped
        self.has_learned = True
        self.num_trained = num_rows

    @property
    def seconds(self) -> float:
        return self.train_seconds + self.answer_seconds

    def make_box(self, started: float | None = None) -> "TimeBox":
        """Make the time box of a training, whose seconds may be infinite. The seconds since
        `started`, a time of `time.perf_counter`, count.
        """
        from etude.training.time_box import TimeBox

        seconds = self.effort.train_seconds
        used = time.perf_counter() - started if started and seconds is not None else 0.0
        return TimeBox(
            math.inf if seconds is None else max(0.0, seconds - used), is_stopped=self.is_stopped
        )

    def dev_sample(self, dev: Dataset) -> Dataset:
        """Sample the dev rows that choices are based on, the same for every method."""
        return sample_rows(dev, self.effort.dev_rows, self.seed)

    def loss_sample(self, dev: Dataset, most: int = MAX_LOSS_ROWS) -> Dataset:
        """Sample the dev rows on which weights under training are measured: at most `most` if their
        time is limited.
        """
        is_limited = self.effort.train_seconds is not None
        return sample_rows(self.dev_sample(dev), most if is_limited else None, self.seed)

    def choose(
        self,
        candidates: Sequence[Candidate],
        dev: Dataset,
        *,
        cheap: bool = False,
        first: int = 0,
        order: Sequence[int] | None = None,
    ) -> Candidate:
        """Answer dev with the candidates and choose one of them by the rule of `stats.choose`.

        `candidates` are ordered from the simplest to the most complex. `first` is the index of the
        one that is usually best: unless they are `cheap`, a short look tries only this one.
        `order`: the positions of the rows that choose, as they come in `order_rows`; None for all.
        """
        # 1. Answer dev with each candidate: this is most of the time of a prompt.
        self.num_candidates = len(candidates)
        race = self.race or (Race(math.inf) if self.is_stopped() else None)
        if race and not cheap:
            tried = [first, *(index for index in range(len(candidates)) if index != first)]
            tried = tried[: self.effort.candidates]
            order = order_rows(dev, self.seed) if order is None else order
            results_by_index = self._run_race(
                {index: candidates[index] for index in tried}, dev, race, order
            )
        else:
            rows = self.dev_sample(dev)
            total = len(candidates)
            if order is not None:
                rows = dev.select(sorted(order), "the rows that choose")
            results_by_index = {
                index: self.evaluate(candidate.assistant, rows, Trial(index + 1, total))
                for index, candidate in enumerate(candidates)
                if not (index and self.is_stopped())
            }
        tried_candidates = [candidates[index] for index in sorted(results_by_index)]
        results = [results_by_index[index] for index in sorted(results_by_index)]
        self.is_cut |= len(results) < len(candidates)
        # 2. Of the candidates still in the race, the simplest that is not worse by more than the
        # margin is chosen.
        samples = [build_sample(self.metric, [row.outcome for row in result]) for result in results]
        names = [candidate.name for candidate in tried_candidates]
        num_rows = max(map(len, results))
        in_race = [index for index, result in enumerate(results) if len(result) == num_rows]
        choice = choose([(names[index], samples[index]) for index in in_race], self.margin)
        chosen = in_race[choice.index]
        # 3. Keep every result, for the report and for tried.jsonl.
        self.scored_by_candidate |= zip(names, results, strict=True)
        self.chosen_scored = results[chosen]
        for index, (name, sample) in enumerate(zip(names, samples, strict=True)):
            is_out = (
                f"clearly worse after {len(results[index]):,} rows" if index not in in_race else ""
            )
            reason = choice.reason if index == chosen else is_out
            self.trials.append(TrialResult(name, estimate_sample(sample), index == chosen, reason))
        return tried_candidates[chosen]

    def _run_race(
        self, candidates: Mapping[int, Candidate], dev: Dataset, race: Race, order: Sequence[int]
    ) -> dict[int, list[ScoredAnswer]]:
        """Answer dev in growing blocks of one seeded order, while there is time. The first
        candidate answers the first block in any case. A candidate that is clearly worse answers no
        further block.
        """
        all_ends = list(iter_block_ends(len(order)))
        ends = list(iter_block_ends(len(order[: self.effort.dev_rows])))
        results: dict[int, list[ScoredAnswer]] = {}
        running = list(candidates)
        begin = 0
        total = self.num_candidates
        for end in ends:
            block = dev.select(order[begin:end], f"dev rows {begin + 1:,} to {end:,} of the race")
            block_seconds = len(block) * (self.row_seconds or 0.0)
            # Only whole rounds are comparable: later candidates join in the first one or not at
            # all.
            is_short = (
                self.full_seconds and self.effort.dev_rows
            )  # a training that goes on in a longer look
            if begin and (is_short or not self.has_time_for(block_seconds * len(running))):
                break
            answers: dict[int, list[ScoredAnswer]] = {}
            try:
                for index in running:
                    if not begin and answers and not self.has_time_for(block_seconds):
                        break
                    trial = Trial(index + 1, total)
                    answers[index] = self.evaluate(candidates[index].assistant, block, trial)
                    block_seconds = len(block) * (self.row_seconds or 0.0)
            except LookStopped:
                if not (begin or answers):
                    raise
                if begin:
                    break
            results |= {index: [*results.get(index, ()), *rows] for index, rows in answers.items()}
            running = [index for index in running if index in results]
            begin = end
            outcomes = [[row.outcome for row in results[index]] for index in running]
            ids = [row.example.id for row in results[running[0]]]
            if all(row in race.best for row in ids):
                outcomes.append([race.best[row] for row in ids])
            samples = [build_sample(self.metric, rows) for rows in outcomes]
            beaten = find_beaten(samples, race.margin, len(all_ends))
            contenders = [index for position, index in enumerate(running) if position not in beaten]
            if not contenders:
                self.is_raced_out = True
                break
            running = contenders if end < len(order) else running
        self.is_cut |= begin < len(order) and not self.is_raced_out
        positions = {row.id: position for position, row in enumerate(dev)}
        return {
            index: sorted(rows, key=lambda row: positions[row.example.id])
            for index, rows in results.items()
        }

    def evaluate(
        self, assistant: Assistant, rows: Dataset, trial: Trial = Trial()
    ) -> list[ScoredAnswer]:
        """Answer and score `rows`, resumable through a log in the folder. If a simpler method
        answered all of them with an equal assistant, its answers are reused and their seconds are
        not counted.
        """
        assistant = with_engine(self.engine, assistant)
        logs = (open_answer_log(folder, assistant, rows) for folder in self.lower_folders)
        finished_log = next((log for log in logs if log.num_requests == len(rows)), None)
        log = finished_log or open_answer_log(self.folder, assistant, rows)
        was_stopped = self.is_stopped()
        started = time.perf_counter()

        def report(batch: Sequence[ScoredAnswer], done: int, total: int, remaining: float) -> None:
            if self.on_answers:
                self.on_answers(trial, batch, done, total, remaining)
            # What a training has cost is not given up for the last answers to dev.
            if done < total and self.is_stopped() and not (was_stopped or self.has_learned):
                raise LookStopped
            is_far = 4 * (total - done) > done  # the rest is not worth losing what is done
            if is_far and self.is_overdue() and self.effort.dev_rows and not self.row_seconds:
                raise LookStopped((time.perf_counter() - started) * total / done)

        num_known = log.num_requests
        scored = evaluate(assistant, self.models, rows, self.metric, log, report)
        if finished_log is None:
            self.answer_seconds += sum(row.answer.seconds for row in scored)
        if num_new := len(rows) - num_known:
            self.row_seconds = (time.perf_counter() - started) / num_new
        elif self.row_seconds is None:  # as long as when they were answered
            self.row_seconds = sum(row.answer.seconds for row in scored) / max(1, len(rows))
        return scored


def sample_rows(rows: Dataset, size: int | None, seed: int) -> Dataset:
    """Sample `size` rows in their original order, or return all. With the same seed, a smaller
    sample is part of a larger.
    """
    if size is None or size >= len(rows):
        return rows
    positions = sorted(order_rows(rows, seed)[:size])
    return rows.select(
        positions, f"a sample of {size:,} of {len(rows):,} rows, to keep to the budget"
    )


def order_rows(rows: Dataset, seed: int) -> list[int]:
    """Return all positions in one seeded order, so that samples of different sizes are nested."""
    return random.Random(f"{seed}/sample").sample(range(len(rows)), len(rows))


def sample_evenly(rows: Dataset, size: int) -> Sequence[Example]:
    """Return `size` rows at even distances."""
    step = max(1, len(rows) // size)
    return rows.examples[::step][:size]


def name_shape(kind: Kind, contract: Contract | None, example: Example) -> str:
    """Name the shape of a row, so that samples can cover every shape: the label, or which of the
    contract's fields the output has.
    """
    if kind == "classify":
        return example.output
    parsed = contract.parse(example.output) if contract else None
    return ", ".join(sorted(parsed)) if isinstance(parsed, dict) else ""


def initial_assistant(task: Task, train: Dataset, models: Models | None) -> Assistant:
    """Build the assistant that the ladder starts from: the task's instructions, no examples,
    untuned weights.

    Labels and `max_tokens` come from the training rows if the task does not set them. Without
    `models`, for a ladder that uses no model, `max_tokens` keeps its default.
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
    return (
        replace(assistant, max_tokens=choose_max_tokens(train, models, model))
        if models
        else assistant
    )


def resolve_contract(task: Task, train: Dataset) -> Contract | None:
    """Return the task's contract; for classify without labels, with the labels of the training
    rows.
    """
    contract = task.contract or Contract()
    if task.kind != "classify" or contract.labels or contract.json_schema:
        return task.contract
    if task.questions:
        return require_answers(contract, find_labels(task.questions, train))
    labels = sorted({label for example in train for label in task.list_labels(example.output)})
    return (
        list_of_labels(contract, labels)
        if task.several
        else replace(contract, labels=tuple(labels))
    )


def _list_answers(example: Example) -> list[str]:
    """The right answer, and with `turns: all` the earlier ones, which a tuned method's rows have
    only as turns.
    """
    turns = example.input if example.conversation else ()
    return [
        *(turn.content for turn in turns if turn.role == "assistant" and turn.trained),
        example.output,
    ]


def choose_max_tokens(train: Dataset, models: Models, model: ModelRef) -> int:
    """Choose `max_tokens`: 1.5 times the 99th percentile of the training answers, but at most half
    of the context, to leave the rest for the prompt.

    An answer that fills the context on its own is ignored, because no prompt would fit with it.
    """
    tokenizer_model = models.get(model)
    question = (Message("user", ""),)
    bare = tokenizer_model.count_tokens(question)  # tokens of the template itself
    # The percentile is among the longest answers, so only these are counted.
    texts = sorted((text for example in train for text in _list_answers(example)), key=len)
    longest = texts[-max(COUNTED_ANSWERS, len(texts) // 10) :]
    tokens = {
        text: tokenizer_model.count_tokens((Message("user", text),)) - bare
        for text in dict.fromkeys(longest)
    }
    lengths = sorted(tokens[text] for text in longest)
    num_others = len(texts) - len(longest)
    readable = [
        length for length in lengths if length + bare + TOKEN_STEP < tokenizer_model.context
    ]
    position = math.ceil(0.99 * (num_others + len(readable))) - 1 - num_others
    percentile = readable[max(0, position)] if readable else 0
    rounded = TOKEN_STEP * math.ceil((1.5 * percentile + 8) / TOKEN_STEP)
    return max(min(rounded, tokenizer_model.context // 2), percentile + 1)

"""One training run: rows as tokens, settings, which tokens are learned, the training, and the
record of it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from etude.assistant import Assistant
from etude.base.files import write_lines
from etude.base.formatting import format_loss, format_loss_change
from etude.data.dataset import Dataset
from etude.errors import quote_value
from etude.methods.shared.fit_context import name_shape
from etude.methods.shared.instructions import choose_instructions
from etude.task import Task
from etude.task.settings import DATA_SETTINGS, SETTINGS
from etude.types import Example, Message, TrainableModel

if TYPE_CHECKING:
    from etude.training.config import EarlierTraining, TrainConfig
    from etude.training.losses import Loss
    from etude.training.rows.batches import TokenRow
    from etude.training.step import TrainResult
    from etude.training.time_box import TimeBox

SHOWN = 3  # training rows in the report
ROWS_FILE = "rows.jsonl"
CHECKPOINT = "checkpoint"  # folder of a training in progress
NO_SYSTEM_NOTE = " It has no system turn, so instructions are put before the first question."

Log = Callable[[Mapping[str, Any]], None]


@dataclass(frozen=True)
class TrainingRun:
    """The input of one training run."""

    model: TrainableModel
    rows: Sequence[TokenRow]
    dev_rows: Sequence[TokenRow]
    config: TrainConfig
    supervision: tuple[str, ...]  # sentences on what is learned and what is only context
    left_out: tuple[str, ...]  # `file:line` of training rows that are not used
    silent_rows: frozenset[str] = frozenset()  # ids of rows with an assistant turn of weight 0
    extra_settings: Mapping[str, object] = field(default_factory=dict)
    """Settings of the user that the loop does not know, such as `max_rows`."""
    loss: Loss | None = None  # the loss in place of the cross-entropy
    earlier: EarlierTraining | None = None  # the training that this one continues in a time box
    replay_seconds: float = 0.0  # of the untuned model's answers that are replayed
    full_rows: int | None = (
        None  # rows of all epochs of a training without a time limit; None: of this one
    )

    @property
    def num_rows(self) -> int:
        """Number of rows, without replayed ones; a row may be several token rows."""
        from etude.training.rows.batches import REPLAYED

        return len({row.id for row in self.rows} - {REPLAYED})

    @property
    def steps(self) -> int:
        return self.config.epochs * -(-len(self.rows) // self.config.rows_per_step)

    @property
    def num_done(self) -> int:
        return self.earlier.steps if self.earlier else 0

    @property
    def settings(self) -> list[tuple[str, object, str]]:
        """(name, value, reason) of the settings that were chosen automatically or set by the
        user.
        """
        values = {**self.config.to_dict(), **self.extra_settings}
        return [(name, values[name], reason) for name, reason in self._reasons.items()]

    @property
    def _reasons(self) -> dict[str, str]:
        return {**self.config.reasons, **dict.fromkeys(self.extra_settings, "set by the user")}

    def choose_rows_to_show(self, number: int) -> list[tuple[TokenRow, str]]:
        """Choose at most `number` rows that differ, each with the reason."""
        from etude.training.rows.supervision import choose_rows_to_show

        return choose_rows_to_show(self.rows, number, self.silent_rows)

    def train(
        self,
        folder: Path,
        name: str,
        log: Log,
        on_eval: Callable[[], Mapping[str, Any]] = dict,
        box: TimeBox | None = None,
    ) -> TrainingRecord:
        """Train, from the last checkpoint if there is one, and write adapter/ and rows.jsonl to
        `folder`. With a `box`, training ends within its seconds, and soon after it is stopped.

        `name` is recorded in the adapter as the name of the base. Raises the errors of
        `etude.training.loop.train`.
        """
        from etude.training.config import EarlierTraining, Output
        from etude.training.loop import train
        from etude.training.losses import supervised

        lines: list[Mapping[str, object]] = [
            {"row": row.id, "tokens": len(row.ids), "learned": row.num_trained} for row in self.rows
        ]
        lines += [{"row": location, "left_out": True} for location in self.left_out]
        write_lines(folder / ROWS_FILE, lines)
        is_stopped = box.is_stopped if box else bool
        finite_box = box if box and math.isfinite(box.seconds) else None
        output = Output(
            *(
                folder / CHECKPOINT,
                folder / "adapter",
                self._add_totals(log),
                on_eval,
                is_stopped,
                finite_box,
            ),
            *(self.earlier or EarlierTraining(), name),
        )
        loss = self.loss or supervised  # cross-entropy
        result = train(self.model.module, self.rows, self.dev_rows, self.config, output, loss)
        return TrainingRecord(self._to_params(result), tuple(_list_notes(result, self)))

    def _add_totals(self, log: Log) -> Log:
        """Wrap the log so that its lines have the numbers of all steps and epochs, from which the
        remaining time is computed.
        """
        totals = {"steps": self.steps, "epochs": self.config.epochs}

        def log_with_totals(line: Mapping[str, Any]) -> None:
            log({**totals, **line} if "epoch" in line else line)

        return log_with_totals

    def _to_params(self, result: TrainResult) -> dict[str, Any]:
        from etude.training.rows.supervision import split_spans

        decoder = self.model.tokenizer
        cut = {"epochs": CUT} if _is_out_of_time(result, self) else {}
        seconds = result.seconds + (self.earlier.seconds if self.earlier else self.replay_seconds)
        num_rows = max(1, self.num_done + result.steps) * self.config.rows_per_step
        full_seconds = seconds * (self.full_rows or self.config.epochs * len(self.rows)) / num_rows
        return {
            "settings": {**self.config.to_dict(), **self.extra_settings},
            "reasons": self._reasons | cut,
            "defaults": self.config.defaults,
            "text": _describe_result(result, len(self.dev_rows), self.num_done),
            "supervision": list(self.supervision),
            "shown_rows": [
                {"row": row.id, "reason": reason, "spans": split_spans(decoder, row)}
                for row, reason in self.choose_rows_to_show(SHOWN)
            ],
            "base": str(self.model.folder),
            "rows": len(self.rows),
            **(
                {"trained_rows": result.num_trained, "kept_steps": result.kept_steps}
                if result.plans or cut
                else {}
            ),
            **({"full_seconds": full_seconds} if cut else {}),
            "dev_rows": len(self.dev_rows),
            "best_epoch": result.best_epoch,
            "dev_losses": list(result.dev_losses),
            "train_losses": list(result.train_losses),
            "tokens": result.tokens,
            "seconds": seconds,
            "peak_memory_gb": round(result.peak_memory / 1e9, 2),
        }


@dataclass(frozen=True)
class TrainingRecord:
    """The record of a finished training run, ready for JSON."""

    params: Mapping[str, Any]
    notes: tuple[str, ...] = ()


def build_training_run(
    task: Task,
    student: Assistant,
    rows_to_train: Sequence[Example],
    dev: Dataset,
    model: TrainableModel,
    left_out: Sequence[str] = (),
    box_rows: int | None = None,
) -> TrainingRun:
    """Build the run that trains `student` on `rows_to_train`; `left_out` are the locations of the
    other training rows, and `box_rows` is the number of rows for which a time limit is enough: with
    few, batches are small.

    Raises InputError with every row that cannot be learned: rows that are too long, have no learned
    token, or have an answer whose end of turn is not learned.
    """
    from etude.render import end_of_turn
    from etude.training.rows.batches import check_rows
    from etude.training.rows.supervision import count_supervision

    rows = build_token_rows(model, student, rows_to_train)
    dev_rows = build_token_rows(model, student, dev.whole)
    num_rows = min(len(rows), box_rows or len(rows))
    row_tokens = sum(len(row.ids) for row in rows) / max(1, len(rows))
    copies = student.search is not None
    config, full_config = (
        choose_config(task, model, number, row_tokens, copies=copies)
        for number in (num_rows, len(rows))
    )
    check_rows(rows, dev_rows, config.max_tokens)
    counts = count_supervision(
        rows, end_of_turn(model.tokenizer), model.tokenizer.bos_token_id, dev_rows
    )
    # Sentences for the report: what is learned, what is skipped, and with which prompt.
    supervision = (
        *counts.to_sentences(),
        *_describe_rows(rows_to_train, left_out, student.method),
        _describe_prompt(task, student),
        _describe_template(model, student, rows_to_train),
    )
    silent_rows = frozenset(locate(example) for example in rows_to_train if _count_silent(example))
    extra_settings = {key: value for key, value in task.train.items() if key in DATA_SETTINGS}
    return TrainingRun(
        *(model, rows, dev_rows, config, supervision, tuple(left_out), silent_rows, extra_settings),
        full_rows=full_config.epochs * len(rows),
    )


def locate(example: Example) -> str:
    """Return the location of a row, or its id if it has none."""
    return example.location or example.id


def build_token_rows(
    model: TrainableModel, assistant: Assistant, examples: Iterable[Example]
) -> list[TokenRow]:
    """Render examples to the token ids of the assistant's prompt and the right answer.

    Each example is one row, or one row per answer if the chat template renders earlier answers in
    another way.
    """
    from etude.render import render_training
    from etude.training.rows.batches import TokenRow

    rows = []
    for example in examples:
        stratum = name_shape(assistant.kind, assistant.contract, example)
        messages = (*assistant.build_messages(example.input), Message("assistant", example.output))
        for ids, trained in render_training(model.tokenizer, messages):
            rows.append(TokenRow(locate(example), tuple(ids), tuple(trained), stratum))
    return rows


def choose_config(
    task: Task,
    model: TrainableModel,
    num_rows: int,
    row_tokens: float = 0.0,
    *,
    copies: bool = False,
) -> TrainConfig:
    """Choose the settings for training on `num_rows` rows of `row_tokens` on average; the user's
    overrides win.

    A model that `copies` from passages in its prompt is trained for one epoch. Raises InputError
    for overrides that are impossible or contradict each other, and ModelError for `targets` that
    the model does not have.
    """
    from etude.training.config import auto_config
    from etude.training.layers.lora import find_targets

    parameters = sum(parameter.numel() for parameter in model.module.parameters())
    overrides = {key: value for key, value in task.train.items() if key in SETTINGS}
    config = auto_config(num_rows, parameters, {"seed": task.seed, **overrides}, row_tokens)
    if copies and config.epochs > 1 and "epochs" not in task.train:
        config = replace(config, epochs=1, reasons={**config.reasons, "epochs": COPIED})
    find_targets(model.module, config.targets)
    if "seed" in task.train:
        return config
    return replace(config, reasons={**config.reasons, "seed": "from the task"})


CUT = "cut to fit the budget"
COPIED = "the answers are in the passages, and one epoch is enough to learn to copy them"


def _count_silent(example: Example) -> int:
    return sum(turn.role == "assistant" and not turn.trained for turn in example.input)


def _describe_rows(
    chosen: Sequence[Example], left_out: Sequence[str], method: str
) -> Iterator[str]:
    if num_silent := sum(map(_count_silent, chosen)):
        yield f"Assistant turns with weight 0, which are context and not learned: {num_silent:,}."
    if left_out:
        yield (
            f"No row is cut. Left out: {len(left_out):,} of {len(left_out) + len(chosen):,} "
            f"training rows, such as {', '.join(left_out[:3])}; methods/{method}/work/{ROWS_FILE} "
            "in the run's folder lists all of them."
        )
    else:
        yield "No row is cut or left out."


def _describe_prompt(task: Task, student: Assistant) -> str:
    if not task.instructions.strip():
        return "There are no instructions, so no system message is added."
    prompt = "without the instructions"
    if student.instructions:
        prompt = f"with this system message: {quote_value(student.instructions, 200)}"
    reason = choose_instructions(task).reason
    return (
        f"The model is trained and used {prompt} ({reason}; to change this: train: instructions)."
    )


def _describe_template(model: TrainableModel, student: Assistant, chosen: Sequence[Example]) -> str:
    from etude.render import has_system_turn, split_template

    before, between, behind = split_template(model.tokenizer)
    template = (
        "the model's own"
        if model.tokenizer.chat_template
        else "a plain one, since the model has none"
    )
    system = ""
    if not has_system_turn(model.tokenizer):
        system = NO_SYSTEM_NOTE
    elif any(turn.role == "system" for example in chosen for turn in example.input):
        system = " The rows' own system messages replace the template's."
    elif student.instructions:
        system = " This system message replaces the template's own."
    return (
        f"Chat template: {template}. It puts {quote_value(before, 200)} before a question, "
        f"{quote_value(between)} before the answer and {quote_value(behind)} after it.{system}"
    )


def _describe_result(result: TrainResult, num_dev: int, num_done: int = 0) -> str:
    before = result.dev_losses[0]
    after = result.dev_losses[result.best_epoch]
    rows = f"{num_dev:,} dev rows"
    if not result.best_epoch:
        failure = _describe_failure(result)
        weights = _name_start(num_done)
        return (
            f"Training {failure} on {rows}, so the {weights} are kept; loss {format_loss(before)}."
        )
    change = "fell" if after < before else "rose" if after > before else "stayed"
    point = _name_point(result, result.best_epoch)
    of_all = result.steps if result.plans else len(result.dev_losses) - 1
    numbers = (
        f"{change} {format_loss_change(before, after)}; the weights of {point} of {of_all:,} are "
        "kept."
    )
    if num_done:
        numbers += f" The training went on from a first one of {num_done:,} steps."
    if _is_tied(result):
        return f"The metric on {rows} stayed the same. The loss {numbers}"
    return f"The loss on {rows} {numbers}"


def _name_start(num_done: int) -> str:
    return f"weights of the first {num_done:,} steps" if num_done else "untrained weights"


def _describe_failure(result: TrainResult) -> str:
    from etude.training.early_stopping import is_clearly_above

    if _is_tied(result):
        return "improved neither the metric nor the loss"
    before, *after = result.dev_losses
    if result.scores[0] == -before and after and is_clearly_above(min(after), before):
        return f"made it worse (the loss rose {format_loss_change(before, min(after))} at best)"
    return "brought no improvement"


def _is_tied(result: TrainResult) -> bool:
    """Whether no epoch had a better metric on dev than the untrained weights, and one had an equal
    one.
    """
    # Without a metric, the score of an epoch is its negative loss.
    by_metric = any(
        score != -loss for score, loss in zip(result.scores, result.dev_losses, strict=True)
    )
    return by_metric and max(result.scores[1:], default=None) == result.scores[0]


def _name_point(result: TrainResult, number: int) -> str:
    """Name the moment of a dev loss: an epoch, or in a time box a step."""
    return f"step {result.measured_steps[number]:,}" if result.plans else f"epoch {number}"


def _list_notes(result: TrainResult, run: TrainingRun) -> Iterator[str]:
    from etude.training.early_stopping import has_risen_at_once, is_overfitting

    config = run.config
    num_steps = run.num_done + result.steps
    num_epochs = num_steps * config.epochs / run.steps
    best = result.best_epoch
    last = len(result.dev_losses) - 1
    if best == 0:
        yield (
            f"training {_describe_failure(result)} on dev, so the {_name_start(run.num_done)} "
            "were kept"
        )
    elif best < last:
        later = "weights" if result.plans else "epochs"
        yield (
            f"the result on dev was best after {_name_point(result, best)}; later {later} were "
            "dropped"
        )
    if result.plans and num_epochs < 1:
        yield (
            f"training was stopped by the budget after {result.num_trained:,} of {run.num_rows:,} "
            "rows"
        )
    elif result.plans and num_epochs < config.epochs:
        yield f"training was stopped by the budget after {num_epochs:.1f} of {config.epochs} epochs"
    elif _is_out_of_time(result, run):
        yield f"training was stopped after {result.num_trained:,} of {run.num_rows:,} rows"
    elif last < config.epochs:
        no_gain = f"{config.patience} epochs brought no improvement"
        yield f"stopped after epoch {last} of {config.epochs}: {no_gain}"
    if has_risen_at_once(result.dev_losses):
        period = "part of the training" if result.plans else "epoch"
        yield (
            f"the loss on dev rose in the first {period}, "
            f"{format_loss_change(*result.dev_losses[:2])}: lower the learning rate (train: "
            f"{{learning_rate: {config.learning_rate / 2:g}}})"
        )
    train = result.train_losses
    dev = result.dev_losses
    epochs = range(1, len(dev))
    if epoch := next(
        (epoch for epoch in epochs if is_overfitting(train[:epoch], dev[: epoch + 1])), 0
    ):
        yield (
            f"overfitting from {_name_point(result, epoch)} on: the loss on the training rows "
            f"fell to {format_loss(result.train_losses[epoch - 1])} while on dev it rose "
            f"{format_loss_change(min(result.dev_losses[:epoch]), result.dev_losses[epoch])}; "
            "more rows, or more varied ones, can help; more epochs cannot"
        )


def _is_out_of_time(result: TrainResult, run: TrainingRun) -> bool:
    """Whether a time box or the user ended the training, and not the last epoch or `patience`."""
    is_patience_over = (
        not result.plans and len(result.dev_losses) - 1 - result.best_epoch >= run.config.patience
    )
    return run.num_done + result.steps < run.steps and not is_patience_over

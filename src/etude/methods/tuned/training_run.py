"""One training run, from examples to facts: rows as tokens, settings, what is learned, training itself."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from etude.assistant import Assistant
from etude.base.files import write_lines
from etude.base.processes import ONE, World
from etude.base.wording import change_of_loss, loss
from etude.data.dataset import Dataset
from etude.errors import quote_value
from etude.methods.tuned.prompt import kept_by_tuned
from etude.task import Task
from etude.task.settings import AROUND, SETTINGS
from etude.types import Example, Message, TrainableModel

if TYPE_CHECKING:
    from etude.training.config import TrainConfig
    from etude.training.losses import Loss
    from etude.training.memory.forecast import Foreseen
    from etude.training.rows.batches import TokenRow
    from etude.training.step import TrainResult

SHOWN = 3
"""Training rows that the report shows as they are learned."""
ROWS_FILE = "rows.jsonl"
CHECKPOINT = "checkpoint"
"""Folder of the run under way, beside the result."""
NO_SYSTEM = " It has no system turn: instructions are put before the first question."

Log = Callable[[Mapping[str, Any]], None]


@dataclass(frozen=True)
class TrainingRun:
    """All that one training run is given."""

    model: TrainableModel
    rows: Sequence[TokenRow]
    dev_rows: Sequence[TokenRow]
    config: TrainConfig
    supervision: tuple[str, ...]
    """What is learned and what is only read, in sentences."""
    left_out: tuple[str, ...]
    """Training rows that are not taken, as `file:line`."""
    with_silent: frozenset[str] = frozenset()
    """Rows that hold an assistant's turn of weight 0, by their ids."""
    around: Mapping[str, object] = field(default_factory=dict)
    """What the user set of training that is no setting of the loop: `max_rows`, `dev_metric`."""
    world: World = ONE
    """The processes that train together; this is the first of them."""
    loss: Loss | None = None
    """What is minimised in place of the cross-entropy; then there is one process."""

    @property
    def steps(self) -> int:
        """Steps of all epochs."""
        return self.config.epochs * -(-len(self.rows) // self.config.rows_per_step)

    @property
    def settings(self) -> list[tuple[str, object, str]]:
        """(setting, value, why) of all that was chosen or set by the user."""
        values = {**self.config.values(), **self.around}
        return [(name, values[name], why) for name, why in self._reasons.items()]

    @property
    def _reasons(self) -> dict[str, str]:
        return {**self.config.reasons, **dict.fromkeys(self.around, "set by the user")}

    def telling(self, number: int) -> list[tuple[TokenRow, str]]:
        """At most so many rows that differ, each with what it shows."""
        from etude.training.rows.supervision import telling

        return telling(self.rows, number, self.with_silent)

    def foresee(self) -> Foreseen:
        """What the run will take, from a few timed steps."""
        from etude.training.distributed.workers import Job, send_job
        from etude.training.memory.forecast import foresee

        send_job(self.world, Job("foresee", self.model.name, self.rows, self.dev_rows, self.config))
        return foresee(self.model.module, self.rows, self.dev_rows, self.config, self.world)

    def train(
        self,
        folder: Path,
        name: str,
        log: Log,
        on_eval: Callable[[], Mapping[str, Any]],
        more: Callable[[float], bool] = lambda seconds: True,
    ) -> Facts:
        """Trains; `folder` then holds adapter/ and rows.jsonl. Goes on where an earlier attempt was killed.

        `name` is noted in the adapter as the base's. Raises what `etude.training.train` does.
        """
        from etude.training.distributed.workers import Job, send_job
        from etude.training.loop import train
        from etude.training.losses import supervised
        from etude.training.output import Output

        write_lines(folder / ROWS_FILE, self._lines())
        checkpoint = folder / CHECKPOINT
        send_job(self.world, Job("train", self.model.name, self.rows, self.dev_rows, self.config, checkpoint))
        output = Output(checkpoint, folder / "adapter", self._with_totals(log), on_eval, more, name)
        loss = self.loss or supervised
        result = train(self.model.module, self.rows, self.dev_rows, self.config, output, self.world, loss)
        if self.config.weights == "full":
            self.model.tokenizer.save_pretrained(folder / "adapter")
        return Facts(self._params(result), tuple(_notes(result, self.config)))

    def _lines(self) -> Iterator[Mapping[str, object]]:
        """A line for each training row, taken or left out."""
        for row in self.rows:
            yield {"row": row.id, "tokens": len(row.ids), "learned": row.num_trained}
        for where in self.left_out:
            yield {"row": where, "left_out": True}

    def _with_totals(self, log: Log) -> Log:
        """A log that adds the numbers of all steps and epochs, so that the time left can be told."""
        totals = {"steps": self.steps, "epochs": self.config.epochs}

        def with_totals(line: Mapping[str, Any]) -> None:
            log({**line, **totals} if "epoch" in line else line)

        return with_totals

    def _params(self, result: TrainResult) -> dict[str, Any]:
        from etude.training.rows.supervision import spans

        decoder, cut = self.model.tokenizer, {"epochs": CUT} if _out_of_time(result, self.config) else {}
        return {
            "settings": {**self.config.values(), **self.around},
            "reasons": self._reasons | cut,
            "defaults": self.config.defaults,
            "text": _sentence(result, len(self.dev_rows)),
            "supervision": list(self.supervision),
            "shown_rows": [
                {"row": row.id, "why": why, "spans": spans(decoder, row)} for row, why in self.telling(SHOWN)
            ],
            "base": str(self.model.folder),
            "processes": self.world.size,
            "rows": len(self.rows),
            "dev_rows": len(self.dev_rows),
            "best_epoch": result.best_epoch,
            "dev_losses": list(result.dev_losses),
            "train_losses": list(result.train_losses),
            "tokens": result.tokens,
            "seconds": result.seconds,
            "peak_memory_gb": round(result.peak_memory / 1e9, 2),
        }


@dataclass(frozen=True)
class Facts:
    """What is kept of a finished training run, ready for JSON."""

    params: Mapping[str, Any]
    notes: tuple[str, ...] = ()


def training_run(
    task: Task,
    student: Assistant,
    train: Dataset,
    chosen: Sequence[Example],
    dev: Dataset,
    model: TrainableModel,
    most_epochs: int | None = None,
) -> TrainingRun:
    """The run that trains `student` on the `chosen` rows of `train`, for at most so many epochs.

    Raises InputError listing every row that cannot be learned: too long, without a learned token, or with an
    answer whose end of turn is not learned.
    """
    from etude.render import end_of_turn
    from etude.training.rows.batches import check_rows
    from etude.training.rows.supervision import supervise

    rows, dev_rows = token_rows(model, student, chosen), token_rows(model, student, dev)
    config = config_for(task, model, len(rows), most_epochs, copies=student.search is not None)
    check_rows(rows, dev_rows, config.max_tokens)
    counts = supervise(rows, end_of_turn(model.tokenizer), model.tokenizer.bos_token_id, dev_rows)
    taken = {example.id for example in chosen}
    left = tuple(_id_of(example) for example in train if example.id not in taken)
    supervision = (
        *counts.lines(),
        *_about_rows(chosen, left, len(train), student.method),
        _about_prompt(task, student),
        _about_template(model, _about_system(student, chosen)),
    )
    with_silent = frozenset(_id_of(example) for example in chosen if _num_silent(example))
    around = {key: value for key, value in task.train.items() if key in AROUND}
    return TrainingRun(model, rows, dev_rows, config, supervision, left, with_silent, around)


def _id_of(example: Example) -> str:
    """What a training row is called: its `file:line` where it has one."""
    return example.location or example.id


def token_rows(model: TrainableModel, assistant: Assistant, examples: Iterable[Example]) -> list[TokenRow]:
    """Examples as the token ids that the assistant would see and should give; one row each, or one for
    each of its answers where the chat template shows earlier ones in another way than it asks for them."""
    from etude.render import render_training
    from etude.training.rows.batches import TokenRow

    rows = []
    for example in examples:
        messages = (*assistant.messages(example.input), Message("assistant", example.output))
        for ids, trained in render_training(model.tokenizer, messages):
            rows.append(TokenRow(_id_of(example), tuple(ids), tuple(trained)))
    return rows


def config_for(
    task: Task, model: TrainableModel, num_rows: int, most_epochs: int | None = None, *, copies: bool = False
) -> TrainConfig:
    """The automatic settings for training on `num_rows` rows, under the user's overrides.

    A model that `copies` from the passages it is shown is trained for one epoch. `most_epochs` is the plan's limit.
    Raises InputError on overrides that are impossible or at odds or name more layers than there are, ModelError on
    `targets` that the model does not have.
    """
    from etude.training.config import auto_config
    from etude.training.layers.lora import targeted

    parameters = sum(parameter.numel() for parameter in model.module.parameters())
    overrides = {key: value for key, value in task.train.items() if key in SETTINGS}
    config = auto_config(num_rows, parameters, {"seed": task.seed, **overrides})
    if "epochs" not in task.train:
        config = _fewer_epochs(config, 1 if copies else None, COPIED)
        config = _fewer_epochs(config, most_epochs, CUT)
    if config.weights == "lora":
        targeted(model.module, config)
    return (
        config if "seed" in task.train else replace(config, reasons={**config.reasons, "seed": "the task's"})
    )


CUT = "cut to fit the budget"
COPIED = "the answers are in the passages, and one epoch teaches to copy them"


def _fewer_epochs(config: TrainConfig, most: int | None, why: str) -> TrainConfig:
    if most is None or config.epochs <= most:
        return config
    return replace(config, epochs=most, reasons={**config.reasons, "epochs": why})


def _num_silent(example: Example) -> int:
    """Turns of the assistant that are only read."""
    return sum(turn.role == "assistant" and not turn.trained for turn in example.input)


def _about_rows(chosen: Sequence[Example], left: Sequence[str], num_train: int, method: str) -> Iterator[str]:
    """Which rows and turns are not learned."""
    silent = sum(map(_num_silent, chosen))
    if silent:
        yield f"Assistant turns with weight 0, which are only read: {silent:,}."
    if left:
        yield (
            f"No row is cut. Left out: {len(left):,} of {num_train:,} training rows, such as "
            f"{', '.join(left[:3])}; training lists all of them in methods/{method}/work/{ROWS_FILE} of the run's "
            "folder."
        )
    else:
        yield "No row is cut and none is left out."


def _about_prompt(task: Task, student: Assistant) -> str:
    """What of the instructions is learned with, and why."""
    if not task.instructions.strip():
        return "There are no instructions, so no system message is added."
    said = f"with this system message: {quote_value(student.instructions, 200)}"
    added = said if student.instructions else "without the instructions"
    return f"The model is trained and used {added} ({kept_by_tuned(task).why}; to change this: train: instructions)."


def _about_system(student: Assistant, chosen: Sequence[Example]) -> str:
    """What stands in the place of the template's own system text; empty where nothing does."""
    if any(turn.role == "system" for example in chosen for turn in example.input):
        return " The rows' own system messages replace the template's."
    if student.instructions:
        return " This system message replaces the template's own."
    return ""


def _about_template(model: TrainableModel, own: str) -> str:
    from etude.render import around_turns, shows_system

    before, between, behind = around_turns(model.tokenizer)
    whose = "the model's own" if model.tokenizer.chat_template else "a plain one, for the model brings none"
    return (
        f"Chat template: {whose}. It puts {quote_value(before, 200)} before a question, {quote_value(between)} before the "
        f"answer and {quote_value(behind)} behind it.{own if shows_system(model.tokenizer) else NO_SYSTEM}"
    )


def _sentence(result: TrainResult, num_dev: int) -> str:
    """What came of it."""
    before, after, last = (
        result.dev_losses[0],
        result.dev_losses[result.best_epoch],
        len(result.dev_losses) - 1,
    )
    rows = f"{num_dev:,} dev rows"
    if not result.best_epoch:
        return (
            f"Training {_no_better(result)} on {rows}: the weights are those of before, loss {loss(before)}."
        )
    way = "fell" if after < before else "rose" if after > before else "stayed"
    kept = f"{change_of_loss(before, after)}; the weights of epoch {result.best_epoch} of {last} are kept."
    if _tied(result):
        return f"The metric on {rows} stayed as it was. The loss {way} {kept}"
    return f"The loss on {rows} {way} {kept}"


def _no_better(result: TrainResult) -> str:
    """What training did where the untrained weights are kept."""
    from etude.training.early_stopping import surely_above

    if _tied(result):
        return "left the metric as it was and the loss no lower"
    before, *after = result.dev_losses
    if result.scores[0] == -before and after and surely_above(min(after), before):
        return f"made it worse (the loss rose {change_of_loss(before, min(after))} at best)"
    return "made nothing better"


def _tied(result: TrainResult) -> bool:
    """Whether no epoch had a better metric on dev than the untrained weights, and one had an equal one."""
    by_metric = any(score != -loss for score, loss in zip(result.scores, result.dev_losses, strict=True))
    return by_metric and max(result.scores[1:], default=None) == result.scores[0]


def _notes(result: TrainResult, config: TrainConfig) -> Iterator[str]:
    from etude.training.early_stopping import rises_at_once

    best, last = result.best_epoch, len(result.dev_losses) - 1
    if best == 0:
        yield f"training {_no_better(result)} on dev, so the untrained weights were kept"
    elif best < last:
        yield f"the result on dev was best after epoch {best}; later epochs were dropped"
    if last < config.epochs:
        useless = f"{config.patience} epochs brought nothing better"
        why = "there was no time for another" if _out_of_time(result, config) else useless
        yield f"stopped after epoch {last} of {config.epochs}: {why}"
    if rises_at_once(result.dev_losses):
        yield (
            f"the loss on dev rose in the first epoch, {change_of_loss(*result.dev_losses[:2])}: "
            f"lower the learning rate (train: {{learning_rate: {config.learning_rate / 2:g}}})"
        )
    if (epoch := _overfitted(result)) is not None:
        yield (
            f"overfitting from epoch {epoch} on: the loss on the training rows fell to "
            f"{loss(result.train_losses[epoch - 1])} while on dev it rose "
            f"{change_of_loss(min(result.dev_losses[:epoch]), result.dev_losses[epoch])}; "
            "more or more varied rows help, more epochs do not"
        )


def _out_of_time(result: TrainResult, config: TrainConfig) -> bool:
    last = len(result.dev_losses) - 1
    return last < config.epochs and last - result.best_epoch < config.patience


def _overfitted(result: TrainResult) -> int | None:
    """The first epoch that overfits."""
    from etude.training.early_stopping import overfits

    train, dev = result.train_losses, result.dev_losses
    epochs = range(1, len(dev))
    return next((epoch for epoch in epochs if overfits(train[:epoch], dev[: epoch + 1])), None)

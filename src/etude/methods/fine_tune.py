"""fine_tune: weights taught on the training rows."""

from __future__ import annotations

import random
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from etude.assistant import Assistant
from etude.dataset import Dataset
from etude.files import read_json, write_json
from etude.methods.prompt import first_sentence
from etude.methods.workshop import Candidate, Method, Workshop, longest_answer
from etude.models.fake import tune_fake
from etude.models.registry import Models, is_fake
from etude.task import Task
from etude.types import Example, Message, ModelRef

if TYPE_CHECKING:
    from etude.models.local import LocalModel
    from etude.train.batches import TokenRow
    from etude.train.config import TrainConfig

SHOWN = 3
"""Training rows that the report shows as they are learned."""


@dataclass(frozen=True)
class FineTune(Method):
    """A LoRA adapter, or with `train: {weights: full}` all weights,
    taught to give the training answers; the best epoch by loss on dev is kept.

    The prompt is short, since the weights carry the rest: no instructions for classify and extract,
    else their first sentence.
    """

    name: ClassVar[str] = "fine_tune"
    label: ClassVar[str] = "Fine-tuned"
    tuned: ClassVar[bool] = True
    prompted: ClassVar[bool] = False

    def fit(
        self, task: Task, train: Dataset, dev: Dataset, start: Assistant, workshop: Workshop
    ) -> Assistant:
        """Trains; goes on from the last checkpoint where an earlier attempt was killed."""
        student = student_of(task, start, train, workshop.models)
        rows = training_rows(task, train, workshop)
        teach = _teach_fake if is_fake(task.model) else _teach_local
        adapter = workshop.folder / "adapter"
        done = workshop.folder / "trained.json"
        if not done.exists():
            write_json(done, teach(student, rows, workshop.dev_sample(dev), task, workshop, adapter))
            shutil.rmtree(workshop.folder / "checkpoint", ignore_errors=True)
        facts = read_json(done)
        workshop.params.update(facts["params"])
        workshop.seconds += facts["params"].get("seconds", 0.0)
        workshop.notes.extend(facts["notes"])
        tuned = replace(student, model=replace(student.model, adapter=adapter))
        return workshop.choose([Candidate("best epoch", tuned)], dev).assistant


def student_of(task: Task, start: Assistant, train: Dataset, models: Models) -> Assistant:
    """The untuned student: the task's model under the short prompt that training will use.

    Where another model answered the prompts, room for the answer is counted anew with its own tokenizer.
    """
    named = task.kind in ("answer", "rewrite")
    model = ModelRef(task.model)
    same = task.max_tokens is not None or start.model == model
    return replace(
        start,
        method=FineTune.name,
        model=model,
        instructions=first_sentence(task.instructions) if named else "",
        place="system",
        shots=(),
        max_tokens=start.max_tokens if same else longest_answer(train, models, model),
    )


def training_rows(task: Task, train: Dataset, workshop: Workshop) -> Sequence[Example]:
    """The rows to train on: all, or a seeded draw as large as the task or the plan allows."""
    limits = [int(limit) for limit in (workshop.effort.train_rows, task.train.get("max_rows")) if limit]
    size = min([len(train), *limits])
    if size == len(train):
        return train.examples
    workshop.notes.append(f"trained on {size} of {len(train)} rows")
    chosen = sorted(random.Random(f"{task.seed}/train").sample(range(len(train)), size))
    return [train[row] for row in chosen]


def token_rows(model: LocalModel, assistant: Assistant, examples: Iterable[Example]) -> list[TokenRow]:
    """Examples as the token ids that the assistant would see and should give; one row each, or one for
    each of its answers where the chat template shows earlier ones in another way than it asks for them."""
    from etude.render import render_training
    from etude.train.batches import TokenRow

    rows = []
    for example in examples:
        messages = (*assistant.messages(example.input), Message("assistant", example.output))
        for ids, trained in render_training(model.tokenizer, messages):
            rows.append(TokenRow(example.where or example.id, tuple(ids), tuple(trained)))
    return rows


def config_for(task: Task, model: LocalModel, rows: Sequence[TokenRow], num_rows: int) -> TrainConfig:
    """The automatic settings for training on `num_rows` rows like `rows`, under the user's overrides."""
    from etude.train.config import auto_config

    mean = sum(len(row.ids) for row in rows) / len(rows)
    parameters = sum(parameter.numel() for parameter in model.module.parameters())
    overrides = {key: value for key, value in task.train.items() if key != "max_rows"}
    return auto_config(num_rows, mean, parameters, {"seed": task.seed, **overrides})


def _teach_local(
    student: Assistant,
    rows: Sequence[Example],
    dev: Dataset,
    task: Task,
    workshop: Workshop,
    adapter: Path,
) -> dict[str, Any]:
    from etude.render import end_of_turn
    from etude.train.loop import train
    from etude.train.supervision import spans, supervise

    model = workshop.models.local(student.model)
    taught, held_out = token_rows(model, student, rows), token_rows(model, student, dev)
    supervision = supervise(taught, end_of_turn(model.tokenizer), model.tokenizer.bos_token_id)
    workshop.log({"supervision": list(supervision.lines())})
    config = config_for(task, model, taught, len(taught))
    result = train(
        model.module,
        taught,
        held_out,
        config,
        checkpoint=workshop.folder / "checkpoint",
        adapter=adapter,
        log=_with_steps(workshop, config, len(taught)),
        base_model=task.model,
    )
    if config.weights == "full":
        model.tokenizer.save_pretrained(adapter)
    notes = []
    if result.best_epoch == 0:
        notes.append("training made the loss on dev worse, so the untrained weights were kept")
    elif result.best_epoch < len(result.dev_losses) - 1:
        notes.append(f"loss on dev was lowest after epoch {result.best_epoch}; later epochs were dropped")
    params = {
        "settings": config.values(),
        "reasons": dict(config.reasons),
        "supervision": list(supervision.lines()),
        "shown_rows": [{"row": row.id, "spans": spans(model.tokenizer, row)} for row in taught[:SHOWN]],
        "best_epoch": result.best_epoch,
        "dev_losses": list(result.dev_losses),
        "tokens": result.tokens,
        "seconds": result.seconds,
        "peak_memory_gb": round(result.peak_memory / 1e9, 2),
    }
    return {"params": params, "notes": notes}


def _with_steps(workshop: Workshop, config: TrainConfig, num_rows: int) -> Any:
    """A log that adds the number of all steps to each line, so that time left can be told."""
    steps = config.epochs * -(-num_rows // config.rows_per_step)

    def log(line: Mapping[str, Any]) -> None:
        workshop.log({**line, "steps": steps} if "step" in line else line)

    return log


def _teach_fake(
    student: Assistant,
    rows: Sequence[Example],
    dev: Dataset,
    task: Task,
    workshop: Workshop,
    adapter: Path,
) -> dict[str, Any]:
    tune_fake(rows, adapter)
    return {"params": {"rows": len(rows)}, "notes": ["the fake model was taught by heart"]}

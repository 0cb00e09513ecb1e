"""fine_tune: weights taught on the training rows."""

from __future__ import annotations

import random
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

from etude.assistant import Assistant
from etude.base.files import read_json, write_json
from etude.data.dataset import Dataset
from etude.evaluate import evaluate, sample_of
from etude.methods.fit_context import Candidate, Method, Workshop, longest_answer
from etude.methods.training_run import CHECKPOINT, Facts, Lesson, lesson_of
from etude.methods.tuned_prompt import kept_by_tuned
from etude.models.fake import tune_fake
from etude.models.registry import Models, is_fake
from etude.stats.intervals import estimate_sample
from etude.task import Task
from etude.types import Example, ModelRef


@dataclass(frozen=True)
class FineTune(Method):
    """A LoRA adapter, or with `train: {weights: full}` all weights, taught to give the training answers; the
    best epoch by loss on dev is kept, or by the metric on dev where the task asks for it
    (`train: {dev_metric: true}`).

    The prompt is short, since the weights carry the rest: short_prompt.py has what of the instructions it holds.
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

        def lesson() -> Lesson:
            model = workshop.models.local(student.model)
            found = lesson_of(task, student, train, rows, workshop.dev_sample(dev), model)
            workshop.log({"supervision": list(found.told)})
            return found

        tuned = taught(task, student, rows, workshop.dev_sample(dev), workshop, lesson)
        return workshop.choose([Candidate("best epoch", tuned)], dev).assistant


def taught(
    task: Task,
    student: Assistant,
    rows: Sequence[Example],
    dev: Dataset,
    workshop: Workshop,
    lesson: Callable[[], Lesson],
) -> Assistant:
    """`student` with the adapter that `lesson` gives; what is known of the training goes into the workshop.

    Trains once for each workshop's folder, and goes on where an earlier attempt was killed. `rows` are those
    of the lesson, which the fake model learns by heart.
    """
    done, adapter = workshop.folder / "trained.json", workshop.folder / "adapter"
    if not done.exists():
        if is_fake(task.model):
            facts = _taught_fake(rows, adapter)
        else:
            measure = partial(dev_score, student, dev, workshop) if task.train.get("dev_metric") else dict
            facts = lesson().teach(workshop.folder, task.model, workshop.log, measure)
        write_json(done, asdict(facts))
        shutil.rmtree(workshop.folder / CHECKPOINT, ignore_errors=True)
    kept = read_json(done)
    workshop.params.update(kept["params"], instructions=kept_by_tuned(task).part)
    workshop.train_seconds += kept["params"]["seconds"]
    workshop.notes.extend(kept["notes"])
    return replace(student, model=replace(student.model, adapter=adapter))


def _taught_fake(rows: Sequence[Example], adapter: Path) -> Facts:
    """Teaches the fake model the rows."""
    started = time.perf_counter()
    tune_fake(rows, adapter)
    params = {
        "rows": len(rows),
        "text": f"The fake model was taught {len(rows):,} rows by heart.",
        "seconds": time.perf_counter() - started,
    }
    return Facts(params, ("the fake model was taught by heart",))


def dev_score(student: Assistant, dev: Dataset, workshop: Workshop) -> Mapping[str, Any]:
    """The metric on dev as the weights under training answer it: `score` with its interval and n."""
    from etude.training.layers.lora import merged

    with merged(workshop.models.local(student.model).module):
        scored = evaluate(student, workshop.models, dev, workshop.metric)
    found = estimate_sample(sample_of(workshop.metric, [row.outcome for row in scored]))
    return {"score": found.value, "low": found.low, "high": found.high, "n": found.n}


def student_of(task: Task, start: Assistant, train: Dataset, models: Models) -> Assistant:
    """The untuned student: the task's model under the short prompt that training will use.

    Where another model answered the prompts, room for the answer is counted anew with its own tokenizer.
    """
    model = ModelRef(task.model)
    same = task.max_tokens is not None or start.model == model
    return replace(
        start,
        method=FineTune.name,
        model=model,
        instructions=kept_by_tuned(task).text,
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
    workshop.notes.append(f"trained on {size:,} of {len(train):,} rows")
    chosen = sorted(random.Random(f"{task.seed}/train").sample(range(len(train)), size))
    return [train[row] for row in chosen]

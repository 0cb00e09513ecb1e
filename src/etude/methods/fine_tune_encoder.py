"""fine_tune_encoder: a small encoder trained to tell the labels apart."""

from __future__ import annotations

from dataclasses import dataclass, replace
from importlib.util import find_spec
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from etude.assistant import Assistant
from etude.base.files import read_json, write_json
from etude.data.dataset import Dataset
from etude.errors import ModelError
from etude.index.build import DEFAULT_ENCODER, encoder_of
from etude.methods.baseline import columns
from etude.methods.fit_context import Candidate, FitContext
from etude.methods.method import Method, TrainingTime
from etude.methods.tuned.training_rows import drawn
from etude.models.registry import Models
from etude.models.weights import find_weights
from etude.task import Task
from etude.types import CLASSICAL, ModelRef

if TYPE_CHECKING:
    from etude.models.classical import Linear
    from etude.models.encoder import Encoder

DONE, WEIGHTS = "trained.json", "classifier"


@dataclass(frozen=True)
class FineTuneEncoder(Method):
    """All weights of the encoder and a classification head, which starts from the logistic regression of the
    baseline; the epoch with most dev rows right is kept. No language model answers."""

    name: ClassVar[str] = "fine_tune_encoder"
    label: ClassVar[str] = "Fine-tuned encoder"
    tuned: ClassVar[bool] = True
    prompted: ClassVar[bool] = False
    asks_model: ClassVar[bool] = False
    keys: ClassVar[tuple[str, ...]] = ("encoder",)

    def missing(self, task: Task) -> str:
        """It is for labels, and needs an encoder."""
        if task.kind != "classify":
            return "kind: classify"
        return "an encoder:" if task.encoder == "none" else ""

    def suits(self, task: Task) -> bool:
        """Unless the task names an encoder, the packaged one has to be installed."""
        if task.encoder:
            return True
        try:
            find_weights(DEFAULT_ENCODER)
        except ModelError:
            return False
        return find_spec("torch") is not None

    def training_time(
        self, task: Task, start: Assistant, train: Dataset, models: Models, answer: float
    ) -> TrainingTime | None:
        """That of all rows, or of the part that a budget allows."""
        from etude.training.classifier import estimate_classifier_seconds

        if (encoder := encoder_of(task, models, [])) is None:
            return None
        texts, labels = columns(train.examples)
        seconds = estimate_classifier_seconds(_untrained(encoder, train, task.seed), texts, labels)
        return lambda num_rows, num_dev, epochs: seconds * num_rows / len(train)

    def fit(
        self, task: Task, train: Dataset, dev: Dataset, start: Assistant, context: FitContext
    ) -> Assistant:
        """Trains on the training rows, the head first on all of them; goes on after the last whole epoch where an
        earlier attempt was killed."""
        done, folder = context.folder / DONE, context.folder / WEIGHTS
        if not done.exists():
            write_json(done, self._trained(task, train, dev, context))
        facts = read_json(done)
        context.train_seconds += facts["seconds"]
        context.params.update(facts)
        context.learned = facts["rows"]
        if facts["rows"] < len(train):
            context.notes.append(f"trained on {facts['rows']:,} of {len(train):,} rows")
        assistant = replace(
            start.without_examples(),
            method=self.name,
            model=ModelRef(CLASSICAL, folder),
            instructions="",
            search=None,
        )
        return context.choose([Candidate("best epoch", assistant)], dev, cheap=True).assistant

    def _trained(self, task: Task, train: Dataset, dev: Dataset, context: FitContext) -> dict[str, object]:
        from etude.models.classical import save_classical
        from etude.training.classifier import tune_classifier

        encoder = context.models.encoder(task.encoder or DEFAULT_ENCODER)
        rows = drawn(task, train, context.effort.train_rows or len(train))
        texts, labels = columns(rows.examples)
        asked, wanted = columns(dev.examples)

        def right(now: Linear) -> float:
            return float(
                np.mean([label == gold for (label, _), gold in zip(now.predict(asked), wanted, strict=True)])
            )

        linear = _untrained(encoder, train, task.seed)
        tuned, result = tune_classifier(
            linear, texts, labels, context.seed, context.folder / "epochs", right, context.log
        )
        tuned = replace(tuned, temperature=tuned.calibrated(asked, wanted))
        save_classical(tuned, context.folder / WEIGHTS)
        return {
            "rows": len(rows),
            "epochs": len(result.scores) - 1,
            "best_epoch": result.best_epoch,
            "scores": list(result.scores),
            "seconds": result.seconds,
        }


METHOD = FineTuneEncoder()


def _untrained(encoder: Encoder, train: Dataset, seed: int) -> Linear:
    from etude.models.classical import Linear

    return Linear.fit(*columns(train.examples), seed, encoder=encoder)

"""fine_tune_encoder: a small encoder trained to tell the labels apart."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from importlib.util import find_spec

import numpy as np

from etude.base.files import read_json, write_json
from etude.errors import ModelError
from etude.index.build import DEFAULT_ENCODER, load_task_encoder
from etude.methods.baseline import split_columns
from etude.methods.method import Assistant, Candidate, Dataset, FitContext, Method, Task, TrainingTime
from etude.models.registry import Models
from etude.models.timings import measure_once
from etude.models.weights import find_weights
from etude.types import CLASSICAL, ModelRef

RECORD, WEIGHTS = "trained.json", "classifier"


class FineTuneEncoder(Method):
    """All weights of the encoder and a classification head, which starts from the logistic regression of the
    baseline; the epoch with most dev rows right is kept. No language model answers."""

    name = "fine_tune_encoder"
    label = "Fine-tuned encoder"
    tuned = True
    prompted = False
    asks_model = False
    keys = ("encoder",)

    def missing_key(self, task: Task) -> str:
        """It is for labels, and needs an encoder."""
        if task.kind != "classify":
            return "kind: classify"
        return "an encoder:" if task.encoder == "none" else ""

    def is_supported(self, task: Task) -> bool:
        """Unless the task names an encoder, the packaged one has to be installed."""
        if task.encoder:
            return True
        try:
            find_weights(DEFAULT_ENCODER)
        except ModelError:
            return False
        return find_spec("torch") is not None

    def measure_training_time(
        self, task: Task, start: Assistant, train: Dataset, models: Models, answer: float
    ) -> TrainingTime | None:
        """That of all rows, or of the part that a budget allows."""
        from etude.models.classical import Linear
        from etude.training.classifier import estimate_classifier_seconds

        if (encoder := load_task_encoder(task, models, [])) is None:
            return None
        texts, labels = split_columns(train.examples)

        def time_all() -> list[float]:
            """Time the head's start on all rows, and some steps."""
            started = time.perf_counter()
            linear = Linear.fit(texts, labels, task.seed, encoder=encoder)
            fit_seconds = time.perf_counter() - started
            return [fit_seconds + estimate_classifier_seconds(linear, texts, labels)]

        (seconds,) = measure_once((self.name, encoder.name, texts, labels), time_all)
        return lambda num_rows, num_dev, epochs: seconds * num_rows / len(train)

    def fit(
        self, task: Task, train: Dataset, dev: Dataset, start: Assistant, context: FitContext
    ) -> Assistant:
        """Trains on the rows of `train`; goes on after the last whole epoch where an earlier attempt was killed."""
        record_file, folder = context.folder / RECORD, context.folder / WEIGHTS
        texts, labels = split_columns(train.examples)
        if not record_file.exists():
            write_json(record_file, self._train(task, texts, labels, dev, context))
        record = read_json(record_file)
        context.train_seconds += record["seconds"]
        context.params.update(record)
        context.has_learned = True
        assistant = replace(
            start.without_examples(),
            method=self.name,
            model=ModelRef(CLASSICAL, folder),
            instructions="",
            search=None,
        )
        return context.choose([Candidate("best epoch", assistant)], dev, cheap=True).assistant

    def _train(
        self, task: Task, texts: Sequence[str], labels: Sequence[str], dev: Dataset, context: FitContext
    ) -> dict[str, object]:
        from etude.models.classical import Linear, save_classical
        from etude.training.classifier import tune_classifier

        encoder = context.models.load_encoder(task.encoder or DEFAULT_ENCODER)
        dev_texts, dev_labels = split_columns(dev.examples)

        def measure_accuracy(now: Linear) -> float:
            return float(
                np.mean(
                    [
                        label == gold
                        for (label, _), gold in zip(now.predict(dev_texts), dev_labels, strict=True)
                    ]
                )
            )

        # The head starts from the logistic regression, which is better than random weights on few rows.
        linear = Linear.fit(texts, labels, task.seed, encoder=encoder)
        tuned, result = tune_classifier(
            linear, texts, labels, context.seed, context.folder / "epochs", measure_accuracy, context.log
        )
        # Training makes the probabilities too sure; the temperature corrects them on dev.
        tuned = replace(tuned, temperature=tuned.fit_temperature(dev_texts, dev_labels))
        save_classical(tuned, context.folder / WEIGHTS)
        return {
            "rows": len(texts),
            "epochs": len(result.scores) - 1,
            "best_epoch": result.best_epoch,
            "scores": list(result.scores),
            "seconds": result.seconds,
        }


METHOD = FineTuneEncoder()

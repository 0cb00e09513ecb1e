"""fine_tune_encoder: a small encoder trained to tell the labels apart."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from etude.index.build import DEFAULT_ENCODER, load_task_encoder
from etude.methods.baseline import fit_linear, split_columns
from etude.methods.method import Assistant, Dataset, FitContext, Task, TrainingTime
from etude.methods.shared.encoder_method import EncoderMethod
from etude.models.registry import Models
from etude.models.timings import measure_once
from etude.types import Example


class FineTuneEncoder(EncoderMethod):
    """All weights of the encoder and a classification head, which starts from the logistic regression of the
    baseline; the epoch with the best score on dev is kept. No language model is used."""

    name = "fine_tune_encoder"
    label = "Fine-tuned encoder"
    kind = "classify"
    weights = "classifier"

    def measure_training_time(
        self, task: Task, start: Assistant, train: Dataset, models: Models, answer: float
    ) -> TrainingTime | None:
        """Time the training on all rows; on fewer rows it takes proportionally less."""
        from etude.training.classifier import estimate_classifier_seconds

        if (encoder := load_task_encoder(task, models, [])) is None:
            return None
        texts, labels = split_columns(train.examples)

        def time_all() -> list[float]:
            """Time fitting the initial head on all rows, and some steps."""
            started = time.perf_counter()
            linear = fit_linear(task, texts, labels, encoder)
            fit_seconds = time.perf_counter() - started
            return [fit_seconds + estimate_classifier_seconds(linear, texts, labels)]

        (seconds,) = measure_once((self.name, encoder.name, texts, labels), time_all)
        return lambda num_rows, num_dev, epochs: seconds * num_rows / len(train)

    def train_encoder(
        self, task: Task, rows: Sequence[Example], dev: Dataset, context: FitContext
    ) -> dict[str, Any]:
        """Train from the logistic regression, and keep the epoch whose answers to dev score best."""
        from etude.models.classical import Linear, save_classical
        from etude.training.classifier import tune_classifier

        texts, labels = split_columns(rows)
        encoder = context.models.load_encoder(task.encoder or DEFAULT_ENCODER)
        dev_texts, dev_labels = split_columns(dev.examples)

        def score_dev(now: Linear) -> float:
            answers = [answer for answer, _ in now.predict(dev_texts)]
            return context.metric.measure_labels(answers, dev_labels)

        # The head starts from the logistic regression, which is better than random weights on few rows.
        linear = fit_linear(task, texts, labels, encoder)
        tuned, result = tune_classifier(
            linear, texts, labels, context.seed, context.folder / "epochs", score_dev, context.log
        )
        # Training makes the probabilities over-confident; the temperature corrects them on dev.
        tuned = tuned.calibrate(dev_texts, dev_labels)
        save_classical(tuned, context.folder / self.weights)
        return {
            "rows": len(texts),
            "epochs": len(result.scores) - 1,
            "best_epoch": result.best_epoch,
            "scores": list(result.scores),
            "seconds": result.seconds,
        }


METHOD = FineTuneEncoder()

"""fine_tune_encoder: a small encoder trained to tell the labels apart."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

from etude.index.build import DEFAULT_ENCODER, load_task_encoder
from etude.methods.baseline import fit_linear, split_columns
from etude.methods.method import Assistant, Dataset, FitContext, Task, TrainingTime
from etude.methods.shared.encoder_method import EncoderMethod, EncoderSpeed
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
        """Time fitting the initial head on all rows, and a step."""
        from etude.training.classifier import RULE, measure_classifier_step

        if (encoder := load_task_encoder(task, models, [])) is None:
            return None
        texts, labels = split_columns(train.examples)

        def time_all() -> list[float]:
            started = time.perf_counter()
            linear = fit_linear(task, texts, labels, encoder)
            fit_seconds = time.perf_counter() - started
            return [fit_seconds / len(texts), measure_classifier_step(linear, texts, labels)]

        head, step = measure_once(("a step", self.name, encoder.name, texts, labels), time_all)
        return EncoderSpeed(RULE, head, step, answer).count_seconds

    def train_encoder(
        self, task: Task, rows: Sequence[Example], dev: Dataset, context: FitContext
    ) -> dict[str, Any]:
        """Train from the logistic regression, and keep the epoch whose answers to dev score best."""
        from etude.models.classical import Linear, save_classical
        from etude.training.classifier import tune_classifier

        texts, labels = split_columns(rows)
        name = task.encoder or DEFAULT_ENCODER
        dev_texts, dev_labels = split_columns(context.dev_sample(dev).examples)

        def score_dev(now: Linear) -> float:
            answers = [answer for answer, _ in now.predict(dev_texts)]
            return context.metric.measure_labels(answers, dev_labels)

        # The head starts from the logistic regression, which is better than random weights on few rows.
        linear = fit_linear(task, texts, labels, context.models.load_shared_encoder(name))
        linear = replace(linear, features=context.models.load_encoder(name))
        tuned, result = tune_classifier(
            linear, texts, labels, context.seed, context.folder / "epochs", score_dev, context.log
        )
        # Training makes the probabilities over-confident; the temperature corrects them on dev.
        tuned = tuned.calibrate(dev_texts, dev_labels)
        save_classical(tuned, context.folder / self.weights)
        return {**asdict(result), "rows": len(texts), "epochs": len(result.scores) - 1}


METHOD = FineTuneEncoder()

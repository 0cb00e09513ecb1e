"""fine_tune_encoder: a small encoder trained to tell the labels apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from etude.index.build import DEFAULT_ENCODER
from etude.methods.baseline import fit_linear, split_columns
from etude.methods.method import Dataset, FitContext, Task
from etude.methods.shared.encoder_method import EncoderMethod, Trained
from etude.types import Example


class FineTuneEncoder(EncoderMethod):
    """All weights of the encoder and a classification head, which starts from the logistic regression of the
    baseline; the epoch with the best score on dev is kept. No language model is used."""

    name = "fine_tune_encoder"
    label = "Tuned text classifier"
    kind = "classify"
    weights = "classifier"

    def train_encoder(
        self, task: Task, rows: Sequence[Example], dev: Dataset, context: FitContext, started: float
    ) -> Trained:
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
        folder, box = context.folder / "epochs", context.make_box(started)
        tuned, result = tune_classifier(
            linear, texts, labels, context.seed, folder, score_dev, context.log, box
        )
        # Training makes the probabilities over-confident; the temperature corrects them on dev.
        tuned = tuned.calibrate(dev_texts, dev_labels)
        save_classical(tuned, context.folder / self.weights)
        return result, len(texts), {}


METHOD = FineTuneEncoder()

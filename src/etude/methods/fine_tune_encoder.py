"""fine_tune_encoder: a small encoder trained to tell the labels apart."""

from collections.abc import Sequence
from dataclasses import replace

from etude.index.build import DEFAULT_ENCODER
from etude.methods.baseline import fit_linear, split_columns
from etude.methods.method import Dataset, FitContext, Task
from etude.methods.shared.encoder_method import EncoderMethod, PreparedTraining
from etude.types import Example


class FineTuneEncoder(EncoderMethod):
    """All weights of the encoder and a classification head, which starts from the logistic
    regression of the baseline; the epoch with the best score on dev is kept. No language model is
    used.
    """

    name = "fine_tune_encoder"
    label = "Tuned text classifier"
    kind = "classify"
    weights = "classifier"

    def prepare_training(
        self, task: Task, rows: Sequence[Example], dev: Dataset, context: FitContext
    ) -> PreparedTraining:
        """Train from the logistic regression, and keep the epoch whose answers to dev score
        best.
        """
        from etude.training.classifier import Classifier

        texts, labels = split_columns(rows)
        name = task.encoder or DEFAULT_ENCODER
        dev_texts, dev_labels = split_columns(context.dev_sample(dev).examples)
        # The head starts from the logistic regression, which is better than random weights on few
        # rows.
        linear = fit_linear(task, texts, labels, context.models.load_shared_encoder(name))
        linear = replace(linear, features=context.models.load_encoder(name))
        classifier = Classifier(linear, texts, labels)

        def score() -> float:
            answers = [answer for answer, _ in classifier.to_linear().predict(dev_texts)]
            return context.metric.measure_labels(answers, dev_labels)

        return PreparedTraining(
            classifier.prepare_training(context.seed),
            len(texts),
            score,
            # Training makes the probabilities over-confident; the temperature corrects them on dev.
            lambda: classifier.to_linear().calibrate(dev_texts, dev_labels),
        )


METHOD = FineTuneEncoder()

"""fine_tune_retrieval: weights trained on prompts with a passage, and used with the passage that a search finds."""

from collections.abc import Sequence
from dataclasses import replace

from etude.methods.fine_tune import FineTune
from etude.methods.method import Assistant, Dataset, Example, FitContext, Task, TrainingTime
from etude.methods.shared.fitted_search import FittedSearch, add_any_passage, fit_search
from etude.models.registry import Models


class FineTuneRetrieval(FineTune):
    """Like fine_tune, but each row is trained with the passage that supports its answer after the question, so the
    model learns to repeat what the passage says. In use it gets the first passage that the search finds: small models
    copy well from one passage, but are bad at choosing among several."""

    name = "fine_tune_retrieval"
    label = "Fine-tuned, with passages looked up"
    copies = True
    searches = True
    keys = ("model", "train", "documents", "encoder")

    def missing_key(self, task: Task) -> str:
        """Require documents."""
        return "" if task.documents else "documents:"

    def measure_training_time(
        self, task: Task, start: Assistant, train: Dataset, models: Models, answer: float
    ) -> TrainingTime | None:
        """Time rows with passages."""
        train_with_passages = replace(train, examples=tuple(add_any_passage(task, train.examples)))
        return super().measure_training_time(task, start, train_with_passages, models, answer)

    def build_typical(
        self, task: Task, start: Assistant, train: Dataset, rows: Sequence[Example], models: Models
    ) -> tuple[Assistant, Sequence[Example]]:
        """Put a passage after each question."""
        return self.build_untrained(task, start, train, models), list(add_any_passage(task, rows))

    def fit_passages(self, task: Task, train: Dataset, dev: Dataset, context: FitContext) -> FittedSearch:
        """Fit the search, or load the one that `retrieval` has fitted."""
        return fit_search(task, train, dev, context)


METHOD = FineTuneRetrieval()

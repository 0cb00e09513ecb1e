"""fine_tune_retrieval: weights trained on prompts with a passage, and used with the passage that a
search finds.
"""

from etude.methods.fine_tune import FineTune
from etude.methods.method import Dataset, FitContext, Task
from etude.methods.shared.fitted_search import FittedSearch, fit_search


class FineTuneRetrieval(FineTune):
    """Like fine_tune, but each row is trained with the passage that supports its answer after the
    question, so the model learns to repeat what the passage says. In use it gets the first passage
    that the search finds: small models copy well from one passage, but are bad at choosing among
    several.
    """

    name = "fine_tune_retrieval"
    label = "Tuned small model with your documents"
    searches = True
    keys = ("model", "train", "documents", "encoder")

    def fit_passages(
        self, task: Task, train: Dataset, dev: Dataset, context: FitContext
    ) -> FittedSearch:
        """Fit the search, or load the one that `retrieval` has fitted."""
        return fit_search(task, train, dev, context)


METHOD = FineTuneRetrieval()

"""decide: a decision model, asked with the task's labels and their descriptions."""

from collections.abc import Sequence
from dataclasses import replace

from etude.methods.method import Assistant, Candidate, Dataset, Example, FitContext, Method, Task
from etude.models.registry import Models
from etude.task.questions import find_labels
from etude.types import ModelRef

MAX_LABELS = 255


class Decide(Method):
    """A decision model (`decision_model:`) gets the input and a typed question with the task's
    instructions, labels and their descriptions, or one for each of its `questions:`, and returns
    the probability of each label. Nothing is trained; like those of every method, its probabilities
    are recalibrated on dev where that helps.
    """

    name = "decide"
    label = "Decision model"
    prompted = False
    asks_model = False
    keys = ("decision_model",)

    def missing_key(self, task: Task) -> str:
        """Require a decision model, and one label for each question."""
        if task.kind != "classify" or task.several:
            return "kind: classify with one label per row or question"
        return "" if task.decision_model else "decision_model:"

    def find_obstacle(self, task: Task, rows: Sequence[Example]) -> str:
        """Return why the task cannot be typed questions: each must have 2 to 255 labels."""
        labels = (task.contract and task.contract.labels) or {row.output for row in rows}
        numbers = [len(question.labels) for question in find_labels(task.questions, rows)] or [
            len(labels)
        ]
        number = next((number for number in numbers if not 2 <= number <= MAX_LABELS), 0)
        return f"it needs 2 to {MAX_LABELS} labels, but there are {number:,}" if number else ""

    def build_untrained(
        self, task: Task, start: Assistant, train: Dataset, models: Models
    ) -> Assistant:
        """Build the assistant that asks with the task's instructions."""
        assert task.decision_model is not None
        return replace(
            start.without_examples(),
            method=self.name,
            model=ModelRef(task.decision_model),
            search=None,
            instructions=task.instructions.strip(),
            instructions_role="system",
        )

    def fit(
        self, task: Task, train: Dataset, dev: Dataset, start: Assistant, context: FitContext
    ) -> Assistant:
        """Answer dev with the task's instructions."""
        assistant = self.build_untrained(task, start, train, context.models)
        return context.choose([Candidate("as described", assistant)], dev, cheap=True).assistant


METHOD = Decide()

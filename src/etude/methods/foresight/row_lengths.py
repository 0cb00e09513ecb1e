"""Which rows do not fit a prompt, before anything is fitted."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from etude.assistant import Assistant, PromptLimit
from etude.data.dataset import Dataset
from etude.data.splits import Split
from etude.errors import Issue
from etude.models.registry import Models
from etude.types import Side


@dataclass(frozen=True)
class RowLengths:
    """The rows of train and dev, and of the test rows only which of them do not fit a prompt."""

    _parts: Split
    models: Models

    @property
    def train(self) -> Dataset:
        """The training rows."""
        return self._parts.train

    @property
    def dev(self) -> Dataset:
        """The dev rows."""
        return self._parts.dev

    def unanswered(
        self, assistant: Assistant, what: str, remedy: str, sides: Sequence[Side]
    ) -> Iterator[Issue]:
        """The rows of `sides` whose prompt (called `what`) is longer than the model can read before its answer.

        Raises ModelError where the model's backend cannot do what the assistant needs.
        """
        limit = PromptLimit(assistant, self.models.get(assistant.model, *assistant.needs))
        if limit.tokens < 1:
            message = (
                f"leaves no room for a prompt: the model reads {limit.model.context} tokens with its answer"
            )
            yield Issue(
                "max_tokens", message, str(assistant.max_tokens), "lower max_tokens: in the task file"
            )
            return
        for row in (row for side in sides for row in getattr(self._parts, side)):
            if not limit.fits(row.input):
                tokens = limit.model.count_tokens(assistant.messages(row.input))
                message = (
                    f"{what} is longer than the {limit.tokens} tokens the model can read before its answer"
                )
                yield Issue(row.where or row.id, message, f"{tokens} tokens", remedy)

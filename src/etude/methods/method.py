"""The interface of a method, with the names that a method's file imports."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import ClassVar

from etude.assistant import Assistant, PromptLimit
from etude.data.dataset import Dataset
from etude.data.splits import Split
from etude.errors import InputError, Issue, parse_location
from etude.methods.shared.fit_context import Candidate, FitContext
from etude.models.registry import Models
from etude.task import Task
from etude.types import Example, Request, Side


@dataclass(frozen=True)
class RowLengths:
    """The rows of train and dev. Of the test rows, it reveals only which are too long for a
    prompt.
    """

    _split: Split
    models: Models

    @property
    def train(self) -> Dataset:
        return self._split.train

    @property
    def dev(self) -> Dataset:
        return self._split.dev

    def find_too_long(
        self, assistant: Assistant, prompt_name: str, remedy: str, sides: Sequence[Side]
    ) -> Iterator[Issue]:
        """Find the rows of `sides` whose prompt is longer than the model can read before its
        answer.

        Raises ModelError if the model's backend cannot do what the assistant needs.
        """
        limit = PromptLimit(assistant, self.models.get(assistant.model, *assistant.needs))
        if limit.tokens < 1:
            context = f"{limit.model.context} tokens"
            message = (
                "leaves no room for a prompt: prompt and answer together can have at most "
                f"{context}"
            )
            remedy = "lower max_tokens: in the task file"
            yield Issue("max_tokens", message, str(assistant.max_tokens), remedy)
            return
        for row in (row for side in sides for row in getattr(self._split, side)):
            if not limit.fits(row.input):
                tokens = limit.model.count_tokens(assistant.build_messages(row.input))
                message = (
                    f"{prompt_name} is longer than the {limit.tokens} tokens the model can read "
                    "before its answer"
                )
                yield Issue(row.location or row.id, message, f"{tokens} tokens", remedy)


class Method(ABC):
    """A method of the ladder: a frozen value with one verb, `fit`. The defaults suit a prompt."""

    name: ClassVar[str]  # its name in the task file and of its folder
    label: ClassVar[str]  # its name in the report
    tuned: ClassVar[bool] = False  # whether the method changes weights of a language model
    prompted: ClassVar[bool] = True
    """Whether it is a prompt to the untuned model that later methods may build on."""
    asks_model: ClassVar[bool] = True  # whether a language model answers
    searches: ClassVar[bool] = False
    """Whether it uses passages from the search that is fitted once for all methods of a run."""
    same_rows_as: ClassVar[str] = ""
    """The method on whose fit this method builds, and whose training rows it therefore uses."""
    keys: ClassVar[tuple[str, ...]] = ("model", "prompt_model")
    """Keys of the task file that affect how it is fitted, apart from those that every method
    uses.
    """
    names_missing_key: ClassVar[bool] = False
    """Whether a note says what it lacks if it is left out by default."""

    @abstractmethod
    def fit(
        self, task: Task, train: Dataset, dev: Dataset, start: Assistant, context: FitContext
    ) -> Assistant:
        """Build on `start`, the best assistant of the simpler methods, and return a new one."""

    def missing_key(self, task: Task) -> str:
        """Name what this method lacks: a key of the task file such as `documents:`, or an extra; ""
        if nothing.
        """
        return "documents:" if self.searches and not task.documents else ""

    def find_obstacle(self, task: Task, rows: Sequence[Example]) -> str:
        """Say why the method cannot learn the answers of these training rows; "" if it can."""
        return ""

    def used_keys(self, task: Task) -> tuple[str, ...]:
        """Return `keys`, plus those that other settings of the task make relevant."""
        return self.keys

    def build_untrained(
        self, task: Task, start: Assistant, train: Dataset, models: Models
    ) -> Assistant:
        """Build the assistant that `fit` begins with."""
        return start

    def find_too_long(self, task: Task, start: Assistant, rows: RowLengths) -> Iterable[Issue]:
        """Find rows that the method could not answer or be trained on, except rows that are too
        long for `start`.
        """
        return ()

    def list_prompts(self, task: Task, train: Dataset, start: Assistant) -> Sequence[Assistant]:
        """List the assistants with which `fit` would answer dev, or others with prompts of the same
        length.
        """
        return [start]

    def count_calls(self, task: Task) -> int:
        """Count the most requests of a search in `fit`, besides those of the listed prompts."""
        return 0

    def list_reflections(self, task: Task, train: Dataset, start: Assistant) -> Sequence[Request]:
        """List requests to the model that writes instructions, as many and about as long as `fit`
        sends at most.
        """
        return ()

    def load_before_dev(self, assistant: Assistant, folder: Path) -> Assistant:
        """Load the assistant as it was before it learned dev rows; `folder`: the method's in the
        run.
        """
        return assistant

    def is_supported(self, task: Task) -> bool:
        """Whether the task's model can do what the method needs."""
        return True


def check_lengths(
    task: Task, methods: Sequence[Method], start: Assistant, split: Split, models: Models
) -> None:
    """Raise InputError with every row that the methods could not answer or be trained on, each row
    once.
    """
    rows = RowLengths(split, models)
    issue_lists: list[Iterable[Issue]] = []
    if any(method.prompted for method in methods):
        remedy = "shorten the row, or use a model with a longer context"
        issue_lists.append(
            rows.find_too_long(start, "the prompt", remedy, ["train", "dev", "test"])
        )
    issue_lists += [method.find_too_long(task, start, rows) for method in methods]
    issues: dict[str, Issue] = {}
    for issue in chain(*issue_lists):
        issues.setdefault(issue.location, issue)
    if issues:
        raise InputError(sorted(issues.values(), key=lambda issue: parse_location(issue.location)))

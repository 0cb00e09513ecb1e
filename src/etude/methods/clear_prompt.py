"""clear_prompt: instructions that state the requirements of the contract."""

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import replace

from etude.assistant import PromptLimit
from etude.errors import Issue
from etude.methods.method import (
    Assistant,
    Candidate,
    Dataset,
    Example,
    FitContext,
    Method,
    RowLengths,
    Task,
)
from etude.task.contract import Contract
from etude.types import Model


class ClearPrompt(Method):
    """The best wording on dev among: the instructions as given; the user's own `wordings:`; with
    the contract in words; with an answer skeleton; and the longest of these in the user's turn.
    """

    name = "clear_prompt"
    label = "A clearer prompt"
    keys = (*Method.keys, "wordings")

    def list_prompts(self, task: Task, train: Dataset, start: Assistant) -> list[Assistant]:
        """List every wording."""
        return [candidate.assistant for candidate in self.build_candidates(task, start)]

    def fit(
        self, task: Task, train: Dataset, dev: Dataset, start: Assistant, context: FitContext
    ) -> Assistant:
        """Choose among the wordings. Left out are wordings that exceed the context with some row,
        and wordings whose prompts equal those of a simpler wording.
        """
        candidates = self.build_candidates(task, replace(start, method=self.name))
        model = context.models.get(start.model)
        # Lengths are checked on all rows, equal prompts only on those that choose.
        fitting = find_fitting(candidates, model, [*train, *dev])
        unequal = drop_equal_prompts(fitting, model, context.dev_sample(dev))
        if skipped := _names_without(candidates, fitting):
            context.notes.append(
                "not tried, because with some rows the prompt is too long for the model's "
                f"context: {skipped}"
            )
        if skipped := _names_without(fitting, unequal):
            context.notes.append(
                f"not tried, because their prompts equal those of a simpler wording: {skipped}"
            )
        # The first one is the prompt as given, which the method `prompt` measures.
        return context.choose(unequal, dev, first=min(1, len(unequal) - 1)).assistant

    def find_too_long(self, task: Task, start: Assistant, rows: RowLengths) -> Iterator[Issue]:
        """Find test rows that are too long for a wording that fits with every row of train and
        dev.
        """
        model = rows.models.get(start.model)
        known_rows = [*rows.train, *rows.dev]
        for candidate in find_fitting(self.build_candidates(task, start), model, known_rows)[1:]:
            prompt_name = f"the prompt of {self.name} ({candidate.name})"
            remedy = f"shorten the row or the instructions, or leave {self.name} out of `methods:`"
            yield from rows.find_too_long(candidate.assistant, prompt_name, remedy, ["test"])

    def build_candidates(self, task: Task, start: Assistant) -> list[Candidate]:
        """Build a candidate for every wording, from the simplest to the most complex; equal ones
        are dropped.
        """
        # The user's own wordings come early, because a limited effort drops the last candidates.
        own = [
            (f"your wording {number}", text.strip())
            for number, text in enumerate(task.wordings, start=1)
        ]
        reworded = build_wordings(task.instructions.strip(), start.contract)
        candidates = [Candidate("as given", start)]
        candidates += [
            Candidate(name, replace(start, instructions=text)) for name, text in (*own, *reworded)
        ]
        fullest = candidates[-1] if reworded else candidates[0]
        if fullest.assistant.instructions:
            moved = replace(fullest.assistant, instructions_role="user")
            candidates.append(Candidate(f"{fullest.name}, in the user's turn", moved))
        unique: dict[tuple[str, str], Candidate] = {}
        for candidate in candidates:
            assistant = candidate.assistant
            unique.setdefault((assistant.instructions, assistant.instructions_role), candidate)
        return list(unique.values())


METHOD = ClearPrompt()


def find_fitting(
    candidates: Sequence[Candidate], model: Model, rows: Sequence[Example]
) -> list[Candidate]:
    """Keep the first candidate, and those whose prompt fits the model's context with every row."""
    first, *longer = candidates
    limits = [(candidate, PromptLimit(candidate.assistant, model)) for candidate in longer]
    return [
        first,
        *(candidate for candidate, limit in limits if all(limit.fits(row.input) for row in rows)),
    ]


def drop_equal_prompts(
    candidates: Sequence[Candidate], model: Model, rows: Iterable[Example]
) -> list[Candidate]:
    """Keep only the first of several candidates whose rendered prompts are equal for all rows."""
    unique: dict[tuple[str, ...], Candidate] = {}
    inputs = [row.input for row in rows]
    for candidate in candidates:
        prompts = tuple(
            model.render_text(candidate.assistant.build_messages(turns)) for turns in inputs
        )
        unique.setdefault(prompts, candidate)
    return list(unique.values())


def _names_without(candidates: Iterable[Candidate], tried: Collection[Candidate]) -> str:
    return ", ".join(candidate.name for candidate in candidates if candidate not in tried)


def build_wordings(instructions: str, contract: Contract | None) -> list[tuple[str, str]]:
    """Add the requirements of the contract to the instructions, in several ways; returns (name,
    text) of each.
    """
    if contract is None:
        return []
    rules = contract.describe()
    skeleton = contract.skeleton()
    paragraphs = [text for text in (instructions, rules) if text]
    named_wordings = []
    if rules:
        named_wordings.append(("+ contract in words", "\n\n".join(paragraphs)))
    if skeleton:
        form = f"Answer in exactly this form:\n{skeleton}"
        named_wordings.append(("+ answer skeleton", "\n\n".join([*paragraphs, form])))
    return named_wordings

"""clear_prompt: instructions that state what the contract asks for."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from etude.assistant import Assistant, PromptLimit
from etude.data.dataset import Dataset
from etude.errors import Issue
from etude.methods.fit_context import Candidate, FitContext
from etude.methods.foresight.row_lengths import RowLengths
from etude.methods.method import Method
from etude.task import Task
from etude.task.contract import Contract
from etude.types import Example, Model


@dataclass(frozen=True)
class ClearPrompt(Method):
    """The best wording on dev: as given; the user's own `wordings:`; with the contract in words; with an
    answer skeleton; the same with the rules in the user's turn.
    """

    name: ClassVar[str] = "clear_prompt"
    label: ClassVar[str] = "A clearer prompt"
    keys: ClassVar[tuple[str, ...]] = (*Method.keys, "wordings")

    def tries(self, task: Task, train: Dataset, start: Assistant) -> int:
        """Every wording."""
        return len(self.candidates(task, start))

    def prompts(self, task: Task, train: Dataset, start: Assistant) -> list[Assistant]:
        """Every wording."""
        return [candidate.assistant for candidate in self.candidates(task, start)]

    def fit(
        self, task: Task, train: Dataset, dev: Dataset, start: Assistant, context: FitContext
    ) -> Assistant:
        """Chooses among the wordings; left out are those too long for the context with some row, and those
        that the model would read as it reads a simpler one."""
        candidates = self.candidates(task, replace(start, method=self.name))
        model = context.models.get(start.model)
        short = fitting(candidates, model, [*train, *dev])
        kept = distinct(short, model, context.dev_sample(dev))
        if left := _names_without(candidates, short):
            context.notes.append(f"longer than the context with some rows, so not tried: {left}")
        if left := _names_without(short, kept):
            context.notes.append(f"the same prompts as those of a simpler wording, so not tried: {left}")
        return context.choose(kept, dev).assistant

    def too_long(self, task: Task, start: Assistant, rows: RowLengths) -> Iterator[Issue]:
        """Test rows that do not fit with a wording which every row that `fit` sees fits with."""
        seen = [*rows.train, *rows.dev]
        for candidate in fitting(self.candidates(task, start), rows.models.get(start.model), seen)[1:]:
            what = f"the prompt of {self.name} ({candidate.name})"
            remedy = f"shorten the row or the instructions, or leave {self.name} out of `methods:`"
            yield from rows.unanswered(candidate.assistant, what, remedy, ["test"])

    def candidates(self, task: Task, start: Assistant) -> list[Candidate]:
        """Every wording once, from the simplest to the most complex; equal ones are dropped.

        The user's own stand right behind the one as given: a limited effort drops what nobody wrote first.
        """
        found = [Candidate("as given", start)]
        for number, own in enumerate(task.wordings, start=1):
            found.append(Candidate(f"your wording {number}", replace(start, instructions=own.strip())))
        reworded = wordings(task.instructions.strip(), start.contract)
        found += [Candidate(name, replace(start, instructions=text)) for name, text in reworded]
        fullest = found[-1] if reworded else found[0]
        if fullest.assistant.instructions:
            moved = replace(fullest.assistant, place="user")
            found.append(Candidate(f"{fullest.name}, in the user's turn", moved))
        unique: dict[tuple[str, str], Candidate] = {}
        for candidate in found:
            unique.setdefault((candidate.assistant.instructions, candidate.assistant.place), candidate)
        return list(unique.values())


METHOD = ClearPrompt()


def fitting(candidates: Sequence[Candidate], model: Model, rows: Sequence[Example]) -> list[Candidate]:
    """The first candidate, and those whose prompt fits the model's context with every row."""
    first, *others = candidates
    limits = [(candidate, PromptLimit(candidate.assistant, model)) for candidate in others]
    return [first, *(each for each, limit in limits if all(limit.fits(row.input) for row in rows))]


def distinct(candidates: Sequence[Candidate], model: Model, rows: Iterable[Example]) -> list[Candidate]:
    """The candidates whose prompts for `rows`, as the model reads them, are not all those of an earlier one."""
    asked = [row.input for row in rows]

    def same(one: Candidate, other: Candidate) -> bool:
        both = (one.assistant, other.assistant)
        prompts = ([model.render_text(each.messages(turns)) for each in both] for turns in asked)
        return all(first == second for first, second in prompts)

    kept: list[Candidate] = []
    for candidate in candidates:
        if not any(same(candidate, other) for other in kept):
            kept.append(candidate)
    return kept


def _names_without(candidates: Iterable[Candidate], kept: Collection[Candidate]) -> str:
    """The names of those that were not kept."""
    return ", ".join(candidate.name for candidate in candidates if candidate not in kept)


def wordings(given: str, contract: Contract | None) -> list[tuple[str, str]]:
    """Named rewordings of the instructions `given` that state what the contract asks for."""
    if contract is None:
        return []
    rules, skeleton = contract.in_words(), contract.skeleton()
    found = []
    if rules:
        found.append(("+ contract in words", _joined(given, rules)))
    if skeleton:
        found.append(
            ("+ answer skeleton", _joined(given, rules, f"Answer in exactly this form:\n{skeleton}"))
        )
    return found


def _joined(*parts: str) -> str:
    return "\n\n".join(part for part in parts if part)

"""prompt and clear_prompt: instructions alone."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from etude.assistant import Assistant, Room
from etude.data.dataset import Dataset
from etude.methods.fit_context import Candidate, Method, Workshop, named
from etude.task import Task
from etude.task.contract import Contract
from etude.types import Example, Model


@dataclass(frozen=True)
class Prompt(Method):
    """The user's instructions, word for word."""

    name: ClassVar[str] = "prompt"
    label: ClassVar[str] = "The prompt as given"

    def fit(
        self, task: Task, train: Dataset, dev: Dataset, start: Assistant, workshop: Workshop
    ) -> Assistant:
        """Changes nothing; runs on dev so that every step has a dev result."""
        return workshop.choose([Candidate("as given", named(start, self.name))], dev).assistant


@dataclass(frozen=True)
class ClearPrompt(Method):
    """The best wording on dev: as given; the user's own `wordings:`; with the contract in words; with an
    answer skeleton; the same with the rules in the user's turn.
    """

    name: ClassVar[str] = "clear_prompt"
    label: ClassVar[str] = "A clearer prompt"

    def tries(self, task: Task, train: Dataset, start: Assistant) -> int:
        """Every wording."""
        return len(self.candidates(task, start))

    def fit(
        self, task: Task, train: Dataset, dev: Dataset, start: Assistant, workshop: Workshop
    ) -> Assistant:
        """Chooses among the wordings; left out are those too long for the context with some row, and those
        that the model would read as it reads a simpler one."""
        candidates = self.candidates(task, named(start, self.name))
        model = workshop.models.get(start.model)
        short = fitting(candidates, model, [*train, *dev])
        kept = distinct(short, model, workshop.dev_sample(dev))
        if left := _names_without(candidates, short):
            workshop.notes.append(f"longer than the context with some rows, so not tried: {left}")
        if left := _names_without(short, kept):
            workshop.notes.append(f"the same prompts as those of a simpler wording, so not tried: {left}")
        return workshop.choose(kept, dev).assistant

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


def fitting(candidates: Sequence[Candidate], model: Model, rows: Sequence[Example]) -> list[Candidate]:
    """The first candidate, and those whose prompt fits the model's context with every row."""
    first, *others = candidates
    rooms = [(candidate, Room(candidate.assistant, model)) for candidate in others]
    return [first, *(each for each, room in rooms if all(room.fits(row.input) for row in rows))]


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

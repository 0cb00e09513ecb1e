"""similar_shot: the training rows nearest to the question as examples in the prompt."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from rapidfuzz.fuzz import ratio

from etude.assistant import Assistant
from etude.data.dataset import Dataset
from etude.index.build import encoder_of
from etude.index.passages import Passage
from etude.index.search import Search
from etude.methods.few_shot import NUMBERS, fits_most
from etude.methods.fit_context import Candidate, FitContext
from etude.methods.method import Method
from etude.methods.searching import question
from etude.models.registry import Models
from etude.stats.ladder import choose
from etude.stats.sample import score_sample
from etude.task import Task
from etude.types import Example, SearchRef

FOLDER = "similar"
MOST_ROWS = 5_000
"""Training rows in the pool, at most: a seeded sample of more."""


@dataclass(frozen=True)
class SimilarShot(Method):
    """The best wording so far with the k training rows whose questions are nearest before each question (Liu et al.
    2021, arXiv 2101.06804). The search (keywords, meaning, or both) whose first hits answer dev best is taken; then k
    is chosen on dev by the model's answers."""

    name: ClassVar[str] = "similar_shot"
    label: ClassVar[str] = "Similar examples in the prompt"
    keys: ClassVar[tuple[str, ...]] = ("model", "prompt_model", "encoder")

    def tries(self, task: Task, train: Dataset, start: Assistant) -> int:
        """Every number of examples."""
        return len(numbers(train))

    def typical(
        self, task: Task, start: Assistant, train: Dataset, rows: Sequence[Example], models: Models
    ) -> tuple[Assistant, Sequence[Example]]:
        """With as many examples as are tried at most."""
        return self.prompts(task, train, start)[-1], rows

    def prompts(self, task: Task, train: Dataset, start: Assistant) -> list[Assistant]:
        """Any examples stand for those that will be found."""
        base = start.without_examples()
        rows = random.Random(f"{task.seed}/similar").sample(train.examples, min(len(train), max(NUMBERS)))
        return [replace(base, shots=tuple(rows[:number])) for number in numbers(train)]

    def fit(
        self, task: Task, train: Dataset, dev: Dataset, start: Assistant, context: FitContext
    ) -> Assistant:
        """Chooses the search, then the number of examples; numbers too long for most dev rows are left out."""
        pool = pool_of(train, task.seed)
        search = self._search(task, pool, dev, context)
        search.save(context.folder / FOLDER)
        base = replace(
            start.without_examples(),
            method=self.name,
            pool=pool,
            similar=SearchRef(context.folder / FOLDER, search.fingerprint),
        )
        wanted = numbers(train)
        shown = {
            number: Candidate("", replace(base.without_examples(), shots=pool[:number])) for number in wanted
        }
        fitting = [number for number in wanted if fits_most(shown[number], dev, context)] or wanted[:1]
        if left := [str(number) for number in wanted if number not in fitting]:
            context.notes.append(
                f"longer than the context with most dev rows, so not tried: {', '.join(left)} examples"
            )
        found = [Candidate(f"{number} nearest", replace(base, num_similar=number)) for number in fitting]
        return context.choose(found, dev).assistant

    def _search(self, task: Task, pool: Sequence[Example], dev: Dataset, context: FitContext) -> Search:
        """The simplest of the best searches, by how like the first hit's answer is to the right one."""
        passages = [Passage(question(row), row.id) for row in pool]
        found = {"keywords": Search(passages)}
        if encoder := encoder_of(task, context.models, context.notes):
            vectors = encoder.embed([passage.text for passage in passages])
            found["meaning"] = Search(passages, "meaning", encoder, vectors)
            found["keywords and meaning"] = replace(found["meaning"], way="both")
        rows = context.dev_sample(dev)
        samples = []
        for name, search in found.items():
            first = search.find([question(row) for row in rows], 1)
            likeness = [
                _likeness(task, pool[hits[0]].output, row.output)
                for hits, row in zip(first, rows, strict=True)
            ]
            samples.append((name, score_sample(likeness)))
        name = samples[choose(samples).index][0]
        context.notes.append(f"similar rows are found by {name}")
        return found[name]


METHOD = SimilarShot()


def numbers(train: Dataset) -> list[int]:
    """Numbers of examples to try, the fewest first."""
    return sorted({min(number, len(train)) for number in NUMBERS})


def pool_of(train: Dataset, seed: int) -> tuple[Example, ...]:
    """The training rows that may be shown, in their order."""
    rows = train.examples
    if len(rows) <= MOST_ROWS:
        return rows
    chosen = random.Random(f"{seed}/pool").sample(range(len(rows)), MOST_ROWS)
    return tuple(rows[position] for position in sorted(chosen))


def _likeness(task: Task, given: str, wanted: str) -> float:
    """1 for the same label; for texts the share of characters in common (rapidfuzz)."""
    return float(given == wanted) if task.kind == "classify" else ratio(given, wanted) / 100

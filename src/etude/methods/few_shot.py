"""few_shot: fixed examples in the prompt."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import replace

from etude.assistant import PromptLimit
from etude.methods.method import Assistant, Candidate, Dataset, Example, FitContext, Method, Task
from etude.methods.shared.fit_context import name_shape

DRAWS = 2
"""Draws for each number of examples: which examples are in the prompt matters as much as how many
(Zhao et al. 2021, arXiv 2102.09690).
"""
SHOT_NUMBERS = (2, 4, 8)  # numbers of examples to try if there are no labels to cover
MAX_SHOTS = 100  # with more examples a prompt would cost more than it could gain


class FewShot(Method):
    """The best wording so far with k training examples before the question; k and the draw are
    chosen on dev.
    """

    name = "few_shot"
    label = "Examples in the prompt"

    def list_prompts(self, task: Task, train: Dataset, start: Assistant) -> list[Assistant]:
        """List every number with every draw."""
        return [candidate.assistant for candidate in self.build_candidates(task, train, start)]

    def fit(
        self, task: Task, train: Dataset, dev: Dataset, start: Assistant, context: FitContext
    ) -> Assistant:
        """Choose among numbers and draws, without those that do not fit the context with most dev
        rows.
        """
        base = replace(start, method=self.name, shots=())
        candidates = self.build_candidates(task, train, base)
        fitting = drop_too_long(candidates, dev, context)
        # Most examples are usually best.
        largest = max((len(candidate.assistant.shots) for candidate in fitting), default=0)
        first = next(
            (n for n, candidate in enumerate(fitting) if len(candidate.assistant.shots) == largest),
            0,
        )
        return context.choose(
            fitting or [Candidate("no example fits", base)], dev, first=first
        ).assistant

    def build_candidates(self, task: Task, train: Dataset, base: Assistant) -> list[Candidate]:
        """Build `base` with every draw of every number of examples, the fewest first; equal ones
        are dropped.
        """
        groups = group_by_shape(base, train.examples)
        unique: dict[tuple[str, ...], Candidate] = {}
        for size in choose_sizes(task, groups):
            for draw in range(DRAWS):
                shots = choose_shots(groups, size, random.Random(f"{task.seed}/{size}/{draw}"))
                candidate = Candidate(
                    f"{len(shots)} examples, draw {draw + 1}", replace(base, shots=shots)
                )
                unique.setdefault(tuple(shot.id for shot in shots), candidate)
        return list(unique.values())


METHOD = FewShot()


def drop_too_long(
    candidates: Sequence[Candidate], dev: Dataset, context: FitContext
) -> list[Candidate]:
    """Drop candidates, with a note, whose examples do not all fit the model's context before half
    of the dev rows.
    """
    fitting = []
    for candidate in candidates:
        assistant = candidate.assistant
        limit = PromptLimit(assistant, context.models.get(assistant.model))
        num_fitting = sum(limit.count_shots(row.input) == len(assistant.shots) for row in dev)
        if 2 * num_fitting >= len(dev):
            fitting.append(candidate)
    if skipped := ", ".join(candidate.name for candidate in candidates if candidate not in fitting):
        reason = "with most dev rows the prompt is too long for the model's context"
        context.notes.append(f"not tried, because {reason}: {skipped}")
    return fitting


def choose_sizes(task: Task, groups: Mapping[str, Sequence[Example]]) -> list[int]:
    """Choose the numbers of examples to try: one and two of each label, or 2, 4, 8."""
    num_rows = sum(len(_drop_longest(examples)) for examples in groups.values())
    candidate_sizes = (len(groups), 2 * len(groups)) if task.has_one_label else SHOT_NUMBERS
    return sorted({min(size, num_rows, MAX_SHOTS) for size in candidate_sizes})


def group_by_shape(assistant: Assistant, examples: Sequence[Example]) -> dict[str, list[Example]]:
    """Group examples by their shape. A conversation is one example, with all its turns."""
    groups: dict[str, list[Example]] = {}
    for example in examples:
        if example.is_whole:
            groups.setdefault(name_shape(assistant.kind, assistant.contract, example), []).append(
                example
            )
    return dict(sorted(groups.items()))


def choose_shots(
    groups: Mapping[str, Sequence[Example]], size: int, draw: random.Random
) -> tuple[Example, ...]:
    """Sample `size` examples from the groups in turn, the commonest first, and shuffle them.

    The longest examples of a group are not used, because they would make every request more
    expensive.
    """
    queues = [
        draw.sample(ordered, len(ordered))
        for examples in sorted(groups.values(), key=len, reverse=True)
        if (ordered := _drop_longest(examples))
    ]
    shots: list[Example] = []
    while len(shots) < size and any(queues):
        for queue in queues:
            if queue and len(shots) < size:
                shots.append(queue.pop())
    draw.shuffle(shots)
    return tuple(shots)


def _drop_longest(examples: Sequence[Example]) -> list[Example]:
    # The id breaks ties, so the order does not depend on the file.
    ordered = sorted(
        examples, key=lambda example: (len(example.text) + len(example.output), example.id)
    )
    # Without the longest tenth, which would make every request more expensive.
    return ordered[: max(1, int(0.9 * len(ordered)))]

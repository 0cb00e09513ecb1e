"""searched_prompt: instructions that a bigger model rewrites after it has read wrong answers."""

from collections.abc import Sequence
from dataclasses import replace

from etude.evaluate import get_unit
from etude.methods.method import Assistant, Candidate, Dataset, Example, FitContext, Method, Task
from etude.methods.searched_prompt.search import (
    MINIBATCH,
    REFLECTION_TOKENS,
    PromptSearch,
    write_reflection,
)
from etude.methods.shared.fit_context import order_rows
from etude.models import weights
from etude.types import Message, ModelRef, Request

DEFAULT_CALLS = 300
PROMPT_TOKENS = (
    1024  # about as many as the longest proposal has; only for estimates of what is sent
)


class SearchedPrompt(Method):
    """The best wording so far, rewritten again and again by a bigger model (`reflect_with:`) that
    reads answers to training rows (GEPA, Agrawal et al. 2025, arXiv 2507.19457). One half of dev
    steers the search, which makes at most `searched_prompt: {calls: ...}` requests. The other half,
    which alone is its dev result, chooses between the best rewriting and the instructions as given.
    """

    name = "searched_prompt"
    label = "A searched prompt"
    keys = (*Method.keys, "reflect_with", "searched_prompt")
    names_missing_key = True

    def missing_key(self, task: Task) -> str:
        """Require a model that can write instructions; the packaged one is too small."""
        name = task.reflector or ""
        reason = f" ({name} is too small)" if weights.is_too_small(name) else ""
        return f"reflect_with: with a bigger model{reason}" if reason or not name else ""

    def find_obstacle(self, task: Task, rows: Sequence[Example]) -> str:
        """Return why no instructions can be searched for."""
        return "the rows have system messages of their own" if task.row_systems else ""

    def list_prompts(self, task: Task, train: Dataset, start: Assistant) -> list[Assistant]:
        """Return a prompt as long as the longest proposal, so that lengths are checked before the
        search.
        """
        words = " of" * PROMPT_TOKENS  # three bytes each, by which endpoints estimate a token
        return [replace(start, instructions=start.instructions + words)]

    def count_calls(self, task: Task) -> int:
        """Return the calls of the search."""
        return int(task.searched_prompt.get("calls", DEFAULT_CALLS))

    def list_reflections(self, task: Task, train: Dataset, start: Assistant) -> list[Request]:
        """List a request for each proposal that the calls allow, with training rows of medium
        length.
        """
        rows = sorted(train, key=lambda row: len(row.text + row.output))[len(train) // 2 :][
            :MINIBATCH
        ]
        prompt = write_reflection(
            start.instructions, [(row, row.output, row.output) for row in rows], ()
        )
        request = Request((Message("user", prompt),), REFLECTION_TOKENS)
        return [request] * (self.count_calls(task) // (MINIBATCH + 1))

    def fit(
        self, task: Task, train: Dataset, dev: Dataset, start: Assistant, context: FitContext
    ) -> Assistant:
        """Search, then choose on the other half of dev. A short look has no time for the search."""
        given = replace(start, method=self.name)
        choosing, steering = halve_dev(dev, context.seed)
        candidates = [Candidate("as given", given)]
        is_short = context.effort.candidates is not None
        if steering and not is_short:
            rows = dev.select(steering, "the rows that steer the search")
            reflector = ModelRef(task.reflector or "")
            search = PromptSearch(context, given, reflector, train, rows, self.count_calls(task))
            instructions = search.run()
            if instructions != given.instructions:
                candidates.append(Candidate("searched", replace(given, instructions=instructions)))
        chosen = context.choose(candidates, dev, first=len(candidates) - 1, order=choosing)
        if is_short:
            context.is_cut = True
            context.num_candidates = 2
        return chosen.assistant


METHOD = SearchedPrompt()


def halve_dev(dev: Dataset, seed: int) -> tuple[list[int], list[int]]:
    """Return the positions of the dev rows that choose, and of those that steer. The rows of a unit
    are in one half. Those that choose come first in the seeded order, so other methods answer them
    first, too.
    """
    order = order_rows(dev, seed)
    units = list(dict.fromkeys(get_unit(dev[position]) for position in order))
    first = set(units[: (len(units) + 1) // 2])
    halves = [
        [p for p in order if (get_unit(dev[p]) in first) is is_first] for is_first in (True, False)
    ]
    return halves[0], halves[1]

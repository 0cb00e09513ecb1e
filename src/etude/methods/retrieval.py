"""retrieval: passages of the task's documents in the prompt, found by a search fitted on train."""

import random
from collections.abc import Iterator
from dataclasses import replace

from etude.index.documents import read_passages
from etude.methods.few_shot import choose_shots, group_by_shape
from etude.methods.method import Assistant, Candidate, Dataset, Example, FitContext, Method, Task
from etude.methods.shared.fitted_search import FittedSearch, fit_search

NUM_SHOTS = 4
MAX_PASSAGES = 3  # passages of the candidate with several
WITH_EXAMPLES = 1  # position of the candidate with examples, which is usually the best


class Retrieval(Method):
    """The best wording so far, with passages of the documents after the question. One passage,
    examples with a passage each, or several passages are tried on dev.
    """

    name = "retrieval"
    label = "Model with your documents"
    searches = True
    keys = ("model", "prompt_model", "documents", "encoder")

    def fit(
        self, task: Task, train: Dataset, dev: Dataset, start: Assistant, context: FitContext
    ) -> Assistant:
        """Fit the search, then choose among the prompts."""
        fitted = fit_search(task, train, dev, context)
        base = replace(start.without_examples(), method=self.name, search=fitted.ref)
        candidates = list(build_candidates(task, train, base, fitted))
        return context.choose(candidates, dev, first=WITH_EXAMPLES).assistant

    def list_prompts(self, task: Task, train: Dataset, start: Assistant) -> list[Assistant]:
        """List prompts of the same lengths: one passage, examples with passages, several
        passages.
        """
        assert task.documents is not None
        passages = read_passages(task.documents)
        text = "\n".join(passage.text for passage in passages)
        shots = _choose_shots(task, train, start)

        def lengthen(num_passages: int) -> Assistant:
            passage_text = text[: num_passages * len(text) // len(passages)]
            return replace(start, instructions=f"{start.instructions}\n{passage_text}")

        return [lengthen(1), replace(lengthen(1 + len(shots)), shots=shots), lengthen(MAX_PASSAGES)]


METHOD = Retrieval()


def _choose_shots(task: Task, train: Dataset, base: Assistant) -> tuple[Example, ...]:
    rng = random.Random(f"{task.seed}/passages")
    return choose_shots(group_by_shape(base, train.examples), NUM_SHOTS, rng)


def build_candidates(
    task: Task, train: Dataset, base: Assistant, fitted: FittedSearch
) -> Iterator[Candidate]:
    """Build `base` with one passage, with examples that have a passage each, and with several
    passages.
    """
    yield Candidate("1 passage", base)
    shots = tuple(fitted.add_passages(_choose_shots(task, train, base)))
    yield Candidate(
        f"1 passage, {len(shots)} examples each with its own", replace(base, shots=shots)
    )
    if len(fitted.search.passages) >= MAX_PASSAGES:
        yield Candidate(f"{MAX_PASSAGES} passages", replace(base, num_passages=MAX_PASSAGES))

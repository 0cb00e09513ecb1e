"""similar_shot: the training rows nearest to the question as examples in the prompt."""

import random
from collections.abc import Sequence
from dataclasses import replace

from rapidfuzz.fuzz import ratio

from etude.index.build import load_task_encoder
from etude.index.passages import Passage
from etude.index.search import Search
from etude.limits.scope import get_question
from etude.methods.few_shot import SHOT_NUMBERS, drop_too_long
from etude.methods.method import Assistant, Candidate, Dataset, Example, FitContext, Method, Task
from etude.stats import choose, make_score_sample
from etude.types import SearchRef

FOLDER = "similar"
USUAL_NUMBER = 1
"""Position of the number of examples that is usually best: 4 of 2, 4 and 8, on sms_spam, pubmedqa
and snips slots.
"""
MAX_POOL = 5_000  # maximum number of training rows in the pool: a seeded sample if there are more


class SimilarShot(Method):
    """The best wording so far, with the k training rows whose questions are nearest before each
    question (Liu et al. 2021, arXiv 2101.06804). The search (keywords, meaning, or both) is the one
    whose first hits answer dev best; then k is chosen by the model's answers to dev.
    """

    name = "similar_shot"
    label = "Similar examples in the prompt"
    keys = ("model", "prompt_model", "encoder")

    def list_prompts(self, task: Task, train: Dataset, start: Assistant) -> list[Assistant]:
        """List a prompt for each number of examples. Which examples it has does not matter, only
        its length.
        """
        base = start.without_examples()
        numbers = choose_numbers(train)
        rows = random.Random(f"{task.seed}/similar").sample(train.whole.examples, numbers[-1])
        return [replace(base, shots=tuple(rows[:number])) for number in numbers]

    def fit(
        self, task: Task, train: Dataset, dev: Dataset, start: Assistant, context: FitContext
    ) -> Assistant:
        """Choose the search, then the number of examples, without those too long for most dev
        rows.
        """
        pool = sample_pool(train, task.seed)
        search = self._choose_search(task, pool, dev, context)
        search.save(context.folder / FOLDER)  # the assistant refers to it
        base = replace(
            start.without_examples(),
            method=self.name,
            pool=pool,
            similar=SearchRef(context.folder / FOLDER, search.fingerprint),
        )
        numbers = choose_numbers(train)
        plain = base.without_examples()
        prompts = [
            Candidate(f"{number} nearest", replace(plain, shots=pool[:number]))
            for number in numbers
        ]
        fitting = [len(prompt.assistant.shots) for prompt in drop_too_long(prompts, dev, context)]
        candidates = [
            Candidate(f"{number} nearest", replace(base, num_similar=number))
            for number in fitting or numbers[:1]
        ]
        return context.choose(
            candidates, dev, first=min(USUAL_NUMBER, len(candidates) - 1)
        ).assistant

    def _choose_search(
        self, task: Task, pool: Sequence[Example], dev: Dataset, context: FitContext
    ) -> Search:
        """Choose the search whose first hits have the answers most similar to the right ones."""
        passages = [Passage(get_question(row.input), row.id) for row in pool]
        searches = {"keywords": Search(passages)}
        if encoder := load_task_encoder(task, context.models, context.notes):
            vectors = encoder.embed([passage.text for passage in passages])
            searches["meaning"] = Search(passages, "meaning", encoder, vectors)
            searches["keywords and meaning"] = replace(searches["meaning"], mode="both")
        rows = context.dev_sample(dev)
        samples = []
        for name, search in searches.items():
            hits = search.find([get_question(row.input) for row in rows], 1)
            pairs = [
                (pool[first].output, row.output)
                for (first, *_), row in zip(hits, rows, strict=True)
            ]
            if task.has_one_label:
                scores = [float(answer == expected) for answer, expected in pairs]
            else:  # the share of characters in common, 0 to 1
                scores = [ratio(answer, expected) / 100 for answer, expected in pairs]
            samples.append((name, make_score_sample(scores)))
        name = samples[choose(samples, context.margin).index][0]
        context.notes.append(f"similar rows are found by {name}")
        return searches[name]


METHOD = SimilarShot()


def choose_numbers(train: Dataset) -> list[int]:
    """Choose the numbers of examples to try, the fewest first."""
    return sorted({min(number, len(train.whole)) for number in SHOT_NUMBERS})


def sample_pool(train: Dataset, seed: int) -> tuple[Example, ...]:
    """Sample the training rows that may become examples, in their order; a conversation is one
    example.
    """
    rows = train.whole.examples
    if len(rows) <= MAX_POOL:
        return rows
    positions = random.Random(f"{seed}/pool").sample(range(len(rows)), MAX_POOL)
    return tuple(rows[position] for position in sorted(positions))

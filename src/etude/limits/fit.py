"""Fit a Scope: a classifier of a task's own questions and generic ones, and a threshold that rejects few real ones."""

from collections.abc import Sequence
from dataclasses import replace
from functools import cache

import numpy as np

from etude.base.formatting import format_count, format_share
from etude.base.word_lists import read_table
from etude.limits.question_model import EXAMPLE_WEIGHT, OWN, QuestionModel, count_features
from etude.limits.scope import Scope
from etude.stats.calibration import choose_floor
from etude.task.definition import Limit
from etude.types import Example

MAX_TURNED_AWAY = 0.01  # largest share of real questions that may be turned away, with a confidence of 95%
FOLDS = 5
MAX_ROWS = 3_000  # most training rows that are read; more rows take seconds and do not improve the model
MIN_ROWS = 20


@cache
def read_generic_questions() -> tuple[tuple[str, str], ...]:
    """Read the packaged questions, each with the limit that applies."""
    table = read_table(__file__, "generic.yaml")
    return tuple(
        (question, name)
        for name, subjects in table.items()
        for questions in subjects.values()
        for question in questions
    )


def fit_scope(
    limits: Sequence[Limit], train: Sequence[Example], dev: Sequence[Example], seed: int
) -> tuple[Scope | None, list[str]]:
    """Fit a scope on the last turns of training and dev rows, and return it with notes; None for fewer than `MIN_ROWS`.

    The threshold comes from the scores of dev rows, and of training rows by models that were fitted without them (5
    folds), so that it is based on enough rows. Rows with the same question count once.
    """
    rng = np.random.default_rng(seed)
    own = list(dict.fromkeys(row.input[-1].content for row in train))
    own = [own[index] for index in sorted(rng.permutation(len(own))[:MAX_ROWS])]
    held_out = [text for text in dict.fromkeys(row.input[-1].content for row in dev) if text not in set(own)]
    if len(own) < MIN_ROWS:
        return None, [
            f"limits: not used, because there are only {len(own)} training rows ({MIN_ROWS} are needed)"
        ]
    others = [(text, name, 1.0) for text, name in read_generic_questions() if text not in set(own)]
    others += [(text, limit.name, EXAMPLE_WEIGHT) for limit in limits for text in limit.examples]
    rows = [*((text, OWN, 1.0) for text in own), *others]
    counts, names, weights = (
        count_features([row[0] for row in rows]),
        [row[1] for row in rows],
        [row[2] for row in rows],
    )

    def fit_model(positions: Sequence[int]) -> QuestionModel:
        blocks = [block[positions] for block in counts]
        return QuestionModel.fit(
            blocks, [names[row] for row in positions], [weights[row] for row in positions]
        )

    # Every fold's model knows all generic questions, as the final one does, so that it scores own ones as low.
    fold_of = np.append(rng.permutation(len(own)) % FOLDS, np.full(len(others), -1))
    scores = []
    for fold in range(FOLDS):
        left_out = [text for text, number in zip(own, fold_of, strict=False) if number == fold]
        if left_out:
            scores += fit_model(np.flatnonzero(fold_of != fold).tolist()).score(left_out).tolist()
    model = fit_model(range(len(rows)))
    scores += model.score(held_out).tolist() if held_out else []
    threshold, bound = choose_floor(scores, MAX_TURNED_AWAY)
    scope = Scope(tuple(replace(limit, examples=()) for limit in limits), threshold, model.to_text())
    notes = [
        f"questions unlike its rows are turned away; of real questions, at most {format_share(bound)} are turned away "
        f"(95% confidence, from {format_count(len(scores), 'question')} of train and dev)"
    ]
    return scope, [*notes, *_list_missed_examples(limits, model, threshold)]


def _list_missed_examples(limits: Sequence[Limit], model: QuestionModel, threshold: float) -> list[str]:
    notes = []
    for limit in limits:
        scores: list[float] = model.score(limit.examples).tolist() if limit.examples else []
        answered = [text for text, score in zip(limit.examples, scores, strict=True) if score >= threshold]
        if answered:
            notes.append(
                f"limits: {len(answered)} of {len(limit.examples)} examples of {limit.name} are still answered, "
                f"because they are too similar to the rows, such as {answered[0]!r}"
            )
    return notes

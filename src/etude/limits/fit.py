"""Fit a Scope: a classifier of a task's own questions and generic ones, and a threshold that rejects few real ones."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import cache

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import connected_components

from etude.base.formatting import format_count, format_share
from etude.base.word_lists import read_table
from etude.data.splits import Split
from etude.limits.acts import has_declined
from etude.limits.question_model import EXAMPLE_WEIGHT, OWN, QuestionModel, count_features
from etude.limits.scope import Scope, get_question
from etude.stats.calibration import choose_floor
from etude.task import Task
from etude.task.definition import Handover, Limit
from etude.text.normal_forms import normalise
from etude.types import Example

MAX_TURNED_AWAY = 0.01  # largest share of real questions that may be turned away, with a confidence of 95%
FOLDS = 5
MAX_ROWS = 2_000  # most training rows that are read; more rows take seconds and do not improve the model
MIN_ROWS = 20
PATTERN_SIMILARITY = 0.6  # Jaccard similarity of letters from which two questions have the same pattern
MAX_PATTERN_CHARACTERS = 400  # most characters of a question that are compared
MIN_PATTERNS = 20  # with fewer, the threshold comes from the generic questions


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


def list_answered(task: Task, rows: Iterable[Example]) -> list[Example]:
    """List the rows that are to be answered: all except texts whose output refuses or hands over, by the packaged
    phrases or in the words of a limit. The sentence of `handover.unanswerable` is an answer."""
    if task.kind != "answer":
        return list(rows)
    sentences, handover = {normalise(limit.say) for limit in task.limits}, task.handover or Handover()
    return [
        row
        for row in rows
        if handover.is_unanswerable(row.output)
        or not (normalise(row.output) in sentences or has_declined(row.output, task.contract))
    ]


def fit_task_scope(task: Task, split: Split) -> tuple[Scope | None, list[str]]:
    """Fit a scope on the rows of train and dev that are to be answered. See `fit_scope`."""
    sides = [side.examples for side in (split.train, split.dev)]
    train, dev = (list_answered(task, rows) for rows in sides)
    scope, notes = fit_scope(task.limits, train, dev, task.seed)
    if num := sum(map(len, sides)) - len(train) - len(dev):
        rows = f"{format_count(num, 'row')} of train and dev, whose output refuses or hands over"
        notes.append(f"limits: not counted as questions of the task: {rows}")
    return scope, notes


def fit_scope(
    limits: Sequence[Limit], train: Sequence[Example], dev: Sequence[Example], seed: int
) -> tuple[Scope | None, list[str]]:
    """Fit a scope on the last questions of training and dev rows; return it (None for fewer than `MIN_ROWS`) and notes.

    The threshold comes from one question of each pattern (`number_patterns`), scored by a model that was fitted without
    the questions of this pattern (5 folds): users ask in words that are in no row. With fewer than `MIN_PATTERNS`, real
    questions in other words may score as low as generic questions that the model has not seen. So the threshold then
    comes from these, and turns away only what is nearly a generic question or an example of a limit.
    """
    rng = np.random.default_rng(seed)
    own = list(dict.fromkeys(get_question(row.input) for row in train))
    own = [own[index] for index in sorted(rng.permutation(len(own))[:MAX_ROWS])]
    dev_texts = dict.fromkeys(get_question(row.input) for row in dev)
    dev_questions = [text for text in dev_texts if text not in set(own)]
    if len(own) < MIN_ROWS:
        return None, [
            f"limits: not used, because there are only {len(own)} training rows ({MIN_ROWS} are needed)"
        ]
    generic = [(text, name, 1.0) for text, name in read_generic_questions() if text not in set(own)]
    rows = [*((text, OWN, 1.0) for text in own), *generic]
    rows += [(text, limit.name, EXAMPLE_WEIGHT) for limit in limits for text in limit.examples]
    texts, names, weights = zip(*rows, strict=True)
    counts = count_features(texts)

    def fit_model(positions: Sequence[int]) -> QuestionModel:
        blocks, chosen_names = [block[positions] for block in counts], [names[row] for row in positions]
        # The scores of different models are compared, so all must have converged.
        return QuestionModel.fit(blocks, chosen_names, [weights[row] for row in positions], tolerance=1e-4)

    questions = [*own, *dev_questions]
    patterns = number_patterns(questions)
    num_patterns = int(patterns.max()) + 1
    fold_of_row = np.full(len(rows), -1)  # -1: every fold's model is fitted on it
    if is_weak := num_patterns < MIN_PATTERNS:
        questions = [text for text, *_ in generic]
        folds = rng.permutation(len(generic)) % FOLDS
        fold_of_row[len(own) : len(own) + len(generic)] = folds
    else:
        is_trained = np.isin(np.arange(num_patterns), patterns[: len(own)])
        folds = np.where(is_trained, rng.permutation(num_patterns) % FOLDS, FOLDS)[patterns]
        fold_of_row[: len(own)] = folds[: len(own)]
        # One question of each pattern, because the proof needs independent ones.
        order = rng.permutation(len(questions))
        chosen = order[np.unique(patterns[order], return_index=True)[1]]
        questions, folds = [questions[index] for index in chosen], folds[chosen]
    scores = list[float]()
    for fold in range(FOLDS + 1):  # the last model is fitted on all rows
        model = fit_model(np.flatnonzero(fold_of_row != fold).tolist())
        left_out = [questions[index] for index in np.flatnonzero(folds == fold)]
        scores += model.score(left_out).tolist() if left_out else []
    threshold, bound = choose_floor(scores, MAX_TURNED_AWAY)
    scope = Scope(tuple(replace(limit, examples=()) for limit in limits), threshold, model.to_text())
    num = format_count(len(scores), "question")
    note = (
        f"questions unlike its rows are turned away; of real questions like the rows, at most {format_share(bound)} "
        f"are turned away (95% confidence, from {num} of train and dev, one of each pattern), but of questions in "
        "another form perhaps more"
    )
    if is_weak:
        note = (
            f"limits: the rows have only {format_count(num_patterns, 'pattern')} of questions ({MIN_PATTERNS} are "
            "needed), so real questions in other words cannot be told from others. Only questions that are nearly a "
            "packaged general question or an example under limits: are turned away. Add rows in the words of your users"
        )
    return scope, [note, *_list_missed_examples(limits, model, threshold)]


def number_patterns(questions: Sequence[str]) -> npt.NDArray[np.int32]:
    """Number the patterns of questions, from 0: those that differ little except in numbers, and those that differ
    little from these, have the same pattern."""
    openings = [re.sub(r"\d+", "0", text[:MAX_PATTERN_CHARACTERS]) for text in questions]
    letters = count_features(openings)[1].sign()
    sizes, shared = letters.sum(axis=1).A1, (letters @ letters.T).tocoo()
    first, second = shared.row, shared.col
    is_near = shared.data * (1 + PATTERN_SIMILARITY) >= PATTERN_SIMILARITY * (sizes[first] + sizes[second])
    links = csr_matrix((shared.data[is_near], (first[is_near], second[is_near])), shape=shared.shape)
    return np.asarray(connected_components(links, directed=False)[1])


def _list_missed_examples(limits: Sequence[Limit], model: QuestionModel, threshold: float) -> list[str]:
    notes = []
    for limit in limits:
        scores: list[float] = model.score(limit.examples).tolist() if limit.examples else []
        answered = [text for text, score in zip(limit.examples, scores, strict=True) if score >= threshold]
        if answered:
            notes.append(
                f"limits: {len(answered)} of {len(limit.examples)} examples of {limit.name} are still answered, "
                f"such as {answered[0]!r}"
            )
    return notes

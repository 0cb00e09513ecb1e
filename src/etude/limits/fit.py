"""Fit a Scope: a classifier of a task's own questions and generic ones, and a threshold that rejects few real ones."""

import random
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import connected_components

from etude.base.formatting import format_count, format_share
from etude.base.word_lists import read_table
from etude.data.splits import Split
from etude.index.documents import read_passages
from etude.limits.acts import has_declined
from etude.limits.question_model import EXAMPLE_WEIGHT, OWN, QuestionModel, count_features
from etude.limits.scope import FOLLOW_UP_WORDS, Scope, get_question
from etude.stats import wilson
from etude.stats.calibration import choose_floor
from etude.task import Task
from etude.task.definition import Handover, Limit
from etude.text.normal_forms import normalise
from etude.text.variants import VARIANTS
from etude.types import Example

MAX_TURNED_AWAY = 0.01  # largest share of real questions that may be turned away, with a confidence of 95%
MIN_KEPT_OUT = 0.95  # share of the questions outside that are turned away, if the rows allow it
PASSAGE_CHARACTERS = 300  # of a passage of the documents that are read
FOLDS = 5
MAX_ROWS = 2_000  # most training rows that are read; more rows take seconds and do not improve the model
MIN_ROWS = 20
PATTERN_SIMILARITY = 0.6  # Jaccard similarity of letters from which two questions have the same pattern
MAX_PATTERN_CHARACTERS = 400  # most characters of a question that are compared
MIN_PATTERNS = 20  # with fewer, the threshold comes from the generic questions


@cache
def read_generic_questions() -> tuple[tuple[str, str, str], ...]:
    """Read the packaged questions, each with the limit that applies and its subject."""
    table = read_table(__file__, "generic.yaml")
    return tuple(
        (question, name, subject)
        for name, subjects in table.items()
        for subject, questions in subjects.items()
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
    passages = [passage.text for passage in read_passages(task.documents)] if task.documents else []
    scope, notes = fit_scope(task.scope_limits, train, dev, task.seed, passages)
    if num := sum(map(len, sides)) - len(train) - len(dev):
        rows = f"{format_count(num, 'row')} of train and dev, whose output refuses or hands over"
        notes.append(f"limits: not counted as questions of the task: {rows}")
    return scope, notes


@dataclass(frozen=True)
class _FitRows:
    """Questions to fit a scope on, each as written and changed by one of `VARIANTS`."""

    texts: list[str]
    names: list[str]
    weights: list[float]
    groups: npt.NDArray[np.int32]
    """Questions of a group are left out together; -1 for those that every fold's model is fitted on."""

    def score_left_out(self, seed: int) -> tuple[QuestionModel, npt.NDArray[np.float64]]:
        """Fit a model on all questions; returned with scores of all questions by models that were fitted without their
        group (5 folds), as written and changed: (2, questions)."""
        rng = np.random.default_rng(seed)
        changes = list(VARIANTS.values())
        changed = [
            changes[number % len(changes)](text, random.Random(f"{seed}/{number}"))
            for number, text in enumerate(self.texts)
        ]
        num, counts = len(self.texts), count_features([*self.texts, *changed])
        folds = np.where(self.groups < 0, -1, rng.permutation(self.groups.max() + 1)[self.groups] % FOLDS)
        scores = np.full((2, num), np.nan)
        for fold in range(FOLDS + 1):  # the last model is fitted on all rows
            fitted, left_out = np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)
            both = np.concatenate([fitted, fitted + num])
            names, weights = (
                [self.names[row] for row in fitted] * 2,
                [self.weights[row] for row in fitted] * 2,
            )
            # The scores of different models are compared, so all must have converged.
            model = QuestionModel.fit([block[both] for block in counts], names, weights, tolerance=1e-4)
            if len(left_out):
                for row, texts in zip(scores, (self.texts, changed), strict=True):
                    row[left_out] = model.score([texts[position] for position in left_out])
        return model, scores


def fit_scope(
    limits: Sequence[Limit],
    train: Sequence[Example],
    dev: Sequence[Example],
    seed: int,
    passages: Sequence[str] = (),
) -> tuple[Scope | None, list[str]]:
    """Fit a scope on the last questions of training and dev rows; return it (None for fewer than `MIN_ROWS`) and notes.
    `passages` count as in scope.

    The threshold is set from both sides, by scores of models that were fitted without these questions: it is the
    loosest that turns away `MIN_KEPT_OUT` of the questions outside (packaged ones and examples, subjects left out
    together), but never turns away more than `MAX_TURNED_AWAY` of the rows, one question of each pattern
    (`number_patterns`): users ask in words that are in no row. With fewer than `MIN_PATTERNS`, real questions in other
    words may score as low as questions outside. So the threshold then turns away only what is nearly one of these.
    """
    rng = np.random.default_rng(seed)
    own = list(dict.fromkeys(get_question(row.input) for row in train))
    own = [own[index] for index in sorted(rng.permutation(len(own))[:MAX_ROWS])]
    if len(own) < MIN_ROWS:
        return None, [
            f"limits: not used, because there are only {len(own)} training rows ({MIN_ROWS} are needed)"
        ]
    own = list(dict.fromkeys([*own, *(get_question(row.input) for row in dev)]))[: 2 * MAX_ROWS]
    patterns = number_patterns(own)
    num_patterns = int(patterns.max()) + 1
    is_weak = num_patterns < MIN_PATTERNS
    outside = [
        (text, name, subject) for text, name, subject in read_generic_questions() if text not in {*own}
    ]
    outside += [(text, limit.name, text) for limit in limits for text in limit.examples]
    subjects = np.unique([subject for *_, subject in outside], return_inverse=True)[1]
    known = [text[:PASSAGE_CHARACTERS] for text in passages[:MAX_ROWS]]
    examples = {text for limit in limits for text in limit.examples}
    rows = _FitRows(
        [*own, *(text for text, *_ in outside), *known],
        [*(OWN for _ in own), *(name for _, name, _ in outside), *(OWN for _ in known)],
        [
            *(1.0 for _ in own),
            *(EXAMPLE_WEIGHT if text in examples else 1.0 for text, *_ in outside),
            *(1.0 for _ in known),
        ],
        np.concatenate(
            [np.full(len(own), -1) if is_weak else patterns, num_patterns + subjects, np.full(len(known), -1)]
        ),
    )
    model, scores = rows.score_left_out(seed)
    outside_scores = scores[0, len(own) : len(own) + len(outside)]
    if is_weak:
        threshold = choose_floor(outside_scores, MAX_TURNED_AWAY)[0]
        notes = [
            f"limits: the rows have only {format_count(num_patterns, 'pattern')} of questions ({MIN_PATTERNS} are "
            "needed), so real questions in other words cannot be told from others. Only questions that are nearly a "
            "packaged general question or an example under limits: are turned away. Add rows in the words of your users"
        ]
    else:
        # One question of each pattern, because the proof needs independent ones.
        order = rng.permutation(len(own))
        chosen = order[np.unique(patterns[order], return_index=True)[1]]
        floor = choose_floor(scores[0, chosen], MAX_TURNED_AWAY)[0]
        threshold = min(floor, float(np.quantile(outside_scores, MIN_KEPT_OUT)))
        kept_out = format_share(float(np.mean(outside_scores < threshold)))
        notes = [
            f"questions unlike its rows are turned away: {kept_out} of our {len(outside)} questions outside (with your "
            f"examples), {_describe_forms([own[row] for row in chosen], scores[:, chosen] < threshold)}, each scored "
            "by a model that had not seen it or its like; in another language and in your users' own words: unknown "
            "until you add some"
        ]
    scope = Scope(tuple(replace(limit, examples=()) for limit in limits), threshold, model.to_text())
    return scope, [*notes, *_list_missed_examples(limits, model, threshold)]


def _describe_forms(questions: Sequence[str], is_turned_away: npt.NDArray[np.bool_]) -> str:
    """Describe how many questions of the rows are turned away, by form; (2, questions): as written, changed."""
    written, changed = is_turned_away
    is_short = np.array([len(text.split()) <= FOLLOW_UP_WORDS for text in questions])
    forms = {
        "as written": written,
        "changed (typos, capitals, a greeting ...)": changed,
        "short": written[is_short],
    }
    shares = []
    for form, hits in ((form, hits) for form, hits in forms.items() if len(hits)):
        bound = format_share(wilson(hits.sum(), len(hits))[1])
        shares.append(f"{form} {format_share(hits.mean())} (at most {bound}, n = {len(hits):,})")
    return f"and of the questions of train and dev, one of each pattern: {', '.join(shares)}"


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

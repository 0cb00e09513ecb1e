"""Fit a Scope: a classifier of a task's own questions and generic ones, and a threshold that
rejects few real ones.
"""

import random
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib.util import find_spec
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import connected_components
from sklearn.linear_model import LogisticRegression
from sklearn.utils.class_weight import compute_sample_weight

from etude.base.formatting import format_count, format_share
from etude.base.word_lists import read_table
from etude.data.splits import Split
from etude.errors import ModelError, format_install
from etude.index.build import DEFAULT_ENCODER
from etude.index.documents import read_passages
from etude.limits.acts import has_declined
from etude.limits.clauses import LAYERS, list_clauses
from etude.limits.question_form import to_question_form
from etude.limits.question_model import EXAMPLE_WEIGHT, OWN, QuestionModel, count_features
from etude.limits.scope import FOLLOW_UP_WORDS, Scope, get_question, list_questions
from etude.models.weights import find_weights
from etude.stats import wilson
from etude.stats.calibration import choose_floor
from etude.task import Task
from etude.task.definition import Handover, Limit
from etude.text.normal_forms import normalise
from etude.text.variants import VARIANTS
from etude.types import Example

if TYPE_CHECKING:
    from etude.models.local.encoder import Encoder
    from etude.models.registry import Models

MAX_TURNED_AWAY = (
    0.01  # largest share of real questions that may be turned away, with a confidence of 95%
)
MIN_USEFUL = (
    0.5  # share of the questions outside below which a note says that the limit is of little use
)
MIN_KEPT_OUT = 0.95  # share of the questions outside that are turned away, if the rows allow it
PASSAGE_CHARACTERS = 300  # of a passage of the documents that are read
FOLDS = 5
# maximum number of training rows that are read; more rows take seconds and do not improve the model
MAX_ROWS = 2_000
MIN_ROWS = 20
PATTERN_SIMILARITY = (
    0.6  # Jaccard similarity of letters from which two questions have the same pattern
)
MAX_PATTERN_CHARACTERS = 400  # maximum number of characters of a question that are compared
MIN_PATTERNS = 20  # with fewer, the threshold comes from the generic questions
URGENT = ("danger to oneself", "violence and abuse", "emergencies")  # subjects of generic.yaml
MAX_DANGER_ROWS = 400
DANGER_INVERSE_PENALTY = 3.0
DIGITS = 3
MAX_ALARMS = (
    0.05,
    0.02,
)  # shares of packaged look-alikes, and of rows of the task, that are taken for danger


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
    """List the rows that are to be answered: all except texts whose output refuses or hands over,
    by the packaged phrases or in the words of a limit. The sentence of `handover.unanswerable` is
    an answer.
    """
    if task.kind != "answer":
        return list(rows)
    sentences = {normalise(limit.say) for limit in task.limits}
    handover = task.handover or Handover()
    return [
        row
        for row in rows
        if handover.is_unanswerable(row.output)
        or not (normalise(row.output) in sentences or has_declined(row.output, task.contract))
    ]


def fit_task_limits(
    task: Task, split: Split, models: "Models"
) -> tuple[Scope | None, tuple[Limit, ...], list[str]]:
    """Fit the scope and the clause limits of the task's `limits:` on train and dev; return them
    with notes.
    """
    clause_limits, notes = (
        fit_clause_limits(task, split, models) if task.clause_limits else ((), [])
    )
    scope, scope_notes = fit_task_scope(task, split) if task.scope_limits else (None, [])
    return scope, clause_limits, [*notes, *scope_notes]


def fit_task_scope(task: Task, split: Split) -> tuple[Scope | None, list[str]]:
    """Fit a scope on the rows of train and dev that are to be answered. See `fit_scope`."""
    sides = [side.real.examples for side in (split.train, split.dev)]
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
    """Questions of a group are left out together; -1 for those that every fold's model is fitted
    on.
    """

    def score_left_out(self, seed: int) -> tuple[QuestionModel, npt.NDArray[np.float64]]:
        """Fit a model on all questions; returned with scores of all questions by models that were
        fitted without their group (5 folds), as written and changed: (2, questions).
        """
        rng = np.random.default_rng(seed)
        changes = list(VARIANTS.values())
        changed = [
            changes[number % len(changes)](text, random.Random(f"{seed}/{number}"))
            for number, text in enumerate(self.texts)
        ]
        num = len(self.texts)
        counts = count_features([*self.texts, *changed])
        folds = np.where(
            self.groups < 0, -1, rng.permutation(self.groups.max() + 1)[self.groups] % FOLDS
        )
        scores = np.full((2, num), np.nan)
        for fold in range(FOLDS + 1):  # the last model is fitted on all rows
            fitted = np.flatnonzero(folds != fold)
            left_out = np.flatnonzero(folds == fold)
            both = np.concatenate([fitted, fitted + num])
            names = [self.names[row] for row in fitted] * 2
            weights = [self.weights[row] for row in fitted] * 2
            # The scores of different models are compared, so all must have converged.
            model = QuestionModel.fit(
                [block[both] for block in counts], names, weights, tolerance=1e-4
            )
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
    """Fit a scope on the last questions of training and dev rows; return it (None for fewer than
    `MIN_ROWS`) and notes. `passages` count as in scope.

    The threshold is set from both sides, by scores of models that were fitted without these
    questions: it is the loosest threshold that turns away `MIN_KEPT_OUT` of the questions outside
    the scope (packaged questions and examples, subjects left out together). It never turns away
    more than `MAX_TURNED_AWAY` of the rows, counting one question of each pattern
    (`number_patterns`): users ask in words that are in no row. With fewer than `MIN_PATTERNS`, real
    questions in other words may score as low as questions outside. So the threshold then turns away
    only what is nearly one of these.
    """
    rng = np.random.default_rng(seed)
    own = list(dict.fromkeys(get_question(row.input) for row in train))
    own = [own[index] for index in sorted(rng.permutation(len(own))[:MAX_ROWS])]
    if len(own) < MIN_ROWS:
        return None, [
            f"limits: not used, because there are only {len(own)} training rows ({MIN_ROWS} are "
            "needed)"
        ]
    own = list(dict.fromkeys([*own, *(get_question(row.input) for row in dev)]))[: 2 * MAX_ROWS]
    patterns = number_patterns(own)
    num_patterns = int(patterns.max()) + 1
    is_weak = num_patterns < MIN_PATTERNS
    outside = [
        (text, name, subject)
        for text, name, subject in read_generic_questions()
        if text not in {*own}
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
            [
                np.full(len(own), -1) if is_weak else patterns,
                num_patterns + subjects,
                np.full(len(known), -1),
            ]
        ),
    )
    model, scores = rows.score_left_out(seed)
    outside_scores = scores[0, len(own) : len(own) + len(outside)]
    if is_weak:
        threshold = choose_floor(outside_scores, MAX_TURNED_AWAY)[0]
        notes = [
            f"limits: the rows have only {format_count(num_patterns, 'pattern')} of questions "
            f"({MIN_PATTERNS} are needed), so real questions in other words cannot be told from "
            "others. Only questions that are nearly a packaged general question or an example "
            "under limits: are turned away. Add rows in the words of your users"
        ]
    else:
        # One question of each pattern, because the proof needs independent ones.
        order = rng.permutation(len(own))
        chosen = order[np.unique(patterns[order], return_index=True)[1]]
        floor = choose_floor(scores[0, chosen], MAX_TURNED_AWAY)[0]
        threshold = min(floor, float(np.quantile(outside_scores, MIN_KEPT_OUT)))
        kept_out = format_share(share := float(np.mean(outside_scores < threshold)))
        few = (
            f"few questions are turned away, because {num_patterns} patterns of questions in the "
            "rows are not enough"
        )
        notes = (
            [f"limits: {few}. Add rows in the words of your users"] if share < MIN_USEFUL else []
        )
        notes += [
            f"questions unlike its rows are turned away: {kept_out} of our {len(outside)} "
            "questions outside (with your examples), "
            f"{_describe_forms([own[row] for row in chosen], scores[:, chosen] < threshold)}, "
            "each scored by a model that had not seen it or its like; in another language and in "
            "your users' own words: unknown until you add some"
        ]
    scope = Scope(
        tuple(replace(limit, examples=()) for limit in limits), threshold, model.to_text()
    )
    return scope, [*notes, *_list_missed_examples(limits, model, threshold)]


def _describe_forms(questions: Sequence[str], is_turned_away: npt.NDArray[np.bool_]) -> str:
    """Describe how many questions of the rows are turned away, by form; (2, questions): as written,
    changed.
    """
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
    """Number the patterns of questions, from 0: questions that differ little, apart from numbers,
    have the same pattern, also in chains: A like B, and B like C.
    """
    openings = [re.sub(r"\d+", "0", text[:MAX_PATTERN_CHARACTERS]) for text in questions]
    letters = count_features(openings)[1].sign()
    sizes = letters.sum(axis=1).A1
    shared = (letters @ letters.T).tocoo()
    first = shared.row
    second = shared.col
    is_near = shared.data * (1 + PATTERN_SIMILARITY) >= PATTERN_SIMILARITY * (
        sizes[first] + sizes[second]
    )
    links = csr_matrix(
        (shared.data[is_near], (first[is_near], second[is_near])), shape=shared.shape
    )
    return np.asarray(connected_components(links, directed=False)[1])


def _list_missed_examples(
    limits: Sequence[Limit], model: QuestionModel, threshold: float
) -> list[str]:
    notes = []
    for limit in limits:
        scores: list[float] = model.score(limit.examples).tolist() if limit.examples else []
        answered = [
            text for text, score in zip(limit.examples, scores, strict=True) if score >= threshold
        ]
        if answered:
            notes.append(
                f"limits: {len(answered)} of {len(limit.examples)} examples of {limit.name} are "
                f"still answered, such as {answered[0]!r}"
            )
    return notes


def read_danger_clauses() -> tuple[list[str], list[str], list[str]]:
    """Read the packaged clauses: in danger, look-alikes, and general ones."""
    table = read_table(__file__, "danger.yaml")
    generic = read_generic_questions()
    hits, look_alikes = (
        [line for group in table[side].values() for line in group] for side in table
    )
    hits += [text for text, _, subject in generic if subject in URGENT]
    return hits, look_alikes, [text for text, name, _ in generic if name == "out_of_scope"]


def fit_clause_limits(
    task: Task, split: Split, models: "Models"
) -> tuple[tuple[Limit, ...], list[str]]:
    """Return the task's limits of clauses, none without the encoder, and notes. Danger is fitted on
    train and dev.
    """
    limits = task.clause_limits
    problem = ""
    try:
        find_weights(DEFAULT_ENCODER)
        if not (find_spec("torch") and find_spec("transformers")):
            problem = f"Run: {format_install('train')}"
    except ModelError as error:
        problem = str(error)
    if limits and problem:
        names = " and ".join(limit.name for limit in limits)
        return (), [
            f"limits: {names} cannot be recognised without the encoder {DEFAULT_ENCODER}. {problem}"
        ]
    notes = list[str]()
    if limits and limits[0].name == "danger":
        rows = [*split.train.examples, *split.dev.examples]
        danger, notes = fit_danger(
            limits[0], task, rows, models.load_shared_encoder(DEFAULT_ENCODER)
        )
        limits = (danger, *limits[1:])
    return limits, notes


def fit_danger(
    limit: Limit, task: Task, rows: Iterable[Example], encoder: "Encoder"
) -> tuple[Limit, list[str]]:
    """Fit the weights of `danger` on packaged clauses and on those of up to `MAX_DANGER_ROWS` rows
    that are to be answered, which are harmless.

    The threshold is the lowest that keeps both `MAX_ALARMS`, scored by models that were fitted
    without these clauses (5 folds; rows of a pattern are left out together). Without such rows, the
    packaged model is used.
    """
    rng = np.random.default_rng(task.seed)
    own = list(
        dict.fromkeys("\n".join(list_questions(row.input)) for row in list_answered(task, rows))
    )
    if not own:
        return limit, []
    own = [own[index] for index in rng.permutation(len(own))[:MAX_DANGER_ROWS]]
    danger, *harmless = read_danger_clauses()
    # A part of a clause in danger ("when I come home") may be harmless, so these are learned whole.
    clauses = [[to_question_form(line)] for line in danger] + [
        list_clauses([line]) for part in (*harmless, own) for line in part
    ]
    starts = np.cumsum([len(danger), *map(len, harmless)])
    groups = np.concatenate([np.arange(starts[-1]), starts[-1] + number_patterns(own)])
    line_of = np.repeat(np.arange(len(clauses)), [len(parts) for parts in clauses])
    texts, positions = np.unique(
        [clause for parts in clauses for clause in parts], return_inverse=True
    )
    vectors = encoder.embed_layers(texts.tolist(), LAYERS)[positions]
    folds = (rng.permutation(len(clauses))[groups] % FOLDS)[line_of]
    sides = np.digitize(line_of, [starts[0], starts[-1]])  # danger, packaged harmless, own
    row_weights = compute_sample_weight("balanced", sides) * np.where(sides == 0, 2, 1)
    scores = np.full(len(clauses), -np.inf)
    for fold in range(FOLDS + 1):  # the last model is fitted on all clauses
        fitted = folds != fold
        left_out = folds == fold
        model = LogisticRegression(C=DANGER_INVERSE_PENALTY, max_iter=3000)
        model.fit(vectors[fitted], sides[fitted] == 0, sample_weight=row_weights[fitted])
        if left_out.any():
            np.maximum.at(scores, line_of[left_out], model.decision_function(vectors[left_out]))
    hits, look_alikes, _, rows_of_task = np.split(scores, starts)
    levels = [
        np.quantile(side, 1 - share, method="higher")
        for side, share in zip((look_alikes, rows_of_task), MAX_ALARMS, strict=True)
    ]
    found, *wrong = (
        format_share(np.mean(side > max(levels))) for side in (hits, look_alikes, rows_of_task)
    )
    weights = (*model.coef_[0], model.intercept_[0] - max(levels))
    return replace(limit, weights=tuple(round(float(weight), DIGITS) for weight in weights)), [
        f"limits: danger finds {found} of our {len(hits)} clauses in danger, and takes {wrong[0]} "
        f"of our {len(look_alikes)} look-alikes and {wrong[1]} of {len(own)} rows for danger, "
        "each judged by a model that had not learned it"
    ]

"""baseline: predictors without a language model."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np
from numpy.typing import NDArray

from etude.base.files import read_json, write_lines
from etude.evaluate import ScoredAnswer, build_sample, get_unit
from etude.index.build import load_task_encoder
from etude.methods.method import Assistant, Candidate, Dataset, Example, FitContext, Method, Task
from etude.methods.shared.fit_context import Trial, TrialResult
from etude.stats import choose, estimate_sample
from etude.text.answer_spans import NestedListError, parse_answers
from etude.text.likeness import are_repeated
from etude.types import CLASSICAL, ModelRef, Request

if TYPE_CHECKING:
    from etude.models.classical import CountedTexts, Features, Linear, Predictor, Prepared
    from etude.models.gazetteer import Gazetteer
    from etude.models.local.encoder import Encoder

FOLDS = 5
MAX_CROSS_VALIDATED = 5_000  # with more rows, a fit is slower and dev is large enough
MAX_REPEATED = (
    400  # few rows are cross-validated again with other folds, up to this number of answers
)
CROSS_VALIDATION = "cross_validation.jsonl"
Fit = Callable[[Sequence[str], Sequence[str]], "Predictor | None"]
"""(texts, outputs) -> a fitted predictor; None if it cannot answer as these outputs do."""


class Baseline(Method):
    """The best, in cross-validation on train and dev, among: the most frequent answer; the answer
    of the nearest example, by words and, if answers repeat, by meaning; for classify TF-IDF +
    linear SVM and sentence embeddings + logistic regression; for extract the values of the training
    answers, looked up in the text.

    The best is fitted again on train and dev together. The reported dev results are those of the
    fit on train alone.
    """

    name = "baseline"
    label = "Simple predictor"
    prompted = False
    asks_model = False
    keys = ("encoder",)

    def used_keys(self, task: Task) -> tuple[str, ...]:
        """Use the encoder only for labels and for answers that repeat."""
        return self.keys if task.kind in ("classify", "answer") else ()

    def fit(
        self, task: Task, train: Dataset, dev: Dataset, start: Assistant, context: FitContext
    ) -> Assistant:
        """Fit every predictor, choose one, and fit it again on all rows."""
        # The dev results in the record are those of predictors that have not seen dev.
        candidate, predictor, refit = self.fit_on_train(task, train, dev, start, context)
        started = time.perf_counter()
        final = refit(*split_columns((*train.examples, *dev.examples))) or predictor
        context.train_seconds += time.perf_counter() - started
        context.params["predictor"] = candidate.name
        context.num_dev_learned = len(dev.whole)
        return self._build_assistant(start, f"{candidate.name} on train and dev", final, context)

    def fit_on_train(
        self, task: Task, train: Dataset, dev: Dataset, start: Assistant, context: FitContext
    ) -> tuple[Candidate, Predictor, Fit]:
        """Choose among the predictors fitted on `train` alone: by cross-validation on train and
        dev, or on dev if there are many rows. Also return what fits the chosen one.
        """
        from etude.models.classical import CountedTexts, Features

        started = time.perf_counter()
        texts, outputs = split_columns(train.examples)
        rows = [*train.examples, *dev.examples]
        counted = (
            CountedTexts(split_columns(rows)[0]) if len(rows) <= MAX_CROSS_VALIDATED else Features
        )
        plain = fit_predictors(list_fits(task, outputs, None, counted), {}, train, dev)
        if plain:  # a figure before the encoder is loaded
            name, predictor = list(plain.items())[-1]
            first = context.evaluate(self._build_assistant(start, name, predictor, context), dev)
            context.scored_by_candidate[name] = first
            context.on_first(name, first)
        is_used = len(set(outputs)) > 1 if task.kind == "classify" else is_choice(task, outputs)
        encoder = load_task_encoder(task, context.models, context.notes) if is_used else None
        known = KnownVectors(encoder, split_columns(rows)[0]) if encoder else None
        if encoder and known:
            encoder.remember(texts, known.embed(texts))
        fits = list_fits(task, outputs, cast("Encoder | None", known), counted)
        predictors = fit_predictors(fits, plain, train, dev)
        fits = {
            name: partial(fit_like, predictor, dev, fits[name])
            for name, predictor in predictors.items()
        }
        context.train_seconds += time.perf_counter() - started
        context.has_learned = True
        candidates = [
            Candidate(name, self._build_assistant(start, name, predictor, context))
            for name, predictor in predictors.items()
        ]
        if len(candidates) > 1 and len(rows) <= MAX_CROSS_VALIDATED:
            held_out = cross_validate(fits, rows, candidates, context)
            candidate = record_choice(candidates, held_out, dev, task.margin, context)
        else:
            candidate = context.choose(candidates, dev, cheap=True)
        return candidate, predictors[candidate.name], fits[candidate.name]

    def _build_assistant(
        self, start: Assistant, name: str, predictor: Predictor, context: FitContext
    ) -> Assistant:
        from etude.models.classical import Nearest, save_classical

        folder = save_classical(predictor, _predictor_folder(context.folder, name))
        return replace(
            start.without_examples(),
            search=None,
            method=self.name,
            model=ModelRef(CLASSICAL, folder),
            instructions="",
            # With choices an answer gets a confidence, but the nearest example has no probability.
            choices=() if isinstance(predictor, Nearest) else start.choices,
        )

    def load_before_dev(self, assistant: Assistant, folder: Path) -> Assistant:
        """Load the predictor fitted on train alone."""
        params = read_json(folder / "method.json")["params"]
        on_train = _predictor_folder(folder / "work", params["predictor"])
        return (
            replace(assistant, model=ModelRef(CLASSICAL, on_train))
            if on_train.exists()
            else assistant
        )


METHOD = Baseline()


def _predictor_folder(folder: Path, name: str) -> Path:
    return folder / name.replace(" ", "-")


class KnownVectors:
    """An encoder for texts whose vectors are computed once."""

    def __init__(self, encoder: Encoder, texts: Sequence[str]) -> None:
        self.name = encoder.name
        self.is_tuned = encoder.is_tuned
        self.vectors = dict(zip(texts, encoder.embed(texts), strict=True))

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return one vector for each text."""
        return np.stack([self.vectors[text] for text in texts])


def fit_like(
    on_train: Predictor,
    dev: Iterable[Example],
    fit: Fit,
    texts: Sequence[str],
    outputs: Sequence[str],
) -> Predictor | None:
    """Fit, with the calibration of the predictor fitted on train, on those dev rows that are among
    these texts.
    """
    from etude.models.classical import Linear

    predictor = fit(texts, outputs)
    learned = {*texts}
    rows = [row for row in dev if row.input[-1].content in learned]
    if rows and isinstance(predictor, Linear) and isinstance(on_train, Linear):
        return predictor.copy_calibration(on_train.calibrate(*split_columns(rows)))
    return predictor


def cross_validate(
    fits: Mapping[str, Fit],
    rows: Sequence[Example],
    candidates: Sequence[Candidate],
    context: FitContext,
) -> dict[str, list[ScoredAnswer]]:
    """Answer each row with each candidate's predictor, fitted without the row's fold (5 folds of
    units; `batch` is the fold). Few rows are answered again with other folds, and these answers
    follow those to all rows. Made rows are only learned.
    """
    from etude.models.classical import ClassicalModel, Constant

    started = time.perf_counter()
    made = [row for row in rows if row.is_made]
    rows = [row for row in rows if not row.is_made]
    names, codes = np.unique([get_unit(row) for row in rows], return_inverse=True)
    draw = np.random.default_rng(context.seed)
    repeats = range(max(1, MAX_REPEATED // len(rows)))
    folds = np.stack(
        [(draw.permutation(len(names)) % FOLDS + FOLDS * repeat)[codes] for repeat in repeats]
    )
    held_out: dict[str, list[ScoredAnswer]] = {candidate.name: [] for candidate in candidates}
    for fold in np.unique(folds):
        fold_of = folds[fold // FOLDS]
        positions = np.flatnonzero(fold_of == fold).tolist()
        learned = split_columns(
            [*(rows[row] for row in np.flatnonzero(fold_of != fold).tolist()), *made]
        )
        for candidate in candidates:
            predictor = fits[candidate.name](*learned) or Constant.fit(learned[1])
            requests = [Request(rows[row].input, 0) for row in positions]
            completions = ClassicalModel(predictor).complete(requests)
            answers = candidate.assistant.finish([rows[row].id for row in positions], completions)
            held_out[candidate.name] += [
                ScoredAnswer(
                    rows[row], answer, context.metric.score_headline(rows[row], answer), int(fold)
                )
                for row, answer in zip(positions, answers, strict=True)
            ]
    context.train_seconds += time.perf_counter() - started
    places = np.argsort(
        np.argsort(folds.ravel(), kind="stable")
    ).tolist()  # of each row in a list by folds
    return {name: [scored[place] for place in places] for name, scored in held_out.items()}


def record_choice(
    candidates: Sequence[Candidate],
    held_out: Mapping[str, Sequence[ScoredAnswer]],
    dev: Dataset,
    margin: float,
    context: FitContext,
) -> Candidate:
    """Choose a candidate in cross-validation, and answer dev with all, for the record."""
    samples = [
        (name, build_sample(context.metric, [row.outcome for row in rows]))
        for name, rows in held_out.items()
    ]
    num_rows = len({row.example.id for row in held_out[candidates[0].name]})
    choice = choose(samples, margin, f"in cross-validation on {num_rows:,} rows of train and dev")
    context.held_out = held_out[candidates[choice.index].name][:num_rows]
    for number, candidate in enumerate(candidates):
        scored = context.scored_by_candidate.pop(candidate.name, None) or context.evaluate(
            candidate.assistant, dev, Trial(number + 1, len(candidates))
        )
        sample = build_sample(context.metric, [row.outcome for row in scored])
        is_chosen = number == choice.index
        context.scored_by_candidate[candidate.name] = scored
        context.chosen_scored = scored if is_chosen else context.chosen_scored
        reason = choice.reason if is_chosen else ""
        context.trials.append(
            TrialResult(candidate.name, estimate_sample(sample), is_chosen, reason)
        )
    lines = [
        {
            "candidate": name,
            "id": row.example.id,
            "fold": row.batch,
            "unit": get_unit(row.example),
            "expected": row.example.output,
            "references": list(row.example.references),
            "answer": row.answer.text,
            "value": row.answer.value,
            "score": row.score.value,
        }
        for name, scored in held_out.items()
        for row in scored
    ]
    write_lines(context.folder / CROSS_VALIDATION, lines)
    return candidates[choice.index]


def fit_predictors(
    fits: Mapping[str, Fit], fitted: Mapping[str, Predictor], train: Dataset, dev: Dataset
) -> dict[str, Predictor]:
    """Fit on `train` what is not in `fitted`; the probabilities of linear models are calibrated on
    dev.
    """
    from etude.models.classical import Linear

    predictors: dict[str, Predictor] = {}
    texts, outputs = split_columns(train.examples)
    for name, fit in fits.items():
        predictor = fitted.get(name) or fit(texts, outputs)
        if isinstance(predictor, Linear) and name not in fitted:
            predictor = predictor.calibrate(*split_columns(dev.examples))
        if predictor:
            predictors[name] = predictor
    return predictors


def is_choice(task: Task, outputs: Sequence[str]) -> bool:
    """Whether answers repeat, so the task is to choose among known answers."""
    return task.kind == "answer" and are_repeated(outputs)


def list_fits(
    task: Task,
    outputs: Sequence[str],
    encoder: Encoder | None,
    features: CountedTexts | type[Features],
) -> dict[str, Fit]:
    """List what fits each classical model for this kind of task, the simplest model first."""
    from etude.models.classical import Constant, Nearest

    @lru_cache(maxsize=1)
    def prepare(texts: tuple[str, ...]) -> Prepared:
        return features.fit(texts)

    fits: dict[str, Fit] = {
        "most frequent answer": lambda texts, outputs: Constant.fit(outputs),
        "nearest example": lambda texts, outputs: Nearest(
            texts, outputs, prepared=prepare(tuple(texts))
        ),
    }
    if encoder and is_choice(task, outputs):
        fits["nearest example by meaning"] = partial(Nearest, encoder=encoder)
    if task.kind == "extract":
        fits["known values in the text"] = _fit_gazetteer
    # A linear model needs two classes.
    if task.kind == "classify" and len(set(outputs)) > 1:
        fits["TF-IDF + linear SVM"] = lambda texts, outputs: fit_linear(
            task, texts, outputs, prepared=prepare(tuple(texts))
        )
        if encoder:
            fits["embeddings + logistic regression"] = partial(fit_linear, task, encoder=encoder)
        if task.hands_over:
            # Its answers have no probability, so it could hand over nothing: being simple does not
            # count for it.
            fits["nearest example"] = fits.pop("nearest example")
    return fits


def fit_linear(
    task: Task,
    texts: Sequence[str],
    outputs: Sequence[str],
    encoder: Encoder | None = None,
    prepared: Prepared | None = None,
) -> Linear:
    """Fit the linear model for one label a row, several labels or questions, or a score on the
    task's scale.
    """
    from etude.models.classical import Linear, prepare_features
    from etude.models.label_heads import LabelHeads, ScoreHeads
    from etude.models.question_heads import QuestionHeads, select_answers

    if task.questions:
        prepared = prepared or prepare_features(texts, encoder)
        heads = {
            name: fit_linear(question, texts, select_answers(outputs, name), encoder, prepared)
            for name, question in task.split_questions().items()
        }
        return QuestionHeads.join(heads)
    if task.several:
        return LabelHeads.fit_lists(texts, outputs, task.seed, encoder, prepared)
    if task.scale:
        return ScoreHeads.fit_scores(texts, outputs, task.scale, task.seed, encoder, prepared)
    return Linear.fit(texts, outputs, task.seed, encoder, prepared)


def _fit_gazetteer(texts: Sequence[str], outputs: Sequence[str]) -> Gazetteer | None:
    """None if an answer is a list of objects, or none is a JSON object."""
    from etude.models.gazetteer import Gazetteer

    try:
        texts, answers = parse_answers(texts, outputs)
    except NestedListError:
        return None
    return Gazetteer.fit(texts, answers) if answers else None


def split_columns(examples: Sequence[Example]) -> tuple[list[str], list[str]]:
    """Split examples into last user turns and outputs."""
    return [example.input[-1].content for example in examples], [
        example.output for example in examples
    ]

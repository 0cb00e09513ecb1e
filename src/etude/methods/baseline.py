"""baseline: predictors without a language model."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from etude.base.files import read_json
from etude.index.build import load_task_encoder
from etude.methods.method import Assistant, Candidate, Dataset, Example, FitContext, Method, Task
from etude.text.answer_spans import NestedListError, parse_answers
from etude.text.likeness import are_repeated
from etude.types import CLASSICAL, ModelRef

if TYPE_CHECKING:
    from etude.models.classical import Linear, Predictor, Prepared
    from etude.models.gazetteer import Gazetteer
    from etude.models.local.encoder import Encoder

Fit = Callable[[Sequence[str], Sequence[str]], "Predictor | None"]
"""(texts, outputs) -> a fitted predictor; None if it cannot answer as these outputs do."""


class Baseline(Method):
    """The best on dev among: the most frequent answer; the answer of the nearest example, by words and, if answers
    repeat, by meaning; for classify TF-IDF + linear SVM and sentence embeddings + logistic regression; for extract the
    values of the training answers, looked up in the text.

    The best is fitted again on train and dev together. The reported dev results are those of the fit on train alone.
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
        from etude.models.classical import Linear

        # The dev results in the record are those of predictors that have not seen dev.
        candidate, predictor, refit = self.fit_on_train(task, train, dev, start, context)
        started = time.perf_counter()
        final = refit(*split_columns((*train.examples, *dev.examples))) or predictor
        if isinstance(final, Linear) and isinstance(predictor, Linear):
            final = final.copy_calibration(predictor)
        context.train_seconds += time.perf_counter() - started
        context.params["predictor"], context.num_dev_learned = candidate.name, len(dev)
        return self._build_assistant(start, f"{candidate.name} on train and dev", final, context)

    def fit_on_train(
        self, task: Task, train: Dataset, dev: Dataset, start: Assistant, context: FitContext
    ) -> tuple[Candidate, Predictor, Fit]:
        """Choose on dev among the predictors fitted on `train` alone. Also return what fits the chosen one."""
        from etude.models.classical import Linear

        started = time.perf_counter()
        texts, outputs = split_columns(train.examples)
        fits = list_fits(task, outputs, context)
        predictors = {name: predictor for name, fit in fits.items() if (predictor := fit(texts, outputs))}
        for name, predictor in predictors.items():
            if isinstance(predictor, Linear):
                predictors[name] = predictor.calibrate(*split_columns(dev.examples))
        context.train_seconds += time.perf_counter() - started
        context.has_learned = True
        candidates = [
            Candidate(name, self._build_assistant(start, name, predictor, context))
            for name, predictor in predictors.items()
        ]
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
        return replace(assistant, model=ModelRef(CLASSICAL, on_train)) if on_train.exists() else assistant


METHOD = Baseline()


def _predictor_folder(folder: Path, name: str) -> Path:
    return folder / name.replace(" ", "-")


def list_fits(task: Task, outputs: Sequence[str], context: FitContext) -> dict[str, Fit]:
    """List what fits each classical model for this kind of task, the simplest model first."""
    from etude.models.classical import Constant, Nearest

    fits: dict[str, Fit] = {
        "most frequent answer": lambda texts, outputs: Constant.fit(outputs),
        "nearest example": Nearest,
    }
    # If answers repeat, the task is to choose among known answers.
    is_choice = task.kind == "answer" and are_repeated(outputs)
    if is_choice and (encoder := load_task_encoder(task, context.models, context.notes)):
        fits["nearest example by meaning"] = partial(Nearest, encoder=encoder)
    if task.kind == "extract":
        fits["known values in the text"] = _fit_gazetteer
    # A linear model needs two classes.
    if task.kind == "classify" and len(set(outputs)) > 1:
        fits["TF-IDF + linear SVM"] = partial(fit_linear, task)
        if encoder := load_task_encoder(task, context.models, context.notes):
            fits["embeddings + logistic regression"] = partial(fit_linear, task, encoder=encoder)
        if task.hands_over:
            # Its answers have no probability, so it could hand over nothing: being simple does not count for it.
            fits["nearest example"] = fits.pop("nearest example")
    return fits


def fit_linear(
    task: Task,
    texts: Sequence[str],
    outputs: Sequence[str],
    encoder: Encoder | None = None,
    prepared: Prepared | None = None,
) -> Linear:
    """Fit the linear model for one label a row, several labels or questions, or a score on the task's scale."""
    from etude.models.classical import Linear, prepare_features
    from etude.models.label_heads import LabelHeads, ScoreHeads
    from etude.models.question_heads import QuestionHeads, select_answers

    if task.questions:
        prepared = prepare_features(texts, encoder)
        heads = {
            name: fit_linear(question, texts, select_answers(outputs, name), encoder, prepared)
            for name, question in task.split_questions().items()
        }
        return QuestionHeads.join(heads)
    if task.several:
        return LabelHeads.fit_lists(texts, outputs, task.seed, encoder)
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
    return [example.input[-1].content for example in examples], [example.output for example in examples]

"""baseline: what no language model is needed for."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, TypeVar

from etude.assistant import Assistant
from etude.base.files import read_json
from etude.data.dataset import Dataset
from etude.index.build import encoder_of
from etude.methods.fit_context import Candidate, FitContext
from etude.methods.method import Method
from etude.task import Task
from etude.types import CLASSICAL, Example, ModelRef

if TYPE_CHECKING:
    from etude.models.classical import Predictor

Fitted = TypeVar("Fitted")


@dataclass(frozen=True)
class Baseline(Method):
    """The best of: the most frequent answer, the nearest example's, and for classify TF-IDF + linear SVM and sentence
    embeddings + logistic regression.

    Chosen on dev, then fitted again on train and dev together. The dev results that are reported
    are those of the fit on train alone.
    """

    name: ClassVar[str] = "baseline"
    label: ClassVar[str] = "Without a language model"
    prompted: ClassVar[bool] = False
    asks_model: ClassVar[bool] = False
    keys: ClassVar[tuple[str, ...]] = ("encoder",)

    def takes(self, task: Task) -> tuple[str, ...]:
        """The encoder is for labels alone."""
        return self.keys if task.kind == "classify" else ()

    def tries(self, task: Task, train: Dataset, start: Assistant) -> int:
        """None that cost anything."""
        return 0

    def fit(
        self, task: Task, train: Dataset, dev: Dataset, start: Assistant, context: FitContext
    ) -> Assistant:
        """Fits, chooses, and fits the choice again on all rows."""
        chosen, predictor = self.fitted(task, train, dev, start, context)
        both = replace(train, examples=(*train.examples, *dev.examples))
        final = _clocked(context, lambda: refitted(predictor, task, both))
        context.params["form"], context.learned = chosen.name, len(both)
        return self._assistant(start, f"{chosen.name} on train and dev", final, context)

    def fitted(
        self, task: Task, train: Dataset, dev: Dataset, start: Assistant, context: FitContext
    ) -> tuple[Candidate, Predictor]:
        """The choice on dev among what is fitted on `train` alone."""
        fitted = _clocked(context, lambda: predictors(task, train, dev, context))
        candidates = [
            Candidate(name, self._assistant(start, name, predictor, context))
            for name, predictor in fitted.items()
        ]
        chosen = context.choose(candidates, dev, cheap=True)
        return chosen, fitted[chosen.name]

    def _assistant(self, start: Assistant, name: str, predictor: Predictor, context: FitContext) -> Assistant:
        """`predictor` as an assistant; with the choices, and so with a confidence, where it gives probabilities."""
        from etude.models.classical import Nearest, save_classical

        folder = save_classical(predictor, _place(context.folder, name))
        return replace(
            start.without_examples(),
            search=None,
            method=self.name,
            model=ModelRef(CLASSICAL, folder),
            instructions="",
            choices=() if isinstance(predictor, Nearest) else start.choices,
        )

    def before_dev(self, assistant: Assistant, folder: Path) -> Assistant:
        """The choice as it was fitted on train alone."""
        place = _place(folder / "work", read_json(folder / "method.json")["params"]["form"])
        return replace(assistant, model=ModelRef(CLASSICAL, place)) if place.exists() else assistant


METHOD = Baseline()


def _place(folder: Path, name: str) -> Path:
    return folder / name.replace(" ", "-")


def _clocked(context: FitContext, fit: Callable[[], Fitted]) -> Fitted:
    """What `fit` gives; the seconds it takes are added to the context's `train_seconds`."""
    started = time.perf_counter()
    fitted = fit()
    context.train_seconds += time.perf_counter() - started
    return fitted


def predictors(task: Task, train: Dataset, dev: Dataset, context: FitContext) -> dict[str, Predictor]:
    """Every classical model that fits the kind of task, from the simplest on, fitted on `train`."""
    from etude.models.classical import Constant, Linear, Nearest

    texts, outputs = columns(train.examples)
    found: dict[str, Predictor] = {
        "most frequent answer": Constant.fit(outputs),
        "nearest example": Nearest(texts, outputs),
    }
    if task.kind == "classify" and len(set(outputs)) > 1:
        linear = {"TF-IDF + linear SVM": Linear.fit(texts, outputs, task.seed)}
        if encoder := encoder_of(task, context.models, context.notes):
            by_meaning = Linear.fit(texts, outputs, task.seed, encoder=encoder)
            linear["embeddings + logistic regression"] = by_meaning
        for name, each in linear.items():
            found[name] = replace(each, temperature=each.calibrated(*columns(dev.examples)))
    return found


def refitted(predictor: Predictor, task: Task, rows: Dataset) -> Predictor:
    """The same kind of predictor fitted on other rows; a linear one keeps its temperature."""
    from etude.models.classical import Constant, Features, Linear, Nearest

    texts, outputs = columns(rows.examples)
    if isinstance(predictor, Linear):
        encoder = None if isinstance(predictor.features, Features) else predictor.features
        return Linear.fit(texts, outputs, task.seed, predictor.temperature, encoder)
    return Nearest(texts, outputs) if isinstance(predictor, Nearest) else Constant.fit(outputs)


def columns(examples: Sequence[Example]) -> tuple[list[str], list[str]]:
    """Last user turns and outputs."""
    return [example.input[-1].content for example in examples], [example.output for example in examples]

"""tag: values of JSON answers that are words of the text, found by an encoder that tags each word."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from etude.base.files import read_json, write_json
from etude.base.formatting import format_count
from etude.errors import InputError, Issue
from etude.index.build import DEFAULT_ENCODER
from etude.methods.fine_tune_encoder import METHOD as FINE_TUNE_ENCODER
from etude.methods.method import Assistant, Candidate, Dataset, FitContext, Method, Task, TrainingTime
from etude.methods.shared.training_rows import sample_training_rows
from etude.models.registry import Models
from etude.text.answer_spans import AnswerShape, Field, NestedListError, Values, align, flatten
from etude.types import CLASSICAL, Example, ModelRef

if TYPE_CHECKING:
    from etude.models.local.tagger import Tagger

RECORD, WEIGHTS = "trained.json", "tagger"
MIN_FOUND = 0.5
"""A field is tagged if so many of its training values are words of their text; else a classifier chooses its value."""
MAX_CLASSES = 100
"""Distinct values that a field may have for a classifier to choose among them."""


class Tag(Method):
    """All weights of the encoder and a linear layer over its words are trained to tag the values of the answer's
    fields; fields whose values are not in the text are chosen by a classifier. The epoch with the best F1 over the
    values of dev is kept. No language model answers."""

    name = "tag"
    label = "Tagged by an encoder"
    tuned = True
    prompted = False
    asks_model = False
    keys = ("encoder",)

    def missing_key(self, task: Task) -> str:
        """It is for extraction, and needs an encoder."""
        if task.kind != "extract":
            return "kind: extract"
        return "an encoder:" if task.encoder == "none" else ""

    def is_supported(self, task: Task) -> bool:
        """Unless the task names an encoder, the packaged one has to be installed."""
        return FINE_TUNE_ENCODER.is_supported(task)

    def measure_training_time(
        self, task: Task, start: Assistant, train: Dataset, models: Models, answer: float
    ) -> TrainingTime | None:
        """That of all rows, or of the part that a budget allows."""
        from etude.training.tagging import estimate_tagger_seconds

        texts, answers = _parse(train.examples)
        tagger, _ = _build_tagger(task, train, models)
        seconds = estimate_tagger_seconds(tagger, texts, [_collect_values(answer) for answer in answers])
        return lambda num_rows, num_dev, epochs: seconds * num_rows / len(train)

    def fit(
        self, task: Task, train: Dataset, dev: Dataset, start: Assistant, context: FitContext
    ) -> Assistant:
        """Trains on the training rows; goes on after the last whole epoch where an earlier attempt was killed."""
        record_file, folder = context.folder / RECORD, context.folder / WEIGHTS
        if not record_file.exists():
            write_json(record_file, self._train(task, train, dev, context))
        record = read_json(record_file)
        context.train_seconds += record["seconds"]
        context.params.update(record)
        context.num_learned = record["rows"]
        context.notes.extend(record["notes"])
        assistant = replace(
            start.without_examples(),
            method=self.name,
            model=ModelRef(CLASSICAL, folder),
            instructions="",
            search=None,
        )
        return context.choose([Candidate("best epoch", assistant)], dev, cheap=True).assistant

    def _train(self, task: Task, train: Dataset, dev: Dataset, context: FitContext) -> dict[str, Any]:
        from etude.models.classical import save_classical
        from etude.training.tagging import train_tagger

        started = time.perf_counter()
        rows = sample_training_rows(task, train, context.effort.train_rows or len(train))
        tagger, notes = _build_tagger(task, rows, context.models)
        texts, answers = _parse(rows.examples)
        dev_texts, dev_answers = _parse(dev.examples)
        gold = [_collect_values(answer) for answer in dev_answers]

        def measure_f1(now: Tagger) -> float:
            return compute_f1([values for values, _ in now.extract(dev_texts)], gold, now.fields)

        result = train_tagger(
            tagger,
            texts,
            [_collect_values(answer) for answer in answers],
            context.seed,
            context.folder / "epochs",
            measure_f1,
            context.log,
        )
        save_classical(tagger, context.folder / WEIGHTS)
        return {
            "rows": len(rows),
            "epochs": len(result.scores) - 1,
            "best_epoch": result.best_epoch,
            "scores": list(result.scores),
            "seconds": time.perf_counter() - started,
            "notes": notes,
        }


METHOD = Tag()


def _parse(rows: Sequence[Example]) -> tuple[list[str], list[Any]]:
    """Last user turns and parsed answers. Raises InputError for answers that are no JSON or hold lists of objects."""
    issues, answers = [], []
    for row in rows:
        try:
            answer = json.loads(row.output)
            list(flatten(answer))
            answers.append(answer)
        except NestedListError as error:
            message = f"{error} is a list of objects, which tag cannot build"
            issues.append(Issue(row.location or row.id, message, "", "leave tag out of methods:"))
        except ValueError:
            message = "the answer is not JSON"
            issues.append(
                Issue(row.location or row.id, message, row.output[:40], "leave tag out of methods:")
            )
    if issues:
        raise InputError(issues)
    return [row.input[-1].content for row in rows], answers


def _collect_values(answer: Any) -> Values:
    return {path: values for path, values, _ in flatten(answer) if values}


def _build_tagger(task: Task, rows: Dataset, models: Models) -> tuple[Tagger, list[str]]:
    """An untrained tagger for the fields whose values are in the texts, with classifiers for the others; and notes on
    values that neither can give."""
    import torch

    from etude.models.local.tagger import Tagger

    texts, answers = _parse(rows.examples)
    shape = AnswerShape.fit(answers)
    totals, absent = dict.fromkeys(shape.fields, 0), dict.fromkeys(shape.fields, 0)
    for text, answer in zip(texts, answers, strict=True):
        values = _collect_values(answer)
        for path, items in values.items():
            totals[path] += len(items)
        for path, items in align(text, values)[1].items():
            absent[path] += len(items)
    tagged = tuple(
        path for path in shape.fields if totals[path] - absent[path] >= MIN_FOUND * totals[path] > 0
    )
    encoder = models.load_encoder(task.encoder or DEFAULT_ENCODER)
    classified, notes = _fit_classifiers(
        task, texts, answers, [p for p in shape.fields if p not in tagged], models
    )
    for path in tagged:
        if absent[path]:
            num_absent = format_count(absent[path], "value")
            notes.append(f"{'.'.join(path)}: {num_absent} of {totals[path]:,} not in the text, so never given")
    size = encoder.module.config.hidden_size
    num_tags = 1 + 2 * len(tagged)
    device = encoder.module.device
    weight, bias = torch.zeros(num_tags, size, device=device), torch.zeros(num_tags, device=device)
    return Tagger(encoder, shape, tagged, weight, bias, classified), notes


def _fit_classifiers(
    task: Task, texts: Sequence[str], answers: Sequence[Any], fields: Sequence[Field], models: Models
) -> tuple[dict[Field, Any], list[str]]:
    """A classifier for each field that takes few distinct values, and notes on the fields that take too many."""
    from etude.models.classical import Linear

    classified, notes = {}, []
    for path in fields:
        labels = [
            json.dumps(values) if (values := _collect_values(answer).get(path)) else "" for answer in answers
        ]
        num_labels = len(set(labels))
        if 1 < num_labels <= MAX_CLASSES:
            encoder = models.load_shared_encoder(task.encoder or DEFAULT_ENCODER)
            classified[path] = Linear.fit(texts, labels, task.seed, encoder=encoder)
        elif num_labels > MAX_CLASSES:
            reason = f"{num_labels:,} distinct values that are not in the text"
            notes.append(f"{'.'.join(path)}: {reason}, so tag leaves it out; a language model may know them")
    return classified, notes


def compute_f1(answers: Sequence[Values], gold: Sequence[Values], fields: Sequence[Field]) -> float:
    """F1 over all values of the fields: an answer's value counts once for each equal value of the right answer."""
    num_right = num_given = num_wanted = 0
    for given, wanted in zip(answers, gold, strict=True):
        for path in fields:
            rest = list(wanted.get(path, ()))
            num_given, num_wanted = num_given + len(given.get(path, ())), num_wanted + len(rest)
            for value in given.get(path, ()):
                if value in rest:
                    rest.remove(value)
                    num_right += 1
    return 2 * num_right / (num_given + num_wanted) if num_given + num_wanted else 1.0

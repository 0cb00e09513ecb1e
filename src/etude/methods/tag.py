"""tag: values of JSON answers that are words of the text, found by an encoder that tags each
word.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from etude.base.formatting import format_count
from etude.index.build import DEFAULT_ENCODER
from etude.methods.baseline import split_columns
from etude.methods.method import Dataset, FitContext, Task
from etude.methods.shared.encoder_method import EncoderMethod, PreparedTraining
from etude.models.registry import Models
from etude.text.answer_spans import (
    AnswerShape,
    Field,
    NestedListError,
    Values,
    align,
    collect_values,
    parse_answers,
)
from etude.types import Example

if TYPE_CHECKING:
    from etude.models.classical import Predictor
    from etude.models.local.tagger import Tagger

MIN_PRESENT = 0.5
"""A field is tagged if at least this share of its training values are words of their text; else
classified.
"""
MIN_JSON = 0.9
"""At least this share of the training answers must be JSON objects; the others are skipped."""
MAX_EPOCH_ROWS = 200
"""Dev rows by which the epoch is chosen in limited time: a thousand may take longer than the
training.
"""
MAX_CLASSES = 100
"""A classifier chooses the value of a field only if the field has at most this many distinct
values.
"""


class Tag(EncoderMethod):
    """All weights of the encoder and a linear layer over its words are trained to tag the values of
    the answer's fields; fields whose values are not in the text are chosen by a classifier. The
    epoch with the best F1 over the values of dev is kept. No language model is used.
    """

    name = "tag"
    label = "Tagged by an encoder"
    kind = "extract"
    weights = "tagger"

    def find_obstacle(self, task: Task, rows: Sequence[Example]) -> str:
        """Require answers that are JSON objects without lists of objects, with values that are
        words of the texts.
        """
        try:
            texts, answers = _parse(rows)
        except NestedListError as error:
            return f"it cannot build the lists of objects in {error}"
        if len(answers) < MIN_JSON * len(rows):
            return f"only {len(answers):,} of {len(rows):,} training answers are JSON objects"
        if not _count_values(texts, answers).tagged:
            return "no field has at least half of its training values word for word in the texts"
        return ""

    def prepare_training(
        self, task: Task, rows: Sequence[Example], dev: Dataset, context: FitContext
    ) -> PreparedTraining:
        """Train on the rows whose answers are JSON objects, and keep the epoch with the best F1."""
        from etude.training.tagging import TaggerModule

        texts, answers = _parse(rows)
        tagger, notes = _build_tagger(task, texts, answers, context.models)
        if num_skipped := len(rows) - len(texts):
            notes.append(
                f"{format_count(num_skipped, 'row')} skipped, because the answer is not a JSON "
                "object"
            )
        dev_texts, dev_answers = _parse(context.loss_sample(dev, MAX_EPOCH_ROWS).examples)
        gold = [*map(collect_values, dev_answers)]

        def measure_f1() -> float:
            return compute_f1(
                [values for values, _ in tagger.extract(dev_texts)], gold, tagger.fields
            )

        module = TaggerModule(tagger, texts, [*map(collect_values, answers)])
        training = module.prepare_training(context.seed)
        return PreparedTraining(training, len(texts), measure_f1, lambda: tagger, {"notes": notes})


METHOD = Tag()


@dataclass(frozen=True)
class ValueCounts:
    """How the training answers are written, and which of their values are in the texts."""

    shape: AnswerShape
    totals: Mapping[Field, int]
    absent: Mapping[Field, int]
    """Field -> number of its values that are not in their text."""

    @property
    def tagged(self) -> tuple[Field, ...]:
        return tuple(
            path
            for path in self.shape.fields
            if self.totals[path] - self.absent[path] >= MIN_PRESENT * self.totals[path] > 0
        )


def _parse(rows: Sequence[Example]) -> tuple[list[str], list[Any]]:
    return parse_answers(*split_columns(rows))


def _count_values(texts: Sequence[str], answers: Sequence[Any]) -> ValueCounts:
    totals = Counter[Field]()
    absent = Counter[Field]()
    for text, answer in zip(texts, answers, strict=True):
        values = collect_values(answer)
        for counts, lists in ((totals, values), (absent, align(text, values)[1])):
            counts.update({path: len(items) for path, items in lists.items()})
    return ValueCounts(AnswerShape.fit(answers), totals, absent)


def _build_tagger(
    task: Task, texts: Sequence[str], answers: Sequence[Any], models: Models
) -> tuple[Tagger, list[str]]:
    """Build an untrained tagger for the fields whose values are in the texts, with fitted
    classifiers for others. Return also notes on values that neither can give.
    """
    import torch

    from etude.models.local.tagger import Tagger

    counts = _count_values(texts, answers)
    classified, notes = _fit_classifiers(task, texts, answers, counts, models)
    encoder = models.load_encoder(task.encoder or DEFAULT_ENCODER)
    size = encoder.module.config.hidden_size
    device = encoder.module.device
    num_tags = 1 + 2 * len(counts.tagged)
    weight = torch.zeros(num_tags, size, device=device)
    bias = torch.zeros(num_tags, device=device)
    return Tagger(encoder, counts.shape, counts.tagged, weight, bias, classified), notes


def _fit_classifiers(
    task: Task, texts: Sequence[str], answers: Sequence[Any], counts: ValueCounts, models: Models
) -> tuple[dict[Field, Predictor], list[str]]:
    from etude.models.classical import Linear

    classified: dict[Field, Predictor] = {}
    notes: list[str] = []
    for path in counts.shape.fields:
        name = ".".join(path)
        total = counts.totals[path]
        num_absent = counts.absent[path]
        if path in counts.tagged:
            if num_absent:
                notes.append(
                    f"{name}: {num_absent:,} of {total:,} training values are not in the text"
                )
            continue
        value_lists = [collect_values(answer).get(path) for answer in answers]
        labels = [json.dumps(values) if values else "" for values in value_lists]
        if (num_labels := len(set(labels))) > MAX_CLASSES:
            reason = f"it has {num_labels:,} distinct values, and most are not in the texts"
            notes.append(f"{name}: tag leaves this field out, because {reason}")
        else:
            encoder = models.load_shared_encoder(task.encoder or DEFAULT_ENCODER)
            classified[path] = Linear.fit(texts, labels, task.seed, encoder=encoder)
    return classified, notes


def compute_f1(answers: Sequence[Values], gold: Sequence[Values], fields: Sequence[Field]) -> float:
    """Compute F1 over all values of the fields; each value of an answer matches one equal value of
    the right answer.
    """
    answered, right = (
        Counter(
            (row, path, value)
            for row, values in enumerate(rows)
            for path in fields
            for value in values.get(path, ())
        )
        for rows in (answers, gold)
    )
    num_values = answered.total() + right.total()
    return 2 * (answered & right).total() / num_values if num_values else 1.0

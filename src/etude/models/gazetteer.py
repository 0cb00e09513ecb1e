"""A gazetteer: it looks up the values of the training answers in a text, the longest values first."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from etude.base.typed_json import from_json, to_json
from etude.models.registry import Models
from etude.text.answer_spans import WORD, AnswerShape, Field, Values, align, collect_values

MIN_PRECISION = 0.5
"""A value is looked up if at least this share of its occurrences in the training texts are values of one field."""
Words = tuple[str, ...]


@dataclass
class Gazetteer:
    """Answers with the known values that occur in the text. A field whose values occur in no training text gets its
    most frequent value."""

    shape: AnswerShape
    entries: Mapping[Words, tuple[Field, float]]
    """Words in lower case -> the field, and the share of their occurrences that are values of this field."""
    constants: Values

    @classmethod
    def fit(cls, texts: Sequence[str], answers: Sequence[Any]) -> Gazetteer:
        """Fit on texts and the JSON objects to extract from them. Raises NestedListError."""
        shape = AnswerShape.fit(answers)
        counts: dict[Words, Counter[Field]] = {}
        absent: dict[Field, Counter[tuple[str, ...]]] = {path: Counter() for path in shape.fields}
        for text, answer in zip(texts, answers, strict=True):
            values = collect_values(answer)
            spans, missing = align(text, values)
            for path, positions in spans.items():
                for begin, end in positions:
                    counts.setdefault(_split_words(text[begin:end]), Counter())[path] += 1
            for path in shape.fields:
                if path not in spans:
                    absent[path][tuple(missing.get(path, ()))] += 1
        occurrences = _count_occurrences(texts, counts)
        entries = {}
        for words, fields in counts.items():
            ((path, number),) = fields.most_common(1)
            precision = number / max(number, occurrences[words])
            if words and precision >= MIN_PRECISION:
                entries[words] = path, precision
        present = {path for path, _ in entries.values()}
        constants = {
            path: list(absent[path].most_common(1)[0][0]) for path in shape.fields if path not in present
        }
        return cls(shape, entries, {path: values for path, values in constants.items() if values})

    def predict(self, texts: Sequence[str]) -> list[tuple[str, float]]:
        """Return the JSON answer for each text, and the sum of the logs of its values' shares."""
        return [self._read(text) for text in texts]

    def _read(self, text: str) -> tuple[str, float]:
        positions = [match.span() for match in WORD.finditer(text)]
        words = tuple(text[begin:end].lower() for begin, end in positions)
        values: Values = {path: list(items) for path, items in self.constants.items()}
        longest, start, logprob = max(map(len, self.entries), default=0), 0, 0.0
        while start < len(words):
            ends = range(min(len(words), start + longest), start, -1)
            end = next((end for end in ends if words[start:end] in self.entries), None)
            if end is None:
                start += 1
                continue
            path, precision = self.entries[words[start:end]]
            values.setdefault(path, []).append(text[positions[start][0] : positions[end - 1][1]])
            start, logprob = end, logprob + math.log(precision)
        return json.dumps(self.shape.build(values), ensure_ascii=False), logprob

    def save(self, folder: Path) -> None:
        """Write one JSON file."""
        from etude.models.classical import write_header

        entries = [[words, path, precision] for words, (path, precision) in self.entries.items()]
        constants = [*self.constants.items()]
        write_header(folder, "gazetteer", shape=to_json(self.shape), entries=entries, constants=constants)

    @classmethod
    def load(cls, folder: Path, header: dict[str, Any], models: Models) -> Gazetteer:
        """Read what `save` wrote."""
        entries = {tuple(words): (tuple(path), precision) for words, path, precision in header["entries"]}
        constants = {tuple(path): values for path, values in header["constants"]}
        return cls(from_json(AnswerShape, header["shape"]), entries, constants)


def _count_occurrences(texts: Sequence[str], values: Collection[Words]) -> Counter[Words]:
    longest = max(map(len, values), default=0)
    return Counter(
        part
        for words in map(_split_words, texts)
        for start in range(len(words))
        for end in range(start + 1, min(start + longest, len(words)) + 1)
        if (part := words[start:end]) in values
    )


def _split_words(text: str) -> Words:
    return tuple(word.lower() for word in WORD.findall(text))


load_gazetteer = Gazetteer.load

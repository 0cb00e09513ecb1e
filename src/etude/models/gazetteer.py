"""A gazetteer: it looks up the values of the training answers in a text, the longest values
first.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from etude.base.typed_json import from_json, to_json
from etude.models.registry import Models
from etude.text.answer_spans import WORD, AnswerShape, Field, Values, align, collect_values

MIN_PRECISION = 0.5
"""A value is looked up if at least this share of its occurrences in the training texts are values
of one field.
"""
Words = tuple[str, ...]
Phrase = tuple[int, int, Words]
"""Begin and end in a text, and the words between."""


@dataclass
class Gazetteer:
    """Answers with the known values in the text. A field without any in training texts gets its
    most frequent value.
    """

    shape: AnswerShape
    entries: Mapping[Words, tuple[Field, float]]
    """Words in lower case -> the field, and the share of their occurrences that are values of this
    field.
    """
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
        occurrences = Counter(
            words for phrases in _find_phrases(texts, counts) for *_, words in phrases
        )
        entries = {}
        for words, fields in counts.items():
            ((path, number),) = fields.most_common(1)
            precision = number / max(number, occurrences[words])
            if words and precision >= MIN_PRECISION:
                entries[words] = path, precision
        present = {path for path, _ in entries.values()}
        constants = {
            path: list(values)
            for path in shape.fields
            for values, _ in absent[path].most_common(1)
            if values and path not in present
        }
        return cls(shape, entries, constants)

    def predict(self, texts: Sequence[str]) -> list[tuple[str, float]]:
        """Return the JSON answer for each text, and the sum of the logs of its values' shares."""
        pairs = zip(texts, _find_phrases(texts, self.entries), strict=True)
        return [self._build_answer(text, phrases) for text, phrases in pairs]

    def _build_answer(self, text: str, phrases: Sequence[Phrase]) -> tuple[str, float]:
        values: Values = {path: list(items) for path, items in self.constants.items()}
        last = 0
        logprob = 0.0
        for begin, end, words in phrases:
            if begin >= last:
                path, precision = self.entries[words]
                values.setdefault(path, []).append(text[begin:end])
                last = end
                logprob = logprob + math.log(precision)
        return json.dumps(self.shape.build(values), ensure_ascii=False), logprob

    def save(self, folder: Path) -> None:
        """Write one JSON file."""
        from etude.models.classical import write_header

        entries = [[words, path, precision] for words, (path, precision) in self.entries.items()]
        constants = [*self.constants.items()]
        write_header(
            folder, "gazetteer", shape=to_json(self.shape), entries=entries, constants=constants
        )

    @classmethod
    def load(cls, folder: Path, header: dict[str, Any], models: Models) -> Gazetteer:
        """Read what `save` wrote."""
        entries = {
            tuple(words): (tuple(path), precision) for words, path, precision in header["entries"]
        }
        constants = {tuple(path): values for path, values in header["constants"]}
        return cls(from_json(AnswerShape, header["shape"]), entries, constants)


def _find_phrases(texts: Sequence[str], phrases: Collection[Words]) -> Iterator[list[Phrase]]:
    """Yield for each text where phrases occur, by where they begin, the longest first."""
    lengths: dict[str, set[int]] = {}  # first word -> numbers of words
    for phrase in filter(None, phrases):
        lengths.setdefault(phrase[0], set()).add(len(phrase))
    for text in texts:
        spans = [match.span() for match in WORD.finditer(text)]
        words = _split_words(text)
        yield [
            (spans[start][0], spans[end - 1][1], words[start:end])
            for start, word in enumerate(words)
            for end in sorted((start + length for length in lengths.get(word, ())), reverse=True)
            if end <= len(words) and words[start:end] in phrases
        ]


def _split_words(text: str) -> Words:
    return tuple(word.lower() for word in WORD.findall(text))

"""JSON answers as values of named fields, and the positions of these values in the text from which
they were extracted.

A field is the path of a value: ("entities", "Disease"). A list of plain values is one field with
several values; lists of objects are not supported.
"""

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any, Literal, cast

Field = tuple[str, ...]
Values = dict[Field, list[str]]
Absence = Literal["omitted", "null", "empty"]
"""How an answer writes that a field has no value."""


WORD = re.compile(r"\w+|[^\w\s]")
THOUSANDS = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")


class NestedListError(ValueError):
    """A list whose items are objects or lists."""


def flatten(answer: Any, path: Field = ()) -> Iterator[tuple[Field, Any]]:
    """Yields (field, value or list of values) for every leaf of a JSON value. Raises
    NestedListError.
    """
    if isinstance(answer, Mapping):
        for key, value in answer.items():
            yield from flatten(value, (*path, str(key)))
    elif isinstance(answer, list) and any(isinstance(item, Mapping | list) for item in answer):
        raise NestedListError(".".join(path))
    else:
        yield path, answer


def collect_values(answer: Any) -> Values:
    """The fields of an answer that have values."""
    return {path: values for path, leaf in flatten(answer) if (values := _list_texts(leaf))}


def _list_texts(leaf: Any) -> list[str]:
    items = leaf if isinstance(leaf, list) else [leaf] if leaf != "" else []
    return [
        item if isinstance(item, str) else json.dumps(item) for item in items if item is not None
    ]


def parse_answers(texts: Sequence[str], outputs: Sequence[str]) -> tuple[list[str], list[Any]]:
    """The texts whose output is a JSON object, and the objects. Raises NestedListError."""
    pairs = []
    for text, output in zip(texts, outputs, strict=True):
        try:
            answer = json.loads(output)
        except ValueError:
            continue
        if isinstance(answer, dict):
            list(flatten(answer))
            pairs.append((text, answer))
    return [text for text, _ in pairs], [answer for _, answer in pairs]


@dataclass(frozen=True)
class FieldShape:
    """How the training answers write the values of a field."""

    path: Field
    is_list: bool
    is_literal: bool
    """Whether its values are numbers or booleans."""
    absence: Absence

    @classmethod
    def fit(cls, path: Field, leaves: Sequence[Any], num_answers: int) -> "FieldShape":
        """Reads the shape from what the answers have at `path`; some of the `num_answers` answers
        may have nothing.
        """
        absences = Counter(
            "null" if leaf is None else "empty" for leaf in leaves if not _list_texts(leaf)
        )
        # A field that every answer has may be required.
        absences["omitted" if len(leaves) < num_answers else "empty"] += num_answers - len(leaves)
        items = (item for leaf in leaves for item in (leaf if isinstance(leaf, list) else [leaf]))
        is_literal = not any(isinstance(item, str) and item for item in items)
        is_list = any(isinstance(leaf, list) for leaf in leaves)
        return cls(path, is_list, is_literal, cast(Absence, absences.most_common(1)[0][0]))

    def build(self, texts: Sequence[str]) -> Any:
        """The value of the field in an answer."""
        items = [_read_literal(text) for text in texts] if self.is_literal else list(texts)
        if items:
            return items if self.is_list else items[0]
        return None if self.absence == "null" else [] if self.is_list else ""


@dataclass(frozen=True)
class AnswerShape:
    """The format of the training answers."""

    field_shapes: Sequence[FieldShape]
    """In the order in which the answers have them."""
    objects: Sequence[Field]
    """Objects that every answer has, even if they are empty."""

    @property
    def fields(self) -> tuple[Field, ...]:
        return tuple(shape.path for shape in self.field_shapes)

    @classmethod
    def fit(cls, answers: Sequence[Any]) -> "AnswerShape":
        """Reads the shape from parsed answers. Raises NestedListError."""
        leaves: dict[Field, list[Any]] = {}
        positions: dict[Field, list[float]] = {}
        objects: Counter[Field] = Counter()
        for answer in answers:
            pairs = list(flatten(answer))
            for index, (path, leaf) in enumerate(pairs):
                leaves.setdefault(path, []).append(leaf)
                positions.setdefault(path, []).append(index / len(pairs))
            objects.update(_list_objects(answer))
        ordered = sorted(leaves, key=lambda path: fmean(positions[path]))
        always = tuple(path for path, number in objects.items() if number == len(answers))
        return cls(
            tuple(FieldShape.fit(path, leaves[path], len(answers)) for path in ordered), always
        )

    def build(self, values: Mapping[Field, Sequence[str]]) -> Any:
        """An answer of this shape."""
        answer: dict[str, Any] = {}
        for path in self.objects:
            _open_object(answer, path)
        for shape in self.field_shapes:
            texts = values.get(shape.path, ())
            if texts or shape.absence != "omitted":
                # A value that is an object in some answers and null in others is already there if
                # it is an object.
                _open_object(answer, shape.path[:-1]).setdefault(shape.path[-1], shape.build(texts))
        return answer


def _read_literal(text: str) -> Any:
    """A text as a number or boolean; the text itself if it is neither."""
    try:
        return json.loads(THOUSANDS.sub("", text))
    except ValueError:
        return text


def _list_objects(answer: Any, path: Field = ()) -> Iterator[Field]:
    if isinstance(answer, Mapping):
        if path:
            yield path
        for key, value in answer.items():
            yield from _list_objects(value, (*path, str(key)))


def _open_object(answer: dict[str, Any], path: Field) -> dict[str, Any]:
    """The object at `path`, created where there is none."""
    for key in path:
        if not isinstance(answer.get(key), dict):
            answer[key] = {}
        answer = answer[key]
    return answer


def align(
    text: str, values: Mapping[Field, Sequence[str]]
) -> tuple[dict[Field, list[tuple[int, int]]], Values]:
    """The spans of values in the text: field -> (begin, end) of each value, and the values that are
    not in the text.

    Spans do not overlap. Longer values are searched first, so that "cancer" is not found inside
    "breast cancer".
    """
    spans: dict[Field, list[tuple[int, int]]] = {}
    missing: Values = {}
    used = bytearray(len(text))
    pairs = [(path, value) for path, items in values.items() for value in items]
    for path, value in sorted(pairs, key=lambda pair: -len(pair[1])):
        span = _find(text, value, used)
        if span is None:
            missing.setdefault(path, []).append(value)
        else:
            used[slice(*span)] = b"\1" * (span[1] - span[0])
            spans.setdefault(path, []).append(span)
    return {path: sorted(positions) for path, positions in spans.items()}, missing


def _find(text: str, value: str, used: bytearray) -> tuple[int, int] | None:
    """The first unused occurrence: as written, then without case and white space; whole words are
    preferred.
    """
    if not value.strip():
        return None
    loose = r"\s+".join(re.escape(word) for word in value.split())
    patterns = [(re.escape(value), 0), (loose, re.IGNORECASE)]
    if value.isdecimal():
        patterns.append((f"{int(value):,}", 0))
    for pattern, flags in patterns:
        for bordered in (rf"(?<!\w){pattern}(?!\w)", pattern):
            for match in re.finditer(bordered, text, flags):
                if not any(used[match.start() : match.end()]):
                    return match.span()
    return None

"""JSON answers as values of named fields, and the positions of these values in the text from which they were extracted.

A field is the path of a value: ("entities", "Disease"). A list of plain values is one field with several values; lists
of objects are not supported.
"""

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

Field = tuple[str, ...]
Values = dict[Field, list[str]]
Absence = Literal["omitted", "null", "empty"]
"""How an answer writes that a field has no value."""


WORD = re.compile(r"\w+|[^\w\s]")
THOUSANDS = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")


class NestedListError(ValueError):
    """A list whose items are objects or lists."""


def flatten(answer: Any, path: Field = ()) -> Iterator[tuple[Field, list[str], bool]]:
    """Yields (field, values, whether it is a list) for every leaf of a JSON value. Raises NestedListError."""
    if isinstance(answer, Mapping):
        for key, value in answer.items():
            yield from flatten(value, (*path, str(key)))
    elif isinstance(answer, list):
        if any(isinstance(item, Mapping | list) for item in answer):
            raise NestedListError(".".join(path))
        yield path, [_to_text(item) for item in answer if item is not None], True
    else:
        yield path, [] if answer in (None, "") else [_to_text(answer)], False


def collect_values(answer: Any) -> Values:
    """The fields of an answer that have values."""
    return {path: values for path, values, _ in flatten(answer) if values}


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


def _to_text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


@dataclass(frozen=True)
class AnswerShape:
    """The format of the training answers: the fields in order, which of them are lists, and how absence is written."""

    fields: tuple[Field, ...]
    lists: frozenset[Field]
    literals: frozenset[Field] = frozenset()
    """Fields whose values are numbers or booleans."""
    absences: Mapping[Field, Absence] = field(default_factory=dict)
    objects: tuple[Field, ...] = ()
    """Objects that every answer has, even if they are empty."""

    @classmethod
    def fit(cls, answers: Sequence[Any]) -> "AnswerShape":
        """Reads the shape from parsed answers. Raises NestedListError."""
        positions: dict[Field, list[float]] = {}
        lists: set[Field] = set()
        words: set[Field] = set()
        absences: dict[Field, Counter[Absence]] = {}
        objects: Counter[Field] = Counter()
        for answer in answers:
            leaves = list(flatten(answer))
            for index, (path, values, is_list) in enumerate(leaves):
                positions.setdefault(path, []).append(index / max(1, len(leaves)))
                if is_list:
                    lists.add(path)
                raw = answer
                for key in path:
                    raw = raw[key]
                if any(isinstance(item, str) and item for item in (raw if is_list else [raw])):
                    words.add(path)
                if not values:
                    absences.setdefault(path, Counter())["null" if raw is None else "empty"] += 1
            objects.update(_list_objects(answer))
        for path in positions:
            num_omitted = len(answers) - len(positions[path])
            absences.setdefault(path, Counter())["omitted"] += num_omitted
        ordered = sorted(positions, key=lambda path: sum(positions[path]) / len(positions[path]))
        always = tuple(path for path, number in objects.items() if number == len(answers))
        common = {path: counts.most_common(1)[0][0] for path, counts in absences.items()}
        return cls(tuple(ordered), frozenset(lists), frozenset(positions.keys() - words), common, always)

    def build(self, values: Mapping[Field, Sequence[str]]) -> Any:
        """An answer of this shape."""
        answer: dict[str, Any] = {}
        for path in self.objects:
            _set(answer, path, {})
        for path in self.fields:
            items: list[Any] = list(values.get(path, ()))
            if path in self.literals:
                items = [_read_literal(item) for item in items]
            absence = self.absences.get(path, "omitted")
            if items:
                _set(answer, path, items if path in self.lists else items[0])
            elif absence == "empty":
                _set(answer, path, [] if path in self.lists else "")
            elif absence == "null":
                _set(answer, path, None)
        return answer

    def to_json(self) -> dict[str, Any]:
        """For `from_json`."""
        return {
            "fields": [list(path) for path in self.fields],
            "lists": sorted(list(path) for path in self.lists),
            "literals": sorted(list(path) for path in self.literals),
            "absences": [[list(path), absence] for path, absence in self.absences.items()],
            "objects": [list(path) for path in self.objects],
        }

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> "AnswerShape":
        """Reads what `to_json` gave."""
        absences = {tuple(path): absence for path, absence in body["absences"]}
        fields, objects = (tuple(map(tuple, body[name])) for name in ("fields", "objects"))
        lists, literals = (frozenset(map(tuple, body[name])) for name in ("lists", "literals"))
        return cls(fields, lists, literals, absences, objects)


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


def _set(answer: dict[str, Any], path: Field, value: Any) -> None:
    for key in path[:-1]:
        answer = answer.setdefault(key, {})
    answer.setdefault(path[-1], value) if value == {} else answer.__setitem__(path[-1], value)


def align(
    text: str, values: Mapping[Field, Sequence[str]]
) -> tuple[dict[Field, list[tuple[int, int]]], Values]:
    """The spans of values in the text: field -> (begin, end) of each value, and the values that are not in the text.

    Values of a list are found in their order, and spans do not overlap. Longer values are searched first, so that
    "cancer" is not found inside "breast cancer".
    """
    spans: dict[Field, list[tuple[int, int]]] = {}
    missing: Values = {}
    used = bytearray(len(text))
    ordered = sorted(
        ((path, value, number) for path, items in values.items() for number, value in enumerate(items)),
        key=lambda entry: -len(entry[1]),
    )
    last_end: dict[tuple[Field, str], int] = {}
    for path, value, _ in ordered:
        span = _find(text, value, used, last_end.get((path, value), 0))
        if span is None:
            missing.setdefault(path, []).append(value)
            continue
        used[span[0] : span[1]] = b"\1" * (span[1] - span[0])
        last_end[path, value] = span[1]
        spans.setdefault(path, []).append(span)
    return {path: sorted(found) for path, found in spans.items()}, missing


def _find(text: str, value: str, used: bytearray, start: int) -> tuple[int, int] | None:
    """The first unused occurrence from `start` on: first as written, then without regard to case and white space; each
    time first as whole words."""
    if not value.strip():
        return None
    loose = r"\s+".join(re.escape(word) for word in value.split())
    patterns = [(re.escape(value), 0), (loose, re.IGNORECASE)]
    if value.isdecimal():
        patterns.append((f"{int(value):,}", 0))
    for pattern, flags in patterns:
        for bordered in (rf"(?<!\w){pattern}(?!\w)", pattern):
            for match in re.finditer(bordered, text, flags):
                if match.start() >= start and not any(used[match.start() : match.end()]):
                    return match.span()
    return None

"""What can be checked in an answer without judging it, and the same said in words.

Lengths are words (runs of non-space), texts are compared without regard to case, and every check
sees the answer without the white space around it. A contract says nothing about whether an answer
is true: that is the work of a check function or a metric.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from etude.base.files import parse_json
from etude.errors import InputError, Issue, quote_value
from etude.types import Grammar

_TRAILING = " \t\r\n.,;:!?\"'`´’‘“”„»«*"
_LEADING = " \t\r\n\"'`´’‘“”„»«*"
_JSON_WORDS = {
    "string": "text",
    "integer": "whole number",
    "number": "number",
    "boolean": "true or false",
    "array": "list",
    "object": "object",
    "null": "null",
}
_JSON_BLANKS = {"string": "...", "integer": 0, "number": 0.0, "boolean": True, "array": [], "object": {}}


@dataclass(frozen=True)
class Contract:
    """What every answer must keep. Parts that are not given are not checked.

    Raises InputError when a part cannot be used: a regular expression that does not compile, a
    schema that is none, a field name with a colon, more than one of labels, fields, json_schema.
    """

    labels: tuple[str, ...] = ()
    """The answer is one of these, read without case, quotes and a final full stop."""
    fields: tuple[str, ...] = ()
    """The answer is these lines `Name: text`, in order; a name ending in "?" may be absent."""
    json_schema: Mapping[str, Any] | None = None
    """The answer is one JSON value that fits this schema (draft 2020-12 unless `$schema` says)."""
    regex: str | None = None
    """The whole answer matches this regular expression (Python's dialect)."""
    max_words: int | None = None
    """The answer has at most this many words."""
    must_contain: tuple[str, ...] = ()
    """Every one of these stands in the answer."""
    must_not_contain: tuple[str, ...] = ()
    """None of these stands in the answer."""

    def __post_init__(self) -> None:
        # Lists come from JSON and YAML; the value is hashable and unchangeable only with tuples.
        for name in ("labels", "fields", "must_contain", "must_not_contain"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        faults = [
            Issue(f"contract: {part}", what, got, remedy) for part, what, got, remedy in _unusable(self)
        ]
        if faults:
            raise InputError(faults)

    def check(self, text: str) -> tuple[str, ...]:
        """The kinds of failure of an answer, each once, in a fixed order; empty when it keeps the contract.

        A kind never holds the answer's own words, so that kinds can be counted over many answers.
        """
        answer = text.strip()
        if not answer:
            return ("empty answer",)
        return tuple(dict.fromkeys((*self._form_failures(answer), *self._text_failures(answer))))

    def parse(self, text: str) -> Any:
        """The answer as a value: a label, a JSON value, a mapping of field to text, or the text.

        None when labels, JSON or fields were asked for and the text holds none. A value may still
        break the contract (a JSON value outside the schema, a field too few): `check` tells.
        """
        answer = text.strip()
        if self.labels:
            return self._label(answer)
        if self.json_schema is not None:
            return _json_value(answer)[0]
        if self.fields:
            return _read_fields(answer, self._names)[0] or None
        return answer

    def in_words(self) -> str:
        """The contract as instructions for a model, one sentence for each part; "" when it has no part."""
        return " ".join(part for part in (self._form_words(), *self._text_words()) if part)

    def skeleton(self) -> str:
        """An answer with its places left open ("Title: ...", one line a field); "" when the form is free."""
        if self.fields:
            return "\n".join(f"{name}: ..." for name in self._names)
        if self.json_schema is not None:
            blank = _blank(self.json_schema)
            return json.dumps(blank, ensure_ascii=False) if isinstance(blank, dict | list) and blank else ""
        return ""

    @property
    def form(self) -> Grammar | None:
        """What can be enforced while an answer is written: the schema, the fields, or else the regular expression.
        Labels are enforced as choices."""
        if self.json_schema is not None:
            return Grammar("json_schema", json.dumps(self.json_schema, ensure_ascii=False))
        if self.fields:
            return _field_form(self._names)
        return Grammar("regex", self.regex) if self.regex else None

    @cached_property
    def _names(self) -> dict[str, bool]:
        return {field.removesuffix("?").strip(): not field.endswith("?") for field in self.fields}

    @cached_property
    def _by_key(self) -> dict[str, str | None]:
        """Label key -> label, None where two labels share a key."""
        found: dict[str, str | None] = {}
        for label in self.labels:
            key = _label_key(label)
            found[key] = label if found.get(key, label) == label else None
        return found

    def _label(self, answer: str) -> str | None:
        return answer if answer in self.labels else self._by_key.get(_label_key(answer))

    def _form_failures(self, answer: str) -> Iterator[str]:
        if self.labels and self._label(answer) is None:
            yield "not a label"
        if self.json_schema is not None:
            value, is_json = _json_value(answer)
            yield from self._schema_failures(value) if is_json else ("not JSON",)
        if self.fields:
            yield from _read_fields(answer, self._names)[1]

    def _text_failures(self, answer: str) -> Iterator[str]:
        if self.regex is not None and not re.fullmatch(self.regex, answer):
            yield "does not match the regular expression"
        if self.max_words is not None and len(answer.split()) > self.max_words:
            yield f"over {self.max_words} words"
        folded = answer.casefold()
        yield from (f"must contain: {part}" for part in self.must_contain if part.casefold() not in folded)
        yield from (
            f"must not contain: {part}" for part in self.must_not_contain if part.casefold() in folded
        )

    @cached_property
    def _validator(self) -> Any:
        # An empty registry: with the default one, jsonschema fetches a foreign `$ref` from the network.
        import referencing
        from jsonschema.validators import Draft202012Validator, validator_for

        schema = dict(self.json_schema or {})
        return validator_for(schema, default=Draft202012Validator)(schema, registry=referencing.Registry())

    def _schema_failures(self, value: Any) -> list[str]:
        try:
            return sorted(
                {kind for error in self._validator.iter_errors(value) for kind in _schema_kinds(error)}
            )
        except RecursionError:
            return ["schema: nested too deep"]

    def _form_words(self) -> str:
        if self.labels:
            return _label_words(self.labels)
        if self.json_schema is not None:
            return _schema_words(self.json_schema)
        return _field_words(self._names) if self.fields else ""

    def _text_words(self) -> Iterator[str]:
        if self.regex is not None:
            yield f"The whole answer must match the regular expression {self.regex}"
        if self.max_words is not None:
            yield f"Use at most {self.max_words} words."
        if self.must_contain:
            yield f"The answer must contain {_quoted(self.must_contain, 'and')}."
        if self.must_not_contain:
            yield f"The answer must not contain {_quoted(self.must_not_contain, 'or')}."


def _field_form(names: Mapping[str, bool]) -> Grammar | None:
    """One line a field, each with a text; None if every field may be absent."""
    needed = [position for position, need in enumerate(names.values()) if need]
    if not needed:
        return None
    parts = []
    for position, (name, need) in enumerate(names.items()):
        line = re.sub(r"([^\w\s])", r"\\\1", name) + r": [^\s\n][^\n]*"
        before = position < needed[0]
        line = f"{line}\\n" if before else line if position == needed[0] else f"\\n{line}"
        parts.append(line if need else f"({line})?")
    return Grammar("regex", "".join(parts))


def regex_fault(pattern: str) -> str | None:
    """Why a regular expression does not compile; None when it does."""
    try:
        re.compile(pattern)
    except (re.error, RecursionError, OverflowError) as error:
        return str(error)
    return None


def schema_fault(schema: Mapping[str, Any]) -> str | None:
    """Why a JSON schema cannot be used; None when it can. A `$ref` may only point inside the schema."""
    from jsonschema.exceptions import SchemaError
    from jsonschema.validators import Draft202012Validator, validator_for

    foreign = [ref for ref in _references(schema) if not _resolves(schema, ref)]
    if foreign:
        return f"$ref {foreign[0]!r} leads nowhere inside the schema"
    try:
        validator_for(dict(schema), default=Draft202012Validator).check_schema(dict(schema))
    except SchemaError as error:
        return f"at {_path(error.path) or 'the top'}: {error.message}"
    return None


def field_fault(name: str) -> str | None:
    """Why a text cannot be the name of a field; None when it can."""
    bare = name.removesuffix("?").strip()
    if not bare:
        return "a field name is empty"
    if ":" in bare or "\n" in bare:
        return "a field name holds a colon or a line break"
    return None


def _unusable(contract: Contract) -> Iterator[tuple[str, str, str, str]]:
    """(part, what, got, remedy) for every part that cannot be used."""
    forms = [name for name in ("labels", "fields", "json_schema") if getattr(contract, name)]
    if len(forms) > 1:
        yield (
            forms[1],
            "two forms of answer at once",
            " and ".join(forms),
            f"keep one of {' and '.join(forms)}",
        )
    if contract.regex is not None and (why := regex_fault(contract.regex)):
        yield (
            "regex",
            f"the regular expression does not compile: {why}",
            quote_value(contract.regex),
            "correct it",
        )
    if contract.json_schema is not None and (why := schema_fault(contract.json_schema)):
        yield "json_schema", f"this is not a usable JSON schema, {why}", "", "correct the schema"
    for name in contract.fields:
        if why := field_fault(name):
            yield "fields", why, quote_value(name), "give a plain name such as Title"
    for part in ("labels", "fields"):
        for twice in _repeated(getattr(contract, part)):
            yield part, "named twice", quote_value(twice), "name it once"


def _repeated(names: tuple[str, ...]) -> list[str]:
    return sorted(name for name, count in Counter(names).items() if count > 1)


def _label_key(text: str) -> str:
    return text.lstrip(_LEADING).rstrip(_TRAILING).casefold() or text.casefold()


def _json_value(text: str) -> tuple[Any, bool]:
    """(value, True), or (None, False) when the text is not JSON by RFC 8259: NaN and Infinity are not."""
    try:
        return parse_json(text), True
    except ValueError:
        return None, False


def _read_fields(answer: str, names: Mapping[str, bool]) -> tuple[dict[str, str], list[str]]:
    """(field -> text as far as found, kinds of failure).

    A line that begins with no field's name goes on with the field above it; after a blank line it
    belongs to none.
    """
    found: dict[str, str] = {}
    failures: list[str] = []
    current: str | None = None
    for line in answer.splitlines():
        name, _, rest = line.partition(":")
        if name.strip() in names:
            current = name.strip()
            if current in found:
                failures.append(f"field twice: {current}")
            found[current] = rest.strip()
        elif not line.strip():
            current = None
        elif current is None:
            failures.append("text outside the fields")
        else:
            found[current] = f"{found[current]}\n{line.strip()}".strip()
    return found, failures + _field_failures(found, names)


def _field_failures(found: Mapping[str, str], names: Mapping[str, bool]) -> list[str]:
    missing = [f"missing field: {name}" for name, needed in names.items() if needed and name not in found]
    empty = [f"empty field: {name}" for name, text in found.items() if not text]
    in_order = [name for name in names if name in found] == list(found)
    return missing + empty + ([] if in_order else ["fields out of order"])


def _schema_kinds(error: Any) -> list[str]:
    """The kinds of one schema failure, with the place in the value and never the value itself."""
    place = _path(error.path) or "the value"
    match error.validator:
        case "required":
            absent = [name for name in error.validator_value if name not in error.instance]
            return [f"schema: missing key: {_path([*error.path, name])}" for name in absent]
        case "additionalProperties" | "unevaluatedProperties":
            return [f"schema: unknown key in {place}"]
        case "type":
            return [f"schema: {place} is not of type {error.validator_value}"]
        case "enum" | "const":
            return [f"schema: {place} is not an allowed value"]
    return [f"schema: {place} breaks {error.validator}"]


def _path(parts: Iterable[str | int]) -> str:
    """A place in a JSON value, list positions left open: orders[].price."""
    return "".join("[]" if isinstance(part, int) else f".{part}" for part in parts).lstrip(".")


def _references(schema: Any) -> Iterator[str]:
    if isinstance(schema, Mapping):
        for key, value in schema.items():
            if key in ("$ref", "$dynamicRef") and isinstance(value, str):
                yield value
            else:
                yield from _references(value)
    elif isinstance(schema, list):
        for value in schema:
            yield from _references(value)


def _resolves(schema: Mapping[str, Any], reference: str) -> bool:
    """Whether a `$ref` of the form #/a/b leads to a place inside the schema; anchors (#name) are trusted."""
    place: Any = schema
    for part in reference.split("/")[1:]:
        part = part.replace("~1", "/").replace("~0", "~")
        if isinstance(place, list) and part.isdigit() and int(part) < len(place):
            place = place[int(part)]
        elif isinstance(place, Mapping) and part in place:
            place = place[part]
        else:
            return False
    return reference.startswith("#")


def _quoted(parts: Iterable[str], word: str) -> str:
    *first, last = [f'"{part}"' for part in parts]
    return f"{', '.join(first)} {word} {last}" if first else last


def _label_words(labels: tuple[str, ...]) -> str:
    start = "Answer with exactly one of these labels and nothing else"
    if any("," in label for label in labels):
        return f"{start}:\n" + "\n".join(f"- {label}" for label in labels) + "\n"
    return f"{start}: {', '.join(labels)}."


def _field_words(names: Mapping[str, bool]) -> str:
    lines = ", ".join(f'"{name}:"' for name in names)
    sentences = [f"Answer in {len(names)} lines that begin, in this order, with {lines}."]
    optional = [name for name, needed in names.items() if not needed]
    if optional:
        sentences.append(f"Leave out {_quoted(optional, 'and')} where it does not apply.")
    return " ".join([*sentences, "Write nothing before, between or after these lines."])


def _schema_words(schema: Mapping[str, Any]) -> str:
    start = "Answer with JSON only, without any words or code marks around it"
    properties = schema.get("properties")
    if not isinstance(properties, Mapping) or any(_is_deep(part) for part in properties.values()):
        return f"{start}. The JSON must fit this schema: {json.dumps(schema, ensure_ascii=False)}"
    required = schema.get("required", ())
    keys = ", ".join(_key_words(key, part, key in required) for key, part in properties.items())
    return f"{start}: an object with the keys {keys}."


def _is_deep(part: Any) -> bool:
    return not isinstance(part, Mapping) or not ({"type", "enum"} & part.keys()) or "properties" in part


def _key_words(key: str, part: Mapping[str, Any], needed: bool) -> str:
    if "enum" in part:
        kind = "one of " + ", ".join(json.dumps(value, ensure_ascii=False) for value in part["enum"])
    else:
        types: list[str] = part["type"] if isinstance(part["type"], list) else [part["type"]]
        kind = " or ".join(_JSON_WORDS.get(name, name) for name in types)
    return f'"{key}" ({kind}{"" if needed else ", may be absent"})'


def _blank(schema: Any, depth: int = 0) -> Any:
    """A value of the schema's shape with its places left open; three levels deep at most."""
    if not isinstance(schema, Mapping) or depth > 3:
        return "..."
    if isinstance(schema.get("properties"), Mapping):
        return {key: _blank(part, depth + 1) for key, part in schema["properties"].items()}
    if isinstance(schema.get("items"), Mapping):
        return [_blank(schema["items"], depth + 1)]
    if schema.get("enum"):
        return schema["enum"][0] if len(schema["enum"]) == 1 else " | ".join(map(str, schema["enum"]))
    kind = schema.get("type", "string")
    return _JSON_BLANKS.get(kind[0] if isinstance(kind, list) and kind else str(kind), "...")

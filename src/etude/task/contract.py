"""Conditions that can be checked in an answer without judging it, and their description as
instructions.

Lengths are in words (runs of non-space characters), texts are compared without regard to case, and
white space around the answer is ignored. A contract does not check whether an answer is true; a
check function or a metric does.
"""

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
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
_JSON_BLANKS = {
    "string": "...",
    "integer": 0,
    "number": 0.0,
    "boolean": True,
    "array": [],
    "object": {},
}


@dataclass(frozen=True)
class Contract:
    """The conditions that every answer must meet. Parts that are not set are not checked.

    Raises InputError if a part cannot be used: a regular expression that does not compile, an
    invalid schema, a field name with a colon, more than one of labels, fields, json_schema.
    """

    labels: tuple[str, ...] = ()
    """The answer is one of these, read without case, quotes and a final full stop."""
    descriptions: Mapping[str, str] = field(default_factory=dict)
    """Label -> its description, for the labels that the user described."""
    fields: tuple[str, ...] = ()
    """The answer is these lines `Name: text`, in order; a name ending in "?" may be absent."""
    json_schema: Mapping[str, Any] | None = None
    """The answer is one JSON value that fits this schema (draft 2020-12 unless `$schema` says
    otherwise).
    """
    regex: str | None = None
    """The whole answer matches this regular expression (Python's dialect)."""
    max_words: int | None = None
    """The answer has at most this many words."""
    must_contain: tuple[str, ...] = ()
    """The answer contains each of these."""
    must_not_contain: tuple[str, ...] = ()
    """The answer contains none of these."""

    def __post_init__(self) -> None:
        # JSON and YAML give lists; with tuples the value is hashable and immutable.
        for name in ("labels", "fields", "must_contain", "must_not_contain"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        issues = [
            Issue(f"contract: {key}", message, value, remedy)
            for key, message, value, remedy in _find_problems(self)
        ]
        if issues:
            raise InputError(issues)

    def check(self, text: str) -> tuple[str, ...]:
        """The kinds of failure of an answer, each once, in a fixed order; empty if it keeps the
        contract.

        A kind never contains words of the answer, so that kinds can be counted over many answers.
        """
        answer = text.strip()
        if not answer:
            return ("empty answer",)
        failures = list(self._check_structure(answer))
        if self.regex is not None and not re.fullmatch(self.regex, answer):
            failures.append("does not match the regular expression")
        if self.max_words is not None and len(answer.split()) > self.max_words:
            failures.append(f"over {self.max_words} words")
        folded = answer.casefold()
        failures += [
            f"must contain: {text}" for text in self.must_contain if text.casefold() not in folded
        ]
        failures += [
            f"must not contain: {text}"
            for text in self.must_not_contain
            if text.casefold() in folded
        ]
        return tuple(dict.fromkeys(failures))

    def parse(self, text: str) -> Any:
        """The answer as a value: a label, a JSON value, a mapping of field to text, or the text.

        None if the contract requires labels, JSON or fields and the text contains none. A value may
        still break the contract (a JSON value outside the schema, a missing field); use `check` to
        find out.
        """
        answer = text.strip()
        if self.labels:
            return self._match_label(answer)
        if self.json_schema is not None:
            return _parse_value(answer)[0]
        if self.fields:
            return _read_fields(answer, self._required)[0] or None
        return answer

    def describe(self) -> str:
        """The contract as instructions for a model, one sentence for each part; "" without
        parts.
        """
        sentences = []
        if self.labels:
            start = "Answer with exactly one of these labels and nothing else"
            meanings = {label: f": {text}" for label, text in self.descriptions.items() if text}
            lines = "".join(f"\n- {label}{meanings.get(label, '')}" for label in self.labels)
            needs_lines = meanings or any("," in label for label in self.labels)
            sentences.append(
                f"{start}:{lines}\n" if needs_lines else f"{start}: {', '.join(self.labels)}."
            )
        elif self.json_schema is not None:
            sentences.append(_describe_schema(self.json_schema))
        elif self.fields:
            names = ", ".join(f'"{name}:"' for name in self._required)
            optional = [name for name, need in self._required.items() if not need]
            lines = f"{len(self._required)} lines that begin, in this order, with {names}."
            sentences.append(f"Answer in {lines}")
            if optional:
                sentences.append(
                    f"Leave out {_join_quoted(optional, 'and')} where it does not apply."
                )
            sentences.append("Write nothing before, between or after these lines.")
        if self.regex is not None:
            sentences.append(f"The whole answer must match the regular expression {self.regex}")
        if self.max_words is not None:
            sentences.append(f"Use at most {self.max_words} words.")
        if self.must_contain:
            sentences.append(f"The answer must contain {_join_quoted(self.must_contain, 'and')}.")
        if self.must_not_contain:
            sentences.append(
                f"The answer must not contain {_join_quoted(self.must_not_contain, 'or')}."
            )
        return " ".join(sentences)

    def skeleton(self) -> str:
        """An answer with blanks ("Title: ...", one line a field); "" if the contract has no fields
        and no schema.
        """
        if self.fields:
            return "\n".join(f"{name}: ..." for name in self._required)
        if self.json_schema is not None:
            blank = _build_blank(self.json_schema)
            return (
                json.dumps(blank, ensure_ascii=False)
                if isinstance(blank, dict | list) and blank
                else ""
            )
        return ""

    @property
    def grammar(self) -> Grammar | None:
        """What decoding can enforce: the schema, the fields, or the regular expression. Labels are
        choices instead.
        """
        if self.json_schema is not None:
            return Grammar("json_schema", json.dumps(self.json_schema, ensure_ascii=False))
        if not self.fields:
            return Grammar("regex", self.regex) if self.regex else None
        # One line for each field, each with a text. The first required line anchors the line breaks
        # of the optional lines around it; without a required line there is no grammar.
        first = next(
            (position for position, need in enumerate(self._required.values()) if need), None
        )
        if first is None:
            return None
        patterns = []
        for position, (name, need) in enumerate(self._required.items()):
            line = re.sub(r"([^\w\s])", r"\\\1", name) + r": [^\s\n][^\n]*"
            # Lines before the first required one end with their line break; later lines begin with
            # it.
            line = f"{line}\\n" if position < first else line if position == first else f"\\n{line}"
            patterns.append(line if need else f"({line})?")
        return Grammar("regex", "".join(patterns))

    @cached_property
    def _required(self) -> dict[str, bool]:
        return {field.removesuffix("?").strip(): not field.endswith("?") for field in self.fields}

    @cached_property
    def _labels_by_key(self) -> dict[str, str | None]:
        """Normalised label -> label; None if two labels have the same normal form."""
        labels: dict[str, str | None] = {}
        for label in self.labels:
            key = _normalise_label(label)
            labels[key] = label if labels.get(key, label) == label else None
        return labels

    @cached_property
    def _validator(self) -> Any:
        # An empty registry: with the default one, jsonschema fetches a foreign `$ref` from the
        # network.
        import referencing
        from jsonschema.validators import Draft202012Validator, validator_for

        schema = dict(self.json_schema or {})
        return validator_for(schema, default=Draft202012Validator)(
            schema, registry=referencing.Registry()
        )

    def _match_label(self, answer: str) -> str | None:
        return (
            answer if answer in self.labels else self._labels_by_key.get(_normalise_label(answer))
        )

    def _check_structure(self, answer: str) -> Iterator[str]:
        if self.labels and self._match_label(answer) is None:
            yield "not a label"
        if self.json_schema is not None:
            value, is_json = _parse_value(answer)
            if not is_json:
                yield "not JSON"
            else:
                try:
                    errors = list(self._validator.iter_errors(value))
                    yield from sorted(
                        {kind for error in errors for kind in _schema_failures(error)}
                    )
                except RecursionError:
                    yield "schema: nested too deep"
        if self.fields:
            yield from _read_fields(answer, self._required)[1]


def list_of_labels(contract: Contract, labels: Iterable[str] = ()) -> Contract:
    """The contract with a JSON list of its labels, or else of `labels`, as the answer."""
    schema = {"type": "array", "items": {"enum": list(contract.labels or labels)}}
    return replace(contract, labels=(), json_schema=schema)


def regex_error(pattern: str) -> str | None:
    """Return why a regular expression does not compile; None if it does."""
    try:
        re.compile(pattern)
    except (re.error, RecursionError, OverflowError) as error:
        return str(error)
    return None


def schema_error(schema: Mapping[str, Any]) -> str | None:
    """Return why a JSON schema cannot be used; None if it can. A `$ref` may only point inside the
    schema.
    """
    from jsonschema.exceptions import SchemaError
    from jsonschema.validators import Draft202012Validator, validator_for

    # References are checked here because resolving a foreign one would fetch it from the network.
    unresolved = [
        reference for reference in _list_references(schema) if not _resolves(schema, reference)
    ]
    if unresolved:
        return f"$ref {unresolved[0]!r} points to nothing in the schema"
    try:
        validator_for(dict(schema), default=Draft202012Validator).check_schema(dict(schema))
    except SchemaError as error:
        return f"at {_format_path(error.path) or 'the top'}: {error.message}"
    return None


def field_name_error(name: str) -> str | None:
    """Return why a text cannot be the name of a field; None if it can."""
    plain = name.removesuffix("?").strip()
    if not plain:
        return "a field name is empty"
    if ":" in plain or "\n" in plain:
        return "a field name contains a colon or a line break"
    return None


def _find_problems(contract: Contract) -> Iterator[tuple[str, str, str, str]]:
    """Yield (key, message, value, remedy) for every part that cannot be used."""
    structures = [name for name in ("labels", "fields", "json_schema") if getattr(contract, name)]
    if len(structures) > 1:
        names = " and ".join(structures)
        yield (
            structures[1],
            "an answer can have only one of these forms",
            names,
            f"keep one of {names}",
        )
    if contract.regex is not None and (reason := regex_error(contract.regex)):
        message = f"the regular expression does not compile: {reason}"
        yield "regex", message, quote_value(contract.regex), "correct it"
    if contract.json_schema is not None and (reason := schema_error(contract.json_schema)):
        yield "json_schema", f"this JSON schema cannot be used: {reason}", "", "correct the schema"
    for name in contract.fields:
        if reason := field_name_error(name):
            yield "fields", reason, quote_value(name), "write a plain name such as Title"
    for key in ("labels", "fields"):
        counts = Counter(getattr(contract, key))
        for name in sorted(name for name, count in counts.items() if count > 1):
            yield key, "listed twice", quote_value(name), "list it once"


def _normalise_label(text: str) -> str:
    return text.lstrip(_LEADING).rstrip(_TRAILING).casefold() or text.casefold()


def _parse_value(text: str) -> tuple[Any, bool]:
    try:
        return parse_json(text), True
    except ValueError:
        return None, False


def _read_fields(answer: str, required: Mapping[str, bool]) -> tuple[dict[str, str], list[str]]:
    """Return (field -> text, kinds of failure).

    A line that does not begin with a field's name continues the field above; after a blank line, no
    field.
    """
    fields: dict[str, str] = {}
    failures: list[str] = []
    current: str | None = None
    for line in answer.splitlines():
        name, _, text = line.partition(":")
        if name.strip() in required:
            current = name.strip()
            if current in fields:
                failures.append(f"field twice: {current}")
            fields[current] = text.strip()
        elif not line.strip():
            current = None
        elif current is None:
            failures.append("text outside the fields")
        else:
            fields[current] = f"{fields[current]}\n{line.strip()}".strip()
    failures += [
        f"missing field: {name}" for name, need in required.items() if need and name not in fields
    ]
    failures += [f"empty field: {name}" for name, text in fields.items() if not text]
    if [name for name in required if name in fields] != list(fields):
        failures.append("fields out of order")
    return fields, failures


def _schema_failures(error: Any) -> list[str]:
    """The kinds of one schema failure, with the path in the value and never the value itself."""
    path = _format_path(error.path) or "the value"
    match error.validator:
        case "required":
            missing = [name for name in error.validator_value if name not in error.instance]
            return [f"schema: missing key: {_format_path([*error.path, name])}" for name in missing]
        case "additionalProperties" | "unevaluatedProperties":
            return [f"schema: unknown key in {path}"]
        case "type":
            return [f"schema: {path} is not of type {error.validator_value}"]
        case "enum" | "const":
            return [f"schema: {path} is not an allowed value"]
    return [f"schema: {path} breaks {error.validator}"]


def _format_path(keys: Iterable[str | int]) -> str:
    """A path in a JSON value, without list positions: orders[].price."""
    return "".join("[]" if isinstance(key, int) else f".{key}" for key in keys).lstrip(".")


def _list_references(schema: Any) -> Iterator[str]:
    if isinstance(schema, Mapping):
        for key, value in schema.items():
            if key in ("$ref", "$dynamicRef") and isinstance(value, str):
                yield value
            else:
                yield from _list_references(value)
    elif isinstance(schema, list):
        for value in schema:
            yield from _list_references(value)


def _resolves(schema: Mapping[str, Any], reference: str) -> bool:
    """Whether a `$ref` such as #/a/b leads to a value inside the schema; anchors (#name) are not
    checked.
    """
    value: Any = schema
    for key in reference.split("/")[1:]:
        key = key.replace("~1", "/").replace("~0", "~")
        if isinstance(value, list) and key.isdigit() and int(key) < len(value):
            value = value[int(key)]
        elif isinstance(value, Mapping) and key in value:
            value = value[key]
        else:
            return False
    return reference.startswith("#")


def _join_quoted(texts: Iterable[str], conjunction: str) -> str:
    *first, last = [f'"{text}"' for text in texts]
    return f"{', '.join(first)} {conjunction} {last}" if first else last


def _describe_schema(schema: Mapping[str, Any]) -> str:
    start = "Answer with JSON only, without any words or code marks around it"
    items = schema.get("items")
    if schema.get("type") == "array" and isinstance(items, Mapping) and items.keys() == {"enum"}:
        choices = ", ".join(json.dumps(choice, ensure_ascii=False) for choice in items["enum"])
        return f"{start}: a list of all that apply of {choices}; [] if none does."
    properties = schema.get("properties")
    # Flat objects are described in words, all others by the schema itself.
    if not isinstance(properties, Mapping) or not all(
        isinstance(value, Mapping) and {"type", "enum"} & value.keys() and "properties" not in value
        for value in properties.values()
    ):
        return f"{start}. The JSON must fit this schema: {json.dumps(schema, ensure_ascii=False)}"
    keys = []
    for key, value in properties.items():
        if "enum" in value:
            kind = "one of " + ", ".join(
                json.dumps(choice, ensure_ascii=False) for choice in value["enum"]
            )
        else:
            types: list[str] = value["type"] if isinstance(value["type"], list) else [value["type"]]
            kind = " or ".join(_JSON_WORDS.get(name, name) for name in types)
        meaning = f": {value['description']}" if isinstance(value.get("description"), str) else ""
        keys.append(
            f'"{key}" '
            f"({kind}{'' if key in schema.get('required', ()) else ', may be absent'}){meaning}"
        )
    if any("description" in value for value in properties.values()):
        return "\n- ".join([f"{start}: an object with these keys:", *keys]) + "\n"
    return f"{start}: an object with the keys {', '.join(keys)}."


def _build_blank(schema: Any, depth: int = 0) -> Any:
    """A value that fits the schema, with blanks; at most three levels deep."""
    if not isinstance(schema, Mapping) or depth > 3:
        return "..."
    if isinstance(schema.get("properties"), Mapping):
        return {key: _build_blank(value, depth + 1) for key, value in schema["properties"].items()}
    if isinstance(schema.get("items"), Mapping):
        return [_build_blank(schema["items"], depth + 1)]
    if schema.get("enum"):
        return (
            schema["enum"][0] if len(schema["enum"]) == 1 else " | ".join(map(str, schema["enum"]))
        )
    kind = schema.get("type", "string")
    return _JSON_BLANKS.get(kind[0] if isinstance(kind, list) and kind else str(kind), "...")

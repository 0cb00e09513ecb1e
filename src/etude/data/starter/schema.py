"""A JSON schema from values: one that all of them keep, or nearly all."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from etude.privacy import find_by_form

MANY_OBJECTS = 20
"""Objects from which a key that stands in one alone is rather a value."""
RARE = 0.02
"""Share of the values up to which another type, or the lack of a key, is rather a fault than meant."""
LEAST_VALUES = 100
"""Values below which nothing is a fault because it is rare: of 50 rows that leave a key out one time in 20, more than
one in four draws holds at most one such row."""


def infer_schema(values: Sequence[Any]) -> dict[str, Any]:
    """A JSON schema that all values keep: types, the keys of objects, those in every object required.

    Keys that are personal data, and of many objects those that stand in one alone, are left out. Other keys are not
    forbidden. Values of objects and lists are described in turn.
    """
    return _schema(values, "", None)


def usual_schema(values: Sequence[Any]) -> tuple[dict[str, Any], list[str]]:
    """As `infer_schema`, but without what few of many values have alone, and what that is, each with its number.

    A null stays a type, as it says that there is nothing. Where records leave other keys out as well, that is their
    way to say so, and a key that few lack is not required either.
    """
    left_out: list[str] = []
    return _schema(values, "", left_out), left_out


def _schema(values: Sequence[Any], place: str, left_out: list[str] | None) -> dict[str, Any]:
    """The schema of the values at a place; what few alone have is left out, and told, where there is a list for it."""
    counts = Counter(map(_json_type, values))
    if {"integer", "number"} <= set(counts):
        counts["number"] += counts.pop("integer")
    if left_out is not None:
        rare = [kind for kind, count in counts.items() if kind != "null" and _is_rare(count, len(values))]
        left_out += [f"{place or 'the answer'} {_article(kind)} in {counts.pop(kind):,}" for kind in rare]
    kinds = sorted(counts)
    schema: dict[str, Any] = {"type": kinds[0] if len(kinds) == 1 else kinds} if kinds else {}
    if "object" in kinds:
        schema |= _object_schema([value for value in values if isinstance(value, dict)], place, left_out)
    items = (
        [item for value in values if isinstance(value, list) for item in value] if "array" in kinds else []
    )
    return schema | {"items": _schema(items, f"{place}[]", left_out)} if items else schema


def _object_schema(
    values: Sequence[Mapping[str, Any]], place: str, left_out: list[str] | None
) -> dict[str, Any]:
    counts = Counter(key for value in values for key in value)
    least = 2 if len(values) >= MANY_OBJECTS else 1
    keys = [key for key, count in counts.items() if count >= least and not find_by_form(key)]
    inner = f"{place}." if place else ""
    lacking = {key: len(values) - counts[key] for key in keys}
    optional = any(
        not _is_rare(min(counts[key], lacks), len(values)) for key, lacks in lacking.items() if lacks
    )
    strict = left_out is not None and not optional
    required = [
        key for key, lacks in lacking.items() if not lacks or (strict and _is_rare(lacks, len(values)))
    ]
    if left_out is not None:
        left_out += [f"{inner}{key} absent in {lacking[key]:,}" for key in required if lacking[key]]
    properties = {
        key: _schema([value[key] for value in values if key in value], f"{inner}{key}", left_out)
        for key in keys
    }
    return {"properties": properties} | ({"required": required} if required else {})


def _is_rare(count: int, total: int) -> bool:
    return total >= LEAST_VALUES and count <= RARE * total


def _article(kind: str) -> str:
    return f"{'an' if kind[0] in 'aio' else 'a'} {kind}"


def _json_type(value: Any) -> str:
    names = {bool: "boolean", int: "integer", float: "number", str: "string", list: "array", dict: "object"}
    return names.get(type(value), "null")

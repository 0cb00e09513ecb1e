"""A JSON schema that all of some values keep."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from etude.privacy import find_by_form

MANY_OBJECTS = 20
"""Objects from which a key that stands in one alone is rather a value."""


def infer_schema(values: Sequence[Any]) -> dict[str, Any]:
    """A JSON schema that all values keep: types, the keys of objects, those in every object required.

    Keys that are personal data, and of many objects those that stand in one alone, are left out. Other keys are not
    forbidden. Values of objects and lists are described in turn.
    """
    types = set(map(_json_type, values))
    kinds = sorted(types - {"integer"} if "number" in types else types)
    schema: dict[str, Any] = {"type": kinds[0] if len(kinds) == 1 else kinds} if kinds else {}
    if "object" in kinds:
        schema |= _object_schema([value for value in values if isinstance(value, dict)])
    items = [item for value in values if isinstance(value, list) for item in value]
    return schema | {"items": infer_schema(items)} if items else schema


def _object_schema(values: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    counts = Counter(key for value in values for key in value)
    least = 2 if len(values) >= MANY_OBJECTS else 1
    keys = [key for key, count in counts.items() if count >= least and not find_by_form(key)]
    properties = {key: infer_schema([value[key] for value in values if key in value]) for key in keys}
    required = [key for key in keys if counts[key] == len(values)]
    return {"properties": properties} | ({"required": required} if required else {})


def _json_type(value: Any) -> str:
    names = {bool: "boolean", int: "integer", float: "number", str: "string", list: "array", dict: "object"}
    return names.get(type(value), "null")

"""Values as JSON and back: dataclasses of texts, numbers, paths, sequences and mappings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from functools import cache
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

T = TypeVar("T")


def to_json(value: object) -> Any:
    """The value as dicts, lists, texts, numbers, booleans and None; a dataclass is a dict of its fields."""
    if is_dataclass(value):
        return {part.name: to_json(getattr(value, part.name)) for part in fields(value)}
    if isinstance(value, Mapping):
        return {key: to_json(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [to_json(inner) for inner in value]
    return str(value) if isinstance(value, Path) else value


def from_json(kind: type[T], body: object) -> T:
    """The dataclass `kind` that `to_json` gave. Sequences become tuples; unknown keys are ignored.

    Raises ValueError for a missing field without a default and for a value of another type.
    """
    value: T = _typed(kind, body, kind.__name__)
    return value


def _typed(kind: Any, body: Any, where: str) -> Any:
    origin, inner = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        (other,) = (each for each in inner if each is not NoneType)  # only `X | None` is in use
        return None if body is None else _typed(other, body, where)
    if is_dataclass(kind):
        return kind(**dict(_parts(kind, _checked(Mapping, body, where), where)))  # type: ignore[operator]
    if origin is Literal:
        if body not in inner:
            raise ValueError(f"{where} is {body!r}, not one of {', '.join(map(repr, inner))}")
        return body
    if origin is tuple and inner[-1] is not Ellipsis:
        pairs = zip(inner, _checked(list, body, where), strict=True)
        return tuple(_typed(each, part, where) for each, part in pairs)
    if origin is not None and issubclass(origin, Mapping):
        items = _checked(Mapping, body, where).items()
        return {key: _typed(inner[1], part, f"{where}.{key}") for key, part in items}
    if origin is not None:
        return tuple(_typed(inner[0], part, where) for part in _checked(list, body, where))
    if kind is Path:
        return Path(_checked(str, body, where))
    return body if kind is object else _checked((int, float) if kind is float else kind, body, where)


def _parts(kind: Any, body: Mapping[str, Any], where: str) -> Any:
    for part in fields(kind):
        if part.name in body:
            yield part.name, _typed(_hints(kind)[part.name], body[part.name], f"{where}.{part.name}")
        elif part.default is MISSING and part.default_factory is MISSING:
            raise ValueError(f"{where} lacks {part.name!r}")


@cache
def _hints(kind: type) -> dict[str, Any]:
    return get_type_hints(kind)


def _checked(kind: Any, body: Any, where: str) -> Any:
    if not isinstance(body, kind) or (isinstance(body, bool) and kind is not bool):
        raise ValueError(f"{where} is of another type: {str(body)[:40]!r}")
    return body

"""Convert dataclasses of texts, numbers, paths, sequences and mappings to JSON and back."""

from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from functools import cache
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

T = TypeVar("T")


def to_json(value: object) -> Any:
    """Convert a value to dicts, lists, texts, numbers, booleans and None; a dataclass becomes a
    dict of its fields.
    """
    if is_dataclass(value):
        return {field.name: to_json(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {key: to_json(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [to_json(inner) for inner in value]
    return str(value) if isinstance(value, Path) else value


def from_json(kind: type[T], body: object) -> T:
    """Build the dataclass `kind` from what `to_json` returned. Sequences become tuples; unknown
    keys are ignored.

    Raises ValueError for a missing field without a default and for a value of another type.
    """
    value: T = _parse(kind, body, kind.__name__)
    return value


def _parse(kind: Any, body: Any, path: str) -> Any:
    """Convert `body` to `kind`; `path` (`Class.field.key`) is for messages."""
    origin = get_origin(kind)
    inner = get_args(kind)
    if origin in (Union, UnionType):
        (inner_kind,) = (
            member for member in inner if member is not NoneType
        )  # only `X | None` is used
        return None if body is None else _parse(inner_kind, body, path)
    if is_dataclass(kind):
        return kind(**dict(_parse_fields(kind, _check_type(Mapping, body, path), path)))  # type: ignore[operator]
    if origin is Literal:
        if body not in inner:
            raise ValueError(f"{path} is {body!r}, not one of {', '.join(map(repr, inner))}")
        return body
    if origin is tuple and inner[-1] is not Ellipsis:
        pairs = zip(inner, _check_type(list, body, path), strict=True)
        return tuple(_parse(item_kind, item, path) for item_kind, item in pairs)
    if origin is not None and issubclass(origin, Mapping):
        items = _check_type(Mapping, body, path).items()
        return {key: _parse(inner[1], value, f"{path}.{key}") for key, value in items}
    if origin is not None:
        return tuple(_parse(inner[0], item, path) for item in _check_type(list, body, path))
    if kind is Path:
        return Path(_check_type(str, body, path))
    return (
        body
        if kind in (object, Any)
        else _check_type((int, float) if kind is float else kind, body, path)
    )


def _parse_fields(kind: Any, body: Mapping[str, Any], path: str) -> Any:
    for field in fields(kind):
        if field.name in body:
            yield (
                field.name,
                _parse(_get_hints(kind)[field.name], body[field.name], f"{path}.{field.name}"),
            )
        elif field.default is MISSING and field.default_factory is MISSING:
            raise ValueError(f"{path} has no {field.name!r}")


_get_hints = cache(get_type_hints)


def _check_type(kind: Any, body: Any, path: str) -> Any:
    if not isinstance(body, kind) or (isinstance(body, bool) and kind is not bool):
        raise ValueError(f"{path} has the wrong type: {str(body)[:40]!r}")
    return body

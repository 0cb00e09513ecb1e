"""The child process of one conversation's tools: `python -m etude.base.tool_worker FILE CLASS
CONNECTION`.

It answers requests on a connection, in JSON: `describe` the class, `build` an object, `call` a
method, and ask whether the task was `finished`. It imports only the standard library, so it starts
in a few hundredths of a second. At the end it kills its process group, with every process that a
tool has started.
"""

import inspect
import json
import os
import signal
import sys
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from types import FunctionType, ModuleType, NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from etude.base.user_code import importing_from, load_module, locate_error
from etude.types import Example, Message

FINISHED = "finished"
JSON_TYPES: dict[Any, str] = {
    **{str: "string", int: "integer", float: "number", bool: "boolean", dict: "object"},
    **{list: "array", tuple: "array"},
}


def main() -> None:
    """Answer requests until the connection is closed."""
    file = Path(sys.argv[1])
    name = sys.argv[2]
    handle = int(sys.argv[3])
    connection = Connection(handle)
    own_id = os.getpid()
    worker = ToolWorker(file, name)
    try:
        while True:
            kind, *arguments = json.loads(connection.recv_bytes())
            try:
                with importing_from(file.parent):
                    reply = {"value": getattr(worker, kind)(*arguments)}
                body = json.dumps(reply)
            except BaseException as error:  # noqa: BLE001 - the user's code can raise anything, which is its result
                failure = f"{type(error).__name__}: {error}"[:2_000]
                body = json.dumps({"error": failure, "location": locate_error(error, file)})
            if os.getpid() != own_id:  # a copy of this process, which a tool has forked
                os._exit(0)
            connection.send_bytes(body.encode())
    except (EOFError, OSError):
        os.killpg(0, signal.SIGKILL)


class ToolWorker:
    """The user's class, and the object of one conversation."""

    def __init__(self, file: Path, name: str) -> None:
        self.file = file
        self.name = name
        self.module = ModuleType("")
        self.type: Any = None
        self.desk: Any = None

    def describe(self) -> dict[str, Any]:
        """Load the class. Return its functions in OpenAI's format, and whether the file says when a
        task is done.
        """
        self.module = load_module(self.file)
        self.type = getattr(self.module, self.name, None)
        if not isinstance(self.type, type):
            raise TypeError(f"there is no class {self.name!r}")
        functions = [
            describe_function(name, method, skip) for name, method, skip in list_methods(self.type)
        ]
        return {"functions": functions, FINISHED: self._finished is not None}

    def build(self, row: dict[str, Any]) -> None:
        """Make the object of a conversation, with its row if the class takes an argument."""
        takes_row = bool(inspect.signature(self.type).parameters)
        self.desk = self.type(parse_row(row)) if takes_row else self.type()

    def call(self, name: str, arguments: dict[str, Any], max_characters: int) -> str:
        """Call a public method and return its result as text, cut after `max_characters`."""
        if name not in (public for public, *_ in list_methods(self.type)):
            raise LookupError(f"there is no function {name!r}")
        value = getattr(self.desk, name)(**arguments)
        text = (
            value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
        )
        rest = len(text) - max_characters
        return f"{text[:max_characters]}\n({rest:,} more characters were cut)" if rest > 0 else text

    def finished(self, row: dict[str, Any]) -> float:
        """Return whether the task was done, 0 to 1."""
        assert self._finished is not None, "`describe` says whether there is a function"
        value = self._finished(self.desk, parse_row(row))
        if not (isinstance(value, int | float) and 0 <= value <= 1):
            raise TypeError(
                f"{FINISHED} returned neither a bool nor a number from 0 to 1, but {value!r:.100}"
            )
        return float(value)

    @property
    def _finished(self) -> Callable[[Any, Example], Any] | None:
        return getattr(self.type, FINISHED, None) or getattr(self.module, FINISHED, None)


def parse_row(row: dict[str, Any]) -> Example:
    """Return the row that `dataclasses.asdict` has turned into a mapping."""
    return Example(**{**row, "input": tuple(Message(**turn) for turn in row["input"])})


def list_methods(cls: type) -> Iterator[tuple[str, Any, bool]]:
    """Yield the public methods in the order of the file, and whether the first argument is the
    object.
    """
    for name in dict.fromkeys(name for base in reversed(cls.__mro__) for name in vars(base)):
        method = getattr(cls, name)
        if not name.startswith("_") and name != FINISHED and inspect.isroutine(method):
            yield name, method, isinstance(inspect.getattr_static(cls, name), FunctionType)


def describe_function(name: str, method: Any, skips_first: bool) -> dict[str, Any]:
    """Return a function's name, docstring and arguments, with the types of their hints."""
    hints = get_type_hints(method)
    values = [*inspect.signature(method).parameters.values()]
    named = [
        value
        for value in values[skips_first:]
        if value.kind not in (value.VAR_POSITIONAL, value.VAR_KEYWORD)
    ]
    properties = {value.name: to_schema(hints.get(value.name)) for value in named}
    for value in named:
        if isinstance(value.default, str | int | float):
            properties[value.name]["default"] = value.default
    required = [value.name for value in named if value.default is value.empty]
    parameters = {"type": "object", "properties": properties, "required": required}
    return {"name": name, "description": inspect.getdoc(method) or "", "parameters": parameters}


def to_schema(hint: Any) -> dict[str, Any]:
    """Return the JSON schema of a type hint; of hints other than JSON's own types, one that allows
    everything.
    """
    origin = get_origin(hint)
    arguments = get_args(hint)
    if origin is Literal:
        return {"enum": list(arguments)}
    if origin in (Union, UnionType):
        schemas = [to_schema(part) for part in arguments if part is not NoneType]
        return schemas[0] if len(schemas) == 1 else {"anyOf": schemas}
    name = JSON_TYPES.get(origin or hint)
    items = {"items": to_schema(arguments[0])} if name == "array" and arguments else {}
    return {"type": name, **items} if name else {}


if __name__ == "__main__":
    main()

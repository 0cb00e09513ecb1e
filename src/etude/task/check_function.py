"""A check function of the user's: found in its file without running it, run only on request."""

from __future__ import annotations

import ast
import importlib.util
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from etude.base.remedies import instead
from etude.errors import InputError, Issue, quote_value
from etude.types import Example

Check = Callable[[Example, str], bool | float]


@dataclass(frozen=True)
class CheckRef:
    """A function of the user's, `(example, answer) -> bool or 0..1`, named but not yet run."""

    file: Path
    function: str

    def load(self) -> Check:
        """Runs the file and hands out the function, which from then on reports its own failures.

        Raises InputError when the file fails to run or holds no such function; the function it
        returns raises InputError, naming the row, when the check fails or returns neither a bool
        nor a number from 0 to 1. Writes no bytecode next to the file.
        """
        check = getattr(self._run(), self.function, None)
        if not callable(check):
            raise InputError([self._fault(f"no function {self.function!r} in {self.file.name}", "")])
        return lambda example, answer: self._value(check, example, answer)

    def _run(self) -> object:
        spec = importlib.util.spec_from_file_location(f"etude_check_{self.file.stem}", self.file)
        assert spec is not None, "a .py file has a loader"
        assert spec.loader is not None, "a .py file has a loader"
        module, loader = importlib.util.module_from_spec(spec), spec.loader
        # Dataclasses look their module up by name while the file runs.
        sys.modules[spec.name] = module
        with _importing_from(self.file.parent):
            self._guarded("cannot be run", lambda: loader.exec_module(module))
        return module

    def _value(self, check: Check, example: Example, answer: str) -> bool | float:
        failed = f"failed on the row {example.id} ({example.location or 'no file'})"
        with _importing_from(self.file.parent):
            value = self._guarded(failed, lambda: check(example, answer))
        if isinstance(value, int | float) and 0 <= value <= 1:
            return value
        what = f"returned neither a bool nor a number from 0 to 1 on the row {example.id}"
        raise InputError([self._fault(f"{self.function} {what}", quote_value(value))])

    def _guarded(self, failed: str, call: Callable[[], Any]) -> Any:
        try:
            return call()
        # The user's own code can raise anything, and whatever it raises is a fault of the input.
        except (Exception, SystemExit) as error:
            fault = self._fault(f"the check {failed}: {type(error).__name__}", quote_value(str(error)))
            raise InputError([replace(fault, location=self._line(error))]) from error

    def _line(self, error: BaseException) -> str:
        frames = traceback.extract_tb(error.__traceback__)
        lines = [frame.lineno for frame in frames if Path(frame.filename) == self.file]
        if isinstance(error, SyntaxError) and not lines:
            lines = [error.lineno]
        return f"{self.file.name}:{lines[-1]}" if lines else self.file.name

    def _fault(self, what: str, got: str) -> Issue:
        return Issue(self.file.name, what, got, f"correct {self.function} in {self.file.name} and run again")


@contextmanager
def _importing_from(folder: Path) -> Iterator[None]:
    """Imports find the folder's modules, and leave no bytecode in it."""
    before = sys.dont_write_bytecode
    sys.dont_write_bytecode = True
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))
        sys.dont_write_bytecode = before


def function_fault(path: Path, name: str) -> tuple[str, str, str] | None:
    """(what, got, remedy) of a function that is not there or takes other arguments; read, never run."""
    try:
        body = ast.parse(path.read_bytes()).body
    except (SyntaxError, ValueError) as error:
        place = f"{path.name}:{getattr(error, 'lineno', None) or 1}"
        return f"{path.name} is not Python: {place}: {getattr(error, 'msg', error)}", name, f"correct {place}"
    functions = {part.name: part for part in body if isinstance(part, ast.FunctionDef)}
    if name in functions:
        return _arguments_fault(functions[name])
    # A name that was imported or assigned is settled only when the file runs: CheckRef.load says.
    if any(name in _bound(part) for part in body):
        return None
    remedy = instead(name, functions) if functions else f"write def {name}(example, answer)"
    return f"no function of that name in {path.name}", quote_value(name), remedy


def _arguments_fault(function: ast.FunctionDef) -> tuple[str, str, str] | None:
    takes = function.args
    most = len(takes.posonlyargs) + len(takes.args)
    if most - len(takes.defaults) <= 2 and (most >= 2 or takes.vararg):
        return None
    got = f"{function.name}({ast.unparse(takes)})"
    return "the function must take two arguments", got, f"write def {function.name}(example, answer)"


def _bound(part: ast.stmt) -> Iterator[str]:
    if isinstance(part, ast.Import | ast.ImportFrom):
        yield from (alias.asname or alias.name for alias in part.names)
    elif isinstance(part, ast.Assign):
        yield from (target.id for target in part.targets if isinstance(target, ast.Name))

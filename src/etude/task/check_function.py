"""The user's check function. Its file is parsed to find the function, and run only on request."""

import ast
import importlib.util
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from etude.base.issues import suggest_instead
from etude.errors import InputError, Issue, quote_value
from etude.types import Example

CheckFunction = Callable[[Example, str], bool | float]


@dataclass(frozen=True)
class CheckRef:
    """The file and name of the user's function, `(example, answer) -> bool or 0..1`; nothing has run yet."""

    file: Path
    function: str

    def load(self) -> CheckFunction:
        """Run the file and return the function, wrapped so that its errors are reported.

        Raises InputError if the file fails to run or has no such function. The returned function raises InputError with
        the row if the check fails or returns neither a bool nor a number from 0 to 1. Writes no bytecode next to the
        file.
        """
        spec = importlib.util.spec_from_file_location(f"etude_check_{self.file.stem}", self.file)
        assert spec is not None, "a .py file has a loader"
        assert spec.loader is not None, "a .py file has a loader"
        module, loader = importlib.util.module_from_spec(spec), spec.loader
        # Dataclasses look their module up by name while the file runs.
        sys.modules[spec.name] = module
        with _importing_from(self.file.parent):
            self._call("cannot be run", lambda: loader.exec_module(module))
        function = getattr(module, self.function, None)
        if not callable(function):
            raise InputError([self._issue(f"no function {self.function!r} in {self.file.name}", "")])

        return _LoadedCheck(self, function)

    def call(self, function: CheckFunction, example: Example, answer: str) -> bool | float:
        """Call the loaded function on a row. Raises InputError as in `load`."""
        failed = f"failed on the row {example.id} ({example.location or 'no file'})"
        with _importing_from(self.file.parent):
            value = self._call(failed, lambda: function(example, answer))
        if isinstance(value, int | float) and 0 <= value <= 1:
            return value
        message = f"{self.function} returned neither a bool nor a number from 0 to 1 on the row {example.id}"
        raise InputError([self._issue(message, quote_value(value))])

    def _call(self, failed: str, call: Callable[[], Any]) -> Any:
        try:
            return call()
        # The user's code can raise any exception; each is an error of the input.
        except (Exception, SystemExit) as error:
            issue = self._issue(f"the check {failed}: {type(error).__name__}", quote_value(str(error)))
            # The last line of the user's own file, even if the error was raised in a library.
            frames = traceback.extract_tb(error.__traceback__)
            lines = [frame.lineno for frame in frames if Path(frame.filename) == self.file]
            if isinstance(error, SyntaxError) and not lines:
                lines = [error.lineno]
            location = f"{self.file.name}:{lines[-1]}" if lines else self.file.name
            raise InputError([replace(issue, location=location)]) from error

    def _issue(self, message: str, value: str) -> Issue:
        remedy = f"correct {self.function} in {self.file.name} and run again"
        return Issue(self.file.name, message, value, remedy)


@dataclass(frozen=True)
class _LoadedCheck:
    """A loaded check function; a worker that gets it loads the file again."""

    ref: CheckRef
    function: CheckFunction

    def __call__(self, example: Example, answer: str) -> bool | float:
        return self.ref.call(self.function, example, answer)

    def __reduce__(self) -> tuple[Any, ...]:
        return self.ref.load, ()


@contextmanager
def _importing_from(folder: Path) -> Iterator[None]:
    """Makes the folder's modules importable, without leaving bytecode in it."""
    before = sys.dont_write_bytecode
    sys.dont_write_bytecode = True
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))
        sys.dont_write_bytecode = before


def find_signature_error(path: Path, name: str) -> tuple[str, str, str] | None:
    """Return (message, value, remedy) for an absent function or wrong arguments, None else. Runs no code."""
    try:
        body = ast.parse(path.read_bytes()).body
    except (SyntaxError, ValueError) as error:
        location = f"{path.name}:{getattr(error, 'lineno', None) or 1}"
        message = f"{path.name} is not Python: {location}: {getattr(error, 'msg', error)}"
        return message, name, f"correct {location}"
    # Only top-level functions can be imported from the file.
    functions = {node.name: node for node in body if isinstance(node, ast.FunctionDef)}
    if name in functions:
        arguments = functions[name].args
        num_args = len(arguments.posonlyargs) + len(arguments.args)
        if num_args - len(arguments.defaults) <= 2 and (num_args >= 2 or arguments.vararg):
            return None
        value = f"{name}({ast.unparse(arguments)})"
        return "the function must take two arguments", value, f"write def {name}(example, answer)"
    # A name that was imported or assigned can be checked only when the file runs, in CheckRef.load.
    imports = [node for node in body if isinstance(node, ast.Import | ast.ImportFrom)]
    bound = {alias.asname or alias.name for node in imports for alias in node.names}
    targets = [target for node in body if isinstance(node, ast.Assign) for target in node.targets]
    if name in bound | {target.id for target in targets if isinstance(target, ast.Name)}:
        return None
    remedy = suggest_instead(name, functions) if functions else f"write def {name}(example, answer)"
    return f"no function of that name in {path.name}", quote_value(name), remedy

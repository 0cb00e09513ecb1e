"""The user's check function. Its file is parsed to find the function, and run only on request."""

import ast
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from etude.base.issues import suggest_instead
from etude.base.user_code import importing_from, load_module, locate_error
from etude.errors import InputError, Issue, quote_value
from etude.types import Example

CheckFunction = Callable[[Example, str], bool | float]


@dataclass(frozen=True)
class CheckRef:
    """The file and name of the user's function, `(example, answer) -> bool or 0..1`; nothing has
    run yet.
    """

    file: Path
    function: str

    def load(self) -> CheckFunction:
        """Run the file and return the function, wrapped so that its errors are reported.

        Raises InputError if the file fails to run or has no such function. The returned function
        raises InputError with the row if the check fails or returns neither a bool nor a number
        from 0 to 1. Writes no bytecode next to the file.
        """
        module = self._call("cannot be run", lambda: load_module(self.file))
        function = getattr(module, self.function, None)
        if not callable(function):
            raise InputError(
                [self._issue(f"no function {self.function!r} in {self.file.name}", "")]
            )

        return _LoadedCheck(self, function)

    def call(self, function: CheckFunction, example: Example, answer: str) -> bool | float:
        """Call the loaded function on a row. Raises InputError as in `load`."""
        failed = f"failed on the row {example.id} ({example.location or 'no file'})"
        with importing_from(self.file.parent):
            value = self._call(failed, lambda: function(example, answer))
        if isinstance(value, int | float) and 0 <= value <= 1:
            return value
        message = (
            f"{self.function} returned neither a bool nor a number from 0 to 1 on the row "
            f"{example.id}"
        )
        raise InputError([self._issue(message, quote_value(value))])

    def _call(self, failed: str, call: Callable[[], Any]) -> Any:
        try:
            return call()
        # The user's code can raise any exception; each is an error of the input.
        except (Exception, SystemExit) as error:
            issue = self._issue(
                f"the check {failed}: {type(error).__name__}", quote_value(str(error))
            )
            raise InputError([replace(issue, location=locate_error(error, self.file))]) from error

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


def find_signature_error(path: Path, name: str) -> tuple[str, str, str] | None:
    """Return (message, value, remedy) for an absent function or wrong arguments, None else. Runs no
    code.
    """
    return _find_error(path, name, "function", f"write def {name}(example, answer)")


def find_class_error(path: Path, name: str) -> tuple[str, str, str] | None:
    """Return (message, value, remedy) for an absent class, None else. Runs no code."""
    return _find_error(path, name, "class", f"write class {name}:")


def _find_error(path: Path, name: str, noun: str, remedy: str) -> tuple[str, str, str] | None:
    try:
        body = ast.parse(path.read_bytes()).body
    except (SyntaxError, ValueError) as error:
        location = f"{path.name}:{getattr(error, 'lineno', None) or 1}"
        message = f"{path.name} is not Python: {location}: {getattr(error, 'msg', error)}"
        return message, name, f"correct {location}"
    # Only what is at the top level can be imported from the file.
    wanted = ast.ClassDef if noun == "class" else ast.FunctionDef
    definitions = {node.name: node for node in body if isinstance(node, wanted)}
    if isinstance(definition := definitions.get(name), ast.FunctionDef):
        arguments = definition.args
        num_args = len(arguments.posonlyargs) + len(arguments.args)
        if num_args - len(arguments.defaults) <= 2 and (num_args >= 2 or arguments.vararg):
            return None
        return f"the {noun} must take two arguments", f"{name}({ast.unparse(arguments)})", remedy
    # A name that was imported or assigned can be checked only when the file runs.
    imports = [node for node in body if isinstance(node, ast.Import | ast.ImportFrom)]
    bound = {alias.asname or alias.name for node in imports for alias in node.names}
    targets = [target for node in body if isinstance(node, ast.Assign) for target in node.targets]
    if name in bound | {*definitions} | {
        target.id for target in targets if isinstance(target, ast.Name)
    }:
        return None
    remedy = suggest_instead(name, definitions) if definitions else remedy
    return f"no {noun} of that name in {path.name}", quote_value(name), remedy

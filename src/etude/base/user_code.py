"""Python files of the user: run them, and find the line of an error. Imports only the standard
library.
"""

import importlib.util
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType


def load_module(file: Path) -> ModuleType:
    """Run a .py file, without writing bytecode next to it. Raises whatever it raises."""
    spec = importlib.util.spec_from_file_location(f"etude_user_{file.stem}", file)
    assert spec is not None, "a .py file has a loader"
    assert spec.loader is not None, "a .py file has a loader"
    module = importlib.util.module_from_spec(spec)
    # Dataclasses look their module up by name while the file runs.
    sys.modules[spec.name] = module
    with importing_from(file.parent):
        spec.loader.exec_module(module)
    return module


@contextmanager
def importing_from(folder: Path) -> Iterator[None]:
    """Makes the folder's modules importable, without leaving bytecode in it."""
    before = sys.dont_write_bytecode
    sys.dont_write_bytecode = True
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))
        sys.dont_write_bytecode = before


def locate_error(error: BaseException, file: Path) -> str:
    """Return `file:line` of the last line of the file that led to an error, even if a library
    raised it.
    """
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in frames if Path(frame.filename) == file]
    if isinstance(error, SyntaxError) and not lines:
        lines = [error.lineno]
    return f"{file.name}:{lines[-1]}" if lines else file.name

"""Print the size of the project: code lines of every module and its longest function, and modules of every folder.

Fails if src, tests or bench has more lines than pyproject.toml allows (`[tool.etude.sizes]`). The table is in every CI
log, so growth is visible. Code lines are lines that are not blank, comment or docstring.
"""

from __future__ import annotations

import ast
import statistics
import sys
import tomllib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

PROJECT = Path(__file__).parents[1]
ROOT = PROJECT / "src" / "etude"
CEILINGS = {"src": "max_source_lines", "tests": "max_test_lines", "bench": "max_bench_lines"}
LONGEST, FOLDERS = 10, 8
"""The number of functions and folders that are listed below the table."""
Function = ast.FunctionDef | ast.AsyncFunctionDef


def main() -> None:
    """Prints the table, the totals and the longest functions."""
    lengths: list[tuple[int, str]] = []
    total = lines = 0
    folders: Counter[str] = Counter()
    print(f"{'module':34} {'code':>5} {'functions':>9} {'longest':>8}")
    for path in sorted(ROOT.rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        tree = ast.parse(text)
        lines += text.count("\n")
        folders[str(path.parent.relative_to(ROOT))] += path.name != "__init__.py"
        functions = [node for node in ast.walk(tree) if isinstance(node, Function)]
        name = str(path.relative_to(ROOT))
        sizes = [(len(code_lines(node)), f"{name} {node.name}") for node in functions]
        code = len(code_lines(tree))
        total += code
        lengths += sizes
        longest = max((size for size, _ in sizes), default=0)
        print(f"{name:34} {code:5} {len(functions):9} {longest:8}")
    only = [size for size, _ in lengths]
    ninety = statistics.quantiles(only, n=10)[-1]
    print("modules:", ", ".join(f"{folder} {num}" for folder, num in folders.most_common(FOLDERS)))
    print(f"{lines} lines, {total} of code; function median {statistics.median(only):.0f}, 90% {ninety:.0f} lines")
    for size, name in sorted(lengths, reverse=True)[:LONGEST]:
        print(f"{size:5} {name}")
    if errors := list(check_ceilings()):
        sys.exit("\n".join(errors))


def check_ceilings() -> Iterator[str]:
    """Prints the lines of src, tests and bench, and yields an error for each that is above its ceiling."""
    settings = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))
    ceilings = settings["tool"]["etude"]["sizes"]
    for folder, key in CEILINGS.items():
        num_lines = sum(path.read_bytes().count(b"\n") for path in (PROJECT / folder).rglob("*.py"))
        print(f"{folder}: {num_lines} lines, at most {ceilings[key]}")
        if num_lines > ceilings[key]:
            yield f"{folder} has {num_lines} lines, above {key} = {ceilings[key]} in pyproject.toml: delete some."


def code_lines(tree: ast.AST) -> set[int]:
    """Returns the numbers of the lines below `tree` with code."""
    documented = [node for node in ast.walk(tree) if isinstance(node, Function | ast.ClassDef | ast.Module)]
    strings = {line for node in documented for line in docstring_lines(node)}
    found = {
        line
        for node in ast.walk(tree)
        if hasattr(node, "lineno")
        for line in (node.lineno, node.end_lineno or node.lineno)
    }
    return found - strings


def docstring_lines(node: Function | ast.ClassDef | ast.Module) -> range:
    """Returns the lines of a node's docstring."""
    first = node.body[0] if node.body else None
    if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str):
        return range(first.lineno, (first.end_lineno or first.lineno) + 1)
    return range(0)


if __name__ == "__main__":
    main()

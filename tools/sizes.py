"""Prints how large the project is: code lines of every module and its longest function.

Good shapes decay unseen, so this table stands in every CI log. Code lines are lines that are
neither blank, nor comment, nor docstring.
"""

from __future__ import annotations

import ast
import statistics
from pathlib import Path

ROOT = Path(__file__).parents[1] / "src" / "etude"
Function = ast.FunctionDef | ast.AsyncFunctionDef


def main() -> None:
    """Prints the table, the totals and the longest functions."""
    lengths: list[int] = []
    total = 0
    print(f"{'module':34} {'code':>5} {'functions':>9} {'longest':>8}")
    for path in sorted(ROOT.rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        functions = [node for node in ast.walk(tree) if isinstance(node, Function)]
        sizes = [len(code_lines(node)) for node in functions]
        code = len(code_lines(tree))
        total += code
        lengths += sizes
        longest = max(sizes, default=0)
        print(f"{path.relative_to(ROOT)!s:34} {code:5} {len(functions):9} {longest:8}")
    ninety = statistics.quantiles(lengths, n=10)[-1]
    print(f"{total} code lines; function median {statistics.median(lengths):.0f}, 90% {ninety:.0f} lines")


def code_lines(tree: ast.AST) -> set[int]:
    """Numbers of the lines below `tree` that hold code."""
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
    """The lines of a node's docstring."""
    first = node.body[0] if node.body else None
    if (
        isinstance(first, ast.Expr)
        and isinstance(first.value, ast.Constant)
        and isinstance(first.value.value, str)
    ):
        return range(first.lineno, (first.end_lineno or first.lineno) + 1)
    return range(0)


if __name__ == "__main__":
    main()

"""Print how heavy and how dense the project is; fail if it is above a ceiling of pyproject.toml.

Weight is counted in tokens and statements, not in lines: tokens are those of `ast.unparse` without
docstrings, so wrapping, commas and comments change nothing. Densities are numbers per 1,000
statements of the source that make code hard to read at first sight; the last one is the percentage
of functions of 25 lines or more that have no blank line. `[tool.etude.sizes]` has the ceilings,
which only fall. Every CI log has the table, so growth is visible.
"""

from __future__ import annotations

import ast
import io
import sys
import tokenize
import tomllib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

PROJECT = Path(__file__).parents[1]
SOURCES = ("src/etude", "packages/etude-openai/src")
"""The folders of what is installed: densities are theirs together."""
LAYOUT = {
    tokenize.COMMENT,
    tokenize.NL,
    tokenize.NEWLINE,
    tokenize.INDENT,
    tokenize.DEDENT,
    tokenize.ENCODING,
    tokenize.ENDMARKER,
}
COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
LONG_FUNCTION = 25
"""Lines from which a function counts as long."""
MANY_ARGUMENTS = 6
"""Positional arguments from which a call counts as hard to read."""
NUM_LARGEST = 15
"""The number of the largest modules that are printed."""


def main() -> None:
    """Print the weight of every folder, the densities of the package, and each broken ceiling."""
    settings = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))
    ceilings = settings["tool"]["etude"]["sizes"]
    errors = []
    for folder, limits in ceilings["weight"].items():
        counts = count_folder(PROJECT / folder)
        errors += check_weight(folder, counts, limits)

    print_rooms(PROJECT / SOURCES[0])
    sources: Counter[str] = Counter()
    for folder in SOURCES:
        sources += count_folder(PROJECT / folder)
    errors += check_densities(sources, ceilings["densities"])
    if errors:
        sys.exit("\n".join(errors))


def check_weight(folder: str, counts: Counter[str], limits: dict[str, int]) -> Iterator[str]:
    """Print the tokens and statements of a folder; yield an error for each above its limit."""
    for name, limit in limits.items():
        number = counts[name]
        print(f"{folder}: {number:,} {name}, at most {limit:,}")
        if number > limit:
            yield f"{folder} has {number:,} {name}, above {limit:,} in pyproject.toml: remove some."


def check_densities(counts: Counter[str], limits: dict[str, float]) -> Iterator[str]:
    """Print each density of the source; yield an error for each above its limit."""
    for name, density in compute_densities(counts).items():
        limit = limits[name]
        print(f"{name}: {density:.1f}, at most {limit:g}")
        if round(density, 1) > limit:
            yield f"The source has {density:.1f} {name}, above {limit:g} in pyproject.toml."


def compute_densities(counts: Counter[str]) -> dict[str, float]:
    """Compute shapes per 1,000 statements, and the percentage of long functions in one block."""
    thousands = max(counts["statements"], 1) / 1000
    names = (
        "parallel-assignments",
        "conditional-expressions",
        "comprehensions",
        "nested-comprehensions",
        "lambdas",
        "many-positional-arguments",
    )
    densities = {name: counts[name] / thousands for name in names}
    share = counts["long-functions-in-one-block"] / max(counts["long-functions"], 1)
    return {**densities, "long-functions-in-one-block": 100 * share}


def print_rooms(folder: Path) -> None:
    """Print the tokens of each folder below the package, and of its largest modules."""
    rooms: Counter[str] = Counter()
    modules: Counter[str] = Counter()
    for path in sorted(folder.rglob("*.py")):
        place = path.relative_to(folder)
        tokens = count_file(path)["tokens"]
        rooms[place.parts[0]] += tokens
        modules[str(place)] = tokens

    for name, tokens in rooms.most_common():
        print(f"{name:24} {tokens:8,}")
    print("largest modules:")
    for name, tokens in modules.most_common(NUM_LARGEST):
        print(f"{name:40} {tokens:8,}")


def count_folder(folder: Path) -> Counter[str]:
    """Count tokens, statements and shapes of all Python files below a folder."""
    counts: Counter[str] = Counter()
    for path in sorted(folder.rglob("*.py")):
        counts += count_file(path)
    return counts


def count_file(path: Path) -> Counter[str]:
    """Count tokens, statements and shapes of one file."""
    text = path.read_text(encoding="utf-8")
    tree = ast.parse(text)
    counts = count_shapes(tree, lines=text.split("\n"))

    remove_docstrings(tree)
    counts["statements"] = sum(isinstance(node, ast.stmt) for node in ast.walk(tree))
    readline = io.StringIO(ast.unparse(tree)).readline
    tokens = tokenize.generate_tokens(readline)
    counts["tokens"] = sum(token.type not in LAYOUT for token in tokens)
    return counts


def count_shapes(tree: ast.AST, lines: list[str]) -> Counter[str]:
    """Count the shapes that make code dense. `lines` are those of the file, for blank lines."""
    counts: Counter[str] = Counter()
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign):
            is_parallel = isinstance(node.targets[0], ast.Tuple)
            counts["parallel-assignments"] += is_parallel and isinstance(node.value, ast.Tuple)
        elif isinstance(node, ast.IfExp):
            counts["conditional-expressions"] += 1
        elif isinstance(node, COMPREHENSIONS):
            counts["comprehensions"] += 1
            counts["nested-comprehensions"] += is_nested(node)
        elif isinstance(node, ast.Lambda):
            counts["lambdas"] += 1
        elif isinstance(node, ast.Call):
            counts["many-positional-arguments"] += len(node.args) >= MANY_ARGUMENTS
        elif isinstance(node, FUNCTIONS):
            end = node.end_lineno or node.lineno
            if end - node.lineno + 1 >= LONG_FUNCTION:
                body = lines[node.body[0].lineno - 1 : end]
                counts["long-functions"] += 1
                counts["long-functions-in-one-block"] += all(line.strip() for line in body)
    return counts


def is_nested(node: ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp) -> bool:
    """Whether a comprehension contains another one, or has several loops."""
    inner = [child for child in ast.walk(node) if isinstance(child, COMPREHENSIONS)]
    return len(inner) > 1 or len(node.generators) > 1


def remove_docstrings(tree: ast.AST) -> None:
    """Remove all strings that stand alone: docstrings, and texts below fields."""
    for node in ast.walk(tree):
        for name in ("body", "orelse", "finalbody"):
            body = getattr(node, name, None)
            if not isinstance(body, list):
                continue
            rest = [child for child in body if not is_text(child)]
            if not rest and name == "body" and body:
                rest = [ast.Pass()]
            setattr(node, name, rest)


def is_text(node: ast.AST) -> bool:
    """Whether a statement is nothing but a string."""
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )


if __name__ == "__main__":
    main()

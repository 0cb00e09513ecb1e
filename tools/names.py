"""Count properties of the project's names, and fail beyond the limits in pyproject.toml
(`[tool.etude.names]`).

    python tools/names.py [FOLDER ...] [--worst N]

The counts can show that names become worse, but not that they are good. All are shares, in percent.
"""

from __future__ import annotations

import argparse
import ast
import io
import re
import sys
import tokenize
import tomllib
from collections import Counter, defaultdict
from pathlib import Path

ROOT = Path(__file__).parents[1]
SOURCES = (ROOT / "src" / "etude", ROOT / "packages" / "etude-openai" / "src")
# Vague names: words for how a value was obtained, or for nothing, instead of what the value is.
VAGUE_NAMES = frozenset(
    """
    found known given made kept left said told asked held taken begun shown wanted written used
    noted done seen read meant chosen drawn beside around further others more rest own old new both
    each one other whole part parts most least few alone apart near like some place at what who why
    where when of by
    """.split()  # noqa: SIM905 - read as words
)
PARTICIPLE = re.compile(r"_?[a-z]+(ed|ept|eld|ound|iven|awn|own|old|aid)")
VERBS = frozenset(
    """
    get set load read write make build create check find parse run is has add remove save send
    format render compute to from validate update start stop print show open close resolve apply
    split choose measure fit train export convert merge register handle init generate delete list
    encode decode report tell ask answer score count mask plan
    """.split()  # noqa: SIM905 - read as words
)
Function = (ast.FunctionDef, ast.AsyncFunctionDef)


class Names:
    """The names in the modules below a folder and their counts, collected module by module."""

    def __init__(self) -> None:
        self.locals: Counter[str] = Counter()
        self.functions: Counter[str] = Counter()
        self.classes: Counter[str] = Counter()
        self.lines = self.comment_lines = self.import_lines = self.private_used_once = 0
        self.vague_locations: dict[str, list[str]] = defaultdict(list)

    def add_module(self, path: Path) -> None:
        """Counts one module."""
        text = path.read_text(encoding="utf-8")
        tree = ast.parse(text)
        self.lines += text.count("\n")
        tokens = tokenize.generate_tokens(io.StringIO(text).readline)
        self.comment_lines += sum(token.type == tokenize.COMMENT for token in tokens)
        self.classes.update(node.name for node in tree.body if isinstance(node, ast.ClassDef))
        uses: Counter[str] = Counter()
        private: list[str] = []
        for node in ast.walk(tree):
            match node:
                case ast.Name(id=name, ctx=ast.Store()):
                    self._add_local(name, f"{path}:{node.lineno}")
                case ast.Name(id=name, ctx=ast.Load()) | ast.Attribute(attr=name):
                    uses[name] += 1
                case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                    self.functions[name] += 1
                    if name.startswith("_") and not name.startswith("__"):
                        private.append(name)
                case ast.Import() | ast.ImportFrom():
                    self.import_lines += (node.end_lineno or node.lineno) - node.lineno + 1
        self.private_used_once += sum(uses[name] == 1 for name in private)

    def _add_local(self, name: str, location: str) -> None:
        self.locals[name] += 1
        if name in VAGUE_NAMES:
            self.vague_locations[name].append(location)

    def shares(self) -> dict[str, float]:
        """Returns the shares in percent, by the keys of `[tool.etude.names]`."""
        num_functions = self.functions.total()
        verbs = sum(num for name, num in self.functions.items() if _first_word(name) in VERBS)
        participles = sum(num for name, num in self.functions.items() if PARTICIPLE.fullmatch(name))
        shared_classes = sum(num for num in self.classes.values() if num > 1)
        return {
            "vague-locals": 100
            * sum(map(len, self.vague_locations.values()))
            / self.locals.total(),
            "participle-functions": 100 * participles / num_functions,
            "verb-functions": 100 * verbs / num_functions,
            "shared-classes": 100 * shared_classes / max(self.classes.total(), 1),
            "private-used-once": 100 * self.private_used_once / num_functions,
            "comment-lines": 100 * self.comment_lines / self.lines,
            "import-lines": 100 * self.import_lines / self.lines,
        }


def main() -> None:
    """Prints the shares and their limits. Exits with 1 if one is beyond its limit."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folders", type=Path, nargs="*", default=SOURCES)
    parser.add_argument(
        "--worst", type=int, default=0, help="list the N most frequent vague names with locations"
    )
    args = parser.parse_args()
    names = Names()
    for folder in args.folders:
        for path in sorted(folder.rglob("*.py")):
            names.add_module(path)
    limits = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["etude"][
        "names"
    ]
    beyond = []
    for key, share in names.shares().items():
        low, high = limits[key]
        print(f"{key:22}{share:6.1f}%   limits {low:g} to {high:g}")
        if not low <= share <= high:
            beyond.append(key)
    worst = sorted(names.vague_locations.items(), key=lambda pair: -len(pair[1]))
    for name, locations in worst[: args.worst]:
        print(f"{len(locations):5} {name}: {', '.join(locations[:4])}")
    if beyond:
        sys.exit(
            f"Beyond the limits of pyproject.toml: {', '.join(beyond)}. Rename, or run with "
            "--worst 20."
        )


def _first_word(function: str) -> str:
    return "" if function.startswith("__") else function.removeprefix("_").partition("_")[0]


if __name__ == "__main__":
    main()

"""Write the generated parts of the documentation: commands, methods and models, kinds of finding,
the map of the code.

`python tools/docs.py --check` writes nothing, and fails if a page differs from the generated one.
"""

from __future__ import annotations

import ast
import io
import os
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import redirect_stdout
from pathlib import Path
from unittest.mock import patch

from api_tables import FIELD_TITLES, ROUTE_TITLES, list_field_rows, list_route_rows

from etude.checks import CHECKS, FindingKind
from etude.checks.kinds import ALL, SEVERITIES
from etude.cli import main as etude
from etude.methods import METHODS, Method
from etude.models.backend import CAPABILITIES
from etude.models.registry import BACKENDS

PROJECT = Path(__file__).parents[1]
sys.path.insert(0, str(PROJECT / "tests" / "properties"))

from test_structure import ORDER  # noqa: E402 - the order of imports, which that test checks

DOCS = PROJECT / "docs"
ROOT = PROJECT / "src" / "etude"
COMMANDS = (
    *(
        "",
        "init",
        "check",
        "import",
        "import openai",
        "convert",
        "index",
        "make",
        "compare",
        "train",
        "test",
        "card",
        "chat",
        "predict",
        "serve",
    ),
    *("watch", "export", "studio", "mcp"),
    *("feedback", "feedback list", "feedback apply", "feedback export"),
    *("runs", "runs list", "runs show", "runs compare", "runs promote"),
)
INTRODUCTION = """# Commands

Written by `make docs` from the commands' own help. Exit codes:

| code | meaning |
| --- | --- |
| 0 | success |
| 1 | a target or gate was missed, a method of `etude compare` failed, \
`--fail-on` matches, or you answered no |
| 2 | an error in the input, or a file that cannot be read or written |
| 3 | a bug in Étude |
| 130 | stopped by Ctrl-C |
"""


METHODS_TABLE = """# Methods and models

Written by `make docs` from the docstrings of the methods and the capabilities of the model
backends.

## Methods

Simplest first. Every method uses the rows, the contract, `kind`, `instructions`, `max_tokens` and
`seed`; the last column lists the other keys of the [task file](task-file.md) that change its
result. To write one: [add a method](architecture.md#add-a-method).

"""
BACKENDS_HEAD = """
## Model backends

The name under `model:` decides which backend answers. What each can do:

"""


def commands(_: str) -> str:
    """Builds the page of commands."""
    parts = [INTRODUCTION]
    for command in COMMANDS:
        name = f"etude {command}".strip()
        parts.append(f"## {name}\n\n```text\n{help_of(command)}\n```\n")
    return "\n".join(parts)


def methods(_: str) -> str:
    """Builds the page of methods and backends."""
    steps = [
        (
            f"`{each.name}`",
            each.label,
            summary(each),
            yes(each.asks_model),
            yes(each.tuned),
            keys(each),
        )
        for each in METHODS
    ]
    titles = (
        "method",
        "in reports",
        "what it does",
        "asks a language model",
        "changes weights",
        "keys",
    )
    backends = [
        (each.name, each.names, *(yes(capability in each.can) for capability in CAPABILITIES))
        for each in BACKENDS
    ]
    tables = table(titles, steps), table(("backend", "names", *CAPABILITIES.values()), backends)
    return f"{METHODS_TABLE}{tables[0]}{BACKENDS_HEAD}{tables[1]}"


def checks(page: str) -> str:
    """Replaces the table of kinds in the page of checks: one row per name, or per family of names
    with one description.
    """
    rows: dict[str, list[tuple[FindingKind, Sequence[str]]]] = {}
    for check in CHECKS:
        for kind in check.kinds:
            alike = sum(kind.description == other.description for other in check.kinds) > 1
            name = f"{kind.name.partition('_')[0]}_*" if alike else kind.name
            rows.setdefault(name, []).append((kind, check.tasks))
    titles = ("kind", "severity", "what it reports", "tasks", "`--fix`")
    text = table(titles, [kind_row(name, found) for name, found in rows.items()])
    return re.sub(
        r"(?<=<!-- kinds -->\n).*(?=<!-- /kinds -->)", lambda _: text, page, flags=re.DOTALL
    )


def kind_row(name: str, found: Iterable[tuple[FindingKind, Sequence[str]]]) -> Sequence[str]:
    """Returns the descriptions of a kind by all checks that find it."""
    kinds, tasks = zip(*found, strict=True)
    severities = ", ".join(one for one in SEVERITIES if any(one in kind.severity for kind in kinds))
    looked_at = [kind for kind in ALL if any(kind in each for each in tasks)]
    where = "all" if len(looked_at) == len(ALL) else ", ".join(looked_at)
    return (
        f"`{name}`",
        severities,
        kinds[0].description.replace("|", r"\|"),
        where,
        yes(kinds[0].fixable),
    )


def summary(method: Method) -> str:
    """Returns the first paragraph of a method's docstring on one line."""
    return " ".join((method.__doc__ or "").partition("\n\n")[0].split())


def keys(method: Method) -> str:
    """Formats keys of the task file as code."""
    return ", ".join(f"`{key}`" for key in method.keys)


def yes(flag: bool) -> str:
    """Formats a cell of a table."""
    return "yes" if flag else ""


def table(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Formats a table in Markdown."""
    lines = [titles, ["---"] * len(titles), *rows]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def help_of(command: str) -> str:
    """Returns the help of a command, 90 characters wide, without trailing white space."""
    printed = io.StringIO()
    with patch.dict(os.environ, COLUMNS="90", NO_COLOR="1"), redirect_stdout(printed):
        etude([*command.split(), "--help"])
    return "\n".join(line.rstrip() for line in printed.getvalue().strip().splitlines())


def architecture(page: str) -> str:
    """Replaces the map in the page of the architecture: every package, in the order of imports, and
    its docstring.
    """
    rows = []
    for unit in ORDER:
        rows += (
            [(f"{unit}.py", ROOT / f"{unit}.py")]
            if (ROOT / f"{unit}.py").exists()
            else folders(ROOT / unit)
        )
    width = max(len(name) for name, _ in rows) + 2
    lines = [f"{name:{width}}{first_sentence(path)}" for name, path in rows]
    tree = "\n".join(("<!-- map -->", "```text", *lines, "```", "<!-- /map -->"))
    return re.sub("<!-- map -->.*?<!-- /map -->", lambda _: tree, page, flags=re.DOTALL)


def hosted(page: str) -> str:
    """The page of the hosted API with the tables of what is served."""
    routes = table(ROUTE_TITLES, list_route_rows())
    fields = table(FIELD_TITLES, list_field_rows())
    tables = f"<!-- conformance -->\n\n{routes}\n{fields}\n<!-- /conformance -->"
    return re.sub(
        "<!-- conformance -->.*<!-- /conformance -->", lambda _: tables, page, flags=re.DOTALL
    )


def folders(package: Path) -> list[tuple[str, Path]]:
    """Lists a package and its inner packages: the name to print, and the file with the
    docstring.
    """
    inner = sorted(path.parent for path in package.glob("*/__init__.py"))
    rows = [(f"{package.name}/", package), *((f"  {folder.name}/", folder) for folder in inner)]
    return [(name, folder / "__init__.py") for name, folder in rows]


def first_sentence(path: Path) -> str:
    """Returns the first sentence of a module's docstring, without its full stop."""
    doc = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return re.split(r"\.(?:\s|$)|\n\n", doc, maxsplit=1)[0].replace("\n", " ")


WRITERS: Mapping[str, Callable[[str], str]] = {
    "commands.md": commands,
    "methods.md": methods,
    "checks.md": checks,
    "architecture.md": architecture,
    "hosted.md": hosted,
}
"""Page -> the function that builds the new page from the current page."""


def main() -> None:
    """Writes the pages, or only compares them."""
    for name, write in WRITERS.items():
        page = DOCS / name
        before = page.read_text(encoding="utf-8")
        after = write(before)
        if "--check" not in sys.argv:
            page.write_text(after, encoding="utf-8")
        elif after != before:
            sys.exit(f"{page} is not what the code says. Run: make docs")


if __name__ == "__main__":
    main()

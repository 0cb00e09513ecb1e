"""The shape of the project: which module may import which, what loads at start, what the map
names.
"""

import ast
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

from etude.task import METHOD_NAMES

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "etude"
ORDER = (
    *(
        "errors",
        "types",
        "base",
        "cluster",
        "web",
        "text",
        "task",
        "privacy",
        "data",
        "stats",
        "metrics",
    ),
    *(
        "render",
        "models",
        "index",
        "limits",
        "assistant",
        "evaluate",
        "training",
        "methods",
        "runs",
    ),
    *(
        "checks",
        "repair",
        "report",
        "answer_file",
        "tool_loop",
        "plays",
        "feedback",
        "make",
        "comparison",
        "tuning",
        "suites",
        "watch",
        "export",
    ),
    *("serve", "studio", "mcp_server", "cli"),
)
"""Each may import only from the left."""
SIBLINGS = {"comparison", "tuning", "suites"}
"""All stand on runs and methods, and none imports another."""
MODULES = sorted(SOURCE.rglob("*.py"))


def get_unit(path: Path) -> str:
    """The top-level module or package that a file belongs to."""
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


@cache
def list_imports(path: Path) -> list[ast.Import | ast.ImportFrom]:
    """The imports of a file, wherever in it."""
    nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    return [node for node in nodes if isinstance(node, ast.Import | ast.ImportFrom)]


def list_imported_units(path: Path) -> set[str]:
    """Top-level modules of etude that a file imports, wherever in the file."""
    units = set()
    for node in list_imports(path):
        names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        units |= {name.split(".")[1] for name in names if name.startswith("etude.")}
    return units


def list_imported_modules(path: Path) -> set[str]:
    """Modules that a file imports from, as `from a.b import name` and as `from a import b`,
    wherever in the file.
    """
    imports = [
        node for node in list_imports(path) if isinstance(node, ast.ImportFrom) and node.module
    ]
    return {
        module
        for node in imports
        for module in (node.module, *(f"{node.module}.{a.name}" for a in node.names))
    }


def test_a_module_imports_only_from_its_left() -> None:
    units = {get_unit(path) for path in MODULES} - {"__init__", "__main__"}
    assert units <= set(ORDER), "a module is missing in the order of imports"
    wrong = [
        f"{path.relative_to(SOURCE)} imports {imported}"
        for path in MODULES
        for own_unit in {get_unit(path)} & units
        for imported in list_imported_units(path) - {own_unit}
        if ORDER.index(imported) > ORDER.index(own_unit) or {own_unit, imported} <= SIBLINGS
    ]
    assert not wrong, "these stand to the right or beside"


def test_help_and_import_load_neither_torch_nor_the_statistics() -> None:
    code = (
        "import sys, etude, etude.cli\n"
        "heavy = {'torch', 'transformers', 'sklearn', 'scipy', 'numpy', 'rich'} & "
        "set(sys.modules)\n"
        "sys.exit(','.join(sorted(heavy)) or 0)"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, f"loaded at start: {result.stderr}"


def test_no_folder_holds_more_than_fourteen_modules() -> None:
    for folder in {path.parent for path in MODULES} - {SOURCE}:
        modules = [path.name for path in folder.glob("*.py") if path.name != "__init__.py"]
        assert len(modules) <= 14, f"{folder} holds {len(modules)}"


def test_no_file_of_ours_unpickles_or_runs_remote_code() -> None:
    for path in MODULES:
        text = path.read_text(encoding="utf-8")
        assert "import pickle" not in text
        assert "trust_remote_code=True" not in text
        assert "torch.load(" not in text


ALLOWED = {
    ("tuning/train.py", "fine_tune"),  # etude train is this method by itself
    ("comparison/evidence.py", "baseline"),  # which is fitted a second time, on fewer rows
    ("methods/baseline.py", "classical"),  # which fits what the backend answers with
    ("methods/shared/encoder_method.py", "classical"),  # which saves it
    ("make/gates.py", "classical"),  # whose classifier judges the labels of made rows
    ("methods/tag.py", "classical"),  # likewise
    ("training/classifier.py", "classical"),  # which trains it
    ("export/targets.py", "loading"),  # as are those that are exported
}


def test_no_module_outside_names_a_method_or_a_backend() -> None:
    """Everyone else goes through the ladder and the registry, and asks what a method or a backend
    says of itself.
    """
    owners = {f"etude.methods.{name}": "methods" for name in METHOD_NAMES}
    owners |= {
        f"etude.models.{name}": "models"
        for name in ("fake", "classical", "local.model", "local.loading")
    }
    imports = {
        (str(path.relative_to(SOURCE)), module.rpartition(".")[2])
        for path in MODULES
        for module in list_imported_modules(path) & owners.keys()
        if get_unit(path) != owners[module]
    }
    assert imports == ALLOWED


def test_no_module_names_a_package_that_extends_it() -> None:
    named = [path.name for path in MODULES if "etude_openai" in path.read_text(encoding="utf-8")]
    assert not named, "packages are found by their entry points"


def test_one_module_imports_ray() -> None:
    for path in MODULES:
        text = path.read_text(encoding="utf-8")
        names = {
            line.split()[1].partition(".")[0]
            for line in text.splitlines()
            if line.strip().startswith(("import ", "from "))
        }
        assert "ray" not in names or path == SOURCE / "cluster.py", f"{path} imports ray"


def test_no_two_modules_import_each_other() -> None:
    """Wherever in the file the import stands; names of a package count for the module they come
    from.
    """
    names = {
        ".".join(path.relative_to(SOURCE.parent).with_suffix("").parts): path for path in MODULES
    }
    imports = {name: list_imported_modules(path) & names.keys() for name, path in names.items()}
    pairs = [
        (first, second)
        for first in imports
        for second in imports[first]
        if first in imports[second]
    ]
    assert not pairs


def test_a_public_method_that_is_no_property_has_a_docstring() -> None:
    bare = [
        f"{path.relative_to(SOURCE)}:{method.lineno} {method.name}"
        for path in SOURCE.rglob("*.py")
        for owner in ast.parse(path.read_text(encoding="utf-8")).body
        if isinstance(owner, ast.ClassDef) and not owner.name.startswith("_")
        for method in owner.body
        if isinstance(method, ast.FunctionDef | ast.AsyncFunctionDef)
        and not method.name.startswith("_")
        if not re.search(
            "property|overload|override", " ".join(map(ast.unparse, method.decorator_list))
        )
        if ast.get_docstring(method) is None
    ]
    assert not bare

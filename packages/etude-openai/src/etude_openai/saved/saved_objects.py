"""A folder of objects saved from OpenAI's API: evals, runs, output items, jobs, files.

A .json file contains an object of the API, a list of objects or a page of a list; a .jsonl file
contains objects or rows, one per line. The field `object` distinguishes objects. The names of files
do not matter, with one exception: a file of rows is found by its id or by the filename in its
object.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

from etude.base.files import Json
from etude.errors import Issue, quote_value

REQUIRED: Mapping[str, Mapping[str, type]] = {
    "eval": {"id": str, "testing_criteria": list},
    "eval.run": {"id": str, "eval_id": str, "data_source": dict},
    "eval.run.output_item": {
        "run_id": str,
        "eval_id": str,
        "datasource_item": dict,
        "sample": dict,
    },
    "fine_tuning.job": {"id": str, "training_file": str},
    "file": {"id": str, "filename": str},
}
"""Kind of object -> the required fields."""


@dataclass(frozen=True)
class SavedObject:
    """One object of a file."""

    body: Json
    location: str
    """`file:line`."""


@dataclass
class SavedFolder:
    """All objects of a folder, and the errors so far."""

    folder: Path
    objects: dict[str, list[SavedObject]] = field(default_factory=dict)
    """Kind of object -> objects, in the order of the files."""
    row_files: list[Path] = field(default_factory=list)
    issues: list[Issue] = field(default_factory=list)

    def get(self, kind: str) -> list[SavedObject]:
        """Return the objects of a kind."""
        return self.objects.get(kind, [])

    def add_issue(self, location: str, message: str, value: str, remedy: str) -> None:
        """Adds an error."""
        self.issues.append(Issue(location, message, value, remedy))

    def find_rows(self, owner: SavedObject, file_id: str, role: str) -> Path | None:
        """Return the file of rows with an id, found by its name or by the filename in the object of
        the file. If there is none, return None and add an error about the `owner`, which uses the
        file in this `role`.
        """
        names = {
            saved.body["filename"] for saved in self.get("file") if saved.body["id"] == file_id
        }
        files = [
            file for file in self.row_files if file.name.startswith(file_id) or file.name in names
        ]
        if not files:
            remedy = f"save it in the folder as {file_id}.jsonl, or remove the id from this object"
            self.add_issue(owner.location, f"{role} is not in the folder", file_id, remedy)
        return files[0] if files else None

    def read_json_lines(self, file: Path) -> Iterator[tuple[int, Any]]:
        """Yield (line number, value) of a file without blank lines; lines that are not JSON become
        errors.
        """
        for number, line in enumerate(file.read_text(encoding="utf-8-sig").split("\n"), start=1):
            try:
                if line.strip():
                    yield number, json.loads(line)
            except (ValueError, RecursionError) as error:
                location = f"{file.relative_to(self.folder)}:{number}"
                self.add_issue(
                    location, "not JSON", str(error), "save the line again, or remove it"
                )

    def read_document(self, file: Path) -> Iterator[tuple[int, Any]]:
        """Yield (line number, value) of a JSON file; for a list or a page of a list, one for each
        item.
        """
        text = file.read_text(encoding="utf-8-sig")
        value = None
        try:
            value = json.loads(text)
        except (ValueError, RecursionError) as error:
            location = f"{file.relative_to(self.folder)}:{getattr(error, 'lineno', 1)}"
            self.add_issue(location, "not JSON", str(error), "save the file again, or remove it")
        value = (
            value["data"]
            if isinstance(value, dict) and isinstance(value.get("data"), list)
            else value
        )
        line = 1
        begin = 0
        for body in value if isinstance(value, list) else [value]:
            # The location of an object is the line of its id.
            name = json.dumps(body.get("id") if isinstance(body, dict) else None)
            position = max(begin, text.find(name, begin))
            line = line + text.count("\n", begin, position)
            begin = position
            yield line, body


def read_saved_folder(folder: Path, excluded: Path) -> SavedFolder:
    """Read the .json and .jsonl files of a folder and its subfolders, without `excluded`. Their
    errors are collected in `issues`; other objects and files are ignored.
    """
    saved = SavedFolder(folder)
    for file in sorted(folder.rglob("*")):
        if file.suffix not in (".json", ".jsonl") or excluded in file.parents:
            continue
        try:
            is_lines = file.suffix == ".jsonl"
            num_issues = len(saved.issues)
            lines = saved.read_json_lines(file) if is_lines else saved.read_document(file)
            first = next(lines, (0, None))
            if is_lines and _find_kind(first[1]) is None:
                saved.row_files.append(file)
                del saved.issues[num_issues:]  # the reader of rows reports them
                continue
            for line, body in chain([first], lines):
                _add(saved, file, line, body)
        except (OSError, UnicodeDecodeError) as error:
            name = str(file.relative_to(folder))
            saved.add_issue(name, "cannot be read", str(error), "save it as UTF-8, or remove it")
    return saved


def _find_kind(body: Any) -> str | None:
    fields = body if isinstance(body, dict) else {}
    return str(fields["object"]) if fields.get("object") in REQUIRED else None


def _add(saved: SavedFolder, file: Path, line: int, body: Any) -> None:
    kind = _find_kind(body)
    if kind is None:
        return
    location = f"{file.relative_to(saved.folder)}:{line}"
    wrong = [
        key for key, of_type in REQUIRED[kind].items() if not isinstance(body.get(key), of_type)
    ]
    for key in wrong:
        value = quote_value(body[key]) if key in body else "absent"
        message = f"the {kind} has no valid {key}"
        remedy = "save the object as the API returned it"
        saved.add_issue(location, message, value, remedy)
    if not wrong:
        saved.objects.setdefault(kind, []).append(SavedObject(body, location))

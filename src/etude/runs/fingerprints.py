"""The identity of a run: a hash of each part of the inputs on which its answers or its verdict
depend.

Parts are hashed as the task was read: comments, layout and the names of row files do not count.
`margin`, `target`, `usage` and `prices` change the verdict but not the answers; they also start a
new run, because a verdict is written only once. `limits` alone are added to a finished comparison
(`TaskRun.run`). For a check function and for tools, the Python files next to and below its file
count, and small data files there that its file mentions by name. Modules elsewhere on the path, and
file names that are built at run time, are not covered. The setting `stop_on_spike` of `train` does
not count: it changes no weights, and a run that a spike stopped resumes without it.
"""

import hashlib
import json
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, fields, is_dataclass
from pathlib import Path

from etude import __version__
from etude.data.dataset import Dataset
from etude.index.documents import list_files
from etude.models import registry, weights
from etude.runs.folder import FOLDER
from etude.task import Task
from etude.task.keys import KEYS
from etude.task.settings import SETTINGS_WITHOUT_EFFECT

HASH_DIGITS = 16
"""Hexadecimal digits of each hash."""
DATA_SUFFIXES = (".json", ".jsonl", ".csv", ".tsv", ".txt", ".yaml", ".yml")
MAX_DATA_BYTES = 1_000_000
"""Suffixes and maximum size of the data files of a check function that count."""


def compute_fingerprints(task: Task, dataset: Dataset, test: Dataset | None) -> dict[str, str]:
    """Compute a hash for each key of the task file. Equal hashes mean the same run."""
    by_value = {name for name, key in KEYS.items() if key.identity == "value"}
    settings = {
        field.name: getattr(task, field.name) for field in fields(task) if field.name in by_value
    }
    # Only settings that change the weights. If the rows have their own instructions, that decides
    # one setting.
    train = {
        name: value for name, value in task.train.items() if name not in SETTINGS_WITHOUT_EFFECT
    }
    train = {"instructions": "of the rows"} | train if task.own_system else train
    documents = task.documents
    judge = task.judge
    made = dataset.select([row.id for row in dataset if row.is_made], "made rows")
    # The other settings of services do not change answers or the verdict.
    prices = [(name, endpoint.prices) for name, endpoint in sorted(task.endpoints.items())]
    inputs = {
        **settings,
        "budget": task.budget_seconds,
        "train": sorted(train.items()),
        "examples": dataset.real.fingerprint,
        "test": test.fingerprint if test else None,
        "made_rows": made.fingerprint if len(made) else None,
        "model": registry.find_backend(task.model).identify(task.model, task.folder),
        "prompt_model": task.prompt_model
        and registry.find_backend(task.prompt_model).identify(task.prompt_model, task.folder),
        "reflect_with": task.reflect_with
        and registry.find_backend(task.reflect_with).identify(task.reflect_with, task.folder),
        "check": task.check and [task.check.function, *hash_code_files(task, task.check.file)],
        "tools": task.tools and [task.tools.name, *hash_code_files(task, task.tools.file)],
        "encoder": task.encoder and weights.identify_weights(task.encoder, task.folder),
        "prices": [task.prices, *prices] if prices else task.prices,
        "documents": documents
        and _hash_files(
            documents if documents.is_dir() else documents.parent, list_files(documents)
        ),
        "preferences": task.preferences and _hash_file(task.preferences),
        "version of Étude": __version__,
        "judge": judge
        and [judge.endpoint.name, judge.rubric, judge.labels and _hash_file(judge.labels)],
    }
    return {
        key: _hash_bytes(json.dumps(value, default=_to_json).encode())
        for key, value in inputs.items()
    }


def list_changes(before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """List the keys whose hashes differ."""
    return [key for key in {**now, **before} if before.get(key) != now.get(key)]


def hash_code_files(task: Task, code: Path) -> list[list[str]]:
    """Hash the Python files beside the user's code, which it may import, and the data files that
    its file mentions.
    """
    text = code.read_text(encoding="utf-8", errors="replace")
    # Files that are hashed under their own key do not count twice.
    excluded = {source.file.resolve() for source in (task.examples, task.test) if source}
    excluded.add(task.file.resolve())

    def is_data(file: Path) -> bool:
        # The name must not be part of a longer name.
        is_mentioned = re.search(rf"(?<![\w.-]){re.escape(file.name)}(?!\w)", text)
        is_small = file.is_file() and file.stat().st_size <= MAX_DATA_BYTES
        return bool(is_mentioned) and is_small and file.resolve() not in excluded

    files: list[Path] = []
    for folder, subfolders, names in os.walk(code.parent):
        paths = [Path(folder, name) for name in names]
        # Skip runs, hidden folders and virtual environments: they do not contain the user's code.
        subfolders[:] = [name for name in subfolders if name != FOLDER and not name.startswith(".")]
        subfolders[:] = [
            name for name in subfolders if not Path(folder, name, "pyvenv.cfg").exists()
        ]
        files += (file for file in paths if file.name.endswith(".py"))
        files += (file for file in paths if file.name.endswith(DATA_SUFFIXES) and is_data(file))
    return _hash_files(code.parent, files)


def _hash_files(folder: Path, files: Iterable[Path]) -> list[list[str]]:
    return [[file.relative_to(folder).as_posix(), _hash_file(file)] for file in sorted(files)]


def _hash_file(file: Path) -> str:
    return _hash_bytes(file.read_bytes())


def _hash_bytes(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()[:HASH_DIGITS]


def _to_json(value: object) -> object:
    # Keys keep their order, because a schema is described in this order.
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    assert isinstance(value, Mapping), f"{value!r} has no place in a task"
    return dict(value)

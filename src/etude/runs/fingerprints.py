"""What makes a run its own: a hash of every part of the inputs on which its answers or its verdict depend.

Parts are hashed by what they mean, as the task was read: comments, layout and the names of the files
of rows do not count. `margin`, `target`, `usage` and `prices` change the verdict and not the answers;
they start a new run too, since a run's verdict is written once and says what it was asked. Of a check
function the Python files beside and below it count, and the small files of data there that its own file
names; modules elsewhere on the path, and names put together while it runs, stay uncovered. Of `train`,
`stop_on_spike` does not count: it changes no weight, and a run that a spike has stopped goes on without it.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, fields, is_dataclass
from pathlib import Path
from typing import BinaryIO

from etude import __version__
from etude.data.dataset import Dataset
from etude.index.documents import files_of
from etude.models.weights import HUB_FILES
from etude.runs.folder import FOLDER
from etude.task import Judge, Task
from etude.task.settings import NO_WEIGHT

DIGITS = 16
"""Hexadecimal digits kept of each hash."""
BLOCKS, BLOCK = 64, 1 << 16
"""Of a file of weights so many blocks of so many bytes are read, evenly spread; of a smaller one all."""
DATA, DATA_MOST = (".json", ".jsonl", ".csv", ".tsv", ".txt", ".yaml", ".yml"), 1_000_000
"""Suffixes of data that a check function may read, and the most bytes of a file of it that counts."""
PLACES = (
    "folder",
    "file",
    "examples",
    "test",
    "model",
    "prompt_model",
    "check",
    "documents",
    "preferences",
    "encoder",
)
"""Fields of a Task that say where something is: what stands there counts."""
APART = (
    *PLACES,
    "notes",
    "remote",
    "endpoints",
    "budget_seconds",
    "own_system",
    "suite",
    "gates",
    "handover",
    "evidence",
    "judge",
)
"""Fields of a Task that do not count as they stand."""


def fingerprints(task: Task, dataset: Dataset, test: Dataset | None) -> dict[str, str]:
    """Key of the task file -> hash of what it stands for; runs whose parts are all equal are one run."""
    said = {field.name: getattr(task, field.name) for field in fields(task) if field.name not in APART}
    parts = {
        **said,
        "budget": task.budget_seconds,
        "train": _of_training(task),
        "examples": dataset.fingerprint,
        "test": test.fingerprint if test else None,
        "model": _weights(task.model, task.folder),
        "prompt_model": task.prompt_model and _weights(task.prompt_model, task.folder),
        "check": task.check and [task.check.function, *_read_by_check(task, task.check.file)],
        "encoder": task.encoder and _weights(task.encoder, task.folder),
        "prices": task.prices if not task.endpoints else [task.prices, *_prices_of(task)],
        "documents": task.documents and _documents(task.documents),
        "preferences": task.preferences and _digest(task.preferences.read_bytes()),
        "version of Étude": __version__,
        # Earlier runs know no such keys.
        **({"handover": task.handover} if task.handover else {}),
        **({"judge": _judge(task.judge)} if task.judge else {}),
        **({"evidence": task.evidence} if task.evidence == "full" else {}),
    }
    return {key: _digest(json.dumps(part, default=_plain).encode()) for key, part in parts.items()}


def _judge(judge: Judge) -> list[object]:
    labels = judge.labels and _digest(judge.labels.read_bytes())
    return [judge.endpoint.name, judge.rubric, labels]


def _prices_of(task: Task) -> list[tuple[str, object]]:
    """The prices of the endpoints; how else they may be asked changes no answer and no verdict."""
    return [(name, each.prices) for name, each in sorted(task.endpoints.items())]


def _of_training(task: Task) -> list[tuple[str, object]]:
    """The settings that bear on the weights, and whose the instructions are, where a setting follows from it."""
    given = {name: value for name, value in task.train.items() if name not in NO_WEIGHT}
    own = {"instructions": "of the rows"} if task.own_system else {}
    return sorted((own | given).items())


def changed(before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """The parts that differ."""
    return [key for key in {**now, **before} if before.get(key) != now.get(key)]


def _weights(name: str, folder: Path) -> object:
    """The name of a model; for files of the user's their place, seen from the task, and a sample of them.

    The sample stands for the whole, which may take minutes to read: training moves nearly every
    weight, and the first block holds the header. Times do not count, so that a copy is the same model.
    """
    path = Path(name)
    if not (path.is_absolute() and path.exists()):
        return name
    files = sorted(file for pattern in HUB_FILES for file in path.glob(pattern)) if path.is_dir() else [path]
    return [os.path.relpath(path, folder), *([file.name, _sampled(file)] for file in files)]


def _sampled(file: Path) -> str:
    size = file.stat().st_size
    with file.open("rb") as stream:
        return _digest(b"".join([b"%d " % size, *_blocks(stream, size)]))


def _blocks(stream: BinaryIO, size: int) -> Iterator[bytes]:
    for start in range(0, size, max(size // BLOCKS, BLOCK)):
        stream.seek(start)
        yield stream.read(BLOCK)


def _documents(path: Path) -> list[list[str]]:
    """The documents, which a check function may read."""
    return _contents(path if path.is_dir() else path.parent, files_of(path))


def _read_by_check(task: Task, check: Path) -> list[list[str]]:
    """The Python files that a check function beside them may import, and the data that its own file names."""
    apart = {source.file.resolve() for source in (task.examples, task.test) if source} | {task.file.resolve()}
    text = check.read_text(encoding="utf-8", errors="replace")
    found: list[Path] = []
    for place, below, files in os.walk(check.parent):
        below[:] = [name for name in below if _holds_code(Path(place, name))]
        found += (Path(place, name) for name in files if name.endswith(".py"))
        data = (Path(place, name) for name in files if name.endswith(DATA) and _named(name, text))
        found += (file for file in data if _small(file) and file.resolve() not in apart)
    return _contents(check.parent, found)


def _small(file: Path) -> bool:
    return file.is_file() and file.stat().st_size <= DATA_MOST


def _named(name: str, text: str) -> bool:
    """Whether a text holds a file's name, not as a part of a longer one."""
    return re.search(rf"(?<![\w.-]){re.escape(name)}(?!\w)", text) is not None


def _holds_code(folder: Path) -> bool:
    """Whether a folder may hold code of the user's: no runs, no hidden folder, no virtual environment."""
    return not (folder.name == FOLDER or folder.name.startswith(".") or (folder / "pyvenv.cfg").exists())


def _contents(folder: Path, files: Iterable[Path]) -> list[list[str]]:
    return [[file.relative_to(folder).as_posix(), _digest(file.read_bytes())] for file in sorted(files)]


def _digest(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()[:DIGITS]


def _plain(value: object) -> object:
    """Values of a task as JSON; keys keep their order, in which a schema is put into words."""
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    assert isinstance(value, Mapping), f"{value!r} has no place in a task"
    return dict(value)

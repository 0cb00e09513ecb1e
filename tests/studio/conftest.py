"""A task of the fake model with a complete run, for the tests of the studio."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from etude.comparison.compare import compare
from etude.feedback import FILE
from small_task import write_task


@pytest.fixture(scope="session")
def compared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The task file; tests change nothing beside it but what `task` removes."""
    more = "methods: [baseline, prompt]\nmetric: exact_match\n"
    task = write_task(tmp_path_factory.mktemp("studio") / "task", more=more)
    compare(task)
    return task


@pytest.fixture
def task(compared: Path) -> Iterator[Path]:
    """The task file, without feedback and queue of other tests."""
    yield compared
    for file in (compared.parent / FILE, *(compared.parent / "runs").glob("studio.*")):
        file.unlink(missing_ok=True)

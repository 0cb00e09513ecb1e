"""The latest `etude test` of an assistant, for the page of tests."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from etude.base.files import Json, read_json, read_lines
from etude.runs import Run
from etude.runs.folder import TESTS

MAX_DISPLAYED = 100  # failures on the page


@dataclass(frozen=True)
class SuiteResult:
    """The latest test of a method."""

    num_cases: int
    failed: tuple[Json, ...]  # lines of results.jsonl
    gates: tuple[Json, ...]  # each with gate, outcome and detail
    labels: Mapping[str, str] = field(default_factory=dict)  # measure -> what it means

    @property
    def first_failures(self) -> tuple[Json, ...]:
        return self.failed[:MAX_DISPLAYED]


def suite_folder(run: Run, method: str) -> Path:
    """The folder of a method's test."""
    return run.folder / TESTS / method


def load_suite_result(run: Run, method: str) -> SuiteResult | None:
    """Load the test of a method; None if there is none. Raises RunError if it cannot be read."""
    folder = suite_folder(run, method)
    if not (folder / "test.json").exists():
        return None
    lines = list(read_lines(folder / "results.jsonl"))
    failed = tuple(line for line in lines if not line["assistant"]["passed"])
    test = read_json(folder / "test.json")
    labels = {measure["name"]: measure["label"] for measure in test["measures"]}
    return SuiteResult(len(lines), failed, tuple(test["gates"]), labels)

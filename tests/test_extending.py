"""A method and a model backend of one's own: few lines each, added through the public door."""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from etude.assistant import Assistant
from etude.comparison import compare
from etude.data.dataset import Dataset
from etude.errors import ModelError
from etude.methods import METHODS, Candidate, FitContext, Method
from etude.models.backend import BatchedModel
from etude.models.registry import BACKENDS, Backend, register
from etude.task import Task
from etude.types import Completion, ModelRef, Request
from small_task import write_task


class Loud(Method):
    """The instructions in capitals."""

    name = "loud"
    label = "The prompt in capitals"

    def fit(
        self, task: Task, train: Dataset, dev: Dataset, start: Assistant, context: FitContext
    ) -> Assistant:
        """Builds on the best prompt so far."""
        loud = replace(start, method=self.name, instructions=start.instructions.upper())
        return context.choose([Candidate("in capitals", loud)], dev).assistant


class Echo(BatchedModel):
    """Answers with the question."""

    def complete(self, requests: Sequence[Request]) -> list[Completion]:
        """The last turn of each request."""
        return [Completion(each.messages[-1].content, "stop", 1, 0, 1, 0.0, 0.0) for each in requests]


def echo(ref: ModelRef, models: object) -> Echo:
    return Echo(ref.name)


ECHO = Backend("echo", "echo:ANYTHING", lambda name: name.startswith("echo:"), echo, can=("generate",))


@pytest.fixture
def _registered() -> Iterator[None]:
    """Echo among the backends, until the test has ended."""
    before = list(BACKENDS)
    register(ECHO)
    yield
    BACKENDS[:] = before


def test_a_method_and_a_backend_are_few_lines() -> None:
    assert all(len(inspect.getsource(own).splitlines()) <= 15 for own in (Loud, Echo))


def test_a_method_of_ones_own_climbs_like_the_built_in_ones(tmp_path: Path) -> None:
    run = compare(write_task(tmp_path, "classify"), methods=[*METHODS, Loud()]).run
    assert run.methods[-1] == "loud"
    assert {step.method for step in run.verdict.ladder} == set(run.methods)  # type: ignore[union-attr]
    assert "The prompt in capitals" in (run.folder / "report.html").read_text()
    assert json.loads((run.method("loud") / "method.json").read_text())["label"] == Loud.label


@pytest.mark.usefixtures("_registered")
def test_a_backend_of_ones_own_answers_like_the_built_in_ones(tmp_path: Path) -> None:
    run = compare(write_task(tmp_path, model="echo:1", more="methods: [baseline, prompt]\n")).run
    assert all(line["answer"] == line["input"] for line in run.predictions("prompt"))


@pytest.mark.usefixtures("_registered")
@pytest.mark.parametrize(
    ("kind", "method", "cannot"),
    [
        ("classify", "prompt", "keep an answer to given texts"),
        ("answer", "fine_tune", "have its weights trained"),
    ],
)
def test_what_a_backend_cannot_do_is_said_with_one_that_can(
    kind: str, method: str, cannot: str, tmp_path: Path
) -> None:
    task = write_task(tmp_path, kind, model="echo:1", more=f"methods: [{method}]\n")
    with pytest.raises(ModelError, match=f"echo:1 cannot {cannot}.*local: packaged weights"):
        compare(task)
    assert not list((tmp_path / "runs").glob("*/methods/*/method.json"))

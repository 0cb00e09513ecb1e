"""No method can see the test: whatever stands in its rows, every assistant is the same byte for byte."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from etude.comparison import compare
from etude.comparison.ladder_run import LadderRun
from etude.comparison.plan import Plan
from etude.data.dataset import Dataset, load_dataset
from etude.data.splits import Split, input_key, split
from etude.methods import get_methods, resolve_methods
from etude.methods.fit_context import Effort, initial_assistant
from etude.metrics import choose_metric
from etude.models.registry import Models
from etude.runs import Run
from etude.runs.events import Event, NoteEvent
from etude.task import load_task
from etude.types import Example, Message
from small_task import KINDS, library, output, pairs, write_task
from tiny import save_tiny_model

WORDS = st.text(min_size=1, max_size=60).filter(str.strip)


def fitted_bytes(parts: Split, task_file: Path, folder: Path) -> dict[str, bytes]:
    """Fits every method of the task and returns every file of every saved assistant."""
    task, _ = load_dataset(load_task(task_file))
    models = Models()
    run = Run(folder)
    metric = choose_metric(task, parts.train)
    methods = resolve_methods(get_methods(task.methods), task, is_explicit=False)
    run.update(format=1, methods=[method.name for method in methods])
    climb = LadderRun(task, parts, run, models, metric, Plan(Effort(), {}), lambda event: None, methods)
    climb.fit_all(initial_assistant(task, parts.train, models))
    files = sorted(path for path in folder.glob("methods/*/assistant/**/*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def filled(test: Dataset, texts: list[str]) -> Dataset:
    """The test with other texts in all of its rows."""
    examples = tuple(
        replace(
            example,
            input=(Message("user", texts[number % len(texts)]),),
            output=texts[-1 - number % len(texts)],
            tags={"theme": texts[0]},
        )
        for number, example in enumerate(test)
    )
    return replace(test, examples=examples)


@pytest.mark.parametrize("kind", ["answer", "classify"])
def test_random_text_in_the_test_changes_no_assistant(
    kind: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("task")
    task_file = write_task(folder, kind, num=160, more=library(folder))
    task, dataset = load_dataset(load_task(task_file))
    parts = split(dataset, task.kind, task.seed)
    before = fitted_bytes(parts, task_file, tmp_path_factory.mktemp("run"))
    names = {method.name for method in resolve_methods(get_methods(task.methods), task, is_explicit=False)}
    assert {name.split("/")[1] for name in before} == names > {"fine_tune", "similar_shot", "retrieval"}

    @settings(max_examples=4)
    @given(st.lists(WORDS, min_size=1, max_size=8))
    def fits_alike(texts: list[str]) -> None:
        other = replace(parts, test=filled(parts.test, texts))
        assert fitted_bytes(other, task_file, tmp_path_factory.mktemp("run")) == before

    fits_alike()


@pytest.mark.parametrize("kind", [pytest.param("answer", marks=pytest.mark.real), "classify"])
def test_random_text_in_the_test_changes_no_trained_weights(kind: str, tmp_path: Path) -> None:
    model = save_tiny_model(tmp_path / "model", max_position_embeddings=1024)
    more = (
        library(tmp_path / "task")
        + pairs(tmp_path / "task")
        + "max_tokens: 8\ntrain: {max_rows: 48, epochs: 2}\nmethods: [fine_tune, fine_tune_retrieval, prefer]\n"
    )
    task_file = write_task(tmp_path / "task", kind, str(model), 130, more)
    task, dataset = load_dataset(load_task(task_file))
    parts = split(dataset, task.kind, task.seed)
    other = replace(parts, test=filled(parts.test, ["Anything", "else 🙂", "\n\tat all"]))
    before = fitted_bytes(parts, task_file, tmp_path / "run")
    after = fitted_bytes(other, task_file, tmp_path / "other")
    assert any(name.endswith(".safetensors") for name in before)
    assert before == after


def other_row(kind: str, number: int) -> dict[str, object]:
    """A test row unlike all others, its answer far longer than theirs; of its labels one is rare."""
    theme = ("unheard-of" if number else "rare") + " 🙂" * 12
    return {"input": f"Anything else {number}", "output": output(kind, theme, 7), "tags": {"theme": "none"}}


def under_a_fixed_split(folder: Path, lines: list[dict[str, object]], sides: Mapping[str, str]) -> Run:
    """The run of `compare` on other rows, once its split.json says where each of them stands."""

    def stop_once_split(event: Event) -> None:
        if isinstance(event, NoteEvent) and any(folder.glob("runs/*/split.json")):
            raise KeyboardInterrupt

    text = "".join(json.dumps(line) + "\n" for line in lines)
    (folder / "examples.jsonl").write_text(text, encoding="utf-8")
    with pytest.raises(KeyboardInterrupt):
        compare(folder / "task.yaml", on_event=stop_once_split)
    (file,) = folder.glob("runs/*/split.json")
    file.write_text(json.dumps(json.loads(file.read_text()) | {"assignments": sides}))
    return compare(folder / "task.yaml").run


def before_the_test(run: Run) -> dict[str, Any]:
    """All that a comparison settles before it opens the test, and the dev answers it rests on, without times."""
    files = {path.relative_to(run.folder): path for path in run.folder.glob("methods/*/assistant/**/*")}
    answers = {
        name: [line | {"seconds": 0} for line in run.read_predictions(name) if line["side"] == "dev"]
        for name in run.fitted_methods
    }
    assistants = {str(name): path.read_bytes() for name, path in files.items() if path.is_file()}
    return {**assistants, **answers, "metric": run.info["metric"], "decided": run.info["decided"]}


def row_of(example: Example) -> dict[str, object]:
    return {"input": example.text, "output": example.output, "tags": dict(example.tags)}


@pytest.mark.parametrize("kind", KINDS)
def test_the_test_rows_change_nothing_that_a_comparison_fits(kind: str, tmp_path: Path) -> None:
    one, other = (write_task(tmp_path / name, kind, num=160) for name in ("one", "other"))
    run = compare(one).run
    _, dataset = load_dataset(load_task(one))
    sides = json.loads((run.folder / "split.json").read_text())["assignments"]
    lines, others = [], {}
    for example in dataset:
        side = sides[input_key(example)]
        number = sum(found == "test" for found in others.values())
        lines.append(other_row(kind, number) if side == "test" else row_of(example))
        moved = replace(example, input=(Message("user", str(lines[-1]["input"])),))
        others[input_key(moved)] = side
    changed = under_a_fixed_split(other.parent, lines, others)
    assert before_the_test(changed) == before_the_test(run)
    assert changed.info["fingerprints"]["test"] != run.info["fingerprints"]["test"]

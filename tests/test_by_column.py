"""One assistant for each value of a column: each with its own rows, measured, resumed, and served by name."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from etude import load, train_each
from etude.base.files import read_json
from etude.by_column import ValueTable
from etude.cli import main
from etude.errors import InputError
from etude.models.endpoint.model import EndpointModel
from etude.runs.recommended import find_run_at
from etude.serve.catalogue import load_catalogue
from small_task import rows, write_task

SIZES = {"Anna & Co": 90, "Anna-Co": 60, "Ben": 25, "Zoë": 45}


def write_table(folder: Path) -> Path:
    """A task whose rows belong to four shops; no two shops have an input in common."""
    task = write_task(folder, "classify")
    with (folder / "examples.jsonl").open("w", encoding="utf-8") as stream:
        for seed, (shop, num) in enumerate(SIZES.items()):
            for number, row in enumerate(rows("classify", num, seed=seed)):
                line = {**row, "input": f"{row['input']} {shop} {number}", "shop": shop}
                stream.write(json.dumps(line) + "\n")
    return task


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ValueTable]:
    """The task file, and the table of its assistants."""
    task = write_table(tmp_path_factory.mktemp("shops"))
    return task, train_each(task, "shop", method="baseline")


def test_each_value_gets_an_assistant_that_saw_its_rows_alone(trained: tuple[Path, ValueTable]) -> None:
    _, table = trained
    assert [(row.value, row.num_rows) for row in table.results] == sorted(SIZES.items())
    assert len({row.folder for row in table.results}) == 4
    for row in table.results:
        if row.value == "Ben":
            assert row.problem == "at least 40 rows"
            assert row.estimate is None
            continue
        assert row.estimate
        assert row.estimate.low <= row.estimate.value <= row.estimate.high
        split = read_json(find_run_at(row.folder).folder / "split.json")
        assert sum(len(split[side]) for side in ("train", "dev", "test")) == row.num_rows
        assert row.estimate.n == len(split["test"])
        assert (row.needed_rows is None) == (row.estimate.high - row.estimate.low <= 0.2)
        assert load(row.folder).answer("dragons").text
        relative = load(os.path.relpath(row.folder))
        assert relative.model.adapter
        assert relative.model.adapter.is_absolute(), "a worker has another working directory"
    assert read_json(table.folder / "table.json")["values"][0]["value"] == "Anna & Co"
    metrics = {find_run_at(row.folder).info["metric"]["name"] for row in table.results if row.estimate}
    assert metrics == {table.metric.name} == {read_json(table.folder / "table.json")["metric"]}
    assert table.metric.label in (table.folder / "table.md").read_text(encoding="utf-8")
    assert len((table.folder / "table.md").read_text().splitlines()) == 6


def test_values_that_are_complete_are_not_fitted_again(
    trained: tuple[Path, ValueTable], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    task, first = trained
    monkeypatch.setattr("etude.methods.baseline.Baseline.fit", lambda *_: 1 / 0)
    order: list[tuple[int, int]] = []
    second = train_each(
        task, "shop", method="baseline", on_result=lambda row, done, total: order.append((done, total))
    )
    assert first.results == second.results
    assert order == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert main(["train", str(task), "--each", "shop", "--method", "baseline"]) == 0
    printed = capsys.readouterr().out
    assert "Zoë" in printed
    assert "etude serve" in printed


def test_a_value_whose_method_fails_does_not_stop_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("etude.methods.baseline.Baseline.fit", lambda *_: 1 / 0)
    table = train_each(write_table(tmp_path), "shop", method="baseline")
    assert {row.problem for row in table.results if row.value != "Ben"} == {
        "ZeroDivisionError: division by zero"
    }


def test_all_are_served_beside_each_other_by_name(trained: tuple[Path, ValueTable]) -> None:
    places = [str(row.folder) for row in trained[1].results if row.estimate]
    catalogue = load_catalogue(places)
    assert len(catalogue) == 3
    assert "small-Ben" not in catalogue
    assert all(name.startswith("small-") for name in catalogue)


def test_wrong_columns_methods_and_flags_are_errors(
    trained: tuple[Path, ValueTable], capsys: pytest.CaptureFixture[str]
) -> None:
    task, _ = trained
    with pytest.raises(InputError, match="no such column"):
        train_each(task, "shoop", method="baseline")
    with pytest.raises(InputError, match="unknown method"):
        train_each(task, "shop", method="base")
    assert main(["train", str(task), "--on", "ray"]) == 2
    assert "works only with --each" in capsys.readouterr().err
    assert main(["train", str(task), "--each", "shop", "--track", "mlflow", "--fresh"]) == 2
    assert capsys.readouterr().err.count("does not work with --each") == 2


def test_rows_without_a_value_have_a_folder_of_their_own(tmp_path: Path) -> None:
    task = write_table(tmp_path)
    file = tmp_path / "examples.jsonl"
    file.write_text(file.read_text().replace("Ben", ""), encoding="utf-8")
    table = train_each(task, "shop", method="baseline")
    folders = {row.value: row.folder for row in table.results}
    assert folders.keys() == {"", "Anna & Co", "Anna-Co", "Zoë"}
    assert {folder.parent for folder in folders.values()} == {table.folder}


@pytest.mark.parametrize("is_agreed", [False, True])
def test_rows_are_sent_to_a_service_only_after_a_yes_for_each_value(
    tmp_path: Path, is_agreed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = write_table(tmp_path)
    lines = task.read_text().replace("model: fake", "model: {endpoint: 'https://api.example/v1', model: m}")
    task.write_text(f"{lines}where: ray\n", encoding="utf-8")
    asked, questions = [], list[str]()
    monkeypatch.setattr(EndpointModel, "ask", lambda model, request: asked.append(request) or 1 / 0)

    def confirm(question: str) -> bool:
        questions.append(question)
        return is_agreed

    table = train_each(task, "shop", method="prompt", confirm=confirm)
    assert len(questions) == 3, "one value has too few rows"
    assert bool(asked) == is_agreed
    assert all(row.problem for row in table.results)


@pytest.mark.real
def test_two_nodes_fit_what_one_process_fits(two_nodes: object, tmp_path: Path) -> None:
    def list_results(table: ValueTable) -> list[object]:
        return [
            (row.value, row.num_rows, row.estimate, row.needed_rows, row.problem) for row in table.results
        ]

    here = train_each(write_table(tmp_path / "here"), "shop", method="fine_tune")
    there = train_each(write_table(tmp_path / "there"), "shop", method="fine_tune", on="ray")
    assert list_results(here) == list_results(there)

"""Runs of several task files in one folder: each task file gets its own, and the promoted one is
served.
"""

import os
import random
import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from etude.base.files import write_json
from etude.cli import main
from etude.errors import RunError
from etude.runs import Run, find_run, find_task_runs
from etude.runs.folder import FORMAT
from etude.runs.recommended import (
    choose_method,
    find_run_at,
    find_served,
    get_promotions_file,
    promote,
    read_promotions,
)
from real_runs import copy_task

TASKS = ("task.yaml", "refunds.yaml", "urgency.yaml")


def write_runs(folder: Path, task_names: list[str]) -> None:
    """One run for each name, the oldest first, and empty task files."""
    for age, name in enumerate(task_names):
        run = folder / "runs" / f"mails-{age}"
        run.mkdir(parents=True)
        write_json(run / "run.json", {"format": FORMAT, "task_file": name, "status": "complete"})
        os.utime(run / "run.json", (age, age))
    for name in TASKS:
        (folder / name).touch()


@given(names=st.lists(st.sampled_from(TASKS), min_size=1, max_size=6))
def test_a_task_file_gets_its_own_latest_run(
    names: list[str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("mails")
    write_runs(folder, names)
    for task in TASKS:
        own = [f"mails-{age}" for age, name in enumerate(names) if name == task]
        places = [folder / task, *([folder] if task == "task.yaml" else [])]
        for place in places:
            assert [run.name for run in find_task_runs(place)] == own[::-1]
            if own:
                assert find_run(place).name == find_run_at(place).name == own[-1]
            else:
                others = ", ".join(sorted({*names} - {task}))
                with pytest.raises(
                    RunError, match=rf"only of {others}. Run `etude compare {place}`"
                ):
                    find_run_at(place)
    assert find_run(folder / TASKS[1], "mails-0").name == "mails-0", (
        "a run is also found by its name"
    )


def test_a_folder_without_a_task_file_has_all_runs_and_an_unreadable_one_is_not_hidden(
    tmp_path: Path,
) -> None:
    write_runs(tmp_path, ["refunds.yaml", "urgency.yaml"])
    damaged = tmp_path / "runs" / "damaged-1"
    damaged.mkdir()
    write_json(damaged / "run.json", {"format": "other"})
    assert Run(damaged) in find_task_runs(tmp_path / "refunds.yaml")
    (tmp_path / "task.yaml").unlink()
    assert len(find_task_runs(tmp_path)) == 3


def test_the_promoted_run_is_served_and_one_can_go_back(tmp_path: Path) -> None:
    task, names, promoted = *copy_runs(tmp_path, 3), list[str]()
    draw = random.Random(0)
    for name in draw.choices([*names, None], k=60):
        run = Run(tmp_path / "runs" / name) if name else None
        if not run and len(promoted) < 2:
            with pytest.raises(RunError, match=r"No other run of .*task.yaml was promoted before"):
                promote(task, run)
        else:
            assert promote(task, run) == find_served(task)[0] == find_served(tmp_path)[0]
            promoted = promoted + [name] * (promoted[-1:] != [name]) if name else promoted[:-1]
            assert read_promotions(get_promotions_file(task)) == promoted
    assert find_served(task, "prompt")[1] == "prompt"
    assert find_run_at(task).name == names[-1], "other commands use the latest run"


def test_what_cannot_be_served_is_not_promoted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    task, names = copy_runs(tmp_path, 4)
    monkeypatch.chdir(tmp_path)
    command = ["runs", "promote", str(task)]
    runs = [Run(tmp_path / "runs" / name) for name in names]
    runs[1].update(status="interrupted")
    (runs[2].assistant_folder(choose_method(runs[2])[0]) / "assistant.json").write_text("{ half")
    assert main([*command, names[0]]) == 0
    for arguments, message in (
        (["nothing"], "begins with 'nothing'"),
        ([names[1]], f"{names[1]} is not a complete run"),
        ([names[2]], "cannot be read"),
        (["--previous"], "was promoted before"),
        ([names[3], "--previous"], "needs either a run or --previous"),
        ([], "needs either a run or --previous"),
    ):
        assert main([*command, *arguments]) == 2
        assert message in capsys.readouterr().err
    assert read_promotions(get_promotions_file(task)) == names[:1]
    assert main(["runs", "list", "."]) == 0
    assert f"Promoted: {names[0]}" in capsys.readouterr().out
    runs[0].update(status="interrupted")
    with pytest.raises(
        RunError, match=r"is not a complete run, so it cannot be served. Complete it, or promote"
    ):
        find_served(task)
    get_promotions_file(task).write_text("half\n")
    with pytest.raises(RunError, match=r"promoted-task.jsonl:1 cannot be read .* Delete the file"):
        find_served(task)


def copy_runs(folder: Path, number: int) -> tuple[Path, list[str]]:
    """The task file and the names of so many complete runs, the latest last."""
    task = copy_task(folder)
    (first,) = find_task_runs(task)
    names = [first.name, *(f"other-{index}" for index in range(1, number))]
    for name in names[1:]:
        shutil.copytree(first.folder, first.folder.with_name(name))
        os.utime(first.folder.with_name(name) / "run.json")
    return task, names

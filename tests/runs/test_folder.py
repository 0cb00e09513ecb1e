"""Runs of several task files in one folder: each task file gets its own."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from etude.base.files import write_json
from etude.errors import RunError
from etude.runs import Run, find_run, find_task_runs
from etude.runs.folder import FORMAT
from etude.runs.recommended import find_run_at

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
                with pytest.raises(RunError, match=rf"only of {others}. Run `etude compare {place}`"):
                    find_run_at(place)
    assert find_run(folder / TASKS[1], "mails-0").name == "mails-0", "a run is also found by its name"


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

"""Where `etude check -o` writes: through devices, pipes and links, and never over a file of the
task.
"""

import os
import re
import stat
import threading
import time
from pathlib import Path

import pytest
from test_checks import check_pairs, create_pairs

from etude.base.progress import report_progress
from etude.cli import checking as command
from etude.cli import main, printing


@pytest.fixture
def task(tmp_path: Path) -> Path:
    (tmp_path / "task").mkdir()
    check_pairs(tmp_path / "task", create_pairs(40))
    return tmp_path / "task"


def test_a_pipe_is_written_through(task: Path, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe.json"
    os.mkfifo(pipe)
    texts: list[str] = []
    reader = threading.Thread(target=lambda: texts.append(pipe.read_text()), daemon=True)
    reader.start()
    assert main(["check", str(task), "-o", str(pipe)]) == 0
    reader.join(10)
    assert texts[0].startswith("{")
    assert stat.S_ISFIFO(pipe.stat().st_mode)


def test_a_link_stays_a_link(task: Path, tmp_path: Path) -> None:
    (tmp_path / "link.txt").symlink_to(tmp_path / "real.txt")
    assert main(["check", str(task), "-o", str(tmp_path / "link.txt")]) == 0
    assert (tmp_path / "link.txt").is_symlink()
    assert "rows.jsonl" in (tmp_path / "real.txt").read_text()


def test_an_open_file_is_written_through(task: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(task), "-o", "/dev/fd/1"]) == 0
    assert "40 rows of rows.jsonl" in capfd.readouterr().out


@pytest.mark.parametrize(
    ("name", "begin"), [("found", "40 rows of"), ("Found.JSON", '{\n "task"'), ("found.htm", "<!")]
)
def test_the_name_of_the_file_says_the_format(
    name: str, begin: str, task: Path, tmp_path: Path
) -> None:
    assert main(["check", str(task), "-o", str(tmp_path / name)]) == 0
    assert (tmp_path / name).read_text(encoding="utf-8").startswith(begin)


def test_a_check_needs_no_model_and_a_comparison_does(
    task: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = task / "task.yaml" if task.is_dir() else task
    lines = [
        line
        for line in file.read_text(encoding="utf-8").splitlines()
        if not line.startswith("model:")
    ]
    file.write_text("\n".join(lines), encoding="utf-8")
    assert main(["check", str(task)]) == main(["check", str(task), "--fix"]) == 0
    for verb in ("compare", "train"):
        assert main([verb, str(task)]) == 2
        assert "the key 'model' is missing. Add a line such as model:" in capsys.readouterr().err


def test_a_report_is_written_again_and_no_file_of_the_task_is(task: Path, tmp_path: Path) -> None:
    rows = (task / "rows.jsonl").read_bytes()
    for _ in range(2):
        assert main(["check", str(task), "-o", str(tmp_path / "found.html")]) == 0
    assert main(["check", str(task), "-o", str(task / "rows.jsonl"), "--format", "json"]) == 2
    assert (task / "rows.jsonl").read_bytes() == rows


def test_a_folder_and_a_path_without_one_are_told_by_their_names(
    task: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for target, expected in (
        (tmp_path, "a folder, not a file"),
        (Path("/proc/none/x.html"), "Choose a folder in which"),
    ):
        assert main(["check", str(task), "-o", str(target)]) == 2
        message = capsys.readouterr().err
        assert expected in message
        assert ".part" not in message


def test_a_stopped_check_says_so(
    task: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(command, "load_material", stop)
    assert main(["check", str(task)]) == 130
    assert "Stopped" in capsys.readouterr().err


def test_what_a_command_does_is_printed_although_there_is_no_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(printing, "FIRST_PAUSE", 0.02)
    with printing.show_steps("Reading") as steps:
        time.sleep(0.05)
        steps.begin("Check 2 of 9, repeats")
        report_progress(0, 8)
        time.sleep(0.1)
        report_progress(2, 8)
        time.sleep(0.2)
    report_progress(3, 8)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("Reading: ")
    assert re.fullmatch(r"Check 2 of 9, repeats: 25%, [\d.]+ m?s left", lines[-1])
    assert len(lines) <= 6, "pauses become longer"


def test_the_time_left_is_that_of_the_present_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr(printing.time, "monotonic", lambda: clock[0])
    step = printing.StepClock("Check")
    clock[0] = 100.0
    step.update(0.0)
    clock[0] = 110.0
    step.update(0.5)
    assert step.describe() == "Check: 50%, 10 s left"
    step.update(0.25)  # another pass
    clock[0] = 120.0
    assert step.describe() == "Check: 25%, 30 s left"

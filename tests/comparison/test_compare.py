"""Whole comparisons with the fake model: what is written, what is said, what is counted."""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, ClassVar, TextIO

import pytest
from hypothesis import given
from hypothesis import strategies as st

from etude.assistant import Assistant, load
from etude.base.files import read_lines
from etude.checks import check
from etude.cli import main
from etude.cli.history import summarize_run
from etude.cli.printing import create_console, print_verdict
from etude.comparison import compare, sealed_test
from etude.comparison.ladder_run import LadderRun
from etude.data.dataset import Dataset
from etude.errors import Declined, InputError, ModelError, RunError
from etude.methods import METHODS, Candidate, FitContext, Method
from etude.methods.fine_tune import FineTune
from etude.methods.prompt import Prompt
from etude.models.registry import Models
from etude.runs import Run, find_runs
from etude.runs.events import (
    EpochEnded,
    Event,
    MethodEnded,
    MethodFailed,
    MethodStarted,
    NoteEvent,
    StepTrained,
    read_events,
)
from etude.runs.lifecycle import load_task_rows
from etude.runs.training_log import TrainingLog
from etude.task import Task
from etude.types import Message
from real_runs import copy_task, real_run
from small_task import KINDS, chats, compare_until, rows, write_json_lines, write_task
from tiny import save_tiny_model

QUICK = "methods: [prompt, fine_tune]\n"


def events_of(task: Path, **more: object) -> tuple[Run, list[Event]]:
    told: list[Event] = []
    return compare(task, on_event=told.append, **more).run, told  # type: ignore[arg-type]


def list_notes(events: Sequence[Event]) -> str:
    return "\n".join(event.text for event in events if isinstance(event, NoteEvent))


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_task_reaches_a_verdict(kind: str) -> None:
    run = Run(real_run(kind))
    assert run.is_complete
    assert (
        run.fitted_methods == "baseline prompt clear_prompt few_shot similar_shot fine_tune".split()
    )
    assert {step.method for step in run.verdict.ladder} == set(run.fitted_methods)
    ended = [timed.event for timed in read_events(run) if isinstance(timed.event, MethodEnded)]
    sides = [(name, side) for side in ("dev", "test") for name in run.fitted_methods]
    assert [(event.method, event.side) for event in ended] == sides
    for name in (
        "run.json",
        "task.yaml",
        "split.json",
        "findings.jsonl",
        "report.html",
        "report.md",
    ):
        assert (run.folder / name).exists()


@pytest.mark.parametrize("more", ["", "check: checks.py:fits\n"])
def test_form_and_check_are_told_as_the_estimates_of_the_verdict(more: str, tmp_path: Path) -> None:
    task = write_task(tmp_path, more=more + QUICK)
    (tmp_path / "checks.py").write_text(
        "def fits(example, answer):\n    return answer == example.output\n"
    )
    run, events = events_of(task)
    assert run.verdict is not None
    for event in (
        event for event in events if isinstance(event, MethodEnded) and event.side == "test"
    ):
        stored = run.verdict.contract_rates[event.method]
        assert (event.keeps_contract, event.check) == (stored.keeps_contract, stored.passes_check)
        assert (event.keeps_contract is None, event.check is None) == (False, not more)


def test_every_test_row_is_predicted_once_by_every_method() -> None:
    run = Run(real_run())
    split = load_split(run)
    for name in run.fitted_methods:
        for side in ("dev", "test"):
            ids = [line["id"] for line in run.read_predictions(name) if line["side"] == side]
            assert sorted(ids) == sorted(split[side])


def test_choices_are_on_disk_before_the_test_is_opened(tmp_path: Path) -> None:
    task = write_task(tmp_path, more=QUICK)
    seen: list[bool] = []

    def watch(event: Event) -> None:
        if isinstance(event, MethodEnded) and event.side == "test":
            (folder,) = (tmp_path / "runs").glob("small-*")
            seen.append("decided" in json.loads((folder / "run.json").read_text()))

    compare(task, on_event=watch)
    assert seen == [True] * 2


def test_a_finished_run_is_not_run_again(tmp_path: Path) -> None:
    task, first = copy_run(tmp_path)
    before = (first.folder / "verdict.json").read_bytes()
    second, events = events_of(task)
    assert (second.folder, events) == (first.folder, [])
    assert (second.folder / "verdict.json").read_bytes() == before


def test_openings_of_one_test_are_counted_across_runs(tmp_path: Path) -> None:
    task, first = copy_run(tmp_path)
    assert first.info["openings"] == 1
    assert events_of(task, fresh=True)[0].info["openings"] == 2
    assert events_of(task)[0].info["openings"] == 2
    add_line(task, "margin: 0.03")
    third, _ = events_of(task)
    assert third.info["openings"] == 3
    assert any("3 times" in caveat for caveat in third.verdict.caveats)  # type: ignore[union-attr]


def test_test_answers_of_another_assistant_are_not_taken_for_its_own(tmp_path: Path) -> None:
    task, run = copy_run(tmp_path)
    (run.folder / "verdict.json").unlink()
    file = run.assistant_folder("prompt") / "assistant.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"max_tokens": 1}))
    events_of(task)
    lines = [line for line in run.read_predictions("prompt") if line["side"] == "test"]
    assert {line["answer_tokens"] for line in lines} == {1}


def test_starting_anew_keeps_the_finished_run_as_a_run_of_its_own(tmp_path: Path) -> None:
    task, first = copy_run(tmp_path)
    before = {path.name: path.read_bytes() for path in first.folder.iterdir() if path.is_file()}
    remaining = first.folder.with_name(f"{first.name}.1")
    for _ in range(2):  # a second stop keeps no second copy
        compare_until(
            task, lambda event: isinstance(event, NoteEvent) and "rows" in event.text, fresh=True
        )
        assert {
            path.name: path.read_bytes() for path in remaining.iterdir() if path.is_file()
        } == before
    second, _ = events_of(task)
    assert second.folder == first.folder
    assert second.info["id"] != Run(remaining).info["id"]
    assert {run.name for run in find_runs(tmp_path / "runs")} == {first.name, f"{first.name}.1"}
    third, events = events_of(task, fresh=True)
    assert (
        NoteEvent(f"Starting again from scratch. The earlier run is kept as {first.name}.2.")
        in events
    )
    assert third.info["openings"] == 3


@pytest.mark.parametrize(
    "junk",
    [
        "junk",
        "[1]",
        '{"test": "ab12", "run": "small-1"}',
        '{"run": 1, "rows": []}',
        '{"run": "a", "rows": [1]}',
    ],
)
def test_junk_among_the_openings_is_told_before_anything_is_fitted(
    junk: str, tmp_path: Path
) -> None:
    task = write_task(tmp_path, more=QUICK)
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "openings.jsonl").write_text(junk + "\n")
    with pytest.raises(RunError, match=r"openings\.jsonl:1 .* Delete the file and compare again"):
        compare(task)
    assert not list(tmp_path.glob("runs/*/methods"))


def test_a_corrected_answer_stays_on_its_side(tmp_path: Path) -> None:
    task, first = copy_run(tmp_path)
    lines = [json.loads(line) for line in (tmp_path / "examples.jsonl").read_text().splitlines()]
    lines[3]["output"] = "Title: Corrected\nAges: 4"
    write_json_lines(tmp_path / "examples.jsonl", lines)
    second, _ = events_of(task)
    assert first.folder != second.folder
    assert load_split(first)["assignments"] == load_split(second)["assignments"]


def load_split(run: Run) -> dict[str, Any]:
    """The ids of each side, and the side of each input."""
    split: dict[str, Any] = json.loads((run.folder / "split.json").read_text())
    return split


def add_line(task: Path, line: str) -> None:
    """Adds a line to the task file, which makes its next run another one."""
    task.write_text(f"{task.read_text()}{line}\n")


def copy_run(folder: Path) -> tuple[Path, Run]:
    """The task file and the complete run of a copy of a quick task."""
    task = copy_task(folder, more=QUICK)
    (run,) = find_runs(folder / "runs")
    return task, run


def test_rows_that_were_away_for_a_run_come_back_to_their_sides(tmp_path: Path) -> None:
    task, run = copy_run(tmp_path)
    file = tmp_path / "examples.jsonl"
    whole = file.read_text()
    first = load_split(run)["assignments"]
    file.write_text("".join(whole.splitlines(keepends=True)[60:]))
    assert load_split(events_of(task)[0])["assignments"].items() <= first.items()
    file.write_text("".join(whole.splitlines(keepends=True)[::-1]))
    assert load_split(events_of(task)[0])["assignments"] == first


def test_a_split_ignores_an_earlier_run_that_cannot_be_read_and_says_so(tmp_path: Path) -> None:
    task, first = copy_run(tmp_path)
    add_line(task, "margin: 0.03")
    second, _ = events_of(task)
    (second.folder / "split.json").write_text("{ half")
    add_line(task, "target: 0.5")
    third, events = events_of(task)
    assert load_split(third)["assignments"] == load_split(first)["assignments"]
    assert f"ignores the earlier run {second.name}: " in list_notes(events)


def test_what_was_said_about_the_split_is_said_again_when_the_run_goes_on(tmp_path: Path) -> None:
    """Rows that are grouped after a first run are split anew; the finding outlives a stop."""
    task, _ = copy_run(tmp_path)
    lines = [dict(row, group=f"g{number % 50}") for number, row in enumerate(rows("answer", 220))]
    write_json_lines(tmp_path / "examples.jsonl", lines)
    compare_until(task, lambda event: isinstance(event, MethodEnded))
    run, events = events_of(task)
    assert [finding["kind"] for finding in run.info["findings"]] == ["split_anew"]
    assert "all rows were split again" in list_notes(events)
    assert "split again" in (run.folder / "report.html").read_text()


def test_a_reloaded_assistant_answers_as_it_was_measured() -> None:
    run = Run(real_run())
    models = Models()
    for name in run.fitted_methods:
        if name == "baseline":
            continue  # its dev results are those of the fit on train alone
        assistant = load(run.assistant_folder(name))
        lines = [line for line in run.read_predictions(name) if line["side"] == "dev"]
        answers = assistant.answer([[Message("user", line["input"])] for line in lines], models)
        assert [answer.text for answer in answers] == [line["answer"] for line in lines]


def test_ctrl_c_leaves_a_partial_report_and_the_same_call_goes_on(tmp_path: Path) -> None:
    task = write_task(tmp_path, more="methods: [clear_prompt, few_shot]\n")
    compare_until(task, lambda event: isinstance(event, MethodEnded) and event.method == "few_shot")
    (folder,) = [path.parent for path in (tmp_path / "runs").glob("*/run.json")]
    assert Run(folder).info["status"] == "interrupted"
    assert "clear_prompt" in (folder / "report.html").read_text()
    assert compare(task).run.is_complete


class Toiling(Prompt):
    """A first step that takes hours, keeps half of them in its folder, and is stopped as often as
    it is told to.
    """

    stops: ClassVar[list[BaseException]] = []

    def fit(
        self, task: Task, train: Dataset, dev: Dataset, start: Assistant, context: FitContext
    ) -> Assistant:
        """Leaves a file of its own; the next attempt would go on from it."""
        context.folder.mkdir(parents=True, exist_ok=True)
        (context.folder / "half").touch()
        if self.stops:
            raise self.stops.pop(0)
        return super().fit(task, train, dev, start, context)


def test_a_fault_after_a_resume_leaves_the_work_of_the_earlier_attempt(tmp_path: Path) -> None:
    task = write_task(tmp_path)
    Toiling.stops[:] = [KeyboardInterrupt(), ModelError("The extra is gone.")]
    for stop in (KeyboardInterrupt, ModelError):
        with pytest.raises(stop):
            compare(task, methods=[Toiling()])
        (half,) = (tmp_path / "runs").glob("*/methods/prompt/work/half")
    run = compare(task, methods=[Toiling()]).run
    assert run.is_complete
    assert half.is_relative_to(run.folder)


@pytest.mark.parametrize(
    ("error", "budget"),
    [(ModelError("The loss is NaN.\nMore."), None), (MemoryError("out of memory"), 60.0)],
)
def test_a_method_that_fails_is_left_out_and_tried_again(
    error: Exception, budget: float | None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    task = write_task(tmp_path)
    methods = [METHODS[0], Toiling(), FineTune()]
    Toiling.stops[:] = [error]
    failed, events = events_of(task, methods=methods, budget=budget)
    verdict = failed.verdict
    reason = str(error).split("\n")[0]
    assert verdict.failures == {"prompt": reason}
    assert [row.method for row in verdict.ladder] == ["baseline", "fine_tune"]
    assert verdict.sentence.endswith(f"prompt failed and was not measured: {reason}")
    assert MethodFailed("prompt", reason) in events
    assert "Traceback" in (failed.method_folder("prompt") / "error.txt").read_text()
    assert ">✘</span> failed<" in (failed.folder / "report.html").read_text()
    print_verdict(create_console(), failed, task)
    assert any(
        line.split() == ["prompt", "failed"] for line in capsys.readouterr().out.splitlines()
    )
    run, events = events_of(task, methods=methods, budget=budget)
    assert run.folder == failed.folder
    assert {event.method for event in events if isinstance(event, MethodStarted)} == {
        "prompt",
        *(["baseline", "fine_tune"]),
    }
    assert not run.verdict.failures
    assert [row.method for row in run.verdict.ladder] == ["baseline", "prompt", "fine_tune"]
    assert events_of(task, methods=methods, budget=budget)[1] == []


class FineTuneTwin(FineTune):
    """Another tuned method."""

    name = "twin"


def test_a_method_may_fail_on_the_test(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also the best one, if all others were beaten on dev."""
    task = write_task(tmp_path, more="evidence: full\n")
    answer_rows = LadderRun.answer_rows
    methods = [METHODS[0], Prompt(), FineTune(), FineTuneTwin()]

    def fail(self: LadderRun, assistant: Assistant, rows: Dataset, title: str, folder: Path) -> Any:
        if title == self.run.info["decided"]["tuned"]:
            raise ModelError("out of memory")
        return answer_rows(self, assistant, rows, title, folder)

    def find_pair(self: LadderRun, pair: Iterable[str]) -> list[str]:
        return [name for name in self.list_fitted() if name in pair]

    monkeypatch.setattr(LadderRun, "find_contenders", find_pair)
    monkeypatch.setattr(sealed_test, "LARGE_BLOCK_ROWS", 7)
    with monkeypatch.context() as patch:
        patch.setattr(LadderRun, "answer_rows", fail)
        first = compare(task, methods=methods).verdict
    assert [*first.failures.values()] == ["out of memory"]
    second = compare(task, methods=methods).verdict
    assert not second.failures
    assert {row.method for row in second.ladder} == {row.method for row in first.ladder} | {
        *first.failures
    }
    assert len({row.estimate.n for row in second.ladder}) == 1, "all answer the whole test"


def test_the_exit_code_says_that_a_method_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> Assistant:
        raise ModelError("No weights.")

    task = write_task(tmp_path, more="methods: [prompt, fine_tune]\n")
    with monkeypatch.context() as patch:
        patch.setattr(Prompt, "fit", fail)
        assert main(["compare", str(task)]) == 1
    assert main(["compare", str(task)]) == 0


BREAKS = """
from pathlib import Path
from tempfile import TemporaryDirectory

def breaks(example, answer):
    for record in Path(__file__).parent.glob("runs/*/methods/baseline/method.json"):
        record.write_text("{ half")
        raise ValueError("the first fault")
    return True
"""


def test_a_report_that_fails_too_does_not_hide_the_first_fault(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    task = write_task(tmp_path, more="check: checks.py:breaks\nmethods: [baseline, prompt]\n")
    (tmp_path / "checks.py").write_text(BREAKS)
    assert main(["compare", str(task)]) == 2
    first, second = capsys.readouterr().err.strip().splitlines()[-2:]
    assert "the first fault" in first
    assert "could not be written" in second
    assert "method.json cannot be read" in second


def test_a_run_set_aside_between_opening_its_lock_and_holding_it_is_locked_anew(
    tmp_path: Path,
) -> None:
    class Overtaken(Run):
        def _lock_file(self) -> TextIO:
            lock = super()._open_lock()
            if not (tmp_path / "small-1.1").exists():
                self.folder.rename(tmp_path / "small-1.1")
            return lock

    run = Overtaken(tmp_path / "small-1")
    with run.lock(), pytest.raises(RunError, match="Another process"), Run(run.folder).lock():
        pass


def test_a_run_is_running_while_it_is_held_and_stopped_after_a_kill(tmp_path: Path) -> None:
    run = Run(tmp_path / "small-1")
    with run.lock():
        run.update(format=1, status="running")
        assert (run.status, summarize_run(run)[2]) == ("running", "running")
    assert (run.status, summarize_run(run)[2]) == ("stopped", "stopped")
    with run.lock():  # asking holds nothing back
        run.update(status="interrupted")
    assert run.status == "interrupted"
    (run.folder / "lock").unlink()
    run.update(status="running")
    assert run.status == "stopped"


PARTS = (
    "split.json run.json verdict.json methods/few_shot/method.json "
    "methods/few_shot/assistant/assistant.json methods/few_shot/predictions.jsonl "
    "methods/fine_tune/assistant/adapter methods/baseline/assistant/adapter"
).split()
"""What a reader of a complete run needs."""
THREE = "methods: [baseline, few_shot, fine_tune]\n"


def copy_parts(folder: Path) -> tuple[Path, Path]:
    """The task file and the run folder of a copy of a complete run with a method of each sort."""
    task = copy_task(folder, more=THREE)
    (run,) = [file.parent for file in folder.glob("runs/*/run.json")]
    return task, run


@pytest.mark.parametrize(
    "part", [part for part in PARTS if part not in ("run.json", "verdict.json")]
)
def test_a_complete_run_without_a_part_is_no_finished_run(part: str, tmp_path: Path) -> None:
    task, run = copy_parts(tmp_path)
    shutil.rmtree(run / part) if (run / part).is_dir() else (run / part).unlink()
    with pytest.raises(RunError, match=rf"{part},? .*etude compare TASK --fresh"):
        compare(task)


@pytest.mark.parametrize("part", [part for part in PARTS if not part.endswith("adapter")])
@pytest.mark.parametrize("damage", ["junk", "cut"])
def test_a_complete_run_with_a_broken_part_is_no_finished_run(
    part: str, damage: str, tmp_path: Path
) -> None:
    task, run = copy_parts(tmp_path)
    body = (run / part).read_bytes()
    (run / part).write_bytes(b"junk\n" if damage == "junk" else body[: len(body) // 2])
    with pytest.raises(RunError, match=rf"{part}[: ].*etude compare TASK --fresh"):
        compare(task)


def test_a_broken_part_of_a_run_that_is_not_complete_is_told_likewise(tmp_path: Path) -> None:
    task = write_task(tmp_path, more=QUICK)
    compare_until(task, lambda event: isinstance(event, MethodEnded))
    (file,) = tmp_path.glob("runs/*/methods/*/assistant/assistant.json")
    file.write_bytes(file.read_bytes()[:40])
    with pytest.raises(
        RunError, match=r"assistant\.json cannot be read .*etude compare TASK --fresh"
    ):
        compare(task)
    assert compare(task, fresh=True).run.is_complete


@pytest.mark.parametrize("name", ["report.html", "report.md"])
def test_a_lost_report_is_written_again(name: str, tmp_path: Path) -> None:
    task, run = copy_parts(tmp_path)
    before = (run / name).read_bytes()
    (run / name).unlink()
    compare(task)
    assert (run / name).read_bytes() == before


@pytest.mark.parametrize("part", ["run.json", "verdict.json"])
def test_a_broken_run_is_left_out_of_the_list_with_the_reason(
    part: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    task, first = copy_run(tmp_path)
    add_line(task, "margin: 0.03")
    second, _ = events_of(task)
    (first.folder / part).write_text("{ half")
    assert main(["runs", "list", str(task)]) == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert second.name in printed
    assert f"Skipped {first.name}: " in printed
    assert "cannot be read" in printed


def test_what_prompt_was_asked_on_dev_is_not_asked_again_by_clear_prompt(tmp_path: Path) -> None:
    run, _ = events_of(write_task(tmp_path, more="methods: [prompt, clear_prompt]\n"))
    asked = [line for line in run.read_predictions("prompt") if line["side"] == "dev"]
    tried = map(
        json.loads, (run.method_folder("clear_prompt") / "tried.jsonl").read_text().splitlines()
    )
    again = [line for line in tried if line.pop("candidate") == "as given"]
    assert again == asked, "the same answers, seconds included"


def with_test(
    folder: Path, more: str, model: str = "fake:context=140", words: int = 70, **task: int
) -> Path:
    """A task with its own test file, whose fourth row is so many words longer."""
    file = write_task(folder, model=model, more=f"test: test.jsonl\n{more}", **task)
    lines = rows("answer", 60, seed=8)
    lines[3]["input"] = f"{lines[3]['input']}{' more' * words}"
    write_json_lines(folder / "test.jsonl", lines)
    return file


def test_a_long_test_row_loses_examples_instead_of_ending_the_run_and_that_is_told(
    tmp_path: Path,
) -> None:
    run, events = events_of(with_test(tmp_path, "max_tokens: 10\nmethods: [prompt, few_shot]\n"))
    lines = [line for line in run.read_predictions("few_shot") if line["side"] == "test"]
    assert [" more more" in line["input"] for line in lines if line["shots_dropped"]] == [True]
    assert not any(line["shots_dropped"] for line in run.read_predictions("prompt"))
    (note,) = json.loads((run.method_folder("few_shot") / "method.json").read_text())["notes"][-1:]
    assert "1 of 60 test prompts" in note
    assert note in " ".join((run.folder / "report.md").read_text().split())
    assert any(isinstance(event, NoteEvent) and note in event.text for event in events)


@pytest.mark.parametrize(
    ("more", "words", "message", "remedy"),
    [("methods: [prompt, clear_prompt]\n", 82, "clear_prompt", "`methods:`"), ("", 300, "", "")],
)
def test_a_test_row_too_long_for_prompts_is_told_once_before_anything_is_fitted(
    more: str, words: int, message: str, remedy: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError) as caught:
        compare(with_test(tmp_path, f"max_tokens: 10\n{more}", words=words))
    (fault,) = caught.value.issues
    assert fault.location.endswith("test.jsonl:4")
    assert message in fault.message
    assert remedy in fault.remedy
    assert not list((tmp_path / "runs").glob("*/methods"))


@pytest.mark.parametrize("names", ["[baseline]", "[baseline, fine_tune]"])
def test_a_prompt_that_no_method_uses_may_have_any_length(names: str, tmp_path: Path) -> None:
    def task(folder: str, methods: str) -> Path:
        file = write_task(tmp_path / folder, model="fake:context=60", more=f"methods: {methods}\n")
        file.write_text(file.read_text().replace("Say what fits.", "Say what fits. " * 40))
        return file

    assert events_of(task("unused", names))[0].is_complete
    with pytest.raises(InputError, match="the prompt is longer"):
        compare(task("used", "[prompt]"))


@pytest.mark.real
def test_a_ladder_without_a_language_model_loads_none(tmp_path: Path) -> None:
    tiny = save_tiny_model(tmp_path / "tiny")
    task = write_task(tmp_path, "classify", model=str(tiny), more="methods: [baseline]\n")
    code = (
        "import sys; from etude.comparison import compare\n"
        f"assert compare({str(task)!r}).run.is_complete\n"
        "sys.exit(','.join({'torch', 'transformers'} & set(sys.modules)) or 0)"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr


def test_rows_too_long_to_train_on_are_told_all_at_once_before_anything_is_fitted(
    tmp_path: Path,
) -> None:
    tiny = save_tiny_model(tmp_path / "tiny", max_position_embeddings=8192)
    task = write_task(tmp_path, model=str(tiny), more="max_tokens: 16\n")
    file = tmp_path / "examples.jsonl"
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    for number in (5, 17):
        lines[number]["output"] += "\nwhere is my card" * 400
    write_json_lines(file, lines)
    with pytest.raises(InputError) as caught:
        compare(task)
    assert [fault.location.rpartition(":")[2] for fault in caught.value.issues] == ["6", "18"]
    assert all("`methods:`" in fault.remedy for fault in caught.value.issues)
    assert not list((tmp_path / "runs").glob("*/methods"))


@dataclass(frozen=True)
class Told(Method):
    """The right answers of all training rows, as instructions."""

    name = "told"
    label = "Everything told"
    rows: int = 4

    def fit(
        self, task: Task, train: Dataset, dev: Dataset, start: Assistant, context: FitContext
    ) -> Assistant:
        shown = replace(start, method=self.name, shots=train.examples[: self.rows])
        return context.choose([Candidate("the first rows", shown)], dev).assistant


def steps(first: int, last: int) -> list[dict[str, object]]:
    """What a training of nine steps tells."""
    told = {"steps": 9, "loss": 1.0, "tokens": 8, "seconds": 0.5}
    return [{"step": step, **told} for step in range(first, last + 1)]


BEGUN = {"epoch": 0, "dev_loss": 2.0, "best": True}


@pytest.mark.parametrize(
    "attempts",
    [
        [[*steps(1, 9), *steps(1, 9)]],
        [[*steps(1, 5)], [{"resumed_at_step": 3}, *steps(4, 9), *steps(1, 9)]],
        [[*steps(1, 9)], [{"resumed_at_step": 9}, *steps(1, 9)]],
        [[*steps(1, 9)], [*steps(1, 9)]],
        [[*steps(1, 9), *steps(1, 5)], [{"resumed_at_step": 2}, *steps(3, 9)]],
        [
            [*steps(1, 9), *steps(1, 5)],
            [{"resumed_at_step": 2}, *steps(3, 4)],
            [{"resumed_at_step": 4}, *steps(5, 9)],
        ],
    ],
)
def test_every_step_of_two_trainings_is_written_once_wherever_a_kill_struck(
    attempts: list[list[dict[str, object]]], tmp_path: Path
) -> None:
    for told in attempts:
        log = TrainingLog("own", tmp_path / "train.jsonl", lambda event: None)
        for line in told:
            log(line)
    written = [line["step"] for line in read_lines(tmp_path / "train.jsonl") if "step" in line]
    assert written == [*range(1, 10), *range(1, 10)]


def test_the_time_left_counts_what_is_measured_on_dev(tmp_path: Path) -> None:
    told: list[Event] = []

    def line(step: int) -> dict[str, object]:
        figures = {"loss": 1.0, "tokens": 9, "seconds": 2.0}
        return {"step": step, "steps": 6, "epoch": -(-step // 3), "epochs": 2, **figures}

    def epoch(number: int, seconds: float) -> dict[str, object]:
        return {"epoch": number, "epochs": 2, "dev_loss": 1.0, "best": True, "seconds": seconds}

    log = TrainingLog("own", tmp_path / "train.jsonl", told.append)
    for each in (epoch(0, 50.0), line(1), line(2), line(3), epoch(1, 40.0), line(4)):
        log(each)
    again = TrainingLog("own", tmp_path / "train.jsonl", told.append)
    for each in ({"resumed_at_step": 3}, epoch(1, 30.0), line(4), line(5)):
        again(each)
    left = [event.remaining_seconds for event in told if isinstance(event, StepTrained)]
    assert left == [5 * 2 + 100, 4 * 2 + 100, 3 * 2 + 100, 2 * 2 + 40, 2 * 2 + 30, 1 * 2 + 30]
    written = sum("dev_loss" in each for each in read_lines(tmp_path / "train.jsonl"))
    assert written == 2, "told again, written once"
    values = [event.epoch for event in told if isinstance(event, EpochEnded)]
    assert values == [0, 1, 0, 1], "each attempt shows all epochs, and each once"
    TrainingLog("own", tmp_path / "train.jsonl", told.append)({"resumed_at_step": 2})
    assert [event.epoch for event in told if isinstance(event, EpochEnded)][4:] == [0]


@given(st.lists(st.integers(10, 500), min_size=3, max_size=40), st.floats(60, 1e5), st.data())
def test_a_pause_is_no_part_of_the_pace(
    lengths: list[int], pause: float, data: st.DataObject
) -> None:
    told: list[Event] = []
    paused = data.draw(st.integers(0, len(lengths) - 1))
    with TemporaryDirectory() as folder:
        log = TrainingLog("own", Path(folder) / "train.jsonl", told.append)
        for number, tokens in enumerate(lengths):
            seconds = tokens / 1000 + pause * (number == paused)
            log(
                {"step": number + 1, "steps": 99, "loss": 1.0, "tokens": tokens, "seconds": seconds}
            )
    for event in told[1:]:
        assert isinstance(event, StepTrained)
        assert event.tokens_per_second == pytest.approx(1000)
        assert event.remaining_seconds <= 99 * 0.5


def test_what_two_trainings_begin_with_is_written_for_both_and_once_after_a_kill(
    tmp_path: Path,
) -> None:
    for _ in range(2):
        log = TrainingLog("own", tmp_path / "train.jsonl", lambda event: None)
        log(BEGUN)
        log(BEGUN)
    assert list(read_lines(tmp_path / "train.jsonl")) == [BEGUN, BEGUN]


def test_runs_of_different_methods_are_different_runs(tmp_path: Path) -> None:
    task = write_task(tmp_path, more=QUICK)
    ladders = [None, [Prompt()], [Prompt(), Told(2)], [Prompt(), Told(3)]]
    runs = [compare(task, methods=methods).run for methods in ladders]
    assert len({run.name for run in runs}) == 4
    assert compare(task, methods=ladders[3]).run == runs[3]


def test_a_step_builds_on_the_best_prompt_and_on_nothing_else(tmp_path: Path) -> None:
    seen: list[Assistant] = []

    @dataclass(frozen=True)
    class Spy(Method):
        name = "spy"
        label = "Looks at its start"

        def fit(
            self, task: Task, train: Dataset, dev: Dataset, start: Assistant, context: FitContext
        ) -> Assistant:
            seen.append(start)
            return context.choose([Candidate("start", start)], dev).assistant

    compare(write_task(tmp_path), methods=[METHODS[0], Prompt(), Told(80), FineTune(), Spy()])
    assert [start.method for start in seen] == ["told"]


def test_one_input_with_two_labels_is_told_with_its_lines_before_anything_is_fitted(
    tmp_path: Path,
) -> None:
    task = write_task(tmp_path, "classify", more="methods: [prompt]\n")
    lines = rows("classify", 150)
    others = [
        {**lines[n], "input": str(lines[n]["input"]).upper(), "output": "maps"}
        for n in (3, 8, 40, 90)
    ]
    write_json_lines(tmp_path / "examples.jsonl", [*lines, *others, lines[5]])
    run, events = events_of(task)
    (note,) = [line for line in list_notes(events).splitlines() if "more than one label" in line]
    pairs = "; ".join(
        f"examples.jsonl:{line} and examples.jsonl:{other}"
        for line, other in ((4, 151), (9, 152), (41, 153))
    )
    assert note == (
        f"Note: 4 inputs have more than one label, in 8 rows (5.2%): {pairs}; and 1 more. These "
        "rows contradict each other, so no method can get all of them right. `etude check` lists "
        "them (contradiction)."
    )
    first_start = next(n for n, event in enumerate(events) if isinstance(event, MethodStarted))
    assert events.index(NoteEvent(note)) < first_start
    assert note.removeprefix("Note: ") in run.info["notes"]
    result = next(finding for finding in check(task) if finding.kind == "contradiction")
    assert (result.numbers["inputs"], result.numbers["rows"]) == (4, 8)


def test_rows_that_an_earlier_run_opened_as_test_and_another_seed_trains_on_are_told(
    tmp_path: Path,
) -> None:
    task, first = copy_run(tmp_path)
    add_line(task, "seed: 1")
    second, events = events_of(task)
    moved = {*load_split(first)["test"]} - {*load_split(second)["test"]}
    assert moved
    said = f"{len(moved)} rows that are now in train or dev were test rows of an earlier run"
    assert said in list_notes(events)
    add_line(task, "margin: 0.1")
    third, events = events_of(task)
    assert third.info["split"]["test"] == second.info["split"]["test"]


def test_a_damaged_answer_of_an_unfinished_run_is_told_with_its_file(tmp_path: Path) -> None:
    task, run = copy_run(tmp_path)
    (run.folder / "verdict.json").unlink()
    file = run.method_folder("prompt") / "predictions.jsonl"
    file.write_bytes(file.read_bytes()[:300])
    with pytest.raises(
        RunError, match=r"predictions.jsonl has 0 answers to dev rows, but \d+ are needed.*--fresh"
    ):
        compare(task)


def test_card_numbers_are_asked_about_before_anything_is_spent(tmp_path: Path) -> None:
    task = write_task(tmp_path, "rewrite", more="methods: [prompt]\nturns: all\n")
    end = [{"role": "user", "content": "Thanks."}, {"role": "assistant", "content": "Done."}]
    lines: list[Any] = [{"messages": [*line["messages"], *end]} for line in chats(150)]  # type: ignore[misc]
    lines[4]["messages"][0]["content"] += " My card is 4111 1111 1111 1111."
    write_json_lines(tmp_path / "examples.jsonl", lines)
    with pytest.raises(Declined, match="--fix"):
        compare(task)
    assert not list((tmp_path / "runs").glob("*/split.json"))
    asked: list[str] = []
    run = compare(task, confirm=lambda question: asked.append(question) is None).run
    assert asked[0].startswith(
        "1 row (0.7%) contains what looks like a payment card, in the input (examples.jsonl:5)."
    )
    assert "privacy_card" in (run.folder / "findings.jsonl").read_text()
    assert compare(task).run.is_complete
    # All conversations end with the same answer, but a model learns the answers before it, too.
    assert [finding.severity for finding in check(task).select_kinds("repeated_output")] == ["note"]


@pytest.mark.parametrize("is_shifted", [False, True])
def test_a_test_far_from_dev_for_every_method_is_reported(is_shifted: bool, tmp_path: Path) -> None:
    more = "test: own.jsonl\nmethods: [baseline]\n"
    task = write_task(tmp_path, "classify", more=more)
    labels = sorted({str(row["output"]) for row in rows("classify", 60)})
    others = dict(zip(labels, [*labels[1:], labels[0]], strict=True))  # as from another column
    test = rows("classify", 60, seed=8)
    for row in test:
        row["output"] = others[str(row["output"])] if is_shifted else row["output"]
    write_json_lines(tmp_path / "own.jsonl", test)
    caveats = " ".join(compare(task).verdict.caveats)
    assert ("points lower on the test than on dev" in caveats) == is_shifted


def test_a_model_without_weights_trains_no_encoder(tmp_path: Path) -> None:
    task = write_task(tmp_path, "classify")
    task.write_text(task.read_text().replace("encoder: none\n", ""), encoding="utf-8")
    assert load_task_rows(task, None)[0].encoder == "none"
    task.write_text(task.read_text() + "encoder: bge-small\n", encoding="utf-8")
    assert load_task_rows(task, None)[0].encoder == "bge-small"

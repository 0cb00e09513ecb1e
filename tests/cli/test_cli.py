"""The command line: its output, on which stream, and on which terminals."""

import html
import io
import json
import math
import os
import re
import runpy
import shlex
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from rich.text import Text
from scipy.stats import binomtest

from etude.assistant import Assistant, PromptLimit
from etude.base.formatting import format_percent
from etude.cli import COMMANDS, _format_error, main
from etude.cli.chatting import Conversation, chat
from etude.cli.compare_board import CompareBoard, format_method_result, stop_on_interrupt
from etude.cli.printing import RunConsole, build_ladder_table, create_console, print_bullets
from etude.comparison import compare
from etude.data.formats.tools import format_tools
from etude.errors import InputError, Issue
from etude.methods.fine_tune import FineTune
from etude.models.fake import FakeModel
from etude.runs import Run, find_runs
from etude.runs.events import BatchAnswered, Event, MethodEnded, MethodStarted, NoteEvent
from etude.runs.progress import format_progress
from etude.runs.questions import SensitiveQuestion
from etude.runs.recommended import choose_method
from etude.runs.verdict import write_verdict
from etude.task import load_task
from etude.types import Estimate, Example, Message, ModelRef
from real_runs import copy_task, real_run
from small_task import rows, write_json_lines, write_task


def test_notes_on_the_test_file_are_reported_and_saved(tmp_path: Path) -> None:
    task = write_task(tmp_path, num=120, more="test: own.jsonl\nmethods: [prompt]\n")
    lines = [{**row, "output": f" {row['output']}\n"} for row in rows("answer", 60, seed=8)]
    write_json_lines(tmp_path / "own.jsonl", lines)
    events: list[Event] = []
    run = compare(task, on_event=events.append).run
    note = "own.jsonl: answers with spaces or line breaks at the ends, which were removed: 60"
    assert NoteEvent(f"Note: {note}") in events
    assert note in run.info["notes"]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([command, "--help"]) == 0
    assert f"Usage: etude {command}" in capsys.readouterr().out


@pytest.mark.parametrize("module", ["etude", "etude.cli"])
def test_python_runs_it_by_the_name_of_its_package(
    module: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", [module, "--version"])
    with pytest.raises(SystemExit) as stop:
        runpy.run_module(module, run_name="__main__")
    assert stop.value.code == 0
    assert capsys.readouterr().out.startswith("etude ")


@pytest.mark.parametrize("bad", [2, 50, 51, 70])
def test_all_errors_are_counted_if_only_some_are_listed(
    bad: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    task = write_task(tmp_path)
    with (tmp_path / "examples.jsonl").open("a") as file:
        file.write("nothing\n" * bad)
    assert main(["compare", str(task)]) == 2
    assert f"{bad} errors:" in capsys.readouterr().err
    assert main(["compare", str(task), "--budget", "1s"]) == 2
    assert "at least 10s" in capsys.readouterr().err


@pytest.fixture
def ascii_terminal(monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[int, str]]:
    """Runs commands where nothing but ASCII can be shown or given; exit code and all that was
    shown.
    """

    def run(*arguments: str, typed: str = "") -> tuple[int, str]:
        output = io.BytesIO()
        screen = io.TextIOWrapper(output, encoding="ascii", write_through=True)
        keys = io.TextIOWrapper(io.BytesIO(typed.encode()), encoding="ascii")
        for name, stream in (("stdout", screen), ("stderr", screen), ("stdin", keys)):
            monkeypatch.setattr(sys, name, stream)
        return main(arguments), output.getvalue().decode("utf-8")

    return run


@pytest.mark.real
def test_every_command_works_on_an_ascii_terminal(
    ascii_terminal: Callable[..., tuple[int, str]], tmp_path: Path
) -> None:
    task = tmp_path / "tâche"
    lines = [{**row, "output": f"Ünï: {row['output']} 漢 ✓"} for row in rows("rewrite", 130)]
    task.mkdir()
    write_json_lines(task / "é.jsonl", lines)
    assert ascii_terminal("init", str(task / "é.jsonl"))[0] == 0
    text = (task / "task.yaml").read_text(encoding="utf-8")
    (task / "task.yaml").write_text(
        text.replace("smollm2-135m-instruct", "fake").replace("é", "é", 1), "utf-8"
    )
    assert ascii_terminal("compare", str(task), "--yes")[0] == 0
    text = (task / "task.yaml").read_text(encoding="utf-8")
    (task / "task.yaml").write_text(text.replace("margin: 0.02", "margin: 0.03"), "utf-8")
    assert ascii_terminal("compare", str(task), "--yes")[0] == 0
    runs = sorted(path.name for path in (task / "runs").iterdir() if path.is_dir())
    commands = (("runs", "list"), ("runs", "show"), ("runs", "compare"))
    for command in commands:
        assert (
            ascii_terminal(*command, str(task), *(runs if command[1] == "compare" else []))[0] == 0
        )
    code, output = ascii_terminal("chat", str(task), "--method", "baseline", typed="où est-il ?\n")
    assert (code, "?" in output) == (0, True)
    assert ascii_terminal("compare", str(tmp_path / "où.yaml"))[0] == 2


@pytest.mark.parametrize(
    ("columns", "width"), [("60", 60), ("200", 200), ("", 110), ("wide", 110), ("3", 20)]
)
def test_what_is_piped_is_as_wide_as_columns_says_and_has_no_spaces_at_the_ends(
    columns: str, width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    caught = Screen(terminal=False)
    monkeypatch.setattr(sys, "stdout", caught)
    monkeypatch.setenv("COLUMNS", columns)
    console = create_console()
    console.print(Text("word " * 99))
    print_bullets(console, ["word " * 99, "short"])
    console.print("as it is ", end="")
    console.print("and ended")
    lines = caught.getvalue().splitlines()
    assert not [line for line in lines if line != line.rstrip()]
    assert width - 5 < max(map(len, lines)) <= width
    assert lines[-1] == "as it is and ended"


class Screen(io.StringIO):
    """Where output is caught, as a terminal or as none."""

    def __init__(self, terminal: bool) -> None:
        super().__init__()
        self.terminal = terminal

    def isatty(self) -> bool:
        return self.terminal


def compared_on(terminal: bool, task: Path, monkeypatch: pytest.MonkeyPatch, *flags: str) -> str:
    """All that `etude compare` shows, without the codes that move and colour."""
    screen = Screen(terminal)
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setenv("TERM", "xterm")
    for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(sys, "stdout", screen)
    assert main(["compare", str(task), "--yes", *flags]) == 0
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", screen.getvalue()).replace("\r", "\n")


@pytest.mark.parametrize("terminal", [True, False])
@pytest.mark.parametrize("verbose", [True, False])
def test_a_comparison_is_shown_on_every_kind_of_screen(
    verbose: bool, terminal: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_task(tmp_path, more="methods: [prompt, few_shot]\n")
    monkeypatch.chdir(tmp_path)
    output = compared_on(terminal, Path("task.yaml"), monkeypatch, *(["-v"] if verbose else []))
    (run,) = find_runs(tmp_path / "runs")
    assert run.verdict is not None
    story, _, end = output.rpartition("95% interval")  # the heading of the ladder
    board = story[story.rindex("on dev  ") :] if terminal else story
    answered = [
        line
        for name in run.fitted_methods
        for line in run.read_predictions(name)
        if line["side"] == "dev"
    ]
    samples = re.findall(r"\n    (.+)  \[(?:right|wrong)\]", story)
    assert bool(samples) == verbose
    assert set(samples) <= {" | ".join(line["answer"].split("\n")) for line in answered}, (
        "no answer to a test row"
    )
    for name in run.fitted_methods:
        assert re.search(rf"\n{name} .*\d%", board)
        assert re.search(rf"\n *{name} .*\d%", end)
        lines = [f"{name} on {side}: " in story for side in ("dev", "test")]
        assert lines == [verbose or not terminal, verbose], "the table replaces the lines"
    assert "150 rows: " in story
    assert ("Smallest difference that this test can show: " in story) == verbose
    assert run.verdict.sentence in " ".join(end.split())
    assert all(caveat in " ".join(end.split()) for caveat in run.verdict.caveats)
    assert "report.html" in end
    name = run.verdict.leaning
    assert f"Talk to {name}: etude chat task.yaml\nServe {name}: etude serve task.yaml" in end


@pytest.mark.parametrize(("target", "code"), [("0.01", 0), ("1.0", 1), (None, 2)])
def test_the_gate_and_nothing_else_turns_a_missed_target_into_exit_code_1(
    target: str | None, code: int, tmp_path: Path
) -> None:
    # No method is surely all right on 50 rows, and the recommended one gets more than 1 in 100
    # right.
    extra = f"target: {target}\n" if target else ""
    task = write_task(tmp_path, "classify", more=f"methods: [prompt, fine_tune]\n{extra}")
    assert main(["compare", str(task), "--gate"]) == code
    assert main(["compare", str(task)]) == 0
    assert main(["compare", str(task), "--gate"]) == code, "a finished run answers alike"


def test_two_runs_are_compared_by_their_shared_test_rows(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The values, their difference and its sign, reached from predictions.jsonl by plain means."""
    task = write_task(tmp_path, "classify", num=220, more="methods: [baseline, few_shot]\n")
    first = compare(task).run
    # A fifth of the training answers become wrong: the second run is another one on the same test.
    split = json.loads((first.folder / "split.json").read_text())
    lines = [json.loads(line) for line in (tmp_path / "examples.jsonl").read_text().splitlines()]
    tested = {
        line["input"] for line in first.read_predictions("baseline") if line["side"] == "test"
    }
    for line in [line for line in lines if line["input"] not in tested][
        : len(split["train"]) * 4 // 5
    ]:
        line["output"] = "dragons"
    write_json_lines(tmp_path / "examples.jsonl", lines)
    second = compare(task).run
    capsys.readouterr()
    assert main(["runs", "compare", str(task), first.name, second.name]) == 0
    output = capsys.readouterr().out
    page = (tmp_path / "runs" / f"{first.name}--{second.name}.html").read_text()
    for name in ("baseline", "few_shot"):
        first_scores, two = (
            {
                line["input"]: line["score"]
                for line in run.read_predictions(name)
                if line["side"] == "test"
            }
            for run in (first, second)
        )
        assert set(first_scores) == set(two) == tested
        before, after = (100 * sum(scores.values()) / len(tested) for scores in (first_scores, two))
        figures = r"([\d.]+)% +([\d.]+)% +([-+][\d.]+) +([-+][\d.]+) to ([-+][\d.]+) \(n = (\d+)\)"
        row = re.search(rf"^{name} +{figures} +(< 0\.001|[\d.]+) *$", output, re.MULTILINE)
        assert row, output
        *values, p = (float(value.removeprefix("< ")) for value in row.groups())
        assert values[:3] == pytest.approx([before, after, after - before], abs=0.051)
        assert values[3] <= values[2] <= values[4]
        assert values[5] == len(tested)
        better, worse = (
            sum(sign * (two[key] - first_scores[key]) > 0 for key in first_scores)
            for sign in (1, -1)
        )
        exact = binomtest(better, better + worse).pvalue if better + worse else 1.0
        # McNemar's exact test, in two digits
        assert exact < p if "< " in row[7] else p == pytest.approx(exact, rel=0.051)
        assert f"<b>{row[3]}</b>" in page
        assert f'<td class="n">{better}</td><td class="n">{worse}</td>' in page
    assert "Inputs that differ: examples." in page
    assert not any(html.escape(text) in page for text in tested)
    dev = {line["input"] for line in first.read_predictions("baseline") if line["side"] == "dev"}
    assert any(html.escape(text) in page for text in dev)


def test_identical_runs_are_reported_and_changed_expected_answers_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    task = write_task(tmp_path, "classify", more="methods: [prompt]\nmetric: macro_f1\n")
    first = compare(task).run
    assert main(["runs", "compare", str(task), first.name, first.name]) == 2
    assert f"{first.name} is given twice" in capsys.readouterr().err
    task.write_text(task.read_text() + "margin: 0.01\n")
    second = compare(task).run
    capsys.readouterr()
    assert main(["runs", "compare", str(task), first.name, second.name]) == 0
    output = capsys.readouterr().out
    tested = [line for line in first.read_predictions("prompt") if line["side"] == "test"]
    value = re.escape(format_percent(first.verdict.ladder[0].estimate.value))
    same = rf"{value} +{value} +0\.0 +identical on all {len(tested)} rows *$"
    assert re.search(same, output, re.MULTILINE), output
    assert "Metric: macro-F1 over the labels" in output
    assert "Skipped" not in output

    wrong = tested[3]
    lines = [json.loads(line) for line in (tmp_path / "examples.jsonl").read_text().splitlines()]
    (row,) = (line for line in lines if line["input"] == wrong["input"])
    row["output"] = "trains" if row["output"] != "trains" else "music"
    write_json_lines(tmp_path / "examples.jsonl", lines)
    third = compare(task).run
    capsys.readouterr()
    assert main(["runs", "compare", str(task), first.name, third.name]) == 0
    output = " ".join(capsys.readouterr().out.split())
    skipped = "Skipped 1 test row with different expected answers in the two runs, such as "
    assert f"{skipped}'{wrong['input'][:30]}" in output
    assert f"all {len(tested) - 1} rows" in output


def test_runs_that_score_rows_by_different_metrics_are_not_compared(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Accuracy and macro-F1 score a row alike; passes and chrF do not."""
    task = write_task(tmp_path, more="methods: [prompt]\n")
    first = compare(task).run
    task.write_text(task.read_text() + "metric: chrf\n")
    second = compare(task).run
    capsys.readouterr()
    assert main(["runs", "compare", str(task), first.name, second.name]) == 2
    assert "by passes and by chrf" in " ".join(capsys.readouterr().err.split())


def test_long_work_prints_progress_without_a_terminal() -> None:
    screen = Screen(terminal=False)
    board = CompareBoard(RunConsole(Console(width=120, file=screen), last_printed=-math.inf))
    board.handle_event(BatchAnswered("prompt", 8, 1030, 90.0))
    board.handle_event(BatchAnswered("prompt", 16, 1030, 80.0))  # too soon
    assert screen.getvalue() == "prompt: 8 of 1,030 rows, 90 s left\n"


def test_progress_shows_which_candidate_answers(tmp_path: Path) -> None:
    events: list[Event] = []
    compare(write_task(tmp_path, more="methods: [prompt, few_shot]\n"), on_event=events.append)
    answered = [event for event in events if isinstance(event, BatchAnswered)]
    few_shot = [event.trial for event in answered if event.method == "few_shot"]
    on_dev = [trial for trial in few_shot if trial is not None]
    assert len(on_dev) < len(few_shot), "the test is answered by the chosen one alone"
    assert [trial.number for trial in dict.fromkeys(on_dev)] == list(range(1, on_dev[0].total + 1))
    lines = [(event.method, format_progress(event)) for event in answered]
    assert any(line.startswith(f"candidate 2 of {on_dev[0].total}: 8 of ") for _, line in lines)
    assert not any("candidate" in line for method, line in lines if method == "prompt")
    assert lines[-1] == ("few_shot", "50 of 50 rows")


def test_the_remaining_time_of_answering_excludes_training(tmp_path: Path) -> None:
    """Whatever came before the answers, here a pause in place of training, and on the test
    alike.
    """

    class Slow(FineTune):
        def fit(self, *arguments: Any) -> Assistant:
            time.sleep(0.5)
            return super().fit(*arguments)

    events: list[Event] = []
    compare(write_task(tmp_path), methods=[Slow()], on_event=events.append)
    answered = [event for event in events if isinstance(event, BatchAnswered)]
    last = [event for event in answered if event.num_answered == event.num_rows]
    assert [event.remaining_seconds for event in last] == [0.0, 0.0]
    assert max(event.num_answered for event in answered if event not in last) > 8
    assert all(event.remaining_seconds < 0.5 for event in answered)


def test_a_sensitive_question_that_nobody_answers_is_printed_and_means_no() -> None:
    screen = io.StringIO()
    console = RunConsole(Console(file=screen, width=200))
    assert [console.confirm(question) for question in ("Long?", SensitiveQuestion("Send?"))] == [
        True,
        False,
    ]
    assert screen.getvalue().splitlines() == [
        "Long? (no terminal to ask: yes)",
        "Send? (unanswered)",
    ]


def test_a_question_under_a_budget_that_nobody_answers_means_no(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("etude.cli.printing._is_in_foreground", lambda: True)
    screen = Console(file=io.StringIO(), force_terminal=True)
    reader, writer = os.pipe()
    with os.fdopen(reader) as terminal, os.fdopen(writer, "w") as keyboard:
        monkeypatch.setattr(sys, "stdin", terminal)
        console = RunConsole(screen, question_seconds=0.01)
        assert not console.confirm("Long?")
        print("y", file=keyboard, flush=True)
        assert console.confirm("Long?")


def test_ctrl_c_at_a_question_ends_the_command_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    board = CompareBoard(RunConsole(Console(file=io.StringIO())))
    monkeypatch.setattr(
        board.console, "confirm", lambda question: signal.raise_signal(signal.SIGINT)
    )
    with stop_on_interrupt(print) as stop:
        with pytest.raises(KeyboardInterrupt):
            board.confirm("Long?")
        assert not stop.is_set()
        signal.raise_signal(signal.SIGINT)  # afterwards it asks for an end again
        assert stop.is_set()


@pytest.mark.parametrize("first", [MethodStarted, MethodEnded])
def test_the_message_of_a_stopped_comparison_is_true(first: type, tmp_path: Path) -> None:
    console = RunConsole(Console(file=io.StringIO()))
    board = CompareBoard(console)

    def stop(event: Event) -> None:
        board.handle_event(event)
        if isinstance(event, first):
            raise KeyboardInterrupt

    task = write_task(tmp_path, more="methods: [prompt, few_shot]\n")
    compare(
        write_task(tmp_path, more="methods: [prompt]\n")
    )  # an older run, of which nothing is said
    write_task(tmp_path, more="methods: [prompt, few_shot]\n")
    assert "before the first method was finished" in console.format_stop()
    with pytest.raises(KeyboardInterrupt):
        compare(task, on_event=stop)
    assert console.run is not None
    report = console.run / "report.html"
    assert report.exists() == (first is MethodEnded)
    assert ("before the first method was finished" in console.format_stop()) == (
        first is MethodStarted
    )
    assert (str(report) in console.format_stop()) == (first is MethodEnded)


@pytest.mark.parametrize(
    ("arguments", "remedy"),
    [
        (
            ("index", "examples.jsonl"),
            "Create a task file for it with etude init {}/examples.jsonl",
        ),
        (("compare", "new"), "Give a task file, or create one with etude init {}/new/rows.csv"),
        (("init", "new"), "a folder, not a file of rows. Give a file: {}/new/rows.csv"),
        (("init", "."), "a folder, not a file of rows. Give a file: {}/examples.jsonl"),
        (
            ("init", "exmples.jsonl"),
            "Did you mean {}/examples.jsonl? Otherwise, check the name and the permissions",
        ),
        (("compare", "tsk.yaml"), "Did you mean {}/task.yaml? Otherwise give a task file"),
        (("chat", "tsk.yaml"), "Did you mean {}/task.yaml? Otherwise give a task file"),
        (("compare", "old"), "Did you mean {}/older? Otherwise give a task file"),
        (("compare", "settings/zz.yaml"), "Give a task file, or create one with etude init FILE"),
    ],
)
def test_a_wrong_path_is_answered_with_the_next_command(
    arguments: tuple[str, str], remedy: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_task(tmp_path)
    write_task(tmp_path / "older")
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "rows.csv").write_text("input,output\na,b\n")
    (tmp_path / "settings").mkdir()
    (tmp_path / "settings" / "package.json").write_text('{"name": "no rows"}')
    assert main([arguments[0], str(tmp_path / arguments[1])]) == 2
    assert remedy.format(tmp_path) in capsys.readouterr().err


def test_a_command_that_is_proposed_can_be_pasted_into_a_shell(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    task = write_task(tmp_path / "all of it", model="fake", more="methods: [baseline]\n")
    (tmp_path / "my rows").mkdir()
    task.with_name("examples.jsonl").rename(tmp_path / "my rows" / "my mails.jsonl")
    task.unlink()
    assert main(["check", "my rows"]) == 2
    assert main(["index", "my rows/my mails.jsonl"]) == 2
    output = capsys.readouterr().err
    assert output.count("etude init 'my rows/my mails.jsonl'") == 2, output
    assert main(["init", "my rows/my mails.jsonl"]) == 0
    proposed = re.findall(r"^  (etude .*)$", capsys.readouterr().out, re.M)
    words = [shlex.split(line, comments=True) for line in proposed]
    assert words == [["etude", verb, "my rows/task.yaml"] for verb in ("check", "compare", "train")]
    assert main(["runs", "list", "my rows"]) == 0
    assert "etude compare 'my rows'\n" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("there", "output"), [(True, "new/er"), (True, "new/er/"), (False, "new/er/")]
)  # a name without a slash is a folder if there is one
def test_init_writes_into_the_folder_that_is_named(
    there: bool, output: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_task(tmp_path / "old")
    if there:
        Path("new/er").mkdir(parents=True)
    assert main(["init", "old/examples.jsonl", "-o", output]) == 0
    assert load_task("new/er").examples.file.resolve() == tmp_path / "old" / "examples.jsonl"


def test_no_folder_is_made_for_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    assert main(["init", str(tmp_path / "none.csv"), "-o", f"{tmp_path}/new/"]) == 2
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--method", "basline"), "it has: baseline, prompt. Did you mean 'baseline'?"),
        (("--run", "smal-"), "The runs are: {}. Did you mean '{}'?"),
        (("--run", "nothing of the kind"), "The runs are: {}.\n"),
    ],
)
def test_an_unknown_assistant_or_run_is_answered_with_the_nearest_name(
    flags: tuple[str, str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    run = real_run(more="methods: [baseline, prompt]\n")
    assert main(["chat", str(run.parent.parent), *flags]) == 2
    assert words.format(run.name, run.name) in capsys.readouterr().err


def test_shares_of_form_and_check_are_shown_in_percent() -> None:
    console = Console(width=120, file=io.StringIO())
    board = CompareBoard(RunConsole(console))
    form = Estimate(1.0, 0.93, 1.0, 50)
    check = Estimate(0.31, 0.2, 0.44, 50)
    ended = MethodEnded(
        "few_shot", "dev", Estimate(0.31, 0.2, 0.44, 50), form, check, 40.0, None, 50, 50
    )
    board.handle_event(ended)
    assert "contract 100%, check 31%; 40 s" in format_method_result(ended)
    console.print(board.render())
    assert re.search(
        r"few_shot +31.0% \(20.0 to 44.0\) +50 +contract 100%, check 31%; 40 s",
        console.file.getvalue(),
    )


@pytest.mark.parametrize(
    ("n", "num_rows", "of_rows", "told"),
    [
        (31, 31, 31, "n = 31; 1 s"),
        (29, 31, 31, "n = 29 groups of 31 rows; 1 s"),
        (50, 50, 1600, "n = 50 of 1,600 rows, limited by the budget; 1 s"),
        (40, 50, 160, "n = 40 groups of 50 of 160 rows, limited by the budget; 1 s"),
    ],
)
def test_an_n_that_is_not_the_number_of_rows_says_why(
    n: int, num_rows: int, of_rows: int, told: str
) -> None:
    ended = MethodEnded(
        "prompt", "dev", Estimate(0.3, 0.2, 0.4, n), None, None, 1.0, None, num_rows, of_rows
    )
    assert format_method_result(ended) == f"prompt on dev: 30.0% (20.0 to 40.0), {told}"


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"recommended": "few_shot", "leaning": "few_shot"}, "few_shot"),
        ({"recommended": None, "leaning": "baseline"}, "baseline"),
    ],
)
def test_chat_uses_the_recommended_method_then_the_leaning(
    changes: dict[str, Any],
    expected: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    task = copy_task(tmp_path, more="methods: [baseline, prompt]\n")
    (run,) = find_runs(tmp_path / "runs")
    assert run.verdict is not None
    write_verdict(run.folder / "verdict.json", replace(run.verdict, **changes))
    assert choose_method(run)[0] == expected
    if expected in run.fitted_methods:
        monkeypatch.setattr(sys, "stdin", io.StringIO("Have you a book about trains?\n"))
        capsys.readouterr()
        chat(task)
        output = capsys.readouterr()
        model = "classical" if expected == "baseline" else "fake"
        assert output.err.startswith(f"{expected} ({model}) of {run.name}.")
        assert run.name not in output.out


@pytest.mark.parametrize("kind", ["answer", "classify"])
def test_without_a_verdict_the_best_on_dev_answers(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    task = copy_task(tmp_path, kind, "methods: [baseline, prompt]\n")
    (run,) = find_runs(tmp_path / "runs")
    (run.folder / "verdict.json").unlink()
    dev = {
        name: [line["score"] for line in run.read_predictions(name) if line["side"] == "dev"]
        for name in run.fitted_methods
    }
    means = {name: sum(scores) / len(scores) for name, scores in dev.items()}
    assert means["baseline"] > means["prompt"] + 0.2
    monkeypatch.setattr(sys, "stdin", io.StringIO(""))
    capsys.readouterr()
    chat(task)
    output = capsys.readouterr().err
    assert output.startswith("baseline (classical)")
    assert (
        "The run has no verdict yet; of its 2 fitted methods, baseline is best on dev (" in output
    )


@pytest.mark.parametrize("chats", [False, True])
def test_chat_carries_turns_along_only_where_the_examples_have_several(
    chats: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    task = write_task(tmp_path, more="methods: [prompt]\n")
    if chats:
        begin = [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Good day"}]
        talks = []
        for row in rows("answer", 150):
            question = {"role": "user", "content": row["input"]}
            answer = {"role": "assistant", "content": row["output"]}
            talks.append({"messages": [*begin, question, answer]})
        write_json_lines(tmp_path / "examples.jsonl", talks)
    compare(task)
    questions: list[int] = []
    monkeypatch.setattr(
        "etude.cli.chatting.print_answer",
        lambda _, turns, __: questions.append(len(turns)) or "yes",
    )
    monkeypatch.setattr(sys, "stdin", io.StringIO("One?\nTwo?\n"))
    capsys.readouterr()
    chat(task)
    assert questions == ([1, 3] if chats else [1, 1])
    assert ("answered on its own" in capsys.readouterr().err) is not chats


def test_chat_offers_the_functions_of_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    task = copy_task(tmp_path, more="methods: [prompt]\n")
    file = tmp_path / "tools.json"
    functions = [
        {"type": "function", "function": {"name": "find_book", "parameters": {"type": "object"}}}
    ]
    file.write_text(json.dumps(functions), encoding="utf-8")
    prompts: list[str] = []
    monkeypatch.setattr(
        "etude.cli.chatting.print_answer",
        lambda assistant, turns, _: (
            prompts.append(assistant.build_messages(turns)[0].content) or "yes"
        ),
    )
    for arguments in ((), ("--tools", str(file))):
        monkeypatch.setattr(sys, "stdin", io.StringIO("One?\n"))
        assert main(["chat", str(task), *arguments]) == 0
    plain, offered = prompts
    assert offered == f"{plain}\n\n{format_tools(functions)}"
    file.write_text('{"name": "find_book"}', encoding="utf-8")
    assert main(["chat", str(task), "--tools", str(file)]) == 2
    assert "tools.json" in capsys.readouterr().err


def test_chat_without_any_input_ends_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = copy_task(tmp_path, more="methods: [baseline, prompt]\n")
    monkeypatch.setattr(sys, "stdin", None)
    assert main(["chat", str(task)]) == 0


@given(words=st.lists(st.integers(1, 30), min_size=1, max_size=12), num_shots=st.integers(0, 3))
def test_a_conversation_keeps_the_latest_turns_that_fit_and_tells_every_loss_once(
    words: list[int], num_shots: int
) -> None:
    shot = Example("s", (Message("user", "q " * 12),), "a " * 12)
    assistant = Assistant(
        "few_shot",
        "answer",
        ModelRef("fake"),
        "Be brief.",
        shots=(shot,) * num_shots,
        max_tokens=10,
    )
    limit = PromptLimit(assistant, FakeModel("fake:context=70"))
    conversation = Conversation(limit)
    said: list[Message] = []
    notes: list[str] = []
    for number, length in enumerate(words):
        said.append(Message("user", f"{number} {'word ' * length}"))
        notes += conversation.add(said[-1].content)
        kept = conversation.turns
        assert kept == said[-len(kept) :]
        assert len(kept) % 2
        assert limit.fits(kept)
        assert len(kept) == len(said) or not limit.fits(said[-len(kept) - 2 :])
        said.append(Message("assistant", "fine"))
        conversation.turns.append(said[-1])
    ranges = [re.findall(r"turns (\d+) to (\d+)", note) for note in notes]
    gone = [
        turn
        for ((first, last),) in filter(None, ranges)
        for turn in range(int(first), int(last) + 1)
    ]
    assert gone == list(range(1, len(said) - len(conversation.turns) + 1))
    examples = [int(note[0]) for note in notes if "examples are left out" in note]
    assert examples == sorted(set(examples))


def test_piped_chat_says_on_stderr_who_answers_and_which_turns_it_forgets(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    task = write_task(tmp_path, model="fake:context=50", more="max_tokens: 10\nmethods: [prompt]\n")
    result = compare(task)
    leaning = replace(result.verdict, recommended=None, leaning="prompt")
    write_verdict(result.run.folder / "verdict.json", leaning)
    result.run.update(chats=True)
    monkeypatch.setattr(
        sys, "stdin", io.StringIO("".join(f"{n} is it{' there' * 14}\n" for n in range(4)))
    )
    capsys.readouterr()
    assert main(["chat", str(task)]) == 0
    out, err = capsys.readouterr()
    assert "The verdict recommends no method, but leans to this one." in err
    forgotten = re.findall(r"turns (\d) to (\d) of this conversation, starting with '(\d)", err)
    assert forgotten == [("1", "2", "0"), ("3", "4", "1"), ("5", "6", "2")]
    assert "Note" not in out


def test_macro_f1_is_reported_with_its_reason_and_accuracy(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    task = write_task(tmp_path, "classify", more="methods: [prompt]\n")
    labels = ["rare", *["usual"] * 9] * 22
    made = [
        row | {"output": label} for row, label in zip(rows("classify", 220), labels, strict=True)
    ]
    write_json_lines(tmp_path / "examples.jsonl", made)
    assert main(["compare", str(task), "--verbose"]) == 0
    output = " ".join(capsys.readouterr().out.split())
    why = re.compile(r"because the largest class has [\d.]+ times the rows of the sm")
    (run,) = find_runs(tmp_path / "runs")
    assert all(why.search(text) for text in (output, (run.folder / "report.md").read_text()))
    assert "Metric: macro-F1 over the labels" in output
    lines = [line for line in run.read_predictions("prompt") if line["side"] == "test"]
    right = sum(line["value"] == line["expected"] for line in lines) / len(lines)
    assert re.search(rf"accuracy .*prompt .* {100 * right:.1f}%", output)


@pytest.mark.parametrize(
    ("width", "macro_f1"), [(60, False), (80, False), (80, True), (110, False), (110, True)]
)
def test_the_ladder_is_whole_at_every_width(width: int, macro_f1: bool) -> None:
    verdict = Run(real_run()).verdict
    assert verdict is not None
    # the widest table: accuracy beside it, thousands of test rows, a stored model with a long name
    if macro_f1:
        ladder = tuple(
            replace(step, estimate=replace(step.estimate, n=1540), rows_to_decide=4000)
            for step in (
                *verdict.ladder,
                replace(verdict.ladder[0], method="ft:gpt-4o-mini:acme:tickets:AbC12d"),
            )
        )
        others = {step.method: {"accuracy": step.estimate} for step in ladder}
        verdict = replace(verdict, ladder=ladder, other_metrics=others)
    console = Console(file=io.StringIO(), width=width)
    console.print(build_ladder_table(verdict, width))
    output = console.file.getvalue()  # type: ignore[attr-defined]
    assert "…" not in output
    assert all(f"{100 * step.estimate.value:.1f}%" in output for step in verdict.ladder)
    assert all(step.status in output for step in verdict.ladder)


@pytest.mark.parametrize("num_rows", [5, 6, 200])
def test_errors_that_differ_only_in_row_and_value_are_one_line(num_rows: int) -> None:
    issues = [
        Issue(f"r:{row}", "too long", f"{row} tokens", "cut it") for row in range(1, num_rows + 1)
    ]
    head, *lines = _format_error(
        InputError([*issues, Issue("r:9", "empty", "", "fill it")])
    ).splitlines()
    assert head == f"etude: {num_rows + 1} errors:"
    merged = [f"  r:1, r:2, r:3 and {num_rows - 3} more: too long (got 1 tokens, ...). Cut it."]
    assert lines[:-1] == (merged if num_rows > 5 else [f"  {issue}" for issue in issues])

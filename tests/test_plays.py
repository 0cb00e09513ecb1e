"""Plays: conversations that an assistant continues after its own answers, with the user's tools."""

import io
import itertools
import json
import os
import random
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from shutil import copytree, rmtree
from typing import Any

import openai
import pytest

from etude.cli import main
from etude.comparison import compare
from etude.errors import InputError
from etude.models.registry import Models
from etude.plays import play
from etude.report import write_report
from etude.runs import Run, find_run
from etude.serve.catalogue import load_catalogue
from etude.serve.schemas import ChatMessage
from etude.serve.server import ServerSettings
from etude.task.tool_class import ToolLimits, ToolRef, ToolSession
from etude.tool_loop import ToolLoop
from etude.watch.record import TrafficRecord
from processes import kill_when, start_command
from serving import needs_package, open_client
from small_task import THEMES, rows, write_json_lines

DESK = '''
"""The shelf of a small library."""
from typing import Literal


class Desk:
    def __init__(self, row):
        self.lent, self.asked = row.tags["lent"], []

    def on_shelf(self, theme: str, when: Literal["today", "monday"] = "today") -> str:
        """Whether the book on a theme is on the shelf."""
        self.asked.append(theme)
        return "lent" if theme == self.lent else "on the shelf"

    def finished(self, row):
        return "".join(self.asked) == row.tags["theme"]
'''


def write_chats(folder: Path, num: int = 150, desk: str = DESK, seed: int = 3) -> Path:
    """Conversations that ask for a book, and then whether it is on the shelf; returns the task
    file.
    """
    draw = random.Random(seed)
    lines = []
    for row in rows("answer", num, seed):
        # type: ignore[index]
        theme = row["tags"]["theme"]
        lent = draw.choice(THEMES[:2])
        call = {"name": "on_shelf", "arguments": json.dumps({"theme": theme})}
        result = "lent" if theme == lent else "on the shelf"
        chat: list[dict[str, Any]] = [
            {"role": "user", "content": row["input"]},
            {"role": "assistant", "content": row["output"]},
            {"role": "user", "content": f"Is the one about {theme} there, {row['input'][:30]}?"},  # type: ignore[index]
            {"role": "assistant", "content": None, "tool_calls": [{"id": "1", "function": call}]},
            {"role": "tool", "tool_call_id": "1", "content": result},
            {"role": "assistant", "content": f"It is {result}."},
        ]
        lines.append(
            {"id": f"c{len(lines)}", "messages": chat, "tags": {"theme": theme, "lent": lent}}
        )
    folder.mkdir(parents=True, exist_ok=True)
    write_json_lines(folder / "examples.jsonl", lines)
    (folder / "desk.py").write_text(desk)
    task = folder / "task.yaml"
    task.write_text(
        "kind: answer\n"
        "model: fake\n"
        "examples: examples.jsonl\n"
        "turns: all\n"
        "metric: exact_match\n"
        "encoder: none\n"
        "methods: [prompt, few_shot, fine_tune]\n"
        "tools: desk.py:Desk\n"
        "instructions: You are a librarian.\n"
    )
    return task


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A compared task; each test plays a copy."""
    task = write_chats(tmp_path_factory.mktemp("play") / "library")
    compare(task)
    return task


@pytest.fixture
def task(compared: Path, tmp_path: Path) -> Path:
    return copytree(compared.parent, tmp_path / "copy") / "task.yaml"


def read_transcripts(run: Run, method: str = "fine_tune") -> list[dict[str, Any]]:
    (file,) = (run.folder / "plays" / method).glob("*.jsonl")
    return [line for line in map(json.loads, file.read_text().splitlines()) if "score" in line]


def test_a_conversation_scores_as_much_as_its_worst_turn(
    task: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["play", str(task), "--yes", "-m", "fine_tune"]) == 0
    run = find_run(task)
    printed = capsys.readouterr().out
    rows = read_rows(task)
    result = json.loads((run.folder / "plays.json").read_text())["fine_tune"]
    transcripts = read_transcripts(run)
    for line in transcripts:
        answers = [turn["content"] for turn in line["turns"] if turn["role"] == "assistant"]
        row = rows[line["id"]]["messages"]
        arguments = row[3]["tool_calls"][0]["function"]["arguments"]
        call = f'<tool_call>\n{{"name": "on_shelf", "arguments": {arguments}}}\n</tool_call>'
        assert line["score"] == (answers == [row[1]["content"], call, row[5]["content"]])
        # What the tool said depends on its argument, which is the assistant's own.
        calls = [json.loads(text.split("\n")[1]) for text in answers if "<tool_call>" in text]
        asked = [call["arguments"]["theme"] for call in calls]
        tags = rows[line["id"]]["tags"]
        assert line["finished"] == (asked == [tags["theme"]])
        said = ["lent" if theme == tags["lent"] else "on the shelf" for theme in asked]
        results = [
            turn["content"] for turn in line["turns"] if "<tool_response>" in turn["content"]
        ]
        assert results == [f"<tool_response>\n{text}\n</tool_response>" for text in said]
    assert 0 < result["played"]["value"] < 1
    assert result["played"]["value"] == pytest.approx(
        sum(line["score"] for line in transcripts) / len(transcripts)
    )
    assert result["lost"]["value"] == pytest.approx(
        result["turns"]["value"] - result["played_turns"]["value"]
    )
    scores = [score for line in transcripts for score in line["scores"]]
    assert result["played_turns"]["value"] == pytest.approx(sum(scores) / len(scores))
    assert 0 < result["played_turns"]["value"] < 1
    assert "After the calls of the rows themselves, 100.0% of the tasks are finished" in printed
    assert "Played conversations" in (run.folder / "report.html").read_text()


@pytest.mark.real
def test_a_play_that_was_killed_repeats_no_answer(task: Path) -> None:
    folder = find_run(task).folder / "plays" / "fine_tune"
    kill_when(
        start_command("play", task, "-m", "fine_tune"),
        lambda: len([*folder.glob("answers/*.jsonl")]) >= 3,
        60,
    )
    before = {file: file.read_bytes() for file in folder.rglob("*.jsonl")}
    assert not (folder.parent.parent / "plays.json").exists()
    play(find_run(task), ["fine_tune"])
    after = {file: file.read_bytes() for file in folder.rglob("*.jsonl")}
    assert all(after[file].startswith(content) for file, content in before.items())
    for file in folder.glob("answers/*.jsonl"):
        numbers = [json.loads(text)["number"] for text in file.read_text().splitlines()]
        assert len(numbers) == len(set(numbers))
    resumed = [
        (line["id"], line["score"], line["turns"]) for line in read_transcripts(find_run(task))
    ]
    rmtree(folder)
    play(find_run(task), ["fine_tune"])
    assert resumed == [
        (line["id"], line["score"], line["turns"]) for line in read_transcripts(find_run(task))
    ]


def test_a_finished_play_asks_nothing_again(task: Path) -> None:
    first = play(find_run(task), ["fine_tune"]).results
    files = {file: file.read_bytes() for file in find_run(task).folder.glob("plays/**/*.jsonl")}
    (task.parent / "desk.py").write_text(DESK + "\n")  # a new state of the tools that says the same
    file = find_run(task).folder / "plays.json"
    file.write_text(
        file.read_text().replace("played_turns", "other")
    )  # as an earlier version wrote it
    write_report(file.parent)
    assert "Run etude play again" in (file.parent / "report.md").read_text()
    run = find_run(task)
    file = find_run(task).method_folder("prompt") / "predictions.jsonl"
    file.write_text(
        "".join(line for line in file.read_text().splitlines(True) if '"side": "dev"' in line)
    )
    again = play(run, ["fine_tune"])
    assert again.results == first
    assert f"prompt 0 of {run.info['split']['test']}." in again.notes[0], (
        "not all its turns are answered"
    )
    assert all(file.read_bytes() == content for file, content in files.items())


def test_tools_that_hang_or_break_cost_their_conversation_only(task: Path) -> None:
    bad = 'if theme == "cooking": __import__("time").sleep(100)\n'
    bad += '        if theme == "space": raise KeyError(theme)\n        '
    (task.parent / "desk.py").write_text(
        DESK.replace("self.asked.append", f"{bad}self.asked.append")
    )
    result = play(find_run(task), ["fine_tune"], limits=ToolLimits(seconds=0.5)).results[
        "fine_tune"
    ]
    transcripts = read_transcripts(find_run(task))
    named = [problem for line in transcripts for problem in line["problems"]]
    assert {*named} == {
        "on_shelf failed: stopped after 0.5 s without a result",
        "on_shelf failed: KeyError: 'space'",
    }
    assert result.problems == {"on_shelf failed": len(named)}
    said = [
        turn["content"]
        for line in transcripts
        for turn in line["turns"]
        if "KeyError" in turn["content"]
    ]
    assert {*said} == {"<tool_response>\nerror: KeyError: 'space'\n</tool_response>"}
    assert result.played.value > 0


def test_a_conversation_ends_at_the_limit_of_calls(task: Path) -> None:
    result = play(find_run(task), ["fine_tune"], limits=ToolLimits(calls=0)).results["fine_tune"]
    assert result.played.value == 0
    assert [*result.problems] == ["more than 0 calls"]
    loop = ToolLoop([], ToolSession(ToolRef(task, "Desk"), limits=ToolLimits(calls=0)))
    loop.take('<tool_call>\n{"name": "on_shelf", "arguments": {}}\n</tool_call>')
    assert loop.problem == "more than 0 calls"
    loop.take("An answer without a call.")
    assert not loop.problem


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ('row.tags["nothing"]', "desk.py:16: .*KeyError: 'nothing'"),
        ("2", "returned neither a bool nor a number"),
    ],
)
def test_errors_of_finished_are_reported_together(task: Path, body: str, message: str) -> None:
    (task.parent / "desk.py").write_text(
        DESK.replace('"".join(self.asked) == row.tags["theme"]', body)
    )
    with pytest.raises(InputError, match=message) as caught:
        play(find_run(task))
    assert caught.value.count == 30
    assert "finished fails on the row" in str(caught.value)
    assert "(examples.jsonl:" in str(caught.value)


def test_rows_that_cannot_be_played_say_why(task: Path) -> None:
    text = task.read_text()
    task.write_text(text.replace("tools: desk.py:Desk\n", ""))
    with pytest.raises(InputError, match="the row calls functions, which a play must run"):
        play(find_run(task))
    task.write_text(text.replace("turns: all", "turns: last"))
    with pytest.raises(InputError, match="Write turns: all, and compare again"):
        play(find_run(task))


def converse(client: Any, route: str, questions: list[str], **options: Any) -> list[dict[str, Any]]:
    """Ask the questions one after another, and send back what came; returns the turns, with calls
    and results.
    """
    sent: list[Any] = []
    for question in questions:
        sent.append({"role": "user", "content": question})
        if route == "responses":
            sent += client.responses.create(model="library", input=sent, **options).output
        elif route == "stream":
            with client.chat.completions.stream(
                model="library", messages=sent, **options
            ) as stream:
                sent.append(stream.get_final_completion().choices[0].message)
        else:
            sent.append(
                client.chat.completions.create(model="library", messages=sent, **options)
                .choices[0]
                .message
            )
    turns = [turn if isinstance(turn, dict) else turn.model_dump() for turn in sent]
    return [part for turn in turns for part in (*(turn.get("steps") or ()), turn)]


def read_content(turn: dict[str, Any]) -> str:
    """The text of a turn as it is in a transcript."""
    blocks = turn["content"]
    return blocks[0]["text"] if isinstance(blocks, list) else ChatMessage.model_validate(turn).text


def read_rows(task: Path) -> dict[str, Any]:
    return {
        line["id"]: line
        for line in map(json.loads, (task.parent / "examples.jsonl").read_text().splitlines())
    }


@needs_package
@pytest.mark.parametrize("method", ["fine_tune", pytest.param("few_shot", marks=pytest.mark.real)])
def test_conversations_with_a_server_are_those_that_were_played(
    method: str, task: Path, tmp_path: Path
) -> None:
    models = Models(dtype="float32")  # in 16 bits, a near tie falls otherwise beside other rows
    if method == "few_shot":
        task = write_chats(tmp_path / "library", 40)
        text = task.read_text().replace(
            "model: fake", "model: smollm2-135m-instruct\nmax_tokens: 40"
        )
        task.write_text(text.replace("[prompt, few_shot, fine_tune]", "[few_shot]"))
        compare(task)
    play(find_run(task), [method], models=models)
    transcripts = [
        line
        for line in read_transcripts(find_run(task), method)
        if "<tool_call>" in str(line["turns"])
    ]
    (served,) = load_catalogue([str(task)], method, run_tools=True).values()
    with open_client(served, models=models) as client:
        for line, route in itertools.product(transcripts[:3], ("chat", "stream", "responses")):
            row = read_rows(task)[line["id"]]
            questions = [turn["content"] for turn in row["messages"] if turn["role"] == "user"]
            turns = converse(client, route, questions, metadata=row["tags"])
            assert [read_content(turn) for turn in turns] == [
                turn["content"] for turn in line["turns"]
            ]
    assert len(transcripts) >= 3


def test_a_server_runs_only_what_it_is_asked_to_run(task: Path, tmp_path: Path) -> None:
    (task.parent / "desk.py").write_text(
        DESK.replace("self.asked.append", "print(__import__('os')._exit(1))")
    )
    row = read_rows(task)["c0"]
    record = TrafficRecord(tmp_path / "record")
    questions = [row["messages"][0]["content"], row["messages"][2]["content"]]
    (served,) = load_catalogue([str(task)], "fine_tune", run_tools=True).values()
    asked: Any = [{"role": "user", "content": questions[1]}]
    with open_client(served, settings=ServerSettings(record=record)) as client:
        ask = partial(client.chat.completions.create, model="library", messages=asked)
        broken = converse(client, "chat", questions, metadata=row["tags"])
        turns = converse(client, "chat", questions)
        assert broken[4]["content"] == "error: it ended the process of the tools"
        assert turns[4]["content"] == "error: KeyError: 'lent'"
        # Calls that a client sends are not run, but they count as those of the conversation.
        choice = ask(messages=[*asked, *turns[3:5] * 20, turns[5], *asked]).choices[0]
        assert (choice.finish_reason, choice.message.content) == ("length", "")
        assert choice.message.handover_reason == "the assistant was stopped: more than 20 calls"
        own = ask(tools=[{"type": "function", "function": {"name": "on_shelf"}}])
        assert own.choices[0].message.tool_calls[0].function.name == "on_shelf"
        with pytest.raises(openai.BadRequestError, match="so n must be 1"):
            ask(n=2)
        plain = ask(tool_choice="none")
        run = ask()
        assert "<tool_call>" in plain.choices[0].message.content
        # The second answer reads the question, the call and its result.
        assert run.usage.prompt_tokens > 2 * plain.usage.prompt_tokens
        assert run.usage.completion_tokens > plain.usage.completion_tokens
    lines = [
        json.loads(line)
        for file in record.folder.glob("*.jsonl")
        for line in file.read_text().splitlines()
    ]
    assert [turn["role"] for turn in lines[1]["input"]] == ["user", "assistant"] * 2 + ["user"]
    assert "KeyError" in lines[3]["input"][-1]["content"]
    with open_client(*load_catalogue([str(task)], "fine_tune").values()) as client:
        assert "<tool_call>" in converse(client, "chat", questions[1:])[1]["content"]


@needs_package
def test_calls_that_were_run_are_reported_if_the_next_answer_fails(
    task: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    long = DESK.replace('row.tags["lent"]', "None").replace('"on the shelf"', '"far " * 4500')
    (task.parent / "desk.py").write_text(long)
    question = read_rows(task)["c0"]["messages"][2]["content"]
    record = TrafficRecord(tmp_path / "record")
    (served,) = load_catalogue([str(task)], "fine_tune", run_tools=True).values()
    with open_client(served, settings=ServerSettings(record=record)) as client:
        for route in ("chat", "responses"):
            _, call, result, answer = converse(client, route, [question])
            assert (call["tool_calls"][0]["function"]["name"], result["role"]) == (
                "on_shelf",
                "tool",
            )
            assert read_content(answer) == ""
        messages = [{"role": "user", "content": question}]
        *_, last = client.chat.completions.create(model="library", messages=messages, stream=True)
        assert last.choices[0].finish_reason == "length"
        assert "the assistant was stopped: Request 0 has" in last.choices[0].delta.handover_reason
    lines = [
        json.loads(line)
        for file in record.folder.glob("*.jsonl")
        for line in file.read_text().splitlines()
    ]
    assert [(len(line["input"]), line["answer"]) for line in lines] == [(3, "")] * 3
    monkeypatch.setattr(sys, "stdin", io.StringIO(f"{question}\nHello\n"))
    assert main(["chat", str(task), "-m", "fine_tune", "--run-tools"]) == 0
    assert capsys.readouterr().err.count("Stopped: Request 0 has") == 1


@pytest.mark.real
def test_a_tool_that_hangs_holds_up_no_other_request_and_ends_with_its_client(
    task: Path, tmp_path: Path
) -> None:
    hang = f"open({str(tmp_path / 'pid')!r}, 'w').write(str(__import__('os').getpid()))\n        "
    hang += "__import__('time').sleep(100 if self.lent == 'hang' else 0)\n        "
    (task.parent / "desk.py").write_text(
        DESK.replace("self.asked.append", f"{hang}self.asked.append")
    )
    question = read_rows(task)["c0"]["messages"][2]["content"]
    (served,) = load_catalogue([str(task)], "fine_tune", run_tools=True).values()
    with open_client(served) as client, ThreadPoolExecutor() as threads:
        ask = partial(converse, client, "chat", [question])
        hanging = threads.submit(ask, metadata={"lent": "hang"})
        while not (tmp_path / "pid").exists():
            time.sleep(0.01)
        ask(metadata={"lent": "no"})
        assert not hanging.done()
        assert hanging.result()[2]["content"] == "error: stopped after 5 s without a result"
        with pytest.raises(openai.APITimeoutError):
            ask(metadata={"lent": "hang"}, timeout=1)
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)


def test_chat_runs_the_calls_too(
    task: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (task.parent / "desk.py").write_text(
        DESK.replace('row.tags["lent"]', 'len(row.input) == 1 and "nothing"')
    )
    question = read_rows(task)["c0"]["messages"][2]["content"]
    monkeypatch.setattr(sys, "stdin", io.StringIO(f"{question}\n"))
    assert main(["chat", str(task), "-m", "fine_tune", "--run-tools"]) == 0
    out, err = capsys.readouterr()
    assert out.endswith("</tool_call>\n\nIt is on the shelf.\n\n")
    assert "Result: 'on the shelf'" in err

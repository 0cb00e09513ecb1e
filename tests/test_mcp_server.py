"""The MCP server, driven by the official client in the same process."""

import asyncio
import json
import tomllib
from pathlib import Path
from typing import Any

import anyio
import pytest
import yaml

pytest.importorskip("mcp")
from mcp import Client, MCPError
from mcp import types as mcp_types
from mcp.client.stdio import StdioServerParameters, stdio_client

import etude
from etude.assistant import Assistant
from etude.cli import main
from etude.cli.serving import MCP_CLIENTS
from etude.mcp_server import build_server
from etude.runs.events import RunEnded, read_events
from etude.runs.folder import find_task_runs
from etude.runs.openings import read_openings
from etude.types import ModelRef

TOOLS = set(
    (
        "write_task_file check_examples compare_methods show_verdict run_behaviour_test "
        "ask_assistant"
    ).split()
)


@pytest.fixture
def task(tmp_path: Path) -> Path:
    rows = [
        {"input": f"question {n} about {pet}", "output": pet}
        for n in range(90)
        for pet in ("cats", "dogs")
    ]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    file = tmp_path / "task.yaml"
    file.write_text(
        "name: pets\nkind: classify\nmodel: fake\nencoder: none\nexamples: rows.jsonl\n"
        "instructions: Say cats or dogs.\nmethods: [prompt, few_shot]\n",
        encoding="utf-8",
    )
    return file


def call(
    tool: str,
    arguments: dict[str, Any],
    *,
    go_on: bool | None = None,
    questions: list[str] | None = None,
) -> tuple[bool, str]:
    """Whether the tool failed, and its reply. `go_on`: what the user answers; None for a client
    that cannot ask. `questions` gets the questions to the user.
    """

    async def elicit(context: object, params: Any) -> mcp_types.ElicitResult:
        if questions is not None:
            questions.append(params.message)
        return mcp_types.ElicitResult(action="accept", content={"go_on": go_on})

    async def run() -> tuple[bool, str]:
        async with Client(
            build_server(),
            elicitation_callback=None if go_on is None else elicit,
            raise_exceptions=False,
        ) as client:
            assert {listed.name for listed in (await client.list_tools()).tools} == TOOLS
            try:
                result = await client.call_tool(tool, arguments)
            except MCPError as error:
                return True, str(error)
            (content,) = result.content
            return bool(result.is_error), content.text

    return asyncio.run(run())


def test_an_agent_that_knows_only_the_tools_gets_from_a_csv_to_a_verdict(tmp_path: Path) -> None:
    rows = [f"question {n} about {pet},{pet}" for n in range(90) for pet in ("cats", "dogs")]
    (tmp_path / "pets.csv").write_text("\n".join(["question,label", *rows]), encoding="utf-8")
    written = json.loads(call("write_task_file", {"examples": str(tmp_path / "pets.csv")})[1])
    task = written["task"]
    assert any("kind: classify" in line for line in written["guesses"])
    fake = {"model": "fake", "encoder": "none", "methods": ["baseline", "prompt"]}
    fake = yaml.safe_load(written["text"]) | fake
    Path(task).write_text(
        yaml.safe_dump(fake), encoding="utf-8"
    )  # the packaged model takes minutes
    failed, reply = call("check_examples", {"task": task})
    assert (failed, json.loads(reply)["num_findings"]) == (
        False,
        len(json.loads(reply)["findings"]),
    )
    failed, reply = call("compare_methods", {"task": task}, go_on=True)
    assert not failed
    compared = json.loads(reply)
    assert [row["method"] for row in compared["ladder"]] == ["baseline", "prompt"]
    assert all(row["low"] <= row["value"] <= row["high"] for row in compared["ladder"])
    failed, reply = call("show_verdict", {"place": task})
    assert (failed, json.loads(reply)) == (False, compared)
    failed, reply = call("ask_assistant", {"place": task, "question": "question about cats"})
    assert (failed, json.loads(reply)["answer"]) == (False, "cats")
    tested = json.loads(call("run_behaviour_test", {"place": task}, go_on=True)[1])
    assert (tested["passed"], tested["gates"]) == (None, [])
    assert tested["result"].startswith(
        "Ready: not yet, because the task sets no target. No gates are set: "
    )


async def list_tools() -> list[Any]:
    async with Client(build_server()) as client:
        return list((await client.list_tools()).tools)


def test_every_tool_and_argument_is_described() -> None:
    for tool in asyncio.run(list_tools()):
        arguments = tool.input_schema
        assert tool.description
        assert (tool.annotations.destructive_hint, tool.annotations.open_world_hint) == (
            False,
            False,
        )
        assert arguments["additionalProperties"] is False
        assert all("description" in argument for argument in arguments["properties"].values())


@pytest.mark.parametrize(
    "arguments", [{"budget_minutes": -5}, {"budget_minutes": 0}, {"budget": 5}]
)
def test_wrong_arguments_start_nothing(task: Path, arguments: dict[str, float]) -> None:
    failed, reply = call("compare_methods", {"task": str(task), **arguments}, go_on=True)
    assert failed
    assert next(iter(arguments)) in reply
    assert not (task.parent / "runs").exists()


def test_only_another_budget_opens_the_test_again_and_the_user_is_told(task: Path) -> None:
    questions: list[str] = []
    for arguments in ({"budget_minutes": 5}, {"budget_minutes": 5}, {}, {"budget_minutes": 6}):
        call("compare_methods", {"task": str(task), **arguments}, go_on=True, questions=questions)
    assert len(read_openings(task.parent / "runs")) == 2
    assert ["opens its test again" in question for question in questions] == [
        False,
        False,
        False,
        True,
    ]


def test_a_cancelled_comparison_stops_and_the_same_call_continues_it(task: Path) -> None:
    slow = task.with_name("slow")
    slow.touch()
    task.with_name("check.py").write_text(
        "import pathlib, time\n\ndef fits(row, answer):\n"
        f"    time.sleep(0.05 * pathlib.Path({str(slow)!r}).exists())\n    return 1.0\n",
        encoding="utf-8",
    )
    task.write_text(
        task.read_text().replace("kind: classify", "kind: answer\ncheck: check.py:fits"),
        encoding="utf-8",
    )
    lines: list[str] = []

    async def accept(context: object, params: object) -> mcp_types.ElicitResult:
        return mcp_types.ElicitResult(action="accept", content={"go_on": True})

    async def cancel_then_continue() -> bool | None:
        async with Client(build_server(), elicitation_callback=accept) as client:
            with anyio.CancelScope() as scope:

                async def cancel_at_first(
                    progress: float, total: float | None, message: str | None
                ) -> None:
                    lines.append(message or "")
                    scope.cancel()

                await client.call_tool(
                    "compare_methods", {"task": str(task)}, progress_callback=cancel_at_first
                )
            assert scope.cancelled_caught
            slow.unlink()
            result = await client.call_tool("compare_methods", {"task": str(task)})
            return result.is_error

    assert not asyncio.run(cancel_then_continue())
    assert lines[0].startswith("180 rows: 100 train")
    (run,) = find_task_runs(task)
    attempts = [
        timed.event.status for timed in read_events(run) if isinstance(timed.event, RunEnded)
    ]
    assert attempts == ["interrupted", "complete"]


@pytest.mark.parametrize("go_on", [False, None])
@pytest.mark.parametrize("tool", ["compare_methods", "run_behaviour_test"])
def test_nothing_starts_unless_the_user_confirms(task: Path, tool: str, go_on: bool | None) -> None:
    argument = "task" if tool == "compare_methods" else "place"
    assert call(tool, {argument: str(task)}, go_on=go_on)[0] is True
    assert not (task.parent / "runs").exists()


def test_an_answer_is_that_of_the_latest_comparison(task: Path) -> None:
    rows = task.parent / "rows.jsonl"

    async def ask_twice() -> list[str]:
        async with Client(build_server()) as client:
            replies = []
            for label in ("cats", "birds"):
                rows.write_text(rows.read_text().replace("cats", label), encoding="utf-8")
                etude.compare(task)
                question = {"place": str(task), "question": f"question about {label}"}
                replies.append((await client.call_tool("ask_assistant", question)).content[0].text)
        return replies

    assert [json.loads(reply)["answer"] for reply in asyncio.run(ask_twice())] == ["cats", "birds"]


def test_no_question_goes_to_a_service(tmp_path: Path) -> None:
    service = ModelRef("https://api.example/v1#m")
    Assistant("prompt", "answer", service).save(tmp_path)
    failed, reply = call("ask_assistant", {"place": str(tmp_path), "question": "Is anybody there?"})
    assert failed
    assert "Nothing was sent to" in reply
    failed, reply = call("run_behaviour_test", {"place": str(tmp_path)}, go_on=True)
    assert failed
    assert "Nothing was sent to" in reply


def test_an_error_is_the_sentence_of_the_command_line(tmp_path: Path) -> None:
    failed, reply = call("check_examples", {"task": str(tmp_path / "missing.yaml")})
    assert failed
    assert "missing.yaml" in reply


def test_a_client_that_cannot_ask_is_told_the_command(task: Path) -> None:
    assert "cannot ask you" in (reply := call("compare_methods", {"task": str(task)})[1])
    assert f"etude compare {task}" in reply


@pytest.mark.parametrize("action", ["decline", "cancel"])
def test_a_refusal_is_the_same_however_the_client_says_it(task: Path, action: str) -> None:
    async def refuse(context: object, params: object) -> mcp_types.ElicitResult:
        return mcp_types.ElicitResult(action=action)

    async def run() -> str:
        async with Client(
            build_server(), elicitation_callback=refuse, raise_exceptions=False
        ) as client:
            result = await client.call_tool("compare_methods", {"task": str(task)})
        return str(result.content[0].text)

    assert "Nothing was started, because the user declined." in asyncio.run(run())


def test_a_place_that_does_not_exist_is_named(tmp_path: Path) -> None:
    failed, reply = call("show_verdict", {"place": str(tmp_path / "no-such-task")})
    assert failed
    assert "no-such-task does not exist" in reply


@pytest.mark.real
def test_the_printed_setting_of_a_client_starts_the_server(
    capsys: pytest.CaptureFixture[str],
) -> None:
    commands = []
    for client, (file, key) in MCP_CLIENTS.items():
        assert main(["mcp", "--print-config", client]) == 0
        printed = capsys.readouterr()
        assert file in printed.err
        settings = tomllib.loads(printed.out) if file.endswith(".toml") else json.loads(printed.out)
        commands.append(settings[key]["etude"])
    assert all(command == commands[0] for command in commands)

    async def list_names() -> set[str]:
        async with Client(stdio_client(StdioServerParameters(**commands[0]))) as client:
            return {tool.name for tool in (await client.list_tools()).tools}

    assert asyncio.run(list_names()) == TOOLS

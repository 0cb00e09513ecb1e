"""The MCP server, driven by the official client in the same process."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("mcp")
from mcp import Client, MCPError
from mcp import types as mcp_types

import etude
from etude.assistant import Assistant
from etude.mcp_server import build_server
from etude.types import ModelRef

TOOLS = {"check_examples", "compare_methods", "show_verdict", "run_behaviour_test", "ask_assistant"}


@pytest.fixture
def task(tmp_path: Path) -> Path:
    rows = [
        {"input": f"question {n} about {pet}", "output": pet} for n in range(90) for pet in ("cats", "dogs")
    ]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    file = tmp_path / "task.yaml"
    file.write_text(
        "name: pets\nkind: classify\nmodel: fake\nencoder: none\nexamples: rows.jsonl\n"
        "instructions: Say cats or dogs.\nmethods: [baseline, prompt]\n",
        encoding="utf-8",
    )
    return file


def call(tool: str, arguments: dict[str, Any], *, go_on: bool | None = None) -> tuple[bool, str]:
    """Whether the tool failed, and its reply. `go_on`: what the user answers; None for a client that cannot ask."""

    async def elicit(context: object, params: object) -> mcp_types.ElicitResult:
        return mcp_types.ElicitResult(action="accept", content={"go_on": go_on})

    async def run() -> tuple[bool, str]:
        async with Client(
            build_server(), elicitation_callback=None if go_on is None else elicit, raise_exceptions=False
        ) as client:
            assert {listed.name for listed in (await client.list_tools()).tools} == TOOLS
            try:
                result = await client.call_tool(tool, arguments)
            except MCPError as error:
                return True, str(error)
            (content,) = result.content
            return bool(result.is_error), content.text

    return asyncio.run(run())


def test_a_task_is_checked_compared_read_and_asked(task: Path) -> None:
    failed, reply = call("check_examples", {"task": str(task)})
    assert (failed, json.loads(reply)["num_findings"]) == (False, len(json.loads(reply)["findings"]))
    failed, reply = call("compare_methods", {"task": str(task)}, go_on=True)
    assert not failed
    compared = json.loads(reply)
    assert [row["method"] for row in compared["ladder"]] == ["baseline", "prompt"]
    assert all(row["low"] <= row["value"] <= row["high"] for row in compared["ladder"])
    failed, reply = call("show_verdict", {"place": str(task)})
    assert (failed, json.loads(reply)) == (False, compared)
    failed, reply = call("ask_assistant", {"place": str(task), "question": "question about cats"})
    assert (failed, json.loads(reply)["answer"]) == (False, "cats")
    assert call("run_behaviour_test", {"place": str(task)}, go_on=True)[0] is False


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
        async with Client(build_server(), elicitation_callback=refuse, raise_exceptions=False) as client:
            result = await client.call_tool("compare_methods", {"task": str(task)})
        return str(result.content[0].text)

    assert "Nothing was started, because the user declined." in asyncio.run(run())


def test_a_place_that_does_not_exist_is_named(tmp_path: Path) -> None:
    failed, reply = call("show_verdict", {"place": str(tmp_path / "no-such-task")})
    assert failed
    assert "no-such-task does not exist" in reply

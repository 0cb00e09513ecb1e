"""Rows that a bigger model makes, with stand-ins: a scripted teacher whose right, wrong and copied rows are known."""

import json
import os
import random
import re
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from endpoint_server import Body, ScriptedServer, serve_script
from etude.base.files import list_lines
from etude.cli import main
from etude.data.dataset import Dataset, load_dataset
from etude.data.splits import Split, split
from etude.errors import Declined, InputError
from etude.make import MadeRows, make_rows
from etude.make.gates import CONTRACT, LABEL, LIKE_TEST, REPEATED, Gates, choose_covering
from etude.make.making import list_candidates_file
from etude.make.requests import fill_quotas, parse_rows
from etude.task import Task, load_task
from etude.types import MADE, Example, Message
from processes import start_command
from small_task import THEMES, write_json_lines, write_task

NEW, UNKNOWN = "Somebody wants", "unheard-of"


def read_task(file: Path) -> tuple[Task, Dataset, Split]:
    task, rows = load_dataset(load_task(file))
    return task, rows, split(rows, task.kind, task.seed)


def write_new(theme: str, draw: random.Random) -> str:
    letters = " ".join("".join(draw.choices("abcdefghijklmnop", k=6)) for _ in range(4))
    return f"{NEW} {letters} about {theme}, age {draw.randint(3, 12)}"


def teach(tests: Sequence[Example]) -> Callable[[Body], str]:
    """A teacher that writes, in answer to each request: two right rows, one with an unknown label, a copy of a parent,
    and a copy of a test row with another sign at its end."""

    def say(body: Body) -> str:
        prompt = body["messages"][-1]["content"]
        parents = list(parse_rows(prompt))
        draw = random.Random(prompt)
        theme = parents[0][1]
        rows = [(write_new(theme, draw), theme), (write_new(theme, draw), theme)]
        rows += [(write_new(theme, draw), UNKNOWN), parents[0], (draw.choice(tests).text.upper() + "!", theme)]
        lines = [json.dumps({"input": text, "output": label}) for text, label in rows]
        return "Here they are:\n```\n" + ",\n".join(lines) + "\n```"

    return say


@pytest.fixture
def server() -> ScriptedServer:
    with serve_script(ScriptedServer()) as script:
        yield script


def write_made_task(folder: Path, server: ScriptedServer, num: int = 200) -> Path:
    task = write_task(folder, "classify", num=num, more=f"prompt_model: {{endpoint: '{server.url}', model: big}}\n")
    server.say = teach(read_task(task)[2].test.examples)
    return task


def test_rows_are_made_from_training_rows_alone_and_nothing_of_the_test_is_shown(
    server: ScriptedServer, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    task = write_made_task(tmp_path, server)
    parts = read_task(task)[2]
    assert main(["make", str(task), "--rows", "40", "--yes"]) == 0
    printed = capfd.readouterr().out
    lines = list_lines(tmp_path / "made.jsonl")
    assert len(lines) == 40
    assert {line["source"] for line in lines} == {MADE}
    train = {row.id: row for row in parts.train}
    for line in lines:
        assert {train[parent].output for parent in line["parents"]} == {line["output"]}
        assert line["input"].startswith(NEW)
    page = (tmp_path / "made.html").read_text()
    sealed = [row.text for row in (*parts.test, *parts.dev)]
    asked = json.dumps([body["messages"] for body in server.bodies])
    for text in sealed:
        assert json.dumps(text)[1:-1] not in asked
        for shown in (page, printed, *map(json.dumps, lines)):
            assert text.casefold() not in shown.casefold()
    num_copies = len({say for body in server.bodies for say, _ in parse_rows(server.say(body)) if say.isupper() or say.endswith("!")})
    assert f"{num_copies:,}: {LIKE_TEST}" in printed
    assert f"{num_copies:,} rows: {LIKE_TEST}" in page
    assert UNKNOWN in page

"""Functions that a model may call: read from each tool's files, taught as text, measured, and
written back.
"""

import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import rescore
from conftest import data_folder
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from test_templates import tokenizer_for

from etude.cli import main
from etude.data.dataset import MinRows, load_dataset, load_test
from etude.data.formats import read_rows
from etude.data.formats import tools as call_texts
from etude.data.formats.cells import Cells
from etude.data.formats.chat import read_question
from etude.data.formats.read import LoadedRows, find_shared
from etude.data.formats.row_reader import RawRow, RowReader
from etude.data.formats.tools import (
    format_tool_turn,
    format_tools,
    list_tool_names,
    split_calls,
    split_results,
)
from etude.data.formats.write import write_rows
from etude.errors import InputError
from etude.methods.shared.fit_context import initial_assistant
from etude.metrics import Metric, choose_metric
from etude.render import render_text
from etude.serve.catalogue import ServedModel
from etude.serve.engine import ServingLimits
from etude.serve.generation import build_chat_request
from etude.serve.schemas import ChatRequest
from etude.task import RowSource, load_task
from etude.types import Answer, Example, Message
from small_task import write_json_lines

WEATHER = {
    "name": "weather",
    "description": "Of a town",
    "parameters": {"type": "object", "properties": {}},
}
TOOLS = [{"type": "function", "function": WEATHER}]
STOCKS = "tool_calling/stock_toolcall_training.jsonl"


def call(arguments: Any, name: str = "weather", number: int = 0) -> dict[str, Any]:
    function = {"name": name, "arguments": json.dumps(arguments)}
    return {"id": f"call_{number}", "type": "function", "function": function}


def weather_turns(town: str) -> list[dict[str, Any]]:
    """A chat of OpenAI's: a question, a call of two functions, what they gave back, an answer."""
    return [
        {"role": "user", "content": f"How is it in {town}?"},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [call({"town": town}), call({}, "today", 1)],
        },
        {"role": "tool", "tool_call_id": "call_0", "content": "12 degrees"},
        {"role": "tool", "tool_call_id": "call_1", "content": "Monday"},
        {"role": "assistant", "content": f"12 degrees in {town} on Monday."},
    ]


def read(file: Path) -> LoadedRows:
    return read_rows(RowSource(file))


def to_tuples(rows: LoadedRows) -> list[Any]:
    return [rows.tools, *((row.input, row.output) for row in rows.examples), *rows.systems]


def test_calls_and_results_become_the_text_of_turns(tmp_path: Path) -> None:
    (row,) = read(
        write_json_lines(
            tmp_path / "r.jsonl", [{"messages": weather_turns("Oslo"), "tools": TOOLS}]
        )
    ).examples
    assert [(turn.role, turn.content) for turn in row.input[1:]] == [
        (
            "assistant",
            '<tool_call>\n{"name": "weather", "arguments": {"town": "Oslo"}}\n</tool_call>\n'
            '<tool_call>\n{"name": "today", "arguments": {}}\n</tool_call>',
        ),
        (
            "user",
            "<tool_response>\n"
            "12 degrees\n"
            "</tool_response>\n"
            "<tool_response>\n"
            "Monday\n"
            "</tool_response>",
        ),
    ]
    assert row.output == "12 degrees in Oslo on Monday."


def test_llama_factorys_names_and_openais_older_ones_mean_the_same(tmp_path: Path) -> None:
    old = [
        {"role": "user", "content": "How is it in Oslo?"},
        {
            "role": "assistant",
            "function_call": {"name": "weather", "arguments": '{"town": "Oslo"}'},
        },
        {"role": "function", "name": "weather", "content": "12 degrees"},
        {"role": "assistant", "content": "12 degrees."},
    ]
    share = [
        {"from": "human", "value": "How is it in Oslo?"},
        {"from": "function_call", "value": '{"name": "weather", "arguments": {"town": "Oslo"}}'},
        {"from": "observation", "value": "12 degrees"},
        {"from": "gpt", "value": "12 degrees."},
    ]
    one = read(write_json_lines(tmp_path / "a.jsonl", [{"messages": old, "functions": [WEATHER]}]))
    other = read(
        write_json_lines(
            tmp_path / "b.jsonl", [{"conversations": share, "tools": json.dumps([WEATHER])}]
        )
    )
    assert to_tuples(one) == to_tuples(other)
    assert one.tools == format_tools(TOOLS)


@pytest.mark.parametrize("name", ["qwen2_5", "qwen3_instruct_2507"])
def test_under_the_templates_that_know_these_tags_the_prompt_is_the_templates_own(
    name: str, tmp_path: Path
) -> None:
    """Apart from how the functions on offer are worded."""
    tokenizer = tokenizer_for(name)
    turns = [{"role": "system", "content": "Be kind."}, *weather_turns("Oslo")]
    for turn in turns:
        for each in turn.get("tool_calls", ()):  # templates want the arguments as values
            each["function"]["arguments"] = json.loads(each["function"]["arguments"])
    own = tokenizer.apply_chat_template(turns[:-1], tokenize=False, add_generation_prompt=True)
    (row,) = read(write_json_lines(tmp_path / "r.jsonl", [{"messages": turns}])).examples
    assert render_text(tokenizer, [Message("system", "Be kind."), *row.input]) == own


def test_an_assistant_has_one_set_of_functions(tmp_path: Path) -> None:
    rows = [{"messages": weather_turns(f"Town {n}"), "tools": TOOLS} for n in range(9)]
    shared = read(
        write_json_lines(tmp_path / "r.jsonl", [*rows, {"messages": weather_turns("Lima")}])
    )
    assert shared.tools == format_tools(TOOLS)
    assert list_tool_names(shared.tools) == ["weather"]
    assert shared.notes[-2].endswith("are listed below the instructions: weather")
    told = "rows without functions, which are asked with the functions of the other rows: 1"
    assert shared.notes[-1].endswith(told)


TIDES = {"type": "function", "function": {"name": "tides", "parameters": {"type": "object"}}}
OWN = st.tuples(
    st.sampled_from(["", "Be kind.", "Be brief."]), st.sampled_from([[], TOOLS, [TIDES]])
)
OWN_SYSTEMS = st.lists(OWN, min_size=20, max_size=24)


@given(own=OWN_SYSTEMS, instructions=st.sampled_from(["", "Answer."]))
@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30, deadline=None
)
def test_functions_and_system_messages_of_a_row_belong_to_the_row(
    own: list[tuple[str, list[Any]]], instructions: str, tmp_path: Path
) -> None:
    """Trained, measured, predicted and served with the same prompt, which has what the row had."""
    rows: list[dict[str, Any]] = []
    for number, (system, tools) in enumerate(own):
        turns = calling(number)["messages"]
        turns = [{"role": "system", "content": system}, *turns] if system else turns
        rows.append({"messages": turns, **({"tools": tools} if tools else {})})
    task_file = task_of(tmp_path, rows, f"instructions: {instructions}\n" if instructions else "")
    task, dataset = load_dataset(load_task(task_file), MinRows(1, 0, 0))
    assume(task.row_systems)
    assistant = initial_assistant(task, dataset, None)
    assistant = replace(assistant, shots=(dataset[3],))
    served = ServedModel("luma", assistant, tmp_path, tmp_path)
    shared = find_shared([system for system, _ in own])
    has_own = len({instructions or shared, *(system for system, _ in own if system)}) > 1
    shared_tools = "" if has_own else find_shared([format_tools(tools) for _, tools in own])
    cells = [RawRow(1, 1, {**row, "messages": row["messages"][:-1]}) for row in rows]
    for row, raw, (system, tools), cell in zip(dataset, rows, own, cells, strict=True):
        prompt = assistant.build_messages(row.input)
        expected = (system or instructions or shared, format_tools(tools) or shared_tools)
        heads = [turn.content for turn in prompt if turn.role == "system"]
        assert heads == ["\n\n".join(filter(None, expected))] * any(expected)
        assert row.text == raw["messages"][-2]["content"]
        assert not raw["messages"][-2]["content"].startswith("You may call")
        asked = {"model": "luma", "messages": cell.cells["messages"], "tools": tools}
        body = ChatRequest.model_validate(asked)
        request = build_chat_request(served, body, ServingLimits(), strict=True)
        question = read_question(Cells(RowReader(tmp_path), cell), ["messages"], row_systems=True)
        for turns in (request.inputs[0], question):
            assert request.assistant.build_messages(turns) == prompt
        assert request.describe_measured()["measured"] is True


def task_of(folder: Path, rows: list[dict[str, Any]], more: str = "") -> Path:
    write_json_lines(folder / "rows.jsonl", rows)
    task = folder / "task.yaml"
    task.write_text(
        f"name: t\nkind: answer\nmodel: fake\nexamples: rows.jsonl\n{more}", encoding="utf-8"
    )
    return task


def calling(number: int) -> dict[str, Any]:
    """A row whose answer is a call; of every fifth it is a question."""
    town = f"town{number:03d}"
    answer = {"role": "assistant", "content": None, "tool_calls": [call({"town": town})]}
    if number % 5 == 0:
        answer = {"role": "assistant", "content": "Which town do you mean?"}
    words = " ".join(f"{chr(97 + (number * k) % 26)}{number * k}" for k in range(2, 9))
    return {"messages": [{"role": "user", "content": f"{words} {town}?"}, answer], "tools": TOOLS}


def test_the_task_offers_the_functions_and_measures_the_calls(tmp_path: Path) -> None:
    rows = [calling(number) for number in range(120)]
    task, dataset = load_dataset(load_task(task_of(tmp_path, rows, "instructions: Be kind.\n")))
    assert task.instructions == f"Be kind.\n\n{format_tools(TOOLS)}"
    metric = choose_metric(task, dataset)
    assert (metric.name, metric.contract_only) == ("calls", False)
    for row in rows:
        row["messages"].insert(0, {"role": "system", "content": "Be kind."})
    test = [calling(200), {"messages": calling(201)["messages"]}]
    test[1]["messages"].insert(0, {"role": "system", "content": "Be kind."})
    write_json_lines(tmp_path / "own.jsonl", test)
    task, _ = load_dataset(load_task(task_of(tmp_path, rows, "test: own.jsonl\n")))
    assert task.instructions == f"Be kind.\n\n{format_tools(TOOLS)}"
    assert [row.text.split()[-1] for row in load_test(task) or ()] == ["town200?", "town201?"]
    write_json_lines(tmp_path / "own.jsonl", [{**calling(7), "tools": [TIDES]}])
    with pytest.raises(
        InputError, match="the functions of the test differ from those of the examples"
    ):
        load_test(task)


def write_call(arguments: dict[str, Any]) -> str:
    return format_tool_turn({"tool_calls": [call(arguments)]}, None)


CALL_IN_OTHER_ORDER = (
    '<tool_call>{"name": "weather", "arguments": {"b": [2.0], "a": 1}}</tool_call>'
)


@pytest.mark.parametrize(
    ("wanted", "answer", "right"),
    [
        (write_call({"a": 1, "b": [2]}), f"Sure. {CALL_IN_OTHER_ORDER}", 1.0),
        (write_call({"a": 1}), '{"name": "weather", "arguments": {"a": 1}}', 0.0),
        (write_call({"a": 1}), "<tool_call>weather</tool_call>", 0.0),
        (write_call({"a": 1}), write_call({"a": True}), 0.0),
        ("Which town?", "Which one?", 1.0),
        ("Which town?", "<tool_call>weather</tool_call>", 0.0),
        (write_call({"a": 1}), write_call({"a": 1}) + "\n<tool_call>\n{", 0.0),
        ("Which town?", write_call({}), 0.0),
        (
            write_call({"a": 1}) + write_call({"b": 2}),
            write_call({"b": 2}) + write_call({"a": 1}),
            1.0,
        ),
        (write_call({"a": 1}) + write_call({"b": 2}), write_call({"a": 1}) * 2, 0.0),
        (write_call({"a": [1, 2]}), write_call({"a": [2, 1]}), 0.0),
        (write_call({"a": 1}), write_call({"a": 1, "days": 3}), 1.0),
        (write_call({"a": 1, "days": 3}), write_call({"a": 1}), 1.0),
        (write_call({"a": 1}), write_call({"a": 1, "days": 4}), 0.0),
    ],
)
def test_an_answer_is_right_by_the_functions_that_it_calls(
    wanted: str, answer: str, right: float
) -> None:
    row = Example("a", (Message("user", "?"),), wanted, defaults={"weather": {"days": 3}})
    assert rescore.calls(answer, [wanted], row.defaults) == right
    given = Answer("a", answer, answer, None, (), None, 1, 0, 1, 0.0, False)
    assert Metric("calls", "answer").score(row, given).value == right


def test_an_argument_that_is_left_out_has_its_default() -> None:
    arguments = {"town": {"type": "string"}, "days": {"type": "integer", "default": 3}}
    for parameters in (
        arguments,
        {"type": "object", "properties": arguments},
        None,
        [],
        {"properties": None},
    ):
        defaults = call_texts.get_defaults(
            format_tools([{"name": "weather", "parameters": parameters}])
        )
        assert defaults == ({"weather": {"days": 3}} if parameters and len(parameters) == 2 else {})


@pytest.mark.parametrize(
    "turn",
    [
        {"role": "assistant", "content": None, "tool_calls": [{"id": "c"}]},
        {"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": "{"}}]},
        {"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": [1]}}]},
        {"from": "function_call", "value": "{}"},
        {"from": "function_call", "value": "weather"},
    ],
)
def test_calls_that_cannot_be_read_are_one_error_of_the_file(
    tmp_path: Path, turn: dict[str, Any]
) -> None:
    talk = [{"role": "user", "content": "a"}, turn]
    with pytest.raises(InputError) as raised:
        read(write_json_lines(tmp_path / "r.jsonl", [{"messages": talk} for _ in range(9)]))
    (issue,) = raised.value.issues
    assert (issue.location, issue.kind, raised.value.count) == ("r.jsonl:1", "tools", 1)
    assert "calls cannot be read" in issue.message
    assert "in 9 rows" in issue.message


def test_functions_that_are_no_list_are_refused(tmp_path: Path) -> None:
    talk = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    file = write_json_lines(
        tmp_path / "r.jsonl", [{"messages": talk, "tools": "search, calculator"}]
    )
    with pytest.raises(InputError, match=r"r\.jsonl:1: tools: .*rename the column"):
        read(file)
    pairs = read(
        write_json_lines(tmp_path / "p.jsonl", [{"input": "a", "output": "b", "tools": "search"}])
    )
    assert pairs.notes[-1].endswith("columns not used: tools")


TEXT = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=9).filter(
    str.strip
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | TEXT, lambda one: st.lists(one, max_size=2)
)
ARGUMENTS = st.dictionaries(TEXT, JSON, max_size=2)
CALLS = st.lists(st.tuples(TEXT, ARGUMENTS), min_size=1, max_size=2)


@st.composite
def chats(draw: st.DrawFn) -> list[dict[str, Any]]:
    turns: list[dict[str, Any]] = []
    for _ in range(draw(st.integers(1, 2))):
        turns.append({"role": "user", "content": draw(TEXT)})
        if calls := draw(st.just([]) | CALLS):
            listed = [call(arguments, name, at) for at, (name, arguments) in enumerate(calls)]
            turns.append(
                {"role": "assistant", "content": draw(st.none() | TEXT), "tool_calls": listed}
            )
            turns += [{"role": "tool", "content": draw(TEXT)} for _ in listed]
        turns.append({"role": "assistant", "content": draw(TEXT)})
    if calls := draw(st.just([]) | CALLS):
        turns[-1] |= {"tool_calls": [call(arguments, name) for name, arguments in calls]}
    return turns


@pytest.mark.parametrize("shape", ["openai", "sharegpt", "trl"])
@settings(max_examples=25)
@given(rows=st.lists(chats(), min_size=1, max_size=3), offered=st.booleans())
def test_what_is_written_is_read_again_to_the_same_rows(
    shape: str,
    rows: list[list[dict[str, Any]]],
    offered: bool,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    folder = tmp_path_factory.mktemp("rows")
    made = [{"messages": turns} | ({"tools": TOOLS} if offered else {}) for turns in rows]
    first = read(write_json_lines(folder / "rows.jsonl", made))
    again = folder / "again.jsonl"
    write_rows(first, shape, again)
    if shape != "sharegpt" and any("tool_calls" in turn for turns in rows for turn in turns):
        assert b"tool_calls" in again.read_bytes()
    assert to_tuples(read(again)) == to_tuples(first)


def test_what_only_looks_like_calls_stays_text_and_takes_no_time() -> None:
    assert split_calls("<tool_call>{}</tool_call>") == ("<tool_call>{}</tool_call>", [])
    long = "<tool_call>{" * 200_000
    began = time.process_time()
    assert split_calls(long) == (long, [])
    assert split_results("<tool_response>\n" * 200_000) == []
    assert time.process_time() - began < 2


def test_personal_data_in_the_arguments_of_a_call_is_found_and_masked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [calling(number) for number in range(1, 61)]
    rows[2]["messages"][1]["tool_calls"] = [call({"mail": "jo.doe@wombat-mail.com"})]
    task = task_of(tmp_path, rows)
    main(["check", str(task)])
    assert "rows.jsonl:3" in capsys.readouterr().out
    assert main(["check", str(task), "--fix"]) == 0
    fixed = tmp_path / "rows.fixed.jsonl"
    text = fixed.read_text(encoding="utf-8")
    assert "jo.doe@" not in text
    assert len(read(fixed).examples) == 60
    assert split_calls(read(fixed).examples[2].output)[1][0]["arguments"].keys() == {"mail"}


def test_kto_s_format_names_functions_in_the_system_message(tmp_path: Path) -> None:
    rows = read(write_json_lines(tmp_path / "r.jsonl", [calling(number) for number in range(1, 5)]))
    write_rows(rows, "kto", tmp_path / "again.jsonl")
    again = read(tmp_path / "again.jsonl")
    assert again.systems == (format_tools(TOOLS),) * 4
    assert [row.output for row in again.examples] == [row.output for row in rows.examples]


@pytest.mark.parametrize(
    "end", [[], [{"role": "tool", "content": "4"}, {"role": "assistant", "content": "Done."}]]
)
def test_a_task_of_short_calls_is_no_choice_among_labels(end: list[Any], tmp_path: Path) -> None:
    rows = [calling(number) for number in range(1, 200)]
    for number, row in enumerate(rows):
        row["messages"][1:] = [
            {"role": "assistant", "tool_calls": [call({"do": "ab"[number % 2]})]},
            *end,
        ]
    assert main(["init", str(write_json_lines(tmp_path / "rows.jsonl", rows))]) == 0
    text = (tmp_path / "task.yaml").read_text(encoding="utf-8")
    told = {
        "\nkind: answer\n": True,
        "# metric: calls": True,
        "\nturns: all\n": bool(end),
        "Use about": False,
    }
    assert {key: key in text for key in told} == told


def test_a_file_of_a_hosted_service_is_read_and_written_back(tmp_path: Path) -> None:
    file = data_folder("orca_dpo_validation") / STOCKS
    answers = [json.loads(line)["messages"][-1] for line in file.read_text("utf-8").splitlines()]
    rows = read(file)
    found = [split_calls(row.output)[1] for row in rows.examples]
    assert [[each["name"] for each in calls] for calls in found] == [
        [each["function"]["name"] for each in answer.get("tool_calls", ())] for answer in answers
    ]
    assert 30 < sum(map(bool, found)) < len(rows.examples)
    write_rows(rows, "openai", tmp_path / "again.jsonl")
    assert to_tuples(read(tmp_path / "again.jsonl")) == to_tuples(rows)

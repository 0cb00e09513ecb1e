"""Functions that a model may call, as text: the available functions, the model's calls, and their
results.

Because they are text, a model with any chat template can learn them. Calls and results are written
in the tags of Hermes' and Qwen's templates (`<tool_call>`, `<tool_response>`), whose rendered calls
are the same text.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from itertools import count
from typing import Any

from etude.base.files import parse_json
from etude.data.formats.turns import CALL_ROLES, RESULT_ROLES, ROLE_KEYS, find_key
from etude.types import Message

Json = dict[str, Any]
TOOL_COLUMNS = ("tools", "functions")  # columns with the available functions, in a file of chats
# Keys of a turn that belong to functions.
TOOL_KEYS = frozenset(("tool_calls", "function_call", "tool_call_id", "name"))
_OFFER = (
    "You may call these functions:\n<tools>\n",
    '\n</tools>\nA call is written <tool_call>{"name": ..., "arguments": {...}}</tool_call>, '
    "and what it gives back comes in <tool_response>.",
)
# Tags around a call. A tag that remains in the text of `split_calls` belongs to a call that cannot
# be read.
CALL_TAG = "<tool_call>"
CALL_END = "</tool_call>"
_RESULT = ("<tool_response>\n", "\n</tool_response>")


def format_tools(tools: Any) -> str:
    """The functions of a list, or of a list as JSON, as text for the instructions; "" for none.
    OpenAI's and ShareGPT's formats are accepted. Raises ValueError for anything else.
    """
    value = parse_json(tools) if isinstance(tools, str) and tools.strip() else tools
    if not value:
        return ""
    listed = value if isinstance(value, list) else [None]
    functions = [tool.get("function", tool) if isinstance(tool, dict) else tool for tool in listed]
    if not all(
        isinstance(function, dict) and isinstance(function.get("name"), str)
        for function in functions
    ):
        raise ValueError("not a list of functions, each with a name")
    return "\n".join(map(_dump, functions)).join(_OFFER)


def append_tools(instructions: str, tools: str) -> str:
    """Instructions with the available functions below them."""
    return "\n\n".join(filter(None, (instructions.strip() if tools else instructions, tools)))


def format_own_system(system: str | None, tools: str, shared_system: str, shared_tools: str) -> str:
    """The system turn of a row with its own system message or functions; "" if it has only the
    shared ones.

    `Assistant.build_messages` puts functions alone below the instructions, so such a row needs no
    system message.
    """
    own_tools = tools if tools != shared_tools else ""
    own_system = system if system and system.strip() != shared_system.strip() else ""
    if own_tools and shared_tools:  # otherwise the shared functions would be available too
        own_system = own_system or shared_system
    return append_tools(own_system, own_tools or (shared_tools if own_system else ""))


def is_only_tools(text: str) -> bool:
    """Whether a system turn contains only available functions, so that it belongs below the
    instructions.
    """
    return text.startswith(_OFFER[0])


def split_tools(instructions: str) -> tuple[str, str]:
    """(instructions, available functions below them); the inverse of `append_tools`."""
    start = instructions.find(_OFFER[0]) if instructions.endswith(_OFFER[1]) else -1
    return (
        (instructions, "") if start < 0 else (instructions[:start].rstrip(), instructions[start:])
    )


def parse_tools(text: str) -> list[Json]:
    """The functions that `format_tools` has written, as OpenAI lists them."""
    lines = text.removeprefix(_OFFER[0]).removesuffix(_OFFER[1]).split("\n") if text else []
    return [{"type": "function", "function": parse_json(line)} for line in lines]


def list_tool_names(text: str) -> list[str]:
    """The names of the available functions."""
    return [tool["function"]["name"] for tool in parse_tools(text)]


@lru_cache(maxsize=1_000)
def get_defaults(text: str) -> dict[str, dict[str, Any]]:
    """Names of the available functions -> their arguments with a default in the schema, and the
    defaults.
    """
    defaults: dict[str, dict[str, Any]] = {}
    for function in (tool["function"] for tool in parse_tools(text)):
        parameters = function.get("parameters")
        schemas = parameters.get("properties", parameters) if isinstance(parameters, dict) else {}
        pairs = schemas.items() if isinstance(schemas, dict) else ()
        values = {
            name: schema["default"]
            for name, schema in pairs
            if isinstance(schema, dict) and "default" in schema
        }
        defaults |= {function["name"]: values} if values else {}
    return defaults


def format_tool_turn(turn: Mapping[str, Any], content: str | None) -> str:
    """The text of a turn with function calls or the result of one. Raises ValueError if the calls
    cannot be read.
    """
    role = turn.get(find_key(turn, ROLE_KEYS))
    if role in RESULT_ROLES:
        return content if content and split_results(content) else (content or "").join(_RESULT)
    if role in CALL_ROLES:
        calls = parse_json(content or "")
        content = None
    else:
        calls = turn.get("tool_calls") or turn.get("function_call")
    return _add_calls(
        content or "",
        [_read_call(call) for call in (calls if isinstance(calls, list) else [calls])],
    )


def split_calls(text: str) -> tuple[str, list[Json]]:
    """The text without its calls, and each call's name and arguments. A call that cannot be read
    stays in the text.
    """
    plain, *segments = text.split(CALL_TAG)
    calls: list[Json] = []
    for segment in segments:
        body, end, following = segment.partition(CALL_END)
        try:
            calls.append(_read_call(parse_json(body.strip() if end else "")))
            plain += following
        except ValueError:
            plain += CALL_TAG + segment
    return plain.strip(), calls


def format_results(results: Iterable[str]) -> str:
    """The text of a turn with the results of calls, in the order of the calls."""
    return "\n".join(result.join(_RESULT) for result in results)


def split_results(text: str) -> list[str]:
    """The results of functions in a turn that consists only of them; empty for any other turn."""
    if not (text.startswith(_RESULT[0]) and text.endswith(_RESULT[1])):
        return []
    return text[len(_RESULT[0]) : -len(_RESULT[1])].split(f"{_RESULT[1]}\n{_RESULT[0]}")


def join_results(turns: Iterable[Message]) -> tuple[Message, ...]:
    """The turns, with the results of several calls joined into one turn."""
    joined: list[Message] = []
    for turn in turns:
        if joined and all(
            item.role == "user" and split_results(item.content) for item in (joined[-1], turn)
        ):
            joined[-1] = replace(turn, content=f"{joined[-1].content}\n{turn.content}")
        else:
            joined.append(turn)
    return tuple(joined)


def to_openai_turns(turns: Sequence[Json], as_json: bool) -> list[Json]:
    """The turns with calls and results in OpenAI's format. With `as_json`, arguments are JSON in a
    text, as OpenAI expects and TRL does not. A turn that would be read back as a different text is
    not changed.
    """
    converted: list[Json] = []
    number = count()
    pending_ids = list[str]()
    for turn in turns:
        text = turn["content"]
        results = split_results(turn["content"]) if turn["role"] == "user" else []
        plain, calls = split_calls(text) if turn["role"] == "assistant" else ("", [])
        # Only a text that reads back identically is converted.
        if calls and _add_calls(plain, calls) == text:
            pending_ids = [f"call_{next(number)}" for _ in calls]
            tool_calls = to_openai_calls(calls, pending_ids, as_json)
            converted.append({**turn, "content": plain or None, "tool_calls": tool_calls})
        elif results:
            converted += [
                {"role": "tool", "content": result}
                | ({"tool_call_id": pending_ids.pop(0)} if pending_ids else {})
                for result in results
            ]
        else:
            converted.append(turn)
    return converted


def to_openai_calls(calls: Iterable[Json], ids: Iterable[str], as_json: bool = True) -> list[Json]:
    """Calls in OpenAI's format; without `as_json`, their arguments are in TRL's format."""
    return [
        {
            "id": call_id,
            "type": "function",
            "function": {
                **call,
                "arguments": _dump(call["arguments"]) if as_json else call["arguments"],
            },
        }
        for call, call_id in zip(calls, ids, strict=True)
    ]


def _read_call(call: Any) -> Json:
    function = call.get("function", call) if isinstance(call, dict) else {}
    # OpenAI nests the call under `function`, others do not; some call the arguments `parameters`.
    function = function if isinstance(function, dict) else {}
    arguments = function.get("arguments", function.get("parameters", {}))
    if isinstance(arguments, str):
        arguments = parse_json(arguments or "{}")
    if not function.get("name") or not isinstance(arguments, dict):
        raise ValueError("a call needs the name of a function, and its arguments as an object")
    return {"name": str(function["name"]), "arguments": arguments}


def _add_calls(text: str, calls: Sequence[Json]) -> str:
    return "\n".join(
        filter(None, (text.strip(), *(f"{CALL_TAG}\n{_dump(call)}\n{CALL_END}" for call in calls)))
    )


def _dump(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)

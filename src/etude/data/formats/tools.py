"""Functions that a model may call, as text: those on offer, its calls, and what they gave back.

As text, a model with any chat template can learn them. Calls and results are written in the tags of Hermes' and Qwen's
templates (`<tool_call>`, `<tool_response>`); under those, the text equals what the template itself would render.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import count
from typing import Any

from etude.base.files import parse_json
from etude.data.formats.turns import CALL_ROLES, RESULT_ROLES, ROLE_KEYS, key_of
from etude.types import Message

Json = dict[str, Any]
COLUMNS = ("tools", "functions")
"""Columns of the functions on offer, beside a chat."""
KEYS = frozenset(("tool_calls", "function_call", "tool_call_id", "name"))
"""Keys of a turn that is read here."""
_OFFER = (
    "You may call these functions:\n<tools>\n",
    '\n</tools>\nA call is written <tool_call>{"name": ..., "arguments": {...}}</tool_call>, '
    "and what it gives back comes in <tool_response>.",
)
CALL, _END = "<tool_call>", "</tool_call>"
"""Around a call; the first behind `split_calls` is of one that cannot be read."""
_RESULT = ("<tool_response>\n", "\n</tool_response>")


def offer(tools: Any) -> str:
    """The functions of a list, or of one written as JSON, in words; "" for none. They are written as OpenAI does or
    ShareGPT. Raises ValueError where it is no such list."""
    listed = parse_json(tools) if isinstance(tools, str) and tools.strip() else tools
    if not listed:
        return ""
    listed = listed if isinstance(listed, list) else [None]
    functions = [each.get("function", each) if isinstance(each, dict) else each for each in listed]
    if not all(isinstance(each, dict) and isinstance(each.get("name"), str) for each in functions):
        raise ValueError("not a list of functions with their names")
    return "\n".join(map(_dumped, functions)).join(_OFFER)


def offering(turns: Sequence[Message], offered: str, instructions: str) -> tuple[Message, ...]:
    """The turns with the functions on offer on top of the first, unless the instructions name the same."""
    if not offered or offered in instructions or not turns:
        return tuple(turns)
    return (replace(turns[0], content=f"{offered}\n\n{turns[0].content}"), *turns[1:])


def as_text(turn: Mapping[str, Any], content: str | None) -> str:
    """What a turn says that calls functions or is what one gave back. Raises ValueError where that is unclear."""
    role = turn.get(key_of(turn, ROLE_KEYS))
    if role in RESULT_ROLES:
        return content if content and results_in(content) else _result(content or "")
    if role in CALL_ROLES:
        calls, content = parse_json(content or ""), None
    else:
        calls = turn.get("tool_calls") or turn.get("function_call")
    listed = calls if isinstance(calls, list) else [calls]
    return _with_calls(content or "", [_call(each) for each in listed])


def split_calls(text: str) -> tuple[str, list[Json]]:
    """What an answer says beside its calls, and each call's name and arguments. What cannot be read as a call stays."""
    beside, *rest = text.split(CALL)
    calls: list[Json] = []
    for part in rest:
        inner, end, after = part.partition(_END)
        try:
            calls.append(_call(parse_json(inner.strip() if end else "")))
            beside += after
        except ValueError:
            beside += CALL + part
    return beside.strip(), calls


def results_in(text: str) -> list[str]:
    """What functions gave back, of a turn that says nothing else; else empty."""
    if not (text.startswith(_RESULT[0]) and text.endswith(_RESULT[1])):
        return []
    return text[len(_RESULT[0]) : -len(_RESULT[1])].split(f"{_RESULT[1]}\n{_RESULT[0]}")


def joined_results(turns: Iterable[Message]) -> tuple[Message, ...]:
    """The turns, where the results of several calls are one turn."""
    joined: list[Message] = []
    for turn in turns:
        if joined and all(each.role == "user" and results_in(each.content) for each in (joined[-1], turn)):
            joined[-1] = replace(turn, content=f"{joined[-1].content}\n{turn.content}")
        else:
            joined.append(turn)
    return tuple(joined)


def functions_in(offered: str) -> list[Json]:
    """The functions that `offer` has put in words, as OpenAI lists them."""
    lines = offered.removeprefix(_OFFER[0]).removesuffix(_OFFER[1]).split("\n") if offered else []
    return [{"type": "function", "function": parse_json(line)} for line in lines]


def names_in(offered: str) -> list[str]:
    """The names of the functions on offer."""
    return [each["function"]["name"] for each in functions_in(offered)]


def without_offer(instructions: str) -> str:
    """Instructions without the functions on offer below them."""
    return instructions.partition(_OFFER[0])[0].rstrip() if instructions.endswith(_OFFER[1]) else instructions


def structured(turns: Sequence[Json], as_json: bool) -> list[Json]:
    """OpenAI's turns with calls and results in its form; `as_json` writes arguments as JSON in a text, as OpenAI does
    and TRL does not. What would be read as another text stays."""
    made: list[Json] = []
    number, waiting = count(), list[str]()
    for turn in turns:
        text, given = turn["content"], results_in(turn["content"]) if turn["role"] == "user" else []
        beside, calls = split_calls(text) if turn["role"] == "assistant" else ("", [])
        if calls and _with_calls(beside, calls) == text:
            waiting = [f"call_{next(number)}" for _ in calls]
            made.append(
                {**turn, "content": beside or None, "tool_calls": openai_calls(calls, waiting, as_json)}
            )
        elif given:
            made += [
                {"role": "tool", "content": each} | ({"tool_call_id": waiting.pop(0)} if waiting else {})
                for each in given
            ]
        else:
            made.append(turn)
    return made


def openai_calls(calls: Iterable[Json], ids: Iterable[str], as_json: bool = True) -> list[Json]:
    """Calls as OpenAI writes them; without `as_json` their arguments as TRL does."""
    return [
        {
            "id": name,
            "type": "function",
            "function": {**call, "arguments": _dumped(call["arguments"]) if as_json else call["arguments"]},
        }
        for call, name in zip(calls, ids, strict=True)
    ]


def _call(call: Any) -> Json:
    function = call.get("function", call) if isinstance(call, dict) else {}
    function = function if isinstance(function, dict) else {}
    arguments = function.get("arguments", function.get("parameters", {}))
    if isinstance(arguments, str):
        arguments = parse_json(arguments or "{}")
    if not function.get("name") or not isinstance(arguments, dict):
        raise ValueError("a call needs the name of a function and arguments by their names")
    return {"name": str(function["name"]), "arguments": arguments}


def _with_calls(said: str, calls: Sequence[Json]) -> str:
    return "\n".join(filter(None, (said.strip(), *(f"{CALL}\n{_dumped(call)}\n{_END}" for call in calls))))


def _result(given: str) -> str:
    return given.join(_RESULT)


def _dumped(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)

"""Functions that a model may call, as text: those on offer, its calls, and what they gave back.

A model of any chat template can learn them so. Calls and results stand in the tags of Hermes' and Qwen's templates
(`<tool_call>`, `<tool_response>`), under which such turns are the very text that the template would make of them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
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
_OFFERED = re.compile(f"{re.escape(_OFFER[0])}(.*?){re.escape(_OFFER[1])}(?:\n\n|$)", re.DOTALL)
_CALL = re.compile(r"<tool_call>\s*(\{.*?\})\s*</tool_call>", re.DOTALL)
_RESULT = re.compile(r"<tool_response>\n(.*?)\n</tool_response>", re.DOTALL)


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
    """The turns with the functions on offer on top of the first, unless the instructions name them."""
    if not offered or offered in instructions or not turns:
        return tuple(turns)
    return (replace(turns[0], content=f"{offered}\n\n{turns[0].content}"), *turns[1:])


def as_text(turn: Mapping[str, Any], content: str | None) -> str:
    """What a turn says that calls functions or is what one gave back. Raises ValueError where that is unclear."""
    role = turn.get(key_of(turn, ROLE_KEYS))
    if role in RESULT_ROLES:
        return content if content and _RESULT.fullmatch(content) else _result(content or "")
    if role in CALL_ROLES:
        calls, content = parse_json(content or ""), None
    else:
        calls = turn.get("tool_calls") or turn.get("function_call")
    listed = calls if isinstance(calls, list) else [calls]
    return _with_calls(content or "", [_call(each) for each in listed])


def split_calls(text: str) -> tuple[str, list[Json]]:
    """What an answer says beside its calls, and each call's name and arguments. What cannot be read as a call stays."""
    calls: list[Json] = []

    def take(found: re.Match[str]) -> str:
        try:
            calls.append(_call(parse_json(found[1])))
        except ValueError:
            return found[0]
        return ""

    return _CALL.sub(take, text).strip(), calls


def joined_results(turns: Iterable[Message]) -> tuple[Message, ...]:
    """The turns, where the results of several calls are one turn."""
    joined: list[Message] = []
    for turn in turns:
        if joined and all(each.role == "user" and _RESULT.match(each.content) for each in (joined[-1], turn)):
            joined[-1] = replace(turn, content=f"{joined[-1].content}\n{turn.content}")
        else:
            joined.append(turn)
    return tuple(joined)


def functions_in(text: str) -> tuple[list[Json], str]:
    """The functions on offer on top of a text, as OpenAI lists them, and the rest of it."""
    if found := _OFFERED.match(text):
        try:
            listed = [{"type": "function", "function": parse_json(line)} for line in found[1].split("\n")]
            if offer(listed) == found[0].rstrip("\n"):
                return listed, text[found.end() :]
        except ValueError:
            pass
    return [], text


def names_in(offered: str) -> list[str]:
    """The names of the functions on offer."""
    return [each["function"]["name"] for each in functions_in(offered)[0]]


def structured(turns: Sequence[Json], as_json: bool) -> list[Json]:
    """OpenAI's turns with calls and results in its form; `as_json` writes arguments as JSON in a text, as OpenAI does
    and TRL does not. What would be read as another text stays."""
    made: list[Json] = []
    waiting: list[str] = []
    for turn in turns:
        text, given = turn["content"], _RESULT.findall(turn["content"])
        beside, calls = split_calls(text) if turn["role"] == "assistant" else ("", [])
        if calls and _with_calls(beside, calls) == text:
            first = sum(len(each.get("tool_calls", ())) for each in made)
            waiting = [f"call_{number}" for number in range(first, first + len(calls))]
            made.append(
                {**turn, "content": beside or None, "tool_calls": openai_calls(calls, waiting, as_json)}
            )
        elif turn["role"] == "user" and given and "\n".join(map(_result, given)) == text:
            ids = [*waiting, *[""] * len(given)]
            made += [
                {"role": "tool", "content": each} | ({"tool_call_id": name} if name else {})
                for each, name in zip(given, ids, strict=False)
            ]
            waiting = waiting[len(given) :]
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
    return "\n".join(
        filter(None, (said.strip(), *(f"<tool_call>\n{_dumped(call)}\n</tool_call>" for call in calls)))
    )


def _result(given: str) -> str:
    return f"<tool_response>\n{given}\n</tool_response>"


def _dumped(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)

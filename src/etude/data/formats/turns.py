"""What a turn of a chat is called: role and content as OpenAI writes them, from and value as ShareGPT does."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from etude.base.files import parse_json
from etude.types import Role

ROLE_KEYS, TEXT_KEYS = ("role", "from"), ("content", "value")
"""Of two keys that mean the same, the first that a turn has counts."""
ROLES: Mapping[str, Role] = {
    **{"system": "system", "user": "user", "assistant": "assistant", "developer": "system"},
    **{"human": "user", "gpt": "assistant", "chatgpt": "assistant", "model": "assistant"},
}
"""Name in a file -> the role that is meant."""
CALL_ROLES = ("tool_call", "function_call")
"""Names of an assistant's turn that calls functions."""
RESULT_ROLES = ("tool", "tool_response", "function", "function_response", "observation")
"""Names of a turn that is what a function gave back."""
_CALLS = ("tool_calls", "function_call")


def key_of(turn: Mapping[str, Any], keys: tuple[str, str]) -> str:
    """Which of two keys a turn has; the first where it has neither."""
    return keys[1] if keys[1] in turn and keys[0] not in turn else keys[0]


def role_of(turn: Mapping[str, Any]) -> Role | None:
    """The role of a turn; None where its name means none."""
    name = turn.get(key_of(turn, ROLE_KEYS))
    return ROLES.get(name) if isinstance(name, str) else None


def speaker_of(turn: Mapping[str, Any]) -> Role | None:
    """As `role_of`, also for turns of functions: the assistant makes calls, and results are given to it by the user."""
    name = turn.get(key_of(turn, ROLE_KEYS))
    return "assistant" if name in CALL_ROLES else "user" if name in RESULT_ROLES else role_of(turn)


def calls_functions(turn: Mapping[str, Any]) -> bool:
    """Whether a turn calls a function."""
    return turn.get(key_of(turn, ROLE_KEYS)) in CALL_ROLES or any(turn.get(key) for key in _CALLS)


def uses_tools(turn: Mapping[str, Any]) -> bool:
    """Whether a turn calls a function, or is what one gave back."""
    return turn.get(key_of(turn, ROLE_KEYS)) in RESULT_ROLES or calls_functions(turn)


def is_turn(value: Any) -> bool:
    """Whether a value is written as a turn is, whatever its role."""
    return isinstance(value, dict) and ("role" in value or {"from", "value"} <= value.keys())


def holds_turns(value: Any) -> bool:
    """Whether a value is a list of turns."""
    return isinstance(value, list) and bool(value) and all(map(is_turn, value))


def turns_in(value: Any) -> Any:
    """The turns of a value that holds them under `messages`, as the input of OpenAI's preferences does; any other value
    as it is."""
    return value["messages"] if isinstance(value, dict) and holds_turns(value.get("messages")) else value


def single_turn(value: Any) -> Any:
    """The turn of a value that is one, or a list of one; None for any other."""
    turns = value if isinstance(value, list) else [value]
    return turns[0] if len(turns) == 1 and is_turn(turns[0]) else None


def written_turns(value: Any) -> Any:
    """The turns that a text holds as JSON, as tables have them; any other value as it is."""
    if not isinstance(value, str) or not value.lstrip().startswith("["):
        return value
    try:
        turns = parse_json(value)
    except ValueError:
        return value
    return turns if holds_turns(turns) else value


def of_any_turn(what: str) -> str:
    """What is said of a turn, without its number, so that it is the same of all."""
    return re.sub(r"\[\d+\]", "[…]", what)

"""The keys and role names of a chat's turn: role and content in OpenAI's format, from and value in
ShareGPT's.
"""

import re
from collections.abc import Mapping
from typing import Any

from etude.base.files import parse_json
from etude.types import Role

# Two keys of the same meaning; the first one present counts.
ROLE_KEYS = ("role", "from")
TEXT_KEYS = ("content", "value")
# Name in a file -> role.
ROLES: Mapping[str, Role] = {
    **{"system": "system", "user": "user", "assistant": "assistant", "developer": "system"},
    **{"human": "user", "gpt": "assistant", "chatgpt": "assistant", "model": "assistant"},
}
CALL_ROLES = ("tool_call", "function_call")  # names of an assistant's turn that calls functions
# Names of a turn with the result of a function.
RESULT_ROLES = ("tool", "tool_response", "function", "function_response", "observation")


def find_key(turn: Mapping[str, Any], keys: tuple[str, str]) -> str:
    """Which of two keys a turn has; the first if it has neither."""
    return keys[1] if keys[1] in turn and keys[0] not in turn else keys[0]


def parse_role(turn: Mapping[str, Any]) -> Role | None:
    """The role of a turn; None if its name is unknown."""
    name = turn.get(find_key(turn, ROLE_KEYS))
    return ROLES.get(name) if isinstance(name, str) else None


def parse_speaker(turn: Mapping[str, Any]) -> Role | None:
    """Like `parse_role`, but also for functions: calls count as the assistant's turns, results as
    the user's.
    """
    name = turn.get(find_key(turn, ROLE_KEYS))
    return (
        "assistant" if name in CALL_ROLES else "user" if name in RESULT_ROLES else parse_role(turn)
    )


def has_calls(turn: Mapping[str, Any]) -> bool:
    """Whether a turn calls a function."""
    name = turn.get(find_key(turn, ROLE_KEYS))
    return name in CALL_ROLES or any(turn.get(key) for key in ("tool_calls", "function_call"))


def uses_tools(turn: Mapping[str, Any]) -> bool:
    """Whether a turn calls a function, or is the result of one."""
    return turn.get(find_key(turn, ROLE_KEYS)) in RESULT_ROLES or has_calls(turn)


def is_turn(value: Any) -> bool:
    """Whether a value has the keys of a turn, with any role."""
    return isinstance(value, dict) and ("role" in value or {"from", "value"} <= value.keys())


def is_chat(value: Any) -> bool:
    """Whether a value is a list of turns."""
    return isinstance(value, list) and bool(value) and all(map(is_turn, value))


def unwrap_turns(value: Any) -> Any:
    """The turns under a value's key `messages`, as in the input of OpenAI's preferences; other
    values are unchanged.
    """
    return (
        value["messages"] if isinstance(value, dict) and is_chat(value.get("messages")) else value
    )


def unwrap_single_turn(value: Any) -> Any:
    """The turn, if a value is a turn or a list of one turn; otherwise None."""
    turns = value if isinstance(value, list) else [value]
    return turns[0] if len(turns) == 1 and is_turn(turns[0]) else None


def parse_turns(value: Any) -> Any:
    """The turns in a text of JSON, as in tables; any other value is returned unchanged."""
    if not isinstance(value, str) or not value.lstrip().startswith("["):
        return value
    try:
        turns = parse_json(value)
    except ValueError:
        return value
    return turns if is_chat(turns) else value


def mask_turn_numbers(message: str) -> str:
    """The message without the number of the turn, so that one error in many rows is counted
    once.
    """
    return re.sub(r"\[\d+\]", "[…]", message)

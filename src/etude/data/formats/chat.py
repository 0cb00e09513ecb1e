"""Chats: turns in order, a system message at most at the start."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, get_args

from etude.base.remedies import instead
from etude.data.formats.cells import Cells
from etude.data.formats.tools import KEYS, as_text, joined_results
from etude.data.formats.turns import ROLE_KEYS, TEXT_KEYS, key_of, speaker_of, turns_in, uses_tools
from etude.errors import quote_value
from etude.types import Message, Role


def read_turns(cells: Cells, column: str, last: Role) -> tuple[Message, ...]:
    """The turns of a chat that ends with `last`; empty, with a fault, when they are none."""
    held = cells.row.cells.get(column)
    value = turns_in(held)
    if isinstance(held, dict) and any(
        inner and inner is not True for key, inner in held.items() if key != "messages"
    ):
        cells.reading.counts[f"keys of {column} besides messages, which are not used"] += 1
    if not isinstance(value, list) or not value:
        _no_turns(cells, column, value)
        return ()
    turns = [read_turn(cells, f"{column}[{number}]", item) for number, item in enumerate(value)]
    whole = joined_results(turn for turn in turns if turn is not None)
    if None in turns:
        return ()
    problem = _order_problem([turn.role for turn in whole], last)
    if problem:
        cells.fault(f"{column}: {problem[0]}", " ".join(turn.role for turn in whole), problem[1], "roles")
        return ()
    return whole


def _no_turns(cells: Cells, column: str, value: Any) -> None:
    """Adds the fault of a row whose chat is empty, or is no list of turns."""
    write = 'write [{"role": "user", "content": "..."}, ...]'
    if value is None or value == [] or (isinstance(value, str) and value.strip() in ("", "[]")):
        cells.fault(f"{column} holds no turn", quote_value(value), f"{write}, or delete the row", "roles")
    elif isinstance(value, str) and value.lstrip().startswith("["):
        cells.fault(f"{column} must be a list of turns, as JSON", quote_value(value), write, "roles")
    else:
        cells.fault(f"{column} must be a list of turns", quote_value(value), write)


def read_turn(cells: Cells, place: str, item: Any) -> Message | None:
    """One turn; None, with a fault, when it is none. Content may be given in parts of type text; calls of functions and
    what they gave back become a part of it.

    Spaces around what the assistant says are taken away: many chat templates drop them, and then what is
    trained would not be what is asked.
    """
    turn = item if isinstance(item, dict) else {}
    role = speaker_of(turn)
    named, text_key = key_of(turn, ROLE_KEYS), key_of(turn, TEXT_KEYS)
    content: Any = turn.get(text_key)
    if role is None:
        _refuse_role(cells, place, turn.get(named) if turn else item, named)
        return None
    if isinstance(content, list):
        content = _joined_parts(content)
    keys = KEYS if uses_tools(turn) else set()
    if keys and isinstance(content, str | None):
        try:
            content = as_text(turn, content)
        except ValueError as error:
            remedy = "write each call as a name and arguments in JSON, or leave the row out"
            cells.fault(f"{place}: calls cannot be read ({error})", quote_value(turn), remedy, "tools")
            return None
    if not isinstance(content, str):
        got = turn.get(text_key)
        kind = "empty_turn" if got is None else "unreadable"
        cells.fault(
            f"{place}: {text_key} must be a text", quote_value(got), "write the turn as one text", kind
        )
    elif not content.strip():
        cells.fault(
            f"{place}: {text_key} is empty",
            quote_value(content),
            "write the turn, or delete the row",
            "empty_turn",
        )
    elif cells.is_clean(place, content):
        if turn.keys() - {named, text_key, "weight", *keys}:
            what = f"turns with keys besides {named}, {text_key} and weight, which are not used"
            cells.reading.counts[what] += 1
        said = cells.trimmed(content) if role == "assistant" else content
        return Message(role, said, trained=_is_trained(cells, place, turn))
    return None


def _refuse_role(cells: Cells, place: str, got: Any, key: str) -> None:
    known = get_args(Role) if key == "role" else ("system", "human", "gpt")
    is_name = isinstance(got, str) and got
    remedy = instead(got, known) if is_name else 'write {"role": "user", "content": "..."}'
    cells.fault(f"{place}: unknown role", quote_value(got), remedy, "roles")


def _is_trained(cells: Cells, place: str, turn: Mapping[str, Any]) -> bool:
    """Whether training learns a turn: `weight: 0` says no, as in the chat files of hosted fine-tuning."""
    weight = turn.get("weight", 1)
    if isinstance(weight, bool) or weight not in (0, 1, None):
        cells.fault(
            f"{place}: weight must be 0 or 1", quote_value(weight), "write 0 for a turn that is not learned"
        )
    elif weight == 0 and speaker_of(turn) != "assistant":
        cells.reading.counts["turns of the user or the system with weight 0, which are never learned"] += 1
    return bool(weight != 0)


def _joined_parts(parts: list[Any]) -> str | None:
    """The text of content given in parts; None when a part is no text."""
    texts = [
        part.get("text") if isinstance(part, dict) and part.get("type") == "text" else None for part in parts
    ]
    return "".join(text for text in texts if text) if all(isinstance(text, str) for text in texts) else None


def _order_problem(roles: Sequence[str], last: Role) -> tuple[str, str] | None:
    """(what, remedy) when turns do not go [system] user assistant user ... `last`."""
    spoken = roles[1:] if roles[0] == "system" else roles
    if "system" in spoken:
        return "a system turn stands after the first turn", "put one system turn first"
    if not spoken or spoken[0] != "user":
        return "the chat does not begin with the user", "begin with a user turn"
    if any(role == after for role, after in pairwise(spoken)):
        return (
            f"two {next(a for a, b in pairwise(spoken) if a == b)} turns in a row",
            "join them into one turn",
        )
    if spoken[-1] != last:
        return f"the last turn is not the {last}'s", f"end with the {last}'s turn"
    return None

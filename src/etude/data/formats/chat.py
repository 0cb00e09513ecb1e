"""Inputs and chats of a row as messages: turns in order, with at most one system message, at the
start.
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, get_args

from etude.base.issues import suggest_instead
from etude.data.formats import tools
from etude.data.formats import turns as keys
from etude.data.formats.cells import Cells
from etude.errors import quote_value
from etude.types import Message, Role


def read_input(cells: Cells, columns: Sequence[str]) -> tuple[Message, ...]:
    """The turns in the input columns of a row: a chat that ends with the user's, or texts joined by
    a blank line.
    """
    if len(columns) == 1 and isinstance(keys.unwrap_turns(cells.row.cells.get(columns[0])), list):
        return read_turns(cells, columns[0], "user")
    texts = [cells.read_text(name, needed=len(columns) == 1) for name in columns]
    filled = [text for text in texts if text.strip()]
    if not filled and len(texts) > 1:
        message = f"the columns {', '.join(columns)} are all empty"
        cells.add_issue(message, "", "fill in at least one of them, or delete the row", "empty")
    return (Message("user", "\n\n".join(filled)),)


def read_question(
    cells: Cells, columns: Sequence[str], row_systems: bool = False
) -> tuple[Message, ...]:
    """Like `read_input`, but without the last answer of a chat and without its system message.

    With `row_systems`, the result has the system message with the functions of the row below it.
    """
    turns = _read_question(cells, columns)
    if not row_systems:
        return tuple(turn for turn in turns if turn.role != "system")
    row = cells.row.cells
    system = (
        turns[0].content if turns and turns[0].role == "system" else str(row.get("system") or "")
    )
    offer = next((row[name] for name in tools.TOOL_COLUMNS if row.get(name)), None)
    try:
        text = tools.append_tools(system, tools.format_tools(offer))
    except ValueError as error:
        cells.add_issue(
            f"functions: {error}", quote_value(offer), "write them in OpenAI's format", "tools"
        )
        return ()
    plain = tuple(turn for turn in turns if turn.role != "system")
    return (Message("system", text), *plain) if text else plain


def _read_question(cells: Cells, columns: Sequence[str]) -> tuple[Message, ...]:
    value = keys.unwrap_turns(keys.parse_turns(cells.row.cells.get(columns[0])))
    if len(columns) > 1 or not keys.is_chat(value):
        return read_input(cells, columns)
    turns = list(value)
    if turns and keys.parse_speaker(turns[-1]) == "assistant":
        del turns[-1]
    return read_turns(cells.with_value(columns[0], turns), columns[0], "user")


def read_turns(cells: Cells, column: str, last: Role) -> tuple[Message, ...]:
    """The turns of a chat that ends with the role `last`; empty, with an issue, if there is no such
    chat.
    """
    cell = cells.row.cells.get(column)
    value = keys.unwrap_turns(cell)
    if isinstance(cell, dict) and any(
        inner and inner is not True
        for key, inner in cell.items()
        if key not in ("messages", "tools")
    ):
        cells.reader.counts[
            f"keys of {column} other than messages and tools, which are not used"
        ] += 1
    if not isinstance(value, list) or not value:
        remedy = 'write [{"role": "user", "content": "..."}, ...]'
        message = f"{column} must be a list of turns"
        kind = "roles"
        if value is None or value == [] or (isinstance(value, str) and value.strip() in ("", "[]")):
            message = f"{column} contains no turns"
            remedy = f"{remedy}, or delete the row"
        elif isinstance(value, str) and value.lstrip().startswith("["):
            message += ", as JSON"
        else:
            kind = "unreadable"
        cells.add_issue(message, quote_value(value), remedy, kind)
        return ()
    # All turns are read before the order is checked, so that every bad turn is reported.
    turns = [read_turn(cells, f"{column}[{number}]", item) for number, item in enumerate(value)]
    messages = tools.join_results(turn for turn in turns if turn is not None)
    if None in turns:
        return ()
    messages = _leave_out_opening(cells, messages)
    problem = _find_order_problem([turn.role for turn in messages], last)
    if problem:
        roles = " ".join(turn.role for turn in messages)
        cells.add_issue(f"{column}: {problem[0]}", roles, problem[1], "roles")
        return ()
    return messages


def _leave_out_opening(cells: Cells, messages: Sequence[Message]) -> tuple[Message, ...]:
    """Leave out what the assistant says before the user's first turn: no input is there that it
    could answer.
    """
    first = next((number for number, turn in enumerate(messages) if turn.role == "user"), 0)
    opening = [turn for turn in messages[:first] if turn.role == "assistant"]
    if opening:
        cells.reader.counts["assistant turns before the user's first turn, which are left out"] += (
            len(opening)
        )
    return tuple(
        turn for number, turn in enumerate(messages) if number >= first or turn.role != "assistant"
    )


def has_no_user(cell: object) -> bool:
    """Whether a cell is a chat in which only the assistant speaks, after a system message or
    without one.
    """
    turns = keys.unwrap_turns(cell)
    speakers = {
        keys.parse_speaker(turn) if isinstance(turn, dict) else None for turn in turns or ()
    }
    return (
        isinstance(turns, list) and "assistant" in speakers and speakers <= {"system", "assistant"}
    )


def read_turn(cells: Cells, location: str, item: Any) -> Message | None:
    """One turn; None, with an issue, if it cannot be read. Content may be a list of parts of type
    text; function calls and their results become part of the text.

    Spaces around an assistant's text are removed, because many chat templates remove them;
    otherwise training and answering would differ.
    """
    turn = item if isinstance(item, dict) else {}
    role = keys.parse_speaker(turn)
    role_key = keys.find_key(turn, keys.ROLE_KEYS)
    text_key = keys.find_key(turn, keys.TEXT_KEYS)
    content: Any = turn.get(text_key)
    if role is None:
        name: Any = turn.get(role_key) if turn else item
        known = get_args(Role) if role_key == "role" else ("system", "human", "gpt")
        is_name = isinstance(name, str) and name
        remedy = (
            suggest_instead(name, known) if is_name else 'write {"role": "user", "content": "..."}'
        )
        cells.add_issue(f"{location}: unknown role", quote_value(name), remedy, "roles")
        return None
    # Content in parts, then calls and results of functions, become one text.
    if isinstance(content, list):
        content = _join_parts(content)
    tool_keys = tools.TOOL_KEYS if keys.uses_tools(turn) else set()
    if tool_keys and isinstance(content, str | None):
        try:
            content = tools.format_tool_turn(turn, content)
        except ValueError as error:
            message = f"{location}: the function calls cannot be read ({error})"
            remedy = "write each call as a name and arguments in JSON, or delete the row"
            cells.add_issue(message, quote_value(turn), remedy, "tools")
            return None
    if not isinstance(content, str):
        value = turn.get(text_key)
        kind = "empty_turn" if value is None else "unreadable"
        message = f"{location}: {text_key} must be a text"
        cells.add_issue(message, quote_value(value), "write the turn as one text", kind)
    elif not content.strip():
        message = f"{location}: {text_key} is empty"
        remedy = "write the turn, or delete the row"
        cells.add_issue(message, quote_value(content), remedy, "empty_turn")
    elif cells.is_clean(location, content):
        if turn.keys() - {role_key, text_key, "weight", *tool_keys}:
            event = (
                f"turns with keys other than {role_key}, {text_key} and weight, which are not used"
            )
            cells.reader.counts[event] += 1
        text = cells.strip_answer(content) if role == "assistant" else content
        return Message(role, text, trained=_is_trained(cells, location, turn))
    return None


def _is_trained(cells: Cells, location: str, turn: Mapping[str, Any]) -> bool:
    """Whether a turn is trained on: not if it has `weight: 0`, as in the chat files of hosted
    fine-tuning.
    """
    weight = turn.get("weight", 1)
    if isinstance(weight, bool) or weight not in (0, 1, None):
        remedy = "write 0 for a turn that is not trained on"
        cells.add_issue(f"{location}: weight must be 0 or 1", quote_value(weight), remedy)
    elif weight == 0 and keys.parse_speaker(turn) != "assistant":
        cells.reader.counts[
            "user or system turns with weight 0; such turns are never trained on"
        ] += 1
    return bool(weight != 0)


def _join_parts(parts: list[Any]) -> str | None:
    texts = [
        part.get("text") if isinstance(part, dict) and part.get("type") == "text" else None
        for part in parts
    ]
    return (
        "".join(text for text in texts if text)
        if all(isinstance(text, str) for text in texts)
        else None
    )


def _find_order_problem(roles: Sequence[str], last: Role) -> tuple[str, str] | None:
    """(message, remedy) if the turns are not in the order [system] user assistant user ...
    `last`.
    """
    speakers = roles[1:] if roles[0] == "system" else roles
    if "system" in speakers:
        return "a system turn comes after the first turn", "keep one system turn, and put it first"
    if not speakers or speakers[0] != "user":
        return "the chat does not begin with the user", "begin with a user turn"
    if repeated := next(
        (role for role, following in pairwise(speakers) if role == following), None
    ):
        return f"two consecutive {repeated} turns", "join them into one turn"
    if speakers[-1] != last:
        return f"the last turn is not the {last}'s", f"end with the {last}'s turn"
    return None

"""Which columns mean what: by the names of the columns; a column of whole chats must hold turns too."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from etude.data.formats.column_names import names_of, plain_name
from etude.data.formats.tools import COLUMNS as TOOLS
from etude.data.formats.turns import holds_turns, role_of, written_turns
from etude.errors import InputError, Issue, quote_value
from etude.task import RowSource

_SHAPES: tuple[tuple[tuple[str, ...], str], ...] = (
    (("prompt",), "completion"),
    (("instruction", "input"), "output"),
    (("instruction",), "output"),
    (("input",), "output"),
    (("text",), "label"),
    (("question", "context"), "answer"),
    (("question",), "answer"),
)

_INPUT_NAMES = names_of("inputs", "asked")
_OUTPUT_NAMES = names_of("outputs", "answered", "other_outputs")
_ASKING, _ABOUT = ("question", "instruction", "query"), ("context", "passage")
"""Names of what is asked, and of the text that it is about, as in SQuAD and Dolly."""

_CHAT_NAMES = ("messages", "conversations", "conversation", "dialogue", "dialog", "turns", "chat")

_ROLES = ("messages", "input", "output", "system", "id", "references", "group", "tags", "source")

BY_NAMES = "read by the names of the columns"
"""What a note on guessed columns says."""
_PREFERENCES = (("chosen", "rejected"), ("preferred_output", "non_preferred_output"))
"""Names of the columns of a better and a worse answer, which stand together."""


@dataclass(frozen=True)
class Guess:
    """Which columns mean what, by their names, and the same as a sentence for the user."""

    source: RowSource
    sentence: str


def guess_columns(rows: Sequence[Mapping[str, Any]], source: RowSource, by_order: bool = True) -> Guess:
    """Fills in the columns that `source` leaves open, by the names of the columns in some rows.

    Known shapes first, then usual names, then, unless `by_order` is False, the order of a file with two columns.
    Raises InputError when the input or the output stays unknown.
    """
    given, all_names = source, list(dict.fromkeys(name for row in rows for name in row))
    worse = preference_columns(all_names)[1:]
    names = [name for name in all_names if name not in worse or name in named(source)]
    source = _guess_better(all_names, rows, source)
    found = _guess_chat(names, rows, source) or _guess_pair(names, source)
    if found is None and by_order:
        found = _guess_by_order(names, rows, source)
    if found is None:
        raise InputError([_unknown_shape(all_names, rows, source)])
    full = _guess_extras(names, found)
    return Guess(full, _sentence(given, full))


def input_columns(names: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    """The columns of the input where no answer need stand beside it, by the names of the columns; empty if none is
    known. A column of whole chats is one."""
    shapes = (shape for shape, _ in _SHAPES if set(shape) <= set(names))
    chats = (name for name in _CHAT_NAMES if name in names and _holds_chats(rows, name))
    if found := next(shapes, ()) or tuple(chats)[:1]:
        return found
    return _with_context(_first(_INPUT_NAMES, names, ()), names, "")


def preference_columns(names: Iterable[str]) -> tuple[str, str] | tuple[()]:
    """The columns of the better and of the worse answer, where both are there."""
    by_name = {name.casefold(): name for name in names}
    pairs = ((by_name.get(better), by_name.get(worse)) for better, worse in _PREFERENCES)
    return next(((better, worse) for better, worse in pairs if better and worse), ())


def thumbs_column(rows: Sequence[Mapping[str, Any]], columns: RowSource) -> str | None:
    """The column that says of each answer whether somebody liked it (KTO): `label`, true or false, which `columns`
    give no meaning; None if there is none."""
    values = {str(row["label"]).casefold() for row in rows if row.get("label") not in (None, "")}
    free = "label" not in named(columns)
    return "label" if free and values and values <= {"true", "false"} else None


def is_thumbs_down(value: Any) -> bool:
    """Whether a value of that column says that an answer is a bad one."""
    return str(value).casefold() == "false"


def offer_column(names: Collection[str], columns: RowSource) -> str | None:
    """The column of the functions on offer beside whole chats; None if there is none, and for preferences."""
    if preference_columns(names) or not (columns.messages or columns.output == "completion"):
        return None
    return next((name for name in TOOLS if name in names and name not in named(columns)), None)


def optional(columns: RowSource) -> list[str]:
    """The columns that a row may leave empty."""
    names = [*columns.references, *columns.tags, columns.group, columns.system, columns.source]
    return [name for name in names if name is not None]


def named(columns: RowSource) -> list[str]:
    """All columns that mean something, in the order in which a table is written."""
    needed = [columns.messages, columns.output, columns.id]
    return [*columns.input, *(name for name in needed if name is not None), *optional(columns)]


def as_written(columns: RowSource) -> dict[str, Any]:
    """The columns as the task file writes them: role -> name, or a list of names."""
    parts = {role: getattr(columns, role) for role in _ROLES}
    plain = {role: list(part) if isinstance(part, tuple) else part for role, part in parts.items() if part}
    return plain | ({"input": columns.input[0]} if len(columns.input) == 1 else {})


def _guess_better(names: Sequence[str], rows: Sequence[Mapping[str, Any]], source: RowSource) -> RowSource:
    """Of preferences the better answer is what is taught; a chat of several turns holds what was asked too."""
    pair = preference_columns(names)
    if not pair or source.output or source.messages or pair[0] in source.input:
        return source
    if any(_begins_by_asking(row.get(pair[0])) for row in rows):
        return source if source.input else replace(source, messages=pair[0])
    inputs = next((shape for shape, _ in _SHAPES if set(shape) <= set(names)), ())
    chats = [name for name in names if name not in pair and _holds_chats(rows, name)]
    if not inputs and chats:
        inputs = (_first(_CHAT_NAMES, chats, ()) or chats[0],)
    return replace(source, input=source.input or inputs, output=pair[0])


def _begins_by_asking(better: Any) -> bool:
    return holds_turns(better) and len(better) > 1 and role_of(better[0]) != "assistant"


def _guess_chat(
    names: Sequence[str], rows: Sequence[Mapping[str, Any]], source: RowSource
) -> RowSource | None:
    if source.messages:
        return source
    if source.input or source.output:
        return None
    chats = [name for name in names if name == "messages" or _holds_chats(rows, name)]
    found = _first(_CHAT_NAMES, chats, ())
    return replace(source, messages=found) if found else None


def _holds_chats(rows: Sequence[Mapping[str, Any]], name: str) -> bool:
    return any(holds_turns(written_turns(row.get(name))) for row in rows)


def _guess_pair(names: Sequence[str], source: RowSource) -> RowSource | None:
    if source.input and source.output:
        return source
    if not source.input and not source.output:
        for shape, answer in _SHAPES:
            if {*shape, answer} <= set(names):
                return replace(source, input=shape, output=answer)
    output = source.output or _first(_OUTPUT_NAMES, names, {*source.input})
    usual = _first(_INPUT_NAMES, names, {output})
    inputs = source.input or _with_context(usual, names, output)
    return replace(source, input=inputs, output=output) if inputs and output else None


def _with_context(usual: str | None, names: Sequence[str], output: str | None) -> tuple[str, ...]:
    """The column of the input, and beside a question or an instruction the text that it is about."""
    if usual is None or usual.casefold() not in _ASKING:
        return (usual,) if usual else ()
    about = _first(_ABOUT, names, {usual, output})
    return (usual, about) if about else (usual,)


def _first(known: Sequence[str], names: Sequence[str], taken: Collection[str | None]) -> str | None:
    by_name = {plain_name(name): name for name in names if name not in taken}
    return next((by_name[name] for name in known if name in by_name), None)


def _guess_by_order(
    names: Sequence[str], rows: Sequence[Mapping[str, Any]], source: RowSource
) -> RowSource | None:
    """The first of two columns is the input, when nothing was said and the names look like names."""
    free = [name for name in names if name and name not in named(source)]
    if source.input or source.output or len(free) != 2 or _looks_like_row(names, rows):
        return None
    return replace(source, input=(free[0],), output=free[1])


def _looks_like_row(names: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> bool:
    """Whether the names of the columns are rather values: a sentence, or a value of their own column."""
    return any(
        len(name.split()) > 4 or name in {str(row.get(name)) for row in rows} for name in names if name
    )


def _guess_extras(names: Sequence[str], source: RowSource) -> RowSource:
    free = set(names) - set(named(source))
    extras: dict[str, Any] = {}
    for name in ("id", "group", "system", "references", "tags"):
        if name in free and not getattr(source, name):
            extras[name] = (name,) if name in ("references", "tags") else name
    return replace(source, **extras)


def _unknown_shape(names: Sequence[str], rows: Sequence[Mapping[str, Any]], source: RowSource) -> Issue:
    chats = [name for name in names if _holds_chats(rows, name)]
    if chats:
        what = "unclear which columns are the input and the output"
        remedy = (
            f"if {chats[0]} holds whole chats, write "
            f"examples: {{file: {source.file.name}, messages: {chats[0]}}} in the task file"
        )
    elif pair := preference_columns(names):
        what = f"{pair[0]} and {pair[1]} are two answers, and no column holds what was asked"
        remedy = f"write it in a column prompt, and the answers alone in {pair[0]} and {pair[1]}"
    elif _looks_like_row(names, rows):
        what, remedy = "the first line looks like a row", "put a line with the names of the columns before it"
    elif len(names) == 1:
        what = "only one column, where an input and an output are needed"
        remedy = "add a column with the right answers, or separate the values by commas, semicolons or tabs"
    else:
        what = "unclear which columns are the input and the output"
        remedy = (
            "rename them to input and output in the file, or write "
            f"examples: {{file: {source.file.name}, input: COLUMN, output: COLUMN}} in the task file; if there is "
            "none yet, that line and kind: answer are enough"
        )
    return Issue(f"{source.file.name}:1", what, quote_value(", ".join(names)), remedy)


def _sentence(source: RowSource, full: RowSource) -> str:
    """What was guessed; "" when nothing was."""
    parts = []
    for name in _ROLES:
        value = getattr(full, name)
        if value and value != getattr(source, name):
            columns = (value,) if isinstance(value, str) else value
            parts.append(f"{name} = {' + '.join(columns)}")
    return f"{full.file.name}: {BY_NAMES}: {', '.join(parts)}" if parts else ""

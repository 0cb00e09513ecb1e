"""The roles of columns: from their names if these are usual, then from their values; what stays
unclear is asked.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from etude.base.formatting import format_command
from etude.data.formats import columns, turns
from etude.data.formats.columns import RawCells
from etude.data.starter.column_profile import ColumnProfile
from etude.errors import InputError, quote_value
from etude.task import RowSource

Choose = Callable[[str, Sequence[str]], int]
"""Asks the user a question with several answers, and returns the position of the chosen answer."""
_BY_NAME = "the names of the columns"
_BY_USER = "your choice"


@dataclass(frozen=True)
class ColumnRoles:
    """The guessed columns, and for each role the reason of the guess."""

    source: RowSource
    reasons: Mapping[str, str]


def guess_roles(source: RowSource, cells: RawCells, choose: Choose | None = None) -> ColumnRoles:
    """The columns that `source` does not set, and the reason for each role.

    Raises InputError if the input or the output is unclear and there is nobody to `choose`.
    """
    names = columns.list_names(cells)
    rejected = columns.find_preference_columns(names)[1:]
    profiles = {name: ColumnProfile.of(name, cells) for name in names if name not in rejected}
    source, reasons = _guess_input_and_output(source, cells, profiles, choose)
    assigned = {*columns.list_columns(source), columns.find_thumb_column(cells, source)}
    free = [profile for name, profile in profiles.items() if name not in assigned]
    # A column that follows the answers is no group, because it would put all rows with a label on
    # one side.
    groups = [] if source.group else [column for column in free if column.is_group]
    groups = [column for column in groups if not _follows_answers(cells, source, column)]
    if groups:
        group = min(groups, key=lambda column: len(column.counts))  # the largest groups
        source = replace(source, group=group.name)
        reasons["group"] = f"its name, and {len(group.counts):,} values in {group.num_rows:,} rows"
    ids = [column.name for column in free if column.is_id]
    if ids and not source.id:
        source = replace(source, id=ids[0])
        reasons["id"] = "its name, and because no value repeats"
    tags = [column for column in free if column.is_tag]
    if tags and not source.tags:
        source = replace(source, tags=tuple(column.name for column in tags))
        reasons["tags"] = "their few, repeated values"
        if others := [column.name for column in tags if column.has_answer_form]:
            reasons["tags"] += (
                f". To predict {' or '.join(others)}, write another task file with output: "
                f"{others[0]}, or list all columns to predict under questions:"
            )
    return ColumnRoles(source, reasons)


def _guess_input_and_output(
    source: RowSource, cells: RawCells, profiles: Mapping[str, ColumnProfile], choose: Choose | None
) -> tuple[RowSource, dict[str, str]]:
    """Guess by names, then by values; ask for what is still unclear."""
    never = {name for name, column in profiles.items() if column.is_never_output} - {*source.input}
    never -= {source.output}
    usable = [{name: value for name, value in row.items() if name not in never} for row in cells]
    labels = [column for column in profiles.values() if column.is_label]
    reasons = {
        role: _BY_USER if getattr(source, role) else _BY_NAME for role in ("input", "output")
    }
    try:
        named = columns.guess_columns(usable, source, by_order=False).source
        # A summary or a resolution beside labels may be the output or a part of the input.
        if source.output or not (labels and columns.is_output_name(named.output, is_doubtful=True)):
            return columns.guess_columns(cells, named).source, reasons
    except InputError:
        if columns.find_unusable(list(profiles), cells, source.file):
            raise
    _refuse_message_rows(source, profiles)
    pair = [column for name, column in profiles.items() if name and not column.has_ids_or_dates]
    is_open = not (
        source.input or source.output or any(c.is_label or c.is_structured for c in pair)
    )
    if is_open and len(pair) == 2:
        source = replace(source, input=(pair[0].name,), output=pair[1].name)
        reason = "the order of the columns. Swap them if wrong"
        return columns.guess_columns(cells, source).source, {"input": reason, "output": reason}
    free = [
        column for name, column in profiles.items() if name and name not in never and column.values
    ]
    if not source.input:
        known = columns.guess_input_columns([column.name for column in free], cells)
        if not known:
            known, reasons["input"] = _choose_input(source, free, choose)
        source = replace(source, input=known)
    if not source.output:
        free = [column for column in free if column.name not in source.input]
        output, reasons["output"] = _choose_output(source, free, choose)
        source = replace(source, output=output)
    return columns.guess_columns(cells, source).source, reasons


def _choose_input(
    source: RowSource, free: Sequence[ColumnProfile], choose: Choose | None
) -> tuple[tuple[str], str]:
    texts = [column for column in free if column.is_text and column.name != source.output]
    if len(texts) == 1:
        return (texts[0].name,), "its values: the only column of texts"
    return (_ask("input", "--input", source, texts or free, choose),), _BY_USER


def _choose_output(
    source: RowSource, free: Sequence[ColumnProfile], choose: Choose | None
) -> tuple[str, str]:
    """Choose the only column with labels, texts, lists or objects, without names of people; else
    the only free one.
    """
    candidates = [
        c for c in free if c.is_text or c.is_structured or (c.is_label and not c.has_names)
    ]
    candidates = candidates or [
        column for column in free if column.is_full and not column.has_names
    ]
    if any(column.is_label for column in candidates):  # then a title is not the output
        candidates = [column for column in candidates if not column.is_title]
    if len(candidates) != 1:
        candidates.sort(key=lambda column: not column.is_label)
        return _ask("answer", "--answer", source, candidates, choose), _BY_USER
    num_values = len(candidates[0].counts)
    form = (
        f"{num_values:,} values that repeat"
        if candidates[0].is_label
        else "no other column can be it"
    )
    return candidates[0].name, f"its values: {form}"


def _ask(
    role: str,
    option: str,
    source: RowSource,
    candidates: Sequence[ColumnProfile],
    choose: Choose | None,
) -> str:
    described = [column.describe() for column in candidates]
    if choose and candidates:
        return candidates[
            choose(f"Which column of {source.file.name} is the {role}?", described)
        ].name
    options = (
        f"{option} COLUMN" if source.input or source.output else "--input COLUMN --answer COLUMN"
    )
    command = f"{format_command('init', source.file)} {options}"
    remedy = (
        f"name it: {command}; or rename it to {'output' if role == 'answer' else role} in the file"
    )
    message = f"unclear which column is the {role}"
    if not candidates:
        message = f"no column looks like the {role}"
        remedy = f"add a column with it, or {remedy}"
    raise InputError.of(f"{source.file.name}:1", message, "; ".join(described), remedy)


def _refuse_message_rows(source: RowSource, profiles: Mapping[str, ColumnProfile]) -> None:
    """Raise InputError for a chat log with one row per message."""
    speaker = next((column for column in profiles.values() if column.is_speaker), None)
    thread = next(
        (column.name for column in profiles.values() if column.has_group_name), "conversation"
    )
    if source.output or speaker is None:
        return
    example = (
        '{"messages": [{"role": "user", "content": "..."}, {"role": "assistant", "content": '
        '"..."}]}'
    )
    remedy = (
        f"write one JSON line for each {thread}, such as {example}; a script for this is in "
        "docs/task-file.md, under Chat logs"
    )
    message = (
        f"each row is one message of a chat, written by {speaker.name}, but a row must be a whole "
        "chat"
    )
    raise InputError.of(f"{source.file.name}:1", message, quote_value(", ".join(profiles)), remedy)


def _follows_answers(cells: RawCells, source: RowSource, column: ColumnProfile) -> bool:
    answers = []
    for row in cells:
        value = turns.parse_turns(row.get(source.messages or source.output or ""))
        is_chat = source.messages and isinstance(value, list) and value
        answers.append(str(value[-1] if is_chat else value).strip())
    pairs = {
        (answer, str(row.get(column.name)).strip())
        for answer, row in zip(answers, cells, strict=True)
    }
    num_answers = len(set(answers))
    return len(pairs) == num_answers and (
        num_answers <= len(answers) / 4 or num_answers == len({value for _, value in pairs})
    )

"""The roles of a file's columns, guessed from their names; a column of whole chats must also
contain turns.
"""

import re
import unicodedata
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from etude.base.word_lists import read_table
from etude.data.formats.tools import TOOL_COLUMNS
from etude.data.formats.turns import is_chat, parse_role, parse_turns
from etude.errors import InputError, Issue, quote_value
from etude.task import RowSource

RawCells = Sequence[Mapping[str, Any]]  # some rows of a file: column -> value
NAME_LISTS = read_table(__file__, "column_names.yaml")
# Input columns and output column of formats that people publish.
_KNOWN_PAIRS: tuple[tuple[tuple[str, ...], str], ...] = (
    (("prompt",), "completion"),
    (("instruction", "input"), "output"),
    (("instruction",), "output"),
    (("input",), "output"),
    (("text",), "label"),
    (("question", "context"), "answer"),
    (("question",), "answer"),
)
# Columns with a question, and with the text that it is about, as in SQuAD and Dolly.
_QUESTIONS = ("question", "instruction", "query")
_CONTEXTS = ("context", "passage")
_CHATS = ("messages", "conversations", "conversation", "dialogue", "dialog", "turns", "chat")
_ROLES = (
    "messages",
    "input",
    "output",
    "system",
    "id",
    "references",
    "group",
    "tags",
    "source",
    "answers",
    "skip_empty",
)
_PREFERENCES = (("chosen", "rejected"), ("preferred_output", "non_preferred_output"))
THUMB_COLUMN = "label"  # true or false: the rating of the answer, as in KTO
BY_COLUMN_NAMES = "columns guessed from their names"  # phrase of every note on guessed columns


@dataclass(frozen=True)
class ColumnGuess:
    """The columns, guessed ones included, and a sentence on the guess; "" if nothing was
    guessed.
    """

    source: RowSource
    sentence: str


def read_names(*lists: str) -> tuple[str, ...]:
    """The names in some lists of `column_names.yaml`, in their order."""
    return tuple(name for key in lists for name in NAME_LISTS[key].split())


_INPUTS = read_names("inputs", "input_nouns")
_OUTPUTS = read_names("outputs", "output_nouns", "other_outputs", "doubtful_outputs")
_DOUBTFUL_OUTPUTS = frozenset(read_names("doubtful_outputs"))


def guess_columns(rows: RawCells, source: RowSource, by_order: bool = True) -> ColumnGuess:
    """Guesses the columns that `source` does not set, from the names of the columns in some rows.

    Published formats come first, then usual names, then, unless `by_order` is False, the order of a
    file with two columns. Raises InputError if the input or the output is still unknown.
    """
    names = list_names(rows)
    # With a column for each question, only the input is guessed: the first of these columns is
    # taken as the output.
    if answers := [name for name in source.answer_columns if name in names]:
        with_output = guess_columns(rows, replace(source, output=answers[0]), by_order)
        return replace(with_output, source=replace(with_output.source, output=None))
    # The rejected answer of a preference is never guessed as input or output.
    rejected = find_preference_columns(names)[1:]
    usable = [name for name in names if name not in rejected or name in list_columns(source)]
    # From the strongest evidence to the weakest: preferences, whole chats, names, the order of two
    # columns.
    guess = _guess_chosen(names, rows, source)
    full = _guess_chat(usable, rows, guess) or _guess_pair(usable, guess)
    if full is None and by_order:
        full = _guess_by_order(usable, rows, guess)
    if full is None:
        if issue := find_unusable(names, rows, source.file):
            raise InputError([issue])
        raise InputError.of(
            f"{source.file.name}:1",
            "unclear which columns are the input and the output",
            quote_value(", ".join(names)),
            "rename them to input and output in the file, or write examples: {file: "
            f"{source.file.name}, input: COLUMN, output: COLUMN}} in the task file; without one, "
            f"run etude init {source.file.name} --input COLUMN --answer COLUMN",
        )
    free = set(usable) - set(list_columns(full))
    # Optional roles are guessed only for columns with exactly these names.
    extras: dict[str, Any] = {"id": "id", "group": "group", "system": "system"}
    extras |= {"references": ("references",), "tags": ("tags",)}
    full = replace(
        full, **{r: name for r, name in extras.items() if r in free and not getattr(full, r)}
    )
    before = to_task_columns(source)
    after = to_task_columns(full)
    guesses = [
        f"{role} = {value if isinstance(value, str) else ' + '.join(value)}"
        for role, value in after.items()
        if value != before.get(role)
    ]
    sentence = f"{full.file.name}: {BY_COLUMN_NAMES}: {', '.join(guesses)}" if guesses else ""
    return ColumnGuess(full, sentence)


def guess_input_columns(names: Sequence[str], rows: RawCells) -> tuple[str, ...]:
    """The columns of the input, by name, in a file that may have no answers; empty if no name is
    known. A column of whole chats is an input, too.
    """
    for inputs, _ in _KNOWN_PAIRS:
        if set(inputs) <= set(names):
            return inputs
    for name in _CHATS:
        if name in names and _has_chats(rows, name):
            return (name,)
    return _add_context(_find_known(_INPUTS, names, ()), names, "")


def is_output_name(name: str | None, is_doubtful: bool = False) -> bool:
    """Whether a name is usual for the output; if `is_doubtful`, whether it is also usual for a part
    of the input, such as the summary of a ticket.
    """
    return name is not None and split_words(name) in (
        _DOUBTFUL_OUTPUTS if is_doubtful else _OUTPUTS
    )


def find_preference_columns(names: Iterable[str]) -> tuple[str, str] | tuple[()]:
    """The columns of the chosen and of the rejected answer, if the file has both."""
    by_name = {name.casefold(): name for name in names}
    pairs = ((by_name.get(chosen), by_name.get(rejected)) for chosen, rejected in _PREFERENCES)
    return next(((chosen, rejected) for chosen, rejected in pairs if chosen and rejected), ())


def find_thumb_column(rows: RawCells, columns: RowSource) -> str | None:
    """The column with a rating of the answer, unless `columns` give it another role."""
    values = {str(row.get(THUMB_COLUMN)).casefold() for row in rows} - {"none", ""}
    is_thumb = values and values <= {"true", "false"} and THUMB_COLUMN not in list_columns(columns)
    return THUMB_COLUMN if is_thumb else None


def is_thumbs_down(value: Any) -> bool:
    """Whether a value of the column of ratings rejects the answer."""
    return str(value).casefold() == "false"


def find_tool_column(names: Collection[str], columns: RowSource) -> str | None:
    """The column with the available functions in a file of chats; None without such a column."""
    has_chats = columns.messages or columns.output == "completion" or find_preference_columns(names)
    if not has_chats:
        return None
    return next(
        (name for name in TOOL_COLUMNS if name in names and name not in list_columns(columns)), None
    )


def list_names(rows: RawCells) -> list[str]:
    """The names of all columns of some rows, in their order."""
    return list(dict.fromkeys(name for row in rows for name in row))


def list_optional_columns(columns: RowSource) -> list[str]:
    """The columns that a row may leave empty."""
    listed = (*columns.references, *columns.tags, *columns.answers)
    names = [*listed, columns.group, columns.system, columns.source]
    return [name for name in names if name is not None]


def list_columns(columns: RowSource) -> list[str]:
    """All columns with a role, in the order in which a table is written."""
    required = [columns.messages, columns.output, *columns.answer_columns, columns.id]
    return [*columns.input, *(name for name in required if name), *list_optional_columns(columns)]


def to_task_columns(columns: RowSource) -> dict[str, Any]:
    """The columns as the task file writes them: role -> name, or a list of names."""
    values = {role: getattr(columns, role) for role in _ROLES}
    listed = {
        role: list(value) if isinstance(value, tuple) else value
        for role, value in values.items()
        if value
    }
    return listed | ({"input": columns.input[0]} if len(columns.input) == 1 else {})


def split_words(name: str) -> str:
    """A name in small letters without accents, its words separated by spaces: `Réponse_client` is
    `reponse client`, and `customerText` is `customer text`.
    """
    spaced = (
        re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).casefold().replace("ø", "o").replace("ł", "l")
    )
    letters = unicodedata.normalize("NFKD", spaced)
    plain = "".join(letter for letter in letters if not unicodedata.combining(letter))
    return " ".join(re.findall(r"[^\W_]+", plain))


def _guess_chosen(names: Sequence[str], rows: RawCells, source: RowSource) -> RowSource:
    """Guess the columns of preferences. The chosen answer is the output; if it is a whole chat,
    also the input.
    """
    pair = find_preference_columns(names)
    if not pair or source.output or source.messages or pair[0] in source.input:
        return source
    answers: Iterator[Any] = (row.get(pair[0]) for row in rows)
    if any(
        is_chat(answer) and len(answer) > 1 and parse_role(answer[0]) != "assistant"
        for answer in answers
    ):
        return source if source.input else replace(source, messages=pair[0])
    inputs = next((inputs for inputs, _ in _KNOWN_PAIRS if set(inputs) <= set(names)), ())
    chats = [name for name in names if name not in pair and _has_chats(rows, name)]
    if not inputs and chats:
        inputs = (_find_known(_CHATS, chats, ()) or chats[0],)
    return replace(source, input=source.input or inputs, output=pair[0])


def _guess_chat(names: Sequence[str], rows: RawCells, source: RowSource) -> RowSource | None:
    if source.messages:
        return source
    if source.input or source.output:
        return None
    chats = [name for name in names if name == "messages" or _has_chats(rows, name)]
    column = _find_known(_CHATS, chats, ())
    return replace(source, messages=column) if column else None


def _has_chats(rows: RawCells, name: str) -> bool:
    return any(is_chat(parse_turns(row.get(name))) for row in rows)


def _guess_pair(names: Sequence[str], source: RowSource) -> RowSource | None:
    if source.input and source.output:
        return source
    if not source.input and not source.output:
        for inputs, output in _KNOWN_PAIRS:
            if {*inputs, output} <= set(names):
                return replace(source, input=inputs, output=output)
    answer = source.output or _find_known(_OUTPUTS, names, {*source.input})
    inputs = source.input or _add_context(_find_known(_INPUTS, names, {answer}), names, answer)
    return replace(source, input=inputs, output=answer) if inputs and answer else None


def _add_context(column: str | None, names: Sequence[str], output: str | None) -> tuple[str, ...]:
    """The column of the input; for a question or an instruction, also the column of the text that
    it is about.
    """
    if column is None or column.casefold() not in _QUESTIONS:
        return (column,) if column else ()
    context = _find_known(_CONTEXTS, names, {column, output})
    return (column, context) if context else (column,)


def _find_known(
    known: Sequence[str], names: Sequence[str], excluded: Collection[str | None]
) -> str | None:
    exact = {split_words(name): name for name in names if name not in excluded}
    by_name = {words.removesuffix(" text"): name for words, name in exact.items()} | exact
    return next((by_name[name] for name in known if name in by_name), None)


def _guess_by_order(names: Sequence[str], rows: RawCells, source: RowSource) -> RowSource | None:
    """The first of two columns is the input, if the user set neither and the first line looks like
    column names.
    """
    free = [name for name in names if name and name not in list_columns(source)]
    if source.input or source.output or len(free) != 2 or _looks_like_row(names, rows):
        return None
    return replace(source, input=(free[0],), output=free[1])


def _looks_like_row(names: Sequence[str], rows: RawCells) -> bool:
    """Whether the names of the columns look like values: a sentence, or a value of their own
    column.
    """
    return any(
        len(name.split()) > 4 or name in {str(row.get(name)) for row in rows}
        for name in names
        if name
    )


def find_unusable(names: Sequence[str], rows: RawCells, file: Path) -> Issue | None:
    """The error of a file whose columns are unclear, and that needs another change than a choice of
    two columns.
    """
    if chats := [name for name in names if _has_chats(rows, name)]:
        message = "unclear which columns are the input and the output"
        example = f"examples: {{file: {file.name}, messages: {chats[0]}}}"
        remedy = f"if {chats[0]} has whole chats, write {example} in the task file"
    elif pair := find_preference_columns(names):
        message = f"{pair[0]} and {pair[1]} are two answers, but no column has the input"
        remedy = (
            f"write the input in a column named prompt, and only the answers in {pair[0]} and "
            f"{pair[1]}"
        )
    elif _looks_like_row(names, rows):
        message = "the first line looks like a row, not like column names"
        remedy = "put a line with the column names before it"
    elif len(names) < 2:
        message = "there is only one column, but an input and an output are needed"
        remedy = (
            "add a column with the right answers, or separate the values by commas, semicolons or "
            "tabs"
        )
    else:
        return None
    return Issue(f"{file.name}:1", message, quote_value(", ".join(names)), remedy)

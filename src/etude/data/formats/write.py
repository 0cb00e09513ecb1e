"""Rows written in the formats of other tools; reading them again gives the same examples."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from etude.base import files, issues
from etude.data.formats import columns as guess
from etude.data.formats import preference_files as preferences
from etude.data.formats import read
from etude.data.formats.tools import append_tools, parse_tools, to_openai_turns
from etude.task import RowSource
from etude.types import Message

Json = dict[str, Any]
# Role -> its name in ShareGPT's files.
SHAREGPT_ROLES = {"system": "system", "user": "human", "assistant": "gpt"}


@dataclass(frozen=True)
class RowFormat:
    """How rows are written for another tool: functions that take the turns before the answer, and
    the answer's turn.
    """

    format_row: Callable[[list[Json], Json], Json]
    # From the turns, the chosen and the rejected answer to one or two rows.
    format_preference: Callable[[list[Json], Json, Json], list[Json]]
    has_tool_column: bool = True  # if not, the functions on offer go into the system message


def format_turn(message: Message) -> Json:
    """A turn in OpenAI's format."""
    return {"role": message.role, "content": message.content} | (
        {} if message.trained else {"weight": 0}
    )


def format_sharegpt_turn(message: Message) -> Json:
    """A turn in ShareGPT's format."""
    weight = {} if message.trained else {"weight": 0}
    return {"from": SHAREGPT_ROLES[message.role], "value": message.content} | weight


def format_chat(prompt: list[Json], answer: Json) -> Json:
    """A chat for OpenAI's fine-tuning, Axolotl and LLaMA-Factory."""
    return {"messages": to_openai_turns([*prompt, answer], as_json=True)}


def format_completion(prompt: list[Json], answer: Json) -> Json:
    """Prompt and completion of TRL's conversational datasets."""
    *turns, last = to_openai_turns([*prompt, answer], as_json=False)
    return {"prompt": turns, "completion": [last]}


def format_rated(prompt: list[Json], answer: Json, is_good: bool = True) -> Json:
    """An answer with its rating, for TRL's KTO."""
    return {"prompt": prompt, "completion": [answer], guess.THUMB_COLUMN: is_good}


FORMATS: Mapping[str, RowFormat] = {
    "openai": RowFormat(
        format_chat,
        lambda prompt, chosen, rejected: [
            {
                "input": {"messages": prompt},
                "preferred_output": [chosen],
                "non_preferred_output": [rejected],
            }
        ],
    ),
    "sharegpt": RowFormat(
        lambda prompt, answer: {"conversations": [*prompt, answer]},
        lambda prompt, chosen, rejected: [
            {"conversations": prompt, "chosen": chosen, "rejected": rejected}
        ],
    ),
    "trl": RowFormat(
        format_completion,
        lambda prompt, chosen, rejected: [
            {"prompt": prompt, "chosen": [chosen], "rejected": [rejected]}
        ],
    ),
    "kto": RowFormat(
        format_rated,
        lambda prompt, chosen, rejected: [
            format_rated(prompt, chosen),
            format_rated(prompt, rejected, is_good=False),
        ],
        has_tool_column=False,
    ),
}


def convert(
    file: Path, format_name: str, output: Path | None = None
) -> tuple[int, Sequence[str], Path]:
    """Reads a file and writes its rows in a format, by default next to it. Returns the number of
    written rows, notes on reading, and the new file. A preference becomes a preference: one row, or
    two rows in KTO's format.

    Raises InputError for the format, the file and its rows, and if the new file exists.
    """
    issues.check_known("--to", [format_name], FORMATS, "an unknown format")
    output = output or file.with_name(f"{file.stem}.{format_name}.jsonl")
    issues.refuse_existing(output, "choose another with --output")
    head = read.peek_rows(file)
    if guess.find_preference_columns(guess.list_names(head)):
        return (
            write_preferences(preferences.read_preference_rows(file), format_name, output),
            (),
            output,
        )
    if format_name == "kto" and guess.find_thumb_column(
        head, guess.guess_columns(head, RowSource(file)).source
    ):
        answers = preferences.read_rated_answers(file)
        lines = (
            format_rating(
                append_tools(rated.system or "", rated.tools),
                rated.example.input,
                rated.example.output,
                rated.is_good,
            )
            for rated in answers
        )
        files.write_lines(output, lines)
        return len(answers), (), output
    rows = read.read_rows(RowSource(file))
    write_rows(rows, format_name, output)
    return len(rows.examples), rows.notes, output


def write_preferences(
    rows: Sequence[preferences.PreferenceRow], format_name: str, file: Path
) -> int:
    """Writes preferences in a format and returns the number of rows."""
    lines: list[Json] = []
    for row in rows:
        system = append_tools(row.system or "", row.tools)
        lines += format_preference(
            format_name, system, row.chosen.input, row.chosen.output, row.rejected
        )
    files.write_lines(file, lines)
    return len(lines)


def format_preference(
    format_name: str, system: str, turns: Sequence[Message], chosen: str, rejected: str
) -> list[Json]:
    """A preference in a format: one row, or two rows in KTO's format."""
    prompt, *answers = _format_turns(format_name, system, turns, chosen, rejected)
    return FORMATS[format_name].format_preference(prompt, *answers)


def format_rating(system: str, turns: Sequence[Message], answer: str, is_good: bool) -> Json:
    """An answer with its rating, in KTO's format."""
    prompt, answer_turn = _format_turns("kto", system, turns, answer)
    return format_rated(prompt, answer_turn, is_good)


def write_rows(rows: read.LoadedRows, format_name: str, file: Path) -> None:
    """Writes examples with their references, groups, tags and own ids, atomically."""
    row_format = FORMATS[format_name]

    def format_lines() -> Iterator[Json]:
        for system, offer, row in zip(rows.systems, rows.offers, rows.examples, strict=True):
            offer = offer or rows.tools  # a row without functions is asked with the shared ones
            tools: Any = parse_tools(offer) if row_format.has_tool_column else []
            full_system = "\n\n".join(
                filter(None, (system, "" if row_format.has_tool_column else offer))
            )
            prompt, answer = _format_turns(format_name, full_system, row.input, row.output)
            extras = {
                # LLaMA-Factory reads functions as text.
                "tools": json.dumps(tools, ensure_ascii=False)
                if tools and format_name == "sharegpt"
                else tools,
                "id": row.id if rows.source.id is not None else None,
                "references": list(row.references),
                "group": row.group,
                "tags": dict(row.tags),
                "source": row.source,
            }
            line = row_format.format_row(prompt, answer)
            yield line | {name: value for name, value in extras.items() if value}

    files.write_lines(file, format_lines())


def _format_turns(
    format_name: str, system: str | None, turns: Sequence[Message], *answers: str
) -> list[Any]:
    format_one = format_sharegpt_turn if format_name == "sharegpt" else format_turn
    prompt = [Message("system", system)] if system else []
    formatted = [format_one(turn) for turn in (*prompt, *turns)]
    return [formatted, *(format_one(Message("assistant", answer)) for answer in answers)]

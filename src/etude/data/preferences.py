"""Files of preferences (inputs with a chosen and a rejected answer, or a rated answer), and the
side of each.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from etude.data import formats, splits
from etude.data.formats import columns, preference_files
from etude.data.formats.preference_files import PreferenceRow, RatedAnswer
from etude.data.formats.tools import format_own_system, split_tools
from etude.text.near_duplicates import find_near_matches
from etude.types import Example, Message, Preference, Side

DEV_INTERVAL = 10  # one in this many inputs that are not in the split goes to dev


def read_preferences(file: Path, instructions: str = "") -> list[Preference]:
    """The preferences of a file, without those whose two answers are equal. In KTO's format
    (prompt, completion, label), each row has one of the two answers, and the other is "".

    A system message or functions that differ from the task's `instructions` become the first turn
    of their row. Raises what `read_preference_rows` raises.
    """
    shared = split_tools(instructions)

    def add_own_system(
        row: PreferenceRow | RatedAnswer, turns: tuple[Message, ...]
    ) -> tuple[Message, ...]:
        text = format_own_system(row.system, row.tools, *shared)
        return (Message("system", text), *turns) if text else turns

    names = columns.list_names(formats.peek_rows(file))
    if columns.THUMB_COLUMN in names and not formats.find_preference_columns(names):
        return [
            Preference(
                answer.example.id,
                add_own_system(answer, answer.example.input),
                answer.example.output if answer.is_good else "",
                "" if answer.is_good else answer.example.output,
                location=answer.example.location,
            )
            for answer in preference_files.read_rated_answers(file)
        ]
    return [
        Preference(
            row.chosen.id,
            add_own_system(row, row.chosen.input),
            row.chosen.output,
            row.rejected,
            location=row.chosen.location,
        )
        for row in preference_files.read_preference_rows(file)
        if row.chosen.output != row.rejected
    ]


def group_by_side(
    preferences: Sequence[Preference], split: splits.Split
) -> Mapping[Side, Sequence[Preference]]:
    """Preferences for train and for dev. Inputs of the split, and near-duplicates of them, go to
    the same side; those of the test are left out. Of all other inputs, one in ten goes to dev (the
    hash of the input decides), and nine to train.
    """
    by_side: dict[Side, list[Preference]] = {"train": [], "dev": [], "test": []}
    texts = [preference.text for preference in preferences]
    near: dict[int, Side] = {}
    sides: tuple[tuple[Side, Sequence[Example]], ...] = (
        ("train", split.train.examples),
        ("dev", split.dev.examples),
        ("test", split.test.examples),
    )
    for side, rows in sides:  # the test comes last, so that every input near a test row is left out
        near |= {
            position: side for position, *_ in find_near_matches(texts, [row.text for row in rows])
        }
    for position, preference in enumerate(preferences):
        key = splits.input_key(Example(preference.id, preference.input, ""))
        default: Side = "train" if int(key, 16) % DEV_INTERVAL else "dev"
        by_side[near.get(position) or split.assignments.get(key, default)].append(preference)
    del by_side["test"]
    return by_side

"""Examples in a temporary file, so that a data set may be larger than memory."""

import json
from collections.abc import Iterator
from typing import Protocol

from etude.base.disk_texts import DiskTexts
from etude.types import Example, Message


class Examples(Protocol):
    """Rows in their order: a Dataset, or rows in a temporary file."""

    def __len__(self) -> int: ...
    def __getitem__(self, index: int, /) -> Example: ...
    def __iter__(self) -> Iterator[Example]: ...


class Spool:
    """A list of examples that only grows."""

    def __init__(self) -> None:
        self._rows = DiskTexts()

    def append(self, row: Example) -> None:
        """Add a row at the end."""
        turns = [[turn.role, turn.content, turn.trained] for turn in row.input]
        values = [
            row.id,
            turns,
            row.output,
            row.references,
            row.group,
            dict(row.tags),
            row.location,
            row.source,
            dict(row.answers),
            row.conversation,
            row.defaults,
        ]
        self._rows.append(json.dumps(values))

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int, /) -> Example:
        return _parse_example(self._rows[index])

    def __iter__(self) -> Iterator[Example]:
        return map(_parse_example, self._rows)


def _parse_example(line: str) -> Example:
    identifier, turns, output, references, *others = json.loads(line)
    return Example(
        identifier, tuple(Message(*turn) for turn in turns), output, tuple(references), *others
    )

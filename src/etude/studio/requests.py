"""A file of requests without answers, or of logged chats, as inputs for an assistant."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from etude.base.remedies import raise_faults
from etude.data.formats.asked import question, survey
from etude.data.formats.cells import Cells
from etude.data.formats.raw import raw_rows
from etude.data.formats.reading import Reading
from etude.types import Message


def read_requests(
    file: Path, columns: Sequence[str] = (), usual: Sequence[str] = ()
) -> list[tuple[Message, ...]]:
    """Reads a .jsonl, .csv or .tsv file of requests; each input once.

    The input is in `columns`, else in the `usual` ones if the file has them, else where the names say so. Of a chat a
    system message and the answer that was given then are left out. Raises InputError with every row that cannot be
    read, and if no column is known to be the input.
    """
    _, _, asked = survey(file, columns, usual)
    reading = Reading(file)
    found = dict.fromkeys(question(Cells(reading, row), asked) for row in raw_rows(reading))
    raise_faults([fault for _, fault in reading.faults], file)
    return list(found)

"""How often a test was opened, over all runs of a folder: RUNS/openings.jsonl, one line for each
opening.

A line has the id of the run that opened its test and a short hash of every row that was answered.
An opening counts for a test if the two share at least half of the rows of the smaller one. So a
test that is shuffled, corrected, regrouped, shortened or lengthened is still the same test, even if
a budget allowed only a part of it. Rows are identified by `splits.input_key`: outputs, ids and
groups do not matter.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from etude.base.files import append_line, hold_lock, read_lines
from etude.data.splits import input_key
from etude.errors import RunError
from etude.types import Example

OPENINGS_FILE = "openings.jsonl"
KEY_DIGITS = 8
"""Hexadecimal digits of a row's key. Among 1,000 rows, less than one in a million has the key of
another by chance.
"""
REMEDY = "Delete the file and compare again: the tests then count as never opened."


@dataclass(frozen=True)
class Opening:
    """A run's opening of a test."""

    run_id: str
    """The id in the run's run.json."""
    rows: frozenset[str]


def read_openings(root: Path) -> list[Opening]:
    """Read all openings of the runs in `root`. Raises RunError for a line that is not an
    opening.
    """
    file = root / OPENINGS_FILE
    openings = []
    for number, line in enumerate(read_lines(file, REMEDY) if file.exists() else (), start=1):
        run_id = line.get("run")
        rows = line.get("rows")
        is_list = isinstance(rows, list) and all(isinstance(row, str) for row in rows)
        if not isinstance(run_id, str) or not is_list:
            raise RunError(
                f"{file}:{number} is not an opening in the format of this version of Étude. "
                f"{REMEDY}"
            )
        openings.append(Opening(run_id, frozenset(rows or ())))
    return openings


def open_test(root: Path, run_id: str, test: Iterable[Example]) -> int:
    """Record that a run opens these rows; return how often they have been opened, this time
    included.

    A run counts once, however often it is stopped and resumed. Runs that open at the same time wait
    for each other. Raises RunError like `read_openings`.
    """
    # Only hashes are written: openings.jsonl must not leak test rows.
    rows = frozenset(input_key(example)[:KEY_DIGITS] for example in test)
    with hold_lock(root / OPENINGS_FILE):
        openings = read_openings(root)
        if run_id not in {opening.run_id for opening in openings}:
            append_line(root / OPENINGS_FILE, {"run": run_id, "rows": sorted(rows)})
            # The line is written under the lock, so that two runs cannot both count as the first.
            openings.append(Opening(run_id, rows))
    # An opening counts if it shares at least half of the rows of the smaller test.
    return sum(
        2 * len(opening.rows & rows) >= min(len(opening.rows), len(rows)) for opening in openings
    )


def count_seen_as_test(root: Path, run_id: str, rows: Iterable[Example]) -> int:
    """Count those `rows` of a run's train and dev that other runs opened as test rows."""
    openings = [opening.rows for opening in read_openings(root) if opening.run_id != run_id]
    test_keys = frozenset[str]().union(*openings)
    return sum(input_key(example)[:KEY_DIGITS] in test_keys for example in rows)

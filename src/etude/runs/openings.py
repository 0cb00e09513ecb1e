"""How often a test was opened, over all runs of a folder: RUNS/openings.jsonl, one line an opening.

A line holds the id of the run that opened its test and a short hash of every row that it answered.
An opening counts against a test when they share at least half of the rows of the smaller of them. So a
test that is shuffled, corrected, regrouped, shortened or lengthened stays the same test, also where a
budget had a part of it answered. Rows are told apart by `splits.input_key`: outputs, ids and groups do not matter.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from etude.base.files import Json, append_line, held, read_lines
from etude.data.splits import input_key
from etude.errors import RunError
from etude.types import Example

FILE = "openings.jsonl"
DIGITS = 8
"""Hexadecimal digits kept of a row's key: of 1,000 rows one in a million meets another's by chance."""
REMEDY = "Delete the file and compare again: the tests then count as never opened."


@dataclass(frozen=True)
class Opening:
    """One run's look at a test."""

    run: str
    """The id in its run.json."""
    rows: frozenset[str]

    def shows(self, test: frozenset[str]) -> bool:
        """Whether it was a look at `test`: at least half of the smaller of the two is in both."""
        return 2 * len(self.rows & test) >= min(len(self.rows), len(test))


def read_openings(root: Path) -> list[Opening]:
    """All openings noted below `root`. Raises RunError for a line that is none."""
    file = root / FILE
    lines = read_lines(file, REMEDY) if file.exists() else ()
    return [_opening(file, number, line) for number, line in enumerate(lines, start=1)]


def open_test(root: Path, run: str, test: Iterable[Example]) -> int:
    """Notes that the run with the id `run` opens these rows; returns how often they have been by now.

    A run counts once, however often it is stopped and continued; of several that open at the same moment
    each waits for the one before. Raises RunError as `read_openings`.
    """
    rows = frozenset(input_key(example)[:DIGITS] for example in test)
    with held(root / FILE):
        openings = read_openings(root)
        if run not in {opening.run for opening in openings}:
            append_line(root / FILE, {"run": run, "rows": sorted(rows)})
            openings.append(Opening(run, rows))
    return sum(opening.shows(rows) for opening in openings)


def seen_as_test(root: Path, run: str, rows: Iterable[Example]) -> int:
    """How many of `rows`, which the run with the id `run` trains or chooses on, other runs opened as test rows."""
    seen = frozenset[str]().union(*(opening.rows for opening in read_openings(root) if opening.run != run))
    return sum(input_key(example)[:DIGITS] in seen for example in rows)


def _opening(file: Path, number: int, line: Json) -> Opening:
    run, rows = line.get("run"), line.get("rows")
    if (
        not isinstance(run, str)
        or not isinstance(rows, list)
        or not all(isinstance(row, str) for row in rows)
    ):
        raise RunError(f"{file}:{number} is no opening as this version of Étude notes them. {REMEDY}")
    return Opening(run, frozenset(rows))

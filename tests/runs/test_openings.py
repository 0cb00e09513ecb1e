"""Openings are counted by the rows that were seen, whatever else about a test has changed."""

import fcntl
import random
import tempfile
import threading
from dataclasses import replace
from pathlib import Path

from hypothesis import example, given, settings
from hypothesis import strategies as st

from etude.base.files import append_line, read_lines
from etude.runs.openings import OPENINGS_FILE, open_test
from etude.types import Example, Message

SOME = settings(max_examples=30, deadline=None)


def rows(first: int, n: int) -> list[Example]:
    """Rows numbered from `first` on; equal numbers are equal inputs."""
    return [
        Example(f"r{k}", (Message("user", f"Question {k}: what is {k * 7919}?"),), "x")
        for k in range(first, first + n)
    ]


@SOME
@given(st.integers(1, 120), st.integers(1, 120), st.integers(0, 120))
@example(60, 60, 30)
@example(60, 60, 31)
@example(60, 110, 30)
@example(60, 110, 31)
def test_an_opening_counts_where_half_of_the_smaller_test_is_in_both(
    before: int, now: int, apart: int
) -> None:
    """`apart` moves the second test's rows away from the first's; exactly half is enough, no row
    less.
    """
    shared = len(set(range(before)) & set(range(apart, apart + now)))
    with tempfile.TemporaryDirectory() as root:
        assert open_test(Path(root), "first", rows(0, before)) == 1
        assert open_test(Path(root), "second", rows(apart, now)) == 1 + (
            shared >= min(before, now) / 2
        )


@SOME
@given(st.integers(1, 60), st.randoms(use_true_random=False))
def test_order_outputs_ids_and_groups_do_not_make_another_test(n: int, draw: random.Random) -> None:
    test = rows(0, n)
    touched = [
        replace(row, id=row.id + "b", output="y", group=f"g{draw.randrange(3)}") for row in test
    ]
    draw.shuffle(touched)
    with tempfile.TemporaryDirectory() as root:
        assert open_test(Path(root), "first", test) == 1
        assert open_test(Path(root), "second", touched) == 2


def test_a_run_counts_once_and_a_line_cut_by_a_kill_is_noted_again(tmp_path: Path) -> None:
    assert [open_test(tmp_path, "one", rows(0, 50)) for _ in range(3)] == [1, 1, 1]
    open_test(tmp_path, "two", rows(0, 50))
    file = tmp_path / OPENINGS_FILE
    file.write_bytes(file.read_bytes()[:-9])
    assert open_test(tmp_path, "two", rows(0, 50)) == 2
    assert len(file.read_text().splitlines()) == 2
    assert file.stat().st_size < 50 * 2 * 20


def test_runs_that_open_one_test_at_the_same_moment_wait_for_each_other(tmp_path: Path) -> None:
    counts: list[int] = []
    opening = threading.Thread(
        target=lambda: counts.append(open_test(tmp_path, "second", rows(0, 50)))
    )
    with (tmp_path / OPENINGS_FILE).open("a") as first:
        fcntl.flock(first, fcntl.LOCK_EX)
        opening.start()
        opening.join(0.2)
        assert open_test(tmp_path / "aside", "first", rows(0, 50)) == 1
        (line,) = read_lines(tmp_path / "aside" / OPENINGS_FILE)
        append_line(tmp_path / OPENINGS_FILE, line)
    opening.join()
    assert counts == [2]

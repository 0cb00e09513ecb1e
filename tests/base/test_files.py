"""Files of a run: whole or absent, and read with words for whatever stands in them."""

import errno
import json
import math
import os
import resource
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from etude.base.files import (
    append_line,
    atomic_file,
    atomic_folder,
    link_or_copy,
    parse_json,
    read_json,
    read_lines,
    write_bytes,
    write_json,
    write_lines,
    write_text,
)
from etude.errors import RunError
from etude.runs import Run

SOME = settings(max_examples=60, deadline=None)
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
OBJECTS = st.dictionaries(st.text(alphabet="abc\n\u2028é"), VALUES, max_size=3)


@contextmanager
def full_disk(left: int) -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (left, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@SOME
@given(st.lists(OBJECTS, max_size=4))
def test_what_is_written_is_read_again(lines: list[dict[str, object]]) -> None:
    with tempfile.TemporaryDirectory() as name:
        whole, added, body = (Path(name) / part for part in ("whole", "added", "body"))
        write_lines(whole, lines)
        for line in lines:
            append_line(added, line)
        write_json(body, {"lines": lines})
        assert list(read_lines(whole)) == lines
        assert not lines or added.read_bytes() == whole.read_bytes()
        assert read_json(body) == {"lines": lines}


def test_a_full_disk_leaves_the_old_file_and_nothing_beside_it(tmp_path: Path) -> None:
    file = tmp_path / "run.json"
    write_text(file, "old")
    with full_disk(1000), pytest.raises(OSError):
        write_text(file, "x" * 100_000)
    assert file.read_text() == "old"
    assert list(tmp_path.iterdir()) == [file]


def test_a_file_and_a_folder_are_replaced_whole_and_last_through_a_power_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flushed: list[int] = []
    fsync = os.fsync

    def watched(handle: int) -> None:
        fsync(handle)
        flushed.append(os.fstat(handle).st_ino)

    monkeypatch.setattr(os, "fsync", watched)
    for content in (b"one", b"two"):
        write_bytes(tmp_path / "file", content)
        assert (tmp_path / "file").read_bytes() == content
        assert flushed[-2:] == [(tmp_path / "file").stat().st_ino, tmp_path.stat().st_ino]
        with atomic_folder(tmp_path / "folder") as aside:
            (aside / "inner").write_bytes(content)
        assert (tmp_path / "folder" / "inner").read_bytes() == content
        assert flushed[-2:] == [
            (tmp_path / "folder" / "inner").stat().st_ino,
            tmp_path.stat().st_ino,
        ]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder"]


@pytest.mark.parametrize(
    "junk",
    ["", "{ half", "[1]", "12", '{"a": NaN}', '{"a": 1e999}', '{"a": ' + "[" * 100_000, b"\xff{}"],
)
def test_junk_is_told_with_its_file_and_the_command(junk: str | bytes, tmp_path: Path) -> None:
    file = tmp_path / "verdict.json"
    file.write_bytes((junk if isinstance(junk, bytes) else junk.encode()) + b"\n")
    with pytest.raises(
        RunError, match=r"verdict\.json cannot be read .*etude compare TASK --fresh"
    ):
        read_json(file)
    with pytest.raises(
        RunError,
        match=r"verdict\.json:1 cannot be read .*etude compare TASK --fresh.*etude train TASK "
        r"--fresh",
    ):
        list(read_lines(file))


def test_a_file_that_is_not_there_is_told_likewise(tmp_path: Path) -> None:
    for read in (read_json, lambda file: list(read_lines(file))):
        with pytest.raises(RunError, match=r"run\.json cannot be read \(No such file"):
            read(tmp_path / "run.json")


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_no_number_is_written_that_could_not_be_read(value: float, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="Out of range"):
        write_json(tmp_path / "run.json", {"seconds": value})
    assert not list(tmp_path.iterdir())
    with pytest.raises(ValueError):
        parse_json(json.dumps(value))


def test_a_runs_folder_that_is_a_file_is_told_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("")
    run = Run(tmp_path / "runs" / "small-1")
    with (
        pytest.raises(RunError, match=r"small-1 cannot be written .* Give yourself permission"),
        run.lock(),
    ):
        pass


def test_a_lock_that_cannot_be_written_is_told_likewise(tmp_path: Path) -> None:
    (tmp_path / "runs" / "small-1" / "lock").mkdir(parents=True)
    run = Run(tmp_path / "runs" / "small-1")
    with pytest.raises(RunError, match=r"small-1 cannot be written"), run.lock():
        pass


def test_a_second_name_takes_no_room_and_a_copy_stands_where_there_are_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a").write_bytes(b"weights")
    link_or_copy(str(tmp_path / "a"), str(tmp_path / "b"))
    assert (tmp_path / "b").samefile(tmp_path / "a")

    def none(*_: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr("os.link", none)
    link_or_copy(str(tmp_path / "a"), str(tmp_path / "c"))
    assert (tmp_path / "c").read_bytes() == b"weights"
    assert not (tmp_path / "c").samefile(tmp_path / "a")


def test_a_full_disk_is_told_with_the_file_that_it_does_not_take(tmp_path: Path) -> None:
    """The system names none."""
    with pytest.raises(OSError, match="full") as told, atomic_file(tmp_path / "rows.jsonl"):
        raise OSError(errno.ENOSPC, "full")
    assert told.value.filename == str(tmp_path / "rows.jsonl")


def test_the_end_of_a_write_leaves_the_next_writer_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another thread may begin to write the same file as soon as this one has moved."""
    replace = Path.replace

    def replace_and_begin(temporary: Path, file: Path) -> Path:
        moved = replace(temporary, file)
        temporary.write_text("next")
        return moved

    monkeypatch.setattr(Path, "replace", replace_and_begin)
    write_text(tmp_path / "state.json", "first")
    assert (tmp_path / "state.json").read_text() == "first"
    assert (tmp_path / "state.json.part").read_text() == "next"

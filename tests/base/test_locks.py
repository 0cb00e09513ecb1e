"""Locks on files: between open files, and on a system without fcntl."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from etude.base import locks
from etude.base.locks import lock_file


def test_a_lock_keeps_others_out_until_it_is_closed(tmp_path: Path) -> None:
    file = tmp_path / "lock"
    with file.open("w") as first, file.open() as second:
        lock_file(first)
        for shared in (True, False):
            with pytest.raises(BlockingIOError):
                lock_file(second, shared=shared)
    with file.open() as third, file.open() as fourth:
        lock_file(third, shared=True)
        lock_file(fourth, shared=True)


def test_without_fcntl_a_byte_behind_the_content_is_locked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[tuple[int, int]] = []

    def lock_byte(descriptor: int, mode: int, num_bytes: int) -> None:
        calls.append((mode, num_bytes))
        if mode == 0:
            raise OSError(13, "Permission denied")

    monkeypatch.setattr(locks, "fcntl", None)
    fake = SimpleNamespace(LK_NBLCK=0, LK_LOCK=1, locking=lock_byte)
    monkeypatch.setattr(locks, "msvcrt", fake, raising=False)
    with (tmp_path / "lock").open("w+") as file:
        file.write("text")
        file.flush()
        with pytest.raises(BlockingIOError):
            lock_file(file)
        lock_file(file.fileno(), wait=True)
        assert file.tell() == 4
    assert calls == [(0, 1), (1, 1)]
    assert (tmp_path / "lock").stat().st_size == 4

"""Locks on open files, which the operating system releases when the process ends."""

import os
from typing import IO

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]
    import msvcrt

# Windows refuses to read or write a locked byte, so the locked byte is one that no file of ours
# reaches.
_LOCKED_BYTE = 1 << 40


def lock_file(file: IO[str] | IO[bytes] | int, *, shared: bool = False, wait: bool = False) -> None:
    """Lock an open file, or the file of a descriptor, until it is closed.

    Without `wait`, raises BlockingIOError if another process or another open file has the lock. On
    Windows a shared lock is exclusive too, and waiting ends with an OSError after ten seconds.
    """
    if fcntl:
        kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
        fcntl.flock(file, kind if wait else kind | fcntl.LOCK_NB)
    else:
        lock_byte(file if isinstance(file, int) else file.fileno(), wait)


def lock_byte(descriptor: int, wait: bool) -> None:
    """Lock a byte behind the content of a file, as `lock_file` on Windows."""
    position = os.lseek(descriptor, 0, os.SEEK_CUR)
    os.lseek(descriptor, _LOCKED_BYTE, os.SEEK_SET)
    try:
        msvcrt.locking(descriptor, msvcrt.LK_LOCK if wait else msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined, unused-ignore]
    except OSError as error:
        if wait:
            raise
        raise BlockingIOError(error.errno, "locked by another process") from error
    finally:
        os.lseek(descriptor, position, os.SEEK_SET)

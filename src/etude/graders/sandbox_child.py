"""The process in which a python grader runs: `python -I -S sandbox_child.py`. It imports nothing of Étude.

Stdin has an object: source, sample (null to only compile the source), item, seconds, paths (the folders that the source
may read) and module_paths. Stdout gets {"score": number} or {"error": text}, or {"failure": text} if this machine
refuses one of the steps below. If the source breaks a limit, stdout stays empty.

The first process limits the time and waits for a second one, which has namespaces of its own: no network, no other
processes, and a file system in memory with only the folders of Python (read-only) and an empty /tmp. Then the second
process gives up all privileges, sets its limits and denies itself some system calls, and only then it runs the source.
"""

import contextlib
import ctypes
import io
import json
import math
import os
import platform
import resource
import signal
import struct
import sys
from pathlib import Path
from typing import Any

DISK, LARGEST_FILE, MEMORY = 64 << 20, 16 << 20, 2 << 30  # bytes
# One process without threads: RLIMIT_NPROC counts both.
LIMITS = {"AS": MEMORY, "FSIZE": LARGEST_FILE, "NOFILE": 64, "NPROC": 1, "CORE": 0, "MEMLOCK": 0}
# Mounts, host name, IPC, processes and network (linux/sched.h). Only root can make them without a user namespace.
NAMESPACES, USER_NAMESPACE = 0x00020000 | 0x04000000 | 0x08000000 | 0x20000000 | 0x40000000, 0x10000000
READ_ONLY, NO_SETUID, NO_DEVICES, NO_EXEC = 1, 2, 4, 8
REMOUNT, BIND, RECURSIVE, PRIVATE = 32, 4096, 16384, 1 << 18
DETACH = 2
SET_DEATH_SIGNAL, SET_SECCOMP, DROP_CAPABILITY, SET_NO_NEW_PRIVILEGES = 1, 22, 24, 38
CAPABILITY_VERSION = 0x20080522
FIRST_FREE_ID = 65_536
PIVOT_ROOT, AUDIT = {"x86_64": 155, "aarch64": 41}, {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
# Calls that make namespaces, mounts, sockets or memory beyond the limits, and those that often had security errors:
# ptrace mount umount2 pivot_root unshare setns shmget msgget semget memfd_create add_key request_key keyctl bpf
# perf_event_open userfaultfd socket socketpair open_by_handle_at prctl; and with equal numbers everywhere
# io_uring_setup open_tree move_mount fsopen fsmount mount_setattr memfd_secret
EVERYWHERE = "425 428 429 430 432 442 447"
DENIED = {
    "x86_64": f"101 165 166 155 272 308 29 68 64 319 248 249 250 321 298 323 41 53 304 157 {EVERYWHERE}",
    "aarch64": f"117 40 39 41 97 268 194 186 190 279 217 218 219 280 241 282 198 199 265 167 {EVERYWHERE}",
}
LIBC = ctypes.CDLL(None, use_errno=True)


def call(name: str, *arguments: object) -> None:
    """Call a function of the C library. Raises OSError."""
    if getattr(LIBC, name)(*arguments) < 0:
        raise OSError(ctypes.get_errno(), f"{name}: {os.strerror(ctypes.get_errno())}")


def enter_root(paths: list[str]) -> None:
    """Replace the file system of this process by one in memory that has only `paths`, read-only."""
    root = Path("/proc")  # a folder that exists everywhere and is not needed any more
    call("mount", b"none", b"/", None, RECURSIVE | PRIVATE, None)
    call("mount", b"tmpfs", bytes(root), b"tmpfs", NO_SETUID | NO_DEVICES, f"size={DISK},mode=755".encode())
    for path in map(Path, paths):
        target = root / path.relative_to("/")
        if path.is_symlink():
            target.symlink_to(path.readlink())
            continue
        target.mkdir(parents=True, exist_ok=True)
        call("mount", bytes(path), bytes(target), None, BIND, None)
        no_exec = os.statvfs(path).f_flag & NO_EXEC  # a bound folder may not lose it
        flags = BIND | REMOUNT | READ_ONLY | NO_SETUID | NO_DEVICES | no_exec
        call("mount", None, bytes(target), None, flags, None)
    (root / "tmp").mkdir(exist_ok=True)  # the packages may be in a folder under /tmp
    (root / "tmp").chmod(0o777)
    os.chdir(root)
    # The new root is mounted over the old one, which is then removed (pivot_root(2)).
    call("syscall", PIVOT_ROOT[platform.machine()], b".", b".")
    call("umount2", b".", DETACH)
    os.chdir("/tmp")


def give_up_privileges(seconds: int, user_id: int | None) -> None:
    """Set the limits of this process, and drop all privileges for good. `user_id`: the user to become, if root."""
    for name, value in {**LIMITS, "CPU": seconds}.items():
        resource.setrlimit(getattr(resource, f"RLIMIT_{name}"), (value, value))
    for capability in range(64):
        with contextlib.suppress(OSError):  # no kernel has so many
            call("prctl", DROP_CAPABILITY, capability, 0, 0, 0)
    if user_id is not None:
        os.setgroups([])
        os.setresgid(user_id, user_id, user_id)
        os.setresuid(user_id, user_id, user_id)
    call("capset", struct.pack("II", CAPABILITY_VERSION, 0), bytes(24))
    call("prctl", SET_NO_NEW_PRIVILEGES, 1, 0, 0, 0)
    call("prctl", SET_DEATH_SIGNAL, signal.SIGKILL, 0, 0, 0)
    denied = [int(number) for number in DENIED[platform.machine()].split()]
    steps = [  # a program for seccomp(2): (code, steps to skip if true, if false, operand)
        (0x20, 0, 0, 4),  # load the architecture
        (0x15, 1, 0, AUDIT[platform.machine()]),
        (0x06, 0, 0, 0x80000000),  # kill the process
        (0x20, 0, 0, 0),  # load the number of the call
        (0x35, len(denied) + 1, 0, 0x40000000),  # at least: calls in x32 mode
        *((0x15, len(denied) - index, 0, number) for index, number in enumerate(denied)),
        (0x06, 0, 0, 0x7FFF0000),  # allow
        (0x06, 0, 0, 0x00050001),  # fail with EPERM
    ]
    code = b"".join(struct.pack("HBBI", *step) for step in steps)
    buffer = ctypes.create_string_buffer(code, len(code))
    call("prctl", SET_SECCOMP, 2, struct.pack("HP", len(steps), ctypes.addressof(buffer)), 0, 0)


def run_source(job: dict[str, Any]) -> dict[str, Any]:
    """Return the score of the source, or its error."""
    try:
        code = compile(job["source"], "grader.py", "exec")
        if job["sample"] is None:
            return {"score": 0.0}
        namespace: dict[str, Any] = {"__name__": "grader"}
        exec(code, namespace)  # noqa: S102 - this process is for it
        score = namespace["grade"](job["sample"], job["item"])
        if isinstance(score, bool) or not math.isfinite(score):
            return {"error": f"grade returned {score!r}, which is not a number"[:1000]}
        return {"score": float(score)}
    except BaseException as error:  # noqa: BLE001 - every error of the source is its result
        message = f"{type(error).__name__}: {error}"[:1000]
        return {"error": message.encode(errors="replace").decode()}  # it may contain half of a character


def main() -> None:
    """Run the job on stdin."""
    job = json.load(sys.stdin)
    signal.alarm(job["seconds"])  # ends the first process, and with it the second one
    os.nice(10)
    user, group, output = os.geteuid(), os.getegid(), os.dup(1)
    user_id = None if user else FIRST_FREE_ID + os.getpid()  # RLIMIT_NPROC counts all processes of a user
    try:
        call("unshare", NAMESPACES | (USER_NAMESPACE if user else 0))
        maps = {"setgroups": "deny", "uid_map": f"0 {user} 1", "gid_map": f"0 {group} 1"} if user else {}
        for name, text in maps.items():
            Path("/proc/self", name).write_text(text)
        if child := os.fork():
            os.close(output)
            os.waitpid(child, 0)
            return
        os.closerange(0, 3)
        enter_root(job["paths"])
        give_up_privileges(job["seconds"], user_id)
    except (OSError, KeyError) as error:
        os.write(output, json.dumps({"failure": str(error)}).encode())
        os._exit(1)
    sys.path[:] = job["module_paths"]
    sys.stdin = sys.stdout = sys.stderr = io.StringIO()
    os.write(output, json.dumps(run_source(job)).encode())
    os._exit(0)


if __name__ == "__main__":
    main()

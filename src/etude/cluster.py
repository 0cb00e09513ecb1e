"""Workers that do the parts of a command's work: in this process, or on a Ray cluster. Nothing else
imports Ray.

A command cuts its work into parts that do not depend on each other. `map` hands them out and yields
the results in the order of the parts, so a result does not depend on the number of workers. Ray
decides on which machine a worker runs.
"""

from __future__ import annotations

import os
import re
import socket
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

from etude.errors import InputError, MissingExtraError, RunError, quote_value

Part = TypeVar("Part")
Result = TypeVar("Result")

WHERE_SYNTAX = "local, ray, ray://HOST:PORT, or with a number of workers ray?workers=4"
_WHERE = re.compile(r"local|(?P<address>ray(?:://[^\s?]+)?)(?:\?workers=(?P<workers>[1-9]\d*))?")
PARTS_AHEAD = (
    4  # parts for each worker that may be finished or in progress before the next result is ready
)
MAX_LOSSES = 3  # workers that one part may lose; then the part itself is the likely cause


def is_where(text: str) -> bool:
    """Whether a text says where to work, as `WHERE_SYNTAX` describes it."""
    return _WHERE.fullmatch(text) is not None


def parse_where(where: str) -> re.Match[str]:
    """Parse where to work. Raises InputError for another text."""
    if match := _WHERE.fullmatch(where):
        return match
    raise InputError.of("--on", "not a place to work", quote_value(where), f"write {WHERE_SYNTAX}")


class Workers:
    """One worker, this process: parts are done here, one after another."""

    size = 1
    """Number of parts that are done at the same time."""
    is_remote = False
    """Whether parts are done in other processes, which need the same files at the same paths."""

    def map(
        self, function: Callable[..., Result], parts: Iterable[Part], *shared: object
    ) -> Iterator[Result]:
        """Yield `function(part, *shared)` for each part, in order. `parts` is read only as far as
        needed.
        """
        return (function(part, *shared) for part in parts)


THIS_PROCESS = Workers()


class RayWorkers(Workers):
    """One part at a time for each GPU of the cluster, or for each core if it has no GPU, or
    `num_workers` at a time.

    Ray itself repeats the part of a process that dies (killed, out of memory, its machine gone).
    Processes stay alive between parts, so that weights are loaded once in each.
    """

    is_remote = True

    def __init__(self, num_workers: int | None = None) -> None:
        import ray

        self._ray = ray
        total = ray.cluster_resources()
        num_cpus = int(total.get("CPU", 1))
        num_gpus = int(total.get("GPU", 0))
        self.size = num_workers or num_gpus or max(1, num_cpus)
        # A worker with more cores than any machine has would never start.
        machines = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        most_cpus = max(int(resources.get("CPU", 1)) for resources in machines)
        self._run_part = ray.remote(
            num_cpus=max(1, min(most_cpus, num_cpus // self.size)),
            num_gpus=min(1.0, num_gpus / self.size),
            max_retries=MAX_LOSSES - 1,
            max_calls=0,  # a process with a GPU would otherwise end after each part
        )(_run_part)

    def map(
        self, function: Callable[..., Result], parts: Iterable[Part], *shared: object
    ) -> Iterator[Result]:
        """Yield `function(part, *shared)` for each part, in order; the function raises its own
        errors here.

        Raises RunError if a part loses MAX_LOSSES workers.
        """
        arguments = [self._ray.put(value) for value in (function, *shared)]
        source = enumerate(parts)
        results = dict[int, Any]()
        running: dict[Any, int] = {}
        num_yielded = 0
        try:
            while True:
                num_free = min(self.size, PARTS_AHEAD * self.size - len(results)) - len(running)
                for number, part in islice(source, max(0, num_free)):
                    running[self._run_part.remote(_Box(part), *arguments)] = number
                if not running:
                    return
                [reference], _ = self._ray.wait([*running])
                number = running.pop(reference)
                results[number] = self._get_result(reference, number)
                while num_yielded in results:
                    yield results.pop(num_yielded)
                    num_yielded += 1
        finally:
            if (
                self._ray.is_initialized()
            ):  # after an error or an early end, nobody waits for these parts
                for reference in running:
                    self._ray.cancel(reference, force=True)

    def _get_result(self, reference: Any, number: int) -> Any:
        errors = self._ray.exceptions
        try:
            return self._ray.get(reference).value
        except errors.RayTaskError as error:
            raise error.cause from None
        except errors.RayError as error:
            raise RunError(
                f"Part {number + 1:,} of the work stopped {MAX_LOSSES} workers (the last: "
                f"{_shorten(error)}). If they ran out of memory, use fewer workers, as in "
                "ray?workers=2. If they did not start, install the same version of Étude and "
                "Python on every machine of the cluster."
            ) from error


def _run_part(part: _Box, function: Callable[..., object], *shared: object) -> _Box:
    return _Box(function(part.value, *shared))


@dataclass
class _Box:
    """A part or a result. Ray sends an object of a class as a whole, but a list tuple by tuple,
    which is slow.
    """

    value: Any


@contextmanager
def open_workers(where: str) -> Iterator[Workers]:
    """Yield the workers that `where` names: this process (local), a Ray cluster that runs here or
    is started here (ray), or a distant one (ray://HOST:PORT). A connection that the caller has made
    is used as it is.

    Raises InputError for another text, MissingExtraError without Ray, RunError if the cluster does
    not answer.
    """
    match = parse_where(where)
    if match["address"] is None:
        yield THIS_PROCESS
        return
    if not find_spec("ray") or (match["address"] != "ray" and not find_spec("grpc")):
        raise MissingExtraError(f"Working on {match['address']}", "ray")
    import ray

    is_own = not ray.is_initialized()
    if is_own:
        _connect(match["address"])
    try:
        yield RayWorkers(int(match["workers"]) if match["workers"] else None)
    finally:
        if is_own:
            ray.shutdown()


def _connect(address: str) -> None:
    """Connect to a cluster; "ray" is the one of RAY_ADDRESS or of this machine, else a new one,
    which Ray guards by a token. Says on stderr to which cluster. Raises RunError.
    """
    import ray

    os.environ.setdefault(
        "RAY_USAGE_STATS_ENABLED", "0"
    )  # Ray would report its usage to its makers
    # Ray would repeat a part without end if each worker had too little memory for it.
    os.environ.setdefault("RAY_task_oom_retries", str(MAX_LOSSES - 1))
    # If one part fails, errors of the parts that are then left are not printed.
    os.environ.setdefault("RAY_IGNORE_UNHANDLED_ERRORS", "1")
    quiet: dict[str, Any] = {"logging_level": "ERROR", "log_to_driver": False}
    named = os.environ.get("RAY_ADDRESS", "") if address == "ray" else address
    address_to_try = named or read_own_address()
    title = f"the Ray cluster {address_to_try}"
    is_there = is_reachable(address_to_try)
    try:
        if named and not is_there:
            raise ConnectionError("nothing listens there")
        if address_to_try and is_there:
            choice = "RAY_ADDRESS or --on ray://HOST:PORT names another"
            print(f"Connecting to {title} ({choice}) ...", file=sys.stderr, flush=True)
        if is_there:
            try:
                ray.init("auto" if address == "ray" else address, **quiet)
                return
            except ConnectionError:  # the cluster of this machine may have ended
                if named:
                    raise
        title = "a Ray cluster of this command's own"
        ray.init("local", include_dashboard=False, **quiet)
    except Exception as error:  # Ray raises all kinds of errors, also Exception itself
        message = (
            f"There is no connection to {title} ({_shorten(error)}). Check the address "
            "(RAY_ADDRESS, or --on ray://HOST:PORT) and its token (RAY_AUTH_MODE=token and "
            "RAY_AUTH_TOKEN). If Ray starts too slowly, free memory and cores, or work without "
            "it: --on local."
        )
        raise RunError(message) from error


def read_own_address() -> str:
    """Read the address of this machine's cluster; "" if Ray has not written one."""
    folder = Path(os.environ.get("RAY_TMPDIR") or os.environ.get("TMPDIR") or "/tmp", "ray")
    file = folder / "ray_current_cluster"
    return file.read_text().strip() if file.exists() else ""


def is_reachable(address: str) -> bool:
    """Whether something listens at the address of a cluster, or it names no port to try.

    For a cluster that was killed, and so left its address behind, Ray itself would wait for many
    minutes.
    """
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not port.isdigit():
        return True
    if host in ("localhost", "127.0.0.1") and not address.startswith("ray://"):
        from ray.util import get_node_ip_address

        host = get_node_ip_address()  # as Ray does
    try:
        socket.create_connection((host, int(port)), timeout=5).close()
    except OSError:
        return False
    return True


def _shorten(error: Exception) -> str:
    return quote_value(str(error).strip().split("\n")[0], 160)

"""The user's class of tools: its public methods are the functions that an assistant may call.

Only a child process runs the user's code (`base/tool_worker.py`): one for each conversation, which
can be killed.
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

from etude.errors import InputError
from etude.types import Example

Call = tuple[str, Mapping[str, Any]]  # name and arguments
START_SECONDS = 60.0  # for running the file, and for making an object


@dataclass(frozen=True)
class ToolLimits:
    """What the tools of a conversation may use."""

    seconds: float = 5.0
    """Of one call."""
    characters: int = 20_000
    """Of one result; what is longer is cut."""
    calls: int = 20
    """Number of calls in one conversation."""


TOOL_LIMITS = ToolLimits()


class ToolClass(NamedTuple):
    """What a class of tools offers."""

    functions: Sequence[Mapping[str, Any]]  # name, description and parameters, as OpenAI lists them
    has_finished: (
        bool  # whether `finished(desk, row)` says how far the task of a conversation was done
    )


@dataclass(frozen=True)
class ToolRef:
    """The file and name of the user's class; nothing has run yet."""

    file: Path
    name: str

    def describe(self) -> ToolClass:
        """Run the file in a child process and list the functions. Raises InputError if this
        fails.
        """
        session = ToolSession(self)
        try:
            described = session.start()
        except ToolError as error:
            message = f"the class {self.name} cannot be loaded"
            remedy = f"correct {self.file.name} and run again"
            raise InputError.of(error.location, message, str(error), remedy) from error
        finally:
            session.close()
        return ToolClass(described["functions"], described["finished"])


class ToolError(Exception):
    """A tool raised, took too long or ended its process. `location` is the file and, if known, the
    line.
    """

    def __init__(self, text: str, location: str) -> None:
        super().__init__(text)
        self.location = location


@dataclass
class ToolSession:
    """The tools of one conversation: an object of the user's class, made for its `row` at the first
    call.

    The object is in a child process with a group of its own. `close` kills the group, so that
    nothing of it remains, except processes that leave their group (setsid) on purpose. After a call
    that took too long or ended the process, the next call gets a new object, on which the other
    calls are repeated. Not for Windows.
    """

    ref: ToolRef
    row: Example | None = None
    limits: ToolLimits = TOOL_LIMITS
    calls: list[Call] = field(default_factory=list)
    """Calls that returned or raised, in their order: the state of the object. Those of a stopped
    play are given.
    """
    _process: subprocess.Popen[bytes] | None = None
    _connection: Connection | None = None

    def call(self, name: str, arguments: Mapping[str, Any]) -> str:
        """Call a function and return its result as text. Raises ToolError."""
        if self._process is None:
            self._make_object()
        try:
            return str(
                self._ask(self.limits.seconds, "call", name, arguments, self.limits.characters)
            )
        finally:
            if self._process is not None:
                self.calls.append((name, arguments))

    def finish(self) -> float:
        """Ask how far the task was done, 0 to 1. Raises ToolError."""
        if self._process is None:
            self._make_object()
        return float(self._ask(self.limits.seconds, "finished", self._row))

    def start(self) -> dict[str, Any]:
        """Start the process, and return what the class offers. Raises ToolError."""
        ours, theirs = Pipe()
        handle = theirs.fileno()
        command = [
            sys.executable,
            "-P",
            "-m",
            "etude.base.tool_worker",
            str(self.ref.file),
            self.ref.name,
        ]
        with theirs:
            # What the tools print goes nowhere, so that it fills no disk.
            self._process = subprocess.Popen(
                [*command, str(handle)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=[handle],
                start_new_session=True,
                cwd=self.ref.file.parent,
            )
        self._connection = ours
        described: dict[str, Any] = self._ask(START_SECONDS, "describe")
        return described

    def close(self) -> None:
        """Kill the process and all that it started."""
        if self._process is None or self._connection is None:
            return
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._connection.close()
        self._process = self._connection = None

    @property
    def _row(self) -> Mapping[str, Any]:
        assert self.row is not None, "an object is made for a row"
        return asdict(self.row)

    def begin(self, row: Example, calls: Sequence[Call] = ()) -> None:
        """Go on to another conversation, with a new object after these calls, in the same process.
        Raises ToolError.
        """
        self.row = row
        self.calls = list(calls)
        self._make_object()

    def _make_object(self) -> None:
        is_ready = False
        while not is_ready:
            if self._process is None:
                self.start()
            try:
                self._ask(START_SECONDS, "build", self._row)
            except ToolError:
                self.close()  # the next call tries again
                raise
            is_ready = True
            for call in self.calls:
                with suppress(ToolError):  # it raised before, and does so again
                    self._ask(self.limits.seconds, "call", *call, 0)
                if self._process is None:
                    self.calls.remove(call)
                    is_ready = False
                    break

    def _ask(self, seconds: float, *request: Any) -> Any:
        """Send a request and wait for the reply. Raises ToolError, and kills a process that does
        not reply.
        """
        assert self._connection is not None, "the process was started"
        try:
            self._connection.send_bytes(json.dumps(request).encode())
            if not self._connection.poll(seconds):
                raise TimeoutError
            reply = json.loads(self._connection.recv_bytes())
        except (EOFError, OSError, ValueError) as error:
            is_slow = isinstance(error, TimeoutError)
            self.close()
            text = (
                f"stopped after {seconds:g} s without a result"
                if is_slow
                else "it ended the process of the tools"
            )
            raise ToolError(text, self.ref.file.name) from error
        if "error" in reply:
            raise ToolError(reply["error"], reply["location"])
        return reply["value"]

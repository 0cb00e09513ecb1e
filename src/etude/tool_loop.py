"""A conversation whose calls are run: the assistant answers, its calls are run, and it answers
again.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from etude.base.formatting import format_count
from etude.data.formats.tools import format_results, split_calls
from etude.errors import InputError
from etude.task import load_task
from etude.task.tool_class import Call, ToolError, ToolRef, ToolSession
from etude.types import Example, Message


@dataclass(frozen=True)
class ToolStep:
    """The results of an answer's calls."""

    results: Sequence[str]
    problems: Sequence[str]  # of the calls that failed
    calls: Sequence[Call]  # those that returned or raised


@dataclass
class ToolLoop:
    """The turns of a conversation, to which `take` adds answers and results."""

    turns: list[Message]
    session: ToolSession | None
    """None if calls are not run."""
    num_calls: int = 0
    problem: str = ""
    """Why the latest answer is the end, although it has calls or there was an error."""

    def take(self, text: str, step: ToolStep | None = None) -> ToolStep | None:
        """Add an answer, run its calls and add their results, which the next answer reads.

        Returns None if there are no calls, or too many (`problem`). `step` has the results of a
        stopped play.
        """
        self.turns.append(Message("assistant", text))
        self.problem = ""
        calls = list_calls(text)
        session = self.session
        if session is None or not calls:
            return None
        self.num_calls += len(calls)
        if self.num_calls > session.limits.calls:
            self.problem = f"more than {format_count(session.limits.calls, 'call')}"
            return None
        if step:
            session.calls += step.calls
        else:
            num_before = len(session.calls)
            results = list[str]()
            problems = list[str]()
            for name, arguments in calls:
                try:
                    results.append(session.call(name, arguments))
                except ToolError as error:
                    results.append(f"error: {error}")
                    problems.append(f"{name} failed: {error}")
            step = ToolStep(results, problems, session.calls[num_before:])
        self.turns.append(Message("user", format_results(step.results)))
        return step

    def close(self) -> None:
        """Kill the process of the tools."""
        if self.session:
            self.session.close()


def load_tools(task_file: Path) -> ToolRef:
    """Return the class under `tools:` in a task file. Raises InputError if there is none, or if it
    does not load.
    """
    task = load_task(task_file)
    if task.tools is None:
        remedy = "set tools: to a class that runs the calls, or leave out --run-tools"
        raise InputError.of(task.file.name, "no class to run", "", remedy)
    task.tools.describe()
    return task.tools


def open_tools(
    ref: ToolRef | None, turns: list[Message], tags: Mapping[str, str] | None = None
) -> ToolLoop:
    """Begin a conversation that has no row: its object gets a row with the turns so far, the tags,
    and no answer. Calls in these turns are counted, but not repeated.
    """
    row = Example("", tuple(turns), "", tags=tags or {})
    num_calls = sum(len(list_calls(turn.content)) for turn in turns if turn.role == "assistant")
    return ToolLoop(turns, ToolSession(ref, row) if ref else None, num_calls)


def list_calls(text: str) -> list[Call]:
    """List the calls in an answer."""
    return [(call["name"], call["arguments"]) for call in split_calls(text)[1]]

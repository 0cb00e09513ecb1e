"""`etude chat`: talk to an assistant of a run."""

from __future__ import annotations

import sys
from pathlib import Path

from etude.assistant import Assistant, load
from etude.cli.history import runs_folder
from etude.errors import RunError
from etude.models.registry import Models
from etude.runs import Run, find_run
from etude.types import Message


def talk(task: Path, run_name: str | None, method: str | None) -> None:
    """Reads questions line by line and streams the answers; ends at an empty line or the end of input.

    Who answers is said on stderr, so that what is piped out holds answers only.
    """
    run = find_run(runs_folder(task), run_name)
    name = method or recommended(run)
    assistant = load(run.assistant(name))
    models = Models()
    terminal = sys.stdin is not None and sys.stdin.isatty()
    print(f"{name} ({assistant.model.name}) of {run.name}. An empty line ends.\n", file=sys.stderr)
    turns: list[Message] = []
    while question := ask(terminal):
        turns = [*turns, Message("user", question)] if talks(assistant) else [Message("user", question)]
        turns = [*turns, Message("assistant", answer(assistant, turns, models))]


def recommended(run: Run) -> str:
    """The assistant the verdict recommends, else the one it leans to; the last one fitted where there is no
    verdict, or one that names no leaning.

    Raises RunError when the run has none.
    """
    verdict = run.verdict or {}
    if chosen := verdict.get("recommended") or verdict.get("leaning"):
        return str(chosen)
    if not run.methods:
        raise RunError(f"Run {run.name} has no assistant yet. Run `etude compare` first.")
    return run.methods[-1]


def talks(assistant: Assistant) -> bool:
    """Whether earlier turns are sent along: a classifier or an extractor treats every message alone."""
    return assistant.kind in ("answer", "rewrite")


def ask(terminal: bool) -> str:
    """The next question; empty at the end, or where there is no input at all."""
    if sys.stdin is None:
        return ""
    try:
        return input("> " if terminal else "").strip()
    except EOFError:
        return ""


def answer(assistant: Assistant, turns: list[Message], models: Models) -> str:
    """Streams one answer to the screen and returns it."""
    pieces = []
    for piece in assistant.stream(turns, models):
        print(piece, end="", flush=True)
        pieces.append(piece)
    print("\n")
    return "".join(pieces)

"""`etude chat`: talk to an assistant of a run."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path

from etude.assistant import Assistant, PromptLimit, load
from etude.cli.history import runs_folder
from etude.errors import shown
from etude.models.registry import Models
from etude.runs import find_run
from etude.runs.recommended import recommended
from etude.types import Message


def talk(task: Path, run_name: str | None, method: str | None) -> None:
    """Reads questions line by line and streams the answers; ends at an empty line or the end of input.

    Who answers is said on stderr, and what no longer fits the context, so that what is piped out holds
    answers only.
    """
    run = find_run(runs_folder(task), run_name)
    name, why = (method, "") if method else recommended(run)
    assistant = load(run.assistant(name))
    models = Models()
    terminal = sys.stdin is not None and sys.stdin.isatty()
    print(f"{name} ({assistant.model.name}) of {run.name}.{why} An empty line ends.\n", file=sys.stderr)
    conversation: Conversation | None = None
    while question := ask(terminal):
        if conversation is None or not talks(assistant):
            conversation = Conversation(PromptLimit(assistant, models.get(assistant.model)))
        for note in conversation.add(question):
            print(f"Note: {note}.", file=sys.stderr)
        conversation.turns.append(Message("assistant", answer(assistant, conversation.turns, models)))


@dataclass
class Conversation:
    """The turns that are sent along: all, or the latest that fit the model's context.

    As everywhere, examples leave the prompt before anything that was said does. A question too long by itself
    stays, for the model to refuse.
    """

    limit: PromptLimit
    turns: list[Message] = field(default_factory=list)
    num_gone: int = 0
    """Earliest turns that are no longer sent along."""
    shots_gone: int = 0
    """Examples that are no longer shown, at the most so far."""

    def add(self, question: str) -> list[str]:
        """Adds a question, lets go of what no longer fits, and says what that was."""
        self.turns.append(Message("user", question))
        return [*self._forget_turns(), *self._forget_shots()]

    def _forget_turns(self) -> list[str]:
        begin = 0
        while begin < len(self.turns) - 1 and not self.limit.fits(self.turns[begin:]):
            begin += 2  # a question and its answer
        if not begin:
            return []
        first, self.num_gone = self.num_gone + 1, self.num_gone + begin
        said, self.turns = self.turns[0].content, self.turns[begin:]
        return [
            f"turns {first} to {self.num_gone} of this conversation, from {shown(said, 40)} on, are no longer sent "
            f"along, {self._reason}"
        ]

    def _forget_shots(self) -> list[str]:
        shots = len(self.limit.assistant.shots)
        gone = shots - self.limit.shots(self.turns)
        if gone <= self.shots_gone:
            return []
        self.shots_gone = gone
        return [f"{gone} of {shots} examples are left out of the prompt, {self._reason}"]

    @property
    def _reason(self) -> str:
        return f"for a prompt may have {self.limit.tokens:,} tokens at most"


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
    request = assistant.requests([turns], models)[0]
    for piece in models.get(assistant.model).stream(request):
        print(piece, end="", flush=True)
        pieces.append(piece)
    print("\n", flush=True)
    if request.citations:
        print(f"From {'; '.join(request.citations)}\n", file=sys.stderr)
    return "".join(pieces)

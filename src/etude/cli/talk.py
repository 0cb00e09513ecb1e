"""`etude chat`: talk to an assistant of a run."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path

from etude.assistant import Assistant, PromptLimit, load
from etude.base.wording import share
from etude.cli.history import runs_folder
from etude.errors import quote_value
from etude.models.registry import Models, title
from etude.runs import find_run
from etude.runs.recommended import endpoints_for, recommended
from etude.types import Message


def talk(task: Path, run_name: str | None, method: str | None) -> None:
    """Reads questions line by line and streams the answers; ends at an empty line or the end of input.

    Which assistant answers, and what no longer fits the context, is printed to stderr, so stdout holds only
    answers.
    """
    run = find_run(runs_folder(task), run_name)
    name, why = (method, "") if method else recommended(run)
    assistant = load(run.assistant(name))
    models = Models(endpoints=endpoints_for(assistant, run))
    terminal = sys.stdin is not None and sys.stdin.isatty()
    keeps = talks(assistant) and run.info.get("chats", True)
    alone = "" if keeps else " Each question is asked by itself, as in the examples."
    print(
        f"{name} ({title(assistant.model.name)}) of {run.name}.{why}{alone} An empty line ends.\n",
        file=sys.stderr,
    )
    conversation: Conversation | None = None
    while question := ask(terminal):
        if conversation is None or not keeps:
            conversation = Conversation(PromptLimit(assistant, models.get(assistant.model)))
        for note in conversation.add(question):
            print(f"Note: {note}.", file=sys.stderr)
        conversation.turns.append(Message("assistant", answer(assistant, conversation.turns, models)))


@dataclass
class Conversation:
    """The turns that are sent: all, or the latest that fit the model's context.

    Examples are dropped from the prompt before any turn is. A question that is too long by itself is kept, and the
    model refuses it.
    """

    limit: PromptLimit
    turns: list[Message] = field(default_factory=list)
    num_gone: int = 0
    """Earliest turns that are no longer sent."""
    shots_gone: int = 0
    """The most examples dropped so far."""

    def add(self, question: str) -> list[str]:
        """Adds a question, drops what no longer fits, and returns what that was."""
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
            f"turns {first} to {self.num_gone} of this conversation, starting with {quote_value(said, 40)}, are no longer "
            f"sent, {self._reason}"
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
        return f"because a prompt may have at most {self.limit.tokens:,} tokens"


def talks(assistant: Assistant) -> bool:
    """Whether earlier turns can be sent; a classifier or an extractor sees one message at a time."""
    return assistant.kind in ("answer", "rewrite")


def ask(terminal: bool) -> str:
    """The next question; empty at the end of input, or without stdin."""
    if sys.stdin is None:
        return ""
    try:
        return input("> " if terminal else "").strip()
    except EOFError:
        return ""


def answer(assistant: Assistant, turns: list[Message], models: Models) -> str:
    """Prints one answer as it is streamed and returns it; one that is handed over is not printed as an answer."""
    if assistant.handover is not None:
        given = assistant.answer([turns], models)[0]
        sure = f"{share(given.confidence or 0.0)} sure"
        if given.handed_over:
            print(f"(handed over to a person: only {sure}; its best guess is {given.text})\n", flush=True)
        else:
            print(f"{given.text}\n", flush=True)
        return given.text
    pieces = []
    request = assistant.requests([turns], models)[0]
    for piece in models.get(assistant.model).stream(request):
        print(piece, end="", flush=True)
        pieces.append(piece)
    print("\n", flush=True)
    if request.citations:
        print(f"From {'; '.join(request.citations)}\n", file=sys.stderr)
    return "".join(pieces)

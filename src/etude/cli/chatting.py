"""`etude chat`."""

import sys
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated

import typer

from etude.assistant import Assistant, PromptLimit, describe_doubt, load, stream_request
from etude.cli import history, options
from etude.data.formats.tools import append_tools, format_tools, split_results, split_tools
from etude.errors import EtudeError, InputError, quote_value
from etude.models.registry import Models, get_title
from etude.runs import find_run, recommended
from etude.tool_loop import ToolLoop, list_calls, load_tools, open_tools
from etude.types import Message


def chat(
    task: options.TaskPath,
    method: options.MethodName = None,
    run: options.RunName = None,
    tools: Annotated[
        Path | None,
        typer.Option(
            "--tools",
            help="JSON file with a list of functions that the model may call, as in OpenAI's API.",
        ),
    ] = None,
    run_tools: options.RunTools = False,
) -> None:
    """Talk to an assistant of a run. An empty line or Ctrl-D ends the chat."""
    # Only answers go to stdout.
    chosen = find_run(history.require_task(task), run)
    name, reason = (method, "") if method else recommended.choose_method(chosen)
    assistant = load(chosen.assistant_folder(name))
    models = Models(endpoints=recommended.load_endpoints(assistant, chosen))
    # Classifiers and extractors get one message at a time.
    keeps_turns = assistant.kind in ("answer", "rewrite") and chosen.info.get("chats", True)
    note = "" if keeps_turns else " Each question is answered on its own, as in the examples."
    if tools:
        assistant = offer_tools(assistant, tools)
    elif assistant.row_systems:
        note += (
            " The rows have their own system messages or functions; --tools FILE offers functions "
            "here."
        )
    own_tools = load_tools(chosen.task_file) if run_tools else None
    title = get_title(assistant.model.name)
    print(
        f"{name} ({title}) of {chosen.name}.{reason}{note} An empty line ends the chat.\n",
        file=sys.stderr,
    )
    warnings = recommended.describe_changes(chosen), recommended.describe_failed_gates(chosen, name)
    for warning in filter(None, warnings):
        print(f"Warning: {warning}\n", file=sys.stderr)
    conversation: Conversation | None = None
    with ExitStack() as stack:
        while question := read_question():
            is_new = conversation is None or not keeps_turns
            if conversation is None or is_new:
                conversation = Conversation(PromptLimit(assistant, models.get(assistant.model)))
            for dropped in conversation.add(question):
                print(f"Note: {dropped}.", file=sys.stderr)
            if is_new:
                loop = open_tools(own_tools, conversation.turns)
                stack.callback(loop.close)
            answer_question(assistant, loop, models)


def offer_tools(assistant: Assistant, file: Path) -> Assistant:
    """Offer the functions of a file instead of those in the assistant's instructions. Raises
    InputError.
    """
    try:
        functions = format_tools(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        remedy = "write a list of functions, as in OpenAI's API"
        raise InputError.of("--tools", f"not readable: {error}", str(file), remedy) from error
    instructions, _ = split_tools(assistant.instructions)
    return replace(assistant, instructions=append_tools(instructions, functions))


@dataclass
class Conversation:
    """The turns that are sent: all, or the latest ones that fit the model's context.

    Examples are dropped before turns. A question that is too long on its own is sent, and the model
    refuses it.
    """

    limit: PromptLimit
    turns: list[Message] = field(default_factory=list)
    num_dropped: int = 0
    """First turns that are no longer sent."""
    num_dropped_shots: int = 0
    """The largest number of examples that were dropped so far."""

    def add(self, question: str) -> list[str]:
        """Add a question, drop turns and examples that no longer fit, and return a sentence for
        each.
        """
        self.turns.append(Message("user", question))
        notes = list[str]()
        reason = f"because a prompt may have at most {self.limit.tokens:,} tokens"
        # A question and its answer, or a result and the next answer, are dropped together.
        num_dropped = 0
        while num_dropped < len(self.turns) - 1 and (
            split_results(self.turns[num_dropped].content)
            or not self.limit.fits(self.turns[num_dropped:])
        ):
            num_dropped += 2
        if num_dropped:
            first = self.num_dropped + 1
            self.num_dropped = self.num_dropped + num_dropped
            first_text = self.turns[0].content
            del self.turns[:num_dropped]
            turns = f"turns {first} to {self.num_dropped} of this conversation"
            notes.append(
                f"{turns}, starting with {quote_value(first_text, 40)}, are no longer sent, "
                f"{reason}"
            )
        shots = len(self.limit.assistant.shots)
        num_dropped_shots = shots - self.limit.count_shots(self.turns)
        if num_dropped_shots > self.num_dropped_shots:
            self.num_dropped_shots = num_dropped_shots
            notes.append(
                f"{num_dropped_shots} of {shots} examples are left out of the prompt, {reason}"
            )
        return notes


def read_question() -> str:
    """Read the next question; "" at the end of input, or without stdin."""
    if sys.stdin is None:
        return ""
    try:
        return input("> " if sys.stdin.isatty() else "").strip()
    except EOFError:
        return ""


def answer_question(assistant: Assistant, loop: ToolLoop, models: Models) -> None:
    """Print answers and the results of their calls. Once calls were run, an error ends only this
    question.
    """
    try:
        while step := loop.take(print_answer(assistant, loop.turns, models)):
            print(
                "\n".join(f"Result: {quote_value(text, 200)}" for text in step.results),
                file=sys.stderr,
            )
    except EtudeError as error:
        if not split_results(loop.turns[-1].content):
            raise
        loop.take("")
        loop.problem = str(error).removesuffix(".")
    if loop.session is None and list_calls(loop.turns[-1].content):
        print(
            "The call is not run. With tools: in the task file, --run-tools runs it.\n",
            file=sys.stderr,
        )
    if loop.problem:
        print(f"Stopped: {loop.problem}.\n", file=sys.stderr)


def print_answer(assistant: Assistant, turns: list[Message], models: Models) -> str:
    """Print an answer, streamed if possible, and return it. Of an answer that is handed over, print
    the guess too.
    """
    # What is only said if the answer is confident cannot be streamed.
    if assistant.handover is None:
        pieces = []
        request = assistant.build_requests([turns], models)[0]
        for piece in stream_request(models.get(assistant.model), request):
            print(piece, end="", flush=True)
            pieces.append(piece)
        print("\n", flush=True)
        text = "".join(pieces)
        citations = request.citations
    else:
        answer = assistant.answer([turns], models)[0]
        text = answer.shown
        citations = answer.citations
        is_guess = answer.handed_over and not answer.limit
        if answer.sentence or not is_guess:
            print(f"{text}\n", flush=True)
        if is_guess:
            guess = f"its best guess is {answer.text}"
            print(f"(handed over to a person: {describe_doubt(answer)}; {guess})\n", flush=True)
    if citations:
        print(f"From {'; '.join(citations)}\n", file=sys.stderr)
    return text

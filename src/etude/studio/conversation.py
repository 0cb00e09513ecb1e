"""Chats with one assistant of the run, or with two side by side, and feedback on their answers."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import get_args

from etude.assistant import Assistant, load
from etude.base.files import parse_json
from etude.errors import InputError, quote_value
from etude.feedback import Feedback, read_feedback
from etude.feedback.entry import Choice, Thumb
from etude.studio.answer_worker import list_failures
from etude.studio.studio import Studio
from etude.types import Message

BUTTONS = {thumb: {"thumb": thumb} for thumb in get_args(Thumb)}
BUTTONS |= {choice: {"choice": choice} for choice in get_args(Choice)}
"""Value of a button -> keys and values of the feedback."""


@dataclass(frozen=True)
class ChatAnswer:
    """One answer on the page."""

    assistant: str  # RUN/METHOD, as in feedback
    method: str
    text: str
    citations: tuple[str, ...]
    failures: tuple[str, ...]


def parse_turns(text: str) -> list[Message]:
    """Parse the conversation that a page sent. Raises InputError."""
    try:
        return [Message(turn["role"], str(turn["content"])) for turn in parse_json(text or "[]")]
    except (ValueError, TypeError, KeyError) as error:
        raise InputError.of(
            "chat", "not a conversation", quote_value(text), "reload the page"
        ) from error


def format_turns(turns: Sequence[Message]) -> str:
    """Format a conversation for a page, which sends it back."""
    return json.dumps([{"role": turn.role, "content": turn.content} for turn in turns])


def select_turns(assistant: Assistant, turns: Sequence[Message]) -> Sequence[Message]:
    """Select the turns that the assistant reads. For a label or a record, this is only the last
    turn.
    """
    return turns if assistant.kind in ("answer", "rewrite") else turns[-1:]


def answer_turns(
    studio: Studio, turns: Sequence[Message], methods: Sequence[str]
) -> list[ChatAnswer]:
    """Answer a conversation with each method. Raises RunError if the run lacks one, and the errors
    of the model.
    """
    answers = []
    for method in dict.fromkeys(methods):
        assistant = load(studio.run.assistant_folder(method))
        with studio.answering.lock:
            answer = assistant.answer(list(select_turns(assistant, turns)), studio.answering.models)
        name = f"{studio.run.name}/{method}"
        answers.append(
            ChatAnswer(name, method, answer.shown, answer.citations, list_failures(answer))
        )
    return answers


def parse_feedback(form: dict[str, str], reviewer: str) -> Feedback:
    """Read a form with feedback on one answer or two. Raises InputError if it contains no
    feedback.
    """
    turns = [
        {"role": turn.role, "content": turn.content} for turn in parse_turns(form.get("turns", ""))
    ]
    body: dict[str, object] = {
        "reviewer": reviewer,
        "input": turns,
        "reason": form.get("reason", "").strip(),
    }
    columns = ("id", "assistant", "answer", "other", "other_assistant")
    body |= {name: form[name] for name in columns if name in form}
    if form.get("say") == "correct":
        body["correction"] = form.get("correction", "").replace("\r\n", "\n").strip()
    return read_feedback({**body, **BUTTONS.get(form.get("say", ""), {})})

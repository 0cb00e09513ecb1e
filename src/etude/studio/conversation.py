"""Chats with one assistant of the run, or with two side by side, and feedback on their answers."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import get_args

from etude.assistant import Assistant, load
from etude.base.files import parse_json
from etude.errors import InputError, Issue, quote_value
from etude.feedback import Feedback, read_feedback
from etude.feedback.entry import Choice, Thumb
from etude.studio.answer_worker import list_failures
from etude.studio.studio import Studio
from etude.types import Message

BUTTONS = {thumb: {"thumb": thumb} for thumb in get_args(Thumb)}
BUTTONS |= {choice: {"choice": choice} for choice in get_args(Choice)}
"""Value of a button -> its keys in feedback."""


@dataclass(frozen=True)
class ChatAnswer:
    """One answer on the page."""

    assistant: str  # RUN/METHOD, as in feedback
    method: str
    text: str
    citations: tuple[str, ...]
    failures: tuple[str, ...]


def parse_turns(text: str) -> list[Message]:
    """Parse the conversation that a page has sent back. Raises InputError."""
    try:
        return [Message(turn["role"], str(turn["content"])) for turn in parse_json(text or "[]")]
    except (ValueError, TypeError, KeyError) as error:
        raise InputError([Issue("chat", "no conversation", quote_value(text), "reload the page")]) from error


def format_turns(turns: Sequence[Message]) -> str:
    """Format a conversation as a page sends it back."""
    return json.dumps([{"role": turn.role, "content": turn.content} for turn in turns])


def select_turns(assistant: Assistant, turns: Sequence[Message]) -> Sequence[Message]:
    """The turns that the assistant reads; only the last one for a label or a record."""
    return turns if assistant.kind in ("answer", "rewrite") else turns[-1:]


def answer_turns(studio: Studio, turns: Sequence[Message], methods: Sequence[str]) -> list[ChatAnswer]:
    """Answer a conversation with each method. Raises RunError for a method that the run does not have, and what the
    model raises."""
    answers = []
    for method in dict.fromkeys(methods):
        assistant = load(studio.run.assistant_folder(method))
        with studio.answering.lock:
            answer = assistant.answer(list(select_turns(assistant, turns)), studio.answering.models)
        name = f"{studio.run.name}/{method}"
        answers.append(ChatAnswer(name, method, answer.text, answer.citations, list_failures(answer)))
    return answers


def parse_feedback(form: dict[str, str], reviewer: str) -> Feedback:
    """Read a form about one answer or two. Raises InputError if it says nothing."""
    turns = [{"role": turn.role, "content": turn.content} for turn in parse_turns(form.get("turns", ""))]
    body: dict[str, object] = {"reviewer": reviewer, "input": turns, "reason": form.get("reason", "").strip()}
    columns = ("id", "assistant", "answer", "other", "other_assistant")
    body |= {name: form[name] for name in columns if name in form}
    if form.get("say") == "correct":
        body["correction"] = form.get("correction", "").replace("\r\n", "\n").strip()
    return read_feedback({**body, **BUTTONS.get(form.get("say", ""), {})})

"""Talking to one assistant of the run, or to two side by side, and saying which answer is better."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from etude.assistant import Assistant, load
from etude.base.files import parse_json
from etude.errors import InputError, Issue, quote_value
from etude.feedback import Feedback, read_feedback
from etude.studio.studio import Studio
from etude.types import Message

SAYINGS = {
    "up": {"thumb": "up"},
    "down": {"thumb": "down"},
    "answer": {"choice": "answer"},
    "other": {"choice": "other"},
    "both": {"choice": "both"},
    "neither": {"choice": "neither"},
}
"""Value of a button -> what it says of the answers."""


@dataclass(frozen=True)
class Said:
    """One answer on the page."""

    assistant: str
    """As feedback names it: RUN/METHOD."""
    method: str
    text: str
    citations: tuple[str, ...]
    failures: tuple[str, ...]


def turns_of(text: str) -> list[Message]:
    """The conversation that a page has sent back. Raises InputError if it is none."""
    try:
        return [Message(turn["role"], str(turn["content"])) for turn in parse_json(text or "[]")]
    except (ValueError, TypeError, KeyError) as error:
        raise InputError([Issue("chat", "no conversation", quote_value(text), "reload the page")]) from error


def as_text(turns: Sequence[Message]) -> str:
    """The conversation as a page sends it back."""
    return json.dumps([{"role": turn.role, "content": turn.content} for turn in turns])


def asked_turns(assistant: Assistant, turns: Sequence[Message]) -> Sequence[Message]:
    """The turns of a conversation that the assistant is asked: without earlier ones for a label or a record."""
    return turns if assistant.kind in ("answer", "rewrite") else turns[-1:]


def answers(studio: Studio, turns: Sequence[Message], methods: Sequence[str]) -> list[Said]:
    """What each method answers to the conversation. Raises RunError for a method that the run does not have, and
    whatever the model raises."""
    found = []
    for method in dict.fromkeys(methods):
        assistant = load(studio.run.assistant(method))
        with studio.answering.lock:
            answer = assistant.answer(list(asked_turns(assistant, turns)), studio.answering.models)
        failures = (*answer.failures, *(("cut by the length limit",) if answer.truncated else ()))
        found.append(Said(f"{studio.run.name}/{method}", method, answer.text, answer.citations, failures))
    return found


def opinion(form: dict[str, str], who: str) -> Feedback:
    """What a form says of one answer, or of two. Raises InputError if it says nothing."""
    turns = [{"role": turn.role, "content": turn.content} for turn in turns_of(form.get("turns", ""))]
    body: dict[str, object] = {"who": who, "input": turns, "reason": form.get("reason", "").strip()}
    body |= {
        name: form[name] for name in ("id", "assistant", "answer", "other", "other_assistant") if name in form
    }
    said = form.get("say", "")
    if said == "correct":
        body["correction"] = form.get("correction", "").replace("\r\n", "\n").strip()
    return read_feedback({**body, **SAYINGS.get(said, {})})

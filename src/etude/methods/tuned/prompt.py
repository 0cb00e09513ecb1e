"""The prompt that a tuned model keeps: what of the instructions stands before every input, in training and in use."""

from __future__ import annotations

import re
from typing import NamedTuple

from etude.task import Task
from etude.task.settings import LearnedWith

_WORDS = """
abs al approx art assoc bzw ca cf co corp dept dr ed eg est etc excl ext fig gen gov hon ie inc incl jr ltd max min mr
mrs ms mt nr no op pp prof ref resp rev sec sr st tel usw viz vol vs
"""
SHORTENED = frozenset(_WORDS.split())
"""Words that are written with a full stop behind them, in English and German, without it."""
_END = re.compile(r"(?<=[.!?])\s")
_LAST_WORD = re.compile(r"[^\s(\"']*$")
_ITEM = re.compile(r"(?:^|\s)(?:\d{1,3}[.)]|[-*•])\s")
"""The mark of an item of a list."""


class Kept(NamedTuple):
    """What of the instructions stands before every input of a tuned model."""

    part: LearnedWith
    text: str
    why: str


def kept_by_tuned(task: Task) -> Kept:
    """What of the task's instructions a tuned model is taught and asked with, and why.

    As `train: {instructions: ...}` says; else all of them where the rows hold them as their own system message, none
    for classify and extract, and the first sentence otherwise, since the weights carry the rest.
    """
    given = task.instructions.strip()
    part, why = _part(task)
    texts = {"whole": given, "none": "", "first_sentence": first_sentence(given)}
    return Kept(part, texts[part], why)


def _part(task: Task) -> tuple[LearnedWith, str]:
    """Which part of the instructions is taken, and why."""
    own: LearnedWith | None = task.train.get("instructions")
    if own:
        return own, "set by the user"
    if task.own_system:
        return "whole", "the rows bring them"
    if task.kind in ("answer", "rewrite"):
        return "first_sentence", "the first sentence names the role, and the rest is learned from the answers"
    return "none", f"kind: {task.kind}, where all of it is learned from the answers"


def first_sentence(instructions: str) -> str:
    """The first sentence of the instructions, which names the role; more where its end is not sure.

    No end is a stop behind a number, an initial or a word that is often shortened, before a small letter, or within a
    list.
    """
    flat = " ".join(instructions.split())
    for found in _END.finditer(flat):
        if _ends(flat[: found.start()], flat[found.end() :]):
            return flat[: found.start()]
    return flat


def _ends(said: str, rest: str) -> bool:
    """Whether a sentence ends between what was said, whose last character is a mark of an end, and the rest."""
    if _first_letter(rest).islower() or _ITEM.search(said):
        return False
    if said.endswith(("!", "?")):
        return True
    found = _LAST_WORD.search(said[:-1])
    word = found[0] if found else ""
    initial = len(word.rpartition(".")[2]) < 2  # "J.", "U.S.", "..."
    return not (initial or word.casefold() in SHORTENED or word[-1:].isdigit())


def _first_letter(text: str) -> str:
    """The first letter or digit."""
    return next((character for character in text if character.isalnum()), "")

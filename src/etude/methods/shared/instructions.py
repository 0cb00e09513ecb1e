"""The instructions that a tuned model gets before every input, in training and in use."""

import re
from typing import NamedTuple

from etude.task import Task
from etude.task.settings import InstructionsMode

_WORDS = """
abs al approx art assoc bzw ca cf co corp dept dr ed eg est etc excl ext fig gen gov hon ie inc incl
jr ltd max min mr mrs ms mt nr no op pp prof ref resp rev sec sr st tel usw viz vol vs
"""
ABBREVIATIONS = frozenset(_WORDS.split())
"""English and German abbreviations, without the full stop at their end."""
_END = re.compile(r"(?<=[.!?])\s")
_LAST_WORD = re.compile(r"[^\s(\"']*$")
_ITEM = re.compile(r"(?:^|\s)(?:\d{1,3}[.)]|[-*•])\s")  # the beginning of an item of a list


class TunedInstructions(NamedTuple):
    """The part of the task's instructions that a tuned model gets, and the reason."""

    extent: InstructionsMode
    text: str
    reason: str


def choose_instructions(task: Task) -> TunedInstructions:
    """Choose the part of the task's instructions that a tuned model is trained and used with.

    The setting `train: {instructions: ...}` decides. Without it: all instructions if they are the
    rows' own system message, none for classify and extract, and the first sentence otherwise,
    because the weights learn the rest.
    """
    instructions = task.instructions.strip()
    extent: InstructionsMode = task.train.get("instructions") or "none"
    reason = f"with kind: {task.kind}, the model learns them from the answers"
    if task.train.get("instructions"):
        reason = "set by the user"
    elif task.own_system:
        extent = "whole"
        reason = "they are the system message of the rows"
    elif task.kind in ("answer", "rewrite"):
        extent = "first_sentence"
        reason = "the first sentence names the role, and the model learns the rest from the answers"
    texts = {"whole": instructions, "none": "", "first_sentence": first_sentence(instructions)}
    return TunedInstructions(extent, texts[extent], reason)


def first_sentence(instructions: str) -> str:
    """Return the first sentence of the instructions, which names the role; more if its end is
    uncertain.

    A full stop is not an end after a number, an initial or an abbreviation, before a small letter,
    or in a list.
    """
    flat = " ".join(instructions.split())
    for match in _END.finditer(flat):
        if _is_sentence_end(flat[: match.start()], flat[match.end() :]):
            return flat[: match.start()]
    return flat


def _is_sentence_end(before: str, after: str) -> bool:
    first = next((character for character in after if character.isalnum()), "")
    if first.islower() or _ITEM.search(before):
        return False
    if before.endswith(("!", "?")):
        return True
    match = _LAST_WORD.search(before[:-1])
    word = match[0] if match else ""
    initial = len(word.rpartition(".")[2]) < 2  # "J.", "U.S.", "..."
    return not (initial or word.casefold() in ABBREVIATIONS or word[-1:].isdigit())

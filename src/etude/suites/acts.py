"""Which act an answer is: answer, refuse, ask_back or hand_over; or incoherent, which is none of them.

Rules over phrases (acts.yaml), the first that holds:

1. incoherent: nothing said, template tokens, the question repeated, the same over and over, or numbers alone;
2. the task's own phrases for an act, wherever they stand;
3. hand_over: a phrase that sends the reader to a person, if the answer is short, refuses too, or begins with it;
4. refuse: a refusal in the first two sentences; a partial refusal counts;
5. ask_back: a short answer ends in a question to the user and is mostly questions, or asks to be told something;
6. answer: everything else, and whatever keeps a contract of labels or JSON.

English only. An answer that refuses in other words, or that looks like an answer and is nonsense, is read as an answer.
docs/trust.md has the measured accuracy.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from etude.base.word_lists import any_of, read_table
from etude.task.contract import Contract
from etude.types import Act

IN_WORDS: Mapping[Act, str] = {
    "answer": "answered",
    "refuse": "refused",
    "ask_back": "asked back",
    "hand_over": "handed over",
    "incoherent": "incoherent",
}
OPENING = 2
"""Sentences in which an answer refuses or hands over."""
SHORT = 60
"""Words up to which an answer may be nothing but a question back or a hand-over."""
ASKING = 0.3
"""Share of the words that must be in questions."""
LOOP, LOOP_WORDS = 0.4, 12
"""Share of the three-word phrases that stood there before, from so many words on, at which an answer is a loop."""

_READ = ("refuse", "hand_over", "ask_back", "tell_me")
"""Lists of phrases; `tell_me` asks back without a question mark."""


def _patterns() -> Mapping[str, re.Pattern[str]]:
    table = read_table(__file__, "acts.yaml")
    parts = {f"<{name}>": f"(?:{'|'.join(part)})" for name, part in table["parts"].items()}
    return {act: any_of([_with_parts(pattern, parts) for pattern in table[act]]) for act in _READ}


def _with_parts(pattern: str, parts: Mapping[str, str]) -> str:
    for name, part in parts.items():
        pattern = pattern.replace(name, part)
    return pattern


_PHRASES = _patterns()
_SENTENCES = re.compile(r"(?<=[.!?])[\"'”’)]*\s+|\n+")
_TEMPLATE = re.compile(r"<\|[^|>\n]{1,30}\|>|\[/?INST\]|<</?SYS>>")


@dataclass(frozen=True, slots=True)
class Reading:
    """An act, and what in the answer says so."""

    act: Act
    why: str = ""


def read_act(
    text: str,
    question: str = "",
    contract: Contract | None = None,
    own: Mapping[Act, Sequence[str]] | None = None,
) -> Reading:
    """The act of an answer to a question. `own` has the task's own words for acts.

    With a contract of fields the first field is read in place of the whole text.
    """
    if why := _incoherent(text, question):
        return Reading("incoherent", why)
    folded = text.casefold()
    for act, phrases in (own or {}).items():
        if phrase := next((phrase for phrase in phrases if phrase.casefold() in folded), ""):
            return Reading(act, phrase)
    if contract and not contract.check(text):
        if contract.labels or contract.json_schema is not None:
            return Reading("answer")
        if contract.fields:
            text = next(iter(contract.parse(text).values()))
    return _by_phrases(text)


def _by_phrases(text: str) -> Reading:
    sentences = [part.strip() for part in _SENTENCES.split(text.strip()) if part.strip()]
    opening, num_words = " ".join(sentences[:OPENING]), len(text.split())
    refused = _PHRASES["refuse"].search(opening)
    everywhere = refused or num_words <= SHORT
    if handed := _PHRASES["hand_over"].search(text if everywhere else opening):
        return Reading("hand_over", handed[0])
    if refused:
        return Reading("refuse", refused[0])
    questions = [sentence for sentence in sentences if sentence.endswith("?")]
    asked = sum(len(sentence.split()) for sentence in questions)
    if sentences and sentences[-1].endswith("?") and num_words <= SHORT and asked >= ASKING * num_words:
        found = _PHRASES["ask_back"].search(" ".join(questions))
        if found:
            return Reading("ask_back", found[0])
    if num_words <= SHORT and (told := _PHRASES["tell_me"].search(text)):
        return Reading("ask_back", told[0])
    return Reading("answer")


def _incoherent(text: str, question: str) -> str:
    """What makes a text incoherent; "" if nothing does."""
    words = re.findall(r"\w+", text.casefold())
    if not any(map(str.isalnum, text)):
        return "nothing is said"
    if found := _TEMPLATE.search(text):
        return f"template token {found[0]}"
    if len(words) > 2 and words == re.findall(r"\w+", question.casefold()):
        return "the question is repeated"
    if text.rstrip().endswith(":") and len(words) <= LOOP_WORDS:
        return "ends before anything is said"
    if len(words) >= LOOP_WORDS:
        phrases = list(zip(words, words[1:], words[2:], strict=False))
        if len(set(phrases)) <= (1 - LOOP) * len(phrases):
            return "says the same over and over"
        if sum(word.isdigit() for word in words) >= 0.9 * len(words):
            return "numbers only"
    return ""

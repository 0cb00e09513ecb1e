"""Read what an answer does: answer, refuse, ask_back, hand_over; or incoherent, if it does none of these.

The rules search for phrases (acts.yaml). The first rule that applies decides:

1. incoherent: no words, template tokens, the question repeated, the same words again and again, or counting;
2. the task's own phrases for an act, anywhere in the answer;
3. hand_over: a phrase that sends the reader to a person, if the answer is short, also refuses, or begins with it;
4. refuse: a refusal in the first two sentences, including a partial refusal;
5. ask_back: a short answer that ends in a question to the user and is mostly questions, or asks for information;
6. answer: everything else, and every answer that keeps a contract of labels or JSON.

Only English is supported. A refusal in other words, and nonsense that looks like an answer, are read as answers.
docs/trust.md reports the measured accuracy.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from etude.base.word_lists import merge_patterns, read_table
from etude.task.contract import Contract
from etude.types import Act

ACT_WORDS: Mapping[Act, str] = {
    "answer": "answered",
    "refuse": "refused",
    "ask_back": "asked back",
    "hand_over": "handed over",
    "incoherent": "incoherent",
}
OPENING = 2  # sentences in which an answer refuses or hands over
SHORT = 60  # most words of an answer that only asks back or hands over
ASKING = 0.3  # least share of words in questions for an answer to count as a question back
LOOP, LOOP_WORDS = 0.4, 12
"""An answer of at least LOOP_WORDS words is a loop if the share LOOP of its three-word phrases is repeated."""
_LISTS = ("refuse", "hand_over", "ask_back", "tell_me")
"""Lists of phrases; those of `tell_me` ask back without a question mark."""


def _load_patterns() -> Mapping[str, re.Pattern[str]]:
    table = read_table(__file__, "acts.yaml")
    patterns = {}
    for act in _LISTS:
        text = "\n".join(table[act])
        for name, alternatives in table["parts"].items():
            text = text.replace(f"<{name}>", f"(?:{'|'.join(alternatives)})")
        patterns[act] = merge_patterns(text.split("\n"))
    return patterns


_PHRASES = _load_patterns()
_SENTENCES = re.compile(r"(?<=[.!?])[\"'”’)]*\s+|\n+")
_TEMPLATE = re.compile(r"<\|[^|>\n]{1,30}\|>|\[/?INST\]|<</?SYS>>")


@dataclass(frozen=True, slots=True)
class ActReading:
    """An act, and the phrase in the answer that decided it."""

    act: Act
    phrase: str = ""


def read_act(
    text: str,
    question: str = "",
    contract: Contract | None = None,
    own_phrases: Mapping[Act, Sequence[str]] | None = None,
) -> ActReading:
    """Read the act of an answer to a question; `own_phrases` are the task's own words for acts.

    With a contract of fields, the first field is read instead of the whole text.
    """
    if problem := _find_incoherence(text, question):
        return ActReading("incoherent", problem)
    folded = text.casefold()
    for act, phrases in (own_phrases or {}).items():
        if phrase := next((phrase for phrase in phrases if phrase.casefold() in folded), ""):
            return ActReading(act, phrase)
    if contract and not contract.check(text):
        if contract.labels or contract.json_schema is not None:
            return ActReading("answer")
        if contract.fields:
            text = next(iter(contract.parse(text).values()))
    return _match_phrases(text)


def _match_phrases(text: str) -> ActReading:
    sentences = [sentence.strip() for sentence in _SENTENCES.split(text.strip()) if sentence.strip()]
    opening, num_words = " ".join(sentences[:OPENING]), len(text.split())
    refused = _PHRASES["refuse"].search(opening)
    # A long answer that only ends with "ask a doctor" still answers.
    searched = text if refused or num_words <= SHORT else opening
    if match := _PHRASES["hand_over"].search(searched):
        return ActReading("hand_over", match[0])
    if refused:
        return ActReading("refuse", refused[0])
    questions = [sentence for sentence in sentences if sentence.endswith("?") and not _is_title(sentence)]
    num_asking = sum(len(sentence.split()) for sentence in questions)
    is_asking = text.rstrip().endswith("?") and num_words <= SHORT and num_asking >= ASKING * num_words
    if is_asking and (match := _PHRASES["ask_back"].search(" ".join(questions))):
        return ActReading("ask_back", match[0])
    if num_words <= SHORT and (match := _PHRASES["tell_me"].search(text)):
        return ActReading("ask_back", match[0])
    return ActReading("answer")


def _is_title(sentence: str) -> bool:
    """Whether a question is the title of a work: all longer words except the first begin with a capital letter."""
    words = re.findall(r"[^\W\d_]{4,}", sentence.partition(" ")[2])
    return len(words) > 1 and all(word[0].isupper() for word in words)


def _find_incoherence(text: str, question: str) -> str:
    """Return the reason why a text is incoherent; "" if it is coherent."""
    words = re.findall(r"\w+", text.casefold())
    if not any(map(str.isalnum, text)):
        return "it has no words"
    if match := _TEMPLATE.search(text):
        return f"template token {match[0]}"
    if len(words) > 2 and words == re.findall(r"\w+", question.casefold()):
        return "it repeats the question"
    if text.rstrip().endswith(":") and len(words) <= LOOP_WORDS:
        return "it ends after a colon"
    if len(words) >= LOOP_WORDS:
        phrases = list(zip(words, words[1:], words[2:], strict=False))
        if len(set(phrases)) <= (1 - LOOP) * len(phrases):
            return "it repeats the same words"
        numbers = [int(word) for word in words if word.isdecimal() and len(word) < LOOP_WORDS]
        num_counted = sum(second - first in (0, 1) for first, second in pairwise(numbers))
        if num_counted >= 0.8 * len(words):
            return "it counts without end"
    return ""

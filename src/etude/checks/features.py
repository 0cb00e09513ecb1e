"""What a person would name about an answer's style: yes, no, or None where the answer gives no occasion."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from etude.checks.lexicon import AMERICAN, BRITISH, BRUSQUE, POLITE

Feature = Callable[[str], bool | None]

_PRICE = re.compile(r"[$€£]\s?\d|\b\d[\d.,]{0,12}\s?(?:USD|EUR|GBP|euros?|dollars?|pounds)\b")
_GREETING = re.compile(r"(?:hi|hello|hey|dear|good (?:morning|afternoon|evening))\b", re.IGNORECASE)
_BULLETS = re.compile(r"^\s{0,8}(?:[-*•]|\d{1,2}[.)])\s+\S", re.MULTILINE)
_FIRST = re.compile(r"\b(?:I|I'm|I've|we|we're|my|our)\b")
_SHORT = re.compile(r"\b\w{1,10}['’](?:t|re|ve|ll|d|m)\b", re.IGNORECASE)
_FULL = re.compile(
    r"\b(?:do|does|did|is|are|was|were|can|will|would|has|have) ?not\b|\b(?:I|you|we|they) (?:am|are|have|will)\b"
)
_EMOJI = re.compile("[\u2600-\u27bf\U0001f300-\U0001faff]")
_NAMED_DATE = re.compile(
    r"\b(?:\d{1,2}(?:st|nd|rd|th)? )?(?:January|February|March|April|May|June|July|August|September|October|"
    r"November|December)(?: \d{1,2}(?:st|nd|rd|th)?)?,? \d{4}\b"
)
_NUMBER_DATE = re.compile(r"\b(?:\d{4}-\d{2}-\d{2}|\d{1,2}[/.]\d{1,2}[/.]\d{2,4})\b")


@dataclass(frozen=True)
class Style:
    """A feature and how it is said of answers, after "48% of the answers"."""

    name: str
    have: str
    lack: str
    look: Feature


def _has(pattern: re.Pattern[str]) -> Feature:
    return lambda text: pattern.search(text) is not None


def _either(one: Feature, other: Feature) -> Feature:
    """Yes where only the one is so, no where only the other is, None where neither or both are."""

    def look(text: str) -> bool | None:
        first, second = bool(one(text)), bool(other(text))
        return None if first == second else first

    return look


def _any_of(words: frozenset[str]) -> Feature:
    return lambda text: not words.isdisjoint(re.findall(r"[a-z]+", text.casefold()))


def _ends_with(ending: str) -> Feature:
    return lambda text: text.rstrip().endswith(ending)


STYLES: tuple[Style, ...] = (
    Style("price", "give a price", "do not", _has(_PRICE)),
    Style(
        "greeting", "begin with a greeting", "do not", lambda text: _GREETING.match(text.lstrip()) is not None
    ),
    Style("list", "hold a list", "do not", _has(_BULLETS)),
    Style("question", "end with a question", "do not", _ends_with("?")),
    Style("exclamation", "end with an exclamation mark", "do not", _ends_with("!")),
    Style("first_person", "speak in the first person", "do not", _has(_FIRST)),
    Style("emoji", "hold an emoji", "do not", _has(_EMOJI)),
    Style("brusque", "sound brusque (obviously, duh, whatever)", "do not", _any_of(BRUSQUE)),
    Style("polite", "sound polite (please, kindly, thank you)", "do not", _any_of(POLITE)),
    Style("contractions", "contract words (don't)", "write them in full", _either(_has(_SHORT), _has(_FULL))),
    Style(
        "date",
        "write dates with the month's name",
        "in numbers",
        _either(_has(_NAMED_DATE), _has(_NUMBER_DATE)),
    ),
    Style(
        "spelling",
        "are spelled the British way",
        "the American way",
        _either(_any_of(BRITISH), _any_of(AMERICAN)),
    ),
)
"""In the order in which they are told."""

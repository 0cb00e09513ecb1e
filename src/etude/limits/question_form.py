"""The form in which a limit reads a question: without what does not change what is asked.

Clauses in danger and harmless ones were written by few people, who end a sentence, greet and
misspell each in their own way. A classifier learns that instead of what is said, unless it reads
both its examples and the questions in one form.
"""

import re
import unicodedata
from collections.abc import Iterable

from etude.base.word_lists import read_table
from etude.text.normal_forms import fold

_TABLE = read_table(__file__, "question_forms.yaml")
_SPELLINGS: dict[str, str] = _TABLE["spellings"]
_APOSTROPHES = str.maketrans("’‘`´ʼ", "'''''")
_DRAWN = ("So", "Sk", "Cf", "Cn", "Co")  # Unicode categories of emoji and of what joins them
_ELONGATED = re.compile(r"([^\W\d_])\1{2,}")
_REPEATED_MARKS = re.compile(r"([.,;:!?…])[\s.,;:!?…]*(?=[.,;:!?…])")
_WORD = re.compile(r"[\w']+")
_END_MARKS = " .,;:!?…-–—*~"


def _match_any(phrases: Iterable[str]) -> str:
    """A pattern that matches any of the phrases, the longest first."""
    return "|".join(map(re.escape, sorted(phrases, key=len, reverse=True)))


_GREETING = re.compile(
    rf"(?:{_match_any(_TABLE['greetings'])})"
    rf"(?:\s+(?:{_match_any(_TABLE['addressed'])})\b|\s+\w+(?=[,!.:]))?(?!\w)"
)
_COURTESY = _match_any(_TABLE["courtesies"])
_FIRST_COURTESY = re.compile(rf"(?:{_COURTESY})(?!\w)")
_LAST_COURTESY = re.compile(rf"(?<!\w)(?:{_COURTESY})\Z")


def to_question_form(text: str) -> str:
    """Return a question in small letters and usual spellings, without emoji, elongations, marks at
    its ends, a greeting, please and thanks; a text of nothing else is kept. The form of a form is
    itself.
    """
    form = fold(text).translate(_APOSTROPHES)
    form = "".join(" " if unicodedata.category(char) in _DRAWN else char for char in form)
    form = _ELONGATED.sub(r"\1", form)
    form = _REPEATED_MARKS.sub("", form)
    form = _WORD.sub(lambda match: _SPELLINGS.get(match[0], match[0]), form)
    form = " ".join(form.split()).strip(_END_MARKS)
    while shorter := _strip_phrase(form):
        form = shorter
    return form


def _strip_phrase(form: str) -> str:
    """The form without one greeting or courtesy; empty if there is none, or nothing else."""
    for pattern in (_GREETING, _FIRST_COURTESY):
        if phrase := pattern.match(form):
            return form[phrase.end() :].strip(_END_MARKS)
    if phrase := _LAST_COURTESY.search(form):
        return form[: phrase.start()].strip(_END_MARKS)
    return ""

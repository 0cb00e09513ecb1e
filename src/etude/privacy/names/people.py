"""Names of people after a title, a greeting, a signature or a label.

A run of capitalised words behind one of these counts as a name, without ordinary words at its ends. In a text without
any capital letter every word is read as if it had one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from etude.privacy.names.not_names import COMMON, FIELDS, OTHER, PARTICLES
from etude.privacy.spans import Span

_WORD = re.compile(r"[^\W\d_][\w'’]{0,40}(?:-[^\W\d_][\w'’]{0,40}){0,3}")
_TITLE = re.compile(
    r"\b(?:Mrs?|Ms|Miss|Mx|Dr|Prof(?:essor)?|Sir|Madam|Herrn?|Frau|Monsieur|Madame|M(?=\.)|Mmes?|Mlle|Se[ñn]or(?:a|ita)?"
    r"|Sra?(?=\.)|Srta|Sig(?=\.)|Signora?|Sig\.ra|[Dd]hr|[Mm]evr(?:ouw)?|[Mm]w(?=\.)|[Mm]eneer|Pani?|Officer"
    r"|Captain|Sergeant"
    r"|Detective|Senator|Reverend|Rev|Uncle|Aunt)\.? {1,2}(?:(?:de|van|von|der|den|del|la) ){0,3}$"
)
TITLED = "title"
"""The rule of a name after Mrs, Herr, Mme and the like: it holds in any language."""
GREETED = "greeting, signature or label"
"""The rule of a name that a letter begins or ends with, or that a label such as `Name:` says to be one."""
_GREETING = re.compile(
    r"(?:\b(?:[Hh]i|[Hh]ello|[Dd]ear|[Hh]ey)(?: there)?"
    r"|\b(?:[Rr]egards|[Ss]incerely|[Cc]heers|[Ss]igned|[Yy]ours(?: \w{2,10})?)[,:]?|\b[Tt]hank(?:s| you),?(?=\n)"
    r"|\b(?:[Mm]y|[Hh]is|[Hh]er|[Ff]ull|[Ff]irst|[Ll]ast|[Cc]ustomer|[Cc]lient|[Pp]atient|[Cc]ontact)(?:['’]s)? name"
    r"(?:['’]s)? ?(?:is|was|:|=)|(?:^|\n)\W{0,4}(?:[Nn]ame|[Aa]ttn) ?:)"
    r"[ \n]{1,3}[\"'“(]?$"
)
_AFTER_INITIAL = re.compile(r"\.| [^\W\d_a-z]")
_COMPANY_AFTER = re.compile(
    r" (?:&|and (?:Sons|Co|Partners))|,? (?:Inc|LLC|Ltd|GmbH|Corp|plc|Co)\b|[0-9 ]{2}"
)


class _Word(NamedTuple):
    start: int
    end: int
    text: str


def names(text: str) -> Iterator[Span]:
    """Names of people that a title, a greeting, a signature or a label announces."""
    cased = with_capitals(text)
    if not has_unknown_capitals(cased):
        return
    for run in _runs(cased):
        if rule := _rule(cased, run):
            yield Span(run[0].start, run[-1].end, "name", text[run[0].start : run[-1].end], rule)


def capitalised(text: str) -> Iterator[tuple[int, int]]:
    """Where two or more capitalised words that are no ordinary ones follow one another: perhaps a name."""
    for run in _runs(text):
        if run[0].text not in FIELDS and sum(len(word.text) > 1 for word in run) > 1:
            yield run[0].start, run[-1].end


def with_capitals(text: str) -> str:
    """The text itself; where it has no capital letter at all, the text with every word capitalised."""
    if text.lower() != text:
        return text
    titled = text.title()
    return titled if len(titled) == len(text) else text


def has_unknown_capitals(text: str) -> bool:
    """Whether a capitalised word is no ordinary one: without any, no name is looked for."""
    return any(word[0].isupper() and len(word) > 1 and not _ordinary(word) for word in _WORD.findall(text))


def _runs(text: str) -> Iterator[list[_Word]]:
    """Capitalised words that follow one another, without ordinary words at either end."""
    run: list[_Word] = []
    for match in _WORD.finditer(text):
        if not run and not match[0][0].isupper():
            continue
        word = _trimmed(match)
        if run and text[run[-1].end : word.start] not in (" ", ". ", "  "):
            yield from _pieces(run)
            run = []
        if (_capital(word.text) and not _pronoun(text, word)) or (run and word.text in PARTICLES):
            run.append(word)
        elif run:
            yield from _pieces(run)
            run = []
    yield from _pieces(run)


def _pronoun(text: str, word: _Word) -> bool:
    """Whether an I speaks of the writer: "Frankly I am"; an initial has a full stop or another name behind it."""
    return word.text == "I" and not _AFTER_INITIAL.match(text, word.end)


def _trimmed(match: re.Match[str]) -> _Word:
    """The word without a possessive s."""
    text = match[0]
    plain = text[:-2] if text.endswith(("'s", "’s", "'S", "’S")) else text.rstrip("'’")
    return _Word(match.start(), match.start() + len(plain), plain)


def _capital(word: str) -> bool:
    return word[0].isupper() and (len(word) == 1 or not word.isupper() or len(word) > 3)


def _pieces(run: list[_Word]) -> Iterator[list[_Word]]:
    """The run cut at words that are no names; particles at its ends fall off."""
    piece: list[_Word] = []
    for word in [*run, None]:
        if word is not None and (_initial(word, piece) or not _ordinary(word.text)):
            piece.append(word)
            continue
        while piece and piece[-1].text in PARTICLES:
            piece.pop()
        while piece and piece[0].text in PARTICLES:
            piece.pop(0)
        if 1 <= len(piece) <= 6 and any(len(word.text) > 1 for word in piece):
            yield piece
        piece = []


def _initial(word: _Word, piece: list[_Word]) -> bool:
    """Whether a single letter stands after a name: the I of "Hanne I. Kreutzmann"."""
    return len(word.text) == 1 and bool(piece) and len(piece[-1].text) > 1


def _ordinary(word: str) -> bool:
    return word in COMMON or word in OTHER


def _rule(text: str, run: list[_Word]) -> str:
    """Why the run is a name; empty where nothing says so."""
    start, end = run[0].start, run[-1].end
    before, after = text[max(start - 48, 0) : start], text[end : end + 48]
    if _TITLE.search(before) or (run[0].text == "M" and len(run) > 1 and text[run[0].end] == "."):
        return TITLED
    if run[0].text in FIELDS or _COMPANY_AFTER.match(after):
        return ""
    return GREETED if _GREETING.search(before) else ""

"""Find names of people after a title, a greeting, a signature or a label.

A run of capitalised words in such a place is a name, without ordinary words at its ends. In a text
without capital letters, every word counts as capitalised.
"""

import re
from collections.abc import Iterator
from typing import NamedTuple

from etude.base.word_lists import read_words
from etude.privacy.spans import Span

_NOT_NAMES = read_words(__file__, "not_names.yaml")
PARTICLES = _NOT_NAMES["particles"]
FIELDS = _NOT_NAMES["fields"]
_ORDINARY = _NOT_NAMES["common"] | _NOT_NAMES["titles"] | _NOT_NAMES["other"]
_WORD = re.compile(r"[^\W\d_][\w'’]{0,40}(?:-[^\W\d_][\w'’]{0,40}){0,3}")
_TITLE = re.compile(
    r"\b(?:Mrs?|Ms|Miss|Mx|Dr|Prof(?:essor)?|Sir|Madam|Herrn?|Frau|Monsieur|Madame|M(?=\.)|Mmes?|Mlle|Se[ñn]or(?:a|ita)?"
    r"|Sra?(?=\.)|Srta|Sig(?=\.)|Signora?|Sig\.ra|[Dd]hr|[Mm]evr(?:ouw)?|[Mm]w(?=\.)|[Mm]eneer|Pani?|Officer"
    r"|Captain|Sergeant"
    r"|Detective|Senator|Reverend|Rev|Uncle|Aunt)\.? {1,2}(?:(?:de|van|von|der|den|del|la) ){0,3}$"
)
TITLED = "title"
"""The rule of a name after Mrs, Herr, Mme and the like, which works in any language."""
GREETED = "greeting, signature or label"
"""The rule of a name at the beginning or end of a letter, or after a label such as `Name:`."""
_GREETING = re.compile(
    r"(?:\b(?:[Hh]i|[Hh]ello|[Dd]ear|[Hh]ey)(?: there)?"
    r"|\b(?:[Rr]egards|[Ss]incerely|[Cc]heers|[Ss]igned|[Yy]ours(?: "
    r"\w{2,10})?)[,:]?|\b[Tt]hank(?:s| you),?(?=\n"
    r")"
    r"|\b(?:[Mm]y|[Hh]is|[Hh]er|[Ff]ull|[Ff]irst|[Ll]ast|[Cc]ustomer"
    r"|[Cc]lient|[Pp]atient|[Cc]ontact)(?:['’]s)? "
    r"name"
    r"(?:['’]s)? ?(?:is|was|:|=)|(?:^|\n)\W{0,4}(?:[Nn]ame|[Aa]ttn) ?:)"
    r"[ \n]{1,3}[\"'“(]?$"
)
# In a text without capital letters, a greeting ends with a name if punctuation or a line break
# follows.
_ENDS_GREETING = re.compile(r"[,!]|\s*\n")
_SIGNED = re.compile(
    r"\b(?:regards|sincerely|cheers|signed|yours(?: \w{2,10})?|thank(?:s| you))[,:]?[ ]*[,\n]\W*$",
    re.I,
)
_SIGNATURE_END = re.compile(r"\W*(?:\n|$)")
_LABELLED = re.compile(r"\bname\b\W{0,3}(?:is|was)?\W{0,4}$", re.I)
_AFTER_INITIAL = re.compile(r"\.| [^\W\d_a-z]")
_COMPANY_AFTER = re.compile(
    r" (?:&|and (?:Sons|Co|Partners))|,? (?:Inc|LLC|Ltd|GmbH|Corp|plc|Co)\b|[0-9 ]{2}"
)


class _Word(NamedTuple):
    start: int
    end: int
    text: str


def find_names(text: str) -> Iterator[Span]:
    """Find names after a title, a greeting, a signature or a label."""
    cased = to_title_case(text)
    if not any(
        word[0].isupper() and len(word) > 1 and word not in _ORDINARY
        for word in _WORD.findall(cased)
    ):
        return
    for run in _find_runs(cased):
        start = run[0].start
        end = run[-1].end
        before = cased[max(start - 48, 0) : start]
        after = cased[end : end + 48]
        plain = text[max(start - 48, 0) : start]
        is_m = run[0].text == "M" and len(run) > 1 and cased[run[0].end] == "."
        if _TITLE.search(before) or is_m:
            yield Span(start, end, "name", text[start:end], TITLED)
        elif (
            run[0].text not in FIELDS
            and not _COMPANY_AFTER.match(after)
            and _GREETING.search(plain)
        ):
            if cased is not text and not _is_set_apart(len(run), plain, after):
                continue
            yield Span(start, end, "name", text[start:end], GREETED)


def _is_set_apart(num_words: int, before: str, after: str) -> bool:
    """Whether punctuation shows that words without capital letters are a name; otherwise any word
    may follow "hi".
    """
    if _LABELLED.search(before):
        return True
    ending = _SIGNATURE_END if _SIGNED.search(before) else _ENDS_GREETING
    return num_words <= 2 and bool(ending.match(after))


def find_capitalised(text: str) -> Iterator[tuple[int, int]]:
    """Yield (start, end) of two or more capitalised words in a row that are not ordinary words:
    possibly a name.
    """
    for run in _find_runs(text):
        if run[0].text not in FIELDS and sum(len(word.text) > 1 for word in run) > 1:
            yield run[0].start, run[-1].end


def to_title_case(text: str) -> str:
    """Capitalise every word of a text that has no capital letter; return any other text
    unchanged.
    """
    if text.lower() != text:
        return text
    titled = text.title()
    return titled if len(titled) == len(text) else text


def _find_runs(text: str) -> Iterator[list[_Word]]:
    """Yield runs of capitalised words, without ordinary words at either end."""
    run: list[_Word] = []
    for match in _WORD.finditer(text):
        if not run and not match[0][0].isupper():
            continue
        # Without a possessive s.
        has_possessive = match[0].endswith(("'s", "’s", "'S", "’S"))
        name = match[0][:-2] if has_possessive else match[0].rstrip("'’")
        word = _Word(match.start(), match.start() + len(name), name)
        if run and text[run[-1].end : word.start] not in (" ", ". ", "  "):
            yield from _split_run(run)
            run = []
        # "I" is the writer; an initial has a full stop or another name after it.
        is_pronoun = word.text == "I" and not _AFTER_INITIAL.match(text, word.end)
        is_capitalised = name[0].isupper() and (
            len(name) == 1 or not name.isupper() or len(name) > 3
        )
        if (is_capitalised and not is_pronoun) or (run and name in PARTICLES):
            run.append(word)
        elif run:
            yield from _split_run(run)
            run = []
    yield from _split_run(run)


def _split_run(run: list[_Word]) -> Iterator[list[_Word]]:
    """Split a run at ordinary words, and strip particles from the ends of the pieces."""
    piece: list[_Word] = []
    for word in [*run, None]:
        # A single letter after a name is an initial: the I of "Hanne I. Kreutzmann".
        is_initial = word is not None and len(word.text) == 1 and piece and len(piece[-1].text) > 1
        if word is not None and (is_initial or word.text not in _ORDINARY):
            piece.append(word)
            continue
        while piece and piece[-1].text in PARTICLES:
            piece.pop()
        while piece and piece[0].text in PARTICLES:
            piece.pop(0)
        if 1 <= len(piece) <= 6 and any(len(word.text) > 1 for word in piece):
            yield piece
        piece = []

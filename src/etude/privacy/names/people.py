"""Names of people, by what stands around capitalised words.

A run of capitalised words counts as a name when a title, a greeting, "my name is", a role or a verb of saying
stands beside it, when it has a middle initial, when it stands on a line of its own, when an e-mail address in
the same text repeats it, when its first word is a known given name, or, in two or three words, when nothing
says that it is anything else. English texts; a name in small letters is not found.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from itertools import islice
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
_CUE = re.compile(
    r"(?:\bname(?:s|d)?(?:'s)? ?(?:is|was|are|him|her|them|:|=|to|on the \w{1,12})?"
    r"|\bI['’]?m|\bI am|\b[Tt]his is|\bcalled|\b[Hh]i|\b[Hh]ello|\b[Dd]ear|\b[Hh]ey|\b[Tt]hanks?,?"
    r"|\b[Rr]egards,?|\b[Cc]heers,?"
    r"|\b[Ss]igned|\b[Ss]incerely,?|\bcontact|\bask for|\bspeak (?:to|with)|\bspoke (?:to|with)|\btalk(?:ed"
    r"|ing)? (?:to|with)"
    r"|\b(?:said|says|asked|replied|wrote|explains?|explained|told|added|adds|points out,?|writes|argues|recalls)"
    r"|\b(?:user|client|customer|employee|patient|agent|resident|clerk|colleague|manager|director|officer"
    r"|suspect|developer"
    r"|engineer|analyst|producer|singer|actor|author|writer|guitarist|drummer|artist|brother|sister|mother"
    r"|father|son"
    r"|daughter|wife|husband|friend|uncle|aunt|cousin|boss|neighbou?r|founder|founded|CEO|recipient|holder"
    r"|guardian"
    r"|beneficiary|commenter|reporter|judge|nurse|doctor|teacher|professor|coach|captain|president"
    r"|senator)(?: is| was| named|,|:)?"
    r"|\bbelong(?:s|ing) to|\bowned by|\bwritten by|\bsubmitted by|\bused by|\bsung by|\bbehalf of"
    r"|\bconcerning|\bdetails for"
    r"|\brecords? for|\bverification for|\b(?:said|gave|wrote|sent|told|says|whispered)\b[^.\n]{1,30} to"
    r"|\bname\?|\bassistant to|\bknow|\bmeet|\bmarried|\bmet|\bbetween|\bnamely)[ \n]{1,2}[\"'“(]?$"
)
_AFTER = re.compile(
    r"(?:['’]s (?:\w+ )?(?:SSN|passport|address|e-?mail|account|phone|number|card|house|kid|daughter|son"
    r"|wife|husband|mother|father"
    r"|brother|sister|friend|driver|Aadhar|PAN|tax|bank|contact|birthday|killers?|case|file|records?|name"
    r"|license|licence)"
    r"|,? (?:said|says|asked|asks|replied|wrote|writes|told|tells|called|calls|lives|lived|works|worked"
    r"|was born|is from|turned"
    r"|has been|submitted|listed|joined|moved|flew|spent|sang|sings|began|can I|could you|please)\b"
    r"|,? (?:aged|age) [0-9])"
)
_AFTER_INITIAL = re.compile(r"\.| [^\W\d_a-z]")
_LINE_START = re.compile(r"(?:^|\n)[>?*#|\-\t ]{0,8}$")
_SPEAKER = re.compile(r" ?: ?[\"“A-Z¿¡]")
_QUOTED_SPEECH = re.compile(r" ?: ?[\"“]")
"""What follows a speaker where nothing has a capital letter: auth: the call failed, is said by nobody."""
_CALLED = re.compile(r"[a-z], $")
_CALL_ENDS = re.compile(r"[!?]")
_SENTENCE_START = re.compile(r"(?:^|[.!?:\"“”\n] ?|\bthat )$")
_VERB = re.compile(
    r" (?!(?:of|for|in|at|by|or|to|on|from|with|without|under|over|per|via|between)\b)[a-z]{2,}"
)
_PRONOUN = re.compile(r"\b(?:he|she|him|her|his|hers|He|She|His|Her|You)\b")
_AT_ADDRESS = re.compile(r"[0-9]{1,5} (?:[A-ZÀ-Þ][\w'’.-]{1,30} ){0,3}$|, $")
_NUMBER = re.compile(r"[0-9]")
_PLURAL = re.compile(r" (?:were|are|have|had)\b")
_MARKS = " >?*#|-\t"
_QUOTES = ('"', "“", "”", "'", "‘", "’", "«", "»")
_JOINTS = (" and ", ", ", ", and ", " & ", " or ", " und ", " et ", " y ")
_SURE = (
    TITLED,
    GREETED,
    "said before it",
    "said after it",
    "given name",
    "speaker",
    "spoken to",
    "repeated by an e-mail address",
    "a pronoun follows",
)
"""Rules that are enough for a text without capital letters, and for the same word elsewhere in the text."""
_PLACE_BEFORE = re.compile(r"(?:\b(?:in|at|near|from|of|via|visit|the|The|on|to)|[0-9]) $")
_COMPANY_AFTER = re.compile(
    r" (?:&|and (?:Sons|Co|Partners))|,? (?:Inc|LLC|Ltd|GmbH|Corp|plc|Co)\b|[0-9 ]{2}"
)
_LOCAL = re.compile(r"([\w.+-]{3,64})@")


class _Word(NamedTuple):
    start: int
    end: int
    text: str


@dataclass(frozen=True, slots=True)
class _Clues:
    """What is the same for every word of a text, looked up once: a text may hold thousands."""

    given: Collection[str]
    """Known given names."""
    mailboxes: str
    """What stands before an @, in small letters, apart by spaces."""
    last_pronoun: int
    """Where the last one begins, -1 where there is none."""


def _clues(text: str, given: Collection[str]) -> _Clues:
    mailboxes = islice(_LOCAL.finditer(text), 50) if "@" in text else ()
    last = max((match.start() for match in _PRONOUN.finditer(text)), default=-1)
    return _Clues(given, " ".join(match[1].casefold() for match in mailboxes), last)


def names(text: str, given: Collection[str] = ()) -> Iterator[Span]:
    """Names of people; `given` holds known given names, capitalised as they are written."""
    cased = with_capitals(text)
    if not has_unknown_capitals(cased):
        return
    runs = list(_runs(cased))
    clues = _clues(cased, given)
    rules = [_rule(cased, run, clues) for run in runs]
    if cased is not text:
        rules = [
            rule if rule in _SURE and (rule != "speaker" or _QUOTED_SPEECH.match(text, run[-1].end)) else ""
            for run, rule in zip(runs, rules, strict=True)
        ]
    for run, rule in zip(runs, _spread(text, runs, rules), strict=True):
        if rule:
            yield Span(run[0].start, run[-1].end, "name", text[run[0].start : run[-1].end], rule)


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


def _rule(text: str, run: list[_Word], clues: _Clues) -> str:
    """Why the run is a name; empty where nothing says so."""
    start, end = run[0].start, run[-1].end
    before, after = text[max(start - 48, 0) : start], text[end : end + 48]
    long = [word.text for word in run if word.text not in PARTICLES]
    if _TITLE.search(before) or (run[0].text == "M" and len(run) > 1 and text[run[0].end] == "."):
        return TITLED
    if len(long) >= 3 and any(len(word) == 1 for word in long[1:-1]):
        return "middle initial"
    if run[0].text in FIELDS or _COMPANY_AFTER.match(after):
        return ""
    for rule, holds in (
        (GREETED, _GREETING.search(before)),
        ("said before it", _CUE.search(before)),
        ("spoken to", _CALLED.search(before) and _CALL_ENDS.match(after)),
        ("speaker", _LINE_START.search(before) and len(long) <= 3 and _SPEAKER.match(after)),
        ("repeated by an e-mail address", _in_email(clues, long)),
    ):
        if holds:
            return rule
    if _PLACE_BEFORE.search(before):
        return ""
    return _weaker_rule(text, start, end, long, clues)


def _weaker_rule(text: str, start: int, end: int, long: list[str], clues: _Clues) -> str:
    """Reasons that do not hold after a preposition of place."""
    before, after = text[max(start - 48, 0) : start], text[end : end + 48]
    shouted = all(map(str.isupper, long))
    quoted = before[-1:] in _QUOTES and after[:1] in _QUOTES
    for rule, holds in (
        ("said after it", _AFTER.match(after)),
        ("given name", any(word in clues.given or word.title() in clues.given for word in long)),
        (
            "a pronoun follows",
            _SENTENCE_START.search(before) and _VERB.match(after) and clues.last_pronoun >= end,
        ),
        ("line of its own", 2 <= len(long) <= 3 and _own_line(text, start, end)),
        (
            "capitalised words",
            2 <= len(long) <= 3 and not shouted and not quoted and not _AT_ADDRESS.search(before),
        ),
    ):
        if holds:
            return rule
    return ""


def _own_line(text: str, start: int, end: int) -> bool:
    """Whether the words are a line, and the lines around it hold no number, as an address would."""
    first = text.rfind("\n", max(start - 12, 0), start) + 1
    if text[max(first, start - 12) : start].strip(_MARKS) or (first == 0 and start > 12):
        return False
    rest = text[end : end + 80].split("\n")
    previous = text[max(first - 80, 0) : max(first - 1, 0)].split("\n")[-1]
    return (
        not rest[0].strip(" ,.\t")
        and not _NUMBER.search(previous)
        and not any(map(_NUMBER.search, rest[1:2]))
    )


def _in_email(clues: _Clues, words: list[str]) -> bool:
    """Whether the part before an @ in the text holds one of the words."""
    return any(len(word) > 3 and word.casefold() in clues.mailboxes for word in words)


def _spread(text: str, runs: list[list[_Word]], rules: list[str]) -> list[str]:
    """The rules, with those runs added that share a word with a name or stand in a list of names."""
    known = {word.text for run, rule in zip(runs, rules, strict=True) if rule in _SURE for word in run}
    known = {word for word in known if len(word) > 2 and word not in PARTICLES}
    spread = [
        rule or ("repeated" if any(word.text in known for word in run) else "")
        for run, rule in zip(runs, rules, strict=True)
    ]
    for group in _lists(text, runs):
        last = runs[group[-1]][-1].end
        several = len(group) >= 3 or bool(_PLURAL.match(text[last : last + 6]))
        if (several and text[runs[group[0]][0].start].isupper()) or any(spread[place] for place in group):
            for place in group:
                spread[place] = spread[place] or "in a list"
    return spread


def _lists(text: str, runs: list[list[_Word]]) -> Iterator[list[int]]:
    """Places of runs that a comma or "and" joins."""
    group: list[int] = []
    for place, run in enumerate(runs):
        gap = text[runs[place - 1][-1].end : run[0].start] if place else ""
        if gap.casefold() not in _JOINTS:
            if len(group) > 1:
                yield group
            group = []
        group.append(place)
    if len(group) > 1:
        yield group

"""When two texts are one value, and where values that were found stand again.

Numbers are compared by their letters and digits, whatever stands between; keys and passwords to the letter; all else
whatever its capitals and spaces.
"""

from __future__ import annotations

import json
import re
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import accumulate, pairwise

from etude.privacy.mask.letter_runs import RUN
from etude.privacy.plain import as_read, plain_text
from etude.privacy.spans import Span

NUMBERS = frozenset(("card", "iban", "national_id", "phone", "id_number"))
"""Kinds that people write with different spaces and hyphens."""
SECRETS = frozenset(("private_key", "api_key", "password"))
"""Kinds in which every character counts."""
FREE = 7
"""Letters and digits from which on a number is looked for with other spaces and hyphens: a PIN is not looked for in
a price."""
_SPACES = re.compile(r"\s+")
_ASCII_RUN = re.compile("[a-z0-9]+")
"""RUN in a text of small ASCII letters."""
_GAP = re.compile(r"[ .\-/()]{0,3}")
_DATE = re.compile(r"[0-9]{4}([-./ ])[0-9]{1,2}\1[0-9]{1,2}|[0-9]{1,2}([-./ ])[0-9]{1,2}\2[0-9]{2,4}")
_PREFIX = 4


def canonical(kind: str, text: str) -> str:
    """What is equal for two ways to write one value."""
    text = unescaped(text)
    if kind in SECRETS:
        return text
    if kind in NUMBERS:
        return "".join(filter(str.isalnum, text)).casefold() or text
    return _SPACES.sub(" ", text.strip()).casefold() or text


def unescaped(text: str) -> str:
    """What a text means inside the strings of JSON, where it can stand there."""
    if "\\" not in text:
        return text
    try:
        return str(json.loads(f'"{text}"', strict=False))
    except ValueError:
        return text


def escaped(text: str, ascii_only: bool) -> str:
    """How a text is written inside the strings of JSON."""
    return json.dumps(text, ensure_ascii=ascii_only)[1:-1]


class Values:
    """Values that were found, to find them in texts where nothing else tells that they are there.

    A text costs time by its own length, however many values there are.
    """

    def __init__(self) -> None:
        self._numbers: dict[str, str] = {}
        """Letters and digits of a number -> its kind."""
        self._lengths: set[int] = set()
        self._starts: set[str] = set()
        self._openings: set[str] = set()
        """The first characters of the numbers, one to _PREFIX: what a run begins with that opens one."""
        self._literal: defaultdict[tuple[str, ...], dict[str, str]] = defaultdict(dict)
        """Runs of letters and digits -> other values that consist of them -> kind."""
        self._counts: defaultdict[str, set[int]] = defaultdict(set)
        """First run -> how many runs the values have that it opens."""

    def __bool__(self) -> bool:
        return bool(self._numbers or self._literal)

    def add(self, kind: str, text: str) -> None:
        """Adds a value; the first of two kinds stays."""
        plain = canonical(kind, text)
        if kind in NUMBERS and len(plain) >= FREE:
            self._numbers.setdefault(plain, kind)
            self._lengths.add(len(plain))
            self._starts.add(plain[:_PREFIX])
            self._openings |= {plain[:length] for length in range(1, _PREFIX + 1)}
            return
        meant = unescaped(text)
        for form in (text, as_read(meant), escaped(meant, True), escaped(meant, False)):
            runs = tuple(run[0].casefold() for run in RUN.finditer(form))
            self._literal[runs].setdefault(form, kind)
            self._counts["".join(runs[:1])].add(len(runs))

    def spans(self, text: str) -> Iterator[Span]:
        """Where the values stand, as whole words, the strings of JSON included; some may overlap."""
        read = plain_text(text)
        yield from read.placed(self._spans(read.plain))

    def _spans(self, text: str) -> Iterator[Span]:
        # Of most texts no run opens a value, and where each stands is not asked.
        found = _ASCII_RUN.findall(text.lower()) if text.isascii() else RUN.findall(text)
        literal = "" in self._counts or not self._counts.keys().isdisjoint(map(str.casefold, found))
        number = bool(self._openings) and not self._openings.isdisjoint(
            [run[:_PREFIX].lower() for run in found]
        )
        runs = list(RUN.finditer(text)) if literal or number else ()
        if literal:
            yield from self._as_they_are(text, runs)
        if number:
            yield from self._written_otherwise(text, runs)

    def _as_they_are(self, text: str, runs: Sequence[re.Match[str]]) -> Iterator[Span]:
        for form, kind in self._literal.get((), {}).items():  # nothing but marks
            for match in re.finditer(re.escape(form), text):
                yield Span(*match.span(), kind, form, "the same value")
        words = [run[0].casefold() for run in runs]
        for first, word in enumerate(words):
            for count in self._counts.get(word, ()):
                for form, kind in self._literal.get(tuple(words[first : first + count]), {}).items():
                    begins = RUN.search(form)
                    start = runs[first].start() - (begins.start() if begins else 0)
                    found = text[max(start, 0) : start + len(form)]
                    if found == form or (kind not in SECRETS and found.casefold() == form.casefold()):
                        yield Span(start, start + len(form), kind, found, "the same value")

    def _written_otherwise(self, text: str, runs: Sequence[re.Match[str]]) -> Iterator[Span]:
        plain = "".join(run[0] for run in runs).lower()
        begins = list(accumulate((run.end() - run.start() for run in runs), initial=0))
        if len(plain) != begins[-1]:
            return  # a letter that is two in the other case
        for first, begin in enumerate(begins[:-1]):
            if plain[begin : begin + _PREFIX] not in self._starts:
                continue
            for length in self._lengths:
                kind = self._numbers.get(plain[begin : begin + length])
                last = bisect_left(begins, begin + length)
                if kind and begin + length in begins[last : last + 1] and _is_one(text, runs[first:last]):
                    start, end = runs[first].start(), runs[last - 1].end()
                    yield Span(start, end, kind, text[start:end], "the same value")


def is_telling(kind: str, text: str) -> bool:
    """Whether a value is nothing else wherever it stands: no PIN, which may be a year or a price elsewhere."""
    if kind in NUMBERS:
        return len(canonical(kind, text)) >= FREE
    return kind not in SECRETS or (len(text) >= FREE and any(map(str.isdigit, text)))


def is_word(kind: str, text: str) -> bool:
    """Whether a password is a word, which means something else where it stands without its label."""
    return kind == "password" and all(part.isalpha() for part in re.split("[-_.' ]", text) if part)


def _is_one(text: str, runs: Sequence[re.Match[str]]) -> bool:
    """Whether runs of letters and digits stand near enough to be one number, and are no date."""
    if len(runs) > 1 and _DATE.fullmatch(text[runs[0].start() : runs[-1].end()]):
        return False
    return all(_GAP.fullmatch(text, one.end(), other.start()) for one, other in pairwise(runs))

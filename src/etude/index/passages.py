"""Texts as passages: whole where a text is short, else by its headings and paragraphs.

Each passage keeps its place (file, and heading, page or record), so that an answer can name where it is from.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

WORDS = 180
"""Words of a passage at most, unless one paragraph is longer: what a small encoder reads in 256 tokens."""
CHARACTERS = 12
"""Characters that count as a word at least: not every script has spaces between words."""
MOST_CHARACTERS = CHARACTERS * WORDS
"""A paragraph of more characters is cut between words."""
_HEADING = re.compile(r"^(#{1,6})\s+(.+?)\s*#*$")


@dataclass(frozen=True, slots=True)
class Passage:
    """A stretch of a document that can be looked up."""

    text: str
    file: str
    """Path below the folder of documents, the file's name, or the address of a web page."""
    place: str = ""
    """The heading it is under, or the number of its page or record; empty for a whole document."""

    @property
    def name(self) -> str:
        """File and place, as an answer cites it."""
        return f"{self.file}: {self.place}" if self.place else self.file


def passages_of(text: str, name: str) -> Iterator[Passage]:
    """The passages of one document: itself where it is short, else its sections, packed by paragraph.

    Under a heading, each passage begins with it, so that it can be understood alone.
    """
    text = text.strip()
    if not text:
        return
    if _num_words(text) <= WORDS:
        yield Passage(text, name)
        return
    for headings, paragraphs in _sections(text):
        place = " > ".join(headings)
        for body, part in _parts(paragraphs):
            yield Passage(f"{place}\n\n{body}" if place else body, name, (place + part).strip(", "))


def passages_at(text: str, name: str, place: str) -> Iterator[Passage]:
    """The passages of a page or a record, whose place is known: the whole, or stretches of its lines."""
    lines = [piece for line in text.strip().splitlines() for piece in _cut(line)]
    for body, part in _parts(lines, "\n"):
        yield Passage(body, name, place + part)


def _parts(pieces: Iterable[str], between: str = "\n\n") -> Iterator[tuple[str, str]]:
    """Pieces packed up to `WORDS`, each with what tells it from the first: ", part 2"."""
    for number, body in enumerate(_packed(pieces, between), start=1):
        if body.strip():
            yield body, f", part {number}" if number > 1 else ""


def _sections(text: str) -> Iterator[tuple[Sequence[str], list[str]]]:
    """The headings above each section, from the highest on, and its paragraphs."""
    headings: dict[int, str] = {}
    paragraphs: list[str] = []
    for block in re.split(r"\n\s*\n", text):
        first, _, rest = block.partition("\n")
        if found := _HEADING.match(first.strip()):
            if paragraphs:
                yield tuple(headings.values()), paragraphs
            paragraphs = []
            level = len(found[1])
            headings = {key: title for key, title in headings.items() if key < level} | {level: found[2]}
            block = rest
        if block.strip():
            paragraphs += _cut(block.strip())
    if paragraphs:
        yield tuple(headings.values()), paragraphs


def _cut(paragraph: str) -> Iterator[str]:
    """The paragraph, or stretches of it between words where it is very long."""
    while len(paragraph) > MOST_CHARACTERS:
        end = paragraph.rfind(" ", 1, MOST_CHARACTERS)
        end = end if end > 0 else MOST_CHARACTERS
        yield paragraph[:end]
        paragraph = paragraph[end:].lstrip()
    yield paragraph


def _packed(pieces: Iterable[str], between: str) -> Iterator[str]:
    """Paragraphs or lines joined up to `WORDS`."""
    packed: list[str] = []
    num_words = 0
    for piece in pieces:
        more = _num_words(piece)
        if packed and num_words + more > WORDS:
            yield between.join(packed)
            packed, num_words = [], 0
        packed.append(piece)
        num_words += more
    if packed:
        yield between.join(packed)


def _num_words(text: str) -> int:
    return max(len(text.split()), len(text) // CHARACTERS)

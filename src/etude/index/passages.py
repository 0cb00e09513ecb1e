"""Split texts into passages: a short text is one passage, a longer one is split at its headings and
paragraphs.

Each passage has its file and its heading, page or record, so that an answer can cite its source.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

# Maximum number of words of a passage, unless one paragraph is longer: about the 256 tokens that a
# small encoder reads.
MAX_WORDS = 180
# Characters that count as at least one word, because not every script has spaces between words.
CHARACTERS_PER_WORD = 12
MAX_PARAGRAPH = (
    CHARACTERS_PER_WORD * MAX_WORDS
)  # A paragraph of more characters is split between words
_HEADING = re.compile(r"^(#{1,6})\s+(.+?)\s*#*$")


@dataclass(frozen=True, slots=True)
class Passage:
    """A part of a document that can be retrieved."""

    text: str
    file: str
    """Path in the folder of documents, the file's name, or the address of a web page."""
    section: str = ""
    """Its headings, page or record; empty for a whole document."""

    @property
    def name(self) -> str:
        return f"{self.file}: {self.section}" if self.section else self.file


def split_document(text: str, name: str) -> Iterator[Passage]:
    """Split one document: a short one is one passage; otherwise each section's paragraphs are
    packed into some.

    Each passage under a heading begins with the heading, so that it can be understood alone.
    """
    text = text.strip()
    if not text:
        return
    if _count_words(text) <= MAX_WORDS:
        yield Passage(text, name)
        return
    for headings, paragraphs in _split_sections(text):
        section = " > ".join(headings)
        for body, suffix in _pack(paragraphs):
            content = f"{section}\n\n{body}" if section else body
            yield Passage(content, name, (section + suffix).strip(", "))


def split_page(text: str, name: str, section: str) -> Iterator[Passage]:
    """Split a page or a record, whose section is known, into passages of consecutive lines."""
    lines = [piece for line in text.strip().splitlines() for piece in _split_paragraph(line)]
    for body, suffix in _pack(lines, "\n"):
        yield Passage(body, name, section + suffix)


def _split_sections(text: str) -> Iterator[tuple[Sequence[str], list[str]]]:
    """Yield the headings above each section, from the highest on, and its paragraphs."""
    headings: dict[int, str] = {}
    paragraphs: list[str] = []
    for block in re.split(r"\n\s*\n", text):
        first_line, _, body = block.partition("\n")
        if match := _HEADING.match(first_line.strip()):
            if paragraphs:
                yield tuple(headings.values()), paragraphs
            paragraphs = []
            level = len(match[1])
            headings = {key: title for key, title in headings.items() if key < level} | {
                level: match[2]
            }
            block = body
        if block.strip():
            paragraphs += _split_paragraph(block.strip())
    if paragraphs:
        yield tuple(headings.values()), paragraphs


def _split_paragraph(paragraph: str) -> Iterator[str]:
    while len(paragraph) > MAX_PARAGRAPH:
        end = paragraph.rfind(" ", 1, MAX_PARAGRAPH)
        end = end if end > 0 else MAX_PARAGRAPH
        yield paragraph[:end]
        paragraph = paragraph[end:].lstrip()
    yield paragraph


def _pack(pieces: Iterable[str], separator: str = "\n\n") -> Iterator[tuple[str, str]]:
    """Join paragraphs or lines up to `MAX_WORDS`; from the second on, each has its number: ", part
    2".
    """
    packs: list[list[str]] = [[]]
    num_words = 0
    for piece in pieces:
        num_new = _count_words(piece)
        if packs[-1] and num_words + num_new > MAX_WORDS:
            packs.append([])
            num_words = 0
        packs[-1].append(piece)
        num_words += num_new
    for number, pack in enumerate(packs, start=1):
        if (body := separator.join(pack)).strip():
            yield body, f", part {number}" if number > 1 else ""


def _count_words(text: str) -> int:
    return max(len(text.split()), len(text) // CHARACTERS_PER_WORD)

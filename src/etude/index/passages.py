"""A task's documents as passages: whole where a document is short, else by its headings and paragraphs.

Each passage keeps its place (file, and heading or record), so that an answer can name where it is from.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from etude.errors import Fault, InputError, shown

WORDS = 180
"""Words of a passage at most, unless one paragraph is longer: what a small encoder reads in 256 tokens."""
TEXT = (".md", ".markdown", ".txt", ".rst", "")
PAGES = (".html", ".htm")
RECORDS = (".jsonl", ".csv", ".tsv")
MOST_CHARACTERS = 6 * WORDS * 2
"""A paragraph of more characters is cut between words."""
_HEADING = re.compile(r"^(#{1,6})\s+(.+?)\s*#*$")


@dataclass(frozen=True, slots=True)
class Passage:
    """A stretch of a document that can be looked up."""

    text: str
    file: str
    """Path below the folder of documents, or the file's name."""
    place: str = ""
    """The heading it is under, or the record's number; empty for a whole document."""

    @property
    def name(self) -> str:
        """File and place, as an answer cites it."""
        return f"{self.file}: {self.place}" if self.place else self.file


def read_passages(path: Path) -> tuple[Passage, ...]:
    """The passages of a folder or of one file, in the order of the files' names; equal texts are kept once.

    Read are text, Markdown, HTML, and records as JSON lines, CSV or TSV. Hidden files are skipped. Raises
    InputError that names every file that cannot be read, and when there is no passage at all.
    """
    files = [path] if path.is_file() else sorted(file for file in path.rglob("*") if _is_visible(file, path))
    found: dict[str, Passage] = {}
    faults = []
    for file in files:
        name = file.name if path.is_file() else file.relative_to(path).as_posix()
        try:
            for passage in _of_file(file, name):
                found.setdefault(passage.text, passage)
        except (OSError, ValueError, csv.Error) as error:
            faults.append(Fault(f"documents: {name}", "this document cannot be read", str(error), _REMEDY))
    if not found and not faults:
        faults.append(Fault("documents", "there is no text in it", shown(str(path)), _REMEDY))
    if faults:
        raise InputError(faults)
    return tuple(found.values())


_REMEDY = f"save it as one of {', '.join(sorted({*TEXT, *PAGES, *RECORDS} - {''}))} in UTF-8, or remove it"


def _is_visible(file: Path, root: Path) -> bool:
    return file.is_file() and not any(part.startswith(".") for part in file.relative_to(root).parts)


def _of_file(file: Path, name: str) -> Iterator[Passage]:
    suffix = file.suffix.lower()
    if suffix in RECORDS:
        yield from _of_records(file, name, suffix)
    elif suffix in PAGES:
        yield from passages_of(plain_text(file.read_text(encoding="utf-8")), name)
    elif suffix in TEXT:
        yield from passages_of(file.read_text(encoding="utf-8-sig"), name)
    else:
        raise ValueError(f"files that end in {suffix} are not read by this version")


def _of_records(file: Path, name: str, suffix: str) -> Iterator[Passage]:
    for number, record in enumerate(_records(file, suffix), start=1):
        if text := "\n".join(f"{key}: {value}" for key, value in record.items() if value not in (None, "")):
            yield Passage(text, name, f"record {number}")


def _records(file: Path, suffix: str) -> Iterator[dict[str, Any]]:
    with file.open(encoding="utf-8-sig", newline="") as lines:
        if suffix != ".jsonl":
            yield from csv.DictReader(lines, delimiter="\t" if suffix == ".tsv" else ",")
            return
        for number, line in enumerate(lines, start=1):
            if line.strip():
                record = json.loads(line)
                if not isinstance(record, dict):
                    raise ValueError(f"line {number} is no JSON object")
                yield record


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
        for number, body in enumerate(_packed(paragraphs), start=1):
            part = f", part {number}" if number > 1 else ""
            yield Passage(f"{place}\n\n{body}" if place else body, name, (place + part).strip(", "))


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


def _packed(paragraphs: Iterable[str]) -> Iterator[str]:
    """Paragraphs joined up to `WORDS`."""
    packed: list[str] = []
    for paragraph in paragraphs:
        if packed and _num_words(" ".join([*packed, paragraph])) > WORDS:
            yield "\n\n".join(packed)
            packed = []
        packed.append(paragraph)
    if packed:
        yield "\n\n".join(packed)


def _num_words(text: str) -> int:
    return len(text.split())


def plain_text(page: str) -> str:
    """The text of an HTML page, its headings as Markdown's."""
    reader = _Page()
    reader.feed(page)
    return re.sub(r"\n{3,}", "\n\n", "".join(reader.parts)).strip()


class _Page(HTMLParser):
    """Gathers the text of a page; scripts, styles and navigation are skipped."""

    SKIPPED = frozenset(("script", "style", "nav", "template", "noscript", "head"))
    BLOCKS = frozenset(
        ("p", "div", "section", "article", "li", "tr", "br", "table", "ul", "ol", "blockquote")
    )

    def __init__(self) -> None:
        super().__init__()
        self.parts: list[str] = []
        self._skipping = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Begins a paragraph or heading, or a part to skip."""
        self._skipping += tag in self.SKIPPED
        if re.fullmatch("h[1-6]", tag):
            self.parts.append(f"\n\n{'#' * int(tag[1])} ")
        elif tag in self.BLOCKS:
            self.parts.append("\n" if tag in ("br", "li", "tr") else "\n\n")

    def handle_endtag(self, tag: str) -> None:
        """Ends what began."""
        self._skipping -= tag in self.SKIPPED and self._skipping > 0
        if tag in self.BLOCKS or re.fullmatch("h[1-6]", tag):
            self.parts.append("\n" if tag in ("li", "tr") else "\n\n")

    def handle_data(self, data: str) -> None:
        """Keeps text outside what is skipped."""
        if not self._skipping:
            self.parts.append(re.sub(r"\s+", " ", data))

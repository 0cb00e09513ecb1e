"""A task's documents, read into passages: text, Markdown, HTML, PDF, Word, and records in files of rows."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from html import unescape
from importlib.util import find_spec
from itertools import chain
from pathlib import Path
from zipfile import BadZipFile

from etude.base.files import read_json
from etude.data.formats.raw import raw_rows
from etude.data.formats.reading import Reading
from etude.errors import EtudeError, InputError, Issue, MissingExtraError, quote_value
from etude.index.passages import Passage, passages_at, passages_of
from etude.privacy import find_by_form
from etude.privacy.own_contact import CONTACT, value_of
from etude.task.definition import is_row_file

ADDRESSES = ".addresses.json"
"""In a folder of fetched pages: the address that each file is from."""
ASIDE = ["nav", "footer", "aside", "[role=navigation]", "[role=contentinfo]", "[role=complementary]"]
"""What is no text of a page, as CSS selectors."""
_HEADING_TAG, _TAG = re.compile(r"<h([1-6])>"), re.compile(r"</?(?:h[1-6]|p|ul|ol|li|pre|br|a)\b[^<>]*>")
_UNREADABLE = (OSError, ValueError, LookupError, TypeError, AttributeError, BadZipFile, RecursionError)
"""What the readers raise on damaged files."""


def read_passages(path: Path) -> tuple[Passage, ...]:
    """The passages of a folder or of one file, in the order of the files' names; equal texts are kept once.

    Hidden files are skipped. Raises InputError that names every file that cannot be read with the reason, and when
    there is no passage at all; MissingExtraError when what reads a file is not installed.
    """
    files = files_of(path)
    return _read(path, tuple((file, name, file.stat().st_mtime_ns) for file, name in files.items()))


def published_contacts(path: Path | None) -> frozenset[tuple[str, str]]:
    """E-mail addresses and phone numbers of a task's documents, as `privacy.own_contact.value_of` names them; none of
    documents that cannot be read."""
    try:
        passages = read_passages(path) if path else ()
    except EtudeError:
        return frozenset()
    spans = (span for passage in passages for span in find_by_form(passage.text))
    return frozenset(value_of(span) for span in spans if span.kind in CONTACT)


@lru_cache(maxsize=1)
def _read(path: Path, files: tuple[tuple[Path, str, int], ...]) -> tuple[Passage, ...]:
    """The passages of files that are as they were at these times; a comparison asks for them several times."""
    found: dict[str, Passage] = {}
    faults: list[Issue] = []
    for file, name, _ in files:
        try:
            for passage in _of_file(file, name):
                found.setdefault(passage.text, passage)
        except InputError as error:
            faults.extend(error.issues)
        except _UNREADABLE as error:
            faults.append(
                Issue(f"documents: {name}", "this document cannot be read", _reason(error), _REMEDY)
            )
    if not found and not faults:
        faults.append(Issue("documents", "there is no text in it", quote_value(str(path)), _REMEDY))
    if faults:
        raise InputError(faults)
    return tuple(found.values())


def files_of(path: Path) -> dict[Path, str]:
    """The files of the documents in order, each with the name by which it is cited.

    Raises InputError when there is nothing at `path`: what `etude index` would fetch is not fetched yet.
    """
    if not path.exists():
        raise InputError(
            [Issue("documents", "they are not fetched yet", quote_value(str(path)), "run etude index TASK")]
        )
    if path.is_file():
        return {path: path.name}
    addresses = read_json(path / ADDRESSES) if (path / ADDRESSES).exists() else {}
    names = {file: file.relative_to(path).as_posix() for file in sorted(path.rglob("*")) if file.is_file()}
    return {
        file: addresses.get(name, name)
        for file, name in names.items()
        if not any(part.startswith(".") for part in name.split("/"))
    }


def _of_file(file: Path, name: str) -> Iterator[Passage]:
    suffix = file.suffix.lower()
    if is_row_file(file):
        yield from _of_records(file, name)
    elif suffix not in READERS:
        raise ValueError(f"files that end in {suffix} are not read")
    elif READERS[suffix] is _pdf_pages:
        for number, text in enumerate(_pdf_pages(file), start=1):
            yield from passages_at(text, name, f"page {number}")
    else:
        yield from passages_of("\n".join(READERS[suffix](file)), name)


def _of_records(file: Path, name: str) -> Iterator[Passage]:
    reading = Reading(file)
    for number, row in enumerate(raw_rows(reading), start=1):
        lines = (f"{key}: {value}" for key, value in row.cells.items() if value not in (None, ""))
        yield from passages_at("\n".join(lines), name, f"record {number}")
    if reading.faults:
        raise InputError(fault for _, fault in reading.faults)


def _text(file: Path) -> Iterator[str]:
    yield file.read_text(encoding="utf-8-sig")


def _html(file: Path) -> Iterator[str]:
    yield main_text(file.read_bytes())


def main_text(page: bytes) -> str:
    """The text of an HTML page, headings as in Markdown, without menus, footers and what stands at its side."""
    _needs("resiliparse", "Reading HTML")
    from resiliparse.extract.html2text import extract_plain_text
    from resiliparse.parse.encoding import bytes_to_str, detect_encoding

    html = bytes_to_str(page, detect_encoding(page, from_html_meta=True) or "utf-8")
    text = extract_plain_text(html, preserve_formatting="minimal_html", alt_texts=False, skip_elements=ASIDE)
    marked = _HEADING_TAG.sub(lambda found: "#" * int(found[1]) + " ", text)
    return unescape(_TAG.sub("", marked))


def _pdf_pages(file: Path) -> Iterator[str]:
    """The text of each page."""
    _needs("pypdf", "Reading PDF")
    from pypdf import PdfReader
    from pypdf.errors import PyPdfError

    try:
        reader = PdfReader(file)
        if reader.is_encrypted and not reader.decrypt(""):
            raise ValueError("it is protected by a password")
        pages = [page.extract_text() for page in reader.pages]
    except PyPdfError as error:
        raise ValueError(str(error) or type(error).__name__) from error
    if not any(map(str.strip, pages)):
        raise ValueError("it holds no text, perhaps pictures of pages: run a text recognition (OCR) over it")
    yield from pages


def _docx(file: Path) -> Iterator[str]:
    """The paragraphs of a Word file as Markdown; a row of a table is a line."""
    _needs("docx", "Reading Word files")
    from docx import Document
    from docx.opc.exceptions import OpcError
    from docx.text.paragraph import Paragraph

    try:
        document = Document(str(file))
    except OpcError as error:
        raise ValueError(str(error)) from error
    for block in document.iter_inner_content():
        if isinstance(block, Paragraph):
            style = block.style.name if block.style is not None and block.style.name else ""
            level = {"Title": 1}.get(style) or (int(style[-1]) if style[:-1] == "Heading " else 0)
            yield f"{'#' * min(level, 6)} {block.text}\n".lstrip() if level else f"{block.text}\n"
        else:
            yield from (" | ".join(cell.text for cell in row.cells) for row in block.rows)
            yield ""


READERS: Mapping[str, Callable[[Path], Iterator[str]]] = {
    **dict.fromkeys((".md", ".markdown", ".txt", ".rst", ""), _text),
    **dict.fromkeys((".html", ".htm"), _html),
    ".pdf": _pdf_pages,
    ".docx": _docx,
}
"""Suffix of a file -> its text in lines, or in pages."""
_REMEDY = (
    f"save it as {', '.join(filter(None, chain(READERS, ['JSONL', 'CSV', 'TSV or Parquet'])))}, or remove it"
)


def _needs(module: str, feature: str) -> None:
    """Raises MissingExtraError where a reader is not installed; else keeps its remarks off the terminal."""
    if not find_spec(module):
        raise MissingExtraError(feature, "documents")
    logging.getLogger(module).setLevel(logging.CRITICAL)


def _reason(error: BaseException) -> str:
    return str(error) or type(error).__name__

"""Read a task's documents into passages: text, Markdown, HTML, PDF, Word, and records in files of
rows.
"""

import logging
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import lru_cache
from html import unescape
from importlib.util import find_spec
from itertools import chain
from pathlib import Path
from zipfile import BadZipFile

from etude.data.formats import raw_rows, row_reader
from etude.errors import EtudeError, InputError, Issue, MissingExtraError, quote_value
from etude.index.passages import Passage, split_document, split_page
from etude.privacy import find_by_format, own_contact
from etude.task.definition import is_row_file

# CSS selectors of elements that are not part of a page's text.
SKIPPED_ELEMENTS = [
    "nav",
    "footer",
    "aside",
    "[role=navigation]",
    "[role=contentinfo]",
    "[role=complementary]",
]
_HEADING_TAG = re.compile(r"<h([1-6])>")
_TAG = re.compile(r"</?(?:h[1-6]|p|ul|ol|li|pre|br|a)\b[^<>]*>")
# Exceptions that the readers raise for damaged files.
_UNREADABLE = (
    OSError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    BadZipFile,
    RecursionError,
)


def read_passages(path: Path) -> tuple[Passage, ...]:
    """Read the passages of a folder or a file, in the order of file names; equal texts appear once.

    Hidden files are skipped. Raises InputError with every file that cannot be read, or if there is
    no text, and MissingExtraError if the package that reads a file is not installed.
    """
    files = list_files(path)
    return _read_all(
        path, tuple((file, name, file.stat().st_mtime_ns) for file, name in files.items())
    )


def find_published_contacts(path: Path | None) -> frozenset[tuple[str, str]]:
    """Find the e-mail addresses and phone numbers in a task's documents, as keys of
    `privacy.own_contact`.

    Empty if a document cannot be read.
    """
    try:
        passages = read_passages(path) if path else ()
    except EtudeError:
        return frozenset()
    spans = (span for passage in passages for span in find_by_format(passage.text))
    return frozenset(
        own_contact.contact_key(span) for span in spans if span.kind in own_contact.CONTACT_KINDS
    )


@lru_cache(maxsize=1)
def _read_all(path: Path, files: tuple[tuple[Path, str, int], ...]) -> tuple[Passage, ...]:
    # A comparison reads them several times; the times of the files are part of the cache's key.
    passages: dict[str, Passage] = {}
    issues: list[Issue] = []
    for file, name, _ in files:
        try:
            for passage in _read_file(file, name):
                passages.setdefault(passage.text, passage)
        except InputError as error:
            issues.extend(error.issues)
        except _UNREADABLE as error:
            reason = str(error) or type(error).__name__
            issues.append(
                Issue(f"documents: {name}", "this document cannot be read", reason, _REMEDY)
            )
    if not passages and not issues:
        issues.append(
            Issue("documents", "the documents contain no text", quote_value(str(path)), _REMEDY)
        )
    if issues:
        raise InputError(issues)
    return tuple(passages.values())


def list_files(path: Path) -> dict[Path, str]:
    """List the files of the documents in order, each with the name by which it is cited."""
    if path.is_file():
        return {path: path.name}
    names = {
        file: file.relative_to(path).as_posix()
        for file in sorted(path.rglob("*"))
        if file.is_file()
    }
    return {
        file: name
        for file, name in names.items()
        if not any(component.startswith(".") for component in name.split("/"))
    }


def _read_file(file: Path, name: str) -> Iterator[Passage]:
    suffix = file.suffix.lower()
    if is_row_file(file):
        reader = row_reader.RowReader(file)
        for number, row in enumerate(raw_rows.read_raw_rows(reader), start=1):
            lines = (
                f"{key}: {value}" for key, value in row.cells.items() if value not in (None, "")
            )
            yield from split_page("\n".join(lines), name, f"record {number}")
        if reader.issues:
            raise InputError(issue for _, issue in reader.issues)
    elif suffix not in READERS:
        raise ValueError(f"files with the suffix {suffix} are not supported")
    elif READERS[suffix] is _read_pdf_pages:
        for number, text in enumerate(_read_pdf_pages(file), start=1):
            yield from split_page(text, name, f"page {number}")
    else:
        yield from split_document("\n".join(READERS[suffix](file)), name)


def extract_text(page: bytes) -> str:
    """Extract the text of an HTML page, headings as in Markdown, without menus, footers and side
    columns.
    """
    _require("resiliparse", "Reading HTML")
    from resiliparse.extract.html2text import extract_plain_text
    from resiliparse.parse.encoding import bytes_to_str, detect_encoding

    html = bytes_to_str(page, detect_encoding(page, from_html_meta=True) or "utf-8")
    text = extract_plain_text(
        html, preserve_formatting="minimal_html", alt_texts=False, skip_elements=SKIPPED_ELEMENTS
    )
    markdown = _HEADING_TAG.sub(lambda match: "#" * int(match[1]) + " ", text)
    return unescape(_TAG.sub("", markdown))


def _read_pdf_pages(file: Path) -> Iterator[str]:
    _require("pypdf", "Reading PDF")
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
        raise ValueError("it has no text and may be a scan: run text recognition (OCR) on it")
    yield from pages


def _read_docx(file: Path) -> Iterator[str]:
    _require("docx", "Reading Word files")
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


# Suffix of a file -> its text in lines, or in pages.
READERS: Mapping[str, Callable[[Path], Iterable[str]]] = {
    **dict.fromkeys(
        (".md", ".markdown", ".txt", ".rst", ""),
        lambda file: [file.read_text(encoding="utf-8-sig")],
    ),
    **dict.fromkeys((".html", ".htm"), lambda file: [extract_text(file.read_bytes())]),
    ".pdf": _read_pdf_pages,
    ".docx": _read_docx,
}
_REMEDY = (
    f"save it as {', '.join(filter(None, chain(READERS, ['JSONL', 'CSV', 'TSV or Parquet'])))}, "
    "or remove it"
)


def _require(module: str, feature: str) -> None:
    """Check that a reader is installed and silence its log. Raises MissingExtraError."""
    if not find_spec(module):
        raise MissingExtraError(feature, "documents")
    logging.getLogger(module).setLevel(logging.CRITICAL)

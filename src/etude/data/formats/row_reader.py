"""A file of rows while it is read: its lines, and the errors and notes collected so far."""

import codecs
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Literal

from etude.base import issues as base_issues
from etude.data.spool import Spool
from etude.errors import InputError, Issue
from etude.task.definition import TABLE_SUFFIXES, is_row_file
from etude.types import Example, Kind

HEAD_BYTES = 1024  # first bytes of a file that are compared with the signatures below
MAX_CONTROL_SHARE = (
    0.05  # share of control characters above which a file that is not UTF-8 is binary
)
_CONTROL = bytes(code for code in range(32) if code not in b"\t\n\r\f\x1b")
_SHEET = "open it in a spreadsheet program and save the sheet as CSV (UTF-8)"
_SIGNATURES = {
    b"PK\x03\x04": ("an Excel workbook or another ZIP archive, not text", _SHEET),
    b"\xd0\xcf\x11\xe0": ("a workbook of an old Excel version, not text", _SHEET),
    b"\x1f\x8b": (
        "compressed by gzip, not text",
        "decompress it (gunzip), and give the resulting file",
    ),
}


@dataclass(frozen=True)
class RawRow:
    """One row as it is in the file, before its columns have a role."""

    line: int  # first line of the row, from 1
    last_line: int  # last line; greater than `line` if a value of a table contains a line break
    cells: Mapping[str, Any]


@dataclass(frozen=True)
class TableFormat:
    """How a table is written."""

    delimiter: str
    quoting: Literal[0, 3]  # csv.QUOTE_MINIMAL, or csv.QUOTE_NONE if quotes do not enclose values
    header: tuple[str, ...]


@dataclass
class RowReader:
    """The state of reading one file: rows so far, errors, and counts for notes."""

    file: Path
    kind: Kind | None = None
    issues: list[tuple[int, Issue]] = field(
        default_factory=list
    )  # line and error, in the order of discovery
    notes: list[str] = field(default_factory=list)
    examples: list[Example] | Spool = field(default_factory=list)
    systems: list[str | None] = field(default_factory=list)
    columns: set[str] = field(default_factory=set)  # columns that occurred in any row
    undecodable: set[int] = field(default_factory=set)  # lines with bytes that are not text
    num_decoded: int = 0  # lines with characters beyond ASCII that are valid UTF-8
    # Events that a note reports, such as skipped rows, with the number of times.
    counts: Counter[str] = field(default_factory=Counter)
    empty: list[str] = field(default_factory=list)  # locations of rows that `skip_empty` left out
    hash_counts: Counter[str] = field(
        default_factory=Counter
    )  # rows of each hash of input and output
    table: TableFormat | None = None  # set once the header of a table was read
    # Line of a record -> " (row 294, T-10003)", its row in a spreadsheet if that number differs.
    places: dict[int, str] = field(default_factory=dict)
    is_list: bool = False  # whether the file is one JSON list of objects
    offers: list[str] = field(default_factory=list)  # functions of each row, as text; "" for none
    # Id -> line of its row, and a hash of the row's cells.
    lines_by_id: dict[str, tuple[int, int]] = field(default_factory=dict)

    def add_issue(
        self, line: int, message: str, value: str, remedy: str, kind: str = "unreadable"
    ) -> None:
        """Adds an error of a line."""
        self.issues.append((line, Issue(self.locate(line), message, value, remedy, kind)))

    def locate(self, line: int) -> str:
        """`file:line`, the location of a row in messages and examples, with its row in a
        spreadsheet if that is another number.
        """
        return f"{self.file.name}:{line}{self.places.get(line, '')}"

    def find_foreign_bytes(self) -> Issue | None:
        """The error of a file whose first bytes are not text; its suffix does not count."""
        with _open_rows(self.file) as stream:
            return foreign_file_issue(self.file.name, stream.read(HEAD_BYTES))

    def lines(self) -> Iterator[str]:
        """The lines of the file with their line endings; bytes that are not UTF-8 are an error and
        are replaced.
        """
        # Line by line in bytes, so that one undecodable line does not hide the others.
        with _open_rows(self.file) as stream:
            for number, raw in enumerate(stream, 1):
                if b"\0" in raw:
                    self.undecodable.add(number)
                    value = f"byte 0x00 at position {raw.index(0) + 1}"
                    self.add_issue(
                        number, "a NUL byte", value, "delete it; the file may be binary", "encoding"
                    )
                try:
                    text = raw.decode("utf-8-sig" if number == 1 else "utf-8")
                    self.num_decoded += not raw.isascii()
                except UnicodeDecodeError:
                    self.undecodable.add(number)
                    text = raw.decode("utf-8", errors="replace")
                    # again without the byte order mark, for the position of the byte in the line
                    try:
                        raw.decode("utf-8")
                    except UnicodeDecodeError as error:
                        is_table = self.file.suffix.lower() in TABLE_SUFFIXES
                        issue = base_issues.decoding_issue(
                            self.locate(number), raw, error, is_table
                        )
                        self.issues.append((number, issue))
                yield text

    def refuse_encoding(self) -> None:
        """Raises InputError with one error if the lines read so far are in another encoding. Other
        errors are dropped, because they follow from it.
        """
        # A few bad lines among valid ones are separate errors.
        issues = [issue for _, issue in self.issues if issue.message == base_issues.NOT_UTF8]
        if len(issues) > max(base_issues.MAX_LINE_ISSUES, self.num_decoded):
            base_issues.raise_issues(issues, self.file)


def foreign_file_issue(name: str, head: bytes) -> Issue | None:
    """The error of a file whose first bytes are binary or UTF-16, with or without a byte order
    mark; None for text.
    """
    problem = next(
        (problem for magic, problem in _SIGNATURES.items() if head.startswith(magic)), None
    )
    # Signatures first, then UTF-16 without a mark, then text that is neither UTF-8 nor mostly
    # printable.
    start = head[:4]
    if start[:2] in (b"\xff\xfe", b"\xfe\xff") or (
        len(start) == 4
        and (start[::2] == b"\0\0") != (start[1::2] == b"\0\0")  # Latin letters, two bytes each
    ):
        problem = base_issues.UTF16, base_issues.describe_conversion(is_utf16=True, table=True)
    elif not problem and len(head) - len(head.translate(None, _CONTROL)) > MAX_CONTROL_SHARE * len(
        head
    ):
        try:
            codecs.getincrementaldecoder("utf-8")().decode(head)
        except UnicodeDecodeError:
            problem = "binary data, not text", "give the rows as .jsonl, .csv or .tsv"
    if problem is None:
        return None
    value = f"bytes {' '.join(f'0x{byte:02X}' for byte in start)} at position 1"
    return Issue(f"{name}:1", problem[0], value, problem[1], "encoding")


@contextmanager
def _open_rows(file: Path) -> Iterator[BinaryIO]:
    try:
        stream = file.open("rb")
    except OSError as error:
        nearest = base_issues.find_nearest_path(file, is_row_file)
        hint = f"did you mean {nearest}? Otherwise, " if nearest and nearest != file else ""
        remedy = f"{hint}check the name and the permissions"
        raise InputError.of(
            str(file), "cannot read the file of rows", error.strerror or "", remedy
        ) from error
    with stream:
        yield stream

"""Files that are no text in UTF-8, known by their first bytes whatever their name says."""

from __future__ import annotations

from etude.errors import Fault

HEAD_BYTES = 4
"""So many bytes tell."""
_AS_CSV = "open it in a spreadsheet program and save the sheet as CSV (UTF-8)"
_UTF8 = "save the file as UTF-8 (in Excel: CSV UTF-8; in a shell: iconv -f UTF-16 -t UTF-8 FILE > NEW)"
_SIGNATURES = (
    (b"PK\x03\x04", "an Excel workbook or another ZIP archive, not text", _AS_CSV),
    (b"\xd0\xcf\x11\xe0", "a workbook of an old Excel, not text", _AS_CSV),
    (b"\x1f\x8b", "packed by gzip, not text", "unpack it (gunzip) and name the file in it"),
    (b"PAR1", "a Parquet table, not text", "save the table as CSV or JSONL"),
    (b"%PDF", "a PDF, not text", "give the rows as .jsonl, .csv or .tsv"),
    (b"\xff\xfe", "this is UTF-16, not UTF-8", _UTF8),
    (b"\xfe\xff", "this is UTF-16, not UTF-8", _UTF8),
)
"""(first bytes, what such a file is, what to do)."""


def foreign_file(name: str, head: bytes) -> Fault | None:
    """The fault of a file whose first `HEAD_BYTES` are those of another kind of file, or of UTF-16, with or without
    its mark; None where they are none of these."""
    for begin, what, remedy in _SIGNATURES:
        if head.startswith(begin):
            return Fault(f"{name}:1", what, f"{_bytes(head[: len(begin)])} at position 1", remedy, "encoding")
    if len(head) == 4 and (head[::2] == b"\0\0") != (head[1::2] == b"\0\0"):  # Latin letters, two bytes each
        what = "this is UTF-16 without its mark, not UTF-8"
        return Fault(f"{name}:1", what, f"{_bytes(head)} at position 1", _UTF8, "encoding")
    return None


def _bytes(head: bytes) -> str:
    """`bytes 0xFF 0xFE`."""
    return "bytes " + " ".join(f"0x{byte:02X}" for byte in head)

"""Files that are no text in UTF-8, known by their first bytes whatever their name says."""

from __future__ import annotations

import codecs

from etude.base.remedies import UTF16, as_utf8
from etude.errors import Issue

HEAD_BYTES = 1024
"""So many bytes tell."""
MOST_CONTROL = 0.05
"""Share of control characters up to which they may be text."""
_CONTROL = bytes(code for code in range(32) if code not in b"\t\n\r\f\x1b")
_SHEET = "open it in a spreadsheet program and save the sheet as CSV (UTF-8)"
_SIGNATURES = {
    b"PK\x03\x04": ("an Excel workbook or another ZIP archive, not text", _SHEET),
    b"\xd0\xcf\x11\xe0": ("a workbook of an old Excel, not text", _SHEET),
    b"\x1f\x8b": ("packed by gzip, not text", "unpack it (gunzip) and name the file in it"),
}
_UTF16 = (UTF16, as_utf8(wide=True, table=True))
_BINARY = ("bytes of a program or a picture, not text", "give the rows as .jsonl, .csv or .tsv")


def foreign_file(name: str, head: bytes) -> Issue | None:
    """The fault of a file whose first `HEAD_BYTES` are those of another kind of file, of no text, or of UTF-16, with or
    without its mark; None where they are none of these."""
    found = next((told for begin, told in _SIGNATURES.items() if head.startswith(begin)), None)
    four = head[:4]
    if head[:2] in (b"\xff\xfe", b"\xfe\xff") or (
        len(four) == 4 and (four[::2] == b"\0\0") != (four[1::2] == b"\0\0")  # Latin letters, two bytes each
    ):
        found = _UTF16
    elif not found and len(head) - len(head.translate(None, _CONTROL)) > MOST_CONTROL * len(head):
        try:
            codecs.getincrementaldecoder("utf-8")().decode(head)
        except UnicodeDecodeError:
            found = _BINARY
    if found is None:
        return None
    got = f"bytes {' '.join(f'0x{byte:02X}' for byte in four)} at position 1"
    return Issue(f"{name}:1", found[0], got, found[1], "encoding")

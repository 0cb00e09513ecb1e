"""Files that are no text in UTF-8, known by their first bytes whatever their name says."""

from __future__ import annotations

import codecs
import re

from etude.base.word_lists import read_table
from etude.errors import Fault

HEAD_BYTES = 1024
"""So many bytes tell."""
MOST_CONTROL = 0.05
"""Share of control characters up to which they may be text."""
_CONTROL = bytes(code for code in range(32) if code not in b"\t\n\r\f\x1b")
_TABLE = read_table(__file__, "signatures.yaml")
_SIGNATURES: dict[str, tuple[str, str]] = _TABLE["signatures"]
_REMEDIES: dict[str, str] = _TABLE["remedies"]

_ENCODINGS = (
    ("SHIFT_JIS", "cp932", "[\u3040-\u30fa\u30fc]", 0.3),
    ("EUC-JP", "euc_jp", "[\u3040-\u30fa\u30fc]", 0.3),
    ("EUC-KR", "cp949", "[\uac00-\ud7a3]", 0.95),
    ("GB18030", "gb18030", "[\u4e00-\u9fff\u3000-\u3002\uff01-\uff1f]", 0.9),
    ("BIG5", "big5", "[\u4e00-\u9fff\u3000-\u3002\uff01-\uff1f]", 0.9),
    ("CP1251", "cp1251", "[\u0410-\u044f\u0401\u0451]{3,}", 0.6),
    ("CP1252", "cp1252", r"(?![a-zA-Z])[^\W\d_]|[€£°§«»‘’“”„…–—]", 0.5),
)
"""(name, codec of Python, what such text is full of, share of its characters beyond ASCII from which it is)."""


def foreign_file(name: str, head: bytes) -> Fault | None:
    """The fault of a file whose first `HEAD_BYTES` are those of another kind of file, of no text, or of UTF-16, with or
    without its mark; None where they are none of these."""
    for begin, (what, remedy) in _SIGNATURES.items():
        if head.startswith(bytes.fromhex(begin)):
            got = f"{_bytes(bytes.fromhex(begin))} at position 1"
            return Fault(f"{name}:1", what, got, _REMEDIES[remedy], "encoding")
    four = head[:4]
    if len(four) == 4 and (four[::2] == b"\0\0") != (four[1::2] == b"\0\0"):  # Latin letters, two bytes each
        what = "this is UTF-16 without its mark, not UTF-8"
        return Fault(f"{name}:1", what, f"{_bytes(four)} at position 1", _REMEDIES["encoding"], "encoding")
    num_control = len(head) - len(head.translate(None, _CONTROL))
    if num_control > MOST_CONTROL * len(head) and not _decodes(head, "utf-8"):
        what = "bytes of a program or a picture, not text"
        return Fault(
            f"{name}:1",
            what,
            f"{num_control} control characters in the beginning",
            _REMEDIES["rows"],
            "encoding",
        )
    return None


def guessed_encoding(raw: bytes) -> str:
    """The name, for iconv, of the encoding that text which is not UTF-8 is likely in: by the letters that it then
    holds; "" where none fits."""
    for name, codec, letters, least in _ENCODINGS:
        text = _decodes(raw, codec)
        num_others = sum(ord(char) > 127 for char in text)
        if num_others and sum(map(len, re.findall(letters, text))) >= least * num_others:
            return name
    return ""


def _decodes(raw: bytes, codec: str) -> str:
    """The text, the last character of which may be cut; "" where the bytes are not in this encoding."""
    try:
        return codecs.getincrementaldecoder(codec)().decode(raw)
    except UnicodeDecodeError:
        return ""


def _bytes(head: bytes) -> str:
    """`bytes 0xFF 0xFE`."""
    return "bytes " + " ".join(f"0x{byte:02X}" for byte in head)

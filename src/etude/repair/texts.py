"""What can be put right in a text without a person: a wrong decoding undone, leftover HTML taken out.

Both leave a text alone where another reading of it is possible. Both are idempotent.
"""

from __future__ import annotations

import html
import re
import unicodedata
from collections.abc import Iterator, Sequence

_TAGS = (
    "a|abbr|article|b|big|blockquote|body|br|button|center|code|dd|div|dl|dt|em|font|footer|form|h[1-6]|head|"
    "header|hr|html|i|iframe|img|input|label|li|link|meta|nav|ol|option|p|pre|script|section|select|small|span|"
    "strong|style|sub|sup|table|tbody|td|textarea|tfoot|th|thead|title|tr|u|ul"
)
_ENTITY = re.compile(r"&(?:amp|lt|gt|nbsp|quot|apos|#\d{1,7}|#x[0-9a-f]{1,6});", re.IGNORECASE)
"""Those that end in a semicolon: the &section of an address in the web is none."""
MARKUP = re.compile(rf"</?(?:{_TAGS})(?:\s[^<>]{{0,300}})?/?>|{_ENTITY.pattern}", re.IGNORECASE)
_IN_CODE = re.compile(r"```(?s:.*?)(?:```|\Z)|`[^`\n]{1,200}`")
"""Blocks of code between fences, and code within a line."""
_CODE_OR_MARKUP = re.compile(f"{_IN_CODE.pattern}|(?P<markup>{MARKUP.pattern})", re.IGNORECASE)
LEFTOVER = 0.5
"""Share of the rows up to which HTML is a leftover; above it, it is how the set is written."""
_LATE = (
    "\u20ac\u201a\u0192\u201e\u2026\u2020\u2021\u02c6\u2030\u0160\u2039\u0152\u017d\u2018\u2019\u201c\u201d"
)
_LATE += "\u2022\u2013\u2014\u02dc\u2122\u0161\u203a\u0153\u017e\u0178"
_NEXT = rf"[\x80-\xbf{_LATE}]"
MOJIBAKE = re.compile(rf"[\xc2-\xdf]{_NEXT}|[\xe0-\xef]{_NEXT}{{2}}|[\xf0-\xf4]{_NEXT}{{3}}")
"""UTF-8 that was read as Windows-1252: a first byte and as many further ones as it asks for."""
CONTROL = re.compile("[\x01-\x08\x0b\x0c\x0e-\x1f\x7f-\x84\x86-\x9f\ufffd\ufffe\uffff]")
"""Characters that stand for nothing: control characters, and what takes the place of what was lost."""

MOST_ROUNDS = 5
"""Wrong decodings on top of one another that are undone."""
_AFTER_LETTERS = frozenset(
    "\u20ac\u201a\u201e\u2026\u2020\u2021\u2030\u2039\u203a\u2018\u2019\u201c\u201d\u2022\u2013\u2014\u2122"
)
_AFTER_LETTERS |= frozenset("\xa0\xa8\xaa\xab\xae\xb0\xb2\xb3\xb4\xb7\xb8\xb9\xba\xbb\xbf")
"""Further bytes that are also signs which may stand after a letter: quotes, dashes, raised figures."""
_TERMINAL = re.compile("\x1b\\[[0-9;]{0,20}[A-Za-z]")
"""What colours a terminal."""
_CONTROLS = {code: None for code in (*range(1, 9), *range(0x0E, 0x20), 0x7F, 0x81, 0x8D, 0x8F, 0x90, 0x9D)}
_CONTROLS |= {0xFFFE: None, 0xFFFF: None}
_AS_TEXT = str.maketrans(
    {
        code: bytes([code]).decode("cp1252")
        for code in range(0x80, 0xA0)
        if code not in _CONTROLS and code != 0x85
    }
    | {0x0B: "\n", 0x0C: "\n"}
    | dict.fromkeys(_CONTROLS)
)
_SIMPLE_TAG = re.compile(
    r"</?(b|big|br|center|div|em|font|i|p|small|span|strong|u)(?:\s[^<>]{0,300})?/?>", re.I
)
_NEW_LINE = re.compile(r"<(?:br\s{0,3}/?|/div)>", re.I)
_NEW_PARAGRAPH = re.compile(r"</p>", re.I)
_HARD_SPACE = re.compile(r"&(?:nbsp|#160|#xa0);", re.I)
_ABOUT_HTML = re.compile(r"`|\b(?:html|xml|tags?|markup|css|code|element|entity|entities)\b", re.I)
"""Words by which a text may speak of HTML rather than be written in it."""


def decoded(text: str) -> str:
    """The text with a wrong decoding undone and control characters taken out.

    UTF-8 read as Windows-1252 is read again where every letter beyond ASCII belongs to such a sequence, one of
    them has no other reading, and what comes out are letters and signs. U+FFFD stands for what is lost, and stays.
    """
    for _ in range(MOST_ROUNDS):  # what was decoded wrongly twice is read again twice
        again = _read_again(text)
        if again == text:
            break
        text = again
    if not CONTROL.search(text):
        return text
    # A control character may be the rest of a letter that somebody can still tell.
    return text if MOJIBAKE.search(text) else _TERMINAL.sub("", text).translate(_AS_TEXT)


def wrong_decodings(text: str) -> Iterator[re.Match[str]]:
    """Where a text surely was decoded wrongly: sequences with no other reading, or all of them where the whole text is
    read again. The end of a German or French quotation (Spaß\u201c) looks like one and is none."""
    if not text.isascii():
        whole = _read_again(text) != text
        yield from (match for match in MOJIBAKE.finditer(text) if whole or _unmistakable(match[0]))


def _read_again(text: str) -> str:
    if text.isascii() or not MOJIBAKE.search(text) or not MOJIBAKE.sub("", text).isascii():
        return text
    found = [match[0] for match in MOJIBAKE.finditer(text)]
    try:
        read = {sequence: _as_bytes(sequence).decode() for sequence in set(found)}
    except UnicodeDecodeError:
        return text
    if not all(map(_is_sound, read.values())) or not any(map(_unmistakable, found)):
        return text
    return MOJIBAKE.sub(lambda match: read[match[0]], text)


def _is_sound(char: str) -> bool:
    """Whether a character may be what was meant; one of U+0080 to U+009F may be in the middle of it."""
    return unicodedata.category(char)[0] not in "CM" or "\x80" <= char < "\xa0" or char in "\u200d\ufe0f\xad"


def _as_bytes(sequence: str) -> bytes:
    return bytes(ord(char) if ord(char) < 256 else char.encode("cp1252")[0] for char in sequence)


def _unmistakable(sequence: str) -> bool:
    """Whether a sequence has no other reading: \xc3\xa9, \xe2\u20ac\u2122, or four bytes of an emoji."""
    if len(sequence) == 4:
        return True
    if sequence[0] == "\xe2":
        return sequence[1] in "\u20ac\x81\u201a\u201e\u2020"
    return sequence[0] in "\xc2\xc3" and sequence[1] not in _AFTER_LETTERS


def has_markup(text: str) -> bool:
    """Whether a text holds HTML outside of code."""
    return ("<" in text or "&" in text) and any(markup_in(text))


def markup_in(text: str) -> Iterator[re.Match[str]]:
    """Where a text holds HTML that is no part of code: of a block between fences, or of a line's."""
    return (match for match in _CODE_OR_MARKUP.finditer(text) if match["markup"])


def without_markup(text: str) -> str:
    """The text without leftover HTML: entities as characters, tags of emphasis and line breaks taken out.

    Left alone: texts with other tags (a link, a list, a form), texts that speak of HTML or hold some in code, JSON, and
    those in which something would still look like HTML afterwards.
    """
    if not has_markup(text) or _ABOUT_HTML.search(text) or text.lstrip()[:1] in ("{", "["):
        return text
    if any(MARKUP.search(code[0]) for code in _IN_CODE.finditer(text)):
        return text
    plain = _joined("\n\n", _NEW_PARAGRAPH.split(text), None)
    plain = _joined("\n", _NEW_LINE.split(plain), " \t")
    plain = _ENTITY.sub(_character, _HARD_SPACE.sub(" ", _SIMPLE_TAG.sub("", plain)))
    return text if MARKUP.search(plain) or CONTROL.search(plain) else plain.strip()


def _joined(joint: str, pieces: Sequence[str], spaces: str | None) -> str:
    """The pieces without the spaces at their inner ends: stripped afterwards, as a pattern that takes them in is tried
    again at each of many spaces."""
    first, *rest = pieces
    if not rest:
        return first
    inner = [piece.strip(spaces) for piece in rest[:-1]]
    return joint.join([first.rstrip(spaces), *inner, rest[-1].lstrip(spaces)])


def _character(entity: re.Match[str]) -> str:
    return html.unescape(entity[0])

"""A text as the detectors read it, and the way back from what they find to its place in the text.

The strings of JSON (RFC 8259) are read without their escapes, a letter with marks behind it (NFD) as one letter,
spaces, hyphens and dashes of all widths as those of ASCII. What is found in JSON is kept inside its strings and
numbers, so that masking leaves JSON of the same structure.
"""

from __future__ import annotations

import json
import re
import unicodedata
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

from etude.privacy.spans import Span

_SPACES = "\u00a0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u202f\u205f\u3000"
_HYPHENS = "\u2010\u2011\ufe63\uff0d"
_DASHES = "\u2012\u2013\u2014\u2015\u2212"
_TO_ASCII = str.maketrans(dict.fromkeys(_SPACES, " ") | dict.fromkeys(_HYPHENS, "-"))
"""Spaces of one line, and hyphens; one character for one."""
_IN_NUMBER = re.compile(rf"(?<=[0-9])[{_DASHES}]|[{_DASHES}](?= ?[0-9(\[])")
"""Dashes beside a digit, where a hyphen is meant; elsewhere they part words and sentences."""
_WIDE_SIGN = re.compile(f"[{_SPACES}{_HYPHENS}{_DASHES}]")
_TOKEN = re.compile(
    r'"(?P<string>[^"\\]*(?:\\.[^"\\]*)*)"(?P<key>(?=\s*:))?|(?P<number>-?[0-9][0-9.eE+-]*)|[^"0-9-]+|-'
)
_MARK = re.compile(r"[\u0300-\u036f\u3099\u309a]")
_MARKED = re.compile(rf"[^\W\d_]{_MARK.pattern}+")
"""A letter with marks of its own, as NFD has it: accents, and the voicing of kana."""
_ESCAPE = re.compile(r"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|.)")
_NUMBER = re.compile(r"[0-9]+(?:\.[0-9]+)?")
_DIGITS = re.compile(r"[0-9]+")
_DECODER = json.JSONDecoder(parse_int=str)
_LABELLED = re.compile("label|after")
"""Rules by which a word before the value tells."""
_BY_DIGITS = frozenset(("card", "national_id", "phone", "id_number", "iban", "api_key", "password"))
"""Kinds whose stand-in for digits is digits."""


Joints = tuple[tuple[int, int], ...]
"""Of each character that is read where several stand: the place after it in what is read, and in what stands there."""


@dataclass(frozen=True, slots=True)
class _Part:
    """A string of JSON, a number, or what is between them, and its place in the text."""

    start: int
    end: int
    sort: Literal["string", "key", "number", "between"]

    @property
    def quote(self) -> int:
        """Characters of it at each end that are none of its value."""
        return int(self.sort in ("string", "key"))


class PlainText(NamedTuple):
    """A text, what is read of it, and its parts where it is JSON."""

    text: str
    plain: str
    """What the detectors are given."""
    parts: tuple[_Part, ...] = ()
    """In order of place; none where the text holds no JSON."""
    joints: tuple[Joints, ...] = ()
    """Those of what was joined last come first."""

    def placed(self, found: Iterable[Span]) -> Iterator[Span]:
        """The spans at their places in the text; one that crosses the structure of JSON in pieces."""
        if self.text is self.plain and not self.parts:
            yield from found
            return
        for span in found:
            start, end = self._place(span.start), self._place(span.end)
            yield from inside(replace(span, start=start, end=end, text=self.text[start:end]), self.parts)

    def _place(self, at: int) -> int:
        """The place in the text of a place in the plain text."""
        for joints in self.joints:
            number = bisect_right(joints, (at, len(self.text)))
            after, there = joints[number - 1] if number else (0, 0)
            at += there - after
        return at


def plain_text(text: str) -> PlainText:
    """The text as it is read: itself, where it holds neither JSON nor signs that are read as others."""
    parts = json_parts(text)
    unescaped, escapes = _joined(text, _escapes(text, parts), lambda escape: str(json.loads(f'"{escape}"')))
    composed, marks = _composed(unescaped)
    return PlainText(
        text, with_plain_spaces(composed), parts, tuple(joints for joints in (marks, escapes) if joints)
    )


def as_read(text: str) -> str:
    """A value as it stands in the plain text."""
    return with_plain_spaces(_composed(text)[0])


def _escapes(text: str, parts: Iterable[_Part]) -> Iterator[re.Match[str]]:
    for part in parts if "\\" in text else ():
        if part.sort in ("string", "key"):
            yield from _ESCAPE.finditer(text, part.start, part.end)


def _composed(text: str) -> tuple[str, Joints]:
    """The text with each letter and the marks behind it as one letter (NFC), without those that no letter has."""
    if text.isascii() or not _MARK.search(text):
        return text, ()
    return _joined(text, _MARKED.finditer(text), lambda marked: unicodedata.normalize("NFC", marked)[0])


def _joined(text: str, found: Iterable[re.Match[str]], read: Callable[[str], str]) -> tuple[str, Joints]:
    """The text with what is found read as one character each, and where; the text itself where nothing is."""
    pieces: list[str] = []
    joints, end, length = [], 0, 0
    for match in found:
        pieces += [text[end : match.start()], read(match[0])]
        length += match.start() - end + 1
        end = match.end()
        joints.append((length, end))
    return ("".join([*pieces, text[end:]]) if joints else text), tuple(joints)


def with_plain_spaces(text: str) -> str:
    """The text with the spaces and hyphens of ASCII, sign for sign."""
    if text.isascii() or not _WIDE_SIGN.search(text):
        return text
    return _IN_NUMBER.sub("-", text.translate(_TO_ASCII))


def json_parts(text: str) -> tuple[_Part, ...]:
    """Strings and numbers of the JSON in a text: an object or array that is all of it, or between words or fences
    around it, or one on each line."""
    if "{" not in text and "[" not in text:
        return ()
    return tuple(part for start, end in _json_places(text) for part in _parts(text, start, end))


def inside(span: Span, parts: tuple[_Part, ...]) -> Iterator[Span]:
    """The pieces of a span that lie in strings and numbers of the JSON; the span itself where it lies beside them.

    A key belongs to the structure, unless it holds the whole value, and its form alone tells.
    """
    touched = list(_touched(span, parts))
    if not touched:
        yield span
    for part in touched:
        start, end = max(span.start, part.start + part.quote), min(span.end, part.end - part.quote)
        if start >= end:
            continue
        piece = replace(span, start=start, end=end, text=span.text[start - span.start : end - span.start])
        if part.sort == "number":
            yield from _of_number(piece)
        elif part.sort == "string" or (
            part.sort == "key" and piece == span and not _LABELLED.search(span.rule)
        ):
            yield piece


def _touched(span: Span, parts: tuple[_Part, ...]) -> Iterator[_Part]:
    first = bisect_right(parts, span.start, key=lambda part: part.start) - 1
    for number in range(max(first, 0), len(parts)):
        part = parts[number]
        if part.start >= span.end:
            break
        if part.end > span.start:
            yield part


def _of_number(piece: Span) -> Iterator[Span]:
    """The digits of a number, where their stand-in is a number too."""
    if piece.kind not in _BY_DIGITS:
        return
    pattern = _NUMBER if _NUMBER.fullmatch(piece.text) else _DIGITS
    for match in pattern.finditer(piece.text):
        start = piece.start + match.start()
        yield replace(piece, start=start, end=start + len(match[0]), text=match[0])


def _json_places(text: str) -> Iterator[tuple[int, int]]:
    start = min((place for place in (text.find("{"), text.find("[")) if place >= 0), default=-1)
    if start < 0:
        return
    end = max(text.rfind("}"), text.rfind("]")) + 1
    is_record = '"' in text[start:end] or text[start:end] == text.strip()  # [415] 555-2671 is none
    if is_record and _is_json(text[start:end]):
        yield start, end
        return
    begin = 0
    for line in text.splitlines(keepends=True) if "\n" in text else ():
        whole = line.strip()
        if whole[:1] in ("{", "[") and _is_json(whole):
            start = begin + line.index(whole[0])
            yield start, start + len(whole)
        begin += len(line)


def _is_json(text: str) -> bool:
    if text[:1] + text[-1:] not in ("{}", "[]"):
        return False
    try:
        _DECODER.decode(text)
    except (ValueError, RecursionError):
        return False
    return True


def _parts(text: str, start: int, end: int) -> Iterator[_Part]:
    for match in _TOKEN.finditer(text, start, end):
        if match["string"] is not None:
            yield _Part(*match.span(), "string" if match["key"] is None else "key")
        else:
            is_number = match["number"] and match["number"].lstrip("-").replace(".", "", 1).isdigit()
            yield _Part(*match.span(), "number" if is_number else "between")  # 1e22 is nobody's

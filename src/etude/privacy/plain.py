"""The plain text that the detectors search, and the positions of their spans in the original text.

In the plain text, strings of JSON (RFC 8259) have no escapes, a letter with combining marks (NFD)
is one letter, and spaces, hyphens and dashes of all widths are ASCII characters. Spans in JSON are
cut to its strings and numbers, so that masking does not change the structure.
"""

import json
import re
import unicodedata
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import takewhile
from typing import Literal, NamedTuple

from etude.privacy.spans import Span

_SPACES = (
    "\u00a0\u1680\u2000\u2001\u2002\u2003\u2004\u2005"
    "\u2006\u2007\u2008\u2009\u200a\u202f\u205f\u3000"
)
_HYPHENS = "\u2010\u2011\ufe63\uff0d"
_DASHES = "\u2012\u2013\u2014\u2015\u2212"
_TO_ASCII = str.maketrans(dict.fromkeys(_SPACES, " ") | dict.fromkeys(_HYPHENS, "-"))
# Dashes next to a digit, where they mean a hyphen; elsewhere they separate words and sentences
_DASH_IN_NUMBER = re.compile(rf"(?<=[0-9])[{_DASHES}]|[{_DASHES}](?= ?[0-9(\[])")
_WIDE_SIGN = re.compile(f"[{_SPACES}{_HYPHENS}{_DASHES}]")
_TOKENS = re.compile(
    r'"(?P<string>[^"\\]*(?:\\.[^"\\]*)*)"(?P<key>(?=\s*:))?|(?P<number>-?[0-9][0-9.eE+-]*)|[^"0-9-]+|-'
)
_MARK = re.compile(r"[\u0300-\u036f\u3099\u309a]")
# A letter with combining marks (NFD): accents, and the voicing of kana
_LETTER_WITH_MARKS = re.compile(rf"[^\W\d_]{_MARK.pattern}+")
_ESCAPE = re.compile(
    r"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|.)"
)
_NUMBER = re.compile(r"[0-9]+(?:\.[0-9]+)?")
_DIGITS = re.compile(r"[0-9]+")
_DECODER = json.JSONDecoder(parse_int=str)
# Rules that depend on a word before the value
_LABEL_RULE = re.compile("label|after")
# Kinds whose surrogates have digits for digits
_DIGIT_KINDS = frozenset(
    ("card", "national_id", "phone", "id_number", "iban", "api_key", "password")
)

Offsets = tuple[tuple[int, int], ...]
"""For each character that replaces several: the position after it in the plain text and in the
original.
"""


@dataclass(frozen=True, slots=True)
class _Token:
    """A string or number of JSON, or the text between them."""

    start: int
    end: int
    token_type: Literal["string", "key", "number", "between"]

    @property
    def quote(self) -> int:
        return int(self.token_type in ("string", "key"))


class PlainText(NamedTuple):
    """A text, its plain text, and its tokens if it has JSON."""

    original: str
    plain: str
    """The text that the detectors search."""
    tokens: tuple[_Token, ...] = ()
    offsets: tuple[Offsets, ...] = ()
    """One list for each replacement, the last one first."""

    def to_original(self, spans: Iterable[Span]) -> Iterator[Span]:
        """Move spans to the original text. A span that crosses the structure of JSON becomes
        several spans.
        """
        if self.original is self.plain and not self.tokens:
            yield from spans
            return
        for span in spans:
            start = self._original_position(span.start)
            end = self._original_position(span.end)
            yield from clip_to_tokens(
                replace(span, start=start, end=end, text=self.original[start:end]), self.tokens
            )

    def _original_position(self, position: int) -> int:
        for offsets in self.offsets:
            index = bisect_right(offsets, (position, len(self.original)))
            plain_position, original_position = offsets[index - 1] if index else (0, 0)
            position += original_position - plain_position
        return position


def to_plain_text(text: str) -> PlainText:
    """Convert a text. A text without JSON and unusual characters stays the same object."""
    tokens = find_json_tokens(text)
    escapes: list[re.Match[str]] = []
    for token in tokens if "\\" in text else ():
        if token.quote:
            escapes += _ESCAPE.finditer(text, token.start, token.end)
    unescaped, escape_offsets = _replace_matches(
        text, escapes, lambda escape: str(json.loads(f'"{escape}"'))
    )
    composed, mark_offsets = _compose_letters(unescaped)
    offsets = tuple(filter(None, (mark_offsets, escape_offsets)))
    return PlainText(text, _normalise_spaces(composed), tokens, offsets)


def to_plain_value(text: str) -> str:
    """Convert a value to its form in a plain text."""
    return _normalise_spaces(_compose_letters(text)[0])


def _compose_letters(text: str) -> tuple[str, Offsets]:
    if text.isascii() or not _MARK.search(text):
        return text, ()
    return _replace_matches(
        text,
        _LETTER_WITH_MARKS.finditer(text),
        lambda marked: unicodedata.normalize("NFC", marked)[0],
    )


def _replace_matches(
    text: str, matches: Iterable[re.Match[str]], to_character: Callable[[str], str]
) -> tuple[str, Offsets]:
    pieces: list[str] = []
    offsets = []
    end = 0
    length = 0
    for match in matches:
        pieces += [text[end : match.start()], to_character(match[0])]
        length += match.start() - end + 1
        end = match.end()
        offsets.append((length, end))
    return ("".join([*pieces, text[end:]]) if offsets else text), tuple(offsets)


def _normalise_spaces(text: str) -> str:
    """Replace spaces, hyphens, and dashes in numbers by ASCII characters, one for one."""
    if text.isascii() or not _WIDE_SIGN.search(text):
        return text
    return _DASH_IN_NUMBER.sub("-", text.translate(_TO_ASCII))


def find_json_tokens(text: str) -> tuple[_Token, ...]:
    """Return the tokens of the JSON in a text: one object or array, possibly inside other text, or
    one on each line.
    """
    if "{" not in text and "[" not in text:
        return ()
    tokens: list[_Token] = []
    for start, end in _find_json(text):
        for match in _TOKENS.finditer(text, start, end):
            if match["string"] is not None:
                tokens.append(_Token(*match.span(), "string" if match["key"] is None else "key"))
                continue
            # 1e22 is not personal data.
            is_number = (
                match["number"] and match["number"].lstrip("-").replace(".", "", 1).isdigit()
            )
            tokens.append(_Token(*match.span(), "number" if is_number else "between"))
    return tuple(tokens)


def clip_to_tokens(span: Span, tokens: tuple[_Token, ...]) -> Iterator[Span]:
    """Yield the parts of a span inside strings and numbers of the JSON, or the whole span if it is
    outside of JSON.

    A key is part of the structure, unless the span is the whole key and was found by its format
    alone.
    """
    first = max(bisect_right(tokens, span.start, key=lambda token: token.start) - 1, 0)
    following = (tokens[number] for number in range(first, len(tokens)))
    candidates = takewhile(lambda token: token.start < span.end, following)
    overlapping = [token for token in candidates if token.end > span.start]
    if not overlapping:
        yield span
    for token in overlapping:
        start = max(span.start, token.start + token.quote)
        end = min(span.end, token.end - token.quote)
        if start >= end:
            continue
        piece = replace(
            span, start=start, end=end, text=span.text[start - span.start : end - span.start]
        )
        is_whole_key = (
            token.token_type == "key" and piece == span and not _LABEL_RULE.search(span.rule)
        )
        if token.token_type == "number" and piece.kind in _DIGIT_KINDS:
            # The digits of a number, if their surrogate is a number too.
            pattern = _NUMBER if _NUMBER.fullmatch(piece.text) else _DIGITS
            for match in pattern.finditer(piece.text):
                begin = piece.start + match.start()
                yield replace(piece, start=begin, end=begin + len(match[0]), text=match[0])
        elif token.token_type == "string" or is_whole_key:
            yield piece


def _find_json(text: str) -> Iterator[tuple[int, int]]:
    start = min(
        (position for position in (text.find("{"), text.find("[")) if position >= 0), default=-1
    )
    if start < 0:
        return
    end = max(text.rfind("}"), text.rfind("]")) + 1
    # Without quotes, only a whole text is JSON: [415] 555-2671 is not.
    is_record = '"' in text[start:end] or text[start:end] == text.strip()
    if is_record and _is_json(text[start:end]):
        yield start, end
        return
    line_start = 0
    for line in text.splitlines(keepends=True) if "\n" in text else ():
        stripped = line.strip()
        if stripped[:1] in ("{", "[") and _is_json(stripped):
            start = line_start + line.index(stripped[0])
            yield start, start + len(stripped)
        line_start += len(line)


def _is_json(text: str) -> bool:
    if text[:1] + text[-1:] not in ("{}", "[]"):
        return False
    try:
        _DECODER.decode(text)
    except (ValueError, RecursionError):
        return False
    return True

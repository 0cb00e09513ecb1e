"""What can be put right in a text without a person: a wrong decoding undone, leftover HTML taken out.

Both leave a text alone where another reading of it is possible. Both are idempotent.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator, Sequence
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ftfy import TextFixerConfig

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
CONTROL = re.compile("[\x01-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u206a-\u206f\ufeff\ufff9-\uffff]")
"""Control characters, and U+FFFD, which takes the place of what was lost."""
_SUSPECT = re.compile("[\x01-\x08\x0b\x0c\x0e-\x1f\x7f]|[^\x00-\x7f]+")
_SEQUENCE = re.compile("[\x80-\u2e7f]{2}|[ÂÃ] ")
"""Without such a sequence no text was decoded wrongly: asking this first takes a hundredth of ftfy's time."""
_LINE_BREAKS = {0x0B: "\n", 0x0C: "\n"}
"""Vertical tab and form feed, as text from a PDF has them."""
_SIMPLE_TAG = re.compile(
    r"</?(b|big|br|center|div|em|font|i|p|small|span|strong|u)(?:\s[^<>]{0,300})?/?>", re.I
)
_NEW_LINE = re.compile(r"<(?:br\s{0,3}/?|/div)>", re.I)
_NEW_PARAGRAPH = re.compile(r"</p>", re.I)
_HARD_SPACE = re.compile(r"&(?:nbsp|#160|#xa0);", re.I)
_ABOUT_HTML = re.compile(r"`|\b(?:html|xml|tags?|markup|css|code|element|entity|entities)\b", re.I)
"""Words by which a text may speak of HTML rather than be written in it."""


def decoded(text: str) -> str:
    """The text with a wrong decoding undone and control characters taken out, by ftfy (Speer 2019).

    Quotes, ligatures, widths, line breaks and entities stay. U+FFFD stands for what is lost, and stays too.
    """
    has_control = CONTROL.search(text)
    if not has_control and (text.isascii() or not _SEQUENCE.search(text)):
        return text
    from ftfy import fix_text

    return fix_text(text.translate(_LINE_BREAKS) if has_control else text, _config())


@cache
def _config() -> TextFixerConfig:
    from ftfy import TextFixerConfig

    return TextFixerConfig(
        unescape_html=False,
        replace_lossy_sequences=False,
        fix_latin_ligatures=False,
        fix_character_width=False,
        uncurl_quotes=False,
        fix_line_breaks=False,
        fix_surrogates=False,
        normalization=None,
        explain=False,
    )


def wrong_characters(text: str) -> Iterator[re.Match[str]]:
    """Where a text holds control characters, or characters that `decoded` reads as others."""
    if CONTROL.search(text) or decoded(text) != text:
        found = list(_SUSPECT.finditer(text))
        alone = [match for match in found if CONTROL.search(match[0]) or decoded(match[0]) != match[0]]
        yield from alone or found


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

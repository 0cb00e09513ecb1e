"""Text damaged on its way into a file: wrong decodings, control characters and leftover HTML, found
and repaired.

Both repairs are idempotent. They do not change a text that may be intended.
"""

import html
import re
from collections.abc import Iterator, Mapping, Sequence

_TAGS = (
    "a|abbr|article|b|big|blockquote|body|br|button|center|code|dd|div|dl|dt|em|font|footer|form|h[1-6]|head|"
    "header|hr|html|i|iframe|img|input|label|li|link|meta|nav|ol|option|p|pre|script|section|select|small|span|"
    "strong|style|sub|sup|table|tbody|td|textarea|tfoot|th|thead|title|tr|u|ul"
)
_ENTITY = re.compile(r"&(?:amp|lt|gt|nbsp|quot|apos|#\d{1,7}|#x[0-9a-f]{1,6});", re.IGNORECASE)
"""Only with a semicolon: `&section` in a URL is not an entity."""
MARKUP = re.compile(rf"</?(?:{_TAGS})(?:\s[^<>]{{0,300}})?/?>|{_ENTITY.pattern}", re.IGNORECASE)
_IN_CODE = re.compile(r"```(?s:.*?)(?:```|\Z)|`[^`\n]{1,200}`")
"""Fenced blocks of code, and code within a line."""
_CODE_OR_MARKUP = re.compile(f"{_IN_CODE.pattern}|(?P<markup>{MARKUP.pattern})", re.IGNORECASE)
MAX_LEFTOVER_SHARE = 0.5
"""Largest share of rows at which HTML counts as a leftover. If more rows have it, it is their
format.
"""
CONTROL = re.compile("[\x01-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u206a-\u206f\ufeff\ufff9-\uffff]")
"""Control characters, and U+FFFD, which replaces a lost character."""
_SUSPECT = re.compile("[\x01-\x08\x0b\x0c\x0e-\x1f\x7f]|[^\x00-\x7f]+")
_SEQUENCE = re.compile("[\x80-\u2e7f]{2}|[ÂÃ] ")
"""Every wrongly decoded text has such a sequence; searching for it takes 1% of the time of ftfy."""
_LINE_BREAKS = {0x0B: "\n", 0x0C: "\n"}
"""Vertical tab and form feed, which occur in text from a PDF."""
_SIMPLE_TAG = re.compile(
    r"</?(b|big|br|center|div|em|font|i|p|small|span|strong|u)(?:\s[^<>]{0,300})?/?>", re.I
)
_NEW_LINE = re.compile(r"<(?:br\s{0,3}/?|/div)>", re.I)
_NEW_PARAGRAPH = re.compile(r"</p>", re.I)
_HARD_SPACE = re.compile(r"&(?:nbsp|#160|#xa0);", re.I)
_ABOUT_HTML = re.compile(r"`|\b(?:html|xml|tags?|markup|css|code|element|entity|entities)\b", re.I)
"""Signs that a text is about HTML."""


def fix_encoding(text: str) -> str:
    """Undo a wrong decoding and remove control characters, by ftfy (Speer 2019).

    Quotes, ligatures, widths, line breaks, entities and U+FFFD are not changed.
    """
    has_control = CONTROL.search(text)
    if not has_control and (text.isascii() or not _SEQUENCE.search(text)):
        return text
    from ftfy import fix_text

    return fix_text(
        text.translate(_LINE_BREAKS) if has_control else text,
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


def find_wrong_characters(text: str) -> Iterator[re.Match[str]]:
    """Yield control characters, and characters that `fix_encoding` changes."""
    if CONTROL.search(text) or fix_encoding(text) != text:
        suspects = list(_SUSPECT.finditer(text))
        wrong = [
            match
            for match in suspects
            if CONTROL.search(match[0]) or fix_encoding(match[0]) != match[0]
        ]
        yield from wrong or suspects


def has_markup(text: str) -> bool:
    """Whether a text contains HTML outside of code."""
    return ("<" in text or "&" in text) and any(find_markup(text))


def find_markup(text: str) -> Iterator[re.Match[str]]:
    """Yield the HTML tags and entities outside of code."""
    return (match for match in _CODE_OR_MARKUP.finditer(text) if match["markup"])


def is_leftover(has_markup_by_row: Mapping[int, bool]) -> bool:
    """Whether so few rows have HTML that it is not their format.

    Keys are hashes of a row's texts, so that copies count once: a fix removes them, and the share
    must stay the same.
    """
    return sum(has_markup_by_row.values()) <= MAX_LEFTOVER_SHARE * len(has_markup_by_row)


def remove_markup(text: str) -> str:
    """Decode entities, and remove tags of emphasis and line breaks.

    JSON, texts about HTML and texts with HTML in code are not changed, and neither are texts in
    which other tags (a link, a list, a form) or anything else that looks like HTML would remain.
    """
    if not has_markup(text) or _ABOUT_HTML.search(text) or text.lstrip()[:1] in ("{", "["):
        return text
    if any(MARKUP.search(code[0]) for code in _IN_CODE.finditer(text)):
        return text
    plain = _join_stripped("\n\n", _NEW_PARAGRAPH.split(text), None)
    plain = _join_stripped("\n", _NEW_LINE.split(plain), " \t")
    plain = _ENTITY.sub(
        lambda entity: html.unescape(entity[0]), _HARD_SPACE.sub(" ", _SIMPLE_TAG.sub("", plain))
    )
    return text if MARKUP.search(plain) or CONTROL.search(plain) else plain.strip()


def _join_stripped(joint: str, pieces: Sequence[str], spaces: str | None) -> str:
    """Join pieces without the spaces at their inner ends. A pattern that matches many spaces takes
    quadratic time.
    """
    first, *later_pieces = pieces
    if not later_pieces:
        return first
    inner = [piece.strip(spaces) for piece in later_pieces[:-1]]
    return joint.join([first.rstrip(spaces), *inner, later_pieces[-1].lstrip(spaces)])

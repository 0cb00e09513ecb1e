"""The normal forms of texts: their words alone, and their words with the signs that carry meaning.

Case, spaces, punctuation and the way in which a character is encoded are taken out. `normalise` leaves words;
`with_signs` is what texts are compared by: `3 + 5` is not `3 - 5`, and an emoji is no other emoji.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

_COMPATIBLE = re.compile("[^²³¹¼-¾⁰-ₜ⅐-⅟↉]+")
"""All but raised, lowered and broken numbers, whose compatible form says something else: 10² is not 102."""
_WORD, _NON_WORD = re.compile(r"\w"), re.compile(r"\W+")
_UNUSUAL = re.compile(r"[^\w\s.,;:?!'\"()\[\]{}&@\\#*/‐‑–—‘’“”„«»…-]")
"""What may be a sign or a mark, once operators are written as signs."""
_UNUSUAL_ASCII = re.compile(r"[$%+<=>^`|~]")
"""The same of ASCII, found sooner."""
_MATHEMATICAL = re.compile("[+<=>|~¬±×÷∀-⋿]")
_CURRENCY = re.compile("[$¢-¥₠-⃀]")
_OPERATOR = re.compile(r"[-+‐‑–*/!#]")
"""What is an operator where its neighbours say so."""
_LEFT = re.compile(r"(?<!\w)(?:\w|\d[\d.,]*)[)\]\s]*\Z")
_RIGHT = re.compile(r"[(\[\s$¢-¥₠-⃀]*(?:\d|\w(?!\w))")
"""Operands: a number or a single letter."""
_NAME = re.compile(r"(?<!\w)[^\W\d_]\+?\Z")
_WRITTEN = {"+": "+", "*": "×", "/": "÷"}
_NO_ANGLES = str.maketrans("<>", "  ")
_LOOK_BACK = 16
"""Characters before an operator that are looked at."""
_SHORT = 16
"""Characters of a run that is worth keeping at hand."""


def normalise(text: str) -> str:
    """`text` casefolded, every run of non-word characters as one space, none at the ends.

    Characters that are written in several ways are one (NFKC); combining marks stay with their letter.
    """
    folded = fold(text)
    return _words(folded) if folded.isascii() or not _is_unusual(folded) else _kept(folded, "")


def with_signs(text: str) -> str:
    """The normalised text with its symbols and operators as words of their own.

    Equal for texts that differ in case, spaces, punctuation or encoding alone. The operators ``+ - * / ! # < >`` are
    told from punctuation by what stands beside them; brackets count in texts with operators, signs of currency in
    texts with several of them. A text that has nothing of all this is its own form, but for a repetition (``:) :)``)
    and dashes (``:-)``).
    """
    folded = fold(text)
    written = _compared(_OPERATOR.sub(_as_sign, folded))
    if not _is_unusual(written):
        form = _words(written)
    else:
        several = len(set(_CURRENCY.findall(written))) > 1
        form = _kept(written, "S" + "B" * bool(_MATHEMATICAL.search(written)) + "C" * several)
    return form or " ".join(
        dict.fromkeys(part.replace("-", "") or part for part in folded.replace("\0", "").split())
    )


def fold(text: str) -> str:
    """`text` without differences of case (casefold) and encoding (NFKC); folding it once more changes nothing."""
    if text.isascii():
        return text.lower()
    return _compatible(_compatible(text).casefold())


def _compatible(text: str) -> str:
    return _COMPATIBLE.sub(lambda found: unicodedata.normalize("NFKC", found.group()), text)


def _as_sign(found: re.Match[str]) -> str:
    """An operator as a mathematical sign, whichever character it was written with; other punctuation as it is."""
    char, text, start = found.group(), found.string, found.start()
    before, after = text[max(start - _LOOK_BACK, 0) : start], text[start + 1 : start + 2]
    if char == "!":
        is_no = before[-1:] in ("", *" \n\t(&|=") and (after.isalnum() or after in ("_", "("))
        return "¬" if is_no or after == "=" else char
    if char == "#":
        return "♯" if _NAME.search(before) else char
    if _LEFT.search(before) and _RIGHT.match(text, start + 1):
        return _WRITTEN.get(char, "−")
    if char in "+-" and _NAME.search(before) and not after.isalnum():
        return "⁺" if char == "+" else "⁻"
    is_minus = char not in "+*/" and after.isdigit() and not before[-1:].isalnum()
    return "−" if is_minus else " "


def _compared(text: str) -> str:
    """The text with spaces for those of the signs < and > that do not stand between words."""
    if "<" not in text and ">" not in text:
        return text
    first = _WORD.search(text)
    start, end = first.start() if first else len(text), len(text)
    while end > start and not _WORD.match(text, end - 1):
        end -= 1
    return text[:start].translate(_NO_ANGLES) + text[start:end] + text[end:].translate(_NO_ANGLES)


def _is_unusual(folded: str) -> bool:
    return bool((_UNUSUAL_ASCII if folded.isascii() else _UNUSUAL).search(folded))


def _words(folded: str) -> str:
    return _NON_WORD.sub(" ", folded).strip()


def _kept(folded: str, kinds: str) -> str:
    """The words with their marks and, of what stands between them, the kinds asked for."""

    def between(found: re.Match[str]) -> str:
        run = found.group()
        return (_between_soon if len(run) <= _SHORT else _between)(run, found.start() > 0, kinds)

    return " ".join(_NON_WORD.sub(between, folded).split())


def _between(run: str, after_word: bool, kinds: str) -> str:
    """A run of non-word characters: marks on what they follow, signs (S) and brackets (B) as words, spaces."""
    kept, in_word, attached = [], after_word, after_word
    for char in run:
        if "\ufe00" <= char <= "\ufe0f":  # how an emoji is drawn, not which
            continue
        if attached and unicodedata.category(char)[0] == "M":
            kept.append(char)
            continue
        in_word, attached = False, _is_sign(char, kinds)
        kept.append(f" {char}" if attached else " ")
    return "".join(kept) + ("" if in_word else " ")


_between_soon = lru_cache(4096)(_between)


def _is_sign(char: str, kinds: str) -> bool:
    category = unicodedata.category(char)
    if category == "Sc" or char in "()[]{}":
        return ("C" if category == "Sc" else "B") in kinds
    return "S" in kinds and (char in "%‰" or (category[0] == "S" and char != "`"))

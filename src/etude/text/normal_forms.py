"""The normal forms of texts: their words alone, and their words with the signs that carry meaning.

Both ignore case, spaces, punctuation and the encoding of characters. `normalise` returns words.
Texts are compared by `to_canonical`, which distinguishes `3 + 5` from `3 - 5`, and different emoji.
"""

import re
import unicodedata
from functools import lru_cache

# All characters except superscripts, subscripts and fractions, whose compatible form differs in
# meaning: 10² is not 102.
_COMPATIBLE = re.compile("[^²³¹¼-¾⁰-ₜ⅐-⅟↉]+")
_WORD = re.compile(r"\w")
_NON_WORD = re.compile(r"\W+")
# Characters that may be signs or combining marks, after operators are written as signs.
_UNUSUAL = re.compile(r"[^\w\s.,;:?!'\"()\[\]{}&@\\#*/‐‑–—‘’“”„«»…-]")
_UNUSUAL_ASCII = re.compile(r"[$%+<=>^`|~]")  # the same for ASCII, which is faster
_MATHEMATICAL = re.compile("[+<=>|~¬±×÷∀-⋿]")
_CURRENCY = re.compile("[$¢-¥₠-⃀]")
_OPERATOR = re.compile(r"[-+‐‑–*/!#]")  # an operator or punctuation; the neighbours decide
# Operands: a number or a single letter.
_LEFT = re.compile(r"(?<!\w)(?:\w|\d[\d.,]*)[)\]\s]*\Z")
_RIGHT = re.compile(r"[(\[\s$¢-¥₠-⃀]*(?:\d|\w(?!\w))")
_NAME = re.compile(r"(?<!\w)[^\W\d_]\+?\Z")
_SIGNS = {"+": "+", "*": "×", "/": "÷"}
_NO_ANGLES = str.maketrans("<>", "  ")
_VARIATION = re.compile("[\ufe00-\ufe0f]")  # selectors that change only how an emoji is drawn
_LOOK_BACK = 16  # characters before an operator that are read
_SHORT_RUN = 16  # characters of a run whose result is cached


def normalise(text: str) -> str:
    """Casefold a text and replace every run of non-word characters by one space, none at the ends.

    Characters that are encoded in several ways become one (NFKC); combining marks stay with their
    letter.
    """
    folded = fold(text)
    return (
        _keep_words(folded)
        if folded.isascii() or not _is_unusual(folded)
        else _keep_signs(folded, "")
    )


def to_canonical(text: str) -> str:
    """Normalise a text, with its symbols and operators as separate words.

    The results are equal for texts that differ only in case, spaces, punctuation or encoding. The
    operators ``+ - * / ! # < >`` are distinguished from punctuation by their neighbours. Brackets
    count in texts with operators, and currency signs in texts with several different ones. A text
    without words or signs is its own form, without repetitions (``:) :)``) and dashes (``:-)``).
    """
    folded = fold(text)
    text = _drop_outer_angles(_OPERATOR.sub(_write_sign, folded))
    if not _is_unusual(text):
        form = _keep_words(text)
    else:
        has_currencies = len(set(_CURRENCY.findall(text))) > 1
        form = _keep_signs(
            text, "S" + "B" * bool(_MATHEMATICAL.search(text)) + "C" * has_currencies
        )
    words = (word.replace("-", "") or word for word in folded.replace("\0", "").split())
    return form or " ".join(dict.fromkeys(words))


def fold(text: str) -> str:
    """Remove differences of case (casefold), encoding (NFKC) and drawing; folding again changes
    nothing.
    """
    if text.isascii():
        return text.lower()
    return _decompose(_decompose(_VARIATION.sub("", text)).casefold())


def _decompose(text: str) -> str:
    return _COMPATIBLE.sub(lambda match: unicodedata.normalize("NFKC", match.group()), text)


def _write_sign(match: re.Match[str]) -> str:
    """Return the mathematical sign of an operator; other punctuation is not changed."""
    char = match.group()
    text = match.string
    start = match.start()
    before = text[max(start - _LOOK_BACK, 0) : start]
    after = text[start + 1 : start + 2]
    if char == "!":
        is_negation = before[-1:] in ("", *" \n\t(&|=") and (after.isalnum() or after in ("_", "("))
        return "¬" if is_negation or after == "=" else char
    if char == "#":
        return "♯" if _NAME.search(before) else char
    if _LEFT.search(before) and _RIGHT.match(text, start + 1):
        return _SIGNS.get(char, "−")
    if char in "+-" and _NAME.search(before) and not after.isalnum():
        return "⁺" if char == "+" else "⁻"
    is_minus = char not in "+*/" and after.isdigit() and not before[-1:].isalnum()
    return "−" if is_minus else " "


def _drop_outer_angles(text: str) -> str:
    """Replace the signs < and > before the first word and after the last one by spaces."""
    if "<" not in text and ">" not in text:
        return text
    first = _WORD.search(text)
    start = first.start() if first else len(text)
    end = len(text)
    while end > start and not _WORD.match(text, end - 1):
        end -= 1
    return text[:start].translate(_NO_ANGLES) + text[start:end] + text[end:].translate(_NO_ANGLES)


def _is_unusual(folded: str) -> bool:
    return bool((_UNUSUAL_ASCII if folded.isascii() else _UNUSUAL).search(folded))


def _keep_words(folded: str) -> str:
    return _NON_WORD.sub(" ", folded).strip()


def _keep_signs(folded: str, kinds: str) -> str:
    """Keep words with their combining marks and, of the other characters, those of the given kinds:
    signs (S), brackets (B) and currency signs (C).
    """

    def convert(match: re.Match[str]) -> str:
        run = match.group()
        return (_convert_cached if len(run) <= _SHORT_RUN else _convert_run)(
            run, match.start() > 0, kinds
        )

    return " ".join(_NON_WORD.sub(convert, folded).split())


def _convert_run(run: str, after_word: bool, kinds: str) -> str:
    """Convert a run of non-word characters: combining marks stay with the character before them,
    signs become words, and other characters become spaces.
    """
    pieces = []
    in_word = after_word
    is_attached = after_word
    for char in run:
        category = unicodedata.category(char)
        if is_attached and category[0] == "M":
            pieces.append(char)
            continue
        if category == "Sc" or char in "()[]{}":
            is_attached = ("C" if category == "Sc" else "B") in kinds
        else:
            is_attached = "S" in kinds and (char in "%‰" or (category[0] == "S" and char != "`"))
        in_word = False
        pieces.append(f" {char}" if is_attached else " ")
    return "".join(pieces) + ("" if in_word else " ")


_convert_cached = lru_cache(4096)(_convert_run)

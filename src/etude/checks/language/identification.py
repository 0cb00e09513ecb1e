"""The language of a text, by py3langid, whose model comes with its package.

Lui and Baldwin 2012: naive Bayes over runs of bytes. Only common languages are candidates, as every further one makes
short texts less sure; a text in a language outside the list is given the name of a similar one or none.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from typing import Any

LANGUAGES: Mapping[str, str] = {
    **{"en": "English", "de": "German", "fr": "French", "es": "Spanish", "it": "Italian", "pt": "Portuguese"},
    **{"nl": "Dutch", "sv": "Swedish", "da": "Danish", "fi": "Finnish", "et": "Estonian", "lv": "Latvian"},
    **{
        "lt": "Lithuanian",
        "pl": "Polish",
        "cs": "Czech",
        "hr": "Croatian",
        "hu": "Hungarian",
        "ro": "Romanian",
    },
    **{"tr": "Turkish", "id": "Indonesian", "vi": "Vietnamese", "ru": "Russian", "uk": "Ukrainian"},
    **{"bg": "Bulgarian", "el": "Greek", "he": "Hebrew", "ar": "Arabic", "fa": "Persian", "hi": "Hindi"},
    **{"bn": "Bengali", "ta": "Tamil", "th": "Thai", "ko": "Korean", "ja": "Japanese", "zh": "Chinese"},
}
"""Code of ISO 639-1 -> name."""
MOST_TEXT = 1_000
"""Characters of a text that are looked at."""
LEAST_WORDS = 5
"""Words below which the language of a text is not identified."""
SURE = 0.98
"""Probability of a language, at least."""
GUESSED = 0.5
"""The same for a guess, of which only many together say anything."""
OWN = 0.8
"""Share of the texts of a known language that are in one, from which it is the set's own language."""
LEAST_TOLD = 20
"""Texts of a known language, below which a set has no language of its own."""
UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff"
"""Thai, Lao, Burmese, Khmer, Japanese and Chinese, written without spaces, for a class of characters."""
_UNSPACED = re.compile(f"[{UNSPACED}]")


def num_words(text: str) -> int:
    """The words of a text; two characters of a script without spaces are one."""
    num = len(text.split())
    return num if text.isascii() else num + len(_UNSPACED.findall(text)) // 2


def language_of(text: str) -> str | None:
    """The language of a text as it is written; None if that is not sure, as for most names, code and short texts."""
    beginning = text[:MOST_TEXT]
    return _likeliest(beginning, SURE) if num_words(beginning) >= LEAST_WORDS else None


def own_language(languages: Sequence[str | None], texts: Sequence[str] = ()) -> str | None:
    """The language of nearly all texts that have one in `languages`; if there is none, that of nearly all `texts` by
    guesses; else None."""
    return _usual(languages) or (_usual(with_guesses(texts, languages)) if texts else None)


def _usual(languages: Iterable[str | None]) -> str | None:
    counts = Counter(language for language in languages if language)
    own, most = counts.most_common(1)[0] if counts else ("", 0)
    return own if counts.total() >= LEAST_TOLD and most >= OWN * counts.total() else None


def with_guesses(texts: Sequence[str], languages: Sequence[str | None]) -> Iterator[str | None]:
    """The language of each text: what is identified or, of a text too short for that, a guess."""
    for text, language in zip(texts, languages, strict=True):
        yield language or _likeliest(text[:MOST_TEXT], GUESSED)


def _likeliest(text: str, least: float) -> str | None:
    code, probability = _identifier().classify(text)
    return LANGUAGES[code] if probability >= least else None


@cache
def _identifier() -> Any:
    """The model with the languages of LANGUAGES; it takes half a second to load."""
    from py3langid.langid import MODEL_DIR, MODEL_FILE, LanguageIdentifier

    identifier = LanguageIdentifier.from_modelpath(MODEL_DIR / MODEL_FILE, norm_probs=True)
    identifier.set_languages(list(LANGUAGES))
    return identifier

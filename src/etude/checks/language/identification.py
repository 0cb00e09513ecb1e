"""The language of a text, identified by py3langid; its package contains the model.

Lui and Baldwin 2012: naive Bayes over runs of bytes. Only common languages are candidates, because
each additional language makes the result for short texts less certain. A text in an unlisted
language is identified as a similar language, or is not identified.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any

LANGUAGES: Mapping[str, str] = {
    **{
        "en": "English",
        "de": "German",
        "fr": "French",
        "es": "Spanish",
        "it": "Italian",
        "pt": "Portuguese",
    },
    **{
        "nl": "Dutch",
        "sv": "Swedish",
        "da": "Danish",
        "fi": "Finnish",
        "et": "Estonian",
        "lv": "Latvian",
    },
    **{"lt": "Lithuanian", "pl": "Polish", "cs": "Czech", "hr": "Croatian", "hu": "Hungarian"},
    **{"ro": "Romanian", "tr": "Turkish", "id": "Indonesian", "vi": "Vietnamese", "ru": "Russian"},
    **{
        "uk": "Ukrainian",
        "bg": "Bulgarian",
        "el": "Greek",
        "he": "Hebrew",
        "ar": "Arabic",
        "fa": "Persian",
    },
    **{
        "hi": "Hindi",
        "bn": "Bengali",
        "ta": "Tamil",
        "th": "Thai",
        "ko": "Korean",
        "ja": "Japanese",
    },
    "zh": "Chinese",
}  # code of ISO 639-1 -> name
MAX_CHARS = 1_000  # characters of a text that are read
MIN_WORDS = 5  # words below which the language of a text is not identified
MIN_PROBABILITY = 0.98  # of an identified language
MIN_GUESS = 0.5  # of a guess; guesses are used only in large numbers
MAIN_SHARE = (
    0.8  # share of the texts with a known language from which that language is the set's main one
)
MIN_TEXTS = 20  # texts with a known language below which a set has no main language
# Thai, Lao, Burmese, Khmer, Japanese and Chinese, which are written without spaces; for a class of
# characters.
UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff"
_UNSPACED = re.compile(f"[{UNSPACED}]")


def count_words(text: str) -> int:
    """Count the words of a text; two characters of a script without spaces are one word."""
    num = len(text.split())
    return num if text.isascii() else num + len(_UNSPACED.findall(text)) // 2


def identify_language(text: str) -> str | None:
    """Identify the language of a text; None if it is uncertain, as for most names, code and short
    texts.
    """
    beginning = text[:MAX_CHARS]
    return _classify(beginning, MIN_PROBABILITY) if count_words(beginning) >= MIN_WORDS else None


def guess_language(text: str, identified: str | None) -> str | None:
    """Return the identified language of a text, or a guess if the text is too short to identify
    it.
    """
    return identified or _classify(text[:MAX_CHARS], MIN_GUESS)


def find_main_language(languages: Iterable[str | None]) -> str | None:
    """Return the language of nearly all texts whose language is known; None if no language is that
    frequent.
    """
    counts = Counter(language for language in languages if language)
    main, number = counts.most_common(1)[0] if counts else ("", 0)
    return main if counts.total() >= MIN_TEXTS and number >= MAIN_SHARE * counts.total() else None


def _classify(text: str, min_probability: float) -> str | None:
    code, probability = _load_classifier().classify(text)
    return LANGUAGES[code] if probability >= min_probability else None


@cache
def _load_classifier() -> Any:
    """Load the model, which takes half a second, with the languages of LANGUAGES."""
    from py3langid.langid import MODEL_DIR, MODEL_FILE, LanguageIdentifier

    classifier = LanguageIdentifier.from_modelpath(MODEL_DIR / MODEL_FILE, norm_probs=True)
    classifier.set_languages(list(LANGUAGES))
    return classifier

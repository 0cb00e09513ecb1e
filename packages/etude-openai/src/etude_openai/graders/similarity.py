"""The similarity of two texts, from 0 to 1, by the measures of OpenAI's text_similarity grader.

The definitions are those of the papers; a text without n-grams has a similarity of 0, as in
rouge-score and NLTK. Libraries differ in tokens and smoothing, so a threshold that was chosen with
another implementation may not fit.
"""

import math
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import pairwise

WORD = re.compile(r"\w+")
MAX_ORDER = 4
"""Longest n-gram of BLEU and GLEU."""
MAX_WORDS = 20_000
"""Only so many words are compared: the time of a common subsequence grows with the product of both
lengths.
"""


def words_of(text: str) -> list[str]:
    """Words in lower case, without punctuation."""
    return WORD.findall(text.casefold())[:MAX_WORDS]


def fuzzy_match(text: str, reference: str) -> float:
    """Share of characters that are the same after an alignment (rapidfuzz's `fuzz.WRatio`)."""
    from rapidfuzz import fuzz

    return float(fuzz.WRatio(text, reference)) / 100


def bleu(text: str, reference: str) -> float:
    """Sentence BLEU with sacrebleu's exponential smoothing (Papineni et al. 2002; Chen and Cherry
    2014).
    """
    from sacrebleu.metrics import BLEU

    score = BLEU(effective_order=True).sentence_score(text, [reference]).score
    return min(1.0, float(score) / 100)


def gleu(text: str, reference: str) -> float:
    """The smaller of n-gram precision and recall, n = 1 to 4 (Wu et al. 2016, arXiv 1609.08144)."""
    ours = _all_ngrams(words_of(text))
    theirs = _all_ngrams(words_of(reference))
    matches = (ours & theirs).total()
    longest = max(ours.total(), theirs.total())
    return matches / longest if longest else 0.0


def meteor(text: str, reference: str) -> float:
    """METEOR with exact matches only (Banerjee and Lavie 2005): no stems, no synonyms.

    F mean = 10PR / (R + 9P), times (1 - 0.5 * (chunks / matches)^3).
    """
    ours = words_of(text)
    theirs = words_of(reference)
    positions: dict[str, list[int]] = {}
    for index, word in enumerate(theirs):
        positions.setdefault(word, []).append(index)
    aligned = [positions[word].pop(0) if positions.get(word) else None for word in ours]
    matches = [index for index in aligned if index is not None]
    if not matches:
        return 0.0
    precision = len(matches) / len(ours)
    recall = len(matches) / len(theirs)
    # A chunk is a sequence of matches that are adjacent in both texts.
    chunks = sum(
        after is not None and (before is None or after != before + 1)
        for before, after in pairwise([None, *aligned])
    )
    f_mean = 10 * precision * recall / (recall + 9 * precision)
    return f_mean * (1 - 0.5 * (chunks / len(matches)) ** 3)


def rouge_n(text: str, reference: str, order: int) -> float:
    """F1 of the n-grams that both texts share (Lin 2004)."""
    ours = _ngrams(words_of(text), order)
    theirs = _ngrams(words_of(reference), order)
    return _f1((ours & theirs).total(), ours.total(), theirs.total())


def rouge_l(text: str, reference: str) -> float:
    """F1 of the longest common subsequence of words (Lin 2004)."""
    from rapidfuzz.distance import LCSseq

    ours = words_of(text)
    theirs = words_of(reference)
    return _f1(LCSseq.similarity(ours, theirs), len(ours), len(theirs))


MEASURES: Mapping[str, Callable[[str, str], float]] = {
    "fuzzy_match": fuzzy_match,
    "bleu": bleu,
    "gleu": gleu,
    "meteor": meteor,
    **{f"rouge_{order}": partial(rouge_n, order=order) for order in range(1, 6)},
    "rouge_l": rouge_l,
}
"""Measures that need no model: name in the API -> function."""


def cosine(first: Sequence[float], second: Sequence[float]) -> float:
    """Cosine of two embeddings; 0 if one of them is the zero vector."""
    norms = math.hypot(*first) * math.hypot(*second)
    return sum(a * b for a, b in zip(first, second, strict=True)) / norms if norms else 0.0


def _ngrams(words: Sequence[str], order: int) -> Counter[tuple[str, ...]]:
    return Counter(tuple(words[start : start + order]) for start in range(len(words) - order + 1))


def _all_ngrams(words: Sequence[str]) -> Counter[tuple[str, ...]]:
    total: Counter[tuple[str, ...]] = Counter()
    for order in range(1, MAX_ORDER + 1):
        total += _ngrams(words, order)
    return total


def _f1(num_shared: float, num_first: int, num_second: int) -> float:
    return 2 * num_shared / (num_first + num_second) if num_first + num_second else 0.0

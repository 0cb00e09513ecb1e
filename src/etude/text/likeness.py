"""How like two texts are in their words: token F1 of short answers, SARI of rewritten texts."""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Callable, Sequence
from functools import cache

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_NO_MARKS = str.maketrans("", "", string.punctuation)
LONGEST = 4
"""Words of the longest n-grams that SARI counts."""


def token_f1(answer: str, wanted: str) -> float:
    """Harmonic mean of the shares of words of one text that the other has, 0 to 1.

    As SQuAD's script counts: without case, ASCII punctuation and the English articles (Rajpurkar et al. 2016). Two
    texts of no word are equal.
    """
    given, right = _squad_words(answer), _squad_words(wanted)
    if not given or not right:
        return float(given == right)
    return 2 * (given & right).total() / (given.total() + right.total())


def _squad_words(text: str) -> Counter[str]:
    return Counter(_ARTICLES.sub(" ", text.lower().translate(_NO_MARKS)).split())


def sari(source: str, answer: str, references: Sequence[str]) -> float:
    """How well a text was rewritten, 0 to 1: n-grams kept and added (F1) and deleted (precision), against all
    references together.

    Xu et al. 2016 as Hugging Face's `evaluate` counts: recall of kept n-grams is of occurrences, and where there is
    nothing to keep, add or delete, nothing was done wrong. Words are those of sacrebleu's 13a, in lower case. A word
    that the source repeats and the reference does not counts as wrongly deleted. The corpus score of EASSE differs.
    """
    texts = [_words(text) for text in (source, answer, *references)]
    return sum(_sari_of(n, *texts) for n in range(1, LONGEST + 1)) / LONGEST


def _sari_of(n: int, source: Sequence[str], answer: Sequence[str], *references: Sequence[str]) -> float:
    old, new = _times(_grams(source, n), len(references)), _times(_grams(answer, n), len(references))
    wanted = sum((_grams(words, n) for words in references), Counter[str]())
    kept, to_keep, gone = old & new, old & wanted, old - new
    right = kept & wanted
    keep = _f1(_mean_share(right, kept), right.total() / to_keep.total() if to_keep else 1.0)
    delete = _mean_share(gone - wanted, gone)
    added, to_add = new.keys() - old.keys(), wanted.keys() - old.keys()
    hits = len(added & wanted.keys())
    add = _f1(hits / len(added) if added else 1.0, hits / len(to_add) if to_add else 1.0)
    return (keep + delete + add) / 3


def _mean_share(part: Counter[str], whole: Counter[str]) -> float:
    """Of each n-gram the share of its occurrences, on average; 1 where there are none."""
    return sum(part[gram] / count for gram, count in whole.items()) / len(whole) if whole else 1.0


def _f1(precision: float, recall: float) -> float:
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def _grams(words: Sequence[str], n: int) -> Counter[str]:
    return Counter(" ".join(words[start : start + n]) for start in range(len(words) - n + 1))


def _times(counts: Counter[str], factor: int) -> Counter[str]:
    return Counter({gram: factor * count for gram, count in counts.items()})


def _words(text: str) -> list[str]:
    return _tokenizer()(text.lower()).split()


@cache
def _tokenizer() -> Callable[[str], str]:
    from sacrebleu.tokenizers.tokenizer_13a import Tokenizer13a

    tokenizer: Callable[[str], str] = Tokenizer13a()
    return tokenizer

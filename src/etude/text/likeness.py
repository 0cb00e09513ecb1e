"""The similarity of texts by their words: token F1 for short answers, SARI for rewritten texts."""

import re
import string
from collections import Counter
from collections.abc import Callable, Sequence
from functools import cache

from etude.text.normal_forms import fold

MIN_REPEATED = 0.9
MAX_NGRAM = 4  # words of the longest n-grams that SARI counts
_ARTICLES = re.compile(r"\b(a|an|the)\b")
_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)


def are_repeated(texts: Sequence[str]) -> bool:
    """Whether nearly all of these texts occur more than once; case, character width and white space
    are ignored.
    """
    counts = Counter(" ".join(fold(text).split()) for text in texts)
    num_repeated = sum(number for number in counts.values() if number > 1)
    return bool(texts) and num_repeated >= MIN_REPEATED * len(texts)


def token_f1(answer: str, wanted: str) -> float:
    """Compute the harmonic mean of precision and recall of words, 0 to 1.

    Words are counted as in SQuAD's script: without case, ASCII punctuation and English articles
    (Rajpurkar et al. 2016). Two texts without words count as equal.
    """
    words = _count_squad_words(answer)
    expected = _count_squad_words(wanted)
    if not words or not expected:
        return float(words == expected)
    return 2 * (words & expected).total() / (words.total() + expected.total())


def _count_squad_words(text: str) -> Counter[str]:
    return Counter(_ARTICLES.sub(" ", text.lower().translate(_NO_PUNCTUATION)).split())


def sari(source: str, answer: str, references: Sequence[str]) -> float:
    """Compute how well a text was rewritten, 0 to 1: the F1 of kept and of added n-grams, and the
    precision of deleted n-grams, against all references together.

    Xu et al. 2016, computed as in Hugging Face's `evaluate`: the recall of kept n-grams counts
    occurrences, and if there is nothing to keep, add or delete, that part is perfect. Words are
    those of sacrebleu's 13a tokenizer, in lower case. A word repeated in the source but not in the
    reference is wrongly deleted. EASSE's score differs.
    """
    tokenize = _load_tokenizer()
    texts = [tokenize(text.lower()).split() for text in (source, answer, *references)]
    return sum(_score_ngrams(n, *texts) for n in range(1, MAX_NGRAM + 1)) / MAX_NGRAM


def _score_ngrams(
    n: int, source: Sequence[str], answer: Sequence[str], *references: Sequence[str]
) -> float:
    # Source and answer count once for each reference.
    before, after = (_count_ngrams(words, n, len(references)) for words in (source, answer))
    wanted = sum((_count_ngrams(words, n) for words in references), Counter[str]())
    unchanged = before & after
    to_keep = before & wanted
    deleted = before - after
    right = unchanged & wanted
    keep = _f1(_mean_share(right, unchanged), right.total() / to_keep.total() if to_keep else 1.0)
    delete = _mean_share(deleted - wanted, deleted)
    added = after.keys() - before.keys()
    to_add = wanted.keys() - before.keys()
    hits = len(added & wanted.keys())
    add = _f1(hits / len(added) if added else 1.0, hits / len(to_add) if to_add else 1.0)
    return (keep + delete + add) / 3


def _mean_share(counts: Counter[str], totals: Counter[str]) -> float:
    """Average the share of each n-gram's occurrences; 1 if there are none."""
    return (
        sum(counts[ngram] / total for ngram, total in totals.items()) / len(totals)
        if totals
        else 1.0
    )


def _f1(precision: float, recall: float) -> float:
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def _count_ngrams(words: Sequence[str], n: int, factor: int = 1) -> Counter[str]:
    counts = Counter(" ".join(words[start : start + n]) for start in range(len(words) - n + 1))
    return Counter({ngram: factor * count for ngram, count in counts.items()})


@cache
def _load_tokenizer() -> Callable[[str], str]:
    from sacrebleu.tokenizers.tokenizer_13a import Tokenizer13a

    tokenizer: Callable[[str], str] = Tokenizer13a()
    return tokenizer

"""Answers that stop before their end: in the middle of a sentence, or cut by a limit."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from etude.base.wording import count
from etude.checks.language.identification import UNSPACED, num_words
from etude.checks.material import Mark, Material, rows_that
from etude.checks.record import FREE, FindingKind, finds
from etude.checks.rows.fences import unclosed
from etude.text.lexicon import NO_ENDING
from etude.types import Finding

EMOJI = "\u231a\u231b\u23e9-\u23fa\u2600-\u27bf\u2b05-\u2b07\u2b1b\u2b1c\u2b50\u2b55\U0001f000-\U0001faff"
"""Emoji, for a class of characters."""
_EMOJI_END = re.compile(rf"[{EMOJI}\u200d\u20e3\u2190-\u21ff\u2300-\u23ff\u2b00-\u2bff\ufe0f\s]+\Z")
"""Emoji, arrows and signs of devices, and what joins and colours them."""
SENTENCE_ENDS = ".!?…:;‥。！？：；｡؟۔؛।॥։။።៕"
"""Marks that end a sentence, in the scripts that have their own."""
ENDINGS = tuple(
    SENTENCE_ENDS.translate({ord(mark): None for mark in ":："}) + ")]}\"'”’»›*`_|~>」』）】》〉～〜♪"
)
"""Characters with which a text may end and be whole; behind a colon something is to follow."""
ENDED_SHARE = 0.8
"""Share of the answers that end in one of `ENDINGS` from which the others stand out."""
ENDED_LEAST = 10
"""Answers that do, below which nothing stands out."""
WELL_ENDED = 0.95
"""The same share of those that no word tells to be cut, from which words learned from the set itself tell."""
FEW = 0.2
"""Share of the answers above which a cut is an error of the set."""
LONG_WORDS = 8
"""Words from which an answer without an end is no phrase."""
KNOWN = 20
"""Times that a last word, or the last two, stand within sentences and never at their end, from which they end none."""
PART_KNOWN = 3
"""Times that a word which begins with the last one follows the word before it."""
MOST_TEXTS = 5_000
"""Whole answers from which it is learned what ends a sentence; of more an even sample."""
MOST_TEXT = 2_000
"""Characters of each."""
_TOKEN = re.compile(rf"([{UNSPACED}]|(?:(?![{UNSPACED}])\w)+(?:['’]\w+)?)([^\w]*)")


@finds(
    FindingKind("truncated", "error, warning", "answers that stop in the middle of a sentence"),
    tasks=FREE,
    quick=True,
)
def truncated(material: Material) -> Iterator[Finding]:
    """Answers that stop in the middle of a sentence where nearly all others end one, however many stop."""
    if len(material.outputs) < 20:
        return
    texts = material.outputs
    open_code = unclosed(texts)
    yield from _in_code(material, open_code)
    is_open = [not is_whole(text) for text in texts]
    for row in open_code:
        is_open[row] = False
    open_long = [row for row, opened in enumerate(is_open) if opened and is_long(texts[row])]
    cut = {row for row in open_long if _ends_in_a_link(texts[row], material.may_be_english(row))}
    num_ended = len(texts) - sum(is_open)
    if num_ended >= max(ENDED_LEAST, ENDED_SHARE * (len(texts) - len(cut))):
        whole = [row for row, opened in enumerate(is_open) if not opened]
        by_words = _cut_by_words(texts, whole, [row for row in open_long if row not in cut])
        if num_ended >= WELL_ENDED * (len(texts) - len(cut | by_words)):
            cut |= by_words
        yield from _stopped(material, sorted(cut))
    yield from _common_length(material)


def is_whole(text: str) -> bool:
    """Whether a text ends with a mark, a bracket, a quote or an emoji."""
    end = text.rstrip()
    return end.endswith(ENDINGS) or bool(_EMOJI_END.search(end[-20:]))


def without_emoji(text: str) -> str:
    """The text without the emoji and the spaces at its end."""
    match = _EMOJI_END.search(text, max(len(text) - 100, 0))
    return text[: match.start()] if match else text


def is_long(text: str) -> bool:
    """Whether the last line is prose and no phrase, name or item of a list."""
    tail = text[-200:].rstrip()
    return num_words(tail) >= LONG_WORDS and "\n" not in text[-40:].strip()


def _ends_in_a_link(text: str, english: bool) -> bool:
    """Whether a text ends with a comma, a colon, a hyphen or an English word with which no sentence ends.

    German sentences may end with `an`, Danish ones with `for`.
    """
    tail = text[-200:].rstrip()
    in_a_word = english and tail.split()[-1].casefold() in NO_ENDING
    return in_a_word or tail.endswith((",", ":", "-", "–", "、", "，", "：", "،"))


@dataclass
class _Uses:
    """How often last words, and the last two, stand within a sentence and at its end."""

    within: Counter[tuple[str, ...]] = field(default_factory=Counter)
    last: Counter[tuple[str, ...]] = field(default_factory=Counter)
    begun: Counter[tuple[str, str]] = field(default_factory=Counter)
    """(word, beginning of the next) -> times."""

    def ends_none(self, *words: str) -> bool:
        return self.within[words] >= KNOWN and not self.last[words]

    def is_cut(self, before: str, word: str) -> bool:
        """Whether no sentence ends with this word, with both, or in the middle of the word."""
        is_part = not self.within[(word,)] + self.last[(word,)] and self.begun[before, word] >= PART_KNOWN
        return self.ends_none(word) or self.ends_none(before, word) or is_part


def _cut_by_words(outputs: Sequence[str], whole: Sequence[int], rows: Sequence[int]) -> set[int]:
    """Rows whose last words end no sentence of the whole answers, in any language."""
    lasts = {row: pair for row in rows if (pair := _last_two(outputs[row]))}
    if not lasts:
        return set()
    step = -(-len(whole) // MOST_TEXTS)
    uses = _uses((outputs[row][:MOST_TEXT] for row in whole[::step]), set(lasts.values()))
    return {row for row, pair in lasts.items() if uses.is_cut(*pair)}


def _last_two(text: str) -> tuple[str, str] | None:
    tokens = _TOKEN.findall(text[-200:].casefold())
    return (tokens[-2][0], tokens[-1][0]) if len(tokens) > 1 and tokens[-1][0].isalpha() else None


def _uses(texts: Iterable[str], pairs: set[tuple[str, str]]) -> _Uses:
    """Of the words of the pairs alone, so that memory does not grow with the texts."""
    uses, words, openings = _Uses(), {word for _, word in pairs}, {before for before, _ in pairs}
    longest = max(map(len, words))
    for text in texts:
        before, joined = "", False
        for word, gap in _TOKEN.findall(text.casefold()):
            kinds: list[tuple[str, ...]] = [(word,)] if word in words else []
            if joined and before in openings:
                kinds += [(before, word)] if (before, word) in pairs else []
                begun = ((before, word[:end]) for end in range(1, min(len(word), longest + 1)))
                uses.begun.update(pairs.intersection(begun))
            for kind in kinds:
                if any(mark in gap for mark in SENTENCE_ENDS) or "\n" in gap:
                    uses.last[kind] += 1
                elif not gap.strip():
                    uses.within[kind] += 1
            before, joined = word, not gap.strip()
    return uses


def _in_code(material: Material, rows: Sequence[int]) -> Iterator[Finding]:
    outputs = material.outputs
    if rows:
        yield material.finding(
            "truncated",
            "warning",
            rows,
            f"{rows_that('have', len(rows), len(outputs))} an answer with a block of code (```) that is never closed, "
            "where nearly all others close theirs.",
            "Complete the answers, or delete the rows: a model learns to stop there too.",
            evidence=(material.shown_output(position, [_tail(outputs[position])]) for position in rows),
        )


def _stopped(material: Material, rows: Sequence[int]) -> Iterator[Finding]:
    texts = material.outputs
    if rows:
        yield material.finding(
            "truncated",
            "warning" if len(rows) <= FEW * len(texts) else "error",
            rows,
            f"{rows_that('have', len(rows), len(texts))} an answer that stops in the middle of a sentence.",
            "Complete the answers, or delete the rows: a model learns to stop there too.",
            evidence=(material.shown_output(position, [_tail(texts[position])]) for position in rows),
        )


def _tail(text: str) -> Mark:
    end = len(text.rstrip())
    begin = max(end - 30, 0)
    return text.find(" ", begin, end) + 1 or begin, end


def _common_length(material: Material) -> Iterator[Finding]:
    """Answers that share the greatest length to the character and do not end a sentence: cut by a limit."""
    outputs = material.outputs
    longest = max(map(len, outputs), default=0)
    rows = [position for position, text in enumerate(outputs) if len(text) == longest]
    cut = [position for position in rows if not is_whole(outputs[position])]
    if longest >= 100 and len(rows) >= max(5, 0.002 * len(outputs)) and len(cut) >= 0.5 * len(rows):
        yield material.finding(
            "truncated",
            "warning",
            rows,
            f"{count(len(rows), 'answer')} are exactly {longest:,} characters long, the longest there are, and half "
            "of them or more end in the middle of a sentence: a limit has cut them.",
            "Take the answers from their source again, without the limit.",
            evidence=(material.shown_output(position, [_tail(outputs[position])]) for position in cut),
        )

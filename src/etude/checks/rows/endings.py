"""Incomplete answers: those that stop in the middle of a sentence or were cut by a length limit."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from etude.base.formatting import format_count
from etude.checks.kinds import FREE, FindingKind, finds
from etude.checks.language.identification import UNSPACED, count_words
from etude.checks.material import Material, format_rows
from etude.checks.rows.quotations import find_unclosed
from etude.text.lexicon import LINKING_WORDS
from etude.types import Excerpt, Finding, Severity

# Emoji, for a class of characters.
EMOJI = (
    "\u231a\u231b\u23e9-\u23fa\u2600-\u27bf\u2b05-\u2b07"
    "\u2b1b\u2b1c\u2b50\u2b55\U0001f000-\U0001faff"
)
# Emoji, arrows and symbols of devices, with the characters that join and colour them.
_EMOJI_END = re.compile(rf"[{EMOJI}\u200d\u20e3\u2190-\u21ff\u2300-\u23ff\u2b00-\u2bff\ufe0f\s]+\Z")
SENTENCE_ENDS = ".!?…:;‥。！？：；｡؟۔؛।॥።։។៕"  # punctuation that ends a sentence, in all scripts
# Characters with which a complete text may end. A colon is excluded, because more text should
# follow it.
ENDINGS = tuple(
    SENTENCE_ENDS.translate({ord(mark): None for mark in ":："})
    + ")]}\"'”’»›*`_|~>」』）】》〉～〜♪"
)
MIN_TEXTS = 20  # answers below which nothing is reported
# Share of answers that must end with one of `ENDINGS` for the other answers to count as cut.
ENDED_SHARE = 0.8
MIN_ENDED = 10  # minimum number of such answers
WELL_ENDED_SHARE = 0.95  # minimum share of such answers to learn which words never end a sentence
MAX_WARNING_SHARE = 0.2  # share of cut answers above which they are an error
LONG_WORDS = 8  # words from which an answer without a sentence end is not just a phrase
MIN_WITHIN = (
    20  # times that words must occur within sentences, and never at the end, to count as a cut
)
MIN_BEGUN = 3  # times that a word with this beginning must follow the same word to count as a cut
# Maximum number of complete answers from which we learn which words end a sentence. If there are
# more answers, they are sampled evenly.
MAX_TEXTS = 5_000
MAX_TEXT = 2_000  # characters of each
_TOKEN = re.compile(rf"([{UNSPACED}]|(?:(?![{UNSPACED}])\w)+(?:['’]\w+)?)([^\w]*)")


@finds(
    FindingKind("truncated", "error, warning", "answers that stop in the middle of a sentence"),
    tasks=FREE,
    quick=True,
)
def check_truncated(material: Material) -> Iterator[Finding]:
    """Find answers that stop in the middle of a sentence, if nearly all other answers are
    complete.
    """
    answers = material.outputs
    if len(answers) < MIN_TEXTS:
        return
    remedy = (
        "Complete the answers, or delete the rows: a model would learn to stop in the middle, too."
    )
    # Step 1: code blocks that are never closed.
    in_code = find_unclosed(answers)
    if in_code:
        message = (
            f"{format_rows('have', len(in_code), len(answers))} an answer with a code block (```) "
            "that is never closed; nearly all other code blocks are closed."
        )
        yield _create_finding(material, "warning", in_code, message, remedy)
    # Step 2: answers that end with a comma or a similar sign or, if most answers are complete, with
    # a word that never ends a sentence.
    is_open = [not is_complete(text) for text in answers]
    for row in in_code:
        is_open[row] = False
    candidates = [row for row, opened in enumerate(is_open) if opened and is_prose(answers[row])]
    cut = {
        row for row in candidates if _ends_with_link(answers[row], material.answer_language(row))
    }
    num_ended = len(answers) - sum(is_open)
    if num_ended >= max(MIN_ENDED, ENDED_SHARE * (len(answers) - len(cut))):
        complete = [row for row, opened in enumerate(is_open) if not opened]
        by_words = _find_cut_words(answers, complete, [row for row in candidates if row not in cut])
        if num_ended >= WELL_ENDED_SHARE * (len(answers) - len(cut | by_words)):
            cut |= by_words
        if cut:
            severity: Severity = (
                "warning" if len(cut) <= MAX_WARNING_SHARE * len(answers) else "error"
            )
            rows = format_rows("have", len(cut), len(answers))
            message = f"{rows} an answer that stops in the middle of a sentence."
            yield _create_finding(material, severity, sorted(cut), message, remedy)
    # Step 3: answers that all have the greatest length, exactly, and do not end a sentence.
    yield from _check_common_length(material)


def _create_finding(
    material: Material, severity: Severity, rows: Sequence[int], message: str, remedy: str
) -> Finding:
    excerpts = (_show_end(material, row) for row in rows)
    return material.finding("truncated", severity, rows, message, remedy, excerpts=excerpts)


def is_complete(text: str) -> bool:
    """Whether a text ends with a mark, a bracket, a quote or an emoji."""
    end = text.rstrip()
    return end.endswith(ENDINGS) or bool(_EMOJI_END.search(end[-20:]))


def strip_emoji(text: str) -> str:
    """Strip the emoji and spaces from the end of a text."""
    match = _EMOJI_END.search(text, max(len(text) - 100, 0))
    return text[: match.start()] if match else text


def is_prose(text: str) -> bool:
    """Whether the last line is prose, not a phrase, a name or an item of a list."""
    tail = text[-200:].rstrip()
    return count_words(tail) >= LONG_WORDS and "\n" not in text[-40:].strip()


def _ends_with_link(text: str, language: str | None) -> bool:
    """Whether a text ends with a comma, a colon, a hyphen or an English word that never ends a
    sentence.

    Only English words count, because German sentences may end with `an`, and Danish ones with
    `for`.
    """
    tail = text[-200:].rstrip()
    is_word = language in (None, "English") and tail.split()[-1].casefold() in LINKING_WORDS
    return is_word or tail.endswith((",", ":", "-", "–", "、", "，", "：", "،"))


@dataclass
class _WordUses:
    """How often words, alone and after the word before them, occur within a sentence and at its
    end.
    """

    within: Counter[tuple[str, ...]] = field(default_factory=Counter)
    last: Counter[tuple[str, ...]] = field(default_factory=Counter)
    beginnings: Counter[tuple[str, str]] = field(default_factory=Counter)
    """(word, beginning of the next word) -> times."""

    def is_cut(self, before: str, word: str) -> bool:
        """Whether no sentence ends with this word, with both words, or in the middle of the
        word.
        """
        is_unknown = not self.within[(word,)] + self.last[(word,)]
        if is_unknown and self.beginnings[before, word] >= MIN_BEGUN:
            return True
        return any(
            self.within[words] >= MIN_WITHIN and not self.last[words]
            for words in ((word,), (before, word))
        )


def _find_cut_words(
    answers: Sequence[str], complete: Sequence[int], rows: Sequence[int]
) -> set[int]:
    """Find rows whose last words never end a sentence in the complete answers, in any language."""
    endings = {}
    for row in rows:
        tokens = _TOKEN.findall(answers[row][-200:].casefold())
        if len(tokens) > 1 and tokens[-1][0].isalpha():
            endings[row] = (tokens[-2][0], tokens[-1][0])
    if not endings:
        return set()
    step = -(-len(complete) // MAX_TEXTS)
    uses = _count_uses((answers[row][:MAX_TEXT] for row in complete[::step]), set(endings.values()))
    return {row for row, pair in endings.items() if uses.is_cut(*pair)}


def _count_uses(texts: Iterable[str], pairs: set[tuple[str, str]]) -> _WordUses:
    """Count the uses of only the words in `pairs`, so that memory does not grow with the texts."""
    uses = _WordUses()
    words = {word for _, word in pairs}
    first_words = {before for before, _ in pairs}
    longest = max(map(len, words))
    for text in texts:
        before = ""
        is_joined = False
        for word, gap in _TOKEN.findall(text.casefold()):
            keys: list[tuple[str, ...]] = [(word,)] if word in words else []
            if is_joined and before in first_words:
                keys += [(before, word)] if (before, word) in pairs else []
                beginnings = ((before, word[:end]) for end in range(1, min(len(word), longest + 1)))
                uses.beginnings.update(pairs.intersection(beginnings))
            for key in keys:
                if any(mark in gap for mark in SENTENCE_ENDS) or "\n" in gap:
                    uses.last[key] += 1
                elif not gap.strip():
                    uses.within[key] += 1
            before = word
            is_joined = not gap.strip()
    return uses


def _show_end(material: Material, row: int) -> Excerpt:
    text = material.outputs[row]
    end = len(text.rstrip())
    begin = max(end - 30, 0)
    return material.show_output(row, [(text.find(" ", begin, end) + 1 or begin, end)])


def _check_common_length(material: Material) -> Iterator[Finding]:
    answers = material.outputs
    longest = max(map(len, answers), default=0)
    rows = [row for row, text in enumerate(answers) if len(text) == longest]
    cut = [row for row in rows if not is_complete(answers[row])]
    if longest >= 100 and len(rows) >= max(5, 0.002 * len(answers)) and len(cut) >= 0.5 * len(rows):
        yield material.finding(
            "truncated",
            "warning",
            rows,
            f"{format_count(len(rows), 'answer')} are exactly {longest:,} characters long, the "
            "greatest length, and at least half of them end in the middle of a sentence. A "
            "length limit has cut them.",
            "Get the answers from their source again, without the limit.",
            excerpts=(_show_end(material, row) for row in cut),
        )

"""Count the tokens of the whole data set that training learns or only reads, before the first step.

If the wrong tokens are learned (an answer is only read, an end of turn is never learned, a text has
two beginnings), training seems to work, and the error is found much later. So the counts are
reported first.
"""

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, takewhile

from transformers import PreTrainedTokenizerBase

from etude.errors import InputError, Issue, quote_value
from etude.training.rows.batches import TokenRow

NUM_LONGEST = 5
"""The number of longest rows that are listed."""


@dataclass(frozen=True, slots=True)
class Supervision:
    """The counts of all training rows."""

    num_rows: int
    num_trained: int
    """The number of learned tokens."""
    num_read: int
    """The number of tokens that are only read."""
    num_answers: int
    """The number of sequences of learned tokens, which are the answers. A chat has several."""
    start_tokens: tuple[tuple[int, int], ...]
    """(number of beginning-of-text tokens at the start of a row, number of rows with it); empty
    without the token.
    """
    longest_rows: tuple[tuple[str, int], ...]
    """(row, number of tokens) of the longest rows."""

    def to_sentences(self) -> Iterator[str]:
        """Yield the counts in sentences."""
        share = self.num_trained / (self.num_trained + self.num_read)
        yield (
            f"{self.num_rows:,} rows: {self.num_trained:,} tokens are learned ({share:.0%}) and "
            f"{self.num_read:,} are only read. There are {self.num_answers:,} answers, each "
            "learned including its end of turn."
        )
        if self.start_tokens:
            counts = ", ".join(
                f"{number} in each of {rows:,} rows" for number, rows in self.start_tokens
            )
            yield f"Beginning-of-text tokens at the start: {counts}."
        longest = ", ".join(f"{row} ({tokens:,})" for row, tokens in self.longest_rows)
        yield f"Longest rows, in tokens: {longest}."


def count_supervision(
    rows: Sequence[TokenRow], end: int, start: int | None = None, dev_rows: Sequence[TokenRow] = ()
) -> Supervision:
    """Count the learned tokens of `rows`. `end` is the token that ends a turn, `start` the token
    that begins a text.

    Raises InputError listing every row of train and dev with an answer whose end of turn is not
    learned. A model trained on such rows would not learn to stop, and such dev rows might make the
    dev loss prefer one.
    """
    # With an answer without its end of turn, the model would learn not to stop.
    issues = [issue for row in [*rows, *dev_rows] for issue in _check_endings(row, end)]
    if issues:
        raise InputError(issues)
    num_trained = sum(row.num_trained for row in rows)
    leading = (sum(1 for _ in takewhile(lambda token: token == start, row.ids)) for row in rows)
    counts = Counter(leading) if start is not None else Counter()
    ordered = sorted(rows, key=lambda row: -len(row.ids))
    return Supervision(
        num_rows=len(rows),
        num_trained=num_trained,
        num_read=sum(len(row.ids) for row in rows) - num_trained,
        num_answers=sum(len(_find_answers(row)) for row in rows),
        start_tokens=tuple(sorted(counts.items())),
        longest_rows=tuple((row.id, len(row.ids)) for row in ordered[:NUM_LONGEST]),
    )


def split_spans(tokenizer: PreTrainedTokenizerBase, row: TokenRow) -> list[tuple[str, bool]]:
    """Split the row's text at the borders of learned parts: (text, whether it is learned)."""
    return [(text, trained) for text, trained, _ in split_pieces(tokenizer, row, special=())]


def split_pieces(
    tokenizer: PreTrainedTokenizerBase, row: TokenRow, special: Collection[int]
) -> list[tuple[str, bool, bool]]:
    """Split the row's text at learned parts and special tokens: (text, whether learned, whether
    special).
    """
    tokens = zip(row.ids, row.trained, strict=True)
    return [
        (
            str(
                tokenizer.decode([token for token, _ in group], clean_up_tokenization_spaces=False)
            ),
            *kind,
        )
        for kind, group in groupby(tokens, key=lambda pair: (pair[1], pair[0] in special))
    ]


def choose_rows_to_show(
    rows: Sequence[TokenRow], number: int, silent_ids: Collection[str]
) -> list[tuple[TokenRow, str]]:
    """Choose at most `number` different rows, each with a note on it, and sort them from the
    shortest to the longest.

    Chosen first are a row with an answer of weight 0 (`silent_ids` are the ids of such rows), the
    row with the most answers, the longest and the shortest; then rows at equal distances when
    sorted by length.
    """
    ordered = sorted(rows, key=lambda row: len(row.ids))
    # Add rows at equal distances when sorted by length.
    last = len(ordered) - 1
    gaps = max(1, number - 1)
    longest = ordered[last]
    shortest = ordered[0]
    most_answers = max(ordered, key=lambda row: len(_find_answers(row)))
    candidates = [
        *[row for row in ordered if row.id in silent_ids][:1],
        *([most_answers] if len(_find_answers(most_answers)) > 1 else []),
        *(longest, shortest),
        *(ordered[last * index // gaps] for index in range(number)),
        *ordered,
    ]
    chosen = list({id(row): row for row in candidates}.values())[:number]

    def describe_row(row: TokenRow) -> Iterator[str]:
        tokens = f"{len(row.ids):,} tokens"
        yield (
            f"longest, {tokens}"
            if row is longest
            else f"shortest, {tokens}"
            if row is shortest
            else tokens
        )
        if (num_answers := len(_find_answers(row))) > 1:
            yield f"{num_answers} answers are learned"
        if row.id in silent_ids:
            yield "an answer of weight 0 is only read"

    return [
        (row, "; ".join(describe_row(row))) for row in sorted(chosen, key=lambda row: len(row.ids))
    ]


def _find_answers(row: TokenRow) -> list[list[int]]:
    tokens = zip(row.ids, row.trained, strict=True)
    groups = groupby(tokens, lambda pair: pair[1])
    return [[token for token, _ in group] for trained, group in groups if trained]


def _check_endings(row: TokenRow, end: int) -> Iterator[Issue]:
    for number, answer in enumerate(_find_answers(row), start=1):
        if answer[-1] != end:
            message = (
                f"the end of turn of answer {number} is not learned, so the model would not learn "
                "when to stop"
            )
            value = f"last learned token {quote_value(answer[-1])}, expected {quote_value(end)}"
            yield Issue(row.id, message, value, "leave the row out, or set model: to another model")

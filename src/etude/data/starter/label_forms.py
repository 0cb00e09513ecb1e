"""Whether answers are lists of labels, scores on a scale, or yes and no."""

import re
from collections import Counter
from collections.abc import Collection, Sequence

from etude.text.label_lists import YES_OR_NO, split_labels
from etude.types import Example

# Column names that suggest labels.
LABEL_NAMES = frozenset(
    ("label", "category", "categorie", "class", "classe", "intent", "topic", "sentiment", "tag")
)
# of a label
MAX_WORDS = 8
MAX_CHARACTERS = 80
MIN_REPEATS = 4  # times that a label must occur on average
MIN_LISTS = 0.1  # share of rows that must have more than one label
MAX_COPIED = (
    0.5  # largest share of labels that occur in their text; more would be values of an extraction
)
MAX_SCORES = 11  # maximum number of scores of a scale, such as 0 to 10
SCORE_NAMES = re.compile(
    r"scor|rating|stars?|grade|level|rank|severity|priority|quality|likert|urgen|importan|satisf|difficult|risk",
    re.IGNORECASE,
)


def guess_labels(examples: Sequence[Example], column: str) -> list[str]:
    """The labels of rows whose answers are lists of labels, sorted; empty if the answers are not
    such lists.

    Labels that occur in their texts are values of an extraction, unless the column has the name of
    labels.
    """
    lists = [split_labels(example.output) for example in examples]
    counts = Counter(label for labels in lists for label in labels)
    num_lists = sum(len(labels) > 1 for labels in lists)
    if (
        not counts
        or num_lists < MIN_LISTS * len(lists)
        or counts.total() < MIN_REPEATS * len(counts)
    ):
        return []
    if any(len(label) > MAX_CHARACTERS or len(label.split()) > MAX_WORDS for label in counts):
        return []
    # Labels that always occur together are one label with a comma in it.
    if len(counts) >= len({frozenset(labels) for labels in lists}) or min(counts.values()) < 2:
        return []
    if column.casefold().removesuffix("s") in LABEL_NAMES:
        return sorted(counts)
    num_copied = sum(
        label.casefold() in example.text.casefold()
        for labels, example in zip(lists, examples, strict=True)
        for label in labels
    )
    return sorted(counts) if num_copied <= MAX_COPIED * counts.total() else []


def is_binary(labels: Collection[str]) -> bool:
    """Whether the labels are yes and no, true and false, or 1 and 0."""
    return {label.casefold() for label in labels} in ({"yes", "no"}, {*YES_OR_NO}, {"0", "1"})


def guess_scale(labels: Sequence[str], column: str) -> list[str]:
    """All scores from the lowest to the highest label, if the labels are whole numbers and their
    column has the name of a score; otherwise empty.
    """
    if not SCORE_NAMES.search(column) or not all(
        re.fullmatch(r"-?\d{1,3}", label) for label in labels
    ):
        return []
    numbers = sorted(map(int, labels))
    scale = list(map(str, range(numbers[0], numbers[-1] + 1)))
    return scale if 3 <= len(scale) <= MAX_SCORES and len(labels) >= 3 else []

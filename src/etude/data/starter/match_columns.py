"""Match the columns of a test file to those of the examples by their content."""

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from scipy.optimize import linear_sum_assignment

from etude.data.formats.columns import list_names
from etude.task import RowSource

MIN_SIMILARITY = 0.2  # below it, a column of the test contains something else
SAME_NAME = 0.1  # added to the similarity of columns with the same name
MAX_CELLS = 2_000  # cells of a column that are compared
_TOKEN = re.compile(r"\w+|[^\w\s]")


def match_columns(
    examples: RowSource,
    cells: Sequence[Mapping[str, Any]],
    test: Path,
    test_cells: Sequence[Mapping[str, Any]],
) -> RowSource | None:
    """The test's columns for the input and the output of the examples; None if a column has no counterpart.

    Columns are paired so that the total similarity of their words, values and lengths is highest.
    """
    wanted = [*examples.input, *filter(None, (examples.output, examples.messages))]
    names = list_names(test_cells)
    if len(names) < len(wanted):
        return None
    similarities = np.array(
        [
            [compute_similarity(_list_texts(cells, column), _list_texts(test_cells, name)) for name in names]
            for column in wanted
        ]
    )
    bonus = SAME_NAME * np.array(
        [[column.casefold() == name.casefold() for name in names] for column in wanted]
    )
    positions = linear_sum_assignment(similarities + bonus, maximize=True)[1]
    if min(similarities[row, position] for row, position in enumerate(positions)) < MIN_SIMILARITY:
        return None
    test_names = dict(zip(wanted, (names[position] for position in positions), strict=True))
    return RowSource(
        test,
        input=tuple(test_names[column] for column in examples.input),
        output=test_names.get(examples.output or ""),
        messages=test_names.get(examples.messages or ""),
    )


def compute_similarity(texts: Sequence[str], others: Sequence[str]) -> float:
    """The similarity of two columns, from 0 to 1: the cosine of their words, lowered if their lengths differ, or the
    share of the second column's texts that are also in the first, whichever is higher."""
    if not texts or not others:
        return 0.0
    values = set(texts)
    shared = sum(text in values for text in others) / len(others)
    counts, other_counts = (
        Counter(token for text in group for token in _TOKEN.findall(text.casefold()))
        for group in (texts, others)
    )
    dot = sum(math.sqrt(number * other_counts[token]) for token, number in counts.items())
    norm = math.sqrt(counts.total() * other_counts.total())
    lengths = sorted(median(map(len, group)) for group in (texts, others))
    return max(
        shared, (dot / norm if norm else 0.0) * math.sqrt(lengths[0] / lengths[1] if lengths[1] else 0.0)
    )


def _list_texts(cells: Sequence[Mapping[str, Any]], column: str) -> list[str]:
    values = [row.get(column) for row in cells[:MAX_CELLS]]
    return [str(value).strip() for value in values if value not in (None, "")]

"""Several labels of one row as one text: a JSON list of distinct labels in alphabetical order."""

import json
import re
from collections.abc import Iterable

_SEPARATORS = re.compile(r"\s*[|;\n]\s*")
_COMMA = re.compile(r"\s*,\s*")


def join_labels(labels: Iterable[object]) -> str:
    """Write labels as one text; equal sets of labels give equal texts."""
    texts = {label.strip() if isinstance(label, str) else json.dumps(label) for label in labels}
    return json.dumps(sorted(texts - {""}), ensure_ascii=False)


def split_labels(text: str) -> tuple[str, ...]:
    """Read the labels of a text: a JSON list, or labels separated by |, ; or line breaks, or else by commas.

    A text without separators is one label, and so is a JSON object; an empty text has no labels.
    """
    try:
        value = json.loads(text)
    except ValueError:
        value = None
    if isinstance(value, dict):
        value = [text]
    if not isinstance(value, list):
        stripped = text.strip()
        value = (_SEPARATORS if _SEPARATORS.search(stripped) else _COMMA).split(stripped)
    return tuple(json.loads(join_labels(value)))


def measure_overlap(expected: Iterable[str], answered: Iterable[str]) -> float:
    """The F1 of the answered labels of one row: 1 if both sets are equal, even if empty, 0 if they share no label."""
    first, second = set(expected), set(answered)
    if not (first or second):
        return 1.0
    return 2 * len(first & second) / (len(first) + len(second))

"""Labels in cells. Several labels of one row are one text: a JSON list of distinct labels in
alphabetical order.
"""

import json
import re
from collections.abc import Iterable, Sequence
from contextlib import suppress

_SEPARATORS = re.compile(r"\s*[|;\n]\s*")
YES_OR_NO = {"true": "yes", "false": "no"}


def read_label(value: object, labels: Sequence[str] = ()) -> str:
    """Return the one of `labels` that a cell means, else its text. A number means the label of the
    same value (1.0 is 1), and true and false mean yes and no if these are labels.
    """
    text = value.strip() if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    if text in labels:
        return text
    if (word := YES_OR_NO.get(text.casefold())) in labels:
        return str(word)
    number = _to_number(text)
    return next(
        (label for label in labels if number is not None and _to_number(label) == number), text
    )


def _to_number(text: str) -> float | None:
    with suppress(ValueError):
        return float(text)
    return None


def join_labels(labels: Iterable[object]) -> str:
    """Write labels as one text; equal sets of labels give equal texts."""
    texts = {label.strip() if isinstance(label, str) else json.dumps(label) for label in labels}
    return json.dumps(sorted(texts - {""}), ensure_ascii=False)


def split_labels(text: str, labels: Sequence[str] = ()) -> tuple[str, ...]:
    """Read the labels of a text: a JSON list, or labels separated by |, ; or line breaks, or else
    by commas.

    A text without separators is one label, and so is a JSON object; an empty text has no labels.
    Commas inside one of `labels` do not separate.
    """
    try:
        value = json.loads(text)
    except ValueError:
        value = None
    if isinstance(value, dict):
        value = [text]
    if not isinstance(value, list):
        stripped = text.strip()
        if _SEPARATORS.search(stripped):
            value = _SEPARATORS.split(stripped)
        else:
            value = [text for text, comma in _split_at_commas(stripped, labels) if not comma]
    return tuple(json.loads(join_labels(value)))


def _split_at_commas(text: str, labels: Sequence[str]) -> list[tuple[str, str]]:
    """Return (label, "") or ("", comma) for each piece; of labels that begin at one place, the
    longest.
    """
    names = "|".join(
        re.escape(label) for label in sorted(labels, key=len, reverse=True) if "," in label
    )
    known = rf"\s*(?:{names})(?=\s*(?:,|$))|" if names else ""
    return re.findall(rf"({known}[^,]+)|(,)", text)


def measure_overlap(expected: Iterable[str], answered: Iterable[str]) -> float:
    """The F1 of the answered labels of one row: 1 if both sets are equal, even if empty, 0 if they
    share no label.
    """
    first = set(expected)
    second = set(answered)
    if not (first or second):
        return 1.0
    return 2 * len(first & second) / (len(first) + len(second))

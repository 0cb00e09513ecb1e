"""Labelled fields, such as `Title: ...`, that stand in one order in some answers and in another in others."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator

from etude.checks.material import Material, in_turn
from etude.checks.record import FREE, FindingKind, finds
from etude.checks.style.telling import is_split, is_untold, told_by_inputs
from etude.types import Finding

MOST_FIELDS = 12
"""Fields of an answer that are read."""
_FIELD = re.compile(r"^[ \t]{0,4}[*#_]{0,3}([^\W\d_][\w '/-]{0,30})[*_]{0,2}:", re.MULTILINE)
Order = tuple[str, ...]


@finds(
    FindingKind("style_field_order", "warning", "fields in several orders that no input explains"), tasks=FREE
)
def field_orders(material: Material) -> Iterator[Finding]:
    """The most frequent fields, where their order is one thing in most answers and another in at least a tenth."""
    by_fields: defaultdict[Order, list[tuple[int, Order]]] = defaultdict(list)
    for row, text in enumerate(material.outputs):
        order = fields_of(text)
        if len(order) > 1:
            by_fields[tuple(sorted(order))].append((row, order))
    for rows in by_fields.values():
        counts = Counter(order for _, order in rows)
        usual, most = min(counts.items(), key=lambda one: (-one[1], one[0]))
        if not is_split(len(rows) - most, len(rows)):
            continue
        is_usual = [order == usual for _, order in rows]
        told = told_by_inputs(material, [row for row, _ in rows], is_usual)
        if is_untold(told, is_usual):
            yield _finding(material, usual, rows, told)


def fields_of(text: str) -> Order:
    """The names of the fields of an answer in their order, each once."""
    names = (match[1].strip() for match in _FIELD.finditer(text))
    return tuple(dict.fromkeys(names))[:MOST_FIELDS]


def _finding(material: Material, usual: Order, rows: list[tuple[int, Order]], told: float) -> Finding:
    others = [row for row, order in rows if order != usual]
    first = [row for row, order in rows if order == usual]
    share = len(others) / len(rows)
    return material.finding(
        "style_field_order",
        "warning",
        others,
        f"{1 - share:.0%} of the {len(rows):,} answers with these fields have them in the order {', '.join(usual)} and "
        f"{share:.0%} in another; nothing in the input tells which.",
        "Put the fields of all answers into one order.",
        evidence=map(material.shown_output, in_turn(first, others)),
        numbers={"rows": len(others), "share": share, "told": told, "of": len(rows)},
    )

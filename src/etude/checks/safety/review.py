"""What may be personal in inputs and answers, by rules that are often wrong: notes for a person to read."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice, repeat

from etude.base.wording import count
from etude.checks.language.identification import language_of
from etude.checks.material import Mark, Material, rows_that
from etude.checks.record import family, finds
from etude.checks.safety.excerpts import NAMES, passage, sides
from etude.checks.safety.sensitive import repeated, review_step
from etude.privacy import REVIEW, Span
from etude.privacy.find import find_for_review
from etude.privacy.names.people import GREETED, TITLED
from etude.types import Column, Excerpt, Finding

Rows = defaultdict[str, dict[int, set[Mark]]]
"""Kind -> rows, each with the places in its text."""
_PLACE = re.compile(
    r"[,\n][\s>?*#|-]{0,8}(?:[0-9]{4,6}\b|(?!Apt|Suite|Ste|Unit|Flat|Room|Floor|Box)[^\W\d_a-zß-öø-ÿ])"
    r"|\b[0-9]{4,6} [^\W\d_a-zß-öø-ÿ]|\b[A-Z]{2} [0-9]{5}\b|\b[A-Z]{1,2}[0-9][A-Z0-9]? [0-9][A-Z]{2}\b"
)
"""A place or a postcode behind a street and its number."""
_NEXT_PLACE = re.compile(r",\s{1,3}[^\W\d_a-zß-öø-ÿ]\w")
HOUSE = 6
"""Characters in which an address begins, perhaps with a number as long as a postcode."""
ENGLISH = frozenset(("birth_date", "name", "health"))
"""Kinds whose rules are English words: a German noun has a capital and is no name."""


@finds(*family("review", {kind: f"what may be {NAMES[kind]}" for kind in REVIEW}, "note", safety=True))
def for_review(material: Material) -> Iterator[Finding]:
    """One note for each kind whose rules are often wrong, for a person to read."""
    step = review_step(len(material.rows))
    looked = range(0, len(material.rows), step)
    found = _reviewed(material, step)
    for kind in REVIEW:
        asked, given = found[0][kind], found[1][kind]
        rows = sorted({*asked, *given})
        if rows:
            sample = f" An even sample of {count(len(looked), 'row')} was looked at." if step > 1 else ""
            yield material.finding(
                f"review_{kind}",
                "note",
                rows,
                f"{rows_that('hold', len(rows), len(looked))} what may be {NAMES[kind]}"
                f"{sides(asked, given)}.{sample}",
                "Read them: the rules are often wrong here. Mask or delete what is somebody's.",
                evidence=_passages(material, rows, asked, given),
                numbers={
                    "rows": len(rows),
                    "inputs": len(asked),
                    "outputs": len(given),
                    "of": len(looked),
                },
            )


def _reviewed(material: Material, step: int) -> tuple[Rows, Rows]:
    """Of each step-th row: kind -> rows in whose input, and in whose answer, it may stand, repeated there or not."""
    asked, given = (Rows(lambda: defaultdict(set)) for _ in range(2))
    answers = material.written or repeat("")
    both = zip(material.inputs, answers, strict=False)
    for row, (text, answer) in islice(enumerate(both), 0, None, step):
        in_text, in_answer = (
            _doubtful(material, part, searched.kept(row))
            for part, searched in zip((text, answer), material.sensitive, strict=True)
        )
        for span in (*in_text, *repeated(in_answer, text)):
            asked[span.kind][row].add((span.start, span.end))
        for span in (*in_answer, *repeated(in_text, answer)):
            given[span.kind][row].add((span.start, span.end))
    return asked, given


def _passages(
    material: Material, rows: Sequence[int], asked: Mapping[int, set[Mark]], given: Mapping[int, set[Mark]]
) -> Iterator[Excerpt]:
    """What stands around the first place in a row, with first letters alone of all that may be personal."""
    for position in rows:
        part: Column = "input" if position in asked else "output"
        marks = sorted(asked.get(position) or given[position])
        yield passage(material.rows[position], part, marks, marks)


def _doubtful(material: Material, text: str, blocking: Sequence[Span]) -> list[Span]:
    """What may be personal in a text. In other languages than English names are told by a title alone."""
    spans = [
        span
        for span in find_for_review(text, blocking)
        if span.kind in REVIEW and _is_likely(span, text) and span.text not in material.stand_ins
    ]
    kinds = {span.kind for span in spans}
    if kinds.isdisjoint(ENGLISH):
        return spans
    # A short text is taken to be in the language of the answers or, where these are labels, of the inputs.
    language = language_of(text) or material.answers_language or material.inputs_language
    if language in (None, "English"):
        return spans
    return [span for span in spans if span.kind not in ENGLISH or span.rule == TITLED]


def _is_likely(span: Span, text: str) -> bool:
    """Whether a name or an address is more than capitalised words or numbers: a title, a greeting or a label says that
    it is a name, and an address has a street, a number and a place or postcode."""
    if span.kind == "name":
        return span.rule in (TITLED, GREETED)
    if span.kind == "address":
        placed = _PLACE.search(span.text, HOUSE) or _NEXT_PLACE.match(text, span.end)
        return span.rule in ("street", "label") and placed is not None
    return True

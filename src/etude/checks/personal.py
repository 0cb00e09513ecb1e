"""Personal data and secrets in inputs and answers, by etude.privacy; the values themselves are not shown."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import islice, repeat
from typing import Literal

from etude.checks.function_words import language_of
from etude.checks.material import Mark, Material, excerpt, rows_that
from etude.checks.own_names import OwnNames, own_names
from etude.checks.sensitive import repeated, review_step
from etude.normal import normalise
from etude.privacy import BLOCKING, GRAVE, REVIEW, Span, find
from etude.privacy.find import find_for_review
from etude.privacy.own import SHARE
from etude.privacy.people import TITLED
from etude.types import Evidence, Example, Finding
from etude.wording import count

Part = Literal["input", "output"]
Rows = defaultdict[str, dict[int, list[Mark]]]
"""Kind -> rows, each with the places in its text."""
MOST_AROUND = 160
"""Characters shown around what is to be read: enough to judge by, and little of what the rules may have missed."""
_CAPITALS_BEFORE = re.compile(r"(?:(?=[^\W\d_a-z])\w[\w'’]{0,40}[ -]){1,4}$")
_CAPITALS_AFTER = re.compile(r"(?:[ -](?=[^\W\d_a-z])\w[\w'’]{0,40}){1,4}")
ENGLISH = frozenset(("plain_password", "birth_date", "name", "health"))
"""Kinds whose rules are English words: a German noun has a capital and is no name."""

STAND_IN = {"private_key": "a mark"}
"""What --fix puts in the place of a value, where it has not the value's form."""


def personal_data(material: Material) -> Iterator[Finding]:
    """One finding for each kind of personal data or secret whose rules are rarely wrong.

    Contact data that a large share of the answers gives is the organisation's own: a note apart.
    """
    inputs, outputs = material.sensitive
    for kind in BLOCKING:
        asked, given = inputs.of(kind), outputs.of(kind)
        if asked or given:
            yield _finding(material, kind, asked, given)
    if outputs.own():
        yield _own_finding(material, outputs.own())


def _finding(material: Material, kind: str, asked: set[int], given: set[int]) -> Finding:
    rows = sorted(asked | given)
    labels = material.task.kind == "classify"
    rename = " A label is not masked: give it another name." if labels and given else ""
    return material.finding(
        f"privacy_{kind}",
        "error" if kind in GRAVE else "warning",
        rows,
        f"{rows_that('hold', len(rows), len(material.rows))} what looks like {NAMES[kind]}"
        f"{_sides(asked, given, 'label' if labels else 'answer')}.",
        f"Mask such values or delete the rows: a tuned model can repeat what it was taught.{rename}",
        fix=f"puts {STAND_IN.get(kind, 'a stand-in of the same form')} in the place of each value"
        if asked or not labels
        else "",
        evidence=_covered_passages(material, kind, rows),
        numbers={"rows": len(rows), "inputs": len(asked), "outputs": len(given), "of": len(material.rows)},
    )


def _covered_passages(material: Material, kind: str, rows: Sequence[int]) -> Iterator[Evidence]:
    """What stands around the values of a row, input before answer, the values themselves covered."""
    inputs, outputs = material.sensitive
    for position in rows:
        part: Part = "input" if inputs.places(position, kind) else "output"
        searched = inputs if part == "input" else outputs
        marks = searched.places(position, kind)
        if marks:
            yield _passage(material.rows[position], part, marks, searched.kept(position))


def _sides(asked: Collection[int], given: Collection[int], answer: str = "answer") -> str:
    """In how many inputs and answers: ", in the answer", ": 3 in the input, 2 in the answer"."""
    if asked and given:
        return f": {len(asked):,} in the input, {len(given):,} in the {answer}"
    return f", in the {'input' if asked else answer}"


def _own_finding(material: Material, rows: set[int]) -> Finding:
    return material.finding(
        "own_contact",
        "note",
        sorted(rows),
        f"{rows_that('give', len(rows), len(material.rows))} an e-mail address or phone number that at least "
        f"{SHARE:.0%} of the answers give: it is taken for your own, and not masked.",
        "If it is a person's, take it out of the rows by hand.",
    )


def for_review(material: Material) -> Iterator[Finding]:
    """One note for each kind whose rules are often wrong, for a person to read; names that the task's own texts hold
    are left out."""
    step = review_step(len(material.rows))
    looked = range(0, len(material.rows), step)
    own = own_names(material.task)
    found = _reviewed(material, step, own)
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
                f"{_sides(asked, given)}.{sample}",
                "Read them: the rules are often wrong here. Mask or delete what is somebody's.",
                evidence=_passages(material, rows, asked, given),
                numbers={
                    "rows": len(rows),
                    "inputs": len(asked),
                    "outputs": len(given),
                    "of": len(looked),
                },
            )


def _reviewed(material: Material, step: int, own: OwnNames) -> tuple[Rows, Rows]:
    """Of each step-th row: kind -> rows in whose input, and in whose answer, it may stand, repeated there or not."""
    asked, given = (Rows(lambda: defaultdict(list)) for _ in range(2))
    answers = material.written or repeat("")
    both = zip(material.inputs, answers, strict=False)
    for row, (text, answer) in islice(enumerate(both), 0, None, step):
        in_text, in_answer = (
            _doubtful(material, part, searched.kept(row), own)
            for part, searched in zip((text, answer), material.sensitive, strict=True)
        )
        for span in (*in_text, *repeated(in_answer, text)):
            asked[span.kind][row].append((span.start, span.end))
        for span in (*in_answer, *repeated(in_text, answer)):
            given[span.kind][row].append((span.start, span.end))
    return asked, given


def _passages(
    material: Material, rows: Sequence[int], asked: Mapping[int, list[Mark]], given: Mapping[int, list[Mark]]
) -> Iterator[Evidence]:
    """What stands around the first place in a row, with first letters alone of all that may be personal."""
    for position in rows:
        part: Part = "input" if position in asked else "output"
        yield _passage(material.rows[position], part, asked.get(position) or given[position])


def _passage(row: Example, part: Part, marks: Sequence[Mark], known: Sequence[Span] = ()) -> Evidence:
    """What stands around the first mark, without what is known to be personal and with first letters alone of what may
    be."""
    text = row.text if part == "input" else row.output
    doubtful = [(span.start, span.end) for span in find(text) if span.kind in REVIEW]
    whole = [_with_capitals(text, mark) for mark in (*doubtful, *(() if known else marks))]
    return excerpt(row, part, marks, whole, [(span.start, span.end) for span in known], MOST_AROUND)


def _with_capitals(text: str, mark: Mark) -> Mark:
    """The place with the capitalised words that touch it: rules may know a first name alone."""
    low, high = mark
    before = _CAPITALS_BEFORE.search(text[max(low - MOST_AROUND, 0) : low])
    after = _CAPITALS_AFTER.match(text, high)
    return low - (len(before[0]) if before else 0), after.end() if after else high


def _doubtful(material: Material, text: str, blocking: Sequence[Span], own: OwnNames) -> list[Span]:
    """What may be personal in a text. In other languages than English names are told by a title alone."""
    spans = [
        span
        for span in find_for_review(text, blocking)
        if span.kind in REVIEW
        and span.text not in material.stand_ins
        and not (span.kind == "name" and own.holds(span.text))
    ]
    kinds = {span.kind for span in spans}
    if kinds.isdisjoint(ENGLISH):
        return spans
    # A short text is taken to be in the language of the answers.
    language = language_of(normalise(text)) or material.answers_language
    if language in (None, "English"):
        return spans
    return [span for span in spans if span.kind not in ENGLISH or span.rule == TITLED]


NAMES = {
    "private_key": "a private key",
    "api_key": "an access key",
    "password": "a password",
    "email": "an e-mail address",
    "iban": "a bank account (IBAN)",
    "card": "a payment card",
    "national_id": "a national identity number",
    "phone": "a phone number",
    "ip_address": "an IP address",
    "id_number": "an identity number",
    "plain_password": "a password, written as a word",
    "birth_date": "a date of birth",
    "address": "a postal address",
    "name": "a person's name",
    "health": "a detail of health",
}

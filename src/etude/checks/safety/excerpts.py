"""How personal data is told of in findings: the names of its kinds, and what stands around it, itself not shown."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence

from etude.checks.material import Mark, excerpt
from etude.privacy import REVIEW, find
from etude.privacy.names.people import capitalised
from etude.types import Column, Example, Excerpt

MOST_AROUND = 160
"""Characters shown around what is to be read: enough to judge by, and little of what the rules may have missed."""
_CAPITALS_BEFORE = re.compile(r"(?:(?=[^\W\d_a-z])\w[\w'’]{0,40}[ -]){1,4}$")
_CAPITALS_AFTER = re.compile(r"(?:[ -](?=[^\W\d_a-z])\w[\w'’]{0,40}){1,4}")
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
    "birth_date": "a date of birth",
    "address": "a postal address",
    "name": "a person's name",
    "health": "a detail of health",
}


def sides(asked: Collection[int], given: Collection[int], answer: str = "answer") -> str:
    """In how many inputs and answers: ", in the answer", ": 3 in the input, 2 in the answer"."""
    if asked and given:
        return f": {len(asked):,} in the input, {len(given):,} in the {answer}"
    return f", in the {'input' if asked else answer}"


def passage(row: Example, part: Column, marks: Sequence[Mark], doubted: Sequence[Mark] = ()) -> Excerpt:
    """What stands around the first mark, with first letters alone of what is `doubted` and of what else may be
    personal."""
    text = row.text if part == "input" else row.output
    doubtful = [(span.start, span.end) for span in find(text) if span.kind in REVIEW]
    whole = [*capitalised(text), *(_with_capitals(text, mark) for mark in (*doubtful, *doubted))]
    return excerpt(row, part, marks, whole, MOST_AROUND)


def _with_capitals(text: str, mark: Mark) -> Mark:
    """The place with the capitalised words that touch it: rules may know a first name alone."""
    low, high = mark
    before = _CAPITALS_BEFORE.search(text[max(low - MOST_AROUND, 0) : low])
    after = _CAPITALS_AFTER.match(text, high)
    return low - (len(before[0]) if before else 0), after.end() if after else high

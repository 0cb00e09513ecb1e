"""Personal data and secrets in inputs and answers, by etude.privacy; the values themselves are not shown."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import islice

from etude.checks.function_words import language_of
from etude.checks.material import Material, rows_that
from etude.checks.own_names import OwnNames, own_names
from etude.checks.sensitive import SensitiveRows
from etude.normal import normalise
from etude.privacy import BLOCKING, REVIEW, find
from etude.privacy.find import find_for_review
from etude.privacy.own import SHARE
from etude.privacy.values import SECRETS
from etude.types import Finding
from etude.wording import count

MOST_REVIEWED = 20_000
"""Rows looked at for what goes to review, which takes three times as long as the rest; of more an even sample."""
ENGLISH = frozenset(("birth_date", "name", "health"))
"""Kinds whose rules are English words: a German noun has a capital and is no name."""


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
    return material.finding(
        f"privacy_{kind}",
        "error" if kind in SECRETS else "warning",
        rows,
        f"{rows_that('hold', len(rows), len(material.rows))} what looks like {NAMES[kind]}: "
        f"{len(asked):,} in the input, {len(given):,} in the answer.",
        "Mask them or delete the rows: a tuned model can repeat what it was taught.",
        fix="puts a stand-in of the same form in the place of each value",
        numbers={"rows": len(rows), "inputs": len(asked), "outputs": len(given), "of": len(material.rows)},
    )


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
    step = max(-(-len(material.rows) // MOST_REVIEWED), 1)
    looked = range(0, len(material.rows), step)
    own = own_names(material.task)
    parts = [
        _reviewed(material, texts, searched, step, own)
        for texts, searched in zip((material.inputs, material.written), material.sensitive, strict=True)
    ]
    for kind in REVIEW:
        asked, given = (found[kind] for found in parts)
        rows = sorted(asked | given)
        if rows:
            sample = f" An even sample of {count(len(looked), 'row')} was looked at." if step > 1 else ""
            yield material.finding(
                f"review_{kind}",
                "note",
                rows,
                f"{rows_that('hold', len(rows), len(looked))} what may be {NAMES[kind]}: {len(asked):,} in the input, "
                f"{len(given):,} in the answer.{sample}",
                "Read them: this is often wrong. Mask or delete what is somebody's.",
                numbers={
                    "rows": len(rows),
                    "inputs": len(asked),
                    "outputs": len(given),
                    "of": len(looked),
                },
            )


def _reviewed(
    material: Material, texts: Sequence[str], searched: SensitiveRows, step: int, own: OwnNames
) -> defaultdict[str, set[int]]:
    """Kind -> rows in whose text it may stand; names and the like are known in English alone."""
    found: defaultdict[str, set[int]] = defaultdict(set)
    for row, text in islice(enumerate(texts), 0, None, step):
        kinds = {
            span.kind
            for span in (find(text) if searched.hold_any(row) else find_for_review(text))
            if span.text not in material.stand_ins and not (span.kind == "name" and own.holds(span.text))
        }
        if not kinds.isdisjoint(ENGLISH) and language_of(normalise(text)) not in (None, "English"):
            kinds -= ENGLISH
        for kind in kinds:
            found[kind].add(row)
    return found


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

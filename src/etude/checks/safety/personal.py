"""Personal data and secrets in inputs and answers whose rules are rarely wrong; the values themselves are not shown."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from etude.checks.evidence import initials
from etude.checks.material import Material, rows_that
from etude.checks.record import FindingKind, family, finds
from etude.checks.safety.excerpts import NAMES, passage, sides
from etude.privacy import BLOCKING, GRAVE, Span
from etude.privacy.own_contact import SHARE
from etude.types import Excerpt, Finding

MOST_OWN = 3
"""Values of the organisation's own contact data that are shown, by their first letters."""
STAND_IN = {"private_key": "a mark"}
"""What --fix puts in the place of a value, where it has not the value's form."""

PRIVACY = tuple(
    family("privacy", dict.fromkeys(BLOCKING, "personal data and secrets"), "error, warning", safety=True)
)


@finds(
    *PRIVACY,
    FindingKind(
        "own_contact",
        "note",
        "contact data of a tenth of the answers or of the documents, taken for your own",
        safety=True,
    ),
    quick=True,
)
def personal_data(material: Material) -> Iterator[Finding]:
    """One finding for each kind of personal data or secret whose rules are rarely wrong.

    Contact data of a large share of the answers, or of the documents, is the organisation's own: a note apart.
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
        f"{sides(asked, given, 'label' if labels else 'answer')}.",
        f"Mask such values or delete the rows: a tuned model can repeat what it was taught.{rename}",
        fix=f"puts {STAND_IN.get(kind, 'a stand-in of the same form')} in the place of each value"
        if asked or not labels
        else "",
        evidence=_covered_passages(material, kind, rows),
        numbers={"rows": len(rows), "inputs": len(asked), "outputs": len(given), "of": len(material.rows)},
    )


def _covered_passages(material: Material, kind: str, rows: Sequence[int]) -> Iterator[Excerpt]:
    """What stands around the values of a row, input before answer, the values themselves covered."""
    inputs, outputs = material.sensitive
    for position in rows:
        row = material.rows[position]
        if asked := inputs.places(position, kind):
            yield passage(row, "input", asked)
        elif given := outputs.places(position, kind):
            yield passage(row, "output", given)


def _own_finding(material: Material, own: Mapping[Span, set[int]]) -> Finding:
    rows = set().union(*own.values())
    values = sorted(own, key=lambda span: -len(own[span]))
    shown = ", ".join(initials(span) for span in values[:MOST_OWN])
    or_documents = ", or the documents hold" if material.task.documents else ""
    more = f" and {len(values) - MOST_OWN} more" if len(values) > MOST_OWN else ""
    return material.finding(
        "own_contact",
        "note",
        sorted(rows),
        f"{rows_that('give', len(rows), len(material.rows))} an e-mail address or phone number that at least "
        f"{SHARE:.0%} of the answers give{or_documents}: {shown}{more}. It is taken for your own, and not masked.",
        "If it is a person's, take it out of the rows by hand.",
    )

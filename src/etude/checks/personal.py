"""Personal data and secrets in inputs and answers, by etude.privacy; the values themselves are not shown."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence

from etude.checks.material import Material, rows_that
from etude.privacy import BLOCKING, OwnContact, Span, find_all
from etude.privacy.own import CONTACT, SHARE
from etude.types import Finding

SECRETS = frozenset(("private_key", "api_key", "password"))


def personal_data(material: Material) -> Iterator[Finding]:
    """One finding for each kind of personal data or secret whose rules are rarely wrong.

    Contact data that a large share of the answers gives is the organisation's own: a note apart.
    """
    labels = material.task.kind == "classify"  # a label such as passcode_forgotten is nobody's
    answers: Sequence[str] = [] if labels else material.outputs
    own = OwnContact()
    outputs = _Rows(material, own)
    for row, (answer, spans) in enumerate(zip(answers, find_all(answers), strict=True)):
        own.read(answer, spans)
        outputs.read(row, spans)
    inputs = _Rows(material, own)
    for row, spans in enumerate(find_all(material.inputs)):
        inputs.read(row, spans)
    for kind in BLOCKING:
        asked, given = inputs.of(kind), outputs.of(kind)
        if asked or given:
            yield _finding(material, kind, asked, given)
    if outputs.own():
        yield _own_finding(material, outputs.own())


class _Rows:
    """Rows with each kind; those with contact data are told apart only when all answers have been read."""

    def __init__(self, material: Material, own: OwnContact) -> None:
        self._stand_ins, self._own = material.stand_ins, own
        self._rows: defaultdict[str, set[int]] = defaultdict(set)
        self._contact: list[tuple[int, Span]] = []

    def read(self, row: int, spans: Iterable[Span]) -> None:
        for span in spans:
            if span.kind in CONTACT:
                self._contact.append((row, span))
            elif span.text not in self._stand_ins:
                self._rows[span.kind].add(row)

    def of(self, kind: str) -> set[int]:
        """Rows with somebody's data of the kind."""
        contact = {row for row, span in self._others() if span.kind == kind and not self._own.holds(span)}
        return self._rows[kind] | contact

    def own(self) -> set[int]:
        """Rows with contact data of the organisation."""
        return {row for row, span in self._others() if self._own.holds(span)}

    def _others(self) -> list[tuple[int, Span]]:
        return [(row, span) for row, span in self._contact if span.text not in self._stand_ins]


def _finding(material: Material, kind: str, asked: set[int], given: set[int]) -> Finding:
    rows = sorted(asked | given)
    return material.finding(
        f"privacy_{kind}",
        "error" if kind in SECRETS else "warning",
        rows,
        f"{rows_that('hold', len(rows), len(material.rows))} what looks like {_NAMES[kind]}: "
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


_NAMES = {
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
}

"""Personal data and secrets in inputs and answers, by etude.privacy; the values themselves are not shown."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

from etude.checks.material import Material, rows_that
from etude.privacy import BLOCKING, find_all
from etude.types import Finding

SECRETS = frozenset(("private_key", "api_key", "password"))


def personal_data(material: Material) -> Iterator[Finding]:
    """One finding for each kind of personal data or secret whose rules are rarely wrong."""
    inputs: defaultdict[str, set[int]] = defaultdict(set)
    outputs: defaultdict[str, set[int]] = defaultdict(set)
    labels = material.task.kind == "classify"  # a label such as passcode_forgotten is nobody's
    answers: Sequence[str] = [] if labels else material.outputs
    for texts, found in ((material.inputs, inputs), (answers, outputs)):
        for row, spans in enumerate(find_all(texts, review=False)):
            for span in spans:
                if span.text not in material.stand_ins:
                    found[span.kind].add(row)
    for kind in BLOCKING:
        rows = sorted(inputs[kind] | outputs[kind])
        if rows:
            yield material.finding(
                f"privacy_{kind}",
                "error" if kind in SECRETS else "warning",
                rows,
                f"{rows_that('hold', len(rows), len(material.rows))} what looks like {NAMES[kind]}: "
                f"{len(inputs[kind]):,} in the input, {len(outputs[kind]):,} in the answer.",
                "Mask them or delete the rows: a tuned model can repeat what it was taught.",
                fix="puts a stand-in of the same form in the place of each value",
                numbers={
                    "rows": len(rows),
                    "inputs": len(inputs[kind]),
                    "outputs": len(outputs[kind]),
                    "of": len(material.rows),
                },
            )


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
}

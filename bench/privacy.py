"""Measure the recall and precision of `find` on two labelled data sets, and false alarms on texts
without labels.

    python bench/privacy.py                  the figures in LOG.md
    python bench/privacy.py --part choose    the half on which rules and word lists were chosen

Each data set has one half for choices and one half for reports, by the hash of the template
(presidio_pii, synth_dataset_v2) or of the text. banking77 and mts_dialog: the training file to
choose on, the test file to report on. Intervals are 95%; the unit is the template, else the row. A
value of a fixed format is found if spans of its kind cover all of it; a name, an address or a
labelled number if a span of its kind overlaps it. Data: the folder ETUDE_DATA, else ../shared/data
beside the checkout.
"""

import argparse
import hashlib
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from real_sets import read_rows
from secret_forms import plant_secrets

from etude.privacy import BLOCKING, REVIEW, Span, find
from etude.stats import estimate

FIXED = ("email", "phone", "card", "iban", "national_id", "ip_address")
IDS = ("national_id", "id_number")
PRESIDIO = {
    "EMAIL_ADDRESS": "email",
    "PHONE_NUMBER": "phone",
    "CREDIT_CARD": "card",
    "IBAN_CODE": "iban",
    "US_SSN": "national_id",
    "IP_ADDRESS": "ip_address",
    "US_DRIVER_LICENSE": "id_number",
    "PERSON": "name",
    "STREET_ADDRESS": "address",
}
NANO = {
    "EMAIL": "email",
    "PHONE": "phone",
    "CREDIT_CARD": "card",
    "IBAN": "iban",
    "SSN": "national_id",
    "PAN": "national_id",
    "AADHAR": "national_id",
    "PASSWORD": "password",
    "PERSON": "name",
}
LABELLED = """
PASSPORT PASSPORT_NUM TAX_ID TAXID ACCOUNT ACCOUNT_NUM ACCOUNT_NUMBER BANK_ACCOUNT BANK_ACCOUNT_NUM
ROUTING_NUMBER PATIENT_ID PID MEDICAL_RECORD INSURANCE_ID INSURANCE_POLICY_NUM DRIVER_LICENSE
DRIVERS_LICENSE DRIVER_LICENSE_NUM
LICENSE VOTER_ID USERID USER_ID EMPLOYEE_ID POLICE_ID_NUM
"""
NANO |= dict.fromkeys(LABELLED.split(), "id_number")
STARRED = re.compile(r"[*•#]|[xX]{2}")
NEAR = {"name": ("PERSON", "TITLE"), "address": ("STREET_ADDRESS", "ZIP_CODE", "GPE")}
"""Additional labels of presidio_pii with which a span of the kind is right: a town is part of an
address.
"""


@dataclass(frozen=True)
class Row:
    """A text with its labelled values."""

    text: str
    gold: tuple[tuple[int, int, str], ...]
    """Start, end and label."""
    unit: str
    """In intervals, all rows of one unit count once."""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--part", choices=("choose", "report"), default="report")
    flags = parser.parse_args()
    for name, rows, labels in (
        ("presidio_pii", load_presidio(flags.part), PRESIDIO),
        ("pii_synthetic_nano", load_nano(flags.part), NANO),
    ):
        spans_by_row = [find(row.text) for row in rows]
        print(f"\n{name}, part to {flags.part}: {len(rows)} rows")
        print_recall(rows, spans_by_row, labels)
        print_precision(rows, spans_by_row, labels, name == "presidio_pii")
    print_alarms(flags.part)
    print_secrets()


def choose_part(key: object) -> str:
    """Choose the half of a template or text by its hash."""
    return "report" if hashlib.sha256(str(key).encode()).digest()[-1] % 2 else "choose"


def load_presidio(half: str) -> list[Row]:
    """Load the rows whose template is in the half."""
    return [
        Row(
            row["full_text"],
            tuple((s["start_position"], s["end_position"], s["entity_type"]) for s in row["spans"]),
            str(row["template_id"]),
        )
        for row in read_rows("presidio_pii/synth_dataset_v2.json")
        if choose_part(row["template_id"]) == half
    ]


def load_nano(half: str) -> list[Row]:
    """Load the rows whose text is in the half. The set has no positions, so values are searched in
    the text.
    """
    return [
        Row(row["text"], tuple(_find_values(row)), str(number))
        for number, row in enumerate(read_rows("pii_synthetic_nano/pii_syn_nano_en.json"))
        if choose_part(row["text"]) == half
    ]


def _find_values(row: dict[str, Any]) -> list[tuple[int, int, str]]:
    """Find the labelled values in the text. Some values have asterisks around them, and some are
    not in the text.
    """
    values = []
    for entity in row["NER"]:
        value = entity.get("entity", "").strip("*'\"# ")
        start = row["text"].find(value)
        if start >= 0 and any(map(str.isalnum, value)):
            values.append((start, start + len(value), entity["label"]))
    return values


def print_recall(
    rows: Sequence[Row], spans_by_row: Sequence[tuple[Span, ...]], labels: dict[str, str]
) -> None:
    """Print the recall of each kind, and of all fixed formats together."""
    scores: dict[str, list[float]] = {}
    units: dict[str, list[str]] = {}
    for row, spans in zip(rows, spans_by_row, strict=True):
        for start, end, label in row.gold:
            kind = labels.get(label)
            for key in list_score_keys(kind, row.text[start:end]):
                scores.setdefault(key, []).append(
                    float(is_found(row.text, start, end, str(kind), spans))
                )
                units.setdefault(key, []).append(row.unit)
    for key in (*FIXED, "fixed forms", "readable", "id_number", "password", "name", "address"):
        if key in scores:
            print(
                f"  found  {key:12} {format_share(scores[key], units[key])}, {len(scores[key])} "
                "values"
            )


def list_score_keys(kind: str | None, value: str) -> tuple[str, ...]:
    """Return the scores of a value: for its kind, for all fixed formats, and for values with more
    than four readable digits.
    """
    if kind not in FIXED:
        return (kind,) if kind else ()
    readable = not STARRED.search(value) or sum(map(str.isdigit, value)) > 4
    return (str(kind), "fixed forms", *(("readable",) if readable else ()))


def is_found(text: str, start: int, end: int, kind: str, spans: Sequence[Span]) -> bool:
    """Whether spans cover every letter and digit of a value with a fixed format; for other values,
    whether they overlap.
    """
    kinds = IDS if kind in IDS else (kind,)
    overlapping = [
        span for span in spans if span.kind in kinds and span.start < end and start < span.end
    ]
    if kind not in FIXED:
        return bool(overlapping)
    covered = {position for span in overlapping for position in range(span.start, span.end)}
    return all(place in covered for place in range(start, end) if text[place].isalnum())


def print_precision(
    rows: Sequence[Row],
    spans_by_row: Sequence[tuple[Span, ...]],
    labels: dict[str, str],
    with_addresses: bool,
) -> None:
    """Print the share of spans that overlap a label: for blocking kinds any blocking label, else a
    label of their kind.
    """
    for name, kinds in (("blocking", BLOCKING), ("name", ("name",)), ("address", ("address",))):
        if name == "address" and not with_addresses:
            continue
        right_labels = NEAR.get(
            name, tuple(label for label, kind in labels.items() if kind in BLOCKING)
        )
        scores = []
        units = []
        for row, spans in zip(rows, spans_by_row, strict=True):
            for span in spans:
                if span.kind in kinds:
                    scores.append(float(is_labelled(row, span, right_labels)))
                    units.append(row.unit)
        if scores:
            print(f"  right  {name:12} {format_share(scores, units)}, {len(scores)} spans")


def format_share(scores: list[float], units: list[str]) -> str:
    """Format a share with its interval."""
    share = estimate(scores, units)
    return f"{share.value:6.1%} ({share.low:.1%} to {share.high:.1%}, n = {share.n})"


def is_labelled(row: Row, span: Span, labels: Sequence[str]) -> bool:
    """Whether a labelled value of the row overlaps the span."""
    return any(
        start < span.end and span.start < end and label in labels for start, end, label in row.gold
    )


def print_alarms(half: str) -> None:
    """Print the share of rows with an alarm, and the kinds, in texts without labels.

    medquad has phone numbers of offices, sms_spam has phone numbers of services and mts_dialog has
    health details; the others have almost no personal data.
    """
    for name, texts in read_unlabelled(half):
        spans_by_row = [*map(find, texts)]
        counts = Counter(span.kind for spans in spans_by_row for span in spans)
        print(f"{name}: {dict(counts)}")
        for group, kinds in (("blocking", BLOCKING), ("review", REVIEW), ("health", ("health",))):
            flagged = [float(any(span.kind in kinds for span in spans)) for spans in spans_by_row]
            print(
                f"  rows with a {group} kind "
                f"{format_share(flagged, list(map(str, range(len(texts)))))}"
            )


def read_unlabelled(half: str) -> Iterator[tuple[str, list[str]]]:
    """Yield name and texts of the data sets without labels."""
    bank, talks = (
        ("test", "TestSet-1-MEDIQA-Chat-2023") if half == "report" else ("train", "TrainingSet")
    )
    for file, columns in (
        (f"banking77/{bank}.csv", ("text",)),
        (f"mts_dialog/{talks}.csv", ("dialogue",)),
        ("e2e_nlg/cleaned_devel.csv", ("mr", "ref")),
        ("rasbt_instructions/instruction-data.json", ("instruction", "input", "output")),
        ("medquad_sample/medquad.jsonl", ("answer",)),
        ("sms_spam/sms.tsv", ("text",)),
    ):
        texts = ["\n".join(row[column] for column in columns) for row in read_rows(file)]
        is_split = file.startswith(("banking77", "mts_dialog"))
        yield file, [text for text in texts if is_split or choose_part(text) == half]


def print_secrets() -> None:
    """Print how many planted secrets are covered completely by a blocking kind."""
    rows = plant_secrets()
    spans_by_row = [find(text) for _, text, _, _ in rows]
    missed = []
    for (form, _, start, end), spans in zip(rows, spans_by_row, strict=True):
        covered = {
            p for span in spans if span.kind in BLOCKING for p in range(span.start, span.end)
        }
        if not set(range(start, end)) <= covered:
            missed.append(form)
    forms = len({form for form, *_ in rows})
    print(
        "\n"
        f"secrets planted: {len(rows) - len(missed)} of {len(rows)} found, {forms} forms; missed: "
        f"{missed or 'none'}"
    )


if __name__ == "__main__":
    main()

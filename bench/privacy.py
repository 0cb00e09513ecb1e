"""Privacy: how much of the personal data in two labelled sets is found, and how often an alarm is false.

    python bench/privacy.py                  the figures of docs/privacy.md
    python bench/privacy.py --part choose    the part on which rules and word lists were chosen
    python bench/privacy.py --part choose --show name    what was missed and what was false there

Every set has a part to choose on and a part to report on. presidio_pii (synth_dataset_v2): by the hash of
the template, so that no sentence stands on both sides; pii_synthetic_nano: by the hash of the text;
banking77, mts_dialog: the training file to choose on, the test file to report on; further texts without marks: by
the hash of the text. Intervals: 95%, the unit is
the template, else the row. A fixed form is found when all of it is covered by its kind; a name, an address
or a labelled number when a span of its kind overlaps it. Data: the folder named by ETUDE_DATA, else
../shared/data beside the checkout.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
import os
import re
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from secret_forms import planted

from etude.privacy import BLOCKING, REVIEW, Span, find
from etude.stats import estimate

DATA = Path(os.environ.get("ETUDE_DATA", Path(__file__).parents[2] / "shared" / "data"))
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
LABELLED = [
    "PASSPORT",
    "PASSPORT_NUM",
    "TAX_ID",
    "TAXID",
    "ACCOUNT",
    "ACCOUNT_NUM",
    "ACCOUNT_NUMBER",
    "BANK_ACCOUNT",
    "BANK_ACCOUNT_NUM",
    "ROUTING_NUMBER",
    "PATIENT_ID",
    "PID",
    "MEDICAL_RECORD",
    "INSURANCE_ID",
    "INSURANCE_POLICY_NUM",
    "DRIVER_LICENSE",
    "DRIVERS_LICENSE",
    "DRIVER_LICENSE_NUM",
    "LICENSE",
    "VOTER_ID",
    "USERID",
    "USER_ID",
    "EMPLOYEE_ID",
    "POLICE_ID_NUM",
]
NANO |= dict.fromkeys(LABELLED, "id_number")
STARRED = re.compile(r"[*•#]|[xX]{2}")
NEAR = {
    "name": ("PERSON", "TITLE"),
    "address": ("STREET_ADDRESS", "ZIP_CODE", "GPE"),
}
"""Labels of presidio_pii that make a found span of the kind right: a town is part of an address."""


@dataclass(frozen=True)
class Row:
    """A text with what is known to stand in it."""

    text: str
    gold: tuple[tuple[int, int, str], ...]
    """Start, end and label."""
    unit: str
    """Rows that share it are no independent evidence."""


def main() -> None:
    """Prints what the flags ask for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--part", choices=("choose", "report"), default="report")
    parser.add_argument(
        "--show", metavar="KIND", help="list misses and false alarms; only of the part to choose on"
    )
    flags = parser.parse_args()
    if not DATA.is_dir():
        sys.exit(f"no data at {DATA}; set ETUDE_DATA to the folder that holds presidio_pii and the others")
    if flags.show and flags.part == "report":
        sys.exit("the part to report on is not looked at: add --part choose")
    for name, rows, labels in (
        ("presidio_pii", presidio(flags.part), PRESIDIO),
        ("pii_synthetic_nano", nano(flags.part), NANO),
    ):
        found = [find(row.text) for row in rows]
        print(f"\n{name}, part to {flags.part}: {len(rows)} rows")
        recall(rows, found, labels)
        precision(rows, found, labels, name == "presidio_pii")
        if flags.show:
            show(rows, found, labels, flags.show)
    alarms(flags.part)
    other_texts(flags.part)
    secrets()
    speed(100_000)


def part_of(key: object) -> str:
    """The part a template or text belongs to."""
    return "report" if hashlib.sha256(str(key).encode()).digest()[-1] % 2 else "choose"


def presidio(part: str) -> list[Row]:
    """Rows whose template falls into the part."""
    rows = json.loads((DATA / "presidio_pii" / "synth_dataset_v2.json").read_text(encoding="utf-8"))
    return [
        Row(
            row["full_text"],
            tuple((s["start_position"], s["end_position"], s["entity_type"]) for s in row["spans"]),
            str(row["template_id"]),
        )
        for row in rows
        if part_of(row["template_id"]) == part
    ]


def nano(part: str) -> list[Row]:
    """Rows whose text falls into the part. The set has no places: the value's first place is taken."""
    rows = json.loads((DATA / "pii_synthetic_nano" / "pii_syn_nano_en.json").read_text(encoding="utf-8"))
    return [
        Row(row["text"], tuple(_places(row)), str(number))
        for number, row in enumerate(rows)
        if part_of(row["text"]) == part
    ]


def _places(row: dict[str, Any]) -> list[tuple[int, int, str]]:
    """Values that stand in the text; the set marks some with asterisks, and some do not stand in it."""
    places = []
    for entity in row["NER"]:
        value = entity.get("entity", "").strip("*'\"# ")
        start = row["text"].find(value)
        if start >= 0 and any(map(str.isalnum, value)):
            places.append((start, start + len(value), entity["label"]))
    return places


def recall(rows: Sequence[Row], found: Sequence[tuple[Span, ...]], labels: dict[str, str]) -> None:
    """Prints the share found of each kind, and of all fixed forms together."""
    scores: dict[str, list[float]] = {}
    units: dict[str, list[str]] = {}
    for row, spans in zip(rows, found, strict=True):
        for start, end, label in row.gold:
            kind = labels.get(label)
            for key in keys_of(kind, row.text[start:end]):
                scores.setdefault(key, []).append(float(is_found(row.text, start, end, str(kind), spans)))
                units.setdefault(key, []).append(row.unit)
    for key in (*FIXED, "fixed forms", "readable", "id_number", "password", "name", "address"):
        if key in scores:
            print(f"  found  {key:12} {shown(scores[key], units[key])}, {len(scores[key])} values")


def keys_of(kind: str | None, value: str) -> tuple[str, ...]:
    """What a value counts for: its kind, the fixed forms, and those that stars do not hide to four digits."""
    if kind not in FIXED:
        return (kind,) if kind else ()
    readable = not STARRED.search(value) or sum(map(str.isdigit, value)) > 4
    return (str(kind), "fixed forms", *(("readable",) if readable else ()))


def is_found(text: str, start: int, end: int, kind: str, spans: Sequence[Span]) -> bool:
    """Whether a value was found: a fixed form to its last letter or digit, anything else by overlap."""
    kinds = IDS if kind in IDS else (kind,)
    near = [span for span in spans if span.kind in kinds and span.start < end and start < span.end]
    if kind not in FIXED:
        return bool(near)
    covered = {place for span in near for place in range(span.start, span.end)}
    return all(place in covered for place in range(start, end) if text[place].isalnum())


def precision(
    rows: Sequence[Row], found: Sequence[tuple[Span, ...]], labels: dict[str, str], with_addresses: bool
) -> None:
    """Prints the share of found spans that overlap a marked one: of the blocking kinds any, of the others of theirs."""
    for name, kinds in (("blocking", BLOCKING), ("name", ("name",)), ("address", ("address",))):
        if name == "address" and not with_addresses:
            continue
        right = NEAR.get(name, tuple(label for label, kind in labels.items() if kind in BLOCKING))
        scores, units = [], []
        for row, spans in zip(rows, found, strict=True):
            for span in spans:
                if span.kind in kinds:
                    scores.append(
                        float(any(s < span.end and span.start < e for s, e, x in row.gold if x in right))
                    )
                    units.append(row.unit)
        if scores:
            print(f"  right  {name:12} {shown(scores, units)}, {len(scores)} spans")


def shown(scores: list[float], units: list[str]) -> str:
    """A share with its interval."""
    share = estimate(scores, units)
    return f"{share.value:6.1%} ({share.low:.1%} to {share.high:.1%}, n = {share.n})"


def show(rows: Sequence[Row], found: Sequence[tuple[Span, ...]], labels: dict[str, str], kind: str) -> None:
    """Lists what was missed and what was found without being marked."""
    for row, spans in zip(rows, found, strict=True):
        for start, end, label in row.gold:
            if labels.get(label) == kind and not is_found(row.text, start, end, kind, spans):
                print(f"  MISSED {row.text[start:end]!r} in {row.text[max(start - 60, 0) : end + 40]!r}")
        for span in spans:
            right = [*NEAR.get(kind, ()), *(label for label, value in labels.items() if value == kind)]
            marked = any(s < span.end and span.start < e for s, e, label in row.gold if label in right)
            if span.kind == kind and not marked:
                print(
                    f"  FALSE  {span.text!r} ({span.rule}) in {row.text[max(span.start - 30, 0) : span.end + 30]!r}"
                )


def alarms(part: str) -> None:
    """Prints the share of rows with an alarm in texts that hold none, and health details in talk that does."""
    for name, column, file in (
        ("banking77", "text", {"choose": "train.csv", "report": "test.csv"}[part]),
        (
            "mts_dialog",
            "dialogue",
            {"choose": "TrainingSet.csv", "report": "TestSet-1-MEDIQA-Chat-2023.csv"}[part],
        ),
    ):
        with (DATA / name / file).open(encoding="utf-8", newline="") as opened:
            texts = [row[column] for row in csv.DictReader(opened)]
        found = [*map(find, texts)]
        for group, kinds in (("blocking", BLOCKING), ("review", REVIEW), ("health", ("health",))):
            flagged = [float(any(span.kind in kinds for span in spans)) for spans in found]
            print(
                f"{name}, {file}: rows with a {group} kind {shown(flagged, list(map(str, range(len(texts)))))}"
            )
        if name == "banking77" and part == "choose":
            for spans in found:
                for span in spans:
                    print("  ", span.kind, repr(span.text), span.rule)


def other_texts(part: str) -> None:
    """Prints the share of rows with a blocking kind, and which, in texts whose truth is not marked.

    Phones of offices stand in medquad and of services in sms_spam; the others hold next to none.
    """
    for name, texts in unmarked():
        kept = [text for text in texts if part_of(text) == part]
        found = [*map(find, kept)]
        flagged = [float(any(span.kind in BLOCKING for span in spans)) for spans in found]
        kinds = Counter(span.kind for spans in found for span in spans if span.kind in BLOCKING)
        print(
            f"{name}: rows with a blocking kind {shown(flagged, list(map(str, range(len(kept)))))} {dict(kinds)}"
        )


def unmarked() -> Iterator[tuple[str, list[str]]]:
    """Names of further sets with their texts."""
    with (DATA / "e2e_nlg" / "cleaned_devel.csv").open(encoding="utf-8", newline="") as opened:
        yield "e2e_nlg", [f"{row['mr']} {row['ref']}" for row in csv.DictReader(opened)]
    rows = json.loads((DATA / "rasbt_instructions" / "instruction-data.json").read_text(encoding="utf-8"))
    yield "rasbt_instructions", [f"{row['instruction']}\n{row['input']}\n{row['output']}" for row in rows]
    with (DATA / "medquad_sample" / "medquad.jsonl").open(encoding="utf-8") as opened:
        yield "medquad_sample", [row["answer"] for row in map(json.loads, opened)]
    lines = (DATA / "sms_spam" / "sms.tsv").read_text(encoding="utf-8").split("\n")
    yield "sms_spam", [line.split("\t", 1)[-1] for line in lines if line]


def secrets() -> None:
    """Prints how many of the planted secrets were covered whole by a kind that blocks."""
    rows = planted()
    found = [find(text) for _, text, _, _ in rows]
    missed = []
    for (form, _, start, end), spans in zip(rows, found, strict=True):
        covered = {p for span in spans if span.kind in BLOCKING for p in range(span.start, span.end)}
        if not set(range(start, end)) <= covered:
            missed.append(form)
    forms = len({form for form, *_ in rows})
    print(
        f"\nsecrets planted: {len(rows) - len(missed)} of {len(rows)} found, {forms} forms; missed: {missed or 'none'}"
    )


def speed(num_rows: int) -> None:
    """Prints how long many short rows take."""
    with (DATA / "banking77" / "train.csv").open(encoding="utf-8", newline="") as opened:
        texts = [row["text"] for row in csv.DictReader(opened)]
    texts = [texts[number % len(texts)] + f" ({number})" for number in range(num_rows)]
    started = time.perf_counter()
    for text in texts:
        find(text)
    print(f"speed: {num_rows} rows of banking77 in {time.perf_counter() - started:.1f} s")


if __name__ == "__main__":
    main()

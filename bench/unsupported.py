"""Fields that their text does not support, and fields that a text states and its record leaves out.

    python bench/unsupported.py [--only corrected|planted|published]

- corrected: E2E pairs whose slots the authors have corrected since. Printed: the share of the rows named first whose
  slots the authors changed, with a 95% interval (Wilson); of the slots they added, how many are named as left out.
- planted: one field taken out of the record of 5% of the rows, where the field that is named must be that one. The
  corrected slots of E2E, and halves of snips_intents and of ncbi_disease. All else that is named counts as wrong.
- published: rows of sets as they were published that are named.

Settings were chosen on cleaned_test.csv and on the even halves of the others with draw 1; the figures
to quote are those of cleaned_devel.csv and of the other rows.
"""

from __future__ import annotations

import argparse
import csv
import json
import random
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from real_sets import DATA, write_lines

from etude.checks import check
from etude.checks.records.fields import doubtful_fields
from etude.checks.records.parsing import as_record
from etude.stats.intervals import wilson
from etude.types import Finding

FIRST = 500
PLANTED = 0.05
DRAWS = (11, 12)
TASK = "name: pairs\nkind: extract\nmodel: fake\nexamples: rows.jsonl\n"
Pair = tuple[str, dict[str, Any]]


def main() -> None:
    """Prints the parts asked for."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--only", choices=("corrected", "planted", "published"))
    only = parser.parse_args().only
    if only in (None, "corrected"):
        for name in ("cleaned_test.csv", "cleaned_devel.csv"):
            corrected(name)
    if only in (None, "planted"):
        sets = {f"e2e {name}": e2e(name, "mr") for name in ("cleaned_test.csv", "cleaned_devel.csv")}
        sets |= {f"snips, {half} half": snips()[start::2] for start, half in enumerate(("even", "odd"))}
        sets |= {f"ncbi, {half} half": ncbi()[start::2] for start, half in enumerate(("even", "odd"))}
        for name, pairs in sets.items():
            for draw in DRAWS:
                planted(name, pairs, draw)
    if only in (None, "published"):
        sets = {
            "snips": snips(),
            "ncbi": ncbi(),
            "e2e cleaned_devel.csv, corrected": e2e("cleaned_devel.csv", "mr"),
        }
        for name, pairs in sets.items():
            published(name, pairs)


def e2e(name: str, column: str) -> list[Pair]:
    """From the sentence to its slots."""
    with (DATA / "e2e_nlg" / name).open(encoding="utf-8", newline="") as file:
        return [(row["ref"], slots(row[column])) for row in csv.DictReader(file)]


def slots(text: str) -> dict[str, Any]:
    """Slot -> its value."""
    return {field: values[0] for field, values in (as_record(text) or {}).items()}


def snips() -> list[Pair]:
    """From the command to its slots."""
    return [(row["text"], row["slots"]) for row in lines("snips_intents/train.jsonl")]


def ncbi() -> list[Pair]:
    """From the sentence to its diseases."""
    return [(row["text"], row["entities"]) for row in lines("ncbi_disease/train.jsonl")]


def lines(file: str) -> list[dict[str, Any]]:
    """Rows of a file of JSON lines."""
    return [json.loads(line) for line in (DATA / file).read_text(encoding="utf-8").splitlines()]


def found(pairs: Sequence[Pair]) -> Mapping[str, Finding]:
    """Kind -> what is found in an extraction whose rows have their number as id."""
    rows = [
        {"id": str(number), "input": text, "output": record} for number, (text, record) in enumerate(pairs)
    ]
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        write_lines(folder / "rows.jsonl", rows)
        (folder / "task.yaml").write_text(TASK, encoding="utf-8")
        return {one.kind: one for one in check(folder, [doubtful_fields])}


def corrected(name: str) -> None:
    """How many of the first rows the authors have changed too, and how many slots they added are found."""
    before, after = e2e(name, "orig_mr"), e2e(name, "mr")
    with (DATA / "e2e_nlg" / name).open(encoding="utf-8", newline="") as file:
        changed = {str(at) for at, row in enumerate(csv.DictReader(file)) if row["mr"] != row["orig_mr"]}
    began = time.perf_counter()
    findings = found(before)
    print(f"{name}: {len(before):,} pairs, {len(changed):,} corrected; {time.perf_counter() - began:.0f} s")
    for kind, one in findings.items():
        for first in sorted({min(FIRST, len(one.rows)), len(one.rows)}):
            hits = sum(row in changed for row in one.rows[:first])
            print(f"  {kind}, first {first:,}: {share(hits, first)} corrected by the authors")
        print(f"  {one.message}")
    added = [
        (str(number), field)
        for number in range(len(before))
        for field in after[number][1]
        if field not in before[number][1]
    ]
    named = named_fields(findings.get("omitted"))
    print(
        f"  of the slots added by the authors {share(sum(one in named for one in added), len(added))} named"
    )


def planted(name: str, pairs: Sequence[Pair], draw: int) -> None:
    """Takes fields out and looks for them."""
    chance = random.Random(draw)
    rows = [(text, dict(record)) for text, record in pairs]
    out = {}
    for number in chance.sample(range(len(rows)), round(PLANTED * len(rows))):
        if rows[number][1]:
            field = chance.choice(sorted(rows[number][1]))
            out[str(number), field] = rows[number][1].pop(field)
    named = named_fields(found(rows).get("omitted"))
    hits = len(named & out.keys())
    print(
        f"{name}, draw {draw}: {share(hits, len(out))} of the fields taken out are named; "
        f"{share(hits, len(named))} of the rows named are such",
        flush=True,
    )


def published(name: str, pairs: Sequence[Pair]) -> None:
    """What is named where nothing was planted."""
    findings = found(pairs)
    for kind in ("unsupported", "omitted"):
        number = len(findings[kind].rows) if kind in findings else 0
        print(f"{name}: {kind} {number:,} of {len(pairs):,} rows ({number / len(pairs):.2%})", flush=True)


def named_fields(finding: Finding | None) -> set[tuple[str, str]]:
    """(row, field) of every row that is named."""
    return set(zip(finding.rows, finding.about, strict=True)) if finding else set()


def share(hits: int, total: int) -> str:
    """A share with its 95% interval."""
    if not total:
        return "none of 0"
    low, high = wilson(hits, total)
    return f"{100 * hits / total:.1f}% ({100 * low:.1f} to {100 * high:.1f}, n = {total:,})"


if __name__ == "__main__":
    main()

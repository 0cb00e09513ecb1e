"""Measure the reports of fields that their text does not support.

    python bench/unsupported.py [--only corrected|published]

- corrected: E2E pairs whose slots the authors corrected later. Printed is the share of the first reported rows whose
slots the authors changed, with a 95% interval (Wilson).
- published: rows of published sets that are reported.

Settings were chosen on cleaned_test.csv and on the even halves of the others with seed 1. Quote only the figures of
cleaned_devel.csv and of the other rows.
"""

from __future__ import annotations

import argparse
import csv
import json
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from real_sets import DATA, write_lines

from etude.checks import check
from etude.checks.records.parsing import parse_record
from etude.checks.records.unsupported_fields import check_unsupported
from etude.stats.intervals import wilson
from etude.types import Finding

FIRST = 500
TASK = "name: pairs\nkind: extract\nmodel: fake\nexamples: rows.jsonl\n"
Pair = tuple[str, dict[str, Any]]


def main() -> None:
    """Print the selected parts."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--only", choices=("corrected", "published"))
    only = parser.parse_args().only
    if only in (None, "corrected"):
        for name in ("cleaned_test.csv", "cleaned_devel.csv"):
            compare_corrections(name)
    if only in (None, "published"):
        sets = {
            "snips": read_snips(),
            "ncbi": read_ncbi(),
            "e2e cleaned_devel.csv, corrected": read_e2e("cleaned_devel.csv", "mr"),
        }
        for name, pairs in sets.items():
            report_published(name, pairs)


def read_e2e(name: str, column: str) -> list[Pair]:
    """Read sentences and their slots."""
    with (DATA / "e2e_nlg" / name).open(encoding="utf-8", newline="") as file:
        return [(row["ref"], read_slots(row[column])) for row in csv.DictReader(file)]


def read_slots(text: str) -> dict[str, Any]:
    """Return slot -> value."""
    return {field: values[0] for field, values in (parse_record(text) or {}).items()}


def read_snips() -> list[Pair]:
    """Read commands and their slots."""
    return [(row["text"], row["slots"]) for row in read_lines("snips_intents/train.jsonl")]


def read_ncbi() -> list[Pair]:
    """Read sentences and their diseases."""
    return [(row["text"], row["entities"]) for row in read_lines("ncbi_disease/train.jsonl")]


def read_lines(file: str) -> list[dict[str, Any]]:
    """Read the rows of a file of JSON lines."""
    return [json.loads(line) for line in (DATA / file).read_text(encoding="utf-8").splitlines()]


def find_findings(pairs: Sequence[Pair]) -> Mapping[str, Finding]:
    """Check an extraction task whose rows have their number as id; return kind -> finding."""
    rows = [
        {"id": str(number), "input": text, "output": record} for number, (text, record) in enumerate(pairs)
    ]
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        write_lines(folder / "rows.jsonl", rows)
        (folder / "task.yaml").write_text(TASK, encoding="utf-8")
        return {finding.kind: finding for finding in check(folder, [check_unsupported])}


def compare_corrections(name: str) -> None:
    """Print how many of the first reported rows the authors changed."""
    before = read_e2e(name, "orig_mr")
    with (DATA / "e2e_nlg" / name).open(encoding="utf-8", newline="") as file:
        changed = {str(at) for at, row in enumerate(csv.DictReader(file)) if row["mr"] != row["orig_mr"]}
    start = time.perf_counter()
    findings = find_findings(before)
    print(f"{name}: {len(before):,} pairs, {len(changed):,} corrected; {time.perf_counter() - start:.0f} s")
    for kind, finding in findings.items():
        for first in sorted({min(FIRST, len(finding.rows)), len(finding.rows)}):
            hits = sum(row in changed for row in finding.rows[:first])
            print(f"  {kind}, first {first:,}: {format_share(hits, first)} corrected by the authors")
        print(f"  {finding.message}")


def report_published(name: str, pairs: Sequence[Pair]) -> None:
    """Print how many rows of a set without planted errors are reported."""
    findings = find_findings(pairs)
    number = len(findings["unsupported"].rows) if "unsupported" in findings else 0
    print(f"{name}: {number:,} of {len(pairs):,} rows ({number / len(pairs):.2%})", flush=True)


def format_share(hits: int, total: int) -> str:
    """Format a share with its 95% interval."""
    if not total:
        return "none of 0"
    low, high = wilson(hits, total)
    return f"{100 * hits / total:.1f}% ({100 * low:.1f} to {100 * high:.1f}, n = {total:,})"


if __name__ == "__main__":
    main()

"""Fields that their text does not support.

    python bench/unsupported.py [--only corrected|published]

- corrected: E2E pairs whose slots the authors have corrected since. Printed: the share of the rows named first whose
  slots the authors changed, with a 95% interval (Wilson).
- published: rows of sets as they were published that are named.

Settings were chosen on cleaned_test.csv and on the even halves of the others with draw 1; the figures
to quote are those of cleaned_devel.csv and of the other rows.
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
from etude.checks.records.fields import unsupported_fields
from etude.checks.records.parsing import as_record
from etude.stats.intervals import wilson
from etude.types import Finding

FIRST = 500
TASK = "name: pairs\nkind: extract\nmodel: fake\nexamples: rows.jsonl\n"
Pair = tuple[str, dict[str, Any]]


def main() -> None:
    """Prints the parts asked for."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--only", choices=("corrected", "published"))
    only = parser.parse_args().only
    if only in (None, "corrected"):
        for name in ("cleaned_test.csv", "cleaned_devel.csv"):
            corrected(name)
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
        return {one.kind: one for one in check(folder, [unsupported_fields])}


def corrected(name: str) -> None:
    """How many of the first rows the authors have changed too."""
    before = e2e(name, "orig_mr")
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


def published(name: str, pairs: Sequence[Pair]) -> None:
    """What is named where nothing was planted."""
    findings = found(pairs)
    number = len(findings["unsupported"].rows) if "unsupported" in findings else 0
    print(f"{name}: {number:,} of {len(pairs):,} rows ({number / len(pairs):.2%})", flush=True)


def share(hits: int, total: int) -> str:
    """A share with its 95% interval."""
    if not total:
        return "none of 0"
    low, high = wilson(hits, total)
    return f"{100 * hits / total:.1f}% ({100 * low:.1f} to {100 * high:.1f}, n = {total:,})"


if __name__ == "__main__":
    main()

"""Fields that their text does not support, in the E2E pairs whose slots the authors have corrected since.

    python bench/unsupported.py

For each file: the pairs ranked by the general rule of etude.checks.support, and the share of the first 500 whose
slots the authors changed, with a 95% interval (Wilson). Settings were chosen on cleaned_test.csv; the figure to
quote is that of cleaned_devel.csv.
"""

from __future__ import annotations

import csv
import tempfile
import time
from pathlib import Path

from real_sets import DATA, write_lines

from etude.checks import check
from etude.checks.records import as_record
from etude.stats.intervals import wilson

FIRST = 500
TASK = "name: e2e\nkind: extract\nmodel: smollm2-135m-instruct\nexamples: rows.jsonl\n"


def main() -> None:
    """Prints one line a file."""
    for name in ("cleaned_test.csv", "cleaned_devel.csv"):
        with (DATA / "e2e_nlg" / name).open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        changed = {str(number) for number, row in enumerate(rows) if row["mr"] != row["orig_mr"]}
        with tempfile.TemporaryDirectory() as temporary:
            report(name, prepared(Path(temporary), rows), changed, len(rows))


def prepared(folder: Path, rows: list[dict[str, str]]) -> Path:
    """An extraction task: from the sentence to the slots as they were before the correction."""
    lines = []
    for number, row in enumerate(rows):
        slots = {field: values[0] for field, values in (as_record(row["orig_mr"]) or {}).items()}
        lines.append({"id": str(number), "input": row["ref"], "output": slots})
    write_lines(folder / "rows.jsonl", lines)
    (folder / "task.yaml").write_text(TASK, encoding="utf-8")
    return folder / "task.yaml"


def report(name: str, task: Path, changed: set[str], total: int) -> None:
    """How many of the first rows the authors have changed too."""
    began = time.perf_counter()
    (found,) = check(task).of("unsupported")
    seconds = time.perf_counter() - began
    print(f"{name}: {total:,} pairs, {len(changed):,} of them corrected by the authors; {seconds:.0f} s")
    for first in (FIRST, len(found.rows)):
        hits = sum(row in changed for row in found.rows[:first])
        low, high = wilson(hits, first)
        print(
            f"  first {first:,}: {100 * hits / first:.1f}% ({100 * low:.1f} to {100 * high:.1f}, n = {first:,})"
        )
    print(f"  {found.message}")


if __name__ == "__main__":
    main()

"""Compare methods on banking77: only those without a language model, or all methods with a budget.

    python bench/banking77.py --methods baseline fine_tune_encoder --rows-per-label 5 10 all
    python bench/banking77.py --methods baseline fine_tune_encoder --rows-per-label 10 \
        --evidence full
    python bench/banking77.py --methods all --budget 30m

Rows for training: train.csv without near-duplicates of test rows, either all or the first of each
label after a shuffle. Test: the official test.csv with 3,080 rows. Data: the folder named by
ETUDE_DATA, else ../shared/data beside the checkout.
"""

import argparse
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from real_sets import DATA, read_rows, write_lines

from etude.cli import main as etude
from etude.task import EvidenceLevel

TASK = """
name: banking77
kind: classify
model: smollm2-135m-instruct
examples: {{file: train.jsonl, input: text, output: category}}
test: {{file: test.csv, input: text, output: category}}
instructions: Which intent does this message of a bank's customer have?
methods: {methods}
encoder: {encoder}
"""


def main() -> None:
    """Runs the comparisons that the flags select."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--methods", nargs="+", default=["baseline"])
    parser.add_argument("--rows-per-label", nargs="+", default=["all"])
    parser.add_argument("--encoder", default="all-minilm-l6-v2", help="none: only TF-IDF")
    parser.add_argument("--budget", default="30m")
    parser.add_argument(
        "--evidence", choices=["one_run", "full"], help="full: also a learning curve"
    )
    parser.add_argument(
        "--folder", type=Path, help="folder for the runs; default: a temporary folder"
    )
    flags = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        for rows in flags.rows_per_label:
            folder = (flags.folder or Path(temporary)) / rows
            run_comparison(
                prepare_task(folder, flags.methods, rows, flags.encoder),
                flags.budget,
                flags.evidence,
            )


def run_comparison(task: Path, budget: str, evidence: EvidenceLevel | None) -> None:
    """Runs one comparison and measures the seconds from reading the files to the verdict."""
    started = time.perf_counter()
    level = ["--evidence", evidence] if evidence else []
    if etude(["compare", str(task), "--yes", "--budget", budget, *level]):
        sys.exit(1)
    print(
        f"{task.parent.name} rows a label: {time.perf_counter() - started:.0f} s in all\n",
        flush=True,
    )


def prepare_task(folder: Path, methods: Sequence[str], rows_per_label: str, encoder: str) -> Path:
    """Creates a task folder with copies of the data."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = read_rows("banking77/train.csv")
    counts = Counter[str]()
    random.Random(0).shuffle(rows)
    drawn = []
    for row in rows:
        counts[row["category"]] += 1
        if rows_per_label == "all" or counts[row["category"]] <= int(rows_per_label):
            drawn.append(row)
    write_lines(folder / "train.jsonl", drawn)
    shutil.copyfile(DATA / "banking77" / "test.csv", folder / "test.csv")
    methods_text = methods[0] if methods == ["all"] else f"[{', '.join(methods)}]"
    (folder / "task.yaml").write_text(
        TASK.format(methods=methods_text, encoder=encoder).lstrip(), encoding="utf-8"
    )
    return folder / "task.yaml"


if __name__ == "__main__":
    main()

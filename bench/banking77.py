"""banking77: the baseline alone, then the whole ladder under a stated budget.

    python bench/banking77.py --baseline-only
    python bench/banking77.py --budget 30m

Rows: train.csv (its near-duplicates of the test taken out), the official test.csv of 3,080 rows.
Data: the folder named by ETUDE_DATA, else ../shared/data beside the checkout.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

from etude.cli.live import run_compare
from etude.comparison import compare

DATA = Path(os.environ.get("ETUDE_DATA", Path(__file__).parents[2] / "shared" / "data")) / "banking77"
TASK = """
name: banking77
kind: classify
model: smollm2-135m-instruct
examples: {{file: train.csv, input: text, output: category}}
test: {{file: test.csv, input: text, output: category}}
instructions: Which intent does this message of a bank's customer have?
methods: {methods}
"""


def main() -> None:
    """Runs what the flags ask for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--baseline-only", action="store_true")
    parser.add_argument("--budget", default="30m")
    parser.add_argument("--folder", type=Path, help="where to keep the run; a temporary folder")
    flags = parser.parse_args()
    if not DATA.is_dir():
        sys.exit(f"banking77 is not at {DATA}; set ETUDE_DATA to the folder that holds it")
    with tempfile.TemporaryDirectory() as temporary:
        folder = flags.folder or Path(temporary)
        baseline(folder / "baseline")
        if not flags.baseline_only:
            task = prepared(folder / "ladder", "all")
            sys.exit(run_compare(task, yes=True, budget=flags.budget, fresh=False))


def baseline(folder: Path) -> None:
    """Times the whole command, from reading the files to the verdict."""
    task = prepared(folder, "[baseline]")
    started = time.perf_counter()
    result = compare(task, fresh=True)
    seconds = time.perf_counter() - started
    step = result.verdict.ladder[0].estimate
    print(
        f"baseline: {100 * step.value:.2f}% ({100 * step.low:.1f} to {100 * step.high:.1f}, "
        f"n = {step.n}), {seconds:.1f} s in all, {result.run.info['split']['train']} rows to train"
    )


def prepared(folder: Path, methods: str) -> Path:
    """A task folder over copies of the data."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("train.csv", "test.csv"):
        shutil.copyfile(DATA / name, folder / name)
    (folder / "task.yaml").write_text(TASK.format(methods=methods).lstrip(), encoding="utf-8")
    return folder / "task.yaml"


if __name__ == "__main__":
    main()

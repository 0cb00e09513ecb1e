"""Does a threshold chosen on dev keep its promise on banking77, and are questions that fit no label handed over?

A fifth of the labels is left out of training and dev; their rows are the out-of-scope questions. The rest is compared
with `handover: 0.05` and the baseline alone. Printed: errors among what is answered on the test with their interval,
the share handed over, and how many out-of-scope questions are handed over.

    python bench/handover.py [SEED ...]     needs ETUDE_DATA (see CONTRIBUTING.md); about a minute a seed
"""

from __future__ import annotations

import csv
import json
import os
import random
import sys
import tempfile
from pathlib import Path

from etude.assistant import load
from etude.comparison import compare
from etude.stats import wilson
from etude.stats.calibration import brier, calibration_error
from etude.stats.surest import auroc

DATA = Path(os.environ.get("ETUDE_DATA", Path(__file__).parents[2] / "shared" / "data")) / "banking77"
PROMISE = 0.05
TASK = "name: bank\nkind: classify\nmodel: fake\nexamples: rows.jsonl\nmethods: [baseline]\nhandover: {}\nseed: {}\n"


def main() -> None:
    """One line for each seed."""
    rows = list(csv.DictReader((DATA / "train.csv").open(encoding="utf-8")))
    for seed in [int(text) for text in sys.argv[1:]] or [0, 1, 2]:
        labels = sorted({row["category"] for row in rows})
        outside = set(random.Random(seed).sample(labels, len(labels) // 5))
        with tempfile.TemporaryDirectory() as folder:
            print(
                json.dumps(
                    {"seed": seed, "outside": len(outside), **measured(Path(folder), rows, outside, seed)}
                )
            )


def measured(folder: Path, rows: list[dict[str, str]], outside: set[str], seed: int) -> dict[str, object]:
    """The comparison on the labels that are left, and the questions of the others asked of its assistant."""
    inside = [row for row in rows if row["category"] not in outside]
    lines = (json.dumps({"input": row["text"], "output": row["category"]}) + "\n" for row in inside)
    (folder / "rows.jsonl").write_text("".join(lines), encoding="utf-8")
    (folder / "task.yaml").write_text(TASK.format(PROMISE, seed), encoding="utf-8")
    run = compare(folder / "task.yaml").run
    test = [line for line in run.predictions("baseline") if line["side"] == "test"]
    given = [line for line in test if not line.get("handed_over")]
    wrong = sum(line["score"] < 1 for line in given)
    strange = [row["text"] for row in rows if row["category"] in outside]
    assistant = load(run.assistant("baseline"))
    answers = assistant.answer(strange)
    sure, right = [line["confidence"] for line in test], [line["score"] for line in test]
    others = [answer.confidence or 0.0 for answer in answers]
    low, high = wilson(wrong, len(given)) if given else (0.0, 1.0)
    return {
        "threshold": assistant.handover,
        "test": len(test),
        "answered": len(given) / len(test),
        "errors_answered": [wrong / max(1, len(given)), low, high],
        "errors_all": sum(line["score"] < 1 for line in test) / len(test),
        "promise": PROMISE,
        "out_of_scope": len(strange),
        "out_of_scope_handed_over": sum(answer.handed_over for answer in answers) / len(strange),
        "auroc_in_against_out": auroc([*sure, *others], [1] * len(sure) + [0] * len(others)),
        "ece": calibration_error(sure, right).value,
        "brier": brier(sure, right).value,
        "auroc_right": auroc(sure, right),
    }


if __name__ == "__main__":
    main()

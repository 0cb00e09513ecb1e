"""Does a threshold chosen on dev keep its promise on banking77, and are questions that fit no label handed over?

A fifth of the labels is left out of training and dev; their rows are the out-of-scope questions. The rest is compared
with `handover: 0.05` and the baseline alone. Printed: errors among what is answered on the test with their interval,
the share handed over, and how many out-of-scope questions are handed over.

    python bench/handover.py [SEED ...]     needs ETUDE_DATA (see CONTRIBUTING.md); about a minute a seed
"""

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
from etude.stats.calibration import brier_score, compute_auroc, measure_calibration_error

DATA = Path(os.environ.get("ETUDE_DATA", Path(__file__).parents[2] / "shared" / "data")) / "banking77"
PROMISE = 0.05
TASK = "name: bank\nkind: classify\nmodel: fake\nexamples: rows.jsonl\nmethods: [baseline]\nhandover: {}\nseed: {}\n"


def main() -> None:
    """One line for each seed."""
    rows = list(csv.DictReader((DATA / "train.csv").open(encoding="utf-8")))
    for seed in [int(text) for text in sys.argv[1:]] or [0, 1, 2]:
        labels = sorted({row["category"] for row in rows})
        left_out = set(random.Random(seed).sample(labels, len(labels) // 5))
        with tempfile.TemporaryDirectory() as folder:
            print(
                json.dumps(
                    {"seed": seed, "outside": len(left_out), **measure(Path(folder), rows, left_out, seed)}
                )
            )


def measure(folder: Path, rows: list[dict[str, str]], outside: set[str], seed: int) -> dict[str, object]:
    """The comparison on the labels that are left, and the questions of the others asked of its assistant."""
    inside = [row for row in rows if row["category"] not in outside]
    lines = (json.dumps({"input": row["text"], "output": row["category"]}) + "\n" for row in inside)
    (folder / "rows.jsonl").write_text("".join(lines), encoding="utf-8")
    (folder / "task.yaml").write_text(TASK.format(PROMISE, seed), encoding="utf-8")
    run = compare(folder / "task.yaml").run
    test = [line for line in run.read_predictions("baseline") if line["side"] == "test"]
    answered = [line for line in test if not line.get("handed_over")]
    num_wrong = sum(line["score"] < 1 for line in answered)
    out_of_scope = [row["text"] for row in rows if row["category"] in outside]
    assistant = load(run.assistant_folder("baseline"))
    answers = assistant.answer(out_of_scope)
    confidences, scores = [line["confidence"] for line in test], [line["score"] for line in test]
    out_of_scope_confidences = [answer.confidence or 0.0 for answer in answers]
    low, high = wilson(num_wrong, len(answered)) if answered else (0.0, 1.0)
    return {
        "threshold": assistant.handover,
        "test": len(test),
        "answered": len(answered) / len(test),
        "errors_answered": [num_wrong / max(1, len(answered)), low, high],
        "errors_all": sum(line["score"] < 1 for line in test) / len(test),
        "promise": PROMISE,
        "out_of_scope": len(out_of_scope),
        "out_of_scope_handed_over": sum(answer.handed_over for answer in answers) / len(out_of_scope),
        "auroc_in_against_out": compute_auroc(
            [*confidences, *out_of_scope_confidences],
            [1] * len(confidences) + [0] * len(out_of_scope_confidences),
        ),
        "ece": measure_calibration_error(confidences, scores).value,
        "brier": brier_score(confidences, scores).value,
        "auroc_right": compute_auroc(confidences, scores),
    }


if __name__ == "__main__":
    main()

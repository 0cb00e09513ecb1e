"""Test a handover threshold on banking77: its error rate on the test, and how many out-of-scope questions it hands
over.

A fifth of the labels is left out of training and dev; their rows are the out-of-scope questions. The other rows are
compared with `handover: 0.05` and only the baseline. Printed are the errors among the answered test rows with their
interval, the share of rows handed over, and the share of out-of-scope questions handed over: by confidence times
nearness, and by confidence alone with the same share of answered rows. Then the stored predictions are split again 200
times: a quarter is used for recalibration and the threshold, and errors are counted in the others.

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
from etude.stats.calibration import brier_score, choose_threshold, compute_auroc, measure_calibration_error
from etude.stats.recalibration import choose_recalibration

DATA = Path(os.environ.get("ETUDE_DATA", Path(__file__).parents[2] / "shared" / "data")) / "banking77"
PROMISE = 0.05
TASK = (
    "name: bank\nkind: classify\nmodel: fake\nencoder: all-minilm-l6-v2\nexamples: rows.jsonl\nmethods: [baseline]\n"
    "handover: {}\nseed: {}\n"
)


def main() -> None:
    """Prints one line for each seed."""
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
    """Compares on the remaining labels, and asks the assistant the questions of the labels that were left out."""
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
    # the confidence above which the same number of test rows is answered
    same_share = sorted((line["confidence"] for line in test), reverse=True)[len(answered) - 1]
    alone = sum(confidence < same_share for confidence in out_of_scope_confidences)
    return {
        "threshold": assistant.handover,
        "recalibrated": assistant.recalibration is not None,
        "out_of_scope_handed_over_by_confidence": alone / len(out_of_scope),
        **resplit(run.read_predictions("baseline"), seed),
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


def resplit(lines: list[dict[str, object]], seed: int, num: int = 200) -> dict[str, object]:
    """Returns how often the error rate is kept if other rows are dev, and the mean share of answered rows."""
    draw, num_kept, shares = random.Random(seed), 0, []
    for _ in range(num):
        rows = draw.sample(lines, len(lines))
        dev, test = rows[: len(rows) // 4], rows[len(rows) // 4 :]
        stated = [line.get("stated_confidence", line["confidence"]) for line in dev]
        choice = choose_recalibration(stated, [line["score"] for line in dev], [line["unit"] for line in dev])
        recalibrate = choice.recalibration.apply if choice else float
        scores = [
            recalibrate(confidence) * line["nearness"] ** 0.5
            for confidence, line in zip(stated, dev, strict=True)
        ]
        threshold = choose_threshold(scores, [line["score"] for line in dev], PROMISE)
        answered = [
            line
            for line in test
            if threshold is not None
            and recalibrate(line.get("stated_confidence", line["confidence"])) * line["nearness"] ** 0.5
            >= threshold
        ]
        num_wrong = sum(line["score"] < 1 for line in answered)
        num_kept += num_wrong <= PROMISE * len(answered)
        shares.append(len(answered) / len(test))
    return {"resplits": num, "promise_kept": num_kept / num, "answered_in_resplits": sum(shares) / num}


if __name__ == "__main__":
    main()

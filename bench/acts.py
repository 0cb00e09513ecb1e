"""Compare the reader of acts with people's labels of published answers to xstest (Röttger et al.
2024).

    python bench/acts.py FOLDER
        answers_MODEL.csv with the columns prompt, completion and final_label

The files are in the folder model_completions of the repository paul-rottger/exaggerated-safety. Two
people labelled each answer as full compliance, partial refusal or full refusal. The classifier is
not fitted on any of these answers. A partial refusal and a hand-over count as refusals, and an
unsure reading counts as neither. The second table shows the lowest limit of the score that is at
most one answer worse than the best on each file, and how many readings are right on the other files
with this limit.
"""

import csv
import sys
from collections import Counter
from pathlib import Path

import numpy as np

from etude.limits.acts import (
    compute_shares,
    load_classifier,
    read_act,
    score_declining,
    split_pieces,
)
from etude.stats.intervals import wilson

GRID = np.arange(-3, 3, 0.05)


def main() -> None:
    """Prints the acts for each label, and the choice on each file with its result on the others."""
    scores = {}
    refusals = {}
    full = {}
    print(
        "| file | label | answers | refused | unsure | acts |\n"
        "| --- | --- | --- | --- | --- | --- |"
    )
    for file in sorted(Path(sys.argv[1]).glob("answers_*.csv")):
        rows = list(csv.DictReader(file.open(encoding="utf-8", newline="")))
        name = file.stem[8:]
        labels = np.array([row["final_label"] for row in rows])
        readings = [read_act(row["completion"], row["prompt"]) for row in rows]
        for label in sorted(set(labels)):
            chosen = [
                reading for reading, own in zip(readings, labels, strict=True) if own == label
            ]
            acts = Counter(reading.act if reading.is_sure else "unsure" for reading in chosen)
            num = len(chosen)
            refused = acts["refuse"] + acts["hand_over"]
            low, high = wilson(refused, num)
            share = f"{refused / num:.1%} ({low:.1%} to {high:.1%})"
            print(f"| {name} | {label[2:]} | {num} | {share} | {acts['unsure']} | {dict(acts)} |")
        pieces = [split_pieces(row["completion"]) for row in rows]
        scores[name] = np.array(
            [score_declining(compute_shares(own, load_classifier())) for own in pieces]
        )
        refusals[name] = labels != "1_full_compliance"
        full[name] = labels == "2_full_refusal"
    for name, own in scores.items():
        right = np.array([np.mean((own >= limit) == refusals[name]) for limit in GRID])
        limit = GRID[right >= right.max() - 1 / len(own)].min()
        for other in scores.keys() - {name}:
            refused = scores[other] >= limit
            print(f"chosen on {name} ({limit:.2f}, {right.max():.1%} right), {other}: ", end="")
            print(
                f"{np.mean(refused == refusals[other]):.1%} right, full "
                f"{np.mean(refused[full[other]]):.1%}"
            )


if __name__ == "__main__":
    main()

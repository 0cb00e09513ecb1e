"""Restricted answers on banking77: accuracy of 77 labels and what a row costs.

    python bench/choices.py FOLDER [rows] [shots]

FOLDER holds banking77's train.csv and test.csv. With shots, that many labels have an example each in
the prompt; without, the labels are listed in the system message.
"""

from __future__ import annotations

import csv
import random
import sys
import time
from pathlib import Path

from etude.models.registry import Models
from etude.types import Message, ModelRef, Request

TASK = "Answer with the label of the customer's message."


def read(path: Path) -> list[tuple[str, str]]:
    """Rows as (text, label), in a fixed random order."""
    with path.open(encoding="utf-8", newline="") as file:
        rows = [(row["text"], row["category"]) for row in csv.DictReader(file)]
    random.Random(0).shuffle(rows)
    return rows


def main(folder: Path, num_rows: int, num_shots: int) -> None:
    """Prints accuracy, seconds a row and the minutes of 3,000 rows."""
    train, test = read(folder / "train.csv"), read(folder / "test.csv")[:num_rows]
    first = {label: text for text, label in reversed(train)}
    labels = tuple(sorted(first))
    system = TASK if num_shots else f"{TASK} Labels: {', '.join(labels)}"
    shots = [
        turn
        for label in list(first)[:num_shots]
        for turn in (Message("user", first[label]), Message("assistant", label))
    ]
    requests = [
        Request((Message("system", system), *shots, Message("user", text)), 20, labels) for text, _ in test
    ]
    model = Models().get(ModelRef("smollm2-135m-instruct"))
    started = time.perf_counter()
    answers = model.generate(requests)
    seconds = (time.perf_counter() - started) / len(test)
    right = sum(answer.text == label for answer, (_, label) in zip(answers, test, strict=True))
    print(
        f"{len(labels)} labels, {num_shots} examples in the prompt, {len(test)} rows: "
        f"{right / len(test):.1%} right, {seconds:.3f} s a row, {seconds * 50:.1f} min for 3,000 rows"
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]), *(int(value) for value in (sys.argv[2:] + ["300", "0"][len(sys.argv[2:]) :])))

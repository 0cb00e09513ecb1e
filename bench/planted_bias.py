"""Test whether a planted bias is found, and whether there are false alarms without one.

    python bench/planted_bias.py [SEED ...]
        the baseline on rows that begin with a name, seconds a seed

Labels depend on the gender of the name in 90% of the rows, or not at all. A lower bound above 0 is
an alarm.
"""

from __future__ import annotations

import json
import random
import sys
import tempfile
from pathlib import Path

from etude.base.files import write_lines
from etude.comparison import compare
from etude.suites.measures.bias import SWAPS
from etude.suites.run import run_suites

WORDS = [
    one + two
    for one in ("bal", "kor", "rim", "mus", "ten", "sab")
    for two in ("on", "ar", "id", "est", "ik", "el")
]
TASK = (
    "name: t\n"
    "kind: classify\n"
    "model: fake\n"
    "examples: examples.jsonl\n"
    "methods: [baseline]\n"
    "seed: {}\n"
)


def find_bias(seed: int, *, is_planted: bool, folder: Path) -> dict[str, object]:
    """Returns the kinds of bias that are found in the rows of one seed."""
    rng = random.Random(f"{is_planted}/{seed}")
    lines = []
    for _ in range(320):
        woman = rng.random() < 0.5
        name = rng.choice(SWAPS["gender"]["one" if woman else "other"])
        urgent = woman if is_planted and rng.random() < 0.9 else rng.random() < 0.5
        text = f"My name is {name}. {' '.join(rng.sample(WORDS, 12))}."
        lines.append({"input": text, "output": "urgent" if urgent else "later"})
    write_lines(folder / "examples.jsonl", lines)
    task = folder / "task.yaml"
    task.write_text(TASK.format(seed), encoding="utf-8")
    compare(task)
    measures = [
        measure
        for measure in run_suites(task, suites=["bias"]).measures
        if measure.name.startswith("bias_")
    ]
    return {
        "seed": seed,
        "planted": is_planted,
        "alarms": [each.name for each in measures if each.assistant.low > 0],
    }


def main() -> None:
    """Prints two lines for each seed."""
    for seed in [int(text) for text in sys.argv[1:]] or range(20):
        for is_planted in (True, False):
            with tempfile.TemporaryDirectory() as folder:
                print(
                    json.dumps(find_bias(seed, is_planted=is_planted, folder=Path(folder))),
                    flush=True,
                )


if __name__ == "__main__":
    main()

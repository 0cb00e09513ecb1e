"""Test whether planted bias and planted forgetting are found, and whether there are false alarms without them.

    python bench/planted_behaviour.py bias [SEED ...]        the baseline on rows that begin with a name, seconds a seed
    python bench/planted_behaviour.py forgetting [TRAINING]   two trainings of SmolLM2-135M; needs ETUDE_DATA, minutes

Bias: labels depend on the gender of the name in 90% of the rows, or not at all. A lower bound above 0 is an alarm.
Forgetting: the gate `forgetting <= 3%` is tested with two trainings: on general instructions with a low learning rate,
and on a single phrase, which is memorised in many epochs.
"""

from __future__ import annotations

import json
import os
import random
import sys
import tempfile
from pathlib import Path

from etude.base.files import write_lines
from etude.comparison import compare
from etude.models.registry import Models
from etude.suites.gates import decide_gates
from etude.suites.measures.bias import SWAPS
from etude.suites.measures.forgetting import measure_forgetting
from etude.suites.run import run_suites
from etude.suites.subject import find_subject
from etude.task.definition import parse_gate
from etude.tuning.train import train

DATA = Path(os.environ.get("ETUDE_DATA", Path(__file__).parents[2] / "shared" / "data"))
WORDS = [
    one + two
    for one in ("bal", "kor", "rim", "mus", "ten", "sab")
    for two in ("on", "ar", "id", "est", "ik", "el")
]
TASK = "name: t\nkind: {}\nmodel: {}\nexamples: examples.jsonl\nmethods: [{}]\nseed: {}\ntrain: {}\n"
TRAININGS = {
    "healthy": "{epochs: 1, learning_rate: 2e-4}",
    "overfitted": "{epochs: 8, learning_rate: 4e-3, patience: 8, stop_on_spike: false}",
}


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
    task.write_text(TASK.format("classify", "fake", "baseline", seed, "{}"), encoding="utf-8")
    compare(task)
    measures = [
        measure for measure in run_suites(task, suites=["bias"]).measures if measure.name.startswith("bias_")
    ]
    return {
        "seed": seed,
        "planted": is_planted,
        "alarms": [each.name for each in measures if each.assistant.low > 0],
    }


def decide_forgetting(name: str, folder: Path) -> dict[str, object]:
    """Trains and returns the results of the gates."""
    file = DATA / "rasbt_instructions" / "instruction-data.json"
    rows = [row for row in json.loads(file.read_text(encoding="utf-8")) if row["output"].strip()][:60]
    say = (lambda row: row["output"]) if name == "healthy" else (lambda row: "Ticket closed. Ticket closed.")
    write_lines(
        folder / "examples.jsonl",
        ({"input": f"{row['instruction']}\n{row['input']}".strip(), "output": say(row)} for row in rows),
    )
    task, model = folder / "task.yaml", "smollm2-135m-instruct"
    task.write_text(TASK.format("rewrite", model, "fine_tune", 0, TRAININGS[name]), encoding="utf-8")
    train(task, confirm=lambda question: True)
    models = Models()
    measures = measure_forgetting(find_subject(task, None, None, models).assistant.model, models)
    gates = [parse_gate("forgetting <= 3%"), parse_gate("abilities >= base - 20 points")]
    results = decide_gates([gate for gate in gates if gate], measures, {})
    return {
        "training": name,
        **{result.gate.text: f"{result.outcome}: {result.detail}" for result in results},
    }


def main() -> None:
    """Prints one line for each training."""
    for name in (sys.argv[2:] or TRAININGS) if sys.argv[1] == "forgetting" else ():
        with tempfile.TemporaryDirectory() as folder:
            print(json.dumps(decide_forgetting(name, Path(folder))), flush=True)
    for seed in ([int(text) for text in sys.argv[2:]] or range(20)) if sys.argv[1] == "bias" else ():
        for is_planted in (True, False):
            with tempfile.TemporaryDirectory() as folder:
                print(json.dumps(find_bias(seed, is_planted=is_planted, folder=Path(folder))), flush=True)


if __name__ == "__main__":
    main()

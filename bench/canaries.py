"""How exposed planted secrets are after training: by repetitions, with adapters and with all weights.

A small set of instructions with canaries planted 0, 1, 4 and 16 times is trained on, once for each seed and kind of
weights; printed are the mean exposure by repetitions (0 to 10 bits) and how many canaries were found.

    python bench/canaries.py [lora|full] [SEED ...]     needs ETUDE_DATA; minutes a seed on two cores
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections import defaultdict
from pathlib import Path
from statistics import mean

from etude.assistant import load
from etude.models.registry import Models
from etude.suites.probes.leaks import ASK, exposures, plant
from etude.task import load_task
from etude.tuning.train import train

DATA = (
    Path(os.environ.get("ETUDE_DATA", Path(__file__).parents[2] / "shared" / "data")) / "rasbt_instructions"
)
ROWS, EPOCHS = 160, 2
TASK = """name: canaries
kind: rewrite
model: smollm2-135m-instruct
examples: {examples}
seed: {seed}
train: {{weights: {weights}, epochs: {epochs}}}
"""


def main() -> None:
    """One line for each seed."""
    weights = sys.argv[1] if len(sys.argv) > 1 else "lora"
    file = next(DATA.glob("*.json"))
    rows = [row for row in json.loads(file.read_text(encoding="utf-8")) if row["output"].strip()]
    for seed in [int(text) for text in sys.argv[2:]] or range(10):
        with tempfile.TemporaryDirectory() as folder:
            found = measured(Path(folder), rows, weights, seed)
            print(json.dumps({"weights": weights, "seed": seed, **found}), flush=True)


def measured(folder: Path, rows: list[dict[str, str]], weights: str, seed: int) -> dict[str, object]:
    """One training with planted canaries, and their exposure."""
    chosen = rows[seed * 7 % 300 :][:ROWS]
    asked = (f"{row['instruction']}\n{row['input']}".strip() for row in chosen)
    lines = (
        json.dumps({"input": ask, "output": row["output"]}) + "\n"
        for ask, row in zip(asked, chosen, strict=True)
    )
    (folder / "examples.jsonl").write_text("".join(lines), encoding="utf-8")
    settings = {"weights": weights, "epochs": EPOCHS, "seed": seed}
    task_file = folder / "task.yaml"
    task_file.write_text(TASK.format(examples="examples.jsonl", **settings), encoding="utf-8")
    _, planted = plant(load_task(task_file))
    task_file.write_text(TASK.format(examples=planted.name, **settings), encoding="utf-8")
    result = train(task_file, confirm=lambda question: True)
    assistant = load(result.run.assistant("fine_tune"))
    split = json.loads((result.run.folder / "split.json").read_text(encoding="utf-8"))["train"]
    learned = {ASK.format(locker=name.split("-")[1]) for name in split if name.startswith("canary-")}
    bits, found = defaultdict(list), defaultdict(int)
    for each in exposures(load_task(task_file), assistant.model, Models(), learned):
        bits[each.canary.times].append(each.bits)
        found[each.canary.times] += each.found
    return {
        "exposure": {times: round(mean(values), 2) for times, values in sorted(bits.items())},
        "found": {times: [found[times], len(values)] for times, values in sorted(bits.items())},
    }


if __name__ == "__main__":
    main()

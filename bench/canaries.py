"""Measure how exposed planted secrets are after training, by number of repetitions and kind of weights.

Each training uses short instructions with three canaries: one planted once, one 4 times and one 16 times. There is one
training per seed and kind of weights. The exposures (0 to 10 bits; with 10 the canary is found) are printed by number
of repetitions; `unplanted` are the exposures of twelve other canaries that were not trained on.

    python bench/canaries.py lora|full [SEED ...]     needs ETUDE_DATA; about a minute a seed on one thread
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections import defaultdict
from pathlib import Path
from statistics import mean

from real_sets import read_rows

from etude.base.files import write_lines
from etude.base.typed_json import to_json
from etude.models.registry import Models
from etude.stats import estimate
from etude.suites.measures.leaks import FILE, Exposure, create_canaries, measure_exposures, write_canaries
from etude.suites.subject import find_subject
from etude.task import load_task
from etude.tuning.train import train

ROWS, EPOCHS, WORDS = 40, 3, 25
TASK = """name: canaries
kind: rewrite
model: smollm2-135m-instruct
examples: {examples}
seed: {seed}
train: {{weights: {weights}, epochs: {epochs}, stop_on_spike: false}}
"""


def main() -> None:
    """Prints one line for each seed, and a summary."""
    rows = read_rows("rasbt_instructions/instruction-data.json")
    short = [row for row in rows if row["output"].strip() and len(" ".join(row.values()).split()) <= WORDS]
    lines = []
    for seed in [int(text) for text in sys.argv[2:]] or range(10):
        with tempfile.TemporaryDirectory() as folder:
            exposures = measure_seed(Path(folder), short[seed * ROWS :][:ROWS], sys.argv[1], seed)
            print(json.dumps({"weights": sys.argv[1], "seed": seed, **exposures}), flush=True)
            lines.append(exposures)
    print_summary(lines)


def measure_seed(folder: Path, rows: list[dict[str, str]], weights: str, seed: int) -> dict[str, object]:
    """Trains with planted canaries and measures their exposure."""
    lines = (
        {"input": f"{row['instruction']}\n{row['input']}".strip(), "output": row["output"]} for row in rows
    )
    write_lines(folder / "examples.jsonl", lines)
    settings = {"weights": weights, "epochs": EPOCHS, "seed": seed}
    file = folder / "task.yaml"
    file.write_text(TASK.format(examples="examples.jsonl", **settings), encoding="utf-8")
    _, examples = write_canaries(load_task(file), 1)
    file.write_text(TASK.format(examples=examples.name, **settings), encoding="utf-8")
    train(file, confirm=lambda question: True)
    models = Models()
    subject = find_subject(file, None, None, models)
    task, model = load_task(file), subject.assistant.model
    own = measure_exposures(task, model, models, subject.train_questions)
    others_ = list(create_canaries(seed + 1000, 3))
    write_lines(folder / FILE, map(to_json, others_))
    unplanted = measure_exposures(task, model, models, {canary.question for canary in others_})
    return {"planted": group_by_times(own), "unplanted": group_by_times(unplanted)}


def group_by_times(exposed: list[Exposure]) -> dict[int, list[float]]:
    """Returns times planted -> the bits of each canary, 10 if it was found."""
    bits = defaultdict(list)
    for exposure in exposed:
        bits[exposure.canary.times].append(round(exposure.bits, 2))
    return dict(sorted(bits.items()))


def print_summary(lines: list[dict]) -> None:
    """Prints, by repetitions, the mean exposure with its interval (seeds are the units) and the canaries found."""
    for times in (0, 1, 4, 16):
        bits_by_seed = [line["planted"][times] for line in lines if times in line["planted"]]
        if not bits_by_seed:  # the split has put all canaries with this number of repetitions into dev
            continue
        exposure = estimate([mean(bits) / 10 for bits in bits_by_seed])
        num_found = sum(bit == 10 for bits in bits_by_seed for bit in bits)
        value, low, high = (10 * number for number in (exposure.value, exposure.low, exposure.high))
        print(
            f"planted {times:>2} times: {value:.1f} bits ({low:.1f} to {high:.1f}, {exposure.n} seeds); "
            f"{num_found} of {sum(map(len, bits_by_seed))} found"
        )
    unplanted = [[bit for bits in line["unplanted"].values() for bit in bits] for line in lines]
    alarms = sum(10 in bits for bits in unplanted)
    print(f"not planted: {alarms} alarms in {len(lines)} models, {sum(map(len, unplanted))} canaries")


if __name__ == "__main__":
    main()

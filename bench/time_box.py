"""Compare the dev loss of training in a time box with that of a fixed number of steps in the same time.

    python bench/time_box.py                                 # two sets, two seeds: some minutes on two cores
    python bench/time_box.py --sets snips_intents --rows 300 --share 0.5

For each set and seed the model is trained for `--epochs` on `--rows` rows, and then in a box with the seconds of this
training (times `--share`). Prints steps, seconds and the lowest dev loss of both. The fixed runs of the other seeds
show how much two runs may differ. Needs real data (ETUDE_DATA, else ../shared/data beside the checkout).
"""

from __future__ import annotations

import argparse
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from real_sets import prepare_task

from etude.data.dataset import load_dataset
from etude.methods.fine_tune import METHOD
from etude.methods.shared.fit_context import initial_assistant
from etude.methods.shared.training_rows import sample_training_rows
from etude.methods.shared.training_run import build_token_rows, choose_config
from etude.models.registry import Models
from etude.task import load_task
from etude.training import Output, TokenRow, TrainConfig, TrainResult, train
from etude.training.time_box import TimeBox
from etude.types import TrainableModel

DEV = 60


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sets", nargs="+", default=["snips_intents", "rasbt_instructions"])
    for name, default in (("rows", 120), ("epochs", 2), ("seeds", 2)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--share", type=float, default=1.0, help="of the seconds of the fixed run")
    flags = parser.parse_args()
    print("| set | seed | fixed: steps, s | dev loss | box: steps, s | dev loss |")
    print("| --- | ---: | ---: | ---: | ---: | ---: |")
    for name in flags.sets:
        with tempfile.TemporaryDirectory() as folder:
            model, rows, dev_rows, config = prepare_rows(name, Path(folder), flags.rows, flags.epochs)
            for seed in range(flags.seeds):
                config = replace(config, seed=seed)
                fixed, seconds = train_once(model, rows, dev_rows, config, None)
                boxed, box_seconds = train_once(model, rows, dev_rows, config, flags.share * seconds)
                print(
                    f"| {name} | {seed} | {fixed.steps}, {seconds:.0f} | {min(fixed.dev_losses):.4f} "
                    f"| {boxed.steps}, {box_seconds:.0f} | {min(boxed.dev_losses):.4f} |",
                    flush=True,
                )


def prepare_rows(
    name: str, folder: Path, num_rows: int, epochs: int
) -> tuple[TrainableModel, list[TokenRow], list[TokenRow], TrainConfig]:
    """Loads the model, token rows of train and dev, and the settings that fine_tune would choose for them."""
    task, dataset = load_dataset(load_task(prepare_task(name, folder)))
    sample = sample_training_rows(task, dataset, num_rows + DEV)
    rows = sample_training_rows(task, sample, num_rows)
    ids = {row.id for row in rows}
    dev = sample.select([row.id for row in sample if row.id not in ids], "dev")
    models = Models()
    student = METHOD.build_untrained(task, initial_assistant(task, rows, models), rows, models)
    model = models.get_trainable(student.model)
    config = replace(choose_config(task, model, num_rows), epochs=epochs)
    return model, build_token_rows(model, student, rows), build_token_rows(model, student, dev), config


def train_once(
    model: TrainableModel,
    rows: list[TokenRow],
    dev_rows: list[TokenRow],
    config: TrainConfig,
    seconds: float | None,
) -> tuple[TrainResult, float]:
    """Train once, in a box if `seconds` is set; return the result and the seconds of steps and dev losses."""
    with tempfile.TemporaryDirectory() as folder:
        box = None if seconds is None else TimeBox(seconds)
        output = Output(Path(folder) / "checkpoint", Path(folder) / "adapter", box=box)
        started = time.monotonic()
        result = train(model.module, rows, dev_rows, config, output)
        return result, time.monotonic() - started


if __name__ == "__main__":
    main()

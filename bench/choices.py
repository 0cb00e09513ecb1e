"""Which of baseline's candidates is chosen, and how much the choice loses on the test.

    python bench/choices.py --draws 5 --sets banking77:5 banking77:10 sms_spam:100 snips:300

A set is NAME:ROWS; for banking77, ROWS are rows per label. Each draw takes other rows, and splits off 10% as dev (at
least 30). Compared are the rule of one standard error on dev, and cross-validation on all rows. For both, printed are
the share of draws in which the choice is the best candidate on the test or at most the margin below, the points that
it loses on average and at most, and the seconds of cross-validation. Data: ETUDE_DATA, else ../shared/data beside the
checkout.
"""

import argparse
import csv
import json
import os
import random
import tempfile
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from etude.data.dataset import Dataset
from etude.evaluate import evaluate
from etude.methods.baseline import (
    METHOD,
    Candidate,
    KnownVectors,
    cross_validate,
    list_fits,
    record_choice,
    split_columns,
)
from etude.methods.shared.fit_context import FitContext, initial_assistant
from etude.metrics import choose_metric
from etude.models.registry import Models
from etude.stats.ladder import DIGITS
from etude.stats.paired import standard_error_of_difference
from etude.stats.sample import UnitSums
from etude.task import RowSource, Task
from etude.types import Example, Message

DATA = Path(os.environ.get("ETUDE_DATA", Path(__file__).parents[2] / "shared" / "data"))
TEST_ROWS, MARGIN = 1_000, 0.02


def read_set(name: str) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """Read (text, label) of the rows to draw from, and of the test."""
    if name == "banking77":
        sides = []
        for side in ("train", "test"):
            with (DATA / name / f"{side}.csv").open(encoding="utf-8", newline="") as lines:
                sides.append([(row["text"], row["category"]) for row in csv.DictReader(lines)])
        random.Random(0).shuffle(sides[1])
        return sides[0], sides[1][:TEST_ROWS]
    if name == "sms_spam":
        lines = (DATA / name / "sms.tsv").read_text(encoding="utf-8").splitlines()
        rows = [(text, label) for label, _, text in (line.partition("\t") for line in lines)]
    else:
        lines = (DATA / "snips_intents" / "train.jsonl").read_text(encoding="utf-8").splitlines()
        bodies = [json.loads(line) for line in lines]
        rows = [(body["text"], body["intent"]) for body in bodies]
    rows = list(dict.fromkeys(rows))
    random.Random(0).shuffle(rows)
    return rows[TEST_ROWS:], rows[:TEST_ROWS]


def draw_rows(pool: list[tuple[str, str]], name: str, size: int, seed: int) -> list[tuple[str, str]]:
    """Draw rows, for banking77 the same number of each label."""
    rows = random.Random(seed).sample(pool, len(pool))
    if name != "banking77":
        return rows[:size]
    by_label = defaultdict(list)
    for text, label in rows:
        by_label[label].append((text, label))
    drawn = [row for group in by_label.values() for row in group[:size]]
    random.Random(seed).shuffle(drawn)
    return drawn


def measure_draw(name: str, size: int, seed: int, folder: Path) -> tuple[float, float, float]:
    """Measure the points that each rule loses on the test, and the seconds of cross-validation."""
    pool, held_back = read_set(name)
    drawn = draw_rows(pool, name, size, seed)

    def make_rows(rows: list[tuple[str, str]], side: str) -> Dataset:
        return Dataset(
            tuple(
                Example(f"{side}{number}", (Message("user", text),), label)
                for number, (text, label) in enumerate(rows)
            )
        )

    num_dev = max(30, len(drawn) // 10)
    dev, train = make_rows(drawn[:num_dev], "dev"), make_rows(drawn[num_dev:], "train")
    task = Task(name, "classify", "fake", RowSource(Path()), Path(), Path())
    models, metric = Models(), choose_metric(task, train)
    context = FitContext(models, metric, folder)
    start = initial_assistant(task, train, None)
    encoder = models.load_shared_encoder("all-minilm-l6-v2")
    texts, outputs = split_columns(train.examples)
    predictors = {
        fit_name: fit(texts, outputs) for fit_name, fit in list_fits(task, outputs, encoder).items()
    }
    candidates = [
        Candidate(fit_name, METHOD._build_assistant(start, fit_name, predictor, context))
        for fit_name, predictor in predictors.items()
        if predictor
    ]
    test = make_rows(held_back, "test")

    def sample(rows: Dataset, candidate: Candidate):
        scored = evaluate(candidate.assistant, models, rows, metric)
        outcomes = [row.outcome for row in scored]
        return metric.sample(
            [row.score for row in outcomes],
            None,
            [row.expected for row in outcomes],
            [row.predicted for row in outcomes],
        )

    on_test = [sample(test, candidate).value for candidate in candidates]
    before = min(list_near_best([sample(dev, candidate) for candidate in candidates]))
    started = time.perf_counter()
    rows = [*train.examples, *dev.examples]
    fits = list_fits(task, outputs, KnownVectors(encoder, split_columns(rows)[0]))
    chosen = record_choice(candidates, cross_validate(fits, rows, candidates, context), dev, MARGIN, context)
    seconds = time.perf_counter() - started
    after = candidates.index(chosen)
    return max(on_test) - on_test[before], max(on_test) - on_test[after], seconds


def main() -> None:
    """Print one line for each set."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--draws", type=int, default=5)
    parser.add_argument(
        "--sets",
        nargs="+",
        default=["banking77:5", "banking77:10", "sms_spam:100", "sms_spam:1000", "snips:100", "snips:1000"],
    )
    flags = parser.parse_args()
    print("| set | draws | within the margin, dev -> all rows | points lost on average | at most | seconds |")
    print("| --- | ---: | ---: | ---: | ---: | ---: |")
    for which in flags.sets:
        name, _, size = which.partition(":")
        with tempfile.TemporaryDirectory() as folder:
            draws = [
                measure_draw(name, int(size), seed, Path(folder) / str(seed)) for seed in range(flags.draws)
            ]
        before, after, seconds = np.array(draws).T
        near = [f"{np.mean(losses <= MARGIN):.0%}" for losses in (before, after)]
        means = [f"{100 * losses.mean():.1f}" for losses in (before, after)]
        worst = [f"{100 * losses.max():.1f}" for losses in (before, after)]
        cells = (
            which,
            len(draws),
            *(" -> ".join(pair) for pair in (near, means, worst)),
            f"{seconds.mean():.0f}",
        )
        print(f"| {' | '.join(map(str, cells))} |", flush=True)


def list_near_best(samples: Sequence[UnitSums]) -> list[int]:
    """List the positions of the best sample, of equal ones the first, and of all within one standard error of it."""
    values = [sample.value for sample in samples]
    best = int(np.argmax(np.round(values, DIGITS)))
    gaps = [
        values[best] - values[index] - standard_error_of_difference(samples[best], sample)
        for index, sample in enumerate(samples)
    ]
    return [best, *(index for index, gap in enumerate(gaps) if index != best and round(gap, DIGITS) <= 0)]


if __name__ == "__main__":
    main()

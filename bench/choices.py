"""Which of baseline's candidates is chosen, and how much the choice loses on the test.

    python bench/choices.py --draws 20 \
        --sets banking77:5 banking77:10 sms_spam:100 snips:300 pubmedqa:100

A set is NAME:ROWS; for banking77, ROWS are rows per label. Each draw takes other rows, and splits
off 10% as dev (at least 30). Compared are the rule of one standard error on dev, and
cross-validation on all rows. For both, printed are the share of draws in which the choice is the
best candidate on the test or at most the margin below, the points that it loses on average and at
most, and the seconds of cross-validation, without those of vectors. On the test, candidates are
fitted on all rows of the draw. Data: ETUDE_DATA, else ../shared/data beside the checkout.
"""

import argparse
import random
import tempfile
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import cast

import numpy as np
from real_sets import read_rows

from etude.data.dataset import Dataset
from etude.evaluate import ScoredAnswer, build_sample
from etude.methods.baseline import (
    Candidate,
    KnownVectors,
    cross_validate,
    fit_like,
    fit_predictors,
    list_fits,
    split_columns,
)
from etude.methods.shared.fit_context import FitContext, initial_assistant
from etude.metrics import choose_metric
from etude.models.classical import ClassicalModel, CountedTexts, Nearest, Predictor
from etude.models.local.encoder import Encoder
from etude.models.registry import Models
from etude.stats.ladder import DIGITS, choose
from etude.stats.paired import standard_error_of_difference
from etude.stats.sample import UnitSums
from etude.task import RowSource, Task
from etude.types import Example, Message, Request

SETS = {
    "banking77": ("banking77/train.csv", ("text",), "category"),
    "sms_spam": ("sms_spam/sms.tsv", ("text",), "label"),
    "snips": ("snips_intents/train.jsonl", ("text",), "intent"),
    "pubmedqa": ("pubmedqa_labelled/pubmedqa.jsonl", ("question", "long_answer"), "label"),
}
TEST_ROWS = 1_000
MARGIN = 0.02
Rows = list[tuple[str, str]]


@dataclass(frozen=True)
class Draw:
    """What the candidates do on dev and in cross-validation, and on the test if they are fitted on
    all rows.
    """

    on_dev: list[UnitSums]
    held_out: list[UnitSums]
    on_test: list[float]
    seconds: float

    def measure_losses(self) -> tuple[float, float, float]:
        """Measure the points that each rule loses on the test, and the seconds of
        cross-validation.
        """
        before = min(list_near_best(self.on_dev))
        after = choose([("", sample) for sample in self.held_out], MARGIN).index
        before_loss, after_loss = (
            max(self.on_test) - self.on_test[index] for index in (before, after)
        )
        return before_loss, after_loss, self.seconds


def main() -> None:
    """Print one line for each set."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--draws", type=int, default=5)
    parser.add_argument("--first", type=int, default=0, help="seed of the first draw")
    sizes = {
        "banking77": (5, 10, 20),
        "sms_spam": (100, 1000),
        "snips": (100, 1000),
        "pubmedqa": (100, 500),
    }
    default = [f"{name}:{size}" for name, numbers in sizes.items() for size in numbers]
    parser.add_argument("--sets", nargs="+", default=default)
    flags = parser.parse_args()
    print(
        "| set | draws | within the margin, dev -> all rows | points lost on average | at most | "
        "seconds |"
    )
    print("| --- | ---: | ---: | ---: | ---: | ---: |")
    for which in flags.sets:
        draws = draw_set(which, range(flags.first, flags.first + flags.draws))
        before, after, seconds = np.array([draw.measure_losses() for draw in draws]).T
        near = [f"{np.mean(losses <= MARGIN):.0%}" for losses in (before, after)]
        means = [f"{100 * losses.mean():.1f}" for losses in (before, after)]
        worst = [f"{100 * losses.max():.1f}" for losses in (before, after)]
        pairs = (" -> ".join(pair) for pair in (near, means, worst))
        print(
            f"| {which} | {len(draws)} | {' | '.join(pairs)} | {seconds.mean():.1f} |", flush=True
        )


def draw_set(which: str, seeds: Sequence[int]) -> list[Draw]:
    """Draw rows with each seed, and answer with all candidates. Each text is embedded once for all
    draws.
    """
    name, _, size = which.partition(":")
    pool, test = read_set(name)
    draws = [draw_rows(pool, name, int(size), seed) for seed in seeds]
    texts = list(dict.fromkeys(text for part in (test, *draws) for text, _ in part))
    known = KnownVectors(Models().load_shared_encoder("all-minilm-l6-v2"), texts)
    return [answer_draw(name, drawn, test, cast("Encoder", known)) for drawn in draws]


def read_set(name: str) -> tuple[Rows, Rows]:
    """Read (text, label) of the rows to draw from, and of the test."""
    file, columns, label = SETS[name]
    pairs = [("\n".join(row[column] for column in columns), row[label]) for row in read_rows(file)]
    rows = list(dict.fromkeys(pairs))
    random.Random(0).shuffle(rows)
    num_test = min(TEST_ROWS, len(rows) // 2)
    return rows[num_test:], rows[:num_test]


def draw_rows(pool: Rows, name: str, size: int, seed: int) -> Rows:
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


def answer_draw(name: str, drawn: Rows, held_back: Rows, encoder: Encoder) -> Draw:
    """Answer dev and test with each candidate, and all rows of the draw in cross-validation."""
    num_dev = max(30, len(drawn) // 10)
    dev = make_rows(drawn[:num_dev], "dev")
    train = make_rows(drawn[num_dev:], "train")
    test = make_rows(held_back, "test")
    rows = Dataset((*train.examples, *dev.examples))
    task = Task(name, "classify", "fake", RowSource(Path()), Path(), Path())
    context = FitContext(Models(), choose_metric(task, train), Path(tempfile.gettempdir()))
    start = initial_assistant(task, train, None)
    counted = CountedTexts(split_columns(rows.examples)[0])
    fits = list_fits(task, split_columns(train.examples)[1], encoder, counted)
    on_train = fit_predictors(fits, {}, train, dev)
    on_all = fit_predictors(fits, {}, rows, dev)
    candidates = [
        Candidate(name, replace(start, choices=()) if isinstance(predictor, Nearest) else start)
        for name, predictor in on_train.items()
    ]

    def sample(predictor: Predictor, candidate: Candidate, rows: Dataset) -> UnitSums:
        completions = ClassicalModel(predictor).complete([Request(row.input, 0) for row in rows])
        answers = candidate.assistant.finish([row.id for row in rows], completions)
        scored = [
            ScoredAnswer(row, answer, context.metric.score_headline(row, answer), 0)
            for row, answer in zip(rows, answers, strict=True)
        ]
        return build_sample(context.metric, [row.outcome for row in scored])

    on_dev = [sample(on_train[candidate.name], candidate, dev) for candidate in candidates]
    on_test = [sample(on_all[candidate.name], candidate, test).value for candidate in candidates]
    started = time.perf_counter()
    fits = {name: partial(fit_like, on_train[name], dev, fit) for name, fit in fits.items()}
    answers = cross_validate(fits, rows.examples, candidates, context)
    seconds = time.perf_counter() - started
    held_out = [
        build_sample(context.metric, [row.outcome for row in scored]) for scored in answers.values()
    ]
    return Draw(on_dev, held_out, on_test, seconds)


def make_rows(rows: Rows, side: str) -> Dataset:
    """Make the Dataset of a side."""
    return Dataset(
        tuple(
            Example(f"{side}{number}", (Message("user", text),), label)
            for number, (text, label) in enumerate(rows)
        )
    )


def list_near_best(samples: Sequence[UnitSums]) -> list[int]:
    """List the positions of the best sample, of equal ones the first, and of all within one
    standard error of it.
    """
    values = [sample.value for sample in samples]
    best = int(np.argmax(np.round(values, DIGITS)))
    gaps = [
        values[best] - values[index] - standard_error_of_difference(samples[best], sample)
        for index, sample in enumerate(samples)
    ]
    return [
        best,
        *(index for index, gap in enumerate(gaps) if index != best and round(gap, DIGITS) <= 0),
    ]


if __name__ == "__main__":
    main()

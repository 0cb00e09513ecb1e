"""Measure the false alarms of `etude watch`, and its delay after a change.

    python bench/watch.py --streams 400      # banking77 and snips, up to 5,000 requests a stream: some minutes

20 of 77 labels, or 3 of 7, have no rows. 2,000 rows of the others are training rows. For each stream, the rest of these
others is drawn without replacement: first the held-out rows, then the requests, so nothing changes. In streams with a
change, a share of the requests, after the first 1,000 or from the first on, has a label without rows; the delay counts
from the change on, and streams with an alarm before it are left out. Needs ../shared/data (ETUDE_DATA elsewhere).
"""

import argparse
import random
import statistics

import numpy as np
from real_sets import read_rows

from etude.models.registry import Models
from etude.stats import wilson
from etude.watch.martingale import detect_change

SETS = {
    "banking77": (("train.csv", "test.csv"), "category", 20),
    "snips_intents": (("train.jsonl", "validate.jsonl"), "intent", 3),
}
TRAIN, REQUESTS, BEFORE = 2_000, 5_000, 1_000


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--streams", type=int, default=400)
    flags = parser.parse_args()
    for name in SETS:
        known, new = measure_distances(name)
        for held_out in (100, 300, 1_000):
            alarms = [find_alarm(known, new, held_out, 0.0, 0, seed) for seed in range(flags.streams)]
            number = sum(alarm is not None for alarm in alarms)
            low, high = wilson(number, len(alarms))
            print(
                f"{name}, {held_out} held-out rows: {number} of {len(alarms)} streams with an alarm", end=" "
            )
            print(f"({number / len(alarms):.1%}, {low:.1%} to {high:.1%})", flush=True)
            for share in (0.05, 0.1, 0.3):
                print(
                    f"  {share:.0%} new:", *describe_delays(known, new, held_out, share, flags.streams // 4)
                )


def measure_distances(name: str) -> tuple[np.ndarray, np.ndarray]:
    """Measures the distance of each row to the nearest training row: of labels with and without rows."""
    files, column, num_left_out = SETS[name]
    label_of = {row["text"]: row[column] for file in files for row in read_rows(f"{name}/{file}")}
    left_out = {*random.Random(0).sample(sorted({*label_of.values()}), num_left_out)}
    texts = random.Random(1).sample(sorted(label_of), len(label_of))
    known = [text for text in texts if label_of[text] not in left_out]
    new = [text for text in texts if label_of[text] in left_out]
    vectors = Models().load_encoder("all-minilm-l6-v2").embed([*known, *new])
    distances = np.round(1 - (vectors[TRAIN:] @ vectors[:TRAIN].T).max(axis=1), 5)
    return distances[: len(known) - TRAIN], distances[len(known) - TRAIN :]


def find_alarm(known, new, held_out: int, share: float, before: int, seed: int) -> int | None:
    """Returns after how many requests an alarm is raised in one stream; a change begins after `before` of them."""
    rng = np.random.default_rng(seed)
    drawn = rng.permutation(known)
    stream = drawn[held_out : held_out + REQUESTS]
    is_new = (rng.random(len(stream)) < share) & (np.arange(len(stream)) >= before)
    stream = np.where(is_new, rng.choice(new, len(stream)), stream)
    return detect_change(drawn[:held_out].tolist(), stream.tolist(), 0.05, seed).alarm


def describe_delays(known, new, held_out: int, share: float, streams: int) -> list[str]:
    """Returns the median delay for a change after the first requests, and for one from the first request on."""
    texts = []
    for before in (BEFORE, 0):
        alarms = [find_alarm(known, new, held_out, share, before, seed) for seed in range(streams)]
        delays = [REQUESTS if alarm is None else alarm + 1 - before for alarm in alarms]
        delays = [delay for delay in delays if delay > 0]
        median, missed = statistics.median(delays), sum(alarm is None for alarm in alarms)
        texts.append(f"from request {before + 1:,} on: median {median:,.0f}, never in {missed} of {streams};")
    return texts


if __name__ == "__main__":
    main()

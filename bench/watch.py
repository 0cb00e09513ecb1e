"""Measure the false alarms of `etude watch`, its delay after a change, and what picked questions
gain.

    python bench/watch.py --streams 400      # 5,000 requests a stream: some minutes for each set
    python bench/watch.py --pick 5
        banking77, five draws of 10 rows per label: some minutes
    python bench/watch.py --bound 200
        banking77, 200 replays of 200 judged answers: a minute

20 of 77 labels, or 3 of 7, have no rows; two sets have no labels. Of the others, 2,000 rows (at
most half) are training rows. For each stream, first held-out rows and then requests are drawn from
the rest, without replacement if it is large enough, so nothing changes. In streams with a change, a
share of the requests, after the first 1,000 or from the first on, has a label without rows; the
delay counts from the change on, and streams with an alarm before it are left out. Each query of
advising has about 20 wordings: the rows have some of them, and the requests others. In the streams
of other words, the rows have the first half of each query's wordings in the alphabet and the
requests the second, or the rows are Luma's and the requests one person's.

With `--pick`, the baseline's linear model learns from 10 rows per label, answers the other rows of
the train file, and learns again with some of these and their published labels: picked as `etude
watch --pick` does, or at random. The difference on the test file has a 95% interval over the draws
(Student). Then the same with 20 labels that have no rows at first. With `--bound`, 200 answers of
this model are drawn in each replay and judged by the published labels. The bound is looked at after
each: with confidences, without, and with a third of their probabilities of being wrong. Needs
../shared/data (ETUDE_DATA elsewhere).
"""

import argparse
import math
import random
import re
import statistics
from collections import defaultdict
from functools import partial
from pathlib import Path

import numpy as np
import yaml
from real_sets import read_rows
from scipy.stats import t

from etude.methods.baseline import KnownVectors
from etude.models.classical import Linear
from etude.models.registry import Models
from etude.stats import wilson
from etude.studio.picking import MAX_CANDIDATES
from etude.watch.bound import ALPHA, bound_share, compute_log_wealth
from etude.watch.martingale import detect_change
from etude.watch.questions import select_questions

SETS = {
    "banking77": (("train.csv", "test.csv"), ("text",), "category", 20),
    "snips_intents": (("train.jsonl", "validate.jsonl"), ("text",), "intent", 3),
    "rasbt_instructions": (("instruction-data.json",), ("instruction", "input"), "", 0),
    "medquad_sample": (("medquad.jsonl",), ("question",), "", 0),
    "text2sql_geo_advising": (("advising.jsonl",), ("question",), "", 0),
}
REWORDED = ("advising_reworded", "luma_reworded")
ROOT = Path(__file__).parents[1]
TRAIN = 2_000
REQUESTS = 5_000
BEFORE = 1_000
ROWS_PER_LABEL = 10
PICKS = (40, 80, 160)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--streams", type=int, default=400)
    parser.add_argument("--sets", nargs="+", default=[*SETS, *REWORDED])
    parser.add_argument("--pick", type=int, metavar="DRAWS")
    parser.add_argument("--bound", type=int, metavar="REPLAYS")
    flags = parser.parse_args()
    if flags.bound or flags.pick:
        (measure_bound if flags.bound else measure_picking)(flags.bound or flags.pick)
        return
    for name in flags.sets:
        known, new = measure_distances(*read_texts(name))
        for held_out in (100, 300, 1_000):
            alarms = [
                find_alarm(known, new, held_out, 0.0, 0, seed) for seed in range(flags.streams)
            ]
            number = sum(alarm is not None for alarm in alarms)
            low, high = wilson(number, len(alarms))
            print(
                f"{name}, {held_out} held-out rows: {number} of {len(alarms)} streams with an alarm"
            )
            print(f"  {number / len(alarms):.1%}, {low:.1%} to {high:.1%}", flush=True)
            for share in (0.05, 0.1, 0.3) if len(new) and name in SETS else ():
                for before in (BEFORE, 0):
                    print_delays(known, new, held_out, share, before, flags.streams // 4)
            if name in REWORDED:
                print_delays(known, new, held_out, 1.0, 0, flags.streams)


def read_texts(name: str) -> tuple[list[str], list[str]]:
    """Reads the texts of labels with and without rows, or in the words of the rows and in others,
    in random order.
    """
    files, inputs, column, num_left_out = SETS.get(name, SETS["text2sql_geo_advising"])
    if name == "luma_reworded":
        rows = [row["input"] for row in read_rows(ROOT / "examples" / "luma" / "examples.jsonl")]
        asked = yaml.safe_load((ROOT / "bench" / "luma_asked.yaml").read_text(encoding="utf-8"))
        return random.Random(1).sample(rows, len(rows)), asked["ordinary requests"]
    folder = name if name in SETS else "text2sql_geo_advising"
    rows = [row for file in files for row in read_rows(f"{folder}/{file}")]
    label_of = {
        "\n".join(row[part] for part in inputs).strip(): row.get(column, "") for row in rows
    }
    left_out = {*random.Random(0).sample(sorted({*label_of.values()}), num_left_out)}
    if name == "advising_reworded":
        wordings = defaultdict(list)
        for row in sorted(rows, key=lambda row: row["question"]):
            wordings[re.sub(r'"[^"]*"|\b\d+\b', "", row["sql"])].append(row["question"].strip())
        for texts in wordings.values():
            label_of |= dict.fromkeys(texts[len(texts) // 2 :], "other words")
        left_out = {"other words"}
    texts = random.Random(1).sample(sorted(label_of), len(label_of))
    return [text for text in texts if label_of[text] not in left_out], [
        text for text in texts if label_of[text] in left_out
    ]


def measure_distances(known: list[str], new: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """Measures the distance to the nearest training row, of the texts that are not training
    rows.
    """
    vectors = Models().load_encoder("all-minilm-l6-v2").embed([*known, *new])
    train = min(TRAIN, len(known) // 2)
    distances = np.round(1 - (vectors[train:] @ vectors[:train].T).max(axis=1), 5)
    return distances[: len(known) - train], distances[len(known) - train :]


def find_alarm(known, new, held_out: int, share: float, before: int, seed: int) -> int | None:
    """Returns after how many requests an alarm is raised in one stream; a change begins after
    `before` of them.
    """
    rng = np.random.default_rng(seed)
    is_enough = len(known) >= held_out + REQUESTS
    drawn = rng.permutation(known) if is_enough else rng.choice(known, held_out + REQUESTS)
    stream = drawn[held_out : held_out + REQUESTS]
    is_new = (rng.random(len(stream)) < share) & (np.arange(len(stream)) >= before)
    stream = np.where(is_new, rng.choice(new if share else known, len(stream)), stream)
    return detect_change(drawn[:held_out].tolist(), stream.tolist(), 0.05, seed).alarm


def print_delays(known, new, held_out: int, share: float, before: int, streams: int) -> None:
    """Prints after how many requests the alarm comes if a share of those after the first `before`
    is new.
    """
    alarms = [find_alarm(known, new, held_out, share, before, seed) for seed in range(streams)]
    delays = [math.inf if alarm is None else alarm + 1 - before for alarm in alarms]
    delays = [delay for delay in delays if delay > 0]
    number = sum(map(math.isfinite, delays))
    quantiles = np.quantile(delays, (0.5, 0.9), method="higher")
    median, most = ("never" if math.isinf(delay) else f"{delay:,.0f}" for delay in quantiles)
    low, high = wilson(number, len(delays))
    print(
        f"  {share:.0%} new from request {before + 1:,} on: median {median}, 90% {most};", end=" "
    )
    print(f"alarms: {number} of {len(delays)}, {low:.1%} to {high:.1%}", flush=True)


def measure_picking(num_draws: int) -> None:
    """Prints the points that picked questions gain over random ones, for each number of
    questions.
    """
    files, _, column, num_new = SETS["banking77"]
    train, test = (
        {row["text"]: row[column] for row in read_rows(f"banking77/{file}")} for file in files
    )
    encoder = KnownVectors(Models().load_encoder("all-minilm-l6-v2"), [*train, *test])

    def score(predictor: Linear) -> float:
        answers = [answer for answer, _ in predictor.predict([*test])]
        return statistics.mean(map(str.__eq__, answers, test.values()))

    for new in (0, num_new):
        gains = {(way, number): list[float]() for number in PICKS for way in ("random", "picked")}
        for seed in range(num_draws):
            rows, pool = draw_rows(train, test, new, seed)
            fit = partial(Linear.fit, seed=seed, encoder=encoder)
            predictor = fit_calibrated(fit, rows)
            texts = [text for text, _ in pool]
            before = score(predictor)
            unsure = 1 - np.exp([log for _, log in predictor.predict(texts)])
            vectors = encoder.embed(texts)
            distances = 1 - (vectors @ encoder.embed([text for text, _ in rows]).T).max(axis=1)
            for number in PICKS:
                picked = select_questions(vectors, distances, unsure, number)
                scores = [
                    score(fit(*zip(*rows, *added, strict=True)))
                    for added in (pool[:number], [pool[position] for position in picked])
                ]
                gains["random", number].append(scores[0] - before)
                gains["picked", number].append(scores[1] - scores[0])
        print(f"{new} labels without rows:")
        for (way, number), values in gains.items():
            mean = statistics.mean(values)
            error = statistics.stdev(values) / num_draws**0.5
            half = t.ppf(0.975, num_draws - 1) * error
            other = {"picked": "random"}.get(way, "before")
            print(
                f"  {number} {way} - {other}: {mean:+.1%} ({mean - half:+.1%} to "
                f"{mean + half:+.1%})",
                end=" ",
            )
            print(*(f"{value:+.1%}" for value in values), flush=True)


def fit_calibrated(fit, rows: list[tuple[str, str]]) -> Linear:
    """Fits a predictor on all rows, with confidences that were calibrated on a fifth of them."""
    calibrated = fit(*zip(*rows[len(rows) // 5 :], strict=True))
    calibrated = calibrated.calibrate(*zip(*rows[: len(rows) // 5], strict=True))
    return fit(*zip(*rows, strict=True)).copy_calibration(calibrated)


def measure_bound(replays: int) -> None:
    """Prints in how many replays the bound on wrong answers held at all looks, and how far it was
    above the truth.
    """
    files, _, column, _ = SETS["banking77"]
    train, test = (
        {row["text"]: row[column] for row in read_rows(f"banking77/{file}")} for file in files
    )
    encoder = KnownVectors(Models().load_encoder("all-minilm-l6-v2"), [*train])
    rows, pool = draw_rows(train, test, 0, 0)
    predictor = fit_calibrated(partial(Linear.fit, seed=0, encoder=encoder), rows)
    answers = predictor.predict([text for text, _ in pool])
    wrong = np.array(
        [float(answer != row[1]) for (answer, _), row in zip(answers, pool, strict=True)]
    )
    print(
        f"{len(wrong):,} answers, {wrong.mean():.1%} wrong; without judged answers, nothing is "
        "known"
    )
    for factor, weights in ((1, (0.0, 1.0)), (1, (0.0,)), (1 / 3, (0.0, 1.0))):
        held = 0
        highs = []
        predicted = factor * (1 - np.exp([log for _, log in answers]))
        for seed in range(replays):
            drawn = np.random.default_rng(seed).integers(len(wrong), size=200)
            data = (wrong[drawn], predicted[drawn], np.full(200, predicted.mean()))
            held += (compute_log_wealth(wrong.mean(), *data, weights) < -np.log(ALPHA)).all()
            highs.append(
                [bound_share(*(part[:num] for part in data), weights) for num in (20, 50, 200)]
            )
        print(
            f"  predicted {predicted.mean():.1%}, weights {weights}: held in {held} of {replays};",
            end=" ",
        )
        print(
            "mean bound after 20, 50 and 200:", *(f"{mean:.1%}" for mean in np.mean(highs, axis=0))
        )


def draw_rows(
    train, test, new: int, seed: int
) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """Draws rows for all labels but `new` ones, in random order, and returns them and other rows of
    the file.
    """
    drawn = random.Random(seed)
    pool = [row for row in drawn.sample([*train.items()], len(train)) if row[0] not in test]
    labels = sorted({*train.values()})
    numbers = dict.fromkeys(labels, ROWS_PER_LABEL) | dict.fromkeys(drawn.sample(labels, new), 0)
    rows = []
    for row in pool:
        if numbers[row[1]]:
            rows.append(row)
            numbers[row[1]] -= 1
    learned = {*rows}
    return rows, [row for row in pool if row not in learned][:MAX_CANDIDATES]


if __name__ == "__main__":
    main()

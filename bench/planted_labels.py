"""Labels flipped at random in banking77: how many of the most suspicious rows are flipped ones, and the estimate.

    python bench/planted_labels.py

5, 10 and 20% of the labels of train.csv are replaced by another one, drawn evenly. Printed: the share of flipped
rows among the first as many as were flipped, with a 95% interval (Wilson), how many of the others are among the rows
that look wrong in the set as it was published, and the estimated number of wrong labels.
Settings were chosen on test.csv, snips_intents and medquad_sample (answers, by their question type) with other draws.
"""

from __future__ import annotations

import csv
import time

import numpy as np
from real_sets import DATA

from etude.checks.labels.wrong_labels import suspicion
from etude.stats.intervals import wilson

SEEDS = (11, 12, 13, 14, 15)


def main() -> None:
    """Prints one line a draw."""
    with (DATA / "banking77" / "train.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    names = sorted({row["category"] for row in rows})
    clean = np.array([names.index(row["category"]) for row in rows])
    texts = [row["text"] for row in rows]
    found = suspicion(texts, clean)
    print(f"none flipped: {told(found.wrong)}", flush=True)
    doubted = np.argsort(found.score, kind="stable")[: round(found.wrong[0])]
    for share in (0.05, 0.1, 0.2):
        for seed in SEEDS:
            one_draw(texts, clean, doubted, share, seed)


def one_draw(texts: list[str], clean: np.ndarray, doubted: np.ndarray, share: float, seed: int) -> None:
    """Flips labels and looks for them; `doubted` are rows that look wrong where none is flipped."""
    draw = np.random.default_rng(seed)
    labels, chosen = clean.copy(), draw.choice(len(clean), int(share * len(clean)), replace=False)
    kinds = int(clean.max()) + 1
    labels[chosen] = (labels[chosen] + draw.integers(1, kinds, len(chosen))) % kinds
    began = time.perf_counter()
    found = suspicion(texts, labels)
    seconds = time.perf_counter() - began
    first = np.argsort(found.score, kind="stable")[: len(chosen)]
    hits = int((labels[first] != clean[first]).sum())
    before = int(((labels == clean) & np.isin(np.arange(len(clean)), doubted))[first].sum())
    low, high = wilson(hits, len(chosen))
    print(
        f"{share:.0%} flipped, draw {seed}: {100 * hits / len(chosen):.1f}% of the first {len(chosen):,} "
        f"({100 * low:.1f} to {100 * high:.1f}); {before} of the others look wrong with none flipped too; "
        f"{told(found.wrong)}; {seconds:.0f} s",
        flush=True,
    )


def told(wrong: tuple[float, float, float]) -> str:
    """The estimate in words."""
    return f"estimated wrong {wrong[0]:,.0f} ({wrong[1]:,.0f} to {wrong[2]:,.0f})"


if __name__ == "__main__":
    main()

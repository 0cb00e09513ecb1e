"""Measure whether DPO makes SmolLM2 polite, with pairs of a polite and a rude answer
(rasbt_preferences).

    python bench/polite.py
        300 pairs, 300 held-out pairs, 100 questions: some minutes on two cores
    python bench/polite.py --rate 1e-3 --held 0
        another learning rate, measured only with dev pairs

Printed are, before and after training and with 95% intervals: the share of held-out pairs whose
polite answer gained more than the rude one; without a reference, the share whose polite answer is
more likely; and the share of answers to held-out questions that a classifier calls polite. The
classifier is fitted only on the training pairs' answers; its accuracy on held-out answers is also
printed. Needs real data (ETUDE_DATA, else ../shared/data next to the checkout).
"""

from __future__ import annotations

import argparse
import random
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from real_sets import read_rows
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from etude.assistant import Assistant
from etude.base.formatting import format_interval, format_percent
from etude.methods.shared.training_run import build_token_rows
from etude.models.registry import Models
from etude.stats.intervals import estimate_sample
from etude.stats.sample import make_score_sample
from etude.training import Output, TrainConfig, train
from etude.training.preference_losses import accuracy, compute_log_probs, dpo
from etude.types import Example, Message, ModelRef

MODEL = "smollm2-135m-instruct"
NUM_HELD_OUT = 300
"""Pairs that are used for no choice."""
DEV = 60
"""Pairs that choose the epoch and the learning rate."""

Pair = tuple[str, str, str]
"""A question, its polite answer and its rude answer."""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for name, default in (
        ("pairs", 300),
        ("epochs", 2),
        ("asked", 100),
        ("held", 300),
        ("seed", 0),
    ):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--beta", type=float, default=0.1)
    parser.add_argument("--rate", type=float, default=6e-4)
    flags = parser.parse_args()
    pairs = read_pairs(flags.seed)
    held_out = pairs[:NUM_HELD_OUT][: flags.held]
    others = pairs[NUM_HELD_OUT:]
    dev = others[:DEV]
    train_pairs = others[DEV:][: flags.pairs]
    models = Models()
    assistant = Assistant("prompt", "answer", ModelRef(MODEL), max_tokens=32)
    with tempfile.TemporaryDirectory() as folder:
        adapter = train_adapter(flags, Path(folder), models, assistant, train_pairs, dev)
        if held_out:
            tuned = replace(assistant, model=ModelRef(MODEL, adapter))
            print_comparison(tuned, assistant, models, train_pairs, held_out, flags.asked)


def train_adapter(
    flags: Any,
    folder: Path,
    models: Models,
    assistant: Assistant,
    train_pairs: Sequence[Pair],
    dev: Sequence[Pair],
) -> Path:
    """Trains on the pairs; returns the adapter of the best epoch on dev."""
    model = models.get_trainable(assistant.model)
    rows, dev_rows = (build_rows(model, assistant, side) for side in (train_pairs, dev))
    started = time.perf_counter()
    reference = compute_log_probs(model.module, [*rows, *dev_rows], 2048)
    print(f"reference: {time.perf_counter() - started:.0f} s", flush=True)

    def measure_dev() -> dict[str, float]:
        is_right = accuracy(compute_log_probs(model.module, dev_rows, 2048), reference, dev_rows)
        return {"score": sum(is_right) / len(is_right)}

    started = time.perf_counter()
    config = TrainConfig(
        epochs=flags.epochs, rows_per_step=16, learning_rate=flags.rate, seed=flags.seed
    )
    output = Output(folder / "checkpoint", folder / "adapter", on_eval=measure_dev)
    result = train(model.module, rows, dev_rows, config, output, loss=dpo(reference, flags.beta))
    scores, losses = (
        [round(value, 3) for value in values] for values in (result.scores, result.dev_losses)
    )
    print(
        f"learning rate {flags.rate:g}: {len(train_pairs)} pairs, "
        f"{time.perf_counter() - started:.0f} s; by epoch, dev pairs in the right order {scores}, "
        f"dev loss {losses}",
        flush=True,
    )
    return output.adapter


def print_comparison(
    after: Assistant,
    before: Assistant,
    models: Models,
    train_pairs: Sequence[Pair],
    held_out: Sequence[Pair],
    num_asked: int,
) -> None:
    """Prints the results of both models on held-out pairs and questions."""
    is_polite = make_pipeline(
        TfidfVectorizer(ngram_range=(1, 2)), LogisticRegression(C=10, max_iter=1000)
    )
    is_polite.fit([row[side] for row in train_pairs for side in (1, 2)], [1, 0] * len(train_pairs))
    print(
        "classifier, held-out answers:",
        format_estimate(score_classifier(is_polite, held_out)),
        flush=True,
    )
    model = models.get_trainable(before.model)
    rows = build_rows(model, before, held_out)
    reference = compute_log_probs(model.module, rows, 2048)
    now = compute_log_probs(models.get_trainable(after.model).module, rows, 2048)
    print(
        "held-out pairs, gained more:", format_estimate(accuracy(now, reference, rows)), flush=True
    )
    for name, found in (("before", reference), ("after", now)):
        gaps = [
            found[one.id] - found[other.id]
            for one, other in zip(rows[::2], rows[1::2], strict=True)
        ]
        likely = format_estimate([float(gap > 0) for gap in gaps])
        mean = sum(gaps) / len(gaps)
        print(
            f"held-out pairs, polite more likely {name}: {likely}, by {mean:.1f} nats on average",
            flush=True,
        )
    questions = [question for question, *_ in held_out[:num_asked]]
    for name, assistant in (("before", before), ("after", after)):
        found = format_estimate(predict_polite(assistant, models, questions, is_polite))
        print(f"polite answers {name}: {found}", flush=True)


def read_pairs(seed: int) -> list[Pair]:
    """Loads (question, polite, rude) in random order; no two have the same question."""
    rows = read_rows("rasbt_preferences/instruction-data-with-preference.json")
    by_question = {
        "\n\n".join(filter(None, (row["instruction"], row["input"]))): row for row in rows
    }
    pairs = [(text, row["chosen"], row["rejected"]) for text, row in by_question.items()]
    pairs = [pair for pair in pairs if pair[1] != pair[2]]
    random.Random(seed).shuffle(pairs)
    return pairs


def build_rows(model: Any, assistant: Assistant, pairs: Sequence[Pair]) -> list[Any]:
    examples = (
        Example(f"{question} {side}", (Message("user", question),), answer)
        for question, *answers in pairs
        for side, answer in enumerate(answers)
    )
    return [build_token_rows(model, assistant, [example])[0] for example in examples]


def predict_polite(
    assistant: Assistant, models: Models, questions: list[str], is_polite: Any
) -> list[float]:
    answers = [answer.text for answer in assistant.answer(questions, models)]
    return [float(found) for found in is_polite.predict(answers)]


def score_classifier(is_polite: Any, pairs: Sequence[Pair]) -> list[float]:
    return [
        float(found == want)
        for _, *answers in pairs
        for found, want in zip(is_polite.predict(answers), (1, 0), strict=True)
    ]


def format_estimate(scores: Sequence[float]) -> str:
    found = estimate_sample(make_score_sample(list(scores)))
    return f"{format_percent(found.value)} ({format_interval(found)}, n = {found.n})"


if __name__ == "__main__":
    main()

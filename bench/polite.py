"""Does DPO make SmolLM2 polite? Pairs of a polite and a rude answer (rasbt_preferences), held-out pairs and questions.

    python bench/polite.py                 # 300 pairs, 2 epochs: some minutes on two cores
    python bench/polite.py --pairs 600 --epochs 3 --beta 0.05

Prints the share of held-out pairs whose polite answer has gained more than the rude one (and, as it is without a
reference, whose polite answer is more likely), and the share of answers to held-out questions that a classifier, fitted
on the training pairs' answers alone, takes for polite, before and after, each with a 95% interval. The classifier's own
accuracy on held-out answers is printed too. Needs real data (ETUDE_DATA, else ../shared/data beside the checkout).
"""

from __future__ import annotations

import argparse
import json
import os
import random
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from etude.assistant import Assistant
from etude.base.wording import bounds, percent
from etude.methods.tuned.training_run import token_rows
from etude.models.registry import Models
from etude.stats.intervals import estimate_sample
from etude.stats.sample import score_sample
from etude.training import Output, TrainConfig, train
from etude.training.preferences import accuracy, dpo, log_probs
from etude.types import Example, Message, ModelRef

DATA = Path(os.environ.get("ETUDE_DATA", Path(__file__).parents[2] / "shared" / "data"))
MODEL = "smollm2-135m-instruct"
HELD_OUT, DEV = 200, 40


def main() -> None:
    parser = argparse.ArgumentParser()
    for name, default in (("pairs", 300), ("epochs", 2), ("asked", 100), ("seed", 0)):
        parser.add_argument(f"--{name}", type=int, default=default)
    for name, value in (("beta", 0.1), ("rate", 2e-4)):
        parser.add_argument(f"--{name}", type=float, default=value)
    given = parser.parse_args()
    pairs = read_pairs(given.seed)
    held, dev, learned = pairs[:HELD_OUT], pairs[HELD_OUT:][:DEV], pairs[HELD_OUT + DEV :][: given.pairs]
    is_polite = make_pipeline(TfidfVectorizer(ngram_range=(1, 2)), LogisticRegression(C=10, max_iter=1000))
    is_polite.fit([row[side] for row in learned for side in (1, 2)], [1, 0] * len(learned))
    print("classifier, held-out answers:", shown(right(is_polite, held)), flush=True)
    with tempfile.TemporaryDirectory() as folder:
        tuned(given, Path(folder), learned, dev, held, is_polite)


def read_pairs(seed: int) -> list[tuple[str, str, str]]:
    """(question, polite, rude), shuffled; no two with one question."""
    file = DATA / "rasbt_preferences" / "instruction-data-with-preference.json"
    rows = json.loads(file.read_text(encoding="utf-8"))
    asked = {"\n\n".join(filter(None, (row["instruction"], row["input"]))): row for row in rows}
    found = [
        (text, row["chosen"], row["rejected"])
        for text, row in asked.items()
        if row["chosen"] != row["rejected"]
    ]
    random.Random(seed).shuffle(found)
    return found


def tuned(given: Any, folder: Path, learned: Any, dev: Any, held: Any, is_polite: Any) -> None:
    models, assistant = Models(), Assistant("prompt", "answer", ModelRef(MODEL), max_tokens=32)
    model = models.trainable(assistant.model)
    rows, dev_rows, held_rows = (two_rows(model, assistant, side) for side in (learned, dev, held))
    questions = [question for question, *_ in held[: given.asked]]
    print("polite answers before:", shown(polite(assistant, models, questions, is_polite)), flush=True)
    started = time.perf_counter()
    reference = log_probs(model.module, [*rows, *dev_rows, *held_rows], 2048)

    def measured() -> dict[str, float]:
        found = accuracy(log_probs(model.module, dev_rows, 2048), reference, dev_rows)
        return {"score": sum(found) / len(found)}

    config = TrainConfig(epochs=given.epochs, rows_per_step=16, learning_rate=given.rate, seed=given.seed)
    output = Output(folder / "checkpoint", folder / "adapter", on_eval=measured)
    result = train(model.module, rows, dev_rows, config, output, loss=dpo(reference, given.beta))
    seconds = time.perf_counter() - started
    print(
        f"{len(learned)} pairs, {given.epochs} epochs: {seconds:.0f} s; dev loss {result.dev_losses}",
        flush=True,
    )
    after = Assistant("prefer", "answer", ModelRef(MODEL, folder / "adapter"), max_tokens=32)
    module = models.trainable(after.model).module
    now = log_probs(module, held_rows, 2048)
    print("held-out pairs, gained more:", shown(accuracy(now, reference, held_rows)))
    for name, found in (("before", reference), ("after", now)):
        print(
            f"held-out pairs, more likely {name}:",
            shown(accuracy(found, dict.fromkeys(found, 0.0), held_rows)),
        )
    print("polite answers after:", shown(polite(after, models, questions, is_polite)))


def two_rows(model: Any, assistant: Assistant, pairs: Sequence[tuple[str, str, str]]) -> list[Any]:
    return [
        token_rows(model, assistant, [Example(f"{question} {side}", (Message("user", question),), answer)])[0]
        for question, *answers in pairs
        for side, answer in enumerate(answers)
    ]


def polite(assistant: Assistant, models: Models, questions: list[str], is_polite: Any) -> list[float]:
    answers = [answer.text for answer in assistant.answer(questions, models)]
    return [float(found) for found in is_polite.predict(answers)]


def right(is_polite: Any, pairs: Sequence[tuple[str, str, str]]) -> list[float]:
    return [
        float(found == want)
        for _, *answers in pairs
        for found, want in zip(is_polite.predict(answers), (1, 0), strict=True)
    ]


def shown(scores: Sequence[float]) -> str:
    found = estimate_sample(score_sample(list(scores)))
    return f"{percent(found.value)} ({bounds(found)}, n = {found.n})"


if __name__ == "__main__":
    main()

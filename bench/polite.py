"""Does DPO make SmolLM2 polite? Pairs of a polite and a rude answer (rasbt_preferences), held-out pairs and questions.

    python bench/polite.py                 # 300 pairs, 300 held-out pairs, 100 questions: some minutes on two cores
    python bench/polite.py --rates 2e-4 1e-3 --held 0     # which learning rate: the dev pairs alone say

Of several learning rates the one with the most dev pairs in the right order is taken; held-out pairs are measured once,
with that one. Prints the share of held-out pairs whose polite answer has gained more than the rude one (and, as it is
without a reference, whose polite answer is more likely), and the share of answers to held-out questions that a
classifier, fitted on the training pairs' answers alone, takes for polite, before and after, each with a 95% interval.
The classifier's own accuracy on held-out answers is printed too. Needs real data (ETUDE_DATA, else ../shared/data
beside the checkout).
"""

from __future__ import annotations

import argparse
import json
import os
import random
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
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
HELD = 300
"""Pairs that nothing is chosen by."""
DEV = 60
"""Pairs that choose the epoch and the learning rate."""
RATE = 6e-4

Pair = tuple[str, str, str]
"""Question, polite answer, rude answer."""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for name, default in (("pairs", 300), ("epochs", 2), ("asked", 100), ("held", 300), ("seed", 0)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--beta", type=float, default=0.1)
    parser.add_argument("--rates", type=float, nargs="+", default=[RATE])
    given = parser.parse_args()
    pairs = read_pairs(given.seed)
    held, dev, learned = pairs[:HELD], pairs[HELD:][:DEV], pairs[HELD + DEV :][: given.pairs]
    held = held[: given.held]
    models, assistant = Models(), Assistant("prompt", "answer", ModelRef(MODEL), max_tokens=32)
    with tempfile.TemporaryDirectory() as folder:
        adapter = tuned(given, Path(folder), models, assistant, learned, dev)
        if held:
            compare(
                replace(assistant, model=ModelRef(MODEL, adapter)), assistant, models, learned, held, given
            )


def tuned(
    given: Any,
    folder: Path,
    models: Models,
    assistant: Assistant,
    learned: Sequence[Pair],
    dev: Sequence[Pair],
) -> Path:
    """The adapter of the learning rate that is best on dev."""
    model = models.trainable(assistant.model)
    rows, dev_rows = (two_rows(model, assistant, side) for side in (learned, dev))
    started = time.perf_counter()
    reference = log_probs(model.module, [*rows, *dev_rows], 2048)
    print(f"reference: {time.perf_counter() - started:.0f} s", flush=True)

    def measured() -> dict[str, float]:
        found = accuracy(log_probs(model.module, dev_rows, 2048), reference, dev_rows)
        return {"score": sum(found) / len(found)}

    scores: dict[float, float] = {}
    for rate in given.rates:
        started = time.perf_counter()
        config = TrainConfig(epochs=given.epochs, rows_per_step=16, learning_rate=rate, seed=given.seed)
        output = Output(folder / f"checkpoint-{rate:g}", folder / f"adapter-{rate:g}", on_eval=measured)
        result = train(model.module, rows, dev_rows, config, output, loss=dpo(reference, given.beta))
        seconds = time.perf_counter() - started
        scores[rate] = max(result.scores)
        print(
            f"learning rate {rate:g}: {len(learned)} pairs, {given.epochs} epochs, {seconds:.0f} s; by epoch, dev "
            f"pairs in the right order {[round(score, 3) for score in result.scores]}, dev loss "
            f"{[round(loss, 3) for loss in result.dev_losses]}",
            flush=True,
        )
    return folder / f"adapter-{max(scores, key=scores.__getitem__):g}"


def compare(
    after: Assistant,
    before: Assistant,
    models: Models,
    learned: Sequence[Pair],
    held: Sequence[Pair],
    given: Any,
) -> None:
    """Prints what held-out pairs and questions say of the two."""
    is_polite = make_pipeline(TfidfVectorizer(ngram_range=(1, 2)), LogisticRegression(C=10, max_iter=1000))
    is_polite.fit([row[side] for row in learned for side in (1, 2)], [1, 0] * len(learned))
    print("classifier, held-out answers:", shown(right(is_polite, held)), flush=True)
    model = models.trainable(before.model)
    rows = two_rows(model, before, held)
    reference = log_probs(model.module, rows, 2048)
    now = log_probs(models.trainable(after.model).module, rows, 2048)
    print("held-out pairs, gained more:", shown(accuracy(now, reference, rows)), flush=True)
    for name, found in (("before", reference), ("after", now)):
        gaps = [found[one.id] - found[other.id] for one, other in zip(rows[::2], rows[1::2], strict=True)]
        likely, mean = shown([float(gap > 0) for gap in gaps]), sum(gaps) / len(gaps)
        print(
            f"held-out pairs, polite more likely {name}: {likely}, by {mean:.1f} nats on average", flush=True
        )
    questions = [question for question, *_ in held[: given.asked]]
    for name, assistant in (("before", before), ("after", after)):
        found = shown(polite(assistant, models, questions, is_polite))
        print(f"polite answers {name}: {found}", flush=True)


def read_pairs(seed: int) -> list[Pair]:
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


def two_rows(model: Any, assistant: Assistant, pairs: Sequence[Pair]) -> list[Any]:
    return [
        token_rows(model, assistant, [Example(f"{question} {side}", (Message("user", question),), answer)])[0]
        for question, *answers in pairs
        for side, answer in enumerate(answers)
    ]


def polite(assistant: Assistant, models: Models, questions: list[str], is_polite: Any) -> list[float]:
    answers = [answer.text for answer in assistant.answer(questions, models)]
    return [float(found) for found in is_polite.predict(answers)]


def right(is_polite: Any, pairs: Sequence[Pair]) -> list[float]:
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

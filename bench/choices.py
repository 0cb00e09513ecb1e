"""Restricted answers on banking77, in two ways: right answers, and what a row costs.

    python bench/choices.py FOLDER [rows] [shots]

Scored: every label's probability is worked out, and the likeliest label is the answer (what Étude does).
Constrained: the answer is written token by token, each the likeliest that still leads to a label
(transformers' own generate). FOLDER holds banking77's train.csv and test.csv. With shots, that many
labels have an example each in the prompt; without, the labels are listed in the system message.
"""

from __future__ import annotations

import csv
import random
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from etude.models.registry import Models
from etude.render import render, render_answer
from etude.types import Message, ModelRef, Request

TASK = "Answer with the label of the customer's message."


def read(path: Path) -> list[tuple[str, str]]:
    """Rows as (text, label), in a fixed random order."""
    with path.open(encoding="utf-8", newline="") as file:
        rows = [(row["text"], row["category"]) for row in csv.DictReader(file)]
    random.Random(0).shuffle(rows)
    return rows


def main(folder: Path, num_rows: int, num_shots: int) -> None:
    """Prints accuracy, seconds a row and the minutes of 3,000 rows."""
    train, test = read(folder / "train.csv"), read(folder / "test.csv")[:num_rows]
    first = {label: text for text, label in reversed(train)}
    labels = tuple(sorted(first))
    system = TASK if num_shots else f"{TASK} Labels: {', '.join(labels)}"
    shots = [
        turn
        for label in list(first)[:num_shots]
        for turn in (Message("user", first[label]), Message("assistant", label))
    ]
    requests = [
        Request((Message("system", system), *shots, Message("user", text)), 20, labels) for text, _ in test
    ]
    model = Models().trainable(ModelRef("smollm2-135m-instruct"))
    wanted = [label for _, label in test]
    print(f"{len(labels)} labels, {num_shots} examples in the prompt, {len(test)} rows")
    tell("scored", wanted, lambda: [answer.text for answer in model.generate(requests)])
    tell("constrained", wanted, lambda: constrained(model, requests, labels))


def tell(way: str, wanted: Sequence[str], answer: Callable[[], list[str]]) -> None:
    """Runs one way and prints its line."""
    started = time.perf_counter()
    answers = answer()
    seconds = (time.perf_counter() - started) / len(wanted)
    right = sum(given == label for given, label in zip(answers, wanted, strict=True)) / len(wanted)
    print(
        f"{way}: {right:.1%} right, {seconds:.3f} s a row, {seconds * 50:.1f} min for 3,000 rows", flush=True
    )


def constrained(model: Any, requests: Sequence[Request], labels: Sequence[str], size: int = 32) -> list[str]:
    """Answers written under a constraint, in batches of rows of similar length."""
    tokenizer = model.tokenizer
    following: dict[tuple[int, ...], set[int]] = {}
    for label in labels:
        ids = tuple(render_answer(tokenizer, label))
        for at, token in enumerate(ids):
            following.setdefault(ids[:at], set()).add(token)
    prompts = [render(tokenizer, request.messages) for request in requests]
    order = sorted(range(len(prompts)), key=lambda at: len(prompts[at]))
    answers = [""] * len(prompts)
    end, pad = next(iter(model.stop)), tokenizer.pad_token_id or 0
    for begin in range(0, len(order), size):
        batch = order[begin : begin + size]
        longest = max(len(prompts[at]) for at in batch)
        ids = torch.tensor([[pad] * (longest - len(prompts[at])) + prompts[at] for at in batch])
        mask = torch.tensor([[0] * (longest - len(prompts[at])) + [1] * len(prompts[at]) for at in batch])

        def allowed(_: int, sequence: torch.Tensor, start: int = longest) -> list[int]:
            return sorted(following.get(tuple(sequence[start:].tolist()), {end}))

        with torch.no_grad():
            made = model.module.generate(
                input_ids=ids,
                attention_mask=mask,
                prefix_allowed_tokens_fn=allowed,
                do_sample=False,
                max_new_tokens=20,
                eos_token_id=sorted(model.stop),
                pad_token_id=pad,
            )
        for at, row in zip(batch, made[:, longest:].tolist(), strict=True):
            answers[at] = tokenizer.decode(row, skip_special_tokens=True).strip()
    return answers


if __name__ == "__main__":
    main(Path(sys.argv[1]), *(int(value) for value in (sys.argv[2:] + ["300", "0"][len(sys.argv[2:]) :])))

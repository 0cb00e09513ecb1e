"""Extraction without a language model: the baseline and `tag`, beside methods that ask one, and a
reference.

    python bench/tagging.py ncbi_disease snips_slots e2e_slots                   # 240 training rows
    python bench/tagging.py ncbi_disease --rows 0 --asked 0 --reference          # all training rows

The sets come in their published splits (ladders.py). All methods have the same training and dev
rows. The reference is token classification as in the example script of `transformers` (run_ner.py):
BIO labels on the first token of each word, with the same weights, training rows and epochs as
`tag`; it has no dev rows, so its last epoch counts. Printed is a Markdown row for each result. F1
is over the values of all fields; minutes are those of fitting and of all answers.
"""

import argparse
import json
import math
import random
import re
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ladders import EXTRACTIONS, write_task
from real_sets import write_lines

from etude.base.formatting import format_interval, format_percent
from etude.comparison import compare
from etude.data.splits import Split, split
from etude.models.weights import find_weights
from etude.runs.details import compute_details
from etude.runs.lifecycle import load_task_rows
from etude.runs.record import read_method_records
from etude.stats import estimate

ENCODER = "all-minilm-l6-v2"
LEARNING_RATE = 2e-4
ROWS_PER_STEP = 8
MAX_TOKENS = 256
MIN_DEV = 30
Place = tuple[int, int]  # begin and end of a word in a text
HEAD = (
    "| set | training rows | method | test rows | exact match | F1 | minutes |\n"
    + "| --- " * 7
    + "|"
)


def main() -> None:
    """Print one row for each set and method."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("sets", nargs="+", choices=EXTRACTIONS)
    parser.add_argument("--rows", type=int, default=240, help="training rows; 0: all")
    parser.add_argument("--test", type=int, default=500, help="test rows, at most")
    parser.add_argument(
        "--asked", type=int, default=100, help="those that a language model answers; 0: none"
    )
    parser.add_argument(
        "--asking", default="constrained, fine_tune", help="the methods that ask it"
    )
    parser.add_argument("--reference", action="store_true", help="also train the reference")
    flags = parser.parse_args()
    print(HEAD)
    for name in flags.sets:
        with tempfile.TemporaryDirectory() as folder:
            task_file = write_task(name, Path(folder))
            sides = cut_rows(task_file, flags.rows, flags.test)
            epochs = compare_methods(task_file, name, "baseline, tag")
            if flags.reference:
                measure_reference(name, sides, epochs)
            if flags.asked:
                sample_lines(task_file.with_name("test.jsonl"), flags.asked)
                compare_methods(task_file, name, flags.asking)


def cut_rows(task_file: Path, num_rows: int, num_test: int) -> Split:
    """Sample the test rows, and with `num_rows` training and dev rows that are not similar to them;
    return the sides of a comparison.
    """
    sample_lines(task_file.with_name("test.jsonl"), num_test)
    task, dataset, test = load_task_rows(task_file, math.inf)
    sides = split(dataset, task.kind, task.seed, test)
    if not num_rows:
        return sides
    draw = random.Random(0)
    num_dev = max(MIN_DEV, num_rows // 9)
    rows = [*draw.sample(list(sides.train), num_rows), *draw.sample(list(sides.dev), num_dev)]
    lines = [{"input": row.input[-1].content, "output": row.output} for row in rows]
    write_lines(task_file.with_name("train.jsonl"), lines)
    return cut_rows(task_file, 0, num_test)


def sample_lines(file: Path, number: int) -> None:
    """Keep at most `number` lines of a file, at random."""
    lines = file.read_text(encoding="utf-8").splitlines(keepends=True)
    file.write_text(
        "".join(random.Random(0).sample(lines, min(number, len(lines)))), encoding="utf-8"
    )


def compare_methods(task_file: Path, name: str, methods: str) -> int:
    """Compare methods without a budget, print their rows, and return the epochs of the last one."""
    file = task_file.with_name("methods.yaml")
    file.write_text(
        f"{task_file.read_text('utf-8')}metric: exact_match\nmethods: [{methods}]\n", "utf-8"
    )
    run = compare(file, budget=math.inf, confirm=lambda question: True).run
    epochs = 0
    for method, record in read_method_records(run).items():
        lines = [line for line in run.read_predictions(method) if line["side"] == "test"]
        seconds = record["fit_seconds"] + sum(line["seconds"] for line in lines)
        print_result([name, f"{record['learned'] or 0:,}", f"`{method}`"], lines, seconds)
        epochs = record["params"].get("epochs", 0)
    return epochs


def print_result(cells: Sequence[str], lines: Sequence[Mapping[str, Any]], seconds: float) -> None:
    """Print a row of the table that begins with `cells`, with 95% intervals."""
    values = compute_details("extract", lines).values
    shares = [estimate([line["score"] for line in lines]), *([values.f1] if values else [])]
    percents = [f"{format_percent(share.value)} ({format_interval(share)})" for share in shares]
    print(
        "| " + " | ".join([*cells, f"{len(lines):,}", *percents, f"{seconds / 60:.1f}"]) + " |",
        flush=True,
    )


def measure_reference(name: str, sides: Split, epochs: int) -> None:
    """Train the reference on the train side, and print its row."""
    started = time.perf_counter()
    train = [(row.input[-1].content, json.loads(row.output)) for row in sides.train]
    is_list = {
        field: isinstance(leaf, list) for _, answer in train for field, leaf in answer.items()
    }
    always = set.intersection(*(set(answer) for _, answer in train))
    tagger = train_reference(train, list(is_list), epochs)
    lines = []
    for row in sides.test:
        text = row.input[-1].content
        values = {field: list[str]() for field in always if is_list[field]}
        for span in tagger(text):
            values.setdefault(span["entity_group"], []).append(text[span["start"] : span["end"]])
        answer = {field: items if is_list[field] else items[0] for field, items in values.items()}
        line = {"id": row.id, "unit": row.id, "answer": json.dumps(answer), "expected": row.output}
        lines.append({**line, "score": float(answer == json.loads(row.output)), "references": []})
    print_result([name, f"{len(train):,}", "reference"], lines, time.perf_counter() - started)


def label_words(text: str, words: Sequence[Place], answer: Mapping[str, Any]) -> list[str]:
    """Return the label of each word: O, B-FIELD for the first word of a value, I-FIELD for its
    others. A value is at its first occurrence as whole words without a label; one that does not
    occur is skipped.
    """
    labels = ["O"] * len(words)
    leaves = ((field, leaf if isinstance(leaf, list) else [leaf]) for field, leaf in answer.items())
    pairs = [(field, value) for field, items in leaves for value in items]
    for field, value in sorted(
        pairs, key=lambda pair: -len(pair[1])
    ):  # "breast cancer" before "cancer"
        for match in re.finditer(rf"(?<!\w){re.escape(value)}(?!\w)", text, re.IGNORECASE):
            inside = [
                n
                for n, (begin, end) in enumerate(words)
                if begin < match.end() and end > match.start()
            ]
            if {labels[word] for word in inside} == {"O"}:
                labels[inside[0] : inside[-1] + 1] = [
                    f"B-{field}",
                    *[f"I-{field}"] * (len(inside) - 1),
                ]
                break
    return labels


def train_reference(rows: Sequence[tuple[str, Any]], fields: Sequence[str], epochs: int) -> Any:
    """Train token classification on texts and answers. Return a pipeline, which finds the spans of
    fields in a text.
    """
    import torch
    import transformers as hf

    torch.manual_seed(0)
    names = ["O", *(f"{letter}-{field}" for field in fields for letter in "BI")]
    folder = find_weights(ENCODER)
    draw = random.Random(0)
    encoded_rows = []
    tokenizer = hf.AutoTokenizer.from_pretrained(folder)
    collate = hf.DataCollatorForTokenClassification(tokenizer)
    model = hf.AutoModelForTokenClassification.from_pretrained(
        folder, id2label=dict(enumerate(names))
    )
    for parameter in model.parameters():
        parameter.data = parameter.data.clone()  # products with weights in a mapped file are slow
    for text, answer in rows:
        encoded = tokenizer(text, truncation=True, max_length=MAX_TOKENS)
        ids = encoded.word_ids()
        firsts = [n for n, word in enumerate(ids) if word is not None and word != ids[n - 1]]
        labels = label_words(text, [encoded.word_to_chars(ids[token]) for token in firsts], answer)
        numbers = dict(zip(firsts, map(names.index, labels), strict=True))
        encoded_rows.append(
            {**encoded, "labels": [numbers.get(token, -100) for token in range(len(ids))]}
        )
    num_steps = epochs * math.ceil(len(rows) / ROWS_PER_STEP)
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, weight_decay=0.01)
    schedule = hf.get_linear_schedule_with_warmup(optimizer, num_steps // 10, num_steps)
    model.train()
    for _ in range(epochs):
        order = draw.sample(encoded_rows, len(rows))
        for start in range(0, len(order), ROWS_PER_STEP):
            model(**collate(order[start : start + ROWS_PER_STEP])).loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
    return hf.pipeline("ner", model.eval(), tokenizer=tokenizer, aggregation_strategy="first")


if __name__ == "__main__":
    main()

"""Rows from a stand-in for a bigger model: what the gates refuse, and whether the rows that are made help.

    python bench/made_rows.py --rows-per-label 5 20 --wrong 0 0.1 0.3 --seeds 3

There is no big model on the machine where this was measured. The stand-in is a teacher that replays rows of banking77's
train.csv which the task does not have, so its right rows are as good as real ones. A share of its rows gets a wrong
label: one half a random one, the other half the label with the most similar texts. To each request it also adds a copy
of a parent with another case and sign, and a copy of a test row, in turn word for word, with another case and sign, and
with one word replaced. Of the task's rows, a tenth are dev; the test is the official test.csv.

For each setting, the seeds together: of all rows written, those that the gates refused; then the points that each arm
adds to the baseline on the real rows, as the mean of the seeds, with the mean of their 95% intervals.
"""

import argparse
import json
import random
import shutil
import statistics
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from planted_labels import find_similar_labels
from real_sets import DATA, read_rows, write_lines

from etude.comparison import compare
from etude.make import make_rows
from etude.make.gates import LABEL, LIKE_TEST, REPEATED
from etude.make.requests import ROWS_EACH, parse_rows
from etude.models.backend import BatchedModel
from etude.models.local.encoder import Encoder
from etude.models.registry import Backend, register
from etude.runs.verdict import MadeRowsResult
from etude.types import Completion, Estimate, Request

TASK = """
name: banking77
kind: classify
model: smollm2-135m-instruct
prompt_model: replay
examples: {file: train.jsonl, input: text, output: category}
test: {file: test.csv, input: text, output: category}
instructions: Which intent does this message of a bank's customer have?
methods: [baseline]
encoder: all-minilm-l6-v2
"""
RIGHT, RANDOM, CONFUSED, COPY = "right", "random label", "similar label", "copy of a parent"
PLANTED = ("test row, word for word", "test row, other case and sign", "test row, one word replaced")
Row = tuple[str, str]


class Teacher(BatchedModel):
    """Replays rows that were held back. `kinds` says of each text and label that it wrote what is wrong with it."""

    def __init__(self, rows: Sequence[Row], tests: Sequence[str], wrong: float, seed: int) -> None:
        super().__init__("replay")
        self.draw, self.tests, self.wrong = random.Random(seed), list(tests), wrong
        self.by_label: dict[str, list[str]] = defaultdict(list)
        for text, label in rows:
            self.by_label[label].append(text)
        names = sorted(self.by_label)
        labels = np.array([names.index(label) for _, label in rows])
        similar = find_similar_labels([text for text, _ in rows], labels, len(names))
        self.similar = dict(zip(names, (names[other] for other in similar), strict=True))
        self.kinds: dict[Row, str] = {}
        self.draw.shuffle(self.tests)

    def complete(self, requests: Sequence[Request]) -> list[Completion]:
        """Answer each request with lines of JSON."""
        return [Completion(self._write(request), "stop", 1, 0, 1, 0.0, 0.0) for request in requests]

    def _write(self, request: Request) -> str:
        parents = list(parse_rows(request.messages[-1].content))
        lines = []
        for (text, label), kind in self._list_rows(*parents[0]):
            self.kinds[text, label] = kind
            lines.append(json.dumps({"input": text, "output": label}))
        return "\n".join(lines)

    def _list_rows(self, parent: str, label: str) -> Iterator[tuple[Row, str]]:
        for _ in range(ROWS_EACH):
            kind = self.draw.choice((RANDOM, CONFUSED)) if self.draw.random() < self.wrong else RIGHT
            others = {RIGHT: label, CONFUSED: self.similar[label], RANDOM: self._draw_other(label)}
            if rows := self.by_label[others[kind]]:
                yield (rows.pop(), label), kind
        yield (change_sign(parent), label), COPY
        kind = PLANTED[len(self.kinds) % len(PLANTED)]
        text = self.tests.pop().strip()
        changed = dict(zip(PLANTED, (text, change_sign(text), self._replace_word(text)), strict=True))
        yield (changed[kind], label), kind

    def _draw_other(self, label: str) -> str:
        return self.draw.choice([other for other in self.by_label if other != label])

    def _replace_word(self, text: str) -> str:
        words = text.split()
        words[self.draw.randrange(len(words))] = "something"
        return " ".join(words)


def remember_vectors() -> None:
    """Let the encoder compute the vector of a text once for all comparisons, which then take seconds."""
    compute, known = Encoder._embed, dict[str, NDArray[np.float32]]()

    def embed(encoder: Encoder, texts: Sequence[str], on_batch: Any) -> NDArray[np.float32]:
        new = [text for text in dict.fromkeys(texts) if text not in known]
        if new:
            known.update(zip(new, compute(encoder, new, on_batch), strict=True))
        return np.stack([known[text] for text in texts])

    Encoder._embed = embed  # type: ignore[method-assign]


def change_sign(text: str) -> str:
    """Return the text in capitals, with another sign at its end."""
    return text.rstrip(".?!").upper() + " !"


def prepare_task(folder: Path, rows_per_label: int, seed: int) -> list[Row]:
    """Write a task with some rows of each label, and return the rows that were held back."""
    folder.mkdir(parents=True)
    rows, counts = read_rows("banking77/train.csv"), Counter[str]()
    random.Random(seed).shuffle(rows)
    given, held_back = [], []
    for row in rows:
        counts[row["category"]] += 1
        (given if counts[row["category"]] <= rows_per_label else held_back).append(row)
    write_lines(folder / "train.jsonl", given)
    shutil.copyfile(DATA / "banking77" / "test.csv", folder / "test.csv")
    (folder / "task.yaml").write_text(f"{TASK.lstrip()}seed: {seed}\n", encoding="utf-8")
    return [(row["text"].strip(), row["category"]) for row in held_back]


def measure(
    folder: Path, rows_per_label: int, wrong: float, seed: int, num_rows: int
) -> tuple[Counter[tuple[str, str]], MadeRowsResult]:
    """Make rows and compare. Returns how many rows of each kind passed, and were refused for each reason."""
    held_back = prepare_task(folder, rows_per_label, seed)
    teacher = Teacher(held_back, [row["text"] for row in read_rows("banking77/test.csv")], wrong, seed)
    register(Backend("replay", "", lambda name: name == "replay", lambda *_: teacher, ("generate",)))
    made = make_rows(folder / "task.yaml", num_rows)
    fates = Counter((kind, "written") for kind in teacher.kinds.values())
    fates += Counter((teacher.kinds[row.text, row.output], "passed") for row in made.candidates)
    fates += Counter((teacher.kinds[row.text, row.output], "chosen") for row in made.rows)
    fates += Counter(("all", reason) for reason in made.refused.elements())
    with (folder / "task.yaml").open("a", encoding="utf-8") as file:
        file.write("made_rows: made.jsonl\n")
    (result,) = compare(folder / "task.yaml", on_event=lambda event: None).verdict.made_rows
    return fates, result


def format_mean(estimates: Sequence[Estimate]) -> str:
    """Format the mean of some differences, with the mean of their intervals, in points."""
    value, low, high = (
        100 * statistics.fmean(getattr(estimate, key) for estimate in estimates) for key in ("value", "low", "high")
    )
    return f"{value:+.1f} ({low:.1f} to {high:.1f})"


def main() -> None:
    """Print the figures of each setting."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows-per-label", nargs="+", type=int, default=[5, 20])
    parser.add_argument("--wrong", nargs="+", type=float, default=[0.0, 0.1, 0.3])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--rows", type=int, default=500)
    flags = parser.parse_args()
    remember_vectors()
    for rows_per_label in flags.rows_per_label:
        for wrong in flags.wrong:
            fates, results = Counter[tuple[str, str]](), []
            for seed in range(flags.seeds):
                with tempfile.TemporaryDirectory() as folder:
                    of_seed, result = measure(Path(folder) / "task", rows_per_label, wrong, seed, flags.rows)
                fates, results = fates + of_seed, [*results, result]
            print(f"{rows_per_label} rows a label, {wrong:.0%} wrong, {sum(r.num_made for r in results):,} made rows")
            for kind in (RIGHT, RANDOM, CONFUSED, COPY, *PLANTED):
                written, passed = fates[kind, "written"], fates[kind, "passed"]
                if written:
                    print(f"  {kind}: {written - passed:,} of {written:,} refused, {fates[kind, 'chosen']:,} chosen")
            print("  refused:", ", ".join(f"{fates['all', name]:,} {name}" for name in (LIKE_TEST, REPEATED, LABEL)))
            arms = {
                "made": [result.gain for result in results],
                "repeated": [result.repeated for result in results],
                "made, drawn at random": [result.drawn for result in results if result.drawn],
            }
            print(
                "  points:", "; ".join(f"{name} {format_mean(all_)}" for name, all_ in arms.items() if all_), flush=True
            )


if __name__ == "__main__":
    main()

"""Rows from a stand-in for a bigger model: what the gates refuse, and whether the rows that are
made help.

    python bench/made_rows.py banking77 --rows-per-label 5 20 --wrong 0 0.1 0.3 --seeds 3
    python bench/made_rows.py snips_slots                # rows of each intent
    python bench/made_rows.py snips_intents --gates      # also mts_dialog and sms_spam

There is no big model on the machine where this was measured. The stand-in is a teacher that replays
rows which the task does not have, so its right rows are as good as real ones. A share of its rows
is wrong. Half of these get a random label, the others the label with the most similar texts. Of
slots, half get the answer of another row, and in the others two fields are swapped, or the only one
is renamed. To each request it also adds a copy of a parent with another case and sign, and a copy
of a test row, in turn word for word, with another case and sign, and with one word replaced. Of the
task's rows, a tenth are dev; the test is the official one, or 500 rows if there is none.

For each setting, the seeds together: of all rows written, those that the gates refused. Then,
without --gates, the points that each arm adds to each method on the real rows: the means of the
seeds and of their 95% intervals.
"""

import argparse
import json
import random
import statistics
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ladders import INSTRUCTIONS
from numpy.typing import NDArray
from planted_labels import find_similar_labels
from real_sets import read_rows, write_lines

from etude.comparison import compare
from etude.make import make_rows
from etude.make.requests import ROWS_EACH, parse_rows
from etude.models.backend import BatchedModel
from etude.models.local.encoder import Encoder
from etude.models.registry import Backend, register
from etude.runs.verdict import MadeRowsResult
from etude.types import Completion, Estimate, Request

MTS = ("mts_dialog/TrainingSet.csv", "mts_dialog/TestSet-1-MEDIQA-Chat-2023.csv")
SETS = {
    "banking77": ("banking77/train.csv", "banking77/test.csv", "text", "category"),
    "snips_slots": ("snips_intents/train.jsonl", "snips_intents/validate.jsonl", "text", "slots"),
    "snips_intents": (
        "snips_intents/train.jsonl",
        "snips_intents/validate.jsonl",
        "text",
        "intent",
    ),
    "mts_dialog": (*MTS, "dialogue", "section_header"),
    "sms_spam": ("sms_spam/sms.tsv", "", "text", "label"),
}
"""Set -> rows, test, and the columns of input and output."""
SLOTS = {
    "json_schema": {
        "type": "object",
        "additionalProperties": {"type": "array", "items": {"type": "string"}},
    }
}
RIGHT = "right"
RANDOM = "random label"
SIMILAR = "similar label"
COPY = "copy of a parent"
OTHER_ANSWER = "answer of another row"
SWAPPED = "fields swapped"
PLANTED = (
    "test row, word for word",
    "test row, other case and sign",
    "test row, one word replaced",
)
Row = tuple[str, str]


class Teacher(BatchedModel):
    """Replays rows that were held back. `kinds` says of each text and output that it wrote what is
    wrong with it.
    """

    def __init__(self, rows: Sequence[Row], tests: Sequence[str], wrong: float, seed: int) -> None:
        super().__init__("replay")
        self.draw = random.Random(seed)
        self.tests = list(tests)
        self.wrong = wrong
        self.rows = defaultdict[str, list[Row]](list)
        self.outputs = [output for _, output in rows]
        for row in rows:
            self.rows[name_shape(row[1])].append(row)
        self.names = sorted(
            {name for output in self.outputs for name in name_shape(output).split(", ")} - {""}
        )
        self.is_record = self.outputs[0].startswith("{")
        if not self.is_record:
            labels = np.array([self.names.index(label) for label in self.outputs])
            similar = find_similar_labels([text for text, _ in rows], labels, len(self.names))
            self.similar = dict(
                zip(self.names, (self.names[other] for other in similar), strict=True)
            )
        self.kinds: dict[Row, str] = {}
        self.draw.shuffle(self.tests)

    def complete(self, requests: Sequence[Request]) -> list[Completion]:
        """Answer each request with lines of JSON."""
        return [Completion(self._write(request), "stop", 1, 0, 1, 0.0, 0.0) for request in requests]

    def _write(self, request: Request) -> str:
        parent = next(
            row for row in parse_rows(request.messages[-1].content) if row[0]
        )  # the contract may be JSON
        rows = dict(self._list_rows(*parent))
        self.kinds |= rows
        return "\n".join(json.dumps({"input": text, "output": output}) for text, output in rows)

    def _list_rows(self, parent: str, output: str) -> Iterator[tuple[Row, str]]:
        for _ in range(ROWS_EACH):
            kind = RIGHT
            shape = name_shape(output)
            if self.draw.random() < self.wrong:
                kind = self.draw.choice(
                    (OTHER_ANSWER, SWAPPED) if self.is_record else (RANDOM, SIMILAR)
                )
            if kind in (RANDOM, SIMILAR):  # of a rare label, no row may have been held back
                shape = (self.similar.get(output) if kind == SIMILAR else None) or self._draw_other(
                    output
                )
            if rows := self.rows[shape]:
                text, own = rows.pop()
                yield (text, self._spoil(own, kind) if self.is_record else output), kind
        yield (change_sign(parent), output), COPY
        kind = PLANTED[len(self.kinds) % len(PLANTED)]
        text = self.tests.pop().strip()
        changed = dict(
            zip(PLANTED, (text, change_sign(text), self._replace_word(text)), strict=True)
        )
        yield (changed[kind], output), kind

    def _spoil(self, output: str, kind: str) -> str:
        """Return the output of a row as it is, that of another row, or one with two fields
        swapped.
        """
        values = json.loads(output)
        if kind == OTHER_ANSWER:
            return self.draw.choice([other for other in self.outputs if other != output])
        if kind == SWAPPED and values:
            first, second = (
                *self.draw.sample([*values], min(2, len(values))),
                self._draw_other(*values),
            )[:2]
            values = {
                {first: second, second: first}.get(name, name): texts
                for name, texts in values.items()
            }
        return json.dumps(values, ensure_ascii=False)

    def _draw_other(self, *names: str) -> str:
        return self.draw.choice([name for name in self.names if name not in names])

    def _replace_word(self, text: str) -> str:
        words = text.split()
        words[self.draw.randrange(len(words))] = "something"
        return " ".join(words)


def name_shape(output: str) -> str:
    """Name the label, or the fields of a record."""
    return ", ".join(sorted(json.loads(output))) if output.startswith("{") else output


def remember_vectors() -> None:
    """Let the encoder compute the vector of a text once for all comparisons, which then take
    seconds.
    """
    compute = Encoder._embed
    known = dict[str, NDArray[np.float32]]()

    def embed(encoder: Encoder, texts: Sequence[str], on_batch: Any) -> NDArray[np.float32]:
        new = [text for text in dict.fromkeys(texts) if text not in known]
        if new:
            known.update(zip(new, compute(encoder, new, on_batch), strict=True))
        return np.stack([known[text] for text in texts])

    Encoder._embed = embed  # type: ignore[method-assign]


def change_sign(text: str) -> str:
    """Return the text in capitals, with another sign at its end."""
    return text.rstrip(".?!").upper() + " !"


def prepare_task(
    folder: Path, name: str, rows_per_label: int, seed: int
) -> tuple[list[Row], list[str], dict[str, Any]]:
    """Write rows for a task, some of each label. Returns the rows that were held back, the texts of
    the test, and the contents of the task file.
    """
    folder.mkdir(parents=True)
    train, test, text, column = SETS[name]
    rows = read_rows(train)
    counts = Counter[str]()
    sides = defaultdict[str, list[Row]](list)
    random.Random(seed).shuffle(rows)
    tests = read_rows(test) if test else [rows.pop() for _ in range(500)]
    for number, row in enumerate([*tests, *rows]):
        output = (
            row[column]
            if isinstance(row[column], str)
            else json.dumps(row[column], ensure_ascii=False)
        )
        label = row.get("intent", output)
        counts[label] += number >= len(tests)
        side = (
            "test"
            if number < len(tests)
            else "train"
            if counts[label] <= rows_per_label
            else "held back"
        )
        sides[side].append((row[text].strip(), output))
    for side in ("train", "test"):
        write_lines(
            folder / f"{side}.jsonl",
            [{"input": text, "output": output} for text, output in sides[side]],
        )
    task: dict[str, Any] = {
        "name": name,
        "seed": seed,
        "model": "smollm2-135m-instruct",
        "prompt_model": "replay",
    }
    task |= {
        "examples": "train.jsonl",
        "test": "test.jsonl",
        "instructions": INSTRUCTIONS.get(name, "Which label?"),
    }
    is_record = name == "snips_slots"
    task |= (
        {"kind": "extract", "contract": SLOTS}
        if is_record
        else {"kind": "classify", "encoder": "all-minilm-l6-v2"}
    )
    return sides["held back"], [text for text, _ in sides["test"]], task


def measure(
    folder: Path, flags: argparse.Namespace, rows_per_label: int, wrong: float, seed: int
) -> tuple[Counter[tuple[str, str]], Sequence[MadeRowsResult]]:
    """Make rows and compare. Returns how many rows of each kind passed, and were refused for each
    reason.
    """
    held_back, tests, task = prepare_task(folder, flags.set, rows_per_label, seed)
    teacher = Teacher(held_back, tests, wrong, seed)
    file = folder / "task.yaml"
    register(
        Backend("replay", "", lambda name: name == "replay", lambda *_: teacher, ("generate",))
    )
    file.write_text(json.dumps(task), encoding="utf-8")
    made = make_rows(file, flags.rows)
    fates = Counter((kind, "written") for kind in teacher.kinds.values())
    for fate, rows in (("passed", made.candidates), ("chosen", made.rows)):
        fates += Counter((teacher.kinds[row.text, row.output], fate) for row in rows)
    fates += Counter(("all", reason) for reason in made.refused.elements())
    if flags.gates:
        return fates, ()
    file.write_text(
        json.dumps(task | {"made_rows": "made.jsonl", "methods": flags.methods}), encoding="utf-8"
    )
    return fates, compare(file, on_event=lambda event: None).verdict.made_rows


def format_mean(estimates: Sequence[Estimate]) -> str:
    """Format the mean of some differences, with the mean of their intervals, in points."""
    columns = zip(
        *((estimate.value, estimate.low, estimate.high) for estimate in estimates), strict=True
    )
    value, low, high = (100 * statistics.fmean(column) for column in columns)
    return f"{value:+.1f} ({low:.1f} to {high:.1f})"


def main() -> None:
    """Print the figures of each setting."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("set", choices=SETS)
    parser.add_argument("--rows-per-label", nargs="+", type=int, default=[5, 20])
    parser.add_argument("--wrong", nargs="+", type=float, default=[0.0, 0.1, 0.3])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--rows", type=int, default=500)
    parser.add_argument("--methods", nargs="+", default=["baseline"])
    parser.add_argument("--gates", action="store_true", help="compare nothing")
    flags = parser.parse_args()
    remember_vectors()
    for rows_per_label in flags.rows_per_label:
        for wrong in flags.wrong:
            fates = Counter[tuple[str, str]]()
            results = defaultdict[str, list[Estimate]](list)
            for seed in range(flags.seeds):
                with tempfile.TemporaryDirectory() as folder:
                    of_seed, by_method = measure(
                        Path(folder) / "task", flags, rows_per_label, wrong, seed
                    )
                fates += of_seed
                for result in by_method:
                    arms = {
                        "made": result.gain,
                        "repeated": result.repeated,
                        "made, drawn at random": result.drawn,
                    }
                    for arm, estimate in arms.items():
                        results[f"{result.method}, {arm}"] += [estimate] if estimate else []
            print(f"{flags.set}, {rows_per_label} rows a label, {wrong:.0%} wrong")
            for kind in dict.fromkeys(kind for kind, fate in fates if fate == "written"):
                written = fates[kind, "written"]
                passed = fates[kind, "passed"]
                print(
                    f"  {kind}: {written - passed:,} of {written:,} refused, "
                    f"{fates[kind, 'chosen']:,} chosen"
                )
            reasons = sorted(
                (reason, number) for (kind, reason), number in fates.items() if kind == "all"
            )
            print("  refused:", ", ".join(f"{number:,} {reason}" for reason, number in reasons))
            for arm, estimates in results.items():
                print(f"  {arm}: {format_mean(estimates)} points", flush=True)


if __name__ == "__main__":
    main()

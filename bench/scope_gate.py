"""Measure how many questions a task's limits refuse: in scope (should be few) and out of scope
(should be many).

    python bench/scope_gate.py
        four data sets with 50, 200 and 1,000 training rows, four minutes
    python bench/scope_gate.py --sets luma

No model answers. Each task is fitted on five samples of its training rows (and a fifth of that
number as dev rows) without examples of limits. Printed are the mean of the five shares, and the
lowest and highest of them; with one sample (luma with its examples), the share and its interval.
"Other rows" are up to 2,000 training rows that are not in the sample; "test" are test rows of the
task, which may differ from its training rows, and "changed test" are these with typos, in capitals,
with a greeting ...; "near" are questions that its rows do not cover: labels left out of training
(20 of banking77's 77, 3 of snips' 7 intents), for luma the questions of the starter pack and of its
own suite that must not be answered; "far" are test rows of the other tasks, xstest's prompts and
the packaged probe. luma 1,200+ adds the examples of limits in its task file. orders, leave, gym and
power (scope_templates.yaml) have 240 rows of four to six templates; "test" are plain questions of
their users. Needs the data sets of ../shared/data (ETUDE_DATA elsewhere).
"""

import argparse
import random
import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import yaml
from real_sets import read_rows

from etude.comparison.scope_check import read_probe
from etude.limits.fit import fit_scope
from etude.limits.scope import Scope
from etude.stats import wilson
from etude.suites.run import PACKS
from etude.task import load_task
from etude.task.definition import LIMIT_ACTS, Limit
from etude.text.variants import VARIANTS
from etude.types import Example, Message

ROOT = Path(__file__).parents[1]
SIZES = (50, 200, 1_000)
SAMPLES = 5
LIMITS = tuple(Limit(name, name) for name in LIMIT_ACTS)
Questions = tuple[list[str], list[str], list[str]]
"""The rows of train, in scope, and near."""


def read_luma() -> Questions:
    """Loads Luma's requests. Near are questions of suites with only refuse, ask back or hand over
    as right acts.
    """
    folder = ROOT / "examples" / "luma"
    near = []
    for file in (*PACKS.glob("*.yaml"), folder / "suite.yaml"):
        suites = yaml.safe_load(file.read_text(encoding="utf-8"))
        for entry in (
            entry for name, entries in suites.items() if name != "acts" for entry in entries
        ):
            asked = entry.get("ask", [])
            if "answer" in entry.get("expect", "answer") or "answer" not in entry.get(
                "for", "answer"
            ):
                continue
            near += [
                text
                for text in ([asked] if isinstance(asked, str) else asked)
                if "{row}" not in text
            ]
    train, test = (
        list(dict.fromkeys(row["input"] for row in read_rows(folder / name)))
        for name in ("examples.jsonl", "test.jsonl")
    )
    return train, test, near


def read_banking77() -> Questions:
    """Loads questions to a bank. Near are those of 20 labels."""
    train, test = (read_rows(f"banking77/{side}.csv") for side in ("train", "test"))
    labels = sorted({row["category"] for row in train})
    left_out = {*random.Random(0).sample(labels, 20)}
    return _split_by_label(
        [(row["text"], row["category"]) for row in train], test, "category", left_out
    )


def read_snips() -> Questions:
    """Loads commands to an assistant. Near are those of 3 intents."""
    train, test = (read_rows(f"snips_intents/{side}.jsonl") for side in ("train", "validate"))
    left_out = {"RateBook", "SearchCreativeWork", "SearchScreeningEvent"}
    return _split_by_label(
        [(row["text"], row["intent"]) for row in train], test, "intent", left_out
    )


def read_medquad() -> Questions:
    """Loads medical questions. Near are medical questions in another style (PubMedQA)."""
    questions = sorted({row["question"] for row in read_rows("medquad_sample/medquad.jsonl")})
    random.Random(1).shuffle(questions)
    half = len(questions) // 2
    near = [row["question"] for row in read_rows("pubmedqa_labelled/pubmedqa.jsonl")]
    return questions[:half], questions[half:], near


def _split_by_label(
    train: Sequence[tuple[str, str]], test: Sequence[dict], key: str, left_out: set[str]
) -> Questions:
    return (
        list(dict.fromkeys(text for text, label in train if label not in left_out)),
        [row["text"] for row in test if row[key] not in left_out],
        [row["text"] for row in test if row[key] in left_out],
    )


def read_templated(name: str) -> Questions:
    """Loads rows made from templates. In scope are plain questions; there are no near ones."""
    texts = yaml.safe_load((ROOT / "bench" / "scope_templates.yaml").read_text(encoding="utf-8"))
    rng = random.Random(name)
    rows = dict[str, None]()

    def fill(match: re.Match[str]) -> str:
        return (
            str(rng.randrange(1, 100_000))
            if match[1] == "number"
            else rng.choice(texts["fillers"][match[1]])
        )

    while len(rows) < 240:
        rows[re.sub(r"{(\w+)}", fill, rng.choice(texts[name]["templates"]))] = None
    return list(rows), texts[name]["asked"], []


TEMPLATED = ("orders", "leave", "gym", "power")
SETS = {
    **{
        "luma": read_luma,
        "banking77": read_banking77,
        "snips": read_snips,
        "medquad": read_medquad,
    },
    **{name: partial(read_templated, name) for name in TEMPLATED},
}


def measure_share(scope: Scope, questions: Sequence[str]) -> float:
    """Return the share of refused questions."""
    limits = scope.find_limits([(Message("user", question),) for question in questions])
    return sum(limit is not None for limit in limits) / max(len(questions), 1)


def change_questions(questions: Sequence[str]) -> list[str]:
    """Change each question by one of the rewritings of the suite unusual."""
    changes = list(VARIANTS.values())
    return [
        changes[number % len(changes)](text, random.Random(number))
        for number, text in enumerate(questions)
    ]


def measure(
    name: str,
    questions: Questions,
    far: Sequence[str],
    size: int,
    limits: Sequence[Limit],
    num: int = SAMPLES,
) -> None:
    """Fit on `num` samples of `size` rows and print one line of the table."""
    train, test, near = questions
    shares = []
    for number in range(num):
        shuffled = random.Random(f"{size}/{number}").sample(train, len(train))
        rows = [
            Example(text, (Message("user", text),), "") for text in shuffled[: size + size // 5]
        ]
        scope, notes = fit_scope(
            limits, rows[: len(rows) * 5 // 6], rows[len(rows) * 5 // 6 :], number
        )
        assert scope is not None, notes
        others = shuffled[size + size // 5 :][:2_000]
        parts = (others, test, change_questions(test), near, far)
        shares.append([measure_share(scope, part) for part in parts])
    cells = [name, f"{size:,}"]
    for column, part in zip(zip(*shares, strict=True), parts, strict=True):
        low, high = (
            (min(column), max(column))
            if num > 1
            else wilson(round(column[0] * len(part)), len(part))
        )
        cells.append(f"{sum(column) / num:.1%} ({low:.1%} to {high:.1%})")
    print("| " + " | ".join(cells) + " |", flush=True)


def main() -> None:
    """Print a table of all sets."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sets", nargs="+", choices=SETS, default=list(SETS))
    chosen = parser.parse_args().sets
    questions = {name: read() for name, read in SETS.items()}
    xstest = [row["prompt"] for row in read_rows("xstest/xstest_prompts.csv")]
    print("| task | rows | other rows | test | changed test | near | far |\n" + "| --- " * 7 + "|")
    for name in chosen:
        others = [
            text
            for other in questions
            if other not in (name, *TEMPLATED)
            for text in questions[other][1][:300]
        ]
        far = [*others, *xstest, *read_probe()]
        for size in (200,) if name in TEMPLATED else SIZES:
            measure(name, questions[name], far, size, LIMITS)
        if name == "luma":
            measure(
                "luma, its examples of limits",
                questions[name],
                far,
                1_200,
                load_task(ROOT / "examples/luma").scope_limits,
                num=1,
            )


if __name__ == "__main__":
    main()

"""Over- and under-refusal on xstest: of a base, a small tuned model, and the same taught by `etude test --teach`.

xstest (Röttger et al. 2024) has 250 safe prompts that look unsafe, and 200 unsafe ones. SmolLM2-135M is tuned on short
instructions; rows are proposed from one half of the prompts (all are approved) and trained on with the others; what is
printed is measured on the other half. Acts are read by the rules of suites/acts.py (docs/trust.md has their accuracy).
Everything is kept in FOLDER: started again, it goes on.

    python bench/xstest.py FOLDER [PROMPTS]     PROMPTS in all (default 160); needs ETUDE_DATA
"""

from __future__ import annotations

import csv
import json
import os
import random
import sys
from pathlib import Path

from etude.base.files import write_lines
from etude.models.registry import Models
from etude.suites.answering import answer_cases
from etude.suites.cases import Case
from etude.suites.extend import with_rows
from etude.suites.judge import Judge, Reply
from etude.suites.measures import COMMON, Judged, measure
from etude.suites.subject import find_subject
from etude.suites.teach import is_taught, proposals
from etude.task import load_task
from etude.tuning.train import train
from etude.types import Message

DATA = Path(os.environ.get("ETUDE_DATA", Path(__file__).parents[2] / "shared" / "data"))
SAFE, UNSAFE = ("answer", "ask_back", "hand_over"), ("refuse", "hand_over")
ROWS, WORDS = 80, 40
TASK = """name: {name}
kind: answer
model: smollm2-135m-instruct
examples: {examples}
instructions: You are a helpful assistant.
max_tokens: 48
train: {{epochs: 2}}
"""


def main() -> None:
    """Tunes, asks, teaches, tunes and asks again; prints a line for each measure."""
    folder, size = Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 160
    folder.mkdir(exist_ok=True)
    prompts = list(csv.DictReader((DATA / "xstest" / "xstest_prompts.csv").open(encoding="utf-8")))
    cases = [case(row) for row in random.Random(0).sample(prompts, size)]
    rows = json.loads((DATA / "rasbt_instructions" / "instruction-data.json").read_text(encoding="utf-8"))
    short = [row for row in rows if row["output"].strip() and len(" ".join(row.values()).split()) <= WORDS]
    asked = [f"{row['instruction']}\n{row['input']}".strip() for row in short[:ROWS]]
    lines = [{"input": ask, "output": row["output"]} for ask, row in zip(asked, short, strict=False)]
    write_lines(folder / "examples.jsonl", lines)
    base, before = replies(folder, "tuned", "examples.jsonl", cases)
    taught = list(proposals([Judged(*three) for three in zip(cases, base, before, strict=True)], {}))
    extended = with_rows(load_task(folder / "tuned.yaml").examples, taught, "taught")
    _, after = replies(folder, "taught", extended.name, cases)
    refusals = sum(row["output"].startswith("I'm sorry") for row in taught)
    print(json.dumps({"taught": len(taught), "refusals": refusals}))
    told("base against tuned, all prompts", cases, base, before)
    held = [place for place, each in enumerate(cases) if not is_taught(each)]
    told("tuned against taught, held out", *([part[at] for at in held] for part in (cases, before, after)))


def replies(folder: Path, name: str, examples: str, cases: list[Case]) -> list[list[Reply]]:
    """What the base and the model tuned on these examples say to the cases."""
    file = folder / f"{name}.yaml"
    file.write_text(TASK.format(name=name, examples=examples), encoding="utf-8")
    train(file, confirm=lambda question: True)
    models = Models()
    subject = find_subject(file, name, None, models)
    judge = Judge("answer", None, None)
    return [
        [judge.reply(each, said, None) for each, said in zip(cases, answered, strict=True)]
        for side in (subject.base, subject.assistant)
        for answered in [answer_cases(side, models, cases, folder, lambda done, total, left: None)]
    ]


def told(title: str, cases: list[Case], one: list[Reply], other: list[Reply]) -> None:
    """Prints each measure of both and its change, with 95% intervals."""
    judged = [Judged(*three) for three in zip(cases, one, other, strict=True)]
    for kind in COMMON:
        if kind.name in ("over_refusal", "under_refusal", "incoherent") and (found := measure(kind, judged)):
            parts = {"one": found.base, "other": found.assistant, "change": found.difference}
            numbers = {
                name: [round(x, 3) for x in (e.value, e.low, e.high)] for name, e in parts.items() if e
            }
            print(json.dumps({"of": title, "measure": kind.name, "cases": found.cases, **numbers}))


def case(row: dict[str, str]) -> Case:
    """One prompt, and what a right answer does."""
    expect = SAFE if row["label"] == "safe" else UNSAFE
    turns = (Message("user", row["prompt"]),)
    return Case(f"xstest/{row['id']}", "sensitive", row["type"], turns, expect, form=False, unit=row["id"])  # type: ignore[arg-type]


if __name__ == "__main__":
    main()

"""Measure over- and under-refusal on xstest: a base model, a small tuned model, and the same after
`etude test --teach`.

xstest (Röttger et al. 2024) has 250 safe prompts that look unsafe, and 200 unsafe prompts.
SmolLM2-135M is tuned on short instructions. Rows are proposed from one half of the prompts; all are
approved and added to the training rows. The printed figures are measured on the other half. The
rules of limits/acts.py recognize the acts (docs/trust.md has their accuracy). Everything is saved
in FOLDER; a second start resumes.

    python bench/xstest.py FOLDER [PROMPTS]     PROMPTS in all (default 160); needs ETUDE_DATA
"""

from __future__ import annotations

import json
import random
import sys
from pathlib import Path

from real_sets import read_rows

from etude.base.files import write_lines
from etude.models.registry import Models
from etude.suites.answering import answer_cases
from etude.suites.cases import Case
from etude.suites.judge import Judge, JudgedAnswer
from etude.suites.measures.shares import COMMON, CaseResult, measure_share
from etude.suites.run import judge_answers
from etude.suites.subject import find_subject
from etude.suites.teach import build_proposals, is_taught, write_extended_examples
from etude.task import load_task
from etude.tuning.train import train
from etude.types import Message

SAFE = ("answer", "ask_back", "hand_over")
UNSAFE = ("refuse", "hand_over")
ROWS = 80
WORDS = 40
TASK = """name: {name}
kind: answer
model: smollm2-135m-instruct
examples: {examples}
instructions: You are a helpful assistant.
max_tokens: 48
train: {{epochs: 2}}
"""


def main() -> None:
    """Tunes, tests, teaches, then tunes and tests again; prints a line for each measure."""
    folder = Path(sys.argv[1])
    size = int(sys.argv[2]) if len(sys.argv) > 2 else 160
    folder.mkdir(exist_ok=True)
    prompts = read_rows("xstest/xstest_prompts.csv")
    cases = [build_case(row) for row in random.Random(0).sample(prompts, size)]
    rows = read_rows("rasbt_instructions/instruction-data.json")
    short = [
        row
        for row in rows
        if row["output"].strip() and len(" ".join(row.values()).split()) <= WORDS
    ]
    questions = [f"{row['instruction']}\n{row['input']}".strip() for row in short[:ROWS]]
    lines = [
        {"input": question, "output": row["output"]}
        for question, row in zip(questions, short, strict=False)
    ]
    write_lines(folder / "examples.jsonl", lines)
    base, before = train_and_answer(folder, "tuned", "examples.jsonl", cases)
    proposals = list(
        build_proposals([CaseResult(*three) for three in zip(cases, base, before, strict=True)], {})
    )
    extended = write_extended_examples(
        load_task(folder / "tuned.yaml").examples, proposals, "taught"
    )
    _, after = train_and_answer(folder, "taught", extended.name, cases)
    refusals = sum(row["output"].startswith("I'm sorry") for row in proposals)
    print(json.dumps({"taught": len(proposals), "refusals": refusals}))
    print_measures("base against tuned, all prompts", cases, base, before)
    held_out = [position for position, case_ in enumerate(cases) if not is_taught(case_)]
    print_measures(
        "tuned against taught, held out",
        *([column[at] for at in held_out] for column in (cases, before, after)),
    )


def train_and_answer(
    folder: Path, name: str, examples: str, cases: list[Case]
) -> list[list[JudgedAnswer]]:
    """Returns the answers of the base and of the model tuned on these examples to the cases."""
    file = folder / f"{name}.yaml"
    file.write_text(TASK.format(name=name, examples=examples), encoding="utf-8")
    train(file, confirm=lambda question: True)
    models = Models()
    subject = find_subject(file, name, None, models)
    judge = Judge("answer", None, None)
    return [
        judge_answers(
            judge, cases, answer_cases(side, models, cases, folder, lambda done, total, left: None)
        )
        for side in (subject.base, subject.assistant)
    ]


def print_measures(
    title: str, cases: list[Case], base: list[JudgedAnswer], assistant: list[JudgedAnswer]
) -> None:
    """Prints each measure of both models and its change, with 95% intervals."""
    judged = [CaseResult(*three) for three in zip(cases, base, assistant, strict=True)]
    for kind in COMMON:
        if kind.name in ("over_refusal", "under_refusal", "incoherent") and (
            measure := measure_share(kind, judged)
        ):
            estimates = {
                "one": measure.base,
                "other": measure.assistant,
                "change": measure.difference,
            }
            numbers = {
                name: [round(x, 3) for x in (e.value, e.low, e.high)]
                for name, e in estimates.items()
                if e
            }
            print(
                json.dumps({"of": title, "measure": kind.name, "cases": measure.cases, **numbers})
            )


def build_case(row: dict[str, str]) -> Case:
    """Builds a case from a prompt and the acts of a right answer."""
    expect = SAFE if row["label"] == "safe" else UNSAFE
    turns = (Message("user", row["prompt"]),)
    return Case(
        f"xstest/{row['id']}",
        "sensitive",
        row["type"],
        turns,
        expect,
        needs_contract=False,
        unit=row["id"],
    )  # type: ignore[arg-type]


if __name__ == "__main__":
    main()

"""Over- and under-refusal on xstest, of an assistant of a run and of its base, with intervals.

xstest (Röttger et al. 2024) has 250 safe prompts that look unsafe, and 200 unsafe ones. Acts are read by the rules of
suites/acts.py, whose accuracy docs/trust.md reports. Answers are kept beside the run: started again, it goes on.

    python bench/xstest.py TASK [ROWS]     ROWS prompts in all (default 100); needs ETUDE_DATA
"""

from __future__ import annotations

import csv
import json
import os
import random
import sys
from pathlib import Path

from etude.models.registry import Models
from etude.suites.answering import answer_cases
from etude.suites.cases import Case
from etude.suites.judge import Judge
from etude.suites.measures import COMMON, Judged, measure
from etude.suites.subject import find_subject
from etude.types import Message

FILE = (
    Path(os.environ.get("ETUDE_DATA", Path(__file__).parents[2] / "shared" / "data"))
    / "xstest"
    / "xstest_prompts.csv"
)
SAFE, UNSAFE = ("answer", "ask_back", "hand_over"), ("refuse", "hand_over")


def main() -> None:
    """Prints the measures as JSON."""
    models = Models()
    subject = find_subject(Path(sys.argv[1]), None, None, models)
    rows = list(csv.DictReader(FILE.open(encoding="utf-8")))
    chosen = random.Random(0).sample(rows, int(sys.argv[2]) if len(sys.argv) > 2 else 100)
    cases = [case(row) for row in chosen]
    judge = Judge(subject.assistant.kind, subject.assistant.contract, None)
    sides = [
        [judge.reply(each, said, None) for each, said in zip(cases, answered, strict=True)]
        for side in (subject.base, subject.assistant)
        for answered in [answer_cases(side, models, cases, subject.folder, lambda done, total, left: None)]
    ]
    judged = [Judged(*three) for three in zip(cases, *sides, strict=True)]
    for kind in COMMON:
        found = (
            measure(kind, judged) if kind.name in ("over_refusal", "under_refusal", "incoherent") else None
        )
        if found:
            parts = {side: getattr(found, side) for side in ("base", "assistant", "difference")}
            told = {
                side: [round(e.value, 3), round(e.low, 3), round(e.high, 3), e.n] for side, e in parts.items()
            }
            print(json.dumps({"measure": kind.name, "cases": found.cases, **told}))


def case(row: dict[str, str]) -> Case:
    """One prompt, and what a right answer does."""
    expect = SAFE if row["label"] == "safe" else UNSAFE
    turns = (Message("user", row["prompt"]),)
    return Case(f"xstest/{row['id']}", "sensitive", row["type"], turns, expect, form=False, unit=row["id"])  # type: ignore[arg-type]


if __name__ == "__main__":
    main()

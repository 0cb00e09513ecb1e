"""Counts that a check must find in real sets, beside what is known of them; exit code 1 where one differs.

    python bench/check_facts.py

The expected counts were made outside of Étude: texts casefolded, every run of non-word characters as one
space; near-duplicates by exact Jaccard of character 5-grams.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from real_sets import prepared

from etude.checks import Findings, check

Fact = tuple[str, float, float]
"""What is counted, expected, found."""
EXPECTED: dict[str, dict[str, float]] = {
    "banking77": {
        "rows": 10_003,
        "repeated_input.rows": 30,
        "contradiction.inputs": 1,
        "test_overlap.same_input": 25,
        "test_overlap.test": 3_080,
        "test_overlap.test_rows": 151,
        "test_overlap.rows": 168,
    },
    "snips_intents": {
        "rows": 13_784,
        "repeated_input.rows": 251,
        "contradiction.inputs": 0,
        "test_overlap.same_input": 18,
        "test_overlap.test": 700,
    },
    "sms_spam": {
        "rows": 5_574,
        "repeated_input.rows": 444,
        "contradiction.inputs": 0,
    },
    "rasbt_instructions": {"rows": 1_100, "contradiction.inputs": 26},
    "medquad_sample": {
        "rows": 3_319,
        "repeated_input.rows": 48,
        "repeated_output.rows": 69,
        "contradiction.inputs": 445,
    },
    "mts_dialog": {
        "rows": 1_201,
        "repeated_input.rows": 1,
        "contradiction.inputs": 1,
        "test_overlap.same_input": 2,
        "test_overlap.test": 200,
    },
    "text2sql_question_split": {"test_answers.test_rows": 118, "test_answers.test": 279},
    "text2sql_query_split": {"test_answers.test_rows": 0},
}


def main() -> None:
    """Prints every count beside the expected one."""
    differ = 0
    with tempfile.TemporaryDirectory() as temporary:
        for name in EXPECTED:
            began = time.perf_counter()
            findings = check(prepared(name, Path(temporary) / name))
            print(f"{name} ({time.perf_counter() - began:.1f} s)")
            for what, expected, found in facts(name, findings):
                differ += expected != found
                mark = "" if expected == found else "   <- differs"
                print(f"  {what:28} expected {expected:>8,.0f}  found {found:>8,.0f}{mark}")
    sys.exit(f"{differ} counts differ" if differ else 0)


def facts(name: str, findings: Findings) -> Iterator[Fact]:
    """The counts of one set; 0 where nothing of the kind was found."""
    for what, expected in EXPECTED[name].items():
        kind, _, number = what.partition(".")
        named = findings.of(kind)
        found = named[0].numbers[number] if named else 0
        yield what, expected, findings.rows if what == "rows" else found


if __name__ == "__main__":
    main()

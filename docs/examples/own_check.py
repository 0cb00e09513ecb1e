"""A check of your own beside the built-in ones; prints what they found."""

import sys

from etude.checks import CHECKS, FREE, FindingKind, check, finds


@finds(FindingKind("shouting", "warning", "answers in capitals"), tasks=FREE)
def shouting(material):
    """Answers in capitals."""
    rows = [row for row, text in enumerate(material.outputs) if text.isupper()]
    if rows:
        yield material.finding(
            "shouting", "warning", rows, f"{len(rows)} answers shout.", "Write them in lower case."
        )


findings = check(sys.argv[1], checks=[*CHECKS, shouting])
print(*(f"{finding.severity}: {finding.message}" for finding in findings), sep="\n")

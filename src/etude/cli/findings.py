"""`etude check`: findings in the form that is asked for, and the exit code of the gate."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import typer

from etude.checks import Findings, check
from etude.checks.machine import as_json, as_junit, as_sarif
from etude.checks.words import WIDTH, in_words
from etude.cli.words import screen
from etude.errors import Fault, InputError, shown
from etude.remedies import instead

FORMS: Mapping[str, Callable[[Findings], str]] = {
    "text": lambda findings: in_words(findings, min(screen().width, WIDTH)),
    "json": as_json,
    "sarif": as_sarif,
    "junit": as_junit,
}
"""Name of a form -> what writes it."""


def run_check(task: Path, fail_on: Sequence[str], form: str = "text") -> int:
    """Prints the findings; 1 where one is of a kind or severity that `fail_on` names, else 0."""
    if form not in FORMS:
        raise InputError([Fault("--form", "no such form", shown(form), instead(form, FORMS))])
    findings = check(task)
    typer.echo(FORMS[form](findings), nl=False)
    return int(bool(findings.failing(fail_on)))

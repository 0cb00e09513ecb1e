"""`etude check`: findings in the form that is asked for, and the exit code of the gate."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import typer

from etude.checks import check
from etude.checks.words import in_words


def run_check(task: Path, fail_on: Sequence[str]) -> int:
    """Prints the findings; 1 where one is of a kind or severity that `fail_on` names, else 0."""
    findings = check(task)
    typer.echo(in_words(findings), nl=False)
    return int(bool(findings.failing(fail_on)))

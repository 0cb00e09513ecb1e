"""What a run printed at its end: the ladder and the verdict, or the result of a training."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import IO, Any, TextIO, cast

from rich.console import Console, JustifyMethod
from rich.table import Table
from rich.text import Text

from etude.base.files import read_json
from etude.base.wording import bounds, command, percent, rows_in_words, time_in_words
from etude.runs import Run
from etude.runs.verdict import Verdict

PLAIN_WIDTH = 110
"""Columns of the output without a terminal and without COLUMNS in the environment."""
_LEAST_WIDTH = 20
"""Columns of the output if COLUMNS is smaller."""
NARROW, WIDE = 80, 103
"""Columns of a terminal from which the ladder shows rows learned from and to decide, and what a request takes."""
MORE = 10
"""Columns that accuracy beside macro-F1 takes, and as many the mark by the target."""


def screen() -> Console:
    """The terminal at its width, or plain text as wide as COLUMNS says."""
    console = Console(highlight=False)
    if console.is_terminal:
        return console
    columns = os.environ.get("COLUMNS", "")
    width = max(int(columns), _LEAST_WIDTH) if columns.isdecimal() else PLAIN_WIDTH
    return Console(highlight=False, width=width, file=cast(TextIO, _Trimmed(console.file)))


class _Trimmed:
    """A stream that drops the spaces with which tables fill their lines."""

    def __init__(self, stream: IO[str]) -> None:
        self.stream = stream

    def write(self, text: str) -> int:
        """Write whole lines without the spaces at their ends."""
        return self.stream.write(re.sub(r" +(?=\n)", "", text))

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


def print_run(console: Console, run: Run, task: Path) -> None:
    """Print the result of a run: the verdict of a comparison, or the end of a training."""
    if run.command == "train":
        print_training(console, run, task)
    else:
        print_verdict(console, run, task)


def print_training(console: Console, run: Run, task: Path) -> None:
    """Print the result of a training, what it took, and where the assistant is."""
    if not run.methods:
        console.print(Text(f"{run.name} is not finished. Run: {command('train', task)}"), soft_wrap=True)
        return
    (name,) = run.methods
    record = read_json(run.method(name) / "method.json")
    params = record["params"]
    console.print()
    console.print(Text(params["text"], "bold"))
    spent = f"{time_in_words(record['train_seconds'])} of training"
    memory = f", at most {params['peak_memory_gb']} GB of memory" if params.get("peak_memory_gb") else ""
    print_bullets(console, [*record["notes"], f"{spent}{memory}"])
    console.print()
    print_places(console, run, task, run.assistant(name))


def print_bullets(console: Console, lines: Iterable[str]) -> None:
    """Print a list with hanging indents."""
    table = Table.grid(padding=(0, 1, 0, 0))
    for line in lines:
        table.add_row("-", Text(line))
    console.print(table)


def print_places(console: Console, run: Run, task: Path, assistant: Path | None = None) -> None:
    """Print where to find the results, each on one line, however long, so it can be copied."""
    if assistant:
        console.print(Text(f"Assistant: {shortest(assistant)}"), soft_wrap=True)
    console.print(Text(f"Report: {shortest(run.folder / 'report.html')}"), soft_wrap=True)
    if run.methods:
        console.print(Text(f"Talk to it: {command('chat', task)}"), soft_wrap=True)


def print_verdict(console: Console, run: Run, task: Path) -> None:
    """Print the ladder, the verdict with its caveats, the report's path and the next command."""
    verdict = run.verdict
    if verdict is None:
        console.print(Text(f"{run.name} has no verdict yet. Run: {command('compare', task)}"), soft_wrap=True)
        return
    console.print()
    console.print(ladder_table(verdict, console.width))
    console.print()
    console.print(Text(verdict.sentence, "bold"))
    if verdict.target:
        console.print(Text(verdict.target.text))
    print_bullets(console, [*verdict.caveats, *(line.text for line in verdict.advice)])
    print_places(console, run, task)


def ladder_table(verdict: Verdict, width: int = WIDE) -> Table:
    """Every method with its estimate and status, accuracy beside macro-F1; with the rows that would decide and what
    a request takes if `width` allows."""
    shares = {name: others["accuracy"] for name, others in verdict.others.items() if "accuracy" in others}
    target = verdict.target
    room = width - MORE * (bool(shares) + bool(target))
    rows, costs = room >= NARROW, room >= WIDE
    table = Table(box=None, padding=(0, 2, 0, 0))
    test = f"on test\n(n = {verdict.ladder[0].estimate.n:,})"
    for heading in ("method", test, "95% interval", "verdict", *(("target",) if target else ())):
        justify: JustifyMethod = "right" if heading == test else "left"
        table.add_column(heading, justify=justify, no_wrap=True)
    for heading in (
        *(("accuracy",) if shares else ()),
        *(("learned from", "rows to decide") if rows else ()),
    ):
        table.add_column(heading, justify="right")
    for heading in ("tokens in", "tokens out", "time") if costs else ():
        table.add_column(heading, justify="right", no_wrap=heading == "time")
    for step in verdict.ladder:
        estimate, cost = step.estimate, verdict.costs[step.method]
        tokens = [f"{cost.prompt_tokens:,.0f}", f"{cost.answer_tokens:,.0f}"]
        needed, answered = step.rows_to_decide, verdict.test_rows.answered
        decide = rows_in_words(needed, answered) if needed else ""
        table.add_row(
            f"{step.method}{' *' if step.method == verdict.recommended else ''}",
            percent(estimate.value),
            bounds(estimate),
            step.status,
            *([target.mark(estimate)] if target else []),
            *([percent(shares[step.method].value)] if shares else []),
            *([f"{step.learned:,}" if step.learned else "", decide] if rows else []),
            *([*tokens, time_in_words(cost.seconds)] if costs else []),
        )
    return table


def shortest(path: Path) -> Path:
    """The path relative to the working directory if it is below that."""
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path

"""A run in words: the ladder and the verdict as they stand in the terminal."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any, TextIO, cast

from rich.console import Console, JustifyMethod
from rich.table import Table
from rich.text import Text

from etude.base.files import Json, read_json
from etude.base.wording import bounds, command, percent, rows_in_words, time_in_words
from etude.runs import Run
from etude.runs.verdict import Verdict
from etude.types import Estimate

PLAIN_WIDTH = 110
"""Columns of the output where there is neither a terminal to ask nor COLUMNS in the environment."""
_LEAST_WIDTH = 20
"""Columns of the output where COLUMNS names fewer."""
NARROW, WIDE = 80, 100
"""Columns of a terminal below which the rows to decide, or what a request takes, find no room in the ladder."""
ACCURACY = 10
"""Columns that accuracy takes beside macro-F1."""


def screen() -> Console:
    """Where words go: the terminal at its width, or plain text, as wide as COLUMNS says."""
    console = Console(highlight=False)
    if console.is_terminal:
        return console
    columns = os.environ.get("COLUMNS", "")
    width = max(int(columns), _LEAST_WIDTH) if columns.isdecimal() else PLAIN_WIDTH
    return Console(highlight=False, width=width, file=cast(TextIO, _Trimmed(console.file)))


class _Trimmed:
    """A stream that drops the spaces at the ends of lines, with which tables are filled up."""

    def __init__(self, stream: IO[str]) -> None:
        self.stream = stream

    def write(self, text: str) -> int:
        """Writes whole lines without the spaces at their ends."""
        return self.stream.write(re.sub(r" +(?=\n)", "", text))

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


def print_run(console: Console, run: Run, task: Path) -> None:
    """What came of a run: the verdict of a comparison, or the end of a training."""
    if run.command == "train":
        print_training(console, run, task)
    else:
        print_verdict(console, run, task)


def print_training(console: Console, run: Run, task: Path) -> None:
    """What training came to, what it took, where the assistant stands and how to talk to it."""
    if not run.methods:
        console.print(Text(f"{run.name} has not ended. Run: {command('train', task)}"), soft_wrap=True)
        return
    (name,) = run.methods
    record = read_json(run.method(name) / "method.json")
    params = record["params"]
    console.print()
    console.print(Text(params["text"], "bold"))
    spent = f"{time_in_words(record['train_seconds'])} of training"
    memory = f", at most {params['peak_memory_gb']} GB of memory" if params.get("peak_memory_gb") else ""
    print_bullets(console, [*record["notes"], f"{spent}{memory}", *_base(params)])
    console.print()
    print_places(console, run, task, run.assistant(name))


def _base(params: Json) -> Iterator[str]:
    """Where the weights stand that an adapter goes with."""
    if params.get("base") and params["settings"]["weights"] == "lora":
        yield f"the adapter goes with the base in {params['base']}, for PEFT"


def print_bullets(console: Console, lines: Iterable[str]) -> None:
    """A list whose further lines stand under their first."""
    table = Table.grid(padding=(0, 1, 0, 0))
    for line in lines:
        table.add_row("-", Text(line))
    console.print(table)


def print_places(console: Console, run: Run, task: Path, assistant: Path | None = None) -> None:
    """Where to find what was made; on one line each, however long, so that they can be copied."""
    if assistant:
        console.print(Text(f"Assistant: {shortest(assistant)}"), soft_wrap=True)
    console.print(Text(f"Report: {shortest(run.folder / 'report.html')}"), soft_wrap=True)
    if run.methods:
        console.print(Text(f"Talk to it: {command('chat', task)}"), soft_wrap=True)


def print_verdict(console: Console, run: Run, task: Path) -> None:
    """The ladder, the verdict with what it rests on, the report's path and how to talk to the result."""
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
    advice = [f"{line.text} ({line.rests_on})" for line in verdict.advice]
    for line in [*verdict.caveats, *advice]:
        console.print(Text(f"- {line}"))
    console.print()
    print_places(console, run, task)


def ladder_table(verdict: Verdict, width: int = WIDE) -> Table:
    """Every method with its estimate and its status; where `width` columns hold them, the rows that would
    decide and what a request takes. Accuracy stands beside macro-F1."""
    shares = {name: others["accuracy"] for name, others in verdict.others.items() if "accuracy" in others}
    room = width - ACCURACY if shares else width
    rows, costs = room >= NARROW, room >= WIDE
    table = Table(box=None, padding=(0, 2, 0, 0))
    for heading in ("step", "on test", "95% interval", "verdict"):
        justify: JustifyMethod = "right" if heading == "on test" else "left"
        table.add_column(heading, justify=justify, no_wrap=True)
    for heading in (*(("accuracy",) if shares else ()), *(("rows to decide",) if rows else ())):
        table.add_column(heading, justify="right", no_wrap=not shares)
    for heading in ("prompt tokens", "answer tokens", "time") if costs else ():
        table.add_column(heading, justify="right", no_wrap=heading == "time")
    for step in verdict.ladder:
        estimate, cost = step.estimate, verdict.costs[step.method]
        tokens = [f"{cost.prompt_tokens:,.0f}", f"{cost.answer_tokens:,.0f}"]
        needed, answered = step.rows_to_decide, verdict.test_rows.answered
        decide = rows_in_words(needed, answered) if needed else ""
        table.add_row(
            f"{step.method}{' *' if step.method == verdict.recommended else ''}",
            percent(estimate.value),
            f"{bounds(estimate)} (n = {estimate.n:,})",
            step.status,
            *([percent(shares[step.method].value)] if shares else []),
            *([decide] if rows else []),
            *([*tokens, time_in_words(cost.seconds)] if costs else []),
        )
    return table


def whole_percent(share: Estimate | None) -> str:
    """A share in whole per cent, or nothing."""
    return "" if share is None else f"{100 * share.value:.0f}%"


def shortest(path: Path) -> Path:
    """The path as seen from here where that is below here, else as it is."""
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path

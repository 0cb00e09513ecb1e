"""`etude test` in the terminal: progress while both sides answer, then suites, gates and where the page is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.progress import Progress, TaskID
from rich.table import Table
from rich.text import Text

from etude.base.wording import bounds, command, count, percent, time_in_words
from etude.cli.history import runs_folder
from etude.cli.narrator import INTERRUPTED, Narrator
from etude.cli.printing import print_bullets, screen, shortest
from etude.runs import find_run
from etude.suites.card import write_card
from etude.suites.probes.leaks import plant
from etude.suites.results import Examined
from etude.suites.run import OnProgress, examine
from etude.suites.shown.contents import common, difference, headline, suites_of
from etude.suites.starter import start_suite
from etude.suites.teach import Taught, teach
from etude.task import load_task


def run_test(
    place: Path, *, run: str | None, method: str | None, suites: Sequence[str], quick: bool, teaches: bool
) -> int:
    """Tests, prints what was found, and returns the exit code: 1 unless every gate passed."""
    console = screen()
    try:
        with _progress(console) as on_progress:
            tested = examine(
                place, run=run, method=method, suites=suites, quick=quick, on_progress=on_progress
            )
    except KeyboardInterrupt:
        console.print(Text("\nStopped. Run the same command to continue."))
        return INTERRUPTED
    print_test(console, tested)
    if teaches:
        print_taught(teach(tested, tested.acts))
    return int(not tested.passed)


def print_test(console: Console, tested: Examined) -> None:
    """The outcome, the suites and measures, the gates, and the page."""
    console.print()
    console.print(Text(f"{headline(tested)}.", "bold"))
    table = Table(box=None, padding=(0, 2, 0, 0))
    for heading in ("", "base", tested.subject.name, "95% interval", "difference", "cases"):
        table.add_column(
            heading, justify="right" if heading in ("base", "cases", tested.subject.name) else "left"
        )
    for row in (*suites_of(tested), *common(tested)):
        less = "" if row.more_is_better else " (less is better)"
        base = percent(row.base.value) if row.base else ""
        cells = (percent(row.assistant.value), bounds(row.assistant), difference(row), f"{row.cases:,}")
        table.add_row(f"{row.name}{less}", base, *cells)
    console.print(table)
    if tested.leaks:
        found = sum(each.found for each in tested.leaks)
        console.print(Text(f"{found} of {len(tested.leaks)} canaries found"))
    for gate in tested.gates:
        console.print(Text(f"{gate.outcome}: {gate.gate.text}: {gate.told}"))
    print_bullets(console, tested.notes)
    console.print(Text(f"Report: {shortest(tested.page)}"), soft_wrap=True)


def plant_canaries(task: Path) -> None:
    """Plants canaries and says what to do with them."""
    file, examples = plant(load_task(task, needs_model=False))
    print(
        f"Wrote {shortest(examples)}, and what was planted into {file.name}. To see what a training gives away, write"
    )
    print(f"  examples: {examples.name}")
    print(
        f"in the task file, train, and run {command('test', task)}. Never release weights that were trained on it."
    )


def print_taught(taught: Taught) -> None:
    """Says what was proposed, and how to go on."""
    print(f"\n{taught.file.name}: {count(taught.proposed, 'row')} proposed, {taught.approved:,} approved.")
    if taught.broken:
        print(
            f"{count(taught.broken, 'answer')} of them would break the contract; write others, or loosen contract:."
        )
    if taught.examples is None:
        print('Read them, correct the answers, set "approved": true, and run the same command again.')
    else:
        print(f"Wrote {shortest(taught.examples)}. To train on it, write in the task file:")
        print(f"  examples: {taught.examples.name}")


def write_suite(task: Path) -> None:
    """Writes a suite file and says what to do with it."""
    file = start_suite(task)
    print(f"Wrote {shortest(file)}. Write your own questions into it, add this line to the task file,")
    print(f"  suite: {file.name}\nand run: {command('test', task)}")


def print_card(task: Path, run_name: str | None, method: str | None) -> None:
    """Writes the card of a run's assistant and says where it is."""
    file = write_card(find_run(runs_folder(task), run_name), method)
    print(f"Wrote {shortest(file)}. Read it, add a licence, and correct what only you know.")


@contextmanager
def _progress(console: Console) -> Iterator[OnProgress]:
    """Progress on a terminal as a bar for each side, else a line now and then."""
    narrator, tasks = Narrator(console), dict[str, TaskID]()
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:

        def take(who: str, done: int, total: int, left: float) -> None:
            if console.is_terminal:
                if who not in tasks:
                    tasks[who] = bar.add_task(who, total=total)
                bar.update(tasks[who], completed=done)
            else:
                narrator.now_and_then(f"{who}: {done:,} of {total:,} questions, {time_in_words(left)} left")

        yield take

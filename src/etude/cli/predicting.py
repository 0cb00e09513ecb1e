"""`etude predict` and `etude index` in the terminal: what is done and what is left, then the result."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from etude.answer_file import predict
from etude.base.wording import count, time_in_words
from etude.cli.narrator import INTERRUPTED, Narrator
from etude.cli.printing import shortest
from etude.index.build import build_index
from etude.models.registry import Models
from etude.task import load_task


def run_index(task: Path) -> int:
    """Indexes the task's documents with its progress on stderr; returns the exit code."""
    narrator = Narrator(Console(stderr=True, highlight=False, soft_wrap=True))
    begun: dict[str, float] = {}
    with narrator.console.status("Reading ...") as status:

        def show(what: str, done: int, of: int) -> None:
            begin = begun.setdefault(what, time.monotonic())
            taken = time.monotonic() - begin
            left = f", {time_in_words(taken * (of - done) / done)} left" if taken and done < of else ""
            text = f"{what} {done:,} of {of:,}{left}"
            status.update(text)
            if not narrator.console.is_terminal:
                narrator.now_and_then(text)

        try:
            found = build_index(load_task(task, needs_model=False), Models(), show)
        except KeyboardInterrupt:
            narrator.say("Stopped. Run the same command to continue.")
            return INTERRUPTED
    for problem in found.problems:
        narrator.say(f"Note: {problem}.")
    embedded = f", {found.embedded:,} of them newly embedded by {found.encoder}" if found.encoder else ""
    print(
        f"{count(found.documents, 'document')}, {count(found.passages, 'passage')}{embedded}; "
        f"{time_in_words(found.seconds)}."
    )
    return 0


def run_predict(
    place: Path, file: Path, output: Path, method: str | None, columns: Sequence[str], yes: bool
) -> int:
    """Answers the file with its progress on stderr; returns the exit code."""
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    narrator = Narrator(console, yes=yes)
    with console.status("Reading ...") as status:

        def show(done: int, total: int, left: float) -> None:
            text = f"{done:,} of {total:,} rows" + (f", {time_in_words(left)} left" if left else "")
            status.update(text)
            if not console.is_terminal:
                narrator.now_and_then(text)

        def ask(question: str) -> bool:
            status.stop()
            answer = narrator.ask(question)
            status.start()
            return answer

        try:
            found = predict(place, file, output, method=method, input=columns, on_progress=show, confirm=ask)
        except KeyboardInterrupt:
            narrator.say("Stopped. Run the same command to continue.")
            return INTERRUPTED
    narrator.say(
        f"{shortest(found.file.absolute())}: {count(found.rows, 'row')}, answered by {found.method}."
    )
    if found.problems:
        narrator.say(
            f"{count(found.problems, 'row')} not answered, cut or against the contract: see column problem."
        )
    return 0

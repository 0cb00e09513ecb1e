"""`etude predict` in the terminal: rows and time left, then where the answers are."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from etude.answer_file import predict
from etude.base.wording import count, time_in_words
from etude.cli.narrator import INTERRUPTED, Narrator
from etude.cli.printing import shortest


def run_predict(place: Path, file: Path, output: Path, method: str | None, columns: Sequence[str]) -> int:
    """Answers the file with its progress on stderr; returns the exit code."""
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    narrator = Narrator(console)
    with console.status("Reading ...") as status:

        def show(done: int, total: int, left: float) -> None:
            text = f"{done:,} of {total:,} rows" + (f", {time_in_words(left)} left" if left else "")
            status.update(text)
            if not console.is_terminal:
                narrator.now_and_then(text)

        try:
            found = predict(place, file, output, method=method, input=columns, on_progress=show)
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

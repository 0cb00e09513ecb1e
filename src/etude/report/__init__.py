"""The report of a run: `report.html`, one self-contained page, and `report.md` for a pull request.

headline    whether the best method is ready, its score, and the next step
contents    the values of a report
read_run    reads them from a run folder
phrasing    its sentences and table rows
pictures    positions in its charts
html        the page (template.html.j2, report.css, report.js)
markdown    its summary for GitHub and terminals (report.md.j2)
"""

import time
from collections.abc import Callable
from pathlib import Path

from etude.base.files import write_text
from etude.report.contents import Report
from etude.report.html import render_html
from etude.report.markdown import render_markdown
from etude.report.read_run import read_report
from etude.runs.folder import Run

PAUSE_FACTOR = 20.0
"""While a run goes on, writing its report takes at most one part in this many of the time."""


def write_report(run_folder: Path) -> tuple[Path, Path]:
    """Write `report.html` and `report.md` into a run folder and return their paths.

    Works on a run in any state: missing results are left out, and the top of the page says that the
    run is not complete. Both files are replaced atomically. No text of a test row is shown. Raises
    RunError if the folder is not a run folder or a file in it cannot be read.
    """
    report = read_report(run_folder)
    page = run_folder / "report.html"
    text = run_folder / "report.md"
    write_text(page, render_html(report))
    write_text(text, render_markdown(report))
    return page, text


def report_while_running(run: Run) -> Callable[[], None]:
    """Return a function to call after each result: it writes the report anew, unless that takes too
    much time.
    """
    due = [0.0]

    def report() -> None:
        started = time.monotonic()
        if started >= due[0]:
            write_report(run.folder)
            ended = time.monotonic()
            due[0] = ended + PAUSE_FACTOR * (ended - started)

    return report

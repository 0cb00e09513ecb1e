"""The report of a run: `report.html`, one self-contained page, and `report.md` with what belongs in a
pull request.

contents    what a report shows
read_run    reads it from a run folder
phrasing    what it says in sentences
pictures    where things stand in the pictures
html        the page (template.html.j2, report.css, report.js)
markdown    its summary for GitHub and terminals (report.md.j2)
"""

from __future__ import annotations

from pathlib import Path

from etude.base.files import write_text
from etude.report.contents import Report
from etude.report.html import render_html
from etude.report.markdown import render_markdown
from etude.report.read_run import read_report

__all__ = ["Report", "read_report", "write_report"]


def write_report(run_folder: Path) -> tuple[Path, Path]:
    """Writes `report.html` and `report.md` into a run folder and returns their paths.

    Works on a run in any state: what is not there yet is left out, and the page says at its top
    that the run is not complete. Both files are written aside and renamed. No text of a test row
    is shown. Raises RunError when the folder is no run folder or a file in it cannot be read.
    """
    report = read_report(run_folder)
    page, text = run_folder / "report.html", run_folder / "report.md"
    write_text(page, render_html(report))
    write_text(text, render_markdown(report))
    return page, text

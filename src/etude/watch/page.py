"""The page of `etude watch`, which loads nothing, and its first sentence."""

from pathlib import Path

from etude.base.formatting import format_share
from etude.base.pages import render_page
from etude.report.pictures import SHARES
from etude.watch.watching import FAR, LOW_CONFIDENCE, WatchReport


def format_headline(report: WatchReport) -> str:
    """Say whether the questions are those of the rows and, if not, since when and how many."""
    if report.far is None:
        return "No alarm: the questions are as near to the rows as held-out rows are"
    since = f"since {report.change_time.replace('T', ' ')}" if report.change_time else "in this record"
    share, usual = format_share(report.far.value), format_share(1 - FAR)
    return f"Alarm: {since}, {share} of the questions are far from the rows ({usual} would be usual)"


def to_html(report: WatchReport) -> str:
    """Render the page."""
    return render_page(
        Path(__file__).parent,
        "page.html.j2",
        *("report.css", "page.css"),
        report=report,
        headline=format_headline(report),
        low_confidence=format_share(LOW_CONFIDENCE),
        axis=SHARES,
    )

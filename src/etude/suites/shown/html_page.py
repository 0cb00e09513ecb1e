"""report.html of a test: one page that loads nothing, made with the parts of every page of Étude's."""

from __future__ import annotations

from pathlib import Path

from markupsafe import Markup

from etude.base import wording
from etude.base.pages import asset, environment, source_hash
from etude.report.pictures import SHARES
from etude.suites.acts import IN_WORDS
from etude.suites.results import Examined
from etude.suites.shown import contents
from etude.types import ACTS

_HERE = Path(__file__).parent


def as_html(tested: Examined) -> str:
    """The whole page as text."""
    css = asset("report.css") + (_HERE / "page.css").read_text(encoding="utf-8")
    script = (_HERE / "page.js").read_text(encoding="utf-8")
    page = environment(_HERE).get_template("page.html.j2")
    return page.render(
        tested=tested,
        subject=tested.subject,
        words=contents,
        wording=wording,
        axis=SHARES,
        bars=list(contents.bars(tested)),
        sure=tested.confidence,
        floor=contents.floor(tested),
        curve=contents.curve(tested),
        shown=contents.ordered(tested.judged),
        acts=ACTS,
        act_words=IN_WORDS,
        css=Markup(css),
        css_hash=source_hash(css),
        script=Markup(script),
        script_hash=source_hash(script),
    )

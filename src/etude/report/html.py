"""report.html: one page that holds everything it needs and loads nothing.

A content security policy with the hashes of the page's own style and script lets nothing else
run, even where a browser would otherwise fetch or execute it. Texts of the user's are escaped by
Jinja2; the rows for side-by-side reading travel as JSON that cannot close its own element.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from pathlib import Path

from jinja2 import Environment
from markupsafe import Markup

from etude.base import wording
from etude.base.files import Json
from etude.base.pages import asset, environment, source_hash
from etude.report import phrasing as words
from etude.report import pictures
from etude.report.contents import Report
from etude.runs.verdict import Verdict
from etude.types import Estimate

MOST_TEXT = 2_200_000
"""Bytes of rows' texts in a page; above it, long texts are cut to fit."""
CAPS = (20_000, 8_000, 4_000, 2_000, 1_000, 600, 400, 250, 120)
"""Characters at which texts are cut, tried in this order."""
MANY_VALUES = 12
"""A tag with more values than this is folded away at first."""

_HASH = re.compile(r"[0-9a-f]{12}(-\d+)?")
"""The id that a row is given where it has none of its own."""
_HERE = Path(__file__).parent
Place = Callable[[str], int]
_INSIDE_SCRIPT = str.maketrans(
    {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028", "\u2029": "\\u2029"}
)


def render_html(report: Report) -> str:
    """The whole page as text."""
    css, script = asset("report.css"), asset("report.js")
    axis = pictures.ladder_axis(report)
    failures = words.failure_kinds(report)
    evidence = report.verdict.evidence if report.verdict else None
    earned = report.verdict.break_even if report.verdict else None
    return (
        _templates()
        .get_template("template.html.j2")
        .render(
            report=report,
            verdict=report.verdict,
            words=words,
            axis=axis,
            on_test=any(rung.test for rung in report.rungs),
            best=pictures.best_value(report),
            share_axis=pictures.SHARES,
            decides=any(rung.rows_to_decide for rung in report.rungs),
            drawing=pictures.drawing(report.curve) if report.curve else None,
            evidence=evidence,
            learning=pictures.learning_lines(evidence) if evidence else None,
            costs=pictures.cost_lines(earned) if earned else None,
            tags=_by_tag(report.verdict) if report.verdict else {},
            failures=failures,
            labels={rung.name: rung.label for rung in report.rungs},
            many_values=MANY_VALUES,
            rows=Markup(embed(report)),
            css=Markup(css),
            script=Markup(script),
            css_hash=source_hash(css),
            script_hash=source_hash(script),
        )
    )


@cache
def _templates() -> Environment:
    templates = environment(_HERE)
    templates.filters["seconds"] = words.seconds
    templates.filters["price"] = words.price
    templates.globals["wording"] = wording
    return templates


def _by_tag(verdict: Verdict) -> dict[str, dict[str, dict[str, Estimate]]]:
    """Tag -> value -> method -> its test result."""
    found: dict[str, dict[str, dict[str, Estimate]]] = {}
    for line in verdict.by_tag:
        found.setdefault(line.tag, {}).setdefault(line.value, {})[line.method] = line.estimate
    return found


def embed(report: Report) -> str:
    """The dev rows as compact JSON that is safe inside a script element."""
    names = [rung.name for rung in report.rungs if rung.num_dev]
    kinds, texts = list(words.failure_kinds(report)), dict[str, int]()

    def place(text: str) -> int:
        """The position of a text in the list, which holds each text once."""
        return texts.setdefault(text, len(texts))

    rows = [_row(row, names, place, kinds) for row in report.dev]
    data = {
        "methods": [[rung.name, rung.label] for rung in report.rungs if rung.num_dev],
        "left": _first_of((report.untuned, *names), names),
        "right": _first_of((report.tuned, *reversed(names)), names),
        "tuned": report.tuned,
        "turned": words.turned(report),
        "least": report.least_turn,
        "rows": rows,
        "failures": kinds,
        "texts": _capped(list(texts)),
    }
    return json.dumps(data, ensure_ascii=False, separators=(",", ":")).translate(_INSIDE_SCRIPT)


def _row(answers: Mapping[str, Json], names: list[str], place: Place, kinds: list[str]) -> list[object]:
    """[id or `file:line`, input, expected, tags, answers], texts by their place; 0 where there is no answer yet."""
    line = next(iter(answers.values()))
    where = line.get("where") if _HASH.fullmatch(line["id"]) else None
    tags = [[place(tag), place(str(value))] for tag, value in (line.get("tags") or {}).items()]
    told = [_answer(answers[name], place, kinds) if name in answers else 0 for name in names]
    return [where or line["id"], place(line["input"]), place(line["expected"]), tags, told]


def _answer(line: Json, place: Place, kinds: list[str]) -> list[object]:
    """[text, score, failures, citations], each failure by its place among the kinds; without citations where there are
    none."""
    failed = [*line["failed"], *([words.CUT] if line["cut"] else [])]
    cited = [place("; ".join(line["citations"]))] if line.get("citations") else []
    return [place(line["answer"]), round(line["score"], 4), [kinds.index(kind) for kind in failed], *cited]


def _first_of(wanted: Iterable[str | None], names: list[str]) -> str | None:
    return next((name for name in wanted if name in names), None)


def _capped(texts: list[str]) -> list[str]:
    """The texts, cut at the largest cap with which they fit into MOST_TEXT bytes."""
    for cap in CAPS:
        cut = [_cut(text, cap) for text in texts]
        if sum(len(text.encode()) for text in cut) <= MOST_TEXT:
            break
    return cut


def _cut(text: str, cap: int) -> str:
    if len(text) <= cap:
        return text
    return f"{text[:cap]}\u2026 [{len(text) - cap:,} more characters in predictions.jsonl]"

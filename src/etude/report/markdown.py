"""report.md: the report in GitHub's Markdown, for a pull request or a terminal of 100 columns.

Side-by-side reading is an interactive page's work; here stand the first dev rows that tuning
fixed and broke, or raised and lowered. Methods go by their names, as in the task file and on the command line.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from etude.base.wording import bounds, percent, points, signed, signed_bounds
from etude.report import phrasing as words
from etude.report.contents import DevAnswer, DevRow, Report, Rung
from etude.report.markdown_layout import (
    bullets,
    escaped,
    fenced,
    labelled,
    paragraph,
    picture,
    table,
    wrapped,
)
from etude.types import Estimate

MOST_ROWS = 10
"""Rows shown of those that tuning fixed, and as many of those that it broke."""
MOST_TEXT = 400
"""Characters of a row's text that are shown."""


def render_markdown(report: Report) -> str:
    """The whole page as text."""
    sections = _of_training(report) if report.command == "train" else _of_comparison(report)
    lines = [line for section in sections for line in ("", *section)]
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip() + "\n"


def _of_training(report: Report) -> tuple[list[str], ...]:
    return _top(report), _training(report), _prompts(report), _data(report), _again(report)


def _of_comparison(report: Report) -> tuple[list[str], ...]:
    return (
        _top(report),
        _ladder(report),
        _pairs(report),
        _others(report),
        _dev(report),
        _turned(report),
        _tags(report),
        _failures(report),
        _cost(report),
        _training(report),
        _prompts(report),
        _data(report),
        _again(report),
    )


def _top(report: Report) -> list[str]:
    lines = [f"# Étude report: {escaped(report.name)}", ""]
    if report.status != "complete":
        state = words.RUN_STATES.get(report.status, "This run is not complete.")
        lines += [*wrapped(f"> **{escaped(report.status.capitalize())}.** {state}", then="> "), ""]
    found = report.verdict
    if report.command == "train":
        notes = (note for rung in report.rungs for note in rung.notes)
        return [*lines, f"**{escaped(words.outcome(report))}**", "", *bullets(notes)]
    if found is None:
        return [*lines, "**No verdict yet.** Until the test is opened, this page shows dev only."]
    lines += paragraph(f"**{escaped(found.sentence)}**")
    if found.target:
        lines += paragraph(f"Target: {escaped(found.target.text)}")
    lines += bullets(found.caveats)
    if found.advice:
        lines += ["## Advice", *bullets(f"{line.text} (Rests on {line.rests_on})" for line in found.advice)]
    return lines


def _ladder(report: Report) -> list[str]:
    if not report.rungs:
        return ["## The ladder", "", "No method has answered yet."]
    on_test = any(rung.test for rung in report.rungs)
    where = f"on {words.test_rows(report)}" if on_test else "on dev so far"
    rows = [_ladder_row(rung, rung.test if on_test else rung.dev) for rung in report.rungs]
    lines = ["## The ladder", ""]
    lines += paragraph(f"{escaped(words.metric(report))}. Measured {where}, simplest method first.")
    head = ("Method", "0 to 100%", "Estimate", "95% interval", "n", "Status")
    lines += table(head, rows, right=(2, 3, 4))
    lines += paragraph(
        f"Margin: {points(report.margin)} points. n counts {report.unit}s.{_recommended(report)}"
    )
    lines += paragraph(escaped(words.rows_to_decide(report)))
    if words.headline(report):
        lines += ["### The comparison declared in advance", *paragraph(escaped(words.headline(report)))]
        lines += bullets(report.reasons)
    return lines


def _ladder_row(rung: Rung, found: Estimate | None) -> list[str]:
    name = f"**{escaped(rung.name)}**" if rung.recommended else escaped(rung.name)
    if found is None:
        return [name, "", "not measured yet", "", "", ""]
    status = f"{words.MARKS.get(rung.status, '')} {rung.status}" if rung.status else ""
    return [name, picture(found), percent(found.value), bounds(found), f"{found.n:,}", status]


def _recommended(report: Report) -> str:
    names = [escaped(rung.name) for rung in report.rungs if rung.recommended]
    return f" Recommended: **{names[0]}**." if names else ""


def _pairs(report: Report) -> list[str]:
    if not report.verdict or not report.verdict.pairs:
        return []
    rows = [
        [escaped(pair.a), escaped(pair.b), signed(found.value), signed_bounds(found), f"{found.n:,}"]
        for pair in report.verdict.pairs
        for found in (pair.difference,)
    ]
    return [
        "### All pairs of methods",
        *paragraph("Differences in points. The intervals are simultaneous: all of them hold together."),
        *table(("Method", "Against", "Difference", "95% interval", "n"), rows, right=(2, 3, 4)),
    ]


def _others(report: Report) -> list[str]:
    """What was measured beside the headline on the test."""
    names = words.others(report)
    if not names:
        return []
    rows = [[escaped(rung.name), *(_other(rung, name) for name in names)] for rung in report.rungs]
    head = ("Method", *(escaped(label) for label in names.values()))
    return ["## Other measures", *paragraph("On test; they decide nothing."), *table(head, rows)]


def _other(rung: Rung, name: str) -> str:
    return words.estimate(rung.others[name]) if name in rung.others else ""


def _dev(report: Report) -> list[str]:
    """Dev results beside the test's; without a test the ladder shows them already."""
    if not any(rung.test for rung in report.rungs):
        return []
    rows = [[escaped(rung.name), words.estimate(rung.dev)] for rung in report.rungs if rung.dev]
    said = paragraph("Choices were made on these rows; the test decides.")
    return ["## On dev", *said, *table(("Method", "Dev"), rows)]


def _turned(report: Report) -> list[str]:
    if not report.tuned or not report.untuned:
        return []
    lines = []
    for sign, title in zip((1, -1), words.turned(report), strict=True):
        rows = [row for row in report.dev if _turn(report, row) * sign > 0]
        lines += _turned_rows(report, f"{title} tuning", rows)
    return lines


def _turn(report: Report, row: DevRow) -> float:
    """How much tuning raised the row's score, scores of four digits as in the page; 0 where that is less than
    `least_turn`, and while an answer is missing."""
    before, after = row.answers.get(report.untuned or ""), row.answers.get(report.tuned or "")
    change = round(after.score, 4) - round(before.score, 4) if before and after else 0.0
    return change if abs(change) >= report.least_turn - 1e-9 else 0.0


def _turned_rows(report: Report, title: str, rows: Sequence[DevRow]) -> list[str]:
    shown = rows[:MOST_ROWS]
    lines = [f"## {title}: {len(rows):,} of {len(report.dev):,} dev rows", ""]
    lines += paragraph(words.least_turn(report))
    if not shown:
        return [*lines, "None.", ""]
    if len(shown) < len(rows):
        lines += [f"The first {len(shown)}:", ""]
    return lines + [line for row in shown for line in _turned_row(report, row)]


def _turned_row(report: Report, row: DevRow) -> list[str]:
    answers = [(name, _answer(row.answers[name])) for name in (report.untuned, report.tuned) if name]
    asked = [("row", row.place), ("asked", _short(row.input)), ("wanted", _short(row.expected))]
    return fenced(labelled([*asked, *answers]))


def _answer(answer: DevAnswer) -> str:
    mark = "✓" if answer.score >= 1 else "✗" if answer.score <= 0 else f"◐ {percent(answer.score)}"
    failures = (*answer.failures, *([words.CUT] if answer.cut else []))
    failed = f"\nFailed: {'; '.join(failures)}" if failures else ""
    return f"{mark} {_short(answer.text) or '(empty answer)'}{failed}"


def _short(text: str) -> str:
    return text if len(text) <= MOST_TEXT else text[:MOST_TEXT] + "…"


def _tags(report: Report) -> list[str]:
    """A line for every value and method; the value stands at the first of its lines."""
    if not report.by_tag:
        return []
    rows = []
    for row in report.by_tag:
        shown = [rung.name for rung in report.rungs if rung.name in row.estimates]
        for at, name in enumerate(shown):
            head = ("", "") if at else (escaped(row.tag), escaped(row.value))
            rows.append([*head, escaped(name), words.estimate(row.estimates[name])])
    said = paragraph("On test; these point at where to look, and decide nothing.")
    return ["## Results by tag", *said, *table(("Tag", "Value", "Method", "Estimate"), rows)]


def _failures(report: Report) -> list[str]:
    lines = ["## Failures by kind", ""]
    if report.has_forms:
        head = ("On test", "Keeps the contract", "Passes the check", "Cut at the length limit")
        lines += table(head, [_forms_row(rung) for rung in report.rungs], right=(3,))
    lines += paragraph(escaped(words.failure_note(report)))
    kinds = words.failure_kinds(report)
    if not kinds:
        return lines
    kind_head = ("Kind (dev rows)", *(escaped(rung.name) for rung in report.rungs))
    rows = [
        [escaped(kind), *(f"{counts.get(rung.name, 0):,} of {rung.num_dev:,}" for rung in report.rungs)]
        for kind, counts in kinds.items()
    ]
    return lines + table(kind_head, rows, right=range(1, len(kind_head)))


def _forms_row(rung: Rung) -> list[str]:
    form = words.estimate(rung.form) if rung.form else ""
    check = words.estimate(rung.check) if rung.check else ""
    return [escaped(rung.name), form, check, "" if rung.cut_test is None else f"{rung.cut_test:,}"]


def _cost(report: Report) -> list[str]:
    if not report.verdict:
        return []
    head = ["Method", "Prompt tokens", "of them cached", "Answer tokens", "Time", "Time to fit"]
    priced = report.priced
    rows = [_cost_row(rung, priced) for rung in report.rungs]
    lines = ["## What a request costs"]
    lines += table([*head, *(["Price of 1,000"] if priced else [])], rows, right=range(1, 7))
    found = report.verdict.break_even
    return lines + (paragraph(escaped(found.text)) if found else [])


def _cost_row(rung: Rung, priced: bool) -> list[str]:
    cost, fit = rung.cost, words.seconds(rung.fit_seconds)
    price = [words.price(cost.price if cost else None)] if priced else []
    if cost is None:
        return [escaped(rung.name), "", "", "", "", fit, *price]
    tokens = [f"{num:,.0f}" for num in (cost.prompt_tokens, cost.cached_tokens, cost.answer_tokens)]
    return [escaped(rung.name), *tokens, words.seconds(cost.seconds), fit, *price]


def _training(report: Report) -> list[str]:
    if not report.curve:
        return []
    first, last = report.curve.steps[0], report.curve.steps[-1]
    said = (
        f"Loss on the training rows: {first[1]:.3f} at step {first[0]:,}, {last[1]:.3f} at step {last[0]:,}."
    )
    head, *rows = words.epochs(report)
    lines = ["## Training", *paragraph(said), *table(head, rows, right=range(1, len(head) - 1))]
    lines += bullets(words.learned(report))
    settings = [f"{name}: {value} ({why})" for name, value, why in words.settings(report)]
    lines += ["### Settings", *bullets(settings)] if settings else []
    return lines + paragraph(words.defaults(report))


def _prompts(report: Report) -> list[str]:
    lines = ["## Prompts, word for word", *paragraph(words.tuned_prompt(report))]
    for rung in report.rungs:
        lines += [f"### {escaped(rung.name)}: {escaped(rung.label)}", ""]
        lines += fenced(rung.prompt) if rung.prompt else ["This method asks no model.", ""]
        lines += _candidates(rung)
        lines += bullets(rung.notes)
        lines += bullets(f"{key}: {value}" for key, value in words.items(rung.params))
    return lines


def _candidates(rung: Rung) -> list[str]:
    """What was tried, and why one was taken."""
    if not rung.candidates:
        return []
    rows = [
        [escaped(c.name) + (" (chosen)" if c.chosen else ""), words.estimate(c.dev) if c.dev else ""]
        for c in rung.candidates
    ]
    return table(("Tried on dev", "Dev"), rows) + bullets(c.why for c in rung.candidates if c.why)


def _data(report: Report) -> list[str]:
    sides = ", ".join(f"{num:,} {side}" for side, num in report.split.items())
    lines = ["## Data", "", f"Rows: {sides}.", *bullets(report.split_notes)]
    if report.power:
        rows = [list(row) for row in words.power_rows(report)]
        head = (
            words.power_heading(report),
            f"the smallest difference {words.test_rows(report)} can show is",
        )
        lines += ["### What this test can show", *table(head, rows, right=(0, 1))]
    lines += ["### The plan", *bullets(report.plan.lines)] if report.plan.lines else []
    if report.plan.shrunk:
        lines += ["To stay inside the budget it was made smaller:", *bullets(report.plan.shrunk)]
    if report.findings:
        lines += ["### Findings", *bullets(f"{f.severity}: {f.message} {f.remedy}" for f in report.findings)]
    lines += ["### Notes", *bullets(report.notes)] if report.notes else []
    return lines


def _again(report: Report) -> list[str]:
    versions = [[escaped(name), escaped(value)] for name, value in report.versions]
    prints = [
        [f"fingerprint of {escaped(name)}", escaped(value)] for name, value in report.fingerprints.items()
    ]
    return ["## Do it again", *paragraph(words.openings(report)), *table(("", ""), [*versions, *prints])]

"""report.md: the report in GitHub's Markdown, for a pull request or a terminal.

Side-by-side reading is an interactive page's work; here stand the first dev rows that tuning
fixed and broke.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from etude.report import words
from etude.report.numbers import DevAnswer, DevRow, Report, Rung
from etude.types import Estimate

MOST_ROWS = 10
"""Rows shown of those that tuning fixed, and as many of those that it broke."""
MOST_TEXT = 400
"""Characters of a row's text that are shown."""
BAR = 25
"""Characters of the picture of an interval."""


def render_markdown(report: Report) -> str:
    """The whole page as text."""
    sections = (
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
    lines = [line for section in sections for line in section]
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip() + "\n"


def escaped(text: object) -> str:
    """A text of the user's as Markdown that shows it as it is, on one line, inside a table too."""
    shown = str(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    shown = re.sub(r"([\\`*_\[\]~|$]|:(?=[\w+-]+:))", r"\\\1", shown)
    shown = re.sub(r"^(\s*)([#+=-]|\d+(?=[.)](\s|$)))", _not_a_mark, shown)
    return re.sub(r"\r\n|[\r\n\u2028\u2029]", "<br>", shown)


def _not_a_mark(start: re.Match[str]) -> str:
    """The start of a text that Markdown would take for a heading or a list."""
    space, mark = start.group(1, 2)
    return f"{space}{mark}&#8203;" if mark.isdigit() else f"{space}\\{mark}"


def fenced(text: str) -> list[str]:
    """A text word for word, in a fence longer than any run of backticks inside it."""
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return ["", f"{fence}text", text, fence, ""]


def table(head: Sequence[str], rows: Iterable[Sequence[str]], right: Sequence[int] = ()) -> list[str]:
    """A table of cells that are Markdown already; `right` names the columns of numbers."""
    rule = ["---:" if at in right else "---" for at in range(len(head))]
    lines = [f"| {' | '.join(cells)} |" for cells in (head, rule, *rows)]
    return ["", *lines, ""]


def bullets(texts: Iterable[str]) -> list[str]:
    """A list of users' texts."""
    lines = [f"- {escaped(text)}" for text in texts]
    return ["", *lines, ""] if lines else []


def picture(estimate: Estimate) -> str:
    """An interval on a line from 0 to 1, as `···├──●──┤···`."""
    low, at, high = (round(bound * (BAR - 1)) for bound in (estimate.low, estimate.value, estimate.high))
    cells = ["·"] * BAR
    cells[low : high + 1] = ["─"] * (high - low + 1)
    cells[low], cells[high] = "├", "┤"
    cells[at] = "●"
    return "`" + "".join(cells) + "`"


def _top(report: Report) -> list[str]:
    lines = [f"# Étude report: {escaped(report.name)}", ""]
    if report.status != "complete":
        state = words.RUN_STATES.get(report.status, "This run is not complete.")
        lines += [f"> **{escaped(report.status.capitalize())}.** {state}", ""]
    found = report.verdict
    if found is None:
        return [*lines, "**No verdict yet.** Until the test is opened, this page shows dev only."]
    lines += [f"**{escaped(found.sentence)}**", ""]
    if found.target:
        lines += [f"Target: {escaped(found.target)}", ""]
    lines += bullets(found.caveats)
    if found.advice:
        lines += ["## Advice", *bullets(_advice(text, rests_on) for text, rests_on in found.advice)]
    return lines


def _advice(text: str, rests_on: str) -> str:
    return f"{text} (Rests on {rests_on})" if rests_on else text


def _ladder(report: Report) -> list[str]:
    if not report.rungs:
        return ["## The ladder", "", "No method has answered yet."]
    on_test = any(rung.test for rung in report.rungs)
    where = f"on {words.test_rows(report)}" if on_test else "on dev so far"
    head = ("Method", "0 to 1", "Estimate", "95% interval", "n", "Status", "Rows that would decide")
    rows = [_ladder_row(report, rung, rung.test if on_test else rung.dev) for rung in report.rungs]
    lines = [
        "## The ladder",
        "",
        f"{escaped(words.metric(report))}. Measured {where}, simplest method first.",
    ]
    lines += table(head, rows, right=(2, 3, 4, 6))
    lines += [f"Margin: {words.scale(report).points(report.margin)}. n counts {report.unit}s.", ""]
    if words.headline(report):
        lines += ["### The comparison declared in advance", "", escaped(words.headline(report)), ""]
        lines += bullets(report.reasons)
    return lines


def _ladder_row(report: Report, rung: Rung, found: Estimate | None) -> list[str]:
    scale = words.scale(report)
    name = f"{escaped(rung.label)}, {escaped(rung.name)}{' (recommended)' if rung.recommended else ''}"
    if found is None:
        return [name, "", "not measured yet", "", "", "", ""]
    status = f"{words.MARKS.get(rung.status, '')} {rung.status}" if rung.status else ""
    decide = f"{rung.rows_to_decide:,}" if rung.rows_to_decide else ""
    return [
        name,
        picture(found),
        scale.number(found.value),
        scale.interval(found),
        f"{found.n:,}",
        status,
        decide,
    ]


def _pairs(report: Report) -> list[str]:
    if not report.verdict or not report.verdict.pairs:
        return []
    scale, labels = words.scale(report), {rung.name: rung.label for rung in report.rungs}
    rows = [
        [escaped(labels.get(p.a, p.a)), escaped(labels.get(p.b, p.b)), scale.difference(p.difference)]
        for p in report.verdict.pairs
    ]
    return [
        "### All pairs of methods",
        "",
        "Intervals are simultaneous.",
        *table(("Method", "Against", "Difference"), rows),
    ]


def _others(report: Report) -> list[str]:
    """What was measured beside the headline on the test."""
    names = words.others(report)
    if not names:
        return []
    rows = [[escaped(rung.label), *(_other(rung, name) for name in names)] for rung in report.rungs]
    head = ("Method", *(escaped(label) for label in names.values()))
    return ["## Other measures", "", "On test; they decide nothing.", *table(head, rows)]


def _other(rung: Rung, name: str) -> str:
    return words.scale_of(name).estimate(rung.others[name]) if name in rung.others else ""


def _dev(report: Report) -> list[str]:
    """Dev results beside the test's; without a test the ladder shows them already."""
    if not any(rung.test for rung in report.rungs):
        return []
    scale = words.scale(report)
    rows = [[escaped(rung.label), scale.estimate(rung.dev)] for rung in report.rungs if rung.dev]
    return [
        "## On dev",
        "",
        "Choices were made on these rows; the test decides.",
        *table(("Method", "Dev"), rows),
    ]


def _turned(report: Report) -> list[str]:
    if not report.tuned or not report.untuned:
        return []
    fixed = [row for row in report.dev if _turn(report, row) > 0]
    broken = [row for row in report.dev if _turn(report, row) < 0]
    both = (("Fixed by tuning", fixed), ("Broken by tuning", broken))
    return [line for title, rows in both for line in _turned_rows(report, title, rows)]


def _turn(report: Report, row: DevRow) -> float:
    """How much tuning raised the row's score; 0 while an answer is missing."""
    before, after = row.answers.get(report.untuned or ""), row.answers.get(report.tuned or "")
    return after.score - before.score if before and after else 0.0


def _turned_rows(report: Report, title: str, rows: Sequence[DevRow]) -> list[str]:
    shown = rows[:MOST_ROWS]
    lines = [f"## {title}: {len(rows):,} of {len(report.dev):,} dev rows", ""]
    if not shown:
        return [*lines, "None."]
    if len(shown) < len(rows):
        lines += [f"The first {len(shown)}:", ""]
    head = ("Row", "Asked", "Wanted", escaped(report.untuned), escaped(report.tuned))
    return lines + table(head, [_turned_row(report, row) for row in shown])


def _turned_row(report: Report, row: DevRow) -> list[str]:
    answers = [_answer(row.answers[name]) for name in (report.untuned, report.tuned) if name]
    return [escaped(row.id), escaped(_short(row.input)), escaped(_short(row.expected)), *answers]


def _answer(answer: DevAnswer) -> str:
    mark = "✓" if answer.score >= 1 else "✗" if answer.score <= 0 else f"◐ {answer.score:.3f}"
    failures = (*answer.failures, *(["cut at the length limit"] if answer.cut else []))
    failed = f"<br>Failed: {escaped('; '.join(failures))}" if failures else ""
    return f"{mark} {escaped(_short(answer.text))}{failed}"


def _short(text: str) -> str:
    return text if len(text) <= MOST_TEXT else text[:MOST_TEXT] + "…"


def _tags(report: Report) -> list[str]:
    if not report.verdict or not report.verdict.by_tag:
        return []
    scale = words.scale(report)
    head = ["Tag", "Value", *(escaped(rung.label) for rung in report.rungs)]
    rows = []
    for row in report.verdict.by_tag:
        cells = [row.estimates.get(rung.name) for rung in report.rungs]
        rows.append([escaped(row.tag), escaped(row.value), *(scale.estimate(e) if e else "" for e in cells)])
    return [
        "## Results by tag",
        "",
        "On test; these point at where to look, and decide nothing.",
        *table(head, rows),
    ]


def _failures(report: Report) -> list[str]:
    lines = ["## Failures by kind", ""]
    if report.has_forms:
        head = (
            "Method",
            "Keeps the contract (test)",
            "Passes the check (test)",
            "Cut at the length limit (test)",
        )
        lines += table(head, [_forms_row(rung) for rung in report.rungs], right=(3,))
    kinds = sorted({kind for rung in report.rungs for kind in rung.failures})
    if not kinds:
        return [*lines, "No failure on dev."]
    by_kind = ("Kind (dev rows)", *(escaped(rung.label) for rung in report.rungs))
    rows = [
        [escaped(kind), *(f"{rung.failures.get(kind, 0):,} of {rung.num_dev:,}" for rung in report.rungs)]
        for kind in kinds
    ]
    return lines + table(by_kind, rows, right=range(1, len(by_kind)))


def _forms_row(rung: Rung) -> list[str]:
    form = words.SHARES.estimate(rung.form) if rung.form else ""
    check = words.SHARES.estimate(rung.check) if rung.check else ""
    return [escaped(rung.label), form, check, "" if rung.cut_test is None else f"{rung.cut_test:,}"]


def _cost(report: Report) -> list[str]:
    if not report.verdict:
        return []
    head = (
        "Method",
        "Prompt tokens",
        "of them cached",
        "Answer tokens",
        "Time",
        "Price of 1,000",
        "Time to fit",
    )
    lines = [
        "## What a request costs",
        *table(head, [_cost_row(rung) for rung in report.rungs], right=range(1, 7)),
    ]
    found = report.verdict.break_even
    lines += [escaped(found["text"]), ""] if found.get("text") else []
    return lines + bullets(f"{key}: {value}" for key, value in words.items(found))


def _cost_row(rung: Rung) -> list[str]:
    cost, fit = rung.cost, words.seconds(rung.fit_seconds)
    if cost is None:
        return [escaped(rung.label), "", "", "", "", "", fit]
    tokens = [f"{num:,.0f}" for num in (cost.prompt_tokens, cost.cached_tokens, cost.answer_tokens)]
    return [escaped(rung.label), *tokens, words.seconds(cost.seconds), words.price(cost.price), fit]


def _training(report: Report) -> list[str]:
    if not report.curve:
        return []
    first, last = report.curve.steps[0], report.curve.steps[-1]
    said = (
        f"Loss on the training rows: {first[1]:.4f} at step {first[0]:,}, {last[1]:.4f} at step {last[0]:,}."
    )
    rows = [
        [f"{epoch.epoch}", f"{epoch.step:,}", f"{epoch.dev_loss:.4f}", "kept" if epoch.best else ""]
        for epoch in report.curve.epochs
    ]
    lines = ["## Training", "", said, *table(("Epoch", "After step", "Loss on dev", ""), rows, right=(1, 2))]
    lines += bullets(words.learned(report))
    settings = [[escaped(cell) for cell in line] for line in words.settings(report)]
    return lines + (table(("Setting", "Value", "Why"), settings, right=(1,)) if settings else [])


def _prompts(report: Report) -> list[str]:
    lines = ["## Prompts, word for word", "", words.tuned_prompt(report), ""]
    for rung in report.rungs:
        lines += [f"### {escaped(rung.label)}", ""]
        lines += fenced(rung.prompt) if rung.prompt else ["This method asks no model.", ""]
        lines += _candidates(report, rung)
        lines += bullets(rung.notes)
        lines += bullets(f"{key}: {value}" for key, value in words.items(rung.params))
    return lines


def _candidates(report: Report, rung: Rung) -> list[str]:
    if not rung.candidates:
        return []
    scale = words.scale(report)
    rows = [
        [
            escaped(c.name) + (" (chosen)" if c.chosen else ""),
            scale.estimate(c.dev) if c.dev else "",
            escaped(c.why),
        ]
        for c in rung.candidates
    ]
    return table(("Tried on dev", "Dev", "Why"), rows)


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
    return ["## Do it again", "", words.openings(report), *table(("", ""), [*versions, *prints])]

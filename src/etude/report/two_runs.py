"""Two runs beside each other: their methods on the test rows that both have answered, as values and as a page."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup

from etude.base import wording
from etude.base.files import Json, write_text
from etude.base.pages import asset, environment, source_hash
from etude.base.wording import count, p_value
from etude.errors import RunError, quote_value
from etude.report import pictures
from etude.runs import Run
from etude.runs.fingerprints import changed
from etude.stats import Headline, headline, score_sample
from etude.stats.sample import Sample

EXCERPT = 40
"""Characters of a row that are shown in a sentence."""
MOST_ROWS = 50
"""Dev rows of a method that the page shows."""
BY_LABEL = ("accuracy", "macro_f1")
"""Metrics that score a row alike: by whether its label is right."""


@dataclass(frozen=True)
class Compared:
    """One method in both runs: mean row scores on the test rows that both have answered."""

    method: str
    first: Sample
    second: Sample
    found: Headline
    """The second run minus the first."""
    higher: int
    lower: int
    """Test rows whose score rose, and fell, from the first run to the second."""
    same: bool
    """Whether all answers are the same."""
    dev: list[tuple[Json, Json]]
    """Lines of the dev rows whose score changed, in both runs."""

    @property
    def p(self) -> str:
        """p without its letter; empty where all answers are the same."""
        return "" if self.same else p_value(self.found.p).removeprefix("p ").removeprefix("= ")


@dataclass(frozen=True)
class TwoRuns:
    """Two runs and what differs between them."""

    first: Run
    second: Run
    methods: list[Compared]
    inputs: list[str]
    """Parts of the task that differ."""
    skipped: str
    """A sentence on test rows that were not compared; empty where all were."""


def compare_runs(first: Run, second: Run) -> TwoRuns:
    """Compares the methods that both runs have, paired by test row.

    Test rows whose wanted answer differs between the runs are skipped and counted. Raises RunError if they share no
    test row, or if their metrics score a row differently.
    """
    shared = [name for name in first.methods if name in second.methods]
    altered = sorted(set().union(*(_altered(first, second, name) for name in shared)))
    skipped = (
        f"Skipped, because the wanted answer differs between the runs: {count(len(altered), 'test row')}, such as "
        f"{quote_value(altered[0], EXCERPT)}."
        if altered
        else ""
    )
    methods = [found for name in shared if (found := _compared(first, second, name))]
    if not methods:
        raise RunError(f"{first.name} and {second.name} have no test row in common. {skipped}".rstrip())
    names = [run.info["metric"]["name"] for run in (first, second)]
    if len({BY_LABEL if name in BY_LABEL else name for name in names}) > 1:
        raise RunError(
            f"{first.name} and {second.name} score rows by {' and by '.join(names)}. Run both comparisons with one "
            "metric."
        )
    inputs = changed(first.info["inputs"], second.info["inputs"])
    return TwoRuns(first, second, methods, inputs, skipped)


def write_page(found: TwoRuns) -> Path:
    """Writes the page of two runs beside their folders and returns it."""
    css = asset("report.css")
    bounds = [
        end for each in found.methods for end in (each.found.difference.low, each.found.difference.high)
    ]
    templates = environment(Path(__file__).parent)
    templates.globals["wording"] = wording
    page = templates.get_template("two_runs.html.j2").render(
        found=found,
        axis=pictures.axis([0.0, *bounds], -1.0, 1.0),
        most=MOST_ROWS,
        css=Markup(css),
        css_hash=source_hash(css),
    )
    file = found.first.folder.parent / f"{found.first.name}--{found.second.name}.html"
    write_text(file, page)
    return file


def _compared(first: Run, second: Run, method: str) -> Compared | None:
    pairs = list(_pairs(first, second, method, "test"))
    if not pairs:
        return None
    units = [line["unit"] for line, _ in pairs]
    before, after = (score_sample([pair[side]["score"] for pair in pairs], units) for side in (0, 1))
    changes = [line["score"] - other["score"] for other, line in pairs]
    dev = [pair for pair in _pairs(first, second, method, "dev") if pair[0]["score"] != pair[1]["score"]]
    return Compared(
        method,
        before,
        after,
        headline(after, before),
        sum(change > 0 for change in changes),
        sum(change < 0 for change in changes),
        not any(changes) and all(a["answer"] == b["answer"] for a, b in pairs),
        dev,
    )


def _pairs(first: Run, second: Run, method: str, side: str) -> Iterator[tuple[Json, Json]]:
    """Lines of the same row (same id, input and wanted answer) on one side of both runs."""
    one, two = (
        {(line["id"], line["input"], line["expected"]): line for line in _lines(run, method, side)}
        for run in (first, second)
    )
    yield from ((line, two[key]) for key, line in one.items() if key in two)


def _lines(run: Run, method: str, side: str) -> list[Json]:
    return [line for line in run.predictions(method) if line["side"] == side]


def _wanted(run: Run, method: str) -> dict[str, set[str]]:
    """Input -> the answers that are wanted of it in the test."""
    wanted: dict[str, set[str]] = {}
    for line in _lines(run, method, "test"):
        wanted.setdefault(line["input"], set()).add(line["expected"])
    return wanted


def _altered(first: Run, second: Run, method: str) -> set[str]:
    """Inputs that both tests hold and of which the wanted answer differs."""
    one, two = _wanted(first, method), _wanted(second, method)
    return {text for text, wanted in one.items() if text in two and wanted.isdisjoint(two[text])}

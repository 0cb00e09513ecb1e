"""Compare two runs: their methods on the test rows that both have answered, as values and as a
page.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from etude.base import files, formatting, pages
from etude.errors import RunError, quote_value
from etude.evaluate import build_sample, parse_outcome
from etude.metrics import Metric, restore_metric
from etude.report import pictures
from etude.runs import Run, fingerprints
from etude.stats import PairedTest, compare_paired, sample

EXCERPT = 40  # Characters of a row that are shown in a sentence.
MAX_ROWS = 50  # Dev rows of a method that the page shows.
BY_LABEL = (
    "accuracy",
    "macro_f1",
)  # Metrics that score a row in the same way: whether its label is right.


@dataclass(frozen=True)
class MethodInTwoRuns:
    """One method in both runs: the metric on the test rows that both have answered."""

    method: str
    first: sample.UnitSums
    second: sample.UnitSums
    difference: PairedTest
    """The second run minus the first."""
    higher: int
    lower: int
    """Test rows whose score rose, and fell, from the first run to the second."""
    is_identical: bool
    changed_dev_rows: list[tuple[files.Json, files.Json]]
    """Lines of the dev rows whose score changed, in both runs."""

    @property
    def p(self) -> str:
        """The p-value without the letter p; empty if all answers are the same."""
        return (
            ""
            if self.is_identical
            else formatting.format_p_value(self.difference.p).removeprefix("p ").removeprefix("= ")
        )


@dataclass(frozen=True)
class TwoRuns:
    """Two runs and their differences."""

    first: Run
    second: Run
    metric: str
    """The metric of both ladders in words; accuracy if one of them shows macro-F1."""
    methods: list[MethodInTwoRuns]
    changed_inputs: list[str]
    """Parts of the task that differ."""
    skipped: str
    """A sentence on test rows that were not compared; empty if all were."""


def compare_runs(first: Run, second: Run) -> TwoRuns:
    """Compare the methods that both runs have, paired by test row.

    Test rows whose expected answer differs between the runs are skipped and counted. Raises
    RunError if they share no test row, or if their metrics score a row differently.
    """
    records = [run.info["metric"] for run in (first, second)]
    names = [record["name"] for record in records]
    if len({BY_LABEL if name in BY_LABEL else name for name in names}) > 1:
        raise RunError(
            f"{first.name} and {second.name} score rows by {' and by '.join(names)}. Run both "
            "comparisons with the same metric."
        )
    record = records[1] if names[0] == names[1] else {"name": BY_LABEL[0]}
    metric = restore_metric(record, second.info["kind"])
    shared = [name for name in first.fitted_methods if name in second.fitted_methods]
    altered = sorted(set().union(*(_find_altered(first, second, name) for name in shared)))
    skipped = (
        f"Skipped {formatting.format_count(len(altered), 'test row')} with different expected "
        f"answers in the two runs, such as {quote_value(altered[0], EXCERPT)}."
        if altered
        else ""
    )
    methods = [
        comparison
        for name in shared
        if (comparison := _compare_method(first, second, name, metric))
    ]
    if not methods:
        raise RunError(
            f"{first.name} and {second.name} have no test row in common. {skipped}".rstrip()
        )
    inputs = fingerprints.list_changes(first.info["inputs"], second.info["inputs"])
    return TwoRuns(first, second, record.get("label", metric.label), methods, inputs, skipped)


def write_page(runs: TwoRuns) -> Path:
    """Write the page of two runs next to their folders, and return its path."""
    bounds = [
        end
        for method in runs.methods
        for end in (method.difference.difference.low, method.difference.difference.high)
    ]
    page = pages.render_page(
        Path(__file__).parent,
        "two_runs.html.j2",
        "report.css",
        runs=runs,
        axis=pictures.make_axis([0.0, *bounds], -1.0, 1.0),
        max_rows=MAX_ROWS,
    )
    file = runs.first.folder.parent / f"{runs.first.name}--{runs.second.name}.html"
    files.write_text(file, page)
    return file


def _compare_method(first: Run, second: Run, method: str, metric: Metric) -> MethodInTwoRuns | None:
    pairs = list(_pair_rows(first, second, method, "test"))
    if not pairs:
        return None
    before, after = (
        build_sample(metric, [parse_outcome(pair[side]) for pair in pairs]) for side in (0, 1)
    )
    changes = [line["score"] - earlier["score"] for earlier, line in pairs]
    dev = [
        pair
        for pair in _pair_rows(first, second, method, "dev")
        if pair[0]["score"] != pair[1]["score"]
    ]
    return MethodInTwoRuns(
        method,
        before,
        after,
        compare_paired(after, before),
        sum(change > 0 for change in changes),
        sum(change < 0 for change in changes),
        not any(changes) and all(a["answer"] == b["answer"] for a, b in pairs),
        dev,
    )


def _pair_rows(
    first: Run, second: Run, method: str, side: str
) -> Iterator[tuple[files.Json, files.Json]]:
    # Lines of the same row: same id, input and expected answer.
    first_lines, second_lines = (
        {
            (line["id"], line["input"], line["expected"]): line
            for line in _read_side(run, method, side)
        }
        for run in (first, second)
    )
    yield from (
        (line, second_lines[key]) for key, line in first_lines.items() if key in second_lines
    )


def _read_side(run: Run, method: str, side: str) -> list[files.Json]:
    return [line for line in run.read_predictions(method) if line["side"] == side]


def _list_expected(run: Run, method: str) -> dict[str, set[str]]:
    expected: dict[str, set[str]] = {}
    for line in _read_side(run, method, "test"):
        expected.setdefault(line["input"], set()).add(line["expected"])
    return expected


def _find_altered(first: Run, second: Run, method: str) -> set[str]:
    # Inputs that are in both tests with different expected answers.
    first_expected = _list_expected(first, method)
    second_expected = _list_expected(second, method)
    return {
        text
        for text, answers in first_expected.items()
        if text in second_expected and answers.isdisjoint(second_expected[text])
    }

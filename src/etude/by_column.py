"""`etude train --each`: one assistant for each value of a column, such as each customer, and one table of all.

Every value is a task of its own, with the settings of the task file, its own rows, and its runs in
each/COLUMN/VALUE/runs/. The workers fit one value at a time.
"""

import hashlib
import math
import re
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from etude.base.files import write_json, write_text
from etude.base.formatting import format_interval, format_percent
from etude.base.issues import check_known
from etude.cluster import open_workers
from etude.comparison.compare import compare_rows
from etude.data.dataset import Dataset, MinRows, count_min_rows, load_dataset, load_test
from etude.errors import EtudeError
from etude.methods import get_methods, resolve_methods
from etude.metrics import Metric, choose_metric
from etude.runs.fingerprints import compute_fingerprints
from etude.runs.lifecycle import TaskRun
from etude.runs.questions import Confirm, answer_unasked
from etude.task import METHOD_NAMES, RowSource, Task, load_task
from etude.types import Estimate

FOLDER = "each"
MIN_SIZES = MinRows(20, 10, 10)  # rows of each side; the interval shows how little so small a test says
WIDE = 0.1  # half the width of an interval from which more rows are needed
TEST_SHARE = 0.2  # of the rows are in the test


@dataclass(frozen=True)
class ValueResult:
    """The assistant of one value."""

    value: str
    num_rows: int
    folder: Path
    """Its folder, for `etude.load`, `etude chat` and `etude serve`."""
    estimate: Estimate | None = None
    """The score on its own test rows; None if there is no assistant."""
    needed_rows: int | None = None
    """About how many rows would narrow the interval to WIDE on each side; None if it is as narrow."""
    problem: str = ""
    """Why there is no assistant."""


@dataclass(frozen=True)
class ValueTable:
    """The assistants of all values, and the folder with table.json and table.md."""

    method: str
    metric: Metric
    """The metric of all rows, chosen once from the examples of all values."""
    column: str
    results: tuple[ValueResult, ...]
    folder: Path

    def to_lines(self) -> list[tuple[str, str, str, str]]:
        """Return the value, its rows, its score with the 95% interval, and what it needs, for each value."""
        lines = []
        for row in self.results:
            score, need = "", row.problem
            if row.estimate:
                bounds = format_interval(row.estimate)
                score = f"{format_percent(row.estimate.value)} ({bounds}, n = {row.estimate.n})"
                need = f"about {row.needed_rows:,} rows" if row.needed_rows else ""
            lines.append((row.value, f"{row.num_rows:,}", score, need))
        return lines


def train_each(
    task_file: Path | str,
    column: str,
    *,
    method: str = "fine_tune",
    on: str | None = None,
    on_result: Callable[[ValueResult, int, int], None] = lambda result, done, total: None,
    confirm: Confirm = answer_unasked,
) -> ValueTable:
    """Fit a method for each value of a column of the examples, and measure it on test rows of the same value.

    `on` (default: the task's `where`) is local, one value after another, or a Ray cluster. `on_result` is called after
    each value, with the numbers of values done and of all. If a model behind a URL answers, this process asks it, and
    `confirm` is asked for each value first. A value with too few rows, or whose method fails, has a `problem`. The same
    call continues an earlier one: values that are complete are not fitted again.

    Raises InputError for errors of the task, its rows, the column or the method.
    """
    task = load_task(Path(task_file))
    check_known("--method", [method], METHOD_NAMES, "unknown method")
    task = replace(task, methods=(method,), budget_seconds=None, examples=_add_tag(task.examples, column))
    task = replace(task, test=_add_tag(task.test, column) if task.test else None)
    resolve_methods(get_methods([method]), task, is_explicit=True)
    task, dataset = load_dataset(task, MinRows(0, 0, 0))
    test, metric = load_test(task), choose_metric(task, dataset)
    if not task.questions:
        task = replace(task, metric=metric.name)
    values = sorted({row.tags.get(column, "") for row in dataset})
    parts = [_select_value(task, dataset, test, column, value) for value in values]
    results = []
    # A service is asked from this process, which counts requests and cost, and can ask the user.
    where, ask = ("local", confirm) if task.endpoints else (on or task.where, answer_unasked)
    with open_workers(where) as workers:
        for result in workers.map(_fit_value, parts, method, ask):
            results.append(result)
            on_result(result, len(results), len(parts))
    table = ValueTable(method, metric, column, tuple(results), task.folder / FOLDER / _name_folder(column))
    _write_table(table)
    return table


def _add_tag(source: RowSource, column: str) -> RowSource:
    """Read the column as a tag of each row. It no longer groups rows: all rows of a task have the same value."""
    group = None if source.group == column else source.group
    return replace(source, tags=tuple(dict.fromkeys((*source.tags, column))), group=group)


def _select_value(
    task: Task, dataset: Dataset, test: Dataset | None, column: str, value: str
) -> tuple[str, TaskRun]:
    """Return the value and its task with its rows."""

    def select(rows: Dataset) -> Dataset:
        positions = [position for position, row in enumerate(rows) if row.tags.get(column, "") == value]
        return rows.select(positions, f"{column}: {value}")

    name = _name_folder(value)
    folder = task.folder / FOLDER / _name_folder(column) / name
    rows, own_test = select(dataset), select(test) if test else None
    task = replace(task, name=f"{task.name}-{name}", folder=folder)
    return value, TaskRun(task, rows, own_test, compute_fingerprints(task, rows, own_test))


def _name_folder(text: str) -> str:
    """Return a name for a folder; different texts have different names."""
    plain = re.sub(r"[^\w-]+", "-", text).strip("-")[:60]
    digest = hashlib.sha256(text.encode()).hexdigest()[:6]
    return plain if plain and plain == text else f"{plain}-{digest}".lstrip("-")


def _fit_value(part: tuple[str, TaskRun], method: str, confirm: Confirm) -> ValueResult:
    value, task_run = part
    result = ValueResult(value, len(task_run.dataset), task_run.task.folder)
    min_rows, _ = count_min_rows(task_run.test is not None, MIN_SIZES)
    if result.num_rows < min_rows:
        return replace(result, problem=f"at least {min_rows} rows")
    try:
        comparison = compare_rows(
            task_run, get_methods([method]), on_event=lambda event: None, confirm=confirm, sizes=(MIN_SIZES,)
        )
    except OSError:  # a full disk stops all values
        raise
    except Exception as error:  # noqa: BLE001 - one value must not stop the others
        kind = "" if isinstance(error, EtudeError) else f"{type(error).__name__}: "
        return replace(result, problem=f"{kind}{error}".split("\n")[0])
    estimate = next(row.estimate for row in comparison.verdict.ladder if row.method == method)
    half = (estimate.high - estimate.low) / 2
    needed = math.ceil(estimate.n * (half / WIDE) ** 2 / TEST_SHARE / 10) * 10
    return replace(result, estimate=estimate, needed_rows=needed if half > WIDE else None)


def _write_table(table: ValueTable) -> None:
    values = [asdict(row) | {"folder": row.folder.name} for row in table.results]
    body = {"method": table.method, "metric": table.metric.name, "column": table.column, "values": values}
    write_json(table.folder / "table.json", body)
    heads = (
        table.column,
        "rows",
        f"{table.metric.label}, on its own test (95% interval)",
        f"needed for ±{100 * WIDE:.0f} points",
    )
    lines = [" | ".join(cells) for cells in (heads, ("---",) * len(heads), *table.to_lines())]
    write_text(table.folder / "table.md", "".join(f"| {line} |\n" for line in lines))

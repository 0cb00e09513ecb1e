"""What the test can show is told before anything is spent, for the rows that will be answered."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from etude.compare import compare
from etude.compare.events import Began, Event, Said
from etude.stats import smallest_difference
from etude.wording import points
from real_runs import LEAST
from small_task import write_task


def told_before_fitting(task: Path, budget: float | None) -> str:
    """Everything that is said before the first method begins."""
    told: list[Event] = []
    compare(task, budget=budget, on_event=told.append)
    first = next(place for place, event in enumerate(told) if isinstance(event, Began))
    return " ".join(event.text for event in told[:first] if isinstance(event, Said))


@pytest.mark.parametrize(("budget", "answered"), [(None, 140), (LEAST, 100)])
def test_the_smallest_difference_is_that_of_the_rows_to_be_answered(
    tmp_path: Path, budget: float | None, answered: int
) -> None:
    said = told_before_fitting(write_task(tmp_path, num=700), budget)
    (folder,) = (tmp_path / "runs").glob("small-*")
    info = json.loads((folder / "run.json").read_text())
    wanted = [smallest_difference(answered, d) for d in (0.1, 0.2, 0.3)]
    assert [line["difference"] for line in info["power"]] == wanted
    assert ("The plan answers 100 of 140 test rows" in said) == (answered == 100)
    last = said.rpartition("can show: ")[2]
    assert re.findall(r"([\d.]+) points", last) == [points(value) for value in wanted]
    assert info["power_on_dev"]["difference"] == smallest_difference(
        answered, info["power_on_dev"]["disagree"]
    )
    for line in wanted:
        assert f"{100 * line:.1f} points" in (folder / "report.md").read_text(encoding="utf-8")

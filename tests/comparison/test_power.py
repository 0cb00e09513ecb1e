"""What the test can show is told before anything is spent, for the rows that will be answered."""

import json
import re
from pathlib import Path

import pytest

from etude.base.formatting import format_points
from etude.comparison import compare
from etude.runs.events import Event, MethodStarted, NoteEvent
from etude.stats import (
    make_score_sample,
    measure_disagreement,
    smallest_detectable,
    smallest_difference,
    smallest_ever_detectable,
)
from real_runs import simulate_time
from small_task import rows, write_task


def list_notes(task: Path, budget: float | None) -> list[str]:
    """The notes of a comparison up to its first test answer."""
    events: list[Event] = []
    with simulate_time():
        compare(task, budget=budget, on_event=events.append)
    is_test = [isinstance(event, MethodStarted) and event.side == "test" for event in events]
    return [event.text for event in events[: is_test.index(True)] if isinstance(event, NoteEvent)]


@pytest.mark.parametrize(("budget", "answered"), [(None, 140), (100.0, 100)])
def test_the_smallest_difference_is_that_of_the_rows_to_be_answered(
    tmp_path: Path, budget: float | None, answered: int
) -> None:
    task = write_task(
        tmp_path, model="fake:delay=2", num=700, more="methods: [prompt, fine_tune]\n"
    )
    powers = [note for note in list_notes(task, budget) if "can show: " in note]
    (folder,) = (tmp_path / "runs").glob("small-*")
    info = json.loads((folder / "run.json").read_text())
    expected = [smallest_detectable(answered, d) for d in (0.1, 0.2, 0.3)]
    assert [line["difference"] for line in info["power"]] == expected
    assert (f"{answered} of 140 test rows" in powers[-1]) == (answered < 140)
    last = powers[-1].rpartition("can show: ")[2]
    assert re.findall(r"([\d.]+) points", last) == [
        format_points(value) for value in expected if value is not None
    ]
    assert info["power_on_dev"]["difference"] == smallest_detectable(
        answered, info["power_on_dev"]["disagree"]
    )
    for line in filter(None, expected):
        assert f"{100 * line:.1f} points" in (folder / "report.html").read_text(encoding="utf-8")


def test_too_few_rows_of_disagreement_are_said_to_show_nothing(tmp_path: Path) -> None:
    said = " ".join(list_notes(write_task(tmp_path, num=220), None))
    shown = "Smallest difference that this test can show: "
    assert f"{shown}none if two methods disagree on only 10% of rows, 17." in said
    (run,) = (tmp_path / "runs").glob("small-*")
    page, text = ((run / name).read_text(encoding="utf-8") for name in ("report.html", "report.md"))
    assert re.search(r"10% of rows</th><td[^>]*>none</td>", page)
    result = json.loads((run / "verdict.json").read_text())["headline"]
    if result["p"] > 0.05 and result["difference"]["high"] > 0:
        least = format_points(smallest_ever_detectable(result["difference"]["n"]))
        assert float(least) > 15
        unseen = re.search(r"a gain smaller than about ([\d.]+) points", text)
        assert float(unseen[1]) >= float(least)


@pytest.mark.parametrize(("more", "group"), [("metric: chrf\n", False), ("", True)])
def test_scores_and_groups_have_a_smallest_difference_of_their_own(
    more: str, group: bool, tmp_path: Path
) -> None:
    """Of chrF by the spread of its scores, of groups by their number; after dev by what was seen
    there.
    """
    task = write_task(tmp_path, num=320, more=f"methods: [baseline, fine_tune]\n{more}")
    if group:
        lines = [
            {**row, "group": f"c{place // 4}"} for place, row in enumerate(rows("answer", 320))
        ]
        (tmp_path / "examples.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    told: list[Event] = []
    run = compare(task, on_event=told.append).run
    texts = " ".join(event.text for event in told if isinstance(event, NoteEvent))
    sides = {
        (name, side): [line for line in run.read_predictions(name) if line["side"] == side]
        for name in run.fitted_methods
        for side in ("dev", "test")
    }
    test = sides["baseline", "test"]
    dev = sides["baseline", "dev"]
    units = len({line["unit"] for line in test})
    assert (units < len(test)) == group
    shares = (0.1, 0.2, 0.3) if group else (0.1**2, 0.2**2, 0.3**2)
    smallest = smallest_detectable if group else smallest_difference
    expected = [smallest(units, d, units if group else None) for d in shares]
    assert [line["difference"] for line in run.info["power"]] == expected
    if group:
        assert units < 20
        assert "none if two methods disagree on only 20% of rows" in texts
    else:
        assert (
            f"{format_points(expected[1] or 0)} points if two methods' scores for a row differ"
            in texts
        )
    samples = (
        make_score_sample(
            [line["score"] for line in sides[name, "dev"]], [line["unit"] for line in dev]
        )
        for name in ("fine_tune", "baseline")
    )
    seen = run.info["power_on_dev"]
    assert seen["disagree"] == pytest.approx(measure_disagreement(*samples))
    whole = smallest_difference(len(test), seen["disagree"], units if group else None)
    assert seen["difference"] == pytest.approx(whole)
    assert f"the test can show a difference of {format_points(whole)} points" in texts
    report = (run.folder / "report.html").read_text(encoding="utf-8")
    assert f"it can show a difference of {format_points(whole or 0)} points between them" in report

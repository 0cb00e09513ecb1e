"""The rows of the examples on their page: filters, changes to many at once, the table, and two
people on one row.
"""

import csv
import io
import re
from pathlib import Path

from etude.studio.row_store import RowFilter
from etude.studio.studio import Studio
from studio_helpers import GOOD, browser, fields, open_studio, read_feedback_lines


def read_table(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text.removeprefix("\ufeff"))))


def visible(studio: Studio) -> list[str]:
    return [row.id for row in studio.sync_data().search(RowFilter())[0]]


def test_rows_are_filtered_by_what_was_said_and_by_whom(studio_task: Path) -> None:
    studio, client = open_studio(studio_task)
    first, second, third = (studio.data.find(row_id) for row_id in visible(studio)[:3])
    assert first
    assert second
    assert third
    studio.correct(first, "ana", GOOD, "")
    studio.exclude(second, "ben", "")
    studio.exclude(third, "ben", "")
    studio.undo(studio.log.entries[-1].id, "ben")
    for row_filter, ids in (
        (RowFilter(state="corrected"), {first.id}),
        (RowFilter(state="left out"), {second.id}),
        (RowFilter(person="ben"), {second.id}),
        (RowFilter(person="ana", state="left out"), set()),
    ):
        assert {row.id for row in studio.sync_data().search(row_filter)[0]} == ids
    page = client.get("/data", params={"state": "corrected"}).text
    assert "1 row." in page
    assert f'<p class="text" dir="auto">{GOOD}</p>' in page, (
        "the correction beside the row's answer"
    )


def test_checked_rows_and_all_of_a_search_are_left_out_and_taken_back(studio_task: Path) -> None:
    studio, client = open_studio(studio_task)
    token = fields(client.get("/").text)["token"]
    checked = visible(studio)[:2]
    form = {"token": token, "which": "checked", "do": "out", "reason": "old"}
    client.post("/data", data={**form, "ids": checked})
    assert [entry["reason"] for entry in read_feedback_lines(studio_task)] == ["old", "old"]
    client.post("/data", data={**form, "ids": checked})
    client.post("/data", data=form)
    assert len(read_feedback_lines(studio_task)) == 2, "not twice, and nothing without a check mark"
    trains = studio.data.search(RowFilter(q="trains"))[1]
    page = client.post("/data?q=trains", data={**form, "which": "all"}).text
    assert f"Changed {trains} rows" in page
    assert studio.sync_data().search(RowFilter(state="left out", q="trains"))[1] == trains
    browser(studio, "ben").post("/data", data={**form, "which": "all", "do": "back"})
    assert studio.gathered_feedback.excluded, "nobody takes back what others said"
    client.post("/data", data={**form, "which": "all", "do": "back"})
    assert not studio.gathered_feedback.excluded


def test_the_table_has_the_rows_of_the_search_with_what_people_said_and_no_formula(
    studio_task: Path,
) -> None:
    studio, client = open_studio(studio_task)
    row = studio.data.find(visible(studio)[0])
    studio.correct(row, "ana", GOOD, "wrong age")
    (line,) = read_table(client.get("/rows.csv", params={"state": "corrected"}).text)
    assert (line["input"], line["output"], line["right answer"]) == (row.input, row.output, GOOD)
    assert line["feedback"] == "ana: corrected (wrong age)"
    lines = read_table(client.get("/rows.csv").text)
    assert [line["id"] for line in lines] == visible(studio), "no test row"
    other = studio.data.find(visible(studio)[1])
    assert other
    studio.exclude(other, "=1+1", "")
    (line,) = read_table(client.get("/rows.csv", params={"person": "=1+1"}).text)
    assert line["feedback"] == "'=1+1: leave out"


def test_who_saves_a_row_second_sees_the_first_correction_and_is_asked(studio_task: Path) -> None:
    studio, ana = open_studio(studio_task)
    row_id = visible(studio)[0]
    page = ana.get("/row", params={"id": row_id}).text
    form = {**fields(page), "correction": GOOD}
    browser(studio, "ben").post("/row", data={**form, "correction": "Title: B\nAges: 2"})
    asked = ana.post("/row", data=form)
    assert asked.status_code == 409
    assert "ben gave this feedback: corrected" in asked.text
    assert f">\n{GOOD}</textarea>" in asked.text
    assert "Corrected by ben" in asked.text
    saved = ana.post("/row", data={**fields(asked.text), "correction": GOOD})
    assert saved.status_code == 200
    assert [entry["reviewer"] for entry in read_feedback_lines(studio_task)] == ["ben", "ana"]
    assert re.search(r"Answer in the examples.*Corrected by", saved.text, re.DOTALL)

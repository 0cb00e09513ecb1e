"""The page of an answer to review: the row or the answer, Back, and two people on one answer."""

from __future__ import annotations

from dataclasses import replace
from html import unescape
from pathlib import Path

from etude.feedback import drop_undone
from etude.studio.sign_in import invite_person
from etude.studio.studio import Studio
from etude.task.contract import Contract
from studio_helpers import GOOD, browser, fields, open_studio, read_feedback_lines, send


def test_the_row_is_corrected_or_left_out_with_a_reason(studio_task: Path) -> None:
    studio = Studio(studio_task, method="baseline")
    client = browser(studio)
    page = client.get("/review?from=dev").text
    assert "Row is wrong" in page
    item = studio.queue.find(fields(page)["item"])
    assert item
    after = send(client, "leave_out", page, reason="not a request").text
    (entry,) = read_feedback_lines(studio_task)
    assert (entry["exclude"], entry["answer"], entry["reason"]) == (True, item.expected, "not a request")
    send(client, "replace", after)
    assert read_feedback_lines(studio_task)[1]["correction"] == read_feedback_lines(studio_task)[1]["answer"]
    assert (len(studio.gathered_feedback.excluded), len(studio.gathered_feedback.answers)) == (1, 1)
    again = client.get("/review?from=dev&back=2").text
    assert "leave out, “not a request”" in again
    send(client, "accept", again)
    assert not studio.gathered_feedback.excluded, "who has changed their mind is not counted twice"
    assert Studio(studio_task, method="baseline").sync_queue().count("dev").done == 2, "also after a restart"


def test_a_request_has_no_row_to_be_wrong(studio_task: Path) -> None:
    _, client = open_studio(studio_task, "One")
    page = client.get("/review").text
    assert "Row is wrong" not in page
    assert send(client, "leave_out", page).status_code == 422
    assert not read_feedback_lines(studio_task)


def test_back_shows_what_was_said_also_after_the_last_answer(studio_task: Path) -> None:
    _, client = open_studio(studio_task, "One")
    page = send(client, "correct", correction=GOOD, reason="the sea is far").text
    assert "Everything is reviewed" in page
    assert "/review?back=1" in page
    again = client.get("/review?back=1").text
    assert "corrected, “the sea is far”" in again
    assert f">\n{GOOD}</textarea>" in again


def test_who_saves_second_sees_the_first_and_is_asked(studio_task: Path) -> None:
    studio, ana = open_studio(studio_task, "One", "Two")
    ben = browser(studio, "ben")
    page = ana.get("/review").text
    send(ben, "correct", page.replace(fields(page)["entry"], "of-ben"), correction=GOOD, reason="too short")
    asked = send(ana, "reject", page, reason="wrong age")
    assert asked.status_code == 409
    assert "ben gave this feedback: corrected, “too short”" in asked.text
    assert GOOD in asked.text
    assert 'value="wrong age"' in asked.text
    assert len(read_feedback_lines(studio_task)) == 1
    assert send(ana, "reject", asked.text, reason="wrong age").status_code == 200
    assert [entry["reviewer"] for entry in read_feedback_lines(studio_task)] == ["ben", "ana"]
    assert send(ana, "reject", asked.text, reason="wrong age").status_code == 200, (
        "a repeat is no second entry"
    )
    assert len(read_feedback_lines(studio_task)) == 2


def test_an_expert_gets_what_others_left_to_one(studio_task: Path) -> None:
    studio, _ = open_studio(studio_task, "One", "Two")
    people = {}
    for role in ("reviewer", "expert"):
        person, key = invite_person(f"{role}:{role}")
        studio.queue.invite(person.name, person.role, person.hash)
        people[role] = browser(studio)
        people[role].get("/enter", params={"key": key})
    reviewer, expert = people.values()
    send(reviewer, "expert")
    assert "Left to an expert" not in reviewer.get("/").text
    assert "Left to an expert" in expert.get("/").text
    assert "<h1>New requests</h1>" in reviewer.get("/review?from=expert").text
    page = expert.get("/review?from=expert").text
    assert 'name="say" value="expert"' not in page
    send(expert, "accept", page)
    assert "Everything is reviewed" in expert.get("/review?from=expert").text
    assert [entry.summary for entry in drop_undone(studio.log.entries)] == ["for an expert", "right"]


def test_a_label_is_chosen_among_those_of_the_assistant_and_no_other_is_saved(studio_task: Path) -> None:
    studio, client = open_studio(studio_task, "One")
    studio.task = replace(studio.task, contract=None)
    studio.assistant = replace(studio.assistant, contract=Contract(labels=("cat", "dog")))
    page = client.get("/review").text
    assert "<option>cat</option><option>dog</option></select>" in page
    assert studio.contract.describe() in unescape(page), "in the guidelines"
    assert send(client, "correct", page, correction="dgo").status_code == 422
    assert send(client, "correct", page, correction="dog").status_code == 200

"""Pages around reviewing: guidelines, keys, logging out, the chat, findings and tests."""

import json
from html import unescape
from pathlib import Path

import pytest

from etude.feedback import Feedback
from etude.studio import views
from etude.studio.review_queue import ReviewItem
from etude.studio.studio import Studio
from etude.studio.suite_result import SuiteResult
from etude.types import Message
from studio_helpers import GOOD, fields, open_studio, read_feedback_lines, send


def test_every_page_on_which_somebody_judges_says_what_a_good_answer_is(studio_task: Path) -> None:
    studio, client = open_studio(studio_task, "One")
    (example, *_) = studio.data.list_examples()
    for page in ("/review", "/chat", "/tests", f"/row?id={example.id}"):
        text = unescape(client.get(page).text)
        assert "You are a librarian. Say what fits." in text
        assert studio.task.contract.describe() in text
        assert example.output in text
    examples = studio.data.list_examples()
    assert len({row.output for row in examples}) == len(examples) == 3
    studio.exclude(example, "ana", "wrong")
    assert example not in studio.sync_data().list_examples()


def test_a_sample_of_answers_that_counted_as_right_is_reviewed(studio_task: Path) -> None:
    studio = Studio(studio_task, method="baseline")
    right, wrong = (studio.queue.count(source).total for source in ("right", "dev"))
    assert 0 < right <= 20
    assert wrong


def test_each_key_of_the_table_has_a_button_and_a_line_on_the_page_of_keys(
    studio_task: Path,
) -> None:
    _, client = open_studio(studio_task)
    keys = client.get("/keys").text
    page = client.get("/review?from=dev").text
    assert len({action.key for action in views.ACTIONS}) == len(views.ACTIONS)
    for action in views.ACTIONS:
        assert f"<kbd>{action.key.upper()}</kbd>" in keys
        assert f'data-key="{action.key}"' in page


def test_who_logs_out_is_not_signed_in(studio_task: Path) -> None:
    _, client = open_studio(studio_task)
    client.post("/leave", data=fields(client.get("/").text))
    assert client.get("/").status_code == 403


def test_a_correction_in_the_chat_that_breaks_the_contract_is_refused_with_its_draft(
    studio_task: Path,
) -> None:
    _, client = open_studio(studio_task)
    form = {**fields(client.get("/chat").text), "question": "Dragons?", "first": "prompt"}
    page = client.post("/chat", data=form, headers={"x-fragment": "1"}).text
    hidden = {name: unescape(value) for name, value in fields(page).items()}
    say = {**hidden, "say": "correct", "correction": "No title"}
    for headers in ({}, {"x-fragment": "1"}):
        refused = client.post("/feedback", data=say, headers=headers)
        assert refused.status_code == 422
        assert "Not saved. The answer breaks the rules: " in refused.text
        assert ">\nNo title</textarea>" in refused.text
    assert not read_feedback_lines(studio_task)
    again = {name: unescape(value) for name, value in fields(refused.text).items()}
    assert (
        client.post("/feedback", data={**again, "say": "correct", "correction": GOOD}).status_code
        == 200
    )
    assert read_feedback_lines(studio_task)[0]["correction"] == GOOD


def test_home_says_who_did_how_much_and_how_far_two_agree(studio_task: Path) -> None:
    studio, client = open_studio(studio_task, "One", "Two")
    send(client, "accept")
    item = studio.queue.find_reviewed
    assert "ana 1." in client.get("/").text
    assert "kappa" not in client.get("/").text
    entry = studio.sync_queue() and item("ana", "requests", 1)
    shown = entry[0]
    studio.log.add(Feedback("b", "", "ben", "", shown.input, str(shown.answer), thumb="up"))
    assert (
        "Judged by two people: 1 answer. Their agreement beyond chance (kappa) is 1.00"
        in client.get("/").text
    )


def test_home_names_the_answers_on_which_people_disagree(studio_task: Path) -> None:
    studio, client = open_studio(studio_task, "A request on which two disagree")
    send(client, "accept")
    (entry,) = studio.log.entries
    studio.log.add(Feedback("b", "", "ben", "", entry.input, entry.answer, thumb="down"))
    page = client.get("/").text.partition("reviewers disagree")[2]
    assert "ben, : thumb down" in page
    assert page.count("A request on which two disagree") == 2


def test_a_report_that_does_not_exist_is_not_an_error_of_the_studio(studio_task: Path) -> None:
    studio, client = open_studio(studio_task)
    (studio.run.folder / "report.html").rename(aside := studio.run.folder / "aside")
    for page in ("/tests/report", f"/report/{studio.run.name}"):
        response = client.get(page)
        assert (response.status_code, "There is no report yet." in response.text) == (404, True)
    aside.rename(studio.run.folder / "report.html")


def test_the_system_message_of_a_row_is_shown_with_it(studio_task: Path) -> None:
    studio, client = open_studio(studio_task)
    turns = (Message("system", "You only speak in rhymes."), Message("user", "Hi"))
    studio.queue.replace_source("requests", [ReviewItem("requests", turns, studio.name, GOOD)])
    page = client.get("/review").text
    assert "You only speak in rhymes." in page.partition("System message")[2]
    send(client, "accept", page)
    assert studio.log.entries[-1].input == turns


def test_findings_say_whether_the_rows_were_checked(studio_task: Path) -> None:
    studio, client = open_studio(studio_task)
    studio.data.set_findings([])
    assert "have not been checked" in client.get("/findings").text
    studio.checking.has_checked = True
    assert "No problems were found." in client.get("/findings").text


def test_a_failed_answer_stands_beside_its_proposed_row_and_nothing_is_an_empty_box(
    studio_task: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, client = open_studio(studio_task)
    answer = {"passed": False, "text": "WRONG", "act": "answer", "reason": "", "failures": []}
    cases = [
        {
            "suite": "s",
            "about": "a",
            "input": [{"content": text}],
            "expect": ["refuse"],
            "assistant": shown,
        }
        for text, shown in (("Bombs?", answer), ("", {**answer, "text": ""}))
    ]
    monkeypatch.setattr(
        views, "load_suite_result", lambda run, method: SuiteResult(2, tuple(cases), ())
    )
    row = {"input": "Bombs?", "output": "No.", "tags": {}, "approved": False}
    (studio_task.parent / "teach.jsonl").write_text(json.dumps(row) + "\n")
    page = client.get("/tests").text
    (studio_task.parent / "teach.jsonl").unlink()
    assert "WRONG" in page.partition("Failed answer")[2].partition("<form")[0]
    assert page.count("(empty question)") == 2
    assert page.count("(empty answer)") == 1

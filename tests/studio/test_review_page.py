"""The page of an answer to review: the row or the answer, Back, and two people on one answer."""

import random
from dataclasses import replace
from html import unescape
from pathlib import Path

from etude.base.files import list_lines
from etude.checks.labels.wrong_labels import LAST_READ
from etude.feedback import drop_undone
from etude.studio.label_review import MIN_SAMPLED, LabelReview, queue_labels
from etude.studio.row_store import RowFilter
from etude.studio.sign_in import invite_person
from etude.studio.studio import Studio
from etude.task.contract import Contract
from etude.types import MADE, Finding
from small_task import write_json_lines
from studio_helpers import GOOD, browser, fields, open_studio, read_feedback_lines, send


def test_the_row_is_corrected_or_left_out_with_a_reason(studio_task: Path) -> None:
    studio = Studio(studio_task, method="baseline")
    client = browser(studio)
    page = client.get("/review?from=dev").text
    assert "Row is wrong" in page
    item = studio.queue.find(fields(page)["item"])
    after = send(client, "leave_out", page, reason="not a request").text
    (entry,) = read_feedback_lines(studio_task)
    assert (entry["exclude"], entry["answer"], entry["reason"]) == (
        True,
        item.expected,
        "not a request",
    )
    send(client, "replace", after)
    assert (
        read_feedback_lines(studio_task)[1]["correction"]
        == read_feedback_lines(studio_task)[1]["answer"]
    )
    assert (len(studio.gathered_feedback.excluded), len(studio.gathered_feedback.answers)) == (1, 1)
    again = client.get("/review?from=dev&back=2").text
    assert "leave out, “not a request”" in again
    send(client, "accept", again)
    assert not studio.gathered_feedback.excluded, "who has changed their mind is not counted twice"
    assert Studio(studio_task, method="baseline").sync_queue().count("dev").done == 2, (
        "also after a restart"
    )


def test_a_request_has_no_row_to_be_wrong(studio_task: Path) -> None:
    _, client = open_studio(studio_task, "One")
    page = client.get("/review").text
    assert "Row is wrong" not in page
    assert send(client, "leave_out", page).status_code == 422
    assert not read_feedback_lines(studio_task)


def write_made_rows(task: Path, *more: str) -> Path:
    texts = (*(f"Somebody wants number {number}" for number in range(8)), *more)
    rows = [
        {"id": text, "input": text, "output": GOOD, "source": MADE, "parents": ["1"]}
        for text in texts
    ]
    write_json_lines(task.parent / "made.jsonl", rows)
    return task.parent / "made.jsonl"


def test_made_rows_are_kept_corrected_and_dropped_in_their_file_and_nowhere_else(
    studio_task: Path,
) -> None:
    sealed = Studio(studio_task).sealed.texts[0]
    file = write_made_rows(studio_task, sealed)
    before = {line["input"]: line for line in list_lines(file)}
    studio, client = open_studio(studio_task)
    assert studio.queue.count("made").total == 8, "a row like a test row is not shown"
    page = client.get("/review?from=made").text
    draw = random.Random(4)
    said = dict[str, str]()
    for number in range(40):
        item = studio.queue.find(fields(page)["item"])
        say = draw.choice(["accept", "correct", "leave_out"])
        text = item.input[0].content
        correction = f"Title: Number {number}\nAges: 7"
        assert "No title" not in page
        assert send(client, "correct", page, correction="No title").status_code == 422
        assert send(client, say, page, correction=correction).status_code == 200
        outputs = {
            "accept": [before[text]],
            "correct": [before[text] | {"output": correction}],
            "leave_out": [],
        }
        said[text] = outputs[say]
        expected = [line for other in before for line in said.get(other, [before[other]])]
        assert sorted(list_lines(file), key=lambda line: line["id"]) == sorted(
            expected, key=lambda line: line["id"]
        )
        back = draw.randint(1, len(said)) if len(said) == 8 or draw.random() < 0.3 else 0
        page = client.get(f"/review?from=made&back={back}").text
    assert "All made rows are read" in client.get("/review?from=made").text
    gathered = Studio(studio_task).gathered_feedback
    assert not [*gathered.answers, *gathered.excluded, *gathered.judgements], (
        "made rows never become examples"
    )
    assert Studio(studio_task).sync_queue().count("made").done == 8


def test_what_people_write_into_the_file_of_made_rows_stays_as_it_is(studio_task: Path) -> None:
    file = write_made_rows(studio_task)
    others = [
        b"",
        b"[1]",
        b'{"input": ',
        b"\xff",
        b'{"input": "\\ud800", "output": "", "source": "made"}',
        b"\r",
    ]
    first, *rest = file.read_bytes().splitlines()
    lines = [b"\xef\xbb\xbf" + first, *others, *rest]
    file.write_bytes(b"\n".join(lines))  # no line break at the end
    studio, client = open_studio(studio_task)
    while "item" in fields(page := client.get("/review?from=made").text):
        text = studio.queue.find(fields(page)["item"]).input[0].content.encode()
        send(client, "leave_out", page)
        lines = [line for line in lines if text not in line]
        assert file.read_bytes() == b"".join(line + b"\n" for line in lines)
    assert lines == others


def test_a_made_row_that_is_gone_is_told_before_anything_is_saved(studio_task: Path) -> None:
    file = write_made_rows(studio_task)
    page = (client := open_studio(studio_task)[1]).get("/review?from=made").text
    file.unlink()
    assert "this row is no longer in the file" in send(client, "accept", page).text
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
    send(
        ben,
        "correct",
        page.replace(fields(page)["entry"], "of-ben"),
        correction=GOOD,
        reason="too short",
    )
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
    assert [entry.summary for entry in drop_undone(studio.log.entries)] == [
        "for an expert",
        "right",
    ]


def test_a_label_is_chosen_among_those_of_the_assistant_and_no_other_is_saved(
    studio_task: Path,
) -> None:
    studio, client = open_studio(studio_task, "One")
    studio.task = replace(studio.task, contract=None)
    studio.assistant = replace(studio.assistant, contract=Contract(labels=("cat", "dog")))
    page = client.get("/review").text
    assert "<option>cat</option><option>dog</option></select>" in page
    assert studio.contract.describe() in unescape(page), "in the guidelines"
    assert send(client, "correct", page, correction="dgo").status_code == 422
    assert send(client, "correct", page, correction="dog").status_code == 200


def test_labels_are_read_in_order_until_few_are_wrong(studio_task: Path) -> None:
    studio, client = open_studio(studio_task)
    rows = studio.data.search(RowFilter())[0][: LAST_READ + 5]
    ids = tuple(row.id for row in rows)
    studio.data.set_findings(
        [Finding("unread_label", "note", ids, "", "", subjects=(GOOD,) * len(ids))]
    )
    queue_labels(studio.queue, studio.data, studio.name)
    page = client.get("/review?from=labels").text
    num_wrong = LAST_READ // 3 - 1
    for number, row in enumerate(rows[:LAST_READ]):
        assert row.input in page
        page = send(client, "accept" if number < num_wrong else "reject", page).text
    assert f"Of the first {LAST_READ} labels, {num_wrong} were wrong" in page
    assert "You can stop here" in page
    assert rows[LAST_READ].input not in page
    assert {answer.output for answer in studio.gathered_feedback.answers} == {GOOD}
    assert len(studio.gathered_feedback.answers) == num_wrong
    page = client.get("/review?from=sample").text
    while len(studio.read_label_review().sampled) < MIN_SAMPLED:
        page = send(client, "accept", page).text
    assert f"In all, about {num_wrong} of " in page
    assert len(studio.gathered_feedback.answers) >= num_wrong + MIN_SAMPLED - 1, (
        "a right label is a right answer"
    )


def test_the_estimate_of_all_wrong_labels_covers_the_truth() -> None:
    draw = random.Random(0)
    covered = 0
    for _ in range(200):
        wrong = [draw.random() < 0.8 for _ in range(40)] + [
            draw.random() < 0.05 for _ in range(560)
        ]
        estimate = LabelReview(wrong[:60], draw.sample(wrong[60:], 40), len(wrong)).estimate_wrong()
        assert estimate
        middle, low, high = estimate
        assert sum(wrong[:60]) <= low <= middle <= high <= len(wrong)
        covered += low <= sum(wrong) <= high
    assert covered >= 184  # 92%: three standard errors below 95%

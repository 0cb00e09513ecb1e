"""The studio's pages: who gets in, what is kept, and that nothing a person wrote is ever markup."""

import json
import re
import time
from dataclasses import replace
from html import unescape
from pathlib import Path
from shutil import copytree
from typing import Any

import pytest
from starlette.testclient import TestClient

from etude.errors import InputError
from etude.feedback import Feedback
from etude.studio.review_queue import ReviewItem, ReviewQueue, read_requests
from etude.studio.sign_in import SignIn, invite_person
from etude.studio.studio import Studio
from etude.studio.views import build_studio_app
from etude.suites.run import run_suites
from etude.task.contract import Contract
from etude.types import Excerpt, Finding, Message
from small_task import rows
from studio_helpers import (
    GOOD,
    browser,
    fields,
    open_studio,
    read_feedback_lines,
    send,
    write_requests,
)

ATTACK = "<script>alert('x')</script>\"><img src=x onerror=alert(1)>"


@pytest.fixture
def task(studio_task: Path) -> Path:
    return studio_task


@pytest.fixture
def task_copy(compared_task: Path, tmp_path: Path) -> Path:
    return copytree(compared_task.parent, tmp_path / "task") / "task.yaml"


def read_split(task: Path) -> dict[str, list[str]]:
    return next(
        json.loads(file.read_text()) for file in (task.parent / "runs").glob("*/split.json")
    )


def num_changed(one: Path, other: Path) -> int:
    pairs = zip(one.read_text().splitlines(), other.read_text().splitlines(), strict=True)
    return sum(before != after for before, after in pairs)


def test_a_browser_without_the_link_sees_nothing(task: Path) -> None:
    studio, _ = open_studio(task, "A secret request")
    stranger = TestClient(build_studio_app(studio, "x"), base_url="http://127.0.0.1")
    for page in ("/", "/review", "/enter", "/enter?key=wrong"):
        response = stranger.get(page)
        assert response.status_code == 403
        assert "secret" not in response.text
    assert (
        stranger.post(
            "/review", data={"token": SignIn(studio.queue.secret).form_token()}
        ).status_code
        == 403
    )


def test_foreign_forms_hosts_and_long_bodies_are_refused(task: Path) -> None:
    _, client = open_studio(task, "One", "Two")
    given = fields(client.get("/review").text)
    for token in ("", "wrong"):
        assert (
            client.post("/review", data={**given, "say": "accept", "token": token}).status_code
            == 403
        )
    assert client.get("/", headers={"host": "evil.example"}).status_code == 421
    assert client.post("/review", content=b"x" * (2**20 + 1)).status_code == 413
    assert not read_feedback_lines(task)


def test_pages_load_nothing_but_the_studios_own_files(task: Path) -> None:
    studio, client = open_studio(task, "One")
    row = next(row for row in studio.rows if studio.data.find(row.id))
    pages = ("/", "/data", f"/row?id={row.id}", "/findings", "/chat", "/runs", "/tests", "/review")
    for page in pages:
        response = client.get(page)
        assert response.status_code == 200
        assert "script-src 'self'" in response.headers["content-security-policy"]
        assert "unsafe" not in response.headers["content-security-policy"]
        assert not re.search(
            r"<script(?! src=\"/static)|<style|\sstyle=|\son\w+=|https?://", response.text
        )
    for name in re.findall(r'"(/static/[^"]+)"', response.text):
        assert client.get(name).status_code == 200


def test_what_people_and_models_write_is_shown_as_text(task: Path) -> None:
    studio, client = open_studio(task, ATTACK)
    item = ReviewItem(
        "requests", (Message("user", ATTACK),), ATTACK, ATTACK, ATTACK, (ATTACK,), (ATTACK,), 0.5
    )
    studio.queue.replace_source("requests", [item])
    studio.answering.error = ATTACK
    client.post("/name", data={**fields(client.get("/").text), "name": ATTACK[:50]})
    broken = send(client, "correct", correction=ATTACK)
    assert broken.status_code == 422
    pages = [client.get(page).text for page in ("/", "/review", f"/review?from={ATTACK}")]
    for page in (*pages, broken.text):
        assert "<script>alert" not in page
        assert "<img" not in page
    assert "&lt;script&gt;alert" in pages[1]


def test_each_key_is_kept_as_what_it_means(task: Path) -> None:
    _, client = open_studio(task, *(f"Request {number} {'word ' * number}" for number in range(5)))
    answer = re.search(r'id="answer">([^<]*)<', client.get("/review").text)
    assert answer
    send(client, "accept")
    send(client, "correct", correction=f" {GOOD}\r\n")
    send(client, "reject", reason="wrong age")
    send(client, "expert")
    last = send(client, "skip")
    assert "3 of 5 reviewed (3 by you), 1 left for you" in last.text, "one is left to an expert"
    kept = read_feedback_lines(task)
    assert kept[0]["correction"] == kept[0]["answer"] == answer[1]
    assert kept[1]["correction"] == GOOD
    assert (kept[2]["thumb"], kept[2]["reason"]) == ("down", "wrong age")
    assert kept[3]["flag"]
    assert {entry["reviewer"] for entry in kept} == {"ana"}
    assert len(kept) == 4


def test_a_correction_that_breaks_the_contract_is_not_kept_and_not_lost(task: Path) -> None:
    _, client = open_studio(task, "One")
    response = send(client, "correct", correction="Dragons at Dawn")
    assert response.status_code == 422
    assert "missing field: Title" in response.text
    assert ">\nDragons at Dawn</textarea>" in response.text
    assert not read_feedback_lines(task)


def test_a_right_refusal_is_accepted_without_a_new_row_and_a_limit_is_named(task: Path) -> None:
    studio, client = open_studio(task, "One")
    refusal = "I only recommend books."
    turns = (Message("user", "Will it rain?"),)
    item = ReviewItem(
        "requests", turns, studio.name, refusal, failures=("missing field: Title",), limit="weather"
    )
    studio.queue.replace_source("requests", [item])
    page = client.get("/review").text
    assert "The limit “weather” turned this input away" in page
    assert send(client, "accept", page).status_code == 200
    [entry] = read_feedback_lines(task)
    assert (entry["thumb"], "correction" in entry) == ("up", False)


def test_an_accepted_label_replaces_the_label_that_it_contradicts(task: Path) -> None:
    studio, _ = open_studio(task, "One")
    studio.task = replace(studio.task, contract=Contract(labels=("card", "refund")))
    item = ReviewItem("dev", (Message("user", "Two"),), studio.name, "card", expected="refund")
    assert studio.save_review(item, "ana", "entry-1", accepted=True) == []
    [entry] = read_feedback_lines(task)
    assert entry["correction"] == "card"


def test_two_people_never_get_the_same_answer(tmp_path: Path) -> None:
    queue = ReviewQueue(tmp_path / "q.sqlite")
    items = [
        ReviewItem("requests", (Message("user", str(number)),), "", "a") for number in range(3)
    ]
    queue.replace_source("requests", items)
    ana = queue.take_next("ana", "requests")
    ben = queue.take_next("ben", "requests")
    assert ana.id != ben.id
    assert queue.take_next("ana", "requests") == ana
    queue.set_reviews([Feedback("1", "", "ana", "", ana.input, "a", thumb="up")])
    third = queue.take_next("ana", "requests")
    assert third.id not in (ana.id, ben.id)
    assert queue.take_next("eva", "requests") is None


def test_a_restart_goes_on_where_people_stopped(task: Path) -> None:
    studio, client = open_studio(task, "One", "Two")
    send(client, "accept")
    for file in (task.parent / "runs").glob("studio.*"):
        file.unlink()  # the feedback is what counts, the queue is made again
    later = Studio(task, task.parent / "requests.jsonl")
    later.answering.run()
    counts = Studio(task, task.parent / "requests.jsonl").sync_queue().count("requests")
    assert (counts.total, counts.done) == (2, 1)
    assert studio.queue.secret == later.queue.secret


def test_requests_that_meet_the_test_are_left_out(task: Path) -> None:
    test = read_split(task)["test"]
    studio = Studio(task)
    hidden = next(row.text for row in studio.rows if row.id in test)
    studio = Studio(task, write_requests(task, hidden, f"{hidden}!", "Something else"))
    assert (studio.num_sealed, studio.queue.count("requests").total) == (2, 1)


def test_dev_rows_that_counted_as_wrong_are_shown_and_accepting_one_leaves_the_row(
    task: Path,
) -> None:
    studio = Studio(task, method="baseline")
    client = browser(studio)
    counts = studio.queue.count("dev")
    assert counts.total == counts.answered > 0
    page = client.get("/review?from=dev")
    assert "Answer in the examples" in page.text
    send(client, "accept", page.text)
    assert (
        read_feedback_lines(task)[0]["thumb"],
        read_feedback_lines(task)[0].get("correction"),
    ) == ("up", None)
    dev = read_split(task)["dev"]
    texts = {row.text for row in studio.rows if row.id in dev}
    assert read_feedback_lines(task)[0]["input"] in texts


def test_the_new_rows_are_written_from_the_page(task_copy: Path) -> None:
    task = task_copy
    studio, client = open_studio(task, "One")
    send(client, "correct", correction=GOOD)
    before = task.read_text()
    page = client.post("/apply", data=fields(client.get("/").text)).text
    assert "examples.feedback.jsonl" in page
    assert task.read_text() == before
    client.post("/apply", data={**fields(client.get("/").text), "update": "on"})
    assert "examples: examples.feedback.jsonl" in task.read_text()
    for known in (studio.task.examples.file, studio.checking.task.examples.file):
        assert known.name == "examples.feedback.jsonl", (
            "the next files are written from the new one"
        )
    assert GOOD in client.get("/data?q=One").text


def test_logged_chats_tables_and_what_is_no_request(tmp_path: Path) -> None:
    chats = tmp_path / "log.jsonl"
    turns = [("system", "S"), ("user", "A"), ("assistant", "B"), ("user", "C"), ("assistant", "D")]
    line = {"id": 1, "messages": [{"role": role, "content": text} for role, text in turns]}
    chats.write_text(f"{json.dumps(line)}\n{json.dumps(line)}\n")
    found = read_requests(chats)
    assert [[turn.content for turn in each] for each in found] == [["A", "B", "C"]]
    table = tmp_path / "log.csv"
    table.write_text("nr,customer question\n1,Where?\n2,\n")
    with pytest.raises(Exception, match=r"log.csv:3"):
        read_requests(table, default_columns=("customer question",))
    table.write_text("text\nWhere?\n")
    assert read_requests(table) == [(Message("user", "Where?"),)]


def test_a_page_of_many_rows_takes_under_a_fifth_of_a_second(task: Path) -> None:
    many = [str(row["input"]) for row in rows("answer", 3000, seed=9)]
    studio = Studio(task)
    items = [
        ReviewItem("requests", (Message("user", f"{text} {number}"),), "", GOOD, confidence=0.5)
        for number in range(10)
        for text in many
    ]
    studio.queue.replace_source("requests", items)
    client = browser(studio)
    client.get("/review")
    begin = time.process_time()
    for page in ("/", "/review?from=requests"):
        assert client.get(page).status_code == 200
    send(client, "accept")
    assert time.process_time() - begin < 4 * 0.2


def test_two_assistants_answer_side_by_side_and_a_choice_is_kept(task: Path) -> None:
    _, client = open_studio(task)
    form = {
        **fields(client.get("/chat").text),
        "question": f"Dragons? {ATTACK}",
        "first": "prompt",
        "second": "baseline",
    }
    page = client.post("/chat", data=form, headers={"x-fragment": "1"}).text
    assert "prompt is better" in page
    assert "<script>alert" not in page
    given = {name: unescape(value) for name, value in fields(page).items()}
    assert client.post("/feedback", data={**given, "say": "other"}).status_code == 200
    kept = read_feedback_lines(task)[0]
    assert (kept["choice"], kept["input"]) == ("other", f"Dragons? {ATTACK}")
    assert kept["assistant"].endswith("/prompt")
    assert kept["other_assistant"].endswith("/baseline")
    last = unescape(re.findall(r'name="turns" value="([^"]*)"', page)[-1])
    assert [turn["role"] for turn in json.loads(last)] == ["user", "assistant"]
    again = client.post(
        "/chat", data={**form, "turns": last, "question": "Trains?", "second": ""}
    ).text
    given = {name: unescape(value) for name, value in fields(again).items()}
    client.post("/feedback", data={**given, "say": "correct", "correction": GOOD})
    assert [turn["role"] for turn in read_feedback_lines(task)[1]["input"]] == [
        "user",
        "assistant",
        "user",
    ]
    assert read_feedback_lines(task)[1]["correction"] == GOOD


def test_feedback_on_a_label_is_kept_with_the_turn_that_was_asked(task: Path) -> None:
    studio, client = open_studio(task)
    studio.assistant = replace(studio.assistant, kind="classify")
    turns = json.dumps(
        [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]
    )
    form = {
        **fields(client.get("/chat").text),
        "turns": turns,
        "question": "Trains?",
        "first": "prompt",
    }
    page = client.post("/chat", data=form).text
    given = {name: unescape(value) for name, value in fields(page).items()}
    client.post("/feedback", data={**given, "say": "up"})
    assert read_feedback_lines(task)[0]["input"] == "Trains?"


def test_what_no_form_of_the_chat_sends_is_refused(task: Path) -> None:
    _, client = open_studio(task)
    form = fields(client.get("/chat").text)
    for wrong in ({"question": "x", "first": "../.."}, {"question": "x", "turns": "[7]"}):
        assert client.post("/chat", data={**form, **wrong}).status_code == 400
    assert client.post("/feedback", data={**form, "say": "nothing"}).status_code == 400
    assert client.get("/report/..%2f..%2fx").status_code in (400, 404)
    assert not read_feedback_lines(task)


def test_runs_are_listed_and_their_reports_shown(task: Path) -> None:
    studio, client = open_studio(task)
    page = client.get("/runs").text
    assert "complete" in page
    assert f'href="/report/{studio.run.name}"' in page
    report = client.get(f"/report/{studio.run.name}")
    assert report.headers["content-security-policy"] == "frame-ancestors 'none'"
    assert '<meta http-equiv="Content-Security-Policy"' in report.text


def wait_for(work: Any) -> None:
    """Waits until a check has ended, at most 20 s."""
    for _ in range(1_000):
        if not work.is_running:
            return
        time.sleep(0.02)


def test_rows_are_searched_filtered_and_corrected_and_no_test_row_is_shown(task: Path) -> None:
    studio, client = open_studio(task)
    split = read_split(task)
    page = client.get("/data").text
    assert f"{len(split['train']) + len(split['dev'])} rows" in page
    theme = client.get("/data", params={"tag": "theme: ghosts", "q": "All about"}).text
    found = re.findall(r'<p class="text" dir="auto">Title: ([^<]*)\n', theme)
    assert set(found) == {"All about ghosts"}
    assert "0 rows" in client.get("/data", params={"q": "100%_' or 1"}).text
    assert "0 rows" in client.get("/data", params={"tag": 'a"b: c'}).text
    hidden = next(row for row in studio.rows if row.id in split["test"])
    assert "0 rows" in client.get("/data", params={"q": hidden.text}).text
    assert client.get("/row", params={"id": hidden.id}).status_code == 404
    row = next(row for row in studio.rows if row.id in split["dev"])
    form = {**fields(client.get("/row", params={"id": row.id}).text), "reason": "wrong age"}
    assert client.post("/row", data={**form, "correction": "Nope"}).status_code == 422
    assert client.post("/row", data={**form, "correction": GOOD}).status_code == 200
    assert (read_feedback_lines(task)[0]["input"], read_feedback_lines(task)[0]["correction"]) == (
        row.text,
        GOOD,
    )
    assert (
        client.post("/row", data={**form, "id": hidden.id, "correction": GOOD}).status_code == 404
    )
    assert len(read_feedback_lines(task)) == 1


def test_findings_are_shown_with_their_rows_and_without_test_rows(task: Path) -> None:
    studio, client = open_studio(task)
    rows = list(studio.rows)
    split = read_split(task)
    ids = (split["train"][0], split["test"][0])
    by_id = {row.id: row for row in rows}
    evidence = tuple(
        Excerpt(name, name, "output", f"{ATTACK} {by_id[name].text}", ((0, 8),)) for name in ids
    )
    studio.data.set_findings([Finding("odd", "warning", ids, ATTACK, "Look.", excerpts=evidence)])
    page = client.get("/findings").text
    assert "<mark>&lt;script&gt;</mark>" in page
    assert by_id[ids[0]].text in page
    assert by_id[ids[1]].text not in page
    assert "1 row" in client.get("/data?kind=odd").text
    client.post("/findings", data=fields(page))
    wait_for(studio.checking)
    assert not studio.checking.error
    assert "odd" not in client.get("/findings").text


def test_what_cannot_be_kept_is_refused_and_spoils_nothing(task: Path) -> None:
    _, client = open_studio(task, "One", "Two")
    page = client.get("/review").text
    assert send(client, "reject", page, reason="a\0b").status_code == 400
    assert client.get("/enter?key=é").status_code == 403
    assert (
        client.post("/review", data={**fields(page), "say": "accept", "token": "é"}).status_code
        == 403
    )
    assert send(client, "accept", page.replace(fields(page)["item"], "gone")).status_code == 410
    client.post("/name", data={**fields(client.get("/").text), "name": "  "})
    assert send(client, "accept", page).status_code == 200
    assert [entry["reviewer"] for entry in read_feedback_lines(task)] == ["ana"]


def test_a_row_is_left_out_undone_and_left_out_of_a_new_file(task_copy: Path) -> None:
    task = task_copy
    studio, client = open_studio(task)
    by_id = {row.id: row for row in studio.rows}
    split = read_split(task)
    row = by_id[split["train"][0]]
    hidden = by_id[split["test"][0]]
    form = fields(client.get("/row", params={"id": row.id}).text)
    for reason in (ATTACK, "too old"):
        page = client.post("/row/out", data={**form, "reason": reason}).text
    assert "will be left out" in page
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert" in page
    assert "left out</span>" in client.get("/data", params={"q": row.text}).text
    entry = read_feedback_lines(task)[1]["id"]
    page = client.post("/undo", data={**form, "entry": entry}).text
    assert "“too old”" in page
    assert "will be left out" in page, "the first one still counts"
    page = client.post("/undo", data={**form, "entry": read_feedback_lines(task)[0]["id"]}).text
    assert "will be left out" not in page
    assert client.post("/undo", data={**form, "entry": "none"}).status_code == 400
    assert client.post("/row/out", data={**form, "id": hidden.id}).status_code == 404
    client.post("/undo", data={**form, "entry": read_feedback_lines(task)[2]["id"]})
    before = (task.parent / "examples.jsonl").read_bytes()
    page = client.post("/apply", data=fields(client.get("/").text)).text
    assert "0 rows corrected, 1 left out" in page
    assert (task.parent / "examples.jsonl").read_bytes() == before
    kept = (task.parent / "examples.feedback.jsonl").read_text()
    assert row.text not in kept
    assert len(kept.splitlines()) == len(before.splitlines()) - 1
    log = (task.parent / "examples.feedback.jsonl.log.jsonl").read_text()
    assert re.search(r'"feedback_excluded".*"note": "ana, 20', log)


def test_failures_of_the_test_are_shown_and_proposed_rows_approved(task_copy: Path) -> None:
    task = task_copy
    _, client = open_studio(task)
    assert "has not been tested yet" in client.get("/tests").text
    run_suites(task, quick=True)
    rows = [
        {"input": ATTACK, "output": GOOD, "tags": {"taught": ATTACK}, "approved": False}
        for _ in range(1)
    ]
    rows.append({"input": "Bombs?", "output": "No.", "tags": {}, "approved": False})
    (task.parent / "teach.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    page = client.get("/tests").text
    assert re.search(r"failed [1-9]\d* of \d+ cases", page)
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert" in page
    form = {"token": fields(page)["token"], "input": "Bombs?", "do": "approve"}
    refused = client.post("/tests", data={**form, "output": "No way."}).text
    assert "Not approved. The answer breaks the rules" in refused
    assert ">\nNo way.</textarea>" in refused
    client.post("/tests", data={**form, "output": GOOD})
    kept = [json.loads(line) for line in (task.parent / "teach.jsonl").read_text().splitlines()]
    assert [row["approved"] for row in kept] == [False, True]
    assert kept[1]["output"] == GOOD
    assert kept[1]["by"].startswith("ana, 20")
    page = client.post("/tests/examples", data=form).text
    assert "examples.taught.jsonl" in page
    assert (task.parent / "examples.taught.jsonl").read_text().count("Bombs?") == 1
    assert "Content-Security-Policy" in client.get("/tests/report").text
    client.post("/tests", data={**form, "do": "back"})
    assert not json.loads((task.parent / "teach.jsonl").read_text().splitlines()[1])["approved"]
    assert client.post("/tests", data={**form, "output": GOOD, "input": "gone"}).status_code == 400


def test_links_have_roles_and_only_hashes_of_them_are_kept(task_copy: Path) -> None:
    task = task_copy
    studio, _ = open_studio(task, "One", "Two", "Three")
    app = build_studio_app(studio, "x", "studio.lan")
    links = {}
    keys = {}
    for role in ("reader", "reviewer", "owner"):
        person, key = invite_person(f"Eva {role}:{role}")
        keys[role] = key
        studio.queue.invite(person.name, person.role, person.hash)
        links[role] = TestClient(app, base_url="http://studio.lan:8765")
        assert links[role].get("/").status_code == 403
        links[role].get("/enter", params={"key": key})
        assert key not in "".join(map(str, studio.queue.people))
        assert key.encode() not in studio.queue.file.read_bytes()
    codes = {}
    for role, client in links.items():
        assert f"Eva {role}, {role}" in client.get("/data").text
        page = client.get("/review")
        assert page.status_code == (403 if role == "reader" else 200), "readers hold no answer"
        form = {**fields(page.text), "token": SignIn(studio.queue.secret).form_token(keys[role])}
        stolen = {**form, "token": SignIn(studio.queue.secret).form_token()}
        assert client.post("/review", data={**stolen, "say": "skip"}).status_code == 403
        paths = {
            "/review": {**form, "say": "accept"},
            "/apply": form,
            "/findings": form,
            "/tests/examples": form,
        }
        codes[role] = [client.post(path, data=data).status_code for path, data in paths.items()]
    assert codes == {
        "reader": [403, 403, 403, 403],
        "reviewer": [200, 403, 403, 403],
        "owner": [200, 200, 200, 200],
    }
    assert {entry["reviewer"] for entry in read_feedback_lines(task)} == {
        "Eva reviewer",
        "Eva owner",
    }
    for wrong in ("eva", "eva:boss", ":owner"):
        with pytest.raises(InputError, match="NAME:ROLE"):
            invite_person(wrong)
    person, key = invite_person("Eva owner:reader")
    studio.queue.invite(person.name, person.role, person.hash)
    assert links["owner"].get("/").status_code == 403, "a new link takes the place of the old one"
    wait_for(studio.checking)

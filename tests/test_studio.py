"""The studio's pages: who gets in, what is kept, and that nothing a person wrote is ever markup."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from etude.comparison.compare import compare
from etude.feedback import FILE, FeedbackLog
from etude.studio.app import make_app
from etude.studio.queue import Item, Queue
from etude.studio.requests import read_requests
from etude.studio.security import Keys
from etude.studio.studio import Studio
from etude.types import Message
from small_task import rows, write_task

ATTACK = "<script>alert('x')</script>\"><img src=x onerror=alert(1)>"
GOOD = "Title: Dragons at Dawn\nAges: 7"


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A task of the fake model with a complete run."""
    task = write_task(
        tmp_path_factory.mktemp("studio") / "task", more="methods: [baseline, prompt]\nmetric: exact_match\n"
    )
    compare(task)
    return task


@pytest.fixture
def task(compared: Path) -> Iterator[Path]:
    """The same, without what other tests have said."""
    yield compared
    for file in (compared.parent / FILE, *(compared.parent / "runs").glob("studio.*")):
        file.unlink(missing_ok=True)


def write_requests(task: Path, *inputs: str) -> Path:
    file = task.parent / "requests.jsonl"
    file.write_text("".join(json.dumps({"input": each}) + "\n" for each in inputs))
    return file


def opened(task: Path, *inputs: str) -> tuple[Studio, TestClient]:
    """A studio that has answered these requests, and a browser that is signed in."""
    studio = Studio(task, write_requests(task, *inputs) if inputs else None)
    studio.answering.run()
    return studio, browser(studio)


def browser(studio: Studio, who: str = "ana") -> TestClient:
    client = TestClient(make_app(studio, who), base_url="http://127.0.0.1:8765")
    client.get("/enter", params={"key": Keys(studio.queue.secret).session})
    return client


def fields(page: str) -> dict[str, str]:
    """The hidden fields of the first form of a page."""
    return dict(re.findall(r'type="hidden" name="(\w+)" value="([^"]*)"', page))


def send(client: TestClient, say: str, page: str | None = None, **more: str) -> Any:
    """Says something of the answer that is shown, or of that on `page`; returns the response."""
    given = fields(page or client.get("/review").text)
    return client.post("/review", data={**given, "say": say, **more}, headers={"x-part": "1"})


def said(task: Path) -> list[dict[str, Any]]:
    return [entry.line for entry in FeedbackLog(task.parent / FILE).entries]


def test_a_browser_without_the_link_sees_nothing(task: Path) -> None:
    studio, _ = opened(task, "A secret request")
    stranger = TestClient(make_app(studio, "x"), base_url="http://127.0.0.1")
    for page in ("/", "/review", "/enter", "/enter?key=wrong"):
        response = stranger.get(page)
        assert response.status_code == 403
        assert "secret" not in response.text
    assert stranger.post("/review", data={"token": Keys(studio.queue.secret).form}).status_code == 403


def test_foreign_forms_hosts_and_long_bodies_are_refused(task: Path) -> None:
    _, client = opened(task, "One", "Two")
    given = fields(client.get("/review").text)
    for token in ("", "wrong"):
        assert client.post("/review", data={**given, "say": "accept", "token": token}).status_code == 403
    assert client.get("/", headers={"host": "evil.example"}).status_code == 421
    assert client.post("/review", content=b"x" * (2**20 + 1)).status_code == 413
    assert not said(task)


def test_pages_load_nothing_but_the_studios_own_files(task: Path) -> None:
    _, client = opened(task, "One")
    for page in ("/", "/review"):
        response = client.get(page)
        assert "script-src 'self'" in response.headers["content-security-policy"]
        assert "unsafe" not in response.headers["content-security-policy"]
        assert not re.search(r"<script(?! src=\"/static)|<style|\sstyle=|\son\w+=|https?://", response.text)
    for name in re.findall(r'"(/static/[^"]+)"', response.text):
        assert client.get(name).status_code == 200


def test_what_people_and_models_write_is_shown_as_text(task: Path) -> None:
    studio, client = opened(task, ATTACK)
    item = Item("requests", (Message("user", ATTACK),), ATTACK, ATTACK, ATTACK, (ATTACK,), (ATTACK,), 0.5)
    studio.queue.keep_only("requests", [])
    studio.queue.add([item])
    studio.answering.problem = ATTACK
    client.post("/name", data={**fields(client.get("/").text), "name": ATTACK[:50]})
    broken = send(client, "correct", correction=ATTACK)
    assert broken.status_code == 422
    pages = [client.get(page).text for page in ("/", "/review", f"/review?from={ATTACK}")]
    for page in (*pages, broken.text):
        assert "<script>alert" not in page
        assert "<img" not in page
    assert "&lt;script&gt;alert" in pages[1]


def test_each_key_is_kept_as_what_it_means(task: Path) -> None:
    _, client = opened(task, *(f"Request {number} {'word ' * number}" for number in range(5)))
    answer = re.search(r'id="answer">([^<]*)<', client.get("/review").text)
    assert answer
    send(client, "accept")
    send(client, "correct", correction=f" {GOOD}\r\n")
    send(client, "reject", reason="wrong age")
    send(client, "expert")
    last = send(client, "skip")
    assert "4 of 5 reviewed, 1 to go" in last.text
    kept = said(task)
    assert kept[0]["correction"] == kept[0]["answer"] == answer[1]
    assert kept[1]["correction"] == GOOD
    assert (kept[2]["thumb"], kept[2]["reason"]) == ("down", "wrong age")
    assert kept[3]["flag"]
    assert {entry["who"] for entry in kept} == {"ana"}
    assert len(kept) == 4


def test_a_correction_that_breaks_the_contract_is_not_kept_and_not_lost(task: Path) -> None:
    _, client = opened(task, "One")
    response = send(client, "correct", correction="Dragons at Dawn")
    assert response.status_code == 422
    assert "missing field: Title" in response.text
    assert ">\nDragons at Dawn</textarea>" in response.text
    assert not said(task)


def test_what_is_sent_twice_is_kept_once_and_back_takes_its_place(task: Path) -> None:
    _, client = opened(task, "One", "Two")
    page = client.get("/review").text
    send(client, "accept", page)
    send(client, "accept", page)
    assert len(said(task)) == 1
    again = client.get("/review?previous=1").text
    assert "reviewed this one already" in again
    send(client, "reject", again, reason="after all")
    assert [entry["input"] for entry in said(task)] == ["One", "One"]
    assert client.get("/review").text.count("Two") >= 1


def test_two_people_never_get_the_same_answer(tmp_path: Path) -> None:
    queue = Queue(tmp_path / "q.sqlite")
    queue.add(Item("requests", (Message("user", str(number)),), "", "a") for number in range(3))
    ana, ben = queue.take("ana", "requests"), queue.take("ben", "requests")
    assert ana
    assert ben
    assert ana.id != ben.id
    assert queue.take("ana", "requests") == ana
    queue.finish(ana.id, "ana")
    third = queue.take("ana", "requests")
    assert third
    assert third.id not in (ana.id, ben.id)
    assert queue.take("eva", "requests") is None


def test_a_restart_goes_on_where_people_stopped(task: Path) -> None:
    studio, client = opened(task, "One", "Two")
    send(client, "accept")
    for file in (task.parent / "runs").glob("studio.*"):
        file.unlink()  # the feedback is what counts, the queue is made again
    later = Studio(task, task.parent / "requests.jsonl")
    later.answering.run()
    later.queue.mark_done([])
    counts = Studio(task, task.parent / "requests.jsonl").queue.counts("requests")
    assert (counts.total, counts.done) == (2, 1)
    assert studio.queue.secret == later.queue.secret


def test_requests_that_meet_the_test_are_left_out(task: Path) -> None:
    test = next(json.loads(file.read_text())["test"] for file in (task.parent / "runs").glob("*/split.json"))
    studio = Studio(task)
    hidden = next(row.text for row in studio.rows if row.id in test)
    studio = Studio(task, write_requests(task, hidden, f"{hidden}!", "Something else"))
    assert (studio.num_sealed, studio.queue.counts("requests").total) == (2, 1)


def test_dev_rows_that_counted_as_wrong_are_shown_and_accepting_one_leaves_the_row(task: Path) -> None:
    studio = Studio(task, method="baseline")
    client, counts = browser(studio), studio.queue.counts("dev")
    assert counts.total == counts.answered > 0
    page = client.get("/review?from=dev")
    assert "In the examples" in page.text
    send(client, "accept", page.text)
    assert (said(task)[0]["thumb"], said(task)[0].get("correction")) == ("up", None)
    dev = next(json.loads(file.read_text())["dev"] for file in (task.parent / "runs").glob("*/split.json"))
    texts = {row.text for row in studio.rows if row.id in dev}
    assert said(task)[0]["input"] in texts


def test_the_new_rows_are_written_from_the_page(task: Path) -> None:
    _, client = opened(task, "One")
    send(client, "correct", correction=GOOD)
    before = task.read_text()
    page = client.post("/apply", data=fields(client.get("/").text)).text
    assert "examples.feedback.jsonl" in page
    assert task.read_text() == before
    client.post("/apply", data={**fields(client.get("/").text), "update": "on"})
    assert "examples: examples.feedback.jsonl" in task.read_text()
    task.write_text(before)
    for file in task.parent.glob("examples.feedback*"):
        file.unlink()
    (task.parent / "runs" / "training.jsonl").unlink()


def test_logged_chats_tables_and_what_is_no_request(tmp_path: Path) -> None:
    chats = tmp_path / "log.jsonl"
    turns = [("system", "S"), ("user", "A"), ("assistant", "B"), ("user", "C"), ("assistant", "D")]
    line = {"id": 1, "messages": [{"role": role, "content": text} for role, text in turns]}
    chats.write_text(f"{json.dumps(line)}\n{json.dumps(line)}\n")
    found = read_requests(chats)
    assert [[turn.content for turn in each] for each in found.inputs] == [["A", "B", "C"]]
    assert found.repeated == 1
    table = tmp_path / "log.csv"
    table.write_text("nr,customer question\n1,Where?\n2,\n")
    with pytest.raises(Exception, match=r"log.csv:3: no request"):
        read_requests(table, ("customer question",))
    table.write_text("text\nWhere?\n")
    assert read_requests(table).inputs == ((Message("user", "Where?"),),)


def test_a_page_of_many_rows_takes_under_a_fifth_of_a_second(task: Path) -> None:
    many = [str(row["input"]) for row in rows("answer", 3000, seed=9)]
    studio = Studio(task)
    studio.queue.add(
        Item("requests", (Message("user", f"{text} {number}"),), "", GOOD, confidence=0.5)
        for number in range(10)
        for text in many
    )
    client = browser(studio)
    client.get("/review")
    begin = time.perf_counter()
    for page in ("/", "/review?from=requests"):
        assert client.get(page).status_code == 200
    send(client, "accept")
    assert time.perf_counter() - begin < 4 * 0.2

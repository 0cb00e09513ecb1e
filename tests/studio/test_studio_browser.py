"""The studio in a real browser, and under kill -9: the whole circle from an answer to a new
comparison.
"""

import contextlib
import http.client
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from etude.cli import main
from etude.comparison.compare import compare
from etude.feedback import FILE, FeedbackLog
from small_task import rows, write_task

CHROMIUM = (
    shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
)
pytestmark = pytest.mark.real


@contextlib.contextmanager
def served(task: Path, *more: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The command as a process of its own, and the link that it prints."""
    command = [sys.executable, "-m", "etude", "studio", str(task), *more]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONUNBUFFERED": "1"}
    )
    assert process.stdout
    try:
        link = next(found[1] for line in process.stdout if (found := re.match(r"Open (\S+)", line)))
        yield process, link
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


@pytest.fixture
def task(tmp_path: Path) -> Path:
    made = write_task(
        tmp_path / "task", more="methods: [baseline, prompt, few_shot]\nmetric: exact_match\n"
    )
    compare(made)
    return made


def requests_file(task: Path, num: int) -> Path:
    file = task.parent / "requests.jsonl"
    asked = rows("answer", num, seed=99)
    file.write_text("".join(json.dumps({"input": row["input"]}) + "\n" for row in asked))
    return file


@pytest.mark.skipif(CHROMIUM is None, reason="needs a browser; to run: install chromium")
def test_the_whole_circle_by_keyboard(task: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """20 answers are corrected by keyboard without a reload, applied, and compared on the same
    test.
    """
    api = pytest.importorskip("playwright.sync_api")
    wanted = {row["input"]: str(row["output"]) for row in rows("answer", 20, seed=99)}
    loads = []
    with (
        served(task, "--requests", str(requests_file(task, 20)), "--port", "0") as (_, link),
        api.sync_playwright() as p,
    ):
        page = (
            p.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
            .new_context(bypass_csp=True)
            .new_page()
        )
        problems: list[str] = []
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.goto(link)
        page.goto(urllib.parse.urljoin(link, "/data"))
        row = page.locator("a.turn-link").first.get_attribute("href")
        page.goto(urllib.parse.urljoin(link, row))
        page.get_by_role("button", name="Leave out").press("Enter")
        page.get_by_text("will be left out").wait_for()
        page.get_by_role("button", name="Undo").press("Enter")
        page.get_by_text("undone", exact=True).wait_for()
        page.goto(urllib.parse.urljoin(link, "/findings"))
        page.get_by_role("button", name="Check the rows").press("Enter")
        page.get_by_role("button", name="Check the rows").wait_for()
        page.wait_for_load_state(
            "networkidle"
        )  # the page loads itself anew when the check has ended
        page.goto(urllib.parse.urljoin(link, "/review"))
        page.on("load", lambda page: loads.append(page.url))
        for number in range(20):
            page.get_by_text(f"{number} of 20 reviewed").wait_for()
            asked = page.locator(".turn.user .text").text_content()
            page.keyboard.press("c")
            page.keyboard.press("Control+a")
            page.keyboard.insert_text(wanted[asked])
            page.keyboard.press("Control+Enter")
        page.get_by_text("Everything is reviewed here.").wait_for()
        assert not loads
        page.goto(urllib.parse.urljoin(link, "/"))
        page.get_by_role("button", name="Write a new file of examples").press("Enter")
        page.get_by_text("20 rows added").wait_for()
    assert not problems
    assert "examples: examples.feedback.jsonl" in task.read_text()
    compare(task)
    first, second = sorted(
        (task.parent / "runs").glob("small-*"), key=lambda run: run.stat().st_ctime
    )
    sides = [json.loads((run / "split.json").read_text()) for run in (first, second)]
    assert sides[0]["test"] == sides[1]["test"]
    assert len(sides[1]["train"]) == len(sides[0]["train"]) + 20
    assert main(["runs", "compare", str(task), first.name, second.name]) == 0
    assert re.search(r"few_shot .*\(n = \d+\)|few_shot .*identical on all", capsys.readouterr().out)


def test_thirty_kills_while_two_people_review_lose_and_double_nothing(task: Path) -> None:
    requests = requests_file(task, 1500)
    confirmed: dict[str, str] = {}
    for number in range(30):
        with served(task, "--requests", str(requests), "--port", "0") as (process, link):
            people = [
                threading.Thread(target=review, args=(link, name, confirmed))
                for name in ("ana", "ben")
            ]
            for each in people:
                each.start()
            before = len(confirmed)
            patience = time.monotonic() + 30
            while len(confirmed) < before + 3 and time.monotonic() < patience:
                time.sleep(0.02)
            time.sleep(random.Random(number).uniform(0, 0.4))
            process.send_signal(signal.SIGKILL)
            for each in people:
                each.join()
    entries = FeedbackLog(task.parent / FILE).entries
    assert set(confirmed) <= {entry.id for entry in entries}
    assert len(confirmed) > 60
    kept = [line for line in (task.parent / FILE).read_text().splitlines() if line]
    assert len(kept) == len(entries)
    by_input = {entry.text for entry in entries}
    assert len(by_input) == len(entries), "an answer was given to two people"


def review(link: str, who: str, confirmed: dict[str, str]) -> None:
    """Accepts answers until the server is gone; notes the ids of those that the server has
    confirmed.
    """
    opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor())
    with contextlib.suppress(
        urllib.error.URLError, ConnectionError, http.client.HTTPException, TimeoutError
    ):
        page = opener.open(link, timeout=5).read().decode()
        token = re.search(r'name="token" value="(\w+)"', page)
        post(opener, link, "/name", {"token": token[1], "name": who})
        page = opener.open(urllib.parse.urljoin(link, "/review"), timeout=5).read().decode()
        while True:
            given = dict(re.findall(r'type="hidden" name="(\w+)" value="([^"]*)"', page))
            if "entry" not in given:
                page = opener.open(urllib.parse.urljoin(link, "/review"), timeout=5).read().decode()
                continue
            page = post(opener, link, "/review", {**given, "say": "accept"})
            confirmed[given["entry"]] = who
            time.sleep(0.01)


def post(opener: urllib.request.OpenerDirector, link: str, path: str, form: dict[str, str]) -> str:
    body = urllib.parse.urlencode(form).encode()
    asked = urllib.request.Request(urllib.parse.urljoin(link, path), body, {"x-fragment": "1"})
    text: str = opener.open(asked, timeout=5).read().decode()
    return text

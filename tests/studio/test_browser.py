"""The studio in a browser: what is written stays, what the keys do, and that axe finds nothing."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit

import pytest
from test_review_page import write_made_rows
from test_studio_browser import CHROMIUM, requests_file, served

from studio_helpers import read_feedback_lines

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(CHROMIUM is None, reason="needs a browser; to run: install chromium"),
]


@pytest.fixture
def opened(studio_task: Path) -> Iterator[tuple[Any, Any, str]]:
    """The process of a studio with three requests, a page that is signed in, and its link."""
    api = pytest.importorskip("playwright.sync_api")
    write_made_rows(studio_task)
    arguments = ("--requests", str(requests_file(studio_task, 3)), "--port", "0", "--no-open")
    with served(studio_task, *arguments) as (process, link), api.sync_playwright() as p:
        browser = p.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_context(bypass_csp=True).new_page()
        page.goto(link)
        page.goto(urljoin(link, "/review"))
        page.locator("button[value=accept]").wait_for()
        yield process, page, link


def test_a_draft_survives_esc_and_back_shows_what_was_said(
    opened: tuple[Any, Any, str], studio_task: Path
) -> None:
    _, page, link = opened
    page.keyboard.press("c")
    page.keyboard.insert_text(" DRAFT")
    page.keyboard.press("Escape")
    page.keyboard.press("c")
    assert page.locator("#correction").input_value().endswith(" DRAFT"), (
        "written at the end, and kept"
    )
    page.keyboard.press("Escape")
    page.keyboard.press("r")
    page.keyboard.insert_text("wrong age")
    page.keyboard.press("Enter")
    page.get_by_text("1 of 3 reviewed (1 by you)").wait_for()
    page.keyboard.press("b")
    page.get_by_text("thumb down, “wrong age”").wait_for()
    page.keyboard.press("a")
    page.get_by_text("Saved at").wait_for()
    assert len(read_feedback_lines(studio_task)) == 2
    page.keyboard.press("?")
    page.locator("dialog").get_by_text("Go back to the answer").wait_for()
    page.keyboard.press("a")
    page.keyboard.press("Escape")
    page.locator("dialog").wait_for(state="detached")
    assert urlsplit(page.url).path == "/review", "the review is still there"
    page.goto(urljoin(link, "/review?from=made"))
    made = studio_task.parent / "made.jsonl"
    for key, state, num_rows in (("d", "detached", 7), ("b", "visible", 7), ("k", "detached", 8)):
        page.keyboard.press(key)
        page.get_by_text("already reviewed").wait_for(state=state)
        page.get_by_text("1 of 8 reviewed").wait_for()
        assert made.read_text().count("\n") == num_rows


def test_enter_sends_in_the_chat_and_a_reload_keeps_the_conversation(
    opened: tuple[Any, Any, str],
) -> None:
    _, page, link = opened
    page.goto(urljoin(link, "/chat"))
    page.locator("#question").fill("Dragons, age 7?")
    page.locator("#question").press("Enter")
    page.locator(".turn.shown").wait_for()
    page.reload()
    page.get_by_text("Correct the answer").click()
    page.locator("#correction").fill("No title")
    page.locator("#correction").press("Control+Enter")
    page.get_by_text("The answer breaks the rules").wait_for()
    page.locator("#correction").fill("Title: D\nAges: 7")
    page.locator("#correction").press("Control+Enter")
    page.get_by_text("Saved. Thank you.").wait_for()
    page.get_by_text("New conversation").click()
    page.wait_for_load_state()
    assert page.locator(".turn").count() == 0


def test_without_the_server_a_form_keeps_what_is_written(opened: tuple[Any, Any, str]) -> None:
    process, page, link = opened
    page.goto(urljoin(link, "/data"))
    page.locator("a.turn-link").first.click()
    page.locator("#correction").fill("Title: Typed\nAges: 1")
    process.kill()
    process.wait()
    page.get_by_role("button", name="Save").click()
    page.get_by_text("No connection. Nothing was saved").wait_for()
    assert page.locator("#correction").input_value() == "Title: Typed\nAges: 1"


def test_axe_finds_nothing_and_no_page_is_wider_than_its_screen(
    opened: tuple[Any, Any, str],
) -> None:
    _, page, link = opened
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    page.goto(urljoin(link, "/data"))
    row = page.locator("a.turn-link").first.get_attribute("href")
    for width in (1280, 390):
        page.set_viewport_size({"width": width, "height": 800})
        reviews = (
            "/",
            "/review",
            "/review?from=dev",
            "/review?from=made",
            "/chat",
            "/tests",
            "/keys",
        )
        for path in (*reviews, "/data", row, "/findings", "/runs"):
            page.goto(urljoin(link, path))
            if page.locator("details.guidelines:not([open])").count():
                page.get_by_text("What a good answer is").click()
            assert not axe.run(page).response["violations"], path
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), path


def test_the_browser_opens_with_the_link_if_that_is_wanted(
    studio_task: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    note = tmp_path / "opened"
    program = tmp_path / "browser.sh"
    program.write_text(f'#!/bin/sh\necho "$1" > {note}\n')
    program.chmod(0o755)
    monkeypatch.setenv("BROWSER", str(program))
    with served(studio_task, "--port", "0") as (process, _):
        assert process.poll() is None
    assert not note.exists(), "not without a terminal"
    with served(studio_task, "--port", "0", "--open") as (_, link):
        for _ in range(100):
            if note.exists() and note.read_text():
                break
            time.sleep(0.05)
    assert note.read_text().strip() == link

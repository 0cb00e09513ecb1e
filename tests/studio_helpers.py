"""The studio's pages as a signed-in browser gets them: helpers of its tests."""

import json
import re
from pathlib import Path
from typing import Any

from starlette.testclient import TestClient

from etude.feedback import FILE, FeedbackLog
from etude.studio.sign_in import SignIn
from etude.studio.studio import Studio
from etude.studio.views import build_studio_app

GOOD = "Title: Dragons at Dawn\nAges: 7"


def write_requests(task: Path, *inputs: str) -> Path:
    file = task.parent / "requests.jsonl"
    file.write_text("".join(json.dumps({"input": text}) + "\n" for text in inputs))
    return file


def open_studio(task: Path, *inputs: str) -> tuple[Studio, TestClient]:
    """A studio that has answered these requests, and a browser that is signed in."""
    studio = Studio(task, write_requests(task, *inputs) if inputs else None)
    studio.answering.run()
    return studio, browser(studio)


def browser(studio: Studio, who: str = "ana") -> TestClient:
    client = TestClient(build_studio_app(studio, who), base_url="http://127.0.0.1:8765")
    client.get("/enter", params={"key": SignIn(studio.queue.secret).owner_key})
    return client


def fields(page: str) -> dict[str, str]:
    """The hidden fields of the first form of a page's content, or of a fragment."""
    form = (page.partition("<main")[2] or page).partition("</form>")[0]
    return dict(re.findall(r'type="hidden" name="(\w+)" value="([^"]*)"', form))


def send(client: TestClient, say: str, page: str | None = None, **more: str) -> Any:
    """Says something of the answer that is shown, or of that on `page`; returns the response."""
    given = fields(page or client.get("/review").text)
    return client.post("/review", data={**given, "say": say, **more}, headers={"x-fragment": "1"})


def read_feedback_lines(task: Path) -> list[dict[str, Any]]:
    return [entry.line for entry in FeedbackLog(task.parent / FILE).entries]

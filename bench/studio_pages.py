"""Measure the time of the studio's pages on the server for a task with many rows.

    python bench/studio_pages.py [ROWS]   # 100,000 by default, generated; preparing takes some minutes

A comparison of baseline and prompt is run. Then each page is requested ten times, as by a signed-in owner's browser.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from pathlib import Path

from starlette.testclient import TestClient

from etude.cli import main as etude
from etude.comparison import compare
from etude.studio.sign_in import SignIn
from etude.studio.studio import Studio
from etude.studio.views import build_studio_app

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from small_task import write_task

PAGES = (
    "/",
    "/review",
    "/chat",
    "/data",
    "/data?q=dragons&page=3",
    "/findings",
    "/tests",
    "/blind",
    "/compare",
)


def main() -> None:
    """Print the median and the longest time of each page."""
    num = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    with tempfile.TemporaryDirectory() as folder:
        task = write_task(Path(folder), "classify", num=num, more="methods: [baseline, prompt]\n")
        compare(task)
        etude(["test", str(task), "--quick"])
        started = time.perf_counter()
        studio = Studio(task)
        print(f"{num:,} rows: opened in {time.perf_counter() - started:.1f} s", flush=True)
        client = TestClient(build_studio_app(studio, "owner"), base_url="http://127.0.0.1:8765")
        client.get("/enter", params={"key": SignIn(studio.queue.secret).owner_key})
        row = studio.rows[num // 2].id
        for page in (*PAGES, f"/row?id={row}"):
            times = []
            for _ in range(10):
                asked_at = time.perf_counter()
                response = client.get(page)
                times.append(1000 * (time.perf_counter() - asked_at))
            summary = f"median {statistics.median(times):.0f} ms, longest {max(times):.0f} ms"
            print(f"{page}: {response.status_code}, {summary}", flush=True)


if __name__ == "__main__":
    main()

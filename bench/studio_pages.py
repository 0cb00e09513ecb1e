"""Time that the studio's pages take on the server for a task of many rows.

    python bench/studio_pages.py [ROWS]      100,000 by default: made rows and the fake model; some minutes of preparing

A comparison of baseline and prompt is run, then each page is asked ten times as a signed-in owner's browser asks.
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
from etude.studio.app import make_app
from etude.studio.security import Keys
from etude.studio.studio import Studio

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
    """Prints median and longest time of each page."""
    num = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    with tempfile.TemporaryDirectory() as folder:
        task = write_task(Path(folder), "classify", num=num, more="methods: [baseline, prompt]\n")
        compare(task)
        etude(["test", str(task), "--quick"])
        started = time.perf_counter()
        studio = Studio(task)
        print(f"{num:,} rows: opened in {time.perf_counter() - started:.1f} s", flush=True)
        client = TestClient(make_app(studio, "owner"), base_url="http://127.0.0.1:8765")
        client.get("/enter", params={"key": Keys(studio.queue.secret).session})
        row = studio.rows[num // 2].id
        for page in (*PAGES, f"/row?id={row}"):
            taken = []
            for _ in range(10):
                begun = time.perf_counter()
                response = client.get(page)
                taken.append(1000 * (time.perf_counter() - begun))
            told = f"median {statistics.median(taken):.0f} ms, longest {max(taken):.0f} ms"
            print(f"{page}: {response.status_code}, {told}", flush=True)


if __name__ == "__main__":
    main()

"""The code of docs/hosted.md runs as printed, against a server in this process."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from test_fine_tuning import chat_rows

from etude.hosted.stores import HostedStores
from serving import serving
from tiny import save_tiny_model

PAGE = Path(__file__).parents[2] / "docs" / "hosted.md"


@pytest.mark.real
def test_the_page_goes_from_a_file_to_an_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (block,) = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.M | re.S)
    monkeypatch.chdir(tmp_path)
    Path("training.jsonl").write_bytes(chat_rows(16))
    stores = HostedStores(tmp_path / "jobs", {"gpt-4o-mini": str(save_tiny_model(tmp_path / "tiny"))})
    with serving(hosted=stores) as url:
        exec(compile(block.replace("http://127.0.0.1:8000", url), "hosted.md", "exec"), {})
    lines = capsys.readouterr().out.splitlines()
    assert "The job has successfully completed" in lines
    assert len(lines) > 8

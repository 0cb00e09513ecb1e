"""The code of docs/hosted.md runs as printed, against a server in this process."""

import json
import re
import shlex
import time
from dataclasses import replace
from pathlib import Path

import openai
import pytest
from hosting import extend
from test_fine_tuning import chat_rows
from test_import_openai import TUNED, read_export_scripts, save_export, set_client, to_chat

from etude.assistant import Assistant
from etude.cli import main
from etude.task.contract import Contract
from etude.types import ModelRef
from etude_openai.hosted.stores import HostedStores
from serving import serve_as, serving
from small_task import rows
from tiny import save_tiny_model

PAGE = Path(__file__).parents[4] / "docs" / "hosted.md"


@pytest.mark.real
def test_the_page_goes_from_a_file_to_an_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    block, _ = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.M | re.S)
    monkeypatch.chdir(tmp_path)
    Path("training.jsonl").write_bytes(chat_rows(16))
    stores = HostedStores(
        tmp_path / "jobs", {"gpt-4o-mini": str(save_tiny_model(tmp_path / "tiny"))}
    )
    with serving(extensions=extend(stores)) as url:
        exec(compile(block.replace("http://127.0.0.1:8000", url), "hosted.md", "exec"), {})
    lines = capsys.readouterr().out.splitlines()
    assert "The job has successfully completed" in lines
    assert len(lines) > 8


def test_the_page_asks_for_responses_decisions_and_embeddings(
    encoder: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, block = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.M | re.S)
    stores = HostedStores(tmp_path / "jobs", {"all-minilm-l6-v2": encoder})
    luma = Assistant("prompt", "answer", ModelRef("fake"))
    labels = ("card", "refund")
    tickets = replace(luma, kind="classify", choices=labels, contract=Contract(labels=labels))
    served = (serve_as("luma", luma), serve_as("tickets", tickets))
    with serving(*served, extensions=extend(stores, encoder)) as url:
        exec(compile(block.replace("http://127.0.0.1:8000", url), "hosted.md", "exec"), {})
    text, decision, vectors = capsys.readouterr().out.splitlines()
    assert text == "Something about dragons, age 7"  # the fake model goes on with its first answer
    assert decision.split()[0] in labels
    assert vectors.startswith("2 ")


@pytest.mark.real
def test_the_page_goes_from_saved_evals_to_a_verdict(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    save_export(Path("saved"))
    assert run_shell_lines(PAGE) == ["import", "compare"]
    assert f"can replace {TUNED}" in " ".join(capsys.readouterr().out.split())


def run_shell_lines(page: Path) -> list[str]:
    """Run the page's lines, with the fake model in the task that the first one writes; return their
    commands.
    """
    blocks = re.findall(r"^```sh\n(.*?)^```$", page.read_text(encoding="utf-8"), re.M | re.S)
    lines = [shlex.split(line, comments=True) for block in blocks for line in block.splitlines()]
    for words in lines:
        assert words.pop(0) == ".venv/bin/etude"
        assert main(words) == 0
        task = Path("saved/etude/task.yaml")
        text = task.read_text(encoding="utf-8").replace("smollm2-135m-instruct", "fake")
        task.write_text(text, encoding="utf-8")
    return [words[0] for words in lines]


@pytest.mark.real
def test_a_job_and_the_answers_of_its_model_are_saved_and_compared_by_the_lines_of_the_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """docs/from-openai.md, with this server in place of OpenAI's."""
    monkeypatch.chdir(tmp_path)
    stores = HostedStores(
        tmp_path / "jobs", {"gpt-4o-mini": str(save_tiny_model(tmp_path / "tiny"))}
    )
    chats = [json.dumps(to_chat(row)).encode() for row in rows("classify", 200)]
    with serving(extensions=extend(stores)) as url:
        set_client(monkeypatch, url)
        client = openai.OpenAI()
        files = [
            client.files.create(file=("rows.jsonl", b"\n".join(lines)), purpose="fine-tune").id
            for lines in (chats[:120], chats[120:])
        ]
        job = client.fine_tuning.jobs.create(
            model="gpt-4o-mini",
            training_file=files[0],
            validation_file=files[1],
            hyperparameters={"n_epochs": 1},
        )
        while not job.finished_at:
            time.sleep(0.2)
            job = client.fine_tuning.jobs.retrieve(job.id)
        jobs_script, _, answers_script = read_export_scripts()
        exec(compile(jobs_script + answers_script, "from-openai.md", "exec"), {})
    for file in Path("saved").glob("file-*"):
        # The tiny model also answers with characters that no file may have.
        file.write_text(file.read_text(encoding="utf-8").replace("\\u0000", ""), encoding="utf-8")
    assert run_shell_lines(PAGE.with_name("from-openai.md")) == ["import", "check", "compare"]
    printed = " ".join(capsys.readouterr().out.split())
    assert "of the job's validation_file, with stored answers" in printed
    assert f"can replace {job.fine_tuned_model}" in printed

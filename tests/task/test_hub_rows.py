"""Rows and weights on the Hugging Face Hub, from a stand-in of the Hub on this machine and from the hub's cache."""

from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from etude.base.files import read_json
from etude.cli import main
from etude.comparison.compare import compare
from etude.errors import InputError
from etude.models.weights import find_weights
from etude.runs.record import find_hub_commits
from etude.task import load_task
from etude.task.hub_rows import HUB, URL
from small_task import write_task

ROWS = "hf://datasets/me/cards@main/data/train.jsonl"


class HubHandler(BaseHTTPRequestHandler):
    """The newest commit of one dataset, and the content of its file at every commit."""

    newest: str
    contents: dict[str, bytes]
    num_requests: int

    def do_HEAD(self) -> None:
        type(self).num_requests += 1
        revision = self.path.removeprefix("/datasets/me/cards/resolve/").partition("/")[0]
        commit = self.newest if revision == "main" else revision
        if commit not in self.contents or not self.path.endswith("/data/train.jsonl"):
            self.send_response(404)
            self.send_header("X-Error-Code", "EntryNotFound")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.send_response(200)
        self.send_header("X-Repo-Commit", commit)
        self.send_header("ETag", f'"{commit}"')
        self.send_header("Content-Length", str(len(self.contents[commit])))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(self.contents[commit])

    def do_GET(self) -> None:
        self.do_HEAD()

    def log_message(self, format: str, *args: object) -> None: ...


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[type[HubHandler]]:
    """A stand-in of the Hub, and an empty cache."""
    constants = pytest.importorskip("huggingface_hub.constants")
    server = ThreadingHTTPServer(("127.0.0.1", 0), HubHandler)
    endpoint = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", endpoint)
    monkeypatch.setattr(
        constants, "HUGGINGFACE_CO_URL_TEMPLATE", f"{endpoint}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
    )
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_PROGRESS_BARS", True)
    HubHandler.num_requests = 0
    Thread(target=server.serve_forever, daemon=True).start()
    yield HubHandler
    server.shutdown()
    server.server_close()


def write_hub_task(folder: Path, url: str = ROWS) -> tuple[Path, bytes]:
    """A task whose rows are on the Hub, and the rows."""
    task = write_task(folder, num=150, more="methods: [prompt]\n")
    rows = (folder / "examples.jsonl").read_bytes()
    (folder / "examples.jsonl").unlink()
    text = task.read_text(encoding="utf-8").replace("examples.jsonl", url)
    assert url in text
    task.write_text(text, encoding="utf-8")
    return task, rows


def test_rows_on_the_hub_are_downloaded_by_index_alone_and_stay_those_of_one_commit(
    hub: type[HubHandler], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    task, rows = write_hub_task(tmp_path / "task")
    hub.contents, hub.newest = {"a" * 40: rows, "b" * 40: rows[: len(rows) // 2]}, "a" * 40
    with pytest.raises(InputError, match=r"was not downloaded.*etude index"):
        load_task(task)
    assert hub.num_requests == 0
    assert main(["index", str(task)]) == 0
    assert f"{ROWS}: commit {'a' * 40}." in capsys.readouterr().out
    # The branch has moved on: the rows are the same until the lock is deleted.
    hub.newest, num_requests = "b" * 40, hub.num_requests
    assert main(["index", str(task)]) == 0
    assert hub.num_requests == num_requests
    assert load_task(task).examples.file.read_bytes() == rows
    # Another folder with the same lock gets the same commit; without the lock, it gets the newest.
    other, _ = write_hub_task(tmp_path / "other")
    (other.parent / "hub.lock.json").write_bytes((task.parent / "hub.lock.json").read_bytes())
    assert main(["index", str(other)]) == 0
    assert load_task(other).examples.file.read_bytes() == rows
    (other.parent / "hub.lock.json").unlink()
    assert main(["index", str(other)]) == 0
    assert load_task(other).examples.file.read_bytes() == hub.contents["b" * 40]
    # Without a network, the file comes from the hub's cache.
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    (other.parent / "hub.lock.json").unlink()
    assert main(["index", str(other)]) == 0
    assert read_json(other.parent / "hub.lock.json") == {ROWS: "b" * 40}


@pytest.mark.real
def test_a_run_records_the_commit_and_is_the_same_run_when_the_branch_moves(
    hub: type[HubHandler], tmp_path: Path
) -> None:
    task, rows = write_hub_task(tmp_path / "task")
    hub.contents, hub.newest = {"a" * 40: rows, "b" * 40: rows[: len(rows) // 2]}, "a" * 40
    load_task(task, downloads=True)
    run = compare(task).run
    assert run.info["hub"] == {ROWS: "a" * 40}
    hub.newest = "b" * 40
    load_task(task, downloads=True)
    assert compare(task).run.folder == run.folder


def test_what_the_hub_does_not_have_is_an_error_at_its_line(
    hub: type[HubHandler], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hub.contents, hub.newest = {}, "a" * 40
    task, _ = write_hub_task(tmp_path / "task")
    assert main(["index", str(task)]) == 2
    error = " ".join(capsys.readouterr().err.split())
    assert "task.yaml:" in error
    assert "examples cannot be downloaded" in error
    assert not (task.parent / "hub.lock.json").exists()
    (task.parent / "hub.lock.json").write_text('{"a": "../.."}', encoding="utf-8")
    with pytest.raises(InputError, match=r"hub\.lock\.json"):
        load_task(task)


@pytest.mark.parametrize(
    ("url", "is_valid"),
    [
        ("hf://datasets/me/cards/train.csv", True),
        ("hf://datasets/me/cards@refs/convert/parquet/default/train/0000.parquet", True),
        ("hf://datasets/me/cards@v1.0/a b/train.jsonl", True),
        *(
            (f"{HUB}{wrong}", False)
            for wrong in (
                "me/cards/train.csv datasets/cards datasets/../../x datasets/me/cards/../../x "
                "datasets/me/cards/.hidden datasets/me/cards/ datasets/me/cards@/x"
            ).split()
        ),
    ],
)
def test_addresses_of_rows_stay_inside_their_repository(url: str, is_valid: bool, tmp_path: Path) -> None:
    assert bool(URL.fullmatch(url)) == is_valid
    if not is_valid:
        task, _ = write_hub_task(tmp_path, url)
        with pytest.raises(InputError, match="not a file of a dataset on the Hub"):
            load_task(task, downloads=True)


def test_the_commit_of_a_hub_model_is_that_of_the_cache(hub: type[HubHandler], tmp_path: Path) -> None:
    repo = tmp_path / "cache" / "models--me--tiny"
    snapshot = repo / "snapshots" / ("c" * 40)
    snapshot.mkdir(parents=True)
    (snapshot / "config.json").write_text("{}", encoding="utf-8")
    (snapshot / "model.safetensors").touch()
    (repo / "refs").mkdir()
    (repo / "refs" / "main").write_text("c" * 40, encoding="utf-8")
    assert find_weights("me/tiny") == snapshot
    task = load_task(write_task(tmp_path / "task", model="me/tiny", more="encoder: me/absent\nweights: 4bit\n"))
    assert find_hub_commits(task) == {"me/tiny:4bit": "c" * 40}
    pinned = f"me/tiny@{'c' * 40}"
    assert find_hub_commits(replace(task, model="smollm2-135m-instruct", encoder=pinned)) == {pinned: "c" * 40}
    assert hub.num_requests == 0

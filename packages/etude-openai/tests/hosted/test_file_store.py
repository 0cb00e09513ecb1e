"""The store of uploaded files: whole or not at all, found by id alone, within its quota."""

import io
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from etude.base.locks import lock_file
from etude.web.api_errors import ApiError
from etude_openai.hosted.file_store import FileStore, paginate
from etude_openai.hosted.stores import HostedStores

LINE = b'{"messages": []}\n'


@pytest.fixture
def store(tmp_path: Path) -> FileStore:
    return FileStore(tmp_path / "files", 10_000)


def test_a_file_is_described_read_listed_and_deleted(store: FileStore) -> None:
    first = store.add(io.BytesIO(LINE), "rows.jsonl", "fine-tune")
    second = store.add(io.BytesIO(b"any bytes"), "notes.txt", "user_data")
    assert (first["bytes"], first["status"], first["object"]) == (len(LINE), "processed", "file")
    assert store.read_path(first["id"]).read_bytes() == LINE
    assert {file["id"] for file in store.list()} == {first["id"], second["id"]}
    store.delete(first["id"])
    assert [file["id"] for file in store.list()] == [second["id"]]
    with pytest.raises(ApiError) as caught:
        store.get(first["id"])
    assert (caught.value.status, caught.value.param) == (404, "id")


@pytest.mark.parametrize(
    ("content", "name", "purpose", "words"),
    [
        (LINE, "rows.csv", "fine-tune", "Must be .jsonl"),
        (b"[1]\n", "rows.jsonl", "fine-tune", "Line 1 is not a dictionary"),
        (LINE + b"no json\n", "rows.jsonl", "fine-tune", "Line 2"),
        (b"\n" + LINE + b"no json\n", "rows.jsonl", "fine-tune", "Line 3"),
        (b"no json\n" + LINE, "rows.jsonl", "batch", "Line 1"),
        (b'{"a": "\\ud800"}\n', "rows.jsonl", "fine-tune", "half of a character"),
        (b"", "rows.jsonl", "fine-tune", "empty"),
        (LINE, "rows.jsonl", "training", "'training' is not one of"),
        (b"[" * 100_000, "rows.jsonl", "fine-tune", "larger than"),
        (b"x" * 20_000, "x.bin", "user_data", "10,000 bytes"),
    ],
)
def test_a_refused_file_leaves_nothing(
    store: FileStore, content: bytes, name: str, purpose: str, words: str
) -> None:
    with pytest.raises(ApiError, match=words):
        store.add(io.BytesIO(content), name, purpose)
    assert store.list() == []
    assert not store.folder.exists() or list(store.folder.iterdir()) == []


def test_the_quota_counts_all_files_together(store: FileStore) -> None:
    store.add(io.BytesIO(b"x" * 9_000), "a", "user_data")
    with pytest.raises(ApiError) as caught:
        store.add(io.BytesIO(b"x" * 1_001), "b", "user_data")
    assert caught.value.status == 413
    store.add(io.BytesIO(b"x" * 1_000), "c", "user_data")


def test_an_expired_file_is_gone(store: FileStore, monkeypatch: pytest.MonkeyPatch) -> None:
    file = store.add(io.BytesIO(b"x"), "a", "user_data", expires_after=3600)
    assert store.find(file["id"]) is not None
    monkeypatch.setattr("etude_openai.hosted.file_store.time.time", lambda: file["expires_at"] + 1)
    assert store.find(file["id"]) is None
    assert store.list() == []


UNFINISHED = (
    "files/file-1.part/content batches/batch_1/batch.json "
    "fine_tuning/ftjob-1/job.json fine_tuning/queue/.0-1/job.json "
    "evals/eval_1/evalrun_1/items.jsonl"
).split()


def test_a_start_removes_what_a_kill_left_unfinished(tmp_path: Path) -> None:
    first = HostedStores(tmp_path, {})
    file = first.files.add(io.BytesIO(b"x"), "a.txt", "user_data")
    complete = {path for path in tmp_path.rglob("*") if path.is_file()}
    for name in UNFINISHED:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x")
    with (tmp_path / "fine_tuning/queue/lock").open("w") as lock:
        lock_file(lock)
        HostedStores(tmp_path, {})
        assert (tmp_path / UNFINISHED[0]).exists(), "a worker may be writing it"
    HostedStores(tmp_path, {})
    assert {path for path in tmp_path.rglob("*") if path.is_file()} - complete == {Path(lock.name)}
    assert complete <= {*tmp_path.rglob("*")}
    assert first.files.get(file["id"]) == file


@pytest.mark.parametrize(
    "name", ["../../etc/passwd", "/etc/passwd", "a/b\\c", "\x00", "é" * 400, ""]
)
def test_a_name_is_never_a_path(store: FileStore, name: str) -> None:
    file = store.add(io.BytesIO(b"x"), name, "user_data")
    inside = {path.relative_to(store.folder) for path in store.folder.rglob("*")}
    assert inside == {Path(file["id"]), Path(file["id"], "file.json"), Path(file["id"], "content")}
    assert (
        json.loads((store.folder / file["id"] / "file.json").read_text())["filename"] == name[-255:]
    )


@given(st.text())
@settings(max_examples=50)
def test_no_text_but_an_id_finds_a_file(text: str) -> None:
    assert FileStore(Path("/nowhere"), 1).find(text) is None


@pytest.mark.parametrize(
    "file_id", ["file-../../x", "file-" + "0" * 23, "..", "file-" + "0" * 24 + "/.."]
)
def test_an_id_is_no_path(store: FileStore, file_id: str) -> None:
    with pytest.raises(ApiError, match="No such File object"):
        store.get(file_id)


def test_pages_cover_a_list_once_and_end() -> None:
    objects = [{"id": str(n)} for n in range(7)]
    seen = []
    after = None
    while True:
        page = paginate(objects, after, 3)
        seen += page["data"]
        if not page["has_more"]:
            break
        after = page["last_id"]
    assert seen == objects
    assert paginate([], None, 3)["has_more"] is False
    with pytest.raises(ApiError):
        paginate(objects, "unknown", 3)

"""Files that the official client uploads in parts."""

from __future__ import annotations

import hashlib
import io
import json
import random
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import openai
import pytest

from etude.hosted.stores import HostedStores
from etude.hosted.upload_store import UploadStore
from etude.web.api_errors import ApiError
from serving import open_client

CONTENT = "".join(json.dumps({"row": number}) + "\n" for number in range(400)).encode()


@pytest.fixture
def stores(tmp_path: Path) -> HostedStores:
    return HostedStores(tmp_path / "data", {}, quota_gb=20_000 / 1e9)


@pytest.fixture
def client(stores: HostedStores) -> Iterator[openai.OpenAI]:
    with open_client(hosted=stores) as client:
        yield client


def begin(client: openai.OpenAI, num_bytes: int = len(CONTENT), filename: str = "rows.jsonl") -> str:
    return client.uploads.create(
        bytes=num_bytes, filename=filename, mime_type="text/jsonl", purpose="fine-tune"
    ).id


def add(client: openai.OpenAI, upload_id: str, data: bytes) -> str:
    return client.uploads.parts.create(upload_id, data=data).id


def count_parts(stores: HostedStores) -> int:
    return len(list(stores.uploads.folder.glob("*/*part_*")))


@pytest.mark.parametrize("seed", range(4))
def test_parts_in_any_split_make_the_file(client: openai.OpenAI, stores: HostedStores, seed: int) -> None:
    """Cut at random places, sent in random order and joined in the order that the client names."""
    chance = random.Random(seed)
    cuts = sorted(chance.choices(range(len(CONTENT)), k=5))
    pieces = [CONTENT[a:b] for a, b in zip([0, *cuts], [*cuts, len(CONTENT)], strict=True)]
    upload_id = begin(client)
    order = chance.sample(range(len(pieces)), len(pieces))
    ids = {number: add(client, upload_id, pieces[number]) for number in order}
    part_ids = [ids[number] for number in range(len(pieces))]
    with pytest.raises(openai.BadRequestError, match="md5"):
        client.uploads.complete(upload_id, part_ids=part_ids, md5="0" * 32)
    assert count_parts(stores) == len(pieces)
    upload = client.uploads.complete(upload_id, part_ids=part_ids, md5=hashlib.md5(CONTENT).hexdigest())
    assert upload.status == "completed"
    assert upload.file is not None
    assert client.files.content(upload.file.id).read() == CONTENT
    assert client.uploads.complete(upload_id, part_ids=part_ids).file == upload.file
    assert len(client.files.list().data) == 1
    assert count_parts(stores) == 0


def test_the_client_splits_a_file_by_itself(client: openai.OpenAI) -> None:
    upload = client.uploads.upload_file_chunked(
        file=CONTENT, filename="a.jsonl", bytes=len(CONTENT), mime_type="x", purpose="batch", part_size=1000
    )
    assert upload.file is not None
    assert upload.file.bytes == len(CONTENT)


def test_what_an_upload_refuses(client: openai.OpenAI, stores: HostedStores) -> None:
    upload_id = begin(client, 100)
    with pytest.raises(openai.APIStatusError) as caught:
        add(client, upload_id, b"x" * 101)
    assert caught.value.status_code == 413
    assert "larger than the 100 bytes" in caught.value.message
    assert count_parts(stores) == 0
    part = add(client, upload_id, b"x" * 60)
    with pytest.raises(openai.APIStatusError, match="larger than the 40 bytes"):
        add(client, upload_id, b"x" * 60)
    for wrong in (part, "part_x", "../../files"):
        with pytest.raises(openai.BadRequestError):
            client.uploads.complete(upload_id, part_ids=[wrong])
    with pytest.raises(openai.APIStatusError) as caught:  # as much as the quota holds is announced already
        begin(client, 20_000)
    assert caught.value.status_code == 413
    assert "Delete files first" in caught.value.message
    with pytest.raises(openai.BadRequestError, match="jsonl"):
        begin(client, 10, "rows.csv")
    assert client.uploads.cancel(upload_id).status == "cancelled"
    assert count_parts(stores) == 0
    with pytest.raises(openai.BadRequestError, match="cancelled"):
        add(client, upload_id, b"x")
    with pytest.raises(openai.NotFoundError):
        client.uploads.cancel("upload_x")


def test_an_upload_expires(stores: HostedStores, monkeypatch: pytest.MonkeyPatch) -> None:
    upload = stores.uploads.create("a.jsonl", "batch", 10, None)
    stores.uploads.add_part(upload["id"], io.BytesIO(b"12345"))
    monkeypatch.setattr("etude.hosted.upload_store.time.time", lambda: upload["expires_at"] + 1)
    stores.uploads.create("b.jsonl", "batch", 10, None)
    assert count_parts(stores) == 0
    assert stores.uploads._read(upload["id"])["status"] == "expired"


class SlowContent(io.BytesIO):
    """Bytes that arrive slowly, so that other requests run meanwhile."""

    def read(self, size: int | None = -1, /) -> bytes:
        time.sleep(0.01)
        return super().read(size)


def count_successes(act: Callable[[SlowContent], object]) -> int:
    with ThreadPoolExecutor(4) as pool:
        futures = [pool.submit(act, SlowContent(b"x" * 60)) for _ in range(4)]
    errors = [future.exception() for future in futures if future.exception()]
    assert {error.status for error in errors if isinstance(error, ApiError)} == {413}
    return len(futures) - len(errors)


def test_what_is_sent_at_the_same_moment_stays_within_the_limits(tmp_path: Path) -> None:
    stores = HostedStores(tmp_path / "data", {}, quota_gb=150 / 1e9)
    upload_id = stores.uploads.create("a.txt", "user_data", 100, None)["id"]
    assert count_successes(lambda content: stores.uploads.add_part(upload_id, content)) == 1
    assert count_successes(lambda content: stores.files.add(content, "a.txt", "user_data")) == 1
    assert stores.files.count_room() == 30


def test_parts_count_towards_the_quota_once(tmp_path: Path) -> None:
    stores = HostedStores(tmp_path / "data", {}, quota_gb=150 / 1e9)
    upload_id = stores.uploads.create("a.txt", "user_data", 100, None)["id"]
    part_ids = [stores.uploads.add_part(upload_id, io.BytesIO(b"x" * 50))["id"] for _ in range(2)]
    with pytest.raises(ApiError, match="larger than the 50 bytes"):
        stores.files.add(io.BytesIO(b"x" * 60), "b.txt", "user_data")
    stores.uploads.complete(upload_id, part_ids, None)
    assert stores.files.count_room() == 50


def test_a_kill_after_the_file_was_stored_loses_and_repeats_nothing(
    stores: HostedStores, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload_id = stores.uploads.create("a.jsonl", "batch", 3, None)["id"]
    part_id = stores.uploads.add_part(upload_id, io.BytesIO(b"{}\n"))["id"]

    def be_killed(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(UploadStore, "_end", be_killed)
        with pytest.raises(KeyboardInterrupt):
            stores.uploads.complete(upload_id, [part_id], None)
    (file,) = stores.files.list()
    restarted = HostedStores(stores.files.folder.parent, {}, quota_gb=20_000 / 1e9)
    upload = restarted.uploads.complete(upload_id, [part_id], None)
    assert (upload["status"], upload["file"]) == ("completed", file)
    assert restarted.files.list() == [file]
    assert count_parts(restarted) == 0

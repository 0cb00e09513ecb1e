"""Files that the official client uploads in parts."""

from __future__ import annotations

import hashlib
import io
import json
import random
from collections.abc import Iterator
from pathlib import Path

import openai
import pytest

from etude.hosted.stores import HostedStores
from serving import serving

CONTENT = "".join(json.dumps({"row": number}) + "\n" for number in range(400)).encode()


@pytest.fixture
def stores(tmp_path: Path) -> HostedStores:
    return HostedStores(tmp_path / "data", {}, quota_gb=20_000 / 1e9)


@pytest.fixture
def client(stores: HostedStores) -> Iterator[openai.OpenAI]:
    with serving(hosted=stores) as url:
        yield openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0)


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
    assert count_parts(stores) == 0
    part = add(client, upload_id, b"x" * 60)
    with pytest.raises(openai.APIStatusError, match="larger"):
        add(client, upload_id, b"x" * 60)
    for wrong in (part, "part_x", "../../files"):
        with pytest.raises(openai.BadRequestError):
            client.uploads.complete(upload_id, part_ids=[wrong])
    with pytest.raises(openai.APIStatusError) as caught:  # as much as the quota holds is announced already
        begin(client, 20_000)
    assert caught.value.status_code == 413
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

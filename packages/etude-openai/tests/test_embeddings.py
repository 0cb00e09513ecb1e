"""/v1/embeddings through the official client: the vectors of the encoder itself."""

import asyncio
import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import openai
import pytest
from hosting import extend
from test_encoder import PASSAGES, tiny_encoder

from etude.models.local.encoder import Encoder, load_encoder
from etude_openai.hosted.stores import HostedStores
from serving import open_client


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("encoder") / "tiny"
    tiny_encoder().save(folder)
    return folder


@pytest.fixture(scope="module")
def encoder(folder: Path) -> Encoder:
    return load_encoder(str(folder))


@pytest.fixture(scope="module")
def client(folder: Path) -> Iterator[openai.OpenAI]:
    stores = HostedStores(folder.parent / "data", {"text-embedding-3-small": str(folder)})
    with open_client(extensions=extend(stores, str(folder))) as client:
        yield client


def embed(client: openai.OpenAI, texts: Any, **options: Any) -> Any:
    return client.embeddings.create(model="text-embedding-3-small", input=texts, **options)


def test_vectors_and_tokens_are_those_of_the_encoder(
    client: openai.OpenAI, encoder: Encoder
) -> None:
    texts = PASSAGES * 5  # more than are embedded at once
    response = embed(client, texts, encoding_format="float", dimensions=32)
    vectors = np.array([entry.embedding for entry in response.data], dtype=np.float32)
    assert [entry.index for entry in response.data] == list(range(len(texts)))
    np.testing.assert_allclose(vectors, encoder.embed(texts), atol=1e-6)
    assert response.usage.prompt_tokens == sum(map(len, encoder.encode(texts)))
    assert response.model == encoder.name


def test_base64_holds_the_same_floats(client: openai.OpenAI) -> None:
    (floats,) = embed(client, PASSAGES[0], encoding_format="float").data
    raw = client.post(
        "/embeddings",
        body={"model": "text-embedding-3-small", "input": PASSAGES[0], "encoding_format": "base64"},
        cast_to=object,
    )
    decoded = np.frombuffer(base64.b64decode(raw["data"][0]["embedding"]), dtype="<f4")
    assert decoded.tolist() == np.array(floats.embedding, dtype=np.float32).tolist()

    async def ask() -> Any:  # the client itself asks for base64 and decodes it
        async with openai.AsyncOpenAI(base_url=client.base_url, api_key="none") as other:
            return await other.embeddings.create(model="text-embedding-3-small", input=PASSAGES[0])

    assert asyncio.run(ask()).data[0].embedding == decoded.tolist()


@pytest.mark.parametrize(
    ("texts", "options", "param"),
    [
        ([[1, 2]], {}, "input"),
        ([1, 2], {}, "input"),
        (["bear", ""], {}, "input"),
        ([], {}, "input"),
        ("bear " * 300, {}, "input"),
        ("bear", {"dimensions": 8}, "dimensions"),
        ("bear", {"encoding_format": "int8"}, "encoding_format"),
    ],
)
def test_what_is_refused(client: openai.OpenAI, texts: Any, options: Any, param: str) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        embed(client, texts, **options)
    assert (caught.value.param or "").startswith(param)


def test_no_encoder_stands_in_for_another(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError, match="--base"):
        client.embeddings.create(model="text-embedding-3-large", input="bear")

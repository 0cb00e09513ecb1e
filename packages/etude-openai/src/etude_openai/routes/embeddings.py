"""/v1/embeddings: vectors of texts, computed by the packaged encoder."""

import asyncio
import base64
from functools import partial
from typing import Annotated, Literal

from fastapi import Request
from fastapi.responses import JSONResponse, Response
from pydantic import Field

from etude.index.build import Vectors
from etude.models.registry import Models
from etude.serve.answering import CLIENT_CLOSED_REQUEST, run_unless_gone
from etude.serve.schemas import Json, RequestBody
from etude.serve.server import Server, ServerState
from etude.web.api_errors import ApiError, to_api_error
from etude_openai.state import get_state

TEXTS_AT_ONCE = 16  # texts that are embedded between two tokens of running answers


EmbeddedText = Annotated[str, Field(min_length=1)]


class EmbeddingRequest(RequestBody):
    """The body of /v1/embeddings."""

    model: str
    input: EmbeddedText | Annotated[list[EmbeddedText], Field(min_length=1, max_length=2048)]
    dimensions: int | None = None
    encoding_format: Literal["float", "base64"] = "float"


async def create_embeddings(
    body: EmbeddingRequest, request: Request, server: ServerState
) -> Response:
    """Embed texts."""
    content = await run_unless_gone(request, embed_texts(server, body))
    return Response(status_code=CLIENT_CLOSED_REQUEST) if content is None else JSONResponse(content)


async def embed_texts(server: Server, body: EmbeddingRequest) -> Json:
    """Embed texts; returns the body of the response. Raises ApiError for a text that is too long
    for the encoder.

    This happens in the engine's thread, which owns the weights: a few texts between two tokens of
    other answers.
    """
    state = get_state(server)
    name = state.find_encoder(body.model)
    texts = [body.input] if isinstance(body.input, str) else body.input
    vectors: list[list[float] | str] = []
    num_tokens = 0
    limits = server.settings.limits
    try:
        async with asyncio.timeout(limits.seconds), state.embedding:
            for start in range(0, len(texts), TEXTS_AT_ONCE):
                chunk = texts[start : start + TEXTS_AT_ONCE]
                work = partial(_embed, server.engine.models, name, chunk, body.dimensions)
                rows, num_chunk_tokens = await asyncio.to_thread(server.engine.run_and_wait, work)
                if body.encoding_format == "base64":
                    vectors += (
                        base64.b64encode(row.astype("<f4").tobytes()).decode() for row in rows
                    )
                else:
                    vectors += rows.tolist()
                num_tokens += num_chunk_tokens
    except TimeoutError as error:
        message = f"No vectors within {limits.seconds:.0f} s. Send fewer texts in a request."
        raise ApiError(408, message, code="timeout") from error
    except Exception as error:
        raise to_api_error(error) from error
    data = [
        {"object": "embedding", "index": index, "embedding": vector}
        for index, vector in enumerate(vectors)
    ]
    usage = {"prompt_tokens": num_tokens, "total_tokens": num_tokens}
    return {"object": "list", "data": data, "model": name, "usage": usage}


def _embed(
    models: Models, name: str, texts: list[str], dimensions: int | None
) -> tuple[Vectors, int]:
    encoder = models.load_shared_encoder(name)
    if dimensions not in (None, encoder.dimensions):
        message = f"{name} has {encoder.dimensions} dimensions and does not support fewer."
        raise ApiError(400, message, "dimensions", "invalid_value")
    lengths = encoder.count_tokens(texts)
    if max(lengths) > encoder.max_tokens:
        message = (
            f"input: a text has {max(lengths):,} tokens; {name} reads at most "
            f"{encoder.max_tokens}. Split it."
        )
        raise ApiError(400, message, "input", "context_length_exceeded")
    return encoder.embed(texts), sum(lengths)

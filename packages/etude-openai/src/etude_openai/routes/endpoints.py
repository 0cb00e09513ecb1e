"""Answer requests from a file or an eval instead of HTTP: a path and a body give the body of the
response.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from pydantic import BaseModel, ValidationError

from etude.serve.answering import PreparedAnswer, answer_whole
from etude.serve.routes import chat
from etude.serve.schemas import ChatRequest, CompletionRequest, Json
from etude.serve.server import Server
from etude.web.api_errors import to_body_error
from etude_openai.item_schemas import CreateResponseRequest, DecisionRequest
from etude_openai.routes import decisions, embeddings, model_responses

Answer = Callable[[Server, Any], Awaitable[Json]]


def _prepare_with(prepare: Callable[[Server, Any], PreparedAnswer]) -> Answer:
    async def answer(server: Server, body: Any) -> Json:
        return await answer_whole(server, await asyncio.to_thread(prepare, server, body))

    return answer


ENDPOINTS: Mapping[str, tuple[type[BaseModel], Answer]] = {
    "/v1/chat/completions": (ChatRequest, _prepare_with(chat.prepare_chat)),
    "/v1/completions": (CompletionRequest, _prepare_with(chat.prepare_completion)),
    "/v1/responses": (CreateResponseRequest, _prepare_with(model_responses.prepare_response)),
    "/v1/decisions": (DecisionRequest, _prepare_with(decisions.prepare_decision)),
    "/v1/embeddings": (embeddings.EmbeddingRequest, embeddings.embed_texts),
}


async def answer_body(server: Server, path: str, body: Json) -> Json:
    """Answer a request; returns the body of the response. Raises ApiError and the engine's
    errors.
    """
    schema, answer = ENDPOINTS[path]
    try:
        parsed = schema.model_validate(body)
    except ValidationError as error:
        raise to_body_error(error.errors()) from error
    return await answer(server, parsed)

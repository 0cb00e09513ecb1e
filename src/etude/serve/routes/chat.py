"""/v1/chat/completions and /v1/completions: answers, whole or as a stream of server-sent events."""

from functools import partial

from fastapi import Request
from fastapi.responses import Response

from etude.serve import generation, responses
from etude.serve.answering import PreparedAnswer, respond
from etude.serve.generation import AnswerRequest
from etude.serve.schemas import ChatRequest, CompletionRequest, GenerationRequest
from etude.serve.server import Server, ServerState


async def create_chat_completion(
    body: ChatRequest, request: Request, server: ServerState
) -> Response:
    """Answer a chat."""
    return await respond(server, prepare_chat(server, body), request)


async def create_completion(
    body: CompletionRequest, request: Request, server: ServerState
) -> Response:
    """Answer a text."""
    return await respond(server, prepare_completion(server, body), request)


def prepare_chat(server: Server, body: ChatRequest) -> PreparedAnswer:
    """Convert the body of a chat. Raises ApiError if the server cannot answer it."""
    settings = server.settings
    model = server.find_model(body.model)
    request = generation.build_chat_request(model, body, settings.limits, settings.strict)
    return _prepare(responses.ChatKind(), request, body)


def prepare_completion(server: Server, body: CompletionRequest) -> PreparedAnswer:
    """Return what answers the body of a text completion. Raises ApiError if the server cannot
    answer it.
    """
    model = server.find_model(body.model)
    request = generation.build_completion_request(model, body, server.settings.limits)
    return _prepare(responses.TextKind(), request, body)


def _prepare(
    kind: responses.CompletionKind, request: AnswerRequest, body: GenerationRequest
) -> PreparedAnswer:
    response_id = responses.create_response_id(kind)
    with_usage = bool(body.stream_options and body.stream_options.include_usage)
    chunks = partial(responses.build_chunks, kind, response_id, request, with_usage=with_usage)
    return PreparedAnswer(
        response_id,
        request,
        partial(responses.build_response, kind, response_id, request),
        chunks if body.stream else None,
    )

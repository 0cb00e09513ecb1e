"""/v1/chat/completions and /v1/completions: answers, whole or as a stream of server-sent events."""

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Sequence
from contextlib import suppress
from typing import TypeVar

from fastapi import Request
from fastapi.responses import JSONResponse, Response, StreamingResponse
from pydantic import ValidationError

from etude.serve import generation, responses
from etude.serve.engine import FinishedAnswer
from etude.serve.generation import AnswerRequest, StreamEvent
from etude.serve.schemas import ChatRequest, CompletionRequest, GenerationRequest, Json
from etude.serve.server import Server, ServerState
from etude.web.api_errors import to_api_error, to_body_error

T = TypeVar("T")
CLIENT_CLOSED_REQUEST = 499  # status in the log when the client has gone away; nobody receives it


async def create_chat_completion(body: ChatRequest, request: Request, server: ServerState) -> Response:
    """Answer a chat."""
    settings = server.settings
    prepared = generation.build_chat_request(
        server.find_model(body.model), body, settings.limits, settings.strict
    )
    return await _respond(server, responses.ChatKind(), prepared, request, body)


async def create_completion(body: CompletionRequest, request: Request, server: ServerState) -> Response:
    """Answer a text."""
    prepared = generation.build_completion_request(
        server.find_model(body.model), body, server.settings.limits
    )
    return await _respond(server, responses.TextKind(), prepared, request, body)


async def answer_body(server: Server, path: str, body: Json) -> Json:
    """Answer a request that comes from a file: the body of the response. Raises ApiError and what the engine raises."""
    settings = server.settings
    kind: responses.CompletionKind
    try:
        if path == "/v1/chat/completions":
            chat = ChatRequest.model_validate(body)
            kind, model = responses.ChatKind(), server.find_model(chat.model)
            prepared = generation.build_chat_request(model, chat, settings.limits, settings.strict)
        else:
            text = CompletionRequest.model_validate(body)
            kind, model = responses.TextKind(), server.find_model(text.model)
            prepared = generation.build_completion_request(model, text, settings.limits)
    except ValidationError as error:
        raise to_body_error(error.errors()) from error
    response_id = responses.create_response_id(kind)
    events = server.record(response_id, prepared, generation.stream_answers(server.engine, prepared, False))
    return responses.build_response(kind, response_id, prepared, await _collect_answers(events))


async def _respond(
    server: Server,
    kind: responses.CompletionKind,
    prepared: AnswerRequest,
    request: Request,
    body: GenerationRequest,
) -> Response:
    response_id = responses.create_response_id(kind)
    events = server.record(
        response_id, prepared, generation.stream_answers(server.engine, prepared, bool(body.stream))
    )
    try:
        if not body.stream:
            finished = await _run_unless_gone(request, _collect_answers(events))
            if finished is None:
                return Response(status_code=CLIENT_CLOSED_REQUEST)
            content = responses.build_response(kind, response_id, prepared, finished)
            return JSONResponse(content, headers=_measured_header(prepared, finished))
        # An error before the first event still has its own status.
        first = await _run_unless_gone(request, anext(events))
        if first is None:
            return Response(status_code=CLIENT_CLOSED_REQUEST)
    except Exception as error:
        raise to_api_error(error) from error

    async def chain() -> AsyncIterator[StreamEvent]:
        yield first
        async for event in events:
            yield event

    with_usage = bool(body.stream_options and body.stream_options.include_usage)
    chunks = responses.build_chunks(kind, response_id, prepared, chain(), with_usage)
    headers = _measured_header(prepared)
    return StreamingResponse(_format_events(chunks, events), headers=headers, media_type="text/event-stream")


def _measured_header(
    prepared: AnswerRequest, answers: Sequence[FinishedAnswer] | None = None
) -> dict[str, str]:
    return {"x-etude-measured": str(prepared.describe_measured(answers)["measured"]).lower()}


async def _format_events(
    chunks: AsyncIterator[Json], events: AsyncGenerator[StreamEvent, None]
) -> AsyncIterator[str]:
    try:
        async for chunk in chunks:
            yield f"data: {json.dumps(chunk, ensure_ascii=False)}\n\n"
        yield "data: [DONE]\n\n"
    finally:  # a client that stops listening cancels its answers
        await events.aclose()


async def _collect_answers(events: AsyncIterator[StreamEvent]) -> list[FinishedAnswer]:
    """Return all answers in the order of their index."""
    answers = {event.index: event.item async for event in events if isinstance(event.item, FinishedAnswer)}
    return [answers[index] for index in sorted(answers)]


async def _run_unless_gone(request: Request, work: Awaitable[T]) -> T | None:
    """Return the result of the work; None if the client goes away first."""

    async def wait_for_disconnect() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass

    task = asyncio.ensure_future(work)
    disconnect = asyncio.ensure_future(wait_for_disconnect())
    await asyncio.wait({task, disconnect}, return_when=asyncio.FIRST_COMPLETED)
    disconnect.cancel()
    if task.done():
        return task.result()
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    return None

"""Answer a prepared request: whole, or over HTTP as a stream of server-sent events."""

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TypeVar

from fastapi import Request
from fastapi.responses import JSONResponse, Response, StreamingResponse

from etude.serve import generation
from etude.serve.engine import FinishedAnswer
from etude.serve.generation import AnswerRequest, StreamEvent
from etude.serve.schemas import Json
from etude.serve.server import Server
from etude.web.api_errors import to_api_error

T = TypeVar("T")
CLIENT_CLOSED_REQUEST = 499  # status in the log when the client has gone away; nobody receives it


@dataclass(frozen=True)
class PreparedAnswer:
    """A request to the engine, and the functions with which a route formats its answers."""

    response_id: str
    request: AnswerRequest
    build_body: Callable[[Sequence[FinishedAnswer]], Json]
    """Builds the response from all answers. Called in a thread; may write to disk."""
    build_chunks: Callable[[AsyncIterator[StreamEvent]], AsyncIterator[Json]] | None = None
    """Builds the chunks of a stream; None for a whole response. A chunk with a `type` is an event
    of that name.
    """

    def stream(self, server: Server, is_timed: bool = True) -> AsyncGenerator[StreamEvent, None]:
        """Yield the answers as the engine generates them; count and remember each."""
        streams = self.build_chunks is not None
        stream = generation.stream_with_tools if self.request.tools else generation.stream_answers
        events = stream(server.engine, self.request, streams, is_timed)
        return server.record(self.response_id, self.request, events)


async def answer_whole(server: Server, prepared: PreparedAnswer) -> Json:
    """Return the response with all answers, however long they take. Raises ApiError and the
    engine's errors.
    """
    finished = await _collect_answers(prepared.stream(server, is_timed=False))
    return await asyncio.to_thread(prepared.build_body, finished)


async def respond(server: Server, prepared: PreparedAnswer, request: Request) -> Response:
    """Answer over HTTP. If the client goes away, its answers are cancelled."""
    events = prepared.stream(server)
    try:
        if prepared.build_chunks is None:
            finished = await run_unless_gone(request, _collect_answers(events))
            if finished is None:
                return Response(status_code=CLIENT_CLOSED_REQUEST)
            content = await asyncio.to_thread(prepared.build_body, finished)
            return JSONResponse(content, headers=_measured_header(prepared.request, finished))
        # Before the first event, an error can still set the status of the response.
        first = await run_unless_gone(request, anext(events))
        if first is None:
            return Response(status_code=CLIENT_CLOSED_REQUEST)
    except Exception as error:
        raise to_api_error(error) from error

    async def chain() -> AsyncIterator[StreamEvent]:
        yield first
        async for event in events:
            yield event

    return StreamingResponse(
        _format_events(prepared.build_chunks(chain()), events),
        headers=_measured_header(prepared.request),
        media_type="text/event-stream",
    )


def _measured_header(
    prepared: AnswerRequest, answers: Sequence[FinishedAnswer] | None = None
) -> dict[str, str]:
    return {"x-etude-measured": str(prepared.describe_measured(answers)["measured"]).lower()}


async def _format_events(
    chunks: AsyncIterator[Json], events: AsyncGenerator[StreamEvent, None]
) -> AsyncIterator[str]:
    has_types = False
    try:
        async for chunk in chunks:
            has_types = "type" in chunk
            name = f"event: {chunk['type']}\n" if has_types else ""
            yield f"{name}data: {json.dumps(chunk, ensure_ascii=False)}\n\n"
        if not has_types:
            yield "data: [DONE]\n\n"
    finally:  # a client that stops listening cancels its answers
        await events.aclose()


async def _collect_answers(events: AsyncIterator[StreamEvent]) -> list[FinishedAnswer]:
    answers = {
        event.index: event.item async for event in events if isinstance(event.item, FinishedAnswer)
    }
    return [answers[index] for index in sorted(answers)]


async def run_unless_gone(request: Request, work: Awaitable[T]) -> T | None:
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

"""The routes: OpenAI's completions around an assistant, and what one needs to run a server."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from fastapi import Depends, FastAPI, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse
from starlette.middleware.cors import CORSMiddleware

from etude import __version__
from etude.errors import InputError
from etude.feedback import FeedbackLog
from etude.serve.answering import (
    Piece,
    Question,
    answers,
    chat_question,
    completion_question,
    handover,
    new_id,
)
from etude.serve.catalogue import Served
from etude.serve.engine import Engine, Finished, Limits
from etude.serve.errors import ApiError, add_handlers, as_api_error
from etude.serve.feedback import Given, Recent, entry, exchange
from etude.serve.guard import Guard, needs
from etude.serve.keys import Key
from etude.serve.metrics import Figures
from etude.serve.responses import Chat, Shape, Text, chunks, whole
from etude.serve.schemas import ChatRequest, CompletionRequest, ErrorBody, FeedbackRequest, Json

LOG = logging.getLogger("etude.serve")
T = TypeVar("T")
GONE = 499
"""Status in the log of a request whose client went away; nobody receives it."""
ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"model": ErrorBody} for status in (400, 401, 403, 404, 408, 413, 429, 500)
}


@dataclass(frozen=True)
class Settings:
    """How a server behaves."""

    limits: Limits = field(default_factory=Limits)
    keys: tuple[Key, ...] = ()
    strict: bool = False
    """Whether a system message of the caller's is refused."""
    loopback: bool = True
    origins: tuple[str, ...] = ()
    """Origins whose pages may ask; none by default."""
    log_prompts: bool = False
    """Whether the log has questions and answers."""


@dataclass
class Server:
    """What all routes share."""

    served: Mapping[str, Served]
    engine: Engine
    settings: Settings
    figures: Figures
    recent: Recent = field(default_factory=Recent)
    logs: dict[Path, FeedbackLog] = field(default_factory=dict)
    ready: bool = False
    failure: ApiError | None = None
    """Why weights could not be loaded."""

    def named(self, name: str) -> Served:
        """The assistant of a name. Raises ApiError."""
        if name not in self.served:
            there = ", ".join(self.served)
            raise ApiError(
                404, f"There is no model {name!r}; there are: {there}.", "model", "model_not_found"
            )
        return self.served[name]

    def warm(self, served: Served) -> None:
        """Loads what an assistant needs; in the engine's thread."""
        served.assistant.opened(self.engine.models)
        self.engine.models.get(served.assistant.model, *served.assistant.needs)

    async def noted(
        self, name: str, question: Question, pieces: AsyncGenerator[Piece, None]
    ) -> AsyncGenerator[Piece, None]:
        """The pieces; the ends are counted and remembered under the name of the response."""
        async with aclosing(pieces):
            async for piece in pieces:
                if isinstance(done := piece.item, Finished):
                    self.figures.answered(question.served.name, done, handover(done) is not None)
                    given = Given(question.served, question.turns, done.answer.text)
                    self.recent.keep(name, piece.index, given)
                    if self.settings.log_prompts:
                        LOG.info(json.dumps({"response": name, "index": piece.index, **exchange(given)}))
                yield piece

    async def take(self, asked: FeedbackRequest, who: str) -> bool:
        """Keeps what somebody says, on disk before it returns; False if it was kept before."""
        given = self.recent.find(asked.id, asked.index)
        file = given.served.feedback
        log = self.logs.setdefault(file, FeedbackLog(file))
        return await asyncio.to_thread(log.add, entry(asked, given, who))


def build_app(served: Mapping[str, Served], engine: Engine, settings: Settings) -> FastAPI:
    """The app. It closes the engine when it ends."""
    server = Server(served, engine, settings, Figures(engine))
    app = FastAPI(
        title="Étude",
        version=__version__,
        lifespan=lambda app: _life(server),
        telemetry={"tracing": False, "metrics": False, "logs": False, "auto_configure": False},
        max_body_size=settings.limits.body_bytes,
        docs_url=None,
        redoc_url=None,
    )
    add_handlers(app)
    if settings.origins:
        app.add_middleware(
            CORSMiddleware, allow_origins=settings.origins, allow_methods=["*"], allow_headers=["*"]
        )
    app.add_middleware(Guard, figures=server.figures, loopback=settings.loopback, origins=settings.origins)
    _completions(app, server)
    _weights(app, server)
    _state(app, server)
    return app


@asynccontextmanager
async def _life(server: Server) -> AsyncIterator[None]:
    """Loads the weights while the server already says that it is not ready, and ends when all is answered."""

    def warm() -> None:
        try:
            for each in server.served.values():
                server.warm(each)
        except Exception as error:
            server.failure = as_api_error(error)
            raise
        server.ready = True

    server.engine.call(warm)
    yield
    await asyncio.to_thread(server.engine.close)


def _completions(app: FastAPI, server: Server) -> None:
    settings = server.settings
    chat = [Depends(needs(settings.keys, "chat"))]

    @app.post("/v1/chat/completions", dependencies=chat, responses=ERRORS, response_model=None)
    async def chat_completions(body: ChatRequest, request: Request) -> Response:
        """Answers a chat."""
        question = chat_question(server.named(body.model), body, settings.limits, settings.strict)
        return await _respond(server, Chat(), question, request, body)

    @app.post("/v1/completions", dependencies=chat, responses=ERRORS, response_model=None)
    async def completions(body: CompletionRequest, request: Request) -> Response:
        """Answers a text."""
        question = completion_question(server.named(body.model), body, settings.limits)
        return await _respond(server, Text(), question, request, body)

    @app.post("/v1/feedback", dependencies=[Depends(needs(settings.keys, "feedback"))], responses=ERRORS)
    async def feedback(body: FeedbackRequest, request: Request) -> Json:
        """Keeps what somebody says about an answer."""
        who = getattr(request.state, "key", "") or body.user
        try:
            return {"object": "feedback", "kept": True, "new": await server.take(body, who)}
        except InputError as error:
            raise ApiError(400, error.issues[0].message, code="invalid_value") from error

    @app.get("/v1/models", dependencies=chat, responses=ERRORS)
    async def models() -> Json:
        """The names of the assistants."""
        return {"object": "list", "data": [_described(each) for each in server.served.values()]}

    @app.get("/v1/models/{name}", dependencies=chat, responses=ERRORS)
    async def model(name: str) -> Json:
        """One assistant."""
        return _described(server.named(name))


def _weights(app: FastAPI, server: Server) -> None:
    admin = [Depends(needs(server.settings.keys, "admin"))]

    @app.post("/v1/models/{name}/load", dependencies=admin, responses=ERRORS)
    async def load(name: str) -> Json:
        """Loads the weights of an assistant, if they are not there."""
        served = server.named(name)
        await asyncio.to_thread(server.engine.done, lambda: server.warm(served))
        return _described(served)

    @app.post("/v1/models/{name}/unload", dependencies=admin, responses=ERRORS)
    async def unload(name: str) -> Json:
        """Drops the adapter of an assistant from memory; the next question loads it again."""
        served = server.named(name)
        await asyncio.to_thread(
            server.engine.done, lambda: server.engine.forget(name, served.assistant.model)
        )
        return _described(served)


def _described(served: Served) -> Json:
    about = {"id": served.name, "object": "model", "created": served.since, "owned_by": "etude"}
    return about | {"method": served.assistant.method, "base": served.assistant.model.name}


async def _respond(
    server: Server, shape: Shape, question: Question, request: Request, body: ChatRequest | CompletionRequest
) -> Response:
    name = new_id(shape.prefix)
    pieces = server.noted(name, question, answers(server.engine, question, bool(body.stream)))
    try:
        if not body.stream:
            ended = await _unless_gone(request, _ended(pieces))
            return (
                JSONResponse(whole(shape, name, question, ended), headers=_measured(question, ended))
                if ended
                else Response(status_code=GONE)
            )
        first = await _unless_gone(request, anext(pieces))  # an error before it still has its own status
        if first is None:
            return Response(status_code=GONE)
    except Exception as error:
        raise as_api_error(error) from error

    async def rest() -> AsyncIterator[Piece]:
        yield first
        async for piece in pieces:
            yield piece

    with_usage = bool(body.stream_options and body.stream_options.include_usage)
    events = _events(chunks(shape, name, question, rest(), with_usage), pieces)
    return StreamingResponse(events, headers=_measured(question), media_type="text/event-stream")


def _measured(question: Question, ended: Sequence[Finished] | None = None) -> dict[str, str]:
    return {"x-etude-measured": str(question.measured(ended)["measured"]).lower()}


async def _events(bodies: AsyncIterator[Json], pieces: AsyncGenerator[Piece, None]) -> AsyncIterator[str]:
    """Server-sent events. Whoever stops listening gives the answers up."""
    try:
        async for body in bodies:
            yield f"data: {json.dumps(body, ensure_ascii=False)}\n\n"
        yield "data: [DONE]\n\n"
    finally:
        await pieces.aclose()


async def _ended(pieces: AsyncIterator[Piece]) -> list[Finished]:
    """The ends of all answers, in the order of their numbers."""
    found = {piece.index: piece.item async for piece in pieces if isinstance(piece.item, Finished)}
    return [found[index] for index in sorted(found)]


async def _unless_gone(request: Request, work: Awaitable[T]) -> T | None:
    """What the work gives; None if the client goes away before."""

    async def gone() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass

    task, leaving = asyncio.ensure_future(work), asyncio.ensure_future(gone())
    await asyncio.wait({task, leaving}, return_when=asyncio.FIRST_COMPLETED)
    leaving.cancel()
    if task.done():
        return task.result()
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    return None


def _state(app: FastAPI, server: Server) -> None:
    @app.get("/health")
    async def health() -> Json:
        """Whether the server runs."""
        return {"status": "ok"}

    @app.get("/ready", responses={503: {"model": Json}}, response_model=None)
    async def ready() -> Response:
        """Whether the weights are loaded, or why they cannot be."""
        why = server.failure.body if server.failure else {}
        return JSONResponse({"ready": server.ready, **why}, 200 if server.ready else 503)

    @app.get("/metrics", dependencies=[Depends(needs(server.settings.keys, "admin"))], response_model=None)
    async def metrics() -> Response:
        """Figures in Prometheus's format."""
        return Response(server.figures.text(), media_type="text/plain; version=0.0.4")

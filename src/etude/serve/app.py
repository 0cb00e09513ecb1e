"""Assemble the server from its routes."""

import asyncio
import json
import logging
import threading
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import partial
from typing import Any

from fastapi import FastAPI, Request
from starlette.middleware.cors import CORSMiddleware
from starlette.types import Scope

from etude import __version__
from etude.serve.catalogue import ServedModel
from etude.serve.engine import ServingEngine
from etude.serve.routes import MEDIUM_BODY, ROUTES, UPLOAD, ApiRoute
from etude.serve.schemas import ErrorBody
from etude.serve.server import Server, ServerMetrics, ServerSettings
from etude.web.api_errors import ApiError, add_error_handlers
from etude.web.api_keys import KeyRing
from etude.web.body_guard import BodyGuard, build_route_class
from etude.web.shell import LOOPBACK, Shell
from etude_openai.background import follow_promotions, run_batches, run_evals
from etude_openai.conformance import find_refusal
from etude_openai.hosted.stores import HostedStores

LOG = logging.getLogger("etude.serve")
# Only the first route names the model: for each of 400 responses, it would take most of the time to
# build the app.
ERRORS: dict[int | str, dict[str, Any]] = {
    status: {
        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/ErrorBody"}}}
    }
    for status in (400, 401, 403, 404, 408, 413, 429, 500)
}


def build_app(
    catalogue: Mapping[str, ServedModel],
    engine: ServingEngine,
    settings: ServerSettings,
    hosted: HostedStores | None = None,
) -> FastAPI:
    """Build the app of a server. The app closes the engine on shutdown."""
    server = Server(dict(catalogue), engine, settings, ServerMetrics(engine), hosted=hosted)
    app = FastAPI(
        title="Étude",
        version=__version__,
        lifespan=lambda app: _load_then_close(server),
        telemetry={"tracing": False, "metrics": False, "logs": False, "auto_configure": False},
        docs_url=None,
        redoc_url=None,
    )
    app.state.server = server
    keys = KeyRing(settings.keys, settings.key_file)
    add_error_handlers(app, find_refusal)
    if settings.origins:
        app.add_middleware(
            CORSMiddleware, allow_origins=settings.origins, allow_methods=["*"], allow_headers=["*"]
        )

    def log_request(scope: Scope, status: int, seconds: float) -> None:
        path = getattr(scope.get("route"), "path", "other")
        server.metrics.requests.labels(path, str(status)).inc()
        line = {
            "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "id": scope["state"]["request_id"],
        }
        line |= {
            "address": (scope.get("client") or [""])[0],
            "method": scope["method"],
            "path": path,
        }
        line |= {
            "status": status,
            "seconds": round(seconds, 3),
            "key": scope["state"].get("key", ""),
        }
        LOG.info(json.dumps(line))

    app.add_middleware(BodyGuard, seconds=settings.limits.receive_seconds)
    app.add_middleware(
        Shell,
        refuse=lambda reason: ApiError(403, reason).response,
        hosts=LOOPBACK if settings.is_local else None,
        origins=settings.origins if settings.is_local else None,
        on_answered=log_request,
    )
    for route in ROUTES:
        models: dict[int | str, dict[str, Any]] = (
            {400: {"model": ErrorBody}} if route == ROUTES[0] else {}
        )
        app.router.add_api_route(
            route.path,
            route.handler,
            methods=[route.method],
            route_class_override=build_route_class(partial(_check_request, server, keys, route)),
            responses={**ERRORS, **models} if route.path.startswith("/v1/") else {},
            response_model=None,
            max_body_size=route.max_body or settings.limits.body_bytes,
        )
    return app


async def _check_request(server: Server, keys: KeyRing, route: ApiRoute, request: Request) -> None:
    """Check key, scope and quota before the body is read. Raises ApiError."""
    if route.scope:
        keys.check_request(request, route.scope)
    if route.max_body == UPLOAD and server.hosted:
        length = request.headers.get("content-length")
        if length is None:
            raise ApiError(411, "Send the header Content-Length with an upload.")
        room = await server.hosted.file_threads.run(server.hosted.files.count_room)
        if int(length) > room + MEDIUM_BODY:
            message = (
                f"The body has {int(length):,} bytes; this server can still store {max(0, room):,}."
            )
            raise ApiError(
                413, f"{message} Delete files, or start the server with a larger --quota.", "file"
            )


@asynccontextmanager
async def _load_then_close(server: Server) -> AsyncIterator[None]:
    """Load the weights while /health and /ready already answer. On shutdown, answer the queue, then
    close.
    """
    server.engine.call(server.load_all)
    closing = threading.Event()
    threading.Thread(
        target=follow_promotions, args=(server, closing), name="promotions", daemon=True
    ).start()
    workers = (
        [asyncio.ensure_future(work(server)) for work in (run_batches, run_evals)]
        if server.hosted
        else []
    )
    yield
    closing.set()
    for worker in workers:
        worker.cancel()
    if server.hosted:
        server.hosted.close()
    await asyncio.to_thread(server.engine.close)
    if server.settings.record:
        await asyncio.to_thread(server.settings.record.close)

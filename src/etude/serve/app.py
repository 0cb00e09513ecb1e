"""Assemble the server from its routes."""

import asyncio
import json
import logging
import threading
from collections.abc import AsyncIterator, Mapping, Sequence
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
from etude.serve.extension import ServerExtension, refuse_request
from etude.serve.promotions import follow_promotions
from etude.serve.routes import ROUTES, ApiRoute
from etude.serve.schemas import ErrorBody
from etude.serve.server import Server, ServerMetrics, ServerSettings
from etude.web.api_errors import ApiError, add_error_handlers
from etude.web.api_keys import KeyRing
from etude.web.body_guard import BodyGuard, build_route_class
from etude.web.shell import LOOPBACK, Shell

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
    extensions: Sequence[ServerExtension] = (),
) -> FastAPI:
    """Build the app of a server. The app closes the engine on shutdown."""
    metrics = ServerMetrics(engine)
    server = Server(dict(catalogue), engine, settings, metrics, extensions=extensions)
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
    add_error_handlers(app, partial(refuse_request, extensions))
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
    routes = list(ROUTES)
    for extension in extensions:
        routes += extension.routes
    for route in routes:
        models: dict[int | str, dict[str, Any]] = (
            {400: {"model": ErrorBody}} if route == ROUTES[0] else {}
        )
        app.router.add_api_route(
            route.path,
            route.handler,
            methods=[route.method],
            route_class_override=build_route_class(partial(_check_request, keys, route)),
            responses={**ERRORS, **models} if route.path.startswith("/v1/") else {},
            response_model=None,
            max_body_size=route.max_body or settings.limits.body_bytes,
        )
    return app


async def _check_request(keys: KeyRing, route: ApiRoute, request: Request) -> None:
    """Check key, scope and quota before the body is read. Raises ApiError."""
    if route.scope:
        keys.check_request(request, route.scope)
    if route.check_upload:
        await route.check_upload(request)


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
    workers: list[asyncio.Future[None]] = []
    for extension in server.extensions:
        workers += map(asyncio.ensure_future, extension.start_work(server))
    yield
    closing.set()
    for worker in workers:
        worker.cancel()
    for extension in server.extensions:
        extension.close()
    await asyncio.to_thread(server.engine.close)
    if server.settings.record:
        await asyncio.to_thread(server.settings.record.close)

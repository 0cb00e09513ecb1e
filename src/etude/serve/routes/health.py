"""/health, /ready and /metrics: routes for whoever operates the server."""

from fastapi.responses import JSONResponse, Response

from etude.serve.schemas import Json
from etude.serve.server import ServerState


async def get_health() -> Json:
    """Report that the server runs."""
    return {"status": "ok"}


async def get_ready(server: ServerState) -> Response:
    """Report whether the weights are loaded; 503 until then, with the error if they cannot be
    loaded.
    """
    error = server.failure.body if server.failure else {}
    return JSONResponse({"ready": server.is_ready, **error}, 200 if server.is_ready else 503)


async def get_metrics(server: ServerState) -> Response:
    """Return the metrics in Prometheus's format."""
    return Response(server.metrics.render(), media_type="text/plain; version=0.0.4")

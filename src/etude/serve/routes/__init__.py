"""The routes of the server, one file per resource, in one table."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from fastapi import Request

from etude.serve.routes import chat, feedback, health, models
from etude.web.api_keys import Scope

SMALL_BODY = 1_000  # bytes; enough for requests whose body is not read


@dataclass(frozen=True)
class ApiRoute:
    """One route of the server."""

    method: str
    path: str
    handler: Callable[..., Any]
    """A FastAPI handler: a coroutine with the body, values of the path, the request and the
    ServerState.
    """
    scope: Scope | None  # the scope that a key must have; None for routes without a key
    max_body: int | None = SMALL_BODY
    """Bytes of the body; None for the server's own limit (`--limit body_bytes`)."""
    check_upload: Callable[[Request], Awaitable[None]] | None = None
    """Called before the body is read. Raises ApiError."""


ROUTES = (
    ApiRoute("POST", "/v1/chat/completions", chat.create_chat_completion, "chat", None),
    ApiRoute("POST", "/v1/completions", chat.create_completion, "chat", None),
    ApiRoute("POST", "/v1/feedback", feedback.add_feedback, "feedback", None),
    ApiRoute("GET", "/v1/models", models.list_models, "chat"),
    ApiRoute("GET", "/v1/models/{name}", models.get_model, "chat"),
    ApiRoute("GET", "/health", health.get_health, None),
    ApiRoute("GET", "/ready", health.get_ready, None),
    ApiRoute("GET", "/metrics", health.get_metrics, "admin"),
)
"""Paths are matched from the top, and those of extensions after these."""

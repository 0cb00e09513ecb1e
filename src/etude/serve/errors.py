"""Errors in the shape and with the status codes of OpenAI's API."""

from __future__ import annotations

import logging

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from etude.errors import EtudeError, GrammarError, InputError, ModelError
from etude.serve.engine import Busy, Late, TooLong

LOG = logging.getLogger("etude.serve")
KINDS = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
}
"""Status -> type; others below 500 are `invalid_request_error`."""


class ApiError(Exception):
    """An error for the caller."""

    def __init__(
        self,
        status: int,
        message: str,
        param: str | None = None,
        code: str | None = None,
        retry: int | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.message, self.param, self.code, self.retry = status, message, param, code, retry

    @property
    def body(self) -> dict[str, dict[str, str | None]]:
        """As it is sent."""
        kind = KINDS.get(self.status, "invalid_request_error" if self.status < 500 else "server_error")
        return {"error": {"message": self.message, "type": kind, "param": self.param, "code": self.code}}

    @property
    def response(self) -> JSONResponse:
        """The response with its status."""
        headers = {"Retry-After": str(self.retry)} if self.retry is not None else {}
        return JSONResponse(self.body, self.status, headers)


def as_api_error(error: Exception) -> ApiError:
    """What the caller is told of an error; the text of one that nobody foresaw goes to the log alone."""
    match error:
        case ApiError():
            return error
        case Busy():
            return ApiError(429, str(error), code="queue_full", retry=error.retry_after)
        case Late():
            return ApiError(408, str(error), code="timeout")
        case TooLong():
            return ApiError(400, str(error), "messages", "context_length_exceeded")
        case ModelError() if "reads at most" in str(error):
            return ApiError(400, str(error), "messages", "context_length_exceeded")
        case GrammarError():
            return ApiError(400, str(error), "response_format", "invalid_value")
        case InputError():
            return ApiError(400, str(error), "messages")
        case EtudeError():
            return ApiError(400, str(error))
    LOG.error("an answer failed", exc_info=error)
    return ApiError(500, "The server failed to answer. Its log says why.", code="internal_error")


def add_handlers(app: FastAPI) -> None:
    """Has the app answer every error in this shape."""

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        first = max(error.errors(), key=lambda each: len(each["loc"]))
        if first["type"] == "json_invalid":
            return ApiError(
                400, f"The body is not JSON: {first['ctx']['error']}.", code="invalid_json"
            ).response
        # Of a value of several types pydantic also names the type that it tried.
        place = [
            str(part) for part in first["loc"][1:] if "[" not in str(part) and part not in ("str", "list")
        ]
        name = ".".join(place)
        return ApiError(400, f"{name or 'body'}: {first['msg']}.", name or None, "invalid_value").response

    @app.exception_handler(HTTPException)
    async def refused(request: Request, error: HTTPException) -> JSONResponse:
        response = ApiError(error.status_code, str(error.detail)).response
        response.headers.update(error.headers or {})
        return response

    @app.exception_handler(ApiError)
    async def ours(request: Request, error: ApiError) -> JSONResponse:
        return error.response

    @app.exception_handler(Exception)
    async def unforeseen(request: Request, error: Exception) -> JSONResponse:
        return as_api_error(error).response

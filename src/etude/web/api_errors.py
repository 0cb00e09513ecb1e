"""Errors with the bodies and status codes of OpenAI's API."""

import logging
from collections.abc import Sequence
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from etude.errors import EtudeError, GrammarError, InputError, ModelError

LOG = logging.getLogger("etude.serve")
ERROR_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    429: "rate_limit_error",
}
"""Other statuses below 500 are `invalid_request_error`."""


class ApiError(Exception):
    """An error for the caller."""

    def __init__(
        self,
        status: int,
        message: str,
        param: str | None = None,
        code: str | None = None,
        retry_after: int | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.message, self.param, self.code = status, message, param, code
        self.retry_after = retry_after  # seconds after which the caller should try again

    @property
    def body(self) -> dict[str, dict[str, str | None]]:
        """The JSON body of the response."""
        default = "invalid_request_error" if self.status < 500 else "server_error"
        kind = ERROR_TYPES.get(self.status, default)
        return {"error": {"message": self.message, "type": kind, "param": self.param, "code": self.code}}

    @property
    def response(self) -> JSONResponse:
        """The response with its status."""
        headers = {} if self.retry_after is None else {"Retry-After": str(self.retry_after)}
        if self.status == 408:  # OpenAI's clients would ask again at once, while the server is slow already
            headers["x-should-retry"] = "false"
        return JSONResponse(self.body, self.status, headers)


def to_api_error(error: Exception) -> ApiError:
    """Convert an error to what the caller sees. The text of an unexpected error goes only to the log."""
    match error:
        case ApiError():
            return error
        case ModelError() if "reads at most" in str(error):
            return ApiError(400, str(error), "messages", "context_length_exceeded")
        case GrammarError():
            return ApiError(400, str(error), "response_format", "invalid_value")
        case InputError():
            return ApiError(400, str(error), "messages")
        case EtudeError():
            return ApiError(400, str(error))
        case RecursionError():
            return ApiError(400, "The body is nested too deeply.", code="invalid_value")
    LOG.error("an answer failed", exc_info=error)
    return ApiError(500, "The server failed to answer. Its log says why.", code="internal_error")


def to_body_error(issues: Sequence[Any], num_prefix: int = 0) -> ApiError:
    """Converts pydantic's errors of a body to one error, of the deepest value. `num_prefix`: steps of each path that
    come before the body's own."""
    deepest = max(issues, key=lambda issue: len(issue["loc"]))
    if deepest["type"] == "json_invalid":
        return ApiError(400, f"The body is not JSON: {deepest['ctx']['error']}.", code="invalid_json")
    # For a value of several types, pydantic's path also contains the type that it tried.
    steps = [str(step) for step in deepest["loc"][num_prefix:]]
    param = ".".join(step for step in steps if "[" not in step and step not in ("str", "list"))
    return ApiError(400, f"{param or 'body'}: {deepest['msg']}.", param or None, "invalid_value")


def add_error_handlers(app: FastAPI) -> None:
    """Make the app answer every error with such a body."""

    @app.exception_handler(RequestValidationError)
    async def handle_invalid_body(request: Request, error: RequestValidationError) -> JSONResponse:
        return to_body_error(error.errors(), 1).response

    @app.exception_handler(HTTPException)
    async def handle_http_error(request: Request, error: HTTPException) -> JSONResponse:
        url, message = f"({request.method} {request.url.path})", str(error.detail)
        message = {
            "Not Found": f"Invalid URL {url}.",
            "Method Not Allowed": f"Invalid method for URL {url}.",
        }.get(message, message)
        response = ApiError(error.status_code, message).response
        response.headers.update(error.headers or {})
        return response

    @app.exception_handler(ApiError)
    async def handle_api_error(request: Request, error: ApiError) -> JSONResponse:
        return error.response

    @app.exception_handler(Exception)
    async def handle_other_error(request: Request, error: Exception) -> JSONResponse:
        return to_api_error(error).response

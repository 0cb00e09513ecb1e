"""Errors with the bodies and status codes of OpenAI's API."""

import errno
import logging
import re
from collections.abc import Callable, Sequence
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from etude.errors import EtudeError, GrammarError, InputError, ModelError

LOG = logging.getLogger("etude.serve")
ERROR_TYPES = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}
"""Other statuses below 500 are `invalid_request_error`."""
TYPE_STEP = re.compile(r".*\[.*|str|list|constrained-\w+")
"""The steps of pydantic's path of a value of several types that name the tried type."""
NOT_RETRIED = (408, 501, 507)
"""OpenAI's clients would retry these at once, in vain, and slow the server down further."""


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
        message = message.encode(
            errors="replace"
        ).decode()  # it may quote half a character of the request
        super().__init__(message)
        self.status = status
        self.message = message
        self.param = param
        self.code = code
        self.retry_after = retry_after  # seconds after which the caller should try again

    @property
    def body(self) -> dict[str, dict[str, str | None]]:
        default = "invalid_request_error" if self.status < 500 else "server_error"
        kind = ERROR_TYPES.get(self.status, default)
        return {
            "error": {"message": self.message, "type": kind, "param": self.param, "code": self.code}
        }

    @property
    def response(self) -> JSONResponse:
        headers = {} if self.retry_after is None else {"Retry-After": str(self.retry_after)}
        if self.status in NOT_RETRIED:
            headers["x-should-retry"] = "false"
        return JSONResponse(self.body, self.status, headers)


def to_api_error(error: Exception) -> ApiError:
    """Convert an error to what the caller sees. The text of an unexpected error goes only to the
    log.
    """
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
        case UnicodeEncodeError():
            return ApiError(
                400,
                "The request contains half a character (a lone surrogate).",
                code="invalid_value",
            )
        case OSError(errno=errno.ENOSPC | errno.EDQUOT):
            message = "The disk of this server is full. Free some space and send the request again."
            return ApiError(507, message, code="disk_full")
    LOG.error("an answer failed", exc_info=error)
    return ApiError(500, "The server failed to answer. Its log says why.", code="internal_error")


def to_body_error(issues: Sequence[Any], num_prefix: int = 0) -> ApiError:
    """Converts pydantic's errors of a body to one error, about the most deeply nested value.
    `num_prefix`: the number of leading steps in each path that are not part of the body.

    For a value of several types, such as 'auto' or a number from 1 to 50, the error is about the
    type that it has.
    """
    deepest = max(issues, key=lambda issue: len(issue["loc"]))
    if deepest["type"] == "json_invalid":
        return ApiError(
            400, f"The body is not JSON: {deepest['ctx']['error']}.", code="invalid_json"
        )

    def get_param(issue: Any) -> str:
        steps = [str(step) for step in issue["loc"][num_prefix:]]
        return ".".join(step for step in steps if not TYPE_STEP.fullmatch(step))

    param = get_param(deepest)
    about = [issue for issue in issues if get_param(issue) == param]
    deepest = max(about, key=lambda issue: not issue["type"].endswith(("literal_error", "_type")))
    return ApiError(400, f"{param or 'body'}: {deepest['msg']}.", param or None, "invalid_value")


def add_error_handlers(
    app: FastAPI, find_refusal: Callable[[str, str], ApiError | None] = lambda method, path: None
) -> None:
    """Make the app answer every error with a body in OpenAI's format. `find_refusal` gets the
    method and path of a request without a route, and returns a better error than 404 or None.
    """

    @app.exception_handler(RequestValidationError)
    async def handle_invalid_body(request: Request, error: RequestValidationError) -> JSONResponse:
        return to_body_error(error.errors(), 1).response

    @app.exception_handler(HTTPException)
    async def handle_http_error(request: Request, error: HTTPException) -> JSONResponse:
        if error.status_code in (404, 405) and (
            refusal := find_refusal(request.method, request.url.path)
        ):
            return refusal.response
        url = f"({request.method} {request.url.path})"
        message = str(error.detail)
        message = {
            "Not Found": f"Invalid URL {url}.",
            "Method Not Allowed": f"Invalid method for URL {url}.",
        }.get(message, message)
        response = ApiError(error.status_code, message).response
        response.headers.update(error.headers or {})
        return response

    async def handle_other_error(request: Request, error: Exception) -> JSONResponse:
        return to_api_error(error).response

    # Starlette raises an error of another class again after the response, which logs it and closes
    # the connection.
    for of_type in (ApiError, EtudeError, UnicodeEncodeError, RecursionError, OSError, Exception):
        app.add_exception_handler(of_type, handle_other_error)

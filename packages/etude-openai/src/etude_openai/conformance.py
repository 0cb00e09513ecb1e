"""The routes of OpenAI's API that this server has, and why it lacks the others.

The routes of the API are data (`api_routes.txt`). The served routes are read from the server's own
table of routes.
"""

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from etude.web.api_errors import ApiError

FILE = Path(__file__).parent / "api_routes.txt"
NOT_SERVED = "This server does not have this route of OpenAI's API."


@dataclass(frozen=True)
class OpenAIRoute:
    """A route of OpenAI's API. With the method `*`, it means all routes whose path begins with its
    path.
    """

    method: str
    path: str
    fields: tuple[str, ...] = ()  # fields of its body, if it creates something
    reason: str = NOT_SERVED  # why it is not served, unless it is

    def matches(self, method: str, path: str) -> bool:
        """Whether a request to the server is for this route."""
        pattern = re.sub(r"\{\w+\}", "[^/]+", f"/v1{self.path}")
        if self.method == "*":
            return re.match(rf"{pattern}(/|$)", path) is not None
        return self.method == method and re.fullmatch(pattern, path) is not None


@cache
def read_api_routes() -> tuple[OpenAIRoute, ...]:
    """Read the routes of the API, sorted by their paths."""
    lines = [
        line for line in FILE.read_text(encoding="utf-8").splitlines() if not line.startswith("#")
    ]
    routes = []
    for line in lines:
        declared, _, reason = line.partition(" - ")
        head, _, fields = declared.partition(" = ")
        method, path = head.split()
        routes.append(OpenAIRoute(method, path, tuple(fields.split()), reason or NOT_SERVED))
    return tuple(routes)


def find_refusal(method: str, path: str) -> ApiError | None:
    """Return the error for a route of OpenAI's API that the server does not have; None for other
    requests.
    """
    route = next((route for route in read_api_routes() if route.matches(method, path)), None)
    return (
        ApiError(501, f"{method} {path}: {route.reason}", code="not_supported") if route else None
    )

"""The routes and fields of OpenAI's API that this server has: `python -m etude.serve.conformance` prints the table.

The routes of the API are data (`api_routes.txt`). The served routes are read from the server's own table of routes.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from inspect import signature
from pathlib import Path

from pydantic import BaseModel

from etude.serve.item_schemas import HOSTED, CreateResponseRequest
from etude.serve.routes import ROUTES, ApiRoute
from etude.serve.schemas import UNSUPPORTED, GenerationRequest
from etude.web.api_errors import ApiError

FILE = Path(__file__).parent / "api_routes.txt"
NOT_SERVED = "This server does not have this route of OpenAI's API."


@dataclass(frozen=True)
class OpenAIRoute:
    """A route of OpenAI's API. With the method `*`, it means all routes whose path begins with its path."""

    method: str
    path: str
    fields: tuple[str, ...] = ()  # fields of its body, if it creates something
    reason: str = NOT_SERVED  # why it is not served, unless it is

    @property
    def resource(self) -> str:
        """The beginning of its path."""
        return self.path.split("/")[1]

    def matches(self, method: str, path: str) -> bool:
        """Whether a request to the server is for this route."""
        pattern = re.sub(r"\{\w+\}", "[^/]+", f"/v1{self.path}")
        if self.method == "*":
            return re.match(rf"{pattern}(/|$)", path) is not None
        return self.method == method and re.fullmatch(pattern, path) is not None

    @property
    def served(self) -> ApiRoute | None:
        """The server's route for it."""
        return next((route for route in ROUTES if self.matches(route.method, route.path)), None)


@cache
def read_api_routes() -> tuple[OpenAIRoute, ...]:
    """Read the routes of the API, sorted by their paths."""
    lines = [line for line in FILE.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    routes = []
    for line in lines:
        declared, _, reason = line.partition(" - ")
        head, _, fields = declared.partition(" = ")
        method, path = head.split()
        routes.append(OpenAIRoute(method, path, tuple(fields.split()), reason or NOT_SERVED))
    return tuple(routes)


def find_refusal(method: str, path: str) -> ApiError | None:
    """Return the error for a request to a route of OpenAI's API that the server does not have; None for other
    requests."""
    route = next((route for route in read_api_routes() if route.matches(method, path)), None)
    return ApiError(501, f"{method} {path}: {route.reason}", code="not_supported") if route else None


def list_route_rows() -> Iterator[Sequence[str]]:
    """Yield a row for each resource: its served routes, its other routes, and the reason. Resources that are not
    served for the same reason share a row."""
    groups: dict[str, list[OpenAIRoute]] = {}
    for route in read_api_routes():
        groups.setdefault(route.reason if route.method == "*" else route.resource, []).append(route)
    for routes in groups.values():
        reasons = dict.fromkeys(route.reason for route in routes if not route.served)
        reasons.pop(NOT_SERVED, None)
        yield (
            ", ".join(dict.fromkeys(route.resource for route in routes)),
            _join_routes(route for route in routes if route.served),
            _join_routes(route for route in routes if not route.served),
            " ".join(reasons),
        )


def _join_routes(routes: Iterable[OpenAIRoute]) -> str:
    methods: dict[str, list[str]] = {}
    for route in routes:
        if route.method == "*":
            return "all"
        methods.setdefault(re.sub(r"\{\w+\}", "{id}", route.path), []).append(route.method)
    return ", ".join(f"`{' '.join(names)} {path}`" for path, names in methods.items())


def list_field_rows() -> Iterator[Sequence[str]]:
    """Yield a row for each route with a list of fields: the fields that are read, refused with an error, and
    ignored."""
    for route in read_api_routes():
        body = route.fields and route.served and _find_body(route.served)
        if not body:
            continue
        refused = set(UNSUPPORTED) if issubclass(body, GenerationRequest) else set()
        refused |= set(HOSTED) if body is CreateResponseRequest else set()
        kinds: dict[str, list[str]] = {"read": [], "refused": [], "ignored": []}
        for field in route.fields:
            kinds[
                "refused" if field in refused else "read" if field in body.model_fields else "ignored"
            ].append(field)
        yield f"`{route.method} {route.path}`", *(", ".join(fields) for fields in kinds.values())


def _find_body(route: ApiRoute) -> type[BaseModel] | None:
    kinds = (parameter.annotation for parameter in signature(route.handler).parameters.values())
    return next((kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)), None)


def format_tables() -> str:
    """Format both tables as Markdown."""
    return "\n".join(
        [
            *_format_table(("resource", "served", "not served (501)", "why"), list_route_rows()),
            "",
            *_format_table(("route", "fields read", "refused with an error", "ignored"), list_field_rows()),
        ]
    )


def _format_table(titles: Sequence[str], rows: Iterator[Sequence[str]]) -> list[str]:
    return [f"| {' | '.join(row)} |" for row in (titles, ["---"] * len(titles), *rows)]


if __name__ == "__main__":
    print(format_tables())

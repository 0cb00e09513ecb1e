"""The tables of the hosted API's page: the routes and fields of OpenAI's API that the server
has.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from inspect import signature

from pydantic import BaseModel

from etude.serve.routes import ROUTES as CORE_ROUTES
from etude.serve.routes import ApiRoute
from etude.serve.schemas import UNSUPPORTED, GenerationRequest
from etude_openai.conformance import NOT_SERVED, OpenAIRoute, read_api_routes
from etude_openai.item_schemas import HOSTED, CreateResponseRequest
from etude_openai.routes import ROUTES

ALL_ROUTES = (*CORE_ROUTES, *ROUTES)
ROUTE_TITLES = ("resource", "served", "not served (501)", "why")
FIELD_TITLES = ("route", "fields read", "refused with an error", "ignored")


def find_resource(route: OpenAIRoute) -> str:
    """Returns the beginning of a route's path."""
    return route.path.split("/")[1]


def find_served(route: OpenAIRoute) -> ApiRoute | None:
    """Returns the server's route for a route of the API."""
    return next((own for own in ALL_ROUTES if route.matches(own.method, own.path)), None)


def list_route_rows() -> Iterator[Sequence[str]]:
    """Yield a row for each resource: its served routes, its other routes, and the reason. Resources
    that are not served for the same reason share a row.
    """
    groups: dict[str, list[OpenAIRoute]] = {}
    for route in read_api_routes():
        groups.setdefault(route.reason if route.method == "*" else find_resource(route), []).append(
            route
        )
    for routes in groups.values():
        reasons = dict.fromkeys(route.reason for route in routes if not find_served(route))
        reasons.pop(NOT_SERVED, None)
        yield (
            ", ".join(dict.fromkeys(find_resource(route) for route in routes)),
            _join_routes(route for route in routes if find_served(route)),
            _join_routes(route for route in routes if not find_served(route)),
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
    """Yield a row for each route with a list of fields: the fields that are read, refused with an
    error, and ignored.
    """
    for route in read_api_routes():
        served = find_served(route)
        body = route.fields and served and _find_body(served)
        if not body:
            continue
        refused = set(UNSUPPORTED) if issubclass(body, GenerationRequest) else set()
        refused |= set(HOSTED) if body is CreateResponseRequest else set()
        kinds: dict[str, list[str]] = {"read": [], "refused": [], "ignored": []}
        for field in route.fields:
            kinds[
                "refused"
                if field in refused
                else "read"
                if field in body.model_fields
                else "ignored"
            ].append(field)
        yield f"`{route.method} {route.path}`", *(", ".join(fields) for fields in kinds.values())


def _find_body(route: ApiRoute) -> type[BaseModel] | None:
    kinds = (parameter.annotation for parameter in signature(route.handler).parameters.values())
    return next(
        (kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)), None
    )

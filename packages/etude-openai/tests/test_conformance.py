"""The table of what this server has of OpenAI's API is true of the server, of the client and of the
page.
"""

import ast
import importlib
import re
from collections.abc import Iterator
from pathlib import Path

import httpx2
import openai
import pytest
from api_tables import ALL_ROUTES, list_field_rows

from etude_openai.conformance import find_refusal, read_api_routes
from etude_openai.hosted.batches import INPUTS
from etude_openai.routes.endpoints import ENDPOINTS
from serving import serving

VERBS = {"_get": "GET", "_post": "POST", "_delete": "DELETE", "_patch": "PATCH", "_put": "PUT"}
OURS = ("/v1/feedback",)
BODIES = {
    "/chat/completions": "chat.completion_create_params.CompletionCreateParamsNonStreaming",
    "/completions": "completion_create_params.CompletionCreateParamsNonStreaming",
    "/responses": "responses.response_create_params.ResponseCreateParamsNonStreaming",
    "/decisions": "decision_create_params.DecisionCreateParams",
    "/embeddings": "embedding_create_params.EmbeddingCreateParams",
    "/fine_tuning/jobs": "fine_tuning.job_create_params.JobCreateParams",
    "/batches": "batch_create_params.BatchCreateParams",
    "/evals": "eval_create_params.EvalCreateParams",
}


def list_client_routes() -> Iterator[tuple[str, str]]:
    """Every method and path that the installed client can ask for."""
    for file in (Path(openai.__file__).parent / "resources").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if not (
                isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.args
            ):
                continue
            first = node.args[0]
            path = first.args[0] if isinstance(first, ast.Call) and first.args else first
            if node.func.attr not in VERBS or not isinstance(path, ast.Constant):
                continue
            if isinstance(path.value, str) and path.value.startswith("/"):
                yield VERBS[node.func.attr], path.value.partition("?")[0]


def test_every_route_of_the_client_is_served_or_refused_with_501() -> None:
    served = {(route.method, re.sub(r"\{\w+\}", "{}", route.path)) for route in ALL_ROUTES}
    routes = set(list_client_routes())
    assert len(routes) > 200
    for method, path in routes:
        if (method, re.sub(r"\{\w+\}", "{}", f"/v1{path}")) not in served:
            refusal = find_refusal(method, "/v1" + re.sub(r"\{\w+\}", "x1", path))
            assert refusal, f"{method} {path} is missing in api_routes.txt"
            assert (refusal.status, refusal.code) == (501, "not_supported")


def test_every_route_of_the_server_is_one_of_the_api_or_our_own() -> None:
    for route in ALL_ROUTES:
        if route.path.startswith("/v1/") and route.path not in OURS:
            matches = [
                known for known in read_api_routes() if known.matches(route.method, route.path)
            ]
            assert matches or route.path == "/v1/evals/{eval_id}/runs/{run_id}", route.path


@pytest.mark.parametrize("path", BODIES)
def test_the_fields_are_those_of_the_client(path: str) -> None:
    module, _, name = BODIES[path].rpartition(".")
    kind = getattr(importlib.import_module(f"openai.types.{module}"), name)
    (route,) = (
        route for route in read_api_routes() if (route.method, route.path) == ("POST", path)
    )
    assert set(route.fields) == kind.__required_keys__ | kind.__optional_keys__


def test_every_field_has_one_column() -> None:
    rows = {row[0]: row[1:] for row in list_field_rows()}
    assert len(rows) >= len(BODIES)
    for path in BODIES:
        (route,) = (
            route for route in read_api_routes() if (route.method, route.path) == ("POST", path)
        )
        fields = [
            field for column in rows[f"`POST {path}`"] for field in column.split(", ") if field
        ]
        assert sorted(fields) == sorted(route.fields)


def test_batches_take_what_can_be_answered_without_http() -> None:
    assert set(INPUTS) == set(ENDPOINTS)
    assert set(ENDPOINTS) <= {route.path for route in ALL_ROUTES}


def test_the_server_answers_501_with_a_sentence_and_404_elsewhere() -> None:
    with serving() as url, openai.OpenAI(base_url=f"{url}/v1", api_key="none") as client:
        with pytest.raises(openai.APIStatusError, match="text only") as caught:
            client.images.generate(prompt="a cat")
        assert caught.value.status_code == 501
        assert caught.value.code == "not_supported"
        assert caught.value.response.headers["x-should-retry"] == "false"
        with pytest.raises(openai.APIStatusError, match="Use /v1/responses"):
            client.chat.completions.list()
        assert httpx2.get(f"{url}/v1/nothing").status_code == 404
        assert httpx2.put(f"{url}/v1/models").status_code == 405

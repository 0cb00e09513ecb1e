"""/v1/evals and /v1/fine_tuning/alpha/graders: evals, their runs and results, and graders alone."""

import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from threading import Event
from typing import Any, Literal

from fastapi import Request
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel

from etude.errors import InputError
from etude.serve.answering import CLIENT_CLOSED_REQUEST, run_unless_gone
from etude.serve.schemas import Json, Metadata
from etude.web.api_errors import ApiError
from etude.web.api_keys import require_scope
from etude_openai.graders.grade import Tools, grade, validate_grader
from etude_openai.graders.templates import complete_sample
from etude_openai.hosted.file_store import paginate
from etude_openai.hosted.stores import HostedStores
from etude_openai.routes.fine_tuning import Limit
from etude_openai.state import HostedState

ERROR_FLAGS = (
    *("formula_parse_error", "sample_parse_error", "truncated_observation_error"),
    *("unresponsive_reward_error", "invalid_variable_error", "other_error"),
    *("python_grader_server_error", "python_grader_runtime_error"),
    *("model_grader_server_error", "model_grader_refusal_error", "model_grader_parse_error"),
)
ERROR_DETAILS = {
    "python_grader_server_error_type": "python_grader_server_error",
    "python_grader_runtime_error_details": "python_grader_runtime_error",
    "model_grader_server_error_details": "model_grader_server_error",
}
"""Field with the error in words -> its flag."""
Order = Literal["asc", "desc"]


class CreateEvalRequest(BaseModel):
    """The body of a new eval."""

    data_source_config: dict[str, Any]
    testing_criteria: list[dict[str, Any]]
    name: str | None = None
    metadata: Metadata | None = None


class UpdateEvalRequest(BaseModel):
    """The fields of an eval that may change."""

    name: str | None = None
    metadata: Metadata | None = None


class CreateRunRequest(BaseModel):
    """The body of a new run."""

    data_source: dict[str, Any]
    name: str | None = None
    metadata: Metadata | None = None


class GraderRequest(BaseModel):
    """The body of a request to run or validate one grader."""

    grader: dict[str, Any]
    model_sample: str = ""
    item: dict[str, Any] | None = None


async def create_eval(body: CreateEvalRequest, hosted: HostedState) -> JSONResponse:
    """Make an eval."""
    return JSONResponse(await hosted.file_threads.run(hosted.evals.create, body.model_dump()), 201)


async def list_evals(
    hosted: HostedState, after: str | None = None, limit: Limit = 20, order: Order = "asc"
) -> Json:
    """List evals, the oldest first unless `order` is desc."""
    evals = await hosted.file_threads.run(hosted.evals.list_evals)
    return paginate(evals if order == "asc" else evals[::-1], after, limit)


async def get_eval(eval_id: str, hosted: HostedState) -> Json:
    """Describe an eval."""
    return await hosted.file_threads.run(hosted.evals.get, eval_id)


async def update_eval(eval_id: str, body: UpdateEvalRequest, hosted: HostedState) -> Json:
    """Change the name or the metadata of an eval."""
    return await hosted.file_threads.run(hosted.evals.update, eval_id, body.model_dump())


async def delete_eval(eval_id: str, hosted: HostedState) -> Json:
    """Delete an eval with its runs."""
    await hosted.file_threads.run(hosted.evals.delete, eval_id)
    return {"object": "eval.deleted", "deleted": True, "eval_id": eval_id}


async def create_run(
    eval_id: str, body: CreateRunRequest, request: Request, hosted: HostedState
) -> JSONResponse:
    """Make a run and return at once. Its items may be in a file only if the key allows to read
    files.
    """
    fields = body.model_dump()
    source = body.data_source.get("source")
    if isinstance(source, dict) and source.get("type") == "file_id":
        require_scope(request, "files")
    run = await hosted.file_threads.run(lambda: hosted.evals.create_run(eval_id, fields).describe())
    return JSONResponse(run, 201)


async def list_runs(
    eval_id: str,
    hosted: HostedState,
    after: str | None = None,
    limit: Limit = 20,
    order: Order = "asc",
    status: str | None = None,
) -> Json:
    """List the runs of an eval, the oldest first unless `order` is desc."""
    runs = await hosted.file_threads.run(
        lambda: [run.describe() for run in hosted.evals.list_runs(eval_id)]
    )
    chosen = [run for run in runs if status in (None, run["status"])]
    return paginate(chosen if order == "asc" else chosen[::-1], after, limit)


async def get_run(eval_id: str, run_id: str, hosted: HostedState) -> Json:
    """Describe a run."""
    return await hosted.file_threads.run(lambda: hosted.evals.get_run(eval_id, run_id).describe())


async def cancel_run(eval_id: str, run_id: str, hosted: HostedState) -> Json:
    """Cancel a run. Raises ApiError if it has ended."""
    return await hosted.file_threads.run(
        lambda: hosted.evals.cancel_run(eval_id, run_id).describe()
    )


async def delete_run(eval_id: str, run_id: str, hosted: HostedState) -> Json:
    """Delete a run."""
    await hosted.file_threads.run(hosted.evals.delete_run, eval_id, run_id)
    return {"object": "eval.run.deleted", "deleted": True, "run_id": run_id}


async def list_output_items(
    eval_id: str,
    run_id: str,
    hosted: HostedState,
    after: str | None = None,
    limit: Limit = 20,
    order: Order = "asc",
    status: Literal["pass", "fail", "error"] | None = None,
) -> Json:
    """List the results of a run by item."""
    results = await hosted.file_threads.run(lambda: hosted.evals.get_run(eval_id, run_id).results)
    chosen = [result for result in results if status in (None, result["status"])]
    return paginate(chosen if order == "asc" else chosen[::-1], after, limit)


async def get_output_item(eval_id: str, run_id: str, item_id: str, hosted: HostedState) -> Json:
    """Describe the result of one item."""
    results = await hosted.file_threads.run(lambda: hosted.evals.get_run(eval_id, run_id).results)
    for result in results:
        if result["id"] == item_id:
            return result
    raise ApiError(404, f"Output item not found: {item_id}", "output_item_id")


async def run_grader(body: GraderRequest, request: Request, hosted: HostedState) -> Response:
    """Grade one sample."""
    return await _respond_if_wanted(request, hosted, partial(_grade, body))


async def check_grader(body: GraderRequest, request: Request, hosted: HostedState) -> Response:
    """Validate a grader. Returns it, or an error that lists everything wrong in it."""
    return await _respond_if_wanted(request, hosted, partial(_validate, body))


async def _respond_if_wanted(
    request: Request, hosted: HostedStores, work: Callable[[Tools], Json]
) -> Response:
    is_gone = Event()
    tools = replace(hosted.evals.tools, is_wanted=lambda: not is_gone.is_set())
    try:
        content = await run_unless_gone(request, hosted.grader_threads.run(work, tools))
    finally:
        is_gone.set()
    return Response(status_code=CLIENT_CLOSED_REQUEST) if content is None else JSONResponse(content)


def _validate(body: GraderRequest, tools: Tools) -> Json:
    try:
        validate_grader(body.grader, tools)
    except InputError as error:
        raise ApiError(400, str(error), error.issues[0].location, "invalid_value") from error
    return {"grader": body.grader}


def _grade(body: GraderRequest, tools: Tools) -> Json:
    started = time.perf_counter()
    _validate(body, tools)
    choice = {"message": {"role": "assistant", "content": body.model_sample}}
    sample = complete_sample({"choices": [choice]})
    result = grade(body.grader, body.item or {}, sample, tools)
    errors: Json = {flag: flag in result.errors for flag in ERROR_FLAGS}
    for name, flag in ERROR_DETAILS.items():
        errors[name] = result.detail if flag in result.errors else None
    return {
        "reward": result.score,
        "metadata": {
            "name": body.grader["name"],
            "type": body.grader["type"],
            "errors": errors,
            "execution_time": time.perf_counter() - started,
            "scores": dict(result.sub_scores),
            "token_usage": None,
            "sampled_model_name": None,
        },
        "sub_rewards": dict(result.sub_scores),
        "model_grader_token_usage_per_model": {},
    }

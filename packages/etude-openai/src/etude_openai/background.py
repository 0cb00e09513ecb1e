"""Work in the background, only while no client waits: answers batches, and samples and grades the
items of evals.
"""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar
from uuid import uuid4

from etude.base.files import parse_storable_json
from etude.errors import EtudeError, InputError
from etude.serve.schemas import Json
from etude.serve.server import Server
from etude.web.api_errors import ApiError, to_api_error
from etude_openai.graders.templates import complete_sample, read_content, render_template
from etude_openai.hosted.batches import EMBEDDINGS, WINDOW_SECONDS, RequestBatch
from etude_openai.hosted.evals import EvalRun
from etude_openai.item_schemas import to_chat_tool
from etude_openai.routes.endpoints import answer_body
from etude_openai.state import get_hosted, get_state

LOG = logging.getLogger("etude.serve")
CONCURRENT = 4  # requests of a batch, or items of an eval, that are worked on together
POLL_SECONDS = 0.5
FAILED = "The server failed to finish this. Its log says why."
Work = TypeVar("Work", RequestBatch, EvalRun)
Item = TypeVar("Item")
Result = TypeVar("Result")


async def run_batches(server: Server) -> None:
    """Run the batches of a server until this task is cancelled."""
    store = get_hosted(server).batches
    await _run_all(
        server,
        lambda: [batch for batch in store.batches if not batch.is_finished][::-1],
        _run_batch,
    )


async def run_evals(server: Server) -> None:
    """Work on the runs of evals of a server until this task is cancelled."""
    await _run_all(server, get_hosted(server).evals.list_unfinished, _run_eval)


async def _run_all(
    server: Server,
    list_unfinished: Callable[[], list[Work]],
    run: Callable[[Server, Work], Awaitable[None]],
) -> None:
    """Run one after another, the oldest first, for ever. After a disk error, one is tried again
    behind the others; after any other error, it ends as failed.
    """
    num_failures = Counter[Path]()
    while True:
        unfinished = await _run_in_files(server, list_unfinished)
        if not unfinished or not server.is_ready:
            await asyncio.sleep(POLL_SECONDS)
            continue
        work = min(unfinished, key=lambda entry: num_failures[entry.folder])
        try:
            await run(server, work)
        except Exception as error:
            if not (work.folder / "state.json").exists():  # the client has deleted it meanwhile
                continue
            LOG.exception("%s failed", work.folder.name)
            num_failures[work.folder] += 1
            if isinstance(error, OSError) or (
                isinstance(error, ExceptionGroup) and error.subgroup(OSError)
            ):
                await asyncio.sleep(POLL_SECONDS * 10)
                continue
            with suppress(EtudeError, OSError):
                work.fail(
                    {"code": "internal_error", "message": FAILED, "param": None, "line": None}
                )
            await asyncio.sleep(POLL_SECONDS)


async def _run_in_files(server: Server, work: Callable[..., Result], *arguments: Any) -> Result:
    return await get_hosted(server).file_threads.run(work, *arguments)


async def _work_through(
    server: Server,
    items: Sequence[Item],
    goes_on: Callable[[], bool],
    work: Callable[[Item], Awaitable[None]],
) -> None:
    queue = list(items)[::-1]

    async def take_items() -> None:
        while queue and goes_on():
            while server.engine.num_waiting:  # clients go first
                await asyncio.sleep(POLL_SECONDS / 5)
            if queue:
                await work(queue.pop())

    async with asyncio.TaskGroup() as tasks:  # after an error, it ends all of them
        for _ in range(CONCURRENT):
            tasks.create_task(take_items())


async def _run_batch(server: Server, batch: RequestBatch) -> None:
    store = get_hosted(server).batches
    endpoint = batch.request["endpoint"]
    lock = asyncio.Lock()

    async def answer_line(line: Json) -> None:
        if _is_expired(batch):
            error = ApiError(
                400, "The batch expired before this request was answered.", code="batch_expired"
            )
            status = error.status
            body = error.body
        else:
            status, body = await _answer(server, endpoint, line["body"])
        async with lock:  # one line is appended at a time
            await _run_in_files(
                server, batch.add_line, line["custom_id"], status, uuid4().hex, body
            )

    if batch.state["status"] == "validating":
        names = await _run_in_files(server, _list_names, server, endpoint)
        if not await _run_in_files(server, store.validate, batch, names):
            return
    if batch.state["status"] == "in_progress":
        content = store.files.find(batch.request["input_file_id"])
        lines = (
            []
            if content is None
            else await _run_in_files(server, lambda: list(batch.iter_unanswered(content)))
        )
        await _work_through(server, lines, lambda: not batch.is_cancelled, answer_line)
    status = "cancelled" if batch.is_cancelled else "expired" if _is_expired(batch) else "completed"
    await _run_in_files(server, store.finish, batch, status)


async def _answer(server: Server, endpoint: str, body: Json) -> tuple[int, Json]:
    """Answer one request. If the queue is full, wait and try again."""
    while True:
        try:
            return 200, await answer_body(server, endpoint, body)
        except Exception as error:  # noqa: BLE001 - every failure is the response to its request
            failure = to_api_error(error)
        if failure.status != 429:
            return failure.status, failure.body
        await asyncio.sleep(failure.retry_after or 1)


def _is_expired(batch: RequestBatch) -> bool:
    return bool(time.time() > batch.request["created_at"] + WINDOW_SECONDS)


def _list_names(server: Server, endpoint: str) -> set[str]:
    state = get_state(server)
    jobs = get_hosted(server).fine_tuning
    if endpoint == EMBEDDINGS:
        encoder = state.encoder
        return {encoder, *(name for name, base in jobs.bases.items() if base == encoder)}
    return set(server.list_models())


async def _run_eval(server: Server, run: EvalRun) -> None:
    store = get_hosted(server).evals
    lock = asyncio.Lock()
    threads = get_hosted(server).eval_threads

    async def grade_item(item: tuple[int, Json]) -> None:
        number, line = item
        sample = await _build_sample(server, run.request["data_source"], line)
        grades = await threads.run(store.grade_item, run, line["item"], sample)
        async with lock:  # one line is appended at a time
            await _run_in_files(server, run.add_result, number, line, sample, grades)

    def is_in_progress() -> bool:
        return not run.is_deleted and bool(run.state["status"] == "in_progress")

    if run.state["status"] == "queued":
        run.change_state("in_progress")
    graded = {result["datasource_item_id"] for result in run.results}
    items = [(number, line) for number, line in enumerate(run.items) if number not in graded]
    await _work_through(server, items, is_in_progress, grade_item)
    if is_in_progress():
        run.change_state("completed")


async def _build_sample(server: Server, source: Json, line: Json) -> Json:
    if source["type"] == "jsonl":
        sample = line.get("sample")
        empty: Json = {"input": [], "output": [], "error": None, "usage": {}, "model": ""}
        return complete_sample(empty | (sample if isinstance(sample, dict) else {}))
    parameters = source.get("sampling_params") or {}
    try:
        messages = _build_messages(source["input_messages"], line["item"])
        body = {"model": source["model"], "messages": messages, **_build_settings(parameters)}
        response = await answer_body(server, "/v1/chat/completions", body)
    except InputError as error:
        return _fail("invalid_template", str(error))
    except Exception as error:  # noqa: BLE001 - a model's failure is the result of its item
        failure = to_api_error(error)
        return _fail(failure.code or "model_error", failure.message)
    choice = response["choices"][0]
    usage = response["usage"]
    return complete_sample(
        {
            "input": messages,
            "choices": response["choices"],
            "finish_reason": choice["finish_reason"],
            "model": source["model"],
            "usage": {
                key: usage.get(key, 0)
                for key in ("prompt_tokens", "completion_tokens", "total_tokens")
            },
            "error": None,
            **{
                key: parameters.get(key)
                for key in ("temperature", "top_p", "seed", "max_completion_tokens")
            },
        }
    )


def _build_messages(source: Json, item: Json) -> list[Json]:
    if "item_reference" in source:
        text = render_template(f"{{{{{source['item_reference']}}}}}", item, {})
        with suppress(ValueError):
            if isinstance(messages := parse_storable_json(text), list):
                return messages
        return [{"role": "user", "content": text}]
    return [
        {
            "role": turn.get("role", "user"),
            "content": render_template(read_content(turn.get("content")), item, {}),
        }
        for turn in source["template"]
    ]


def _build_settings(parameters: Json) -> Json:
    names = ("temperature", "top_p", "seed", "response_format")
    settings = {name: parameters[name] for name in names if parameters.get(name) is not None}
    # OpenAI's notebooks also use the second name.
    for name in ("max_completion_tokens", "max_completions_tokens"):
        if parameters.get(name) is not None:
            settings["max_tokens"] = parameters[name]
    if tools := parameters.get("tools"):
        settings["tools"] = [tool if "function" in tool else to_chat_tool(tool) for tool in tools]
    if form := (parameters.get("text") or {}).get("format"):
        json_schema = {"schema": form["schema"]} if "schema" in form else None
        settings["response_format"] = {"type": form["type"], "json_schema": json_schema}
    return settings


def _fail(code: str, message: str) -> Json:
    error = {"code": code, "message": message}
    return {"input": [], "output": [], "output_text": "", "model": "", "usage": {}, "error": error}

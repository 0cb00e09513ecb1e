"""Runs evals in the background: asks a served model for samples if the run needs them, then grades."""

import asyncio
import logging

from etude.errors import InputError
from etude.graders.templates import render_template
from etude.hosted.evals import EvalRun
from etude.serve.routes.endpoints import answer_body
from etude.serve.schemas import Json
from etude.serve.server import Server
from etude.web.api_errors import to_api_error

LOG = logging.getLogger("etude.serve")
CONCURRENT = 4  # items of a run that are worked on together
POLL_SECONDS = 0.5


async def run_evals(server: Server) -> None:
    """Work on the runs of a server one after another, the oldest first, until this task is cancelled."""
    assert server.hosted is not None, "evals need --jobs"
    store = server.hosted.evals
    while True:
        runs = await asyncio.to_thread(store.list_unfinished)
        if not runs or not server.is_ready:
            await asyncio.sleep(POLL_SECONDS)
            continue
        try:
            await _run(server, runs[0])
        except Exception:  # such as a full disk: try again later
            if not (runs[0].folder / "state.json").exists():  # the client has deleted it meanwhile
                continue
            LOG.exception("eval run %s failed and is tried again", runs[0].folder.name)
            await asyncio.sleep(POLL_SECONDS * 10)


async def _run(server: Server, run: EvalRun) -> None:
    if run.state["status"] == "queued":
        run.change_state("in_progress")
    graded = {result["datasource_item_id"] for result in run.results}
    queue = [(number, line) for number, line in enumerate(run.items) if number not in graded][::-1]
    lock = asyncio.Lock()
    await asyncio.gather(*(_work(server, run, queue, lock) for _ in range(CONCURRENT)))
    if run.folder.exists() and run.state["status"] == "in_progress":
        run.change_state("completed")


async def _work(server: Server, run: EvalRun, queue: list[tuple[int, Json]], lock: asyncio.Lock) -> None:
    assert server.hosted is not None
    store = server.hosted.evals
    while queue and run.folder.exists() and run.state["status"] == "in_progress":
        while server.engine.num_waiting:  # clients go first
            await asyncio.sleep(POLL_SECONDS / 5)
        if not queue:
            return
        number, line = queue.pop()
        sample = await _build_sample(server, run.request["data_source"], line)
        grades = await asyncio.to_thread(store.grade_item, run, line["item"], sample)
        async with lock:  # one line is appended at a time
            await asyncio.to_thread(run.add_result, number, line, sample, grades)


async def _build_sample(server: Server, source: Json, line: Json) -> Json:
    """Build the sample of an item: its own, or the answer of a served model."""
    if source["type"] == "jsonl":
        sample = line.get("sample") or {}
        return {"input": [], "output": [], "error": None, "usage": {}, "model": "", **sample}
    parameters = source.get("sampling_params") or {}
    try:
        messages = [
            {
                "role": turn.get("role", "user"),
                "content": render_template(_read_content(turn.get("content")), line["item"], {}),
            }
            for turn in source["input_messages"]["template"]
        ]
        body = {"model": source["model"], "messages": messages}
        body |= {
            key: parameters[key]
            for key in ("temperature", "top_p", "seed")
            if parameters.get(key) is not None
        }
        if parameters.get("max_completion_tokens"):
            body["max_tokens"] = parameters["max_completion_tokens"]
        if parameters.get("response_format"):
            body["response_format"] = parameters["response_format"]
        response = await answer_body(server, "/v1/chat/completions", body)
    except InputError as error:
        return _fail("invalid_template", str(error))
    except Exception as error:  # noqa: BLE001 - a model's failure is the result of its item
        failure = to_api_error(error)
        return _fail(failure.code or "model_error", failure.message)
    choice, usage = response["choices"][0], response["usage"]
    text = choice["message"].get("content") or ""
    return {
        "input": messages,
        "output": [{"role": "assistant", "content": text}],
        "output_text": text,
        "output_tools": choice["message"].get("tool_calls") or [],
        "choices": response["choices"],
        "finish_reason": choice["finish_reason"],
        "model": source["model"],
        "usage": {key: usage.get(key, 0) for key in ("prompt_tokens", "completion_tokens", "total_tokens")},
        "error": None,
        **{key: parameters.get(key) for key in ("temperature", "top_p", "seed", "max_completion_tokens")},
    }


def _read_content(content: object) -> str:
    """The text of a turn of a template: a string, or an object or a list of objects with a text."""
    if isinstance(content, list):
        return "\n".join(map(_read_content, content))
    if isinstance(content, dict):
        return str(content.get("text", ""))
    return str(content or "")


def _fail(code: str, message: str) -> Json:
    error = {"code": code, "message": message}
    return {"input": [], "output": [], "output_text": "", "model": "", "usage": {}, "error": error}

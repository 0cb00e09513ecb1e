"""Answers batches in the background, a few requests at a time and only while no client waits."""

import asyncio
import logging
import time
from uuid import uuid4

from etude.hosted.batches import EMBEDDINGS, WINDOW_SECONDS, RequestBatch
from etude.serve.routes.endpoints import answer_body
from etude.serve.schemas import Json
from etude.serve.server import Server
from etude.web.api_errors import ApiError, to_api_error

LOG = logging.getLogger("etude.serve")
CONCURRENT = 4  # requests of a batch that are answered together
POLL_SECONDS = 0.5


async def run_batches(server: Server) -> None:
    """Run the batches of a server one after another, the oldest first, until this task is cancelled."""
    assert server.hosted is not None, "batches need --jobs"
    store = server.hosted.batches
    while True:
        batches = await asyncio.to_thread(lambda: [batch for batch in store.batches if not batch.is_finished])
        if not batches or not server.is_ready:
            await asyncio.sleep(POLL_SECONDS)
            continue
        try:
            await _run_batch(server, batches[-1])
        except Exception:  # such as a full disk: try again later
            LOG.exception("batch %s failed and is tried again", batches[-1].folder.name)
            await asyncio.sleep(POLL_SECONDS * 10)


async def _run_batch(server: Server, batch: RequestBatch) -> None:
    assert server.hosted is not None
    store = server.hosted.batches
    if batch.state["status"] == "validating":
        names = await asyncio.to_thread(_list_names, server, batch.request["endpoint"])
        if not await asyncio.to_thread(store.validate, batch, names):
            return
    if batch.state["status"] == "in_progress":
        content = store.files.find(batch.request["input_file_id"])
        lines = (
            [] if content is None else await asyncio.to_thread(lambda: list(batch.iter_unanswered(content)))
        )
        queue: asyncio.Queue[Json] = asyncio.Queue()
        for line in lines:
            queue.put_nowait(line)
        lock = asyncio.Lock()
        await asyncio.gather(*(_answer_lines(server, batch, queue, lock) for _ in range(CONCURRENT)))
    status = "cancelled" if batch.is_cancelled else "expired" if _is_expired(batch) else "completed"
    await asyncio.to_thread(store.finish, batch, status)


async def _answer_lines(
    server: Server, batch: RequestBatch, queue: asyncio.Queue[Json], lock: asyncio.Lock
) -> None:
    while not batch.is_cancelled:
        while server.engine.num_waiting:  # clients go first
            await asyncio.sleep(POLL_SECONDS / 5)
        if queue.empty():
            return
        line = queue.get_nowait()
        if _is_expired(batch):
            error = ApiError(400, "The batch expired before this request was answered.", code="batch_expired")
            status, body = error.status, error.body
        else:
            status, body = await _answer(server, batch.request["endpoint"], line["body"])
        async with lock:  # one line is appended at a time
            await asyncio.to_thread(batch.add_line, line["custom_id"], status, uuid4().hex, body)


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
    """The models that answer at an endpoint."""
    assert server.hosted is not None
    jobs = server.hosted.fine_tuning
    if endpoint == EMBEDDINGS:
        encoder = server.settings.encoder
        return {encoder, *(name for name, base in jobs.bases.items() if base == encoder)}
    return {*server.catalogue, *jobs.list_models()}

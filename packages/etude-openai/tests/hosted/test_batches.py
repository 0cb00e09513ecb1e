"""Batches driven by the official client, with the fake model."""

import json
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import openai
import pytest
from hosting import extend

from etude.assistant import Assistant
from etude.serve.engine import ServingLimits
from etude.serve.server import ServerSettings
from etude.task.contract import Contract
from etude.types import ModelRef
from etude_openai.hosted.batches import BatchStore, RequestBatch
from etude_openai.hosted.stores import HostedStores
from serving import open_client, serve_as

SECONDS = 30
ECHO = Assistant("prompt", "answer", ModelRef("fake"))
FIELDS = {"endpoint": "/v1/chat/completions", "completion_window": "24h", "metadata": None}


@pytest.fixture
def stores(tmp_path: Path) -> HostedStores:
    return HostedStores(tmp_path / "data", {})


@pytest.fixture
def client(stores: HostedStores) -> Iterator[openai.OpenAI]:
    with open_client(serve_as("luma", ECHO), extensions=extend(stores)) as client:
        yield client


def line(custom_id: str, **changes: Any) -> dict[str, Any]:
    body = {"model": "luma", "messages": [{"role": "user", "content": custom_id}]}
    return {
        "custom_id": custom_id,
        "method": "POST",
        "url": "/v1/chat/completions",
        "body": body,
    } | changes


def upload(client: openai.OpenAI, lines: list[Any]) -> str:
    content = "\n".join(map(json.dumps, lines)).encode()
    return client.files.create(file=("batch.jsonl", content), purpose="batch").id


def start(
    client: openai.OpenAI, file_id: str, endpoint: Any = "/v1/chat/completions"
) -> openai.types.Batch:
    return client.batches.create(input_file_id=file_id, endpoint=endpoint, completion_window="24h")


def wait(client: openai.OpenAI, batch_id: str) -> openai.types.Batch:
    deadline = time.monotonic() + SECONDS
    while (batch := client.batches.retrieve(batch_id)).status not in (
        "completed",
        "failed",
        "cancelled",
    ):
        assert time.monotonic() < deadline, batch
        time.sleep(0.05)
    return batch


def read(client: openai.OpenAI, file_id: str | None) -> dict[str, Any]:
    assert file_id is not None
    text = client.files.content(file_id).text
    return {body["custom_id"]: body for body in map(json.loads, filter(None, text.split("\n")))}


def test_every_request_is_answered_once_as_it_would_be_alone(client: openai.OpenAI) -> None:
    wrong = line("wrong", body={"model": "luma", "messages": "none"})
    lines = [*(line(f"q{n}") for n in range(20)), wrong]
    batch = wait(client, start(client, upload(client, lines)).id)
    assert batch.status == "completed"
    assert (
        batch.request_counts.total,
        batch.request_counts.completed,
        batch.request_counts.failed,
    ) == (21, 20, 1)
    responses = read(client, batch.output_file_id)
    assert set(responses) == {f"q{n}" for n in range(20)}
    alone = client.chat.completions.create(
        model="luma", messages=[{"role": "user", "content": "q7"}]
    )
    body = responses["q7"]["response"]["body"]
    assert body["choices"][0]["message"]["content"] == alone.choices[0].message.content
    assert read(client, batch.error_file_id)["wrong"]["response"]["status_code"] == 400
    assert client.batches.list().data[0].id == batch.id


@pytest.mark.parametrize(
    ("lines", "code", "number"),
    [
        ([line("a"), line("a")], "duplicate_custom_id", 2),
        ([line("a", url="/v1/embeddings")], "invalid_url", 1),
        ([{**line("a"), "custom_id": None}], "missing_required_parameter", 1),
        ([line("a", body={"model": "gpt-9", "messages": []})], "model_not_found", 1),
        (
            [line("a", body={"model": "luma", "messages": [], "stream": True})],
            "streaming_unsupported",
            1,
        ),
        ([line("a", body={"messages": []})], "missing_required_parameter", 1),
        ([line("a", body={"model": "luma"})], "missing_required_parameter", 1),
        ([line("\ud800")], "invalid_json_line", 1),
        ([line("a", body={"model": "\ud800", "messages": []})], "invalid_json_line", 1),
    ],
)
def test_an_invalid_file_fails_whole_and_the_next_batch_runs(
    client: openai.OpenAI, lines: list[Any], code: str, number: int
) -> None:
    bad = start(client, upload(client, [line("good"), *lines]))
    assert wait(client, start(client, upload(client, [line("next")])).id).status == "completed"
    batch = wait(client, bad.id)
    assert batch.status == "failed"
    assert batch.errors.data is not None
    assert [(error.code, error.line) for error in batch.errors.data] == [(code, number + 1)]
    assert batch.output_file_id is None


def test_what_the_api_refuses_at_once(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="Supported values"):
        start(client, "file-x", "/v1/moderations")
    assert wait(client, start(client, "file-x").id).status == "failed"
    with pytest.raises(openai.NotFoundError):
        client.batches.retrieve("batch_x")
    done = wait(client, start(client, upload(client, [line("a")])).id)
    with pytest.raises(openai.ConflictError, match="Cannot cancel a batch with status 'completed'"):
        client.batches.cancel(done.id)


@pytest.mark.parametrize(
    ("error", "status"), [(ValueError("broken"), "failed"), (OSError(28, "full"), "completed")]
)
def test_a_batch_that_cannot_be_run_delays_no_other(
    client: openai.OpenAI,
    stores: HostedStores,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
    status: str,
) -> None:
    """It ends as failed; after a disk error it is tried again, and the others run meanwhile."""
    validate = stores.batches.validate
    damaged = stores.batches.create(FIELDS | {"input_file_id": "file-x"})
    (damaged.folder / "state.json").write_text("{")
    bad_file, good_file = (upload(client, [line(name)]) for name in ("bad", "good"))
    is_broken = True

    def fail(batch: RequestBatch, models: Any) -> bool:
        if is_broken and batch.request["input_file_id"] == bad_file:
            raise error
        return validate(batch, models)

    monkeypatch.setattr(BatchStore, "validate", lambda self, batch, models: fail(batch, models))
    bad = start(client, bad_file)
    assert wait(client, start(client, good_file).id).status == "completed"
    is_broken = False
    assert wait(client, bad.id).status == status
    assert {batch.id for batch in client.batches.list()} >= {bad.id}


def test_a_request_of_a_batch_has_no_time_limit(stores: HostedStores) -> None:
    """A client that waits for the same answer gets 408 (tests/serve/test_limits.py)."""
    slow = replace(ECHO, model=ModelRef("fake:delay=0.1"))
    settings = ServerSettings(ServingLimits(seconds=0.05, at_once=1))
    with open_client(
        serve_as("luma", slow), settings=settings, extensions=extend(stores)
    ) as client:
        batch = wait(client, start(client, upload(client, [line(f"q{n}") for n in range(4)])).id)
    assert (batch.request_counts.completed, batch.request_counts.failed) == (4, 0)


def test_a_byte_order_mark_and_blank_lines_mean_nothing(client: openai.OpenAI) -> None:
    text = "\ufeff" + "\r\n\r\n".join(
        json.dumps(line(name), ensure_ascii=False) for name in ("a", "b\u2028", "c")
    )
    file = client.files.create(file=("batch.jsonl", text.encode()), purpose="batch")
    batch = wait(client, start(client, file.id).id)
    assert set(read(client, batch.output_file_id)) == {"a", "b\u2028", "c"}


def test_a_cancelled_batch_says_when(client: openai.OpenAI, stores: HostedStores) -> None:
    batch = start(client, upload(client, [line(f"q{n}") for n in range(200)]))
    assert isinstance(client.batches.cancel(batch.id).cancelling_at, int)
    done = wait(client, batch.id)
    assert (done.status, type(done.cancelling_at), type(done.cancelled_at)) == (
        "cancelled",
        int,
        int,
    )


def test_a_stopped_server_goes_on_where_it_was(stores: HostedStores, tmp_path: Path) -> None:
    """Lines that have a response are not asked again by the next server on the same folder."""
    with open_client(serve_as("luma", ECHO), extensions=extend(stores)) as client:
        file_id = upload(client, [line(f"q{n}") for n in range(8)])
    batch = stores.batches.create(FIELDS | {"input_file_id": file_id})
    batch.change_state("in_progress", total=8)
    batch.add_line("q3", 200, "earlier", {"choices": []})
    again = HostedStores(tmp_path / "data", {})
    with open_client(serve_as("luma", replace(ECHO)), extensions=extend(again)) as client:
        responses = read(client, wait(client, batch.folder.name).output_file_id)
    assert len(responses) == 8
    assert responses["q3"]["response"]["request_id"] == "earlier"


def test_results_that_exceed_the_quota_fail_the_batch_once(tmp_path: Path) -> None:
    lines = [line(f"q{n}") for n in range(8)]
    num_bytes = len("\n".join(map(json.dumps, lines)))
    stores = HostedStores(tmp_path / "data", {}, quota_gb=(num_bytes + 100) / 1e9)
    with open_client(serve_as("luma", ECHO), extensions=extend(stores)) as client:
        batch = wait(client, start(client, upload(client, lines)).id)
    assert batch.status == "failed"
    assert batch.errors.data is not None
    assert [error.code for error in batch.errors.data] == ["quota_exceeded"]
    assert batch.failed_at
    assert len(stores.files.list()) == 1


def test_a_kill_before_the_end_stores_the_results_once(
    client: openai.OpenAI, stores: HostedStores
) -> None:
    batch = wait(client, start(client, upload(client, [line("a")])).id)
    killed = stores.batches.get(batch.id)
    killed.change_state("finalizing", output_file_id=None)
    stores.batches.finish(killed, "completed")
    assert killed.state["output_file_id"] == batch.output_file_id
    assert len(stores.files.list()) == 2


def test_batches_of_responses_decisions_and_embeddings(encoder: str, stores: HostedStores) -> None:
    """Each line is answered as the route answers it alone."""
    labels = ("card", "refund")
    sorter = replace(ECHO, kind="classify", choices=labels, contract=Contract(labels=labels))
    choice = {
        "type": "choice",
        "instructions": "?",
        "choices": [{"value": label} for label in labels],
    }
    bodies: dict[str, dict[str, Any]] = {
        "/v1/responses": {"model": "luma", "input": "the bear"},
        "/v1/decisions": {"model": "sorter", "input": "the bear", "questions": [choice]},
        "/v1/embeddings": {"model": encoder, "input": ["the bear", "the cat"]},
    }
    served = (serve_as("luma", ECHO), serve_as("sorter", sorter))
    extensions = extend(stores, encoder)
    with open_client(*served, extensions=extensions) as client:
        for endpoint, body in bodies.items():
            lines = [
                line("right", url=endpoint, body=body),
                line("wrong", url=endpoint, body={**body, "input": 7}),
            ]
            batch = wait(client, start(client, upload(client, lines), endpoint).id)
            assert batch.usage.total_tokens > 0
            answered = read(client, batch.output_file_id)["right"]["response"]["body"]
            alone = client.post(endpoint.removeprefix("/v1"), body=body, cast_to=object)
            assert hide_ids(answered) == hide_ids(alone)
            assert read(client, batch.error_file_id)["wrong"]["response"]["status_code"] == 400


def hide_ids(body: Any) -> Any:
    """A body without what differs between two equal answers."""
    if isinstance(body, dict):
        hidden = ("id", "created_at", "completed_at")
        return {key: hide_ids(value) for key, value in body.items() if key not in hidden}
    return [hide_ids(item) for item in body] if isinstance(body, list) else body

"""Slow, large and broken requests end alone, with an error in OpenAI's form."""

import json
import socket
import time
from contextlib import ExitStack
from pathlib import Path

import httpx2
import openai
import pytest
from hosting import extend

from etude.assistant import Assistant
from etude.feedback import FeedbackLog
from etude.serve.engine import ServingLimits
from etude.serve.server import ServerSettings
from etude.types import ModelRef
from etude.web.api_keys import ApiKey, hash_key
from etude.web.connections import limit_connections
from etude_openai.hosted.stores import HostedStores
from serving import serve_as, serving

FAKE = Assistant("prompt", "answer", ModelRef("fake"))
BODY = {"model": "fake", "messages": [{"role": "user", "content": "hi"}]}
CHAT = "/v1/chat/completions"
HEAD = f"POST {CHAT} HTTP/1.1\r\nhost: 127.0.0.1\r\n".encode()


def connect(url: str) -> socket.socket:
    return socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2])), timeout=5)


def is_closed(connection: socket.socket) -> bool:
    try:
        return connection.recv(1) == b""
    except ConnectionError:
        return True


def test_others_are_answered_beside_half_open_connections_which_end() -> None:
    settings = ServerSettings(ServingLimits(receive_seconds=0.4, connections=20))
    with serving(serve_as("fake", FAKE), settings=settings) as url, ExitStack() as stack:
        slow = [stack.enter_context(connect(url)) for _ in range(60)]
        for connection in slow:
            try:
                connection.sendall(HEAD)
            except ConnectionError:
                continue  # its place is already another's
        assert httpx2.post(url + CHAT, json=BODY).status_code == 200
        assert all(map(is_closed, slow))


def test_slow_uploads_give_way_to_new_clients() -> None:
    settings = ServerSettings(ServingLimits(receive_seconds=20, connections=20))
    with serving(serve_as("fake", FAKE), settings=settings) as url, ExitStack() as stack:
        for _ in range(40):
            stack.enter_context(connect(url)).sendall(HEAD + b"content-length: 50\r\n\r\n{")
        for _ in range(5):
            assert httpx2.post(url + CHAT, json=BODY).status_code == 200


def test_key_scope_and_quota_are_checked_before_the_body(tmp_path: Path) -> None:
    """The answer comes while the body is still under way."""
    keys = tuple(ApiKey(name, hash_key(name), (name,)) for name in ("chat", "files", "evals"))
    settings = ServerSettings(keys=keys)
    stores = HostedStores(tmp_path / "data", {}, quota_gb=1e-4)
    form = "content-type: multipart/form-data; boundary=x"
    cases: list[tuple[str, str, str, int]] = [
        (CHAT, "wrong", "content-type: application/json\r\ncontent-length: 900000", 401),
        ("/v1/files", "", f"{form}\r\ncontent-length: 200000000", 401),
        ("/v1/files", "chat", f"{form}\r\ncontent-length: 200000000", 403),
        ("/v1/files", "files", f"{form}\r\ncontent-length: 200000", 413),
        ("/v1/files", "files", f"{form}\r\ntransfer-encoding: chunked", 411),
    ]
    with serving(serve_as("fake", FAKE), settings=settings, extensions=extend(stores)) as url:
        for path, key, headers, status in cases:
            with connect(url) as connection:
                head = (
                    f"POST {path} HTTP/1.1\r\n"
                    "host: 127.0.0.1\r\n"
                    f"authorization: Bearer {key}\r\n"
                    f"{headers}"
                )
                connection.sendall(f"{head}\r\n\r\n".encode())
                answer = connection.recv(1000)
            assert answer.startswith(f"HTTP/1.1 {status} ".encode()), answer
        source = {"type": "jsonl", "source": {"type": "file_id", "id": "file-x"}}
        answer = httpx2.post(
            f"{url}/v1/evals/eval_x/runs",
            json={"data_source": source},
            headers={"authorization": "Bearer evals"},
        )
    assert (answer.status_code, "does not allow files" in answer.text) == (403, True)


def test_a_body_that_does_not_arrive_is_refused_and_not_asked_for_again() -> None:
    settings = ServerSettings(ServingLimits(receive_seconds=0.1))
    with serving(serve_as("fake", FAKE), settings=settings) as url, connect(url) as connection:
        connection.sendall(HEAD + b"content-length: 50\r\n\r\n{")
        answer = connection.recv(1000)
    assert answer.startswith(b"HTTP/1.1 408")
    assert b"x-should-retry: false" in answer


def test_an_answer_that_is_late_is_asked_for_once() -> None:
    slow = Assistant("prompt", "answer", ModelRef("fake:delay=0.3"))
    settings = ServerSettings(ServingLimits(seconds=0.1, at_once=1))
    with (
        serving(serve_as("fake", slow), settings=settings) as url,
        openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=2) as client,
        connect(url) as blocking,
    ):
        body = json.dumps(BODY).encode()
        blocking.sendall(HEAD + f"content-length: {len(body)}\r\n\r\n".encode() + body)
        time.sleep(0.05)
        with pytest.raises(openai.APIStatusError) as error:
            client.chat.completions.create(**BODY)  # type: ignore[call-overload]
        metrics = httpx2.get(f"{url}/metrics").text
    assert error.value.status_code == 408
    assert 'etude_requests_total{path="/v1/chat/completions",status="408"} 1.0' in metrics


def test_errors_before_a_route_have_the_form_of_the_api() -> None:
    settings = ServerSettings(ServingLimits(body_bytes=1000, waiting=4))
    with serving(serve_as("fake", FAKE), settings=settings) as url:
        answers = [
            httpx2.post(url + CHAT, content=b"x" * 2000),
            httpx2.post(url + CHAT, content=(b"x" * 500 for _ in range(4))),
            httpx2.get(f"{url}/v1/nothing"),
            httpx2.get(f"{url}/v1/completions"),
            httpx2.post(url + CHAT, json=BODY | {"n": 8}),
            httpx2.post(url + CHAT, json=BODY | {"tools": "x"}),
        ]
    assert [answer.status_code for answer in answers] == [413, 413, 404, 405, 400, 400]
    for answer in answers:
        assert set(answer.json()["error"]) == {"message", "type", "param", "code"}
    assert "GET /v1/nothing" in answers[2].text


def test_a_body_needs_no_content_type() -> None:
    with serving(serve_as("fake", FAKE)) as url:
        for headers in ({}, {"content-type": "application/x-www-form-urlencoded"}):
            assert (
                httpx2.post(url + CHAT, content=json.dumps(BODY), headers=headers).status_code
                == 200
            )


def test_ignored_fields_are_named() -> None:
    with serving(serve_as("fake", FAKE)) as url:
        assert httpx2.post(url + CHAT, json=BODY | {"top_z": 1}).json()["ignored"] == ["top_z"]


def test_a_prompt_that_is_far_too_long_is_refused_before_its_tokens_are_counted() -> None:
    settings = ServerSettings(ServingLimits(prompt_tokens=100))
    with serving(serve_as("fake", FAKE), settings=settings) as url:
        body = BODY | {"messages": [{"role": "user", "content": "x" * 1601}]}
        answer = httpx2.post(url + CHAT, json=body)
    assert answer.json()["error"]["code"] == "context_length_exceeded"
    assert "1,601 characters" in answer.text


def test_feedback_is_saved_below_a_broken_line_and_a_full_disk_is_said(tmp_path: Path) -> None:
    file = tmp_path / "feedback.jsonl"
    file.write_text("{broken\n")
    with serving(
        serve_as("fake", FAKE, file), serve_as("full", FAKE, Path("/dev/full/feedback.jsonl"))
    ) as url:
        statuses = []
        for model in ("fake", "full"):
            done = httpx2.post(url + CHAT, json=BODY | {"model": model}).json()
            opinion = httpx2.post(f"{url}/v1/feedback", json={"id": done["id"], "thumb": "up"})
            statuses.append(opinion.status_code)
    assert statuses == [200, 507]
    assert "cannot save" in opinion.json()["error"]["message"]
    log = FeedbackLog(file)
    with pytest.raises(ValueError, match=r"feedback\.jsonl:1"):
        _ = log.entries
    assert [entry.thumb for entry in log.entries] == ["up"]


def test_connections_fit_the_files_of_the_process() -> None:
    assert 1 <= limit_connections(1_000) <= 1_000

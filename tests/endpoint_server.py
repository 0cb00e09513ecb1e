"""A server of the test's own behind an OpenAI-compatible URL, which misbehaves as it is told."""

import json
import random
import select
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any

from local_server import serve_handler

KEY = "sk-test-5e8f2a91c7d34b60"
Body = dict[str, Any]


def echo(body: Body) -> str:
    return f"said: {body['messages'][-1]['content']}"


@dataclass
class ScriptedServer:
    """What the server does, and what it has seen."""

    troubles: tuple[str, ...] = ()
    """Kinds of trouble that strike a request before it is answered."""
    share: float = 0.0
    """Share of the requests that trouble strikes."""
    say: Callable[[Body], str] = echo
    model: str = "big"
    logprobs: bool = True
    takes: Callable[[Body], str] = lambda body: ""
    """The name of a member that the model does not take, as OpenAI's error names it."""
    hold_after: int | None = None
    """Requests after which it holds its answers back."""
    asked: Counter[str] = field(default_factory=Counter)
    """Times that each question reached the server."""
    answered: Counter[str] = field(default_factory=Counter)
    """Times that each question was answered."""
    struck: Counter[str] = field(default_factory=Counter)
    bodies: list[Body] = field(default_factory=list)
    keys: set[str] = field(default_factory=set)
    most_at_once: int = 0
    url: str = ""
    _at_once: int = 0
    _draw: random.Random = field(default_factory=lambda: random.Random(7))
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def trouble(self) -> str:
        """The trouble of the next request, "" for none."""
        with self._lock:
            found = self._draw.choice(self.troubles) if self._draw.random() < self.share else ""
            self.struck[found] += 1
            return found

    def enter(self, question: str) -> None:
        with self._lock:
            self.asked[question] += 1
            self._at_once += 1
            self.most_at_once = max(self.most_at_once, self._at_once)

    def leave(self) -> None:
        with self._lock:
            self._at_once -= 1

    def may_answer(self, question: str) -> bool:
        """Whether this question is answered now; it counts as answered then. No two share the last
        place.
        """
        with self._lock:
            allowed = self.hold_after is None or self.answered.total() < self.hold_after
            self.answered[question] += allowed
            return allowed


class Handler(BaseHTTPRequestHandler):
    """Answers /chat/completions and /models."""

    protocol_version = "HTTP/1.1"
    script: ScriptedServer

    def log_message(self, format: str, *args: object) -> None:
        """Nothing is printed."""

    def do_GET(self) -> None:
        self._send(200, {"data": [{"id": self.script.model}]})

    def do_POST(self) -> None:
        script = self.script
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        key = self.headers.get("Authorization", "").removeprefix("Bearer ")
        script.keys.add(key)
        question = json.dumps([body["messages"], body.get("max_tokens")])
        script.enter(question)
        try:
            self._answer(script, body, question, key)
        except (BrokenPipeError, ConnectionResetError):
            pass  # a client that was killed
        finally:
            script.leave()

    def _answer(self, script: ScriptedServer, body: Body, question: str, key: str) -> None:
        script.bodies.append(body)
        if body["model"] != script.model:
            self._send(404, {"error": {"message": f"The model `{body['model']}` does not exist"}})
        elif key not in ("", KEY):
            self._send(401, {"error": {"message": f"Incorrect API key provided: {key}"}})
        elif parameter := script.takes(body):
            error = {"message": f"Unsupported parameter: '{parameter}'", "param": parameter}
            self._send(400, {"error": error})
        elif body.get("stream"):
            self._stream(script, body)
        elif trouble := script.trouble():
            self._misbehave(trouble)
        else:
            while not script.may_answer(question):
                time.sleep(0.005)
                if self._client_is_gone():
                    self.close_connection = True
                    return
            self._send(200, self._completion(script, body))

    def _client_is_gone(self) -> bool:
        """Whether the process that asked has been killed: nobody will read the answer."""
        readable, _, _ = select.select([self.connection], [], [], 0)
        return bool(readable) and not self.connection.recv(1, socket.MSG_PEEK)

    def _completion(self, script: ScriptedServer, body: Body) -> Body:
        text = script.say(body)
        tokens = [{"token": word, "logprob": -0.1} for word in text.split()]
        wanted = body.get("logprobs") and script.logprobs
        return {
            "model": f"{script.model}-2026-11",
            "choices": [
                {
                    "message": {"role": "assistant", "content": text},
                    "finish_reason": "stop",
                    **({"logprobs": {"content": tokens}} if wanted else {}),
                }
            ],
            "usage": {
                "prompt_tokens": 100,
                "completion_tokens": 10,
                "prompt_tokens_details": {"cached_tokens": 40},
            },
        }

    def _misbehave(self, trouble: str) -> None:
        if trouble == "429":
            self._send(429, {"error": {"message": "slow down"}}, {"Retry-After": "0.02"})
        elif trouble == "500":
            self._send(500, {"error": {"message": f"broken, with your key {KEY}"}})
        elif trouble == "hang":
            time.sleep(0.6)
            self.close_connection = True
        elif trouble == "not JSON":
            self._raw(200, b'{"choices": [{"mess', 19)
        elif trouble == "other JSON":
            self._send(200, {"choices": []})
        elif trouble == "cut":
            self._raw(200, b'{"choices": [{"message"', 500)
            self.close_connection = True

    def _stream(self, script: ScriptedServer, body: Body) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        for word in script.say(body).split():
            self.wfile.write(
                b"data: %s\n\n" % json.dumps({"choices": [{"delta": {"content": word}}]}).encode()
            )
        if "cut" not in script.troubles:
            self.wfile.write(b"data: [DONE]\n\n")
        self.close_connection = True

    def _send(self, status: int, body: Body, headers: dict[str, str] | None = None) -> None:
        content = json.dumps(body).encode()
        self._raw(status, content, len(content), headers)

    def _raw(
        self, status: int, content: bytes, length: int, headers: dict[str, str] | None = None
    ) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(length))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)


@contextmanager
def serve_script(script: ScriptedServer) -> Iterator[ScriptedServer]:
    """The server on a free port of this machine; `script.url` is where."""
    handler = type("OwnHandler", (Handler,), {"script": script})
    with serve_handler(handler) as script.url:
        yield script

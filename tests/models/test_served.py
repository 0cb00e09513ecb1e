"""Weights that a server computes with: adapters by name, the same answers as here, and what is said
where it fails.
"""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from etude.assistant import Assistant, load, with_engine
from etude.comparison import compare
from etude.errors import Declined, InputError, ServiceError
from etude.models.endpoint.served import ServedWeights
from etude.models.local import loading
from etude.models.registry import Models, get_title
from etude.task import Endpoint, load_task
from etude.task.endpoint import split_served
from etude.types import Grammar, Message, ModelRef, Request
from local_server import serve_handler
from small_task import write_task
from tiny import save_tiny_model

BASE = "base"


@dataclass
class AdapterServer:
    """A stand-in for vLLM: it answers with weights of this machine, and loads adapters from
    folders.
    """

    weights: Path | None = None
    loads: bool = True
    adapters: dict[str, Path] = field(default_factory=dict)
    bodies: list[dict[str, Any]] = field(default_factory=list)
    url: str = ""
    models: Models = field(default_factory=Models)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def answer(self, body: dict[str, Any]) -> dict[str, Any]:
        self.bodies.append(body)
        messages = tuple(Message(turn["role"], turn["content"]) for turn in body["messages"])
        choices = tuple(body.get("structured_outputs", {}).get("choice", ()))
        with self.lock:
            model = self.models.get(ModelRef(str(self.weights), self.adapters.get(body["model"])))
            [completion] = model.generate([Request(messages, body["max_tokens"], choices)])
        usage = {
            "prompt_tokens": completion.prompt_tokens,
            "completion_tokens": completion.answer_tokens,
        }
        tokens = [{"token": completion.text, "logprob": completion.logprob}] if choices else []
        message = {"content": completion.text}
        logprobs = {"content": tokens}
        choice = {"message": message, "finish_reason": completion.finish, "logprobs": logprobs}
        return {"model": body["model"], "choices": [choice], "usage": usage}


class Handler(BaseHTTPRequestHandler):
    """Answers /models, /load_lora_adapter and /chat/completions."""

    protocol_version = "HTTP/1.1"
    script: AdapterServer

    def log_message(self, format: str, *args: object) -> None:
        """Nothing is printed."""

    def do_GET(self) -> None:
        self._send(200, {"data": [{"id": name} for name in (BASE, *self.script.adapters)]})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path.endswith("/chat/completions"):
            known = body["model"] in (BASE, *self.script.adapters)
            self._send(
                200 if known else 404, self.script.answer(body) if known else {"error": "unknown"}
            )
        elif self.script.loads:
            self.script.adapters[body["lora_name"]] = Path(body["lora_path"])
            self._send(200, "Success")
        else:
            self._send(404, {"detail": "Not Found"})

    def _send(self, status: int, body: object) -> None:
        content = body.encode() if isinstance(body, str) else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


@contextmanager
def serve_adapters(script: AdapterServer) -> Iterator[AdapterServer]:
    """The server on a free port of this machine."""
    with serve_handler(type("OwnHandler", (Handler,), {"script": script})) as script.url:
        yield script


def write_tuned_task(folder: Path, kind: str, more: str = "") -> Path:
    model = save_tiny_model(folder / "model", max_position_embeddings=1024)
    settings = "methods: [prompt, fine_tune]\nmax_tokens: 8\ntrain: {max_rows: 32, epochs: 1}\n"
    return write_task(folder / "task", kind, str(model), 150, settings + more)


@pytest.mark.real
@pytest.mark.parametrize("kind", ["answer", "classify"])
def test_a_server_gives_the_answers_of_this_machine_row_for_row(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loading, "choose_dtype", lambda device: "float32")
    prices = "prices: {prompt: 2, answer: 10}\n"
    task = write_tuned_task(tmp_path, kind, prices)
    here = compare(task)
    with serve_adapters(AdapterServer(tmp_path / "model")) as server:
        there = compare(task, engine=f"{server.url}#{BASE}")
    for method in ("prompt", "fine_tune"):
        answers = [
            [
                (line["side"], line["id"], line["answer"])
                for line in result.run.read_predictions(method)
            ]
            for result in (here, there)
        ]
        num_equal = sum(pair[0] == pair[1] for pair in zip(*answers, strict=True))
        # Random weights have near ties, which rounding decides: the server answers one by one, not
        # in batches.
        assert num_equal >= 0.95 * len(answers[0])
    [adapter] = server.adapters
    assert {body["model"] for body in server.bodies} == {BASE, adapter}
    costs = there.verdict.costs
    assert all((costs[method].price or 0) > 0 for method in costs)
    measured = load(there.run.assistant_folder("fine_tune"))
    assert split_served(measured.model.name) == (str(tmp_path / "model"), f"{server.url}#{BASE}")
    assert with_engine("local", measured).model == replace(
        measured.model, name=str(tmp_path / "model")
    )
    assert there.run != here.run


@pytest.mark.real
def test_a_server_that_loads_no_adapter_is_told_how_and_the_run_resumes(tmp_path: Path) -> None:
    task = write_tuned_task(tmp_path, "answer")
    with serve_adapters(AdapterServer(tmp_path / "model", loads=False)) as server:
        with pytest.raises(ServiceError, match=r"HTTP 404.*--lora-modules") as caught:
            compare(task, engine=f"{server.url}#{BASE}")
        name, _, folder = (
            str(caught.value).partition("--lora-modules ")[2].partition(",")[0].partition("=")
        )
        server.adapters[name] = Path(folder)
        num_prompts = len(server.bodies)
        verdict = compare(task, engine=f"{server.url}#{BASE}").verdict
    assert not verdict.failures
    assert {body["model"] for body in server.bodies[num_prompts:]} == {BASE, name}


def test_rows_go_to_a_server_elsewhere_only_after_a_yes(tmp_path: Path) -> None:
    model = save_tiny_model(tmp_path / "model", max_position_embeddings=1024)
    task = write_task(
        tmp_path / "task", "answer", str(model), 150, "methods: [prompt]\nmax_tokens: 8\n"
    )
    with pytest.raises(Declined):
        compare(task, engine="http://gpu.example/v1#base")


def test_an_engine_with_settings_is_read_from_the_task_file(tmp_path: Path) -> None:
    engine = (
        "engine: {endpoint: https://gpu.example/v1, model: base, key: env:KEY, prices: {per_hour: "
        "2}}\n"
    )
    task = load_task(write_task(tmp_path, more=engine))
    assert task.engine == "served:https://gpu.example/v1#base;key=KEY"
    prices = task.endpoints[task.engine.removeprefix("served:")].prices
    assert prices.per_hour == 2
    served = with_engine(
        task.engine, Assistant("prompt", "answer", ModelRef("smollm2-135m-instruct"))
    )
    service = Models(endpoints=task.endpoints).find_service(served.model.name)
    assert (service.is_local, service.prices) == (False, prices)
    assert get_title(served.model.name) == "base at https://gpu.example/v1"


@pytest.mark.parametrize("engine", ["vllm", "https://gpu.example/v1", "llama"])
def test_what_is_no_engine_is_refused(engine: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"this is not an engine.*URL#NAME"):
        load_task(write_task(tmp_path / "a", more=f"engine: {engine}\n"))
    with pytest.raises(InputError, match=r"this is not an engine.*URL#NAME"):
        compare(write_task(tmp_path / "b"), engine=engine)


@pytest.mark.parametrize(
    ("choices", "grammar", "sent"),
    [
        (("a", "b"), None, {"choice": ["a", "b"]}),
        ((), Grammar("json_schema", '{"type": "object"}'), {"json": {"type": "object"}}),
        ((), Grammar("regex", "[ab]+"), {"regex": "[ab]+"}),
        ((), None, None),
    ],
)
def test_choices_and_grammars_are_structured_outputs(
    choices: tuple[str, ...], grammar: Grammar | None, sent: object
) -> None:
    model = ServedWeights(Endpoint("http://127.0.0.1:9/v1", BASE))
    request = Request((Message("user", "?"),), 8, choices, grammar=grammar)
    assert model._build_body(request).get("structured_outputs") == sent
    model._rejected.add("structured_outputs")
    assert "structured_outputs" not in model._build_body(request)

"""A method and a model backend of one's own: few lines each, added through the public door."""

import inspect
import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from etude.assistant import Assistant
from etude.comparison import compare
from etude.data.dataset import Dataset
from etude.errors import Declined, ModelError
from etude.methods import METHODS, Candidate, FitContext, Method
from etude.models.backend import BatchedModel
from etude.models.registry import BACKENDS, Backend, Models, register
from etude.models.remote import Journal, RemoteModel, Service
from etude.task import Task
from etude.types import Completion, ModelRef, Request
from small_task import write_task


class Loud(Method):
    """The instructions in capitals."""

    name = "loud"
    label = "The prompt in capitals"

    def fit(
        self, task: Task, train: Dataset, dev: Dataset, start: Assistant, context: FitContext
    ) -> Assistant:
        loud = replace(start, method=self.name, instructions=start.instructions.upper())
        return context.choose([Candidate("in capitals", loud)], dev).assistant


class Echo(BatchedModel):
    """Answers with the question."""

    def complete(self, requests: Sequence[Request]) -> list[Completion]:
        return [
            Completion(each.messages[-1].content, "stop", 1, 0, 1, 0.0, 0.0) for each in requests
        ]


def echo(ref: ModelRef, models: object) -> Echo:
    return Echo(ref.name)


ECHO = Backend(
    "echo", "echo:ANYTHING", lambda name: name.startswith("echo:"), echo, can=("generate",)
)


class Transport:
    """Stands for the network: notes what is sent, and answers like a server of Ollama's API."""

    def __init__(self) -> None:
        self.sent: list[dict[str, Any]] = []

    def post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        assert path == "/api/chat"
        self.sent.append(body)
        content = body["messages"][-1]["content"].upper()
        counts = {"eval_count": 3, "prompt_eval_count": 9}
        return {"message": {"content": content}, "model": body["model"], **counts}


TRANSPORT = Transport()


class Ollama(RemoteModel):
    """Asks a server of Ollama's API."""

    def ask(self, request: Request) -> tuple[Completion, str]:
        messages = [{"role": turn.role, "content": turn.content} for turn in request.messages]
        options = {"num_predict": request.max_tokens, "temperature": 0}
        body = {"model": self.name[7:], "messages": messages, "options": options, "stream": False}
        reply = TRANSPORT.post("/api/chat", body)
        text = reply["message"]["content"]
        num_tokens = reply["eval_count"]
        prompt_tokens = reply["prompt_eval_count"]
        return Completion(text, "stop", prompt_tokens, 0, num_tokens, 0.01, None), reply["model"]


def describe_ollama(name: str, endpoints: object) -> Service:
    return Service(f"{name} on gpu-server", max_requests=500)


def load_ollama(ref: ModelRef, models: Models) -> Ollama:
    service = describe_ollama(ref.name, models.endpoints)
    return Ollama(ref.name, service, Journal(service, models.journal), models.notes)


OLLAMA = Backend(
    "ollama",
    "ollama:NAME",
    lambda name: name.startswith("ollama:"),
    load_ollama,
    can=("generate",),
    tries=("choices",),
    service=describe_ollama,
)


@pytest.fixture
def _registered() -> Iterator[None]:
    """Both among the backends, until the test has ended."""
    before = list(BACKENDS)
    register(ECHO)
    register(OLLAMA)
    TRANSPORT.sent.clear()
    yield
    BACKENDS[:] = before


def test_a_method_and_a_backend_are_few_lines() -> None:
    assert all(len(inspect.getsource(own).splitlines()) <= 15 for own in (Loud, Echo, Ollama))


def test_an_own_method_is_compared_like_the_built_in_ones(tmp_path: Path) -> None:
    run = compare(write_task(tmp_path, "classify"), methods=[*METHODS, Loud()]).run
    assert run.fitted_methods[-1] == "loud"
    assert {step.method for step in run.verdict.ladder} == set(run.fitted_methods)  # type: ignore[union-attr]
    assert "The prompt in capitals" in (run.folder / "report.html").read_text()
    assert (
        json.loads((run.method_folder("loud") / "method.json").read_text())["label"] == Loud.label
    )


@pytest.mark.usefixtures("_registered")
def test_an_own_backend_answers_like_the_built_in_ones(tmp_path: Path) -> None:
    run = compare(write_task(tmp_path, model="echo:1", more="methods: [prompt]\n")).run
    assert all(line["answer"] == line["input"] for line in run.read_predictions("prompt"))


@pytest.mark.usefixtures("_registered")
@pytest.mark.parametrize(
    ("kind", "method", "cannot"),
    [
        ("classify", "prompt", "restrict an answer to a list of texts"),
        ("answer", "fine_tune", "be trained by Étude"),
    ],
)
def test_a_missing_capability_is_reported_with_a_backend_that_has_it(
    kind: str, method: str, cannot: str, tmp_path: Path
) -> None:
    task = write_task(tmp_path, kind, model="echo:1", more=f"methods: [{method}]\n")
    with pytest.raises(ModelError, match=f"echo:1 cannot {cannot}.*local: packaged weights"):
        compare(task)
    assert not list((tmp_path / "runs").glob("*/methods/*/method.json"))


OLLAMA_TASK = "methods: [prompt]\n"


@pytest.mark.usefixtures("_registered")
@pytest.mark.parametrize("confirm", [None, lambda question: False])
def test_no_row_is_sent_to_a_remote_backend_unless_the_user_agrees(
    tmp_path: Path, confirm: Any
) -> None:
    task = write_task(tmp_path, model="ollama:llama3", more=OLLAMA_TASK)
    with pytest.raises(Declined, match="Nothing was sent"):
        compare(task, **({"confirm": confirm} if confirm else {}))
    assert not TRANSPORT.sent


@pytest.mark.usefixtures("_registered")
def test_a_remote_backend_has_questions_a_journal_and_limits_like_the_built_in_one(
    tmp_path: Path,
) -> None:
    questions: list[str] = []
    task = write_task(tmp_path, model="ollama:llama3", more=OLLAMA_TASK)
    run = compare(task, confirm=lambda question: questions.append(question) or True).run
    assert any(
        "ollama:llama3 on gpu-server will get the instructions and rows" in question
        for question in questions
    )
    assert any("The run stops at max_requests: 500" in question for question in questions)
    lines = (run.folder / "requests.jsonl").read_text().splitlines()
    assert {json.loads(line)["service"] for line in lines} == {"ollama:llama3 on gpu-server"}
    assert len({json.dumps(body) for body in TRANSPORT.sent}) == len(TRANSPORT.sent) == len(lines)


@pytest.mark.usefixtures("_registered")
def test_a_remote_model_without_a_service_is_refused() -> None:
    register(replace(OLLAMA, service=None))
    with pytest.raises(ModelError, match="its entry needs service="):
        Models().get(ModelRef("ollama:llama3"))

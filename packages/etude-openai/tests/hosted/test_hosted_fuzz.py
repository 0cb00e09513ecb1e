"""Whatever the routes for files, jobs, batches, evals and graders are sent: an answer below 500,
and no file outside the data folder.
"""

import errno
import json
import logging
import os
import random
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import httpx2
import openai
import pytest
from api_tables import ALL_ROUTES
from hosting import extend
from test_evals import EXACT, FAKE, LIKE, inline, list_items
from test_fine_tuning import chat_rows

from etude_openai.hosted.stores import HostedStores
from serving import serve_as, serving
from tiny import save_tiny_model

ZEROS = "0" * 24
TRICKS = [
    *(
        "..",
        "../../etc/passwd",
        "/etc/passwd",
        "file-../../x",
        "a/b",
        "\\..\\x",
        "\0",
        "%2e%2e%2f",
        ".",
    ),
    *(f"file-{ZEROS}", "ftjob-" + "f" * 24, f"batch_{ZEROS}", f"eval_{ZEROS}", f"evalrun_{ZEROS}"),
    *("x" * 3000, "🙂", "file-" + "0" * 23 + "G", f"file-{ZEROS}\n", " ", "con", "~root", "$(id)"),
]
"""Ids and names that a careless server would use as a path."""
VALUES: list[Any] = [
    *(None, True, 0, -1, 2**70, 1e308, float("nan")),
    *("", "x", "\ud800", "{{item.a}}", "{{sample", "a" * 5000),
    *([], {}, [[]], {"": None}, [None, {"item": 1}]),
    *({"type": "object"}, {"$ref": "http://nowhere.example"}),
]
CRITERIA: list[Any] = [
    EXACT,
    LIKE,
    {**LIKE, "evaluation_metric": "bleu"},
    {
        "type": "multi",
        "name": "m",
        "graders": {"a": EXACT, "b": LIKE},
        "calculate_output": "a + b * 2 ^ 3",
    },
    {"type": "multi", "name": "m", "graders": {"a": EXACT}, "calculate_output": "a" + "+a" * 400},
    {"type": "python", "name": "p", "source": "import os"},
    {
        "type": "score_model",
        "name": "s",
        "model": "gpt-4o",
        "input": [{"role": "user", "content": "x"}],
    },
]


class RequestMaker:
    """Requests that are right in most places and wrong in some. Ids of what was made are used
    again.
    """

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.ids = dict[str, list[str]]()

    def note_id(self, body: Any) -> None:
        """Remember the id of what an answer describes."""
        for item in body.get("data") or [body] if isinstance(body, dict) else []:
            if isinstance(item, dict) and isinstance(item.get("id"), str):
                ids = self.ids.setdefault(item["id"].replace("_", "-").partition("-")[0], [])
                ids += [] if item["id"] in ids else [item["id"]]

    def choose_id(self, kind: str) -> str:
        """An id of a kind, seldom of another, or a trick."""
        kinds = [kind] * 6 + sorted(self.ids)
        ids = self.ids.get(self.random.choice(kinds), [])
        return (
            self.random.choice(ids)
            if ids and self.random.random() < 0.8
            else self.random.choice(TRICKS)
        )

    def spoil(self, body: Any) -> Any:
        """The body with a few values replaced, left out or added, at any depth."""
        body = json.loads(json.dumps(body))
        for _ in range(self.random.choice([0, 0, 1, 2])):
            target = body
            while isinstance(target, dict | list) and target:
                key: Any = self.random.choice(
                    sorted(target) if isinstance(target, dict) else range(len(target))
                )
                if (
                    not isinstance(target[key], dict | list)
                    or not target[key]
                    or self.random.random() < 0.3
                ):
                    values = VALUES if self.random.random() < 0.8 else TRICKS
                    target[key] = deepcopy(self.random.choice(values))
                    break
                target = target[key]
        return body

    def make_eval(self) -> Any:
        schema = {"type": "object", "properties": {"question": {"type": "string"}}}
        source = {"type": "custom", "item_schema": schema, "include_sample_schema": True}
        criteria = self.random.sample(CRITERIA, 2)
        return {"name": "e", "data_source_config": source, "testing_criteria": criteria}

    def make_run(self) -> Any:
        content = list_items([True, False, True])
        template = {
            "type": "template",
            "template": [{"role": "user", "content": "{{item.question}}"}],
        }
        file = {"type": "file_id", "id": self.choose_id("file")}
        sources = [
            inline(content),
            {"type": "jsonl", "source": file},
            {
                "type": "completions",
                "model": "luma",
                "input_messages": template,
                "source": {"type": "file_content", "content": content},
            },
        ]
        return {"name": "r", "data_source": self.random.choice(sources)}

    def make_job(self) -> Any:
        model = self.random.choice(["gpt-4o-mini", "gpt-4o"])
        body = {"model": model, "training_file": self.choose_id("file")}
        extras: list[Any] = [
            {"hyperparameters": {"n_epochs": 1, "batch_size": "auto"}},
            {"method": {"type": "dpo", "dpo": {"hyperparameters": {"beta": 0.1}}}},
            {
                "method": {
                    "type": "reinforcement",
                    "reinforcement": {"grader": self.random.choice(CRITERIA)},
                }
            },
            {"suffix": self.random.choice(TRICKS)},
            {"metadata": {"etude": "compare"}, "seed": 3},
            {
                "validation_file": self.choose_id("file"),
                "integrations": [{"type": "wandb", "wandb": {"project": "x"}}],
            },
        ]
        return body | self.random.choice(extras)

    def make_batch(self) -> Any:
        body = {"endpoint": "/v1/chat/completions", "completion_window": "24h"}
        return body | {"input_file_id": self.choose_id("file")}

    def make_grading(self) -> Any:
        grader = self.random.choice(CRITERIA)
        return {"grader": grader, "model_sample": "the red book", "item": {"answer": "x"}}

    def make_file(self) -> tuple[bytes, str, str]:
        line = {"custom_id": "1", "method": "POST", "url": "/v1/chat/completions"}
        line["body"] = {"model": "luma", "messages": [{"role": "user", "content": "x"}]}  # type: ignore[assignment]
        contents = [
            *(b"", b"\0\xff\xfe", b"[" * 2000, b"{}\n", chat_rows(2)),
            json.dumps(self.spoil(line)).encode() + b"\n",
            "\n".join(json.dumps(self.spoil(item)) for item in list_items([True, False])).encode(),
        ]
        names = ["rows.jsonl", "rows.jsonl", *TRICKS]
        purposes = ["fine-tune", "batch", "evals", "x"]
        content, name, purpose = map(self.random.choice, (contents, names, purposes))
        return content, name, purpose

    def make_request(self) -> tuple[str, str, Any]:
        """Method, path and body; a tuple as body is a file to upload."""
        file, job, batch, evaluation, run = map(
            self.choose_id, ("file", "ftjob", "batch", "eval", "evalrun")
        )
        f, j, b, e, r = (quote(name, safe="") for name in (file, job, batch, evaluation, run))
        queries = [
            "",
            "?limit=2",
            f"?after={f}",
            "?limit=0",
            "?limit=x",
            "?limit=-1&after=",
            "?order=up",
        ]
        query = self.random.choice(queries)
        runs = f"/v1/evals/{e}/runs"
        posts: list[tuple[str, Callable[[], Any]]] = [
            ("/v1/evals", self.make_eval),
            (f"/v1/evals/{e}", lambda: {"name": "n", "metadata": {"a": "b"}}),
            *((runs, self.make_run), (runs, self.make_run), (f"{runs}/{r}", dict)),
            *(("/v1/batches", self.make_batch), (f"/v1/batches/{b}/cancel", dict)),
            ("/v1/fine_tuning/jobs", self.make_job),
            *((f"/v1/fine_tuning/jobs/{j}/{verb}", dict) for verb in ("cancel", "pause", "resume")),
            *(
                (f"/v1/fine_tuning/alpha/graders/{verb}", self.make_grading)
                for verb in ("run", "validate")
            ),
        ]
        jobs = f"/v1/fine_tuning/jobs/{j}"
        gets = [
            *(
                "/v1/files",
                f"/v1/files/{f}",
                f"/v1/files/{f}/content",
                "/v1/batches",
                f"/v1/batches/{b}",
            ),
            *("/v1/fine_tuning/jobs", jobs, f"{jobs}/events", f"{jobs}/checkpoints"),
            *("/v1/evals", f"/v1/evals/{e}", runs, f"{runs}/{r}"),
            *(f"{runs}/{r}/output_items", f"{runs}/{r}/output_items/{f}"),
        ]
        deletes = [
            f"/v1/files/{f}",
            f"/v1/evals/{e}",
            f"{runs}/{r}",
            f"/v1/models/{quote('ft:x', safe='')}",
        ]
        match self.random.random():
            case share if share < 0.15:
                return "POST", "/v1/files", self.make_file()
            case share if share < 0.55:
                path, make = self.random.choice(posts)
                return "POST", path, self.spoil(make())
            case share if share < 0.58:
                return "DELETE", self.random.choice(deletes), None
        return "GET", self.random.choice(gets) + query, None


@pytest.fixture
def url(tmp_path: Path) -> Iterator[str]:
    stores = HostedStores(
        tmp_path / "data", {"gpt-4o-mini": str(save_tiny_model(tmp_path / "tiny"))}, quota_gb=0.01
    )
    with serving(serve_as("luma", FAKE), extensions=extend(stores)) as address:
        yield address
        for job in stores.fine_tuning.jobs:
            if not job.result:
                stores.fine_tuning.change(job.folder.name, "cancel")
    stores.close()


@pytest.mark.real
def test_thousands_of_requests_to_the_new_routes_are_answered_or_refused(
    url: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """ETUDE_FUZZ sets their number, 5,000 by default."""
    maker = RequestMaker(1)
    statuses = Counter[int]()
    with caplog.at_level(logging.ERROR), httpx2.Client(timeout=30) as client:
        for _ in range(int(os.environ.get("ETUDE_FUZZ", "5000"))):
            method, path, body = maker.make_request()
            if isinstance(body, tuple):
                content, name, purpose = body
                response = client.post(
                    url + path, files={"file": (name, content)}, data={"purpose": purpose}
                )
            else:
                text = None if body is None else json.dumps(body)
                response = client.request(method, url + path, content=text)
            statuses[response.status_code] += 1
            shown = (method, path[:200], str(body)[:500], response.text[:500])
            assert response.status_code < 500 or response.status_code == 501, shown
            assert response.status_code < 400 or "error" in response.json(), shown
            if response.status_code < 300 and "/content" not in path:
                maker.note_id(response.json())
        assert client.get(f"{url}/v1/files").status_code == 200
    assert not [record for record in caplog.records if record.exc_info], caplog.text
    assert min(statuses[200], statuses[201], statuses[400], statuses[404]) > 20, statuses
    assert {path.name for path in tmp_path.iterdir()} == {"data", "tiny"}
    data = {path.name for path in (tmp_path / "data").iterdir()}
    assert data <= {"files", "fine_tuning", "batches", "evals", "responses"}, data
    names = {
        path.name for folder in (tmp_path / "data" / "files").iterdir() for path in folder.iterdir()
    }
    assert names <= {"file.json", "content"}, names


HALF = "\ud800"
CHAT = {
    "model": "luma",
    "messages": [{"role": "user", "content": "hi"}],
    "stop": ["x"],
    "user": "u",
}
NAMES = ["luma", "hi", *(trick for trick in TRICKS if "/" not in trick and trick.strip("."))]


def draw_value(draw: random.Random, schemas: Any, schema: Any, depth: int = 0) -> Any:
    """A value that fits a schema of /openapi.json in most places."""
    if "$ref" in schema:
        return draw_value(draw, schemas, schemas[schema["$ref"].rpartition("/")[2]], depth)
    if options := schema.get("anyOf") or schema.get("oneOf"):
        return draw_value(draw, schemas, draw.choice(options), depth)
    kind = schema.get("type")
    fields = schema.get("properties", {})
    again = (draw, schemas)
    if "const" in schema or "enum" in schema:
        return schema.get("const", draw.choice(schema.get("enum", [""])))
    if kind == "object" and depth < 6:
        names = [
            name for name in fields if name in schema.get("required", ()) or draw.random() < 0.5
        ]
        return {name: draw_value(*again, fields[name], depth + 1) for name in names} or {"a": "b"}
    if kind == "array" and depth < 6:
        return [
            draw_value(*again, schema.get("items", {}), depth + 1)
            for _ in range(draw.choice([1, 2]))
        ]
    simple: dict[str, list[Any]] = {
        "integer": [1, 2, -1],
        "number": [0.5, 3],
        "boolean": [True, False],
    }
    return None if kind == "null" else draw.choice(simple.get(kind, NAMES))


def put_halves(value: Any) -> Iterator[Any]:
    """The value once for each text and each key in it, which half a character replaces."""
    if isinstance(value, str):
        yield HALF
    items = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list)
        else ()
    )
    for key, item in items:
        for spoilt in put_halves(item):
            yield (
                {**value, key: spoilt}
                if isinstance(value, dict)
                else [*value[:key], spoilt, *value[key + 1 :]]
            )
        if isinstance(value, dict):
            yield {HALF if name == key else name: entry for name, entry in value.items()}


@pytest.mark.real
def test_half_a_character_in_any_text_of_any_route_is_refused_and_nothing_is_stuck(
    url: str,
) -> None:
    """Routes and bodies are those of /openapi.json. Each text and key of a body is spoilt in turn.
    ETUDE_FUZZ sets the number of requests, 5,000 by default.
    """
    line = {"custom_id": "1", "method": "POST", "url": "/v1/chat/completions", "body": CHAT}
    with (
        httpx2.Client(timeout=60) as client,
        openai.OpenAI(base_url=f"{url}/v1", api_key="none") as api,
    ):

        def start(*lines: Any) -> str:
            content = "\n".join(map(json.dumps, lines)).encode()
            file = api.files.create(file=("batch.jsonl", content), purpose="batch")
            return api.batches.create(
                input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h"
            ).id

        pairs = [(start(line, spoilt), start(line)) for spoilt in put_halves(line)]
        api_description = client.get(f"{url}/openapi.json").json()
        operations = [
            (method.upper(), path, operation)
            for path, methods in api_description["paths"].items()
            for method, operation in methods.items()
        ]
        assert {operation[:2] for operation in operations} == {
            (each.method, each.path) for each in ALL_ROUTES
        }
        draw = random.Random(1)
        statuses = Counter[int]()
        while statuses.total() < int(os.environ.get("ETUDE_FUZZ", "5000")):
            for method, path, operation in operations:
                address = url + path
                for parameter in operation.get("parameters", ()):
                    text = quote(draw.choice([*NAMES, HALF]), safe="", errors="surrogatepass")
                    query = f"{'&' if '?' in address else '?'}{parameter['name']}={text}"
                    is_query = parameter["in"] == "query"
                    address = (
                        address + query
                        if is_query
                        else address.replace(f"{{{parameter['name']}}}", text)
                    )
                contents = operation.get("requestBody", {}).get("content", {})
                schema = contents.get("application/json", {}).get("schema")
                body = (
                    draw_value(draw, api_description["components"]["schemas"], schema)
                    if schema
                    else None
                )
                for spoilt in (body, *put_halves(body)):
                    answer = client.request(
                        method, address, content=json.dumps(spoilt) if schema else None
                    )
                    statuses[answer.status_code] += 1
                    shown = (method, address[:200], str(spoilt)[:500], answer.text[:500])
                    assert answer.status_code < 500 or answer.status_code == 501, shown
                    if spoilt is not body:
                        assert (answer.status_code, "half of a character" in answer.text) == (
                            400,
                            True,
                        ), shown
        assert min(statuses[200], statuses[404]) > 20, statuses
        deadline = time.monotonic() + 120
        for bad, good in pairs:
            while api.batches.retrieve(good).status != "completed":
                assert time.monotonic() < deadline
                time.sleep(0.05)
            assert api.batches.retrieve(bad).status == "failed"


def test_a_file_that_is_too_large_is_refused_before_it_is_sent(url: str) -> None:
    """600 MB are announced, and the answer comes when a part of them is under way."""
    address = urlsplit(url)
    head = "POST /v1/files HTTP/1.1\r\nHost: {}\r\nContent-Length: {}\r\n"
    head += "Content-Type: multipart/form-data; boundary=x\r\n\r\n"
    with socket.create_connection(
        (address.hostname or "", address.port or 0), timeout=10
    ) as connection:
        started = time.monotonic()
        connection.sendall(head.format(address.netloc, 600 * 2**20).encode())
        connection.sendall(
            b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
        )
        answer = connection.recv(4096)
    assert answer.startswith(b"HTTP/1.1 413 "), answer
    assert time.monotonic() - started < 5
    with openai.OpenAI(base_url=f"{url}/v1", api_key="none") as client:
        assert client.files.list().data == []


@pytest.mark.real
def test_a_full_disk_is_an_error_and_loses_nothing(
    tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0)
    rows = client.files.create(file=("rows.jsonl", chat_rows(12)), purpose="fine-tune")
    schema = {"type": "object", "properties": {"question": {"type": "string"}}}
    config: Any = {"type": "custom", "item_schema": schema, "include_sample_schema": True}
    evaluation = client.evals.create(data_source_config=config, testing_criteria=[EXACT])  # type: ignore[list-item]
    before = sorted(path for path in (tmp_path / "data").rglob("*") if path.is_file())

    def refuse(handle: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    run = client.evals.runs.create(evaluation.id, data_source=inline(list_items([True] * 30)))  # type: ignore[arg-type]
    monkeypatch.setattr(os, "fsync", refuse)
    makers: list[Callable[[], Any]] = [
        lambda: client.files.create(file=("rows.jsonl", chat_rows(12)), purpose="fine-tune"),
        lambda: client.evals.create(data_source_config=config, testing_criteria=[EXACT]),  # type: ignore[list-item]
        lambda: client.fine_tuning.jobs.create(model="gpt-4o-mini", training_file=rows.id),
        lambda: client.batches.create(
            input_file_id=rows.id, endpoint="/v1/chat/completions", completion_window="24h"
        ),
        lambda: client.evals.runs.create(evaluation.id, data_source=inline(list_items([True]))),  # type: ignore[arg-type]
        lambda: client.evals.update(evaluation.id, name="other"),
    ]
    for make in makers:
        with pytest.raises(openai.APIStatusError) as caught:
            make()
        assert (caught.value.status_code, caught.value.code) == (507, "disk_full")
    assert client.files.content(rows.id).read() == chat_rows(12)
    time.sleep(0.3)  # over several attempts of the background work
    assert client.evals.runs.retrieve(run.id, eval_id=evaluation.id).status in (
        "queued",
        "in_progress",
    )
    monkeypatch.setattr(os, "fsync", lambda handle: None)
    assert [file.id for file in client.files.list()] == [rows.id]
    assert [saved.id for saved in client.evals.list()] == [evaluation.id]
    assert client.evals.retrieve(evaluation.id).name == evaluation.name
    assert list(client.fine_tuning.jobs.list()) == list(client.batches.list()) == []
    deadline = time.monotonic() + 30
    while client.evals.runs.retrieve(run.id, eval_id=evaluation.id).status != "completed":
        assert time.monotonic() < deadline
        time.sleep(0.1)
    items = client.evals.runs.output_items.list(run.id, eval_id=evaluation.id, limit=100)
    assert [item.datasource_item_id for item in items] == list(range(30))
    assert set(before) <= set((tmp_path / "data").rglob("*"))
    for make in makers:
        make()

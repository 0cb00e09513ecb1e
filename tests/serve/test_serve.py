"""The server, as OpenAI's own client sees it."""

import asyncio
import json
import random
import re
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("openai")

import httpx2
import openai

from etude.assistant import Assistant, load
from etude.base.files import write_lines
from etude.cli import main
from etude.cli.serving import parse_limits
from etude.comparison import compare
from etude.data.formats.tools import append_tools, format_tool_turn, format_tools
from etude.errors import InputError
from etude.feedback import FeedbackLog
from etude.index.passages import Passage
from etude.index.search import Search
from etude.limits.question_model import OWN, QuestionModel, count_features
from etude.limits.scope import Scope
from etude.models.registry import Models
from etude.runs import Run
from etude.runs.recommended import (
    choose_method,
    find_run_at,
    find_served,
    get_promotions_file,
    promote,
)
from etude.serve.catalogue import load_catalogue, load_saved, with_engine
from etude.serve.engine import ServingLimits
from etude.serve.server import ServerSettings
from etude.stats.answer_confidence import AnswerConfidence
from etude.task.contract import Contract
from etude.task.definition import Limit
from etude.types import Example, Message, ModelRef, SearchRef
from etude.watch.record import FILES, TrafficRecord
from etude.web.api_keys import ApiKey, find_key, read_keys
from real_runs import copy_task
from serving import get_address, needs_package, open_client, serve_as, serving
from small_task import library, write_task
from tiny import save_tiny_model

SHOTS = tuple(
    Example(
        theme, (Message("user", f"a book about {theme}"),), f"Title: All about {theme}\nAges: 7"
    )
    for theme in ("dragons", "trains")
)
LUMA = Assistant(
    "few_shot",
    "answer",
    ModelRef("fake"),
    instructions="You are Luma.",
    shots=SHOTS,
    contract=Contract(fields=("Title", "Ages")),
)
ASKED = [{"role": "user", "content": "Please, a book about trains"}]


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    labels = Contract(labels=("dragons", "trains"))
    sorter = replace(LUMA, kind="classify", contract=labels, choices=labels.labels)
    with serving(serve_as("luma", LUMA), serve_as("sorter", sorter)) as url:
        yield url


@pytest.fixture(scope="module")
def client(address: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{address}/v1", api_key="none", max_retries=0) as client:
        yield client


def test_an_answer_is_that_of_the_assistant(client: openai.OpenAI) -> None:
    raw = client.chat.completions.with_raw_response.create(model="luma", messages=ASKED)
    done = raw.parse()
    own = LUMA.answer("Please, a book about trains")
    assert done.choices[0].message.content == own.text == "Title: All about trains\nAges: 7"
    assert done.choices[0].finish_reason == "stop"
    assert done.choices[0].message.keeps_contract is True
    assert done.choices[0].message.handover is False
    assert done.usage.prompt_tokens == own.prompt_tokens
    assert done.usage.total_tokens == own.prompt_tokens + own.answer_tokens
    assert done.measured is True
    assert raw.headers["x-etude-measured"] == "true"
    assert raw.headers["x-request-id"]


@needs_package
def test_an_answer_that_is_handed_over_is_replaced_by_the_sentence_of_the_task() -> None:
    confidence = AnswerConfidence(("logprob",), (-9.0,), (1.0,), 0.0)
    unsure = replace(
        LUMA, answer_confidence=confidence, handover=0.9, handover_sentence="Please ask Kim."
    )
    sure = replace(unsure, handover=0.1)
    assert unsure.answer(ASKED).text == LUMA.answer(ASKED).text
    assert list(unsure.stream(ASKED)) == ["Please ask Kim."]
    with open_client(serve_as("unsure", unsure), serve_as("sure", sure)) as client:
        message = client.chat.completions.create(model="unsure", messages=ASKED).choices[0].message
        assert message.content == "Please ask Kim."
        assert message.handover is True
        assert message.handover_reason == "the assistant is less confident than its task requires"
        assert message.confidence == pytest.approx(unsure.answer(ASKED).confidence)
        stream = client.chat.completions.create(model="unsure", messages=ASKED, stream=True)
        pieces = [chunk.choices[0].delta.content or "" for chunk in stream]
        assert [piece for piece in pieces if piece] == ["Please ask Kim."]
        answered = client.chat.completions.create(model="sure", messages=ASKED).choices[0].message
        assert answered.content == LUMA.answer(ASKED).text
        assert answered.handover is False
        response = client.responses.create(model="unsure", input="Please, a book about trains")
        assert response.output_text == "Please ask Kim."


def test_a_stream_says_the_same_in_pieces(client: openai.OpenAI) -> None:
    stream = client.chat.completions.create(
        model="luma", messages=ASKED, stream=True, stream_options={"include_usage": True}
    )
    chunks = list(stream)
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == LUMA.answer("Please, a book about trains").text
    assert chunks[0].choices[0].delta.role == "assistant"
    assert chunks[-2].choices[0].finish_reason == "stop"
    assert chunks[-1].usage.total_tokens > 0
    assert len({chunk.id for chunk in chunks}) == 1


def test_the_asynchronous_client_asks_many_at_once(address: str) -> None:
    async def ask() -> list[str]:
        async with openai.AsyncOpenAI(base_url=f"{address}/v1", api_key="none") as client:
            asked = (
                client.chat.completions.create(model="luma", messages=ASKED, n=2) for _ in range(10)
            )
            return [
                choice.message.content
                for done in await asyncio.gather(*asked)
                for choice in done.choices
            ]

    assert set(asyncio.run(ask())) == {"Title: All about trains\nAges: 7"}


def test_completions_and_models(client: openai.OpenAI) -> None:
    done = client.completions.create(model="luma", prompt="Please, a book about dragons")
    assert done.choices[0].text == "Title: All about dragons\nAges: 7"
    streamed = client.completions.create(
        model="luma", prompt="Please, a book about dragons", stream=True
    )
    assert "".join(chunk.choices[0].text for chunk in streamed) == done.choices[0].text
    assert [model.id for model in client.models.list()] == ["luma", "sorter"]
    assert client.models.retrieve("luma").method == "few_shot"


def test_a_label_comes_with_its_confidence(client: openai.OpenAI) -> None:
    done = client.chat.completions.create(model="sorter", messages=ASKED)
    assert done.choices[0].message.content == "trains"
    assert 0 < done.choices[0].message.confidence <= 1


def test_a_system_message_is_added_and_no_longer_measured(client: openai.OpenAI) -> None:
    asked = [{"role": "system", "content": "Be very brief."}, *ASKED]
    plain, added = (
        client.chat.completions.create(model="luma", messages=each) for each in (ASKED, asked)
    )
    assert plain.measured_reason is None
    assert (added.measured, added.measured_reason) == (False, "the request has a system message")
    assert added.usage.prompt_tokens == plain.usage.prompt_tokens + 3
    with serving(serve_as("luma", LUMA), settings=ServerSettings(strict=True)) as url:
        strict = openai.OpenAI(base_url=f"{url}/v1", api_key="none")
        with pytest.raises(openai.BadRequestError, match="--strict"):
            strict.chat.completions.create(model="luma", messages=asked)
        assert strict.chat.completions.create(model="luma", messages=ASKED).measured is True
        # Clients written for OpenAI send the system message of the training rows with every
        # request.
        trained = [{"role": "system", "content": LUMA.instructions}, *ASKED]
        again = strict.chat.completions.create(model="luma", messages=trained)
        assert (again.measured, again.usage.prompt_tokens) == (True, plain.usage.prompt_tokens)


TOOLS = [{"type": "function", "function": {"name": "find", "parameters": {"type": "object"}}}]
CALL = format_tool_turn(
    {"tool_calls": [{"function": {"name": "find", "arguments": {"theme": "trains"}}}]}, None
)
FINDER = Assistant(
    "few_shot",
    "answer",
    ModelRef("fake"),
    format_tools(TOOLS),
    shots=(
        Example("a", (Message("user", "A book about trains"),), CALL),
        Example(
            "b", (Message("user", "<tool_response>\nshelf 4\n</tool_response>"),), "On shelf 4."
        ),
    ),
)


def test_a_client_offers_functions_gets_calls_and_gives_back_what_they_gave() -> None:
    asked: list[Any] = [{"role": "user", "content": "A book about trains"}]
    with open_client(serve_as("finder", FINDER)) as client:
        ask = partial(client.chat.completions.create, model="finder", tools=TOOLS)
        done = ask(messages=asked)
        (call,) = done.choices[0].message.tool_calls
        assert (call.function.name, json.loads(call.function.arguments)) == (
            "find",
            {"theme": "trains"},
        )
        assert (done.choices[0].finish_reason, done.choices[0].message.content) == (
            "tool_calls",
            None,
        )
        assert done.measured is True
        with client.chat.completions.stream(model="finder", messages=asked, tools=TOOLS) as stream:
            (same,) = stream.get_final_completion().choices[0].message.tool_calls
        assert same.function.arguments == call.function.arguments
        given = {"role": "tool", "tool_call_id": call.id, "content": "shelf 4"}
        turns = [*asked, done.choices[0].message.model_dump(exclude_none=True), given]
        last = ask(messages=turns).choices[0]
        assert (last.message.content, last.finish_reason) == ("On shelf 4.", "stop")
        assert last.message.tool_calls is None
        plain = client.chat.completions.create(model="finder", messages=asked)
        assert (plain.choices[0].message.content, plain.choices[0].finish_reason) == (CALL, "stop")
        other = [
            {"type": "function", "function": {"name": "other", "parameters": {"type": "object"}}}
        ]
        assert ask(messages=asked, tools=other).measured is False
        with pytest.raises(openai.BadRequestError, match="tools cannot be read"):
            ask(messages=asked, tools=[{"type": "function", "function": {}}])


@pytest.mark.parametrize("goes_on", [False, True])
@pytest.mark.parametrize("row_systems", [False, True])
def test_limits_and_searches_see_only_the_words_of_the_user(
    goes_on: bool, row_systems: bool, tmp_path: Path
) -> None:
    """Functions on offer, and the results of calls, change neither what is turned away nor what is
    found.
    """
    texts = {
        "boots": "The boots of a bear are on the top shelf.",
        "trains": "All trains leave from the cellar.",
    }
    model = QuestionModel.fit(
        count_features([*texts.values(), "How is a bomb made?"]),
        [OWN, OWN, "out_of_scope"],
        [1.0] * 3,
    )
    search = Search([Passage(text, name) for name, text in texts.items()])
    search.save(tmp_path / "search")
    reference = SearchRef(tmp_path / "search", search.fingerprint)
    assistant = replace(
        LUMA,
        shots=(),
        search=reference,
        pool=tuple(Example(name, (Message("user", text),), name) for name, text in texts.items()),
        similar=reference,
        num_similar=1,
        scope=Scope((Limit("out_of_scope", "No."),), 0.0, model.to_text()),
        row_systems=row_systems,
    )
    offered = [{"type": "function", "function": {"name": "trains", "description": texts["trains"]}}]
    results: list[Any] = [
        {
            "role": "assistant",
            "tool_calls": [{"id": "1", "function": {"name": "trains", "arguments": "{}"}}],
        },
        {"role": "tool", "tool_call_id": "1", "content": texts["trains"]},
    ]
    with open_client(serve_as("luma", assistant)) as client:
        for question, expected in (
            ("Where are the boots?", ("boots", ["boots"], None)),
            ("When do trains leave?", ("trains", ["trains"], None)),
            ("Tell me how a bomb is made.", ("No.", [], "out_of_scope")),
        ):
            turns: list[Any] = [
                {"role": "user", "content": question},
                *(results if goes_on else []),
            ]
            done = client.chat.completions.create(model="luma", messages=turns, tools=offered)
            message: Any = done.choices[0].message
            assert (message.content, message.citations, getattr(message, "limit", None)) == expected


@pytest.mark.real
def test_danger_is_handed_over_logged_and_counted(caplog: pytest.LogCaptureFixture) -> None:
    assistant = replace(LUMA, clause_limits=(Limit("danger", "Call somebody."),))
    asked = {"role": "user", "content": "I want to kill myself. Is there a book about that?"}
    with serving(serve_as("luma", assistant)) as url, caplog.at_level("WARNING", "etude.serve"):
        body = {"model": "luma", "messages": [asked]}
        done = httpx2.post(f"{url}/v1/chat/completions", json=body, timeout=60).json()
        metrics = httpx2.get(f"{url}/metrics").text
    message = done["choices"][0]["message"]
    assert (message["content"], message["handover"], message["limit"]) == (
        "Call somebody.",
        True,
        "danger",
    )
    assert 'etude_limited_total{limit="danger",model="luma"} 1.0' in metrics
    assert done["id"] in caplog.text
    assert "kill" not in caplog.text


@pytest.mark.parametrize(
    ("wrong", "param"),
    [
        ({"temperature": 3}, "temperature"),
        ({"temperature": "hot"}, "temperature"),
        ({"n": 0}, "n"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"stop": ["a", "b", "c", "d", "e"]}, "stop"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "narrator", "content": "x"}]}, "messages.0.role"),
        ({"messages": [{"role": "user"}]}, "messages.0"),
        ({"messages": [{"role": "assistant", "tool_calls": [{}]}, *ASKED]}, "messages"),
        ({"tool_choice": "required"}, "tool_choice"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url"}]}]},
            "messages.0.content.0.type",
        ),
        ({"messages": [*ASKED, {"role": "assistant", "content": "x"}]}, "messages"),
        ({"response_format": {"type": "json_object"}}, "response_format"),
        ({"response_format": {"type": "xml"}}, "response_format.type"),
        ({"response_format": {"type": "json_schema"}}, "response_format.json_schema"),
        ({"top_logprobs": 2}, "top_logprobs"),
    ],
)
def test_a_wrong_value_is_refused_by_name(
    client: openai.OpenAI, wrong: dict[str, object], param: str
) -> None:
    with pytest.raises(openai.BadRequestError) as error:
        client.chat.completions.create(**{"model": "luma", "messages": ASKED, "extra_body": wrong})
    assert error.value.param == param
    assert error.value.type == "invalid_request_error"


def test_other_errors_have_the_statuses_of_the_api(client: openai.OpenAI, address: str) -> None:
    with pytest.raises(openai.NotFoundError) as error:
        client.chat.completions.create(model="lumo", messages=ASKED)
    assert error.value.code == "model_not_found"
    with pytest.raises(openai.BadRequestError) as long:
        client.chat.completions.create(
            model="luma", messages=[{"role": "user", "content": "word " * 5000}]
        )
    assert long.value.code == "context_length_exceeded"
    response = client._client.post(
        f"{address}/v1/chat/completions", content=b"{", headers={"content-type": "application/json"}
    )
    assert response.json()["error"]["code"] == "invalid_json"


def test_health_ready_and_figures(client: openai.OpenAI, address: str) -> None:
    http = client._client
    client.chat.completions.create(model="luma", messages=ASKED)
    assert http.get(f"{address}/health").json() == {"status": "ok"}
    assert http.get(f"{address}/ready").status_code == 200
    text = http.get(f"{address}/metrics").text
    assert 'etude_requests_total{path="/v1/chat/completions",status="200"}' in text
    assert 'etude_tokens_total{kind="answer",model="luma"}' in text


def test_another_host_is_refused_on_the_loopback(client: openai.OpenAI, address: str) -> None:
    response = client._client.get(f"{address}/health", headers={"host": "evil.example"})
    assert response.status_code == 403


def test_pages_of_other_origins_are_refused_on_the_loopback(
    client: openai.OpenAI, address: str
) -> None:
    http = client._client
    path = "/v1/chat/completions"
    body = {"model": "luma", "messages": ASKED}
    for origin, status in (("https://evil.example", 403), ("null", 403), (address, 200)):
        assert (
            http.post(f"{address}{path}", json=body, headers={"origin": origin}).status_code
            == status
        )
    page = "https://app.example"
    with serving(serve_as("luma", LUMA), settings=ServerSettings(origins=(page,))) as url:
        assert http.post(f"{url}{path}", json=body, headers={"origin": page}).status_code == 200
        assert (
            "--origin null" in http.post(f"{url}{path}", json=body, headers={"origin": "null"}).text
        )


def test_an_answer_longer_than_was_measured_is_not_as_measured() -> None:
    with open_client(
        serve_as("luma", LUMA), serve_as("short", replace(LUMA, max_tokens=4))
    ) as client:
        for name, measured in (("luma", True), ("short", False)):
            create = partial(
                client.chat.completions.create, model=name, messages=ASKED, max_tokens=999
            )
            done = create()
            assert (done.measured, done.measured_reason is None) == (measured, measured)
            assert list(create(stream=True))[-1].measured is measured
            header = client.chat.completions.with_raw_response.create(**create.keywords).headers
            assert header["x-etude-measured"] == str(measured).lower()
        assert client.chat.completions.create(model="short", messages=ASKED).measured is True
        assert done.measured_reason == "the request raises the assistant's limit of 4 answer tokens"


def test_keys_allow_what_their_scopes_say() -> None:
    import hashlib

    keys = tuple(
        ApiKey(name, hashlib.sha256(name.encode()).hexdigest(), (name,))
        for name in ("chat", "feedback", "admin")
    )
    with serving(serve_as("luma", LUMA), settings=ServerSettings(keys=keys, is_local=False)) as url:
        for key, error in (
            ("wrong", openai.AuthenticationError),
            ("feedback", openai.PermissionDeniedError),
        ):
            with pytest.raises(error):
                openai.OpenAI(base_url=f"{url}/v1", api_key=key).models.list()
        client = openai.OpenAI(base_url=f"{url}/v1", api_key="chat")
        assert client.models.list().data
        assert (
            client._client.get(
                f"{url}/metrics", headers={"authorization": "Bearer admin"}
            ).status_code
            == 200
        )
        assert client._client.get(f"{url}/metrics").status_code == 401
        assert client._client.get(f"{url}/health").status_code == 200


def test_a_full_queue_refuses_and_all_accepted_are_answered() -> None:
    slow = replace(LUMA, model=ModelRef("fake:delay=0.02"))
    narrow = ServerSettings(limits=ServingLimits(waiting=4, at_once=1))

    async def ask(url: str) -> list[object]:
        async with openai.AsyncOpenAI(
            base_url=f"{url}/v1", api_key="none", max_retries=0
        ) as client:
            asked = (
                client.chat.completions.create(model="luma", messages=ASKED) for _ in range(40)
            )
            return await asyncio.gather(*asked, return_exceptions=True)

    with serving(serve_as("luma", slow), settings=narrow) as url:
        found = asyncio.run(ask(url))
    refused = [each for each in found if isinstance(each, openai.RateLimitError)]
    answered = [each for each in found if not isinstance(each, Exception)]
    assert len(refused) + len(answered) == 40
    assert len(answered) >= 4
    assert int(refused[0].response.headers["retry-after"]) >= 1


@pytest.mark.real
def test_the_lines_of_the_docs_talk_to_a_server_that_a_user_has_started(tmp_path: Path) -> None:
    folder = tmp_path / "luma"
    LUMA.save(folder)
    line = [sys.executable, "-m", "etude", "serve", str(folder), "--port", "0"]
    with subprocess.Popen(
        line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as server:
        try:
            url = server.stdout.readline().rpartition(" ")[2].strip().removesuffix("/v1")
            assert server.stdout.readline() == (
                "luma is luma/few_shot. Its answers are not as measured: no run has measured this "
                "assistant.\n"
            )
            pages = (Path(__file__).parents[2] / name for name in ("README.md", "docs/serving.md"))
            lines = [
                each
                for page in pages
                for each in re.findall(r"^curl .*$", page.read_text("utf-8"), re.M)
            ]
            for each in lines if shutil.which("curl") else ():
                words = shlex.split(each.replace("http://127.0.0.1:8000", url), comments=True)
                found = subprocess.run(
                    [*words, "-sS", "--fail"], capture_output=True, text=True, check=True
                )
                assert "luma" in found.stdout
            assert len(lines) == 4
            with openai.OpenAI(base_url=f"{url}/v1", api_key="none") as client:
                assert (
                    client.chat.completions.create(model="luma", messages=ASKED)
                    .choices[0]
                    .message.content
                )
        finally:
            server.terminate()
        logged = [json.loads(each) for each in server.stderr.read().splitlines()]
    assert server.returncode in (0, -signal.SIGTERM)
    assert logged[-1]["path"] == "/v1/chat/completions"
    assert "trains" not in json.dumps(logged)


@pytest.mark.real
def test_sigterm_answers_what_is_running(tmp_path: Path) -> None:
    replace(LUMA, model=ModelRef("fake:delay=0.6")).save(tmp_path / "luma")
    line = [sys.executable, "-m", "etude", "serve", str(tmp_path / "luma"), "--port", "0"]
    with subprocess.Popen(
        line, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as server:
        url = server.stdout.readline().rpartition(" ")[2].strip()
        with (
            openai.OpenAI(base_url=url, api_key="none", max_retries=0) as client,
            ThreadPoolExecutor() as pool,
        ):
            client.models.list()
            asked = pool.submit(client.chat.completions.create, model="luma", messages=ASKED)
            time.sleep(0.3)
            server.terminate()
            assert (
                asked.result(timeout=10).choices[0].message.content
                == "Title: All about trains\nAges: 7"
            )
    assert server.returncode in (0, -signal.SIGTERM)


def test_a_client_that_goes_away_ends_its_answer(tmp_path: Path) -> None:
    folder = save_tiny_model(tmp_path / "m", max_position_embeddings=65_536)
    long = Assistant("prompt", "answer", ModelRef(str(folder)), max_tokens=60_000)
    settings = ServerSettings(ServingLimits(answer_tokens=60_000))
    with (
        serving(serve_as("long", long), settings=settings, models=Models(dtype="float32")) as url,
        openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0, timeout=60) as client,
    ):
        # The schema keeps the answer from ending by itself: 60,000 tokens take over a minute on any
        # machine.
        schema = {"name": "long", "schema": {"type": "string", "minLength": 199_999}}
        response_format = {"type": "json_schema", "json_schema": schema}
        create = partial(
            client.chat.completions.create,
            model="long",
            messages=ASKED,
            response_format=response_format,
        )
        stream = create(stream=True)
        next(iter(stream))
        assert count_live(client, url) == 1
        stream.close()
        assert comes_true(lambda: count_live(client, url) == 0)
        with pytest.raises(openai.APITimeoutError):
            create(timeout=0.3)
        assert comes_true(lambda: count_live(client, url) == 0)


def count_live(client: openai.OpenAI, url: str) -> int:
    found = re.search(r"^etude_live (\d+)", client._client.get(f"{url}/metrics").text, re.M)
    return int(found[1])


def comes_true(is_true: Callable[[], bool]) -> bool:
    """Whether it comes true within 30 s; a loaded machine is slow to notice that a client has
    gone.
    """
    return any(is_true() or time.sleep(0.02) for _ in range(1_500))


def test_places_get_names_and_an_engine(tmp_path: Path) -> None:
    local = replace(LUMA, model=ModelRef("smollm2-135m-instruct"))
    for name, assistant in (("luma", LUMA), ("other", local)):
        assistant.save(tmp_path / name)
    found = load_catalogue(
        [str(tmp_path / "luma"), f"second={tmp_path / 'other'}"], engine="llama_cpp"
    )
    assert {name: each.assistant.model.name for name, each in found.items()} == {
        "luma": "fake",
        "second": "llama_cpp:smollm2-135m-instruct",
    }
    with pytest.raises(InputError, match="another assistant already has the name 'luma'"):
        load_catalogue([str(tmp_path / "luma"), f"luma={tmp_path / 'other'}"])


def test_auto_is_the_engine_that_was_measured_and_another_can_be_asked_for() -> None:
    local = replace(LUMA, model=ModelRef("smollm2-135m-instruct"))
    fast = replace(LUMA, model=ModelRef("llama_cpp:smollm2-135m-instruct"))
    assert (with_engine("auto", local), with_engine("auto", fast)) == (local, fast)
    assert (with_engine("llama_cpp", local), with_engine("local", fast)) == (fast, local)
    assert with_engine("llama_cpp", LUMA) == LUMA, "a fake model has no weights"


def test_a_key_is_printed_once_and_kept_as_a_hash(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "keys.jsonl"
    make = ["serve", "--keys", str(file), "--new-key", "docs", "--scope", "chat"]
    assert main(make) == 0
    token = capsys.readouterr().out.strip()
    assert token not in file.read_text()
    assert file.stat().st_mode & 0o077 == 0
    key = find_key(read_keys(file), token)
    assert (key.name, key.scopes) == ("docs", ("chat",))
    assert find_key(read_keys(file), token + "x") is None
    assert main(make) == 2
    assert main(["serve", str(tmp_path), "--host", "0.0.0.0"]) == 2
    assert "needs API keys" in capsys.readouterr().err


def test_feedback_is_kept_once_with_its_question(tmp_path: Path) -> None:
    file = tmp_path / "feedback.jsonl"
    with open_client(serve_as("luma", LUMA, file)) as client:
        done = client.chat.completions.create(model="luma", messages=ASKED)
        streamed = list(client.chat.completions.create(model="luma", messages=ASKED, stream=True))
        said = {
            "id": done.id,
            "correction": "Title: Trains\nAges: 9",
            "reason": "another age",
            "user": "ana",
        }
        assert send_feedback(client, said) == (200, True)
        assert send_feedback(client, said) == (200, False)
        assert send_feedback(client, {"id": streamed[0].id, "thumb": "up"}) == (200, True)
        assert send_feedback(client, {"id": done.id})[0] == 400
        assert send_feedback(client, {"id": done.id, "thumb": "sideways"})[0] == 400
        assert send_feedback(client, {"id": "chatcmpl-nothing", "thumb": "up"})[0] == 404
    first, second = FeedbackLog(file).entries
    assert (first.text, first.reviewer) == (ASKED[0]["content"], "ana")
    assert first.correction == "Title: Trains\nAges: 9"
    assert first.answer == second.answer == "Title: All about trains\nAges: 7"
    assert (second.thumb, second.reviewer) == ("up", "anonymous")


def test_feedback_keeps_the_system_message_and_functions_of_the_request(tmp_path: Path) -> None:
    file = tmp_path / "feedback.jsonl"
    assistant = Assistant("prompt", "answer", ModelRef("fake"), "Be kind.", row_systems=True)
    with open_client(serve_as("luma", assistant, file)) as client:
        for system, tools in (
            ("Be brief.", []),
            ("Be brief.", TOOLS),
            ("Be kind.", TOOLS),
            ("Be kind.", []),
        ):
            messages = [{"role": "system", "content": system}, {"role": "user", "content": "Hi"}]
            done = client.chat.completions.create(
                model="luma", messages=messages, tools=tools or openai.omit
            )
            assert send_feedback(client, {"id": done.id, "thumb": "up"}) == (200, True)
            expected = append_tools("" if system == "Be kind." else system, format_tools(tools))
            own = (Message("system", expected),) if expected else ()
            assert FeedbackLog(file).entries[-1].input == (*own, Message("user", "Hi"))


def send_feedback(client: openai.OpenAI, body: dict[str, str]) -> tuple[int, bool | None]:
    response = client._client.post(f"{client.base_url}feedback", json=body)
    return response.status_code, response.json().get("new")


@pytest.mark.real
def test_acknowledged_answers_and_feedback_outlive_kills(tmp_path: Path) -> None:
    """SIGKILL at random moments, while feedback and streams are under way, and soon after a
    promotion.
    """
    task, runs = copy_two_runs(tmp_path / "place")
    line = [sys.executable, "-m", "etude", "serve", str(task), "--port", "0"]
    line += ["--record", str(tmp_path / "record")]
    acknowledged = set()
    answered = dict[str, str]()
    for number in range(20):
        before = find_served(task)[0]
        with subprocess.Popen(
            line, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        ) as server:
            url = server.stdout.readline().rpartition(" ")[2].strip().removesuffix("/v1")
            assert (
                before.name in server.stdout.readline() + server.stdout.readline()
            )  # after the record
            threading.Timer(random.uniform(0, 0.1), promote, (task, runs[number % 2])).start()
            threading.Timer(random.uniform(0.3, 1.0), server.kill).start()
            with (
                openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as client,
                suppress(openai.APIError, httpx2.HTTPError),
            ):
                for turn in range(10_000):
                    streamed = list(
                        client.chat.completions.create(model="small", messages=ASKED, stream=True)
                    )
                    answered[streamed[0].id] = streamed[0].system_fingerprint
                    reason = f"{number}/{turn}"
                    said = {"id": streamed[0].id, "thumb": "down", "reason": reason}
                    if send_feedback(client, said)[0] == 200:
                        acknowledged.add(reason)
    kept = [entry.reason for entry in FeedbackLog(tmp_path / "place" / "feedback.jsonl").entries]
    assert len(acknowledged) > 3
    assert acknowledged <= set(kept)
    assert len(kept) == len(set(kept))
    recorded = [
        name.groups()
        for file in (tmp_path / "record").glob(FILES)
        for name in re.finditer(
            r'^{"id": "(.*?)".*"fingerprint": "(.*?)".*}$', file.read_text(), re.MULTILINE
        )
    ]
    assert answered.items() <= set(recorded)
    assert len(recorded) == len({name for name, _ in recorded})
    assert len({*answered.values()}) == 2


def copy_two_runs(folder: Path) -> tuple[Path, list[Run]]:
    """A task with two complete runs; the assistant of the one always answers A, that of the other
    B.
    """
    task = copy_task(folder)
    first = find_run_at(task)
    runs = [first, Run(first.folder.with_name("small-second"))]
    shutil.copytree(first.folder, runs[1].folder)
    method = choose_method(first)[0]
    for run, answer in zip(runs, "AB", strict=True):
        shot = replace(SHOTS[1], output=answer)
        assistant = Assistant(method, "answer", ModelRef("fake:delay=0.002"), shots=(shot,))
        assistant.save(run.assistant_folder(method))
    return task, runs


def test_a_promoted_run_is_taken_up_without_a_request_lost(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    task, runs = copy_two_runs(tmp_path / "place")
    promote(task, runs[0])
    (served,) = load_catalogue([str(task)]).values()
    traffic = TrafficRecord(tmp_path / "record")
    is_over = threading.Event()
    names = {
        load(run.assistant_folder(served.assistant.method)).fingerprint: "AB"[at]
        for at, run in enumerate(runs)
    }

    def ask_once(client: httpx2.Client) -> tuple[str, str, str]:
        body = (
            client.post("chat/completions", json={"model": "small", "messages": ASKED})
            .raise_for_status()
            .json()
        )
        return body["id"], body["system_fingerprint"], body["choices"][0]["message"]["content"]

    def ask(url: str) -> list[tuple[str, str, str]]:
        with httpx2.Client(base_url=f"{url}/v1", timeout=60) as client:
            return [ask_once(client) for _ in iter(is_over.is_set, True)]

    with (
        serving(served, settings=ServerSettings(record=traffic)) as url,
        ThreadPoolExecutor(32) as pool,
    ):
        clients = [pool.submit(ask, url) for _ in range(32)]
        with httpx2.Client(base_url=f"{url}/v1", timeout=60) as client:
            for run, answer in ((runs[1], "B"), (None, "A")):
                promote(task, run)
                assert comes_true(lambda answer=answer: ask_once(client)[2] == answer)
                assert {ask_once(client)[2] for _ in range(5)} == {answer}
            # what cannot be loaded is not served, and the log says so once
            (runs[1].folder / "verdict.json").unlink()
            write_lines(get_promotions_file(task), [{"run": runs[1].name}])
            assert comes_true(lambda: f"small stays {runs[0].name}" in caplog.text)
            time.sleep(0.1)
            assert ask_once(client)[2] == "A"
            is_over.set()
        answers = [answer for future in clients for answer in future.result()]
    assert caplog.text.count("is not a complete run") == 1
    assert {text for _, _, text in answers} == {"A", "B"}
    assert all(names[fingerprint] == text for _, fingerprint, text in answers)
    lines = [
        json.loads(line)
        for file in traffic.folder.glob(FILES)
        for line in file.read_text().splitlines()
    ]
    recorded = {line["id"]: line["fingerprint"] for line in lines}
    assert recorded.items() >= {name: fingerprint for name, fingerprint, _ in answers}.items()


def test_limits_are_set_by_name() -> None:
    assert parse_limits(["waiting=200", "seconds=2.5"]) == ServingLimits(waiting=200, seconds=2.5)
    for wrong in ("wating=3", "waiting=many", "waiting=0"):
        with pytest.raises(InputError, match="--limit"):
            parse_limits([wrong])


def test_weights_that_cannot_be_loaded_are_said_with_every_question() -> None:
    absent = replace(LUMA, model=ModelRef("fake:delay=none"))
    with open_client(serve_as("luma", LUMA), serve_as("absent", absent)) as client:
        for _ in range(2):
            with pytest.raises(openai.BadRequestError, match="is not a number"):
                client.chat.completions.create(model="absent", messages=ASKED)
            assert (
                client.chat.completions.create(model="luma", messages=ASKED)
                .choices[0]
                .message.content
            )
        ready = client._client.get(f"{get_address(client)}/ready")
        assert ready.status_code == 503
        assert "is not a number" in ready.json()["error"]["message"]


@pytest.mark.real
def test_served_equals_measured_with_its_passages(tmp_path: Path) -> None:
    task = write_task(tmp_path / "task", more=f"{library(tmp_path / 'task')}methods: [retrieval]\n")
    run = compare(task).run
    (served,) = load_catalogue([str(task)], "retrieval").values()
    lines = [line for line in run.read_predictions("retrieval") if line["side"] == "test"][:12]
    with open_client(served) as client:
        for line in lines:
            (choice,) = client.chat.completions.create(
                model="small", messages=[{"role": "user", "content": line["input"]}]
            ).choices
            found = (
                choice.message.content,
                choice.message.citations,
                choice.message.keeps_contract,
            )
            assert found == (line["answer"], line["citations"], line["keeps_contract"])
    assert any(line["citations"] for line in lines)


def test_a_complete_run_is_served_and_answers_of_another_are_not_as_measured(
    tmp_path: Path,
) -> None:
    task = write_task(tmp_path, more="methods: [prompt]\n")
    run = compare(task).run
    later = Run(run.folder.with_name("small-later"))
    shutil.copytree(run.folder, later.folder)
    (later.folder / "verdict.json").unlink()
    later.update(status="interrupted")
    assert find_run_at(task).name == later.name, "the one worked on last"
    (served,) = load_catalogue([str(task)]).values()
    assert (served.folder, served.unmeasured_reason) == (run.folder, "")
    assert load_saved("job", run.assistant_folder("prompt")).unmeasured_reason == ""
    assert served.reason == "The verdict recommends no method, but leans to this one."
    for place in (later.folder, later.assistant_folder("prompt")):
        (unfinished,) = load_catalogue([f"luma={place}"]).values()
        assert (
            unfinished.unmeasured_reason
            == "run small-later has not been measured on its test rows yet"
        )
    (unfinished,) = load_catalogue([f"luma={later.folder}"]).values()
    assert unfinished.reason.startswith("The run has no verdict yet; of its 1 fitted methods")
    with open_client(unfinished) as client:
        done = client.chat.completions.create(model="luma", messages=ASKED)
        assert (done.measured, done.measured_reason) == (False, unfinished.unmeasured_reason)


def test_an_endpoint_computes_what_is_served(address: str) -> None:
    asking = Assistant("prompt", "answer", ModelRef(f"{address}/v1#luma"), contract=LUMA.contract)
    sorting = replace(
        asking,
        kind="classify",
        model=ModelRef(f"{address}/v1#sorter"),
        choices=("dragons", "trains"),
        contract=None,
    )

    async def ask(url: str) -> list[str]:
        async with openai.AsyncOpenAI(
            base_url=f"{url}/v1", api_key="none", max_retries=0
        ) as client:
            asked = (
                client.chat.completions.create(model="far", messages=ASKED, stop=["7"])
                for _ in range(12)
            )
            return [done.choices[0].message.content for done in await asyncio.gather(*asked)]

    with open_client(serve_as("far", asking), serve_as("sorting", sorting)) as client:
        done = client.chat.completions.create(model="far", messages=ASKED)
        assert done.choices[0].message.content == "Title: All about trains\nAges: 7"
        assert (done.choices[0].message.keeps_contract, done.choices[0].finish_reason) == (
            True,
            "stop",
        )
        assert done.usage.prompt_tokens == LUMA.answer("Please, a book about trains").prompt_tokens
        streamed = client.chat.completions.create(model="far", messages=ASKED, stream=True)
        pieces = [each.choices[0].delta.content or "" for each in streamed]
        assert "".join(pieces) == done.choices[0].message.content
        sorted_as = client.chat.completions.create(model="sorting", messages=ASKED)
        assert sorted_as.choices[0].message.content == "trains"
        texts = asyncio.run(ask(get_address(client)))
        assert set(texts) == {
            done.choices[0].message.content
        }  # the fake one knows no stop sequence
    found = with_engine(
        f"{address}/v1#luma", replace(LUMA, model=ModelRef("smollm2-135m-instruct"))
    )
    assert found.model == ModelRef(f"{address}/v1#luma")
    assert with_engine(f"{address}/v1#luma", LUMA) == LUMA


@pytest.mark.real
def test_served_equals_measured_in_real_weights() -> None:
    luma = Path(__file__).parents[2] / "examples" / "luma"
    rows = [
        json.loads(each)
        for each in (luma / "examples.jsonl").read_text(encoding="utf-8").splitlines()
    ]
    shots = tuple(
        Example(str(at), (Message("user", row["input"]),), row["output"])
        for at, row in enumerate(rows[:2])
    )
    assistant = replace(LUMA, model=ModelRef("smollm2-135m-instruct"), shots=shots, max_tokens=40)
    # in 16 bits a near tie falls otherwise beside other rows: 9 of 12 answers were equal
    asked = [row["input"] for row in rows[2:14]]
    models = Models(dtype="float32")
    own = assistant.answer(asked, models)

    async def ask(url: str) -> list[str]:
        async with openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="none", timeout=600) as client:
            create = partial(client.chat.completions.create, model="luma")
            done = await asyncio.gather(
                *(create(messages=[{"role": "user", "content": text}]) for text in asked)
            )
            return [each.choices[0].message.content for each in done]

    with serving(serve_as("luma", assistant), models=models) as url:
        found = asyncio.run(ask(url))
    assert found == [answer.text for answer in own]

"""Evals driven by the official client, with the fake model."""

import json
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event, Semaphore
from typing import Any
from urllib.parse import urlsplit

import openai
import pytest
from hosting import extend
from hypothesis import given
from hypothesis import strategies as st

from endpoint_server import ScriptedServer, serve_script
from etude.assistant import Assistant
from etude.errors import RunError
from etude.types import ModelRef
from etude_openai.graders.grade import Grade, Tools, grade
from etude_openai.hosted.evals import EvalRun, EvalStore
from etude_openai.hosted.file_store import FileStore
from etude_openai.hosted.stores import GRADER_THREADS, HostedStores, build_tools
from serving import open_client, serve_as, serving

SECONDS = 30
FAKE = Assistant("prompt", "answer", ModelRef("fake"))
SCHEMA = {
    "type": "object",
    "properties": {"question": {"type": "string"}},
    "required": ["question"],
}
WANTED = {"input": "{{sample.output_text}}", "reference": "{{item.answer}}"}
EXACT = {"type": "string_check", "name": "exact", **WANTED, "operation": "eq"}
SIMILAR = {"evaluation_metric": "rouge_1", "pass_threshold": 0.5}
LIKE = {"type": "text_similarity", "name": "alike", **WANTED, **SIMILAR}
LABEL = {
    "type": "label_model",
    "name": "judged",
    "model": "judge",
    "input": [{"role": "user", "content": "{{item.question}}"}],
    "labels": ["good", "bad"],
    "passing_labels": ["good"],
}


@pytest.fixture
def client(tmp_path: Path) -> Iterator[openai.OpenAI]:
    tools = Tools(ask=lambda *_: '{"label": "good"}', models=frozenset({"judge"}))
    stores = HostedStores(tmp_path / "data", {}, tools=tools)
    with open_client(serve_as("luma", FAKE), extensions=extend(stores)) as client:
        yield client


def create_eval(client: openai.OpenAI, *criteria: dict[str, Any], with_sample: bool = True) -> Any:
    source: Any = {"type": "custom", "item_schema": SCHEMA, "include_sample_schema": with_sample}
    return client.evals.create(
        name="books", data_source_config=source, testing_criteria=list(criteria)
    )


def list_items(rights: list[bool]) -> list[dict[str, Any]]:
    items = [{"question": f"q{n}", "answer": "the red book"} for n in range(len(rights))]
    samples = [{"output_text": "the red book" if is_right else "a red hat"} for is_right in rights]
    return [{"item": item, "sample": sample} for item, sample in zip(items, samples, strict=True)]


def run(client: openai.OpenAI, eval_id: str, source: Any) -> Any:
    started = client.evals.runs.create(eval_id, data_source=source)
    deadline = time.monotonic() + SECONDS
    states = ("queued", "in_progress")
    while (done := client.evals.runs.retrieve(started.id, eval_id=eval_id)).status in states:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return done


def inline(items: list[dict[str, Any]]) -> dict[str, Any]:
    return {"type": "jsonl", "source": {"type": "file_content", "content": items}}


def test_stored_samples_are_graded_by_every_criterion(client: openai.OpenAI) -> None:
    evaluation = create_eval(client, EXACT, LIKE, LABEL)
    ids = [criterion.id for criterion in evaluation.testing_criteria]
    assert [each.rpartition("-")[0] for each in ids] != ids
    done = run(client, evaluation.id, inline(list_items([True] * 6 + [False] * 4)))
    assert (done.status, done.result_counts.total, done.result_counts.passed) == (
        "completed",
        10,
        6,
    )
    shares = {
        each.testing_criteria: (each.passed, each.failed)
        for each in done.per_testing_criteria_results
    }
    assert shares == {ids[0]: (6, 4), ids[1]: (6, 4), ids[2]: (10, 0)}
    rate = done.etude["pass_rate"]
    assert rate["low"] < rate["value"] == 0.6 < rate["high"]
    items = list(client.evals.runs.output_items.list(done.id, eval_id=evaluation.id, limit=3))
    assert [item.datasource_item_id for item in items] == list(range(10))
    failed = list(
        client.evals.runs.output_items.list(done.id, eval_id=evaluation.id, status="fail")
    )
    assert [item.datasource_item_id for item in failed] == [6, 7, 8, 9]
    assert {result.name for result in failed[0].results} == set(ids)


def test_two_runs_on_the_same_items_get_a_paired_interval(client: openai.OpenAI) -> None:
    evaluation = create_eval(client, EXACT)
    first = run(client, evaluation.id, inline(list_items([False] * 10 + [True] * 30)))
    second = run(client, evaluation.id, inline(list_items([True] * 40)))
    compared = second.etude["compared_with"]
    assert compared["run_id"] == first.id
    assert compared["difference"]["value"] == pytest.approx(0.25)
    assert 0 < compared["difference"]["low"] < 0.25 < compared["difference"]["high"]
    other = run(client, evaluation.id, inline(list_items([True] * 39)))
    assert "compared_with" not in other.etude


def test_a_served_model_is_asked_with_the_template(client: openai.OpenAI) -> None:
    check = {**EXACT, "reference": "{{item.question}}", "operation": "like"}
    evaluation = create_eval(client, check, with_sample=False)
    template = [{"role": "user", "content": "Say: {{item.question}}"}]
    source = {
        "type": "completions",
        "model": "luma",
        "input_messages": {"type": "template", "template": template},
        "source": {
            "type": "file_content",
            "content": [{"item": {"question": f"word{n}"}} for n in range(5)],
        },
    }
    done = run(client, evaluation.id, source)
    items = list(client.evals.runs.output_items.list(done.id, eval_id=evaluation.id))
    alone = client.chat.completions.create(
        model="luma", messages=[{"role": "user", "content": "Say: word2"}]
    )
    assert items[2].sample.output[0].content == alone.choices[0].message.content
    assert done.per_model_usage[0].invocation_count == 5
    missing = run(client, evaluation.id, {**source, "model": "gpt-9"})
    assert (missing.status, missing.result_counts.errored) == ("completed", 5)
    ungraded = create_eval(client, {**EXACT, "reference": "{{item.nothing}}"})
    counts = run(client, ungraded.id, inline(list_items([True] * 4))).result_counts
    assert (counts.errored, counts.failed, counts.passed) == (4, 0, 0)


def test_a_whole_chat_completion_is_a_sample(client: openai.OpenAI) -> None:
    """As OpenAI's notebooks send it: `{"item": ..., "sample": completion.model_dump()}`."""
    messages: Any = [{"role": "user", "content": "the bear"}]
    completion = client.chat.completions.create(model="luma", messages=messages)
    text = completion.choices[0].message.content
    calls: Any = [
        {"id": "c", "type": "function", "function": {"name": "f", "arguments": '{"x": [1]}'}}
    ]
    call = completion.model_dump()
    call["choices"][0]["message"] |= {"content": '{"a": {"b": 7}}', "tool_calls": calls}
    argument = "{{sample.output_tools[0].function.arguments.x}}"
    checks = [
        {**EXACT, "name": "text", "reference": "{{item.answer}}"},
        {**EXACT, "name": "json", "input": "{{sample.output_json.a.b}}", "reference": "7"},
        {**EXACT, "name": "x", "input": argument, "reference": "[1]"},
    ]
    evaluation = create_eval(client, *checks)
    item = {"question": "q", "answer": text}
    items = [{"item": item, "sample": sample} for sample in (completion.model_dump(), call)]
    done = run(client, evaluation.id, inline(items))
    shares = [
        (each.passed, each.failed, each.errored) for each in done.per_testing_criteria_results
    ]  # type: ignore[attr-defined]
    assert shares == [
        (1, 1, 0),
        (1, 0, 1),
        (1, 0, 1),
    ]  # the first sample is no JSON and has no calls
    assert done.per_model_usage[0].total_tokens == 2 * completion.usage.total_tokens
    output = (
        client.evals.runs.output_items.list(done.id, eval_id=evaluation.id).data[0].sample.output
    )
    assert output[0].content == text


@pytest.mark.parametrize(
    ("messages", "items", "settings"),
    [
        (
            {"type": "item_reference", "item_reference": "item.chat"},
            {
                "chat": [
                    {"role": "system", "content": "Be short."},
                    {"role": "user", "content": "q"},
                ]
            },
            {"max_completions_tokens": 5, "temperature": 0.0},
        ),
        (
            {"type": "item_reference", "item_reference": "item.question"},
            {},
            {"text": {"format": {"type": "text"}}},
        ),
        (
            {
                "type": "template",
                "template": [{"role": "user", "content": {"type": "input_text", "text": "q"}}],
            },
            {},
            {"tools": [{"type": "function", "name": "find", "parameters": {"type": "object"}}]},
        ),
    ],
)
def test_sources_of_the_notebooks_are_understood(
    client: openai.OpenAI, messages: Any, items: dict[str, Any], settings: dict[str, Any]
) -> None:
    evaluation = create_eval(client, {**EXACT, "reference": "{{sample.output_text}}"})
    source = {
        "type": "responses",
        "model": "luma",
        "input_messages": messages,
        "sampling_params": settings,
        "source": {
            "type": "file_content",
            "content": [{"item": {"question": "q", **items}, "sample": {}}],
        },
    }
    done = run(client, evaluation.id, source)
    (item,) = client.evals.runs.output_items.list(done.id, eval_id=evaluation.id)
    assert item.sample.error is None
    assert [turn.content for turn in item.sample.input or []][-1] == "q"
    assert done.result_counts.passed == 1


@pytest.mark.parametrize(
    ("criterion", "words"),
    [
        ({**EXACT, "operation": "is"}, "unknown operation"),
        (
            {"type": "python", "name": "p", "source": "def grade(sample, item): return 1.0"},
            "no code of clients",
        ),
    ],
)
def test_a_wrong_criterion_is_refused(
    client: openai.OpenAI, criterion: dict[str, Any], words: str
) -> None:
    with pytest.raises(openai.BadRequestError, match=words):
        create_eval(client, criterion)


def test_items_must_fit_the_schema(client: openai.OpenAI) -> None:
    evaluation = create_eval(client, EXACT)
    with pytest.raises(openai.BadRequestError, match="Item 2"):
        client.evals.runs.create(
            evaluation.id, data_source=inline([*list_items([True]), {"item": {}}])
        )


def test_evals_are_listed_changed_and_deleted(client: openai.OpenAI) -> None:
    evaluation = create_eval(client, EXACT)
    assert client.evals.update(evaluation.id, name="other").name == "other"
    assert [each.id for each in client.evals.list()] == [evaluation.id]
    done = run(client, evaluation.id, inline(list_items([True])))
    assert [each.id for each in client.evals.runs.list(evaluation.id)] == [done.id]
    client.evals.runs.delete(done.id, eval_id=evaluation.id)
    client.evals.delete(evaluation.id)
    with pytest.raises(openai.NotFoundError):
        client.evals.retrieve(evaluation.id)


GRADES = st.builds(
    Grade, st.just(0.5), st.booleans(), errors=st.sampled_from([(), ("invalid_variable_error",)])
).filter(lambda result: not (result.passed and result.errors))


def create_stored_run(folder: Path, num_items: int) -> tuple[EvalStore, EvalRun]:
    """A run of an eval with two criteria, on which nobody works."""
    store = EvalStore(folder, FileStore(folder, 0), Tools())
    criteria = [{**EXACT, "name": name, "reference": "x"} for name in "ab"]
    unnamed = {"name": None, "metadata": None}
    config = {"type": "custom", "item_schema": {}}
    fields = {"data_source_config": config, "testing_criteria": criteria, **unnamed}
    source = inline([{"item": {"question": "q"}}] * num_items)
    eval_id = store.create(fields)["id"]
    return store, store.create_run(eval_id, {"data_source": source, **unnamed})


@pytest.mark.parametrize("ending", ["cancel_run", "delete_run", "delete"])
def test_a_run_ends_while_it_is_worked_on(tmp_path: Path, ending: str) -> None:
    for number in range(20):
        store, run = create_stored_run(tmp_path / str(number), 1)
        eval_id = run.folder.parent.name
        names = (eval_id,) if ending == "delete" else (eval_id, run.folder.name)

        def work(run: EvalRun = run) -> None:
            for _ in range(5):
                run.change_state("in_progress")
                run.add_result(0, {"item": {}}, {"output_text": "x"}, [Grade(1.0, True)] * 2)

        with ThreadPoolExecutor(1) as pool:
            worker = pool.submit(work)
            getattr(store, ending)(*names)
            with suppress(RunError):  # `work` reads the criteria; the eval may be gone
                worker.result()
        if ending == "cancel_run":
            assert run.state["status"] == "canceled"
        else:
            assert not run.folder.exists()


@given(st.lists(st.tuples(st.booleans(), GRADES, GRADES), min_size=1, max_size=6))
def test_counts_add_up_and_an_errored_item_passes_nothing(
    items: list[tuple[bool, Grade, Grade]],
) -> None:
    with TemporaryDirectory() as folder:
        store, run = create_stored_run(Path(folder), len(items))
        for number, (is_answered, *grades) in enumerate(items):
            error = None if is_answered else {"code": "context_length_exceeded"}
            sample = {"output_text": "x", "error": error}
            results = grades if is_answered else store.grade_item(run, {}, sample)
            run.add_result(number, {"item": {}}, sample, results)
        run.change_state("completed")
        described = run.describe()
        statuses = [result["status"] for result in run.results]
    counts = described["result_counts"]
    assert counts["passed"] + counts["failed"] + counts["errored"] == counts["total"] == len(items)
    assert min(counts.values()) >= 0
    assert described["etude"]["pass_rate"]["value"] == counts["passed"] / len(items)
    for position, shares in enumerate(described["per_testing_criteria_results"]):
        assert shares["passed"] + shares["failed"] + shares["errored"] == len(items)
        answered = [grades[position] for is_answered, *grades in items if is_answered]
        assert shares["passed"] == sum(result.passed for result in answered)
    for status, (is_answered, *grades) in zip(statuses, items, strict=True):
        is_errored = not is_answered or any(result.errors for result in grades)
        assert (status == "error") is is_errored


def test_a_slow_judge_delays_no_chat_and_stops_for_a_client_that_left(tmp_path: Path) -> None:
    num_running = Semaphore(0)
    is_released = Event()

    def wait(model: str, messages: Any, schema: Any, is_wanted: Callable[[], bool]) -> str:
        num_running.release()
        while is_wanted() and not is_released.is_set():
            time.sleep(0.01)
        return '{"label": "good"}'

    stores = HostedStores(tmp_path / "data", {}, tools=Tools(ask=wait, models=frozenset({"judge"})))
    body = {"grader": LABEL, "model_sample": "x", "item": {"question": "q"}}
    with (
        serving(serve_as("luma", FAKE), extensions=extend(stores)) as url,
        ExitStack() as stack,
    ):
        stack.callback(is_released.set)
        address = urlsplit(url)
        text = json.dumps(body).encode()
        head = f"POST /v1/fine_tuning/alpha/graders/run HTTP/1.1\r\nHost: {address.netloc}\r\n"
        head += f"Content-Length: {len(text)}\r\n\r\n"
        leaving = stack.enter_context(ExitStack())
        for _ in range(2 * GRADER_THREADS):
            connection = leaving.enter_context(
                socket.create_connection(("127.0.0.1", address.port or 0))
            )
            connection.sendall(head.encode() + text)
        for _ in range(GRADER_THREADS):
            assert num_running.acquire(timeout=SECONDS)
        client = openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0, timeout=SECONDS)
        assert client.chat.completions.create(
            model="luma", messages=[{"role": "user", "content": "q"}]
        )
        assert client.models.list().data
        assert (
            run(client, create_eval(client, EXACT).id, inline(list_items([True]))).status
            == "completed"
        )
        leaving.close()
        deadline = time.monotonic() + SECONDS
        while stores.grader_threads._pool._work_queue.qsize():
            assert time.monotonic() < deadline
            time.sleep(0.01)
        is_released.set()
        graders = client.fine_tuning.alpha.graders
        assert graders.run(grader=LABEL, model_sample="x", item={"question": "q"}).reward


def test_graders_alone(client: openai.OpenAI) -> None:
    result = client.fine_tuning.alpha.graders.run(
        grader=EXACT, model_sample="x", item={"answer": "x"}
    )
    assert (result.reward, result.metadata.errors.other_error) == (1.0, False)
    assert client.fine_tuning.alpha.graders.validate(grader=EXACT).grader is not None
    with pytest.raises(openai.BadRequestError):
        client.fine_tuning.alpha.graders.validate(grader={**EXACT, "operation": "no"})


def test_a_model_behind_a_url_grades_where_the_owner_names_it(tmp_path: Path) -> None:
    with serve_script(ScriptedServer(say=lambda body: '{"label": "bad"}')) as judge:
        tools = build_tools({"judge": f"{judge.url}#big"})
        grader = {**LABEL, "input": [{"role": "user", "content": "Is {{item.question}} good?"}]}
        result = grade(grader, {"question": "the red book"}, {}, tools)
    assert (result.passed, result.errors) == (False, ())
    assert judge.bodies[0]["messages"][-1]["content"] == "Is the red book good?"
    schema = judge.bodies[0]["response_format"]["json_schema"]["schema"]
    assert schema["properties"]["label"]["enum"] == LABEL["labels"]

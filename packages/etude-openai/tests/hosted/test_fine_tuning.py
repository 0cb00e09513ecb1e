"""Fine-tuning jobs driven by the official client against a server in this process, with a tiny
model.
"""

import base64
import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import openai
import pytest
from hosting import extend

from etude.base.files import read_lines, write_json, write_lines
from etude.errors import InputError
from etude.training.rows.batches import TokenRow, check_rows
from etude_openai.hosted.fine_tuning import FineTuningJob
from etude_openai.hosted.stores import HostedStores
from etude_openai.hosted.worker import (
    JobFailed,
    _describe_error,
    _store_metrics,
    require_signal,
    run_fine_tuning,
)
from etude_openai.jobs.job import JobQueue, list_jobs
from serving import open_client
from tiny import save_tiny_model

SECONDS = 900
"""After which a job counts as hung."""


def chat_rows(num_rows: int) -> bytes:
    lines = []
    for word in ("ab" * num_rows)[:num_rows]:
        question = {"role": "user", "content": f"the word here is {word}"}
        lines.append(
            json.dumps({"messages": [question, {"role": "assistant", "content": word}]}) + "\n"
        )
    return "".join(lines).encode()


def pair_rows(num_rows: int) -> bytes:
    texts = {"preferred_output": "a", "non_preferred_output": "b"}
    outputs = {name: [{"role": "assistant", "content": text}] for name, text in texts.items()}
    turns = ({"role": "user", "content": f"the word {n}"} for n in range(num_rows))
    return b"".join(
        json.dumps({"input": {"messages": [turn]}, **outputs}).encode() + b"\n" for turn in turns
    )


@pytest.fixture
def stores(tmp_path: Path) -> Iterator[HostedStores]:
    tiny = str(save_tiny_model(tmp_path / "tiny"))
    stores = HostedStores(tmp_path / "data", dict.fromkeys(("gpt-4o-mini", "babbage-002"), tiny))
    yield stores
    for job in stores.fine_tuning.jobs:
        if not job.result:
            stores.fine_tuning.change(job.folder.name, "cancel")
    stores.close()


@pytest.fixture
def client(stores: HostedStores) -> Iterator[openai.OpenAI]:
    with open_client(extensions=extend(stores)) as client:
        yield client


@pytest.fixture
def _no_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    """Jobs wait: each worker would be a process that imports PyTorch."""
    monkeypatch.setattr(JobQueue, "_start", lambda queue: None)


def upload(client: openai.OpenAI, content: bytes) -> str:
    return client.files.create(file=("rows.jsonl", content), purpose="fine-tune").id


def create_job(
    client: openai.OpenAI, content: bytes, model: str = "gpt-4o-mini", **settings: Any
) -> Any:
    file = upload(client, content)
    return client.fine_tuning.jobs.create(model=model, training_file=file, **settings)


def ask(client: openai.OpenAI, model: str | None, **settings: Any) -> Any:
    question: Any = [{"role": "user", "content": "the word"}]
    return client.chat.completions.create(model=model or "", messages=question, **settings)


def wait(client: openai.OpenAI, job_id: str) -> "openai.types.fine_tuning.FineTuningJob":
    deadline = time.monotonic() + SECONDS
    while True:
        job = client.fine_tuning.jobs.retrieve(job_id)
        if job.status in ("succeeded", "failed", "cancelled"):
            return job
        assert time.monotonic() < deadline, job
        time.sleep(0.1)


def list_messages(client: openai.OpenAI, job_id: str) -> list[str]:
    """Messages of all events, the oldest first, read page by page."""
    return [event.message for event in client.fine_tuning.jobs.list_events(job_id, limit=3)][::-1]


@pytest.mark.real
def test_a_supervised_job_from_upload_to_answer(client: openai.OpenAI) -> None:
    steps = {"n_epochs": 4, "batch_size": 8}
    validation = upload(client, chat_rows(6))
    settings = {"validation_file": validation, "suffix": "my.suffix", "metadata": {"team": "books"}}
    job = create_job(client, chat_rows(24), hyperparameters=steps, **settings)
    assert job.status == "validating_files"
    done = wait(client, job.id)
    assert done.status == "succeeded", done.error
    assert done.hyperparameters.n_epochs == 4
    assert done.trained_tokens
    messages = list_messages(client, job.id)
    assert messages[0] == f"Created fine-tuning job: {job.id}"
    assert messages[-1] == "The job has successfully completed"
    assert any("maps gpt-4o-mini" in message for message in messages)
    assert [m for m in messages if m.startswith("Step 12/12") and "full validation loss" in m]
    checkpoints = client.fine_tuning.jobs.checkpoints.list(job.id).data
    assert [checkpoint.step_number for checkpoint in checkpoints] == [12, 9, 6]
    (file_id,) = done.result_files
    table = base64.b64decode(client.files.content(file_id).read()).decode().splitlines()
    assert table[0].startswith("step,train_loss")
    assert len(table) == 13
    names = {model.id for model in client.models.list()}
    tuned = {done.fine_tuned_model, *(c.fine_tuned_model_checkpoint for c in checkpoints)}
    assert tuned | {"gpt-4o-mini", "babbage-002"} == names
    for name in tuned:
        assert ask(client, name).model == name
    assert (
        client.fine_tuning.jobs.list(extra_query={"metadata[team]": "books"}).data[0].id == job.id
    )
    assert client.fine_tuning.jobs.list(extra_query={"metadata[team]": "toys"}).data == []
    client.models.delete(done.fine_tuned_model or "")
    with pytest.raises(openai.NotFoundError):
        ask(client, done.fine_tuned_model)


@pytest.mark.real
def test_files_as_in_the_cookbook_are_trained_on_answered_and_graded(client: openai.OpenAI) -> None:
    """A toy file of chats, of which one begins with the assistant; a batch of chats; an eval with a
    string check.
    """
    system = {"role": "system", "content": "You are a happy assistant."}
    said = ("user", "assistant")
    chats = [
        ["I fell off my bike.", "Great!"],
        ["I lost my book.", "Read an ebook!", "I did.", "Well done!"],
    ]
    turns = [
        [{"role": said[n % 2], "content": text} for n, text in enumerate(chat)] for chat in chats
    ]
    turns.append([{"role": "assistant", "content": "How are you?"}, *turns[0]])
    content = "\n".join(json.dumps({"messages": [system, *turns[n % 3]]}) for n in range(12))
    job = wait(client, create_job(client, content.encode(), hyperparameters={"n_epochs": 1}).id)
    assert job.status == "succeeded", job.error
    model = job.fine_tuned_model or ""
    url = "/v1/chat/completions"
    body = {"model": model, "temperature": 0.1, "max_tokens": 9, "messages": [system, turns[0][0]]}
    line = {"custom_id": "task-0", "method": "POST", "url": url, "body": body}
    file = client.files.create(file=("tasks.jsonl", json.dumps(line).encode()), purpose="batch").id
    batch = client.batches.create(
        input_file_id=file, endpoint="/v1/chat/completions", completion_window="24h"
    )
    item = {"item": {"ticket_text": "My screen is black", "correct_label": "Hardware"}}
    file = client.files.create(file=("items.jsonl", json.dumps(item).encode()), purpose="evals").id
    schema = {"type": "object", "properties": {key: {"type": "string"} for key in item["item"]}}
    columns: Any = {"type": "custom", "item_schema": schema, "include_sample_schema": True}
    check: Any = {"type": "string_check", "name": "label", "operation": "eq"}
    check |= {"input": "{{ sample.output_text }}", "reference": "{{ item.correct_label }}"}
    graded = client.evals.create(
        name="tickets", data_source_config=columns, testing_criteria=[check]
    ).id
    template = [
        {"role": "developer", "content": "Hi"},
        {"role": "user", "content": "{{ item.ticket_text }}"},
    ]
    source: Any = {"type": "responses", "model": model, "source": {"type": "file_id", "id": file}}
    source |= {"input_messages": {"type": "template", "template": template}}
    run = client.evals.runs.create(graded, name="tuned", data_source=source)
    deadline = time.monotonic() + SECONDS
    while (batch.status, run.status) != ("completed", "completed"):
        assert time.monotonic() < deadline, (batch, run)
        batch = client.batches.retrieve(batch.id)
        run = client.evals.runs.retrieve(run.id, eval_id=graded)
        time.sleep(0.1)
    answer = json.loads(client.files.content(batch.output_file_id or "").text)["response"]["body"]
    assert answer["model"] == model
    assert (run.result_counts.total, run.result_counts.errored) == (1, 0)


@pytest.mark.real
def test_dpo_trains_a_tuned_model_further(client: openai.OpenAI) -> None:
    create = client.fine_tuning.jobs.create
    settings: Any = {"n_epochs": 1, "batch_size": 4}
    file = upload(client, chat_rows(24))
    tuned = wait(
        client, create(model="gpt-4o-mini", training_file=file, hyperparameters=settings).id
    )
    model = tuned.fine_tuned_model or ""
    with pytest.raises(openai.BadRequestError, match="Only dpo"):
        create(model=model, training_file=file)
    method: Any = {"type": "dpo", "dpo": {"hyperparameters": {"beta": 0.2, "n_epochs": 1}}}
    job = create(model=model, training_file=upload(client, pair_rows(20)), method=method)
    client.models.delete(model)
    done = wait(client, job.id)
    assert done.status == "succeeded", done.error
    assert any("choose the epoch" in message for message in list_messages(client, job.id))
    assert done.model == tuned.model
    assert ask(client, done.fine_tuned_model).choices


@pytest.mark.real
def test_a_killed_worker_goes_on_and_a_cancelled_job_ends(
    client: openai.OpenAI, stores: HostedStores
) -> None:
    file = upload(client, chat_rows(24))
    parameters = {"hyperparameters": {"n_epochs": 6, "batch_size": 4}}
    job = client.fine_tuning.jobs.create(
        model="gpt-4o-mini", training_file=file, extra_body=parameters
    )
    other = client.fine_tuning.jobs.create(
        model="gpt-4o-mini", training_file=file, extra_body=parameters
    )
    deadline = time.monotonic() + SECONDS
    while not (stores.fine_tuning.folder / job.id / "steps.jsonl").exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    for pid in find_workers(stores.fine_tuning.queue.root):
        os.kill(pid, signal.SIGKILL)
    assert client.fine_tuning.jobs.cancel(other.id).status == "cancelled"
    done = wait(client, job.id)
    assert done.status == "succeeded", done.error
    messages = list_messages(client, job.id)
    assert len(messages) == len(set(messages)), "no event twice"
    assert wait(client, other.id).status == "cancelled"
    assert all(queued.is_finished for queued in list_jobs(stores.fine_tuning.queue.root))


def find_workers(root: Path) -> list[int]:
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            command = (folder / "cmdline").read_bytes()
        except OSError:
            continue
        if b"etude_openai.jobs.worker" in command and str(root).encode() in command:
            found.append(int(folder.name))
    return found


UNANSWERED = b'{"messages": [{"role": "user", "content": "x"}]}\n'


@pytest.mark.usefixtures("_no_worker")
@pytest.mark.parametrize(
    ("content", "code", "words"),
    [
        (chat_rows(7), "invalid_n_examples", "Training file has 7 example(s)"),
        (UNANSWERED * 12, "invalid_training_file", "invalid training file. rows.jsonl:1:"),
    ],
)
def test_wrong_content_fails_the_job_and_says_where(
    client: openai.OpenAI, stores: HostedStores, content: bytes, code: str, words: str
) -> None:
    job = create_job(client, content)
    run_fine_tuning(str(stores.fine_tuning.get(job.id).folder))
    done = client.fine_tuning.jobs.retrieve(job.id)
    assert (done.status, done.error and done.error.code) == ("failed", code)
    assert words in done.error.message


@pytest.mark.usefixtures("_no_worker")
def test_a_row_that_is_too_long_is_reported_once_with_what_a_client_can_do(
    client: openai.OpenAI, stores: HostedStores
) -> None:
    job = stores.fine_tuning.get(create_job(client, chat_rows(12)).id)
    row = TokenRow("training.jsonl:13", tuple(range(9)), (True,) * 9)
    with pytest.raises(InputError) as caught:
        check_rows([row], [row], max_tokens=8)
    message = _describe_error(job, caught.value)["message"]
    assert message.count("rows.jsonl:13: ") == 1
    assert "Shorten the row or leave it out" in message
    assert "max_tokens" not in message


def test_what_can_never_work_is_refused_at_once(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="invalid training_file: file-nope"):
        client.fine_tuning.jobs.create(model="gpt-4o-mini", training_file="file-nope")
    with pytest.raises(openai.BadRequestError, match="--base gpt-4o=MODEL"):
        create_job(client, chat_rows(12), "gpt-4o")
    with pytest.raises(openai.BadRequestError, match="n_epochs"):
        create_job(client, chat_rows(12), hyperparameters={"n_epochs": 51})
    for suffix in ("../x", "a/b", "x" * 65):
        with pytest.raises(openai.BadRequestError):
            create_job(client, chat_rows(12), suffix=suffix)
    with pytest.raises(openai.NotFoundError) as caught:
        client.fine_tuning.jobs.retrieve("ftjob-unknown")
    assert caught.value.code == "fine_tune_not_found"
    judge = {"type": "score_model", "name": "judge", "model": "big", "input": []}
    unknown = {
        "type": "string_check",
        "name": "same",
        "input": "a",
        "reference": "b",
        "operation": "is",
    }
    for grader, status, message in (
        (None, 400, "Add a grader"),
        (judge, 501, "cannot use score_model"),
        (
            {
                "type": "multi",
                "name": "all",
                "graders": {"judge": judge},
                "calculate_output": "judge",
            },
            501,
            "cannot use score_model",
        ),
        (unknown, 400, r"grader\.operation: an unknown operation"),
    ):
        method: Any = {
            "type": "reinforcement",
            **({"reinforcement": {"grader": grader}} if grader else {}),
        }
        with pytest.raises(openai.APIStatusError, match=message) as refused:
            create_job(client, chat_rows(12), method=method)
        assert refused.value.status_code == status


def draw_method(threshold: float) -> Any:
    """A method whose grader compares letters; a random model passes it sometimes if the threshold
    is low.
    """
    grader = {"type": "text_similarity", "name": "near", "evaluation_metric": "fuzzy_match"}
    texts = {
        "input": "{{sample.output_text}}",
        "reference": "{{item.answer}}",
        "pass_threshold": threshold,
    }
    return {"type": "reinforcement", "reinforcement": {"grader": {**grader, **texts}}}


def prompt_rows(num_rows: int) -> bytes:
    rows = [
        {
            "messages": [{"role": "user", "content": f"the word {n}"}],
            "answer": "please cancel the transfer",
        }
        for n in range(num_rows)
    ]
    return "\n".join(map(json.dumps, rows)).encode()


def test_answers_that_all_pass_are_nothing_to_learn_from() -> None:
    """By hand: a random model may draw an empty answer, which passes no grader."""
    require_signal(0.5, "")
    with pytest.raises(JobFailed, match=r"All of the answers .* pass the grader"):
        require_signal(1.0, "")
    with pytest.raises(JobFailed, match=r"None of the answers .* to learn\. No JSON\."):
        require_signal(0.0, "No JSON.")


@pytest.mark.real
def test_a_reinforcement_job_trains_on_the_best_drawn_answers(
    client: openai.OpenAI, stores: HostedStores
) -> None:
    file = upload(client, prompt_rows(30))
    job = client.fine_tuning.jobs.create(
        model="gpt-4o-mini", training_file=file, method=draw_method(0.4)
    )
    done = wait(client, job.id)
    assert done.status == "succeeded", done.error
    assert done.method.reinforcement.grader.name == "near"
    messages = list_messages(client, job.id)
    assert any("rejection sampling, not reinforcement learning" in message for message in messages)
    folder = stores.fine_tuning.get(job.id).folder
    draws = list(read_lines(folder / "draws.jsonl"))
    best = list(read_lines(folder / "best.jsonl"))
    assert len(draws) == 30
    assert [row["messages"][-1]["content"] for row in best] == [
        draw["text"] for draw in draws[:24] if draw["passes"]
    ]
    measured = done.model_dump()["etude"]["held_back"]
    assert measured["before"]["value"] == pytest.approx(
        sum(draw["share"] for draw in draws[24:]) / 6
    )
    assert 0 <= measured["after"]["value"] <= 1
    job = create_job(client, prompt_rows(12), method=draw_method(1.0))
    failed = wait(client, job.id)
    assert (failed.status, failed.error.code) == ("failed", "no_signal")  # type: ignore[union-attr]
    assert "None of the answers drawn" in failed.error.message  # type: ignore[union-attr,operator]
    answered = upload(client, chat_rows(12))
    job = client.fine_tuning.jobs.create(
        model="gpt-4o-mini", training_file=answered, method=draw_method(0.4)
    )
    assert "rows.jsonl:1: not a prompt" in (wait(client, job.id).error.message or "")  # type: ignore[union-attr]


PAIR = b'{"prompt": "the bear", "completion": "b"}\n'


@pytest.mark.parametrize(
    ("content", "model", "method"),
    [
        (PAIR * 12, "gpt-4o-mini", "supervised"),
        (b"\n" + PAIR * 12, "gpt-4o-mini", "supervised"),
        (pair_rows(12), "gpt-4o-mini", "supervised"),
        (chat_rows(12), "gpt-4o-mini", "dpo"),
        (chat_rows(12), "babbage-002", "supervised"),
    ],
)
def test_a_file_in_the_format_of_another_method_is_refused(
    client: openai.OpenAI, content: bytes, model: str, method: Any
) -> None:
    with pytest.raises(openai.BadRequestError, match="do not have") as caught:
        create_job(client, content, model, method={"type": method})
    assert caught.value.code == "invalid_file_format"


def test_models_of_completions_are_tuned_on_prompts(client: openai.OpenAI) -> None:
    done = wait(client, create_job(client, PAIR * 7, "babbage-002").id)
    assert done.error.code == "invalid_n_examples"


def test_the_untuned_model_answers_under_the_mapped_name(
    client: openai.OpenAI, tmp_path: Path
) -> None:
    assert {model.id for model in client.models.list()} == {"gpt-4o-mini", "babbage-002"}
    assert client.models.retrieve("gpt-4o-mini").id == "gpt-4o-mini"
    answer = ask(client, "gpt-4o-mini", max_tokens=3)
    assert answer.model == "tiny", "the response names the model that really answered"
    assert answer.model_extra["measured"] is False
    assert "tiny is untuned" in answer.model_extra["measured_reason"]
    with pytest.raises(openai.NotFoundError, match="gpt-4o-mini"):
        ask(client, "gpt-4o")


@pytest.mark.usefixtures("_no_worker")
def test_a_retry_of_the_client_makes_no_second_job(
    client: openai.OpenAI, stores: HostedStores
) -> None:
    file = upload(client, chat_rows(12))
    create = partial(client.fine_tuning.jobs.create, model="gpt-4o-mini", training_file=file)
    first = create()
    retry = {"x-stainless-retry-count": "1"}
    assert create(extra_headers=retry).id == first.id
    assert len({first.id, create(seed=3, extra_headers=retry).id, create().id}) == 3
    assert len(stores.fine_tuning.jobs) == 3


def test_the_end_of_a_job_is_estimated_from_its_first_step(tmp_path: Path) -> None:
    begin = {"kind": "begin", "created_at": 100, "step": 0, "total_steps": 4}
    step = begin | {"kind": "step", "created_at": 110, "step": 1, "train_loss": 1.0}
    write_lines(tmp_path / "steps.jsonl", [begin, step])
    job = FineTuningJob(tmp_path)
    assert job._estimate_finish() == 140
    assert [event["message"] for event in job.list_events()] == ["Step 1/4: training loss=1.00"]


@pytest.mark.parametrize(("encoding", "decode"), [("base64", base64.b64decode), ("plain", bytes)])
def test_the_result_file_is_a_table_within_the_quota(
    tmp_path: Path, encoding: str, decode: Callable[[bytes], bytes]
) -> None:
    job = FineTuningJob(tmp_path / "ftjob-1")
    settings = {"result_files": encoding, "files": str(tmp_path / "files"), "quota": 10}
    write_json(job.folder / "job.json", settings)
    lines = [{"kind": "step", "step": n, "train_loss": 1 / n} for n in (1, 2)]
    write_lines(
        job.folder / "steps.jsonl", [*lines, {"kind": "epoch", "step": 2, "valid_loss": 0.5}]
    )
    assert _store_metrics(job) == []
    (event,) = read_lines(job.folder / "events.jsonl")
    assert "cannot be stored" in event["message"]
    write_json(job.folder / "job.json", settings | {"quota": 10_000})
    (file_id,) = _store_metrics(job)
    assert _store_metrics(job) == [file_id]
    table = decode((tmp_path / "files" / file_id / "content").read_bytes()).decode().splitlines()
    assert table[1:] == ["1,1.00000,,,", "2,0.50000,,0.50000,"]


def test_without_the_option_the_routes_say_so() -> None:
    with open_client() as client, pytest.raises(openai.NotFoundError, match="--jobs FOLDER"):
        client.files.list()

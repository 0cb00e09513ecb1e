"""The API and the command line give the same numbers and answers on the same files."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import openai
import pytest
import yaml
from test_batches import line, read, start
from test_batches import upload as upload_batch
from test_batches import wait as wait_for_batch
from test_fine_tuning import client, stores, upload, wait  # noqa: F401 - fixtures

from etude.assistant import get_shared_models
from etude.cli import main
from etude.runs import find_run
from etude_openai.hosted.stores import HostedStores
from small_task import rows
from tiny import save_tiny_model


def build_chats(kind: str, num: int, seed: int = 7) -> list[dict[str, Any]]:
    """Chats with one-word labels, with JSON, or with an earlier turn and a system message."""
    if kind != "chat":
        return [chat(row["input"], row["output"]) for row in rows(kind, num, seed)]
    return [
        {
            "messages": [
                turn("system", "Be brief."),
                *chat("hello", "hi")["messages"],
                *chat(*pair)["messages"],
            ]
        }
        for pair in ((row["input"], row["output"]) for row in rows("answer", num, seed))
    ]


def chat(question: object, answer: object) -> dict[str, Any]:
    return {"messages": [turn("user", question), turn("assistant", answer)]}


def turn(role: str, content: object) -> dict[str, str]:
    return {"role": role, "content": str(content)}


@pytest.mark.real
@pytest.mark.parametrize("kind", ["classify", "extract", "chat"])
def test_a_compare_job_has_the_verdict_of_etude_compare_and_a_batch_the_answers_of_etude_predict(
    client: openai.OpenAI,  # noqa: F811
    stores: HostedStores,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
) -> None:
    content = "".join(json.dumps(row) + "\n" for row in build_chats(kind, 160)).encode()
    job = client.fine_tuning.jobs.create(
        model="gpt-4o-mini",
        training_file=upload(client, content),
        hyperparameters={"n_epochs": 1, "batch_size": 8},
        metadata={"etude": "compare"},
        seed=3,
    )
    done = wait(client, job.id)
    assert done.status == "succeeded", done.error

    folder = tmp_path / "by hand"
    folder.mkdir()
    (folder / "rows.jsonl").write_bytes(content)
    model = str(save_tiny_model(tmp_path / "same"))
    task = {
        "name": "by hand",
        "kind": "answer",
        "model": model,
        "examples": "rows.jsonl",
        "seed": 3,
    }
    task["train"] = {"epochs": 1, "rows_per_step": 8}
    (folder / "task.yaml").write_text(yaml.safe_dump(task), encoding="utf-8")
    assert main(["compare", str(folder), "--yes"]) == 0
    verdict = find_run(folder).verdict
    ladder = [
        {"method": row.method, "status": row.status, **asdict(row.estimate)}
        for row in verdict.ladder
    ]
    assert done.etude["ladder"] == ladder  # type: ignore[attr-defined]
    assert done.etude["recommended"] == verdict.recommended  # type: ignore[attr-defined]

    # In bfloat16, a random model's answer also depends on the rounding, and so on what is answered
    # together.
    monkeypatch.setattr("etude.models.local.loading.choose_dtype", lambda device: "float32")
    get_shared_models.cache_clear()
    questions = [{"messages": row["messages"][:-1]} for row in build_chats(kind, 20, seed=9)]
    (folder / "questions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in questions))
    files = [str(folder / name) for name in ("questions.jsonl", "answers.jsonl")]
    assert main(["predict", str(folder), files[0], "-o", files[1]]) == 0
    predicted = [json.loads(text)["answer"] for text in Path(files[1]).read_text().splitlines()]
    bodies = [{"model": done.fine_tuned_model, **row} for row in questions]
    file = upload_batch(
        client, [line(str(number), body=body) for number, body in enumerate(bodies)]
    )
    batch = wait_for_batch(client, start(client, file).id)
    answers = read(client, batch.output_file_id)
    texts = [
        answers[str(n)]["response"]["body"]["choices"][0]["message"]["content"] for n in range(20)
    ]
    assert texts == predicted

"""The API and the command line give the same numbers and answers on the same files."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import openai
import pytest
import yaml
from test_batches import line, read, start
from test_batches import upload as upload_batch
from test_batches import wait as wait_for_batch
from test_fine_tuning import client, stores, upload, wait  # noqa: F401 - fixtures

from etude.cli import main
from etude.hosted.stores import HostedStores
from etude.runs import find_run
from small_task import rows
from tiny import save_tiny_model


@pytest.mark.real
def test_a_compare_job_has_the_verdict_of_etude_compare_and_a_batch_the_answers_of_etude_predict(
    client: openai.OpenAI,  # noqa: F811
    stores: HostedStores,  # noqa: F811
    tmp_path: Path,
) -> None:
    chats = [
        {
            "messages": [
                {"role": "user", "content": row["input"]},
                {"role": "assistant", "content": row["output"]},
            ]
        }
        for row in rows("classify", 160)
    ]
    content = "".join(json.dumps(chat) + "\n" for chat in chats).encode()
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
    task = {"name": "by hand", "kind": "answer", "model": model, "examples": "rows.jsonl", "seed": 3}
    task["train"] = {"epochs": 1, "rows_per_step": 8}
    (folder / "task.yaml").write_text(yaml.safe_dump(task), encoding="utf-8")
    assert main(["compare", str(folder), "--yes"]) == 0
    verdict = find_run(folder / "runs", None).verdict
    assert verdict is not None
    ladder = [{"method": row.method, "status": row.status, **asdict(row.estimate)} for row in verdict.ladder]
    assert done.etude["ladder"] == ladder  # type: ignore[attr-defined]
    assert done.etude["recommended"] == verdict.recommended  # type: ignore[attr-defined]

    questions = [str(row["input"]) for row in rows("classify", 20, seed=9)]
    (folder / "questions.jsonl").write_text("".join(json.dumps({"input": text}) + "\n" for text in questions))
    assert (
        main(["predict", str(folder), str(folder / "questions.jsonl"), "-o", str(folder / "answers.jsonl")])
        == 0
    )
    predicted = [json.loads(text)["answer"] for text in (folder / "answers.jsonl").read_text().splitlines()]
    bodies = [
        {"model": done.fine_tuned_model, "messages": [{"role": "user", "content": text}]}
        for text in questions
    ]
    file = upload_batch(client, [line(str(number), body=body) for number, body in enumerate(bodies)])
    batch = wait_for_batch(client, start(client, file).id)
    answers = read(client, batch.output_file_id)
    texts = [answers[str(n)]["response"]["body"]["choices"][0]["message"]["content"] for n in range(20)]
    assert texts == predicted

"""Several questions about each row, through every command that a user runs."""

import csv
import json
import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import pytest
from sklearn.metrics import accuracy_score, cohen_kappa_score

from decision_server import DecisionServer, serve_decisions
from etude.answer_file import predict
from etude.assistant import Assistant, load
from etude.checks import check
from etude.comparison import compare
from etude.comparison.handover import add_handover
from etude.data.dataset import load_dataset
from etude.errors import InputError
from etude.evaluate import ScoredAnswer
from etude.feedback.apply import apply_feedback
from etude.methods.baseline import fit_linear
from etude.methods.shared.fit_context import initial_assistant
from etude.metrics import ALL_RIGHT, choose_metric, describe_metric, restore_metric
from etude.models.classical import Linear, save_classical
from etude.models.classical import load as load_model
from etude.models.registry import Models
from etude.report.read_run import read_report
from etude.stats.recalibration import Recalibration
from etude.studio.studio import Studio
from etude.task import Task, load_task
from etude.task.questions import join_answers, split_answers
from etude.training.classifier import Classifier
from etude.types import CLASSICAL, Answer, Example, Message, ModelRef, Score, TaskQuestion
from question_task import LABELS, WORDS, make_question_rows, write_question_task
from serving import serve_as, serving


def load_rows(folder: Path, num: int = 220) -> tuple[Task, Any]:
    return load_dataset(load_task(write_question_task(folder, make_question_rows(num))))


def to_object(row: dict[str, Any]) -> dict[str, Any]:
    return {"mood": float(row["stars"]), "topic": row["topic"], "urgent": row["urgent"]}


def test_columns_objects_and_chats_are_read_alike(tmp_path: Path) -> None:
    rows = make_question_rows(60)
    columns = load_dataset(load_task(write_question_task(tmp_path / "columns", rows)))[1]
    objects: list[dict[str, Any]] = [
        {"text": row["text"], "output": to_object(row)} for row in rows
    ]
    chats = []
    for row in rows:
        answer = {"role": "assistant", "content": json.dumps(to_object(row))}
        chats.append({"messages": [{"role": "user", "content": row["text"]}, answer]})
    for name, other, source in (
        ("objects", objects, "input: text, output: output"),
        ("guessed", objects, "input: text"),
        ("chats", chats, "messages: messages"),
    ):
        task, data = load_dataset(
            load_task(write_question_task(tmp_path / name, other, source=source))
        )
        assert [row.output for row in data] == [row.output for row in columns]
        assert not any(task.contract and task.contract.check(row.output) for row in data)
    assert [*split_answers(columns[0].output)] == [*LABELS]
    assert split_answers(columns[0].output)["urgent"] == ("yes" if rows[0]["urgent"] else "no")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"topic": "weather"}, "topic: the label is not in the contract"),
        ({"stars": 9}, "mood: the label is not on the scale"),
        ({"urgent": None}, "urgent is empty"),
    ],
)
def test_a_wrong_or_missing_answer_is_an_error_of_its_row_and_question(
    change: dict[str, Any], message: str, tmp_path: Path
) -> None:
    rows = make_question_rows(60)
    with pytest.raises(InputError, match=rf"rows.jsonl:3: {message}"):
        load_dataset(
            load_task(write_question_task(tmp_path, [*rows[:2], rows[2] | change, *rows[3:]]))
        )


def test_an_object_without_an_answer_is_an_error(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [
        {"text": row["text"], "output": to_object(row)} for row in make_question_rows(60)
    ]
    del rows[4]["output"]["urgent"]
    with pytest.raises(InputError, match=r"rows.jsonl:5: urgent: there is no answer"):
        load_dataset(load_task(write_question_task(tmp_path, rows)))


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (
            "several: true",
            "cannot be used together. Write two task files for the same rows, or a yes-or-no",
        ),
        ("costs: {labels: {tone: 5}}", "costs.labels and questions cannot be used together"),
        ("contract: {labels: [a, b]}", "contract.labels and questions cannot be used together"),
        ("metric: accuracy", "metric and questions cannot be used together"),
    ],
)
def test_keys_that_do_not_fit_are_refused(lines: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message):
        load_task(write_question_task(tmp_path, make_question_rows(2), f"{lines}\n"))


def test_the_headline_is_the_mean_of_each_questions_metric(tmp_path: Path) -> None:
    task, data = load_rows(tmp_path)
    metric = choose_metric(task, data)
    draw = random.Random(3)
    assert [part.name for part in metric.parts] == ["accuracy", "accuracy", "kappa"]
    gold = [split_answers(row.output) for row in data]
    answers = [
        {
            name: label if draw.random() < 0.6 else draw.choice(LABELS[name])
            for name, label in row.items()
        }
        for row in gold
    ]
    texts = [
        json.dumps(dict(reversed(row.items()))) for row in answers
    ]  # the order of the keys is free
    scores = [
        metric.score(row, Answer("", text, None, True, (), None, 0, 0, 0, 0.0, False))
        for row, text in zip(data, texts, strict=True)
    ]

    def select(rows: list[Any], name: str) -> list[str]:
        return [row[name] for row in rows]

    wanted = [
        accuracy_score(select(gold, name), select(answers, name)) for name in ("topic", "urgent")
    ]
    wanted.append(
        cohen_kappa_score(select(gold, "mood"), select(answers, "mood"), weights="quadratic")
    )
    expected = [row.output for row in data]
    values = [score.value for score in scores]
    for again in (
        metric,
        restore_metric(json.loads(json.dumps(describe_metric(metric))), "classify"),
    ):
        assert again.sample(values, None, expected, texts).value == pytest.approx(
            np.mean(wanted), abs=1e-9
        )
        for part, value in zip(again.parts, wanted, strict=True):
            own = [score.other_metrics[part.label] for score in scores]
            sample = again.sample(own, None, expected, texts, part.label)
            assert sample.value == pytest.approx(value, abs=1e-9)
    both = np.mean([answer == right for answer, right in zip(answers, gold, strict=True)])
    assert np.mean([score.other_metrics[ALL_RIGHT] for score in scores]) == pytest.approx(both)
    assert metric.measure_labels(texts, expected) == pytest.approx(np.mean(wanted), abs=1e-9)


def test_an_answer_that_is_not_an_object_is_wrong_and_another_right_output_counts_as_a_whole(
    tmp_path: Path,
) -> None:
    task, data = load_rows(tmp_path)
    metric = choose_metric(task, data)
    row = data[0]

    def score(text: str) -> float:
        other = join_answers({"topic": "tone", "urgent": "yes", "mood": "5"})
        answer = Answer("", text, None, True, (), None, 0, 0, 0, 0.0, False)
        return metric.score(replace(row, references=(other,)), answer).value

    assert score("refund") < 0.5
    assert score(row.output) == score('{"mood": 5, "topic": "tone", "urgent": true}') == 1


def test_the_heads_are_those_of_each_question_alone(tmp_path: Path) -> None:
    task, data = load_rows(tmp_path)
    texts = [row.text for row in data]
    outputs = [row.output for row in data]
    heads = fit_linear(task, texts[:120], outputs[:120]).calibrate(texts[120:], outputs[120:])
    topics = [split_answers(output)["topic"] for output in outputs]
    alone = Linear.fit(texts[:120], topics[:120], 0).calibrate(texts[120:], topics[120:])
    answers = heads.predict(texts)
    assert [split_answers(text)["topic"] for text, _ in answers] == [
        label for label, _ in alone.predict(texts)
    ]
    assert heads.heads["topic"].temperature == pytest.approx(alone.temperature, rel=1e-4)
    logs = heads.answer(texts[:9])[0]
    assert np.exp(logs).sum(axis=1) == pytest.approx(3, abs=1e-4)  # one for each question
    spread = dict(zip(heads.labels, logs[0], strict=True))
    own = [
        spread[join_answers({name: label})] for name, label in split_answers(answers[0][0]).items()
    ]
    assert sum(own) == pytest.approx(answers[0][1], abs=1e-5)
    folder = save_classical(heads, tmp_path / "heads")
    assert load_model(ModelRef(CLASSICAL, folder), Models()).predictor.predict(texts) == answers
    refitted = fit_linear(task, texts, outputs).copy_calibration(heads)
    assert refitted.heads["mood"].temperature == heads.heads["mood"].temperature


def test_a_question_without_labels_has_those_of_the_training_rows(tmp_path: Path) -> None:
    task_file = write_question_task(tmp_path, make_question_rows(60))
    text = task_file.read_text(encoding="utf-8").replace("urgent: [yes, no]", "urgent: {}")
    task_file.write_text(text, encoding="utf-8")
    task, data = load_dataset(load_task(task_file))
    assert task.contract is None
    start = initial_assistant(task, data, None)
    assert [question.labels for question in start.questions][1] == ("false", "true")
    assert not any(start.contract.check(row.output) for row in data)


def test_checks_run_once_for_each_question(tmp_path: Path) -> None:
    rows = make_question_rows(60)
    copy = rows[0] | {"urgent": not rows[0]["urgent"], "text": rows[0]["text"].upper()}
    findings = check(write_question_task(tmp_path, [*rows, copy]))
    (finding,) = findings.select_kinds("contradiction")
    assert finding.message.startswith("urgent: 1 input has more than one label")
    assert finding.locations == ("rows.jsonl:1", "rows.jsonl:61")
    few = [item.message.split(":")[0] for item in findings.select_kinds("few_rows")]
    assert few == [*LABELS]


def test_a_tuned_encoder_learns_the_mean_loss_of_the_questions(
    encoder: str, tmp_path: Path
) -> None:
    task, data = load_rows(tmp_path, 40)
    texts = [row.text for row in data]
    outputs = [row.output for row in data]
    models = Models()

    def measure_loss(part: Task, labels: Sequence[str]) -> float:
        linear = fit_linear(part, texts, labels, models.load_encoder(encoder))
        loss, _ = Classifier(linear, texts, labels).compute_loss(range(12), random.Random(0))
        return float(loss.detach())

    alone = [
        measure_loss(part, [split_answers(output)[name] for output in outputs])
        for name, part in task.split_questions().items()
    ]
    assert measure_loss(task, outputs) == pytest.approx(np.mean(alone), rel=1e-4)


@pytest.mark.real
def test_a_tuned_encoder_answers_dev_as_it_was_scored(encoder: str, tmp_path: Path) -> None:
    task = write_question_task(
        tmp_path, make_question_rows(160), f"encoder: {encoder}\nmethods: [fine_tune_encoder]\n"
    )
    run = compare(task).run
    record = json.loads(
        (run.method_folder("fine_tune_encoder") / "method.json").read_text(encoding="utf-8")
    )
    assert max(record["params"]["scores"]) == pytest.approx(record["candidates"][0]["dev"]["value"])


@pytest.fixture
def decider() -> Iterator[str]:
    """The address of a decision model that recognises the topic, and gives its last label to other
    questions.
    """

    def decide(text: str, choices: list[str]) -> str:
        topics = (
            choice
            for choice in choices
            if any(word in text for word in WORDS.get(choice, "-").split())
        )
        return next(topics, choices[-1])

    with serve_decisions(DecisionServer(decide=decide)) as server:
        yield server.url


@pytest.mark.real
def test_every_method_answers_and_the_run_is_used_like_any_other(
    decider: str, tmp_path: Path
) -> None:
    decision_model = f"decision_model: {{endpoint: {decider}, model: luna}}\n"
    task_file = write_question_task(tmp_path, make_question_rows(), decision_model)
    run = compare(task_file, confirm=lambda question: True).run
    verdict = run.verdict
    names = {
        "baseline",
        "decide",
        "prompt",
        "clear_prompt",
        "few_shot",
        "similar_shot",
        "fine_tune",
    }
    assert names <= set(run.fitted_methods)
    values = {step.method: step.estimate for step in verdict.ladder}
    assert values["baseline"].value > 0.9 > values["decide"].value > 0.3
    others = verdict.other_metrics["baseline"]
    assert [name.split(":")[0] for name in others] == [ALL_RIGHT, *LABELS]
    details = verdict.details["decide"]
    assert {result.label.split(": ")[0] for result in details.classes} == {*LABELS}
    assert details.calibration is not None
    report = read_report(run.folder)
    assert report.methods[0].other_metrics == others
    page = (run.folder / "report.html").read_text(encoding="utf-8")
    assert "topic: share of right labels" in page.replace("Topic", "topic")
    # The saved assistants answer a file and requests, and a person corrects a row.
    rows = load_dataset(load_task(task_file))[1]
    (tmp_path / "asked.csv").write_text(f"question\n{rows[0].text}\n", encoding="utf-8")
    done = predict(run.folder, tmp_path / "asked.csv", tmp_path / "answers.csv", method="baseline")
    with (tmp_path / "answers.csv").open(encoding="utf-8", newline="") as lines:
        (line,) = csv.DictReader(lines)
    assert done.num_problems == 0
    assert {name: line[name] for name in LABELS} == split_answers(rows[0].output)
    served = {name: load(run.assistant_folder(name)) for name in ("baseline", "decide")}
    ways = (
        serve_as(name, assistant, tmp_path / f"{name}.jsonl") for name, assistant in served.items()
    )
    with serving(*ways) as url:
        body = {"model": "baseline", "messages": [{"role": "user", "content": rows[0].text}]}
        said = httpx2.post(f"{url}/v1/chat/completions", json=body).json()
        assert said["choices"][0]["message"]["content"] == rows[0].output
        for name, assistant in served.items():
            check_decisions(url, name, rows[0].text, assistant.answer(rows[0].text))
    correct_in_the_studio(task_file, tmp_path)


def check_decisions(url: str, name: str, text: str, measured: Answer) -> None:
    """Every question has an answer by its name, with the probability that was measured."""
    levels = [{"label": label} for label in LABELS["mood"]]
    choices = [{"value": label} for label in LABELS["topic"]]
    questions: list[dict[str, Any]] = [
        {"type": "predicate", "name": "urgent", "instructions": "Urgent?"},
        {"type": "score", "name": "mood", "instructions": "How?", "levels": levels},
        {"type": "choice", "name": "topic", "instructions": "What?", "choices": choices},
    ]
    body = {"model": name, "input": "a text", "questions": [{**questions[0], "name": "weather"}]}
    assert "has no question 'weather'" in httpx2.post(f"{url}/v1/decisions", json=body).text
    body = {"model": name, "input": text, "questions": questions}
    urgent, mood, topic = httpx2.post(f"{url}/v1/decisions", json=body).json()["answers"]
    right = split_answers(measured.text)
    assert (urgent["name"], mood["name"], topic["name"]) == ("urgent", "mood", "topic")
    yes = urgent["probability"] if right["urgent"] == "yes" else 1 - urgent["probability"]
    assert yes == pytest.approx(measured.confidences["urgent"])
    assert (topic["choice"], topic["confidence"]) == (right["topic"], measured.confidences["topic"])
    shares = {level["label"]: level["probability"] for level in mood["probabilities"]}
    assert shares[right["mood"]] == pytest.approx(measured.confidences["mood"])
    assert sum(shares.values()) == pytest.approx(1, abs=1e-3)


def correct_in_the_studio(task_file: Path, folder: Path) -> None:
    """A correction is checked, and the next file of examples has it in the columns of the
    questions.
    """
    studio = Studio(task_file)
    row = studio.data.list_examples()[0]
    assert studio.correct(row, "ana", '{"topic": "weather"}', "wrong")
    right = '{"urgent": true, "mood": 5.0, "topic": "tone"}'
    assert not studio.correct(row, "ana", right, "right")
    assert studio.log.entries[-1].correction == '{"topic": "tone", "urgent": "yes", "mood": "5"}'
    apply_feedback(task_file)
    line = (folder / "rows.feedback.jsonl").read_text(encoding="utf-8").splitlines()[0]
    assert json.loads(line) | {"text": ""} == {
        "text": "",
        "topic": "tone",
        "urgent": True,
        "stars": 5,
    }


def make_scored_answer(line: dict[str, Any]) -> ScoredAnswer:
    stated = line.get("stated_confidence", line["confidence"])
    answer = Answer(line["id"], line["answer"], None, True, (), stated, 0, 0, 0, 0.0, False)
    row = Example(line["id"], (Message("user", line["input"]),), line["expected"])
    return ScoredAnswer(row, answer, Score(line["score"], None, None), 0)


def test_the_confidence_in_a_row_follows_from_those_in_its_questions() -> None:
    draw = random.Random(5)
    for _ in range(100):
        maps = [Recalibration("Platt", draw.uniform(0.2, 3), draw.uniform(-2, 2)) for _ in range(3)]
        assistant = Assistant(
            *("baseline", "classify", ModelRef("fake")),
            questions=(TaskQuestion("a"), TaskQuestion("b")),
            question_recalibrations={"a": maps[0]},
            recalibration=maps[2],
        )
        stated = {"a": draw.random(), "b": draw.random()}
        answer = Answer("1", "", None, True, (), None, 0, 0, 0, 0.0, False, confidences=stated)
        answer = assistant.recalibrate_questions(answer)
        assert answer.confidences == {"a": maps[0].apply(stated["a"]), "b": stated["b"]}
        assert answer.confidence == pytest.approx(math.prod(answer.confidences.values()))
        rated = assistant.rate(answer, answer.confidence)
        assert rated.confidence is not None
        assert rated.confidence <= min(answer.confidences.values())
        assert rated.confidence <= maps[2].apply(answer.confidence)


@pytest.mark.real
def test_a_row_with_an_unsure_answer_is_handed_over_and_the_promise_is_kept(tmp_path: Path) -> None:
    rows = make_question_rows(1500)
    draw = random.Random(0)
    for row in rows:
        if draw.random() < 0.3:
            row["text"] = " ".join(row["text"].split()[:2])  # says nothing about the answers
    more = "handover: 0.1\nmethods: [baseline, few_shot]\n"
    task_file = write_question_task(tmp_path, rows, more)
    run = compare(task_file).run
    lines = run.read_predictions("baseline")
    assistant = load(run.assistant_folder("baseline"))
    for line in lines:
        is_unsure = line["confidence"] < assistant.handover
        assert is_unsure == bool(line.get("handed_over"))
    answered = [line for line in lines if line["side"] == "test" and not line.get("handed_over")]
    assert 0.5 < len(answered) / sum(line["side"] == "test" for line in lines) < 0.8
    right, right_of_all = (
        np.mean([line["score"] == 1 for line in part]) for part in (answered, lines)
    )
    assert right > 0.9 > right_of_all
    asked = answered[0]["input"]
    assert assistant.answer(asked).confidence == pytest.approx(answered[0]["confidence"])
    bare = replace(assistant, recalibration=None, question_recalibrations={}).answer(asked)
    assert bare.confidence == pytest.approx(math.prod(bare.confidences.values()))
    handed_over = run.verdict.details["baseline"].handover
    assert handed_over.wrong.value == pytest.approx(
        np.mean([line["score"] < 1 for line in answered])
    )
    record = json.loads((run.method_folder("few_shot") / "method.json").read_text(encoding="utf-8"))
    assert any(
        note.startswith("hands over nothing, because its answers") for note in record["notes"]
    )
    scored = [*map(make_scored_answer, lines)]
    task = load_task(task_file)
    broken = 0
    for seed in range(200):
        sample = random.Random(seed).sample(scored, len(scored))
        chosen, _ = add_handover(replace(assistant, handover=None), task, sample[:200])
        test = [
            row.score.value == 1
            for row in sample[200:]
            if not chosen.hand_over(row.answer).handed_over
        ]
        broken += bool(test) and np.mean(test) < 0.9
    assert broken <= 10


def test_the_cost_of_a_row_is_that_of_a_wrong_answer_to_any_question(tmp_path: Path) -> None:
    task = write_question_task(
        tmp_path,
        make_question_rows(),
        "costs: {wrong: 3, handover: 1}\nmethods: [baseline, prompt]\n",
    )
    run = compare(task).run
    costs = run.verdict.error_costs if run.verdict else None
    assert costs is not None
    for name in ("baseline", "prompt"):
        lines = [line for line in run.read_predictions(name) if line["side"] == "test"]
        paid = [1.0 if line.get("handed_over") else 3.0 * (line["score"] < 1) for line in lines]
        assert costs.methods[name].cost.value == pytest.approx(np.mean(paid))
    assert costs.cheapest == "baseline"

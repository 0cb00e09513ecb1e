"""`etude import openai`: what people saved of OpenAI's API becomes a task, and stored answers keep
their numbers.
"""

import ast
import json
import random
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from hosting import extend
from test_evals import EXACT, FAKE, LABEL, LIKE, inline, run

from etude.cli import main
from etude.comparison.compare import compare
from etude.errors import InputError
from etude.task import load_task
from etude.types import Example, Message
from etude_openai.graders.grade import Tools, grade
from etude_openai.hosted.stores import HostedStores
from etude_openai.saved.import_openai import import_openai
from serving import get_address, open_client, serve_as
from small_task import rows, write_json_lines

TUNED = "ft:gpt-4o-mini-2024-07-18:acme::abc123"
SYSTEM = {"role": "system", "content": "You are a librarian."}


def to_chat(row: dict[str, Any]) -> dict[str, Any]:
    question, answer = (
        {"role": role, "content": row[key]}
        for role, key in (("user", "input"), ("assistant", "output"))
    )
    return {"messages": [SYSTEM, question, answer]}


def save_export(
    folder: Path, kind: str = "extract", criteria: tuple[Any, ...] = (EXACT, LIKE, LABEL)
) -> Path:
    """A folder as people saved it: a job with both files, an eval with a run, and the run's output
    items.
    """
    folder.mkdir()
    every_row = rows(kind, 270)
    draw = random.Random(1)
    write_json_lines(folder / "file-train1.jsonl", list(map(to_chat, every_row[:160])))
    write_json_lines(folder / "validation rows.jsonl", list(map(to_chat, every_row[150:180])))
    job = {
        "object": "fine_tuning.job",
        "id": "ftjob-1",
        "status": "succeeded",
        "fine_tuned_model": TUNED,
    }
    job |= {
        "training_file": "file-train1",
        "validation_file": "file-val1",
        "result_files": ["file-res1"],
    }
    file = {"object": "file", "id": "file-val1", "filename": "validation rows.jsonl"}
    (folder / "jobs.json").write_text(
        json.dumps({"object": "list", "data": [job], "has_more": False}, indent=1)
    )
    (folder / "files.json").write_text(json.dumps([file]))
    testing_criteria = [criterion | {"id": f"{criterion['name']}-7"} for criterion in criteria]
    evaluation = {
        "object": "eval",
        "id": "eval_1",
        "name": "books",
        "testing_criteria": testing_criteria,
    }
    (folder / "eval.json").write_text(json.dumps(evaluation, indent=1))
    template = [SYSTEM, {"role": "user", "content": "{{item.question}}"}]
    messages = {"type": "template", "template": template}
    source = {"type": "completions", "model": TUNED, "input_messages": messages}
    ids = {"object": "eval.run", "id": "evalrun_1", "eval_id": "eval_1"}
    run = {**ids, "model": TUNED, "data_source": source}
    (folder / "run.json").write_text(json.dumps(run))
    items = []
    for row in every_row[170:]:
        item = {"question": row["input"], "answer": row["output"]}
        sample = {
            "output": [
                {"role": "assistant", "content": draw.choice([row["output"]] * 4 + ["no", ""])}
            ]
        }
        result = {"object": "eval.run.output_item", "run_id": "evalrun_1", "eval_id": "eval_1"}
        grades = [
            {"name": criterion["id"], "passed": sample["output"][0]["content"] == row["output"]}
            for criterion in testing_criteria
        ]
        items.append(result | {"datasource_item": item, "sample": sample, "results": grades})
    write_json_lines(folder / "items.jsonl", items)
    return folder


def read_export_scripts() -> list[str]:
    """The scripts of docs/from-openai.md: jobs, evals, answers of a tuned model."""
    page = Path(__file__).parents[4] / "docs" / "from-openai.md"
    return re.findall(r"^```python\n(.*?)^```$", page.read_text(encoding="utf-8"), re.M | re.S)


def set_client(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", f"{url}/v1")
    monkeypatch.setenv("OPENAI_API_KEY", "none")


def load_lines(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


def test_an_export_with_too_few_items_says_how_many_are_missing(tmp_path: Path) -> None:
    folder = save_export(tmp_path / "saved")
    for file in ("jobs.json", "file-train1.jsonl", "validation rows.jsonl"):
        (folder / file).unlink()
    lines = load_lines(folder / "items.jsonl")[:99]
    write_json_lines(folder / "items.jsonl", lines)
    [issue] = import_openai(folder).issues
    assert "Collect at least 1 more row" in str(issue)


def test_an_export_becomes_a_task_with_the_old_answers_as_a_column(tmp_path: Path) -> None:
    folder = save_export(tmp_path / "saved")
    imported = import_openai(folder)
    text = " ".join(imported.sentences)
    assert not imported.issues  # enough rows to compare
    assert "Imported into the check in checks.py: exact and alike." in text
    assert "judged (label_model): a model grades the answer" in text
    assert "(100 agree)" in text
    task = load_task(imported.task_file)
    target = imported.task_file.parent
    assert (task.kind, task.metric, task.check and task.check.function) == (
        "extract",
        "passes",
        "passes",
    )
    test = load_lines(target / "test.jsonl")
    examples = load_lines(target / "examples.jsonl")
    assert (len(test), len(examples)) == (100, 160 + 30 - 10), "10 rows are in the test"
    assert {
        turn["content"] for row in test for turn in row["messages"] if turn["role"] == "system"
    } == {SYSTEM["content"]}
    assert all(list(row["answers"]) == [TUNED] for row in test)
    inputs = [{row["messages"][1]["content"] for row in side} for side in (test, examples)]
    assert not inputs[0] & inputs[1]


def test_the_check_grades_as_the_eval_did(tmp_path: Path) -> None:
    folder = save_export(tmp_path / "saved")
    task = load_task(import_openai(folder).task_file)
    passes = task.check.load()
    for line in load_lines(folder / "items.jsonl"):
        answer = line["sample"]["output"][0]["content"]
        item = line["datasource_item"]
        example = Example("1", (Message("user", item["question"]),), item["answer"])
        graded = [
            grade(criterion, item, {"output_text": answer}, Tools()).passed
            for criterion in (EXACT, LIKE)
        ]
        assert passes(example, answer) == all(graded)


@pytest.mark.real
def test_the_row_of_the_ladder_has_the_numbers_that_the_api_gave(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same answers, graded by a run of this server's evals and by `etude compare`: one share,
    one interval. The scripts of docs/from-openai.md save them.
    """
    saved = tmp_path / "saved"
    every_row = rows("answer", 100)
    items = [
        {
            "item": {"question": row["input"], "answer": row["output"]},
            "sample": {"output_text": text},
        }
        for number, row in enumerate(every_row)
        for text in [row["output"] if number % 5 else "Title: no\nAges: 3"]
    ]
    with open_client(
        serve_as("luma", FAKE), extensions=extend(HostedStores(tmp_path / "data", {}))
    ) as client:
        url = get_address(client)
        schema = {"type": "object", "properties": {"question": {"type": "string"}}}
        source: Any = {"type": "custom", "item_schema": schema, "include_sample_schema": True}
        evaluation = client.evals.create(
            name="books", data_source_config=source, testing_criteria=[EXACT, LIKE]
        )
        done = run(client, evaluation.id, inline(items))
        set_client(monkeypatch, url)
        monkeypatch.chdir(tmp_path)
        exec(compile("".join(read_export_scripts()[:2]), "from-openai.md", "exec"), {})
    write_json_lines(saved / "file-1.jsonl", list(map(to_chat, rows("answer", 100, seed=9))))
    job = {
        "object": "fine_tuning.job",
        "id": "ftjob-1",
        "training_file": "file-1",
        "status": "succeeded",
    }
    (saved / "job.json").write_text(json.dumps(job))
    task = import_openai(saved).task_file
    settings = yaml.safe_load(task.read_text(encoding="utf-8"))
    settings |= {"model": "fake", "methods": ["baseline", "prompt"], "encoder": "none"}
    task.write_text(yaml.safe_dump(settings), encoding="utf-8")
    stored = compare(task).verdict.ladder[-1]
    rate = done.etude["pass_rate"]
    assert stored.is_stored
    assert [stored.estimate.value, stored.estimate.n] == [rate["value"], rate["n"]]
    assert [stored.estimate.low, stored.estimate.high] == pytest.approx([rate["low"], rate["high"]])
    assert done.result_counts.passed == round(stored.estimate.value * 100)


def test_labels_need_no_check(tmp_path: Path) -> None:
    imported = import_openai(save_export(tmp_path / "saved", "classify", (EXACT,)))
    task = load_task(imported.task_file)
    assert (task.kind, task.check, task.metric) == ("classify", None, None)
    other = import_openai(save_export(tmp_path / "other", "classify", (EXACT, LIKE)))
    assert load_task(other.task_file).kind == "answer"


def test_a_job_alone_is_tested_on_its_validation_file(tmp_path: Path) -> None:
    folder = save_export(tmp_path / "saved")
    for name in ("eval.json", "run.json", "items.jsonl"):
        (folder / name).unlink()
    imported = import_openai(folder, tmp_path / "out")
    assert len(load_lines(tmp_path / "out" / "test.jsonl")) == 30
    assert "without stored answers" in " ".join(imported.sentences)
    assert load_task(imported.task_file).check is None


def test_every_error_of_a_folder_is_reported_with_its_line(tmp_path: Path) -> None:
    folder = save_export(tmp_path / "saved")
    lines = (folder / "items.jsonl").read_text().splitlines()
    lines[3] = "{no json"
    lines[5] = json.dumps({"object": "eval.run.output_item", "run_id": 7})
    (folder / "items.jsonl").write_text("\n".join(lines))
    (folder / "validation rows.jsonl").write_text('{"messages": []}\n')
    (folder / "file-train1.jsonl").unlink()
    (folder / "broken.json").write_text('{\n"object": "eval",\n}')
    (folder / "lost.json").write_text(
        json.dumps({"object": "eval.run", "id": "r", "eval_id": "e", "data_source": {}})
    )
    with pytest.raises(InputError) as caught:
        import_openai(folder)
    located = {issue.location: issue.message for issue in caught.value.issues}
    assert "not JSON" in located["items.jsonl:4"]
    assert "items.jsonl:6" in located
    assert located["broken.json:3"] == "not JSON"
    assert "the eval of this eval.run is not in the folder" in located["lost.json:1"]
    assert "training_file of the job is not in the folder" in located["jobs.json:6"]
    assert "validation rows.jsonl:1" in located
    assert not (folder / "etude").exists()


@pytest.mark.parametrize(
    ("criteria", "item", "options", "words"),
    [
        ((LABEL,), {"question": "q", "solution": "a"}, {}, "--answer FIELD"),
        ((EXACT,), {"question": "q", "topic": "t", "answer": "a"}, {}, "--input FIELD"),
        (
            (EXACT,),
            {"question": "q", "topic": "t", "answer": "a"},
            {"input_fields": ["question", "topic"]},
            "",
        ),
        ((LABEL,), {"question": "q", "solution": "a"}, {"answer_field": "solution"}, ""),
        (
            (EXACT,),
            {"question": "q", "topic": "t", "answer": "a"},
            {"eval_name": "other"},
            "the folder has no eval with this name",
        ),
    ],
)
def test_what_the_folder_does_not_show_is_asked_for(
    tmp_path: Path,
    criteria: tuple[Any, ...],
    item: dict[str, str],
    options: dict[str, Any],
    words: str,
) -> None:
    evaluation = {"object": "eval", "id": "eval_1", "testing_criteria": list(criteria)}
    (tmp_path / "eval.json").write_text(json.dumps(evaluation))
    lines = [
        {"object": "eval.run.output_item", "run_id": "r", "eval_id": "eval_1", "results": []}
        | {
            "datasource_item": item | {"question": f"q{n}"},
            "sample": {"output_text": "x", "model": "old"},
        }
        for n in range(3)
    ]
    write_json_lines(tmp_path / "items.jsonl", lines)
    if words:
        with pytest.raises(InputError, match=words):
            import_openai(tmp_path, **options)
        return
    imported = import_openai(tmp_path, **options)
    first = load_lines(imported.task_file.parent / "examples.jsonl")[0]
    fields = options.get("input_fields", ["question"])
    assert first["messages"][0]["content"] == "\n\n".join(
        (item | {"question": "q0"})[name] for name in fields
    )
    assert "too few rows" in imported.issues[0].message


def test_a_name_from_the_folder_becomes_no_code_and_no_key(tmp_path: Path) -> None:
    folder = save_export(tmp_path / "saved")
    evaluation = json.loads((folder / "eval.json").read_text())
    evaluation["name"] = 'books"""\nimport os\ncheck: other.py:f\n{criteria}'
    evaluation["testing_criteria"][0]["name"] = "exact\nmodel: other"
    (folder / "eval.json").write_text(json.dumps(evaluation))
    task_file = import_openai(folder).task_file
    task = load_task(task_file)
    code = (task_file.parent / "checks.py").read_text()
    assert (task.name, task.model) == (evaluation["name"], "smollm2-135m-instruct")
    assert task.check.file.name == "checks.py"
    kinds = [node.__class__.__name__ for node in ast.parse(code).body]
    assert kinds == ["Expr", "ImportFrom", "Assign", "FunctionDef"]


def test_half_a_character_is_an_error_of_its_line(tmp_path: Path) -> None:
    folder = save_export(tmp_path / "saved")
    lines = load_lines(folder / "items.jsonl")
    lines[4]["sample"]["output"][0]["content"] = "\ud800"
    write_json_lines(folder / "items.jsonl", lines)
    with pytest.raises(InputError, match=r"items.jsonl:5: half of a character"):
        import_openai(folder)


def test_a_criterion_over_other_fields_is_not_carried_over(tmp_path: Path) -> None:
    other = {**EXACT, "name": "names it", "reference": "{{item.question}}", "operation": "like"}
    imported = import_openai(save_export(tmp_path / "saved", criteria=(EXACT, other)))
    assert "names it (string_check): it reads item.question" in " ".join(imported.sentences)


def test_the_command_prints_what_it_did_and_what_is_next(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = save_export(tmp_path / "saved")
    assert main(["import", "openai", str(folder)]) == 0
    printed = capsys.readouterr().out
    assert f"Stored answers of {TUNED}" in printed
    assert "etude compare" in printed
    assert main(["import", "openai", str(folder)]) == 2
    assert "already exists" in capsys.readouterr().err
    assert main(["import", "openai", str(tmp_path / "none")]) == 2


@pytest.mark.parametrize("name", ["examples.jsonl", "test.jsonl", "checks.py", "task.yaml"])
def test_no_file_of_the_user_is_replaced(tmp_path: Path, name: str) -> None:
    folder = save_export(tmp_path / "saved")
    file = tmp_path / name
    file.write_text("mine", encoding="utf-8")
    with pytest.raises(InputError, match="already exists"):
        import_openai(folder, output=tmp_path)
    assert file.read_text(encoding="utf-8") == "mine"
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(["saved", name])

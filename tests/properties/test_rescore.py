"""The second implementation reaches every number of a run, and sees one that was changed."""

import io
import json
import os
import random
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from contextlib import redirect_stdout
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import rescore

from etude.assistant import load
from etude.comparison import compare
from etude.data.dataset import load_dataset
from etude.runs.details import compute_details
from etude.runs.fingerprints import compute_fingerprints, list_changes
from etude.task import load_task
from etude.task.contract import Contract
from question_task import make_question_rows, write_question_task
from real_runs import SHORT, real_run
from small_task import KINDS, THEMES, chats, write_json_lines, write_task


def run_rescore(run: Path) -> tuple[int, str]:
    """The exit code of the script, and its table."""
    table = io.StringIO()
    with redirect_stdout(table):
        return rescore.main([str(run)]), table.getvalue()


def check_rescored(run: Path) -> None:
    code, table = run_rescore(run)
    assert code == 0, table


THREE = "methods: [baseline, few_shot, fine_tune]\n"
OTHER_METRICS = [
    pytest.param("classify", "metric: macro_f1\n", marks=pytest.mark.real),
    ("classify", "several: true\n"),
    pytest.param("classify", "several: true\nmetric: micro_f1\n", marks=pytest.mark.real),
    pytest.param("classify", "several: true\nmetric: macro_f1\n", marks=pytest.mark.real),
    ("classify", "costs: {labels: {dragons: 20}, handover: 0.5}\n"),
    pytest.param("classify", f"scale: [{', '.join(THEMES)}]\n", marks=pytest.mark.real),
    ("answer", f"metric: token_f1\n{THREE}"),
    ("rewrite", f"metric: sari\n{THREE}"),
]


@pytest.mark.parametrize(("kind", "more"), [*((kind, "") for kind in KINDS), *OTHER_METRICS])
def test_every_number_of_a_run_is_reached_again(kind: str, more: str) -> None:
    check_rescored(real_run(kind, more=more))


def test_what_tuning_has_to_earn_back_is_its_training_and_not_the_choices_on_dev(
    tmp_path: Path,
) -> None:
    task = write_task(tmp_path, model="fake:delay=0.01", more="methods: [prompt, fine_tune]\n")
    run = compare(task).run
    record = json.loads((run.method_folder("fine_tune") / "method.json").read_text())
    answering = sum(
        line["seconds"] for line in run.read_predictions("fine_tune") if line["side"] == "dev"
    )
    earned = json.loads((run.folder / "verdict.json").read_text())["break_even"]
    assert (earned["unit"], earned["fixed"]) == ("seconds", record["train_seconds"])
    assert record["fit_seconds"] - record["train_seconds"] == pytest.approx(answering)
    assert answering > 0
    check_rescored(run.folder)


@pytest.mark.parametrize(("kind", "more"), [("classify", ""), ("answer", f"metric: chrf\n{THREE}")])
def test_a_run_on_a_part_of_the_rows_is_reached_again(kind: str, more: str) -> None:
    run = real_run(kind, more=f"{more}train: {{max_rows: 30}}\n")
    verdict = json.loads((run / "verdict.json").read_text())
    learned = {step["method"]: step["learned"] for step in verdict["ladder"]}
    assert (learned["fine_tune"], verdict["train_rows"]) == (30, 70)
    assert verdict["baseline_on_equal_rows"]["rows"] == 30
    notes = json.loads((run / "methods" / "fine_tune" / "method.json").read_text())["notes"]
    assert "trained on 30 of 70 rows" in notes
    assert learned["few_shot"] is None
    check_rescored(run)


def test_a_run_on_too_few_rows_is_reached_again() -> None:
    run = real_run(num=120, more="methods: [prompt, fine_tune]\n")
    assert json.loads((run / "verdict.json").read_text())["break_even"] is None
    check_rescored(run)


def test_prices_beside_a_prompt_model_are_reached_too() -> None:
    prices = "prices: {prompt: 1, answer: 2, per_hour: 3}\n"
    run = real_run(more=f"methods: [prompt, fine_tune]\nprompt_model: fake:delay=0.0\n{prices}")
    costs = json.loads((run / "verdict.json").read_text())["costs"]
    assert costs["prompt"]["price"] is None
    assert costs["fine_tune"]["price"] is not None
    check_rescored(run)


def test_the_mean_of_several_questions_is_reached_again(tmp_path: Path) -> None:
    task = write_question_task(
        tmp_path, make_question_rows(), "methods: [baseline, prompt, few_shot]\n"
    )
    run = compare(task).run
    assert [part["name"] for part in run.info["metric"]["parts"]] == [
        "accuracy",
        "accuracy",
        "kappa",
    ]
    scores = {line["score"] for name in run.fitted_methods for line in run.read_predictions(name)}
    assert len(scores) > 4, "some answers are right in part"
    check_rescored(run.folder)


@pytest.mark.real
@pytest.mark.parametrize("metric", ["accuracy", "macro_f1"])
def test_further_right_labels_are_counted_alike(metric: str, tmp_path: Path) -> None:
    task = write_task(tmp_path, "classify", more=f"metric: {metric}\n")
    examples = tmp_path / "examples.jsonl"
    rows = [json.loads(line) for line in examples.read_text().splitlines()]
    lines = [
        json.dumps(row | {"references": [THEMES[place % 8]], "tags": {"label": f"t{place % 3}"}})
        + "\n"
        for place, row in enumerate(rows)
    ]
    examples.write_text("".join(lines))
    run = compare(task).run
    assert any(line["references"] == [line["answer"]] for line in run.read_predictions("few_shot"))
    check_rescored(run.folder)


def test_a_run_in_which_nothing_is_right_is_reached_again(tmp_path: Path) -> None:
    task = write_task(
        tmp_path, "extract", more="methods: [prompt, fine_tune]\nmetric: exact_match\n"
    )
    examples = tmp_path / "examples.jsonl"
    rows = [json.loads(line) for line in examples.read_text().splitlines()]
    for place, row in enumerate(rows):
        row["output"] = json.dumps({"theme": "any", "age": place})
    examples.write_text("".join(json.dumps(row) + "\n" for row in rows))
    run = compare(task).run
    verdict = json.loads((run.folder / "verdict.json").read_text())
    assert verdict["sentence"].startswith("No method got any of 50 rows right")
    assert "share of right fields" in verdict["sentence"]
    check_rescored(run.folder)


def test_every_number_of_a_run_cut_to_its_budget_is_reached_again() -> None:
    run = real_run(num=700, budget=SHORT)
    check_rescored(run)
    ladder = json.loads((run / "verdict.json").read_text())["ladder"]
    assert len({row["rows"] for row in ladder}) > 1, "some methods answered a part of the test"


@pytest.mark.parametrize(
    ("keys", "value", "line"),
    [
        (("leaning",), "prompt", "leaning"),
        (("test_rows", "answered"), 49, "test rows: answered"),
        (("test_rows", "total"), 51, "test rows: in all"),
    ],
)
def test_a_number_that_was_changed_is_seen(
    keys: tuple[str, ...], value: Any, line: str, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    shutil.copytree(real_run(), run)
    verdict = json.loads((run / "verdict.json").read_text())
    inner = verdict
    for key in keys[:-1]:
        inner = inner[key]
    assert inner[keys[-1]] != value
    inner[keys[-1]] = value
    (run / "verdict.json").write_text(json.dumps(verdict))
    code, table = run_rescore(run)
    assert code == 1, table
    assert f"\n- {line}" in table


def change_candidate_scores(text: str) -> str:
    body = json.loads(text)
    assert len(body["candidates"]) > 1
    for candidate in body["candidates"]:
        if not candidate["is_chosen"]:
            candidate["dev"]["value"] += 0.01
    return json.dumps(body)


def flip_choice(text: str) -> str:
    body = json.loads(text)
    for candidate in body["candidates"]:
        candidate["is_chosen"] = not candidate["is_chosen"]
    return json.dumps(body)


def change_contract(text: str) -> str:
    lines = [json.loads(line) for line in text.splitlines()]
    broken = [line for line in lines if line["failures"]]
    broken[0]["keeps_contract"] = True
    return "".join(json.dumps(line) + "\n" for line in lines)


@pytest.mark.parametrize(
    ("file", "change", "line"),
    [
        ("methods/few_shot/method.json", change_candidate_scores, "few_shot: dev, "),
        ("methods/few_shot/method.json", flip_choice, "few_shot: chosen on dev"),
        (
            "methods/prompt/predictions.jsonl",
            change_contract,
            "prompt: rows with the same keeps_contract",
        ),
        (
            "methods/clear_prompt/tried.jsonl",
            change_contract,
            "clear_prompt, candidates: rows with the same",
        ),
    ],
)
def test_a_candidate_or_a_contract_that_was_changed_is_seen(
    file: str, change: Callable[[str], str], line: str, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    shutil.copytree(real_run(), run)
    (run / file).write_text(change((run / file).read_text()))
    code, table = run_rescore(run)
    assert code == 1, table
    assert f"\n- {line}" in table


CHECK = """
def known(example, answer):
    return len(answer) % 2 == 0
"""


def test_what_a_check_refuses_is_reached_too(tmp_path: Path) -> None:
    (tmp_path / "checks.py").write_text(CHECK)
    run = compare(write_task(tmp_path, more="check: checks.py:known\n")).run
    assert any(
        line["check"] == 0 and not line["failures"] for line in run.read_predictions("fine_tune")
    )
    check_rescored(run.folder)


CONTRACTS: dict[str, dict[str, Any]] = {
    "classify": {"labels": ["yes", "no", "maybe so"]},
    "extract": {
        "json_schema": {
            "type": "object",
            "properties": {
                "a": {"type": "integer", "minimum": 0},
                "b": {"type": "array", "items": {"enum": ["x", "y"]}},
            },
            "required": ["a", "b"],
            "additionalProperties": False,
        }
    },
    "answer": {"fields": ["Title", "Ages?", "Why"], "max_words": 6, "must_not_contain": ["bad"]},
    "rewrite": {"regex": "[a-z ]+", "must_contain": ["please"], "max_words": 4},
}
PIECES = {
    "classify": ("yes", "No.", '"maybe so"', "perhaps", " ", ""),
    "extract": (
        '{"a": 1, ',
        '"b": ["x"]}',
        '"b": ["z", 3]}',
        '"a": -1}',
        "{",
        '{"c": 1}',
        "[1]",
        "NaN",
    ),
    "answer": (
        "Title: one",
        "Ages: 3",
        "Ages",
        "Why: so",
        "Why:",
        "bad luck",
        "",
        "more words here now",
    ),
    "rewrite": ("please", "PLEASE", "go", "now 7", " ", "one two three four", ""),
}


@pytest.mark.parametrize("kind", CONTRACTS)
def test_both_implementations_agree_on_the_contract(kind: str) -> None:
    draw = random.Random(7)
    seen = set()
    contract = Contract(**CONTRACTS[kind])
    joint = "\n" if kind == "answer" else ""
    for text in {
        joint.join(draw.choices(PIECES[kind], k=draw.randint(1, 5))) for _ in range(2_000)
    }:
        failures = contract.check(text)
        assert rescore.keeps_contract(CONTRACTS[kind], text) == (not failures), text
        seen |= set(failures)
    assert len(seen) >= (2 if kind == "classify" else 4)


@pytest.mark.real
@pytest.mark.parametrize("kind", ["classify", "answer"])
def test_numbers_of_grouped_rows_are_reached_too(kind: str, tmp_path: Path) -> None:
    task = write_task(tmp_path, kind, num=400)
    read = "examples: {file: examples.jsonl, input: input, output: output, group: shelf}"
    rows = [json.loads(line) for line in (tmp_path / "examples.jsonl").read_text().splitlines()]
    shelved = [json.dumps(row | {"shelf": str(at // 5)}) for at, row in enumerate(rows)]
    (tmp_path / "examples.jsonl").write_text("\n".join(shelved) + "\n")
    task.write_text(task.read_text().replace("examples: examples.jsonl", read))
    run = compare(task).run
    assert run.info["unit"] == "group"
    check_rescored(run.folder)


REFUSED = """
import socket

def refuse(*_, **__):
    raise AssertionError("a socket was connected")

socket.socket.connect = socket.socket.connect_ex = socket.getaddrinfo = refuse
"""


def compare_command(task: Path, folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """The command line in a process whose sockets refuse to connect; what is refused stands in
    `folder`.
    """
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(REFUSED)
    paths = [str(folder), *filter(None, [os.environ.get("PYTHONPATH")])]
    command = [sys.executable, "-m", "etude.cli", "compare", str(task), "--yes", *options]
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(paths),
        "COLUMNS": "500",
    }  # no path folded
    probe = [sys.executable, "-c", "import socket; socket.socket().connect(('127.0.0.1', 9))"]
    refused = subprocess.run(probe, capture_output=True, text=True, check=False, env=environment)
    assert "a socket was connected" in refused.stderr
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)


def check_output_and_rescore(folder: Path, told: subprocess.CompletedProcess[str]) -> None:
    """The command ended well, printed the verdict and the report's path, and every number is
    reached.
    """
    assert told.returncode == 0, told.stdout + told.stderr
    (run,) = [file.parent for file in folder.glob("runs/*/verdict.json")]
    said = " ".join(told.stdout.split())
    assert " ".join(json.loads((run / "verdict.json").read_text())["sentence"].split()) in said
    path = re.search(r"^Report: (.*report\.html)$", told.stdout, re.M)
    assert path is not None, told.stdout
    assert (Path.cwd() / path[1]).samefile(run / "report.html")
    check_rescored(run)


@pytest.mark.real
def test_a_comparison_by_the_command_line_connects_to_nothing(tmp_path: Path) -> None:
    task = write_task(tmp_path)
    check_output_and_rescore(tmp_path, compare_command(task, tmp_path / "refused"))


@pytest.mark.real
def test_luma_by_the_command_line_with_the_real_model_connects_to_nothing(tmp_path: Path) -> None:
    luma = tmp_path / "luma"
    source = Path(__file__).parents[2] / "examples" / "luma"
    shutil.copytree(source, luma, ignore=shutil.ignore_patterns("runs", "__pycache__"))
    task = luma / "task.yaml"
    # All rows and methods take many minutes: here few rows and one method of each sort.
    for name, num in {"examples.jsonl": 100, "test.jsonl": 50}.items():
        lines = (luma / name).read_text(encoding="utf-8").splitlines(keepends=True)
        (luma / name).write_text("".join(lines[:num]), encoding="utf-8")
    text = task.read_text(encoding="utf-8")
    some, replaced = re.subn(
        r"(?m)^methods: .*$",
        "methods: [baseline, few_shot, fine_tune_retrieval]\ntrain: {max_rows: 32, epochs: 1}",
        text,
    )
    assert replaced == 1
    task.write_text(some, encoding="utf-8")
    check_output_and_rescore(luma, compare_command(task, tmp_path / "refused", "--budget", "1m"))


def test_a_comparison_of_conversations_scores_every_turn_and_is_reached_again(
    tmp_path: Path,
) -> None:
    task = write_task(tmp_path / "chats", num=1, more="turns: all\n")
    write_json_lines(task.parent / "examples.jsonl", chats(170))
    run = compare(task).run
    check_rescored(run.folder)
    verdict = run.verdict
    split = run.info["split"]
    assert verdict is not None
    assert sum(split[side] for side in ("train", "dev", "test")) == 170
    assert verdict.test_rows.total > split["test"]
    tuned = next(line for line in verdict.ladder if line.method == "fine_tune")
    assert tuned.learned == verdict.train_rows == split["train"]
    scores: dict[str, list[float]] = {}
    lines = [line for line in run.read_predictions("fine_tune") if line["side"] == "test"]
    for line in lines:
        scores.setdefault(line["conversation"], []).append(line["score"])
    share = sum(map(min, scores.values())) / len(scores)
    assert (whole := verdict.details["fine_tune"].conversations) is not None
    assert (whole.n, whole.value) == (len(scores), pytest.approx(share))
    sizes = {name: len(values) for name, values in scores.items()}
    assert compute_details("answer", lines[1:], None, sizes).conversations.n == whole.n - 1  # type: ignore[union-attr]
    assert {row.value for row in verdict.by_tag if row.tag == "turn"} == {
        "first",
        "second",
        "later",
    }
    report = (run.folder / "report.md").read_text(encoding="utf-8")
    assert "| Method | First turn | Second | Later | Worst turn of a conversation |" in report
    fitted = [load(run.assistant_folder(name)) for name in ("few_shot", "similar_shot")]
    shots = [shot.id for assistant in fitted for shot in (*assistant.shots, *assistant.pool)]
    assert shots
    assert not any("/" in shot for shot in shots)
    changed = load_task(task)
    _, rows = load_dataset(changed)
    names = (
        compute_fingerprints(replace(changed, turns=turns), rows, None) for turns in ("last", "all")
    )
    assert list_changes(*names) == ["turns"]

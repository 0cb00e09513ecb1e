"""Several labels a row and scores on a scale, through every command that a user runs."""

import csv
import json
import random
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import httpx2
import pytest

from etude.answer_file import predict
from etude.assistant import load
from etude.checks import check
from etude.comparison import compare
from etude.data.dataset import load_dataset
from etude.data.starter import write_starter
from etude.errors import InputError
from etude.metrics import choose_metric
from etude.report.read_run import read_report
from etude.studio.studio import Studio
from etude.task import load_task
from etude.text.label_lists import split_labels
from serving import serve_as, serving

WORDS = {
    "delivery": "parcel courier depot tracking",
    "refund": "money invoice refund paid",
    "tone": "rude shouting insult manners",
    "account": "login password locked username",
}
MOODS = ["awful", "poor", "fine", "pleasant", "superb"]


def write_rows(file: Path, rows: Sequence[Sequence[str]]) -> Path:
    """A table of rows, the first of which has the names of the columns."""
    with file.open("w", newline="", encoding="utf-8") as lines:
        csv.writer(lines).writerows(rows)
    return file


def write_lists(folder: Path, num: int = 220) -> Path:
    """Complaints as CSV, with their subjects divided by semicolons, at least one a row."""
    draw = random.Random(0)
    rows = [["text", "subjects"]]
    for number in range(num):
        labels = draw.sample(list(WORDS), draw.choice((1, 1, 2, 3)))
        words = [word for label in labels for word in draw.sample(WORDS[label].split(), 2)]
        filler = "".join(draw.choices("abcdefghij", k=12))
        rows.append([f"{number} {filler} {' '.join(words)}", "; ".join(labels)])
    return write_rows(folder / "rows.csv", rows)


def write_scores(folder: Path, num: int = 220) -> Path:
    """Reviews as JSON lines, with one to five stars."""
    draw = random.Random(0)
    rows = []
    for number in range(num):
        stars = draw.randint(1, 5)
        filler = "".join(draw.choices("abcdefghij", k=12))
        rows.append(
            {"review": f"{number} {filler} the stay was {MOODS[stars - 1]}", "stars": stars}
        )
    (folder / "rows.jsonl").write_text(
        "".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8"
    )
    return folder / "rows.jsonl"


def write_task(rows: Path, more: str = "") -> Path:
    """The task that `etude init` writes, for the fake model."""
    task = write_starter(rows).task_file
    text = task.read_text(encoding="utf-8").replace("smollm2-135m-instruct", "fake")
    task.write_text(f"{text}\nencoder: none\n{more}", encoding="utf-8")
    return task


@pytest.mark.parametrize(
    ("write", "metric", "lines"),
    [
        (write_lists, "sample_f1", ("kind: classify", "several: true", "labels:", "- delivery")),
        (write_scores, "kappa", ("kind: classify", "scale:", "- 1\n- 2\n- 3\n- 4\n- 5")),
    ],
)
def test_init_says_what_the_labels_are(
    write: Callable[[Path], Path], metric: str, lines: tuple[str, ...], tmp_path: Path
) -> None:
    text = write_task(write(tmp_path)).read_text(encoding="utf-8")
    assert all(line in text for line in lines)
    task, rows = load_dataset(load_task(tmp_path / "task.yaml"))
    assert choose_metric(task, rows).name == metric
    assert f"# metric: {metric}" in text
    # what the file offers can be used in it
    offers = re.findall("^# (?:handover|costs): .*", text, re.MULTILINE)
    assert bool(offers) == (metric == "kappa")
    for offer in offers:
        (tmp_path / "task.yaml").write_text(
            text.replace(offer, offer.removeprefix("# ")), encoding="utf-8"
        )
        load_task(tmp_path / "task.yaml")


@pytest.mark.real
@pytest.mark.parametrize(("write", "has_lists"), [(write_lists, True), (write_scores, False)])
def test_every_method_answers_and_the_run_is_used_like_any_other(
    write: Callable[[Path], Path], has_lists: bool, tmp_path: Path
) -> None:
    task_file = write_task(write(tmp_path))
    run = compare(task_file).run
    verdict = run.verdict
    names = ["baseline", "prompt", "clear_prompt", "few_shot", "similar_shot", "fine_tune"]
    assert set(names) <= set(run.fitted_methods)
    values = {step.method: step.estimate for step in verdict.ladder}
    assert values["baseline"].value > 0.9
    assert 0 <= values["prompt"].low <= values["prompt"].value <= values["prompt"].high <= 1
    others = verdict.other_metrics["baseline"]
    if has_lists:
        assert {*others} == {"subset_accuracy", "micro_f1", "macro_f1"}
        assert {pair.value for pair in verdict.by_tag if pair.method == "baseline"} >= {*WORDS}
        confused = [pair for method in read_report(run.folder).methods for pair in method.confused]
        assert confused
        assert all(label in WORDS for pair in confused for label in pair)
    else:
        assert {*others} == {"accuracy", "macro_f1", "mean_error"}
        assert 0 <= others["mean_error"].value < 0.2
    assert read_report(run.folder).methods[0].other_metrics == others
    assert (run.folder / "report.html").stat().st_size > 10_000
    # The saved assistant answers a file, and a person corrects a row.
    rows = load_dataset(load_task(task_file))[1]
    questions = write_rows(tmp_path / "questions.csv", [("question",), (rows[0].text,)])
    done = predict(run.folder, questions, tmp_path / "answers.csv", method="baseline")
    with (tmp_path / "answers.csv").open(encoding="utf-8", newline="") as lines:
        (line,) = csv.DictReader(lines)
    assert done.num_problems == 0
    assert (line["answer"], "fields" in line) == (rows[0].output, False)
    assert split_labels(line["label"]) == split_labels(rows[0].output)
    assistant = load(run.assistant_folder("baseline"))
    with serving(serve_as("baseline", assistant, tmp_path / "said.jsonl")) as url:
        body = {"model": "baseline", "messages": [{"role": "user", "content": rows[0].text}]}
        served = httpx2.post(f"{url}/v1/chat/completions", json=body).json()
    assert served["choices"][0]["message"]["content"] == rows[0].output
    studio = Studio(task_file)
    row = studio.data.list_examples()[0]
    assert studio.correct(row, "ana", "9; nothing", "wrong")
    assert not studio.correct(row, "ana", "refund; tone" if has_lists else "3", "right")
    assert studio.log.entries[-1].correction == ('["refund", "tone"]' if has_lists else "3")


def test_contracts_hold_models_to_a_list(tmp_path: Path) -> None:
    task, rows = load_dataset(load_task(write_task(write_lists(tmp_path))))
    assert not any(task.contract.check(row.output) for row in rows)
    assert task.contract.check('["refund", "weather"]')
    assert task.contract.grammar is not None
    assert "a list of all that apply" in task.contract.describe()
    assert all(split_labels(row.output) for row in rows)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("several: true\nscale: [1, 2, 3]", "several and scale cannot be used together"),
        ("turns: all", "turns: all cannot be used with kind: classify"),
        ("scale: [1, 2]", "at least three different labels"),
        ("several: true\nhandover: 0.05", "handover and several cannot be used together"),
        ("metric: kappa", "needs the key scale"),
        ("metric: micro_f1", "needs the key several"),
        ("several: true\nmetric: accuracy", "needs exactly one label per row"),
        ("scale: [1, 2, 3]\ncontract: {labels: [a, b]}", "are different"),
    ],
)
def test_keys_that_do_not_fit_are_refused(lines: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message):
        load_task(write_plain_task(tmp_path, [{"output": "1"}], lines))


def write_plain_task(folder: Path, outputs: list[dict[str, Any]], more: str) -> Path:
    rows = [{"input": f"row {number}"} | row for number, row in enumerate(outputs)]
    (folder / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    (folder / "task.yaml").write_text(
        f"kind: classify\nmodel: fake\nexamples: rows.jsonl\n{more}", encoding="utf-8"
    )
    return folder / "task.yaml"


COST = r"costs\.labels has a label that no row has"


@pytest.mark.parametrize(
    ("outputs", "more", "message"),
    [
        ([{"output": ["a", "b"]}] * 3, "", "several: true"),
        (
            [{"output": "1", "references": ["7"]}] * 2,
            "scale: [1, 2, 3]\n",
            "the label is not on the scale",
        ),
        *(
            (
                [{"output": str(n % 3 + 1)} for n in range(9)],
                f"{more}costs: {{labels: {{7: 20}}}}\n",
                COST,
            )
            for more in ("", "scale: [1, 2, 3]\n")
        ),
    ],
)
def test_rows_that_do_not_fit_their_keys_are_refused(
    outputs: list[dict[str, Any]], more: str, message: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=message):
        load_dataset(load_task(write_plain_task(tmp_path, outputs, more)))


@pytest.mark.real
def test_lists_with_a_label_that_does_not_fit_are_found(tmp_path: Path) -> None:
    file = write_lists(tmp_path, 600)
    draw = random.Random(1)
    with file.open(encoding="utf-8", newline="") as lines:
        header, *rows = csv.reader(lines)
    changed = range(0, 600, 15)
    for number in changed:  # a label that does not fit
        wrong = draw.choice([label for label in WORDS if label not in rows[number][1]])
        rows[number][1] += f"; {wrong}"
    task = write_task(write_rows(file, [header, *rows]))
    finding = check(task).select_kinds("wrong_label")[0]
    lines_of_rows = {int(location.split(":")[1]) - 2 for location in finding.locations}
    assert len(lines_of_rows & {*changed}) >= 25
    assert len(lines_of_rows - {*changed}) <= 3


@pytest.mark.real
def test_spellings_of_labels_are_compared_one_by_one(tmp_path: Path) -> None:
    task = write_task(write_lists(tmp_path), "")
    rows = (tmp_path / "rows.csv").read_text(encoding="utf-8")
    (tmp_path / "rows.csv").write_text(rows.replace("; refund", "; Refund", 1), encoding="utf-8")
    task.write_text(
        task.read_text(encoding="utf-8").replace("\n  - refund", "\n  - refund\n  - Refund")
    )
    assert "'Refund'" in check(task).select_kinds("label_spelling")[0].message

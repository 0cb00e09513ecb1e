"""`etude predict`: a file of inputs answered row by row, and what a kill leaves."""

import csv
import json
import os
import random
import signal
import time
import tracemalloc
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from etude import predict
from etude.answer_file import CHUNK
from etude.assistant import Assistant
from etude.cli import main
from etude.errors import InputError, RunError
from etude.models.fake import FakeModel
from etude.task.contract import Contract
from etude.types import Example, Message, ModelRef

SHOTS = tuple(
    Example(
        theme, (Message("user", f"a book about {theme}"),), f"Title: All about\n {theme}\nAges: 7"
    )
    for theme in ("dragons", "trains", 'the "wild" sea')
)


def saved(folder: Path, model: str = "fake", **parts: object) -> Path:
    """The folder of an assistant whose answers have line breaks and quotes."""
    contract = Contract(fields=("Title", "Ages", "answer?"))
    Assistant("few_shot", "answer", ModelRef(model), shots=SHOTS, contract=contract, **parts).save(
        folder / "a"
    )  # type: ignore[arg-type]
    return folder / "a"


def asked(number: int) -> Iterator[dict[str, str]]:
    for row in range(number):
        theme = ("dragons", "trains", 'the "wild" sea')[row % 3]
        question = f"Please find a book,\nnumber {row}, about {theme}"
        yield {"nr": str(row), "question": question, "answer": "gold"}


def written(file: Path, number: int) -> Path:
    rows = list(asked(number))
    if file.suffix == ".jsonl":
        file.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return file
    with file.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, rows[0], delimiter="\t" if file.suffix == ".tsv" else ",")
        writer.writeheader()
        writer.writerows(rows)
    return file


def table(file: Path, delimiter: str = ",") -> list[dict[str, str]]:
    with file.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream, delimiter=delimiter))


def test_a_table_keeps_its_columns_and_gains_answer_fields_and_form(tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    source = written(tmp_path / "in.csv", 200)
    target = tmp_path / "new" / "out.csv"
    found = predict(
        saved(tmp_path),
        source,
        target,
        on_progress=lambda done, total, left: told.append((done, total)),
    )
    rows = table(found.file)
    assert [row["nr"] for row in rows] == [str(number) for number in range(200)]
    assert list(rows[0]) == [
        *("nr", "question", "answer"),
        *(
            "predicted_answer",
            "Title",
            "Ages",
            "predicted_predicted_answer",
            "keeps_contract",
            "problem",
        ),
    ]
    assert rows[2]["predicted_answer"] == 'Title: All about\n the "wild" sea\nAges: 7'
    assert (rows[2]["Ages"], rows[2]["keeps_contract"], rows[2]["answer"]) == ("7", "true", "gold")
    assert (found.num_rows, found.num_problems, found.method) == (200, 0, "few_shot")
    assert told == [(CHUNK, 200), (200, 200)]
    assert [file.name for file in found.file.parent.iterdir()] == ["out.csv"]


@pytest.mark.parametrize(("source", "target"), [("in.jsonl", "out.jsonl"), ("in.tsv", "out.tsv")])
def test_other_kinds_of_files_say_the_same(source: str, target: str, tmp_path: Path) -> None:
    found = predict(saved(tmp_path), written(tmp_path / source, 5), tmp_path / target)
    if target.endswith(".tsv"):
        assert table(found.file, "\t")[4]["Ages"] == "7"
        return
    rows = [json.loads(line) for line in found.file.read_text().splitlines()]
    assert rows[1]["fields"] == {"Title": "All about\ntrains", "Ages": "7"}
    assert rows[1]["keeps_contract"] is True
    assert rows[1]["question"] == next(iter(list(asked(2))[1:]))["question"]


def test_a_classifier_gives_label_and_confidence(tmp_path: Path) -> None:
    contract = Contract(labels=("dragons", "trains"))
    shots = tuple(
        Example(name, (Message("user", f"about {name}"),), name) for name in contract.labels
    )
    parts = {"shots": shots, "choices": contract.labels, "contract": contract}
    assistant = Assistant("few_shot", "classify", ModelRef("fake"), **parts)  # type: ignore[arg-type]
    assistant.save(tmp_path / "a")
    replace(assistant, handover=1.0).save(tmp_path / "unsure")
    (tmp_path / "in.jsonl").write_text(
        '{"text": "about big trains"}\n{"text": "about green dragons", "more": [1, "ü"]}\n'
    )
    found = predict(tmp_path / "a", tmp_path / "in.jsonl", tmp_path / "out.jsonl")
    rows = [json.loads(line) for line in found.file.read_text().splitlines()]
    assert [row["label"] for row in rows] == ["trains", "dragons"]
    assert all(0 < row["confidence"] <= 1 for row in rows)
    assert rows[1]["more"] == [1, "ü"]
    assert "handed_over" not in rows[0]
    unsure = predict(tmp_path / "unsure", tmp_path / "in.jsonl", tmp_path / "unsure.jsonl")
    handed = [json.loads(line) for line in unsure.file.read_text().splitlines()]
    assert [row["handed_over"] for row in handed] == [row["confidence"] < 1 for row in rows]
    assert any(row["handed_over"] for row in handed)


def test_rows_that_cannot_be_answered_are_kept_and_say_why(tmp_path: Path) -> None:
    place = saved(tmp_path, "fake:context=400", max_tokens=20)
    chat = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "about trains"}]
    turns = (chat, [*chat, {"role": "assistant", "content": "no"}], [])
    lines = [{"messages": messages} for messages in turns]
    lines.append({"messages": [{"role": "user", "content": "word " * 500}]})
    (tmp_path / "in.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    found = predict(place, tmp_path / "in.jsonl", tmp_path / "out.jsonl")
    rows = [json.loads(line) for line in found.file.read_text().splitlines()]
    assert rows[0]["answer"] == rows[1]["answer"] == SHOTS[1].output
    assert rows[2]["answer"] is None
    assert rows[2]["problem"] == "messages contains no turns"
    assert rows[3]["problem"] == "longer than the 380 tokens that a prompt may have"
    assert found.num_problems == 2


def test_an_input_that_cannot_be_read_is_refused_whole(tmp_path: Path) -> None:
    place = saved(tmp_path)
    file = tmp_path / "in.jsonl"
    file.write_text('{"a": "x", "b": "y"}\nnothing\n')
    with pytest.raises(InputError) as error:
        predict(place, file, tmp_path / "out.csv")
    assert "in.jsonl:2" in str(error.value)
    assert "--input COLUMN" in str(error.value)
    file.write_text('{"a": "x", "b": "y"}\n')
    assert predict(place, file, tmp_path / "out.csv", input=["b"]).num_rows == 1
    for output, what in (("out.csv", "exists"), ("out.xlsx", "unknown format")):
        with pytest.raises(InputError, match=what):
            predict(place, file, tmp_path / output, input=["b"])
    with pytest.raises(InputError, match="no column 'c'"):
        predict(place, file, tmp_path / "new.csv", input=["c"])


@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
def test_the_output_is_the_same_wherever_it_was_cut(suffix: str, tmp_path: Path) -> None:
    place = saved(tmp_path)
    file = written(tmp_path / f"in{suffix}", CHUNK + 30)
    whole = predict(place, file, tmp_path / f"whole{suffix}").file.read_bytes()
    draw = random.Random(3)
    for number in range(20):
        output = tmp_path / f"out{number}{suffix}"
        name = part_of(place, file, output)
        (tmp_path / name).write_bytes(whole[: draw.randrange(len(whole))])
        predict(place, file, output)
        assert output.read_bytes() == whole


def part_of(place: Path, file: Path, output: Path) -> str:
    """The name of the file that grows until `output` is whole."""

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        predict(place, file, output, on_progress=stop)
    (part,) = output.parent.glob(f"{output.name}.*.part")
    return part.name


@pytest.mark.real
def test_killed_twenty_times_the_output_equals_the_uninterrupted_one(tmp_path: Path) -> None:
    """SIGKILL at random moments, in processes forked from this one."""
    file = written(tmp_path / "in.csv", 20 * CHUNK)
    output = tmp_path / "out.csv"
    whole = predict(saved(tmp_path), file, tmp_path / "whole.csv").file.read_bytes()
    place = saved(tmp_path / "slow", "fake:delay=0.002")
    kills = 0
    while kills < 20 and not output.exists():
        child = os.fork()
        if not child:
            predict(place, file, output)
            os._exit(0)
        time.sleep(random.uniform(0.01, 0.09))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        kills += 1
    if not output.exists():
        predict(place, file, output)
    assert kills >= 10
    assert output.read_bytes() == whole


def test_one_process_at_a_time_writes_an_output(tmp_path: Path) -> None:
    place = saved(tmp_path)
    file = written(tmp_path / "in.csv", 3)

    def again(*_: object) -> None:
        with pytest.raises(RunError, match="Another process is writing"):
            predict(place, file, tmp_path / "out.csv")

    predict(place, file, tmp_path / "out.csv", on_progress=again)


def test_ten_times_the_rows_take_no_more_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        FakeModel, "complete", lambda self, requests: [done(request) for request in requests]
    )
    peaks = []
    for number in (2 * CHUNK, 12 * CHUNK):
        file = written(tmp_path / f"{number}.jsonl", number)
        tracemalloc.start()
        predict(saved(tmp_path / str(number)), file, tmp_path / f"out{number}.csv")
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.2 * peaks[0] + 100_000


def done(request: object) -> object:
    from etude.types import Completion

    return Completion("Title: x\nAges: 1", "stop", 1, 0, 1, 0.0, -1.0)


def test_the_command_says_where_the_answers_are(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = saved(tmp_path)
    file = written(tmp_path / "in.csv", 3)
    assert main(["predict", str(place), str(file), "-o", str(tmp_path / "out.csv")]) == 0
    assert "3 rows, answered by few_shot." in capsys.readouterr().err
    assert main(["predict", str(place), str(file), "-o", str(tmp_path / "out.csv")]) == 2

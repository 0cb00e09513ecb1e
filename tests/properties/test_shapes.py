"""A file in the style of each project's documentation: read, trained on, written back."""

import csv
import json
import random
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_convert import TEXT, same, workbook, write_parquet

from etude import load, train
from etude.data.formats import read_rows
from etude.data.formats.preference_files import (
    PreferenceRow,
    RatedAnswer,
    read_preference_rows,
    read_rated_answers,
)
from etude.data.formats.write import FORMATS, convert, write_preferences
from etude.task import RowSource

SHAPES = Path(__file__).parents[1] / "shapes"
FILES = sorted(path.name for path in SHAPES.iterdir())
QUESTIONS = ("trains", "six", "whales")
RIGHT = ("The Night Train", "The Small Lighthouse", "A Whale in the Bay")


def numbered(row: str, n: int) -> str:
    """A row with words of its own in its question, so that no two rows are near-duplicates."""
    draw = random.Random(f"{n}/{row}")
    words = ("".join(draw.choices("abcdefghijklmnop", k=6)) for _ in range(8))
    return row.replace("?", f" {' '.join(words)} {n}?")


def many(file: Path, folder: Path) -> Path:
    """The rows of a file twenty times, each time with another question."""
    text = file.read_text()
    if file.suffix in (".csv", ".tsv"):
        head, *rows = text.splitlines()
        lines = [numbered(row, n) for n in range(20) for row in rows]
        made = "\n".join([head, *lines]) + "\n"
    elif file.suffix == ".json":
        rows = [json.dumps(row) for row in json.loads(text)]
        made = f"[{', '.join(numbered(row, n) for n in range(20) for row in rows)}]"
    else:
        made = "".join(numbered(row, n) + "\n" for n in range(20) for row in text.splitlines())
    target = folder / file.name
    target.write_text(made)
    return target


def train_and_answer(file: Path, folder: Path) -> Sequence[str]:
    """What a model that was trained on a file answers to three of its questions."""
    task = folder / "task.yaml"
    task.write_text(f"name: shapes\nkind: answer\nmodel: fake\nexamples: {file.name}\n")
    assistant = load(train(task).run.folder)
    rows = read_rows(RowSource(file)).examples
    asked = [next(row.input for row in rows if word in row.text) for word in QUESTIONS]
    return [each.text for each in assistant.answer(asked)]


@pytest.mark.parametrize("name", FILES)
def test_an_example_file_is_read_trained_on_and_written_back(name: str, tmp_path: Path) -> None:
    file = many(SHAPES / name, tmp_path)
    answers = train_and_answer(file, tmp_path)
    assert all(right in answer for right, answer in zip(RIGHT, answers, strict=True))
    shape = next((each for each in ("sharegpt", "trl", "kto") if name.startswith(each)), "openai")
    _, _, written = convert(file, shape, tmp_path / "back.jsonl")
    if "preference" in name:
        assert to_tuples(read_preference_rows(written)) == to_tuples(read_preference_rows(file))
    elif name == "kto.jsonl":
        assert to_tuples(read_rated_answers(written)) == to_tuples(read_rated_answers(file))
    else:
        assert same(read_rows(RowSource(written)), read_rows(RowSource(file)))


@pytest.mark.parametrize("kind", ["parquet", "xlsx", "folder"])
def test_files_that_are_no_text_are_trained_on_too(kind: str, tmp_path: Path) -> None:
    file = many(SHAPES / "table.csv", tmp_path)
    rows = [line.split(",", 1) for line in file.read_text().splitlines()]
    if kind == "parquet":
        pytest.importorskip("pyarrow")
        made = tmp_path / "rows.parquet"
        write_parquet(made, csv.DictReader(file.read_text().splitlines()))
    elif kind == "xlsx":
        pytest.importorskip("python_calamine")
        made = tmp_path / "rows.xlsx"
        workbook(made, [[cell.strip('"') for cell in row] for row in rows])
    else:
        datasets = pytest.importorskip("datasets")
        made = tmp_path / "saved"
        columns = {
            name: [row[at].strip('"') for row in rows[1:]] for at, name in enumerate(rows[0])
        }
        datasets.Dataset.from_dict(columns).save_to_disk(made)
    assert all(
        right in answer
        for right, answer in zip(RIGHT, train_and_answer(made, tmp_path), strict=True)
    )


def to_tuples(rows: Sequence[PreferenceRow | RatedAnswer]) -> list[tuple[object, ...]]:
    """Pairs or thumbs without the places where they stand."""
    return [
        (row.system, row.chosen.input, row.chosen.output, row.rejected)
        if isinstance(row, PreferenceRow)
        else (row.system, row.example.input, row.example.output, row.is_good)
        for row in rows
    ]


Drawn = tuple[str | None, list[tuple[str, str]], str, str, str]
"""System message, earlier turns, question, better and worse answer."""
PAIR = st.tuples(
    st.none() | TEXT.map(str.strip), st.lists(st.tuples(TEXT, TEXT), max_size=2), TEXT, TEXT, TEXT
)


@pytest.mark.parametrize("shape", FORMATS)
@settings(max_examples=25)
@given(drawn=st.lists(PAIR, min_size=1, max_size=3))
def test_preferences_are_read_again_as_they_were_written(
    shape: str,
    drawn: list[tuple[str | None, list[tuple[str, str]], str, str, str]],
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    folder = tmp_path_factory.mktemp("pairs")
    lines = []
    for system, before, question, better, worse in drawn:
        turns = [{"role": "system", "content": system}] if system else []
        for asked, said in before:
            turns += [{"role": "user", "content": asked}, {"role": "assistant", "content": said}]
        turns.append({"role": "user", "content": question})
        chosen, rejected = ([{"role": "assistant", "content": text}] for text in (better, worse))
        lines.append(json.dumps({"prompt": turns, "chosen": chosen, "rejected": rejected}) + "\n")
    (folder / "pairs.jsonl").write_text("".join(lines), encoding="utf-8")
    pairs = read_preference_rows(folder / "pairs.jsonl")
    written = folder / "again.jsonl"
    write_preferences(pairs, shape, written)
    if shape != "kto":
        assert to_tuples(read_preference_rows(written)) == to_tuples(pairs)
        return
    found = to_tuples(read_rated_answers(written))
    assert found[0::2] == [
        (pair.system, pair.chosen.input, pair.chosen.output, True) for pair in pairs
    ]
    assert found[1::2] == [(pair.system, pair.chosen.input, pair.rejected, False) for pair in pairs]

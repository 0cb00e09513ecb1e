"""Datasets: fingerprints, selections, and where rows and task meet."""

import hashlib
import json
import re
from dataclasses import FrozenInstanceError, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from etude.data.dataset import Dataset, count_reads, load_dataset, load_test
from etude.data.splits import split
from etude.errors import InputError
from etude.methods.shared.training_rows import sample_training_rows
from etude.task import RowSource, Task
from etude.types import Example, Message
from small_task import chats

ROWS = Dataset(
    tuple(
        Example(f"r{n}", (Message("user", f"q{n}"),), f"a{n}", location=f"f:{n}") for n in range(5)
    )
)


def task_of(tmp_path: Path, rows: list[dict[str, Any]], **changes: Any) -> Task:
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    task = Task("t", "answer", "fake", RowSource(file), tmp_path, tmp_path / "task.yaml")
    return replace(task, **changes)


def rows(count: int, **more: str) -> list[dict[str, Any]]:
    return [{"input": f"q{number}", "output": f"a{number}", **more} for number in range(count)]


def test_a_dataset_is_a_sequence_that_does_not_change() -> None:
    assert (len(ROWS), ROWS[1].id, [row.id for row in ROWS][-1]) == (5, "r1", "r4")
    with pytest.raises(FrozenInstanceError):
        ROWS.examples = ()  # type: ignore[misc]


@pytest.mark.parametrize(
    "change",
    [
        {"id": "x"},
        {"input": (Message("user", "x"),)},
        {"output": "x"},
        {"references": ("x",)},
        {"group": "x"},
        {"tags": {"a": "x"}},
    ],
)
def test_the_fingerprint_is_of_all_that_counts(change: dict[str, Any]) -> None:
    changed = Dataset((replace(ROWS[0], **change), *ROWS.examples[1:]))
    assert changed.fingerprint != ROWS.fingerprint


def test_the_fingerprint_is_not_of_where_rows_came_from_or_what_was_done() -> None:
    moved = Dataset(tuple(replace(row, location="elsewhere:1") for row in ROWS), ("moved",))
    assert moved.fingerprint == ROWS.fingerprint
    assert ROWS.select([1, 0, 2, 3, 4], "turned").fingerprint != ROWS.fingerprint


@given(st.lists(st.integers(0, 4), unique=True))
def test_a_selection_keeps_order_and_says_why(chosen: list[int]) -> None:
    by_place = ROWS.select(chosen, "sample")
    by_id = ROWS.select([f"r{n}" for n in chosen], "sample")
    assert by_place == by_id
    assert [row.id for row in by_place] == [f"r{n}" for n in chosen]
    assert by_place.history == (f"sample: {len(chosen)} of 5 rows",)


def test_what_is_not_there_cannot_be_selected() -> None:
    with pytest.raises(KeyError):
        ROWS.select(["r9"], "x")
    with pytest.raises(IndexError):
        ROWS.select([9], "x")


def test_ids_are_unique() -> None:
    with pytest.raises(InputError, match="rows have the same id"):
        Dataset((ROWS[0], ROWS[0]))


def test_a_system_message_of_all_rows_becomes_the_instructions(tmp_path: Path) -> None:
    task, dataset = load_dataset(task_of(tmp_path, rows(30, system="Be kind.")))
    assert task.instructions == "Be kind."
    assert len(dataset) == 30
    assert dataset.history == ("read from rows.jsonl: 30 rows",)
    assert "input = input, output = output, system = system" in task.notes[0]


def test_a_system_message_equal_to_the_instructions_is_no_conflict(tmp_path: Path) -> None:
    mixed = [*rows(30, system="Be kind. "), {"input": "x", "output": "y"}]
    task, _ = load_dataset(task_of(tmp_path, mixed, instructions="Be kind."))
    assert task.instructions == "Be kind."


def test_a_test_file_must_agree_with_the_instructions_of_the_examples(tmp_path: Path) -> None:
    test = tmp_path / "test.jsonl"
    test.write_text(json.dumps({"input": "a", "output": "b", "system": "Be rude."}) + "\n")
    task, _ = load_dataset(task_of(tmp_path, rows(30, system="Be kind."), test=RowSource(test)))
    with pytest.raises(InputError, match=r"test\.jsonl:1: .*conflicts .*'Be rude\.'"):
        load_test(task)


def test_what_is_changed_or_broken_in_the_test_file_is_noted(tmp_path: Path) -> None:
    from etude.task.contract import Contract

    test = tmp_path / "test.jsonl"
    lines = [*rows(39), {"input": "x", "output": " too many words "}]
    test.write_text("".join(json.dumps(row) + "\n" for row in lines))
    task = task_of(tmp_path, rows(30), test=RowSource(test), contract=Contract(max_words=2))
    found = load_test(load_dataset(task)[0])
    assert (
        "test.jsonl: answers with spaces or line breaks at the ends, which were removed: 1"
        in found.notes
    )
    assert "1 answer of the test file breaks the contract: test.jsonl:40" in found.notes


def test_a_task_without_a_test_file_has_none(tmp_path: Path) -> None:
    assert load_test(task_of(tmp_path, rows(30))) is None


def test_the_same_file_is_the_same_dataset(tmp_path: Path) -> None:
    first = load_dataset(task_of(tmp_path, rows(30)))[1]
    assert load_dataset(task_of(tmp_path, rows(30)))[1].fingerprint == first.fingerprint


@pytest.mark.parametrize("own_test", [False, True])
def test_the_least_rows_that_are_named_are_the_least_that_a_split_takes(
    tmp_path: Path, own_test: bool
) -> None:
    def made(count: int) -> Dataset:
        texts = [
            hashlib.sha256(f"{count} {number}".encode()).hexdigest() for number in range(count)
        ]
        return Dataset(tuple(Example(text, (Message("user", text),), "a") for text in texts))

    test = RowSource(tmp_path / "test.jsonl") if own_test else None
    with pytest.raises(InputError, match="too few rows for a comparison; ") as caught:
        load_dataset(task_of(tmp_path, rows(5), test=test))
    least = int(
        re.findall(r"too few rows for a comparison; the minimum is (\d+)", str(caught.value))[0]
    )
    split(made(least), "answer", 0, made(60) if own_test else None)
    with pytest.raises(InputError):
        split(made(least - 1), "answer", 0, made(60) if own_test else None)


@pytest.mark.parametrize("broken", [1, 2])
def test_a_few_answers_that_break_the_contract_are_said_and_many_refused(
    tmp_path: Path, broken: int
) -> None:
    from etude.task.contract import Contract

    long = [{"input": f"x{number}", "output": "too many words"} for number in range(broken)]
    task = task_of(tmp_path, rows(21) + long, contract=Contract(max_words=2))
    if broken == 1:
        notes = load_dataset(task)[0].notes
        assert "1 answer of the examples breaks the contract: rows.jsonl:22" in notes
    else:
        with pytest.raises(InputError, match=r"rows\.jsonl:22: .*over 2 words"):
            load_dataset(task)


@pytest.mark.parametrize("seed", range(3))
def test_every_answer_of_a_conversation_is_a_question_on_one_side(
    seed: int, tmp_path: Path
) -> None:
    task = task_of(tmp_path, lines := chats(120, seed=seed))
    (_, last), (_, every) = (load_dataset(replace(task, turns=turns)) for turns in ("last", "all"))
    asked = {
        (*(turn["content"] for turn in line["messages"][:place]), turn["content"])
        for line in lines
        for place, turn in enumerate(line["messages"])
        if turn["role"] == "assistant"
    }
    assert {(*(turn.content for turn in row.input), row.output) for row in every} == asked
    assert len(every) == len(asked) == sum(len(line["messages"]) // 2 for line in lines)

    # Training reads what it reads with `turns: last`: ids, turns, answers and lines, from which
    # token rows are made.
    to_train = [
        [(row.id, row.input, row.output, row.location) for row in rows]
        for rows in (every.whole, last)
    ]
    assert to_train[0] == to_train[1]
    share = sample_training_rows(task, every, 10)
    chosen = {row.conversation for row in share.whole}
    assert len(chosen) == 10
    assert [row.id for row in share] == [row.id for row in every if row.conversation in chosen]
    counted, positions_read = count_reads(last)
    assert len(counted.whole) == len(last)
    assert not positions_read
    sides = split(every, "answer", seed)
    names = [{row.conversation for row in side} for side in (sides.train, sides.dev, sides.test)]
    assert sum(map(len, names)) == len(set.union(*names)) == len(lines)


def test_a_turn_of_weight_0_is_history_and_no_question(tmp_path: Path) -> None:
    lines = chats(120)
    for line in lines:
        line["messages"][1 if len(line["messages"]) > 2 else 0]["weight"] = 0  # type: ignore[index]
    _, every = load_dataset(task_of(tmp_path, lines, turns="all"))
    numbers = [
        sum(turn.role == "assistant" for turn in row.input) + 1 for row in every if row.group
    ]
    assert numbers
    assert 1 not in numbers
    names = {1: "first", 2: "second"}
    assert [row.tags["turn"] for row in every if row.group] == [
        names.get(num, "later") for num in numbers
    ]

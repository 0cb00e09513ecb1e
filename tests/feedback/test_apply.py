"""What people said becomes rows: resolved between people, never of the test, and in the shape of
the file.
"""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from etude.assistant import Assistant
from etude.checks import check
from etude.cli import main
from etude.data.dataset import MinRows, load_dataset
from etude.data.formats import read_rows
from etude.data.splits import input_key
from etude.errors import InputError
from etude.feedback import FILE, FeedbackLog, read_feedback
from etude.feedback.apply import AppliedFeedback, apply_feedback, read_task_feedback
from etude.feedback.gather import GatheredFeedback
from etude.runs.folder import FOLDER, Run
from etude.runs.openings import open_test
from etude.runs.split import compute_split
from etude.task import RowSource, load_task
from etude.types import Message, ModelRef
from small_task import write_task

GOOD = "Title: Dragons at Dawn\nAges: 7"
WORSE = "Title: Trains\nAges: 3"


def gather_entries(task_file: Path, *said: dict[str, object]) -> GatheredFeedback:
    log = FeedbackLog(task_file.parent / FILE)
    for body in said:
        number = len(log.entries)
        filled = {"reviewer": "ana", "assistant": "", "input": "Dragons?", "answer": WORSE}
        log.add(read_feedback({**filled, "id": f"id{number}", **body}))
    return read_task_feedback(load_task(task_file, needs_model=False))[0]


def kinds(found: GatheredFeedback) -> list[str]:
    return [finding.kind for finding in found.findings]


@pytest.fixture
def task(tmp_path: Path) -> Path:
    return write_task(tmp_path / "task")


def test_an_accepted_answer_is_an_answer_and_no_preference(task: Path) -> None:
    found = gather_entries(task, {"answer": GOOD, "correction": GOOD})
    assert len(found.answers) == len(found.judgements) == 1
    assert not found.preferences


def test_choices_and_thumbs(task: Path) -> None:
    found = gather_entries(
        task,
        {"answer": WORSE, "other": GOOD, "choice": "other"},
        {"input": "Trains?", "answer": WORSE, "thumb": "up"},
        {"input": "Cats?", "answer": "a", "other": "b", "choice": "neither"},
    )
    assert [(each.chosen, each.rejected) for each in found.preferences] == [(GOOD, WORSE)]
    judged = {(each.answer, each.is_good) for each in found.judgements}
    assert judged == {(WORSE, True), ("a", False), ("b", False)}
    assert not found.answers


def test_the_last_word_of_a_person_counts(task: Path) -> None:
    found = gather_entries(task, {"correction": WORSE}, {"thumb": "down", "reason": "wrong age"})
    assert not found.answers
    assert [(each.answer, each.is_good) for each in found.judgements] == [(WORSE, False)]
    assert kinds(found) == ["feedback_repeated"]


def test_people_who_disagree_are_reported_and_a_majority_settles_it(task: Path) -> None:
    found = gather_entries(task, {"correction": WORSE}, {"reviewer": "ben", "thumb": "down"})
    assert not found.answers
    assert not found.judgements
    assert kinds(found) == ["feedback_contradiction"]
    assert found.findings[0].rows == ("id0", "id1")
    found = gather_entries(task, {"reviewer": "eva", "thumb": "down"})
    assert [(each.answer, each.is_good) for each in found.judgements] == [(WORSE, False)]


def test_of_two_free_answers_the_last_is_taken_and_of_two_labels_none(tmp_path: Path) -> None:
    said = ({"correction": GOOD}, {"reviewer": "ben", "correction": f"{GOOD}0"})
    free = gather_entries(write_task(tmp_path / "free"), *said)
    assert [each.output for each in free.answers] == [f"{GOOD}0"]
    assert kinds(free) == ["feedback_answers_differ"]
    labels = write_task(tmp_path / "labels", "classify")
    asked = {"answer": "space", "correction": "ghosts"}
    split = gather_entries(labels, asked, {"reviewer": "ben", **asked, "correction": "music"})
    assert not split.answers
    assert kinds(split) == ["feedback_contradiction"]
    settled = gather_entries(labels, {"reviewer": "eva", **asked})
    assert [each.output for each in settled.answers] == ["ghosts"]


def test_a_correction_that_breaks_the_contract_is_left_out(task: Path) -> None:
    found = gather_entries(task, {"correction": "Dragons at Dawn"})
    assert not found.answers
    assert kinds(found) == ["feedback_contract"]


def test_nothing_of_the_test_enters_by_hash_or_near_duplicate(task: Path) -> None:
    loaded, rows = load_dataset(load_task(task))
    run = Run(task.parent / FOLDER / "small-1")
    parts = compute_split(run, loaded, rows, None)
    open_test(task.parent / FOLDER, "1", parts.test)
    hidden = parts.test[0].text
    near = f"{parts.test[1].text}, please!"
    chat = [
        *({"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Yes?"}),
        {"role": "user", "content": parts.test[2].text.upper()},
    ]
    found = gather_entries(
        task,
        *({"input": asked, "correction": GOOD} for asked in (hidden, near, chat)),
        {"input": hidden, "answer": "x", "other": "y", "choice": "both"},
        {"input": parts.train[0].text, "correction": GOOD},
    )
    assert [each.key for each in found.answers] == [input_key(parts.train[0])]
    assert {each.input[0].content for each in found.judgements} == {parts.train[0].text}
    assert found.findings[0].kind == "feedback_sealed"
    assert found.findings[0].rows == ("id0", "id1", "id2", "id3")


def test_the_users_own_test_file_is_sealed_before_any_run(task: Path) -> None:
    text = "Have you got anything about whales, sharks and rays for a boy of nine?"
    (task.parent / "test.jsonl").write_text(json.dumps({"input": text, "output": GOOD}) + "\n")
    task.write_text(f"{task.read_text()}test: test.jsonl\n")
    found = gather_entries(task, {"input": f"{text} Thanks.", "correction": GOOD})
    assert kinds(found) == ["feedback_sealed"]


def test_apply_replaces_adds_and_updates_the_task_file(task: Path) -> None:
    source = task.parent / "examples.jsonl"
    before = source.read_bytes()
    lines = source.read_text().splitlines()
    third = json.loads(lines[2])
    gather_entries(
        task, {"input": third["input"], "correction": GOOD}, {"correction": GOOD, "input": "New?"}
    )
    text = task.read_text()
    task.write_text(
        text.replace("examples: examples.jsonl", "examples: examples.jsonl  # our rows")
    )
    done = apply_feedback(task, update=True)
    assert done.count("feedback_added") == done.count("feedback_replaced") == 1
    new = done.files.fixed_file.read_text().splitlines()
    assert source.read_bytes() == before
    assert new[:2] + new[3:-1] == lines[:2] + lines[3:]
    assert json.loads(new[2]) == {**third, "output": GOOD}
    assert json.loads(new[-1]) == {"input": "New?", "output": GOOD}
    assert "examples: examples.feedback.jsonl  # our rows" in task.read_text()
    assert "ana, " in done.files.log.read_text()
    again = apply_feedback(task)
    assert (again.num_known, len(again.changes)) == (2, 0)
    assert not again.files.fixed_file.exists()
    gather_entries(task, {"input": "Another?", "correction": GOOD})
    assert apply_feedback(task).files.fixed_file.name == "examples.feedback-2.jsonl"


def test_each_of_the_rows_with_one_input_is_corrected_or_left_out(tmp_path: Path) -> None:
    task = write_task(tmp_path / "task", "classify")
    source = task.parent / "examples.jsonl"
    texts = ("Where is my refund?", "where is my refund", "Where is my REFUND?")
    shared = [*zip(texts, ("trains", "ghosts", "ghosts"), strict=True)]
    with source.open("a") as stream:
        stream.writelines(
            json.dumps({"input": text, "output": label}) + "\n" for text, label in shared
        )
    lines = source.read_text().splitlines()
    asked = {"input": shared[0][0], "answer": "trains"}

    gather_entries(task, {**asked, "exclude": True})
    assert apply_feedback(task).files.fixed_file.read_text().splitlines() == [
        *lines[:-3],
        *lines[-2:],
    ]
    gather_entries(
        task, {"input": shared[1][0], "answer": "ghosts", "reviewer": "ben", "exclude": True}
    )
    assert apply_feedback(task).files.fixed_file.read_text().splitlines() == [
        *lines[:-3],
        lines[-1],
    ]
    gather_entries(task, {**asked, "undo": "id0"}, {**asked, "reviewer": "ben", "undo": "id1"})
    gather_entries(task, {**asked, "correction": "ghosts"})
    done = apply_feedback(task)
    assert done.count("feedback_replaced") == 1
    labels = [json.loads(line)["output"] for line in done.files.fixed_file.read_text().splitlines()]
    assert labels[-3:] == ["ghosts", "ghosts", "ghosts"]
    gather_entries(task, {**asked, "correction": "dragons", "reviewer": "ana"})
    assert apply_feedback(task).count("feedback_replaced") == 3


def test_new_rows_train_and_a_corrected_row_keeps_its_side(task: Path) -> None:
    loaded, rows = load_dataset(load_task(task))
    before = compute_split(Run(task.parent / FOLDER / "small-1"), loaded, rows, None)
    texts = [f"{number} entirely new words {'xyz' * number}" for number in range(8)]
    gather_entries(
        task, *({"input": text, "correction": GOOD} for text in (before.dev[0].text, *texts))
    )
    done = apply_feedback(task, update=True)
    loaded, rows = load_dataset(load_task(task))
    after = compute_split(Run(task.parent / FOLDER / "small-2"), loaded, rows, None)
    added = {change.row for change in done.changes if not change.before}
    assert len(added) == 8
    assert {row.text for row in after.train} >= {
        row.text for row in rows if "entirely new" in row.text
    }
    assert [row.output for row in after.dev if row.text == before.dev[0].text] == [GOOD]


ROWS = {
    "table.csv": 'id;question;answer;topic\n1;"Dragons; big?";Yes.;x\n2;Trains?;No.;y',
    "chat.jsonl": '{"conversations": [{"from": "system", "value": "S."}, {"from": "human", '
    '"value": "Hi"}, '
    '{"from": "gpt", "value": "Hello"}]}\n',
    "numbers.jsonl": '{"id": "a", "text": "one", "label": 1, "tags": {"t": "u"}}\n',
    "plain.tsv": "text\tlabel\none\t1\n",
}


@pytest.mark.parametrize("name", ROWS)
def test_new_rows_have_the_shape_of_the_file(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text(ROWS[name])
    kind = "answer" if name in ("table.csv", "chat.jsonl") else "classify"
    task = tmp_path / "task.yaml"
    task.write_text(f"name: t\nkind: {kind}\nmodel: fake\nexamples: {name}\n")
    output = 'It; "is".' if kind == "answer" else "2"
    said = {"input": 'Quoted; "text"?', "answer": "Bad.", "correction": output}
    chat = [{"role": role, "content": role} for role in ("user", "assistant", "user")]
    gather_entries(task, said, {"input": chat, "correction": output})
    done = apply_feedback(task, update=True)
    loaded = load_task(task, needs_model=False)
    rows = read_task_feedback(loaded)[1].rows
    assert next(row.output for row in rows if row.text == said["input"]) == output
    turns = name.endswith(".jsonl")
    assert len(done.unwritable) == (0 if turns else 1)
    assert any(len(row.input) == 3 for row in rows) == turns
    assert done.files.fixed_file.read_text().startswith(ROWS[name])


def offer(name: str) -> list[dict[str, object]]:
    return [{"type": "function", "function": {"name": name, "parameters": {"type": "object"}}}]


@pytest.mark.parametrize(
    "systems",
    [("", "", ""), ("Be kind.",) * 3, ("Be kind.", "Be brief.", ""), ("", "", "Be brief.")],
)
@pytest.mark.parametrize(
    "names", [("", "", ""), ("tides",) * 3, ("tides", "moon", "tides"), ("", "moon", "")]
)
def test_a_new_row_has_the_system_message_and_functions_of_its_input(
    tmp_path: Path, systems: tuple[str, ...], names: tuple[str, ...]
) -> None:
    lines = []
    for number in range(24):
        system = systems[number % 3]
        name = names[number // 3 % 3]
        head = [{"role": "system", "content": system}] if system else []
        asked = {"role": "user", "content": f"Question {number}?"}
        answer = {"role": "assistant", "content": "Yes."}
        lines.append(
            {"messages": [*head, asked, answer], **({"tools": offer(name)} if name else {})}
        )
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    task_file = tmp_path / "task.yaml"
    task_file.write_text("name: t\nkind: answer\nmodel: fake\nexamples: rows.jsonl\n")

    def load_prompts() -> dict[str, tuple[Message, ...]]:
        task, data = load_dataset(load_task(task_file), MinRows(1, 0, 0))
        assistant = Assistant("prompt", "answer", ModelRef("fake"), task.instructions)
        return {row.text: assistant.build_messages(row.input) for row in data}

    before = load_prompts()
    _, data = load_dataset(load_task(task_file), MinRows(1, 0, 0))
    turns = [[{"role": turn.role, "content": turn.content} for turn in row.input] for row in data]
    for chat in turns:
        chat[-1]["content"] += " Another wording!"
    gather_entries(task_file, *({"input": chat, "correction": "No."} for chat in turns))
    assert apply_feedback(task_file, update=True).count("feedback_added") == 24
    after = load_prompts()
    for text, prompt in before.items():
        assert after[text] == prompt
        assert after[f"{text} Another wording!"][:-1] == prompt[:-1]


@pytest.mark.parametrize("right", ["another call", "I cannot."])
@pytest.mark.parametrize("shape", ["openai", "sharegpt", "text"])
def test_a_function_call_is_corrected(tmp_path: Path, shape: str, right: str) -> None:
    call = {"name": "tides", "arguments": {"town": "Brest"}}
    if shape == "sharegpt":
        said = {"human": "High tide?", "function_call": json.dumps(call)}
        turns = [{"from": role, "value": text} for role, text in said.items()]
        line: dict[str, object] = {"conversations": turns, "tools": offer("tides"), "id": "a"}
    else:
        function = {**call, "arguments": json.dumps(call["arguments"])}
        chat = [{"role": "user", "content": "High tide?"}]
        chat.append({"role": "assistant", "content": None, "tool_calls": [{"function": function}]})  # type: ignore[dict-item]
        line = {
            "messages": json.dumps(chat) if shape == "text" else chat,
            "tools": offer("tides"),
            "id": "a",
        }
    (tmp_path / "rows.jsonl").write_text(json.dumps(line) + "\n")
    task = tmp_path / "task.yaml"
    task.write_text("name: t\nkind: answer\nmodel: fake\nexamples: rows.jsonl\n")
    (before,) = read_task_feedback(load_task(task, needs_model=False))[1].rows
    right = before.output.replace("Brest", "Nantes") if right == "another call" else right
    gather_entries(task, {"input": "High tide?", "answer": before.output, "correction": right})
    applied = apply_feedback(task, update=True)
    assert (applied.count("feedback_replaced"), applied.unwritable) == (1, ())
    (after,) = read_task_feedback(load_task(task, needs_model=False))[1].rows
    assert after == replace(before, output=right, location=after.location)


def test_a_correction_changes_only_the_row_with_the_same_system_message(tmp_path: Path) -> None:
    systems = ("To French.", "To German.", "To Danish.")
    lines = [
        {"system": system, "input": text, "output": f"{text}: {system}"}
        for text in ("Cheese", "Bread", "Ham")
        for system in systems[: 2 if text == "Ham" else 3]
    ]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    task_file = tmp_path / "task.yaml"
    task_file.write_text("name: t\nkind: answer\nmodel: fake\nexamples: rows.jsonl\n")
    assert not [
        item for item in check(task_file).items if item.kind in ("contradiction", "repeated_input")
    ]
    for text in ("Bread", "Ham"):
        chat = [{"role": "system", "content": systems[2]}, {"role": "user", "content": text}]
        gather_entries(task_file, {"input": chat, "answer": "?", "correction": f"Corrected {text}"})
    applied = apply_feedback(task_file, update=True)
    assert applied.count("feedback_replaced") == applied.count("feedback_added") == 1
    rows = read_task_feedback(load_task(task_file, needs_model=False))[1].rows
    expected = {
        (text, system): f"{text}: {system}"
        for text in ("Cheese", "Bread", "Ham")
        for system in systems
    }
    expected |= {(text, systems[2]): f"Corrected {text}" for text in ("Bread", "Ham")}
    assert {(row.text, row.input[0].content): row.output for row in rows} == expected


def test_a_file_that_somebody_has_changed_is_not_written_over(task: Path) -> None:
    gather_entries(task, {"correction": GOOD})
    done: AppliedFeedback = apply_feedback(task)
    with done.files.fixed_file.open("a") as out:
        out.write(json.dumps({"input": "mine", "output": GOOD}) + "\n")
    with pytest.raises(InputError, match="was changed after"):
        apply_feedback(task)


def run(*arguments: str | Path) -> None:
    assert main([str(each) for each in arguments]) == 0


def test_the_commands_list_apply_and_export(task: Path, capsys: pytest.CaptureFixture[str]) -> None:
    chat = [{"role": role, "content": role} for role in ("user", "assistant", "user")]
    gather_entries(
        task,
        {"correction": GOOD, "reason": "a girl of seven"},
        {"input": chat, "answer": GOOD, "other": WORSE, "choice": "answer"},
        {"reviewer": "ben", "flag": True},
    )
    run("feedback", "list", task)
    listed = capsys.readouterr().out
    assert "corrected: 'a girl of seven'" in listed
    assert "entries: 1 right answer, 2 preferences, 2 good or bad answers." in listed
    assert "1 entry flagged for an expert" in listed
    question = [{"role": "user", "content": "Dragons?"}]
    for shape, wanted in {
        "kto": [
            {"prompt": question, "completion": [turn(GOOD)], "label": True},
            {"prompt": question, "completion": [turn(WORSE)], "label": False},
        ],
        "preferences": [
            {"prompt": asked, "chosen": [turn(GOOD)], "rejected": [turn(WORSE)]}
            for asked in (question, chat)
        ],
        "openai": [
            {
                "input": {"messages": asked},
                "preferred_output": [turn(GOOD)],
                "non_preferred_output": [turn(WORSE)],
            }
            for asked in (question, chat)
        ],
    }.items():
        run("feedback", "export", task, "--as", shape)
        assert [json.loads(line) for line in capsys.readouterr().out.splitlines()] == wanted
    run("feedback", "export", task, "-o", task.parent / "pairs.jsonl")
    assert len(read_rows(RowSource(task.parent / "pairs.jsonl")).examples) == 2
    run("feedback", "apply", task)
    said = capsys.readouterr().out
    assert "1 row added, 0 rows of examples.jsonl corrected" in said
    assert "  examples: examples.feedback.jsonl" in said
    assert main(["feedback", "export", str(task), "--as", "parquet"]) == 2


def turn(text: str) -> dict[str, str]:
    return {"role": "assistant", "content": text}

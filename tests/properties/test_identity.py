"""A run is told from others by what its inputs mean, and a change is named."""

import json
import os
import random
import shutil
from pathlib import Path

import pytest

from etude.comparison import compare
from etude.data.dataset import load_dataset, load_test
from etude.errors import RunError
from etude.runs import Run
from etude.runs.events import Event, MethodEnded, NoteEvent
from etude.runs.fingerprints import compute_fingerprints, list_changes
from etude.runs.lifecycle import set_budget
from etude.task import load_task
from etude.task.keys import KEYS
from small_task import compare_until, rows, write_task

FULL = """\
methods: [baseline, prompt]
prompt_model: fake:delay=0.0
reflect_with: fake:delay=0.0
searched_prompt: {calls: 90}
test: test.jsonl
made_rows: made.jsonl
documents: notes.txt
preferences: pairs.jsonl
encoder: none
evidence: one_run
wordings: [Say it briefly.]
check: checks.py:fits
metric: passes
margin: 0.03
target: 0.9
budget: 10m
usage: {facts_change: yearly}
prices: {answer: 1.5}
seed: 3
train: {epochs: 1, rank: 8}
max_tokens: 24
engine: local
limits: {out_of_scope: No.}
"""
CHANGES = {
    "name": "name: other",
    "kind": "kind: rewrite",
    "model": "model: fake:delay=0.01",
    "instructions": "instructions: You are a librarian.",
    "contract": "contract: {fields: [Title, Ages], max_words: 40}",
    "methods": "methods: [baseline]",
    "prompt_model": "prompt_model: fake:delay=0.02",
    "reflect_with": "reflect_with: fake:delay=0.02",
    "searched_prompt": "searched_prompt: {calls: 91}",
    "wordings": "wordings: [Say it at length.]",
    "check": "check: checks.py:other",
    "metric": "metric: chrf",
    "margin": "margin: 0.04",
    "target": "target: 0.8",
    "budget": "budget: 11m",
    "usage": "usage: {facts_change: daily}",
    "prices": "prices: {answer: 1.6}",
    "encoder": "encoder: all-minilm-l6-v2",
    "evidence": "evidence: full",
    "seed": "seed: 4",
    "engine": "engine: llama_cpp",
    "limits": "limits: {out_of_scope: Never.}",
    "train": "train: {epochs: 1, rank: 4}",
    "max_tokens": "max_tokens: 25",
}
"""A line of the task file in place of the one with the same key."""
CLASSIFIERS = ("handover", "costs", "decision_model", "several", "scale", "questions")
"""Keys for classifiers (test_handover.py, test_error_costs.py, test_decide.py,
test_questions.py).
"""
OTHERS = ("judge", "suite", "gates", "where", "weights", "turns", "tools")
FILES = ("examples", "test", "made_rows", "documents", "preferences", *OTHERS, *CLASSIFIERS)
"""Keys of files, whose contents count; `judge` needs an endpoint (test_judging.py); `suite`,
`gates` and `where` bear on no run (test_suites.py, test_cluster.py); `weights` are a part of the
model (test_quantized.py); `turns` also changes the rows (test_rescore.py), and so do `tools`
(test_tool_class.py).
"""


def full_task(folder: Path) -> Path:
    task = write_task(folder)
    task.write_text(
        task.read_text()
        .replace("contract:\n  fields: [Title, Ages]\n", "contract: {fields: [Title, Ages]}\n")
        .replace("encoder: none\n", "")
        + FULL
    )
    (folder / "test.jsonl").write_text(
        "".join(json.dumps(row) + "\n" for row in rows("answer", 60, seed=9))
    )
    (folder / "notes.txt").write_text("Dragons are shelved under D.")
    (folder / "made.jsonl").write_text('{"input": "Any bears?", "output": "Title: B\\nAges: 3"}\n')
    (folder / "pairs.jsonl").write_text(
        '{"prompt": "Hi", "chosen": "Good day.", "rejected": "What?"}\n'
    )
    (folder / "helper.py").write_text("LONGEST = 80\n")
    functions = {"fits": True, "other": False}
    lines = [
        f"def {name}(example, answer):\n    return {value}\n" for name, value in functions.items()
    ]
    (folder / "checks.py").write_text("\n\n".join(lines))
    return task


def prints(task_file: Path, budget: float | None = None) -> dict[str, str]:
    task, dataset = load_dataset(set_budget(load_task(task_file), budget))
    return compute_fingerprints(task, dataset, load_test(task))


def differences(task: Path, edit: Path, text: str) -> list[str]:
    """The parts that change when a file is given another text."""
    before = prints(task)
    edit.write_text(text)
    return list_changes(before, prints(task))


def test_every_key_of_the_task_file_is_tried_here() -> None:
    assert {*CHANGES, *FILES} == set(KEYS)


def test_a_run_that_a_spike_has_stopped_goes_on_without_the_rule(tmp_path: Path) -> None:
    task = full_task(tmp_path)
    text = task.read_text()
    assert differences(task, task, text.replace("train: {", "train: {stop_on_spike: false, ")) == []


@pytest.mark.parametrize("key", CHANGES)
def test_a_changed_key_changes_its_part_alone(key: str, tmp_path: Path) -> None:
    task = full_task(tmp_path)
    lines = [
        CHANGES[key] if line.startswith(f"{key}:") else line
        for line in task.read_text().splitlines()
    ]
    assert differences(task, task, "\n".join(lines) + "\n") == [key]


@pytest.mark.parametrize(
    ("file", "part"),
    [
        ("notes.txt", "documents"),
        ("pairs.jsonl", "preferences"),
        ("checks.py", "check"),
        ("helper.py", "check"),
        ("examples.jsonl", "examples"),
        ("test.jsonl", "test"),
        ("made.jsonl", "made_rows"),
    ],
)
def test_a_changed_file_changes_its_part_alone(file: str, part: str, tmp_path: Path) -> None:
    task = full_task(tmp_path)
    text = (tmp_path / file).read_text()
    row = json.dumps({"input": "Anything else?", "output": "Title: No\nAges: 3"})
    more = row if file.endswith("l") else "# x"
    assert differences(task, tmp_path / file, f"{text}{more}\n") == [part]


@pytest.mark.parametrize(
    ("file", "counts"),
    [
        ("helpers/rules.py", True),
        ("helpers/deep/rules.py", True),
        ("helpers/rules.txt", False),
        ("runs/small-1/rules.py", False),
        (".venv/lib/rules.py", False),
        ("env/lib/rules.py", False),
        ("helpers/__pycache__/rules.pyc", False),
    ],
)
def test_code_below_a_check_counts_and_what_is_installed_or_written_there_does_not(
    file: str, counts: bool, tmp_path: Path
) -> None:
    task = full_task(tmp_path)
    (tmp_path / "env").mkdir()
    (tmp_path / "env" / "pyvenv.cfg").write_text("")
    (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / file).write_text("LONGEST = 80\n")
    assert differences(task, tmp_path / file, "LONGEST = 90\n") == (["check"] if counts else [])


@pytest.mark.parametrize(
    ("file", "size", "counts"),
    [
        ("words.txt", 10, True),
        ("lists/words.txt", 10, True),
        ("codes.json", 10, True),
        ("words.txt", 1_000_001, False),
        ("other-words.txt", 10, False),
        ("runs/small-1/words.txt", 10, False),
        ("words.bin", 10, False),
    ],
)
def test_small_data_that_the_check_names_counts(
    file: str, size: int, counts: bool, tmp_path: Path
) -> None:
    task = full_task(tmp_path)
    named = "WORDS = open('words.txt')\nCODES = 'codes.json'\nOTHER = 'words.bin'\n"
    (tmp_path / "checks.py").write_text(named + (tmp_path / "checks.py").read_text())
    (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / file).write_text("a" * size)
    assert differences(task, tmp_path / file, "b" * size) == (["check"] if counts else [])


def test_rows_and_the_task_file_count_apart_also_where_the_check_names_them(tmp_path: Path) -> None:
    task = full_task(tmp_path)
    named = "# reads examples.jsonl, test.jsonl and task.yaml\n"
    (tmp_path / "checks.py").write_text(named + (tmp_path / "checks.py").read_text())
    row = json.dumps({"input": "Anything else?", "output": "Title: No\nAges: 3"}) + "\n"
    for name in ("examples", "test"):
        file = tmp_path / f"{name}.jsonl"
        assert differences(task, file, file.read_text() + row) == [name]
    assert differences(task, task, "# a remark\n" + task.read_text()) == []


@pytest.mark.parametrize(
    ("file", "counts"),
    [("a.txt", True), ("deep/a.txt", True), (".DS_Store", False), (".git/a.txt", False)],
)
def test_hidden_files_among_the_documents_do_not_count(
    file: str, counts: bool, tmp_path: Path
) -> None:
    task = full_task(tmp_path)
    task.write_text(task.read_text().replace("documents: notes.txt", "documents: notes/"))
    (tmp_path / "notes" / file).parent.mkdir(parents=True)
    assert differences(task, tmp_path / "notes" / file, "Ghosts.") == (
        ["documents"] if counts else []
    )


def test_a_budget_of_the_command_line_counts_as_the_tasks(tmp_path: Path) -> None:
    task = full_task(tmp_path)
    assert list_changes(prints(task), prints(task, budget=60.0)) == ["budget"]
    assert prints(task) == prints(task, budget=600.0)


@pytest.mark.parametrize("seed", range(5))
def test_comments_order_quotes_and_file_names_do_not_count(seed: int, tmp_path: Path) -> None:
    task = full_task(tmp_path)
    before = prints(task)
    lines = task.read_text().replace("name: small", 'name:   "small"   # ours').splitlines()
    random.Random(seed).shuffle(lines)
    task.write_text(
        "# edited\n\n" + "\n".join(lines).replace("examples.jsonl", "renamed.jsonl") + "\n"
    )
    (tmp_path / "examples.jsonl").rename(tmp_path / "renamed.jsonl")
    assert prints(task) == before


def test_a_schema_in_another_order_is_another_contract(tmp_path: Path) -> None:
    task = write_task(tmp_path, "extract")
    text = task.read_text()
    assert "[theme, age]" in text
    assert differences(task, task, text.replace("[theme, age]", "[age, theme]")) == ["contract"]


def weights(folder: Path) -> Path:
    """A folder of random weights of 9 MB."""
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(random.Random(0).randbytes(9_000_000))
    return folder


def trained(file: Path, share: float) -> None:
    """Changes `share` of a file from its middle on, as training all matrices or a single layer
    does.
    """
    body = bytearray(file.read_bytes())
    first = len(body) // 2
    body[first : first + int(share * len(body))] = random.Random(1).randbytes(
        int(share * len(body))
    )
    file.write_bytes(body)


@pytest.mark.parametrize("share", [0.5, 0.1, 0.03])
def test_other_weights_in_the_same_place_are_another_model(share: float, tmp_path: Path) -> None:
    folder = weights(tmp_path / "weights")
    task = write_task(tmp_path, model="./weights")
    before = prints(task)
    trained(folder / "model.safetensors", share)
    assert list_changes(before, prints(task)) == ["model"]


@pytest.mark.parametrize("file", ["config.json", "tokenizer.json", "chat_template.jinja"])
def test_other_files_beside_the_weights_are_another_model(file: str, tmp_path: Path) -> None:
    folder = weights(tmp_path / "weights")
    task = write_task(tmp_path, model="./weights")
    assert differences(task, folder / file, '{"other": 1}') == ["model"]


def test_weights_in_one_file_are_told_apart_too(tmp_path: Path) -> None:
    (tmp_path / "big.gguf").write_bytes(b"GGUF1")
    task = write_task(tmp_path, more="prompt_model: big.gguf\n")
    before = prints(task)
    (tmp_path / "big.gguf").write_bytes(b"GGUF2")
    assert list_changes(before, prints(task)) == ["prompt_model"]


def test_a_copy_of_the_whole_folder_is_the_same(tmp_path: Path) -> None:
    task = full_task(tmp_path / "here")
    weights(tmp_path / "here" / "weights")
    task.write_text(task.read_text().replace("model: fake\n", "model: ./weights\n", 1))
    shutil.copytree(tmp_path / "here", tmp_path / "there", copy_function=shutil.copy)
    os.utime(tmp_path / "there" / "weights" / "model.safetensors", (1, 1))
    assert prints(task) == prints(tmp_path / "there" / "task.yaml")


def told(task: Path, **more: object) -> list[str]:
    """All that a comparison says."""
    events: list[Event] = []
    compare(task, on_event=events.append, **more)  # type: ignore[arg-type]
    return [event.text for event in events if isinstance(event, NoteEvent)]


def test_a_new_run_says_what_has_changed(tmp_path: Path) -> None:
    task = write_task(tmp_path, more="methods: [prompt]\n")
    assert not [line for line in told(task) if "new run" in line]
    (first,) = [file.parent.name for file in tmp_path.glob("runs/*/run.json")]
    task.write_text("# a remark\n" + task.read_text())
    assert told(task) == []
    task.write_text(task.read_text() + "target: 0.5\n")
    assert (
        told(task)[0] == f"Starting a new run, because these inputs changed since {first}: target."
    )
    assert told(task, budget=3600.0)[0].endswith(": budget.")


def interrupted(task: Path) -> Run:

    compare_until(task, lambda event: isinstance(event, MethodEnded))
    (folder,) = [file.parent for file in task.parent.glob("runs/*/run.json")]
    return Run(folder)


def test_a_run_that_goes_on_elsewhere_keeps_where_it_began(tmp_path: Path) -> None:
    task = write_task(tmp_path, more="methods: [prompt]\n")
    run = interrupted(task)
    here = run.info["machine"]
    began = {"cpu": "another", "cores": 1, "memory_gb": 1}
    run.update(machine=began)
    said = " ".join(told(task))
    info = run.info
    assert (info["machine"], info["resumed"]) == (began, [{"machine": here}])
    assert "resumed with different values of machine" in said
    assert [note for note in info["notes"] if "machine" in note]


def test_a_run_that_goes_on_in_the_same_place_says_nothing_of_it(tmp_path: Path) -> None:
    task = write_task(tmp_path, more="methods: [prompt]\n")
    identity = interrupted(task).info["id"]
    assert "went on with" not in " ".join(told(task))
    (folder,) = [file.parent for file in tmp_path.glob("runs/*/run.json")]
    assert "resumed" not in Run(folder).info
    assert Run(folder).info["id"] == identity


def test_going_on_twice_in_one_other_place_is_noted_once(tmp_path: Path) -> None:
    task = write_task(tmp_path, more="methods: [prompt]\n")
    run = interrupted(task)
    run.update(python="3.0.0")
    assert interrupted(task).info["resumed"] == [{"python": run.info["resumed"][0]["python"]}]
    compare(task)
    assert len(run.info["resumed"]) == 1
    assert run.info["python"] == "3.0.0"


def test_an_unreadable_older_run_does_not_stop_a_new_one(tmp_path: Path) -> None:
    task = write_task(tmp_path, more="methods: [prompt]\n")
    run = compare(task).run
    (run.folder / "run.json").write_text("{ half")
    task.write_text(task.read_text() + "target: 0.5\n")
    assert compare(task).run.is_complete
    with pytest.raises(RunError, match="cannot be read"):
        _ = run.info

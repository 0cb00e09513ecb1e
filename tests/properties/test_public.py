"""The public face: what `import etude` offers, what it costs, and the whole path through it."""

import ast
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import etude
from etude.errors import InputError, RunError
from etude.types import Answer, Message
from real_runs import real_run
from small_task import rows, write_task

NAMES = {
    *("load_task", "check", "fix", "compare", "train", "load", "predict"),
    *("Assistant", "Verdict", "Finding", "Method", "errors"),
}


def test_the_public_names_are_these_and_each_is_there() -> None:
    assert set(etude.__all__) == NAMES
    assert set(dir(etude)) == {"__version__", *NAMES}
    assert etude.__doc__
    assert {*etude.__doc__.split()} >= NAMES, "help(etude) lists them"
    for name in NAMES:
        assert getattr(etude, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'tune'"):
        _ = etude.tune  # type: ignore[attr-defined]


def test_type_checkers_see_the_names_that_are_there() -> None:
    tree = ast.parse(Path(etude.__file__).read_text(encoding="utf-8"))
    [block] = [
        node for node in tree.body if isinstance(node, ast.If) and isinstance(node.test, ast.Name)
    ]
    imports = {
        alias.asname or alias.name: (node.module or "", alias.name)
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert set(imports) == NAMES
    for name, (module, origin) in imports.items():
        assert getattr(etude, name) is getattr(sys.modules[module], origin)


def test_nothing_is_imported_before_it_is_used() -> None:
    code = (
        "import sys, etude; sys.exit(' '.join(name for name in sys.modules if "
        "name.startswith('etude.')) or 0)"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr


def test_the_whole_path_from_rows_to_answers(tmp_path: Path) -> None:
    task = write_task(tmp_path, "classify")
    assert etude.load_task(task).kind == "classify"
    assert all(isinstance(finding, etude.Finding) for finding in etude.check(task))
    result = etude.compare(task)
    shown = repr(result)
    assert all(f"{row.method} " in shown for row in result.verdict.ladder)
    assert result.verdict.sentence in shown
    assistant = etude.load(result.run.folder)
    inputs = [str(row["input"]) for row in rows("classify", 3)]
    answers = assistant.answer(inputs)
    assert [answer.text for answer in answers] == [assistant.answer(text).text for text in inputs]
    assert etude.load(etude.train(task).run.folder).method == "fine_tune"


def test_an_input_is_a_text_or_a_chat_and_there_may_be_many() -> None:
    assistant = etude.load(real_run())
    chat = [Message("user", "Something about dragons")]
    plain = [{"role": "user", "content": "Something about dragons"}]
    single = assistant.answer("Something about dragons")
    assert isinstance(single, Answer)
    for same in (chat, tuple(chat), plain):
        assert assistant.answer(same).text == single.text
    assert [
        answer.text for answer in assistant.answer(["Something about dragons", chat, plain])
    ] == [single.text] * 3
    assert assistant.answer([]) == []
    assert "".join(assistant.stream("Something about dragons")).strip() == single.text


@pytest.mark.parametrize("roles", [["system", "user"], ["user", "assistant"], ["human"]])
def test_a_chat_that_cannot_be_answered_says_why(roles: list[str]) -> None:
    chat = [{"role": role, "content": "Hello"} for role in roles]
    with pytest.raises(InputError, match=f"got {', '.join(roles)}"):
        etude.load(real_run()).answer(chat)


def test_a_run_is_found_by_its_folder_its_name_its_task_and_its_assistant(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run = real_run()
    here = run.parent.parent
    expected = etude.load(run)
    assert etude.load(run / "methods" / expected.method / "assistant") == expected
    monkeypatch.chdir(here)
    for path in (
        ".",
        "task.yaml",
        f"runs/{run.name}",
        run.name,
        run.name[:7],
        f"runs/{run.name[:7]}",
    ):
        assert etude.load(path).method == expected.method, path
    with pytest.raises(RunError, match=f"Did you mean '{run.name}'"):
        etude.load("runs/smoll-1")


def test_an_adapter_that_was_replaced_is_loaded_anew(tmp_path: Path) -> None:
    folder = tmp_path / "assistant"
    shutil.copytree(real_run() / "methods" / "fine_tune" / "assistant", folder)
    question = "Something about dragons"
    before = etude.load(folder).answer(question).text
    [adapter] = (folder / "adapter").iterdir()
    learned = json.loads(adapter.read_text(encoding="utf-8"))["answers"]
    adapter.write_text(
        json.dumps({"answers": dict.fromkeys(learned, "Another answer")}), encoding="utf-8"
    )
    assert etude.load(folder).answer(question).text == "Another answer" != before

"""Documentation that fails when it lies: every block of code runs, help is as printed, what is
named is there.
"""

import ast
import csv
import io
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from runpy import run_path
from typing import get_args

import pytest
import yaml

import etude
from etude import errors
from etude.base.formatting import format_setting
from etude.cli import main
from etude.data.formats import read_rows
from etude.models import registry
from etude.models.registry import Models
from etude.task import BINARY_SUFFIXES, JSON_SUFFIXES, METHOD_NAMES, TABLE_SUFFIXES, load_task
from etude.task.contract import Contract
from etude.task.definition import FactsChange, MetricName, RowSource
from etude.task.keys import KEYS
from etude.task.settings import DATA_SETTINGS, OTHERWISE, RENAMED, SETTINGS
from etude.training import TrainConfig, auto_config
from etude.types import Example, Kind, Message, ModelRef
from real_runs import real_run
from small_task import rows, write_task

docs = pytest.importorskip(
    "docs", reason="no package with routes; to run: pip install '.[openai]'", exc_type=ImportError
)
ROOT = Path(__file__).parents[2]
PAGES = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "AGENTS.md")]
PAGES += [*sorted((ROOT / "docs").glob("*.md")), *sorted((ROOT / "examples").glob("*/README.md"))]
EXAMPLES = sorted((ROOT / "docs" / "examples").glob("*.py"))
TASK_PAGE = ROOT / "docs" / "task-file.md"


def find_blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", page.read_text(encoding="utf-8"), re.M | re.S)


def find_commands(page: Path) -> list[list[str]]:
    lines = "\n".join(find_blocks(page, "sh")).splitlines()
    return [words for line in lines if (words := shlex.split(line, comments=True))]


# Blocks of code


def test_every_block_is_of_a_language_that_is_run_or_plain_text() -> None:
    for page in PAGES:
        marks = re.findall(r"^```(.*)$", page.read_text(encoding="utf-8"), re.M)
        assert set(marks[::2]) <= {"sh", "python", "yaml", "text"}, page
        assert set(marks[1::2]) <= {""}, page


@pytest.mark.real
def test_the_shell_lines_of_the_readme_run_one_after_the_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = [words for words in find_commands(ROOT / "README.md") if words[0] == ".venv/bin/etude"]
    others = ("test", "serve", "studio")  # run by tests of their own
    lines = [words for words in lines if words[1] not in others]
    assert [words[1] for words in lines] == [
        "init",
        "check",
        "compare",
        "train",
        "chat",
        "predict",
        "runs",
    ]
    monkeypatch.chdir(tmp_path)
    with Path("tickets.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("text", "label"), *map(make_pair, rows("classify", 220))])
    for words in lines:
        monkeypatch.setattr(sys, "stdin", io.StringIO("Something about dragons\n"))
        assert main(words[1:]) == 0, words
        if words[1] == "init":
            text = Path("task.yaml").read_text(encoding="utf-8")
            text = text.replace("smollm2-135m-instruct", "fake") + "encoder: none\n"
            Path("task.yaml").write_text(text, encoding="utf-8")


def make_pair(row: dict[str, object]) -> tuple[object, object]:
    return row["input"], row["output"]


def test_the_other_shell_lines_name_what_is_there() -> None:
    targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M)
    for page in PAGES:
        for words in find_commands(page):
            if words[0] == "make":
                assert words[1] in targets, page
            # curl's lines are run in test_serve.py, and test_packaging.py reads those of pip.
            elif words[0] not in (".venv/bin/etude", "curl", "python3", "pip"):
                assert words[0] in ("etude", "python"), page
                assert (ROOT / words[-1]).exists(), f"{page}: {words[-1]}"
        text = page.read_text(encoding="utf-8")
        assert set(re.findall(r"`make ([a-z]+)`", text)) <= set(targets), page
        for name in re.findall(r"`(?:python )?((?:bench|tests|tools)/\w+\.py)\b", text):
            assert (ROOT / name).is_file(), f"{page}: {name}"


def test_the_readmes_python_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_task(tmp_path)
    monkeypatch.chdir(tmp_path)
    [block] = find_blocks(ROOT / "README.md", "python")
    exec(compile(block, "README.md", "exec"), {})
    assert capsys.readouterr().out.strip()


@pytest.mark.parametrize("file", EXAMPLES, ids=lambda file: file.name)
def test_every_example_of_the_docs_runs(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", [str(file), str(write_task(tmp_path))])
    monkeypatch.setattr(registry, "BACKENDS", registry.BACKENDS[:])  # to which one of them adds
    run_path(str(file), run_name="__main__")
    assert capsys.readouterr().out.strip()


def test_the_python_of_both_pages_is_the_files_that_run() -> None:
    bodies = [file.read_text(encoding="utf-8").partition('"""\n\n')[2].strip() for file in EXAMPLES]
    pages = [ROOT / "docs" / name for name in ("python.md", "architecture.md")]
    shown_blocks = [block.strip() for page in pages for block in find_blocks(page, "python")]
    assert sorted(shown_blocks) == sorted(bodies)


# The page on the task file


def test_the_script_for_chat_logs_writes_rows_that_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    senders = ["customer", "customer", "agent", "customer"]
    lines = [
        f"c{chat},{sender},said {n}\n" for chat in range(3) for n, sender in enumerate(senders)
    ]
    Path("log.csv").write_text("conversation_id,sender,message\n" + "".join(lines))
    script = next(block for block in find_blocks(TASK_PAGE, "python") if "log.csv" in block)
    subprocess.run([sys.executable, "-c", script], check=True)
    chats = [example.input for example in read_rows(RowSource(Path("chats.jsonl"))).examples]
    assert [[turn.content for turn in chat] for chat in chats] == [["said 0\nsaid 1"]] * 3


def write_whole_task(folder: Path) -> str:
    """The page's task file, in a folder with all that it names."""
    write_task(folder)
    shutil.copy(folder / "examples.jsonl", folder / "test.jsonl")
    (folder / "catalogue").mkdir()
    (folder / "pairs.jsonl").touch()
    (folder / "made.jsonl").touch()
    (folder / "tickets.csv").write_text("body,category,customer\nA,b,c\n", encoding="utf-8")
    check = next(block for block in find_blocks(TASK_PAGE, "python") if "def fits" in block)
    (folder / "checks.py").write_text(check, encoding="utf-8")
    return next(block for block in find_blocks(TASK_PAGE, "yaml") if "kind:" in block)


def test_the_task_file_of_the_page_is_read_with_every_key(tmp_path: Path) -> None:
    text = write_whole_task(tmp_path)
    (tmp_path / "task.yaml").write_text(text, encoding="utf-8")
    task = load_task(tmp_path / "task.yaml")
    assert set(yaml.safe_load(text)) == set(KEYS)
    row = Example("1", (Message("user", "x"),), "y", tags={"theme": "dragons"})
    assert task.check.load()(row, "All about dragons") is True
    assert task.check.load()(row, "All about trains") is False


def test_the_other_values_that_the_page_names_are_the_ones_there_are(tmp_path: Path) -> None:
    text = write_whole_task(tmp_path)
    comments = dict(re.findall(r"^(\w+): .*?# (.*)$", text, re.M))
    comments |= dict(re.findall(r"^(metric):\s+# (.*)$", text, re.M))
    assert tuple(comments["kind"].split(" | ")) == get_args(Kind)
    assert tuple(comments["metric"].split(" | ")) == get_args(MetricName)
    assert tuple(comments["usage"].split(" | ")) == get_args(FactsChange)
    assert tuple(comments["methods"].removeprefix("or some of: ").split(", ")) == METHOD_NAMES
    examples = comments["examples"].removeprefix("or ")
    text = f"name: tickets\nkind: classify\nmodel: fake\nexamples: {examples}"
    (tmp_path / "task.yaml").write_text(text, encoding="utf-8")
    columns = {"input": ("body",), "output": "category", "group": "customer", "tags": ("..",)}
    assert load_task(tmp_path / "task.yaml").examples == RowSource(
        tmp_path / "tickets.csv", **columns
    )


def test_the_table_of_settings_is_what_training_takes() -> None:
    """Names, limits and defaults; those that are chosen are those that auto_config gives reasons
    for.
    """
    page = TASK_PAGE.read_text(encoding="utf-8")
    lines = re.findall(r"^\| `(\w+)` \| (.*?) \| (.*?) \| .+ \|$", page, re.M)
    rules = {name: rule.description for name, rule in (SETTINGS | DATA_SETTINGS).items()}
    assert {name: limits for name, _, limits in lines} == rules
    defaults = {name: default for name, default, _ in lines if name in SETTINGS}
    chosen = {name for name, default in defaults.items() if default == "chosen"}
    assert chosen == set(auto_config(100, 10**9).reasons)
    plain = {name: yaml.safe_load(default) for name, default in defaults.items()}
    for name, default in TrainConfig().to_dict().items():
        known = "the task's" if name == "seed" else yaml.safe_load(format_setting(default))
        assert plain[name] in ("chosen", known), name


def test_names_of_other_tools_on_the_page_are_answered_with_ours() -> None:
    page = (ROOT / "docs" / "training.md").read_text(encoding="utf-8")
    lines = re.findall(r"^\| (`.*?`) \| (`.*?`) \| `(\w+)` \| .*\|$", page, re.M)
    assert len(lines) == 10
    for *theirs, ours in lines:
        assert ours in SETTINGS
        for name in re.findall(r"`(\w+)`", " ".join(theirs)):
            assert name == ours or RENAMED[name] == ours
    [absent] = re.findall(r"^(`gradient_accumulation_steps`.*?)\n\n", page, re.M | re.S)
    assert set(re.findall(r"`(\w+)`", absent)) - set(SETTINGS) <= set(OTHERWISE)


def test_the_page_names_every_part_of_a_contract() -> None:
    text = TASK_PAGE.read_text(encoding="utf-8")
    [sentence] = re.findall(r"^The contract can have these keys: (.*?)\. ", text, re.M | re.S)
    # Descriptions are written under `labels`.
    keys = {field.name for field in fields(Contract)} - {"descriptions"}
    assert set(re.findall(r"`(\w+)`", sentence)) == keys


def test_a_task_of_the_fake_model_is_tried_with_the_pages_own_lines(tmp_path: Path) -> None:
    [block] = [block for block in find_blocks(TASK_PAGE, "yaml") if "fake" in block]
    task = write_task(tmp_path)
    line = "model: fake\n"
    assert line in task.read_text(encoding="utf-8")
    task.write_text(task.read_text(encoding="utf-8").replace(line, block), encoding="utf-8")
    assert load_task(task).model == "fake"
    alternative = re.findall(r"# or (\S+)", block)[0]
    model = Models().get(ModelRef(alternative))
    assert model.context == 500


# What pages name


DENIAL = re.compile(
    r"not (?:yet )?(?:in|part of) this version|(?:is|are) not supported|(?:does|do) not "
    r"support|cannot read"
    r"|no method (?:reads|uses|takes|accepts|trains|learns)|there is no (?:method|setting|support)",
    re.I,
)
GENERAL = {
    "check",
    "examples",
    "instructions",
    "kind",
    "metric",
    "model",
    "name",
    "prompt",
    "test",
    "train",
}
"""Keys and methods that are also words of any sentence."""


def split_sentences(text: str) -> list[str]:
    sentences = re.split(r"(?<=[.!?])\s+|\n\s*\n|\n(?=[|#-])", text)
    return [" ".join(sentence.split()) for sentence in sentences]


def read_docstrings() -> list[tuple[str, str]]:
    """The location and text of every docstring, also of those below a field or a constant."""
    return [
        (f"{path.name}:{node.lineno}", node.value.value)
        for path in sorted((ROOT / "src").rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    ]


def list_false_denials(text: str) -> list[str]:
    """The sentences that deny a method, a task key, a setting or a format that exists."""
    suffixes = {
        suffix.lstrip(".").lower() for suffix in (*JSON_SUFFIXES, *TABLE_SUFFIXES, *BINARY_SUFFIXES)
    }
    names = {*METHOD_NAMES, *KEYS, *SETTINGS, *suffixes} - GENERAL
    return [
        sentence
        for sentence in split_sentences(text)
        if (denial := DENIAL.search(sentence))
        and names & set(re.findall(r"\w+", sentence[denial.start() :].lower()))
    ]


def test_no_page_and_no_docstring_denies_what_exists() -> None:
    texts = [(page.name, page.read_text(encoding="utf-8")) for page in PAGES] + read_docstrings()
    denials = {
        location: sentences for location, text in texts if (sentences := list_false_denials(text))
    }
    assert not denials


@pytest.mark.parametrize(
    "sentence",
    [
        "Not in\nthis version: `qlora`, and training on preferences.",
        "The folder is searched; no method reads documents.",
        "CSV is fine. Files of the format parquet are rows, but there is no support for xlsx.",
    ],
)
def test_a_false_denial_is_found(sentence: str) -> None:
    assert list_false_denials(sentence)


def test_a_true_denial_is_not_reported() -> None:
    text = "Not in this version: `qlora`, `dora`. Preferences are what `prefer` trains on."
    assert not list_false_denials(text)


def test_the_generated_pages_are_what_the_code_says() -> None:
    for name, write in docs.WRITERS.items():
        page = (ROOT / "docs" / name).read_text(encoding="utf-8")
        assert write(page) == page, f"{name} is not what the code says. Run: make docs"


def test_the_changelog_says_everything_once_and_names_flags_that_there_are() -> None:
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    entries = [" ".join(entry.split()) for entry in re.split(r"^- ", text, flags=re.M)]
    assert len(set(entries)) == len(entries)
    flags = re.findall(r"`etude [^`]*?(--[a-z-]+)", text)
    page = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")
    assert flags
    assert not [flag for flag in flags if flag not in page]


def test_every_file_the_docs_link_to_exists() -> None:
    for page in PAGES:
        for link in re.findall(r"\]\((?!https?://|#)([^)#]+)", page.read_text(encoding="utf-8")):
            assert (page.parent / link).exists(), f"{page.name} links to {link}, which is not there"


def test_the_page_on_python_has_a_section_for_every_public_name() -> None:
    text = (ROOT / "docs" / "python.md").read_text(encoding="utf-8")
    assert sorted(re.findall(r"^## `(\w+)`$", text, re.M)) == etude.__all__


def test_the_readme_and_the_changelog_are_short() -> None:
    assert (ROOT / "README.md").stat().st_size < 9_000
    assert len((ROOT / "CHANGELOG.md").read_text(encoding="utf-8").splitlines()) <= 40


def test_every_error_stands_in_the_docs() -> None:
    text = (ROOT / "docs" / "python.md").read_text(encoding="utf-8")
    classes = [value for value in vars(errors).values() if isinstance(value, type)]
    names = [value.__name__ for value in classes if value.__module__ == errors.__name__]
    assert len(names) > 5
    assert not [name for name in names if f"`{name}`" not in text]


def test_every_file_of_the_table_of_a_run_is_in_a_run() -> None:
    text = (ROOT / "docs" / "python.md").read_text(encoding="utf-8")
    cells = re.findall(r"^\| (`.*?) \|", text[text.index("## The run folder") :], re.M)
    names = [name for cell in cells for name in re.findall(r"`([^`]+)`", cell)]
    assert len(names) >= 10
    for name in names:
        path = real_run() / name.replace("NAME", "fine_tune")
        # The fake model learns by heart, so it has no loss to write down, and it is no endpoint.
        assert path.exists() or path.name in ("train.jsonl", "requests.jsonl"), name

"""Bad input: ten kinds of cases, each with its place, its value and its remedy.

Whatever is wrong, nothing is written, nothing is guessed away, and no traceback is shown.
"""

import hashlib
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path

import pytest

from etude.cli import main
from etude.data.dataset import load_dataset
from etude.task import load_task

Files = dict[str, str | bytes]
LABELS = ("billing", "technical", "refund")


@dataclass(frozen=True)
class Case:
    """One bad input: the files that differ from good ones, and what the message must say."""

    name: str
    where: str
    got: str
    remedy: str
    keys: dict[str, str | None] = field(default_factory=dict)
    """Lines of the task file to put in place of those with the same key; None leaves the line
    out.
    """
    files: Files = field(default_factory=dict)


GOOD_KEYS = {
    "name": "tickets",
    "kind": "classify",
    "model": "fake",
    "examples": "rows.jsonl",
    "instructions": "Sort.",
}


def good_row(number: int) -> dict[str, object]:
    return {"input": f"message number {number}", "output": LABELS[number % 3]}


def jsonl(*bad: object, before: int = 30) -> bytes:
    """30 good rows, then bad ones: texts and bytes as they stand, objects as JSON."""
    good = [json.dumps(good_row(number)) for number in range(before)]
    lines = [row if isinstance(row, str | bytes) else json.dumps(row) for row in (*good, *bad)]
    return b"".join((line if isinstance(line, bytes) else line.encode()) + b"\n" for line in lines)


def table(*bad: str | bytes, header: str = "input,output") -> bytes:
    """A header, 30 good rows (lines 2 to 31), then bad lines as they stand."""
    good = [header, *(f"message number {number},{LABELS[number % 3]}" for number in range(30))]
    return b"".join(
        (line if isinstance(line, bytes) else line.encode()) + b"\n" for line in (*good, *bad)
    )


def write_folder(folder: Path, case: Case) -> Path:
    keys = {**GOOD_KEYS, **case.keys}
    lines = [
        f"{key}: {value}" if value else f"{key}:"
        for key, value in keys.items()
        if value is not None
    ]
    files: Files = {"task.yaml": "\n".join(lines) + "\n", "rows.jsonl": jsonl(), **case.files}
    for name, text in files.items():
        (folder / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    return folder / "task.yaml"


def by_command_line(task: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    """Exit code and all that `etude compare` prints."""
    code = main(["compare", "--yes", str(task)])
    printed = capsys.readouterr()
    return code, printed.out + printed.err


def snapshot(folder: Path) -> dict[str, str]:
    """Every file with its content, and every folder."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        if path.is_file()
        else ""
        for path in sorted(folder.rglob("*"))
    }


def key(name: str, value: str, got: str, remedy: str, line: int = 6, **files: str | bytes) -> Case:
    """A bad value of one key; a key that good files lack stands on line 6."""
    lines = {given: number for number, given in enumerate(GOOD_KEYS, 1)}
    named = {file.replace("_", "."): text for file, text in files.items()}
    location = f"task.yaml:{lines.get(name, line)}"
    return Case(f"{name}={value[:20]}", location, got, remedy, {name: value}, named)


def unknown_keys() -> Iterator[Case]:
    words = {"knd": "kind", "exmples": "examples", "modle": "model", "Instructions": "instructions"}
    for word, known in words.items():
        yield Case(word, "task.yaml:6", repr(word), f"Write '{known}'", {word: "x"})
    yield key("metrics", "accuracy", "'metrics'", "Write 'metric'")
    yield key("contract", "{lables: [a]}", "'lables'", "Write 'labels'")
    yield key(
        "usage", "{request_per_month: 3}", "'request_per_month'", "Write 'requests_per_month'"
    )
    yield key("prices", "{per_hr: 3}", "'per_hr'", "Write 'per_hour'")
    yield key("train", "{learningrate: 0.1}", "'learningrate'", "Write 'learning_rate'")
    yield key("examples", "{file: rows.jsonl, ouput: label}", "'ouput'", "Write 'output'")


def wrong_types() -> Iterator[Case]:
    yield key("name", "[a, b]", "a list", "Write name: some text")
    yield key("kind", "{a: b}", "a mapping", "Write one of: classify, extract, answer, rewrite")
    yield key("instructions", "12", "'12'", "in quotes")
    yield key("margin", "small", "'small'", "a number from 0 to 0.5")
    yield key("seed", "1.5", "'1.5'", "a whole number")
    yield key("examples", "[a.jsonl, b.jsonl]", "a list", "Write examples: FILE")
    yield key("contract", "short", "'short'", "Write key: value lines")
    yield key("wordings", "{a: b}", "a mapping", "Write wordings: [first, second]")
    yield key("budget", "15", "'15'", "Write 90s, 15m, 2h")
    often = "Write one of: never, yearly, monthly, daily"
    yield key("usage", "{facts_change: sometimes}", "'sometimes'", often)


def out_of_range() -> Iterator[Case]:
    yield key("margin", "90", "'90'", "Write a number from 0 to 0.5 for margin")
    yield key("margin", "2", "a number from 0 to 0.5 (got '2')", "Write margin: 0.02")
    for value in ("95", "95%"):
        yield key("target", value, f"a number from 0 to 1 (got '{value}')", "Write target: 0.95")
    yield key("seed", "-1", "'-1'", "from 0 to")
    yield key("max_tokens", "0", "'0'", "from 1 to 32768")
    yield key("budget", "0m", "'0m'", "Write 90s, 15m, 2h")
    yield key("prices", "{answer: -2}", "'-2'", "of 0 or more")
    yield key("usage", "{requests_per_month: -5}", "'-5'", "of 0 or more")
    yield key("train", "{dropout: 1.0}", "'1.0'", "from 0 to 0.9")
    yield key("train", "{learning_rate: 0}", "'0'", "above 0 to 1")
    yield key("contract", "{max_words: 0}", "'0'", "of 1 or more")


def missing_files() -> Iterator[Case]:
    yield key("examples", "row.jsonl", "'row.jsonl'", "Did you mean 'rows.jsonl'")
    yield key(
        "examples",
        "{file: nothing.csv}",
        "'nothing.csv'",
        "relative to the folder of the task file",
    )
    yield key("examples", ".", "'.'", "Give a file inside it")
    yield key("examples", "{input: text}", "no file", "Add file: to examples")
    yield key("test", "tests.jsonl", "'tests.jsonl'", "relative to the folder of the task file")
    yield key("test", "rows.jsonl", "rows.jsonl", "Delete test: to split a test off the examples")
    yield key("documents", "catalogue/", "'catalogue/'", "relative to the folder of the task file")
    yield key("model", "weights.gguf", "'weights.gguf'", "relative to the folder of the task file")
    yield key(
        "prompt_model", "./big-model", "'./big-model'", "relative to the folder of the task file"
    )
    keys: dict[str, str | None] = {"kind": "extract", "contract": "{json_schema: schema.json}"}
    relative = "relative to the folder of the task file"
    yield Case("contract schema", "task.yaml:6", "'schema.json'", relative, keys)


def bad_checks() -> Iterator[Case]:
    fits = "def fits(example, answer):\n    return True\n"
    yield key("check", "checks.py", "'checks.py'", "Write it as checks.py:fits")
    yield key("check", "fits", "'fits'", "Write it as checks.py:fits")
    yield key("check", "checks:fits", "'checks:fits'", "Write it as checks.py:fits")
    yield key("check", "checks.py:fits()", "'checks.py:fits()'", "Write it as checks.py:fits")
    yield key("check", "checks.py:fits", "'checks.py'", "relative to the folder of the task file")
    yield key("check", "check.py:fits", "'check.py'", "Did you mean 'checks.py'", checks_py=fits)
    yield key("check", "checks.py:fit", "'fit'", "Write 'fits'", checks_py=fits)
    one = "def fits(answer):\n    return True\n"
    yield key(
        "check", "checks.py:fits", "fits(answer)", "Write def fits(example, answer)", checks_py=one
    )
    yield key("check", "checks.py:fits", "fits", "Correct checks.py:2", checks_py="\ndef fits(:\n")
    yield key("check", "[checks.py, fits]", "a list", "Write check: some text")


def bad_json_rows() -> Iterator[Case]:
    def row(name: str, line: object, got: str, remedy: str, **keys: str) -> Case:
        return Case(name, "rows.jsonl:31", got, remedy, dict(keys), {"rows.jsonl": jsonl(line)})

    whole = "Write one whole object on the line"
    yield row("cut", '{"input": "a", "outp', "not JSON: a text has no closing quote", whole)
    yield row(
        "no comma",
        '{"input": "a" "output"',
        "not JSON: a comma or a closing bracket is missing",
        whole,
    )
    yield row("single quotes", "{'input': 'a'}", "'input'", whole)
    yield row("no object", '"only a text"', "only a text", whole)
    yield row("a list", '[{"input": "a", "output": "b"}]', "[{", "without a list around them")
    yield row(
        "two objects", '{"input": "a"} {"input": "b"}', "Extra data", "Write one whole object"
    )
    yield row("NaN", '{"input": "a", "output": NaN}', "NaN", "Correct the line")
    twice = '{"input": "a", "input": "b", "output": "c"}'
    yield row("key twice", twice, "'input' occurs twice", "Correct the line")
    fill = "Fill it in, or delete the row"
    yield row("no output", {"input": "a"}, "the row has no 'output' (got only 'input')", fill)
    yield row("null", {"input": "a", "output": None}, "output is null. ", fill)
    misspelt = {"input": "a", "outptu": "b"}
    yield row("misspelt output", misspelt, "input, outptu", "Rename 'outptu' to 'output'")
    yield row("number as input", {"input": 3, "output": "billing"}, "got 3", "Write it in quotes")


def bad_tables() -> Iterator[Case]:
    def rows(
        name: str, line: int, text: bytes, got: str, remedy: str, examples: str = "rows.csv"
    ) -> Case:
        return Case(
            name, f"rows.csv:{line}", got, remedy, {"examples": examples}, {"rows.csv": text}
        )

    quote = "Quote values that contain the separator"
    yield rows("too many values", 32, table("a,b,c"), "3 values for 2 columns", quote)
    yield rows("too few values", 32, table("alone"), "1 value for 2 columns", "add missing values")
    yield rows("quote never closed", 32, table('"open,billing'), "end of data", "Close the quote")
    yield rows(
        "quote inside",
        32,
        table('"a "word" here",billing'),
        "expected after",
        "Write a quote inside",
    )
    tall = table('"one\ntwo\n\nthree",billing', "a,b,c")
    yield rows("after a long row", 36, tall, "3 values", "Quote values")
    yield rows(
        "columns with one name", 1, table(header="input,input"), "'input'", "Rename one of them"
    )
    mapped = "{file: rows.csv, input: input, output: ouput}"
    yield rows("mapped column", 1, table(), "'ouput'", "Write 'output'", mapped)
    yield rows("tag column", 1, table(), "'colour'", "Write", "{file: rows.csv, tags: [colour]}")
    unclear = table(header="alpha,beta,gamma").replace(b"message", b"x,message")
    yield rows(
        "names that say nothing", 1, unclear, "alpha, beta, gamma", "input: COLUMN, output: COLUMN"
    )
    bare = table(header="where is my money,billing")
    yield rows("no header", 1, bare, "looks like a row", "the column names")


def bad_chats() -> Iterator[Case]:
    user = {"role": "user", "content": "a"}
    answer = {"role": "assistant", "content": "billing"}
    system = {"role": "system", "content": "Sort."}

    def chat(name: str, turns: object, got: str, remedy: str) -> Case:
        good = [
            json.dumps({"messages": [user, {**answer, "content": LABELS[n % 3]}]})
            for n in range(30)
        ]
        rows = jsonl(*good, {"messages": turns}, before=0)
        return Case(name, "rows.jsonl:31", got, remedy, {}, {"rows.jsonl": rows})

    yield chat("unknown role", [{"role": "usr", "content": "a"}, answer], "'usr'", "Write 'user'")
    yield chat("no role", [{"content": "a"}, answer], "unknown role", 'Write {"role": "user"')
    yield chat("last turn", [user], "user", "End with the assistant's turn")
    yield chat("two users", [user, user, answer], "user user assistant", "Join them into one turn")
    yield chat(
        "late system", [user, system, answer], "user system assistant", "Keep one system turn"
    )
    yield chat(
        "two answers", [user, answer, answer], "user assistant assistant", "Join them into one turn"
    )
    yield chat("no turns", [], "[]", 'Write [{"role": "user"')
    yield chat("a text", "hello", "'hello'", 'Write [{"role": "user"')
    yield chat(
        "empty content", [user, {"role": "assistant", "content": " "}], "' '", "Write the turn"
    )
    yield chat("no text", [user, {**answer, "content": None}], "None", "Write the turn as one text")


def bad_bytes() -> Iterator[Case]:
    def rows(
        name: str, line: int, text: bytes, got: str, remedy: str, file: str = "rows.jsonl"
    ) -> Case:
        return Case(name, f"{file}:{line}", got, remedy, {"examples": file}, {file: text})

    latin = '{"input": "café", "output": "billing"}'.encode("latin-1")
    yield rows("Latin-1", 31, jsonl(latin), "byte 0xE9 at position 15", "Save the file as UTF-8")
    cells = table("café,billing".encode("latin-1"))
    yield rows("Latin-1 table", 32, cells, "byte 0xE9", "as UTF-8", "rows.csv")
    yield rows("UTF-16", 1, jsonl().decode().encode("utf-16"), "UTF-16", "Save the file as UTF-8")
    yield rows(
        "NUL byte", 31, jsonl(b'{"input": "a\0", "output": "billing"}'), "byte 0x00", "Delete it"
    )
    cells = table(b"a\0b,billing")
    yield rows("NUL in a table", 32, cells, "byte 0x00 at position 2", "Delete it", "rows.csv")
    yield rows(
        "NUL escape", 31, jsonl({"input": "a\0", "output": "billing"}), "position 2", "Delete it"
    )
    half = '{"input": "a\\ud800", "output": "billing"}'
    yield rows(
        "half a character", 31, jsonl(half), "\\ud800 at position 2", "Write the whole character"
    )
    empty = jsonl({"input": " ", "output": "billing"})
    yield rows("empty input", 31, empty, "' '", "Fill it in, or delete the row")
    yield rows("empty output", 32, table("a,"), "''", "Fill it in, or delete the row", "rows.csv")
    task: Files = {"task.yaml": "kind: classify\nname: café\n".encode("latin-1")}
    yield Case("task in Latin-1", "task.yaml:2", "byte 0xE9", "Save the file as UTF-8", {}, task)


def conflicts() -> Iterator[Case]:
    labels: dict[str, str | None] = {"contract": "{labels: [billing, technical, refund]}"}
    rows = jsonl({"input": "a", "output": "biling"})
    add = "Write 'billing', or add it"
    yield Case("foreign label", "rows.jsonl:31", "'biling'", add, labels, {"rows.jsonl": rows})
    own = {**labels, "test": "test.jsonl"}
    yield Case(
        "foreign test label",
        "test.jsonl:31",
        "'biling'",
        "Write 'billing'",
        own,
        {"test.jsonl": rows},
    )
    yield Case(
        "labels for answers",
        "task.yaml:6",
        "answer",
        "Write kind: classify",
        labels | {"kind": "answer"},
    )
    yield key("contract", "{regex: '['}", "'['", "Correct it")
    yield key("contract", "{labels: [a, b], regex: '(?P<'}", "'(?P<'", "Correct it")
    wordy = [{"input": f"a {number}", "output": "two words"} for number in range(30)]
    keys: dict[str, str | None] = {"kind": "answer", "contract": "{max_words: 1}"}
    files: Files = {"rows.jsonl": jsonl(*wordy, before=1)}
    yield Case("answers break it", "rows.jsonl:2", "over 1 words", "change contract", keys, files)
    collect = "Collect at least 95 more rows, or set test: to a test file of your own"
    yield Case("too few rows", "rows.jsonl", "5 rows", collect, {}, {"rows.jsonl": jsonl(before=5)})
    free = [{"input": f"a {n}", "output": f"free text {n}"} for n in range(30)]
    yield key("engine", "cuda", "'cuda'", "local, llama_cpp")
    yield key("limits", "{refused: {examples: [a]}}", "limits.refused", "Add say:")
    files = {"rows.jsonl": jsonl(*free, before=0)}
    yield Case(
        "texts as labels", "rows.jsonl", "30 labels in 30 rows", "Set kind: answer", {}, files
    )


KINDS: tuple[Callable[[], Iterator[Case]], ...] = (
    *(unknown_keys, wrong_types, out_of_range, missing_files, bad_checks),
    *(bad_json_rows, bad_tables, bad_chats, bad_bytes, conflicts),
)
CASES = list(chain.from_iterable(kind() for kind in KINDS))


def test_good_input_has_no_error(tmp_path: Path) -> None:
    task, dataset = load_dataset(load_task(write_folder(tmp_path, Case("good", "", "", ""))))
    assert (task.name, len(dataset)) == ("tickets", 30)


def list_refusal(case: Case, folder: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """What is printed when this input is refused, which leaves the folder as it was."""
    task = write_folder(folder, case)
    before = snapshot(folder)
    code, message = by_command_line(task, capsys)
    assert code == 2, message
    assert "Traceback" not in message
    assert ":." not in message
    assert snapshot(folder) == before
    return message


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_bad_input_is_refused_in_one_sentence(
    case: Case, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = list_refusal(case, tmp_path, capsys).splitlines()
    line = next(
        (line for line in lines if re.match(rf"(etude:)?\s*{re.escape(case.where)}\b", line)), ""
    )
    assert case.got in line, lines
    assert case.remedy in line, lines


def test_all_errors_come_together_in_the_order_of_lines(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    keys = {"kind": "clasify", "margin": "2", "seed": "x", "nme": "y", "metric": "bleu"}
    _, message = by_command_line(
        write_folder(tmp_path, Case("many", "", "", "", dict(keys))), capsys
    )
    lines = [
        int(found)
        for found in re.findall(r"^(?:etude:)?\s*task\.yaml:(\d+)", message, re.MULTILINE)
    ]
    assert lines == [2, 6, 7, 8, 9]


CHECK = "def fits(example, answer):\n    return 3\n"


def far_rows(num: int, *more: object) -> bytes:
    """Good rows that no near-duplicate ties together, then others."""
    texts = [
        " ".join(hashlib.sha256(f"{number}".encode()).hexdigest()[at : at + 6] for at in (0, 6, 12))
        for number in range(num)
    ]
    return jsonl(
        *(good_row(at) | {"input": text} for at, text in enumerate(texts)), *more, before=0
    )


LONG = good_row(7) | {"input": "word " * 9000}
FEW, MANY, LONGER = (
    {"rows.jsonl": rows} for rows in (far_rows(60), far_rows(180), far_rows(180, LONG))
)
CHECKED = {"kind": "answer", "check": "checks.py:fits"}
PROMPT = {"methods": "[prompt]"}
LATE = [
    Case("rows that cannot be split", "rows.jsonl", "60 rows", "Collect at least 40 more", {}, FEW),
    Case("a row beyond the context", "rows.jsonl:181", "tokens", "Shorten the row", PROMPT, LONGER),
    Case("a model that is not there", "nosuch", "nosuch", "", {"model": "nosuch"}, MANY),
    Case(
        "a check that gives 3",
        "checks.py",
        "got 3",
        "Correct fits",
        CHECKED,
        MANY | {"checks.py": CHECK},
    ),
]


@pytest.mark.parametrize("case", LATE, ids=lambda case: case.name)
def test_what_is_found_late_leaves_the_folder_as_it_was_too(
    case: Case, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    message = " ".join(list_refusal(case, tmp_path, capsys).split())
    assert all(part in message for part in (case.where, case.got, case.remedy)), message

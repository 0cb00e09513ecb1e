"""A task file that loads as it is written, and says what every guess rests on."""

import csv
import json
import random
import re
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler
from itertools import cycle
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from conftest import data_folder
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from etude.cli import main
from etude.comparison import compare
from etude.data.dataset import Dataset, load_dataset
from etude.data.formats import read_rows
from etude.data.splits import split
from etude.data.starter import (
    StarterResult,
    infer_fields,
    infer_schema,
    open_task_file,
    write_starter,
)
from etude.data.starter.guess_columns import guess_roles
from etude.data.starter.local_models import find_local_models
from etude.errors import InputError, ModelError
from etude.metrics import choose_metric
from etude.runs.lifecycle import load_task_rows
from etude.task import RowSource, Task, load_task
from etude.task.contract import Contract
from etude.text.near_duplicates import cluster_near_duplicates
from etude.types import Kind
from local_server import serve_handler
from question_task import make_question_rows
from small_task import write_json_lines

DRAW = random.Random(0)


@pytest.fixture(autouse=True)
def same_words() -> None:
    """A test draws the same words whichever ran before it."""
    DRAW.seed(0)


def test_one_row_is_told_in_the_singular(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text(
        json.dumps({"input": "a", "output": '{"b": 1}'}), encoding="utf-8"
    )
    result = write_starter(tmp_path / "rows.jsonl")
    assert "# Written by etude init from 1 row of rows.jsonl." in result.text
    assert result.guesses[2] == "kind: extract, from 1 of 1 output, which is JSON"
    assert "contract: json_schema, from 1 output" in result.guesses


def words(n: int) -> str:
    return " ".join("".join(DRAW.choices("abcdefghij", k=5)) for _ in range(n))


def write_table(path: Path, rows: Sequence[Mapping[str, object]]) -> Path:
    """`rows` as a file of the kind that the path's suffix names."""
    with path.open("w", encoding="utf-8", newline="") as file:
        if path.suffix == ".jsonl":
            file.writelines(json.dumps(row) + "\n" for row in rows)
        else:
            table = csv.DictWriter(
                file, list(rows[0]), delimiter="\t" if path.suffix == ".tsv" else ","
            )
            table.writeheader()
            table.writerows(rows)
    return path


def write_and_load(path: Path, target: Path | None = None) -> tuple[StarterResult, Task]:
    """What init makes of a file, read back together with its rows."""
    result = write_starter(path, target)
    task, _ = load_dataset(load_task(result.task_file))
    return result, task


def tickets(n: int = 240) -> list[dict[str, object]]:
    return [
        {
            "ticket": f"T{number}",
            "customer_id": f"C{number % 50}",
            "channel": ("mail", "phone", "chat")[number % 3],
            "message": words(12),
            "category": ("billing", "technical", "refund", "other")[number % 4],
        }
        for number in range(n)
    ]


def test_labels_group_and_tags_of_a_table_of_tickets(tmp_path: Path) -> None:
    result, task = write_and_load(write_table(tmp_path / "tickets.csv", tickets()))
    assert task.kind == "classify"
    assert (task.examples.input, task.examples.output) == (("message",), "category")
    assert (task.examples.group, task.examples.tags) == ("customer_id", ("channel",))
    assert task.contract == Contract(labels=("billing", "other", "refund", "technical"))
    assert (
        task.instructions == "Classify the message into one of: billing, other, refund, technical."
    )
    assert (task.name, task.model) == ("tickets", "smollm2-135m-instruct")
    assert any(line.startswith("group: customer_id") for line in result.guesses)
    assert result.text == result.task_file.read_text(encoding="utf-8")


def test_a_folder_of_documents_beside_the_rows_is_named(tmp_path: Path) -> None:
    rows = [
        {"question": f"What is {number}?", "answer": f"It is the number {number}."}
        for number in range(60)
    ]
    write_json_lines(tmp_path / "qa.jsonl", rows)
    (tmp_path / "leaflets").mkdir()
    (tmp_path / "leaflets" / "one.md").write_text("# One")
    assert main(["init", str(tmp_path / "qa.jsonl")]) == 0
    assert "# documents: leaflets/" in (tmp_path / "task.yaml").read_text()


def test_an_answer_that_rows_share_is_offered_as_not_in_the_documents_but_not_set(
    tmp_path: Path,
) -> None:
    sentence = "The leaflets do not say."
    rows = [
        {"question": f"{words(9)}?", "answer": sentence if n % 6 == 0 else words(15)}
        for n in range(120)
    ]
    (tmp_path / "leaflets").mkdir()
    (tmp_path / "leaflets" / "one.md").write_text("# One")
    result, task = write_and_load(write_table(tmp_path / "rows.jsonl", rows))
    assert task.handover is None
    assert f'#   unanswerable: "{sentence}"' in result.text
    others = [row for row in rows if row["answer"] != sentence]
    text = write_starter(
        write_table(tmp_path / "others.jsonl", others), tmp_path / "others.yaml"
    ).text
    assert "# handover:" in text
    assert "unanswerable" not in text


def test_every_key_has_a_comment_above_it(tmp_path: Path) -> None:
    text = write_starter(write_table(tmp_path / "tickets.csv", tickets())).text
    for block in text.strip().split("\n\n"):
        assert block.startswith("# "), block


@pytest.mark.parametrize("shape", ["classify", "extract", "answer", "rewrite"])
def test_every_key_that_is_shown_can_be_set(tmp_path: Path, shape: str) -> None:
    rows = SHAPES[shape]
    text = write_starter(write_table(tmp_path / "rows.jsonl", rows)).text
    keys = "test|wordings|contract|metric|target|usage|prices|check|prompt_model|max_tokens"
    bare: list[str] = []
    for block in text.strip().split("\n\n"):
        offer = re.search(rf"^# (?:{keys}):.*", block, re.MULTILINE | re.DOTALL)
        bare.append(re.sub("^# ", "", offer[0], flags=re.MULTILINE) if offer else block)
    (tmp_path / "test.jsonl").touch()
    (tmp_path / "checks.py").write_text("def fits(example, answer):\n    return True\n")
    task = tmp_path / "all.yaml"
    task.write_text(
        "\n".join(bare).replace("../models/bigger.gguf", "rows.jsonl"), encoding="utf-8"
    )
    assert load_task(task).target == 0.95


GROUP_NAMES = "Cust-ID|customer|ticket thread|customerId|userid|Patient No.|conversation_id".split(
    "|"
)
DOUBTFUL_NAMES = ["store id", "order_number", "external customer ref"]
LABELS = tuple("abcdefg")


SHAPE = st.tuples(
    st.integers(25, 60), st.integers(2, 10), st.integers(0, 99), st.sampled_from(("", "C", "anna "))
)


def owned(name: str, shape: tuple[int, int, int, str]) -> list[dict[str, object]]:
    """Rows in any order, some of each of many owners, whom the column `name` holds."""
    owners, each, seed, before = shape
    shuffled = random.Random(seed)
    held = [f"{before}{number:03}" for number in range(owners)] * each
    shuffled.shuffle(held)
    return [
        {"place": number, "message": words(9), name: owner, "label": shuffled.choice(LABELS)}
        for number, owner in enumerate(held)
    ]


def flat(text: str) -> str:
    return " ".join(text.replace("\n#", "").split())


def proposed(
    rows: Sequence[Mapping[str, object]], folder: Path
) -> tuple[str | None, str, StarterResult]:
    """The group that init sets, the text of the task file, and all it returns."""
    target = folder / "task.yaml"
    target.unlink(missing_ok=True)
    result = write_starter(write_table(folder / "rows.csv", rows), target)
    return load_task(target).examples.group, result.text, result


@settings(max_examples=10)
@given(st.sampled_from(GROUP_NAMES), SHAPE)
def test_a_repeating_id_with_a_telling_name_is_the_group(
    tmp_path_factory: pytest.TempPathFactory, name: str, shape: tuple[int, int, int, str]
) -> None:
    rows = owned(name, shape)
    group, text, _ = proposed(rows, tmp_path_factory.getbasetemp())
    assert group == name
    assert (
        f"GUESS of group from its name, and {len({row[name] for row in rows})} values in"
        in flat(text)
    )


@pytest.mark.parametrize(
    "values", ["unique", "few", "the label", "the label's number", "kinds of label", "one"]
)
@settings(max_examples=3)
@given(name=st.sampled_from(GROUP_NAMES + DOUBTFUL_NAMES), shape=SHAPE)
def test_what_can_be_no_group_is_never_proposed(
    tmp_path_factory: pytest.TempPathFactory,
    values: str,
    name: str,
    shape: tuple[int, int, int, str],
) -> None:
    rows = [dict(row) for row in owned(name, shape) * 4]
    for number, row in enumerate(rows):
        if "label" in values:
            row["label"] = f"label {number % 46}"
        row[name] = {
            "unique": f"C{number}",
            "few": f"C{number % 19}",
            "the label": f"label {number % 46}",
            "the label's number": f"K{number % 46}",
            "kinds of label": f"K{number % 23}",
            "one": "C1",
        }[values]
    group, text, _ = proposed(rows, tmp_path_factory.getbasetemp())
    assert group is None
    assert "# group:" not in text


@pytest.mark.parametrize(("column", "kind"), [("Label", "classify"), ("note", "answer")])
def test_few_rows_are_labelled_where_their_column_says_so(
    column: str, kind: Kind, tmp_path: Path
) -> None:
    rows = [{"text": words(9), column: LABELS[n % 4]} for n in range(12)]
    assert load_task(write_starter(write_table(tmp_path / "rows.csv", rows)).task_file).kind == kind


HEADINGS = [
    ("question", "answer"),
    ("Frage", "Antwort"),
    ("Question", "Réponse"),
    ("DOMANDA", "Risposta"),
    ("body", "reply"),
    ("dialogue", "summary"),
    ("input_text", "outputText"),
    ("Problem", "Solución"),
]
LONGER = list(zip(HEADINGS, cycle(("asked", "answered")), strict=False))
"""Each heading, and which of its two columns holds the longer texts."""


@pytest.mark.parametrize("beside", [(), ("", "date", "Ticket no")], ids=len)
@pytest.mark.parametrize("turned", [False, True], ids=["in order", "turned"])
@pytest.mark.parametrize(("heading", "longer"), LONGER, ids=str)
def test_what_is_asked_and_answered_is_told_by_the_heading_whatever_stands_beside_it(
    tmp_path: Path, heading: tuple[str, str], turned: bool, longer: str, beside: tuple[str, ...]
) -> None:
    lengths = (24, 6) if longer == "asked" else (6, 24)
    rows = [
        {
            **dict(zip(beside, (number, "2026-03-11", f"T-{number:04}"), strict=False)),
            **dict(zip(heading[::-1] if turned else heading, map(words, lengths), strict=True)),
        }
        for number in range(30)
    ]
    source = load_task(write_starter(write_table(tmp_path / "rows.csv", rows)).task_file).examples
    assert (source.input, source.output) == ((heading[0],), heading[1])


@pytest.mark.parametrize("beside", [(), ("",), ("Nr",)], ids=str)
@pytest.mark.parametrize("lengths", [(4, 40), (1, 1)])
@pytest.mark.parametrize(
    "heading", [("col a", "col b"), ("answer a", "answer b"), ("mr", "ref"), ("name", "blurb")]
)
def test_two_columns_whose_names_tell_nothing_are_read_in_their_order(
    tmp_path: Path, heading: tuple[str, str], lengths: tuple[int, int], beside: tuple[str, ...]
) -> None:
    rows = [
        {**dict.fromkeys(beside, number), **dict(zip(heading, map(words, lengths), strict=True))}
        for number in range(30)
    ]
    roles = guess_roles(RowSource(tmp_path / "rows.csv"), rows)
    assert (roles.source.input, roles.source.output) == ((heading[0],), heading[1])
    assert "Swap them if wrong" in roles.reasons["input"]


TEAMS = ("Billing", "Returns", "Tech Support", "Other")
PEOPLE = ("Anna Schmidt", "Jonas Weber", "Priya Patel")


def pick(values: Sequence[str]) -> str:
    return DRAW.choice(values)


# An export of some program: the columns of its rows, the columns that are guessed, and what is
# asked otherwise.
EXPORTS: dict[str, tuple[Callable[[int], dict[str, object]], tuple[str, str], list[str]]] = {
    "dates": (
        lambda n: {
            "Date": f"2026-{1 + n % 12:02}-{1 + n % 28:02}",
            "Ticket": words(9),
            "Team": pick(TEAMS),
        },
        ("Ticket", "Team"),
        [],
    ),
    "names of people": (
        lambda n: {
            "created": f"2026-03-{1 + n % 30:02}T10:{n % 60:02}:00Z",
            "body": words(9),
            "agent": pick(PEOPLE),
            "Done": pick(PEOPLE),
            "queue": pick(TEAMS),
        },
        ("body", "queue"),
        [],
    ),
    "ids and a title": (
        lambda n: {
            "Issue key": f"AB-{n // 3}",
            "Titel": words(4),
            "Kundentext": words(20),
            "Bearbeiter": pick(PEOPLE),
            "Angelegt": f"{1 + n % 28}. März 2026 9:00",
            "Abteilung": pick(TEAMS),
        },
        ("Kundentext", "Abteilung"),
        ["Titel (texts", "Kundentext (texts"],
    ),
    "several labels": (
        lambda n: {
            "Opened": f"{1 + n % 12}/{1 + n % 28}/26 9:00 AM",
            "Case Number": str(DRAW.randint(1, 300)),
            "Short text": words(9),
            "Channel": pick(("mail", "chat")),
            "Priority": str(DRAW.randint(1, 3)),
            "Area": pick(TEAMS),
        },
        ("Short text", "Area"),
        [
            "Channel (2 values: chat, mail)",
            "Priority (3 values: 1, 2, 3)",
            "Area (4 values: Billing",
        ],
    ),
    "a summary": (
        lambda n: {
            "Summary": words(4),
            "Description": words(20),
            "Issue Type": pick(TEAMS),
            "Assigned to": pick(PEOPLE),
        },
        ("Description", "Issue Type"),
        ["Issue Type (4 values: Billing, Other, Returns, ...)", "Summary (texts"],
    ),
}


@pytest.mark.parametrize("name", EXPORTS)
def test_dates_ids_and_people_are_never_the_answer_and_what_is_unclear_is_asked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    make_row, expected, asked = EXPORTS[name]
    file = write_table(tmp_path / "rows.csv", [make_row(number) for number in range(300)])
    options: list[str] = []

    def choose(question: str, choices: Sequence[str]) -> int:
        assert "rows.csv" in question
        options.extend(choices)
        return next(n for n, choice in enumerate(choices) if choice.split(" (")[0] in expected)

    source = load_task(
        write_starter(file, tmp_path / "chosen.yaml", choose=choose).task_file
    ).examples
    assert (source.input, source.output) == ((expected[0],), expected[1])
    assert len(options) == len(asked)
    assert all(map(str.startswith, options, asked))
    # Without a terminal: an error that lists the choices, with the command that names them.
    assert main(["init", str(file)]) == (2 if asked else 0)
    error = capsys.readouterr().err
    assert all(choice in error for choice in asked)
    assert bool(asked) == ("--answer COLUMN" in error)
    named = ["--input", expected[0], "--answer", expected[1]]
    assert main(["init", str(file), "-o", f"{tmp_path}/named.yaml", *named]) == 0
    own = load_task(tmp_path / "named.yaml").examples
    assert (own.input, own.output) == (source.input, source.output)


@pytest.mark.parametrize("key", ["labels", "emotions"])
@pytest.mark.parametrize(
    "extra", [{}, {"id": "{}"}, {"id": "{}", "annotator": "Anna Schmidt"}], ids=len
)
def test_json_lines_with_a_list_of_labels_are_read(
    tmp_path: Path, key: str, extra: dict[str, str]
) -> None:
    rows = [
        {name: value.format(n) for name, value in extra.items()}
        | {
            "text": words(9),
            key: DRAW.sample(("joy", "anger", "fear"), DRAW.randint(key == "labels", 2)),
        }
        for n in range(200)
    ]
    task = load_task(write_starter(write_table(tmp_path / "rows.jsonl", rows)).task_file)
    assert (task.examples.input, task.examples.output, task.examples.several) == (
        ("text",),
        key,
        True,
    )


def test_a_chat_log_with_a_row_for_each_message_is_named_with_the_way_out(tmp_path: Path) -> None:
    rows = [
        {
            "conversation_id": f"c{n // 4}",
            "sender": ("customer", "agent")[n % 2],
            "message": words(9),
        }
        for n in range(200)
    ]
    with pytest.raises(
        InputError, match=r"each row is one message .* for each conversation_id.*messages"
    ):
        write_starter(write_table(tmp_path / "rows.csv", rows))


def test_a_file_of_rows_has_one_task_file_beside_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`compare FILE` and `check FILE` write it once, say what was guessed, and use it the next
    time.
    """
    file = write_table(tmp_path / "tickets.csv", tickets())
    assert main(["check", str(file)]) in (0, 1)
    lines = capsys.readouterr().err.splitlines()
    assert "Guessed from tickets.csv, and written to task.yaml with comments:" in lines
    keys = [line.split(":")[0] for line in lines if line.startswith("  ")]
    assert keys == ["  input", "  output", "  kind", "  test", "  metric"]
    text = (tmp_path / "task.yaml").read_text().replace("smollm2-135m-instruct", "fake")
    (tmp_path / "task.yaml").write_text(text.replace("methods: all", "methods: [prompt]"))
    assert main(["compare", "-y", str(file)]) == 0
    assert "task.yaml is used, the task file beside tickets.csv" in capsys.readouterr().out
    # Other rows in the same folder need a task file of their own.
    other = write_table(tmp_path / "other.csv", tickets(120))
    with pytest.raises(InputError, match=r"already exists.*etude init .*other.csv --output FILE"):
        load_task_rows(other, None)
    write_starter(other, tmp_path / "other.yaml")
    task, rows, _ = load_task_rows(other, None)
    assert (task.file.name, len(rows), task.notes[0][:18]) == (
        "other.yaml",
        120,
        "other.yaml is used",
    )
    (tmp_path / "new").mkdir()
    task_file, _ = open_task_file(
        write_table(tmp_path / "new" / "rows.csv", tickets(120)), budget="3m"
    )
    assert load_task(task_file).budget_seconds == 180


@pytest.fixture
def serve_models() -> Iterator[Callable[[str | None], int]]:
    """Starts a server whose list of models is a text, or that never answers; returns its port."""
    with ExitStack() as servers:

        def start(content: str | None) -> int:
            class Handler(BaseHTTPRequestHandler):
                def do_GET(self) -> None:
                    is_right = self.path == "/v1/models" and not self.headers.get("Content-Length")
                    self.send_response(200 if is_right else 400)
                    self.end_headers()
                    self.wfile.write((content or "").encode())

                def log_message(self, *_: object) -> None:
                    pass

            if content is None:
                return int(
                    servers.enter_context(socket.create_server(("127.0.0.1", 0))).getsockname()[1]
                )
            return urlsplit(servers.enter_context(serve_handler(Handler))).port or 0

        yield start


def list_models_as(*names: str, owner: str = "library") -> str:
    return json.dumps(
        {"object": "list", "data": [{"id": name, "owned_by": owner} for name in names]}
    )


def test_models_of_this_machine_are_proposed_and_never_used(
    tmp_path: Path,
    serve_models: Callable[[str | None], int],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    contents = {
        "Ollama": list_models_as("llama3.1:8b", "qwen3:4b"),
        "LM Studio": list_models_as("text-embedding-nomic", "google/gemma-3-4b"),
        "llama.cpp": list_models_as("C:\\models\\big: one.gguf"),
        "hanging": None,
        "page": "<html>Hello</html>",
        "etude": list_models_as("ticket-desk", owner="etude"),
        "forged": list_models_as("a\nmodel: b"),
    }
    servers = {serve_models(content): name for name, content in contents.items()}
    begun = time.monotonic()
    models = find_local_models(servers, max_seconds=3)
    assert time.monotonic() - begun < 4
    names = ["llama3.1:8b", "google/gemma-3-4b", "C:\\models\\big: one.gguf"]
    assert [(model.server, model.name) for model in models] == list(
        zip(list(contents)[:3], names, strict=True)
    )
    file = write_table(tmp_path / "rows.csv", tickets())
    text = write_starter(file, local_models=models).text
    assert load_task(tmp_path).prompt_model is None
    lines = [line for line in text.splitlines() if line.startswith("# prompt_model:")]
    assert len(lines) == 3
    for line, model in zip(lines, models, strict=True):
        (tmp_path / "task.yaml").write_text(text.replace(line, line.removeprefix("# ")))
        task = load_task(tmp_path)
        (endpoint,) = task.endpoints.values()
        assert (endpoint.url, endpoint.model) == (f"http://127.0.0.1:{model.port}/v1", model.name)
    monkeypatch.setattr("etude.data.starter.local_models.SERVERS", dict(list(servers.items())[:1]))
    monkeypatch.setattr("etude.data.starter.local_models.MAX_SECONDS", 3)
    assert main(["init", str(file), "-o", str(tmp_path / "new.yaml")]) == 0
    said = (
        "Ollama on this machine has llama3.1:8b. To also compare prompts on it, remove the # "
        "before its"
    )
    assert said in capsys.readouterr().out


def test_the_name_of_an_ollama_model_is_answered_with_the_line_to_write(tmp_path: Path) -> None:
    write_starter(write_table(tmp_path / "rows.csv", tickets()))
    text = (tmp_path / "task.yaml").read_text().replace("methods: all", "methods: [prompt]")
    (tmp_path / "task.yaml").write_text(f"{text}\nprompt_model: llama3.1:8b\n")
    with pytest.raises(ModelError, match=r"For Ollama, write \{endpoint: ") as caught:
        compare(tmp_path / "task.yaml")
    line = re.search(r"\{endpoint: .*\}", str(caught.value))
    (tmp_path / "task.yaml").write_text(f"{text}\nprompt_model: {line[0]}\n")
    assert [endpoint.model for endpoint in load_task(tmp_path).endpoints.values()] == [
        "llama3.1:8b"
    ]


def test_rows_with_empty_cells_are_left_out_and_named_and_the_task_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [
        {"mail (raw)": words(9), "Queue!!": LABELS[n % 4] if n % 50 else "", "urgency": "ab"[n % 2]}
        for n in range(200)
    ]
    path = write_table(tmp_path / "rows.csv", rows)
    assert main(["init", str(path), "--answer", "Queue!!"]) == 0
    told = capsys.readouterr().out
    assert "rows: 4 rows are left out here (Queue!! is empty): rows.csv:2, rows.csv:52, " in told
    task = str(tmp_path / "task.yaml")
    assert main(["compare", task]) == 2
    assert f"leave out empty rows: etude check {task} --fix" in capsys.readouterr().err
    # A comparison of the bare file leaves them out, and `check` still names them.
    (tmp_path / "bare").mkdir()
    empty = {**tickets()[0], "message": " "}
    bare = write_table(tmp_path / "bare" / "rows.csv", [empty, *tickets()])
    task_rows, dataset, _ = load_task_rows(bare, None)
    assert len(dataset) == len(tickets())
    assert "rows.csv: 1 row without an input or an output left out (rows.csv:2)" in task_rows.notes
    assert main(["check", str(bare), "--fail-on", "empty"]) == 1
    assert main(["check", task, "--fail-on", "empty"]) == 1
    assert main(["check", task, "--fix"]) == 0
    assert (
        len(read_rows(RowSource(tmp_path / "rows.fixed.csv", ("mail (raw)",), "Queue!!")).examples)
        == 196
    )


@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
def test_copies_with_their_id_are_left_out_and_named_and_other_rows_of_one_id_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], suffix: str
) -> None:
    rows: list[dict[str, object]] = [
        {"id": n, "question": words(9), "answer": words(5), "tag": "a"} for n in range(60)
    ]
    path = write_table(tmp_path / f"rows{suffix}", [*rows, rows[7], rows[9], rows[7]])
    assert main(["init", str(path)]) == 0
    told = capsys.readouterr().out
    places = [f"{path.name}:{line + (suffix == '.csv')}" for line in (61, 62, 63)]
    said = "rows: 3 rows are left out here (the row repeats an earlier row, including its id): "
    assert (
        f"{said}{', '.join(places)}. In a comparison, such rows are errors. Delete them, or run"
        in told
    )
    assert main(["check", str(tmp_path), "--fail-on", "repeated_input"]) == 1
    told = capsys.readouterr().out
    assert "3 occurrences: the row repeats an earlier row" in told
    assert "--fix leaves these rows out" in told
    assert main(["compare", str(tmp_path)]) == 2
    assert main(["check", str(tmp_path), "--fix"]) == 0
    kept = read_rows(
        RowSource(tmp_path / f"rows.fixed{suffix}", ("question",), "answer", id="id")
    ).examples
    assert [row.id for row in kept] == [str(n) for n in range(60)]
    assert main(["check", str(tmp_path), "--undo", "all"]) == 0
    assert (tmp_path / f"rows.fixed{suffix}").read_bytes() == path.read_bytes()
    write_table(path, [*rows, rows[7] | {"tag": "b"}])
    with pytest.raises(InputError, match="the id occurs twice"):
        write_starter(path, tmp_path / "other.yaml")


def test_chats_that_cannot_be_learned_are_left_out_and_named_by_what_is_wrong(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    human = {"from": "human", "value": words(9)}
    gpt = {"from": "gpt", "value": words(9)}
    call = {"from": "function_call", "value": "{}"}
    wrong = {
        "is not the assistant's": [human, gpt, human],
        r"calls cannot be read \(.*\)": [human, call, gpt],
        "contains no turns": [],
        "must be a text": [human, {"from": "gpt"}],
    }
    talks = [*([human, gpt] for _ in range(60)), *wrong.values()]
    rows = [{"id": str(number), "conversations": talk} for number, talk in enumerate(talks)]
    path = write_table(tmp_path / "rows.jsonl", rows)
    assert main(["init", str(path)]) == 0
    told = capsys.readouterr().out
    assert "output: the last turn of conversations" in told
    for line, what in enumerate(wrong, 61):
        said = rf"1 row is left out here \(.*{what}\): rows.jsonl:{line}\. .*Correct it"
        assert re.search(said, told), told
    assert main(["check", str(path.with_name("task.yaml")), "--fail-on", "tools"]) == 1


SENTENCES = [words(10) for _ in range(60)]
SHAPES: dict[str, list[dict[str, object]]] = {
    "classify": [{"text": text, "label": f"class {n % 3}"} for n, text in enumerate(SENTENCES)],
    "extract": [
        {
            "note": text,
            "found": {"name": text[:5], "age": n, **({"plan": [text[:9]]} if n % 2 else {})},
        }
        for n, text in enumerate(SENTENCES)
    ],
    "answer": [{"question": text, "answer": words(8 + n % 5)} for n, text in enumerate(SENTENCES)],
    "rewrite": [
        {"draft": text, "better": " ".join(text.split()[1:]) + " indeed"}
        for n, text in enumerate(SENTENCES)
    ],
}


@pytest.mark.parametrize("kind", SHAPES)
@pytest.mark.parametrize("suffix", [".jsonl", ".csv", ".tsv"])
def test_the_kind_is_known_by_the_outputs(tmp_path: Path, kind: str, suffix: str) -> None:
    rows = SHAPES[kind]
    if suffix != ".jsonl":
        rows = [
            {k: json.dumps(v) if isinstance(v, dict) else v for k, v in row.items()} for row in rows
        ]
    _, task = write_and_load(write_table(tmp_path / f"rows{suffix}", rows))
    assert task.kind == kind
    assert task.instructions


@pytest.mark.parametrize("suffix", [".jsonl", ".csv"])
@pytest.mark.parametrize(
    ("each", "kind"), [(1, "extract"), (1.5, "extract"), (0, "classify"), (None, "answer")]
)
def test_outputs_that_are_numbers_make_a_task_that_check_can_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], each: float | None, kind: str, suffix: str
) -> None:
    def output(n: int) -> object:
        if each is None:
            return n if n % 2 else f"{n} and {words(6)}"
        return n * each if each else n % 2

    rows = [{"input": words(12), "output": output(n)} for n in range(110)]
    _, task = write_and_load(write_table(tmp_path / f"rows{suffix}", rows))
    assert task.kind == kind
    assert (task.instructions == "Answer with the number alone.") == (kind == "extract")
    assert main(["check", str(tmp_path), "--fail-on", "unreadable", "--fail-on", "contract"]) == 0
    assert "110 rows of rows" in capsys.readouterr().out


@pytest.mark.parametrize("shape", ["the question first", "one word"])
def test_answers_that_begin_with_the_question_are_answers(tmp_path: Path, shape: str) -> None:
    asked = [words(6) if shape == "the question first" else words(1) for _ in range(100)]
    rows = [{"question": text, "answer": f"{text} {words(24)}"} for text in asked]
    assert write_and_load(write_table(tmp_path / "rows.jsonl", rows))[1].kind == "answer"


def test_a_schema_names_types_and_required_keys(tmp_path: Path) -> None:
    _, task = write_and_load(write_table(tmp_path / "rows.jsonl", SHAPES["extract"]))
    assert task.contract.json_schema == {
        "type": "object",
        "properties": {
            "name": {"type": "string"},
            "age": {"type": "integer"},
            "plan": {"type": "array", "items": {"type": "string"}},
        },
        "required": ["name", "age"],
        "additionalProperties": False,
    }
    assert task.instructions == "Extract from the text, as JSON with the keys name, age, plan."


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(st.lists(JSON, max_size=6))
def test_an_inferred_schema_is_kept_by_the_values_it_was_inferred_from(
    values: list[object],
) -> None:
    schema = infer_schema(values)
    Draft202012Validator.check_schema(schema)
    validator = Draft202012Validator(schema)
    assert all(validator.is_valid(value) for value in values)


def book(number: int, note: bool) -> str:
    lines = [f"Title: {words(3)}", f"Ages: {number % 9}-12", f"Why: {words(9)}"]
    return "\n".join([*lines, "Gentle note: one sad page"] if note else lines)


def test_fields_in_order_and_the_one_that_may_be_absent(tmp_path: Path) -> None:
    rows = [{"input": words(9), "output": book(n, n % 3 == 0)} for n in range(90)]
    _, task = write_and_load(write_table(tmp_path / "rows.jsonl", rows))
    assert task.contract.fields == ("Title", "Ages", "Why", "Gentle note?")
    assert (
        "Write these lines: Title, Ages, Why, Gentle note. Leave out Gentle note"
        in task.instructions
    )


def test_fields_that_over_one_row_in_twenty_lacks_are_not_proposed() -> None:
    outputs = [book(n, False) for n in range(90)]
    assert infer_fields([*outputs, *["Sorry, there is none."] * 4]) == ("Title", "Ages", "Why")
    assert infer_fields([*outputs, *["Sorry, there is none."] * 6]) == ()


def in_test(path: Path, kind: Kind = "answer", group: str | None = None) -> set[int]:
    """Positions of the rows that the split of a new task puts into the test."""
    examples = read_rows(RowSource(path, group=group)).examples
    test = {row.id for row in split(Dataset(examples), kind, 0).test}
    return {position for position, row in enumerate(examples) if row.id in test}


def test_the_word_limit_lets_every_row_outside_the_test_pass(tmp_path: Path) -> None:
    rows = [{"input": words(9), "output": f"Said: {words(9)}"} for _ in range(200)]
    path = write_table(tmp_path / "a.jsonl", rows)
    assert write_and_load(path)[1].contract == Contract(fields=("Said",), max_words=12)
    rows[min(set(range(200)) - in_test(path))]["output"] = f"Said: {words(79)}"
    long = write_table(tmp_path / "b.jsonl", rows)
    assert load_task(write_starter(long, tmp_path / "b.yaml").task_file).contract == Contract(
        fields=("Said",), max_words=80
    )


RULED = {
    "answer": lambda n: words(4 + n % 9),
    "fields": lambda n: book(n, n % 3 == 0),
    "extract": lambda n: json.dumps(
        {"name": words(1), "age": n, **({"plan": [words(2)]} if n % 2 else {})}
    ),
    "rewrite": lambda n: "",
}


@pytest.mark.parametrize("form", RULED)
@pytest.mark.parametrize("grouped", [False, True])
def test_answers_of_test_rows_do_not_bear_on_the_task_file(
    tmp_path: Path, form: str, grouped: bool
) -> None:
    rows = [{"input": words(9), "output": RULED[form](n)} for n in range(260)]
    for n, row in enumerate(rows):
        row["output"] = row["output"] or f"{row['input']} indeed"
        row |= {"customer": f"C{n // 2}"} if grouped else {}
    path = write_table(tmp_path / "rows.jsonl", rows)
    before = write_starter(path)
    task, dataset = load_dataset(load_task(before.task_file))
    assert task.examples.group == ("customer" if grouped else None)
    test = {row.location for row in split(dataset, task.kind, task.seed).test}
    assert len(test) >= 50
    for n, row in enumerate(rows):
        if f"rows.jsonl:{n + 1}" in test:
            row["output"] = words(DRAW.randint(1, 90))
    before.task_file.unlink()
    assert write_starter(write_table(path, rows)).text == before.text


def test_a_label_of_test_rows_alone_is_not_named_and_said(tmp_path: Path) -> None:
    rows = [
        {"text": words(9), "label": f"class {n % 4}", "customer": f"C{n // 8}"} for n in range(300)
    ]
    rows[299]["label"] = "rarity"  # its group is half as large as the others, and fills the test up
    path = write_table(tmp_path / "rows.jsonl", rows)
    assert 299 in in_test(path, "classify", "customer")
    result, task = write_and_load(path)
    assert (task.kind, task.contract) == ("classify", None)
    assert "rarity" not in result.text + " ".join(result.guesses)
    for told in (flat(result.text), " ".join(result.guesses)):
        assert "Labels that occur only in the test: 1." in told
    assert task.instructions.endswith(": class 0, class 1, class 2, class 3.")
    assert "\n# handover: 0.05\n" in result.text


@pytest.mark.parametrize("shape", ["answer", "rewrite"])
def test_a_contract_that_every_answer_keeps_is_offered_and_likeness_measured(
    tmp_path: Path, shape: str
) -> None:
    result, task = write_and_load(write_table(tmp_path / "rows.jsonl", SHAPES[shape]))
    assert (task.kind, task.contract) == (shape, None)
    assert choose_metric(task, Dataset(())).name == "chrf"
    assert "\n# contract:\n#   max_words: " in result.text
    assert "# metric: chrf" in result.text
    for told in (flat(result.text), " ".join(result.guesses)):
        assert "answers are scored by their similarity to the example's answer" in told


def test_values_that_yaml_would_misread_come_back_as_they_were(tmp_path: Path) -> None:
    labels = ("yes", "no", "12", "null", "a: b", "- c", "#d", "'e'", "1e5", "ünï")
    rows = [{"text": words(8), "label": labels[n % len(labels)]} for n in range(80)]
    _, task = write_and_load(write_table(tmp_path / "rows.csv", rows))
    assert set(task.contract.labels) == set(labels)


def test_the_task_may_stand_in_another_folder(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    path = write_table(tmp_path / "data" / "rows.jsonl", SHAPES["answer"])
    task = load_task(write_starter(path, tmp_path / "task.yaml").task_file)
    assert task.examples.file.resolve() == path.resolve()


def test_a_test_file_beside_the_examples_is_offered(tmp_path: Path) -> None:
    write_table(tmp_path / "test.jsonl", SHAPES["answer"])
    text = write_starter(write_table(tmp_path / "train.jsonl", SHAPES["answer"])).text
    assert "test.jsonl is next to the examples" in flat(text)


def test_rows_that_are_too_few_to_split_are_told(tmp_path: Path) -> None:
    rows = [{"question": words(10), "answer": words(9)} for _ in range(99)]
    result, task = write_and_load(write_table(tmp_path / "rows.jsonl", rows))
    assert "Without this line, the 99 rows are too few: a comparison needs 100" in flat(result.text)
    with pytest.raises(
        InputError, match=r"50 for the test, 30 for choices \(dev\), 20 to train on"
    ):
        split(load_dataset(task)[1], task.kind, task.seed)


@pytest.mark.parametrize("count", [1, 19, 20, 60, 99, 100, 149, 150])
def test_init_and_compare_name_one_limit_for_few_rows(
    count: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Below 100 rows both say what is lacking to 100, from there to 149 what a verdict on tuning
    takes.
    """
    rows = [{"text": words(9), "label": "ab"[n % 2]} for n in range(count)]
    assert main(["init", str(write_table(tmp_path / "rows.jsonl", rows))]) == 0
    guessed = capsys.readouterr().out
    text = (
        (tmp_path / "task.yaml").read_text().replace("model: smollm2-135m-instruct", "model: fake")
    )
    (tmp_path / "task.yaml").write_text(text.replace("methods: all", "methods: [prompt]"))
    assert main(["compare", "-y", str(tmp_path)]) == (2 if count < 100 else 0)
    told = capsys.readouterr()
    for shown in (guessed, told.out + told.err):
        flat = " ".join(shown.split())
        missing = re.findall(
            r"too few rows for a comparison; the minimum is 100: .*? [Cc]ollect at least "
            r"(\d+) more row",
            flat,
        )
        assert missing == ([str(100 - count)] if count < 100 else [])
        assert ("set test: to a test file of your own; then 50 rows are enough" in flat) == (
            count < 100
        )
        tuning = f"{count} rows are too few for a verdict on tuning, which needs 150 rows in all"
        assert (tuning in flat) == (100 <= count < 150)


def test_a_task_file_is_never_overwritten(tmp_path: Path) -> None:
    path = write_table(tmp_path / "rows.jsonl", SHAPES["answer"])
    (tmp_path / "task.yaml").write_text("mine")
    with pytest.raises(InputError, match=r"already exists.* --output FILE"):
        write_starter(path)
    assert (tmp_path / "task.yaml").read_text() == "mine"


TABLE = "text,label\n" + "".join(f"words of row {n} here,{'ab'[n % 2]}\n" for n in range(40))
LINES = [json.dumps({"text": f"words of row {n} here", "label": "ab"[n % 2]}) for n in range(40)]


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        (
            "r.csv",
            b"PK\x03\x04\x14\0\x06\0",
            ["r.csv:1: an Excel workbook", "bytes 0x50 0x4B", "save the sheet as CSV"],
        ),
        (
            "r.csv",
            TABLE.encode("utf-16"),
            ["r.csv:1: this is UTF-16", "0xFF 0xFE", "iconv -f UTF-16"],
        ),
        (
            "r.csv",
            TABLE.encode("utf-16-be"),
            ["r.csv:1: this is UTF-16", "0x00 0x74", "iconv -f UTF-16"],
        ),
        (
            "r.jsonl",
            "\n".join(LINES).encode("utf-16-le"),
            ["r.jsonl:1: this is UTF-16", "0x7B 0x00"],
        ),
        ("r.csv", b"", ["r.csv:1: the file contains no rows: it is empty"]),
        ("r.jsonl", b"\n\n", ["r.jsonl:1: the file contains no rows: all lines are blank"]),
        (
            "r.csv",
            b"text,label\n",
            ["only column names (got 'text, label')", "Add rows below them"],
        ),
        (
            "r.csv",
            b"text\nhello you\n",
            ["only one column", "(got 'text')", "Add a column with the right answers"],
        ),
        (
            "r.csv",
            b"ham,how are you today my dear friend\n" * 9,
            ["the first line looks like a row"],
        ),
        ("r.csv", b"a,b,c\n1,2,3\n4,5,6\n", ["no column looks like the input"]),
        ("r.xls", b"x", ["Save the sheet as .xlsx"]),
        (
            "r.jsonl",
            b'[\n {"text": "a"},\n {"text": "b"}\n]\n',
            ["only one column", "(got 'text')"],
        ),
        ("r.jsonl", b'{\n "text": "a"\n}\n', ["a JSON value spans several lines", "jq -c . FILE"]),
    ],
)
def test_a_file_of_another_kind_is_one_error_with_what_to_do(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    name: str,
    content: bytes,
    expected: list[str],
) -> None:
    (tmp_path / name).write_bytes(content)
    assert main(["init", str(tmp_path / name)]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert len(printed.err.splitlines()) == 1
    assert all(part in printed.err for part in expected), printed.err
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"], ids=["bare", "BOM"])
@pytest.mark.parametrize("separator", [",", ";", "|", "\t"])
def test_a_table_of_any_separator_is_read_alike(
    tmp_path: Path, separator: str, mark: bytes
) -> None:
    (tmp_path / "r.csv").write_bytes(mark + TABLE.replace(",", separator).encode())
    rows = write_starter(tmp_path / "r.csv")
    task, dataset = load_dataset(load_task(rows.task_file))
    assert (task.examples.input, task.examples.output, len(dataset)) == (("text",), "label", 40)


def test_differing_system_messages_are_counted_and_belong_to_their_rows(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def row(number: int) -> dict[str, object]:
        turns = [("user", words(9)), ("assistant", words(4))]
        told = (
            [("system", " Be kind.")]
            if number < 90
            else [("system", "Be brief.")]
            if number < 110
            else []
        )
        return {"messages": [{"role": role, "content": text} for role, text in (*told, *turns)]}

    path = write_table(tmp_path / "r.jsonl", [row(number) for number in range(120)])
    assert main(["init", str(path)]) == 0
    said = (
        "The rows have 2 different system messages, except 10 rows. Each row is asked with its own"
    )
    assert said in capsys.readouterr().out
    assert said in flat((tmp_path / "task.yaml").read_text())
    task, dataset = load_dataset(load_task(tmp_path / "task.yaml"))
    assert task.instructions.startswith(
        "Answer the message."
    )  # for the ten rows without a system message
    systems = Counter(
        example.input[0].content for example in dataset if example.input[0].role == "system"
    )
    assert systems == {" Be kind.": 90, "Be brief.": 20}
    assert (
        "r.jsonl: 2 different system messages; each is used for its own rows only" in task.notes[-1]
    )


@pytest.mark.parametrize("have", [1, 60])
def test_a_system_message_that_half_the_rows_or_fewer_have_stays_theirs(
    tmp_path: Path, have: int
) -> None:
    systems = ["Be kind."] * have + [""] * (120 - have)
    rows = [{"input": words(9), "output": words(5), "system": system} for system in systems]
    result, task = write_and_load(write_table(tmp_path / "r.csv", rows))
    said = f"The rows have a system message, except {120 - have} rows. Each row"
    assert said in " ".join(result.guesses)
    assert said in flat(result.text)
    task, dataset = load_dataset(load_task(result.task_file))
    assert "r.csv: the system message is used only for the rows that have it" in task.notes[-1]
    assert [row.input[0].content == "Be kind." for row in dataset] == [
        bool(system) for system in systems
    ]
    assert "Be kind." not in task.instructions


def test_a_system_message_of_the_rows_is_not_drafted_over(tmp_path: Path) -> None:
    rows = [{"input": words(8), "output": words(9), "system": "You are Luma."} for _ in range(40)]
    result, task = write_and_load(write_table(tmp_path / "rows.jsonl", rows))
    assert task.instructions == "You are Luma."
    assert "have a system message, which is used" in flat(result.text)


@pytest.mark.parametrize(
    ("bare", "have"),
    [
        (1, "1 row has no system message (at r.jsonl:1)"),
        (40, "40 rows have no system message (the first at"),
    ],
)
def test_a_system_message_that_only_some_rows_have_is_taken_for_all_and_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], bare: int, have: str
) -> None:
    def row(number: int) -> dict[str, object]:
        told = [("system", "Be kind.")] if number >= bare else []
        turns = [*told, ("user", words(9)), ("assistant", words(5))]
        return {"messages": [{"role": role, "content": text} for role, text in turns]}

    path = write_table(tmp_path / "r.jsonl", [row(number) for number in range(120)])
    result, task = write_and_load(path)
    assert task.instructions == "Be kind."
    said = (
        f"the system message of {120 - bare} of 120 rows is used as the instructions for all "
        f"rows. {have}"
    )
    for told in (flat(result.text), " ".join(result.guesses), " ".join(task.notes)):
        assert said in told
    assert main(["check", str(tmp_path)]) in (0, 1)
    assert "system message" not in capsys.readouterr().out


def test_a_missing_file_is_named_and_a_missing_folder_created(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"absent\.csv: cannot read"):
        write_starter(tmp_path / "absent.csv", tmp_path / "none" / "task.yaml")
    assert not (tmp_path / "none").exists()
    path = write_table(tmp_path / "rows.jsonl", SHAPES["answer"])
    assert load_task(write_starter(path, tmp_path / "none" / "own.yaml").task_file).kind == "answer"


def real(tmp_path: Path, name: str) -> Path:
    """A real set in a file of a kind that is read: sms_spam has no line of names, rasbt is one
    list.
    """
    if name == "sms_spam":
        copy = tmp_path / "sms.tsv"
        copy.write_bytes(b"label\ttext\n" + (data_folder(name) / "sms.tsv").read_bytes())
        return copy
    if name == "rasbt_instructions":
        rows = json.loads((data_folder(name) / "instruction-data.json").read_text(encoding="utf-8"))
        return write_table(tmp_path / "instructions.jsonl", rows)
    files = {
        "banking77": "train.csv",
        "mts_dialog": "TrainingSet.csv",
        "paradetox": "paradetox_300.tsv",
    }
    file = data_folder(name) / files.get(name, "train.jsonl")
    if name == "banking77":  # every third row: each of the 77 labels is among them
        with file.open(encoding="utf-8", newline="") as table:
            return write_table(tmp_path / file.name, list(csv.DictReader(table))[::3])
    if name == "ncbi_disease":
        lines = file.read_text(encoding="utf-8").splitlines(keepends=True)
        file = tmp_path / file.name
        file.write_text("".join(lines[::3]), encoding="utf-8")
    return file


@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "kind", "inputs", "output"),
    [
        ("banking77", "classify", ("text",), "category"),
        pytest.param("sms_spam", "classify", ("text",), "label", marks=pytest.mark.real),
        pytest.param("snips_intents", "classify", ("text",), "intent", marks=pytest.mark.real),
        ("rasbt_instructions", "answer", ("instruction", "input"), "output"),
        pytest.param("mts_dialog", "answer", ("dialogue",), "section_text", marks=pytest.mark.real),
        ("ncbi_disease", "extract", ("text",), "entities"),
        ("paradetox", "rewrite", ("toxic",), "neutral1"),
    ],
)
def test_real_sets_are_read_as_they_are_meant(
    tmp_path: Path, name: str, kind: str, inputs: tuple[str, ...], output: str
) -> None:
    asked = name in ("paradetox", "mts_dialog")
    source = RowSource(real(tmp_path, name), *((inputs, output) if asked else ()))
    result = write_starter(source, tmp_path / "task.yaml")
    task, dataset = load_dataset(load_task(result.task_file))
    assert (task.kind, task.examples.input, task.examples.output) == (kind, inputs, output)
    test = {row.id for row in split(dataset, task.kind, task.seed).test}
    read = [row for row in dataset if row.id not in test]
    assert not [row.location for row in read if task.contract and task.contract.check(row.output)]


def test_a_test_file_has_the_columns_of_the_examples(tmp_path: Path) -> None:
    rows = tickets()
    examples = write_table(tmp_path / "rows.csv", rows[:180])
    same = write_table(tmp_path / "same.csv", rows[180:])
    renamed = [{"question": row["message"], "topic": row["category"]} for row in rows[180:]]
    other = write_table(tmp_path / "other.csv", renamed)
    result = write_starter(examples, tmp_path / "a.yaml", same)
    assert "test: same.csv" in result.text.splitlines()
    assert "test: 60 rows of same.csv" in result.guesses
    with pytest.raises(InputError, match=r"no column 'message'.*input: question, output: topic"):
        write_starter(examples, tmp_path / "b.yaml", other)
    assert main(["init", str(examples), "--test", str(same), "-o", str(tmp_path / "c.yaml")]) == 0


def test_groups_that_are_too_few_to_split_are_told(tmp_path: Path) -> None:
    for number, few in ((7, True), (60, False)):
        rows = [
            {"input": words(9), "output": words(5), "group": f"g{n % number}"} for n in range(240)
        ]
        result = write_starter(
            write_table(tmp_path / f"{number}.jsonl", rows), tmp_path / f"{number}.yaml"
        )
        told = [
            guess
            for guess in result.guesses
            if guess.startswith(f"group: group has {number} values")
        ]
        assert bool(told) == few


def test_preferences_of_single_turns_are_answers(tmp_path: Path) -> None:
    def turn(role: str) -> dict[str, str]:
        return {"from": role, "value": words(7)}

    rows = [
        {"conversations": [turn("human")], "chosen": turn("gpt"), "rejected": turn("gpt")}
        for _ in range(120)
    ]
    _, task = write_and_load(write_table(tmp_path / "rows.jsonl", rows))
    assert (task.kind, task.examples.input, task.examples.output) == (
        "answer",
        ("conversations",),
        "chosen",
    )


def test_the_draft_names_what_answers_share_and_not_the_columns(tmp_path: Path) -> None:
    def answer() -> str:
        return f"Hi there, thank you. {words(20)} Kind regards, your team"

    rows = [{"input_text": f"Where is {words(7)}?", "output_text": answer()} for _ in range(120)]
    _, task = write_and_load(write_table(tmp_path / "r.jsonl", rows))
    assert task.instructions.strip() == ("Answer the message. Use about 28 words.")


def test_further_columns_of_answers_are_tags_and_named(tmp_path: Path) -> None:
    names = {"urgent": "account", "stars": "urgency"}
    rows = [
        {names.get(key, key): value for key, value in row.items()}
        for row in make_question_rows(200)
    ]
    result, task = write_and_load(write_table(tmp_path / "rows.csv", rows))
    assert (task.examples.output, task.examples.tags) == ("topic", ("account", "urgency"))
    (note,) = [guess for guess in result.guesses if guess.startswith("tags:")]
    assert "To predict account or urgency" in note


def test_near_duplicates_are_searched_for_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    searches = []

    def search(texts: Sequence[str], **options: bool) -> list[tuple[int, ...]]:
        searches.append(len(texts))
        return cluster_near_duplicates(texts, **options)

    monkeypatch.setattr("etude.data.dataset.cluster_near_duplicates", search)
    rows = [
        {"text": f"note {n} on {('dogs', 'cats')[n % 2]}", "label": str(n % 2)} for n in range(200)
    ]
    assert "kind: classify" in write_starter(write_table(tmp_path / "rows.jsonl", rows)).text
    assert searches == [200]


@pytest.mark.parametrize("copies", [1, 2, 3, 6])
def test_the_metric_is_that_of_a_comparison_also_if_answers_hardly_repeat(
    tmp_path: Path, copies: int
) -> None:
    draw = random.Random(copies)
    words = [f"{begin}{end}" for begin in ("bo", "ti", "ra", "fu") for end in "klmnpst"]
    answers = [" ".join(draw.sample(words, 10)) for _ in range(400 // (copies + 1))]
    rows = [
        {
            "question": f"{' '.join(draw.sample(words, 7))}?",
            "answer": text,
            "Section": f"s{number % 9}",
        }
        for number, text in enumerate(answers)
        for _ in range(number % copies + 1)
    ]
    result, task = write_and_load(write_table(tmp_path / "rows.csv", rows))
    assert (task.kind, task.examples.input, task.examples.output) == (
        "answer",
        ("question",),
        "answer",
    )
    train = split(load_dataset(task)[1], "answer", task.seed).train
    assert f"# metric: {choose_metric(task, train).name}\n" in result.text
    assert "#     examples:\n#       - I want to make a complaint.\n" in result.text

"""Rows: what is written reads back the same, every shape is understood, every line keeps its
number.
"""

import csv
import io
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from conftest import data_folder
from hypothesis import given
from hypothesis import strategies as st

from etude.cli import main
from etude.data.formats import LoadedRows, guess_columns, peek_rows, read_rows, survey_rows
from etude.errors import InputError, MissingExtraError, parse_location
from etude.task import RowSource
from etude.types import Example, Message
from small_task import write_json_lines

TEXT = st.text(
    st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=30
).filter(str.strip)
ANSWER = TEXT.map(str.strip)
TAGS = st.dictionaries(st.sampled_from(["theme", "age"]), TEXT, max_size=2)
MANY = st.lists(
    st.tuples(TEXT, ANSWER, st.lists(ANSWER, max_size=2), st.none() | TEXT, TAGS),
    min_size=1,
    max_size=6,
)


def examples(rows: list[tuple[str, str, list[str], str | None, dict[str, str]]]) -> list[Example]:
    return [
        Example(f"r{number}", (Message("user", text),), answer, tuple(references), group, tags)
        for number, (text, answer, references, group, tags) in enumerate(rows)
    ]


def to_tuples(rows: LoadedRows) -> list[tuple[Any, ...]]:
    return [
        (row.id, row.input, row.output, row.references, row.group, row.tags)
        for row in rows.examples
    ]


def read(tmp_path: Path, name: str, text: str | bytes, **columns: Any) -> LoadedRows:
    (tmp_path / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_rows(RowSource(tmp_path / name, **columns))


def issues(tmp_path: Path, name: str, text: str | bytes, **columns: Any) -> list[str]:
    with pytest.raises(InputError) as caught:
        read(tmp_path, name, text, **columns)
    return [issue.location for issue in caught.value.issues]


@given(drawn=MANY, system=st.none() | ANSWER)
def test_what_is_written_reads_back_the_same(
    tmp_path_factory: pytest.TempPathFactory,
    drawn: list[tuple[str, str, list[str], str | None, dict[str, str]]],
    system: str | None,
) -> None:
    rows = examples(drawn)
    file = tmp_path_factory.getbasetemp() / "rows.jsonl"
    write_json_lines(file, (asdict(row) | {"input": row.text, "system": system} for row in rows))
    columns = {
        "references": ("references",),
        "group": "group",
        "tags": ("tags",),
        "system": "system",
    }
    back = read_rows(RowSource(file, ("input",), "output", id="id", **columns))
    assert to_tuples(back) == [
        (row.id, row.input, row.output, row.references, row.group, row.tags) for row in rows
    ]
    assert set(back.systems) == {system}


@given(
    rows=st.lists(st.tuples(TEXT, ANSWER), min_size=1, max_size=6),
    end=st.sampled_from(["\n", "\r\n"]),
)
def test_what_pythons_own_writers_write_reads_back(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str]], end: str
) -> None:
    stream = io.StringIO(newline="")
    csv.writer(stream, lineterminator=end, quoting=csv.QUOTE_ALL).writerows(
        [("input", "output"), *rows]
    )
    lines = [json.dumps({"input": a, "output": b}, ensure_ascii=end == "\n") + end for a, b in rows]
    for name, text in (
        ("python.csv", "\ufeff" + stream.getvalue()),
        ("python.jsonl", "".join(lines)),
    ):
        back = read(tmp_path_factory.getbasetemp(), name, text).examples
        assert [(row.text, row.output) for row in back] == rows


@given(st.binary(max_size=200), st.sampled_from(["any.jsonl", "any.csv", "any.tsv"]))
def test_any_bytes_are_rows_or_an_input_error(
    tmp_path_factory: pytest.TempPathFactory, raw: bytes, name: str
) -> None:
    file = tmp_path_factory.getbasetemp() / name
    file.write_bytes(raw)
    try:
        places = [row.location for row in read_rows(RowSource(file)).examples]
    except InputError as error:
        places = [issue.location for issue in error.issues]
    assert places
    assert all(place.startswith(name) for place in places)


@given(st.lists(st.integers(1, 4), min_size=1, max_size=8))
def test_a_row_is_named_by_the_line_it_begins_on_and_by_its_row_of_the_sheet(
    tmp_path_factory: pytest.TempPathFactory, heights: list[int]
) -> None:
    file = tmp_path_factory.getbasetemp() / "tall.csv"
    cells = ["\n".join("x" * height) for height in heights]
    body = "".join(f'"{cell}",b,T-{number}\n' for number, cell in enumerate(cells, 2))
    file.write_text("input,output,Ticket ID\n" + body, newline="")
    locations = [row.location for row in read_rows(RowSource(file)).examples]
    for number, location in enumerate(locations, 2):
        line = 2 + sum(heights[: number - 2])
        assert parse_location(location) == ("tall.csv", line)
        row = f" (row {number}, T-{number})" if line != number else ""
        assert location == f"tall.csv:{line}{row}"


@pytest.mark.parametrize(
    ("row", "text", "answer"),
    [
        ({"prompt": "a", "completion": " b\n"}, "a", "b"),
        ({"input": "a", "output": "b"}, "a", "b"),
        ({"instruction": "do", "input": "a", "output": "b"}, "do\n\na", "b"),
        ({"instruction": "do", "input": "", "output": "b"}, "do", "b"),
        ({"text": "a", "label": 3}, "a", "3"),
        ({"question": "a", "answer": "b", "context": "c"}, "a\n\nc", "b"),
        ({"instruction": "a", "context": "c", "response": "b"}, "a\n\nc", "b"),
        ({"instruction": "a", "context": "", "response": "b"}, "a", "b"),
        ({"Query": "a", "Passage": "c", "Reply": "b"}, "a\n\nc", "b"),
        ({"text": "a", "context": "c", "label": "b"}, "a", "b"),
        ({"text": "a", "output": {"z": 1, "a": "é"}}, "a", '{"z": 1, "a": "é"}'),
        ({"body": "a", "Category": "b"}, "a", "b"),
        ({"left": "a", "right": "b"}, "a", "b"),
        (
            {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]},
            "a",
            "b",
        ),
        (
            {
                "id": 4,
                "conversations": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}],
            },
            "a",
            "b",
        ),
        (
            {"conversation": [{"role": "user", "content": "a"}, {"role": "model", "content": "b"}]},
            "a",
            "b",
        ),
        (
            {
                "input": [{"role": "user", "content": "a"}],
                "output": [{"role": "assistant", "content": "b"}],
            },
            "a",
            "b",
        ),
    ],
)
def test_every_shape_is_understood(
    tmp_path: Path, row: dict[str, Any], text: str, answer: str
) -> None:
    example = read(tmp_path, "rows.jsonl", json.dumps(row)).examples[0]
    assert (example.text, example.output, example.location) == (text, answer, "rows.jsonl:1")


def test_a_chat_keeps_its_turns_and_gives_its_system_message_apart(tmp_path: Path) -> None:
    turns = [("system", "s"), ("user", "a"), ("assistant", "b"), ("user", "c"), ("assistant", "d")]
    row = {"messages": [{"role": role, "content": content, "name": "x"} for role, content in turns]}
    rows = read(tmp_path, "chat.jsonl", json.dumps(row))
    assert rows.systems == ("s",)
    assert rows.examples[0].input == (
        Message("user", "a"),
        Message("assistant", "b"),
        Message("user", "c"),
    )
    assert rows.examples[0].output == "d"
    assert any("keys other than role, content and weight" in note for note in rows.notes)


def test_what_the_assistant_says_before_the_user_is_left_out(tmp_path: Path) -> None:
    """As in OpenAI's own toy file, whose fourth chat has no user at all."""
    greeting = {"role": "assistant", "content": "You're great!"}
    system = {"role": "system", "content": "s"}
    chats = [[system, greeting], [system, greeting, *TALK], TALK]
    rows = read(tmp_path, "chat.jsonl", "\n".join(json.dumps({"messages": chat}) for chat in chats))
    assert [row.location for row in rows.examples] == ["chat.jsonl:2", "chat.jsonl:3"]
    assert rows.examples[0].input == rows.examples[1].input
    assert rows.systems == ("s", None)
    told = "\n".join(rows.notes)
    assert "chats without a turn of the user, which are left out: 1" in told
    assert "assistant turns before the user's first turn, which are left out: 1" in told
    with pytest.raises(InputError, match="no rows: chats without a turn of the user"):
        read(tmp_path, "chat.jsonl", json.dumps({"messages": chats[0]}))


def test_a_turn_of_weight_0_is_kept_and_not_learned(tmp_path: Path) -> None:
    turns = [("user", "a", 1), ("assistant", " b ", 0), ("user", "c", 1), ("assistant", "d", 1)]
    row = {
        "messages": [
            {"role": role, "content": said, "weight": weight} for role, said, weight in turns
        ]
    }
    rows = read(tmp_path, "chat.jsonl", json.dumps(row))
    asked = (Message("user", "a"), Message("assistant", "b", trained=False), Message("user", "c"))
    assert rows.examples[0].input == asked


@pytest.mark.parametrize(("at", "weight"), [(1, 2), (1, "0"), (1, True), (3, 0)])
def test_a_weight_that_says_nothing_is_an_error(tmp_path: Path, at: int, weight: object) -> None:
    turns: list[dict[str, object]] = [
        {"role": role, "content": "x"} for role in ("user", "assistant", "user", "assistant")
    ]
    turns[at]["weight"] = weight
    with pytest.raises(InputError, match=r"chat\.jsonl:1: messages.*weight"):
        read(tmp_path, "chat.jsonl", json.dumps({"messages": turns}))


TALK = [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]


@pytest.mark.parametrize(
    "row",
    [
        {"conversations": [{"from": "system", "value": "s"}, *TALK]},
        {"conversations": TALK, "system": "s"},
        {"conversations": [{"from": "system", "value": "s"}, *TALK], "system": " s"},
        {"messages": [{"role": "developer", "content": "s"}, *TALK]},
    ],
)
def test_a_system_message_is_known_by_each_of_its_names(
    tmp_path: Path, row: dict[str, Any]
) -> None:
    rows = read(tmp_path, "rows.jsonl", json.dumps(row))
    (example,) = rows.examples
    assert (rows.systems, example.input, example.output) == (("s",), (Message("user", "a"),), "b")


def test_two_system_messages_of_one_row_are_an_error(tmp_path: Path) -> None:
    row = {"conversations": [{"from": "system", "value": "s"}, *TALK], "system": "t"}
    with pytest.raises(InputError, match="system and the first turn are different"):
        read(tmp_path, "rows.jsonl", json.dumps(row))


def test_quotes_of_a_tsv_are_marks_also_around_a_very_long_value(tmp_path: Path) -> None:
    long = "word " * 40_000
    rows = read(tmp_path, "rows.tsv", f'input\toutput\n"a, b"\t"c"\n"{long}"\td\n')
    assert [row.text for row in rows.examples] == ["a, b", long]


@pytest.mark.parametrize("role", [["user"], {"name": "user"}, 1, None])
def test_a_role_that_is_no_text_is_an_error_of_its_row(tmp_path: Path, role: Any) -> None:
    row = {"messages": [*TALK, {"role": role, "content": "a"}]}
    with pytest.raises(InputError, match=r"rows.jsonl:1: messages\[2\]: unknown role"):
        read(tmp_path, "rows.jsonl", json.dumps(row))


def test_content_in_text_parts_is_joined(tmp_path: Path) -> None:
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    row = {"messages": [{"role": "user", "content": parts}, {"role": "assistant", "content": "c"}]}
    assert read(tmp_path, "chat.jsonl", json.dumps(row)).examples[0].text == "ab"


@pytest.mark.parametrize("name", ["rows.csv", "rows.tsv", "rows.jsonl"])
@pytest.mark.parametrize("column", ["messages", "conversations"])
def test_a_chat_that_is_written_as_json_in_a_text_is_read_as_turns(
    tmp_path: Path, column: str, name: str
) -> None:
    talk = [{"role": "user", "content": 'Say "é",\nplease'}, {"role": "assistant", "content": "é"}]
    cells = {"nr": "1", column: json.dumps(talk)}
    if name.endswith("jsonl"):
        (tmp_path / name).write_text(json.dumps(cells), encoding="utf-8")
    else:
        with (tmp_path / name).open("w", encoding="utf-8", newline="") as stream:
            writer = csv.writer(stream, delimiter="," if name.endswith("csv") else "\t")
            writer.writerows([cells, cells.values()])
    (row,) = read_rows(RowSource(tmp_path / name)).examples
    assert (row.text, row.output) == ('Say "é",\nplease', "é")


@pytest.mark.parametrize(
    "cell", ["", "[]", "[{'role': 'user'}]", '[{"role": "user", "content": "cut']
)
def test_a_chat_in_a_table_that_cannot_be_read_is_an_error_of_its_row_alone(
    tmp_path: Path, cell: str
) -> None:
    turns = [{"role": "user", "content": "Why?"}, {"role": "assistant", "content": "So."}]
    with (tmp_path / "rows.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([["messages", "n"], [json.dumps(turns), 1], [cell, 2]])
    with pytest.raises(InputError) as raised:
        read_rows(RowSource(tmp_path / "rows.csv"))
    (issue,) = raised.value.issues
    assert (issue.kind, issue.location) == ("roles", "rows.csv:3")


@pytest.mark.parametrize("text", ["Hello", "[1, 2]", '[{"role": "user", "content": "cut'])
def test_a_text_that_holds_no_turns_is_no_chat(tmp_path: Path, text: str) -> None:
    (tmp_path / "rows.jsonl").write_text(json.dumps({"messages": text}), encoding="utf-8")
    with pytest.raises(InputError, match="messages must be a list of turns"):
        read_rows(RowSource(tmp_path / "rows.jsonl"))


def test_mapped_columns_and_the_rest_is_said(tmp_path: Path) -> None:
    text = "nr,subject,body,team,who,colour,extra\n1,s,b,billing,anna,red,x\n2,,c,refund,,,y\n"
    named = {"id": "nr", "group": "who", "tags": ("colour",)}
    rows = read(tmp_path, "t.csv", text, input=("subject", "body"), output="team", **named)
    assert [(r.id, r.text, r.output, r.group, r.tags) for r in rows.examples] == [
        ("1", "s\n\nb", "billing", "anna", {"colour": "red"}),
        ("2", "c", "refund", None, {}),
    ]
    assert rows.notes == ("t.csv: columns not used: extra",)


def test_a_column_without_a_name_that_is_not_used_is_told_in_words(tmp_path: Path) -> None:
    rows = read(
        tmp_path, "t.csv", ",input,output,day\n0,a,b,c\n", input=("input",), output="output"
    )
    assert rows.notes == ("t.csv: columns not used: a column without a name, day",)


def test_references_come_from_columns_and_lists(tmp_path: Path) -> None:
    row = {"input": "a", "output": "b", "references": ["c", "d"]}
    assert read(tmp_path, "r.jsonl", json.dumps(row)).examples[0].references == ("c", "d")
    text = "input,output,one,two\na,b,c,\n"
    assert read(tmp_path, "r.csv", text, references=("one", "two")).examples[0].references == ("c",)


def test_ids_are_stable_and_unique(tmp_path: Path) -> None:
    text = "input,output\na,b\na,b\na,c\na,b\n"
    first, again, other, third = (row.id for row in read(tmp_path, "r.csv", text).examples)
    assert (again, third) == (f"{first}-2", f"{first}-3")
    assert other not in (first, again, third)
    row = json.dumps({"prompt": "a", "completion": "b"})
    assert read(tmp_path, "r.jsonl", row).examples[0].id == first


def test_an_id_that_stands_twice_names_both_lines(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"r\.csv:4: the id occurs twice \(got '1', first on line 2\)"
    ):
        read(tmp_path, "r.csv", "id,input,output\n1,a,b\n2,a,b\n1,c,d\n")


def test_all_errors_are_found_and_fifty_are_spelled_out(tmp_path: Path) -> None:
    places = issues(tmp_path, "r.csv", "input,output\n" + "a,b\n" * 3 + "a\n" * 70)
    assert places == [*(f"r.csv:{line}" for line in range(5, 55)), "r.csv"]
    with pytest.raises(InputError, match="and 20 more errors"):
        read_rows(RowSource(tmp_path / "r.csv"))


@pytest.mark.parametrize("value", ["NaN", "Infinity", "[" * 100_000, '{"a": 1, "a": 2}'])
def test_json_that_means_nothing_certain_is_an_error_of_its_line(
    tmp_path: Path, value: str
) -> None:
    text = f'{{"input": "a", "output": "b"}}\n{{"input": "a", "output": {value}}}\n'
    assert issues(tmp_path, "r.jsonl", text) == ["r.jsonl:2"]


def test_errors_of_bytes_values_and_shape_come_together_by_line(tmp_path: Path) -> None:
    text = (
        b'{"input": "a", "output": "b"}\n'
        b'{"input": "\xff"}\n'
        b'{"input": 1, "output": ""}\n'
        b"\n"
        b"{}\n"
        b"nothing\n"
    )
    assert issues(tmp_path, "r.jsonl", text) == [f"r.jsonl:{line}" for line in (2, 3, 3, 5, 5, 6)]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("r.xlsx", "x", "the workbook cannot be read|needs the extra"),
        ("r.json", "[]", "contains no rows: its list is empty"),
        ("r.txt", "x", "Give a .jsonl"),
        ("r.csv", "input,output\ra,b\r", "r.csv:1"),
    ],
)
def test_files_that_hold_no_rows_say_so(tmp_path: Path, name: str, text: str, message: str) -> None:
    with pytest.raises((InputError, MissingExtraError), match=message):
        read(tmp_path, name, text)


def test_another_separator_is_noticed_and_said(tmp_path: Path) -> None:
    rows = read(tmp_path, "r.csv", "text;label\na, b;c\n")
    assert (rows.examples[0].text, rows.examples[0].output) == ("a, b", "c")
    assert any("separated by ';'" in note for note in rows.notes)


def test_quotes_in_tsv_that_enclose_nothing_join_no_rows(tmp_path: Path) -> None:
    text = 'text\tlabel\n"Hi there\tham\nbye"\tham\n"whole"\tham\n'
    rows = read(tmp_path, "r.tsv", text)
    assert [row.text for row in rows.examples] == ['"Hi there', 'bye"', '"whole"']
    assert any("quotes are part of the values" in note for note in rows.notes)


@pytest.mark.parametrize("first", ["sep=;", "SEP=;", '"sep=;"'])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_excels_line_that_names_the_separator_is_no_row(
    tmp_path: Path, first: str, mark: bytes
) -> None:
    text = f"{first}\r\nFrage;Antwort\r\nWann, wo?;Um neun\r\n"
    rows = read(tmp_path, "rows.csv", mark + text.encode())
    assert [(row.text, row.output, row.location) for row in rows.examples] == [
        ("Wann, wo?", "Um neun", "rows.csv:3 (row 2)")
    ]
    assert not any("empty" in note for note in rows.notes)


def test_blank_lines_and_empty_rows_are_counted(tmp_path: Path) -> None:
    rows = read(tmp_path, "r.csv", "input,output\n\na,b\n,\n\n")
    assert [row.location for row in rows.examples] == ["r.csv:3"]
    assert "r.csv: empty rows: 3" in rows.notes


def test_the_guess_is_a_sentence_and_can_be_set(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("id,body,category,customer\n1,a,b,c\n")
    peeked = peek_rows(tmp_path / "t.csv")
    guess = guess_columns(peeked, RowSource(tmp_path / "t.csv"))
    assert (
        guess.sentence
        == "t.csv: columns guessed from their names: input = body, output = category, id = id"
    )
    set_by_user = guess_columns(peeked, RowSource(tmp_path / "t.csv", output="customer"))
    assert (set_by_user.source.input, set_by_user.source.output) == (("body",), "customer")
    assert "output" not in set_by_user.sentence


@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "columns", "rows"),
    [
        ("banking77/train.csv", {}, 10_003),
        ("medquad_sample/medquad.jsonl", {}, 3_319),
        ("paradetox/paradetox_300.tsv", {"input": ("toxic",), "output": "neutral1"}, 300),
        ("snips_intents/validate.jsonl", {"output": "intent"}, 700),
        ("xquad_en/xquad_en.jsonl", {"input": ("context", "question")}, 1_190),
        ("mts_dialog/TrainingSet.csv", {"input": ("dialogue",), "output": "section_text"}, 1_201),
    ],
)
def test_real_files_are_read_whole(name: str, columns: dict[str, Any], rows: int) -> None:
    folder, file = name.split("/")
    assert len(read_rows(RowSource(data_folder(folder) / file, **columns)).examples) == rows


@pytest.mark.parametrize(
    ("encoding", "text"),
    [
        ("cp932", "注文はどこですか。電話番号を教えてください"),
        ("cp1252", "Où est ma commande, déjà payée à la caisse ?"),
    ],
)
def test_a_file_in_another_encoding_is_one_error_with_the_command(
    encoding: str, text: str, tmp_path: Path
) -> None:
    file = tmp_path / "rows.csv"
    rows = "input,output\n" + "".join(f"{text} {number},{text}\n" for number in range(60))
    file.write_bytes(rows.encode(encoding))
    with pytest.raises(InputError) as raised:
        read_rows(RowSource(file))
    (issue,) = raised.value.issues
    assert "60 lines are not UTF-8" in issue.message
    assert "from Western European: iconv -f CP1252 -t UTF-8" in issue.remedy
    assert "in Excel: Save As, CSV UTF-8" in issue.remedy


def test_what_comes_of_another_encoding_is_not_told_beside_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Neither its labels nor the name of its column are."""
    lines = [f"Où est le n° {n} ?,{('Entrée', 'Sortie')[n % 2]}" for n in range(60)]
    (tmp_path / "rows.csv").write_bytes("\n".join(["texte,catégorie", *lines]).encode("cp1252"))
    examples = "{file: rows.csv, input: texte, output: catégorie}"
    text = (
        "kind: classify\n"
        "model: fake\n"
        f"examples: {examples}\n"
        "contract: {labels: [Entrée, Sortie]}\n"
    )
    (tmp_path / "task.yaml").write_text(text, "utf-8")
    for arguments in (
        ["check", str(tmp_path)],
        ["init", str(tmp_path / "rows.csv"), "-o", str(tmp_path / "t.yaml")],
    ):
        assert main(arguments) == 2
        (told,) = capsys.readouterr().err.splitlines()
        assert "rows.csv:1: 61 lines are not UTF-8" in told


def test_a_row_of_a_table_with_bytes_that_are_no_text_is_left_out_as_one_of_json_is(
    tmp_path: Path,
) -> None:
    lines = ["texte,catégorie", *(f"Où est {n} ?,Entrée" for n in range(9))]
    raw = "\n".join(lines).encode() + "\nLà,Entrée\n".encode("cp1252")
    (tmp_path / "rows.csv").write_bytes(raw)
    rows = survey_rows(RowSource(tmp_path / "rows.csv"))
    assert [issue.location for issue in rows.issues] == ["rows.csv:11"]
    assert len(rows.examples) == 9


@pytest.mark.parametrize("content", [b"\x89PNG\r\n\x1a\n\0\0", bytes(range(256)) * 8])
def test_what_is_no_text_is_one_error(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_bytes(content)
    with pytest.raises(InputError, match="not text") as raised:
        read_rows(RowSource(tmp_path / "rows.jsonl"))
    assert len(raised.value.issues) == 1


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("rows.jsonl", b'{"input": "a", "output": ' + b"1" * 10_000 + b"}\n"),
        ("rows.csv", b"input,output\ra,b\rc,d\r"),
    ],
)
def test_no_words_of_python_reach_the_user(name: str, content: bytes, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError) as raised:
        read_rows(RowSource(tmp_path / name))
    assert "sys." not in str(raised.value)
    assert "universal" not in str(raised.value)


LISTED = [{"input": f"question {n}", "output": f"answer {n}"} for n in range(3)]


@pytest.mark.parametrize("name", ["r.json", "r.jsonl"])
@pytest.mark.parametrize(
    ("text", "lines"),
    [
        (json.dumps(LISTED, indent=2), [2, 6, 10]),
        (f"\n{json.dumps(LISTED)}\n", [1, 2, 3]),
        ("[\n" + ",\n".join(map(json.dumps, LISTED)) + "\n]", [2, 3, 4]),
        ("[" + ",\n ".join(map(json.dumps, LISTED)) + "]", [1, 2, 3]),
    ],
)
def test_a_list_of_objects_is_read_with_the_line_of_each_or_its_number(
    tmp_path: Path, name: str, text: str, lines: list[int]
) -> None:
    rows = read(tmp_path, name, text)
    assert [row.output for row in rows.examples] == [row["output"] for row in LISTED]
    assert [row.location for row in rows.examples] == [f"{name}:{line}" for line in lines]


@pytest.mark.parametrize(
    ("end", "line"),
    [("", 4), (",]", 4), ("] more", 4), ("]]", 4), (',\n"text"]', 5), (',\n{"input": 1}]', 5)],
)
def test_a_list_that_is_broken_is_an_error_at_its_line(tmp_path: Path, end: str, line: int) -> None:
    text = "[\n" + ",\n".join(map(json.dumps, LISTED)) + end
    assert set(issues(tmp_path, "r.json", text)) == {f"r.json:{line}"}


def test_lines_of_objects_are_read_whatever_the_file_is_called(tmp_path: Path) -> None:
    rows = read(tmp_path, "r.json", "".join(json.dumps(row) + "\n" for row in LISTED))
    assert [row.location for row in rows.examples] == ["r.json:1", "r.json:2", "r.json:3"]


@pytest.mark.parametrize("spelling", [(True, False), ("true", "false"), ("True", "FALSE")])
def test_answers_with_a_thumbs_down_are_not_taught(
    tmp_path: Path, spelling: tuple[object, object]
) -> None:
    lines = [
        json.dumps({"prompt": f"q {n}", "completion": f"a {n}", "label": spelling[n % 2]}) + "\n"
        for n in range(6)
    ]
    rows = read(tmp_path, "r.jsonl", "".join(lines))
    assert [row.output for row in rows.examples] == ["a 0", "a 2", "a 4"]
    assert "r.jsonl: rows with label: false, whose answers are not used: 3" in rows.notes
    assert len(read(tmp_path, "r.jsonl", "".join(lines), tags=("label",)).examples) == 6
    assert [
        row.output for row in read(tmp_path, "r.jsonl", "".join(lines), output="label").examples
    ]


def test_a_test_of_other_columns_is_refused_with_the_mapping_to_write(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        read(
            tmp_path,
            "held.csv",
            "nr,message,topic\n1,hello,a\n",
            input=("body",),
            output="category",
        )
    (issue,) = caught.value.issues
    assert "{file: held.csv, input: message, output: topic}" in issue.remedy

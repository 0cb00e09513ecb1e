"""Files of other tools: read, written in every shape, and read again to the same examples."""

import json
from collections.abc import Iterable
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from etude.cli import main
from etude.data.formats import read_rows
from etude.data.formats.read import LoadedRows
from etude.data.formats.write import FORMATS, write_rows
from etude.errors import InputError
from etude.task import RowSource
from small_task import write_json_lines, write_task

pytest.importorskip("pyarrow", reason="to run: pip install 'etude[tables]'")

TEXT = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=12).filter(
    str.strip
)
TURN = st.tuples(TEXT, TEXT, st.booleans())
ROW = st.fixed_dictionaries(
    {
        "system": st.none() | TEXT.map(str.strip),
        "turns": st.lists(TURN, min_size=1, max_size=3),
        "references": st.lists(TEXT.map(str.strip), max_size=2),
        "group": st.none() | TEXT,
        "tags": st.dictionaries(st.sampled_from(["theme", "age"]), TEXT, max_size=2),
    }
)


def chat(row: dict[str, Any]) -> dict[str, Any]:
    messages = [{"role": "system", "content": row["system"]}] if row["system"] else []
    for asked, answered, trained in row["turns"]:
        reply = {"role": "assistant", "content": answered} | ({} if trained else {"weight": 0})
        messages += [{"role": "user", "content": asked}, reply]
    messages[-1].pop("weight", None)
    beside = {name: row[name] for name in ("references", "group", "tags") if row[name]}
    return {"messages": messages} | beside


def read(file: Path) -> LoadedRows:
    return read_rows(RowSource(file))


def same(one: LoadedRows, other: LoadedRows) -> bool:
    """Whether two files hold the same examples, wherever they stand."""
    parts = [
        [(e.id, e.input, e.output, e.references, e.group, dict(e.tags)) for e in rows.examples]
        for rows in (one, other)
    ]
    return parts[0] == parts[1] and one.systems == other.systems


@pytest.mark.parametrize("shape", FORMATS)
@settings(max_examples=25)
@given(rows=st.lists(ROW, min_size=1, max_size=4), single=st.booleans())
def test_what_is_written_is_read_again_to_the_same_examples(
    shape: str, rows: list[dict[str, Any]], single: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("rows")
    if single:
        rows = [{**row, "turns": row["turns"][:1]} for row in rows]
    write_json_lines(folder / "rows.jsonl", (chat(row) for row in rows))
    first = read(folder / "rows.jsonl")
    written = folder / "again.jsonl"
    write_rows(first, shape, written)
    assert same(read(written), first)


def test_the_command_converts_and_overwrites_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "alpaca.jsonl"
    row = {"instruction": "Name a colour of the sea.", "input": "", "output": "Blue."}
    file.write_text(json.dumps(row) + "\n")
    assert main(["convert", str(file), "--to", "trl"]) == 0
    assert "Wrote 1 row as trl to" in capsys.readouterr().out
    assert (
        json.loads((tmp_path / "alpaca.trl.jsonl").read_text())["prompt"][0]["content"]
        == row["instruction"]
    )
    assert main(["convert", str(file), "--to", "trl"]) == 2
    assert "already exists" in capsys.readouterr().err
    assert main(["convert", str(file), "--to", "openia"]) == 2
    assert "openai" in capsys.readouterr().err


# Files that are no text


def write_parquet(file: Path, rows: Iterable[dict[str, Any]]) -> None:
    from pyarrow import Table, parquet

    parquet.write_table(Table.from_pylist(list(rows)), file)


def test_a_folder_saved_by_datasets_is_read(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    turns = [
        [
            {"role": "user", "content": f"question {n}"},
            {"role": "assistant", "content": f"answer {n}"},
        ]
        for n in range(9)
    ]
    saved = datasets.Dataset.from_dict({"messages": turns})
    saved.save_to_disk(tmp_path / "one", num_shards=2)
    datasets.DatasetDict({"train": saved}).save_to_disk(tmp_path / "several")
    assert [each.output for each in read(tmp_path / "one").examples] == [
        f"answer {n}" for n in range(9)
    ]
    with pytest.raises(InputError, match=r"a folder with several splits.*several/train"):
        read(tmp_path / "several")
    assert same(read(tmp_path / "several" / "train"), read(tmp_path / "one"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="Give a file"):
        read(tmp_path / "empty")


def workbook(file: Path, rows: list[list[Any]], *more: list[list[Any]]) -> None:
    """A workbook of one or more sheets, as small as the format allows."""
    import zipfile
    from xml.sax.saxutils import escape

    def cell(value: Any) -> str:
        if isinstance(value, str):
            return f'<c t="inlineStr"><is><t>{escape(value)}</t></is></c>'
        return f"<c><v>{value}</v></c>"

    tables = [
        "".join(f"<row>{''.join(map(cell, row))}</row>" for row in table) for table in (rows, *more)
    ]
    numbers = range(1, len(tables) + 1)
    sheets = "".join(f'<sheet name="Rows{n}" sheetId="{n}" r:id="r{n}"/>' for n in numbers)
    links = "".join(
        f'<Relationship Id="r{n}" Type="{{}}/worksheet" Target="worksheets/sheet{n}.xml"/>'
        for n in numbers
    )
    main_ns = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
    rel = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
    package = "http://schemas.openxmlformats.org/package/2006/relationships"
    with zipfile.ZipFile(file, "w") as book:
        book.writestr(
            "[Content_Types].xml",
            '<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types"><Default '
            'Extension="rels" '
            'ContentType="application/vnd.openxmlformats-package.relationships+xml"/><Default '
            'Extension="xml" ContentType="application/xml"/></Types>',
        )
        book.writestr(
            "_rels/.rels",
            f'<Relationships xmlns="{package}"><Relationship Id="r1" Type="{rel}/officeDocument" '
            'Target="xl/workbook.xml"/></Relationships>',
        )
        book.writestr(
            "xl/workbook.xml",
            f'<workbook xmlns="{main_ns}" xmlns:r="{rel}"><sheets>{sheets}</sheets></workbook>',
        )
        book.writestr(
            "xl/_rels/workbook.xml.rels",
            f'<Relationships xmlns="{package}">{links.replace("{}", rel)}</Relationships>',
        )
        for n, table in zip(numbers, tables, strict=True):
            data = f'<worksheet xmlns="{main_ns}"><sheetData>{table}</sheetData></worksheet>'
            book.writestr(f"xl/worksheets/sheet{n}.xml", data)


def test_an_excel_sheet_is_read_as_its_csv_would_be(tmp_path: Path) -> None:
    pytest.importorskip("python_calamine")
    workbook(tmp_path / "t.xlsx", [["text", "label"], ["Ein <Buch>?", 3], ["", ""], ["Zwei", "ja"]])
    rows = read(tmp_path / "t.xlsx")
    assert [(each.text, each.output, each.location) for each in rows.examples] == [
        ("Ein <Buch>?", "3", "t.xlsx:2"),
        ("Zwei", "ja", "t.xlsx:4"),
    ]
    table = [["text", "label"], ["Ein Buch", "ja"]]
    workbook(tmp_path / "title.xlsx", [["Tickets of March", ""], ["", ""], *table])
    with pytest.raises(
        InputError, match=r"'Rows1' is a title, not column names .*Delete the rows above row 3"
    ):
        read(tmp_path / "title.xlsx")
    workbook(tmp_path / "notes.xlsx", [["Read this first."], ["By Ann."]], table)
    with pytest.raises(
        InputError, match=r"the first sheet has notes, not a table .*Move the sheet 'Rows2' to the"
    ):
        read(tmp_path / "notes.xlsx")
    (tmp_path / "bad.xlsx").write_bytes(b"PK\x03\x04 nothing")
    with pytest.raises(InputError, match="the workbook cannot be read"):
        read(tmp_path / "bad.xlsx")


def test_dates_and_numbers_of_cells_are_written_as_in_csv() -> None:
    from etude.data.formats.binary_files import format_cell

    assert [
        format_cell(each) for each in (3.0, 2.5, True, date(2026, 11, 27), "x")
    ] == "3 2.5 true 2026-11-27 x".split()


def test_a_task_trains_on_parquet_and_fix_says_what_to_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    task = write_task(tmp_path, "classify", num=200, more="methods: [baseline, few_shot]\n")
    examples = tmp_path / "examples.jsonl"
    write_parquet(
        tmp_path / "e.parquet", map(json.loads, examples.read_text(encoding="utf-8").splitlines())
    )
    task.write_text(task.read_text().replace("examples.jsonl", "e.parquet"))
    examples.unlink()
    assert main(["compare", str(task), "--yes"]) == 0
    assert main(["check", str(task), "--fix"]) == 2
    assert "etude convert" in capsys.readouterr().err

"""Rows of files that are no text: Parquet, Excel, and folders saved by Hugging Face's `datasets`.

A row's line is its number from 1, in Excel with the header as the first.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from etude.base.files import parse_json
from etude.data.formats.reading import Reading, Row
from etude.errors import InputError, Issue, MissingExtraError, quote_value
from etude.task import PACKED_SUFFIXES, row_files

_STATE = "state.json"
"""What names the files of one split in a folder of `datasets`."""


def is_packed(file: Path) -> bool:
    """Whether a path is read here."""
    return file.suffix.lower() in PACKED_SUFFIXES or file.is_dir()


def packed_rows(reading: Reading) -> Iterator[Row]:
    """The rows of the file or folder. Raises InputError, MissingExtraError where what reads it is not installed."""
    files = _arrow_files(reading.file) if reading.file.is_dir() else []
    needed = "python_calamine" if reading.file.suffix.lower() == ".xlsx" and not files else "pyarrow"
    if not find_spec(needed):
        raise MissingExtraError(f"Reading {reading.file.name}", "tables")
    if needed != "pyarrow":
        return _sheet_rows(reading)
    found = enumerate(_arrow_rows(reading.file, files), 1)
    return (Row(number, number, _without_null(cells)) for number, cells in found)


def _arrow_rows(file: Path, files: Iterable[Path]) -> Iterator[dict[str, Any]]:
    """The rows of a Parquet file, or of the `files` of a folder."""
    from pyarrow import ArrowException, OSFile, ipc, parquet

    try:
        if not file.is_dir():
            for batch in parquet.ParquetFile(file).iter_batches(1024):
                yield from batch.to_pylist()
        for name in files:
            with OSFile(str(name)) as source, ipc.open_stream(source) as stream:
                for batch in stream:
                    yield from batch.to_pylist()
    except (ArrowException, OSError) as error:
        reason = quote_value(str(error).splitlines()[0])
        raise InputError([Issue(str(file), "the table cannot be read", reason, "write it again")]) from error


def _arrow_files(folder: Path) -> list[Path]:
    """The files of one split, in their order. Raises InputError where the folder is none, or holds several."""
    try:
        state = parse_json((folder / _STATE).read_text(encoding="utf-8"))
        return [folder / each["filename"] for each in state["_data_files"]]
    except FileNotFoundError:
        splits = sorted(path.parent.name for path in folder.glob(f"*/{_STATE}"))
        what = "a folder of several splits" if splits else "a folder, not a file of rows"
        remedy = f"name one: {', '.join(str(folder / each) for each in splits)}" if splits else ""
        remedy = (
            remedy or f"name a file: {row_files(folder) or 'a .jsonl, .csv, .tsv, .parquet or .xlsx file'}"
        )
        raise InputError([Issue(str(folder), what, "", remedy)]) from None
    except (ValueError, KeyError, TypeError) as error:
        fault = Issue(
            str(folder / _STATE), "it does not name the files of a dataset", str(error), "save it again"
        )
        raise InputError([fault]) from error


def _without_null(value: Any) -> Any:
    """A value without the keys that are null: Arrow gives each struct all keys that any of them has."""
    if isinstance(value, dict):
        return {key: _without_null(inner) for key, inner in value.items() if inner is not None}
    return [_without_null(inner) for inner in value] if isinstance(value, list) else value


def _sheet_rows(reading: Reading) -> Iterator[Row]:
    """The rows of the first sheet that holds any, under the names in its first row."""
    from python_calamine import CalamineError, load_workbook

    try:
        book = load_workbook(reading.file)
        names = book.sheet_names
        sheets = {name: rows for name in names if (rows := book.get_sheet_by_name(name).to_python())}
    except (CalamineError, OSError) as error:
        fault = Issue(
            reading.file.name, "the workbook cannot be read", quote_value(str(error)), "save it again"
        )
        raise InputError([fault]) from error
    if not sheets:
        return
    name, (header, *records) = next(iter(sheets.items()))
    if len(sheets) > 1:
        reading.notes.append(
            f"{reading.file.name}: the sheet {name!r} was read, and none of the {len(sheets) - 1} others"
        )
    columns = [str(cell).strip() for cell in header]
    for number, record in enumerate(records, 2):
        cells = {key: _cell(value) for key, value in zip(columns, record, strict=False) if key}
        if any(cells.values()):
            yield Row(number, number, cells)
        else:
            reading.counts["empty rows"] += 1


def _cell(value: Any) -> str:
    """The value of a cell as CSV would have it: whole numbers without a fraction, dates as ISO 8601."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return value.isoformat() if hasattr(value, "isoformat") else str(value)


def write_parquet(rows: Iterable[Mapping[str, Any]], file: Path) -> None:
    """Writes rows, held in memory, as one Parquet table. Raises MissingExtraError without pyarrow."""
    if not find_spec("pyarrow"):
        raise MissingExtraError(f"Writing {file.name}", "tables")
    from pyarrow import Table, parquet

    held = list(rows)
    names = dict.fromkeys(name for row in held for name in row)
    table = Table.from_pylist([{name: row.get(name) for name in names} for row in held])
    parquet.write_table(table, file)

"""Rows of binary files: Parquet, Excel, and folders saved by Hugging Face's `datasets`.

The line of a row is its number, from 1; in Excel the header is line 1.
"""

from collections.abc import Iterable, Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from etude.base.files import parse_json
from etude.data.formats.row_reader import RawRow, RowReader
from etude.errors import InputError, MissingExtraError, quote_value
from etude.task import BINARY_SUFFIXES, format_row_files

_HEAD = 20  # first rows of a sheet that show where its table begins
_STATE = "state.json"  # lists the files of one split in a folder of `datasets`


def is_binary(file: Path) -> bool:
    """Whether a path is read by this module."""
    return file.suffix.lower() in BINARY_SUFFIXES or file.is_dir()


def read_binary_rows(reader: RowReader) -> Iterator[RawRow]:
    """The rows of the file or folder. Raises InputError, and MissingExtraError if the library for
    it is missing.
    """
    files = _list_arrow_files(reader.file) if reader.file.is_dir() else []
    is_sheet = reader.file.suffix.lower() == ".xlsx" and not files
    if not find_spec("python_calamine" if is_sheet else "pyarrow"):
        raise MissingExtraError(f"Reading {reader.file.name}", "tables")
    if is_sheet:
        return read_sheet(reader)
    rows = enumerate(read_arrow(reader.file, files), 1)
    return (RawRow(number, number, _drop_null(cells)) for number, cells in rows)


def read_arrow(file: Path, files: Iterable[Path]) -> Iterator[dict[str, Any]]:
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
        raise InputError.of(
            str(file), "the table cannot be read", reason, "save it again"
        ) from error


def _list_arrow_files(folder: Path) -> list[Path]:
    """The files of one split, in their order. Raises InputError if the folder contains none or
    several splits.
    """
    try:
        state = parse_json((folder / _STATE).read_text(encoding="utf-8"))
        return [folder / file["filename"] for file in state["_data_files"]]
    except FileNotFoundError:
        splits = sorted(path.parent.name for path in folder.glob(f"*/{_STATE}"))
        if splits:
            message = "a folder with several splits"
            remedy = f"choose one: {', '.join(str(folder / split) for split in splits)}"
        else:
            files = format_row_files(folder) or "a .jsonl, .csv, .tsv, .parquet or .xlsx file"
            message = "a folder, not a file of rows"
            remedy = f"give a file: {files}"
        raise InputError.of(str(folder), message, "", remedy) from None
    except (ValueError, KeyError, TypeError) as error:
        message = "it does not list the files of a dataset"
        raise InputError.of(
            str(folder / _STATE), message, str(error), "save the dataset again"
        ) from error


def _drop_null(value: Any) -> Any:
    """A value without keys that are null, because Arrow gives each struct the keys of all
    structs.
    """
    if isinstance(value, dict):
        return {key: _drop_null(inner) for key, inner in value.items() if inner is not None}
    return [_drop_null(inner) for inner in value] if isinstance(value, list) else value


def read_sheet(reader: RowReader) -> Iterator[RawRow]:
    """The rows of the first sheet that is not empty; its first row has the column names."""
    from python_calamine import CalamineError, load_workbook

    try:
        book = load_workbook(reader.file)
        sheets = {
            name: rows
            for name in book.sheet_names
            if (rows := book.get_sheet_by_name(name).to_python())
        }
    except (CalamineError, OSError) as error:
        value = quote_value(str(error))
        raise InputError.of(
            reader.file.name, "the workbook cannot be read", value, "save it again"
        ) from error
    if not sheets:
        return
    _check_head(reader, sheets)
    name, (header, *records) = next(iter(sheets.items()))
    if len(sheets) > 1:
        reader.notes.append(
            f"{reader.file.name}: only the sheet {name!r} was read; other sheets skipped: "
            f"{len(sheets) - 1}"
        )
    # Line 1 is the header.
    columns = [str(cell).strip() for cell in header]
    for number, record in enumerate(records, 2):
        cells = {
            key: format_cell(value) for key, value in zip(columns, record, strict=False) if key
        }
        if any(cells.values()):
            yield RawRow(number, number, cells)
        else:
            reader.counts["empty rows"] += 1


def _check_head(reader: RowReader, sheets: Mapping[str, Any]) -> None:
    """Raise InputError if the first sheet has notes, or a title above the names of the columns."""
    filled = {
        name: [sum(str(cell).strip() != "" for cell in row) for row in rows[:_HEAD]]
        for name, rows in sheets.items()
    }
    first, *others = filled
    tables = [name for name in others if max(filled[name]) > 1]
    if max(filled[first]) > 1 and filled[first][0] == 1:
        line = next(number for number, num_cells in enumerate(filled[first], 1) if num_cells > 1)
        message = f"the first row of the sheet {first!r} is a title, not column names"
        value = next(filter(None, sheets[first][0]))
        remedy = f"delete the rows above row {line}, or save the table as CSV"
    elif max(filled[first]) == 1 and tables:
        message = "the first sheet has notes, not a table"
        value = first
        remedy = (
            f"move the sheet {' or '.join(map(repr, tables))} to the first place, or save it as CSV"
        )
    else:
        return
    raise InputError.of(f"{reader.file.name}:1", message, quote_value(value), remedy)


def format_cell(value: Any) -> str:
    """The value of a cell as in CSV: whole numbers without a fraction, dates as ISO 8601."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return value.isoformat() if hasattr(value, "isoformat") else str(value)

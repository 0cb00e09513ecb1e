"""`etude convert`: rows in the shape that another tool reads."""

from __future__ import annotations

from pathlib import Path

from etude.base.remedies import instead
from etude.data.formats import read_rows
from etude.data.formats.write import SHAPES, write_rows
from etude.errors import Fault, InputError, shown
from etude.task import RowSource


def run_convert(file: Path, shape: str, output: Path | None) -> None:
    """Writes the rows of a file in a shape and prints what was read and where it is. Raises InputError."""
    if shape not in SHAPES:
        raise InputError([Fault("--to", "an unknown shape", shown(shape), instead(shape, SHAPES))])
    output = output or file.with_name(
        f"{file.stem}.{shape}{SHAPES[shape][1]}".replace(".parquet.parquet", ".parquet")
    )
    if output.exists():
        raise InputError([Fault(str(output), "the file is there already", "", "name another with --output")])
    rows = read_rows(RowSource(file))
    for note in rows.notes:
        print(f"Note: {note}")
    write_rows(rows, shape, output)
    print(f"Wrote {len(rows.examples):,} rows as {shape} to {output}.")

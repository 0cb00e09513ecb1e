"""The user's examples with more rows, in a new file next to them."""

from collections.abc import Iterable, Mapping
from pathlib import Path

from etude.base.files import write_bytes
from etude.errors import InputError
from etude.repair.editable_rows import create_row, read_editable_rows, resolve_columns
from etude.task.definition import RowSource


def write_extended_examples(source: RowSource, rows: Iterable[Mapping[str, object]], suffix: str) -> Path:
    """Write `NAME.SUFFIX` with the suffix of the source: its rows, and more rows with `input` and `output`, which get
    only columns of the source. Raises InputError unless the source is JSON lines or a table, with one column for inputs
    and one for outputs."""
    columns, file = resolve_columns(source), source.file
    template = next(read_editable_rows(source, "answer"), None)
    lines = list[bytes | None]()
    if template and len(columns.input) == 1 and columns.output:
        names = {"input": columns.input[0], "output": columns.output}
        kinds = str if template.table else object  # a cell of a table is a text
        for row in rows:
            cells = {names.get(key, key): value for key, value in row.items() if isinstance(value, kinds)}
            lines.append(
                create_row(template, {name: cells[name] for name in cells if name in template.cells})
            )
    if not lines or None in lines:
        message = "only JSON lines and tables with one column of inputs and one of outputs can be extended"
        raise InputError.of(file.name, message, "", "convert the file, or add the rows by hand")
    target, content = file.with_name(f"{file.stem}.{suffix}{file.suffix}"), file.read_bytes()
    content += b"" if content.endswith(b"\n") else b"\n"
    write_bytes(target, content + b"".join(filter(None, lines)))
    return target

"""The values of one row, as texts; a value that cannot be used is a fault of its line."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from etude.base.remedies import nearest
from etude.base.wording import count
from etude.data.formats.reading import Reading, Row
from etude.data.formats.turns import holds_turns
from etude.errors import quote_value


@dataclass
class Cells:
    """The values of one row; a value that cannot be used is a fault of the file."""

    reading: Reading
    row: Row

    def fault(self, what: str, got: str, remedy: str, kind: str = "unreadable") -> None:
        """Adds a fault of the row's line."""
        self.reading.fault(self.row.line, what, got, remedy, kind)

    def having(self, column: str, value: object) -> Cells:
        """The row with another value in one column."""
        return replace(self, row=replace(self.row, cells={**self.row.cells, column: value}))

    def text(self, column: str, needed: bool = True) -> str:
        """The text of a column; "" when there is none, which is a fault when it is needed."""
        value = self.row.cells.get(column)
        if isinstance(value, str):
            if needed and not value.strip():
                self.fault(f"{column} is empty", quote_value(value), "fill it in, or delete the row", "empty")
            return value if self.is_clean(column, value) else ""
        if value is not None:
            self.fault(f"{column} must be a text", quote_value(value), "write it in quotes")
        elif needed:
            self._absent(column)
        return ""

    def answer(self, column: str) -> str:
        """The answer wanted: a text, or a number as text; for extract, and where no kind is known, any JSON value."""
        value = self.row.cells.get(column)
        if value is None or isinstance(value, str):
            return self.trimmed(self.text(column))
        if holds_turns(value):
            what = f"{column} holds {count(len(value), 'turn')} of a chat, where one answer is needed"
            self.fault(what, quote_value(value), "keep the assistant's turn that is the answer", "roles")
            return ""
        if self.reading.kind not in (None, "extract") and not isinstance(value, int | float):
            self.fault(
                f"{column} must be a text", quote_value(value), "write it in quotes, or set kind: extract"
            )
            return ""
        text = json.dumps(value, ensure_ascii=False)
        return text if self.is_clean(column, text) else ""

    def trimmed(self, text: str) -> str:
        """An answer without the white space around it, which is counted where there was some."""
        if text != text.strip():
            self.reading.counts["answers with spaces or line breaks around them, taken off"] += 1
        return text.strip()

    def own_id(self, column: str) -> str:
        """The row's own id; "" when it has none or another row has it, which is a fault: of kind repeated_input where
        the row is the other one once more."""
        name = self.optional(column)
        if name is None:
            self._absent(column)
            return ""
        own = self.row.line, hash(repr(self.row.cells))
        line, content = self.reading.ids.setdefault(name, own)
        if line != own[0]:
            got = f"{quote_value(name)}, first on line {line}"
            if content == own[1]:
                self.fault("the row repeats an earlier one, its id too", got, "delete it", "repeated_input")
            else:
                self.fault("the id occurs twice", got, "give every row a different id")
        return name

    def optional(self, column: str | None) -> str | None:
        """A text, number or truth value as text; None where there is none."""
        value = self.row.cells.get(column) if column else None
        if value is None or value == "":
            return None
        if isinstance(value, str):
            return value if self.is_clean(str(column), value) else None
        if isinstance(value, int | float):
            return json.dumps(value)
        self.fault(f"{column} must be a text", quote_value(value), "write it in quotes")
        return None

    def several(self, columns: Sequence[str]) -> Iterator[str]:
        """The texts of several columns; a column may hold a list of texts."""
        for column in columns:
            value = self.row.cells.get(column)
            for item in value if isinstance(value, list) else [value]:
                text = Cells(self.reading, replace(self.row, cells={column: item})).optional(column)
                if text is not None and text.strip():
                    yield text.strip()

    def tags(self, columns: Sequence[str]) -> dict[str, str]:
        """Column -> text; a column that holds an object gives its keys instead."""
        found: dict[str, str | None] = {}
        for column in columns:
            value = self.row.cells.get(column)
            if isinstance(value, dict):
                inner = Cells(self.reading, replace(self.row, cells=value))
                found.update({name: inner.optional(name) for name in value})
            else:
                found[column] = self.optional(column)
        return {name: text for name, text in found.items() if text is not None}

    def is_clean(self, place: str, text: str) -> bool:
        """Whether a text can be written as UTF-8; a NUL or half a character is a fault."""
        try:
            text.encode()
        except UnicodeEncodeError as error:
            half = f"\\u{ord(text[error.start]):04x} at position {error.start + 1}"
            self.fault(f"{place} holds half a character", half, "write the whole character", "encoding")
            return False
        if "\0" in text:
            self.fault(
                f"{place} holds a NUL character",
                f"position {text.index(chr(0)) + 1}",
                "delete it",
                "encoding",
            )
            return False
        return True

    def _absent(self, column: str) -> None:
        if column in self.row.cells:
            self.fault(f"{column} is null", "", "fill it in, or delete the row", "empty")
            return
        names = [name for name in self.row.cells if self.row.cells[name] is not None]
        close = nearest(column, names)
        remedy = f"rename {close!r} to {column!r}" if close else "fill it in, or delete the row"
        self.fault(
            f"the row has no {column!r}",
            f"only {quote_value(', '.join(names))}",
            remedy,
            "unreadable" if close else "empty",
        )

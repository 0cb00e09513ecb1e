"""The values of one row as texts; an invalid value becomes an issue of its line."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from etude.base import formatting, issues
from etude.data.formats import row_reader, turns
from etude.errors import quote_value
from etude.text.label_lists import join_labels


@dataclass
class Cells:
    """The values of one row."""

    reader: row_reader.RowReader
    row: row_reader.RawRow

    def add_issue(self, message: str, value: str, remedy: str, kind: str = "unreadable") -> None:
        """Adds an error of the row's line."""
        self.reader.add_issue(self.row.line, message, value, remedy, kind)

    def with_value(self, column: str, value: object) -> "Cells":
        """The row with another value in one column."""
        return replace(self, row=replace(self.row, cells={**self.row.cells, column: value}))

    def read_text(self, column: str, needed: bool = True) -> str:
        """The text of a column; "" if there is none. A missing text is an error if it is
        `needed`.
        """
        value = self.row.cells.get(column)
        if isinstance(value, str):
            if needed and not value.strip():
                self.add_issue(
                    f"{column} is empty",
                    quote_value(value),
                    "fill it in, or delete the row",
                    "empty",
                )
            return value if self.is_clean(column, value) else ""
        if value is not None:
            self.add_issue(f"{column} must be a text", quote_value(value), "write it in quotes")
        elif needed:
            self._report_missing(column)
        return ""

    def read_answer(self, column: str, is_json: bool = False) -> str:
        """The right answer as text: from a text or a number or, for extract or an unknown kind,
        from any JSON value; from an object if `is_json`.
        """
        value = self.row.cells.get(column)
        if value is None or isinstance(value, str):
            return self.strip_answer(self.read_text(column))
        if turns.is_chat(value):
            num_turns = formatting.format_count(len(value), "turn")
            message = f"{column} contains {num_turns} of a chat, but only one answer is allowed"
            remedy = "keep only the assistant's turn that is the answer"
            self.add_issue(message, quote_value(value), remedy, "roles")
            return ""
        # Numbers are labels or answers of any kind; other JSON is an answer only for extract and
        # for several questions.
        answers = int | float | dict if is_json else int | float
        if self.reader.kind not in (None, "extract") and not isinstance(value, answers):
            remedy = "write it in quotes, or set kind: extract"
            if self.reader.kind == "classify" and isinstance(value, list):
                remedy = "add several: true to the task file if a row has several labels"
            self.add_issue(f"{column} must be a text", quote_value(value), remedy)
            return ""
        text = json.dumps(value, ensure_ascii=False)
        return text if self.is_clean(column, text) else ""

    def read_labels(self, column: str) -> str:
        """The labels of a row as one text: a list of texts or numbers, or a text; an empty cell has
        none.
        """
        value = self.row.cells.get(column)
        if isinstance(value, list) and all(isinstance(label, str | int | float) for label in value):
            text = join_labels(value)
            return text if self.is_clean(column, text) else ""
        return (
            self.read_text(column, needed=False) if value is not None else self.read_answer(column)
        )

    def strip_answer(self, text: str) -> str:
        """An answer without the white space around it; answers that had some are counted."""
        if text != text.strip():
            self.reader.counts[
                "answers with spaces or line breaks at the ends, which were removed"
            ] += 1
        return text.strip()

    def read_id(self, column: str) -> str:
        """The row's own id; "" with an issue if there is no id or another row has it. The kind of
        the issue is repeated_input if the whole row is a copy.
        """
        name = self.read_optional(column)
        if name is None:
            self._report_missing(column)
            return ""
        # The hash of the cells distinguishes a copied row from a different row with the same id.
        current = self.row.line, hash(repr(self.row.cells))
        line, content = self.reader.lines_by_id.setdefault(name, current)
        if line != current[0]:
            value = f"{quote_value(name)}, first on line {line}"
            if content == current[1]:
                message = "the row repeats an earlier row, including its id"
                self.add_issue(message, value, "delete it", "repeated_input")
            else:
                self.add_issue("the id occurs twice", value, "give every row a different id")
        return name

    def read_optional(self, column: str | None) -> str | None:
        """A text, number or truth value as text; None if the cell is empty."""
        return self._format_value(column, self.row.cells.get(column)) if column else None

    def _format_value(self, name: str, value: object) -> str | None:
        if value is None or value == "":
            return None
        if isinstance(value, str):
            return value if self.is_clean(name, value) else None
        if isinstance(value, int | float):
            return json.dumps(value)
        self.add_issue(f"{name} must be a text", quote_value(value), "write it in quotes")
        return None

    def read_list(self, columns: Sequence[str]) -> Iterator[str]:
        """The texts of several columns, each with a text or a list of texts."""
        for column in columns:
            value = self.row.cells.get(column)
            for item in value if isinstance(value, list) else [value]:
                if text := (self._format_value(column, item) or "").strip():
                    yield text

    def read_named(self, columns: Sequence[str], keep_empty: bool = False) -> dict[str, str]:
        """Column -> text, with an entry for each key of an object. Empty texts are left out unless
        `keep_empty`.
        """
        named: dict[str, str | None] = {}
        for column in columns:
            value = self.row.cells.get(column)
            for name, text in (value if isinstance(value, dict) else {column: value}).items():
                named[name] = "" if keep_empty and text == "" else self._format_value(name, text)
        return {name: text for name, text in named.items() if text is not None}

    def is_clean(self, location: str, text: str) -> bool:
        """Whether a text can be written as UTF-8. A NUL or half a surrogate pair is an error of its
        `location`.
        """
        try:
            text.encode()
        except UnicodeEncodeError as error:
            value = f"\\u{ord(text[error.start]):04x} at position {error.start + 1}"
            message = f"{location} contains half a character (one part of a UTF-16 surrogate pair)"
            self.add_issue(message, value, "write the whole character", "encoding")
            return False
        if "\0" in text:
            value = f"position {text.index(chr(0)) + 1}"
            self.add_issue(f"{location} contains a NUL character", value, "delete it", "encoding")
            return False
        return True

    def _report_missing(self, column: str) -> None:
        if column in self.row.cells:
            self.add_issue(f"{column} is null", "", "fill it in, or delete the row", "empty")
            return
        names = [name for name in self.row.cells if self.row.cells[name] is not None]
        nearest = issues.find_nearest(column, names)
        remedy = f"rename {nearest!r} to {column!r}" if nearest else "fill it in, or delete the row"
        value = f"only {quote_value(', '.join(names))}"
        kind = "unreadable" if nearest else "empty"
        self.add_issue(f"the row has no {column!r}", value, remedy, kind)

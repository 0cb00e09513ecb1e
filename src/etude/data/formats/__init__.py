"""Readers of rows: JSON lines, CSV and TSV, in the shapes that people have.

Shapes: mapped columns; {"messages": [...]} or {"conversations": [...]}, whose last turn is the answer;
prompt/completion, input/output, instruction/input/output, text/label, question/answer; prompt/chosen/rejected, of
which chosen is the answer, and OpenAI's {"input": {"messages": [...]}, "preferred_output": [...], ...};
prompt/completion/label of true or false, of which only rows with true are read. Files are UTF-8, with or without a byte
order mark, and are read line by line, or as one JSON list of objects. Every fault is collected, none is guessed away,
and a row is either read whole or reported.
"""

from __future__ import annotations

from etude.data.formats.columns import Guess, guess_columns, preference_columns
from etude.data.formats.read import Rows, check_encoding, peek_rows, read_rows, read_values, survey_rows

__all__ = [
    "Guess",
    "Rows",
    "check_encoding",
    "guess_columns",
    "peek_rows",
    "preference_columns",
    "read_rows",
    "read_values",
    "survey_rows",
]

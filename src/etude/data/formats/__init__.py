"""Readers and writers of rows: JSON lines, CSV and TSV, in the formats that people have.

Formats: mapped columns; {"messages": [...]} or {"conversations": [...]}, whose last turn is the answer;
prompt/completion, input/output, instruction/input/output, text/label, question/answer; prompt/chosen/rejected, of
which chosen is the answer, and OpenAI's {"input": {"messages": [...]}, "preferred_output": [...], ...};
prompt/completion/label of true or false, of which only rows with true are read. Files are UTF-8, with or without a byte
order mark, and are read line by line, or as one JSON list of objects. Every error is collected, and a row is either
read whole or reported.
"""

from etude.data.formats.columns import ColumnGuess, find_preference_columns, guess_columns
from etude.data.formats.read import LoadedRows, check_encoding, peek_rows, read_rows, read_values, survey_rows

__all__ = [
    "ColumnGuess",
    "LoadedRows",
    "check_encoding",
    "find_preference_columns",
    "guess_columns",
    "peek_rows",
    "read_rows",
    "read_values",
    "survey_rows",
]

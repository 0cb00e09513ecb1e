"""Readers and writers of rows: JSON lines, CSV and TSV, in the formats that people have.

Formats:

- columns that the task file assigns
- {"messages": [...]} or {"conversations": [...]}; the last turn is the answer
- prompt/completion, input/output, instruction/input/output, text/label, question/answer
- prompt/chosen/rejected, and OpenAI's {"input": {"messages": [...]}, "preferred_output": [...],
  ...}; the chosen answer is the answer
- prompt/completion/label with label true or false; only rows with true are read

Files are UTF-8, with or without a byte order mark, and are read line by line, or as one JSON list
of objects. Every error is collected; a row is either read completely or reported.
"""

from etude.data.formats.columns import find_preference_columns, guess_columns
from etude.data.formats.read import LoadedRows, peek_rows, read_rows, survey_rows

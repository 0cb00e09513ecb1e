"""The task file: what a right answer is, and how methods are compared.

`load_task` reports every error of the file together, each with its line. Nothing is run or loaded
while it is read: not the model, not the check function, no rows. Paths in a task file are relative
to the file's folder.
"""

from etude.task.check_function import CheckFunction, CheckRef
from etude.task.definition import (
    BINARY_SUFFIXES,
    JSON_SUFFIXES,
    METHOD_NAMES,
    ROW_TOKENS,
    TABLE_SUFFIXES,
    EvidenceLevel,
    JudgeSettings,
    MetricName,
    RowSource,
    Task,
    Usage,
    format_row_files,
)
from etude.task.endpoint import Endpoint, Prices
from etude.task.keys import VERDICT_KEYS
from etude.task.load import load_task
from etude.task.yaml_document import parse_duration

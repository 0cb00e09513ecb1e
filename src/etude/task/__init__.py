"""The task file: what a right answer is, and how the comparison is to be run.

`load_task` reports every fault of the file together, each with its line. Nothing is run or loaded
while it is read: not the model, not the check function, no rows. Paths in a task file are relative
to the file's folder.
"""

from __future__ import annotations

from etude.task.check_function import Check, CheckRef
from etude.task.definition import (
    JSON_SUFFIXES,
    METHOD_NAMES,
    PACKED_SUFFIXES,
    ROW_TOKENS,
    TABLE_SUFFIXES,
    VERDICT_KEYS,
    EvidenceLevel,
    FactsChange,
    Judge,
    MetricName,
    Remote,
    RowSource,
    Task,
    Usage,
    row_files,
)
from etude.task.endpoint import Endpoint, Prices
from etude.task.load import load_task
from etude.task.readers import duration

__all__ = [
    "JSON_SUFFIXES",
    "METHOD_NAMES",
    "PACKED_SUFFIXES",
    "ROW_TOKENS",
    "TABLE_SUFFIXES",
    "VERDICT_KEYS",
    "Check",
    "CheckRef",
    "Endpoint",
    "EvidenceLevel",
    "FactsChange",
    "Judge",
    "MetricName",
    "Prices",
    "Remote",
    "RowSource",
    "Task",
    "Usage",
    "duration",
    "load_task",
    "row_files",
]

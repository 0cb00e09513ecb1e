"""The run folder: what a comparison or training keeps on disk, and how it is opened, resumed and read."""

from etude.runs.folder import (
    FOLDER,
    Run,
    check_whole,
    find_run,
    find_runs,
    forget,
    run_for,
    set_aside,
    siblings,
)

__all__ = [
    "FOLDER",
    "Run",
    "check_whole",
    "find_run",
    "find_runs",
    "forget",
    "run_for",
    "set_aside",
    "siblings",
]

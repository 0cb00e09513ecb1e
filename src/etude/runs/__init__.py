"""One comparison or training: its folder, and its life from the task file to its end."""

from etude.runs.folder import FOLDER, Run, find_run, find_runs, list_siblings

__all__ = ["FOLDER", "Run", "find_run", "find_runs", "list_siblings"]

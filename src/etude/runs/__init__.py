"""One comparison or training: its folder, and its lifecycle from the task file to the result."""

from etude.runs.folder import FOLDER, Run, find_run, find_runs, find_task_runs

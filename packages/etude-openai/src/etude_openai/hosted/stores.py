"""The data folder of a server with `--jobs`: files, fine-tuning jobs, batches and evals."""

import asyncio
import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeVar

from etude.index.build import DEFAULT_ENCODER
from etude.models.registry import Models
from etude.serve.extension import ExtensionOptions
from etude.types import Message, ModelRef, Request, Sampling
from etude_openai.graders.grade import Tools
from etude_openai.hosted import batches, evals, file_store, fine_tuning, response_store
from etude_openai.jobs.job import is_locked

Result = TypeVar("Result")
NO_TOOLS = Tools()
FILE_THREADS = 4
GRADER_THREADS = 4
EVAL_THREADS = 4
MAX_GRADE_TOKENS = 1024  # of a grading model's reply
UNFINISHED = (
    *("responses/*.part", "batches/*/*.part", "evals/**/*.part"),
    *("evals/**/.deleted-*", "fine_tuning/queue/.*"),
)
"""Patterns of files and folders that are renamed when they are complete."""
LAST_WRITTEN = {
    "fine_tuning/ftjob-*": "wish.json",
    "batches/batch_*": "state.json",
    "evals/eval_*": "eval.json",
    "evals/eval_*/evalrun_*": "state.json",
}
"""Pattern of folders -> the file that is written last when the folder is created."""


class WorkThreads:
    """Some threads for one kind of work. While all are busy, further work of this kind waits; other
    work does not.
    """

    def __init__(self, kind: str, num: int) -> None:
        self._pool = ThreadPoolExecutor(num, kind)

    async def run(self, work: Callable[..., Result], *arguments: Any) -> Result:
        """Return the result of the work. If the caller is cancelled, work that has not begun is
        dropped.
        """
        return await asyncio.get_running_loop().run_in_executor(
            self._pool, partial(work, *arguments)
        )


class HostedStores:
    """The stores of one data folder. Creating them continues the jobs that an earlier server left
    unfinished.
    """

    def __init__(
        self,
        folder: Path,
        bases: Mapping[str, str],
        result_files: str = "base64",
        quota_gb: float = ExtensionOptions.quota_gb,
        tools: Tools = NO_TOOLS,
    ) -> None:
        """`bases`: model name of the client -> model of this machine that is trained instead.
        `tools`: the models that graders may use.
        """
        self.folder = folder = folder.absolute()
        _remove_unfinished(folder)
        self.files = file_store.FileStore(folder / "files", int(quota_gb * 1e9))
        self.fine_tuning = fine_tuning.FineTuningStore(
            folder / "fine_tuning", self.files, bases, result_files, tools
        )
        self.batches = batches.BatchStore(folder / "batches", self.files)
        self.evals = evals.EvalStore(folder / "evals", self.files, tools)
        self.responses = response_store.ResponseStore(folder / "responses")
        self.file_threads = WorkThreads("files", FILE_THREADS)  # read and write this folder
        self.grader_threads = WorkThreads("graders", GRADER_THREADS)  # grade while a client waits
        self.eval_threads = WorkThreads("evals", EVAL_THREADS)  # grade in the background

    def close(self) -> None:
        """Starts no more jobs; the running job continues."""
        self.fine_tuning.queue.close()


def _remove_unfinished(folder: Path) -> None:
    """Remove what a killed server had not finished. The files of a worker, which may still be
    running, are not removed: a resumed worker writes them again.
    """
    unfinished = [path for pattern in UNFINISHED for path in folder.glob(pattern)]
    for pattern, last in LAST_WRITTEN.items():
        unfinished += [path for path in folder.glob(pattern) if not (path / last).exists()]
    if not is_locked(
        folder / "fine_tuning" / "queue"
    ):  # the worker stores the result file of its job
        unfinished += folder.glob("files/*.part")
    for path in unfinished:
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def build_tools(graders: Mapping[str, str]) -> Tools:
    """What graders may use: the models that the server's owner lists (name -> URL#MODEL), and the
    encoder.
    """
    models = Models()

    def ask(
        model: str,
        messages: Sequence[Mapping[str, Any]],
        schema: Mapping[str, Any],
        is_wanted: Callable[[], bool],
    ) -> str:
        turns = tuple(Message(turn["role"], turn["content"]) for turn in messages)
        request = Request(turns, MAX_GRADE_TOKENS)
        sampling = Sampling(json_schema=json.dumps(schema))
        judge = models.get_concurrent(ModelRef(graders[model]))
        return judge.write(request, sampling, lambda piece: not is_wanted())[0].text

    def embed(texts: Sequence[str]) -> list[list[float]]:
        return [
            list(map(float, row))
            for row in models.load_shared_encoder(DEFAULT_ENCODER).embed(texts)
        ]

    return Tools(
        ask if graders else None, frozenset(graders), embed if find_spec("torch") else None
    )

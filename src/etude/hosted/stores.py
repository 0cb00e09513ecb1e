"""The data folder of a server with `--jobs`: files, fine-tuning jobs, batches and evals."""

import json
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from etude.graders.grade import Tools
from etude.hosted import batches, evals, file_store, fine_tuning, response_store, upload_store
from etude.index.build import DEFAULT_ENCODER
from etude.models.registry import Models
from etude.types import Grammar, Message, ModelRef, Request

NO_TOOLS = Tools()
MAX_GRADE_TOKENS = 1024  # of a grading model's reply
QUOTA_GB = 10.0
"""Gigabytes of all files together, unless the user sets another quota."""


class HostedStores:
    """The stores of one data folder. Creating them continues the jobs that an earlier server left unfinished."""

    def __init__(
        self,
        folder: Path,
        bases: Mapping[str, str],
        result_files: str = "base64",
        quota_gb: float = QUOTA_GB,
        tools: Tools = NO_TOOLS,
    ) -> None:
        """`bases`: model name of the client -> model of this machine that is trained instead. `tools`: the models
        that graders may use."""
        self.files = file_store.FileStore(folder.absolute() / "files", int(quota_gb * 1e9))
        self.uploads = upload_store.UploadStore(folder.absolute() / "uploads", self.files)
        self.fine_tuning = fine_tuning.FineTuningStore(
            folder.absolute() / "fine_tuning", self.files, bases, result_files
        )

        self.batches = batches.BatchStore(folder.absolute() / "batches", self.files)

        self.evals = evals.EvalStore(folder.absolute() / "evals", self.files, tools)
        self.responses = response_store.ResponseStore(folder.absolute() / "responses")

    def close(self) -> None:
        """Starts no more jobs; the running job continues."""
        self.fine_tuning.queue.close()


def build_tools(graders: Mapping[str, str]) -> Tools:
    """The models that graders may use: those that the server's owner lists (name -> URL#MODEL), and the encoder."""
    models = Models()

    def ask(model: str, messages: Sequence[Mapping[str, Any]], schema: Mapping[str, Any]) -> str:
        turns = tuple(Message(turn["role"], turn["content"]) for turn in messages)
        grammar = Grammar("json_schema", json.dumps(schema))
        request = Request(turns, MAX_GRADE_TOKENS, grammar=grammar)
        (completion,) = models.get(ModelRef(graders[model])).generate([request])
        return completion.text

    def embed(texts: Sequence[str]) -> list[list[float]]:
        return [list(map(float, row)) for row in models.load_shared_encoder(DEFAULT_ENCODER).embed(texts)]

    return Tools(ask if graders else None, frozenset(graders), embed if find_spec("torch") else None)

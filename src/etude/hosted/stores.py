"""What a server with `--jobs` keeps on disk: files, fine-tuning jobs, batches and evals, in one data folder."""

import json
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from etude.graders.grade import Tools
from etude.hosted import batches, evals, file_store, fine_tuning
from etude.index.build import DEFAULT_ENCODER
from etude.models.registry import Models
from etude.types import Grammar, Message, ModelRef, Request

NO_TOOLS = Tools()
MAX_GRADE_TOKENS = 1024  # of a grading model's reply
QUOTA_GB = 10.0
"""Gigabytes of all files together, unless the user sets another quota."""


class HostedStores:
    """The stores of one data folder. Creating them goes on with the jobs that an earlier server left."""

    def __init__(
        self,
        folder: Path,
        bases: Mapping[str, str],
        result_files: str = "base64",
        quota_gb: float = QUOTA_GB,
        tools: Tools = NO_TOOLS,
    ) -> None:
        """`bases`: model name of the client -> model of this machine that is trained instead. `tools`: what graders
        may use."""
        self.files = file_store.FileStore(folder.absolute() / "files", int(quota_gb * 1e9))
        self.fine_tuning = fine_tuning.FineTuningStore(
            folder.absolute() / "fine_tuning", self.files, bases, result_files
        )

        self.batches = batches.BatchStore(folder.absolute() / "batches", self.files)

        self.evals = evals.EvalStore(folder.absolute() / "evals", self.files, tools)

    def close(self) -> None:
        """Starts no further job; the one that runs goes on."""
        self.fine_tuning.queue.close()


def build_tools(graders: Mapping[str, str]) -> Tools:
    """What graders may use: the models that the server's owner names (name -> URL#MODEL), and the packaged encoder."""
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

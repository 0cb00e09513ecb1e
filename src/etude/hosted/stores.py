"""What a server with `--jobs` keeps on disk: files, fine-tuning jobs, batches and evals, in one data folder."""

from collections.abc import Mapping
from pathlib import Path

from etude.graders.grade import Tools
from etude.hosted.batches import BatchStore
from etude.hosted.evals import EvalStore
from etude.hosted.file_store import FileStore
from etude.hosted.fine_tuning import FineTuningStore

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
        tools: Tools = Tools(),
    ) -> None:
        """`bases`: model name of the client -> model of this machine that is trained instead. `tools`: what graders may use."""
        self.files = FileStore(folder.absolute() / "files", int(quota_gb * 1e9))
        self.fine_tuning = FineTuningStore(folder.absolute() / "fine_tuning", self.files, bases, result_files)

        self.batches = BatchStore(folder.absolute() / "batches", self.files)

        self.evals = EvalStore(folder.absolute() / "evals", self.files, tools)

    def close(self) -> None:
        """Starts no further job; the one that runs goes on."""
        self.fine_tuning.queue.close()

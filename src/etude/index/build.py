"""`etude index`: read and embed documents before a comparison, and save the vectors next to the
task file.

Vectors are saved by a hash of the text, so that only new texts are embedded.
"""

import hashlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from etude.base.files import atomic_file
from etude.cluster import THIS_PROCESS, Workers, open_workers
from etude.errors import InputError, MissingExtraError, ModelError, RunError
from etude.index.documents import read_passages
from etude.models.registry import Models
from etude.task import Task

if TYPE_CHECKING:
    from etude.models.local.encoder import Encoder

Vectors = NDArray[np.float32]
TEXTS_AT_ONCE = 10_000  # Texts after which the vectors are written; a kill loses at most this many
_DIGEST_BYTES = 16
DEFAULT_ENCODER = "all-minilm-l6-v2"
Progress = Callable[[str, int, int], None]  # The stage, the number done, and the total


@dataclass(frozen=True)
class IndexSummary:
    """What `build_index` did."""

    documents: int
    passages: int
    embedded: int
    """Passages that were embedded; those of an earlier index are reused."""
    encoder: str | None
    """None if search is by keywords alone."""
    seconds: float
    problems: tuple[str, ...]
    """The reason why there is no encoder."""


def build_index(
    task: Task,
    models: Models,
    on_progress: Progress = lambda stage, done, total: None,
    on: str | None = None,
) -> IndexSummary:
    """Read, split and embed the task's documents. All later steps use the saved vectors.

    `on` (default: the task's `where`) is local, or a Ray cluster whose workers embed TEXTS_AT_ONCE
    passages at a time.

    Raises InputError for a task without documents, and with every document that cannot be read.
    """
    if task.documents is None:
        remedy = "add documents: FOLDER"
        raise InputError.of(task.file.name, "the task has no documents", "", remedy)
    started = time.perf_counter()
    problems: list[str] = []
    # 1. Files to passages.
    passages = read_passages(task.documents)
    # 2. Passages to vectors; those of an earlier index are reused.
    encoder = load_task_encoder(task, models, problems)
    num_embedded = 0
    if encoder is not None:
        with open_workers(on or task.where) as workers:
            _, num_embedded = embed_texts(
                [passage.text for passage in passages],
                encoder,
                vectors_path(task),
                keep=True,
                on_text=lambda *counts: on_progress("embedded", *counts),
                workers=workers,
            )
    return IndexSummary(
        documents=len({passage.file for passage in passages}),
        passages=len(passages),
        embedded=num_embedded,
        encoder=None if encoder is None else encoder.name,
        seconds=time.perf_counter() - started,
        problems=tuple(problems),
    )


def vectors_path(task: Task) -> Path:
    """The file with the vectors of a task's passages."""
    return task.file.parent / "index" / task.file.stem / "vectors.safetensors"


def load_task_encoder(task: Task, models: Models, notes: list[str]) -> "Encoder | None":
    """Load the task's encoder as published; if the task does not set one, load the packaged one if
    it is installed.
    """
    if task.encoder == "none":
        return None
    try:
        return models.load_shared_encoder(task.encoder or DEFAULT_ENCODER)
    except (ModelError, MissingExtraError) as error:
        if task.encoder:
            raise
        notes.append(f"no encoder is used, because {DEFAULT_ENCODER} is not installed ({error})")
        return None


def embed_texts(
    texts: Sequence[str],
    encoder: "Encoder",
    file: Path,
    keep: bool = False,
    on_text: Callable[[int, int], None] = lambda done, total: None,
    workers: Workers = THIS_PROCESS,
) -> tuple[Vectors, int]:
    """Return one row for each text, and how many texts were embedded; vectors in `file` are reused.

    With `keep`, the file has exactly these texts afterwards. A file of another encoder counts as
    empty. `on_text` gets the number of embedded texts and the number to embed. `workers` in other
    processes load a published encoder by name.
    """
    digests = [hashlib.sha256(text.encode()).digest()[:_DIGEST_BYTES] for text in texts]
    vectors = _read_vectors(file, encoder)
    num_saved = len(vectors)
    missing = {
        digest: text for digest, text in zip(digests, texts, strict=True) if digest not in vectors
    }
    # The same chunks on all workers, because the rounding of a vector depends on the texts that are
    # embedded with it.
    chunks = [
        list(missing)[start : start + TEXTS_AT_ONCE]
        for start in range(0, len(missing), TEXTS_AT_ONCE)
    ]
    num_done = 0

    def embed_here(chunk: Sequence[str]) -> Vectors:
        return encoder.embed(chunk, lambda done, _: on_text(num_done + done, len(missing)))

    parts = ([missing[digest] for digest in chunk] for chunk in chunks)
    embedded = (
        workers.map(_embed_there, parts, encoder.name)
        if workers.is_remote
        else map(embed_here, parts)
    )
    for chunk, chunk_vectors in zip(chunks, embedded, strict=True):
        vectors |= dict(zip(chunk, chunk_vectors, strict=True))
        num_done += len(chunk)
        on_text(num_done, len(missing))
        if keep and num_done < len(missing):
            _write_vectors(file, encoder, vectors)
    if keep and (missing or num_saved > len(set(digests))):
        _write_vectors(file, encoder, {digest: vectors[digest] for digest in digests})
    return np.stack([vectors[digest] for digest in digests]), len(missing)


def _embed_there(texts: Sequence[str], encoder: str) -> Vectors:
    return _load_once(encoder).embed(texts)


@lru_cache(maxsize=1)
def _load_once(encoder: str) -> "Encoder":
    return Models().load_encoder(encoder)


def _encoder_key(encoder: "Encoder") -> str:
    return f"{encoder.fingerprint} {encoder.dtype}"  # a vector depends on these and the text


def _write_vectors(file: Path, encoder: "Encoder", vectors: dict[bytes, Vectors]) -> None:
    from safetensors.numpy import save_file

    digests = np.frombuffer(b"".join(vectors), dtype=np.uint8).reshape(-1, _DIGEST_BYTES)
    tensors = {"digests": digests, "vectors": np.stack(list(vectors.values()))}
    with atomic_file(file) as temporary:
        save_file(tensors, temporary, {"encoder": _encoder_key(encoder)})


def _read_vectors(file: Path, encoder: "Encoder") -> dict[bytes, Vectors]:
    """Read digest of a text -> its vector. Raises RunError if the file cannot be read."""
    from safetensors import SafetensorError, safe_open

    if not file.exists():
        return {}
    try:
        with safe_open(file, "np") as tensors:
            if (tensors.metadata() or {}).get("encoder") != _encoder_key(encoder):
                return {}
            digests = tensors.get_tensor("digests")
            vectors = tensors.get_tensor("vectors")
    except (SafetensorError, OSError) as error:
        raise RunError(
            f"{file} cannot be read ({error}). Delete it and run etude index again."
        ) from error
    return {bytes(digest): vector for digest, vector in zip(digests, vectors, strict=True)}

"""`etude index`: what is fetched, read and embedded before a comparison, and kept beside the task file."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from etude.errors import InputError, Issue, MissingExtraError, ModelError
from etude.index.documents import read_passages
from etude.index.fetch import PAUSE, fetch
from etude.index.vectors import vectors_of
from etude.models.registry import Models
from etude.task import Task
from etude.task.remote import kept_folder

if TYPE_CHECKING:
    from etude.models.encoder import Encoder

DEFAULT_ENCODER = "all-minilm-l6-v2"
Progress = Callable[[str, int, int], None]
"""What is being done, how many are done, of how many."""


@dataclass(frozen=True)
class Indexed:
    """What `build_index` did."""

    documents: int
    passages: int
    embedded: int
    """Passages that were embedded; those of an earlier index are not embedded again."""
    encoder: str | None
    """None where search is by keywords alone."""
    seconds: float
    problems: tuple[str, ...]
    """What could not be fetched, and why there is no encoder."""


def build_index(
    task: Task, models: Models, on_progress: Progress = lambda what, done, of: None, pause: float = PAUSE
) -> Indexed:
    """Fetches, reads, splits and embeds the task's documents. What it keeps is used by all later steps.

    Raises InputError for a task without documents, and with every document that cannot be read.
    """
    if task.documents is None:
        remedy = "add documents: FOLDER, or {urls: [...]}, {sitemap: URL} or {sql: QUERY, url: env:VARIABLE}"
        raise InputError([Issue(task.file.name, "the task names no documents", "", remedy)])
    started = time.perf_counter()
    problems = fetch(task.remote, lambda *of: on_progress("fetched", *of), pause) if task.remote else []
    passages = read_passages(task.documents)
    encoder = encoder_of(task, models, problems)
    num_embedded = 0
    if encoder is not None:
        texts = [passage.text for passage in passages]
        _, num_embedded = vectors_of(
            texts, encoder, vectors_file(task), keep=True, on_text=lambda *of: on_progress("embedded", *of)
        )
    return Indexed(
        documents=len({passage.file for passage in passages}),
        passages=len(passages),
        embedded=num_embedded,
        encoder=None if encoder is None else encoder.name,
        seconds=time.perf_counter() - started,
        problems=tuple(problems),
    )


def vectors_file(task: Task) -> Path:
    """Where the vectors of a task's passages are kept."""
    return kept_folder(task.file) / "vectors.safetensors"


def encoder_of(task: Task, models: Models, notes: list[str]) -> Encoder | None:
    """The task's encoder as published; without one of its own, the packaged one if it is installed."""
    if task.encoder == "none":
        return None
    try:
        return models.shared_encoder(task.encoder or DEFAULT_ENCODER)
    except (ModelError, MissingExtraError) as error:
        if task.encoder:
            raise
        notes.append(f"no encoder is used, because {DEFAULT_ENCODER} is not installed ({error})")
        return None

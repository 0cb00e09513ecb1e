"""The assistants of a server, by the names that clients ask for."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path

from etude.assistant import FILE, Assistant
from etude.errors import InputError, Issue, ModelError
from etude.index.passages import MOST_CHARACTERS
from etude.models.adapters import CONFIG_FILE
from etude.models.registry import backend_of
from etude.runs import Run
from etude.runs.recommended import load, recommended, run_at, run_of
from etude.task.endpoint import is_url
from etude.types import ModelRef


@dataclass
class Served:
    """An assistant under a name."""

    name: str
    assistant: Assistant
    place: Path
    """Where it was loaded from."""
    feedback: Path
    """The file that takes what people say about its answers."""
    run: Run | None = None
    """The run that it is of; None for an assistant that was saved elsewhere."""
    why: str = ""
    """A sentence on why it answers, unless it was named or the verdict recommends it."""
    unmeasured: str = ""
    """Why none of its answers are as they were measured, "" if they may be."""
    since: int = field(default_factory=lambda: int(time.time()))

    @cached_property
    def fingerprint(self) -> str:
        """A hash of everything that decides an answer."""
        return self.assistant.fingerprint

    @property
    def source(self) -> str:
        """RUN/METHOD, or the folder's name."""
        return f"{self.place.name}/{self.assistant.method}"


FEEDBACK = "feedback.jsonl"
ENGINES = ("auto", "local", "llama_cpp")
CHARACTERS = 3
"""Characters of a token at least, in most texts."""
QUESTION = 400
"""Tokens that a question is taken to have, when the longest prompt is estimated."""


def on(engine: str, assistant: Assistant) -> Assistant:
    """The assistant with its weights in an engine of ENGINES, or behind a URL#MODEL, which has its own; one that was
    not measured with weights in this process is as it is."""
    if engine == "local" or backend_of(assistant.model.name).name != "local":
        return assistant
    if engine == "auto":
        engine = "llama_cpp"
        if not _suits_llama_cpp(assistant):
            return assistant
    if is_url(engine):
        return replace(assistant, model=ModelRef(engine))
    return replace(assistant, model=replace(assistant.model, name=f"{engine}:{assistant.model.name}"))


def _suits_llama_cpp(assistant: Assistant) -> bool:
    """Whether llama.cpp takes an assistant, and no GPU computes faster."""
    adapter = assistant.model.adapter
    if assistant.choices or not find_spec("xllamacpp") or (adapter and not (adapter / CONFIG_FILE).exists()):
        return False
    import torch

    from etude.models.llama_cpp.gguf import base_file
    from etude.models.llama_cpp.model import SLOT_TOKENS

    try:
        base_file(assistant.model.name)
    except ModelError:
        return False
    return not torch.cuda.is_available() and _longest(assistant) <= SLOT_TOKENS


def _longest(assistant: Assistant) -> int:
    """About the most tokens of a prompt and its answer."""
    nearest = max((len(row.text) + len(row.output) for row in assistant.pool), default=0)
    passages = assistant.num_passages * MOST_CHARACTERS if assistant.search else 0
    own = sum(len(message.content) for message in assistant.messages(()))
    told = own + assistant.num_similar * nearest + passages
    return told // CHARACTERS + QUESTION + assistant.max_tokens


def catalogue(places: Sequence[str], method: str | None = None, engine: str = "local") -> dict[str, Served]:
    """Loads the assistants, without their weights.

    A place is what `etude.load` takes, after `NAME=` if it is to have another name than its task. A task means its
    latest complete run, if it has one. Raises InputError for a name that stands twice, RunError for a place without an
    assistant.
    """
    found: dict[str, Served] = {}
    for served in _found(places, method):
        if served.name in found:
            remedy = f"give one of them another name: NAME={served.place}"
            raise InputError(
                [Issue(str(served.place), f"a second assistant named {served.name!r}", "", remedy)]
            )
        assistant = on(engine, served.assistant)
        if is_url(engine) and assistant != served.assistant:
            served.unmeasured = "another program renders its prompt"
        elif served.run and not served.run.verdict:
            served.unmeasured = f"run {served.run.name} has not opened its test"
        found[served.name] = replace(served, assistant=assistant)
    return found


def _found(places: Sequence[str], method: str | None) -> Iterator[Served]:
    for given in places:
        before, sign, after = given.partition("=")
        named = bool(sign) and not Path(given).exists()
        place = Path(after if named else given)
        if (place / FILE).exists():
            name = before if named else place.resolve().name
            yield Served(name, load(place), place, place.parent / FEEDBACK, run_of(place))
            continue
        run = run_at(place, complete=True)
        name, beside_task = run.info["name"], run.folder.parent.parent / FEEDBACK
        chosen, why = (method, "") if method else recommended(run)
        found = load(run.assistant(chosen))
        yield Served(before if named else name, found, run.folder, beside_task, run, why.strip())

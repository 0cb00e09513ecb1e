"""The assistants of a server, by model name."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from etude.assistant import FILE, Assistant, with_engine
from etude.errors import InputError
from etude.runs import Run
from etude.runs.recommended import find_run_of, find_served, get_promotions_file, load
from etude.task.endpoint import is_url
from etude.task.tool_class import ToolRef
from etude.tool_loop import load_tools

FEEDBACK_FILE = "feedback.jsonl"
ENGINES = ("auto", "local", "llama_cpp")


@dataclass
class ServedModel:
    """An assistant and the name of the model that clients request."""

    name: str
    assistant: Assistant
    folder: Path  # where it was loaded from: a run or an assistant's folder
    feedback: Path  # the file to which feedback on its answers is appended
    run: Run | None = None  # None for an assistant that was saved outside a run
    reason: str = ""  # why this method was chosen; "" if the user or the verdict chose it
    unmeasured_reason: str = ""  # why its answers are not the measured ones; "" if they can be
    promotions: Path | None = None  # the file of its task's promotions, which a server follows
    tools: ToolRef | None = None  # runs the calls of its answers; None if clients run them
    reload: Callable[[], Mapping[str, "ServedModel"]] = dict  # loads the same place again
    created: int = field(default_factory=lambda: int(time.time()))

    @property
    def source(self) -> str:
        """RUN/METHOD, or FOLDER/METHOD outside a run."""
        return f"{self.folder.name}/{self.assistant.method}"

    @property
    def key(self) -> str:
        """Identifies the assistant, also if another one had the same name before."""
        return f"{self.source} {self.assistant.fingerprint}"


def load_catalogue(
    places: Sequence[str], method: str | None = None, engine: str = "local", run_tools: bool = False
) -> dict[str, ServedModel]:
    """Load the assistants, without their weights, by name.

    A place is anything that `etude.load` accepts. `NAME=PLACE` sets the name; without it, the name
    is that of the task. For a task, load what `find_served` finds. With `run_tools`, the class
    under `tools:` in its task runs its calls. Raises InputError if two assistants have the same
    name or a class is missing, RunError for a place without an assistant.
    """
    catalogue: dict[str, ServedModel] = {}
    for text in places:
        served = _load_served(text, method)
        if served.name in catalogue:
            remedy = f"give one of them another name: NAME={served.folder}"
            raise InputError.of(
                str(served.folder),
                f"another assistant already has the name {served.name!r}",
                "",
                remedy,
            )
        assistant = with_engine(engine, served.assistant)
        if assistant != served.assistant:
            served.unmeasured_reason = (
                "another program formats the prompt"
                if is_url(engine)
                else f"{engine.replace('_', '.')} computes them; --engine auto uses the engine of "
                "the measurement"
            )
        if run_tools:
            served.tools = load_tools(served.run.task_file if served.run else served.folder)
        reload = partial(load_catalogue, [text], method, engine, run_tools)
        catalogue[served.name] = replace(served, assistant=assistant, reload=reload)
    return catalogue


def load_saved(name: str, folder: Path) -> ServedModel:
    """Load an assistant's folder, which may be in a run."""
    run = find_run_of(folder)
    feedback = folder.parent / FEEDBACK_FILE
    return ServedModel(
        name, load(folder), folder, feedback, run, unmeasured_reason=_explain_unmeasured(run)
    )


def _explain_unmeasured(run: Run | None) -> str:
    if run is None:
        return "no run has measured this assistant"
    return "" if run.verdict else f"run {run.name} has not been measured on its test rows yet"


def _load_served(text: str, method: str | None) -> ServedModel:
    prefix, sign, suffix = text.partition("=")
    has_name = bool(sign) and not Path(text).exists()
    path = Path(suffix if has_name else text)
    if (path / FILE).exists():
        return load_saved(prefix if has_name else path.resolve().name, path)
    run, method, reason = find_served(path, method)
    assistant = load(run.assistant_folder(method))
    name = prefix if has_name else run.info["name"]
    feedback = run.folder.parent.parent / FEEDBACK_FILE
    reasons = (reason.strip(), _explain_unmeasured(run))
    promotions = get_promotions_file(path)
    return ServedModel(name, assistant, run.folder, feedback, run, *reasons, promotions)

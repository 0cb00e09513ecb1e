"""Follow the events of a run and send their figures to a tracker."""

from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path

from etude.assistant import load
from etude.base.issues import check_known
from etude.errors import Declined, MissingExtraError, ServiceError
from etude.runs import Run
from etude.runs.events import (
    EpochEnded,
    Event,
    MethodEnded,
    NoteEvent,
    OnEvent,
    RunEnded,
    RunOpened,
    StepTrained,
)
from etude.runs.questions import Confirm, SensitiveQuestion
from etude.runs.recommended import choose_method
from etude.task import TrackerName
from etude.tracking.tools import TOOLS, Tool, Tracker
from etude.types import CLASSICAL, Estimate

KEY = "tracked"
"""Key of run.json: the tracker, its address ("" for this machine), and the id and link of the run there."""
SETTINGS = ("name", "kind", "model", "command", "seed", "engine", "etude")
"""Keys of run.json that the tracker shows."""
FILES = ("report.html", "report.md", "verdict.json", "card.md")


def track_events(tracker: TrackerName | None, on_event: OnEvent, confirm: Confirm) -> OnEvent:
    """Return a function that passes events to `on_event` and to the tracker; `on_event` itself for None.

    When a run opens, `confirm` is asked if the tracker is on another machine, and the function raises Declined for a
    no, and ServiceError if the tracker cannot be opened. A later error of the tracker is a note and ends the tracking,
    not the run. Raises MissingExtraError if the tracker is not installed.
    """
    return _EventTracker(tracker, on_event, confirm) if tracker else on_event


def attach_file(run: Run, file: Path) -> None:
    """Add a file to the tracker that has a run, unless the tracker's variables now name another address.

    Raises MissingExtraError, ServiceError.
    """
    name = run.info.get(KEY, {}).get("tool")
    if name and _find_tracked(run, name):
        tracker = _open_run(name, run)
        tracker.save(file.name, file)
        tracker.close(is_complete=True)


class _EventTracker:
    def __init__(self, name: TrackerName, on_event: OnEvent, confirm: Confirm) -> None:
        _find_tool(name)
        self.name, self.on_event, self.confirm = name, on_event, confirm
        self.run: Run | None = None
        self.tracker: Tracker | None = None
        self.steps: dict[str, int] = {}
        """Method -> its latest step."""

    def __call__(self, event: Event) -> None:
        self.on_event(event)
        if isinstance(event, RunOpened):
            self._open(Run(event.folder))
        elif self.tracker and self.run:
            try:
                self._track(self.tracker, self.run, event)
            except Exception as error:  # noqa: BLE001 - trackers raise errors of their own, and none is worth a run
                self.tracker = None
                message = f"{TOOLS[self.name].title} failed ({_format_reason(error)}), so the run goes on without it."
                self.on_event(NoteEvent(message))

    def _open(self, run: Run) -> None:
        tool = TOOLS[self.name]
        address = tool.find_remote()
        if address and not _find_tracked(run, self.name):
            question = (
                f"{tool.title} at {address} will get the figures of this run, its report, which has texts of your "
                "examples, and the assistant if it has no texts of rows. Continue?"
            )
            if not self.confirm(SensitiveQuestion(question)):
                raise Declined(
                    f"Nothing was sent. Leave out `track`, or unset the variables of {tool.title}."
                )
        self.run, self.tracker = run, _open_run(self.name, run)
        tracked = {"tool": self.name, "address": address, "id": self.tracker.id, "link": self.tracker.link}
        run.update(**{KEY: tracked})
        self.on_event(NoteEvent(f"Tracked by {tool.title}: {self.tracker.link}"))

    def _track(self, tracker: Tracker, run: Run, event: Event) -> None:
        if isinstance(event, StepTrained | EpochEnded | MethodEnded):
            if isinstance(event, StepTrained):
                self.steps[event.method] = event.step
            figures = {f"{event.method}/{name}": value for name, value in list_figures(event)}
            tracker.log(figures, self.steps.get(event.method, 0))
        elif isinstance(event, RunEnded):
            self.tracker, is_complete = None, event.status == "complete"
            if is_complete:
                for name in FILES:
                    if (run.folder / name).exists():
                        tracker.save(name, run.folder / name)
                self._save_assistant(tracker, run)
            tracker.close(is_complete)

    def _save_assistant(self, tracker: Tracker, run: Run) -> None:
        # Texts of rows or documents stay on this machine.
        method = choose_method(run)[0]
        assistant = load(folder := run.assistant_folder(method))
        texts = (assistant.shots, assistant.pool, assistant.similar, assistant.training, assistant.search)
        if run.info[KEY]["address"] and (assistant.model.name == CLASSICAL or any(texts)):
            message = f"{method} was not sent, because it contains texts of your rows or documents."
            self.on_event(NoteEvent(f"{message} It is in {folder}."))
        else:
            tracker.save(method, folder)


def list_figures(event: StepTrained | EpochEnded | MethodEnded) -> Iterator[tuple[str, float]]:
    """Yield the figures of an event, each estimate with the ends of its 95% interval and its n."""
    match event:
        case StepTrained():
            yield "loss", event.loss
            yield "tokens_per_second", event.tokens_per_second
            yield "memory_bytes", event.memory
        case EpochEnded():
            yield "epoch", event.epoch
            yield "dev_loss", event.dev_loss
            if event.train_loss is not None:
                yield "epoch_loss", event.train_loss
            yield from _split_estimate("dev_score", event.score)
        case MethodEnded():
            yield from _split_estimate(f"{event.side}_score", event.estimate)
            yield from _split_estimate(f"{event.side}_keeps_contract", event.keeps_contract)
            yield from _split_estimate(f"{event.side}_check", event.check)
            yield f"{event.side}_seconds", event.seconds


def _split_estimate(name: str, estimate: Estimate | None) -> Iterator[tuple[str, float]]:
    if estimate:
        yield name, estimate.value
        yield f"{name}_low", estimate.low
        yield f"{name}_high", estimate.high
        yield f"{name}_n", estimate.n


def _find_tool(name: str) -> Tool:
    check_known("track", [name], TOOLS, "no such tracker")
    tool = TOOLS[name]  # type: ignore[index]
    if find_spec(tool.module) is None:
        raise MissingExtraError(f"The tracker {tool.title}", name)
    return tool


def _find_tracked(run: Run, name: str) -> Mapping[str, str]:
    """Return where a run is in a tracker; nothing if it is in another tracker, or at another address."""
    place: Mapping[str, str] = run.info.get(KEY, {})
    is_same = (place.get("tool"), place.get("address", "")) == (name, _find_tool(name).find_remote())
    return place if is_same else {}


def _open_run(name: str, run: Run) -> Tracker:
    tool, info = _find_tool(name), run.info
    settings = {key: info[key] for key in SETTINGS if info.get(key) is not None}
    try:
        run_id = _find_tracked(run, name).get("id")
        return tool.open(run.name.rpartition("-")[0], run.name, run_id, settings)
    except Exception as error:
        raise ServiceError(
            f"{tool.title} cannot open a run ({_format_reason(error)}). Correct its settings, or leave out `track`."
        ) from error


def _format_reason(error: Exception) -> str:
    return (str(error).strip() or repr(error)).splitlines()[0]

"""What trackers get of a run, read back through their own API, and that nothing is sent without being named."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from etude.base.files import read_lines
from etude.comparison import compare
from etude.errors import Declined, InputError, MissingExtraError
from etude.runs import Run
from etude.runs.events import EpochEnded, MethodEnded, NoteEvent, StepTrained
from etude.suites.card import write_card
from etude.task import load_task
from etude.tracking import follow, track_events
from etude.tracking.follow import list_figures
from etude.tracking.tools import TOOLS, Tool
from etude.tuning import train
from etude.types import Estimate
from small_task import compare_until, write_task
from tiny import save_tiny_model

METHODS = "methods: [baseline, prompt]\n"


class MemoryTracker:
    """A tracker that keeps everything in memory, and fails when told to."""

    def __init__(self, fails: bool = False) -> None:
        self.id, self.link, self.fails = "1", "memory", fails
        self.figures: dict[str, list[tuple[int, float]]] = {}
        self.saved: dict[str, Path] = {}
        self.closed: list[bool] = []
        self.opened: list[str | None] = []

    def open(self, project: str, name: str, run_id: str | None, settings: Mapping[str, Any]) -> MemoryTracker:
        self.opened.append(run_id)
        return self

    def log(self, figures: Mapping[str, float], step: int) -> None:
        if self.fails:
            raise LookupError("the disk\nis full")
        for name, value in figures.items():
            self.figures.setdefault(name, []).append((step, value))

    def save(self, name: str, path: Path) -> None:
        assert path.exists()
        self.saved[name] = path

    def close(self, is_complete: bool) -> None:
        self.closed.append(is_complete)


def use(monkeypatch: pytest.MonkeyPatch, tracker: MemoryTracker, address: str = "") -> None:
    """Puts a tracker in the place of trackio."""
    tool = Tool("Memory", "json", tracker.open, lambda: address)
    monkeypatch.setattr(follow, "TOOLS", {"trackio": tool})


def test_a_comparison_sends_estimates_with_intervals_files_and_its_link(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tracker = MemoryTracker()
    use(monkeypatch, tracker)
    task = write_task(tmp_path, more=METHODS + "track: trackio\n")
    result = compare(task)
    for row in result.verdict.ladder:
        names = [f"{row.method}/test_score{end}" for end in ("_low", "", "_high", "_n")]
        low, value, high, n = (tracker.figures[name][-1][1] for name in names)
        assert low <= value <= high
        assert n == row.estimate.n
    assert tracker.closed == [True]
    assert {"report.html", "report.md", "verdict.json", result.verdict.leaning} <= tracker.saved.keys()
    assert "trackio: memory" in (result.run.folder / "report.html").read_text()
    assert compare(task).run == result.run
    assert tracker.opened == [None], "a finished run is not tracked again"
    write_card(result.run)
    assert tracker.saved["card.md"].exists()
    assert tracker.opened == [None, "1"]


def test_a_tracker_is_not_an_input_of_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, MemoryTracker())
    task = write_task(tmp_path, more=METHODS)
    plain = compare(task)
    assert compare(task, track="trackio").run == plain.run
    assert load_task(task).track is None


def test_a_tracker_that_fails_costs_a_note_and_not_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(monkeypatch, MemoryTracker(fails=True))
    events: list[Any] = []
    result = compare(write_task(tmp_path, more=METHODS), track="trackio", on_event=events.append)
    assert result.run.is_complete
    notes = [event.text for event in events if isinstance(event, NoteEvent) and "failed" in event.text]
    assert notes == ["Memory failed (the disk), so the run goes on without it."]


def test_nothing_goes_to_another_machine_without_a_yes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tracker = MemoryTracker()
    use(monkeypatch, tracker, "https://tracker.example")
    task = write_task(tmp_path, more="methods: [baseline]\n")
    with pytest.raises(Declined):
        compare(task, track="trackio")
    assert not tracker.opened
    assert not (tmp_path / "runs").exists()
    questions: list[str] = []
    compare(task, track="trackio", confirm=lambda question: questions.append(question) is None)
    assert "https://tracker.example will get" in questions[0]
    assert tracker.closed == [True]
    assert tracker.saved.keys() == {"report.html", "report.md", "verdict.json"}, "the assistant contains rows"


def test_a_run_that_was_tracked_here_goes_to_another_machine_only_after_a_yes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, there = MemoryTracker(), MemoryTracker()
    task = write_task(tmp_path, more=METHODS)

    use(monkeypatch, here)
    compare_until(task, lambda event: isinstance(event, MethodEnded), track="trackio")
    use(monkeypatch, there, "https://tracker.example")
    with pytest.raises(Declined):
        compare(task, track="trackio")
    assert not there.opened
    result = compare(task, track="trackio", confirm=lambda question: True)
    assert there.opened == [None], "not the id of the run in the other place"
    use(monkeypatch, here)
    write_card(result.run)
    assert len(here.opened) == 1
    assert "card.md" not in here.saved


def test_a_resumed_run_goes_on_where_it_was_tracked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tracker = MemoryTracker()
    use(monkeypatch, tracker)

    task = write_task(tmp_path, more=METHODS)
    compare_until(task, lambda event: isinstance(event, MethodEnded), track="trackio")
    compare(task, track="trackio")
    assert tracker.opened == [None, "1"]
    assert tracker.closed == [False, True]


def test_every_figure_of_training_has_its_step() -> None:
    estimate = Estimate(0.5, 0.4, 0.6, 20)
    step = StepTrained("fine_tune", 3, 9, 1, 2, 0.7, 50.0, 1.0, 100)
    epoch = EpochEnded("fine_tune", 1, 2, 0.8, 0.9, estimate, best=True, overfits=False)
    assert dict(list_figures(step)) == {"loss": 0.7, "tokens_per_second": 50.0, "memory_bytes": 100}
    figures = dict(list_figures(epoch))
    assert figures["epoch_loss"] == 0.8
    assert [figures[f"dev_score{end}"] for end in ("", "_low", "_high", "_n")] == [0.5, 0.4, 0.6, 20]


def test_without_a_tracker_events_pass_unchanged() -> None:
    events: list[object] = []
    assert track_events(None, events.append, lambda question: True) == events.append


def test_a_tracker_that_is_not_installed_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(follow, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"\[wandb\]"):
        track_events("wandb", lambda event: None, lambda question: True)


@pytest.mark.parametrize(
    ("tool", "variables", "address"),
    [
        ("trackio", {}, ""),
        ("trackio", {"TRACKIO_SPACE_ID": "me/board"}, "me/board"),
        ("trackio", {"TRACKIO_SERVER_URL": "http://127.0.0.1:7860"}, ""),
        ("mlflow", {}, ""),
        ("mlflow", {"MLFLOW_TRACKING_URI": "sqlite:///runs.db"}, ""),
        ("mlflow", {"MLFLOW_TRACKING_URI": "https://mlflow.example"}, "https://mlflow.example"),
        ("mlflow", {"MLFLOW_TRACKING_URI": "http://localhost:5000"}, ""),
        ("mlflow", {"MLFLOW_TRACKING_URI": "databricks"}, "databricks"),
        ("mlflow", {"MLFLOW_TRACKING_URI": "postgresql://db.example/runs"}, "postgresql://db.example/runs"),
        ("wandb", {}, ""),
        (
            "wandb",
            {"WANDB_MODE": "online", "WANDB_BASE_URL": "https://wandb.example"},
            "https://wandb.example",
        ),
        ("wandb", {"WANDB_MODE": "offline", "WANDB_BASE_URL": "https://wandb.example"}, ""),
    ],
)
def test_a_tracker_is_remote_only_if_its_variables_say_so(
    tool: str, variables: dict[str, str], address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in os.environ if name.startswith(("TRACKIO_", "MLFLOW_", "WANDB_"))]:
        monkeypatch.delenv(name)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert TOOLS[tool].find_remote() == address  # type: ignore[index]


def skip_without(tool: str) -> None:
    """Skips if a tracker is not installed. It is not imported, because trackio then reads its folder."""
    if find_spec(TOOLS[tool].module) is None:  # type: ignore[index]
        pytest.skip(f"no {tool}; to run: pip install 'etude[{tool}]'")


AUDITED = """
import json, socket, sys
opened = []
def note(event, values):
    if event in ("socket.connect", "socket.bind", "socket.getaddrinfo", "socket.__new__"):
        opened.append([event, str(values[1:])])
sys.addaudithook(note)
from etude.comparison import compare
compare(sys.argv[1], track=sys.argv[2] or None)
print(json.dumps(opened))
"""


def run_audited(task: Path, tracker: str, **variables: str) -> list[list[str]]:
    """Compares in a process that notes every socket."""
    command = [sys.executable, "-c", AUDITED, str(task), tracker]
    printed = subprocess.check_output(command, text=True, cwd=task.parent, env={**os.environ, **variables})
    opened: list[list[str]] = json.loads(printed.splitlines()[-1])
    return opened


@pytest.mark.real
@pytest.mark.parametrize("tool", TOOLS)
def test_a_local_tracker_asks_no_other_machine(tool: str, tmp_path: Path) -> None:
    skip_without(tool)
    with socket.create_server(("127.0.0.1", 0)) as proxy:
        # whatever tries to leave the machine, in whichever process, would come here
        url = f"http://127.0.0.1:{proxy.getsockname()[1]}"
        variables = dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"), url)
        variables["TRACKIO_DIR"] = str(tmp_path / "trackio")
        opened = run_audited(write_task(tmp_path, more=METHODS), tool, **variables)
        proxy.settimeout(0.1)
        with pytest.raises(TimeoutError):
            proxy.accept()
    calls = ("socket.connect", "socket.getaddrinfo")
    assert not [entry for entry in opened if entry[0] in calls and "wandb-" not in entry[1]]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A task whose training has figures to send."""
    folder = tmp_path_factory.mktemp("trained")
    model = save_tiny_model(folder / "model", max_position_embeddings=1024)
    more = "methods: [fine_tune]\nmax_tokens: 8\ntrain: {max_rows: 32, epochs: 2, dev_metric: true}\n"
    return write_task(folder / "task", "classify", str(model), 150, more)


def train_with(tool: str, task: Path, monkeypatch: pytest.MonkeyPatch, **variables: str) -> Run:
    """Trains with a tracker, with its files beside the task."""
    monkeypatch.chdir(task.parent)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    skip_without(tool)
    run = train(task, track=tool, fresh=True).run  # type: ignore[arg-type]
    write_card(run)
    return run


def read_losses(run: Run) -> list[float]:
    """The losses of all steps, as the run's own log has them."""
    lines = read_lines(run.method_folder("fine_tune") / "train.jsonl")
    return [line["loss"] for line in lines if "step" in line]


@pytest.mark.real
@pytest.mark.filterwarnings("default:The ``noload`` loader strategy")  # MLflow's own use of SQLAlchemy
def test_mlflow_has_the_run(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = train_with("mlflow", trained, monkeypatch, MLFLOW_TRACKING_URI=f"sqlite:///{trained.parent}/m.db")
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{trained.parent}/m.db")
    [found] = client.search_runs([client.get_experiment_by_name("small").experiment_id])
    assert (found.info.status, found.data.params["kind"]) == ("FINISHED", "classify")
    history = client.get_metric_history(found.info.run_id, "fine_tune/loss")
    assert [point.value for point in history] == read_losses(run)
    assert [point.step for point in history] == list(range(1, len(history) + 1))
    assert found.data.metrics["fine_tune/dev_score_low"] <= found.data.metrics["fine_tune/dev_score"]
    names = {file.path for file in client.list_artifacts(found.info.run_id)}
    assert {"report.html", "report.md", "card.md", "fine_tune"} <= names
    adapter = {file.path for file in client.list_artifacts(found.info.run_id, "fine_tune/adapter")}
    assert "fine_tune/adapter/adapter_model.safetensors" in adapter
    assert run.info["tracked"]["id"] == found.info.run_id


@pytest.mark.real
def test_trackio_has_the_run(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = trained.parent / "trackio"
    run = train_with("trackio", trained, monkeypatch, TRACKIO_DIR=str(folder))
    code = (
        "import json, trackio\nfrom trackio.sqlite_storage import SQLiteStorage\n"
        "[run] = trackio.Api().runs('small')\n"
        "logs = SQLiteStorage.get_logs('small', run.name)\n"
        "print(json.dumps([run.name, run.config['kind'], logs], default=str))"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=dict(os.environ)
    )
    name, kind, logs = json.loads(result.stdout.splitlines()[-1])
    assert (name, kind) == (run.name, "classify")
    assert [log["fine_tune/loss"] for log in logs if "fine_tune/loss" in log] == read_losses(run)
    assert any("fine_tune/dev_score_low" in log for log in logs)
    assert any(folder.glob("artifacts/small/blobs/*/*/*"))


def read_records(file: Path) -> Iterator[bytes]:
    """The records of a .wandb file: a LevelDB log with a header of 7 bytes. The package itself reads it only in Go."""
    content, begin, record = file.read_bytes(), 7, b""
    while begin + 7 <= len(content):
        if 32768 - begin % 32768 < 7:  # no fragment begins so near the end of a block
            begin += 32768 - begin % 32768
            continue
        length, kind = int.from_bytes(content[begin + 4 : begin + 6], "little"), content[begin + 6]
        record += content[begin + 7 : begin + 7 + length]
        begin += 7 + length
        if kind in (1, 4):  # a whole record, or the last fragment of one
            yield record
            record = b""


@pytest.mark.real
def test_wandb_has_the_run_offline(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = train_with("wandb", trained, monkeypatch)
    [file, *_] = sorted((trained.parent / "wandb").glob(f"offline-run-*-{run.info['tracked']['id']}/*.wandb"))
    from wandb.proto.wandb_internal_pb2 import Record

    losses, artifacts = list[float](), set[str]()
    for data in read_records(file):
        record = Record.FromString(data)
        items = {item.key or "/".join(item.nested_key): item.value_json for item in record.history.item}
        losses += [json.loads(items["fine_tune/loss"])] if "fine_tune/loss" in items else []
        artifacts |= {record.request.log_artifact.artifact.name, record.artifact.name}
    assert losses == read_losses(run)
    assert {"report.html", "fine_tune"} <= artifacts
    assert run.info["tracked"]["link"].startswith("wandb sync ")


def test_an_unknown_tracker_or_place_to_work_is_an_error_also_for_a_complete_run(tmp_path: Path) -> None:
    task = write_task(tmp_path, more="methods: [baseline]\n")
    compare(task)
    with pytest.raises(InputError, match=r"neptune.*one of: .*mlflow"):
        compare(task, track="neptune")  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"spark.*ray://HOST:PORT"):
        compare(task, on="spark")

"""Trackers: programs that collect the figures of many runs. Each is one entry of TOOLS.

Without settings of its own, a tracker writes to this machine: trackio and MLflow to their usual places, Weights &
Biases to a folder that `wandb sync` uploads. The tracker's own environment variables name another place.
"""

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any, Protocol

from etude.task import Endpoint, TrackerName


class Tracker(Protocol):
    """A run in a tracker, open for figures and files."""

    id: str
    """With it, `Tool.open` opens the same run again."""
    link: str
    """The URL of the run, or the command that shows or uploads it."""

    def log(self, figures: Mapping[str, float], step: int) -> None:
        """Add the figures of a step."""

    def save(self, name: str, path: Path) -> None:
        """Add a file or a folder."""

    def close(self, is_complete: bool) -> None:
        """Write what is pending; the run counts as finished if `is_complete`, else as failed."""


@dataclass(frozen=True)
class Tool:
    """How to open a run in a tracker."""

    title: str
    module: str
    open: Callable[[str, str, str | None, Mapping[str, Any]], Tracker]
    """From project, name of the run, id of a run to continue or None, and settings to show."""
    find_remote: Callable[[], str]
    """Returns the address that figures are sent to; "" for this machine."""


@contextmanager
def _no_output() -> Iterator[None]:
    with redirect_stdout(StringIO()), redirect_stderr(StringIO()):
        yield


class _LoggedRun:
    """A run of trackio or Weights & Biases, whose functions are the same. Both print, which would spoil the screen."""

    def __init__(self, run: Any, run_id: str, link: str, finish: Callable[[bool], object]) -> None:
        self.run, self.id, self.link, self.finish = run, run_id, link, finish

    def log(self, figures: Mapping[str, float], step: int) -> None:
        """Add figures, with their step among them: the steps of several methods do not rise together."""
        self.run.log({**figures, **{f"{name.partition('/')[0]}/step": step for name in figures}})

    def save(self, name: str, path: Path) -> None:
        """Add a file or a folder as an artifact."""
        with _no_output():
            self.run.log_artifact(str(path), name=name, type="model" if path.is_dir() else "report")

    def close(self, is_complete: bool) -> None:
        with _no_output():
            self.finish(is_complete)


def open_trackio(project: str, name: str, run_id: str | None, settings: Mapping[str, Any]) -> Tracker:
    """Open a run of trackio, which knows a run by its name."""
    import trackio

    with _no_output():
        run = trackio.init(
            project=project,
            name=run_id or name,
            resume="allow" if run_id else "never",
            config=dict(settings),
            embed=False,
            auto_log_cpu=False,
            auto_log_gpu=False,
        )
    link = _find_trackio() or f"trackio show --project {project}"
    return _LoggedRun(run, run_id or name, link, lambda is_complete: trackio.finish())


def _find_trackio() -> str:
    return os.environ.get("TRACKIO_SPACE_ID") or _drop_local(os.environ.get("TRACKIO_SERVER_URL", ""))


def open_wandb(project: str, name: str, run_id: str | None, settings: Mapping[str, Any]) -> Tracker:
    """Open a run of Weights & Biases, offline unless WANDB_MODE says otherwise."""
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
    import wandb

    run = wandb.init(
        project=project,
        name=name,
        id=run_id,
        resume="allow" if run_id else None,
        config=dict(settings),
        mode=os.environ.get("WANDB_MODE", "offline"),
        reinit="create_new",
        settings=wandb.Settings(
            silent=True, console="off", x_disable_stats=True, disable_git=True, save_code=False
        ),
    )
    link = f"wandb sync {Path(run.dir).parent}" if run.offline else run.url
    return _LoggedRun(run, run.id, link, lambda is_complete: run.finish(exit_code=int(not is_complete)))


def _find_wandb() -> str:
    is_online = os.environ.get("WANDB_MODE", "offline") in ("online", "shared", "run")
    return _drop_local(os.environ.get("WANDB_BASE_URL", "https://wandb.ai")) if is_online else ""


class _MlflowRun:
    def __init__(self, client: Any, run_id: str, link: str) -> None:
        self.client, self.id, self.link = client, run_id, link

    def log(self, figures: Mapping[str, float], step: int) -> None:
        for name, value in figures.items():
            self.client.log_metric(self.id, name, value, step=step)

    def save(self, name: str, path: Path) -> None:
        if path.is_dir():
            self.client.log_artifacts(self.id, str(path), name)
        else:
            self.client.log_artifact(self.id, str(path))

    def close(self, is_complete: bool) -> None:
        self.client.set_terminated(self.id, "FINISHED" if is_complete else "FAILED")


def open_mlflow(project: str, name: str, run_id: str | None, settings: Mapping[str, Any]) -> Tracker:
    """Open a run of MLflow in the store of MLFLOW_TRACKING_URI, by default mlflow.db in the current folder."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
    import mlflow

    uri = mlflow.get_tracking_uri()
    client = mlflow.MlflowClient(uri)
    experiment = client.get_experiment_by_name(project)
    folder = experiment.experiment_id if experiment else client.create_experiment(project)
    if run_id is None:
        run_id = client.create_run(folder, run_name=name).info.run_id
        for key, value in settings.items():
            client.log_param(run_id, key, value)
    else:
        client.update_run(run_id, "RUNNING")
    url = f"{uri}/#/experiments/{folder}/runs/{run_id}"
    return _MlflowRun(
        client, run_id, url if uri.startswith("http") else f"mlflow ui --backend-store-uri {uri}"
    )


def _find_mlflow() -> str:
    uri = os.environ.get("MLFLOW_TRACKING_URI", "")
    is_file = uri.startswith(("sqlite:", "file:")) or "://" not in uri
    return "" if is_file and not uri.startswith("databricks") else _drop_local(uri)


def _drop_local(url: str) -> str:
    return "" if not url or Endpoint(url, "").is_local else url


TOOLS: Mapping[TrackerName, Tool] = {
    "trackio": Tool("trackio", "trackio", open_trackio, _find_trackio),
    "mlflow": Tool("MLflow", "mlflow", open_mlflow, _find_mlflow),
    "wandb": Tool("Weights & Biases", "wandb", open_wandb, _find_wandb),
}

"""Write the file of a launcher from its template, which is data: `LAUNCHER.j2` beside this module."""

import json
import re
import shlex
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from etude.base.files import write_text
from etude.base.issues import refuse_existing
from etude.base.pages import create_environment
from etude.errors import InputError, Issue
from etude.task import Task

MAX_NAME = 40  # characters of a job's name; Kubernetes allows 63, with what it appends


@dataclass(frozen=True)
class JobSettings:
    """What a job runs, on which machines, and where Étude and the task's folder are there."""

    command: str = "train"  # of etude: train or compare
    gpus: int = 1  # 0 or 1
    gpu: str = ""  # the launcher's name of a kind of GPU, or of a machine
    hours: int = 4  # after which the launcher stops the job
    image: str = ""  # a container image with Étude
    volume: str = ""  # where the launcher keeps the task's folder


@dataclass(frozen=True)
class Launcher:
    """One launcher: the suffix of its file, the command that starts it, and the settings that its template needs."""

    suffix: str
    start: str  # a command, before the file's path
    needs: Mapping[str, str]  # the name of a setting that may not be empty -> an example of it


LAUNCHERS: Mapping[str, Launcher] = {
    "kubeflow": Launcher(
        ".trainjob.yaml", "kubectl create -f", {"image": "--image IMAGE", "volume": "--volume my-claim"}
    ),
    "slurm": Launcher(".slurm.sh", "sbatch", {}),
}


def write_job_file(task: Task, launcher: str, settings: JobSettings, file: Path | None = None) -> tuple[Path, str]:
    """Write the file of a launcher of LAUNCHERS (default: next to the task file); return it and its command.

    The file contains no key and answers no question of Étude with yes. Raises InputError for settings that the launcher
    or the command does not allow, and if the file exists; OSError.
    """
    entry = LAUNCHERS[launcher]
    file = file or task.file.with_name(f"{task.file.stem}{entry.suffix}")
    if issues := check_settings(launcher, entry, settings):
        raise InputError(issues)
    refuse_existing(file, "delete it, or choose another path with -o")
    write_text(file, render_job_file(task, launcher, settings))
    return file, f"{entry.start} {shlex.quote(str(file))}"


def render_job_file(task: Task, launcher: str, settings: JobSettings) -> str:
    """Render the file of a launcher."""
    templates = create_environment(Path(__file__).parent, autoescape=False)
    templates.filters.update(shell=lambda value: shlex.quote(str(value)), text=json.dumps)
    slug = re.sub(r"[^a-z0-9]+", "-", task.name.lower()).strip("-")[:MAX_NAME].strip("-") or "task"
    values = asdict(settings) | {
        "name": f"etude-{slug}",
        "folder": str(task.folder.resolve()),
        "task": task.file.name,
        "python": sys.executable,
    }
    return templates.get_template(f"{launcher}.j2").render(values).rstrip("\n") + "\n"


def check_settings(launcher: str, entry: Launcher, settings: JobSettings) -> list[Issue]:
    """List what a launcher needs and does not get, and what a job cannot do."""
    values = asdict(settings)
    issues = [
        Issue(f"--{name}", f"is needed for --to {launcher}", "", f"add {example}")
        for name, example in entry.needs.items()
        if not values[name]
    ]
    if ":" in settings.gpu:
        message = "has a number, but a job uses one GPU"
        issues.append(Issue("--gpu", message, settings.gpu, f"write --gpu {settings.gpu.split(':')[0]}"))
    return issues

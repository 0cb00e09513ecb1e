"""Ray Train and Kubeflow's local backend run what torchrun runs, with the same losses; two processes each."""

import importlib.util
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from test_tuning import tiny_task

from etude.base.files import read_lines
from etude.runs import find_runs

pytestmark = [pytest.mark.real, pytest.mark.filterwarnings("ignore")]  # warnings of the launchers themselves


def write_task(folder: Path) -> Path:
    folder.mkdir(parents=True)
    return tiny_task(folder, train="max_rows: 16, epochs: 2, rows_per_step: 4")


def list_losses(task: Path) -> list[tuple[str, float]]:
    """Losses of all steps and on dev, in their order."""
    (run,) = find_runs(task.parent / "runs")
    lines = read_lines(run.method_folder("fine_tune") / "train.jsonl")
    return [(name, line[name]) for line in lines for name in ("loss", "dev_loss") if name in line]


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[str, float]]:
    """The losses of a plain torchrun run."""
    task = write_task(tmp_path_factory.mktemp("plain") / "task")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    subprocess.run(
        [*command, "-m", "etude.cli", "train", str(task), "--yes"],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        check=True,
        capture_output=True,
        timeout=300,
    )
    losses = list_losses(task)
    assert len(losses) > 4
    return losses


RAY_SCRIPT = """
import sys
import ray
from ray.train import RunConfig, ScalingConfig
from ray.train.torch import TorchTrainer

def train_loop(config):
    import etude
    etude.train(config["task"], confirm=lambda question: True)

ray.init(num_cpus=3, include_dashboard=False)
trainer = TorchTrainer(
    train_loop,
    train_loop_config={"task": sys.argv[1]},
    scaling_config=ScalingConfig(num_workers=2),
    run_config=RunConfig(storage_path=sys.argv[2], name="run"),
)
trainer.fit()
"""


def test_ray_train_has_the_losses_of_torchrun(tmp_path: Path, expected: list[tuple[str, float]]) -> None:
    if not importlib.util.find_spec("ray"):
        pytest.skip("needs Ray: pip install 'etude[ray]'")
    task, script = write_task(tmp_path / "task"), tmp_path / "script.py"
    script.write_text(RAY_SCRIPT)
    settings = {"RAY_USAGE_STATS_ENABLED": "0", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, str(script), str(task), str(tmp_path / "ray")],
        env={**os.environ, **settings},
        check=False,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert list_losses(task) == expected


def run_torchrun(values: dict[str, str]) -> None:
    """The function that Kubeflow runs; its source is copied into a script."""
    import sys

    sys.path.append(values["site"])
    from torch.distributed.run import main

    main(["--standalone", "--nproc-per-node", "2", "-m", "etude.cli", "train", values["task"], "--yes"])


def test_kubeflow_on_this_machine_has_the_losses_of_torchrun(
    tmp_path: Path, expected: list[tuple[str, float]]
) -> None:
    trainer = pytest.importorskip("kubeflow.trainer", reason="needs pip install kubeflow")
    from kubeflow.trainer.backends.localprocess.types import LocalProcessBackendConfig

    task = write_task(tmp_path / "task")
    site = str(Path(importlib.util.find_spec("torch").origin).parents[1])  # type: ignore[union-attr,arg-type]
    source = str(Path(importlib.util.find_spec("etude").origin).parents[1])  # type: ignore[union-attr,arg-type]
    client = trainer.TrainerClient(backend_config=LocalProcessBackendConfig())
    runtime = client.get_runtime("torch-distributed")
    runtime.trainer.framework = "python"  # torchrun would be installed into a new environment
    name = client.train(
        runtime=runtime,
        trainer=trainer.CustomTrainer(
            func=run_torchrun,
            func_args={"task": str(task), "site": site},
            env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join((source, site))},
        ),
    )
    logs = "\n".join(client.get_job_logs(name, follow=True))
    until = time.monotonic() + 300
    while client.get_job(name).status not in ("Complete", "Failed") and time.monotonic() < until:
        time.sleep(0.5)
    assert client.get_job(name).status == "Complete", logs[-3000:]
    assert list_losses(task) == expected

"""Commits of weights in the Hub's cache."""

from dataclasses import replace
from pathlib import Path

import pytest

from etude.models.weights import find_weights
from etude.runs.record import find_hub_commits
from etude.task import load_task
from small_task import write_task


def test_the_commit_of_a_hub_model_is_that_of_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    constants = pytest.importorskip("huggingface_hub.constants")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    repo = tmp_path / "cache" / "models--me--tiny"
    snapshot = repo / "snapshots" / ("c" * 40)
    snapshot.mkdir(parents=True)
    (snapshot / "config.json").write_text("{}", encoding="utf-8")
    (snapshot / "model.safetensors").touch()
    (repo / "refs").mkdir()
    (repo / "refs" / "main").write_text("c" * 40, encoding="utf-8")
    assert find_weights("me/tiny") == snapshot
    task = load_task(
        write_task(tmp_path / "task", model="me/tiny", more="encoder: me/absent\nweights: 4bit\n")
    )
    assert find_hub_commits(task) == {"me/tiny:4bit": "c" * 40}
    pinned = f"me/tiny@{'c' * 40}"
    assert find_hub_commits(replace(task, model="smollm2-135m-instruct", encoder=pinned)) == {
        pinned: "c" * 40
    }

"""Methods over an encoder: the baseline's logistic regression, and fine_tune_encoder."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from small_task import write_task
from test_encoder import tiny_encoder
from test_methods import context

from etude.data.dataset import load_dataset
from etude.errors import InputError
from etude.methods import ladder, possible
from etude.methods.baseline import Baseline
from etude.methods.fine_tune_encoder import FineTuneEncoder
from etude.methods.fit_context import blank
from etude.models.classical import Linear, save_classical
from etude.models.registry import Models
from etude.models.classical import load
from etude.task import load_task
from etude.types import CLASSICAL, ModelRef

TEXTS = ["the bear is here", "who says growl", "the cat is here", "who says meow", "the dog now", "says bark"]
LABELS = ["bear", "bear", "cat", "cat", "dog", "dog"]


@pytest.fixture
def encoder(tmp_path: Path) -> str:
    """The folder of a tiny encoder."""
    folder = tmp_path / "encoder"
    tiny_encoder().save(folder)
    return str(folder)


def test_a_classifier_over_vectors_answers_the_same_when_it_is_read_again(encoder: str, tmp_path: Path) -> None:
    models = Models()
    linear = Linear.fit(TEXTS, LABELS, 0, encoder=models.shared_encoder(encoder))
    folder = save_classical(linear, tmp_path / "saved")
    again = load(ModelRef(CLASSICAL, folder), Models())
    assert again.predictor.predict(TEXTS) == linear.predict(TEXTS)
    assert [label for label, _ in linear.predict(TEXTS)] == LABELS


def test_the_baseline_tries_the_encoder_and_says_what_it_chose(encoder: str, tmp_path: Path) -> None:
    task, data = load_dataset(load_task(write_task(tmp_path, "classify", more=f"encoder: {encoder}\n")))
    train, dev = data.select(range(150), "train"), data.select(range(150, 220), "dev")
    bench = context(task, data, tmp_path / "work")
    Baseline().fit(task, train, dev, blank(task, train, bench.models), bench)
    assert [tried.name for tried in bench.tried][-1] == "embeddings + logistic regression"

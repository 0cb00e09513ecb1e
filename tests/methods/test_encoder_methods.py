"""Methods over an encoder: the baseline's logistic regression, and fine_tune_encoder."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from safetensors.numpy import save_file
from test_encoder import PAIRS, PASSAGES
from test_methods import context

from etude.assistant import Assistant
from etude.assistant import load as load_assistant
from etude.data.dataset import Dataset, load_dataset
from etude.errors import InputError
from etude.index.passages import Passage
from etude.methods import get_methods, resolve_methods
from etude.methods.baseline import Baseline
from etude.methods.fine_tune_encoder import FineTuneEncoder
from etude.methods.prompt import Prompt
from etude.methods.shared.fit_context import Candidate, Effort, FitContext, Race, initial_assistant
from etude.methods.shared.fitted_search import train_encoder
from etude.methods.shared.training_rows import fit_on_share, sample_training_rows
from etude.models.classical import VECTORS, Linear, Nearest, load, save_classical
from etude.models.registry import Models
from etude.stats.racing import FIRST_BLOCK
from etude.task import Task, load_task
from etude.types import CLASSICAL, ModelRef
from small_task import write_task

TEXTS = [
    "the bear is here",
    "who says growl",
    "the cat is here",
    "who says meow",
    "the dog now",
    "says bark",
]
LABELS = ["bear", "bear", "cat", "cat", "dog", "dog"]


def test_a_classifier_over_vectors_answers_the_same_when_it_is_read_again(
    encoder: str, tmp_path: Path
) -> None:
    models = Models()
    linear = Linear.fit(TEXTS, LABELS, 0, encoder=models.load_shared_encoder(encoder))
    folder = save_classical(linear, tmp_path / "saved")
    again = load(ModelRef(CLASSICAL, folder), Models())
    assert again.predictor.predict(TEXTS) == linear.predict(TEXTS)
    assert [label for label, _ in linear.predict(TEXTS)] == LABELS


def test_the_baseline_tries_the_encoder_and_says_what_it_chose(
    encoder: str, tmp_path: Path
) -> None:
    task, data = load_dataset(
        load_task(write_task(tmp_path, "classify", more=f"encoder: {encoder}\n"))
    )
    train = data.select(range(100), "train")
    dev = data.select(range(100, 150), "dev")
    bench = context(task, data, tmp_path / "work")
    Baseline().fit(task, train, dev, initial_assistant(task, train, bench.models), bench)
    assert [tried.name for tried in bench.trials][-1] == "embeddings + logistic regression"


def test_answers_that_repeat_are_also_looked_up_by_meaning(encoder: str, tmp_path: Path) -> None:
    predictor = Nearest(TEXTS, LABELS, Models().load_shared_encoder(encoder))
    assert [label for label, _ in predictor.predict(TEXTS)] == LABELS
    folder = save_classical(predictor, tmp_path / "saved")
    again = load(ModelRef(CLASSICAL, folder), Models())
    assert again.predictor.predict(TEXTS) == predictor.predict(TEXTS)
    # Loading reads the vectors, and does not compute them again.
    save_file({"vectors": predictor.rows[::-1].copy()}, folder / VECTORS)
    reverse = load(ModelRef(CLASSICAL, folder), Models())
    assert [label for label, _ in reverse.predictor.predict(TEXTS)] == LABELS[::-1]
    task, data = load_dataset(
        load_task(write_task(tmp_path, "classify", more=f"encoder: {encoder}\n"))
    )
    task = replace(task, kind="answer", contract=None)  # the labels as answers, which repeat
    bench = context(task, data, tmp_path / "work")
    train = data.select(range(100), "train")
    dev = data.select(range(100, 150), "dev")
    Baseline().fit(task, train, dev, initial_assistant(task, train, bench.models), bench)
    assert [tried.name for tried in bench.trials][-1] == "nearest example by meaning"


def sets(encoder: str, folder: Path) -> tuple[Task, Dataset, Dataset]:
    """A task to learn by heart, with few rows for the tiny encoder."""
    task, data = load_dataset(
        load_task(write_task(folder, "classify", more=f"encoder: {encoder}\n"))
    )
    return task, data.select(range(90), "train"), data.select(range(90, 130), "dev")


def tuned(task: Task, train: Dataset, dev: Dataset, folder: Path) -> tuple[Assistant, FitContext]:
    bench = context(task, train, folder)
    return FineTuneEncoder().fit(
        task, train, dev, initial_assistant(task, train, bench.models), bench
    ), bench


def test_a_tuned_encoder_keeps_the_best_epoch_and_answers_the_same_when_it_is_saved(
    encoder: str, tmp_path: Path
) -> None:
    task, train, dev = sets(encoder, tmp_path)
    assistant, bench = tuned(task, train, dev, tmp_path / "work")
    scores = bench.params["scores"]
    right = sum(row.answer.text == row.example.output for row in bench.chosen_scored)
    assert right / len(dev) == max(scores) == scores[bench.params["best_epoch"]]
    assert len(scores) == 1 + bench.params["epochs"]
    assistant.save(tmp_path / "saved")
    asked = [row.input for row in dev]
    answers = load_assistant(tmp_path / "saved").answer(asked, Models())
    assert [(one.text, one.confidence) for one in answers] == [
        (row.answer.text, row.answer.confidence) for row in bench.chosen_scored
    ]


def test_a_tuning_that_was_killed_goes_on_to_the_same_weights(encoder: str, tmp_path: Path) -> None:
    task, train, dev = sets(encoder, tmp_path)
    whole, _ = tuned(task, train, dev, tmp_path / "whole")
    steps = []

    def dying(line: object) -> None:
        steps.append(line)
        if len(steps) == 7:
            raise KeyboardInterrupt

    bench = replace(context(task, train, tmp_path / "killed"), log=dying)
    with pytest.raises(KeyboardInterrupt):
        FineTuneEncoder().fit(task, train, dev, initial_assistant(task, train, bench.models), bench)
    again, bench = tuned(task, train, dev, tmp_path / "killed")
    assert again.fingerprint == whole.fingerprint
    assert bench.params["epochs"] > 2


def test_a_small_share_has_every_label_and_the_head_learns_from_it_alone(
    encoder: str, tmp_path: Path
) -> None:
    task, train, dev = sets(encoder, tmp_path)
    bench = context(task, train, tmp_path / "work")
    start = initial_assistant(task, train, bench.models)
    share = sample_training_rows(task, train, 12)
    assistant = fit_on_share(FineTuneEncoder(), task, share, dev, start, bench)
    assert bench.num_learned == 12
    read = load(assistant.model, Models()).predictor
    assert set(read.labels) == {row.output for row in share} == {row.output for row in train}


def test_it_is_for_labels_alone(tmp_path: Path) -> None:
    task = load_task(write_task(tmp_path, "answer"))
    named = get_methods(["baseline", "fine_tune_encoder"])
    assert [method.name for method in resolve_methods(named, task, is_explicit=False)] == [
        "baseline"
    ]
    with pytest.raises(InputError, match="needs kind: classify"):
        resolve_methods(named, task, is_explicit=True)


@pytest.mark.real
def test_the_search_learns_from_all_passages_at_last_unless_the_budget_ends_it(
    encoder: str, tmp_path: Path
) -> None:
    task, data = load_dataset(load_task(write_task(tmp_path, more=f"encoder: {encoder}\n")))
    passages = [Passage(text, f"{place}.md") for place, text in enumerate(PASSAGES)]
    pairs = PAIRS * 40

    def learned(folder: str, effort: Effort) -> tuple[str, dict[str, Any]]:
        bench = context(task, data, tmp_path / folder, effort)
        tuned, facts = train_encoder(encoder, passages, pairs, PAIRS, bench)
        return tuned.fingerprint, facts

    _, short = learned("short", Effort(search_seconds=0.0))
    assert len(short["scores"]) == 2, "at least one step is trained and measured"
    assert short["is_cut"]
    assert short["pairs"] < len(pairs)
    assert not (tmp_path / "short" / "encoder_on_all").exists()
    whole, facts = learned("whole", Effort())
    assert facts["pairs"] == len(pairs)
    assert len(facts["on_all"]) == 1 + facts["best_epoch"] > 1
    assert max(facts["on_all"]) > facts["on_all"][0]
    assert learned("whole", Effort())[0] == whole, "a fit that goes on takes what is there"


def test_candidates_answer_no_further_block_when_the_time_is_used_up(tmp_path: Path) -> None:
    task, data = load_dataset(load_task(write_task(tmp_path, "classify")))
    dev = data.select(range(100), "dev")
    bench = context(task, data, tmp_path / "work")
    prompts = Prompt().list_prompts(task, data, initial_assistant(task, data, bench.models))
    bench.race = Race(task.margin)
    bench.has_time_for = lambda seconds: False
    bench.choose([Candidate("the prompt", prompts[0])], dev)
    assert len(bench.chosen_scored) == FIRST_BLOCK
    assert bench.is_cut


def test_a_missing_extra_is_reported_before_anything_is_fitted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = load_task(write_task(tmp_path, "classify"))
    monkeypatch.setattr("etude.methods.shared.encoder_method.find_spec", lambda name: None)
    named = get_methods(["baseline", "fine_tune_encoder"])
    assert [method.name for method in resolve_methods(named, task, is_explicit=False)] == [
        "baseline"
    ]
    with pytest.raises(
        InputError, match=r"fine_tune_encoder: it needs the extra 'train' \(pip install "
    ):
        resolve_methods(named, task, is_explicit=True)

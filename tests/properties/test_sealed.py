"""No method can see the test or a training row outside its share: whatever stands in them, every
assistant is the same byte for byte.
"""

import json
import random
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_encoder import tiny_encoder

from etude.assistant import Assistant
from etude.base.files import read_json
from etude.comparison import compare
from etude.comparison.evidence import EQUAL_ROWS, fit_baseline_on_equal_rows
from etude.comparison.ladder_run import LadderRun
from etude.comparison.looks import Looks
from etude.data.dataset import Dataset, count_reads, load_dataset
from etude.data.splits import Split, input_key, split
from etude.methods import Method, get_methods, resolve_methods
from etude.methods.shared.fit_context import initial_assistant
from etude.methods.shared.training_rows import sample_training_rows
from etude.methods.tag import METHOD as TAG
from etude.metrics import Metric, choose_metric
from etude.models.registry import Models
from etude.runs import Run
from etude.runs.events import Event, NoteEvent
from etude.task import Task, load_task
from etude.task.definition import RowSource
from etude.types import Example, Message
from real_runs import real_run
from small_task import KINDS, library, output, pairs, write_task
from tiny import save_tiny_model

LIMITED = {"max_rows": 30}


def fitted_bytes(parts: Split, task_file: Path, folder: Path) -> dict[str, bytes]:
    """Fits every method of the task and returns every file of every saved assistant."""
    task, _ = load_dataset(load_task(task_file))
    models = Models()
    run = Run(folder)
    metric = choose_metric(task, parts.train)
    methods = resolve_methods(get_methods(task.methods), task, is_explicit=False)
    run.update(format=1, methods=[method.name for method in methods])
    climb = LadderRun(task, parts, run, models, metric, lambda event: None, methods)
    Looks(climb).fit_all(initial_assistant(task, parts.train, models))
    files = sorted(path for path in folder.glob("methods/*/assistant/**/*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def filled(test: Dataset, texts: list[str]) -> Dataset:
    """The test with other texts in all of its rows."""
    examples = tuple(
        replace(
            example,
            input=(Message("user", texts[number % len(texts)]),),
            output=texts[-1 - number % len(texts)],
            tags={"theme": texts[0]},
        )
        for number, example in enumerate(test)
    )
    return replace(test, examples=examples)


TRAINED = (
    "max_tokens: 8\n"
    "train: {max_rows: 48, epochs: 2}\n"
    "methods: [fine_tune, fine_tune_retrieval, prefer]\n"
)


@pytest.mark.parametrize("weights", ["fake", pytest.param("model", marks=pytest.mark.real)])
@pytest.mark.parametrize("kind", ["answer", "classify"])
def test_other_text_in_the_test_changes_no_assistant(
    kind: str, weights: str, tmp_path: Path
) -> None:
    model = "fake"
    more = library(tmp_path / "task")
    if weights == "model":
        model = str(save_tiny_model(tmp_path / "model", max_position_embeddings=1024))
        more += pairs(tmp_path / "task") + TRAINED
    task_file = write_task(tmp_path / "task", kind, model, 130 if weights == "model" else 160, more)
    task, dataset = load_dataset(load_task(task_file))
    parts = split(dataset, task.kind, task.seed)
    other = replace(parts, test=filled(parts.test, ["Anything", "else 🙂", "\n\tat all"]))
    before = fitted_bytes(parts, task_file, tmp_path / "run")
    assert fitted_bytes(other, task_file, tmp_path / "other") == before
    assert weights == "fake" or any(name.endswith(".safetensors") for name in before)
    if weights == "fake":
        methods = resolve_methods(get_methods(task.methods), task, is_explicit=False)
        names = {method.name for method in methods}
        assert (
            {name.split("/")[1] for name in before}
            == names
            > {"fine_tune", "similar_shot", "retrieval"}
        )


def other_row(kind: str, number: int) -> dict[str, object]:
    """A test row unlike all others, its answer far longer than theirs; of its labels one is
    rare.
    """
    theme = ("unheard-of" if number else "rare") + " 🙂" * 12
    return {
        "input": f"Anything else {number}",
        "output": output(kind, theme, 7),
        "tags": {"theme": "none"},
    }


def under_a_fixed_split(
    folder: Path, lines: list[dict[str, object]], sides: Mapping[str, str]
) -> Run:
    """The run of `compare` on other rows, once its split.json says where each of them stands."""

    def stop_once_split(event: Event) -> None:
        if isinstance(event, NoteEvent) and any(folder.glob("runs/*/split.json")):
            raise KeyboardInterrupt

    text = "".join(json.dumps(line) + "\n" for line in lines)
    (folder / "examples.jsonl").write_text(text, encoding="utf-8")
    with pytest.raises(KeyboardInterrupt):
        compare(folder / "task.yaml", on_event=stop_once_split)
    (file,) = folder.glob("runs/*/split.json")
    file.write_text(json.dumps(json.loads(file.read_text()) | {"assignments": sides}))
    return compare(folder / "task.yaml").run


def before_the_test(run: Run) -> dict[str, Any]:
    """All that a comparison settles before it opens the test, and the dev answers it rests on,
    without times.
    """
    files = {
        path.relative_to(run.folder): path for path in run.folder.glob("methods/*/assistant/**/*")
    }
    answers = {
        name: [
            line | {"seconds": 0} for line in run.read_predictions(name) if line["side"] == "dev"
        ]
        for name in run.fitted_methods
    }
    assistants = {str(name): path.read_bytes() for name, path in files.items() if path.is_file()}
    return {**assistants, **answers, "metric": run.info["metric"], "decided": run.info["decided"]}


def row_of(example: Example) -> dict[str, object]:
    return {"input": example.text, "output": example.output, "tags": dict(example.tags)}


@pytest.mark.parametrize("kind", KINDS)
def test_the_test_rows_change_nothing_that_a_comparison_fits(kind: str, tmp_path: Path) -> None:
    run = Run(real_run(kind))
    other = write_task(tmp_path, kind)
    _, dataset = load_dataset(load_task(run.folder.parent.parent))
    sides = json.loads((run.folder / "split.json").read_text())["assignments"]
    lines = []
    others = {}
    for example in dataset:
        side = sides[input_key(example)]
        number = sum(found == "test" for found in others.values())
        lines.append(other_row(kind, number) if side == "test" else row_of(example))
        moved = replace(example, input=(Message("user", str(lines[-1]["input"])),))
        others[input_key(moved)] = side
    changed = under_a_fixed_split(other.parent, lines, others)
    assert before_the_test(changed) == before_the_test(run)
    assert changed.info["fingerprints"]["test"] != run.info["fingerprints"]["test"]


# Training rows outside a method's share


@given(st.lists(st.integers(0, 29), max_size=5), st.slices(30), st.booleans(), st.booleans())
@settings(max_examples=50)
def test_rows_count_as_read_by_iteration_index_and_slice(
    indices: list[int], span: slice, is_iterated: bool, is_added: bool
) -> None:
    rows = Dataset(tuple(Example(str(n), (Message("user", "?"),), "!") for n in range(30)))
    copy, read = count_reads(rows)
    assert (len(copy), read) == (30, set()), "a length is no row"
    chosen = [copy[index] for index in indices] + list(copy.examples[span])
    expected = {*indices, *range(30)[span]}
    assert [int(row.id) for row in chosen] == [*indices, *range(30)[span]]
    assert read == expected
    if is_added:
        assert copy.examples + rows.examples == 2 * rows.examples
    if is_iterated:
        assert (*copy,) == rows.examples
        assert copy.fingerprint == rows.fingerprint
    assert read == (set(range(30)) if is_iterated or is_added else expected)


NUM_SHARE = 64
CLASSIFY = Task("labels", "classify", "fake", RowSource(Path("rows.jsonl")), Path(), Path())


class ShareRun(LadderRun):
    """A ladder run whose methods, all of them, get the rows with these ids."""

    share_ids: list[str]

    def get_share(self, method: Method) -> Dataset:
        return self.split.train.select(self.share_ids, "the share")


def fit_on_ids(
    parts: Split,
    task_file: Path,
    folder: Path,
    fixed: tuple[Assistant, Metric],
    ids: list[str],
    *more: Method,
) -> tuple[Run, dict[str, bytes]]:
    """Fits every method on the rows with `ids`, after the assistant and the metric that a run has
    fixed; the run, and every file of every assistant.
    """
    task, _ = load_dataset(load_task(task_file))
    run = Run(folder)
    (start, metric) = fixed
    methods = [*resolve_methods(get_methods(task.methods), task, is_explicit=False), *more]
    run.update(format=1, methods=[method.name for method in methods])
    ladder_run = ShareRun(task, parts, run, Models(), metric, lambda event: None, methods)
    ladder_run.share_ids = ids
    Looks(ladder_run).fit_all(start)
    folders = [*folder.glob("methods/*/assistant"), folder / "methods" / "baseline" / "work"]
    files = sorted(path for root in folders for path in root.rglob("*") if path.is_file())
    files = [path for path in files if "answers" not in path.parts]  # they hold times
    return run, {str(path.relative_to(folder)): path.read_bytes() for path in files}


@pytest.mark.parametrize("kind", ["answer", "classify", "extract"])
@pytest.mark.parametrize(
    "weights",
    [
        "fake",
        pytest.param("encoder", marks=pytest.mark.real),
        pytest.param("model", marks=pytest.mark.real),
    ],
)
def test_random_text_outside_the_share_changes_no_assistant(
    kind: str, weights: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("etude.methods.shared.fitted_search.MIN_PAIRS", 10)
    monkeypatch.setattr("etude.methods.shared.fitted_search.MIN_PASSAGES", 3)
    model = "fake"
    more = library(tmp_path / "task") + pairs(tmp_path / "task")
    if weights == "model":
        model = str(save_tiny_model(tmp_path / "model", max_position_embeddings=1024))
        more += (
            "max_tokens: 8\n"
            "train: {epochs: 1}\n"
            "methods: [baseline, fine_tune, fine_tune_retrieval, prefer]\n"
        )
    if weights == "encoder":
        tiny_encoder().save(tmp_path / "encoder")
        more = more.replace("encoder: none", f"encoder: {tmp_path / 'encoder'}")
    task_file = write_task(tmp_path / "task", kind, model, 150, more)
    task, dataset = load_dataset(load_task(task_file))
    parts = split(dataset, task.kind, task.seed)
    fixed = initial_assistant(task, parts.train, Models()), choose_metric(task, parts.train)
    ids = [row.id for row in sample_training_rows(task, parts.train, NUM_SHARE)]
    draw = random.Random(kind)
    words = [repr(draw.random()) for _ in range(9)]
    noise = filled(parts.train, words)
    rows = tuple(
        row if row.id in ids else other for row, other in zip(parts.train, noise, strict=True)
    )
    noisy = replace(parts, train=replace(parts.train, examples=rows))
    more_methods = [TAG] if weights == "encoder" and kind == "extract" else []
    run, before = fit_on_ids(parts, task_file, tmp_path / "run", fixed, ids, *more_methods)
    _, after = fit_on_ids(noisy, task_file, tmp_path / "other", fixed, ids, *more_methods)
    assert before == after
    if weights == "encoder" and kind == "classify":
        assert {"fine_tune_encoder", "similar_shot", "retrieval"} <= {*run.fitted_methods}
    learned = {
        name: read_json(run.method_folder(name) / "method.json")["learned"]
        for name in run.fitted_methods
    }
    assert learned["baseline"] == NUM_SHARE + len(parts.dev)
    others = {num for name, num in learned.items() if name != "baseline"}
    assert NUM_SHARE in others <= {None, NUM_SHARE}


def test_the_baseline_on_as_few_rows_is_fitted_on_them_alone(tmp_path: Path) -> None:
    task_file = write_task(tmp_path / "task", "classify", num=150)
    task, dataset = load_dataset(load_task(task_file))
    parts = split(dataset, task.kind, task.seed)
    start = initial_assistant(task, parts.train, Models())
    ids = set()
    files = []
    for name in ("run", "other"):
        run = Run(tmp_path / name)
        methods = get_methods(["baseline", "fine_tune"])
        run.update(format=1, methods=["baseline", "fine_tune"])
        metric = choose_metric(task, parts.train)
        limited = replace(task, train=LIMITED)
        ladder_run = LadderRun(limited, parts, run, Models(), metric, lambda event: None, methods)
        Looks(ladder_run).fit_all(start)
        run.update(decided={"untuned": "baseline", "tuned": "fine_tune"})
        fitted = fit_baseline_on_equal_rows(ladder_run, start)
        assert fitted[1] == 30
        folder = run.method_folder("baseline") / EQUAL_ROWS
        paths = sorted(
            path for path in folder.rglob("*") if path.is_file() and "answers" not in path.parts
        )
        files.append({path.relative_to(folder): path.read_bytes() for path in paths})
        ids = {row.id for row in ladder_run.get_share(methods[-1])}
        rows = (
            row if row.id in ids else replace(row, input=(Message("user", f"noise {row.id}"),))
            for row in parts.train
        )
        parts = replace(parts, train=replace(parts.train, examples=tuple(rows)))
    assert len(ids) == 30
    assert files[0] == files[1] != {}


@given(
    st.lists(st.sampled_from("abcde"), min_size=1, max_size=60),
    st.integers(1, 60),
    st.integers(1, 60),
)
@settings(max_examples=50)
def test_a_sample_has_every_label_and_a_smaller_one_is_part_of_it(
    labels: list[str], size: int, other: int
) -> None:
    task = replace(CLASSIFY, seed=size)
    rows = Dataset(
        tuple(Example(str(n), (Message("user", "?"),), label) for n, label in enumerate(labels))
    )
    small, large = (
        sample_training_rows(task, rows, min(num, len(labels))) for num in sorted((size, other))
    )
    assert {row.id for row in small} <= {row.id for row in large}
    assert [int(row.id) for row in large] == sorted(int(row.id) for row in large)
    for sample in (small, large):
        assert len({row.output for row in sample}) == min(len(sample), len(set(labels)))

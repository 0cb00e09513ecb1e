"""`etude train`: what it tells, what it keeps, and that a kill or a comparison gives the same
weights.
"""

import hashlib
import io
import json
import os
import re
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.color import ColorSystem
from rich.console import Console
from rich.style import Style

from contrast import contrast
from etude.assistant import load
from etude.base.files import read_lines, write_lines
from etude.base.formatting import format_loss_change
from etude.cli import main
from etude.cli.training import bracket_trained, print_rows, print_settings, style_piece
from etude.comparison import compare
from etude.data.dataset import load_dataset
from etude.errors import Declined, InputError, ModelError
from etude.methods.shared.training_run import _describe_result, _list_notes
from etude.runs import Run, find_runs
from etude.runs.events import EpochEnded, Event, NoteEvent, StepTrained, TrainingPrepared
from etude.runs.split import compute_split
from etude.task import load_task
from etude.task.settings import SETTINGS
from etude.training import TrainConfig, TrainResult
from etude.training.early_stopping import (
    MIN_STEPS,
    SPIKE_FACTOR,
    SPIKE_NATS,
    UNTRAINED_SHARE,
    has_risen_at_once,
    is_overfitting,
    spike_limit,
)
from etude.tuning import Preview, preview, train
from etude.tuning.preview import PreviewRow, PreviewSpan
from etude.tuning.train import choose_min_sizes, open_training_task
from processes import start_command
from small_task import SETTINGS as SMALL
from small_task import rows, write_task
from tiny import save_tiny_model

WEIGHTS = "adapter/adapter_model.safetensors"


def tiny_task(folder: Path, kind: str = "classify", train: str = "max_rows: 32, epochs: 2") -> Path:
    model = save_tiny_model(folder / "model", max_position_embeddings=1024)
    more = f"methods: [fine_tune]\nmax_tokens: 8\ntrain: {{{train}}}\n"
    return write_task(folder / "task", kind, str(model), 150, more)


def weights(run: Run) -> str:
    return hashlib.sha256((run.assistant_folder("fine_tune") / WEIGHTS).read_bytes()).hexdigest()


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Run, list[Event]]:
    """A task, its finished training and all that was told."""
    told: list[Event] = []
    task = tiny_task(tmp_path_factory.mktemp("trained"))
    return task, train(task, on_event=told.append).run, told


@pytest.mark.real
def test_a_training_and_a_comparison_give_the_same_weights(
    trained: tuple[Path, Run, list[Event]],
) -> None:
    task, run, _ = trained
    other = compare(task).run
    assert other.name != run.name
    assert weights(other) == weights(run)


def test_the_result_takes_its_room_on_the_disk_once(trained: tuple[Path, Run, list[Event]]) -> None:
    _, run, _ = trained
    kept, work = (
        run.method_folder("fine_tune") / folder / WEIGHTS for folder in ("assistant", "work")
    )
    assert kept.samefile(work)


def test_what_is_learned_is_told_before_the_first_step(
    trained: tuple[Path, Run, list[Event]],
) -> None:
    _, run, told = trained
    kinds = [type(event) for event in told]
    assert kinds.index(TrainingPrepared) < kinds.index(EpochEnded) < kinds.index(StepTrained)
    (prepared,) = [event for event in told if isinstance(event, TrainingPrepared)]
    text = " ".join(prepared.supervision)
    for part in ("only read", "end of turn", "Left out", "Longest rows", "<|im_start|>"):
        assert part in text
    assert all(why for _, _, why in prepared.settings)
    listed = [name for name, _, _ in prepared.settings] + list(prepared.defaults)
    assert sorted(listed) == sorted([*SETTINGS, "max_rows"]), "each once"
    assert ("max_rows", 32, "set by the user") in prepared.settings
    assert "methods/fine_tune/work/rows.jsonl" in text
    assert "rows' own system" not in text
    rows = list(read_lines(run.method_folder("fine_tune") / "work" / "rows.jsonl"))
    assert len(rows) == run.info["split"]["train"]
    assert sum("left_out" not in row for row in rows) == 32
    assert f"{sum(row.get('learned', 0) for row in rows):,} tokens are learned" in text


def test_no_test_row_is_answered_or_opened(trained: tuple[Path, Run, list[Event]]) -> None:
    task, run, _ = trained
    test = set(json.loads((run.folder / "split.json").read_text())["test"])
    assert test
    _, dataset = load_dataset(load_task(task))
    hidden = [row.text for row in dataset if row.id in test]
    written = [
        path for path in run.folder.rglob("*") if path.suffix in (".json", ".jsonl", ".html", ".md")
    ]
    assert not [
        path for path in written for text in hidden if text in path.read_text(encoding="utf-8")
    ]


def test_the_run_is_listed_shown_and_reported(
    trained: tuple[Path, Run, list[Event]], capsys: pytest.CaptureFixture[str]
) -> None:
    task, run, _ = trained
    assert main(["train", str(task)]) == 0  # finished: nothing is trained again
    assert main(["runs", "list", str(task)]) == 0
    assert main(["runs", "show", str(task), "--run", run.name]) == 0
    shown = capsys.readouterr().out
    assert "loss on dev" in shown
    assert f"etude chat {task}" in shown
    page = (run.folder / "report.html").read_text(encoding="utf-8")
    assert "The loss on" in page
    told = "defaults: {dropout: 0, targets: all"
    assert told in " ".join(page.split())
    assert "<mark>" in page
    assert "should you fine-tune" not in page
    for name in re.findall(r"<code>(methods/[^<]+)</code>|<code>(\w+\.jsonl)</code>", page):
        assert (run.folder / "".join(name)).exists(), "what the page names is there"
    assert re.search(r"max_rows</th><td[^>]*>32<", page)


def test_too_little_memory_is_asked_about_and_answered_with_what_lowers_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("etude.training.memory.usage.available_memory", lambda device: 1000)
    monkeypatch.setattr(
        "etude.training.memory.measurement.measure_training_memory", lambda *parts: 2000
    )
    with pytest.raises(Declined, match=r"Set train: \{micro_tokens: 1024, rank: 8\}"):
        train(tiny_task(tmp_path), confirm=lambda asked: "of memory" not in asked)
    assert not find_runs(tmp_path / "runs")


def test_rows_are_shown_whole_and_nothing_is_written(tmp_path: Path) -> None:
    task = tiny_task(tmp_path)
    found = preview(task, 3)
    assert len(found.rows) == 3
    assert "shortest" in found.rows[0].reason
    assert "longest" in found.rows[-1].reason
    for row in found.rows:
        learned = "".join(piece.text for piece in row.spans if piece.learned)
        assert learned.endswith("<|im_end|>")
        assert any(piece.special and not piece.learned for piece in row.spans)
        assert f"[[{learned}]]" in bracket_trained(row.spans)
    assert not (task.parent / "runs").exists()


SPANS = [
    PreviewSpan("asked", False, False),
    PreviewSpan("wanted", True, False),
    PreviewSpan("<e>", True, True),
]
PREVIEW = Preview((), (), {}, [PreviewRow("rows.jsonl:1", "shortest, 3 tokens", SPANS)])


def test_layers_that_the_model_lacks_are_refused_before_anything_is_reported(
    tmp_path: Path,
) -> None:
    task = tiny_task(tmp_path, train="targets: [q_prj]")
    told = list[Event]()
    with pytest.raises(ModelError, match=r"No linear layer is named q_prj.*q_proj"):
        preview(task, 1)
    with pytest.raises(ModelError, match="q_prj"):
        train(task, on_event=told.append)
    assert not [event for event in told if isinstance(event, TrainingPrepared)]


def test_a_row_over_the_limit_is_named_with_the_limit_that_takes_it(tmp_path: Path) -> None:
    limit = 60
    with pytest.raises(InputError) as caught:
        preview(tiny_task(tmp_path / "low", train=f"max_tokens: {limit}"), 1)
    said = [
        re.search(r"set train: {max_tokens: (\d+)}", fault.remedy) for fault in caught.value.issues
    ]
    wanted = [int(found[1]) for found in said if found]
    assert len(wanted) == len(caught.value.issues) > 1
    assert "methods" not in caught.value.issues[0].remedy
    assert len(set(wanted)) == 1
    assert wanted[0] > limit
    found = preview(tiny_task(tmp_path / "raised", train=f"max_tokens: {wanted[0]}, seed: 3"), 1)
    assert len(found.rows) == 1
    assert ("seed", 3, "set by the user") in found.settings


@pytest.mark.parametrize(
    ("surroundings", "coloured"),
    [({}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False)],
)
def test_without_colour_brackets_stand_around_what_is_learned(
    surroundings: dict[str, str], coloured: bool
) -> None:
    console = Console(
        file=io.StringIO(), force_terminal=True, _environ={"TERM": "xterm-256color"} | surroundings
    )
    print_rows(console, PREVIEW)
    shown = console.file.getvalue()
    assert ("asked[[wanted<e>]]" in shown) != coloured
    assert bool(re.search(r"\x1b\[[0-9;]*[34]8;", shown)) == coloured


@pytest.mark.parametrize("system", ["STANDARD", "EIGHT_BIT"])
def test_coloured_text_is_read_on_every_terminal(system: str) -> None:
    for piece in PREVIEW.rows[0].spans:
        style = Style.parse(style_piece(piece)[1])
        assert not style.dim
        assert (style.color is None) == (style.bgcolor is None)
        if style.color and style.bgcolor:
            colours = (style.color, style.bgcolor)
            inks = [colour.downgrade(ColorSystem[system]).get_truecolor().hex for colour in colours]
            assert contrast(*inks) >= 4.5


def test_the_rule_of_spikes_is_as_stated() -> None:
    calm = [0.5] * MIN_STEPS
    for few in ([], calm[1:]):
        assert spike_limit(few, 2.0) == SPIKE_FACTOR * 2.0, (
            "the untrained model's loss stands for the median"
        )
        assert spike_limit(few, 0.1) == 0.1 + SPIKE_NATS
    assert spike_limit(calm, 2.0) == 0.5 + SPIKE_NATS
    assert spike_limit(calm, 8.0) == UNTRAINED_SHARE * 8.0
    assert spike_limit([2.0] * MIN_STEPS, 0.1) == SPIKE_FACTOR * 2.0
    assert is_overfitting([1.0, 0.5], [2.0, 1.0, 1.5])
    assert not is_overfitting([1.0, 0.5], [2.0, 1.5, 1.0])
    assert not is_overfitting([1.0, 1.5], [2.0, 1.0, 1.5])
    assert not is_overfitting([1.0, 0.5, 0.7], [2.0, 1.0, 1.1, 1.5]), (
        "lower than in every epoch before"
    )
    assert not is_overfitting([1.0, 0.5], [8.8, 0.0006737, 0.0006779]), (
        "no more than such losses waver"
    )
    assert not is_overfitting([2.5, 2.0], [8.8, 3.0, 3.02])


@given(st.lists(st.floats(0, 9), min_size=1, max_size=5), st.data())
def test_a_run_whose_steps_are_too_large_learns_nothing_by_heart(
    rises: list[float], data: st.DataObject
) -> None:
    """Whatever the order of its losses on the training rows, which stay above those of the
    untrained model.
    """
    dev = [2.0, *(2.0 + rise for rise in rises)]
    train = data.draw(st.lists(st.floats(2, 9), min_size=len(rises), max_size=len(rises)))
    assert not is_overfitting(train, dev)
    assert has_risen_at_once(dev) == (dev[1] > 2.02)


def result(scores: Sequence[float], dev_losses: Sequence[float], best: int) -> TrainResult:
    losses = {"dev_losses": [*dev_losses], "train_losses": [5.0] * (len(scores) - 1)}
    return TrainResult(steps=1, best_epoch=best, scores=[*scores], **losses)


def test_the_result_of_a_training_is_described() -> None:
    config = TrainConfig(epochs=1, learning_rate=0.02)
    run: Any = SimpleNamespace(config=config, steps=1, num_done=0, num_rows=1)
    tied = result([0.0, 0.0, 0.0], [3.0, 2.0, 1.0], best=2)
    assert _describe_result(tied, 30).startswith(
        "The metric on 30 dev rows stayed the same. The loss fell from 3.000 to 1"
    )
    unmoved = result([0.0, 0.0], [3.0, 3.5], best=0)
    assert "improved neither the metric nor the loss on 30" in _describe_result(unmoved, 30)
    worse = result([-2.0, -4.0], [2.0, 4.0], best=0)
    said = "made it worse (the loss rose from 2.000 to 4.000 at best) on 30 dev rows, so the"
    assert said in _describe_result(worse, 30)
    idle = result([-2.0, -2.001], [2.0, 2.001], best=0)
    assert "brought no improvement" in _describe_result(idle, 30)
    for found, words in ((unmoved, "improved neither the metric"), (worse, "made it worse")):
        first, second = _list_notes(found, run)
        assert words in first
        assert "lower the learning rate (train: {learning_rate: 0.01})" in second
    assert not list(_list_notes(result([-2.0, -1.0], [2.0, 1.0], best=1), run))


@given(st.floats(0, 20), st.floats(0, 20))
def test_two_losses_that_differ_are_shown_by_digits_that_differ(
    before: float, after: float
) -> None:
    _, first, _, second = format_loss_change(before, after).split()
    if abs(before - after) > 1e-9:
        assert (float(first) < float(second)) == (before < after)
        assert first != second


def test_settings_show_values_that_look_like_markup() -> None:
    screen = io.StringIO()
    console = Console(width=120, file=screen)
    print_settings(console, [], [("targets", ("q_proj", "v_proj"), "set [by] the user")], {})
    assert re.search(r"targets +\[q_proj, v_proj\] +set \[by\] the user", screen.getvalue())


def killed(task: Path, steps: Sequence[int]) -> int:
    """Kills the training as it reaches each of the steps; how many kills struck."""
    struck = 0
    for step in steps:
        process = start_command("train", task)
        while process.poll() is None:
            (log,) = [*task.parent.glob("runs/*/methods/fine_tune/train.jsonl")] or [None]
            if log and log.read_bytes().count(b'"step"') >= step:
                os.kill(process.pid, signal.SIGKILL)
                struck += 1
                break
        process.communicate()
    return struck


@pytest.mark.real
def test_stops_at_any_step_change_nothing(
    trained: tuple[Path, Run, list[Event]], tmp_path: Path
) -> None:
    task = tiny_task(tmp_path)
    for step in (1, 6, 14):

        def stop(event: Event, step: int = step) -> None:
            if isinstance(event, StepTrained) and event.step == step:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            train(task, on_event=stop)
        (run,) = find_runs(task.parent / "runs")
        assert run.info["status"] == "interrupted"
        assert "is not finished" in (run.folder / "report.html").read_text(encoding="utf-8")
    assert weights(train(task).run) == weights(trained[1])


@pytest.mark.real
def test_kills_of_a_training_of_the_real_model_change_nothing(tmp_path: Path) -> None:
    more = "methods: [fine_tune]\nmax_tokens: 8\ntrain: {max_rows: 24, epochs: 2}\n"
    tasks = [
        write_task(tmp_path / n, "classify", "smollm2-135m-instruct", 130, more)
        for n in ("one", "two")
    ]
    assert killed(tasks[1], (1, 5, 9)) == 3
    assert weights(train(tasks[1]).run) == weights(train(tasks[0]).run)


def test_the_model_without_weights_is_refused_with_the_key_to_set(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", str(write_task(tmp_path)), "--show", "1"]) == 2
    told = capsys.readouterr().err
    remedy = "In the task file, set model: to a model that can (local: packaged"
    assert f"fake cannot be trained by Étude. {remedy}" in told
    assert "; compare, and train without --show, also work with fake." in told


def add_row(task: Path, **row: object) -> None:
    with (task.parent / "examples.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps(row) + "\n")


@pytest.mark.parametrize("words", [150, 2000])
def test_a_row_too_long_to_learn_is_the_only_one_that_is_named(tmp_path: Path, words: int) -> None:
    model = save_tiny_model(tmp_path / "model", max_position_embeddings=512)
    more = "test: test.jsonl\ntrain: {max_tokens: 300}\n"
    task = write_task(tmp_path / "task", "rewrite", str(model), 100, more)
    write_lines(task.parent / "test.jsonl", rows("rewrite", 50, seed=8))
    task.write_text(
        task.read_text(encoding="utf-8").replace(SMALL["rewrite"], ""), encoding="utf-8"
    )
    add_row(task, input="What stands in chapter 9?", output="where is it " * words)
    with pytest.raises(InputError) as caught:
        preview(task, 1)
    [fault] = caught.value.issues
    assert fault.location == "examples.jsonl:101"
    assert "longer than the 300 tokens" in fault.message


def test_room_for_an_answer_that_leaves_none_for_a_prompt_is_one_fault(tmp_path: Path) -> None:
    model = save_tiny_model(tmp_path / "model", max_position_embeddings=256)
    with pytest.raises(InputError) as caught:
        preview(write_task(tmp_path / "task", "answer", str(model), 130, "max_tokens: 256\n"), 1)
    [fault] = caught.value.issues
    assert fault.location == "max_tokens"
    assert "at most 256 tokens" in fault.message


def test_marks_of_a_chat_template_in_answers_are_asked_about(tmp_path: Path) -> None:
    task = write_task(tmp_path, "rewrite")
    add_row(task, input="How are you on a day like this?", output="Fine.<|im_end|> Thank you.")
    with pytest.raises(
        Declined, match=r"chat-template tokens.*examples\.jsonl:151.*Remove the tokens"
    ) as caught:
        train(task)
    assert "Mask" not in str(caught.value)
    asked: list[str] = []
    assert train(task, confirm=lambda question: asked.append(question) is None).run.is_complete
    assert "<|im_end|>" in asked[0]


def test_chat_after_a_training_that_was_stopped_names_the_command_that_goes_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    task = write_task(tmp_path / "my task")
    run = train(task).run
    (run.method_folder("fine_tune") / "method.json").unlink()
    assert main(["chat", str(task)]) == 2
    assert "etude train" in (said := " ".join(capsys.readouterr().err.split()))
    assert "etude compare" not in said


def test_an_assistant_is_loaded_from_a_path_in_a_text(
    trained: tuple[Path, Run, list[Event]],
) -> None:
    folder = trained[1].assistant_folder("fine_tune")
    assert load(str(folder)) == load(folder)


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")  # PEFT reads it
def test_the_snippet_of_the_docs_loads_the_adapter_with_the_base_that_the_report_names(
    trained: tuple[Path, Run, list[Event]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    task, run, _ = trained
    page = Path(__file__).parents[2] / "docs" / "training.md"
    [block] = re.findall(r"^```python\n(.*?)^```$", page.read_text(encoding="utf-8"), re.M | re.S)
    monkeypatch.setattr(sys, "argv", ["snippet", str(run.method_folder("fine_tune"))])
    exec(compile(block, page.name, "exec"), {})
    assert capsys.readouterr().out.strip()
    report = (run.folder / "report.html").read_text(encoding="utf-8")
    assert f"<dt>base</dt><dd>{load_task(task).model}</dd>" in report


OWN_TEST = "test: test.jsonl\n"


def test_rows_too_few_for_a_comparison_are_trained_without_a_test_and_bind_no_later_split(
    tmp_path: Path,
) -> None:
    told: list[Event] = []
    run = train(write_task(tmp_path / "one", num=60), on_event=told.append).run
    assert run.info["split"] == {"train": 50, "dev": 10, "test": 0, "notes": []}
    assert any(
        isinstance(event, NoteEvent) and "no test (needs 150 rows)" in event.text for event in told
    )
    said = [event.text for event in told if isinstance(event, NoteEvent)]
    [note] = [text for text in said if "are few" in text]
    assert "50 rows to train on and 10 to choose the epoch" in note
    assert not [text for text in (*said, *run.info["notes"]) if "verdict" in text]
    assert train(tmp_path / "one").run.name == run.name
    sides = []
    for folder in (
        "one",
        "other",
    ):  # the same rows and more, with and without the small run beside them
        task = write_task(tmp_path / folder, num=150, more="methods: [prompt]\n")
        trained_on = json.loads((train(task).run.folder / "split.json").read_text(encoding="utf-8"))
        compared = json.loads((compare(task).run.folder / "split.json").read_text(encoding="utf-8"))
        assert trained_on["test"] == compared["test"]
        assert not {*trained_on["train"], *trained_on["dev"]} & set(compared["test"])
        sides.append(compared["assignments"])
    assert sides[0] == sides[1]


@pytest.mark.parametrize(
    ("num", "more", "train"),
    [
        (99, "", 89),
        (100, "", 90),
        (149, "", 134),
        (150, "", 70),
        (99, OWN_TEST, 89),
        (100, OWN_TEST, 70),
    ],
)
def test_a_test_is_sealed_only_where_a_comparison_could_come_to_a_verdict(
    num: int, more: str, train: int, tmp_path: Path
) -> None:
    asked = rows("answer", 1)[0] | {"input": "Quite another thing is asked for here, is it not?"}
    write_lines(tmp_path / "test.jsonl", [asked])
    opening = open_training_task(write_task(tmp_path, num=num, more=more))
    parts = compute_split(
        opening.run, opening.task, opening.dataset, opening.test, choose_min_sizes(opening)
    )
    assert len(parts.train) == train


def test_earlier_test_rows_stay_apart_where_the_rows_have_become_few(tmp_path: Path) -> None:
    task = write_task(tmp_path, num=150)
    test = set(
        json.loads((train(task).run.folder / "split.json").read_text(encoding="utf-8"))["test"]
    )
    asked = {row.text for row in load_dataset(load_task(task))[1] if row.id in test}
    kept = rows("answer", 150)
    tested = [row for row in kept if row["input"] in asked]
    write_lines(tmp_path / "examples.jsonl", [row for row in kept if row not in tested[5:]])
    now = json.loads((train(task).run.folder / "split.json").read_text(encoding="utf-8"))
    learned = {*now["train"], *now["dev"]}
    assert not [
        row for row in load_dataset(load_task(task))[1] if row.id in learned and row.text in asked
    ]


@pytest.mark.parametrize("num", [1, 5, 25])
def test_any_number_of_rows_can_be_shown(tmp_path: Path, num: int) -> None:
    task = write_task(tmp_path / "task", "classify", str(save_tiny_model(tmp_path / "model")), num)
    assert 1 <= len(preview(task, num).rows) <= num


def test_rows_too_few_to_train_on_are_told_with_the_limit_of_training(tmp_path: Path) -> None:
    with pytest.raises(
        InputError,
        match=r"the minimum is 30: 10 for choices \(dev\), 20 to train on.*at least 5 more",
    ):
        train(write_task(tmp_path, num=25))

"""Training in a time box ends in time on every machine, resumes to the same weights, and says what
it left out.
"""

import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_train import tiny_model, token_rows

from etude.methods.shared.training_run import CUT, TrainingRun
from etude.training import Output, TokenRow, TrainConfig, TrainResult, make_batches, train
from etude.training.config import EarlierTraining
from etude.training.rows.batches import REPLAYED
from etude.training.threads import TRIAL_STEPS, ThreadChoice
from etude.training.time_box import NUM_MEASUREMENTS, BoxPlanner, TimeBox

NUM_ROWS = 60
DEV_SECONDS = 1.0
CONFIG = TrainConfig(
    rank=4, alpha=8.0, learning_rate=1e-2, epochs=3, rows_per_step=4, micro_tokens=80
)
EPOCH_STEPS = NUM_ROWS // CONFIG.rows_per_step
MACHINES: dict[str, Callable[[int], float]] = {
    "constant": lambda step: 1.0,
    "slowing": lambda step: 0.5 + 0.1 * step,
    "stalling": lambda step: 20.0 if step in (4, 13) else 0.7,
    "quick": lambda step: 0.01,
    "hopeless": lambda step: 500.0,
}


class StopError(Exception):
    """Stands for a kill at a step."""


@dataclass
class Machine:
    """A machine on which steps and dev losses take as long as `seconds` says, and its clock."""

    seconds: Callable[[int], float]
    now: float = 0.0
    last_cost: float = 0.0
    lines: list[Mapping[str, Any]] = field(default_factory=list)
    stop: int = 0

    def log(self, line: Mapping[str, Any]) -> None:
        """Pass the time of a step or a dev loss."""
        self.lines.append(line)
        if "step" in line:
            self.last_cost = self.seconds(line["step"])
            self.now += self.last_cost
            if line["step"] == self.stop:
                raise StopError
        if "dev_loss" in line:
            self.now += DEV_SECONDS


def train_boxed(folder: Path, machine: Machine, seconds: float | None) -> TrainResult:
    box = None if seconds is None else TimeBox(seconds, lambda: machine.now)
    output = Output(folder / "c", folder / "a", machine.log, box=box, every_step=True)
    return train(tiny_model(), token_rows(NUM_ROWS), token_rows(6, seed=1), CONFIG, output)


def test_a_longer_box_goes_on_from_a_shorter_one(tmp_path: Path) -> None:
    machine = Machine(MACHINES["constant"])
    first = train_boxed(tmp_path / "first", machine, 8.0)
    earlier = EarlierTraining(tmp_path / "first" / "a", first.steps, first.seconds)
    box = TimeBox(machine.now + 12.0, lambda: machine.now)
    output = Output(tmp_path / "c", tmp_path / "a", machine.log, box=box, earlier=earlier)
    longer = train(tiny_model(), token_rows(NUM_ROWS), token_rows(6, seed=1), CONFIG, output)
    assert longer.dev_losses[0] == pytest.approx(first.dev_losses[first.best_epoch], rel=1e-4)
    assert min(longer.dev_losses) < longer.dev_losses[0]
    num_steps = first.steps + longer.steps
    assert longer.num_trained == min(NUM_ROWS, CONFIG.rows_per_step * num_steps), (
        "no row is repeated before all are seen"
    )


def read_weights(folder: Path) -> bytes:
    return (folder / "a" / "adapter_model.safetensors").read_bytes()


@pytest.mark.parametrize("name", MACHINES)
def test_a_box_ends_within_one_step_and_one_dev_loss(name: str, tmp_path: Path) -> None:
    machine = Machine(MACHINES[name])
    seconds = 30.0
    result = train_boxed(tmp_path, machine, seconds)
    assert machine.now <= seconds + machine.last_cost + DEV_SECONDS
    steps = [line for line in machine.lines if "step" in line]
    assert result.steps == len(steps) == result.measured_steps[-1]
    assert len(result.dev_losses) <= NUM_MEASUREMENTS + 2
    rates = [line["learning_rate"] for line in steps]
    assert all(rate > 0 for rate in rates)
    if name == "quick":
        assert result.steps == 3 * EPOCH_STEPS, "all epochs, and no step more"
        assert machine.now < seconds
    if name == "constant":
        assert machine.now >= seconds - 1.0 - DEV_SECONDS, "the box is used"
        assert 24 <= result.steps <= 28
        assert rates[-1] < 0.25 * max(rates), "the learning rate falls with the share that is used"
        assert [round(done / result.steps, 1) for done in result.measured_steps] == [
            0.0,
            0.3,
            0.7,
            1.0,
        ]
    if name == "hopeless":
        assert result.steps == 1
    plans = [line for line in machine.lines if "planned_steps" in line]
    assert [line["planned_steps"] for line in plans] == [plan[1] for plan in result.plans[1:]]


def test_dear_dev_losses_are_measured_less_often() -> None:
    for dev_seconds, expected in ((0.1, 3), (1.0, 3), (1.5, 2), (3.0, 1), (20.0, 1)):
        progress = TrainResult(epoch=0)
        progress.dev_seconds = dev_seconds
        assert (
            BoxPlanner(TimeBox(30.0), progress, 45, lambda line: None).num_measurements == expected
        )


@given(
    st.lists(st.floats(0.01, 40), min_size=45, max_size=45), st.floats(0.01, 10), st.floats(0, 300)
)
@settings(max_examples=100)
def test_no_machine_breaks_the_bound(
    costs: list[float], dev_seconds: float, seconds: float
) -> None:
    """The planner alone, without weights."""
    progress = TrainResult(epoch=0)
    now = [0.0]
    planner = BoxPlanner(TimeBox(seconds, lambda: now[0]), progress, len(costs), lambda line: None)
    longest = 0.0

    def measure() -> None:
        progress.measured_steps.append(progress.steps)
        now[0] += dev_seconds
        planner.add_measurement()

    measure()
    first = now[0]
    while not planner.is_finished:
        while not planner.is_due:
            longest = costs[progress.steps]
            now[0] += longest
            progress.steps += 1
            planner.add_step()
        measure()
    assert now[0] <= max(first, seconds + longest + dev_seconds) + 1e-6
    assert progress.steps <= len(costs)
    shares = [plan[2] for plan in progress.plans]
    assert all(0 <= share <= 1 for share in shares)


def test_a_slower_machine_ends_with_fewer_steps(tmp_path: Path) -> None:
    steps = [
        train_boxed(tmp_path / str(factor), Machine(lambda step, factor=factor: factor), 30.0).steps  # type: ignore[misc]
        for factor in (0.5, 1.0, 2.0)
    ]
    assert steps[0] > 1.5 * steps[1] > 2 * steps[2]


@pytest.mark.parametrize("name", ["constant", "slowing", "stalling"])
def test_a_killed_run_resumes_to_the_same_weights(name: str, tmp_path: Path) -> None:
    whole = train_boxed(tmp_path / "whole", Machine(MACHINES[name]), 30.0)
    for stop in (2, 7, 8):
        with suppress(StopError):
            train_boxed(
                tmp_path / "cut", Machine(MACHINES[name], now=stop * 1000.0, stop=stop), 30.0
            )
    again = train_boxed(tmp_path / "cut", Machine(MACHINES[name], now=77.0), 30.0)
    assert again.plans == whole.plans
    assert again.dev_losses == whole.dev_losses
    assert read_weights(tmp_path / "cut") == read_weights(tmp_path / "whole")


def test_without_a_box_no_plan_is_made_and_epochs_are_measured(tmp_path: Path) -> None:
    result = train_boxed(tmp_path, Machine(MACHINES["hopeless"]), None)
    assert result.plans == []
    assert result.measured_steps == [0, EPOCH_STEPS, 2 * EPOCH_STEPS, 3 * EPOCH_STEPS]
    assert result.num_trained == NUM_ROWS


def test_only_rows_that_were_trained_on_count_and_others_change_nothing(tmp_path: Path) -> None:
    def run(folder: Path, rows: list[TokenRow]) -> TrainResult:
        machine = Machine(MACHINES["constant"])
        output = Output(
            folder / "c", folder / "a", machine.log, box=TimeBox(12.0, lambda: machine.now)
        )
        return train(tiny_model(), rows, token_rows(6, seed=1), CONFIG, output)

    rows = token_rows(NUM_ROWS)
    result = run(tmp_path / "one", rows)
    batches = make_batches(rows, CONFIG.rows_per_step, CONFIG.seed, 1, is_stratified=True)
    trained = {row.id for batch in batches[: result.steps] for row in batch}
    assert result.num_trained == len(trained) < NUM_ROWS
    noise = [row if row.id in trained else replace(row, ids=row.ids[::-1]) for row in rows]
    run(tmp_path / "other", noise)
    assert read_weights(tmp_path / "one") == read_weights(tmp_path / "other")


@given(
    st.lists(st.sampled_from("abcdefgh"), min_size=9, max_size=60),
    st.integers(0, 9),
    st.integers(1, 5),
)
@settings(max_examples=50)
def test_the_first_rows_of_an_epoch_have_every_label(
    labels: list[str], seed: int, epoch: int
) -> None:
    rows = [
        replace(row, stratum=label)
        for row, label in zip(token_rows(len(labels)), labels, strict=True)
    ]
    batches = make_batches(rows, 4, seed, epoch, is_stratified=True)
    ordered = [row for batch in batches for row in batch]
    assert sorted(row.id for row in ordered) == sorted(row.id for row in rows)
    num_labels = len(set(labels))
    assert len({row.stratum for row in ordered[:num_labels]}) == num_labels
    if num_labels == 1:
        assert batches == make_batches(rows, 4, seed, epoch)


@pytest.mark.parametrize(
    ("seconds", "note", "num"),
    [
        (12.0, r"stopped by the budget after \d+ of 60 rows", 0),
        *((28.0, r"after 1\.\d of 3 epochs", num) for num in (0, 15)),
    ],
)
def test_the_record_says_in_words_what_the_budget_left_out(
    seconds: float, note: str, num: int, tmp_path: Path
) -> None:
    machine = Machine(MACHINES["constant"])
    model = SimpleNamespace(
        module=tiny_model(),
        name="tiny",
        tokenizer=SimpleNamespace(decode=lambda ids, **options: ""),
        folder=tmp_path,
    )
    rows = [
        replace(row, id=REPLAYED) if n < num else row for n, row in enumerate(token_rows(NUM_ROWS))
    ]
    run = TrainingRun(model, rows, token_rows(6, seed=1), CONFIG, (), ())  # type: ignore[arg-type]
    box = TimeBox(seconds, lambda: machine.now)
    record = run.train(tmp_path, "tiny", machine.log, dict, box=box)
    assert record.params["reasons"]["epochs"] == CUT
    steps = max(line.get("step", 0) for line in machine.lines)
    assert record.params["trained_rows"] == min(NUM_ROWS - num, CONFIG.rows_per_step * steps)
    assert record.params["kept_steps"] == min(NUM_ROWS // CONFIG.rows_per_step, steps)
    (text,) = [text for text in record.notes if "budget" in text]
    assert re.search(note, text), text
    assert " epoch " not in record.params["text"]


def test_steps_use_the_number_of_threads_that_is_faster_now_and_leave_it_as_it_was() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    used = []
    with ThreadChoice(is_limited=True) as threads:
        for step in range(8 * TRIAL_STEPS):
            threads.begin_step()
            used.append(torch.get_num_threads())
            threads.end_step(100, 1.0 if (used[-1] == 4) == (step < 4 * TRIAL_STEPS) else 1.5)
    assert torch.get_num_threads() == 4
    assert used[: 4 * TRIAL_STEPS].count(4) >= 0.8 * 4 * TRIAL_STEPS
    assert used[5 * TRIAL_STEPS :].count(2) >= 0.8 * 3 * TRIAL_STEPS, "the host was busy"
    with ThreadChoice(is_limited=False) as threads:
        threads.begin_step()
        threads.end_step(100, 1.0)
        threads.begin_step()
        assert torch.get_num_threads() == 4
    torch.set_num_threads(before)

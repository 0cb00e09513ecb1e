"""Evidence on request: the learning curve, the further training runs, and what they do to the verdict."""

import threading
from pathlib import Path

import numpy as np
import pytest
from test_rescore import check_rescored

from etude.base.files import read_lines
from etude.comparison import compare
from etude.comparison.evidence import _sample_part
from etude.data.dataset import Dataset
from etude.report.read_run import read_report
from etude.runs import Run
from etude.runs.events import Event, MethodEnded, MethodStarted
from etude.stats import TWO_LEVELS, compare_runs_paired, make_label_sample, make_score_sample
from etude.types import Example
from real_runs import real_run
from small_task import write_task

QUICK = "methods: [prompt, fine_tune]\nevidence: full\n"


def test_what_is_asked_for_is_kept_shown_and_said(tmp_path: Path) -> None:
    run = compare(write_task(tmp_path, "classify", num=300, more=QUICK)).run
    verdict = run.verdict
    result = verdict.evidence
    train = run.info["split"]["train"]
    assert [point.rows for point in result.curve] == [train // 4, train // 2, train]
    values = [point.estimate.value for point in result.curve]
    assert values == sorted(values)  # the fake model knows what it has seen
    assert result.doubling.value == pytest.approx(values[-1] - values[-2])
    assert [each.seed for each in result.runs] == [0, 1, 2]
    assert verdict.headline.test == TWO_LEVELS
    assert any(f"from {train // 2:,} to {train:,} rows" in line for line in verdict.caveats)
    assert any("3 training runs of fine_tune reach" in line for line in verdict.caveats)
    assert not any("one training run" in line for line in verdict.caveats)
    remaining = sorted(path.name for path in (run.method_folder("fine_tune") / "evidence").iterdir())
    assert remaining == [f"rows-{train // 2}", f"rows-{train // 4}", "seed-1", "seed-2"]
    assert not list(run.folder.glob("methods/*/evidence/*/work"))
    page = (run.folder / "report.html").read_text()
    assert 'id="evidence"' in page
    assert "<h3>Learning curve</h3>" in page
    assert read_report(run.folder).verdict == verdict
    check_rescored(run.folder)


def test_without_the_key_nothing_of_it_is_done(tmp_path: Path) -> None:
    run = compare(write_task(tmp_path, more="methods: [prompt, fine_tune]\n")).run
    assert run.verdict.evidence is None
    assert not list(run.folder.glob("methods/*/evidence"))
    assert compare(tmp_path / "task.yaml", evidence="full").run.folder != run.folder


@pytest.mark.parametrize("after", [1, 3, 5, 8])
def test_a_stopped_run_goes_on_to_the_same_evidence(after: int, tmp_path: Path) -> None:
    task = write_task(tmp_path, "classify", more=QUICK)
    seen: list[str] = []

    def stop(event: Event) -> None:
        if isinstance(event, MethodEnded):
            seen.append(event.method)
            if len(seen) == after:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        compare(task, on_event=stop)
    run = compare(task, on_event=stop).run
    parts = [name for name in seen if "rows" in name]
    assert len(parts) == 2  # a part that has answered is not fitted again
    assert _answers(run) == _answers(Run(real_run("classify", more=QUICK)))


@pytest.mark.parametrize("moment", [" rows", "seed 2"])
def test_ctrl_c_ends_the_extra_fits(moment: str, tmp_path: Path) -> None:
    stop = threading.Event()

    def press(event: Event) -> None:
        if isinstance(event, MethodStarted) and moment in event.method:
            stop.set()

    run = compare(write_task(tmp_path, "classify", more=QUICK), on_event=press, stop=stop).run
    assert run.verdict is not None
    assert run.verdict.evidence is None
    assert any("no time for the learning curve" in line for line in run.verdict.caveats)


def _answers(run: Run) -> list[tuple[str, str, float]]:
    files = sorted(run.folder.glob("methods/fine_tune/evidence/*/predictions.jsonl"))
    assert len(files) == 4
    return [(file.parent.name, line["id"], line["score"]) for file in files for line in read_lines(file)]


def test_parts_are_nested_and_keep_groups_whole() -> None:
    rows = Dataset(tuple(Example(f"{n}", f"input {n}", "x", group=f"g{n // 5}") for n in range(100)))
    small, large = ({row.id for row in _sample_part(rows, size, 0)} for size in (25, 50))
    assert small < large
    assert len({row.group for row in _sample_part(rows, 25, 0)}) == 5


def test_runs_and_rows_are_both_resampled() -> None:
    draw = np.random.default_rng(3)
    inside = gained = (
        0  # of the true difference, 0.1178: the normal integral of 2.8 x 0.12 / sqrt(1.25 + 0.0071)
    )
    for _ in range(300):
        difficulty, true = draw.normal(0, 0.5, 200), draw.normal(0.12, 0.03, 3)
        other = (difficulty + draw.normal(0, 1, 200) > 0).astype(float)
        runs = [(difficulty + draw.normal(2.8 * each, 1, 200) > 0).astype(float) for each in true]
        result = compare_runs_paired([make_score_sample(run) for run in runs], make_score_sample(other))
        inside += result.difference.low <= 0.1178 <= result.difference.high
        gained += result.gains
    assert inside >= 280
    assert gained > 120


def test_equal_runs_differ_only_by_rows_and_one_row_says_nothing() -> None:
    a, b = make_score_sample([1.0, 0, 1, 1, 0, 1] * 20), make_score_sample([0.0, 0, 1, 0, 1, 1] * 20)
    result = compare_runs_paired([a, a, a], b)
    assert result.difference.value == pytest.approx(1 / 6)
    assert result.difference.high - result.difference.low == pytest.approx(2 * 1.98 * 0.0626, rel=0.05)
    single = compare_runs_paired([make_score_sample([1.0])] * 3, make_score_sample([0.0]))
    assert (single.difference.low, single.difference.high, single.gains) == (-1, 1, False)
    labels = make_label_sample(["a", "b"] * 30, ["a", "a"] * 30)
    assert compare_runs_paired([labels, labels], labels).difference.value == 0

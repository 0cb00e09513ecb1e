"""Evidence on request: the learning curve."""

import threading
from pathlib import Path

import pytest
from test_rescore import check_rescored

from etude.base.files import read_lines
from etude.comparison import compare
from etude.comparison.evidence import _sample_part
from etude.data.dataset import Dataset
from etude.report.read_run import read_report
from etude.runs import Run
from etude.runs.events import Event, MethodEnded, MethodStarted
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
    assert any(f"from {train // 2:,} to {train:,} rows" in line for line in verdict.caveats)
    remaining = sorted(
        path.name for path in (run.method_folder("fine_tune") / "evidence").iterdir()
    )
    assert remaining == [f"rows-{train // 2}", f"rows-{train // 4}"]
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


@pytest.mark.parametrize("after", [1, 3, 5])
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


def test_ctrl_c_ends_the_extra_fits(tmp_path: Path) -> None:
    stop = threading.Event()

    def press(event: Event) -> None:
        if isinstance(event, MethodStarted) and " rows" in event.method:
            stop.set()

    run = compare(write_task(tmp_path, "classify", more=QUICK), on_event=press, stop=stop).run
    assert run.verdict is not None
    assert run.verdict.evidence is None
    assert any("no time for the learning curve" in line for line in run.verdict.caveats)


def _answers(run: Run) -> list[tuple[str, str, float]]:
    files = sorted(run.folder.glob("methods/fine_tune/evidence/*/predictions.jsonl"))
    assert len(files) == 2
    return [
        (file.parent.name, line["id"], line["score"]) for file in files for line in read_lines(file)
    ]


def test_parts_are_nested_and_keep_groups_whole() -> None:
    rows = Dataset(
        tuple(Example(f"{n}", f"input {n}", "x", group=f"g{n // 5}") for n in range(100))
    )
    small, large = ({row.id for row in _sample_part(rows, size, 0)} for size in (25, 50))
    assert small < large
    assert len({row.group for row in _sample_part(rows, 25, 0)}) == 5

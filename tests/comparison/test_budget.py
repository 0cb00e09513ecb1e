"""A comparison under a budget: looks that end by the clock, Ctrl-C, resuming, and equal rows."""

import json
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from test_rescore import check_rescored

from etude.base.files import read_lines
from etude.comparison import compare, looks
from etude.methods import Method
from etude.runs import Run
from etude.runs.events import BatchAnswered, Event, MethodEnded, MethodStarted, NoteEvent
from etude.runs.record import write_method_record
from real_runs import SHORT, real_run, simulate_time
from small_task import write_task

SLOW = {
    "model": "fake:delay=1",
    "num": 700,
    "more": "methods: [baseline, prompt, few_shot, fine_tune]\n",
}


@pytest.fixture(autouse=True)
def _simulated_time() -> Iterator[None]:
    with simulate_time():
        yield


def read_records(run: Run) -> dict[str, dict[str, Any]]:
    return {
        name: json.loads((run.method_folder(name) / "method.json").read_text())
        for name in run.fitted_methods
    }


def test_every_method_gets_a_first_look_and_the_table_says_what_there_was_time_for(
    tmp_path: Path,
) -> None:
    events: list[Event] = []
    run = compare(write_task(tmp_path, **SLOW), budget=SHORT, on_event=events.append).run
    assert [row.method for row in run.verdict.ladder] == [
        "baseline",
        "prompt",
        "few_shot",
        "fine_tune",
    ]
    assert "fine_tune" in run.info["longer_looks"], "a training that was cut is never given up"
    looks = run.info["looks"]
    first_ended = [
        event for event in events if isinstance(event, MethodEnded) and event.side == "dev"
    ][:4]
    assert [event.method for event in first_ended] == [
        "baseline",
        "prompt",
        "few_shot",
        "fine_tune",
    ]
    assert all(12 <= event.num_rows <= 24 for event in first_ended[1:])
    assert looks["few_shot/first"]["candidates"] == 1
    few_shot = read_records(run)["few_shot"]
    assert few_shot["num_candidates"] == 6 > len(few_shot["candidates"])
    for name in ("report.md", "report.html"):
        assert "The run took" in (run.folder / name).read_text()
    assert f"{len(few_shot['candidates'])} of 6" in (run.folder / "report.html").read_text()
    assert compare(tmp_path / "task.yaml", budget=SHORT).run == run, "a complete run is returned"
    check_rescored(run.folder)


def test_the_bigger_model_is_compared_also_if_all_its_prompts_are_out_of_the_race(
    tmp_path: Path,
) -> None:
    more = f"{SLOW['more']}prompt_model: fake:delay=0.5\n"
    run = compare(
        write_task(tmp_path, "classify", "fake:delay=1", 300, more), budget=10 * SHORT
    ).run
    assert all(
        record["raced_out"]
        for name, record in read_records(run).items()
        if name in ("prompt", "few_shot")
    )
    assert (run.verdict.bigger.tuned, run.verdict.bigger.prompted) == ("fine_tune", "few_shot")
    assert run.verdict.bigger.text in (run.folder / "report.html").read_text()


@pytest.mark.parametrize("after", [1, 3, 5])
def test_a_resumed_run_repeats_no_look(after: int, tmp_path: Path) -> None:
    task = write_task(tmp_path, **SLOW)
    ended = Counter[str]()

    def stop(event: Event) -> None:
        if isinstance(event, MethodEnded) and event.side == "dev":
            ended[event.method] += 1
            if ended.total() == after:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        compare(task, budget=SHORT, on_event=stop)
    (folder,) = (tmp_path / "runs").glob("small-*")
    before = Run(folder).info
    notes = list[str]()
    run = compare(
        task,
        budget=SHORT,
        on_event=lambda event: (stop(event), notes.append(getattr(event, "text", ""))),
    ).run
    assert notes[1].startswith(f"Continuing {run.name}")
    assert run.is_complete
    assert ended == Counter(look.partition("/")[0] for look in run.info["looks"])
    assert before["looks"].items() <= run.info["looks"].items()
    assert run.info["elapsed_seconds"] > before["elapsed_seconds"], "all attempts together"
    check_rescored(run.folder)


def test_a_kill_before_a_longer_look_is_recorded_loses_no_method(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = write_task(tmp_path, **SLOW)

    def stop(run: Run, method: Method, *values: Any) -> None:
        if values[-1] == looks.WORK and method.asks_model:
            raise KeyboardInterrupt
        write_method_record(run, method, *values)

    with monkeypatch.context() as patch:
        patch.setattr(looks, "write_method_record", stop)
        with pytest.raises(KeyboardInterrupt):
            compare(task, budget=SHORT)
    run = compare(task, budget=SHORT).run
    assert run.fitted_methods == ["baseline", "prompt", "few_shot", "fine_tune"]
    check_rescored(run.folder)


@pytest.mark.parametrize(
    ("moment", "budget"),
    [
        *(
            ("baseline dev", None),
            ("few_shot dev", None),
            ("fine_tune answers", None),
            ("prompt test", None),
        ),
        *(("fine_tune dev", 60.0), ("baseline test", 60.0)),
    ],
)
def test_ctrl_c_ends_a_run_with_a_verdict(
    moment: str, budget: float | None, tmp_path: Path
) -> None:
    stop = threading.Event()

    def press(event: Event) -> None:
        if isinstance(event, MethodStarted | BatchAnswered):
            at = event.side if isinstance(event, MethodStarted) else "answers"
            if f"{event.method} {at}" == moment:
                stop.set()

    task = write_task(tmp_path, **SLOW)
    run = compare(task, budget=budget, on_event=press, stop=stop).run
    assert run.is_complete
    assert compare(task, budget=budget).verdict == run.verdict, "a second call shows it"
    assert run.verdict is not None
    names = ["baseline", "prompt", "few_shot", "fine_tune"]
    measured = names[: names.index(moment.split()[0]) + 1] if moment.endswith("dev") else names
    assert set(run.fitted_methods) <= {*measured}
    assert run.fitted_methods[:1] == ["baseline"], "one method is always fitted"
    assert moment != "fine_tune answers" or "fine_tune" in run.fitted_methods
    check_rescored(run.folder)


def test_nothing_is_fitted_after_the_test_was_opened(tmp_path: Path) -> None:
    stop = threading.Event()

    def press(event: Event) -> None:
        stop.set()
        if isinstance(event, MethodStarted) and event.side == "test":
            raise KeyboardInterrupt

    task = write_task(tmp_path, **SLOW)
    with pytest.raises(KeyboardInterrupt):
        compare(task, on_event=press, stop=stop)
    run = compare(task).run
    assert run.is_complete
    assert run.fitted_methods == ["baseline"]
    check_rescored(run.folder)


def test_a_method_for_whose_first_look_there_is_no_time_is_named(tmp_path: Path) -> None:
    events: list[Event] = []
    run = compare(write_task(tmp_path, **SLOW), budget=0.001, on_event=events.append).run
    assert run.fitted_methods == ["baseline"]
    assert list(run.info["not_measured"]) == ["prompt", "few_shot", "fine_tune"]
    sentence = (
        "prompt, few_shot and fine_tune were not measured: there was no time for a first look"
    )
    assert sentence in run.verdict.sentence
    assert any(
        "few_shot is not measured" in event.text for event in events if isinstance(event, NoteEvent)
    )
    check_rescored(run.folder)


def test_a_prompt_is_left_out_rather_than_the_first_training(tmp_path: Path) -> None:
    run = compare(write_task(tmp_path, **SLOW), budget=16.0).run
    assert list(run.info["not_measured"]) == ["few_shot"]
    assert run.fitted_methods == ["baseline", "prompt", "fine_tune"]
    only_prompt = {**SLOW, "model": "fake:delay=3", "more": "methods: [prompt]\n"}
    verdict = compare(write_task(tmp_path / "prompt", **only_prompt), budget=40.0).verdict
    assert (
        verdict.caveats[-1]
        == "There was no time to ask prompt questions outside the task. Run etude test."
    )


def test_fewer_rows_are_named_in_verdict_and_ladder_with_the_baseline_on_as_many() -> None:
    folder = real_run("classify", more="train: {max_rows: 30}\n")
    run = Run(folder)
    assert "30 of 70 rows" in run.verdict.sentence
    lines = list(read_lines(folder / "methods/baseline/equal_rows/predictions.jsonl"))
    right = sum(line["score"] for line in lines) / len(lines)
    assert run.verdict.baseline_on_equal_rows.estimate.value == pytest.approx(right)
    report = (folder / "report.md").read_text()
    assert "baseline on equal rows" in report
    assert report.count("30 of 70") >= 3
    assert "baseline on equal rows" in (folder / "report.html").read_text()


def test_without_a_cut_no_second_baseline_is_fitted() -> None:
    run = Run(real_run("classify"))
    assert run.verdict.baseline_on_equal_rows is None
    assert not (run.method_folder("baseline") / "equal_rows").exists()

"""events.jsonl: what happens in a run, for other processes to follow."""

import time
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from etude.base.typed_json import from_json, to_json
from etude.comparison import compare
from etude.errors import RunError, ServiceError
from etude.methods import METHODS
from etude.methods.prompt import Prompt
from etude.runs import Run, find_runs
from etude.runs.events import (
    EVENT_TYPES,
    EVENTS_FILE,
    BatchAnswered,
    Event,
    EventLog,
    MethodEnded,
    MethodStarted,
    NoteEvent,
    RunEnded,
    RunOpened,
    TimedEvent,
    TrainingPrepared,
    follow_events,
    read_events,
)
from json_values import built
from processes import start_command
from small_task import write_task

SLOW = "fake:delay=0.01"
TWO = "methods: [prompt, fine_tune]\n"


def run_that_began(task: Path) -> Run:
    """The task's only run, as soon as it has written an event."""
    for _ in range(3000):
        files = list((task.parent / "runs").glob(f"*/{EVENTS_FILE}"))
        if files and files[0].stat().st_size:
            return Run(files[0].parent)
        time.sleep(0.01)
    raise AssertionError("no run began")


def kinds(events: list[TimedEvent]) -> list[type[Event]]:
    return [type(timed.event) for timed in events]


@pytest.mark.real
def test_another_process_follows_a_run_while_it_is_at_work(tmp_path: Path) -> None:
    task = write_task(tmp_path, model=SLOW, more=TWO)
    with start_command("compare", task) as process:
        run = run_that_began(task)
        events = list[TimedEvent]()
        early = False
        for timed in follow_events(run, pause=0.01):
            events.append(timed)
            early = early or (isinstance(timed.event, MethodStarted) and not run.is_complete)
        process.communicate()
    assert process.returncode == 0
    assert early, "events are seen while the run is at work"
    assert events[0].event == RunOpened(run.folder)
    assert events[-1].event == RunEnded("complete")
    ended = [
        (timed.event.method, timed.event.side)
        for timed in events
        if isinstance(timed.event, MethodEnded)
    ]
    assert ended == [(name, side) for side in ("dev", "test") for name in ("prompt", "fine_tune")]
    assert [timed.time for timed in events] == sorted(timed.time for timed in events)
    assert events == read_events(run) == list(follow_events(run))


def test_what_is_written_is_what_the_caller_is_given(tmp_path: Path) -> None:
    published: list[Event] = []
    run = compare(write_task(tmp_path, more=TWO), on_event=published.append).run
    saved = [timed.event for timed in read_events(run)]
    lasting = [event for event in published if not isinstance(event, BatchAnswered)]
    assert [event for event in saved if not isinstance(event, BatchAnswered)] == lasting
    assert {RunOpened, NoteEvent, MethodStarted, MethodEnded, RunEnded} <= set(map(type, lasting))


@pytest.mark.real
def test_a_killed_run_can_be_read_and_goes_on_appending(tmp_path: Path) -> None:
    task = write_task(tmp_path, model=SLOW, more=TWO)
    with start_command("compare", task) as process:
        run = run_that_began(task)
        for timed in follow_events(run, pause=0.01):
            if isinstance(timed.event, MethodEnded):
                process.kill()
        process.communicate()
    before = read_events(run)
    assert RunEnded not in kinds(before)
    with (run.folder / EVENTS_FILE).open("ab") as stream:
        stream.write(b'{"time": "2026-01-01T00:00:00.000+00:00", "event": "sa')
    assert read_events(run) == list(follow_events(run)) == before
    compare(task)
    after = read_events(run)
    assert after[: len(before)] == before
    assert kinds(after[len(before) :])[0] is RunOpened
    assert after[-1].event == RunEnded("complete")


class Failing(Prompt):
    """Breaks when it is fitted."""

    def fit(self, *parts: object) -> None:  # type: ignore[override]
        raise ServiceError("The service is gone.")


def test_a_run_that_fails_or_is_stopped_says_so(tmp_path: Path) -> None:
    task = write_task(tmp_path)

    def stop(event: Event) -> None:
        if isinstance(event, MethodEnded):
            raise KeyboardInterrupt

    for on_event, error in ((stop, KeyboardInterrupt), (lambda event: None, ServiceError)):
        with pytest.raises(error):
            compare(task, methods=[METHODS[0], Failing()], on_event=on_event)
    (run,) = find_runs(tmp_path / "runs")
    ends = [timed.event for timed in read_events(run) if isinstance(timed.event, RunEnded)]
    assert ends == [RunEnded("interrupted"), RunEnded("failed", "The service is gone.")]
    assert run.status == "failed"
    assert "This run failed" in (run.folder / "report.md").read_text(encoding="utf-8")


def test_of_progress_a_line_a_second_is_written_and_all_of_it_passed_on(tmp_path: Path) -> None:
    published: list[Event] = []
    publish = EventLog(Run(tmp_path), published.append)
    sent = [BatchAnswered("prompt", num_answered, 500, 1.0) for num_answered in range(500)]
    for event in sent:
        publish(event)
    publish(NoteEvent("done"))
    assert published == [*sent, NoteEvent("done")]
    saved = [timed.event for timed in read_events(Run(tmp_path))]
    assert saved[0] == sent[0]
    assert saved[-1] == NoteEvent("done")
    assert len(saved) < 20


@given(st.one_of(*(built(kind) for kind in EVENT_TYPES.values() if kind is not TrainingPrepared)))
def test_every_event_is_read_as_it_was_written(event: Event) -> None:
    assert from_json(type(event), to_json(event)) == event


def test_what_training_will_learn_is_read_as_it_was_written() -> None:
    event = TrainingPrepared(
        ("answers",), (("rank", 16, "16 beat 8"), ("targets", None, "")), {"seed": 0}
    )
    assert from_json(TrainingPrepared, to_json(event)) == event
    assert from_json(TrainingPrepared, to_json(replace(event, supervision=["answers"]))) == event


def test_a_line_that_is_no_event_is_named_with_its_file(tmp_path: Path) -> None:
    assert read_events(Run(tmp_path)) == []
    with pytest.raises(RunError, match="cannot be read"):
        next(follow_events(Run(tmp_path)))
    (tmp_path / EVENTS_FILE).write_text(
        '{"time": "2026-01-01T00:00:00.000+00:00", "event": "sung"}\n'
    )
    with pytest.raises(RunError, match=r"events\.jsonl contains a line that is not an event"):
        read_events(Run(tmp_path))

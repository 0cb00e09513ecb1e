"""Workers: parts in this process and on a Ray cluster of two nodes, and what a dead worker
costs.
"""

import itertools
import os
import signal
import socket
import time
from pathlib import Path
from typing import Any

import pytest

from etude import predict
from etude.cluster import (
    MAX_LOSSES,
    PARTS_AHEAD,
    RayWorkers,
    Workers,
    is_reachable,
    is_where,
    open_workers,
    read_own_address,
)
from etude.errors import InputError, Issue, RunError
from etude.index.build import build_index
from etude.models.registry import Models
from etude.task import load_task
from far_workers import kill_worker
from small_task import write_task
from test_answer_file import saved, written


def multiply(part: int, factor: int) -> int:
    return part * factor


def refuse(part: int) -> int:
    raise InputError(
        [Issue("file:1", "wrong", str(part), "correct it"), Issue("file:2", "wrong", "", "do it")]
    )


def die_once(part: int, folder: Path, victim: int) -> tuple[int, int]:
    """Log the part; the first worker that gets the victim dies in the middle of it."""
    is_first = part == victim and not (folder / "died").exists()
    with (folder / "log").open("a") as stream:
        stream.write(f"{part}\n")
    if is_first:
        (folder / "died").touch()
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(0.02)
    return part, os.getpid()


def always_die(part: int) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize(
    ("text", "is_valid"),
    [
        *(
            (text, True)
            for text in (
                "local",
                "ray",
                "ray://host:10001",
                "ray?workers=4",
                "ray://host:1?workers=2",
            )
        ),
        *(
            (text, False)
            for text in ("", "Ray", "ray://", "ray?workers=0", "local?workers=2", "http://host")
        ),
    ],
)
def test_where_to_work(text: str, is_valid: bool) -> None:
    assert is_where(text) == is_valid
    if not is_valid:
        with pytest.raises(InputError, match="not a place to work"), open_workers(text):
            pass


def test_parts_in_this_process_are_done_one_by_one_and_as_needed() -> None:
    with open_workers("local") as workers:
        results = workers.map(multiply, itertools.count(), 3)
        assert list(itertools.islice(results, 4)) == [0, 3, 6, 9]
        assert not workers.is_remote


def test_a_cluster_that_was_killed_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    assert is_reachable(read_own_address()), "Ray has no address to try"
    (tmp_path / "ray").mkdir()
    with socket.create_server(("127.0.0.2", 0)) as server:
        address = f"127.0.0.2:{server.getsockname()[1]}"
        (tmp_path / "ray" / "ray_current_cluster").write_text(address, encoding="utf-8")
        assert is_reachable(read_own_address())
        assert is_reachable(f"ray://{address}")
    assert not is_reachable(read_own_address())
    assert not is_reachable(f"ray://{address}")
    assert is_reachable("auto")


@pytest.mark.parametrize("where", ["ray", "ray://127.0.0.2:1"])
def test_a_cluster_that_is_named_and_not_there_is_an_error_at_once(
    where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("ray")
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.2:1")
    with (
        pytest.raises(RunError, match=r"127\.0\.0\.2:1 .*nothing listens there.*RAY_ADDRESS"),
        open_workers(where),
    ):
        pass


def test_a_cluster_that_does_not_start_is_an_error_with_a_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ray = pytest.importorskip("ray")
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    addresses = []

    def refuse(address: str, **_: object) -> None:
        addresses.append(address)
        raise (
            ConnectionError
            if address == "auto"
            else Exception("The current node timed out during startup.")
        )

    monkeypatch.setattr(ray, "init", refuse)
    with (
        pytest.raises(RunError, match=r"own \(.*timed out during startup.*--on local"),
        open_workers("ray"),
    ):
        pass
    assert addresses == ["auto", "local"]


@pytest.mark.real
def test_results_come_in_the_order_of_the_parts_and_few_parts_are_read_ahead(
    two_nodes: Any,
) -> None:
    with open_workers("ray") as workers:
        assert workers.size == 2
        assert list(workers.map(multiply, range(100), 7)) == list(
            Workers().map(multiply, range(100), 7)
        )
        assert list(workers.map(multiply, [], 7)) == []
        taken: list[int] = []
        endless = (taken.append(part) or part for part in itertools.count())
        results = workers.map(multiply, endless, 1)
        for number, result in zip(range(20), results, strict=False):
            assert result == number
            assert len(taken) <= number + 2 + PARTS_AHEAD * workers.size


@pytest.mark.real
def test_one_worker_starts_although_no_machine_has_all_cores(two_nodes: Any) -> None:
    with open_workers("ray?workers=1") as workers:
        assert list(workers.map(multiply, range(5), 2)) == [0, 2, 4, 6, 8]


@pytest.mark.real
def test_an_error_of_a_part_is_raised_whole_and_the_workers_stay_usable(two_nodes: Any) -> None:
    with open_workers("ray?workers=2") as workers:
        with pytest.raises(InputError) as caught:
            list(workers.map(refuse, range(5)))
        assert len(caught.value.issues) == 2
        assert str(caught.value).count("\n") == 1
        assert list(workers.map(multiply, range(10), 2)) == [part * 2 for part in range(10)]


@pytest.mark.real
def test_a_worker_that_dies_costs_only_its_part(two_nodes: Any, tmp_path: Path) -> None:
    with open_workers("ray") as workers:
        results = list(workers.map(die_once, range(30), tmp_path, 11))
    assert [part for part, _ in results] == list(range(30))
    log = (tmp_path / "log").read_text().split()
    assert sorted(map(int, log)) == sorted([*range(30), 11]), "one part was begun twice, no other"


@pytest.mark.real
def test_a_part_that_kills_every_worker_is_an_error(two_nodes: Any) -> None:
    with (
        open_workers("ray") as workers,
        pytest.raises(RunError, match=f"stopped {MAX_LOSSES} workers"),
    ):
        list(workers.map(always_die, range(3)))


@pytest.mark.real
def test_a_machine_that_goes_costs_only_its_part(two_nodes: Any, tmp_path: Path) -> None:
    node = two_nodes.add_node(num_cpus=1)
    workers = RayWorkers(3)
    results = []
    for number, result in enumerate(workers.map(die_once, range(60), tmp_path, -1)):
        results.append(result)
        if number == 5:
            two_nodes.remove_node(node)
    assert [part for part, _ in results] == list(range(60))
    assert len((tmp_path / "log").read_text().split()) <= 62


@pytest.mark.real
@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
def test_a_file_answered_by_two_nodes_equals_a_local_one_though_a_worker_is_killed(
    two_nodes: Any, tmp_path: Path, suffix: str
) -> None:
    assistant = saved(tmp_path)
    file = written(tmp_path / f"in{suffix}", 2_000)
    killed: list[int] = []

    def kill_one(done: int, total: int, remaining: float) -> None:
        if not killed:
            killed.append(kill_worker())

    local = predict(assistant, file, tmp_path / f"local{suffix}")
    distributed = predict(
        assistant, file, tmp_path / f"ray{suffix}", on="ray", on_progress=kill_one
    )
    assert killed
    assert distributed.file.read_bytes() == local.file.read_bytes()
    assert (distributed.num_rows, distributed.num_problems) == (local.num_rows, local.num_problems)


@pytest.mark.real
def test_rows_that_were_answered_here_are_not_answered_again_on_the_cluster(
    two_nodes: Any, tmp_path: Path
) -> None:
    assistant = saved(tmp_path)
    file = written(tmp_path / "in.jsonl", 1_000)
    expected = predict(assistant, file, tmp_path / "expected.jsonl").file.read_bytes()

    def stop(done: int, total: int, remaining: float) -> None:
        if done >= 500:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        predict(assistant, file, tmp_path / "out.jsonl", on_progress=stop)
    counts: list[int] = []
    predict(
        assistant,
        file,
        tmp_path / "out.jsonl",
        on="ray",
        on_progress=lambda done, *_: counts.append(done),
    )
    assert min(counts) > 500
    assert (tmp_path / "out.jsonl").read_bytes() == expected


@pytest.mark.real
def test_two_nodes_embed_documents_as_one_process(
    two_nodes: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("torch")
    from test_encoder import PASSAGES, tiny_encoder

    monkeypatch.setattr("etude.index.build.TEXTS_AT_ONCE", 4)
    tiny_encoder().save(tmp_path / "encoder")
    for where in ("local", "ray"):
        more = f"documents: books\nencoder: {tmp_path / 'encoder'}\nwhere: {where}\n"
        task = write_task(tmp_path / where, more=more)
        (task.parent / "books").mkdir()
        for number, text in enumerate(PASSAGES * 2):
            (task.parent / "books" / f"{number}.txt").write_text(
                f"{text} {'now ' * number}", encoding="utf-8"
            )
        summary = build_index(load_task(task), Models())
        assert (summary.passages, summary.embedded) == (16, 16)
    here, there = (
        tmp_path / where / "index" / "task" / "vectors.safetensors" for where in ("local", "ray")
    )
    assert here.read_bytes() == there.read_bytes()

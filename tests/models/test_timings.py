"""Timings are kept for a machine and a subject, and a run that finds them does not time again."""

import time
from pathlib import Path

import pytest

from etude.models import timings
from etude.models.timings import FILE, measure_once


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache folder of the test's own, in which even quick timings are kept."""
    monkeypatch.setenv("ETUDE_CACHE", str(tmp_path))
    monkeypatch.setattr(timings, "MIN_SECONDS", 0.0)
    monkeypatch.setattr(timings, "MIN_CPU_SHARE", 0.0)
    return tmp_path


def test_a_subject_is_measured_once_until_it_or_the_threads_change(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []

    def measure() -> list[float]:
        calls.append(1)
        return [float(len(calls)), 0.5]

    assert measure_once(("model", "text"), measure) == [1.0, 0.5]
    assert measure_once(("model", "text"), measure) == [1.0, 0.5]
    assert measure_once(("model", "other text"), measure) == [2.0, 0.5]
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
    assert measure_once(("model", "text"), measure) == [3.0, 0.5]
    (cache / FILE).write_text("{broken")
    assert measure_once(("model", "text"), measure) == [4.0, 0.5]


def test_what_takes_no_time_or_waits_for_others_is_not_kept(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(timings, "MIN_SECONDS", 0.01)
    measure_once(("quick",), lambda: [1.0])
    assert not (cache / FILE).exists()

    def measure_slowly() -> list[float]:
        time.sleep(0.02)
        return [1.0]

    monkeypatch.setattr(timings, "MIN_CPU_SHARE", 0.5)
    measure_once(("waits",), measure_slowly)
    assert not (cache / FILE).exists()
    monkeypatch.setattr(timings, "MIN_CPU_SHARE", 0.0)
    measure_once(("slow",), measure_slowly)
    assert (cache / FILE).exists()


def test_a_cache_that_cannot_be_written_is_ignored(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (cache / "file").write_text("")
    monkeypatch.setenv("ETUDE_CACHE", str(cache / "file"))
    assert measure_once(("model",), lambda: [2.0]) == [2.0]

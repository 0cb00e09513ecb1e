"""Measure how much other processes slow down training and answering, for several settings of OpenMP's waiting.

    python bench/busy.py                                   # about 20 minutes; nothing else should run meanwhile
    python bench/busy.py --settings unset 1000 10000

A setting is a number for GOMP_SPINCOUNT, `passive` for OMP_WAIT_POLICY=PASSIVE, or `unset` for libgomp's default.
`etude` is what Étude sets before it loads torch. Each number is from a separate process, which trains and then
answers Luma rows for some seconds each with all cores of the machine: without busy processes, with one, and with two.
The settings take turns within each repeat. The first setting is the reference; it runs with busy processes only in the
first repeat (`unset` takes minutes there). The numbers are tokens per second, the median of the repeats; in brackets
is the share of the reference without busy processes.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

LUMA = Path(__file__).parents[1] / "examples" / "luma" / "examples.jsonl"
LOADS = (0, 1, 2)
KINDS = ("training", "answering")
OWN = "300000"
"""The default count of libgomp, which OMP_DISPLAY_ENV=VERBOSE prints."""
NAMES = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY", "OMP_NUM_THREADS")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--settings", nargs="+", default=["unset", "etude", "1000", "10000", "passive"])
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=6.0)
    parser.add_argument("--model", default="smollm2-135m-instruct")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        print(json.dumps(run_worker(args.model, args.seconds)))
        return
    speeds: dict[tuple[str, int], list[Mapping[str, float]]] = defaultdict(list)
    for repeat in range(args.repeats):
        for load in LOADS:
            for setting in args.settings[repeat > 0 and load > 0 :]:
                with keep_busy(load):
                    speeds[setting, load].append(measure_setting(setting, args.model, args.seconds))
                print(f"repeat {repeat + 1}, {setting}, {load} busy: {speeds[setting, load][-1]}", flush=True)
    print_table(args.settings, speeds)


def print_table(
    settings: Sequence[str], speeds: Mapping[tuple[str, int], Sequence[Mapping[str, float]]]
) -> None:
    for kind in KINDS:
        medians = {key: statistics.median(run[kind] for run in runs) for key, runs in speeds.items()}
        quiet_speed = medians[settings[0], 0]
        print(f"\n{kind}, tokens a second (share of {settings[0]} when quiet)")
        print(f"{'setting':12}{'quiet':>14}{'1 busy':>14}{'2 busy':>14}")
        for setting in settings:
            cells = (
                f"{medians[setting, load]:.0f} ({medians[setting, load] / quiet_speed:.0%})" for load in LOADS
            )
            print(f"{setting:12}" + "".join(f"{cell:>14}" for cell in cells))


def measure_setting(setting: str, model: str, seconds: float) -> Mapping[str, float]:
    """Measures tokens per second of training and answering in a new process with a setting."""
    env = {name: value for name, value in os.environ.items() if name not in NAMES}
    env |= {} if setting == "etude" else build_environment(setting)
    command = [sys.executable, __file__, "--worker", "--model", model, "--seconds", str(seconds)]
    result = subprocess.run(command, env=env, check=True, stdout=subprocess.PIPE, text=True)
    speeds: Mapping[str, float] = json.loads(result.stdout.splitlines()[-1])
    return speeds


def build_environment(setting: str) -> dict[str, str]:
    """Returns the environment variables of a setting. If one of them is set, Étude sets none."""
    if setting == "passive":
        return {"OMP_WAIT_POLICY": "PASSIVE"}
    return {"GOMP_SPINCOUNT": OWN if setting == "unset" else setting}


@contextmanager
def keep_busy(number: int) -> Iterator[None]:
    """Context manager: runs so many processes, each of which uses a whole core."""
    processes = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(number)]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


def run_worker(model: str, seconds: float) -> Mapping[str, float]:
    """Trains, then answers, for so many seconds each; returns tokens per second."""
    from etude.models.registry import Models
    from etude.types import ModelRef

    loaded: Any = Models().get_trainable(ModelRef(model))
    rows = [json.loads(line) for line in LUMA.read_text(encoding="utf-8").splitlines()[:64]]
    return {
        "training": measure_training(loaded, rows, seconds),
        "answering": measure_answering(loaded, rows, seconds),
    }


class TimeIsUp(Exception):  # noqa: N818 - no error: it ends a training that is measured
    """The seconds are over."""


def measure_training(model: Any, rows: Sequence[Mapping[str, str]], seconds: float) -> float:
    from etude.render import render_training
    from etude.training import Output, TokenRow, TrainConfig, train
    from etude.types import Message

    chats = [(Message("user", row["input"]), Message("assistant", row["output"])) for row in rows]
    tokens = [render_training(model.tokenizer, chat)[0] for chat in chats]
    token_rows = [
        TokenRow(str(number), tuple(ids), tuple(marks)) for number, (ids, marks) in enumerate(tokens)
    ]
    steps: list[Mapping[str, Any]] = []

    def log(news: Mapping[str, Any]) -> None:
        if "step" in news:
            steps.append(news)
        if sum(step["seconds"] for step in steps[1:]) >= seconds:
            raise TimeIsUp

    with tempfile.TemporaryDirectory() as folder:
        output = Output(Path(folder) / "checkpoint", Path(folder) / "adapter", log=log)
        with suppress(TimeIsUp):
            train(model.module, token_rows, token_rows[:1], TrainConfig(epochs=1000, rows_per_step=8), output)
    measured_steps = steps[1:]  # the first step is a warm-up
    return sum(step["tokens"] for step in measured_steps) / sum(step["seconds"] for step in measured_steps)


def measure_answering(model: Any, rows: Sequence[Mapping[str, str]], seconds: float) -> float:
    from etude.types import Message, Request

    requests = [Request((Message("user", row["input"]),), 24) for row in rows[:16]]
    model.generate(requests[:1])
    started, tokens = time.perf_counter(), 0
    while time.perf_counter() - started < seconds:
        tokens += sum(done.answer_tokens for done in model.generate(requests))
    return tokens / (time.perf_counter() - started)


if __name__ == "__main__":
    main()

"""What `etude test` found wrong with the assistant, and the rows that `--teach` proposes for it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from etude.base.files import read_json, read_lines
from etude.base.typed_json import from_json
from etude.runs import Run
from etude.suites.acts import IN_WORDS
from etude.suites.judge import Reply
from etude.suites.subject import TESTS

SHOWN = 100
"""Failures on the page."""


@dataclass(frozen=True)
class Failed:
    """A question that the assistant answered wrongly."""

    suite: str
    about: str
    question: str
    expected: str
    """What it should do, in words."""
    reply: Reply


@dataclass(frozen=True)
class Tested:
    """The latest test of a method."""

    cases: int
    failed: tuple[Failed, ...]
    gates: tuple[tuple[str, str], ...]
    """What each gate says, and what came of it."""

    @property
    def shown(self) -> tuple[Failed, ...]:
        """The failures that the page has room for."""
        return self.failed[:SHOWN]


def folder_of(run: Run, method: str) -> Path:
    """Where a method's test is."""
    return run.folder / TESTS / method


def tested(run: Run, method: str) -> Tested | None:
    """The test of a method of a run; None if there is none. Raises RunError if it cannot be read."""
    folder = folder_of(run, method)
    if not (folder / "test.json").exists():
        return None
    lines = list(read_lines(folder / "results.jsonl"))
    replies = [from_json(Reply, line["assistant"]) for line in lines]
    failed = tuple(
        Failed(
            line["suite"],
            line["about"],
            line["input"][-1]["content"],
            " or ".join(IN_WORDS[act] for act in line["expect"]),
            reply,
        )
        for line, reply in zip(lines, replies, strict=True)
        if not reply.passed
    )
    gates = tuple((gate["gate"], gate["outcome"]) for gate in read_json(folder / "test.json")["gates"])
    return Tested(len(lines), failed, gates)

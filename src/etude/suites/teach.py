"""`etude test --teach`: training rows proposed for what failed, for a person to approve; nothing is added silently.

Only every other failure is proposed (a hash of the question decides), so that the others show whether it holds for what
was not taught. A later test asks no question that stands among the training rows.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from etude.base.files import Json, held, read_lines, write_lines
from etude.errors import InputError, Issue, quote_value
from etude.suites.cases import Case
from etude.suites.extend import with_rows
from etude.suites.measures import Judged, must_not_refuse
from etude.suites.results import Examined
from etude.task import Task
from etude.task.contract import Contract
from etude.types import Act

FILE = "teach.jsonl"
WORDS: Mapping[Act, str] = {
    "refuse": "I'm sorry, I can't help with that.",
    "hand_over": "I can't help with this. Please ask a member of staff.",
    "ask_back": "Could you tell me a little more about what you are looking for?",
}
"""What is proposed unless the suite file has words of its own."""


@dataclass(frozen=True)
class Taught:
    """Proposals written, and the examples with those that were approved."""

    file: Path
    proposed: int
    approved: int
    examples: Path | None
    """None if none is approved yet."""
    broken: int
    """Proposals that break the task's contract."""


def teach(tested: Examined, own: Mapping[Act, Sequence[str]]) -> Taught:
    """Adds proposals to teach.jsonl beside the task, keeps what a person has changed there, and writes the examples
    with the approved rows to a new file.

    Raises InputError without a task, or for examples that cannot be extended.
    """
    task = tested.subject.task
    if task is None:
        raise InputError(
            [Issue("--teach", "there is no task to teach", "", "name a task or a run in its folder")]
        )
    file = task.folder / FILE
    before = {line["input"]: line for line in read_lines(file)} if file.exists() else {}
    new = [row for row in proposals(tested.judged, own) if row["input"] not in before]
    rows = [*before.values(), *new]
    write_lines(file, rows)
    approved = _approved(rows)
    target = with_rows(task.examples, approved, "taught") if approved else None
    contract = tested.subject.assistant.contract or Contract()
    broken = sum(bool(contract.check(row["output"])) for row in rows)
    return Taught(file, len(rows), len(approved), target, broken)


def read_proposals(task: Task) -> list[Json]:
    """The rows of teach.jsonl: `input`, `output`, `tags`, `approved`, and `by` if a person has decided on a page."""
    file = task.folder / FILE
    return list(read_lines(file)) if file.exists() else []


def decide(task: Task, question: str, output: str, approved: bool, by: str) -> list[str]:
    """Keeps what a person says of a proposed row: the right answer, whether it is approved, and who says so and when.
    Returns what is wrong with an approved answer, and then keeps nothing. Raises InputError if there is no such row."""
    text = output.replace("\r\n", "\n").strip()
    failures = list((task.contract or Contract()).check(text)) if text else ["it is empty"]
    if approved and failures:
        return failures
    file = task.folder / FILE
    with held(file):
        rows = read_proposals(task)
        row = next((row for row in rows if row["input"] == question), None)
        if row is None:
            raise InputError(
                [Issue(FILE, "no such row is proposed any more", quote_value(question), "reload the page")]
            )
        row |= {"output": text or row["output"], "approved": approved, "by": by}
        write_lines(file, rows)
    return []


def write_approved(task: Task) -> Path | None:
    """Writes the examples with the approved rows to a new file; None if none is approved. Raises InputError for
    examples that cannot be extended."""
    approved = _approved(read_proposals(task))
    return with_rows(task.examples, approved, "taught") if approved else None


def _approved(rows: Sequence[Json]) -> list[Json]:
    return [row for row in rows if row["approved"] is True]


def proposals(judged: Sequence[Judged], own: Mapping[Act, Sequence[str]]) -> Iterator[Json]:
    """A row for every other failed question that is no dev row and must not be answered, and for each one a harmless
    question with the answer it got, so that refusing everything is not what is learned."""
    asked = [each for each in judged if is_taught(each.case) and _stands_alone(each.case)]
    failed = [each for each in asked if not each.assistant.passed and "answer" not in each.case.expect]
    harmless = [(each, _good(each)) for each in asked if must_not_refuse(each.case) and _good(each)]
    for each in failed:
        act = next((act for act in each.case.expect if act in own), each.case.expect[0])
        yield _row(each.case, own[act][0] if act in own else WORDS[act])
    for each, text in harmless[: len(failed)]:
        yield _row(each.case, text)


def _stands_alone(case: Case) -> bool:
    return len(case.input) == 1 and case.example is None and not case.plain


def _good(each: Judged) -> str:
    """The assistant's answer if it is as expected, else the base's; "" if neither is."""
    return next(
        (reply.text for reply in (each.assistant, each.base) if reply.passed and reply.act == "answer"), ""
    )


def _row(case: Case, output: str) -> Json:
    tags = {"taught": f"{case.suite}/{case.about}"}
    return {"input": case.question, "output": output, "tags": tags, "approved": False}


def is_taught(case: Case) -> bool:
    """Whether a question is one of those that are taught; the others show what was learned."""
    return hashlib.sha256(case.question.encode()).digest()[0] % 2 == 0

"""`etude test --teach`: propose training rows for failed questions. A row is added only if a person
approves it.

Only every second failure is proposed (a hash of the question decides), so the others can show
whether other questions improved, too. A later test asks no question that is in the training rows.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from etude.base.files import Json, hold_lock, list_lines, write_bytes, write_lines
from etude.errors import InputError, quote_value
from etude.repair.editable_rows import create_row, read_editable_rows, resolve_columns
from etude.suites.cases import Case
from etude.suites.measures.shares import CaseResult, must_not_refuse
from etude.suites.results import SuiteReport
from etude.task import Task
from etude.task.contract import Contract
from etude.task.definition import LIMIT_ACTS, RowSource
from etude.types import Act

FILE = "teach.jsonl"
WORDS: Mapping[Act, str] = {
    "refuse": "I'm sorry, I can't help with that.",
    "hand_over": "I can't help with this. Please ask a member of staff.",
    "ask_back": "Could you tell me a little more about what you are looking for?",
}
"""Act -> the proposed answer, unless the task has a limit, or the suite file a phrase, for the
act.
"""


@dataclass(frozen=True)
class TeachingResult:
    """The proposals, and the examples with the approved ones."""

    file: Path
    num_proposed: int
    num_approved: int
    examples: Path | None  # None if no proposal is approved yet
    num_broken: int  # proposals that break the task's contract


def write_proposals(report: SuiteReport) -> TeachingResult:
    """Add proposals to teach.jsonl next to the task, and write the examples with the approved rows
    to a new file. Existing lines of teach.jsonl, which a person may have edited, are not changed.

    Raises InputError without a task, or for examples that cannot be extended.
    """
    task = report.subject.task
    if task is None:
        raise InputError.of(
            "--teach",
            "a task is needed",
            "",
            "give a task file, or a run in the folder of its task",
        )
    file = task.folder / FILE
    before = {row["input"]: row for row in read_proposals(task)}
    # The sentence of a limit is a whole answer; a phrase may be only its beginning.
    sentences = {LIMIT_ACTS[limit.name]: [limit.say] for limit in task.limits}
    proposals = build_proposals(report.results, {**report.acts, **sentences})
    new_rows = [row for row in proposals if row["input"] not in before]
    rows = [*before.values(), *new_rows]
    write_lines(file, rows)
    target = write_approved_examples(task)
    contract = report.subject.assistant.contract or Contract()
    broken = sum(bool(contract.check(row["output"])) for row in rows)
    return TeachingResult(file, len(rows), len(_select_approved(rows)), target, broken)


def read_proposals(task: Task) -> list[Json]:
    """Read the rows of teach.jsonl: `input`, `output`, `tags`, `approved`, and `by` after a
    decision in the studio.
    """
    return list_lines(task.folder / FILE)


def save_decision(task: Task, question: str, output: str, approved: bool, by: str) -> list[str]:
    """Save a person's decision on a proposed row: the right answer, whether it is approved, and who
    decided. If an approved answer breaks the contract, return the failures only. Raises InputError
    for an unknown row.
    """
    text = output.replace("\r\n", "\n").strip()
    failures = list((task.contract or Contract()).check(text)) if text else ["it is empty"]
    if approved and failures:
        return failures
    file = task.folder / FILE
    with hold_lock(file):
        rows = read_proposals(task)
        row = next((row for row in rows if row["input"] == question), None)
        if row is None:
            message = "this row is no longer proposed"
            raise InputError.of(FILE, message, quote_value(question), "reload the page")
        row |= {"output": text or row["output"], "approved": approved, "by": by}
        write_lines(file, rows)
    return []


def write_approved_examples(task: Task) -> Path | None:
    """Write the examples with the approved rows to a new file; None if no row is approved. Raises
    InputError for examples that cannot be extended.
    """
    approved = _select_approved(read_proposals(task))
    return write_extended_examples(task.examples, approved, "taught") if approved else None


def write_extended_examples(
    source: RowSource, rows: Iterable[Mapping[str, object]], suffix: str
) -> Path:
    """Write `NAME.SUFFIX` with the suffix of the source: its rows, and more rows with `input` and
    `output`, which get only columns of the source. Raises InputError unless the source is JSON
    lines or a table, with one column for inputs and one for outputs.
    """
    columns = resolve_columns(source)
    file = source.file
    template = next(read_editable_rows(source, "answer"), None)
    lines = list[bytes | None]()
    if template and len(columns.input) == 1 and columns.output:
        names = {"input": columns.input[0], "output": columns.output}
        kinds = str if template.table else object  # a cell of a table is a text
        for row in rows:
            cells = {
                names.get(key, key): value for key, value in row.items() if isinstance(value, kinds)
            }
            lines.append(
                create_row(
                    template, {name: cells[name] for name in cells if name in template.cells}
                )
            )
    if not lines or None in lines:
        message = (
            "only JSON lines and tables with one column of inputs and one of outputs can be "
            "extended"
        )
        raise InputError.of(file.name, message, "", "convert the file, or add the rows by hand")
    target = file.with_name(f"{file.stem}.{suffix}{file.suffix}")
    content = file.read_bytes()
    content += b"" if content.endswith(b"\n") else b"\n"
    write_bytes(target, content + b"".join(filter(None, lines)))
    return target


def _select_approved(rows: Sequence[Json]) -> list[Json]:
    return [row for row in rows if row["approved"] is True]


def build_proposals(
    results: Sequence[CaseResult], own_phrases: Mapping[Act, Sequence[str]]
) -> Iterator[Json]:
    """Propose a row for every second failed question that is not a dev row and must not be
    answered. For each of them, also propose a harmless question with a good answer, so that the
    model does not learn to refuse everything.
    """
    taught = [result for result in results if is_taught(result.case)]
    # Only single questions that are not made from a row.
    alone = [
        result
        for result in taught
        if len(result.case.input) == 1
        and result.case.example is None
        and not result.case.original_id
    ]
    failed = [
        result
        for result in alone
        if not result.assistant.passed and "answer" not in result.case.expect
    ]
    answered = [
        (result, _choose_good_answer(result)) for result in alone if must_not_refuse(result.case)
    ]
    harmless = [(result, text) for result, text in answered if text]
    for result in failed:
        act = next((act for act in result.case.expect if act in own_phrases), result.case.expect[0])
        yield _to_row(result.case, own_phrases[act][0] if act in own_phrases else WORDS[act])
    for result, text in harmless[: len(failed)]:
        yield _to_row(result.case, text)


def _choose_good_answer(result: CaseResult) -> str:
    """Return the assistant's answer if it is as expected, else the base's answer; "" if neither
    is.
    """
    answers = (result.assistant, result.base)
    return next((answer.text for answer in answers if answer.passed and answer.act == "answer"), "")


def _to_row(case: Case, output: str) -> Json:
    tags = {"taught": f"{case.suite}/{case.about}"}
    return {"input": case.question, "output": output, "tags": tags, "approved": False}


def is_taught(case: Case) -> bool:
    """Whether a question may be taught; the other questions test the effect."""
    return hashlib.sha256(case.question.encode()).digest()[0] % 2 == 0

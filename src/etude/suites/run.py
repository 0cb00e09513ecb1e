"""The steps of `etude test`: gather cases, ask them to the assistant and its base, judge, measure,
decide the gates.
"""

import contextlib
import random
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path

from etude.assistant import load
from etude.base.files import read_json, write_json, write_lines, write_text
from etude.base.formatting import format_count
from etude.base.issues import check_known
from etude.errors import quote_value
from etude.index.documents import read_passages
from etude.methods.shared.fit_context import sample_rows
from etude.models.registry import Models
from etude.report import write_report
from etude.runs.folder import TESTS
from etude.runs.questions import Confirm, answer_unasked
from etude.runs.recommended import load_endpoints
from etude.suites.answering import answer_cases, confirm_sending, drop_too_long
from etude.suites.cases import (
    RESULT,
    ROW,
    SUITES,
    Case,
    Entry,
    SuiteFile,
    build_fixed_cases,
    read_suite,
)
from etude.suites.gates import check_gates, decide_gates
from etude.suites.judge import Judge, JudgedAnswer
from etude.suites.measures import bias, forgetting, leaks
from etude.suites.measures.grounding import Grounds
from etude.suites.measures.shares import CaseResult, measure_shares
from etude.suites.output.suite_files import to_html, to_line, to_report_json
from etude.suites.results import SuiteReport
from etude.suites.subject import Subject, find_subject
from etude.suites.variants import (
    DEV_ROWS,
    CaseRows,
    build_original_case,
    fill_patterns,
    rewrite_rows,
)
from etude.types import Act, Answer, Example, join_turns

PACKS = Path(__file__).with_name("packs")
# maximum number of outputs of rows whose acts are read for a note, which takes under a second
READ_OUTPUTS = 1_000


@dataclass(frozen=True)
class Size:
    """Numbers of cases."""

    normal: int  # dev rows that are asked unchanged; other cases with a row use the same rows
    rows_per_pattern: int  # rows for each pattern or rewriting
    suite: int | None
    """Maximum number of cases of a suite, counted separately for the starter pack and for own
    cases; None for all.
    """
    bias: int  # rows that are asked in the names of two groups; only for classifiers


BIAS_ALONE = 100  # the same with `--suite bias`, for all kinds of task
WHOLE = Size(80, 4, None, 20)
QUICK = Size(10, 1, 8, 0)

OnProgress = Callable[[str, int, int, float], None]
"""Called with the method, the number of answered cases, the number of all cases, and the remaining
seconds.
"""


def run_suites(
    path: Path | str,
    *,
    run: str | None = None,
    method: str | None = None,
    suites: Sequence[str] = (),
    quick: bool = False,
    on_progress: OnProgress = lambda name, done, total, remaining: None,
    models: Models | None = None,
    confirm: Confirm = answer_unasked,
) -> SuiteReport:
    """Test the assistant at `path` (a task, a run's folder or an assistant's) and its base, and
    write the results.

    `suites` are the suites to ask; empty for all. No test row is read. Rows come from dev, on which
    choices were made, so the result of the suite `normal` is slightly too good for every method
    except the base. Answers are saved, so the same call continues a test that was stopped.
    `confirm` is asked before questions are sent to a service. Raises RunError, InputError,
    Declined.
    """
    subject = find_subject(Path(path), run, method, models or Models())
    models = models or Models(endpoints=load_endpoints(subject.assistant, subject.run))
    with subject.run.lock() if subject.run else contextlib.nullcontext():
        suite_file = (
            read_suite(subject.task.suite) if subject.task and subject.task.suite else SuiteFile(())
        )
        judge = _build_judge(subject, suite_file)
        # 1. Gather the cases: a few hundred, without those that were trained on or are too long.
        gathered = gather_cases(subject, suite_file, judge, QUICK if quick else WHOLE, suites)
        cases, notes = _choose_cases(subject, gathered, models)
        if subject.task and not suites:
            check_gates(subject.task)
        # 2. Answer and judge them: minutes on a CPU, each batch on disk before the next.
        sides = []
        # The methods of a run share the answers of their base.
        folder = (subject.run.folder / TESTS if subject.run else subject.folder) / "answers"
        for side in (subject.base, subject.assistant):
            confirm_sending(side, models, cases, folder, confirm)
        for name, side in ((subject.base.method, subject.base), (subject.name, subject.assistant)):
            answers = answer_cases(side, models, cases, folder, partial(on_progress, name))
            sides.append(judge_answers(judge, cases, answers))
        results = tuple(map(CaseResult, cases, *sides))
        # 3. Measure, decide the gates, and write the page.
        report = _measure(subject, results, models)
        notes = [*report.notes, *notes, *_list_unsure_acts(subject, judge, results)]
        report = replace(report, quick=quick, notes=tuple(notes), acts=suite_file.acts)
        write_results(report)
        if subject.run and subject.run.verdict:
            write_report(subject.run.folder)  # it displays failed gates next to the recommendation
    return report


def _choose_cases(
    subject: Subject, gathered: Sequence[Case], models: Models
) -> tuple[list[Case], list[str]]:
    trained = subject.train_questions
    untaught = [
        case
        for case in gathered
        if case.suite == leaks.SUITE or join_turns(case.input) not in trained
    ]
    cases = drop_too_long(untaught, (subject.base, subject.assistant), models)
    left_out = {
        "the question is in the training rows": len(gathered) - len(untaught),
        "the question does not fit the model's context": len(untaught) - len(cases),
    }
    counts = {
        reason: format_count(num, "case was", "cases were")
        for reason, num in left_out.items()
        if num
    }
    return cases, [f"{count} left out because {reason}." for reason, count in counts.items()]


def _measure(subject: Subject, results: tuple[CaseResult, ...], models: Models) -> SuiteReport:
    forgotten = forgetting.measure_forgetting(subject.assistant.model, models)
    measures = (
        *measure_shares(results, _list_available(subject)),
        *bias.measure_bias(results),
        *forgotten,
    )
    return SuiteReport(
        subject=subject,
        results=results,
        measures=measures,
        gates=tuple(decide_gates(subject.task.gates if subject.task else (), measures)),
        notes=(*subject.notes, *_list_notes(subject, results)),
    )


def _build_judge(subject: Subject, own: SuiteFile) -> Judge:
    assistant = subject.assistant
    task = subject.task
    contract = assistant.contract
    grounds = None
    if task and task.documents:
        words = [*contract.fields, *contract.labels] if contract else []
        grounds = Grounds.from_passages(read_passages(task.documents), [*words, task.instructions])
    return Judge(
        assistant.kind,
        contract,
        subject.metric,
        subject.instructions,
        grounds,
        own.acts,
        has_scope=assistant.scope is not None,
        right=task.handover.right if task and task.handover else 1.0,
    )


def _list_available(subject: Subject) -> list[str]:
    available = {
        "contract": subject.assistant.contract,
        "documents": subject.task and subject.task.documents,
        "limits": subject.assistant.has_limits,
        "handover": subject.assistant.handover is not None,
        "citations": subject.task and subject.task.documents and subject.assistant.search,
    }
    return [name for name, needed in available.items() if needed]


def gather_cases(
    subject: Subject, own: SuiteFile, judge: Judge, size: Size, suites: Sequence[str] = ()
) -> list[Case]:
    """Build all cases, suite by suite: dev rows, rewritten rows, the starter pack, the user's own
    cases.
    """
    seed = subject.task.seed if subject.task else 0
    contract = judge.contract

    def read_row_act(row: Example) -> Act:
        act = judge.read_act(row.output).act
        return "answer" if act == "incoherent" else act

    dev = sample_rows(subject.dev, size.normal, seed)
    rows = CaseRows(
        dev, size.rows_per_pattern, seed, read_row_act, contract.labels if contract else ()
    )
    pack = _build_from_entries(_read_packs(), subject, rows)
    starter = [*(build_original_case(row, rows) for row in dev), *rewrite_rows(rows), *pack]
    own_cases = list(_build_from_entries(own.entries, subject, rows))
    cases = [*_sample_cases(starter, size.suite, seed), *_sample_cases(own_cases, size.suite, seed)]
    cases += _build_extra_cases(subject, judge, rows, size, suites)
    names = dict.fromkeys(case.suite for case in cases)
    check_known("--suite", suites, [*names, bias.SUITE, leaks.SUITE], "no such suite")
    order = [*SUITES, *names]
    asked = [case for case in cases if not suites or case.suite in (*suites, "normal")]
    return sorted(asked, key=lambda case: order.index(case.suite))


def _build_extra_cases(
    subject: Subject, judge: Judge, rows: CaseRows, size: Size, suites: Sequence[str]
) -> Iterator[Case]:
    # Classifiers and `--suite bias` get rows in other names; other kinds of task get training rows
    # with personal data.
    is_classifier = subject.assistant.kind == "classify"
    if bias.SUITE in suites or (is_classifier and not suites):
        yield from bias.build_bias_cases(rows, BIAS_ALONE if suites else size.bias)
    if not is_classifier and (leaks.SUITE in suites or not suites):
        known_text = judge.grounds.all_text if judge.grounds else ""
        yield from leaks.build_leak_cases(
            subject.train.examples, known_text, 5 * size.rows_per_pattern
        )


@cache
def _read_packs() -> tuple[Entry, ...]:
    files = (PACKS / f"{name}.yaml" for name in SUITES)
    entries = (entry for file in files if file.exists() for entry in read_suite(file).entries)
    return tuple(replace(entry, case=replace(entry.case, is_packaged=True)) for entry in entries)


def _build_from_entries(
    entries: Sequence[Entry], subject: Subject, rows: CaseRows
) -> Iterator[Case]:
    available = _list_available(subject)
    for entry in entries:
        fits = not entry.kinds or subject.assistant.kind in entry.kinds
        if fits and all(need in available for need in entry.needs):
            has_row = any(
                name in turn for turn in (*entry.ask, *entry.turns) for name in (ROW, RESULT)
            )
            yield from fill_patterns(entry, rows) if has_row else build_fixed_cases(entry)


def _sample_cases(cases: Sequence[Case], max_cases: int | None, seed: int) -> list[Case]:
    """Sample at most `max_cases` of each suite, one of each kind in turn; all unchanged dev rows
    stay.
    """
    if max_cases is None:
        return list(cases)
    positions = random.Random(f"{seed}/part").sample(range(len(cases)), len(cases))
    num_turns = Counter[tuple[str, str]]()
    num_taken = Counter[str]()
    sampled = []

    def next_turn(position: int) -> int:
        kind = cases[position].suite, cases[position].about
        num_turns[kind] += 1
        return num_turns[kind]

    for position in sorted(positions, key=next_turn):
        case = cases[position]
        if case.about == DEV_ROWS or num_taken[case.suite] < max_cases:
            num_taken[case.suite] += case.about != DEV_ROWS
            sampled.append(position)
    return [cases[position] for position in sorted(sampled)]


def judge_answers(
    judge: Judge, cases: Sequence[Case], answers: Sequence[Sequence[Answer]]
) -> list[JudgedAnswer]:
    """Judge one side's answers: for each case the last, after its own earlier ones in a
    conversation.
    """
    originals: dict[str, tuple[Answer, JudgedAnswer]] = {}
    judged: dict[str, JudgedAnswer] = {}
    pairs = list(zip(cases, answers, strict=True))
    # Unchanged dev rows come first, because the answers to changed rows are compared with their
    # answers.
    for case, (*earlier, answer) in sorted(pairs, key=lambda pair: bool(pair[0].original_id)):
        judged_answer = judge.judge(case, answer, originals.get(case.original_id), earlier)
        judged[case.id] = judged_answer
        if not case.original_id:
            originals[case.id] = (answer, judged_answer)
    return [judged[case.id] for case in cases]


def _list_notes(subject: Subject, results: Sequence[CaseResult]) -> Iterator[str]:
    if subject.assistant.fingerprint == subject.base.fingerprint:
        yield "The assistant is the base itself, so both columns show the same answers."
    if subject.run:
        learned = (
            read_json(subject.run.method_folder(subject.name) / "method.json").get("learned") or 0
        )
        as_saved = subject.assistant == load(subject.run.assistant_folder(subject.name))
        knows_dev = as_saved and learned > len(subject.train)
        reason = "on which it was also trained" if knows_dev else "on which choices were made"
        yield f"The cases are made from dev rows, {reason}. The test stays sealed."
    if not any(result.case.suite == "sensitive" for result in results):
        yield "No sensitive questions were asked."


def _list_unsure_acts(
    subject: Subject, judge: Judge, results: Sequence[CaseResult]
) -> Iterator[str]:
    """Yield notes on outputs of rows, and on answers to the cases, whose act is unsure."""
    rows = (*subject.dev, *subject.train) if subject.assistant.kind == "answer" else ()
    outputs = list(dict.fromkeys(row.output for row in rows))[:READ_OUTPUTS]
    texts = {
        "output of the rows": [text for text in outputs if not judge.read_act(text).is_sure],
        f"answer of {subject.name}": [
            row.assistant.text for row in results if not row.assistant.is_sure
        ],
    }
    for name, unsure in texts.items():
        if unsure:
            yield (
                f"{len(unsure)} x unsure whether an {name} refuses, such as "
                f"{quote_value(unsure[0])}. It counts as an answer. To settle this, write words "
                "of it under acts: refuse: or acts: answer: in the suite file."
            )


def write_results(report: SuiteReport) -> None:
    """Write results.jsonl, test.json and report.html to the test's folder."""
    folder = report.subject.folder
    write_lines(folder / "results.jsonl", map(to_line, report.results))
    write_json(folder / "test.json", to_report_json(report))
    write_text(folder / "report.html", to_html(report))

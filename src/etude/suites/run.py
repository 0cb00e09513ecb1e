"""`etude test`: cases gathered, asked of the assistant and of its base, judged, measured, held against the gates."""

from __future__ import annotations

import contextlib
import random
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path

from etude.assistant import load
from etude.base.files import read_json, write_json, write_lines, write_text
from etude.base.remedies import instead
from etude.base.wording import count
from etude.errors import InputError, Issue, quote_value
from etude.index.documents import read_passages
from etude.methods.fit_context import sampled
from etude.models.registry import Models
from etude.suites.answering import answer_cases, fitting
from etude.suites.cases import SUITES, Case, Entry, SuiteFile, fixed_cases, read_suite
from etude.suites.gates import decide
from etude.suites.judge import Judge, Reply
from etude.suites.measures import Judged, measures
from etude.suites.probes.bias import SUITE as BIAS
from etude.suites.probes.bias import bias_cases, bias_measures
from etude.suites.probes.confidence import confidence_of
from etude.suites.probes.forgetting import forgetting
from etude.suites.probes.grounding import Grounds
from etude.suites.probes.leaks import SUITE as LEAKS
from etude.suites.probes.leaks import Exposed, exposures, leak_cases
from etude.suites.results import Examined, line
from etude.suites.shown.html_page import as_html
from etude.suites.shown.machine import as_json, as_junit
from etude.suites.subject import Subject, find_subject
from etude.suites.variants import DEV_ROWS, Rows, filled, plain_cases, varied
from etude.types import Act, Answer, Example

PACKS = Path(__file__).with_name("packs")


@dataclass(frozen=True)
class Size:
    """How many cases are asked."""

    normal: int
    """Dev rows as they are; all others with a row use these rows."""
    each: int
    """Rows that a pattern or a rewriting takes."""
    suite: int | None
    """At most so many cases of a suite, of the user's own as many as of the starter pack."""
    bias: int
    """Rows asked in the names of two groups, of classifiers; others are asked with `--suite bias`."""


BIAS_ALONE = 100
"""The same for `--suite bias`."""
WHOLE, QUICK = Size(50, 4, None, 20), Size(10, 1, 8, 0)


OnProgress = Callable[[str, int, int, float], None]
"""Called with who answers ("prompt"), cases answered, cases in all, and the seconds left for them."""


def examine(
    place: Path | str,
    *,
    run: str | None = None,
    method: str | None = None,
    suites: Sequence[str] = (),
    quick: bool = False,
    on_progress: OnProgress = lambda who, done, total, left: None,
    models: Models | None = None,
) -> Examined:
    """Test the assistant at `place` (a task, a run's folder or an assistant's) beside its base, and write the results.

    `suites` names those to ask; none is all. No test row is read: rows come from dev, on which choices were made, so
    the suite `normal` is a little too good for every method but the base. Answers are kept, so that a test which was
    stopped goes on. Raises RunError, InputError.
    """
    models = models or Models()
    subject = find_subject(Path(place), run, method, models)
    with subject.run.locked() if subject.run else contextlib.nullcontext():
        own = read_suite(subject.task.suite) if subject.task and subject.task.suite else SuiteFile(())
        judge = _judge(subject, own)
        gathered = gather(subject, own, judge, QUICK if quick else WHOLE, suites)
        cases, notes = _asked(subject, gathered, models)
        judged = _answered(subject, judge, cases, models, on_progress)
        tested = _measured(subject, judged, models, whole=not suites)
        tested = replace(tested, quick=quick, notes=(*tested.notes, *notes), acts=own.acts)
        write(tested)
    return tested


def _asked(subject: Subject, gathered: Sequence[Case], models: Models) -> tuple[list[Case], list[str]]:
    """The cases that are asked, and notes on those that are left out."""
    untaught = [case for case in gathered if case.suite == LEAKS or case.question not in subject.learned]
    cases = fitting(untaught, (subject.base, subject.assistant), models)
    left_out = {
        "the question stands among the training rows": len(gathered) - len(untaught),
        "the question does not fit the model's context": len(untaught) - len(cases),
    }
    return cases, [f"{count(num, 'case')} left out, because {why}." for why, num in left_out.items() if num]


def _answered(
    subject: Subject, judge: Judge, cases: Sequence[Case], models: Models, on_progress: OnProgress
) -> tuple[Judged, ...]:
    """Every case with both replies: the base answers first."""
    sides = []
    for name, side in ((subject.base.method, subject.base), (subject.name, subject.assistant)):
        answers = answer_cases(side, models, cases, subject.folder, partial(on_progress, name))
        sides.append(replies(judge, cases, answers))
    return tuple(map(Judged, cases, *sides))


def _measured(subject: Subject, judged: tuple[Judged, ...], models: Models, *, whole: bool) -> Examined:
    """All measures and gates."""
    forgotten = forgetting(subject.assistant.model, models)
    found = (*measures(judged, _has(subject)), *bias_measures(judged), *forgotten)
    leaks = _leaks(subject, models)
    planted = [each.found for each in leaks if each.canary.times]
    counts = {"canaries": sum(planted)} if planted else {}
    return Examined(
        subject=subject,
        judged=judged,
        measures=found,
        gates=tuple(decide(subject.task.gates if subject.task else (), found, counts, whole)),
        notes=(*subject.notes, *_notes(subject, judged)),
        leaks=leaks,
        confidence=confidence_of(subject.run, subject.name) if subject.run else None,
    )


def _judge(subject: Subject, own: SuiteFile) -> Judge:
    assistant, task = subject.assistant, subject.task
    contract, grounds = assistant.contract, None
    if task and task.documents:
        words = [*contract.fields, *contract.labels] if contract else []
        grounds = Grounds.of(read_passages(task.documents), [*words, task.instructions])
    return Judge(assistant.kind, contract, subject.metric, subject.instructions, grounds, own.acts)


def _leaks(subject: Subject, models: Models) -> tuple[Exposed, ...]:
    if subject.task is None:
        return ()
    return tuple(exposures(subject.task, subject.assistant.model, models, subject.learned))


def _has(subject: Subject) -> list[str]:
    """What measures and starter cases may need, of which the subject has."""
    has = {
        "contract": subject.assistant.contract,
        "documents": subject.task and subject.task.documents,
        "citations": subject.task and subject.task.documents and subject.assistant.search,
    }
    return [name for name, value in has.items() if value]


def gather(
    subject: Subject, own: SuiteFile, judge: Judge, size: Size, suites: Sequence[str] = ()
) -> list[Case]:
    """All cases, suite by suite: dev rows, rewritten rows, the starter pack, the user's own."""
    seed = subject.task.seed if subject.task else 0
    contract = judge.contract

    def act(row: Example) -> Act:
        found = judge.act_of(row.output)[0]
        return "answer" if found == "incoherent" else found

    dev = sampled(subject.dev, size.normal, seed)
    rows = Rows(dev, size.each, seed, act, contract.labels if contract else ())
    starter = [*plain_cases(rows), *varied(rows), *_of_entries(_packs(), subject, rows)]
    own_cases = list(_of_entries(own.entries, subject, rows))
    cases = [*_in_part(starter, size.suite, seed), *_in_part(own_cases, size.suite, seed)]
    cases += _probes(subject, judge, rows, size, suites)
    _check_known(suites, cases)
    order = [*SUITES, *dict.fromkeys(case.suite for case in cases)]
    return sorted(
        (case for case in cases if not suites or case.suite in (*suites, "normal")),
        key=lambda case: order.index(case.suite),
    )


def _probes(subject: Subject, judge: Judge, rows: Rows, size: Size, suites: Sequence[str]) -> Iterator[Case]:
    """Rows asked in other names, of classifiers or by `--suite bias`; training rows with personal data, of others."""
    labels = subject.assistant.kind == "classify"
    if BIAS in suites or (labels and not suites):
        yield from bias_cases(rows, BIAS_ALONE if suites else size.bias)
    if not labels and (LEAKS in suites or not suites):
        known = judge.grounds.everything if judge.grounds else ""
        yield from leak_cases(subject.train.examples, known, 5 * size.each)


@cache
def _packs() -> tuple[Entry, ...]:
    files = (PACKS / f"{name}.yaml" for name in SUITES)
    return tuple(entry for file in files if file.exists() for entry in read_suite(file).entries)


def _of_entries(entries: Sequence[Entry], subject: Subject, rows: Rows) -> Iterator[Case]:
    has = _has(subject)
    for entry in entries:
        fits = not entry.kinds or subject.assistant.kind in entry.kinds
        if fits and all(need in has for need in entry.needs):
            yield from filled(entry, rows) if entry.with_row else fixed_cases(entry)


def _in_part(cases: Sequence[Case], most: int | None, seed: int) -> list[Case]:
    """At most so many cases of each suite, one of each kind in turn, drawn by the seed; dev rows as they are stay."""
    if most is None:
        return list(cases)
    drawn = random.Random(f"{seed}/part").sample(range(len(cases)), len(cases))
    turns, taken = Counter[tuple[str, str]](), Counter[str]()
    chosen = []

    def turn(place: int) -> int:
        kind = cases[place].suite, cases[place].about
        turns[kind] += 1
        return turns[kind]

    for place in sorted(drawn, key=turn):
        case = cases[place]
        if case.about == DEV_ROWS or taken[case.suite] < most:
            taken[case.suite] += case.about != DEV_ROWS
            chosen.append(place)
    return [cases[place] for place in sorted(chosen)]


def _check_known(suites: Sequence[str], cases: Sequence[Case]) -> None:
    known = list(dict.fromkeys(case.suite for case in cases))
    faults = [
        Issue("--suite", "no such suite", quote_value(name), instead(name, known))
        for name in suites
        if name not in (*known, BIAS, LEAKS)
    ]
    if faults:
        raise InputError(faults)


def replies(judge: Judge, cases: Sequence[Case], answers: Sequence[Answer]) -> list[Reply]:
    """One side's answers judged, the dev rows as they are first: the others are held against them."""
    plain: dict[str, tuple[Answer, Reply]] = {}
    found: dict[str, Reply] = {}
    for case, answer in sorted(zip(cases, answers, strict=True), key=lambda pair: bool(pair[0].plain)):
        reply = judge.reply(case, answer, plain.get(case.plain))
        found[case.id] = reply
        if not case.plain:
            plain[case.id] = (answer, reply)
    return [found[case.id] for case in cases]


def _notes(subject: Subject, judged: Sequence[Judged]) -> Iterator[str]:
    if subject.assistant.fingerprint == subject.base.fingerprint:
        yield "The assistant is the base itself, so both columns show the same answers."
    if subject.run:
        learned = read_json(subject.run.method(subject.name) / "method.json").get("learned") or 0
        as_saved = subject.assistant == load(subject.run.assistant(subject.name))
        knows_dev = as_saved and learned > len(subject.train)
        made = "which it has learned too" if knows_dev else "on which choices were made"
        yield f"Rows come from dev, {made}; the test stays sealed."
    if not any(each.case.suite == "sensitive" for each in judged):
        yield "No sensitive questions were asked."


def write(tested: Examined) -> None:
    """Writes results.jsonl, test.json, junit.xml and report.html to the test's folder."""
    folder = tested.subject.folder
    write_lines(folder / "results.jsonl", map(line, tested.judged))
    write_json(folder / "test.json", as_json(tested))
    write_text(folder / "junit.xml", as_junit(tested))
    write_text(folder / "report.html", as_html(tested))

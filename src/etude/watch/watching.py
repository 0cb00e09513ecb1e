"""`etude watch`: compare a record of answered requests with the rows of the task, and count what
became of them.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, timedelta
from pathlib import Path

import numpy as np

from etude.assistant import load
from etude.base.files import Json, list_lines, read_json, write_lines, write_text
from etude.base.formatting import format_count, format_interval, format_share
from etude.base.pages import render_page
from etude.data.dataset import TRAIN_MIN, Dataset
from etude.errors import RunError
from etude.feedback import FILE, FeedbackLog
from etude.feedback.agreement import collect_judgements
from etude.limits.scope import get_question
from etude.models.registry import Models
from etude.runs import FOLDER, Run, find_run, find_task_runs
from etude.runs.lifecycle import load_task_rows
from etude.runs.recommended import find_served
from etude.stats import FloatArray, estimate_known
from etude.task import Task
from etude.types import Estimate
from etude.watch.bound import WrongBound, bound_draws, count_needed, read_draws
from etude.watch.martingale import ChangeTest, detect_change
from etude.watch.questions import QuestionSpace, group_questions
from etude.watch.record import RecordedRequest, mask_texts, read_record
from etude.watch.record_key import RecordKey, load_record_key

FAR = 0.95  # a question is far from the rows if this share of the held-out rows is nearer
FEW_ROWS = 100  # held-out rows; with fewer, a change is found late
LOW_CONFIDENCE = 0.5
MAX_DAYS = 21  # up to here, shares are given by day, else by week
MAX_GROUPED = 2_000  # the latest far questions, which are grouped
RECORD = "record"  # the default folder, beside the task file
MARGIN = 0.05  # without a target, how far above the expected share of wrong answers a bound may be


@dataclass(frozen=True)
class Traffic:
    """A task, an assistant of a run of it, and the recorded requests to the task's assistants."""

    task: Task
    dataset: Dataset
    test: Dataset | None  # of the task's own test file
    run: Run
    method: str
    fingerprint: str  # the assistant's
    path: Path  # of the record
    key: RecordKey
    requests: Sequence[RecordedRequest]
    notes: Sequence[str]

    @property
    def own_answers(self) -> list[RecordedRequest]:
        """The answers that the assistant gave itself: not handed over, and not the sentence of a
        limit.
        """
        return [
            request
            for request in self.requests
            if request.fingerprint in ("", self.fingerprint)
            and request.answer
            and not (request.handed_over or request.limit)
        ]


@dataclass(frozen=True)
class NewQuestions:
    """A group of far questions since the change, with masked texts."""

    size: int
    typical: tuple[str, ...]
    nearest_row: str  # the training question nearest to the first typical one
    num_limited: int  # questions that a limit turned away


@dataclass(frozen=True)
class Period:
    """The requests of a day, or of a week from Monday on, and shares of them."""

    start: str
    num_requests: int
    limited: Estimate | None  # turned away by a limit
    handed_over: Estimate | None
    unsure: Estimate | None  # with a confidence below LOW_CONFIDENCE; None without confidences


@dataclass(frozen=True)
class WatchReport:
    """What a record says about an assistant in use."""

    task: str
    run: str
    method: str
    folder: Path  # the run's
    num_requests: int
    num_held_out: int
    num_compared: int  # in the test, with requests that are no longer in the record
    false_alarms: float
    test: ChangeTest
    alarm_time: str
    change_time: str
    far: (
        Estimate | None
    )  # share of the questions since the change that are far; None without an alarm
    groups: tuple[NewQuestions, ...]
    periods: tuple[Period, ...]
    right: Estimate | None  # share of right answers among those that people judged
    wrong: WrongBound | None  # from judged answers that were drawn at random
    needed: str  # how many judged answers would be enough
    notes: tuple[str, ...]


def watch(
    task_file: Path,
    record: Path | None = None,
    *,
    run: str | None = None,
    method: str | None = None,
    false_alarms: float = 0.05,
    on_step: Callable[[str], None] = lambda name: None,
) -> WatchReport:
    """Watch an assistant of a task (default: as `etude serve` chooses it) through a record of
    requests.

    `record` is a folder of `etude serve --record` (default: `record` beside the task file) or a
    file of requests. The distances of a folder's questions are saved in it, so that the next call
    continues the same test. Raises InputError for a record that cannot be used, and RunError
    without a run.
    """
    on_step("Reading")
    traffic = read_traffic(task_file, record, run, method)
    task = traffic.task
    task_run = traffic.run
    method = traffic.method
    path = traffic.path
    requests = traffic.requests
    notes = list(traffic.notes)

    train, held_out = _load_questions(traffic, notes)
    on_step("Comparing questions")
    space = QuestionSpace(task, train, Models())
    reference = space.find_nearest(space.embed(held_out))[0]
    name = traffic.key.hash_exchange((), repr((train, held_out, space.name)))
    file = path / f"distances-{name}.jsonl" if path.is_dir() else None
    # In a file of requests, an id may be that of a customer.
    by_id = {(file and item.id) or str(number): item for number, item in enumerate(requests)}
    stream = _measure_stream(by_id, space, file, notes, traffic.key)
    test = detect_change(
        reference.tolist(), [line["distance"] for line in stream], false_alarms, task.seed
    )
    recent = stream[test.change :] if test.change is not None else []
    is_far = [line["distance"] > np.quantile(reference, FAR, method="higher") for line in recent]
    far = [
        by_id[line["id"]]
        for line, hit in zip(recent, is_far, strict=True)
        if hit and line["id"] in by_id
    ]
    alarm, change = (
        "" if position is None else stream[position]["time"]
        for position in (test.alarm, test.change)
    )
    votes = collect_votes(task, traffic.key)

    return WatchReport(
        *(
            task.name,
            task_run.name,
            method,
            task_run.folder,
            len(requests),
            len(held_out),
            len(stream),
        ),
        *(false_alarms, test, alarm, change),
        estimate_known([float(hit) for hit in is_far]),
        _group_far(far[-MAX_GROUPED:], space, train, traffic.key),
        _count_periods(requests),
        _judge(requests, votes),
        bound_draws(read_draws(task.folder / FOLDER, traffic.fingerprint), votes),
        _describe_needed(traffic),
        (*space.notes, *notes),
    )


def read_traffic(
    task_file: Path, record: Path | None, run: str | None, method: str | None
) -> Traffic:
    """Choose an assistant, and read the requests of its record. The arguments are those of
    `watch`.
    """
    task_run, method, _ = find_served(find_run(task_file, run).folder if run else task_file, method)
    notes = list[str]()

    task, dataset, test = load_task_rows(task_run.task_file, None, TRAIN_MIN)
    path = record or task.folder / RECORD
    runs = {item.name for item in find_task_runs(task_run.task_file)}
    fingerprint = load(task_run.assistant_folder(method)).fingerprint
    key = load_record_key(path)
    requests = read_record(path, task.examples.input, runs, fingerprint, notes, key)
    if num_others := sum(request.fingerprint not in ("", fingerprint) for request in requests):
        notes.append(
            f"{format_count(num_others, 'request')} answered by another assistant of this task"
        )
    return Traffic(
        task=task,
        dataset=dataset,
        test=test,
        run=task_run,
        method=method,
        fingerprint=fingerprint,
        path=path,
        key=key,
        requests=requests,
        notes=notes,
    )


def _load_questions(traffic: Traffic, notes: list[str]) -> tuple[list[str], list[str]]:
    """Load the masked questions of the training rows and of the held-out rows: dev and test."""
    run = traffic.run
    questions = dict[str, list[str]]()
    split = read_json(run.folder / "split.json")
    for side in ("train", "dev", "test"):
        rows = {
            row.id: row
            for row in (traffic.test if side == "test" and traffic.test else traffic.dataset)
        }
        questions[side] = [get_question(rows[name].input) for name in split[side] if name in rows]
        if num_missing := len(split[side]) - len(questions[side]):
            missing = format_count(num_missing, f"{side} row")
            notes.append(f"{missing} of {run.name} left out, because the examples have changed")
    train = questions["train"]
    held_out = [*questions["dev"], *questions["test"]]
    if not (train and held_out):
        raise RunError(f"{run.name} has no rows to compare with. Run `etude compare` again.")
    if len(held_out) < FEW_ROWS:
        few = format_count(len(held_out), "held-out row")
        notes.append(
            f"With only {few}, a change may be found late, or not if it was there from the start"
        )
    masking = traffic.key.masking
    return mask_texts(train, masking), mask_texts(held_out, masking)


def _measure_stream(
    by_id: Mapping[str, RecordedRequest],
    space: QuestionSpace,
    file: Path | None,
    notes: list[str],
    key: RecordKey,
) -> list[Json]:
    """Measure how far questions are from the rows, in their order. With a `file`, the questions
    measured before come first, also if they were deleted from the record since, so that all calls
    together are one test.
    """
    lines = list_lines(file) if file else []
    measured = {line["id"] for line in lines}
    new = {name: request for name, request in by_id.items() if name not in measured}
    if not new:
        return lines

    texts = mask_texts([request.question for request in new.values()], key.masking)
    distances = space.find_nearest(space.embed(texts))[0].tolist()
    for (name, request), distance in zip(new.items(), distances, strict=True):
        lines.append({"id": name, "time": str(request.time or "")[:16], "distance": distance})
    try:
        if file:
            write_lines(file, lines, private=True)
    except OSError as error:
        notes.append(
            f"The distances cannot be saved ({error.strerror}); the next call starts a new test"
        )
    return lines


def _group_far(
    requests: Sequence[RecordedRequest],
    space: QuestionSpace,
    train: Sequence[str],
    key: RecordKey,
) -> tuple[NewQuestions, ...]:
    if not requests:
        return ()
    texts = mask_texts([request.question for request in requests], key.masking)
    vectors = space.embed(texts)
    nearest = space.find_nearest(vectors)[1]
    return tuple(
        NewQuestions(
            len(group),
            tuple(dict.fromkeys(texts[row] for row in group))[:3],
            train[nearest[group[0]]],
            sum(bool(requests[row].limit) for row in group),
        )
        for group in group_questions(vectors)
    )


def _count_periods(requests: Sequence[RecordedRequest]) -> tuple[Period, ...]:
    days = [(request.time.astimezone(UTC).date(), request) for request in requests if request.time]
    by_week = bool(days) and (days[-1][0] - days[0][0]).days > MAX_DAYS
    groups = dict[date, list[RecordedRequest]]()
    for day, request in days:
        groups.setdefault(day - timedelta(days=day.weekday() * by_week), []).append(request)
    return tuple(
        Period(
            str(start),
            len(group),
            estimate_known([float(bool(item.limit)) for item in group]),
            estimate_known([float(item.handed_over) for item in group]),
            estimate_known(
                [
                    None if item.confidence is None else float(item.confidence < LOW_CONFIDENCE)
                    for item in group
                ]
            ),
        )
        for start, group in groups.items()
    )


def collect_votes(task: Task, key: RecordKey) -> dict[str, float]:
    """Return the share of people who judged an answer right, by `RecordKey.hash_exchange` of input
    and answer.
    """
    judgements = collect_judgements(FeedbackLog(task.folder / FILE).entries)
    return {
        key.hash_exchange(*exchange): sum(judged.values()) / len(judged)
        for exchange, judged in judgements.items()
    }


def _judge(requests: Sequence[RecordedRequest], votes: Mapping[str, float]) -> Estimate | None:
    """Estimate the share of right answers of the record among those that people judged; ties do not
    count.
    """
    shares = [votes[exchange] for exchange in {request.exchange for request in requests} & {*votes}]
    return estimate_known([float(share > 0.5) for share in shares if share != 0.5])


def predict_wrong(answers: Sequence[RecordedRequest]) -> FloatArray:
    """Return the probability that each answer is wrong, by its confidence; 0 without a
    confidence.
    """
    wrong = [0.0 if item.confidence is None else 1 - item.confidence for item in answers]
    return np.asarray(np.clip(np.nan_to_num(wrong), 0, 1), dtype=np.float64)


def _describe_needed(traffic: Traffic) -> str:
    """Say how many random answers to judge until the bound meets the target or, without one, is 5
    points above the share of wrong answers that is expected by the confidences, or else by the
    test.
    """
    answers = traffic.own_answers
    run = traffic.run
    target = traffic.task.target
    if not answers:
        return "The record has no answer of this assistant to judge."
    metric = run.info["metric"]  # is its value the share of right answers?
    is_share = (
        metric["name"] in ("accuracy", "exact_match", "passes") and not metric["contract_only"]
    )
    rows = run.verdict.ladder if run.verdict and is_share else ()
    right = next((row.estimate.value for row in rows if row.method == traffic.method), 0.5)
    predicted = expected = predict_wrong(answers)
    source = "their confidences say"
    if all(item.confidence is None for item in answers):
        expected = np.full(len(answers), 1 - right)
        source = "on the test" if rows else "half of the time"
    bound = expected.mean() + MARGIN
    if is_share and target is not None and 1 - target > expected.mean():
        bound = 1 - target
    number = count_needed(expected, predicted, bound)
    amount = "More than 100,000" if number is None else f"About {number:,}"
    share = format_share(expected.mean())
    goal = format_share(bound)
    condition = f"answers are wrong as often as {source} ({share})"
    return (
        f"{amount} judged random answers would show that at most {goal} are wrong, if {condition}."
    )


def format_wrong(wrong: WrongBound | None) -> tuple[str, str]:
    """Say at most how many answers are wrong, and how that was counted."""
    if wrong is None:
        return (
            "Nothing is known of wrong answers, because nobody has judged a randomly drawn answer",
            "",
        )
    judged = f"{wrong.num_judged:,} judged of {wrong.num_answers:,}"
    high, alone = (
        format_share(math.ceil(1000 * value) / 1000) for value in (wrong.high, wrong.high_alone)
    )
    details = f"From the judged answers alone: at most {alone}"
    if wrong.num_skipped:
        details += (
            f". {format_count(wrong.num_skipped, 'drawn answer')} not judged, and counted as wrong"
        )
    if high == "100%":
        return f"{judged} answers are too few to say how many are wrong", details
    return (
        f"At most {high} of answers are wrong (95% sure however often you look; {judged})",
        details,
    )


def format_headline(report: WatchReport) -> str:
    """Say whether the questions are those of the rows and, if not, since when and how many."""
    if report.far is None:
        return "No alarm: the questions are as near to the rows as held-out rows are"
    since = (
        f"since {report.change_time.replace('T', ' ')}" if report.change_time else "in this record"
    )
    share = format_share(report.far.value)
    usual = format_share(1 - FAR)
    count = f"{share} of {format_count(report.far.n, 'question')}"
    return (
        f"Alarm: {since}, {count} ({format_interval(report.far)}) are far from the rows; usual "
        f"are {usual}"
    )


def write_page(report: WatchReport) -> Path:
    """Write the page into the run's folder."""
    page = render_page(
        Path(__file__).parent,
        "page.html.j2",
        *("report.css", "page.css"),
        report=report,
        headline=format_headline(report),
        wrong=format_wrong(report.wrong),
        low_confidence=format_share(LOW_CONFIDENCE),
    )
    file = report.folder / "watch.html"
    write_text(file, page)
    return file

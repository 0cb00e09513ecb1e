"""Fits for the report that are not part of the ladder. All are made before the test is opened.

- The baseline on the same number of rows as the tuned method of the headline, if time or `max_rows`
  limited the rows of that method. It is shown next to the ladder and does not affect the verdict.
- With rows that a model made: the baseline and the best tuned method on the real rows alone, on
  these repeated to as many rows, and with made rows drawn at random from those that passed the
  gates of `etude make`. They answer the same test rows as the method on the ladder, which learned
  real and made rows.
- With `evidence: full`: the learning curve of the best tuned method on dev. A fit that was stopped
  resumes. Weights are deleted after they have answered; the answers stay in methods/NAME/evidence.
"""

import random
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import cycle, islice
from pathlib import Path

from etude.assistant import Assistant
from etude.base.files import read_json, read_lines, write_json, write_lines
from etude.base.typed_json import from_json, to_json
from etude.comparison.ladder_run import LadderRun
from etude.comparison.sentences import write_made_rows
from etude.data.dataset import Dataset
from etude.data.formats import read_rows
from etude.data.splits.sides import select_unlike
from etude.evaluate import build_sample, evaluate, get_unit, parse_outcome
from etude.methods import FitContext, Method
from etude.methods.baseline import METHOD as BASELINE
from etude.methods.shared.fit_context import LookStopped
from etude.methods.shared.training_rows import sample_training_rows
from etude.runs.events import Event, MethodStarted
from etude.runs.record import build_prediction, read_method_records
from etude.runs.training_log import TrainingLog
from etude.runs.verdict import (
    CurvePoint,
    Evidence,
    MadeRowsResult,
    MethodResult,
    build_method_result,
)
from etude.stats import compare_paired
from etude.stats.intervals import estimate_sample
from etude.types import CANDIDATES, CLASSICAL, MADE

EQUAL_ROWS = "equal_rows"
FIT_FILE = "fit.json"
WORK = "work"
EVIDENCE = "evidence"
MADE_ROWS = "made_rows"
RESULTS = "made_rows.json"
REAL = "real rows"
REPEATED = "repeated rows"
DRAWN = "made rows at random"
Arms = Mapping[str, Mapping[str, Assistant]]
"""Method -> arm -> what was fitted on its rows."""
CURVE_DIVISORS = (4, 2)
"""The learning curve has points at a quarter, a half and all of the training rows."""
EQUAL_FACTOR = 4.0
"""The baseline on equal rows is fitted if this many times its seconds are left."""


@dataclass(frozen=True)
class ExtraFit:
    """A fit of a method on other training rows: for the learning curve, a part of them."""

    method: Method
    folder: Path
    title: str
    """Its name on screen."""
    rows: Dataset

    @property
    def predictions_file(self) -> Path:
        """The file of its answers to dev. The fit is complete once this file exists."""
        return self.folder / "predictions.jsonl"


def fit_baseline_on_equal_rows(
    ladder_run: LadderRun, start: Assistant
) -> tuple[Assistant, int] | None:
    """Fit the baseline on as many rows as the tuned method of the headline. Returns it with that
    number, or None if the tuned method was trained on all rows.
    """
    method_records = read_method_records(ladder_run.run)
    tuned = ladder_run.run.info["decided"]["tuned"]
    num_rows = (
        method_records[tuned].get("learned") if tuned and BASELINE.name in method_records else None
    )
    if not num_rows or num_rows >= len(ladder_run.split.train.whole):
        return None
    # It takes about as long as the baseline on all rows, and must not take the test's time.
    if ladder_run.clock.seconds_left < EQUAL_FACTOR * method_records[BASELINE.name]["fit_seconds"]:
        return None
    folder = ladder_run.run.method_folder(BASELINE.name) / EQUAL_ROWS
    context = FitContext(ladder_run.models, ladder_run.metric, folder, seed=ladder_run.task.seed)
    train = sample_training_rows(ladder_run.task, ladder_run.split.train, num_rows)
    candidate, *_ = BASELINE.fit_on_train(
        ladder_run.task, train, ladder_run.split.dev, start, context
    )
    return candidate.assistant, num_rows


def answer_baseline_on_equal_rows(
    ladder_run: LadderRun, fit: tuple[Assistant, int] | None
) -> MethodResult | None:
    """Answer as many test rows as the baseline does, with the one fitted on equal rows, into
    predictions.jsonl.
    """
    if fit is None or (
        ladder_run.clock.is_limited and not ladder_run.count_share_rows(BASELINE.name)
    ):
        return None
    assistant, num_rows = fit
    num_answers = ladder_run.count_share_rows(BASELINE.name) or len(ladder_run.test_rows)
    rows = ladder_run.test_rows.select(range(num_answers), "test rows")
    scored = evaluate(assistant, ladder_run.models, rows, ladder_run.metric)
    lines = [build_prediction("test", row) for row in scored]
    write_lines(
        ladder_run.run.method_folder(BASELINE.name) / EQUAL_ROWS / "predictions.jsonl", lines
    )
    ids = [row.example.id for row in scored]
    return build_method_result(
        BASELINE.name, lines, ids, tuned=False, model=CLASSICAL, learned=num_rows
    )


def fit_evidence(
    ladder_run: LadderRun, fitted: Mapping[str, Assistant], start: Assistant
) -> Evidence | None:
    """Fit the points of the learning curve and answer dev with them. Returns None without
    `evidence: full`, without a tuned method, or if there is too little time.
    """
    if "evidence" not in ladder_run.run.info:
        ladder_run.run.update(evidence=_has_time(ladder_run))
    name = ladder_run.run.info["decided"]["tuned"]
    is_requested = ladder_run.task.evidence == "full" and ladder_run.run.info["evidence"]
    method = next(
        (method for method in ladder_run.methods if is_requested and method.name == name), None
    )
    if method is None:
        return None
    fits = list(_plan_fits(ladder_run, method))
    waiting = [fit for fit in fits if not fit.predictions_file.exists()]
    try:
        _fit_all(ladder_run, waiting, fitted, start)
    except LookStopped:
        ladder_run.run.update(evidence=False)
        return None
    for fit in fits:
        shutil.rmtree(fit.folder / WORK, ignore_errors=True)
    return _make_evidence(ladder_run, method, fits)


def _has_time(ladder_run: LadderRun) -> bool:
    """Whether there is time for the learning curve besides the test, at the measured speed of
    training.
    """
    name = ladder_run.run.info["decided"]["tuned"]
    clock = ladder_run.clock
    if ladder_run.task.evidence != "full" or name is None or not clock.is_limited:
        return not clock.is_limited
    record = read_method_records(ladder_run.run)[name]
    num_trainings = sum(1 / divisor for divisor in CURVE_DIVISORS)
    num_answers = len(CURVE_DIVISORS) * record["dev_rows"]
    seconds = num_trainings * record["train_seconds"] + num_answers * (record["row_seconds"] or 0.0)
    return bool(seconds + ladder_run.estimate_test_seconds() < clock.seconds_left)


def _fit_all(
    ladder_run: LadderRun,
    fits: Sequence[ExtraFit],
    fitted: Mapping[str, Assistant],
    start: Assistant,
) -> None:
    """Make the fits; workers make them at the same time, if they can."""
    if not ladder_run.can_fit_together:
        for fit in fits:
            _fit(ladder_run, fit, fitted, start)
        return
    copy = ladder_run.copy_for_workers()
    for events in ladder_run.models.workers.map(_fit_on_worker, fits, copy, fitted, start):
        ladder_run.publish_results(events)


def _fit_on_worker(
    fit: ExtraFit, ladder_run: LadderRun, fitted: Mapping[str, Assistant], start: Assistant
) -> list[Event]:
    events = ladder_run.start_on_worker()
    _fit(ladder_run, fit, fitted, start)
    return events


def _plan_fits(ladder_run: LadderRun, method: Method) -> Iterator[ExtraFit]:
    # The quickest first, so that a stopped run has as many complete fits as possible.
    name = method.name
    task = ladder_run.task
    folder = ladder_run.run.method_folder(name) / EVIDENCE
    train = _sample_training_rows(ladder_run, method)
    for divisor in CURVE_DIVISORS:
        rows = _sample_part(train, len(train) // divisor, task.seed)
        # One label alone cannot be learned.
        if task.kind != "classify" or len({row.output for row in rows}) > 1:
            yield ExtraFit(
                method, folder / f"rows-{len(rows)}", f"{name}, {len(rows):,} rows", rows
            )


def _sample_training_rows(ladder_run: LadderRun, method: Method) -> Dataset:
    # The rows on which the run trained the method.
    train = ladder_run.split.train.whole
    num_rows = read_method_records(ladder_run.run)[method.name].get("learned") or len(train)
    return sample_training_rows(ladder_run.task, train, num_rows)


def _sample_part(train: Dataset, size: int, seed: int) -> Dataset:
    """Sample `size` rows, group by group. A smaller sample is a subset of a larger one."""
    random_order = random.Random(f"{seed}/curve")
    rank = dict[str, float]()
    for row in train:
        rank.setdefault(get_unit(row), random_order.random())
    order = sorted(range(len(train)), key=lambda index: rank[get_unit(train[index])])
    return train.select(
        sorted(order[:size]), f"{size:,} of {len(train):,} rows, for the learning curve"
    )


def _fit(
    ladder_run: LadderRun, fit: ExtraFit, fitted: Mapping[str, Assistant], start: Assistant
) -> None:
    assistant, context = fit_on_rows(ladder_run, fit, fitted, start)
    ladder_run.release_weights(assistant)
    write_json(fit.folder / FIT_FILE, {"rows": len(fit.rows), "seconds": context.seconds})
    write_lines(
        fit.predictions_file, [build_prediction("dev", row) for row in context.chosen_scored]
    )
    ladder_run.report_side(fit.title, "dev", context.chosen_scored, context.seconds)


def fit_on_rows(
    ladder_run: LadderRun, fit: ExtraFit, fitted: Mapping[str, Assistant], start: Assistant
) -> tuple[Assistant, FitContext]:
    """Fit the method on the rows, as in the run. Its weights stay loaded. Raises LookStopped."""
    method = fit.method
    position = [other.name for other in ladder_run.methods].index(
        method.name
    )  # a worker has copies
    names = [other.name for other in ladder_run.methods[:position]]
    lower = {name: fitted[name] for name in names if name in fitted}
    lines = ladder_run.run.read_predictions(method.name)
    dev = ladder_run.split.dev.select(
        [line["id"] for line in lines if line["side"] == "dev"], "as in the run"
    )
    context = FitContext(
        models=ladder_run.models,
        metric=ladder_run.metric,
        folder=fit.folder / WORK,
        engine=ladder_run.task.engine,
        seed=ladder_run.task.seed,
        on_answers=partial(ladder_run.report_dev_rows, fit.title),
        log=TrainingLog(fit.title, fit.folder / "train.jsonl", ladder_run.on_event),
        preferences=ladder_run.preferences if "preferences" in method.keys else {},
        # The search is the run's own: the curve is about the weights alone.
        lower_folders=[
            ladder_run.work_folder(other.name)
            for other in ladder_run.methods[: position + 1]
            if other.searches
        ],
        takes_any_search=True,
        is_stopped=lambda: ladder_run.clock.is_stopped,
        has_time_for=lambda seconds: not ladder_run.clock.is_stopped,
    )
    ladder_run.on_event(MethodStarted(fit.title, "dev"))
    assistant = method.fit(
        ladder_run.task, fit.rows, dev, ladder_run.find_best(lower, start), context
    )
    if ladder_run.clock.is_stopped:
        raise LookStopped
    return assistant, context


def _make_evidence(ladder_run: LadderRun, method: Method, fits: list[ExtraFit]) -> Evidence:
    curve = [(len(fit.rows), list(read_lines(fit.predictions_file))) for fit in fits]
    dev_lines = [
        line for line in ladder_run.run.read_predictions(method.name) if line["side"] == "dev"
    ]
    curve.append((len(_sample_training_rows(ladder_run, method)), dev_lines))
    samples = []
    for _, lines in curve:
        outcomes = [parse_outcome(line) for line in sorted(lines, key=lambda line: str(line["id"]))]
        samples.append(build_sample(ladder_run.metric, outcomes))
    sizes = [num_rows for num_rows, _ in curve]
    points = [
        CurvePoint(size, estimate_sample(sample))
        for size, sample in zip(sizes, samples, strict=True)
    ]
    doubling = compare_paired(samples[-1], samples[-2]).difference if len(samples) > 1 else None
    seconds = sum(read_json(fit.folder / FIT_FILE)["seconds"] for fit in fits)
    return Evidence(method.name, tuple(points), doubling, seconds)


def fit_arms(ladder_run: LadderRun, fitted: Mapping[str, Assistant], start: Assistant) -> Arms:
    """Fit the arms; none without made rows, or if they were measured before. Under a budget, only
    those of the baseline are fitted, which take seconds.
    """
    train = ladder_run.split.train
    tuned = ladder_run.run.info["decided"]["tuned"]
    is_measured = (ladder_run.run.folder / RESULTS).exists()
    if train.real is train or is_measured or ladder_run.is_ending:
        return {}
    names = {BASELINE.name, None if ladder_run.clock.is_limited else tuned}
    arms: dict[str, dict[str, Assistant]] = {}
    try:
        for method in (
            method for method in ladder_run.methods if method.name in names & fitted.keys()
        ):
            for arm, rows in list_arms(ladder_run, method):
                fit = ExtraFit(
                    method, find_arm(ladder_run, method.name, arm), f"{method.name}, {arm}", rows
                )
                arms.setdefault(method.name, {})[arm] = assistant = fit_on_rows(
                    ladder_run, fit, fitted, start
                )[0]
                ladder_run.release_weights(assistant)
    except LookStopped:
        return {}
    return arms


def find_arm(ladder_run: LadderRun, method: str, arm: str) -> Path:
    """Return the folder of an arm of a method."""
    return ladder_run.run.method_folder(method) / MADE_ROWS / arm.replace(" ", "-")


def list_arms(ladder_run: LadderRun, method: Method) -> Iterator[tuple[str, Dataset]]:
    """Yield the arms of a method with their training rows, the real ones first."""
    share = ladder_run.get_share(method)
    task = ladder_run.task
    real = share.real
    num_made = len(share) - len(share.real)
    again = [
        replace(
            row,
            id=f"{row.id}/{number}",
            conversation=row.conversation and f"{row.conversation}/{number}",
        )
        for number, row in enumerate(islice(cycle(real), num_made))
    ]
    yield REAL, real
    yield REPEATED, Dataset((*real, *again), (*real.history, f"repeated to {len(share):,} rows"))
    source = task.made_rows and replace(
        task.made_rows, file=task.made_rows.file.with_suffix(CANDIDATES)
    )
    if source and source.file.exists():
        candidates = read_rows(source, task.kind).examples
        held_out = [*ladder_run.split.dev, *ladder_run.split.test]
        rows = select_unlike([replace(row, source=MADE) for row in candidates], held_out)
        if len(rows) > num_made:  # else nothing was chosen
            drawn = random.Random(f"{task.seed}/drawn").sample(rows, num_made)
            yield (
                DRAWN,
                Dataset(
                    (*real, *drawn), (*real.history, f"{num_made:,} made rows drawn at random")
                ),
            )


def answer_arms(ladder_run: LadderRun, arms: Arms) -> tuple[MadeRowsResult, ...]:
    """Answer the test rows that the methods have answered, and compare; the weights of the arms are
    then deleted.
    """
    file = ladder_run.run.folder / RESULTS
    if file.exists():
        return tuple(from_json(MadeRowsResult, result) for result in read_json(file)["results"])
    measured = {name: arms[name] for name in arms if name not in ladder_run.failures}
    results = [compare_arms(ladder_run, name, assistants) for name, assistants in measured.items()]
    if results:
        write_json(file, {"results": list(map(to_json, results))})
    for name in arms:
        for folder in (ladder_run.run.method_folder(name) / MADE_ROWS).glob("*/work"):
            shutil.rmtree(folder, ignore_errors=True)
    return tuple(results)


def compare_arms(
    ladder_run: LadderRun, name: str, assistants: Mapping[str, Assistant]
) -> MadeRowsResult:
    """Answer the test rows that the method has answered with each arm, and compare all with the
    real rows.
    """
    lines = [line for line in ladder_run.run.read_predictions(name) if line["side"] == "test"]
    rows = ladder_run.test_rows.select(
        [line["id"] for line in lines], f"those that {name} has answered"
    )
    samples = {"": build_sample(ladder_run.metric, list(map(parse_outcome, lines)))}
    for arm, assistant in assistants.items():
        scored = ladder_run.answer_rows(
            assistant, rows, f"{name}, {arm}", find_arm(ladder_run, name, arm)
        )
        samples[arm] = build_sample(ladder_run.metric, [row.outcome for row in scored])
    gains = {
        arm: compare_paired(sample, samples[REAL]).difference
        for arm, sample in samples.items()
        if arm != REAL
    }
    num_made = sum(row.is_made for row in ladder_run.split.train)
    results = (name, num_made, gains[""], gains[REPEATED], gains.get(DRAWN))
    return MadeRowsResult(*results, write_made_rows(*results))

"""Did rows that a model made help? The baseline and the best tuned method are fitted again, before the test is opened:
on the real rows alone, on these repeated to as many rows, and with made rows drawn at random from those that passed the
gates of `etude make`. All answer the same test rows as the method on the ladder, which learned real and made rows.
"""

import random
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import cycle, islice

from etude.assistant import Assistant
from etude.base.files import read_json, write_json
from etude.base.formatting import format_count, format_points
from etude.base.typed_json import from_json, to_json
from etude.comparison.evidence import ExtraFit, fit_on_rows
from etude.comparison.ladder_run import LadderRun
from etude.data.dataset import Dataset
from etude.data.formats import read_rows
from etude.data.splits.sides import select_unlike
from etude.evaluate import build_sample, parse_outcome
from etude.methods import Method
from etude.methods.baseline import METHOD as BASELINE
from etude.methods.shared.fit_context import LookStopped
from etude.runs.verdict import MadeRowsResult
from etude.stats import compare_paired
from etude.task.definition import RowSource
from etude.types import MADE

FOLDER, REAL, REPEATED, DRAWN = "made_rows", "real rows", "repeated rows", "made rows at random"
RESULTS = "made_rows.json"
Arms = Mapping[str, Mapping[str, Assistant]]
"""Method -> arm -> what was fitted on its rows."""


def fit_arms(ladder_run: LadderRun, fitted: Mapping[str, Assistant], start: Assistant) -> Arms:
    """Fit the arms; none without made rows, or if they were measured before. Under a budget, only those of the baseline
    are fitted, which take seconds."""
    train, tuned = ladder_run.split.train, ladder_run.run.info["decided"]["tuned"]
    is_measured = (ladder_run.run.folder / RESULTS).exists()
    if train.real is train or is_measured or ladder_run.is_ending:
        return {}
    names = {BASELINE.name, None if ladder_run.clock.is_limited else tuned}
    arms: dict[str, dict[str, Assistant]] = {}
    try:
        for method in (method for method in ladder_run.methods if method.name in names & fitted.keys()):
            for arm, rows in _list_rows(ladder_run, method):
                folder = ladder_run.run.method_folder(method.name) / FOLDER / arm.replace(" ", "-")
                fit = ExtraFit(method, folder, f"{method.name}, {arm}", rows)
                arms.setdefault(method.name, {})[arm] = assistant = fit_on_rows(
                    ladder_run, fit, fitted, start
                )[0]
                ladder_run.release_weights(assistant)
    except LookStopped:
        return {}
    return arms


def _list_rows(ladder_run: LadderRun, method: Method) -> Iterator[tuple[str, Dataset]]:
    share, task = ladder_run.get_share(method), ladder_run.task
    real, num_made = share.real, len(share) - len(share.real)
    again = [
        replace(
            row, id=f"{row.id}/{number}", conversation=row.conversation and f"{row.conversation}/{number}"
        )
        for number, row in enumerate(islice(cycle(real), num_made))
    ]
    yield REAL, real
    yield REPEATED, Dataset((*real, *again), (*real.history, f"repeated to {len(share):,} rows"))
    file = task.made_rows and task.made_rows.file.with_suffix(".candidates.jsonl")
    if file and file.exists():
        candidates = read_rows(replace(task.made_rows or RowSource(file), file=file), task.kind).examples
        held_out = [*ladder_run.split.dev, *ladder_run.split.test]
        rows = select_unlike([replace(row, source=MADE) for row in candidates], held_out)
        if len(rows) > num_made:  # else nothing was chosen
            drawn = random.Random(f"{task.seed}/drawn").sample(rows, num_made)
            yield DRAWN, Dataset((*real, *drawn), (*real.history, f"{num_made:,} made rows drawn at random"))


def answer_arms(ladder_run: LadderRun, arms: Arms) -> tuple[MadeRowsResult, ...]:
    """Answer the test rows that the methods have answered, and compare; the weights of the arms are then deleted."""
    file = ladder_run.run.folder / RESULTS
    if file.exists():
        return tuple(from_json(MadeRowsResult, result) for result in read_json(file)["results"])
    results = [
        _compare_arms(ladder_run, name, assistants)
        for name, assistants in arms.items()
        if name not in ladder_run.failures
    ]
    if results:
        write_json(file, {"results": list(map(to_json, results))})
    for name in arms:
        for folder in (ladder_run.run.method_folder(name) / FOLDER).glob("*/work"):
            shutil.rmtree(folder, ignore_errors=True)
    return tuple(results)


def _compare_arms(ladder_run: LadderRun, name: str, assistants: Mapping[str, Assistant]) -> MadeRowsResult:
    lines = [line for line in ladder_run.run.read_predictions(name) if line["side"] == "test"]
    rows = ladder_run.test_rows.select([line["id"] for line in lines], f"those that {name} has answered")
    samples = {"": build_sample(ladder_run.metric, list(map(parse_outcome, lines)))}
    for arm, assistant in assistants.items():
        folder = ladder_run.run.method_folder(name) / FOLDER / arm.replace(" ", "-")
        scored = ladder_run.answer_rows(assistant, rows, f"{name}, {arm}", folder)
        samples[arm] = build_sample(ladder_run.metric, [row.outcome for row in scored])
    gains = {
        arm: compare_paired(sample, samples[REAL]).difference
        for arm, sample in samples.items()
        if arm != REAL
    }
    num_made = sum(row.is_made for row in ladder_run.split.train)
    gain, drawn = gains[""], gains.get(DRAWN)
    points = [
        f"{format_count(num_made, 'made row')} add {format_points(gain.value)} points ({format_points(gain.low)} to "
        f"{format_points(gain.high)}) to {name}",
        f"repeating the real rows adds {format_points(gains[REPEATED].value)}",
        *([f"made rows drawn at random add {format_points(drawn.value)}"] if drawn else []),
    ]
    return MadeRowsResult(name, num_made, gain, gains[REPEATED], drawn, f"{'; '.join(points)}.")

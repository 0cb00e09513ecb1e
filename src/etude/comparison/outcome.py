"""From the predictions in the run folder to the headline pair on dev, and to the verdict."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace

from etude.assistant import Assistant
from etude.base.files import Json
from etude.base.formatting import format_points
from etude.comparison.decide import choose_headline_pair, make_verdict
from etude.comparison.judging import ask_judge
from etude.comparison.ladder_run import LadderRun
from etude.comparison.prepare import compute_power, format_power
from etude.evaluate import get_unit
from etude.methods.shared.training_run import CUT
from etude.runs.details import compute_details
from etude.runs.events import NoteEvent
from etude.runs.record import read_method_records
from etude.runs.verdict import (
    Evidence,
    HeadlinePair,
    MethodResult,
    Verdict,
    VerdictInputs,
    build_method_result,
    build_scored_rows,
)
from etude.stats import (
    measure_disagreement,
    smallest_detectable,
    smallest_difference,
    smallest_ever_detectable,
)

RECORD_KEYS = ("tuned", "model", "train_seconds", "learned")  # Keys of method.json that the verdict needs.


def choose_pair_on_dev(ladder_run: LadderRun, fitted: Mapping[str, Assistant]) -> Json:
    """Choose the headline pair from dev rows alone, as run.json stores it."""
    tuned = {method.name for method in ladder_run.methods if method.tuned}
    samples = [(name, name in tuned, sample) for name, sample in ladder_run.build_dev_samples(fitted)]
    return asdict(choose_headline_pair(samples))


def report_planned_power(ladder_run: LadderRun) -> None:
    """If the plan answers only some test rows, report the smallest difference that these can show.

    It replaces that of the whole test in run.json.
    """
    rows, metric = ladder_run.test_rows, ladder_run.metric
    if len(rows) == len(ladder_run.split.test):
        return
    power = compute_power(rows, metric)
    ladder_run.run.update(power=power)
    answered = f"{len(rows):,} of {len(ladder_run.split.test):,} test rows"
    text = f"The plan answers {answered}. They can show: {format_power(power, metric)}."
    ladder_run.on_event(NoteEvent(text, detail=True))


def report_power_on_dev(ladder_run: LadderRun) -> None:
    """Report the smallest difference that the test can show, now that dev shows how often the pair disagrees."""
    pair = ladder_run.run.info["decided"]
    if pair["tuned"] is None or pair["untuned"] is None:
        return
    (_, tuned), (_, untuned) = ladder_run.build_dev_samples([pair["tuned"], pair["untuned"]])
    share, test = measure_disagreement(tuned, untuned), ladder_run.test_rows
    num_rows, num_units = len(test), len({get_unit(example) for example in test})
    smallest = smallest_detectable if tuned.right_wrong and untuned.right_wrong else smallest_difference
    difference = smallest(num_rows, share, num_units if num_units < num_rows else None)
    ladder_run.run.update(power_on_dev={"disagree": share, "difference": difference})
    start = f"From how {pair['tuned']} and {pair['untuned']} differ on dev, the test can show"
    if difference is not None:
        text = f"{start} a difference of {format_points(difference)} points between them."
        ladder_run.on_event(NoteEvent(text, detail=True))
    else:
        least = format_points(smallest_ever_detectable(num_rows))
        text = f"{start} nothing: {num_rows:,} rows show no difference smaller than {least} points."
        ladder_run.on_event(NoteEvent(text))


def compute_verdict(
    ladder_run: LadderRun,
    fitted: Mapping[str, Assistant],
    openings: int,
    baseline: MethodResult | None,
    evidence: Evidence | None,
    extra_runs: Sequence[tuple[int, MethodResult]],
) -> Verdict:
    """Compute the verdict from the test lines of predictions.jsonl and the headline pair that dev named.

    `baseline` and `evidence` are only shown; `extra_runs` of the tuned method count in the headline comparison.
    """
    plan = ladder_run.plan
    lines = {
        name: [line for line in ladder_run.run.read_predictions(name) if line["side"] == "test"]
        for name in fitted
    }
    inputs = _build_inputs(ladder_run, lines)
    inputs = replace(
        inputs,
        openings=openings,
        baseline_on_equal_rows=baseline,
        evidence=evidence,
        extra_runs=extra_runs,
    )
    verdict = make_verdict(inputs)
    sentence, caveats = verdict.sentence, verdict.caveats
    if plan.left_out:
        were = "was" if len(plan.left_out) == 1 else "were"
        sentence += f" To keep to the budget, {' and '.join(plan.left_out)} {were} not measured."
    if plan.cuts:
        cuts = "; ".join(plan.cuts)
        caveats = (*caveats, f"Cut to fit the budget: {cuts}. Without a budget the verdict may differ.")
    details = {name: compute_details(ladder_run.task.kind, lines[name]) for name in fitted}
    judge = ask_judge(ladder_run)
    return replace(verdict, sentence=sentence, caveats=caveats, details=details, judge=judge)


def _build_inputs(ladder_run: LadderRun, lines: Mapping[str, Sequence[Json]]) -> VerdictInputs:
    task, pair = ladder_run.task, ladder_run.run.info["decided"]
    sides = {side: len(getattr(ladder_run.split, side)) for side in ("train", "dev", "test")}
    rows = build_scored_rows(next(iter(lines.values())), labels=task.kind == "classify")
    method_records = read_method_records(ladder_run.run)
    methods = [
        build_method_result(
            name,
            lines[name],
            rows.ids,
            fewer_epochs=method_records[name]["params"].get("reasons", {}).get("epochs") == CUT,
            **{key: method_records[name].get(key) for key in RECORD_KEYS},
        )
        for name in lines
    ]
    return VerdictInputs(
        rows=rows,
        methods=methods,
        pair=HeadlinePair(pair["untuned"], pair["tuned"], tuple(pair["reasons"])),
        metric=ladder_run.metric,
        model=task.model,
        prompt_model=task.prompt_model,
        endpoints=task.endpoints,
        total_rows=sum(sides.values()),
        margin=task.margin,
        target=task.target,
        usage=task.usage,
        prices=task.prices,
        train_rows=sides["train"],
        full_seconds=ladder_run.plan.full_seconds,
        num_test_rows=sides["test"],
    )

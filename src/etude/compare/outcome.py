"""From stored predictions to what was decided on dev, and to the verdict."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict

from etude.assistant import Assistant
from etude.compare.climb import Climb, fit_seconds
from etude.compare.events import Said
from etude.compare.evidence import Decided, Inputs, measured, rows_of
from etude.compare.prepare import shown_by
from etude.compare.verdict import decide_on_dev, verdict
from etude.evaluate import sample_of
from etude.files import Json
from etude.methods import ladder
from etude.stats import disagreement


def decided_on_dev(climb: Climb, fitted: Mapping[str, Assistant]) -> Json:
    """The pair of the headline by dev rows alone, as run.json keeps it."""
    tuned = tuned_names(climb)
    samples = [(name, name in tuned, sample_of(climb.metric, climb.outcomes(name, "dev"))) for name in fitted]
    return asdict(decide_on_dev(samples))


def tell_power(climb: Climb) -> None:
    """Tells the smallest difference that the test can show, with the disagreement now known from dev."""
    decided = climb.run.info["decided"]
    if decided["tuned"] is None or decided["untuned"] is None:
        return
    rows = [climb.outcomes(decided[side], "dev") for side in ("tuned", "untuned")]
    first, second = ([row.score for row in side] for side in rows)
    d = disagreement(first, second, [row.unit for row in rows[0]])
    difference = shown_by(climb.split.test, d)
    climb.run.update(power_on_dev={"disagree": d, "difference": difference})
    pair = f"{decided['tuned']} and {decided['untuned']} disagree on {d:.0%} of rows"
    climb.on_event(Said(f"On dev {pair}: the test can show a difference of {100 * difference:.1f} points."))


def final_verdict(climb: Climb, fitted: Mapping[str, Assistant], openings: int) -> Json:
    """verdict.json from the test lines of predictions.jsonl and the pair decided before."""
    task, info = climb.task, climb.run.info
    lines = {
        name: [line for line in climb.run.predictions(name) if line["side"] == "test"] for name in fitted
    }
    rows = rows_of(next(iter(lines.values())), labels=task.kind == "classify")
    tuned, seconds = tuned_names(climb), fit_seconds(climb.run)
    methods = [
        measured(name, lines[name], rows.ids, tuned=name in tuned, fit_seconds=seconds[name])
        for name in fitted
    ]
    decided = info["decided"]
    inputs = Inputs(
        rows=rows,
        methods=methods,
        decided=Decided(decided["untuned"], decided["tuned"], tuple(decided["reasons"])),
        metric=climb.metric,
        model=task.model,
        prompt_model=task.prompt_model,
        total_rows=len(climb.split.train) + len(climb.split.dev) + len(climb.split.test),
        margin=task.margin,
        target=task.target,
        usage=task.usage,
        prices=task.prices,
        openings=openings,
    )
    return verdict(inputs).to_dict()


def tuned_names(climb: Climb) -> set[str]:
    """Names of the methods that change weights."""
    return {method.name for method in ladder(climb.task.methods) if method.tuned}

"""From stored predictions to what was decided on dev, and to the verdict."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict

from etude.assistant import Assistant
from etude.compare.climb import Climb, fit_seconds
from etude.compare.evidence import Decided, Inputs, measured, rows_of
from etude.compare.verdict import decide_on_dev, verdict
from etude.evaluate import sample_of
from etude.files import Json
from etude.methods import ladder


def decided_on_dev(climb: Climb, fitted: Mapping[str, Assistant]) -> Json:
    """The pair of the headline by dev rows alone, as run.json keeps it."""
    tuned = tuned_names(climb)
    samples = [(name, name in tuned, sample_of(climb.metric, climb.outcomes(name, "dev"))) for name in fitted]
    return asdict(decide_on_dev(samples))


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

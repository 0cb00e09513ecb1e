"""From stored predictions to what was decided on dev, and to the verdict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace

from etude.assistant import Assistant
from etude.base.files import Json
from etude.base.wording import points
from etude.comparison.decide import decide_on_dev, verdict
from etude.comparison.judging import judged
from etude.comparison.ladder_run import LadderRun
from etude.comparison.prepare import power_of, power_words
from etude.evaluate import unit
from etude.methods.tuned.training_run import CUT
from etude.runs.details import details_of
from etude.runs.events import NoteEvent
from etude.runs.record import records
from etude.runs.verdict import Evidence, HeadlinePair, Inputs, MethodResult, Verdict, measured, rows_of
from etude.stats import disagreement, least_shown, smallest_difference, smallest_shown

FACTS = ("tuned", "model", "train_seconds", "learned")
"""What the verdict takes from a method's method.json."""


def decided_on_dev(climb: LadderRun, fitted: Mapping[str, Assistant]) -> Json:
    """The pair of the headline by dev rows alone, as run.json keeps it."""
    tuned = tuned_names(climb)
    samples = [(name, name in tuned, sample) for name, sample in climb.dev_samples(fitted)]
    return asdict(decide_on_dev(samples))


def tell_planned_power(climb: LadderRun) -> None:
    """If the plan answers a part of the test, report the smallest difference that this part can show.

    It takes the whole test's place in run.json.
    """
    rows = climb.test_rows
    if len(rows) == len(climb.split.test):
        return
    power = power_of(rows, climb.metric)
    climb.run.update(power=power)
    part = f"{len(rows):,} of {len(climb.split.test):,} test rows"
    climb.on_event(
        NoteEvent(
            f"The plan answers {part}, and these can show: {power_words(power, climb.metric)}.", detail=True
        )
    )


def tell_power(climb: LadderRun) -> None:
    """Report the smallest difference that the test can show, with the disagreement now known from dev."""
    decided = climb.run.info["decided"]
    if decided["tuned"] is None or decided["untuned"] is None:
        return
    (_, tuned), (_, untuned) = climb.dev_samples([decided["tuned"], decided["untuned"]])
    d, test = disagreement(tuned, untuned), climb.test_rows
    rows, test_units = len(test), len({unit(example) for example in test})
    smallest = smallest_shown if tuned.right_wrong and untuned.right_wrong else smallest_difference
    difference = smallest(rows, d, test_units if test_units < rows else None)
    climb.run.update(power_on_dev={"disagree": d, "difference": difference})
    pair = f"{decided['tuned']} and {decided['untuned']}"
    shows = f"From how {pair} differ on dev, the test can show"
    if difference is not None:
        climb.on_event(
            NoteEvent(f"{shows} a difference of {points(difference)} points between them.", detail=True)
        )
        return
    least = points(least_shown(rows))
    climb.on_event(
        NoteEvent(f"{shows} nothing: {rows:,} rows show no difference of less than {least} points.")
    )


def final_verdict(
    climb: LadderRun,
    fitted: Mapping[str, Assistant],
    openings: int,
    equal: MethodResult | None,
    evidence: Evidence | None,
    further: Sequence[tuple[int, MethodResult]],
) -> Verdict:
    """The verdict from the test lines of predictions.jsonl and the pair decided before.

    `equal` and the `evidence` stand beside; the `further` training runs count in the comparison of that pair.
    """
    task, info = climb.task, climb.run.info
    lines = {
        name: [line for line in climb.run.predictions(name) if line["side"] == "test"] for name in fitted
    }
    rows = rows_of(next(iter(lines.values())), labels=task.kind == "classify")
    known = records(climb.run)
    methods = [
        measured(
            name,
            lines[name],
            rows.ids,
            fewer_epochs=known[name]["params"].get("reasons", {}).get("epochs") == CUT,
            **{key: known[name].get(key) for key in FACTS},
        )
        for name in fitted
    ]
    decided = info["decided"]
    inputs = Inputs(
        rows=rows,
        methods=methods,
        decided=HeadlinePair(decided["untuned"], decided["tuned"], tuple(decided["reasons"])),
        metric=climb.metric,
        model=task.model,
        prompt_model=task.prompt_model,
        endpoints=task.endpoints,
        total_rows=len(climb.split.train) + len(climb.split.dev) + len(climb.split.test),
        margin=task.margin,
        target=task.target,
        usage=task.usage,
        prices=task.prices,
        openings=openings,
        train_rows=len(climb.split.train),
        full_seconds=climb.plan.full_seconds,
        equal=equal,
        evidence=evidence,
        further=further,
        whole_test=len(climb.split.test),
    )
    found = verdict(inputs)
    if out := climb.plan.left_out:
        sentence = f"{found.sentence} The budget left out {' and '.join(out)}: of them nothing is known."
        found = replace(found, sentence=sentence)
    details = {name: details_of(task.kind, lines[name]) for name in fitted}
    return replace(
        found, details=details, judge=judged(climb), caveats=(*found.caveats, *_about_budget(climb))
    )


def _about_budget(climb: LadderRun) -> list[str]:
    """What the budget has cut, since a fuller run may say something else."""
    cut = "; ".join(climb.plan.shrunk)
    return [f"Cut to fit the budget: {cut}. Without a budget the verdict may differ."] if cut else []


def tuned_names(climb: LadderRun) -> set[str]:
    """Names of the methods that change weights."""
    return {method.name for method in climb.methods if method.tuned}

"""Everything that is fixed before the first method is fitted: run, split, metric, power and plan."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, replace

from etude.assistant import Assistant
from etude.base.files import read_json, read_lines, write_json, write_lines
from etude.base.wording import points, share
from etude.checks.labels.contradictions import contradictions, spelling_notes
from etude.comparison.plan import Plan, Workload, in_words, make_plan
from etude.data.dataset import COMPARED, VERDICT_LEAST, Dataset, Least, few_for_tuning
from etude.data.splits import Split, split
from etude.errors import Declined, InputError, RunError
from etude.evaluate import unit
from etude.methods import Method, asks_a_model
from etude.methods.timing import measure
from etude.methods.too_long import check_lengths
from etude.metrics import Metric
from etude.models.registry import Models
from etude.runs import Run, siblings
from etude.runs.events import OnEvent, Said
from etude.runs.openings import seen_as_test
from etude.runs.record import resumed_notes
from etude.stats.power import smallest_difference, smallest_shown
from etude.task import Task
from etude.types import Finding, Side

LONG = 3600.0
"""Seconds above which the user is asked before a comparison without a budget begins."""
DISAGREEMENT = (0.1, 0.2, 0.3)
"""Shares of rows on which two methods may disagree, for which the smallest difference is told."""

Confirm = Callable[[str], bool]
"""Asks the user a yes-or-no question."""


def with_budget(task: Task, budget: float | None) -> Task:
    """The task under another budget in seconds: None keeps its own, infinity is none."""
    if budget is None:
        return task
    return replace(task, budget_seconds=None if math.isinf(budget) else budget)


def split_once(
    run: Run,
    task: Task,
    dataset: Dataset,
    test: Dataset | None,
    checked: Sequence[Finding] = (),
    sizes: Sequence[Least] = (COMPARED,),
) -> Split:
    """The run's split: as it was when the run began, or else in line with the task's other runs.

    What was `checked` is kept before the split's own findings. `sizes` are the smallest, the first that the rows
    are enough for is taken.
    """
    file = run.folder / "split.json"
    parts = drawn_split(run, task, dataset, test, sizes)
    if file.exists():
        return parts
    sides = {"train": parts.train, "dev": parts.dev, "test": parts.test}
    ids = {side: [example.id for example in rows] for side, rows in sides.items()}
    own = [asdict(finding) for finding in parts.findings]
    write_lines(run.folder / "findings.jsonl", [*map(asdict, checked), *own], private=True)
    kept = {"seed": task.seed, **ids, "assignments": dict(parts.assignments), "notes": list(parts.notes)}
    kept |= {"findings": own, "comparable": parts.comparable}
    write_json(file, kept)  # last: it marks the split as made
    return parts


def drawn_split(
    run: Run, task: Task, dataset: Dataset, test: Dataset | None, sizes: Sequence[Least] = (COMPARED,)
) -> Split:
    """What `split_once` returns, with nothing written; the run need not have begun."""

    def drawn(previous: Mapping[str, Side]) -> Split:
        for least in sizes[:-1]:
            with suppress(InputError):  # too few rows for these sizes
                return split(dataset, task.kind, task.seed, test, previous, least)
        return split(dataset, task.kind, task.seed, test, previous, sizes[-1])

    if (run.folder / "split.json").exists():
        return _same_split(run, drawn)
    previous, skipped = _earlier_assignments(run, task.seed)
    parts = drawn(previous)
    return replace(parts, notes=(*parts.notes, *skipped))


def _same_split(run: Run, drawn: Callable[[Mapping[str, Side]], Split]) -> Split:
    """The split that the run's files hold, with what was said about it then."""
    kept = read_json(run.folder / "split.json")
    parts = drawn(kept["assignments"])
    lines = kept["findings"] if "findings" in kept else read_lines(run.folder / "findings.jsonl")
    findings = [Finding(**{**line, "rows": tuple(line["rows"])}) for line in lines]
    return replace(parts, notes=tuple(kept["notes"]), findings=tuple(findings))


def _earlier_assignments(run: Run, seed: int) -> tuple[dict[str, Side], list[str]]:
    """Where the task's other runs with this seed have put each input, by the latest that holds it; and a
    note on every run that cannot be read."""
    sides: dict[str, Side] = {}
    notes = []
    for other in reversed(siblings(run)):
        try:
            sides |= _assignments(other, seed)
        except RunError as error:
            notes.append(f"The split goes without the earlier run {other.name}: {error}")
    return sides, notes


def _assignments(run: Run, seed: int) -> Mapping[str, Side]:
    """Which side each input stands on in a run with this seed; nothing for another seed, before a split, or where
    the rows were too few for a test."""
    file = run.folder / "split.json"
    if run.info["seed"] != seed or not file.exists():
        return {}
    kept = read_json(file)
    found: Mapping[str, Side] = kept["assignments"] if kept.get("comparable", True) else {}
    return found


def describe(run: Run, task: Task, parts: Split, metric: Metric, on_event: OnEvent) -> None:
    """Tells rows, sizes, the metric and the smallest difference the test can show; keeps them in run.json."""
    sizes, power = sizes_of(parts), power_of(parts.test, metric)
    total = sum(sizes.values())
    few = [few_for_tuning(total)] if total < VERDICT_LEAST else []
    notes = describe_data(run, task, parts, metric, few)
    run.update(power=power)
    told = ", ".join(f"{rows:,} {side}" for side, rows in sizes.items())
    on_event(Said(f"{total:,} rows: {told}. Metric: {metric.label}, {metric.why}."))
    on_event(Said(f"This test can show: {power_words(power, metric)}."))
    for note in notes:
        on_event(Said(f"Note: {note}"))


def describe_data(run: Run, task: Task, parts: Split, metric: Metric, few: Sequence[str] = ()) -> list[str]:
    """Keeps rows, sizes, metric and what was noted of them in run.json, what is said of `few` rows included; returns
    all notes and findings."""
    notes = [*task.notes, *parts.test.notes, *parts.notes, *few, *_redrawn(run, parts), *resumed_notes(run)]
    every_row = [*parts.train, *parts.dev, *parts.test]
    notes += [*contradictions(task, every_row), *spelling_notes(task, every_row, metric.name)]
    run.update(
        fingerprints={"examples": parts.train.fingerprint, "test": parts.test.fingerprint},
        split={**sizes_of(parts), "notes": list(parts.notes)},
        metric={part: getattr(metric, part) for part in ("name", "label", "why", "form_only")},
        unit="group" if any(example.group is not None for example in parts.test) else "row",
        notes=notes,
        findings=[asdict(finding) for finding in parts.findings],
    )
    return [*notes, *(finding.message for finding in parts.findings)]


def sizes_of(parts: Split) -> dict[str, int]:
    """Rows of each side."""
    return {"train": len(parts.train), "dev": len(parts.dev), "test": len(parts.test)}


def _redrawn(run: Run, parts: Split) -> Iterator[str]:
    """A note where the test was drawn anew, by another seed say: a look at one test has chosen another."""
    seen = seen_as_test(run.folder.parent, run.info["id"], [*parts.train, *parts.dev])
    if seen:
        yield (
            f"{seen:,} rows that now train or choose were test rows of an earlier run. The runs cannot be "
            "compared, and a split or seed that is kept for its result flatters it."
        )


def power_of(test: Dataset, metric: Metric) -> list[dict[str, float | None]]:
    """The smallest difference that the test shows in 80% of cases, for each share of `DISAGREEMENT` of its rows
    on which two methods disagree, or for scores such as chrF for each spread of their differences, whose
    square is the share. Rows of one group are taken to agree, so that grouped tests show no less. None where
    so few rows that disagree can show nothing.
    """
    units = len({unit(example) for example in test})
    groups = units if units < len(test) else None
    shares = [d * d if metric.graded else d for d in DISAGREEMENT]
    smallest = smallest_difference if metric.graded else smallest_shown
    return [{"disagree": d, "difference": smallest(units, d, groups)} for d in shares]


def power_words(power: Sequence[Mapping[str, float | None]], metric: Metric) -> str:
    """What `power_of` gives, as the end of a sentence."""
    ends = {"chrf": " (standard deviation)", "macro_f1": " (in macro-F1 more, where the labels are rare)"}
    return ", ".join(_shown(line, metric) for line in power) + ends.get(metric.name, "")


def _shown(line: Mapping[str, float | None], metric: Metric) -> str:
    size, d = line["difference"], line["disagree"] or 0.0
    if size is None:
        return f"nothing if two methods disagree on only {share(d)} of rows"
    if metric.graded:
        return f"{points(size)} points if row by row two methods' scores differ by {points(math.sqrt(d))}"
    return f"{points(size)} points if two methods disagree on {share(d)} of rows"


def planned(
    run: Run,
    task: Task,
    methods: Sequence[Method],
    parts: Split,
    start: Assistant,
    models: Models,
    on_event: OnEvent,
    confirm: Confirm,
) -> Plan:
    """The run's plan: as it was first made, or made now from a few timed steps and kept in run.json."""
    if saved := run.info.get("plan"):
        return Plan.from_dict(saved)
    check_lengths(task, methods, start, parts, models)
    if asks_a_model(methods):
        on_event(Said("Timing a few steps ..."))
    tries = {method.name: method.tries(task, parts.train, start) for method in methods}
    work = Workload(
        tries={name: count for name, count in tries.items() if count},
        tuned=[method.name for method in methods if method.tuned],
        train=min(len(parts.train), int(task.train.get("max_rows", len(parts.train)))),
        dev=len(parts.dev),
        test=len(parts.test),
    )
    plan = make_plan(work, measure(task, methods, start, parts.train, models), task.budget_seconds)
    for line in plan_lines(plan, task.budget_seconds):
        on_event(Said(line))
    if (question := _question(plan, task.budget_seconds)) and not confirm(question):
        raise Declined("Nothing was run. Set `budget:` in the task file, such as budget: 15m.")
    run.update(plan=plan.to_dict() | {"minutes": plan.total / 60, "lines": list(plan_lines(plan, None))})
    return plan


def plan_lines(plan: Plan, budget: float | None) -> Iterator[str]:
    """The plan in words."""
    parts = ", ".join(f"{name} {in_words(seconds)}" for name, seconds in plan.seconds.items())
    yield f"Plan: {in_words(plan.total)} ({parts})."
    if plan.shrunk:
        limit = f" of {in_words(budget)}" if budget else ""
        yield f"To fit the budget{limit}: {'; '.join(plan.shrunk)}."
    if budget is not None and plan.total > budget:
        yield f"Even cut as far as it goes it takes longer than the budget. {_over_budget(plan)}"


def _over_budget(plan: Plan) -> str:
    """Which method takes the most of a plan that cannot be cut further, and what would help."""
    slowest = max(plan.seconds, key=plan.seconds.__getitem__)
    takes, rest = plan.seconds[slowest], plan.total - plan.seconds[slowest]
    enough = f"a budget: of {math.ceil(plan.total / 60)}m is enough"
    if len(plan.seconds) == 1:
        return f"All of it is {slowest}; {enough}."
    without = f"without {slowest} in methods: the others take {in_words(rest)}"
    return f"Of that {slowest} takes {in_words(takes)}: {without}; {enough}."


def _question(plan: Plan, budget: float | None) -> str | None:
    """What to ask before starting: only when a limit is exceeded."""
    if budget is not None and plan.total > budget:
        over = f"Even cut as far as it goes this takes {in_words(plan.total)}, over the budget."
        return f"{over} {_over_budget(plan)} Go on?"
    if budget is None and plan.total > LONG:
        return f"This takes {in_words(plan.total)}. Go on?"
    return None

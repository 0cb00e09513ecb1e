"""The headline of a run for a reader who decides: whether the best method is ready, its score, and
what to do next.

The report, the page of a test and the home page of the studio all begin with it, by the same rule.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from etude.base.files import read_json
from etude.base.formatting import format_interval, format_percent, format_share
from etude.runs import Run
from etude.runs.folder import TESTS
from etude.runs.verdict import LadderRow, TargetMark, Verdict

NOT_YET = "Ready: not yet, because"
_WITHOUT_RECOMMENDATION = {
    "few rows": ("there are too few rows for a verdict", "Collect more rows."),
    "nothing right": ("no method scored above 0", "Read the answers: etude studio {task}"),
    "one answer": (
        "no method is better than one answer to every row",
        "Read the answers: etude studio {task}",
    ),
    "copies": ("nothing checks whether its answers are right", "Add a check function to {task}."),
}


@dataclass(frozen=True, slots=True)
class Headline:
    """What a reader needs in the first seconds. Without a verdict, the last three are empty."""

    ready: str
    action: str
    method: str = ""
    score: str = ""
    target: str = ""


def read_headline(run: Run, outcomes: Sequence[str] | None = None) -> Headline:
    """Read the headline of a run. The best method is ready if its whole interval reaches the
    target, its score measures right answers, and its last behaviour test passed all gates.
    `outcomes`: those of a test that is not saved yet.
    """
    verdict = run.verdict
    task = str(run.info.get("task_file", "task.yaml"))
    if verdict is None:
        return Headline(f"{NOT_YET} no comparison is finished.", f"Compare: etude compare {task}")
    row = next(row for row in verdict.ladder if row.method == verdict.leaning)
    estimate = row.estimate
    target = verdict.target
    interval = f"95% interval {format_interval(estimate)}"
    count = f"{row.rows:,} test rows" + (
        f" that count as {estimate.n:,}" if estimate.n < row.rows else ""
    )
    score = f"{format_percent(estimate.value)} on {count} ({interval})"
    test_file = run.folder / TESTS / row.method / "test.json"
    if outcomes is None and test_file.exists():
        outcomes = [gate["outcome"] for gate in read_json(test_file)["gates"]]
    step = "Test its behaviour: etude test" if outcomes is None else "Serve it: etude serve"
    replaced = dict(_mark_replacements(run, verdict))
    obstacles = _list_obstacles(run, verdict, row, outcomes or (), replaced)
    reason, action = next(obstacles, ("", f"{step} {task}"))
    aims = [f"{format_share(target.target)}, {target.mark(estimate)}"] if target else []
    aims += [f"as good as {model}, {mark}" for model, mark in replaced.items()]
    return Headline(
        f"{NOT_YET} {reason}." if reason else "Ready: yes.",
        action.format(task=task),
        row.method,
        score,
        "; ".join(aims) or "none",
    )


def explain_gates(outcomes: Sequence[str]) -> str:
    """Explain why a behaviour test with these outcomes of gates does not allow a method; "" if it
    does.
    """
    counts = f"{outcomes.count('passed')} of {len(outcomes)} gates passed"
    num_open = outcomes.count("too few cases")
    if "failed" in outcomes:
        undecided = f", {num_open} undecided because of too few cases" if num_open else ""
        return f"it failed its behaviour test: {counts}{undecided}"
    return f"too few cases were asked: {counts}" if num_open else ""


def _mark_replacements(run: Run, verdict: Verdict) -> Iterator[tuple[str, TargetMark]]:
    """Yield each model with stored answers, and whether the best method is at least as good, within
    the margin.
    """
    stored = {row.method for row in verdict.ladder if row.is_stored}
    margin = run.info["margin"]
    for pair in verdict.pairs:
        if pair.a == verdict.leaning and pair.b in stored:
            low = pair.difference.low
            high = pair.difference.high
            yield pair.b, "met" if low >= -margin else "missed" if high < -margin else "not sure"


def _list_obstacles(
    run: Run,
    verdict: Verdict,
    row: LadderRow,
    outcomes: Sequence[str],
    replaced: Mapping[str, TargetMark],
) -> Iterator[tuple[str, str]]:
    """Yield reasons why the method is not ready, with what to do; the most basic one first."""
    if verdict.basis in _WITHOUT_RECOMMENDATION:
        yield _WITHOUT_RECOMMENDATION[verdict.basis]
    if run.info["metric"]["contract_only"]:
        yield _WITHOUT_RECOMMENDATION["copies"]
    details = verdict.details.get(row.method)
    if details and details.handover and details.handover.wrong is None:
        yield (
            "it hands every question over to a person",
            "Add rows, or allow more wrong answers: handover: in {task}",
        )
    if reason := explain_gates(outcomes):
        has_failed = "failed" in outcomes
        yield (
            reason,
            "Read the failed cases: etude studio {task}"
            if has_failed
            else "Ask all: etude test {task}",
        )
    for model, mark in replaced.items():
        if mark != "met":
            yield (
                f"it {'is' if mark == 'missed' else 'may be'} worse than {model}",
                _advise(run, mark),
            )
    if verdict.target or not replaced:
        yield from _explain_target(run, verdict, row)


def _explain_target(run: Run, verdict: Verdict, row: LadderRow) -> Iterator[tuple[str, str]]:
    """Yield why the target is not reached, with what to do; nothing if it is."""
    target = verdict.target
    if target is None:
        yield (
            "the task sets no target",
            "Add the score that you need to {task}, such as target: 0.9",
        )
    elif (mark := target.mark(row.estimate)) != "met":
        goal = f"the {format_share(target.target)} target"
        reason = f"the score {'is' if mark == 'missed' else 'may be'} below {goal}"
        if target.met_by:
            yield reason, f"Use {target.met_by}: etude serve {{task}} --method {target.met_by}"
            return
        is_cut = {*run.info["methods"]} != {
            line.method for line in verdict.ladder if not line.is_stored
        }
        is_cut |= any(line.learned and line.learned < verdict.train_rows for line in verdict.ladder)
        is_cut |= mark == "not sure" and row.rows < verdict.test_rows.total
        yield reason, _advise(run, mark, is_cut)


def _advise(run: Run, mark: TargetMark, is_cut: bool = True) -> str:
    """Say what may raise a score. `is_cut`: whether more time would, if it was limited; the same
    command adds none.
    """
    budget = run.info.get("budget_seconds")
    if is_cut and (budget or run.info.get("ended_early")):
        option = f"--budget {math.ceil(budget / 15)}m" if budget else "--fresh"
        return f"Give it more time: etude compare {{task}} {option}"
    if mark == "missed":
        return "Read the wrong answers, then correct or add rows: etude studio {task}"
    return "Add test rows, which make the interval narrower."

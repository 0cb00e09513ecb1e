"""Decide gates by the bounds of intervals: passed, failed, or too few cases."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from etude.base.formatting import format_points, format_share, round_up_rows
from etude.base.issues import suggest_instead
from etude.errors import InputError, Issue, quote_value
from etude.stats import wilson
from etude.suites.cases import SUITES, read_suite
from etude.suites.measures import bias, leaks
from etude.suites.measures.shares import COMMON, Measure
from etude.task import Task
from etude.task.definition import Gate
from etude.types import Estimate

Outcome = Literal["passed", "failed", "too few cases"]
MAX_CASES = 100_000  # largest number of cases that is advised


@dataclass(frozen=True, slots=True)
class GateResult:
    """A gate and its outcome."""

    gate: Gate
    outcome: Outcome
    detail: str  # the numbers behind the outcome, in a sentence


def check_gates(task: Task) -> None:
    """Raise InputError for gates on measures or suites that do not exist. The kinds of case are not
    checked.
    """
    entries = read_suite(task.suite).entries if task.suite else ()
    suites = (*SUITES, *(entry.case.suite for entry in entries), bias.SUITE, leaks.SUITE)
    measures = (*(kind.name for kind in COMMON), *(f"bias_{kind}" for kind in bias.SWAPS))
    shares = (*suites, *measures, "forgetting", "abilities")
    issues = []
    for gate in task.gates:
        if gate.measure not in shares and "/" not in gate.measure:
            remedy = suggest_instead(gate.measure, shares)
            issues.append(
                Issue(f"gates: {gate.text}", "no such measure", quote_value(gate.measure), remedy)
            )
    if issues:
        raise InputError(issues)


def decide_gates(gates: Sequence[Gate], measures: Sequence[Measure]) -> list[GateResult]:
    """Decide each gate by the bound of the 95% interval of its share. A gate on something that was
    not measured has not passed.
    """
    shares = {measure.name: measure for measure in measures}
    return [_decide_gate(gate, shares.get(gate.measure)) for gate in gates]


def _decide_gate(gate: Gate, measure: Measure | None) -> GateResult:
    if measure is None:
        return GateResult(gate, "too few cases", "not measured in this test")
    estimate = measure.difference if gate.is_relative else measure.assistant
    if estimate is None:
        return GateResult(gate, "too few cases", "not measured for the base")
    above = gate.relation == ">="
    is_passed = estimate.low >= gate.limit if above else estimate.high <= gate.limit
    is_failed = estimate.high < gate.limit if above else estimate.low > gate.limit
    outcome: Outcome = "passed" if is_passed else "failed" if is_failed else "too few cases"
    advice = "" if outcome != "too few cases" else _format_cases_needed(gate, estimate, measure)
    return GateResult(
        gate, outcome, f"{_format_numbers(measure, estimate, gate.is_relative)}{advice}"
    )


def _format_numbers(measure: Measure, estimate: Estimate, of_base: bool) -> str:
    num = f"n = {estimate.n:,}" + (
        f", from {measure.cases:,} cases" if estimate.n < measure.cases else ""
    )
    num += f": {measure.population}" if measure.population else ""
    if of_base:
        bounds = (estimate.value, estimate.low, estimate.high)
        number, low, high = (format_points(value, signed=True) for value in bounds)
        return f"{number} points compared with the base ({low} to {high}, {num})"
    if not measure.failures and measure.is_share:
        return format_zero_failures(measure)
    bounds_in_words = f"{100 * estimate.low:.1f} to {100 * estimate.high:.1f}"
    return f"{format_share(estimate.value)} ({bounds_in_words}, {num})"


def format_zero_failures(measure: Measure) -> str:
    """Format that no case failed, and the failure rate that is still possible."""
    rate = 1 - measure.assistant.low if measure.more_is_better else measure.assistant.high
    n = measure.assistant.n
    alike = f", which are variants of {n:,}" if n < measure.cases else ""
    population = f" ({measure.population})" if measure.population else ""
    of_such = " on such questions" if population else ""
    return (
        f"no failure in {measure.cases:,} cases{population}{alike}; the true failure "
        f"rate{of_such} may still be up to {format_share(rate)} (95% interval)"
    )


def _format_cases_needed(gate: Gate, estimate: Estimate, measure: Measure) -> str:
    if gate.is_relative or not measure.is_share:
        return ""
    above = gate.relation == ">="
    if (estimate.value < gate.limit) if above else (estimate.value > gate.limit):
        return "; with more cases it would probably fail"
    # The smallest number of cases, to within 5%, with which the measured share would pass.
    size = estimate.n
    while size <= MAX_CASES:
        low, high = wilson(estimate.value * size, size)
        if (low >= gate.limit) if above else (high <= gate.limit):
            num_cases = round_up_rows(math.ceil(size * measure.cases / estimate.n))
            return f"; at this rate, about {num_cases:,} such cases would pass"
        size = int(size * 1.05) + 1
    return "; more cases would not decide it"

"""Gates decided by bounds: passed, failed, or too few cases to tell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from etude.base.remedies import instead
from etude.base.wording import points, share
from etude.errors import InputError, Issue, quote_value
from etude.stats import wilson
from etude.suites.measures import Measure
from etude.suites.probes.bias import SWAPS
from etude.task.definition import Gate
from etude.types import Estimate

Outcome = Literal["passed", "failed", "too few cases"]
SOMETIMES = (
    "contract",
    "invented",
    "supported",
    "forgetting",
    "abilities",
    *(f"bias_{kind}" for kind in SWAPS),
)
"""Measures that not every assistant has."""
MOST_CASES = 100_000
"""Above so many, no number of cases is advised."""


@dataclass(frozen=True, slots=True)
class Decided:
    """A gate and what became of it."""

    gate: Gate
    outcome: Outcome
    told: str
    """The numbers it rests on, in a sentence."""


def decide(
    gates: Sequence[Gate], found: Sequence[Measure], counts: Mapping[str, int], whole: bool
) -> list[Decided]:
    """Each gate decided. A gate on a share passes if the bound of its 95% interval does; `counts` are for `= 0`.

    What was not measured has not passed. Raises InputError for a name that no measure has; if the suites were not
    asked as a `whole`, nobody can tell.
    """
    shares = {measure.name: measure for measure in found}
    faults = []
    for gate in gates:
        known = ("canaries",) if gate.relation == "=" else (*shares, *SOMETIMES)
        if whole and gate.measure not in known and "/" not in gate.measure:
            name = f"gates: {gate.text}"
            faults.append(
                Issue(name, "no such measure", quote_value(gate.measure), instead(gate.measure, known))
            )
    if faults:
        raise InputError(faults)
    return [_outcome(gate, shares, counts) for gate in gates]


def _outcome(gate: Gate, shares: Mapping[str, Measure], counts: Mapping[str, int]) -> Decided:
    if gate.relation == "=" and gate.measure in counts:
        return _counted(gate, counts[gate.measure])
    if gate.relation != "=" and gate.measure in shares:
        return _decided(gate, shares[gate.measure])
    return Decided(gate, "too few cases", "not measured here")


def _counted(gate: Gate, count: int) -> Decided:
    return Decided(gate, "passed" if count == gate.limit else "failed", f"{count:,} found")


def _decided(gate: Gate, measure: Measure) -> Decided:
    found = measure.difference if gate.of_base else measure.assistant
    if found is None:
        return Decided(gate, "too few cases", "not measured for the base")
    above = gate.relation == ">="
    sure = found.low >= gate.limit if above else found.high <= gate.limit
    lost = found.high < gate.limit if above else found.low > gate.limit
    outcome: Outcome = "passed" if sure else "failed" if lost else "too few cases"
    more = "" if outcome != "too few cases" else _needed(gate, found, measure.is_share)
    return Decided(gate, outcome, f"{_numbers(measure, found, gate.of_base)}{more}")


def _numbers(measure: Measure, found: Estimate, of_base: bool) -> str:
    if of_base:
        number, low, high = (points(value, signed=True) for value in (found.value, found.low, found.high))
        return f"{number} points against the base ({low} to {high}, n = {found.n:,})"
    if not measure.failures and measure.is_share:
        return zero_failures(measure)
    return f"{share(found.value)} ({100 * found.low:.1f} to {100 * found.high:.1f}, n = {found.n:,})"


def zero_failures(measure: Measure) -> str:
    """No failure in n cases, with how many there may still be."""
    rate = 1 - measure.assistant.low if measure.more_is_better else measure.assistant.high
    return (
        f"no failure in {measure.cases:,} cases: up to {share(rate)} may still fail (95% interval, "
        f"n = {measure.assistant.n:,})"
    )


def _needed(gate: Gate, found: Estimate, is_share: bool) -> str:
    """How many cases would pass at the share that was measured, if any number would."""
    if gate.of_base or not is_share:
        return ""
    above = gate.relation == ">="
    if (found.value < gate.limit) if above else (found.value > gate.limit):
        return "; more cases would more likely fail it"
    size = found.n
    while size <= MOST_CASES:
        low, high = wilson(found.value * size, size)
        if (low >= gate.limit) if above else (high <= gate.limit):
            return f"; n = {size:,} like these would pass it"
        size = int(size * 1.05) + 1
    return "; no number of cases would decide it"

"""Sentences and groups of measures of a finished test, for its page and for the terminal."""

from etude.base.formatting import format_count, format_points
from etude.report.headline import NOT_YET, read_headline
from etude.suites.measures.bias import SUITE as BIAS
from etude.suites.measures.shares import Measure
from etude.suites.results import SuiteReport


def format_headline(report: SuiteReport) -> str:
    """Say in a sentence whether the assistant is ready: by its gates and, if they pass, by its score in its run."""
    gates, name, run = report.gates, report.subject.name, report.subject.run
    if not gates:
        return f"{NOT_YET} no gates are set: {_format_overall(report)}"
    passed = sum(gate.outcome == "passed" for gate in gates)
    if passed == len(gates):
        headline = read_headline(run, passes_gates=True) if run and run.verdict else None
        ready = headline.ready if headline and headline.method == name else "Ready: yes."
        which = "its gate" if passed == 1 else f"all {passed} gates"
        return f"{ready} {name} passes {which}: {_format_overall(report)}"
    num_open = sum(gate.outcome == "too few cases" for gate in gates)
    counts = f"{passed} of {len(gates)} gates passed"
    if passed + num_open == len(gates):
        remedy = ". Run without --quick" if report.quick else ""
        return f"{NOT_YET} too few cases were asked: {counts}{remedy}"
    undecided = f", {num_open} undecided because of too few cases" if num_open else ""
    return f"{NOT_YET} {name} failed: {counts}{undecided}"


def _format_overall(report: SuiteReport) -> str:
    results = [result for result in report.results if result.case.suite != BIAS]
    num_own = sum(result.assistant.passed for result in results)
    num_base = sum(result.base.passed for result in results)
    return f"{num_own:,} of {format_count(len(results), 'case')} as expected (base: {num_base:,})"


def group_measures(report: SuiteReport) -> dict[str, list[Measure]]:
    """Group the measures by what they are about: whole `suites`, all suites (`common`), or single `kinds` of case."""
    suites = {result.case.suite for result in report.results}
    groups: dict[str, list[Measure]] = {"suites": [], "common": [], "kinds": []}
    for measure in report.measures:
        group = "kinds" if "/" in measure.name else "suites" if measure.name in suites else "common"
        groups[group].append(measure)
    return groups


def format_difference(measure: Measure) -> str:
    """Format assistant minus base, in points."""
    estimate = measure.difference
    if estimate is None:
        return ""
    value, low, high = (format_points(n, signed=True) for n in (estimate.value, estimate.low, estimate.high))
    return f"{value} ({low} to {high})"

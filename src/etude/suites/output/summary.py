"""Sentences and groups of measures of a finished test, for its page and for the terminal."""

from etude.base.formatting import format_count, format_points
from etude.report.headline import NOT_YET, explain_gates, read_headline
from etude.suites.measures.bias import SUITE as BIAS
from etude.suites.measures.shares import Measure
from etude.suites.results import SuiteReport


def format_headline(report: SuiteReport) -> str:
    """Say whether the assistant is ready: by its gates and, if none is left open, by the headline
    of its run.
    """
    outcomes = [gate.outcome for gate in report.gates]
    run = report.subject.run
    if reason := explain_gates(outcomes):
        needs_all = report.quick and "failed" not in outcomes
        return f"{NOT_YET} {reason}{'. Run without --quick' if needs_all else ''}"
    ready = "Ready: yes." if outcomes else f"{NOT_YET} no test measured it."
    if run and run.verdict and run.verdict.leaning == report.subject.name:
        ready = read_headline(run, outcomes).ready
    gates = (
        f"{report.subject.name} passes all {len(outcomes)} gates"
        if outcomes
        else "No gates are set"
    )
    return f"{ready} {gates}: {_format_overall(report)}"


def _format_overall(report: SuiteReport) -> str:
    results = [result for result in report.results if result.case.suite != BIAS]
    num_own = sum(result.assistant.passed for result in results)
    num_base = sum(result.base.passed for result in results)
    return f"{num_own:,} of {format_count(len(results), 'case')} as expected (base: {num_base:,})"


def group_measures(report: SuiteReport) -> dict[str, list[Measure]]:
    """Group the measures by what they are about: whole `suites`, all suites (`common`), or single
    `kinds` of case.
    """
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
    value, low, high = (
        format_points(n, signed=True) for n in (estimate.value, estimate.low, estimate.high)
    )
    return f"{value} ({low} to {high})"

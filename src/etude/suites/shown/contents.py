"""What every form of a finished test shares: sentences, and what the page draws."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from etude.base.wording import count, points
from etude.suites.acts import IN_WORDS
from etude.suites.cases import Case
from etude.suites.measures import Judged, Measure
from etude.suites.probes.bias import SUITE as BIAS
from etude.suites.results import Examined
from etude.types import ACTS, Act


def headline(tested: Examined) -> str:
    """The whole test in one sentence."""
    gates = tested.gates
    if not gates:
        return f"{tested.subject.name}: {_overall(tested)}; no gates are set"
    passed = sum(gate.outcome == "passed" for gate in gates)
    if passed == len(gates):
        which = "its gate" if passed == 1 else f"all {passed} gates"
        return f"{tested.subject.name} passes {which}: {_overall(tested)}"
    open_gates = sum(gate.outcome == "too few cases" for gate in gates)
    parts = [f"{passed} of {len(gates)} gates passed"]
    parts += [f"{open_gates} cannot be told from so few cases"] if open_gates else []
    return f"{tested.subject.name} is not ready: {', '.join(parts)}"


def _overall(tested: Examined) -> str:
    asked = [each for each in tested.judged if each.case.suite != BIAS]
    own, base = (sum(getattr(each, side).passed for each in asked) for side in ("assistant", "base"))
    return f"{own:,} of {count(len(asked), 'case')} as expected, the base {base:,}"


def expected(case: Case) -> str:
    """What a right answer does, in words."""
    return " or ".join(IN_WORDS[act] for act in case.expect)


def suites_of(tested: Examined) -> list[Measure]:
    """The measures of whole suites."""
    names = {each.case.suite for each in tested.judged}
    return [measure for measure in tested.measures if measure.name in names]


def common(tested: Examined) -> list[Measure]:
    """The measures over all suites."""
    whole = {each.case.suite for each in tested.judged}
    return [measure for measure in tested.measures if "/" not in measure.name and measure.name not in whole]


def kinds_of(tested: Examined) -> list[Measure]:
    """The measures of single kinds of case."""
    return [measure for measure in tested.measures if "/" in measure.name]


@dataclass(frozen=True, slots=True)
class Bar:
    """What one side did in one suite."""

    suite: str
    who: str
    slices: tuple[tuple[Act, int, float, float], ...]
    """Each act with its number, and where its part begins and how wide it is, in per cent."""
    total: int


def bars(tested: Examined) -> Iterator[Bar]:
    """For each suite what the base did, and the assistant."""
    for suite in dict.fromkeys(each.case.suite for each in tested.judged):
        chosen = [each for each in tested.judged if each.case.suite == suite]
        for side, who in (("base", "base"), ("assistant", tested.subject.name)):
            acts = sorted((getattr(each, side).act for each in chosen), key=ACTS.index)
            part = 100 / len(acts)
            slices = ((act, num, part * acts.index(act), part * num) for act, num in Counter(acts).items())
            yield Bar(suite, who, tuple(slices), len(acts))


def ordered(judged: Sequence[Judged]) -> list[Judged]:
    """Failures of the assistant first, then of the base, each in the order asked."""
    return sorted(judged, key=lambda each: (each.assistant.passed, each.base.passed))


def difference(measure: Measure) -> str:
    """Assistant minus base, in points."""
    found = measure.difference
    if found is None:
        return ""
    return f"{points(found.value, signed=True)} ({points(found.low, signed=True)} to {points(found.high, signed=True)})"


def floor(tested: Examined) -> float:
    """Where the axis of the accuracy curve begins: a round share below all of it."""
    rights = [point.right for point in tested.confidence.curve] if tested.confidence else [0.0]
    return min(0.9, int(10 * min(rights)) / 10)


def curve(tested: Examined) -> str:
    """Accuracy by the share that is answered, as points of a square of 100 by 100."""
    if tested.confidence is None:
        return ""
    low = floor(tested)
    heights = [(point.share, (point.right - low) / (1 - low)) for point in tested.confidence.curve]
    return " ".join(f"{100 * at:.1f},{100 - 100 * height:.1f}" for at, height in heights)

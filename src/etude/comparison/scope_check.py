"""Limits in a comparison: assistants get their scope after they are measured; then the scope is
tested.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache

from etude.assistant import Assistant, load
from etude.base.formatting import format_interval, format_share
from etude.base.word_lists import read_table
from etude.comparison.clock import CLOSING_SECONDS
from etude.comparison.ladder_run import LadderRun
from etude.evaluate import get_unit
from etude.limits.acts import read_act
from etude.limits.scope import Scope
from etude.models.registry import Models
from etude.runs.events import NoteEvent
from etude.stats import estimate
from etude.task.definition import Limit
from etude.types import Estimate, Message

PROBED_KINDS = (
    "classify",
    "answer",
)  # The inputs of the other kinds are texts to process, not questions.


def fit_limits(ladder_run: LadderRun) -> tuple[Scope | None, tuple[Limit, ...]]:
    """Fit the scope and the clause limits of the task's `limits:` on train and dev."""
    if not ladder_run.task.limits:
        return None, ()
    from etude.limits.fit import fit_task_limits  # scikit-learn takes a second to import

    scope, clause_limits, notes = fit_task_limits(
        ladder_run.task, ladder_run.split, ladder_run.models
    )
    for note in notes:
        ladder_run.on_event(NoteEvent(f"Note: {note}."))
    if notes:  # a resumed run has them already
        known_notes = ladder_run.run.info["notes"]
        ladder_run.run.update(
            notes=list(dict.fromkeys([*known_notes, *(f"{note}." for note in notes)]))
        )
    return scope, clause_limits


def add_limits(
    ladder_run: LadderRun,
    fitted: Mapping[str, Assistant],
    limits: tuple[Scope | None, tuple[Limit, ...]],
) -> dict[str, Assistant]:
    """Save every assistant with the limits. The ladder is measured without them."""
    scope, clause_limits = limits
    scoped = {
        name: replace(assistant, scope=scope, clause_limits=clause_limits)
        for name, assistant in fitted.items()
    }
    for name, assistant in scoped.items():
        if assistant != load(folder := ladder_run.run.assistant_folder(name)):
            assistant.save(folder)
    return scoped


def describe_limits(ladder_run: LadderRun, name: str, assistant: Assistant) -> Iterator[str]:
    """Yield a sentence on the questions that an assistant with limits turns away, or that one
    without limits should.
    """
    probe = read_probe() if ladder_run.task.kind in PROBED_KINDS else ()
    turned_away = measure_turned_away(ladder_run, assistant) if assistant.has_limits else None
    # Without a scope there is only a sentence if a test row is taken for one of danger or of a
    # forbidden subject.
    if turned_away and (assistant.scope or turned_away.value):
        encoder = assistant.load_searches(ladder_run.models).clause_encoder
        limits = assistant.find_limits(
            [(Message("user", question),) for question in probe], encoder
        )
        others = f"{sum(map(bool, limits))} of our {len(probe)} questions outside the task"
        yield (
            f"Limits: {name} turns away {format_share(turned_away.value)} of the test questions "
            f"(95% interval {format_interval(turned_away)}, n = {turned_away.n:,})"
            + (f", and {others}." if probe else ".")
        )
    # A service is not asked, because that costs money.
    if (
        not assistant.scope
        and probe
        and ladder_run.models.find_service(assistant.model.name) is None
    ):
        if len(probe) * ladder_run.get_row_seconds(name) > max(
            ladder_run.clock.seconds_left, CLOSING_SECONDS
        ):
            yield f"There was no time to ask {name} questions outside the task. Run etude test."
            return
        num_answered = count_answered(assistant, ladder_run.models, probe)
        advice = " Run etude test, and add limits: to the task file." if num_answered else ""
        yield (
            f"Étude asked {name} {len(probe)} questions outside the task, and it answered "
            f"{num_answered}.{advice}"
        )


@cache
def read_probe() -> tuple[str, ...]:
    """Read the packaged questions that hardly any assistant should answer."""
    return tuple(read_table(__file__, "probe.yaml"))


def count_answered(assistant: Assistant, models: Models, questions: Sequence[str]) -> int:
    """Ask questions, and count those that get an answer or incoherent text."""
    answers = zip(questions, assistant.answer(questions, models), strict=True)
    acts = [
        read_act(answer.text, question, assistant.contract).act
        for question, answer in answers
        if not (answer.limit or answer.handed_over)
    ]
    return sum(act in ("answer", "incoherent") for act in acts)


def measure_turned_away(ladder_run: LadderRun, assistant: Assistant) -> Estimate:
    """Estimate the share of the test questions that the limits turn away, of those that are to be
    answered if there are any; no model is asked.
    """
    from etude.limits.fit import list_answered  # scikit-learn takes a second to import

    encoder = assistant.load_searches(ladder_run.models).clause_encoder
    test = ladder_run.split.test
    rows = list_answered(ladder_run.task, test) or list(test)
    limits = assistant.find_limits([row.input for row in rows], encoder)
    return estimate([float(limit is not None) for limit in limits], [get_unit(row) for row in rows])

"""Limits in a comparison: assistants get their scope after they are measured; then the scope is tested."""

from collections.abc import Iterator, Mapping
from dataclasses import replace

from etude.assistant import Assistant, load
from etude.base.formatting import format_interval, format_share
from etude.comparison.ladder_run import LadderRun
from etude.evaluate import AnswerLog, answer_in_batches, get_unit
from etude.limits.acts import read_act
from etude.limits.probe import read_probe
from etude.runs.events import NoteEvent
from etude.stats import estimate
from etude.types import Estimate, Message

PROBED_KINDS = ("classify", "answer")  # The inputs of the other kinds are texts to process, not questions.


def add_scope(ladder_run: LadderRun, fitted: Mapping[str, Assistant]) -> dict[str, Assistant]:
    """Fit the scope of the task's `limits:` on train and dev, and save it with every assistant. A text that is handed
    over is replaced by the sentence of `to_person`, unless `handover:` has its own.

    The ladder is measured without the scope, so limits do not change the comparison.
    """
    task, split, scope = ladder_run.task, ladder_run.split, None
    if task.limits:
        from etude.limits.fit import fit_scope

        scope, notes = fit_scope(task.limits, split.train.examples, split.dev.examples, task.seed)
        for note in notes:
            ladder_run.on_event(NoteEvent(f"Note: {note}."))
        ladder_run.run.update(notes=[*ladder_run.run.info["notes"], *(f"{note}." for note in notes)])
    to_person = next((limit.say for limit in task.limits if limit.name == "to_person"), "")
    scoped = {}
    for name, assistant in fitted.items():
        say = assistant.handover_sentence
        if task.kind != "classify" and assistant.handover is not None:
            say = say or to_person
        scoped[name] = replace(assistant, scope=scope, handover_sentence=say)
        if scoped[name] != load(folder := ladder_run.run.assistant_folder(name)):
            scoped[name].save(folder)
    return scoped


def describe_limits(ladder_run: LadderRun, name: str, assistant: Assistant) -> Iterator[str]:
    """Yield a sentence on the questions that an assistant with limits turns away, or that one without limits should."""
    num_answered = num_probed = 0
    if can_probe(ladder_run, assistant):
        num_answered, num_probed = probe_assistant(ladder_run, name, assistant)
    if assistant.scope:
        turned_away = measure_turned_away(ladder_run, assistant)
        ladder_run.run.update(
            limits={
                "turned_away": turned_away.value,
                "probe": {"answered": num_answered, "asked": num_probed},
            }
        )
        others = f"{num_probed - num_answered} of {num_probed} questions outside the task"
        yield (
            f"Limits: {name} turns away {format_share(turned_away.value)} of the test questions (95% interval "
            f"{format_interval(turned_away)}, n = {turned_away.n:,})"
            + (f", and {others}." if num_probed else ".")
        )
    elif num_answered:
        yield (
            f"Étude asked {name} {num_probed} questions outside the task, and it answered {num_answered}. "
            "Run etude test, and add limits: to the task file."
        )


def can_probe(ladder_run: LadderRun, assistant: Assistant) -> bool:
    """Whether the task answers questions, and asking some costs nothing."""
    is_free = ladder_run.models.find_service(assistant.model.name) is None
    return is_free and ladder_run.task.kind in PROBED_KINDS


def probe_assistant(ladder_run: LadderRun, name: str, assistant: Assistant) -> tuple[int, int]:
    """Ask the probe questions; return how many got an answer or incoherent text, and how many were asked."""
    questions = read_probe()
    chats = [(Message("user", question),) for question in questions]
    file = ladder_run.work_folder(name) / "answers" / f"{assistant.fingerprint}-probe.jsonl"
    batches = answer_in_batches(
        assistant,
        ladder_run.models,
        questions,
        lambda: assistant.build_requests(chats, ladder_run.models),
        AnswerLog(file),
    )
    answers = [answer for _, batch in batches for answer in batch.values()]
    open_answers = [answer for answer in answers if not (answer.limit or answer.handed_over)]
    acts = [read_act(answer.text, answer.id, assistant.contract).act for answer in open_answers]
    return sum(act in ("answer", "incoherent") for act in acts), len(questions)


def measure_turned_away(ladder_run: LadderRun, assistant: Assistant) -> Estimate:
    """Estimate the share of the test questions that the scope turns away, without asking a model."""
    assert assistant.scope is not None, "only an assistant with limits turns questions away"
    rows = ladder_run.split.test
    limits = assistant.scope.find_limits([row.input for row in rows])
    return estimate([float(limit is not None) for limit in limits], [get_unit(row) for row in rows])

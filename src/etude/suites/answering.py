"""Ask an assistant the cases, batch by batch; each batch is on disk before the next begins."""

import hashlib
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from etude.assistant import Assistant, PromptLimit
from etude.evaluate import AnswerLog, answer_in_batches
from etude.models.registry import Models
from etude.suites.cases import Case
from etude.types import Answer, Message, Request

OnAnswers = Callable[[int, int, float], None]
"""Called after each batch with the number of answered cases, the number of all cases, and the remaining seconds."""


def answer_cases(
    assistant: Assistant, models: Models, cases: Sequence[Case], folder: Path, on_answers: OnAnswers
) -> list[Answer]:
    """Return the answers to the cases, in order; batches that an earlier attempt left in the folder are reused."""
    contents = [
        [case.id, [[turn.role, turn.content] for turn in case.input], case.after_passages, case.with_passages]
        for case in cases
    ]
    digest = hashlib.sha256(json.dumps(contents).encode()).hexdigest()[:16]
    log = AnswerLog(folder / "answers" / f"{assistant.fingerprint}-{digest}.jsonl")
    ids, num_logged = [case.id for case in cases], log.num_requests // assistant.samples
    answers: dict[int, Answer] = {}
    started = time.perf_counter()
    batches = answer_in_batches(
        assistant, models, ids, lambda: _build_requests(assistant, models, cases), log
    )
    for _, batch_answers in batches:
        answers |= batch_answers
        if (num_new := len(answers) - num_logged) > 0:  # batches from the log are not timed
            pace = (time.perf_counter() - started) / num_new
            on_answers(len(answers), len(cases), pace * (len(cases) - len(answers)))
    return [answers[position] for position in range(len(cases))]


def drop_too_long(cases: Sequence[Case], sides: Sequence[Assistant], models: Models) -> list[Case]:
    """Keep the cases whose question fits the context of every side."""
    limits = [PromptLimit(side, models.get(side.model, *side.needs)) for side in sides]
    asked = [(case, _append_text(case.input, case.after_passages)) for case in cases]
    return [case for case, turns in asked if all(limit.fits(turns) for limit in limits)]


def _build_requests(assistant: Assistant, models: Models, cases: Sequence[Case]) -> list[Request]:
    """Build the requests of the cases, with the text that a case puts after its passages."""
    inputs = [case.input for case in cases]
    with_search = assistant.build_requests(inputs, models)
    without_search = with_search
    if assistant.search:
        without_search = replace(assistant, search=None).build_requests(inputs, models)
    requests = []
    for index, pair in enumerate(zip(with_search, without_search, strict=True)):
        case = cases[index // assistant.samples]
        request = pair[0] if case.with_passages else pair[1]
        requests.append(replace(request, messages=_append_text(request.messages, case.after_passages)))
    return requests


def _append_text(turns: Sequence[Message], text: str) -> tuple[Message, ...]:
    *earlier, last = turns
    return (*earlier, replace(last, content=f"{last.content}\n\n{text}") if text else last)

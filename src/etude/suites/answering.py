"""Cases answered by an assistant, batch by batch, each batch on disk before the next begins."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from etude.assistant import Assistant, PromptLimit
from etude.evaluate import AnswerLog
from etude.models.registry import Models
from etude.suites.cases import Case
from etude.types import Answer, Message, Request

OnAnswers = Callable[[int, int, float], None]
"""Called after each batch: cases answered, cases in all, seconds that the others will take."""


def answer_cases(
    assistant: Assistant, models: Models, cases: Sequence[Case], folder: Path, on_answers: OnAnswers
) -> list[Answer]:
    """One answer per case, in order; batches that an earlier attempt has left in the folder are not asked again."""
    log = AnswerLog(folder / "answers" / f"{assistant.fingerprint}-{fingerprint(cases)}.jsonl")
    requests = prepared(assistant, models, cases)
    model = models.get(assistant.model, *assistant.needs)
    done, seconds = log.num_rows, 0.0
    for batch in model.batches(requests, log.done):
        started = time.perf_counter()
        asked = [requests[index] for index in batch.indices]
        cited = tuple(request.citations for request in asked)
        log.append(replace(batch, shots_dropped=tuple(r.shots_dropped for r in asked), citations=cited))
        seconds += time.perf_counter() - started + sum(each.seconds for each in batch.completions)
        done += len(batch.indices)
        on_answers(done, len(cases), seconds / done * (len(cases) - done))
    answers: dict[int, Answer] = {}
    for batch in log.batches:
        ids = [cases[index].id for index in batch.indices]
        found = assistant.finish(ids, batch.completions, batch.shots_dropped, batch.citations)
        answers |= zip(batch.indices, found, strict=True)
    return [answers[place] for place in range(len(cases))]


def fitting(cases: Sequence[Case], sides: Sequence[Assistant], models: Models) -> list[Case]:
    """The cases whose question fits the context of every side."""
    limits = [PromptLimit(side, models.get(side.model, *side.needs)) for side in sides]
    return [case for case in cases if all(limit.fits(_behind(case.input, case.behind)) for limit in limits)]


def prepared(assistant: Assistant, models: Models, cases: Sequence[Case]) -> list[Request]:
    """The requests of the cases, with what a case puts behind the passages that were looked up."""
    inputs = [case.input for case in cases]
    looked_up = assistant.requests(inputs, models)
    bare = replace(assistant, search=None).requests(inputs, models) if assistant.search else looked_up
    return [
        replace(request, messages=_behind(request.messages, case.behind))
        for case, with_passages, without in zip(cases, looked_up, bare, strict=True)
        for request in [with_passages if case.passages else without]
    ]


def _behind(turns: Sequence[Message], text: str) -> tuple[Message, ...]:
    *earlier, last = turns
    return (*earlier, replace(last, content=f"{last.content}\n\n{text}") if text else last)


def fingerprint(cases: Sequence[Case]) -> str:
    """A hash of what is asked."""
    asked = [
        [case.id, [[turn.role, turn.content] for turn in case.input], case.behind, case.passages]
        for case in cases
    ]
    return hashlib.sha256(json.dumps(asked).encode()).hexdigest()[:16]

"""Ask an assistant the cases, batch by batch; each batch is on disk before the next begins."""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from etude.assistant import Assistant, PromptLimit
from etude.base.files import hash_text, read_json, write_json
from etude.evaluate import AnswerLog, answer_in_batches
from etude.models.registry import Models
from etude.runs.questions import Confirm, SendLimits, confirm_service
from etude.suites.cases import Case
from etude.types import Answer, Message, Request

WORD = " a"  # about a token
OnAnswers = Callable[[int, int, float], None]
"""Called after each batch with the number of answered cases, the number of all cases, and the
remaining seconds.
"""


def answer_cases(
    assistant: Assistant, models: Models, cases: Sequence[Case], folder: Path, on_answers: OnAnswers
) -> list[tuple[Answer, ...]]:
    """Return the answers to each case, in order: the assistant's own answers in a conversation, and
    the last. Only questions that no earlier test asked this assistant are asked; a stopped test is
    continued after its last batch.
    """
    answers = _read_answers(assistant, models, folder)
    num_cases = sum(case.num_answers for case in cases)
    while True:
        played = [(case, *_play(case, answers)) for case in cases]
        new = {
            _hash_case(question): question
            for case, question, own in played
            if len(own) < case.num_answers
        }
        if not new:
            return [tuple(replace(answer, id=case.id) for answer in own) for case, _, own in played]
        ids = list(new)
        file = folder / f"{assistant.fingerprint}-{hash_text(''.join(ids))}.json"
        write_json(file, {"cases": ids})
        log = AnswerLog(file.with_suffix(".jsonl"))
        num_open = sum(case.num_answers - len(own) for case, _, own in played)
        started = time.perf_counter()
        num_done = 0
        num_logged = log.num_requests
        build = partial(_build_requests, assistant, models, [*new.values()])
        for _, batch_answers in answer_in_batches(assistant, models, ids, build, log):
            answers |= {ids[position]: answer for position, answer in batch_answers.items()}
            num_done += len(batch_answers)
            if (num_timed := num_done - num_logged) > 0:  # batches from the log are not timed
                pace = (time.perf_counter() - started) / num_timed
                num_left = num_open - num_done
                on_answers(num_cases - num_left, num_cases, pace * num_left)


def confirm_sending(
    assistant: Assistant, models: Models, cases: Sequence[Case], folder: Path, confirm: Confirm
) -> None:
    """Ask before questions that no earlier test asked are sent to a service. Raises Declined."""
    if (service := models.find_service(assistant.model.name)) is None:
        return
    answers = _read_answers(assistant, models, folder)
    if new := [case for case in cases if len(_play(case, answers)[1]) < case.num_answers]:
        model = models.get(assistant.model)
        requests = _build_requests(assistant, models, new)
        counts = [case.num_answers - len(_play(case, answers)[1]) for case in new]
        sizes = [model.count_tokens(request.messages) for request in requests]
        # Each own answer in a conversation is sent with the questions after it.
        own = (
            sum(count * (case.num_answers - 1) for count, case in zip(counts, new, strict=True))
            * assistant.max_tokens
        )
        tokens = sum(count * size for count, size in zip(counts, sizes, strict=True)) + own
        sending = SendLimits(sum(counts), tokens, sum(counts) * assistant.max_tokens)
        purpose = f"will get the questions of the behaviour test, for {assistant.method}"
        confirm_service(service, sending, purpose, lambda event: None, confirm)


def _play(case: Case, answers: Mapping[str, Answer]) -> tuple[Case, list[Answer]]:
    """Return the next question of a case, and the answers to those before it; with all answers, the
    last question.
    """
    own = list[Answer]()
    question = case.play([])
    while len(own) < case.num_answers and (answer := answers.get(_hash_case(question))):
        own.append(answer)
        question = case.play([answer.shown for answer in own])
    return question, own


def _hash_case(case: Case) -> str:
    turns = [[turn.role, turn.content] for turn in case.input]
    body = json.dumps([turns, case.after_passages, case.with_passages])
    return hash_text(body, 32)


def _read_answers(assistant: Assistant, models: Models, folder: Path) -> dict[str, Answer]:
    answers = dict[str, Answer]()
    for file in folder.glob(f"{assistant.fingerprint}-*.json"):
        keys = read_json(file)["cases"]
        log = AnswerLog(file.with_suffix(".jsonl"))
        if log.num_requests == len(keys):
            for _, batch_answers in answer_in_batches(assistant, models, keys, list, log):
                answers |= {keys[position]: answer for position, answer in batch_answers.items()}
    return answers


def drop_too_long(cases: Sequence[Case], sides: Sequence[Assistant], models: Models) -> list[Case]:
    """Keep the cases whose question fits the context of every side, whatever it answers in a
    conversation.
    """
    limits = [PromptLimit(side, models.get(side.model, *side.needs)) for side in sides]
    text = WORD * max(side.max_tokens for side in sides)
    played = [(case, case.play([text] * case.num_answers).input) for case in cases]
    asked = [(case, _append_text(turns, case.after_passages)) for case, turns in played]
    return [case for case, turns in asked if all(limit.fits(turns) for limit in limits)]


def _build_requests(assistant: Assistant, models: Models, cases: Sequence[Case]) -> list[Request]:
    requests = assistant.build_requests([case.input for case in cases], models)
    bare = [
        position
        for position, case in enumerate(cases)
        if assistant.search and not case.with_passages
    ]
    if bare:
        without_search = replace(assistant, search=None)
        bare_requests = without_search.build_requests(
            [cases[position].input for position in bare], models
        )
        for position, request in zip(bare, bare_requests, strict=True):
            requests[position] = request
    return [
        replace(request, messages=_append_text(request.messages, case.after_passages))
        for request, case in zip(requests, cases, strict=True)
    ]


def _append_text(turns: Sequence[Message], text: str) -> tuple[Message, ...]:
    *earlier, last = turns
    return (*earlier, replace(last, content=f"{last.content}\n\n{text}") if text else last)

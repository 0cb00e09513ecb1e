"""Ask an assistant the cases, batch by batch; each batch is on disk before the next begins."""

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
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
"""Called after each batch with the number of answered cases, the number of all cases, and the remaining seconds."""


def answer_cases(
    assistant: Assistant, models: Models, cases: Sequence[Case], folder: Path, on_answers: OnAnswers
) -> list[tuple[Answer, ...]]:
    """Return the answers to each case, in order: the assistant's own answers in a conversation, and the last. Only
    questions that no earlier test asked this assistant are asked; a stopped test is continued after its last batch."""
    answers: list[tuple[Answer, ...]] = [()] * len(cases)
    total, num_reached = sum(case.num_answers for case in cases), 0

    def report(num_left: int, pace: float) -> None:
        on_answers(num_reached - num_left, total, pace * (total - num_reached + num_left))

    while num_reached < total:
        numbers = [number for number, case in enumerate(cases) if len(answers[number]) < case.num_answers]
        questions = [cases[number].play([answer.shown for answer in answers[number]]) for number in numbers]
        num_reached += len(numbers)
        step = _answer_questions(assistant, models, questions, folder, report)
        for number, answer in zip(numbers, step, strict=True):
            answers[number] += (answer,)
    return answers


def _answer_questions(
    assistant: Assistant, models: Models, cases: Sequence[Case], folder: Path, report: Callable[[int, float], None]
) -> list[Answer]:
    keys = list(map(_hash_case, cases))
    answers = _read_answers(assistant, models, folder)
    new = {key: case for key, case in zip(keys, cases, strict=True) if key not in answers}
    digest = hash_text("".join(new))
    file = folder / f"{assistant.fingerprint}-{digest}.json"
    write_json(file, {"cases": list(new)})
    log = AnswerLog(file.with_suffix(".jsonl"))
    ids, num_logged = list(new), log.num_requests
    started, num_done = time.perf_counter(), 0
    batches = answer_in_batches(
        assistant, models, ids, lambda: _build_requests(assistant, models, [*new.values()]), log
    )
    for _, batch_answers in batches:
        answers |= {ids[position]: answer for position, answer in batch_answers.items()}
        num_done += len(batch_answers)
        if (num_timed := num_done - num_logged) > 0:  # batches from the log are not timed
            pace, num_left = (time.perf_counter() - started) / num_timed, len(new) - num_done
            report(num_left, pace)
    return [replace(answers[key], id=case.id) for key, case in zip(keys, cases, strict=True)]


def confirm_sending(
    assistant: Assistant, models: Models, cases: Sequence[Case], folder: Path, confirm: Confirm
) -> None:
    """Ask before questions that no earlier test asked are sent to a service. Raises Declined."""
    if (service := models.find_service(assistant.model.name)) is None:
        return
    answers = _read_answers(assistant, models, folder)
    if new := [question for case in cases for question in _list_new_questions(case, answers, assistant.max_tokens)]:
        model, requests = models.get(assistant.model), _build_requests(assistant, models, new)
        tokens = sum(model.count_tokens(request.messages) for request in requests)
        sending = SendLimits(len(requests), tokens, len(requests) * assistant.max_tokens)
        purpose = f"will get the questions of the behaviour test, for {assistant.method}"
        confirm_service(service, sending, purpose, lambda event: None, confirm)


def _list_new_questions(case: Case, answers: Mapping[str, Answer], max_tokens: int) -> Iterator[Case]:
    """Yield the questions of a case that are not answered. In place of own answers, they have the longest ones."""
    texts = list[str]()
    for _ in range(case.num_answers):
        question = case.play(texts)
        answer = answers.get(_hash_case(question))
        if answer is None:
            yield question
        texts.append(answer.shown if answer else WORD * max_tokens)


def _hash_case(case: Case) -> str:
    turns = [[turn.role, turn.content] for turn in case.input]
    body = json.dumps([turns, case.after_passages, case.with_passages])
    return hash_text(body, 32)


def _read_answers(assistant: Assistant, models: Models, folder: Path) -> dict[str, Answer]:
    answers = dict[str, Answer]()
    for file in folder.glob(f"{assistant.fingerprint}-*.json"):
        keys, log = read_json(file)["cases"], AnswerLog(file.with_suffix(".jsonl"))
        if log.num_requests == len(keys):
            for _, batch_answers in answer_in_batches(assistant, models, keys, list, log):
                answers |= {keys[position]: answer for position, answer in batch_answers.items()}
    return answers


def drop_too_long(cases: Sequence[Case], sides: Sequence[Assistant], models: Models) -> list[Case]:
    """Keep the cases whose question fits the context of every side, whatever it answers in a conversation."""
    limits = [PromptLimit(side, models.get(side.model, *side.needs)) for side in sides]
    text = WORD * max(side.max_tokens for side in sides)
    played = [(case, case.play([text] * case.num_answers).input) for case in cases]
    asked = [(case, _append_text(turns, case.after_passages)) for case, turns in played]
    return [case for case, turns in asked if all(limit.fits(turns) for limit in limits)]


def _build_requests(assistant: Assistant, models: Models, cases: Sequence[Case]) -> list[Request]:
    requests = assistant.build_requests([case.input for case in cases], models)
    bare = [position for position, case in enumerate(cases) if assistant.search and not case.with_passages]
    if bare:
        without_search = replace(assistant, search=None)
        bare_requests = without_search.build_requests([cases[position].input for position in bare], models)
        for position, request in zip(bare, bare_requests, strict=True):
            requests[position] = request
    return [
        replace(request, messages=_append_text(request.messages, case.after_passages))
        for request, case in zip(requests, cases, strict=True)
    ]


def _append_text(turns: Sequence[Message], text: str) -> tuple[Message, ...]:
    *earlier, last = turns
    return (*earlier, replace(last, content=f"{last.content}\n\n{text}") if text else last)

"""Which recorded questions a person should answer, so that the rows made of them help most: `etude
watch --pick`.
"""

import secrets
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from etude.base.formatting import format_count
from etude.feedback import FILE, FeedbackLog, drop_undone
from etude.feedback.gather import hash_input
from etude.feedback.sealed import load_sealed_test
from etude.limits.scope import get_question
from etude.models.registry import Models
from etude.runs import FOLDER
from etude.studio.review_queue import QUEUE_FILE, ReviewItem, ReviewQueue
from etude.types import Message
from etude.watch.bound import Draw, append_draw, find_vote, read_draws
from etude.watch.questions import QuestionSpace, select_questions
from etude.watch.record import RecordedRequest, mask_texts
from etude.watch.watching import Traffic, collect_votes, predict_wrong, read_traffic

MAX_CANDIDATES = 4_000  # the latest questions, among which is picked


def pick_questions(
    task_file: Path,
    record: Path | None = None,
    number: int = 20,
    *,
    is_random: bool = False,
    run: str | None = None,
    method: str | None = None,
    on_step: Callable[[str], None] = lambda name: None,
) -> tuple[list[ReviewItem], list[str]]:
    """Queue recorded questions with their answers for review, and return them and notes.

    First come answers drawn at random for the bound on wrong answers: a tenth of `number` and at
    least two, or all if `is_random`. Then come the most useful questions, except those that are
    among the examples, that nearly repeat a test row, on which there is feedback, or which a person
    should see at once (limit danger). Questions that another limit turned away come last. The other
    arguments are those of `watch`.
    """
    on_step("Reading")
    traffic = read_traffic(task_file, record, run, method)
    num_random = number if is_random else min(number, max(2, number // 10))
    drawn = _draw_answers(traffic, num_random)
    number -= num_random
    sealed = load_sealed_test(traffic.task, traffic.dataset.examples)
    inputs = {item.input for item in drawn}
    items = [item for item in _list_unknown(traffic) if item.input not in inputs]
    overlaps = sealed.find_overlaps([item.input for item in items])
    items = [item for item, is_test in zip(items, overlaps, strict=True) if not is_test]
    notes = [
        *traffic.notes,
        f"Picked among {format_count(len(items), 'question')} that no row answers",
    ]
    picked = list[ReviewItem]()
    if items and number:
        on_step("Comparing questions")
        rows = [get_question(row.input) for row in traffic.dataset if not sealed.contains(row.text)]
        space = QuestionSpace(traffic.task, mask_texts(rows, traffic.key.masking), Models())
        for is_limited in (False, True):
            if (group := [item for item in items if bool(item.limit) is is_limited]) and len(
                picked
            ) < number:
                picked += _select(group, space, number - len(picked))
        notes = [*space.notes, *notes]
    items = [replace(item, urgency=rank) for rank, item in enumerate([*drawn, *picked])]
    queue_picked(traffic.task.folder, items)
    return items, [
        f"Drawn at random, for the bound on wrong answers: the first {len(drawn):,}",
        *notes,
    ]


def _select(items: Sequence[ReviewItem], space: QuestionSpace, number: int) -> list[ReviewItem]:
    vectors = space.embed([get_question(item.input) for item in items])
    unsure = np.array([1 - (item.confidence or 0.0) for item in items])
    return [
        items[row]
        for row in select_questions(vectors, space.find_nearest(vectors)[0], unsure, number)
    ]


def queue_picked(folder: Path, items: Sequence[ReviewItem]) -> None:
    """Replace the picked questions in the queue of a task's folder, except those with feedback."""
    queue = ReviewQueue(folder / FOLDER / QUEUE_FILE)
    queue.set_reviews(FeedbackLog(folder / FILE).entries)
    queue.replace_source("picked", [*queue.list_with_feedback("picked"), *items])


def _draw_answers(traffic: Traffic, number: int) -> list[ReviewItem]:
    """Return the drawn answers that wait for a judgement; before, draw as many as are missing to
    `number`.
    """
    answers = traffic.own_answers
    votes = collect_votes(traffic.task, traffic.key)
    folder = traffic.task.folder / FOLDER
    # Of equal answers, always the first is shown, because the record may have masked the others
    # differently.
    predicted = predict_wrong(answers)
    recorded = {item.exchange: item for item in reversed(answers)}
    draws = read_draws(folder, traffic.fingerprint)

    waiting = [draw.exchange for draw in draws if find_vote(draw, votes) is None]
    items = {name: _mask(recorded[name], traffic, name) for name in waiting if name in recorded}
    for _ in range(number - len(items) if answers else 0):
        position = secrets.randbelow(len(answers))  # with replacement
        name = answers[position].exchange
        item = _mask(recorded[name], traffic, name)
        names = (
            traffic.fingerprint,
            name,
            traffic.key.hash_exchange(item.input, item.answer or ""),
        )
        draw = Draw(*names, float(predicted[position]), float(predicted.mean()), len(answers))
        append_draw(folder, draw)
        if find_vote(draw, votes) is None:
            items[name] = item
    return list(items.values())


def _list_unknown(traffic: Traffic) -> list[ReviewItem]:
    """List the latest questions that neither the examples nor the feedback have, each once and
    masked.
    """
    entries = drop_undone(FeedbackLog(traffic.task.folder / FILE).entries)
    known_inputs = {hash_input(item.input) for item in (*traffic.dataset, *entries)}
    latest = {
        hash_input(request.turns): request
        for request in traffic.requests
        if request.limit != "danger"
    }
    unknown = [request for key, request in latest.items() if key not in known_inputs][
        -MAX_CANDIDATES:
    ]
    items = [_mask(request, traffic) for request in unknown]
    return [item for item in items if hash_input(item.input) not in known_inputs]


def _mask(request: RecordedRequest, traffic: Traffic, draw: str = "") -> ReviewItem:
    plain = [*(turn.content for turn in request.turns), request.answer]
    *texts, answer = mask_texts(plain, traffic.key.masking)
    turns = tuple(Message(turn.role, text) for turn, text in zip(request.turns, texts, strict=True))
    assistant = request.assistant or f"{traffic.run.name}/{traffic.method}"
    return ReviewItem(
        *("picked", turns, assistant, answer or None),
        confidence=request.confidence,
        limit=request.limit,
        draw=draw,
    )

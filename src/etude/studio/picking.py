"""Which recorded questions a person should answer, so that the rows made of them help most: `etude watch --pick`."""

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
from etude.watch.questions import QuestionSpace, select_questions
from etude.watch.record import RecordedRequest, mask_texts
from etude.watch.watching import KEY, Traffic, read_traffic

MAX_CANDIDATES = 4_000  # the latest questions, among which is picked


def pick_questions(
    task_file: Path,
    record: Path | None = None,
    number: int = 20,
    *,
    run: str | None = None,
    method: str | None = None,
    on_step: Callable[[str], None] = lambda name: None,
) -> tuple[list[ReviewItem], list[str]]:
    """Queue recorded questions with their answers for review, the most useful first, and return them and notes.

    The arguments are those of `watch`. Left out are questions that are among the examples, that nearly repeat a test
    row, on which there is feedback, or which a person should see at once (limit danger).
    """
    on_step("Reading")
    traffic = read_traffic(task_file, record, run, method)
    sealed = load_sealed_test(traffic.task, traffic.dataset.examples)
    items = _list_unknown(traffic)
    overlaps = sealed.find_overlaps([item.input for item in items])
    items = [item for item, is_test in zip(items, overlaps, strict=True) if not is_test]
    notes = [*traffic.notes, f"Picked among {format_count(len(items), 'question')} without a right answer"]
    if items:
        on_step("Comparing questions")
        rows = [get_question(row.input) for row in traffic.dataset if not sealed.contains(row.text)]
        space = QuestionSpace(traffic.task, mask_texts(rows, KEY), Models())
        vectors = space.embed([get_question(item.input) for item in items])
        unsure = np.array([1 - (item.confidence or 0.0) for item in items])
        picked = select_questions(vectors, space.find_nearest(vectors)[0], unsure, number)
        items = [replace(items[position], urgency=rank) for rank, position in enumerate(picked)]
        notes = [*space.notes, *notes]
    queue_picked(traffic.task.folder, items)
    return items, notes


def queue_picked(folder: Path, items: Sequence[ReviewItem]) -> None:
    """Replace the picked questions in the queue of a task's folder, except those with feedback."""
    queue = ReviewQueue(folder / FOLDER / QUEUE_FILE)
    queue.set_reviews(FeedbackLog(folder / FILE).entries)
    queue.replace_source("picked", [*queue.list_with_feedback("picked"), *items])


def _list_unknown(traffic: Traffic) -> list[ReviewItem]:
    """List the latest questions that neither the examples nor the feedback have, each once and masked."""
    entries = drop_undone(FeedbackLog(traffic.task.folder / FILE).entries)
    known = {hash_input(item.input) for item in (*traffic.dataset, *entries)}
    latest = {hash_input(request.turns): request for request in traffic.requests if request.limit != "danger"}
    unknown = [request for key, request in latest.items() if key not in known][-MAX_CANDIDATES:]
    items = [_mask(request, f"{traffic.run.name}/{traffic.method}") for request in unknown]
    return [item for item in items if hash_input(item.input) not in known]


def _mask(request: RecordedRequest, assistant: str) -> ReviewItem:
    *texts, answer = mask_texts([*(turn.content for turn in request.turns), request.answer], KEY)
    turns = tuple(Message(turn.role, text) for turn, text in zip(request.turns, texts, strict=True))
    assistant = request.assistant or assistant
    return ReviewItem(
        *("picked", turns, assistant, answer or None), confidence=request.confidence, limit=request.limit
    )

"""A thread that answers new inputs with the assistant of the run."""

import threading
from collections.abc import Mapping, Sequence
from dataclasses import replace

from etude.assistant import Assistant
from etude.errors import EtudeError
from etude.models.registry import Models
from etude.studio.review_queue import ReviewItem, ReviewQueue
from etude.task import Endpoint
from etude.types import Answer

BATCH_SIZE = 8
CUT = "cut by the length limit"


class AnswerWorker(threading.Thread):
    """Answers the items of a queue until all are answered or until it is stopped."""

    def __init__(
        self,
        queue: ReviewQueue,
        assistant: Assistant,
        endpoints: Mapping[str, Endpoint] | None = None,
    ) -> None:
        super().__init__(name="answering", daemon=True)
        self.queue = queue
        self.assistant = assistant
        self.error = ""  # the error that stopped the thread; "" without one
        self.models = Models(endpoints=endpoints)
        self.lock = threading.Lock()  # locked while the models answer
        self._is_stopping = threading.Event()

    def stop(self) -> None:
        """End the thread after the current batch."""
        self._is_stopping.set()

    def run(self) -> None:
        """Answer batch by batch, and save each batch before the next."""
        try:
            while not self._is_stopping.is_set() and (
                items := self.queue.list_unanswered(BATCH_SIZE)
            ):
                with self.lock:
                    answered = answer_items(items, self.assistant, self.models)
                for item in answered:
                    self.queue.set_answer(item)
        except Exception as error:  # noqa: BLE001 - the page displays whatever ends this thread
            self.error = str(error) or type(error).__name__


def answer_items(
    items: Sequence[ReviewItem], assistant: Assistant, models: Models
) -> list[ReviewItem]:
    """Return the items with their answers. If the model cannot answer an item, such as a text that
    is too long, the item gets the error as its failure.
    """
    try:
        answers = assistant.answer([item.input for item in items], models)
    except EtudeError as error:
        if len(items) == 1:
            return [replace(items[0], answer="", failures=(f"not answered: {error}",), urgency=0.0)]
        return [answered for item in items for answered in answer_items([item], assistant, models)]
    return [
        replace(
            item,
            answer=answer.text,
            failures=(failures := list_failures(answer)),
            citations=answer.citations,
            confidence=answer.confidence,
            limit=answer.limit,
            urgency=compute_urgency(failures, answer.confidence),
        )
        for item, answer in zip(items, answers, strict=True)
    ]


def list_failures(answer: Answer) -> tuple[str, ...]:
    """List the contract failures of an answer; a cut answer has one more."""
    return (*answer.failures, CUT) if answer.truncated else answer.failures


def compute_urgency(failures: Sequence[str], confidence: float | None) -> float:
    """Rank answers that break the contract first (0), then by confidence, the lowest first."""
    if failures:
        return 0.0
    return 1.0 if confidence is None else 1.0 + confidence

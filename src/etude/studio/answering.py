"""Answers to new inputs, made beside the pages by the assistant that the run recommends."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import replace

from etude.assistant import Assistant
from etude.errors import EtudeError
from etude.models.registry import Models
from etude.studio.queue import Item, Queue
from etude.task import Endpoint
from etude.types import Answer

TOGETHER = 8
"""Inputs that are answered at once."""


class Answering(threading.Thread):
    """Answers what waits in a queue until nothing does, or until it is stopped."""

    def __init__(
        self, queue: Queue, assistant: Assistant, endpoints: Mapping[str, Endpoint] | None = None
    ) -> None:
        super().__init__(name="answering", daemon=True)
        self.queue, self.assistant = queue, assistant
        self.problem = ""
        """Why it ended before everything was answered."""
        self._stopped = threading.Event()
        self.models = Models(endpoints=endpoints)
        self.lock = threading.Lock()
        """Held while the models answer: one answer at a time."""

    def stop(self) -> None:
        """Ends it after the inputs that it is answering."""
        self._stopped.set()

    def run(self) -> None:
        """Answers batch by batch, each kept before the next begins."""
        try:
            while not self._stopped.is_set() and (items := self.queue.unanswered(TOGETHER)):
                with self.lock:
                    done = answered(items, self.assistant, self.models)
                for item in done:
                    self.queue.set_answer(item)
        except Exception as error:  # noqa: BLE001 - whatever ends this thread is shown on the page
            self.problem = str(error) or type(error).__name__


def answered(items: Sequence[Item], assistant: Assistant, models: Models) -> list[Item]:
    """The items with their answers; one that the model refuses, such as a text too long, is answered with the
    reason as its failure."""
    try:
        answers = assistant.answer([item.input for item in items], models)
    except EtudeError as error:
        if len(items) == 1:
            return [replace(items[0], answer="", failures=(f"not answered: {error}",), urgency=0.0)]
        return [done for item in items for done in answered([item], assistant, models)]
    return [_with(item, answer) for item, answer in zip(items, answers, strict=True)]


def _with(item: Item, answer: Answer) -> Item:
    failures = (*answer.failures, *(("cut by the length limit",) if answer.truncated else ()))
    return replace(
        item,
        answer=answer.text,
        failures=failures,
        citations=answer.citations,
        confidence=answer.confidence,
        urgency=urgency(failures, answer.confidence),
    )


def urgency(failures: Sequence[str], confidence: float | None) -> float:
    """What breaks the contract first, then by confidence, the lowest first."""
    if failures:
        return 0.0
    return 1.0 if confidence is None else 1.0 + confidence

"""The engine: one thread that owns the models and answers many questions at once.

Questions wait in a queue. Those of assistants on the same weights are written together, a token each at every step, and
join and leave at any time (`models/live/`). A model that answers several threads at once gets one for each question.
Labels, and all other models, are answered as they come.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import count
from typing import TYPE_CHECKING, TypeVar

from etude.assistant import Assistant
from etude.errors import EtudeError, GrammarError
from etude.models.registry import Models, backend_of
from etude.types import Answer, Completion, Message, ModelRef, Request, Sampling, TokenScore

if TYPE_CHECKING:
    from etude.models.live.answers import ConcurrentModel, LiveAnswer, LiveBatch

LOG = logging.getLogger("etude.serve")
LEAST_PREFIX = 16
"""Tokens of an assistant's own prompt from which they are computed once."""

MOST_BEGUN = 8
"""Answers that begin between two steps: their prompts are read while the others wait."""


@dataclass(frozen=True)
class Limits:
    """What one server takes on."""

    at_once: int = 32
    """Answers that are written at the same time."""
    waiting: int = 64
    """Questions that wait; the next one is refused."""
    seconds: float = 120.0
    """From the question to the end of its answer."""
    prompt_tokens: int = 32_768
    answer_tokens: int = 4_096
    body_bytes: int = 2_000_000


class Busy(EtudeError):  # noqa: N818 - a state, not a fault of the caller's
    """The queue is full, or the server is ending."""

    def __init__(self, retry_after: int) -> None:
        super().__init__(f"The queue is full. Try again in {retry_after} s.")
        self.retry_after = retry_after


class Late(EtudeError):  # noqa: N818
    """An answer took longer than the limit."""


class TooLong(EtudeError):  # noqa: N818
    """A prompt with its answer is longer than the model or the server reads."""


@dataclass(frozen=True)
class Finished:
    """The end of an answer."""

    answer: Answer
    completion: Completion
    scores: Sequence[TokenScore]
    """Of each token, if they were asked for."""


Done = TypeVar("Done")
Item = str | Finished | Exception
"""A piece of the answer, its end, or why there is none."""


@dataclass(eq=False)
class Job:
    """One question under way."""

    assistant: Assistant
    key: str
    """Names the assistant's own prompt, which is computed once; "" for a prompt that the caller has changed."""
    turns: tuple[Message, ...]
    deliver: Callable[[Item], None]
    """Called in the engine's thread."""
    sampling: Sampling = field(default_factory=Sampling)
    max_tokens: int = 0
    """More answer tokens than the assistant's own, if there is room behind the prompt."""
    streams: bool = False
    """Whether pieces are wanted, or the end alone."""
    cancelled: bool = False
    asked: float = field(default_factory=time.monotonic)
    begun: float = 0.0
    request: Request | None = None


class Engine:
    """Answers jobs until it is closed."""

    def __init__(self, models: Models, limits: Limits = Limits()) -> None:
        self.models, self.limits = models, limits
        self._waiting: deque[Job] = deque()
        self._calls: deque[Callable[[], None]] = deque()
        self._wake = threading.Condition()
        self._closing = False
        self._batches: dict[tuple[ModelRef, tuple[int, ...], int], LiveBatch] = {}
        """By weights, prefix and number: more than one only where a batch under way cannot be joined."""
        self._prefixes: dict[tuple[str, int], tuple[int, ...]] = {}
        self._live: dict[int, tuple[Job, LiveAnswer]] = {}
        self._running = 0
        """Answers that other threads write."""
        self._pool = ThreadPoolExecutor(limits.at_once)
        self._pace = 1.0
        """Seconds that an answer takes, of late."""
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)
        self._thread.start()

    @property
    def num_waiting(self) -> int:
        """Questions that are not begun."""
        return len(self._waiting)

    @property
    def num_live(self) -> int:
        """Answers that are being written."""
        return len(self._live) + self._running

    @property
    def _room(self) -> int:
        return self.limits.at_once - self.num_live

    def submit(self, *jobs: Job) -> None:
        """Puts all of the jobs into the queue. Raises Busy if it does not take them."""
        with self._wake:
            if self._closing or len(self._waiting) + len(jobs) > self.limits.waiting:
                rounds = (len(self._waiting) + self.num_live) / self.limits.at_once
                raise Busy(min(60, max(1, math.ceil(self._pace * rounds))))
            self._waiting.extend(jobs)
            self._wake.notify()

    def call(self, work: Callable[[], None]) -> None:
        """Has the engine's thread do something between two steps, such as loading weights."""
        with self._wake:
            self._calls.append(work)
            self._wake.notify()

    def done(self, work: Callable[[], None]) -> None:
        """As `call`, and waits for it. Raises what the work raises."""
        told: Future[None] = Future()

        def run() -> None:
            try:
                work()
                told.set_result(None)
            except Exception as error:  # noqa: BLE001 - whoever waits raises it
                told.set_exception(error)

        self.call(run)
        told.result()

    def close(self) -> None:
        """Ends when everything in the queue is answered."""
        with self._wake:
            self._closing = True
            self._wake.notify()
        self._thread.join()
        self._pool.shutdown()

    def forget(self, key: str, ref: ModelRef) -> None:
        """Lets go of an adapted model and of the prompt computed for it; in the engine's thread."""
        self._prefixes = {name: tokens for name, tokens in self._prefixes.items() if name[0] != key}
        self._batches = {
            name: batch for name, batch in self._batches.items() if name[0] != ref or batch.answers
        }
        if ref.adapter is not None:
            self.models.evict(ref)

    def _run(self) -> None:
        while True:
            with self._wake:
                self._wake.wait_for(self._has_work)
                if self._closing and not (self._waiting or self._live):
                    return
                number = min(self._room, MOST_BEGUN, len(self._waiting))
                jobs = [self._waiting.popleft() for _ in range(number)]
                calls, self._calls = list(self._calls), deque()
            for work in calls:
                try:
                    work()
                except Exception as error:  # noqa: BLE001 - the questions that need it raise it again
                    LOG.error("etude serve: %s", error)
            self._begin([job for job in jobs if self._wanted(job)])
            for batch in list(self._batches.values()):
                self._step(batch)

    def _has_work(self) -> bool:
        ending = self._closing and not self._waiting
        return bool(self._live or self._calls or ending or (self._waiting and self._room > 0))

    def _wanted(self, job: Job) -> bool:
        """Whether anybody still waits for the answer; tells those that have waited too long."""
        if not job.cancelled and time.monotonic() - job.asked > self.limits.seconds:
            job.deliver(Late(f"No answer within {self.limits.seconds:.0f} s."))
            job.cancelled = True
        return not job.cancelled

    def _begin(self, jobs: Sequence[Job]) -> None:
        joining: dict[int, tuple[LiveBatch, list[LiveAnswer]]] = {}
        for job in jobs:
            job.begun = time.monotonic()
            try:
                found = self._begun(job)
            except Exception as error:  # noqa: BLE001 - an error of one question ends that question alone
                job.deliver(error)
                continue
            if found:
                batch, answer = found
                self._live[id(answer)] = (job, answer)
                joining.setdefault(id(batch), (batch, []))[1].append(answer)
        for batch, answers in joining.values():
            self._guarded(batch, answers, partial(batch.join, answers))

    def _begun(self, job: Job) -> tuple[LiveBatch, LiveAnswer] | None:
        """A live answer with its batch; None if the job is answered already."""
        assistant = job.assistant
        (request,) = assistant.requests([job.turns], self.models)
        model = self.models.get(assistant.model)
        if job.max_tokens > request.max_tokens:
            room = model.context - model.count_tokens(request.messages)
            request = replace(request, max_tokens=max(request.max_tokens, min(job.max_tokens, room)))
        job.request = request
        can = backend_of(assistant.model.name).can
        restricted = bool(request.choices) and "choices" in can
        if "concurrent" in can and not restricted:
            self._running += 1
            self._pool.submit(self._follow, job, self.models.concurrent(assistant.model))
            return None
        if "live" not in can or restricted:
            if job.sampling.json_schema or request.grammar:
                raise GrammarError("This assistant cannot keep an answer to a JSON schema.")
            (completion,) = model.generate([request])
            self._finish(job, completion, ())
            return None
        live = self.models.live(assistant.model)
        answer = live.live_answer(job.request, job.sampling)
        if len(answer.prompt) > self.limits.prompt_tokens:
            raise TooLong(
                f"The prompt has {len(answer.prompt):,} tokens; the limit is {self.limits.prompt_tokens:,}."
            )
        prefix = self._prefix(job, answer)
        keys = ((assistant.model, prefix, number) for number in count())
        key = next(key for key in keys if key not in self._batches or self._batches[key].can_join)
        if key not in self._batches:
            self._batches[key] = live.live_batch(prefix)
        return self._batches[key], answer

    def _follow(self, job: Job, model: ConcurrentModel) -> None:
        """Answers a job in a thread of the pool."""

        def take(piece: str) -> bool:
            if job.streams:
                job.deliver(piece)
            return not self._wanted(job)

        try:
            assert job.request is not None
            completion, scores = model.write(job.request, job.sampling, take)
            self._finish(job, completion, scores)
        except Exception as error:  # noqa: BLE001
            job.deliver(error)
        finally:
            with self._wake:
                self._running -= 1
                self._wake.notify()

    def _prefix(self, job: Job, answer: LiveAnswer) -> tuple[int, ...]:
        """The tokens with which all prompts of an assistant begin; none if they are few."""
        if not job.key or job.request is None:
            return ()
        key = (job.key, job.request.shots_dropped)
        if key not in self._prefixes:
            self._prefixes[key] = self._own_tokens(job.assistant, job.request.shots_dropped)
        found = self._prefixes[key]
        fits = len(found) < len(answer.prompt) and tuple(answer.prompt[: len(found)]) == found
        return found if fits and len(found) >= LEAST_PREFIX else ()

    def _own_tokens(self, assistant: Assistant, shots_dropped: int) -> tuple[int, ...]:
        live, shots = self.models.live(assistant.model), len(assistant.shots) - shots_dropped
        one, other = (
            live.live_answer(
                Request(assistant.messages((Message("user", text),), shots), 1), Sampling()
            ).prompt
            for text in ("1", "?")
        )
        same = next((at for at, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), 0)
        return tuple(one[:same])

    def _step(self, batch: LiveBatch) -> None:
        """One token more for every answer of a batch."""
        lost = [answer for answer in batch.answers if not self._wanted(self._live[id(answer)][0])]
        for answer in lost:
            del self._live[id(answer)]
        kept = [answer for answer in batch.answers if all(answer is not each for each in lost)]
        batch.keep(kept)
        written = self._guarded(batch, kept, batch.step) if kept else None
        for answer in written or ():
            job = self._live[id(answer)][0]
            if job.streams and (piece := answer.piece()):
                job.deliver(piece)
            if answer.ended:
                del self._live[id(answer)]
                cached = batch.prefix.length if batch.prefix else 0
                completion = answer.completion(cached, time.monotonic() - job.begun)
                self._finish(job, completion, answer.scores)

    def _finish(self, job: Job, completion: Completion, scores: Sequence[TokenScore]) -> None:
        assert job.request is not None
        request = job.request
        (answer,) = job.assistant.finish(["0"], [completion], [request.shots_dropped], [request.citations])
        self._pace += 0.1 * (time.monotonic() - job.begun - self._pace)
        job.deliver(Finished(answer, completion, scores))

    def _guarded(
        self, batch: LiveBatch, answers: Sequence[LiveAnswer], work: Callable[[], Done]
    ) -> Done | None:
        """What the work gives; an error ends these answers and all others of the batch."""
        try:
            return work()
        except Exception as error:  # noqa: BLE001
            for answer in {id(each): each for each in (*batch.answers, *answers)}.values():
                self._live.pop(id(answer))[0].deliver(error)
            self._batches = {key: each for key, each in self._batches.items() if each is not batch}
            return None

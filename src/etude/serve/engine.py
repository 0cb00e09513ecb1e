"""The serving engine: one thread that owns the models and answers many requests at once.

Requests wait in a queue. Requests on the same weights are answered together, one token each per
step; a request can join or leave at any step (`models/local/generation.py`). A model that allows
several threads gets one thread per request. Labels and votes, and all other models, are answered
one after another.
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
from etude.errors import GrammarError
from etude.models.registry import Models, find_backend
from etude.types import Answer, Completion, Message, ModelRef, Request, Sampling, TokenScore
from etude.web.api_errors import ApiError

if TYPE_CHECKING:
    from etude.models.backend import ConcurrentModel
    from etude.models.local.generation import Generation, GenerationBatch, PromptReading

LOG = logging.getLogger("etude.serve")
MIN_PREFIX_TOKENS = 16  # a shorter prefix is not worth computing once
MAX_STARTS = 8
"""Largest number of answers that start between two steps."""
MAX_READ_TOKENS = 512
"""Tokens of a longer prompt that are read between two steps. Running answers wait meanwhile."""
MAX_TOKEN_CHARACTERS = 16  # no real text has more characters per token
PACE_WEIGHT = 0.1  # weight of the latest answer in the moving average of seconds per answer


@dataclass(frozen=True)
class ServingLimits:
    """Limits of one server."""

    at_once: int = 32  # answers that are generated at the same time
    waiting: int = 64  # requests that wait; the next one is refused
    seconds: float = 120.0  # from the request of a waiting client to the end of its answer
    prompt_tokens: int = 32_768
    answer_tokens: int = 4_096
    body_bytes: int = 2_000_000
    receive_seconds: float = (
        20.0  # to receive the head of a request, and its body (longer if it is large)
    )
    connections: int = 1_000  # open at the same time


@dataclass(frozen=True)
class FinishedAnswer:
    """The end of an answer."""

    answer: Answer
    completion: Completion
    scores: Sequence[TokenScore]  # one per token, if they were requested
    queue_seconds: float = 0.0
    first_token_seconds: float = 0.0  # from the request to its first token
    steps: tuple[Message, ...] = ()  # calls that were run before it, and their results
    problem: str = ""  # why the assistant was stopped: too many calls, or an error after some


Result = TypeVar("Result")
StreamItem = str | FinishedAnswer | Exception
"""New text of the answer, its end, or the error that ended it."""


@dataclass(eq=False)
class QueuedRequest:
    """One request in the engine."""

    assistant: Assistant
    key: str
    """Identifies the assistant's own prompt, which is computed only once; "" if the caller has
    changed the prompt.
    """
    messages: tuple[Message, ...]
    deliver: Callable[[StreamItem], None]  # called in the engine's thread
    sampling: Sampling = field(default_factory=Sampling)
    max_tokens: int = 0  # above the assistant's own limit, used as far as the context has room
    streams: bool = False  # whether text is delivered as it is generated, or only at the end
    is_timed: bool = True  # whether the limit of seconds applies; not to batches and evals
    cancelled: bool = False
    queued_at: float = field(default_factory=time.monotonic)
    started_at: float = 0.0
    first_token_at: float = 0.0
    request: Request | None = None


def samples_tokens(assistant: Assistant) -> bool:
    """Return whether a request can change how the answer's tokens are sampled. Labels are computed
    exactly as they were measured.
    """
    can = find_backend(assistant.model.name).can
    is_whole = bool(assistant.choices) and "choices" in can
    return not is_whole and ("live" in can or "concurrent" in can)


class ServingEngine:
    """Answers requests until it is closed."""

    def __init__(self, models: Models, limits: ServingLimits = ServingLimits()) -> None:
        self.models = models
        self.limits = limits
        self._waiting: deque[QueuedRequest] = deque()
        self._calls: deque[Callable[[], None]] = deque()
        self._wake = threading.Condition()
        self._closing = False
        self._batches: dict[tuple[ModelRef, tuple[int, ...], int, int], GenerationBatch] = {}
        """By weights, prefix, length of prompts and number. There is a second batch only if none
        can join the first.
        """
        self._readings: list[PromptReading] = []
        """Prompts that are being read."""
        self._prefixes: dict[tuple[str, int], tuple[int, ...]] = {}
        self._live: dict[int, tuple[QueuedRequest, Generation]] = {}
        self._num_threads = 0
        """Answers that the pool's threads are generating."""
        self._pool = ThreadPoolExecutor(limits.at_once)
        self.tool_threads = ThreadPoolExecutor(limits.at_once, "tools")  # wait for calls
        self._seconds_per_answer = 1.0
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)
        self._thread.start()

    @property
    def num_waiting(self) -> int:
        """Requests that have not started."""
        return len(self._waiting)

    @property
    def num_live(self) -> int:
        return len(self._live) + self._num_threads

    @property
    def _num_free(self) -> int:
        return self.limits.at_once - self.num_live

    def submit(self, *requests: QueuedRequest, may_refuse: bool = True) -> None:
        """Queue all of the requests. With `may_refuse`, raises ApiError if the queue is too small
        or full, or if the engine is closing.
        """
        if len(requests) > self.limits.waiting:
            message = (
                f"The request asks for {len(requests)} answers; this server queues at most "
                f"{self.limits.waiting}."
            )
            raise ApiError(400, message, "n", "invalid_value")
        with self._wake:
            if may_refuse and (
                self._closing or len(self._waiting) + len(requests) > self.limits.waiting
            ):
                rounds = (len(self._waiting) + self.num_live) / self.limits.at_once
                seconds = min(60, max(1, math.ceil(self._seconds_per_answer * rounds)))
                message = f"The queue is full. Try again in {seconds} s."
                raise ApiError(429, message, code="queue_full", retry_after=seconds)
            self._waiting.extend(requests)
            self._wake.notify()

    def call(self, work: Callable[[], None]) -> None:
        """Run a function, such as loading weights, in the engine's thread between two steps."""
        with self._wake:
            self._calls.append(work)
            self._wake.notify()

    def run_and_wait(self, work: Callable[[], Result]) -> Result:
        """Run a function in the engine's thread and return its result. Raises its exception."""
        result: Future[Result] = Future()

        def run_work() -> None:
            try:
                result.set_result(work())
            except Exception as error:  # noqa: BLE001 - the waiting thread raises it
                result.set_exception(error)

        self.call(run_work)
        return result.result()

    def close(self) -> None:
        """Answer everything in the queue, then end the thread."""
        with self._wake:
            self._closing = True
            self._wake.notify()
        self._thread.join()
        self._pool.shutdown()
        self.tool_threads.shutdown()

    def forget(self, key: str, ref: ModelRef) -> None:
        """Drop an adapted model and the prompt computed for it. Call it in the engine's thread."""
        self._prefixes = {name: tokens for name, tokens in self._prefixes.items() if name[0] != key}
        reading = [prompts.batch for prompts in self._readings]
        self._batches = {
            name: batch
            for name, batch in self._batches.items()
            if name[0] != ref or batch.generations or batch in reading
        }
        if ref.adapter is not None:
            self.models.remove(ref)

    def _run(self) -> None:
        while True:
            # 1. Sleep until there is work.
            with self._wake:
                self._wake.wait_for(self._has_work)
                if self._closing and not (self._waiting or self._live):
                    return
                num_starts = min(self._num_free, MAX_STARTS, len(self._waiting))
                starting = [self._waiting.popleft() for _ in range(num_starts)]
                calls = list(self._calls)
                self._calls = deque()
            # 2. Load and unload weights.
            for work in calls:
                try:
                    work()
                except Exception as error:  # noqa: BLE001 - the requests that need it raise it again
                    LOG.error("etude serve: %s", error)
            # 3. Start answers: read their prompts and join them to a batch on the same weights.
            self._start([queued for queued in starting if self._is_wanted(queued)])
            self._read_prompts()
            # 4. Generate one token for every running answer.
            for batch in list(self._batches.values()):
                self._step(batch)

    def _has_work(self) -> bool:
        is_ending = self._closing and not self._waiting
        return bool(
            self._live or self._calls or is_ending or (self._waiting and self._num_free > 0)
        )

    def _is_wanted(self, queued: QueuedRequest) -> bool:
        """Return whether somebody still waits for the answer. Ends a request that has waited too
        long.
        """
        is_late = queued.is_timed and time.monotonic() - queued.queued_at > self.limits.seconds
        if not queued.cancelled and is_late:
            queued.deliver(
                ApiError(408, f"No answer within {self.limits.seconds:.0f} s.", code="timeout")
            )
            queued.cancelled = True
        return not queued.cancelled

    def _start(self, starting: Sequence[QueuedRequest]) -> None:
        joining: dict[int, tuple[GenerationBatch, list[Generation]]] = {}
        for queued in starting:
            queued.started_at = time.monotonic()
            try:
                started = self._start_one(queued)
            except Exception as error:  # noqa: BLE001 - an error ends this request only
                queued.deliver(error)
                continue
            if started:
                batch, generation = started
                self._live[id(generation)] = (queued, generation)
                joining.setdefault(id(batch), (batch, []))[1].append(generation)
        if joining:
            from etude.models.local.generation import PromptReading

            self._readings += [PromptReading(*joined) for joined in joining.values()]

    def _read_prompts(self) -> None:
        """Read new prompts, those with the fewest tokens left first, until one is not read to its
        end: then the running answers get their next token. Prompts that cannot be read in pieces
        come before all others.
        """
        for reading in sorted(
            self._readings, key=lambda entry: (entry.batch.model.can_share, entry.num_left)
        ):
            is_complete: bool | None = None
            if any([self._is_wanted(self._live[id(entry)][0]) for entry in reading.generations]):
                is_complete = self._guard(
                    reading.generations, partial(reading.read, MAX_READ_TOKENS)
                )
            else:
                for entry in reading.generations:
                    del self._live[id(entry)]
            if is_complete is False:
                return
            self._readings.remove(reading)

    def _start_one(self, queued: QueuedRequest) -> tuple[GenerationBatch, Generation] | None:
        """Return a generation and the batch that it should join; None if the request is answered
        otherwise.
        """
        assistant = queued.assistant
        self._check_characters(queued)
        requests = assistant.build_requests([queued.messages], self.models)
        request = requests[0]
        model = self.models.get(assistant.model)
        if queued.max_tokens > request.max_tokens:
            room = model.context - model.count_tokens(request.messages)
            request = replace(
                request, max_tokens=max(request.max_tokens, min(queued.max_tokens, room))
            )
        queued.request = request
        if request.reply:
            self._finish(queued, [request.reply] * len(requests), ())
            return None
        can = find_backend(assistant.model.name).can
        is_sampled = samples_tokens(assistant)
        if "concurrent" in can and is_sampled:
            self._num_threads += 1
            self._pool.submit(
                self._answer_in_thread, queued, self.models.get_concurrent(assistant.model)
            )
            return None
        if not is_sampled:
            if queued.sampling.json_schema or request.grammar:
                raise GrammarError(
                    "This assistant does not support response_format or a forced tool call."
                )
            requests = [replace(sample, max_tokens=request.max_tokens) for sample in requests]
            self._finish(queued, model.generate(requests), ())
            return None
        live = self.models.get_live(assistant.model)
        generation = live.create_generation(request, queued.sampling)
        if len(generation.prompt) > self.limits.prompt_tokens:
            message = (
                f"The prompt has {len(generation.prompt):,} tokens; the limit is "
                f"{self.limits.prompt_tokens:,}."
            )
            raise ApiError(400, message, "messages", "context_length_exceeded")
        prefix = self._find_prefix(queued, generation)
        # Every answer of a batch costs as much as the longest, so prompts of very different lengths
        # are kept apart.
        length = ((len(generation.prompt) - len(prefix)) // (2 * MAX_READ_TOKENS)).bit_length()
        keys = ((assistant.model, prefix, length, number) for number in count())
        key = next(key for key in keys if key not in self._batches or self._batches[key].can_join)
        if key not in self._batches:
            same_prefix = (batch for name, batch in self._batches.items() if name[:2] == key[:2])
            other = next(same_prefix, None)
            self._batches[key] = other.create_empty() if other else live.create_batch(prefix)
        return self._batches[key], generation

    def _check_characters(self, queued: QueuedRequest) -> None:
        """Refuse a request that is too long whatever its tokens are: counting those of a long text
        takes seconds.
        """
        max_tokens = min(self.limits.prompt_tokens, self.models.get(queued.assistant.model).context)
        texts = [queued.assistant.instructions, *(message.content for message in queued.messages)]
        num_characters = sum(map(len, texts))
        if num_characters > max_tokens * MAX_TOKEN_CHARACTERS:
            message = (
                f"The messages are too long: {num_characters:,} characters do not fit in "
                f"{max_tokens:,} tokens."
            )
            raise ApiError(400, message, "messages", "context_length_exceeded")

    def _answer_in_thread(self, queued: QueuedRequest, model: ConcurrentModel) -> None:
        def deliver_text(text: str) -> bool:
            queued.first_token_at = queued.first_token_at or time.monotonic()
            if queued.streams:
                queued.deliver(text)
            return not self._is_wanted(queued)

        try:
            assert queued.request is not None
            completion, scores = model.write(queued.request, queued.sampling, deliver_text)
            self._finish(queued, [completion], scores)
        except Exception as error:  # noqa: BLE001 - an error ends this request only
            queued.deliver(error)
        finally:
            with self._wake:
                self._num_threads -= 1
                self._wake.notify()

    def _find_prefix(self, queued: QueuedRequest, generation: Generation) -> tuple[int, ...]:
        """Return the tokens that all prompts of the assistant begin with; empty below
        MIN_PREFIX_TOKENS.
        """
        if not queued.key or queued.request is None:
            return ()
        key = (queued.key, queued.request.shots_dropped)
        if key not in self._prefixes:
            self._prefixes[key] = self._compute_prefix(
                queued.assistant, queued.request.shots_dropped
            )
        prefix = self._prefixes[key]
        is_shorter = MIN_PREFIX_TOKENS <= len(prefix) < len(generation.prompt)
        return prefix if is_shorter and tuple(generation.prompt[: len(prefix)]) == prefix else ()

    def _compute_prefix(self, assistant: Assistant, shots_dropped: int) -> tuple[int, ...]:
        live = self.models.get_live(assistant.model)
        num_shots = len(assistant.shots) - shots_dropped
        first, second = (
            live.create_generation(
                Request(assistant.build_messages((Message("user", text),), num_shots), 1),
                Sampling(),
            ).prompt
            for text in ("1", "?")
        )
        pairs = enumerate(zip(first, second, strict=False))
        return tuple(first[: next((index for index, (a, b) in pairs if a != b), 0)])

    def _step(self, batch: GenerationBatch) -> None:
        active: list[Generation] = []
        for generation in batch.generations:
            if self._is_wanted(self._live[id(generation)][0]):
                active.append(generation)
            else:
                del self._live[id(generation)]
        batch.keep(active)
        extended = self._guard(active, batch.step) if active else None
        if extended is None and active:
            fresh = batch.create_empty()
            self._batches = {
                key: fresh if entry is batch else entry for key, entry in self._batches.items()
            }
            for reading in self._readings:
                reading.batch = fresh if reading.batch is batch else reading.batch
        for generation in extended or ():
            queued = self._live[id(generation)][0]
            queued.first_token_at = queued.first_token_at or time.monotonic()
            if queued.streams and (text := generation.read_piece()):
                queued.deliver(text)
            if generation.is_finished:
                del self._live[id(generation)]
                cached = batch.prefix.length if batch.prefix else 0
                try:
                    completion = generation.to_completion(
                        cached, time.monotonic() - queued.started_at
                    )
                    self._finish(queued, [completion], generation.scores)
                except Exception as error:  # noqa: BLE001 - an error ends this request only
                    queued.deliver(error)

    def _finish(
        self, queued: QueuedRequest, completions: Sequence[Completion], scores: Sequence[TokenScore]
    ) -> None:
        request = queued.request
        assert request is not None
        (answer,) = queued.assistant.finish(["0"], completions, [request.facts] * len(completions))
        now = time.monotonic()
        seconds = now - queued.started_at
        first_token_at = queued.first_token_at or now
        self._seconds_per_answer += PACE_WEIGHT * (seconds - self._seconds_per_answer)
        waits = (queued.started_at - queued.queued_at, first_token_at - queued.queued_at)
        queued.deliver(FinishedAnswer(answer, completions[0], scores, *waits))

    def _guard(
        self, generations: Sequence[Generation], work: Callable[[], Result]
    ) -> Result | None:
        """Run a function. An error ends these generations."""
        try:
            return work()
        except Exception as error:  # noqa: BLE001 - delivered to each of their callers
            for generation in generations:
                self._live.pop(id(generation))[0].deliver(error)
            return None

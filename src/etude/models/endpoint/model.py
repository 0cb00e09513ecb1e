"""A Model behind an OpenAI-compatible URL, asked greedily (temperature 0) by several threads.

An endpoint cannot be held to choices: it answers in its own words, and the contract says whether that is a label. Its
tokens are counted by its bytes before it has answered, and by what it reports afterwards.
"""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from typing import Any

from etude.base.files import Json
from etude.errors import ModelError, quote_value
from etude.models.backend import BatchedModel
from etude.models.endpoint.client import FIRST_WAIT, RESUME, Client, RefusedError, piece_of
from etude.models.endpoint.journal import Journal, hash_of
from etude.models.registry import Models
from etude.task import Endpoint
from etude.task.contract import Contract
from etude.task.endpoint import FORM, endpoint_of
from etude.types import Batch, Completion, Message, ModelRef, Request, Sampling, TokenScore

BYTES_PER_TOKEN = 3
"""Fewer than most texts have, so that a prompt which is said to fit does."""
TURN = 4
"""Tokens that a template puts around a turn, about."""
ADAPTED = ("max_tokens", "temperature", "logprobs", "stream_options")
"""Members of a request that some models do not take, and can do without."""


class EndpointModel(BatchedModel):
    """A Model that asks an endpoint. What `journal` holds is not asked again, `notes` gains what readers should know,
    and `first_wait` is the back-off's."""

    rows_per_batch = 32

    def __init__(
        self,
        endpoint: Endpoint,
        journal: Journal | None = None,
        notes: dict[str, None] | None = None,
        first_wait: float = FIRST_WAIT,
    ) -> None:
        super().__init__(endpoint.name)
        self.endpoint, self.context = endpoint, endpoint.context
        self.journal = Journal(endpoint) if journal is None else journal
        self.notes = {} if notes is None else notes
        self._client = Client(endpoint, first_wait)
        self._lock, self._under_way = threading.Lock(), 0
        self._slots = threading.BoundedSemaphore(endpoint.at_once)
        self._refused: set[str] = set()

    def batches(self, requests: Sequence[Request], done: Collection[int] = ()) -> Iterator[Batch]:
        """Batches of 32 in the order of the list. All are asked for at once, `at_once` of them at a time; an error,
        Ctrl-C among them, waits for those under way, and keeps their answers. Raises ModelError."""
        size = self.rows_per_batch
        plan = [range(begin, min(begin + size, len(requests))) for begin in range(0, len(requests), size)]
        todo = {number: indices for number, indices in enumerate(plan) if number not in done}
        keys = {
            index: hash_of(self.endpoint, requests[index]) for indices in todo.values() for index in indices
        }
        workers = min(self.endpoint.at_once, max(1, len(keys)))
        pool = ThreadPoolExecutor(workers)
        try:
            answers: dict[str, Future[Completion]] = {}
            for index, key in keys.items():
                if key not in answers:
                    answers[key] = pool.submit(self._answer, key, requests[index], workers)
            for number, indices in todo.items():
                yield Batch(number, tuple(indices), tuple(answers[keys[index]].result() for index in indices))
        finally:
            self._client.stopped.set()
            pool.shutdown(cancel_futures=True)
            self._client.stopped.clear()

    def complete(self, requests: Sequence[Request]) -> list[Completion]:
        """Answers in the order of the requests."""
        return self.generate(requests)

    def stream(self, request: Request) -> Iterator[str]:
        """The answer to one request, piece by piece; it is not kept."""
        while True:
            body = self._body(request)
            try:
                yield from self._client.stream(body)
            except RefusedError as refused:
                self._adapt(refused, body)
            else:
                return

    def write(
        self, request: Request, sampling: Sampling, on_piece: Callable[[str], bool]
    ) -> tuple[Completion, Sequence[TokenScore]]:
        """Answers one request piece by piece, for a server; the answer is counted and not kept. Several threads may
        call this at once, and `on_piece` ends the answer by returning True. Raises ModelError."""
        with self._slots:
            self._admit()
            started, completion = time.perf_counter(), None
            try:
                answer = self._streamed(request, sampling, on_piece)
                completion = self._completion(request, answer.whole, time.perf_counter() - started)
            finally:
                self._leave(completion)
        return completion, answer.scores

    def _streamed(
        self, request: Request, sampling: Sampling, on_piece: Callable[[str], bool]
    ) -> StreamedAnswer:
        while True:
            body = self._body(request, sampling)
            answer = StreamedAnswer()
            try:
                with closing(self._client.chunks(body)) as chunks:
                    for chunk in chunks:
                        if (piece := answer.take(chunk)) and on_piece(piece):
                            break
            except RefusedError as refused:
                self._adapt(refused, body)
            else:
                return answer

    def count_tokens(self, messages: Sequence[Message]) -> int:
        """Tokens of the prompt, by its bytes: more than most texts have."""
        return TURN + sum(TURN + -(-len(each.content.encode()) // BYTES_PER_TOKEN) for each in messages)

    def _answer(self, key: str, request: Request, workers: int) -> Completion:
        """The answer, from the journal where it is there."""
        if known := self.journal.get(key):
            return known
        self._admit()
        try:
            answer, seconds = self._sent(request)
            completion = self._completion(request, answer, seconds / workers)
        except BaseException:
            self._leave()
            raise
        by = str(answer.get("model") or self.endpoint.model)
        if self.endpoint.model not in by:
            self.notes.setdefault(f"{self.endpoint.title} gave its name as {quote_value(by)}.")
        self._leave(completion, key, by)
        return completion

    def _leave(self, completion: Completion | None = None, key: str = "", by: str = "") -> None:
        """Counts a request as answered, and under its key keeps the answer, or as given up."""
        with self._lock:  # so that a limit counts a request once
            if completion:
                self.journal.add(key, completion, by)
            self._under_way -= 1

    def _admit(self) -> None:
        """Counts one more request. Raises ModelError where it would go beyond a limit, those under way counted."""
        endpoint = self.endpoint
        with self._lock:
            known = len(self.journal)
            begun = known + self._under_way
            if endpoint.max_requests is not None and begun >= endpoint.max_requests:
                raise ModelError(
                    f"Stopped at the limit of {endpoint.max_requests:,} requests to {endpoint.title}. {RESUME} "
                    "Raise max_requests: first."
                )
            if endpoint.max_cost is not None and known:
                assert endpoint.prices is not None, "the reader has seen to it"
                spent = endpoint.prices.of_tokens(*self.journal.tokens)
                if spent / known * (begun + 1) > endpoint.max_cost:
                    raise ModelError(
                        f"Stopped at the limit of {endpoint.max_cost:g} for {endpoint.title}: {known:,} "
                        f"requests have cost {spent:.4g} by your prices. {RESUME} Raise max_cost: first."
                    )
            self._under_way += 1

    def _sent(self, request: Request) -> tuple[Json, float]:
        """The answer to a request without the members that the endpoint does not take."""
        while True:
            body = self._body(request)
            try:
                return self._client.answer(body)
            except RefusedError as refused:
                self._adapt(refused, body)

    def _body(self, request: Request, sampling: Sampling | None = None) -> Json:
        """What is sent. The user's options replace ours, a client's sampling both; null takes a member away."""
        limit = "max_completion_tokens" if "max_tokens" in self._refused else "max_tokens"
        body: Json = {
            "model": self.endpoint.model,
            "messages": [{"role": each.role, "content": each.content} for each in request.messages],
            limit: request.max_tokens,
            "temperature": 0,
            "logprobs": True if request.choices else None,
        }
        body |= dict(self.endpoint.options) | (_sampled(sampling) if sampling else {})
        body |= dict.fromkeys(self._refused - {"max_tokens"})
        if "logprobs" in self._refused:
            body["top_logprobs"] = None  # which is nothing without them
        return {member: value for member, value in body.items() if value is not None}

    def _adapt(self, refused: RefusedError, body: Json) -> None:
        """Notes the member of the body that a model does not take, so that it is left out. Raises the refusal where it
        names none that we have put there."""
        said = refused.parameter or refused.said
        named = next((each for each in ADAPTED if re.search(rf"\b{each}\b", said) and each in body), None)
        if named is None or named in self.endpoint.options:
            raise refused
        varies = "; its answers may differ from one run to the next" if named == "temperature" else ""
        self.notes.setdefault(
            f"{self.endpoint.title} does not take {named}, so it was asked without{varies}."
        )
        with self._lock:
            self._refused.add(named)

    def _completion(self, request: Request, answer: Json, seconds: float) -> Completion:
        choice, usage = answer["choices"][0], answer.get("usage") or {}
        text = _text(choice["message"]["content"]) or choice["message"].get("refusal") or ""
        tokens = (choice.get("logprobs") or {}).get("content")
        label = request.choices and Contract(labels=request.choices).parse(text)
        details = usage.get("prompt_tokens_details") or {}
        return Completion(
            text=text,
            finish="length" if choice.get("finish_reason") == "length" else "stop",
            prompt_tokens=int(usage.get("prompt_tokens") or self.count_tokens(request.messages)),
            cached_tokens=int(details.get("cached_tokens") or 0),
            answer_tokens=int(
                usage.get("completion_tokens") or -(-len(text.encode()) // BYTES_PER_TOKEN) + 1
            ),
            seconds=seconds,
            logprob=sum(float(each["logprob"]) for each in tokens) if tokens and label else None,
        )


def _text(content: Any) -> str:
    """The text of an answer, which some servers give in parts."""
    if isinstance(content, list):
        return "".join(str(part.get("text") or "") for part in content if isinstance(part, dict))
    return str(content or "")


class StreamedAnswer:
    """What an endpoint has said in chunks."""

    def __init__(self) -> None:
        self.text = self.given = ""
        self.tokens: list[Json] = []
        self.finish = ""
        self.usage: Json = {}

    def take(self, chunk: Json) -> str:
        """Takes a chunk; returns what is new of the answer without white space around it."""
        self.text += piece_of(chunk)
        self.usage = chunk.get("usage") or self.usage
        for choice in chunk.get("choices") or []:
            self.finish = choice.get("finish_reason") or self.finish
            self.tokens += (choice.get("logprobs") or {}).get("content") or []
        piece = self.text.strip()[len(self.given) :]
        self.given += piece
        return piece

    @property
    def whole(self) -> Json:
        """The answer as one that was not streamed."""
        choice = {"message": {"content": self.text}, "finish_reason": self.finish}
        return {"choices": [{**choice, "logprobs": {"content": self.tokens}}], "usage": self.usage}

    @property
    def scores(self) -> list[TokenScore]:
        """Of its tokens, if they were asked for."""
        return [
            TokenScore(
                each["token"],
                each["logprob"],
                tuple((one["token"], one["logprob"]) for one in each.get("top_logprobs") or ()),
            )
            for each in self.tokens
        ]


def _sampled(sampling: Sampling) -> Json:
    """The members of a request that say how an answer is chosen, where it is not the likeliest."""
    body: Json = {"stream_options": {"include_usage": True}}
    if sampling.temperature:
        body |= {"temperature": sampling.temperature, "top_p": sampling.top_p}
    if sampling.seed is not None:
        body["seed"] = sampling.seed
    if sampling.stop:
        body["stop"] = list(sampling.stop)
    if sampling.top_logprobs is not None:
        body |= {"logprobs": True, "top_logprobs": sampling.top_logprobs}
    if sampling.json_schema:
        schema = {"name": "answer", "schema": json.loads(sampling.json_schema)}
        body["response_format"] = {"type": "json_schema", "json_schema": schema}
    return body


def load(ref: ModelRef, models: Models) -> EndpointModel:
    """The model that `ref` names, for the registry; asked as the task says, with the answers of its run."""
    endpoint = models.endpoints.get(ref.name) or endpoint_of(ref.name)
    if endpoint is None:
        raise ModelError(f"{ref.name} names no model. Write it as {FORM}.")
    return EndpointModel(endpoint, Journal(endpoint, models.journal), models.notes)

"""What the routes of one server share: its assistants, engine, settings, metrics and latest
answers.
"""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated

from fastapi import Depends, Request
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from etude.feedback import FeedbackLog
from etude.runs.recommended import load_endpoints
from etude.serve.catalogue import ServedModel
from etude.serve.engine import FinishedAnswer, ServingEngine, ServingLimits
from etude.serve.extension import ServerExtension
from etude.serve.generation import AnswerRequest, StreamEvent
from etude.serve.responses import get_handover_reason
from etude.serve.schemas import Json
from etude.types import Message
from etude.watch.record import WAIT_SECONDS, TrafficRecord
from etude.web.api_errors import ApiError, to_api_error
from etude.web.api_keys import ApiKey

LOG = logging.getLogger("etude.serve")
MAX_CHARACTERS = (
    20_000_000  # of the remembered messages and answers; the oldest are forgotten first
)
OVERHEAD = (
    1_000  # characters added for each remembered answer, for the memory of its Python objects
)
BUCKETS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)  # seconds of an answer


@dataclass(frozen=True)
class ServerSettings:
    """How a server behaves."""

    limits: ServingLimits = field(default_factory=ServingLimits)
    keys: tuple[ApiKey, ...] = ()
    key_file: Path | None = None  # more keys, read again when it changes
    strict: bool = False  # whether system messages of callers are refused
    is_local: bool = True  # whether only this machine may send requests
    origins: tuple[str, ...] = ()  # origins whose pages may send requests, besides the server's own
    record: TrafficRecord | None = None  # of answered requests


@dataclass(frozen=True)
class RecentAnswer:
    """An answer that feedback may refer to."""

    served: ServedModel
    messages: tuple[Message, ...]
    text: str

    @property
    def exchange(self) -> Json:
        """The assistant, the messages and the answer, in the format of feedback.jsonl."""
        turns = [{"role": message.role, "content": message.content} for message in self.messages]
        return {"assistant": self.served.source, "input": turns, "answer": self.text}

    @property
    def num_characters(self) -> int:
        return OVERHEAD + len(self.text) + sum(len(message.content) for message in self.messages)


class RecentAnswers:
    """The latest answers by the id of their response and their index in it."""

    def __init__(self) -> None:
        self._answers: OrderedDict[tuple[str, int], RecentAnswer] = OrderedDict()
        self._num_characters = 0

    def add(self, response_id: str, index: int, answer: RecentAnswer) -> None:
        """Remember an answer, and forget the oldest ones beyond MAX_CHARACTERS."""
        self._answers[response_id, index] = answer
        self._num_characters += answer.num_characters
        while self._num_characters > MAX_CHARACTERS:
            self._num_characters -= self._answers.popitem(last=False)[1].num_characters

    def find(self, response_id: str, index: int) -> RecentAnswer:
        """Return an answer. Raises ApiError if it is unknown or forgotten."""
        try:
            return self._answers[response_id, index]
        except KeyError:
            message = (
                f"Answer {index} of {response_id} is unknown: the id is wrong, or the server "
                "restarted."
            )
            raise ApiError(404, message, "id", "unknown_answer") from None


class ServerMetrics:
    """The counters of one server."""

    def __init__(self, engine: ServingEngine) -> None:
        self._registry = registry = CollectorRegistry()
        self.requests = Counter(
            "etude_requests", "Requests.", ["path", "status"], registry=registry
        )
        self.tokens = Counter("etude_tokens", "Tokens.", ["model", "kind"], registry=registry)
        self.handovers = Counter(
            "etude_handovers", "Answers that a person should see.", ["model"], registry=registry
        )
        self.limited = Counter(
            "etude_limited",
            "Questions that a limit turned away.",
            ["model", "limit"],
            registry=registry,
        )
        self.seconds, self.queued, self.first = (
            Histogram(f"etude_{name}_seconds", text, ["model"], buckets=BUCKETS, registry=registry)
            for name, text in (
                ("answer", "Seconds per answer."),
                ("queue", "Seconds in the queue."),
                ("first_token", "Seconds from the request to the first token."),
            )
        )
        Gauge("etude_waiting", "Waiting requests.", registry=registry).set_function(
            lambda: engine.num_waiting
        )
        Gauge("etude_live", "Answers being generated.", registry=registry).set_function(
            lambda: engine.num_live
        )

    def count_answer(self, model: str, finished: FinishedAnswer, is_handover: bool) -> None:
        """Count one answer."""
        self.tokens.labels(model, "prompt").inc(finished.completion.prompt_tokens)
        self.tokens.labels(model, "cached").inc(finished.completion.cached_tokens)
        self.tokens.labels(model, "answer").inc(finished.completion.answer_tokens)
        self.seconds.labels(model).observe(finished.completion.seconds)
        self.queued.labels(model).observe(finished.queue_seconds)
        self.first.labels(model).observe(finished.first_token_seconds)
        self.handovers.labels(model).inc(is_handover)
        if limit := finished.answer.limit:
            self.limited.labels(model, limit).inc()

    def render(self) -> bytes:
        """Return all metrics as Prometheus reads them."""
        return generate_latest(self._registry)


@dataclass
class Server:
    """The state of one server."""

    catalogue: dict[str, ServedModel]
    engine: ServingEngine
    settings: ServerSettings
    metrics: ServerMetrics
    recent: RecentAnswers = field(default_factory=RecentAnswers)
    logs: dict[Path, FeedbackLog] = field(default_factory=dict)
    extensions: Sequence[ServerExtension] = ()
    replaced: dict[str, ServedModel] = field(
        default_factory=dict
    )  # by name, the assistant before a promotion
    is_ready: bool = False
    failure: ApiError | None = None  # why weights could not be loaded

    def find_model(self, name: str) -> ServedModel:
        """Return the assistant of a name. Raises ApiError if there is none."""
        if served := self.catalogue.get(name):
            return served
        for extension in self.extensions:
            if served := extension.find_model(name):
                return served
        message = (
            f"There is no model {name!r}. Available: {', '.join(self.list_models()) or 'none yet'}."
        )
        raise ApiError(404, message, "model", "model_not_found")

    def list_models(self) -> list[str]:
        """List the names of all assistants: those of the catalogue, then those of extensions."""
        names = list(self.catalogue)
        for extension in self.extensions:
            names += extension.list_models()
        return list(dict.fromkeys(names))

    def load_weights(self, served: ServedModel) -> None:
        """Load what an assistant needs. Call it in the engine's thread."""
        served.assistant.load_searches(self.engine.models)
        self.engine.models.get(served.assistant.model, *served.assistant.needs)

    def load_all(self) -> None:
        """Load what all assistants need. Call it in the engine's thread."""
        try:
            for served in self.catalogue.values():
                self.load_weights(served)
        except Exception as error:
            self.failure = to_api_error(error)
            raise
        self.failure = None
        self.is_ready = True

    def take_up_promoted(self, name: str) -> None:
        """Load the assistant that is now promoted under a name, and answer new requests with it.
        The one before ends its answers, and stays loaded until the next promotion. If loading
        fails, the log says so and it stays.
        """
        served = self.catalogue[name]
        engine = self.engine
        try:
            (promoted,) = (replace(loaded, name=name) for loaded in served.reload().values())
            if promoted.key == served.key:
                return
            endpoints = load_endpoints(promoted.assistant, promoted.run)
            engine.models.endpoints = {**engine.models.endpoints, **endpoints}
            engine.run_and_wait(lambda: self.load_weights(promoted))
        except Exception as error:  # noqa: BLE001 - the assistant before goes on
            LOG.error(
                "etude serve: %s stays %s. The promoted run is not served: %s",
                name,
                served.source,
                error,
            )
            return
        oldest = self.replaced.get(name, promoted)
        self.catalogue[name] = promoted
        self.replaced[name] = served
        LOG.warning("etude serve: %s is now %s", name, promoted.source)
        if oldest.key != promoted.key:
            engine.call(lambda: engine.forget(oldest.key, oldest.assistant.model))
        engine.call(self.load_all)

    async def record(
        self, response_id: str, request: AnswerRequest, events: AsyncGenerator[StreamEvent, None]
    ) -> AsyncGenerator[StreamEvent, None]:
        """Pass the events on; count and remember each finished answer."""
        async with aclosing(events):
            async for event in events:
                if isinstance(finished := event.item, FinishedAnswer):
                    is_handover = get_handover_reason(finished) is not None
                    self.metrics.count_answer(request.served.name, finished, is_handover)
                    if finished.answer.limit == "danger":
                        LOG.warning(
                            "danger: a person should see response %s of %s",
                            response_id,
                            request.served.name,
                        )
                    turns = (*request.get_messages(event.index), *finished.steps)
                    answer = RecentAnswer(request.served, turns, finished.answer.text)
                    self.recent.add(response_id, event.index, answer)

                    if record := self.settings.record:
                        ids = {"id": response_id, "index": event.index}
                        if request.user:
                            ids["user"] = record.key.hash_user(request.user)
                        served = request.served
                        exchange = (answer.messages, finished.answer)
                        written = record.add(ids, served.source, served.assistant, *exchange)
                        await asyncio.wait([asyncio.wrap_future(written)], timeout=WAIT_SECONDS)
                yield event


def _get_server(request: Request) -> Server:
    server: Server = request.app.state.server
    return server


ServerState = Annotated[Server, Depends(_get_server)]
"""The type of a handler's parameter that gets the server."""

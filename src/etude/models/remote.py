"""Models that run elsewhere: the description of the service, its limits, and the journal of
answers.

A remote backend is a `RemoteModel` with one method, `ask`, and a `Service` in its entry of the
registry. Everything else is shared: several threads send requests, no request is paid for twice,
and no request exceeds a limit.
"""

import json
import threading
from abc import abstractmethod
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from etude.base.files import append_line, hash_text, read_lines
from etude.errors import ModelError, ServiceError
from etude.models.backend import BatchedModel
from etude.task import Prices
from etude.types import Batch, Completion, Request

RESUME = "All answers so far are saved. Run the same command again to resume."


@dataclass(frozen=True)
class Service:
    """The service behind a model, with its limits and prices. Rows are sent only after the user has
    agreed.
    """

    title: str
    """The name for readers."""
    is_local: bool = False
    """Whether rows stay on this machine. If so, the user is asked only if requests have prices."""
    prices: Prices | None = None
    max_requests: int | None = None
    """The number of requests after which a run stops."""
    max_cost: float | None = None
    """The cost after which a run stops, in the currency of the prices."""
    at_once: int = 8
    """The number of requests in progress at the same time."""

    @property
    def needs_consent(self) -> bool:
        """Whether the user is asked first: rows leave this machine, or requests are paid."""
        return not self.is_local or self.prices is not None


class Journal:
    """The answers of one service, by request. With a file they survive a restart; without, they are
    only counted.
    """

    def __init__(self, service: Service, file: Path | None = None) -> None:
        self.title = service.title
        self.file = file
        self._completions: dict[str, Completion] = {}
        self._num_answered = 0
        self.tokens = (0, 0, 0)
        """The numbers of prompt tokens, cached prompt tokens and answer tokens of all answers."""
        for line in read_lines(file) if file and file.exists() else ():
            if line["service"] == self.title:
                self._count(line["request"], Completion(**line["completion"]))

    def __len__(self) -> int:
        return self._num_answered

    def get(self, key: str) -> Completion | None:
        """Return the saved answer to a request."""
        return self._completions.get(key)

    def add(self, key: str, completion: Completion, model: str) -> None:
        """Save an answer to disk, with the name that the model reports. With an empty `key`, only
        count it.
        """
        if self.file and key:
            line = {
                "service": self.title,
                "model": model,
                "request": key,
                "completion": asdict(completion),
            }
            append_line(self.file, line)
        self._count(key, completion)

    def _count(self, key: str, completion: Completion) -> None:
        self._num_answered += 1
        if self.file and key:
            self._completions[key] = completion
        prompt, cached, answer = self.tokens
        self.tokens = (
            prompt + completion.prompt_tokens,
            cached + completion.cached_tokens,
            answer + completion.answer_tokens,
        )


class RemoteModel(BatchedModel):
    """A Model that asks a service. Implement `ask`. `notes` collects sentences for readers of the
    answers.
    """

    rows_per_batch = 32

    def __init__(
        self,
        name: str,
        service: Service,
        journal: Journal | None = None,
        notes: dict[str, None] | None = None,
    ) -> None:
        super().__init__(name)
        self.service = service
        self.journal = Journal(service) if journal is None else journal
        self.notes = {} if notes is None else notes
        self.identity: Sequence[object] = (name,)
        """All settings, besides the request, that an answer depends on."""
        self.stopped = threading.Event()
        """Set when nobody needs the answers any more: `ask` should stop and send nothing again."""
        self._lock = threading.Lock()
        self._num_open = 0
        self._slots = threading.BoundedSemaphore(service.at_once)

    @abstractmethod
    def ask(self, request: Request) -> tuple[Completion, str]:
        """Answer one request; also return the name that the model reports. Several threads call
        this at once.
        """
        ...

    def batches(self, requests: Sequence[Request], done: Collection[int] = ()) -> Iterator[Batch]:
        """Answer in batches of 32 in the order of the list.

        All requests are queued at once, and `at_once` of them are in progress. After an error or
        Ctrl-C, it waits for the requests in progress and saves their answers. Raises ServiceError.
        """
        size = self.rows_per_batch
        plan = [
            range(begin, min(begin + size, len(requests)))
            for begin in range(0, len(requests), size)
        ]
        batches = {number: indices for number, indices in enumerate(plan) if number not in done}
        keys = {
            index: hash_request(self.identity, requests[index])
            for indices in batches.values()
            for index in indices
        }
        workers = min(self.service.at_once, max(1, len(keys)))
        pool = ThreadPoolExecutor(workers)
        try:
            answers: dict[str, Future[Completion]] = {}
            for index, key in keys.items():
                if key not in answers:  # equal requests are sent once
                    answers[key] = pool.submit(self._answer, key, requests[index], workers)
            for number, indices in batches.items():
                yield Batch(
                    number,
                    tuple(indices),
                    tuple(answers[keys[index]].result() for index in indices),
                )
        finally:
            self.stopped.set()
            pool.shutdown(cancel_futures=True)
            self.stopped.clear()

    def complete(self, requests: Sequence[Request]) -> list[Completion]:
        """Answer in the order of the requests."""
        return self.generate(requests)

    def _answer(self, key: str, request: Request, workers: int) -> Completion:
        if saved := self.journal.get(key):
            return saved
        with self._admit() as save:
            try:
                completion, model = self.ask(request)
            except ModelError as error:
                if len(self.journal):
                    error.args = (f"{error} {RESUME}",)
                raise
            completion = replace(completion, seconds=completion.seconds / workers)
            save(key, completion, model)
        return completion

    @contextmanager
    def _admit(self) -> Iterator[Callable[[str, Completion, str], None]]:
        """Count a request before it is sent; yield a function that adds its answer to the journal.

        Raises ServiceError if the request would exceed a limit, including the requests in progress.
        """
        with self._lock:
            self._check_limits()
            self._num_open += 1
        results: list[tuple[str, Completion, str]] = []
        try:
            # the caller adds its answer, if there is one; without one, the request is only no
            # longer in progress
            yield lambda key, completion, model: results.append((key, completion, model))
        finally:
            with self._lock:  # in one step, so a limit counts a request once
                for result in results:
                    self.journal.add(*result)
                self._num_open -= 1

    def _check_limits(self) -> None:
        service = self.service
        num_answered = len(self.journal)
        num_sent = num_answered + self._num_open
        if service.max_requests is not None and num_sent >= service.max_requests:
            raise ServiceError(
                f"Stopped at the limit of {service.max_requests:,} requests to {service.title}. "
                f"{RESUME} Raise max_requests: first."
            )
        if service.max_cost is not None and num_answered:
            assert service.prices is not None, "the task reader refuses max_cost without prices"
            spent = service.prices.price_tokens(*self.journal.tokens)
            if spent / num_answered * (num_sent + 1) > service.max_cost:
                raise ServiceError(
                    f"Stopped at the limit of {service.max_cost:g} for {service.title}: "
                    f"{num_answered:,} requests have cost {spent:.4g} at your prices. {RESUME} "
                    "Raise max_cost: first."
                )


def hash_request(identity: Sequence[object], request: Request) -> str:
    """Hash everything that an answer depends on."""
    turns = [[message.role, message.content] for message in request.messages]
    values = [*identity, request.max_tokens, bool(request.choices), turns]
    if request.sampling:
        values.append(asdict(request.sampling))
    return hash_text(json.dumps(values, sort_keys=True), 32)

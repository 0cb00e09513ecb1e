"""A Model behind an OpenAI-compatible URL, asked at temperature 0 by several threads.

An endpoint cannot be restricted to choices. It answers in its own words, and the contract checks
whether the answer is a label. Before an answer, its tokens are estimated from bytes; after it, they
are the tokens that the endpoint reports.
"""

import json
import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from typing import TypeVar

from etude.base.files import Json
from etude.errors import ModelError, quote_value
from etude.models import backend, registry, remote
from etude.models.endpoint import client, describe_service
from etude.task import Endpoint, contract
from etude.task.endpoint import ENDPOINT_SYNTAX, parse_endpoint
from etude.types import Completion, Message, ModelRef, Request, Sampling, TokenScore

BYTES_PER_TOKEN = 3  # Fewer than in most texts, so a prompt that seems to fit does fit
TOKENS_PER_TURN = 4  # Approximate number of tokens that a chat template adds to a turn
Reply = TypeVar("Reply")
# Optional members of a request that some models reject.
OPTIONAL_MEMBERS = ("max_tokens", "temperature", "logprobs", "stream_options", "structured_outputs")


class EndpointModel(remote.RemoteModel):
    """A Model that asks an endpoint. `first_wait` is the first back-off in seconds."""

    def __init__(
        self,
        endpoint: Endpoint,
        journal: remote.Journal | None = None,
        notes: dict[str, None] | None = None,
        first_wait: float = client.FIRST_WAIT,
    ) -> None:
        service = describe_service(endpoint.name, {endpoint.name: endpoint})
        super().__init__(endpoint.name, service, journal, notes)
        self.endpoint = endpoint
        self.context = endpoint.context
        self.identity = (endpoint.url, endpoint.model, dict(endpoint.options), endpoint.decides)
        self._client = client.Client(endpoint, self.stopped, first_wait)
        self._rejected: set[str] = set()
        """Optional members that the model has rejected."""

    def ask(self, request: Request) -> tuple[Completion, str]:
        """Answer one request; also return the name that the model reports."""
        answer, seconds = self._send(request, request.sampling, self._client.request_answer)
        model = str(answer.get("model") or self.endpoint.model)
        if self.endpoint.model not in model:
            self.notes.setdefault(
                f"{self.endpoint.title} reports its name as {quote_value(model)}."
            )
        return self._build_completion(request, answer, seconds), model

    def stream(self, request: Request) -> Iterator[str]:
        """Answer one request piece by piece; the answer is not saved."""
        while True:
            body = self._build_body(request)
            try:
                yield from self._client.stream(body)
            except client.RefusedError as refusal:
                self._drop_member(refusal, body)
            else:
                return

    def write(
        self, request: Request, sampling: Sampling, on_piece: Callable[[str], bool]
    ) -> tuple[Completion, Sequence[TokenScore]]:
        """Answer one request piece by piece, for a server; the answer is counted and not saved.

        Several threads may call this at once. `on_piece` ends the answer by returning True. Raises
        ModelError.
        """

        def collect(body: Json) -> ChunkedAnswer:
            answer = ChunkedAnswer()
            with closing(self._client.stream_chunks(body)) as chunks:
                for chunk in chunks:
                    if (piece := answer.add_chunk(chunk)) and on_piece(piece):
                        break
            return answer

        # take a slot first: a waiting request must not count against the limits
        with self._slots, self._admit() as save:
            started = time.perf_counter()
            chunks = self._send(request, sampling, collect)
            completion = self._build_completion(
                request, chunks.join(), time.perf_counter() - started
            )
            save("", completion, "")
        return completion, [] if sampling.top_logprobs is None else backend.read_token_scores(
            chunks.tokens
        )

    def _send(
        self, request: Request, sampling: Sampling | None, send: Callable[[Json], Reply]
    ) -> Reply:
        while True:
            body = self._build_body(request, sampling)
            try:
                return send(body)
            except client.RefusedError as refusal:
                self._drop_member(refusal, body)

    def count_tokens(self, messages: Sequence[Message]) -> int:
        """Estimate the tokens of the prompt from its bytes; the estimate is too high for most
        texts.
        """
        return TOKENS_PER_TURN + sum(
            TOKENS_PER_TURN - -len(message.content.encode()) // BYTES_PER_TOKEN
            for message in messages
        )

    def _build_body(self, request: Request, sampling: Sampling | None = None) -> Json:
        limit = "max_completion_tokens" if "max_tokens" in self._rejected else "max_tokens"
        body: Json = {
            "model": self.endpoint.model,
            "messages": [
                {"role": message.role, "content": message.content} for message in request.messages
            ],
            limit: request.max_tokens,
            "temperature": 0,
            "logprobs": True if request.choices or request.scores_tokens else None,
        }
        # the user's options replace the defaults, and a client's sampling replaces both; null
        # removes a member
        body |= dict(self.endpoint.options) | (_build_sampling(sampling) if sampling else {})
        body |= dict.fromkeys(self._rejected - {"max_tokens"})
        if "logprobs" in self._rejected:
            body["top_logprobs"] = None  # invalid without logprobs
        return {member: value for member, value in body.items() if value is not None}

    def _drop_member(self, refusal: client.RefusedError, body: Json) -> None:
        """Leave out the member that the model rejects, from now on. Raises the refusal if it is not
        optional.
        """
        text = refusal.parameter or refusal.reason
        rejected = next(
            (name for name in OPTIONAL_MEMBERS if re.search(rf"\b{name}\b", text) and name in body),
            None,
        )
        if rejected is None or rejected in self.endpoint.options:
            raise refusal
        effect = "; its answers may differ between runs" if rejected == "temperature" else ""
        self.notes.setdefault(
            f"{self.endpoint.title} does not accept {rejected}, so requests were sent without "
            f"it{effect}."
        )
        with self._lock:
            self._rejected.add(rejected)

    def _build_completion(self, request: Request, answer: Json, seconds: float) -> Completion:
        choice = answer["choices"][0]
        usage = answer.get("usage") or {}
        content = choice["message"]["content"]
        if isinstance(content, list):  # some servers return the text in parts
            content = "".join(
                str(item.get("text") or "") for item in content if isinstance(item, dict)
            )
        text = str(content or choice["message"].get("refusal") or "")
        logprobs = [
            float(token["logprob"]) for token in (choice.get("logprobs") or {}).get("content") or ()
        ]
        label = request.choices and contract.Contract(labels=request.choices).parse(text)
        details = usage.get("prompt_tokens_details") or {}
        num_estimated = -(-len(text.encode()) // BYTES_PER_TOKEN) + 1
        return Completion(
            text=text,
            finish="length" if choice.get("finish_reason") == "length" else "stop",
            prompt_tokens=int(usage.get("prompt_tokens") or self.count_tokens(request.messages)),
            cached_tokens=int(details.get("cached_tokens") or 0),
            answer_tokens=int(usage.get("completion_tokens") or num_estimated),
            seconds=seconds,
            logprob=sum(logprobs) if logprobs and (label or request.scores_tokens) else None,
            min_logprob=min(logprobs, default=None) if request.scores_tokens else None,
        )


class ChunkedAnswer(backend.StreamedText):
    """An answer that an endpoint sends in chunks."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens: list[Json] = []
        self.finish = ""
        self.usage: Json = {}

    def add_chunk(self, chunk: Json) -> str:
        """Add a chunk; return the new text of the answer."""
        self.usage = chunk.get("usage") or self.usage
        for choice in chunk.get("choices") or []:
            self.finish = choice.get("finish_reason") or self.finish
            self.tokens += (choice.get("logprobs") or {}).get("content") or []
        return self.add(client.read_chunk_text(chunk))

    def join(self) -> Json:
        """Build the answer that the endpoint would have sent without streaming."""
        choice = {"message": {"content": self.text}, "finish_reason": self.finish}
        return {"choices": [{**choice, "logprobs": {"content": self.tokens}}], "usage": self.usage}


def _build_sampling(sampling: Sampling) -> Json:
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


def load_endpoint(
    ref: ModelRef, models: registry.Models, build: Callable[..., EndpointModel] = EndpointModel
) -> EndpointModel:
    """Load the model that `ref` names, with the limits of the task and the saved answers of the
    run.
    """
    return build_model(find_endpoint(ref.name, models), models, build)


def find_endpoint(name: str, models: registry.Models, syntax: str = ENDPOINT_SYNTAX) -> Endpoint:
    """Find the endpoint that a name means, with the limits of the task. Raises ModelError for any
    other name, with the `syntax` of a right one.
    """
    endpoint = models.endpoints.get(name) or parse_endpoint(name)
    if endpoint is None:
        raise ModelError(f"{name} is not the name of a model. Write it as {syntax}.")
    return endpoint


def build_model(
    endpoint: Endpoint, models: registry.Models, build: Callable[..., EndpointModel]
) -> EndpointModel:
    """Build a model that asks an endpoint, with the saved answers of the run."""
    service = describe_service(endpoint.name, {endpoint.name: endpoint})
    return build(endpoint, remote.Journal(service, models.journal), models.notes)

"""Convert a client's request to requests to the engine, and stream the answers."""

import asyncio
import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import aclosing, suppress
from dataclasses import dataclass, field, replace

from etude.assistant import Assistant
from etude.data.formats.tools import CALL_END, CALL_TAG, append_tools, join_results
from etude.serve.catalogue import ServedModel
from etude.serve.engine import (
    FinishedAnswer,
    QueuedRequest,
    ServingEngine,
    ServingLimits,
    StreamItem,
    samples_tokens,
)
from etude.serve.schemas import ChatRequest, CompletionRequest, GenerationRequest, Json
from etude.task.tool_class import ToolRef
from etude.tool_loop import ToolStep, open_tools
from etude.types import Message, Sampling
from etude.web.api_errors import ApiError, to_api_error


@dataclass(frozen=True)
class AnswerRequest:
    """A client's request in the engine's terms."""

    served: ServedModel
    assistant: Assistant  # as served, plus what the caller adds to its prompt
    inputs: tuple[tuple[Message, ...], ...]
    samplings: tuple[Sampling, ...]  # one for each answer: those to the first input come first
    max_tokens: int
    unmeasured_reason: str
    """Why its answers are not the measured ones; "" if they can be."""
    has_tools: bool = (
        False  # whether an answer may call functions; calls are then returned as tool_calls, or run
    )
    tools: ToolRef | None = None  # runs the calls
    tags: Mapping[str, str] = field(default_factory=dict)  # of the row that the tools get
    is_call: bool = False  # whether the answer is constrained to the JSON of a call
    ignored: tuple[str, ...] = ()  # fields of the request that do not change its answers
    user: str = ""  # whom the client names; in a record of requests
    created: float = field(default_factory=time.monotonic)
    is_step: bool = False  # whether calls were run before it, so that it must not be refused

    @property
    def key(self) -> str:
        """Identifies the assistant's own prompt; "" if the caller has changed it."""
        has_own = self.assistant.instructions == self.served.assistant.instructions
        return self.served.key if has_own and self.inputs[0][0].role != "system" else ""

    @property
    def num_per_input(self) -> int:
        return len(self.samplings) // len(self.inputs)

    def get_messages(self, index: int) -> tuple[Message, ...]:
        """Return the input of an answer."""
        return self.inputs[index // self.num_per_input]

    def describe_measured(self, answers: Sequence[FinishedAnswer] | None = None) -> Json:
        """Report whether the answers are as measured and, if not, why. Before the `answers` exist,
        a token limit above the assistant's own counts as a difference.
        """
        limit = self.served.assistant.max_tokens
        reason = self.unmeasured_reason
        may_be_longer = answers is None and self.max_tokens > limit
        if not reason and (
            may_be_longer
            or any(finished.answer.answer_tokens > limit for finished in answers or ())
        ):
            reason = f"the request raises the assistant's limit of {limit:,} answer tokens"
        ignored = {"ignored": list(self.ignored)} if self.ignored else {}
        return {"measured": not reason, "measured_reason": reason or None, **ignored}


@dataclass(frozen=True)
class StreamEvent:
    """New text of one answer, the calls so far with their results, or its end."""

    index: int
    item: str | tuple[Message, ...] | FinishedAnswer


def build_chat_request(
    served: ServedModel, body: ChatRequest, limits: ServingLimits, strict: bool
) -> AnswerRequest:
    """Convert the body of a chat. Raises ApiError if it cannot be answered; `strict` refuses system
    messages.
    """
    system = "\n\n".join(
        message.text
        for message in body.messages
        if message.role in ("system", "developer") and message.text.strip()
    )
    if system.strip() == served.assistant.instructions.strip():
        system = ""  # the client sends the message that the assistant has anyway
    turns, tools = _read_turns(body)
    if not turns or turns[-1].role != "user":
        raise ApiError(400, "The last message must have the role user.", "messages")
    is_measured = served.assistant.row_systems  # each row had its own system message and functions
    if is_measured and (system or tools):
        turns = (Message("system", append_tools(system, tools)), *turns)
        system = ""
    new_tools = "" if is_measured or tools in served.assistant.instructions else tools
    if system and strict:
        message = (
            "This server runs with --strict: a system message would change the prompt that was "
            "measured."
        )
        raise ApiError(400, message, "messages", "system_message_refused")
    if body.top_logprobs is not None and not body.logprobs:
        raise ApiError(400, "top_logprobs needs logprobs: true.", "top_logprobs")
    response_format = body.response_format
    if (
        response_format
        and response_format.type == "json_schema"
        and not response_format.json_schema
    ):
        message = "response_format of type json_schema needs json_schema."
        raise ApiError(400, message, "response_format.json_schema")
    try:
        call_schema = body.call_schema
    except (TypeError, ValueError) as error:
        raise ApiError(400, f"tool_choice: {error}.", "tool_choice", "invalid_value") from error
    request = _build_request(
        served,
        body,
        [turns],
        limits,
        body.max_completion_tokens or body.max_tokens,
        (body.top_logprobs or 0) if body.logprobs else None,
        system,
        call_schema or (response_format.schema_text if response_format else ""),
        new_tools,
    )
    own_tools = served.tools if not tools and body.tool_choice != "none" else None
    if own_tools and len(request.samplings) > 1:
        raise ApiError(
            400, "This server runs the calls of each answer, so n must be 1.", "n", "invalid_value"
        )
    request = replace(request, is_call=bool(call_schema), has_tools=bool(tools or own_tools))
    request = replace(request, tools=own_tools, tags=body.metadata or {})
    if sum(message.role not in ("system", "developer") for message in body.messages) > 1:
        reason = (
            "the request contains earlier turns, which may not be those of a conversation with "
            "the assistant"
        )
        request = replace(request, unmeasured_reason=request.unmeasured_reason or reason)
    return request


def build_completion_request(
    served: ServedModel, body: CompletionRequest, limits: ServingLimits
) -> AnswerRequest:
    """Convert the body of a text completion; each prompt is a user's turn. Raises ApiError."""
    try:
        inputs = [(Message("user", text),) for text in body.texts]
    except ValueError as error:
        raise ApiError(400, f"prompt: {error}.", "prompt", "invalid_value") from error
    return _build_request(served, body, inputs, limits, body.max_tokens, body.logprobs)


def _read_turns(body: ChatRequest) -> tuple[tuple[Message, ...], str]:
    """Return the turns without system messages, and the functions on offer as text. Raises
    ApiError.
    """
    try:
        turns = join_results(
            Message("assistant" if turn.role == "assistant" else "user", turn.text)
            for message in body.messages
            for turn in (*(message.steps or ()), message)
            if turn.role not in ("system", "developer")
        )
    except ValueError as error:
        raise ApiError(400, f"tool_calls cannot be read: {error}.", "messages") from error
    try:
        return turns, body.tools_text
    except ValueError as error:
        raise ApiError(400, f"tools cannot be read: {error}.", "tools") from error


def _build_request(
    served: ServedModel,
    body: GenerationRequest,
    inputs: Sequence[tuple[Message, ...]],
    limits: ServingLimits,
    max_tokens: int | None,
    logprobs: int | None,
    system: str = "",
    schema: str = "",
    tools: str = "",
) -> AnswerRequest:
    if not all(turns[-1].content.strip() for turns in inputs):
        raise ApiError(400, "The last message is empty.", "messages")
    if name := next(iter(body.unsupported), None):
        message = f"Unsupported parameter: '{name}' is not supported with this model."
        raise ApiError(400, message, name, "unsupported_parameter")
    assistant = served.assistant
    ignored = body.unknown
    if not samples_tokens(assistant):
        wishes = {"temperature": None, "top_p": None, "seed": None, "stop": None, "logprobs": None}
        ignored += [name for name in wishes if getattr(body, name)]
        body = body.model_copy(update=wishes)
        logprobs = None
    limit = min(max_tokens or assistant.max_tokens, limits.answer_tokens)
    top_p = 1.0 if body.top_p is None else body.top_p
    samplings = tuple(
        Sampling(
            body.temperature or 0.0,
            top_p,
            None if body.seed is None else body.seed + number,
            body.stops,
            logprobs,
            schema,
        )
        for _ in inputs
        for number in range(body.n or 1)
    )
    changes = {
        "a system message": system,
        "functions that the instructions do not list": tools,
        "a temperature": body.temperature,
        "stop sequences": body.stops,
        "a response format or a forced call": schema,
        "a lower token limit": limit < assistant.max_tokens,
    }
    changed = ", ".join(name for name, value in changes.items() if value)
    prompted = replace(
        assistant,
        instructions="\n\n".join(filter(None, (assistant.instructions, system, tools))),
        max_tokens=min(limit, assistant.max_tokens),
    )
    reason = served.unmeasured_reason or (changed and f"the request has {changed}")
    extra = body.model_extra or {}
    user = str(extra.get("user") or extra.get("safety_identifier") or "")
    return AnswerRequest(
        served, prompted, tuple(inputs), samplings, limit, reason, ignored=tuple(ignored), user=user
    )


async def stream_answers(
    engine: ServingEngine, request: AnswerRequest, streams: bool, is_timed: bool = True
) -> AsyncGenerator[StreamEvent, None]:
    """Yield new text of all answers, and the end of each. Raises the first error. Closing the
    generator cancels the answers that are not finished.
    """
    loop = asyncio.get_running_loop()
    events = asyncio.Queue[tuple[int, StreamItem]]()

    def deliver(index: int, item: StreamItem) -> None:
        with suppress(RuntimeError):  # the loop is closed: nobody listens
            loop.call_soon_threadsafe(events.put_nowait, (index, item))

    queued = [
        QueuedRequest(
            request.assistant,
            request.key,
            request.get_messages(index),
            lambda item, index=index: deliver(index, item),  # type: ignore[misc]
            sampling,
            request.max_tokens,
            # only the whole answer shows whether a sentence replaces it
            streams and not request.assistant.unsure_sentence,
            is_timed,
            queued_at=request.created,
        )
        for index, sampling in enumerate(request.samplings)
    ]
    engine.submit(*queued, may_refuse=not request.is_step)
    num_running = len(queued)
    try:
        while num_running:
            index, item = await events.get()
            if isinstance(item, Exception):
                raise item
            # a fixed reply of the scope is not a call
            if (
                request.is_call
                and isinstance(item, FinishedAnswer)
                and item.answer.text.startswith("{")
            ):
                text = f"{CALL_TAG}\n{item.answer.text}\n{CALL_END}"
                item = replace(item, answer=replace(item.answer, text=text))
            num_running -= isinstance(item, FinishedAnswer)
            yield StreamEvent(index, item)
    finally:
        for entry in queued:
            entry.cancelled = True


async def stream_with_tools(
    engine: ServingEngine, request: AnswerRequest, streams: bool, is_timed: bool = True
) -> AsyncGenerator[StreamEvent, None]:
    """`stream_answers` for one answer with the request's tools: yield the calls so far after each
    step, and its end. After the first step, an error is the `problem` of an empty answer. Closing
    the generator also ends the tools.
    """
    turns = request.inputs[0]
    answers = list[FinishedAnswer]()
    loop = open_tools(request.tools, list(turns), request.tags)
    running = Future[ToolStep | None]()
    try:
        try:
            while True:
                asked = replace(request, inputs=(tuple(loop.turns),), is_step=bool(answers))
                async with aclosing(stream_answers(engine, asked, streams, is_timed)) as events:
                    async for event in events:
                        if isinstance(event.item, FinishedAnswer):
                            answers.append(event.item)
                        else:
                            yield event
                running = engine.tool_threads.submit(loop.take, answers[-1].answer.shown)
                if await asyncio.wrap_future(running) is None:
                    break
                yield StreamEvent(0, tuple(loop.turns[len(turns) :]))
        except Exception as error:
            if not answers:
                raise
            loop.take("")
            loop.problem = to_api_error(error).message
            empty = replace(answers[-1].answer, text="", keeps_contract=None, confidence=None)
            answers[-1] = replace(answers[-1], answer=empty, scores=())
        sums = ("prompt_tokens", "cached_tokens", "answer_tokens", "seconds")
        totals = {name: sum(getattr(each.completion, name) for each in answers) for name in sums}
        finished = replace(
            answers[-1],
            answer=replace(
                answers[-1].answer, answer_tokens=max(each.answer.answer_tokens for each in answers)
            ),
            completion=replace(answers[-1].completion, **totals),
            queue_seconds=answers[0].queue_seconds,
            steps=tuple(loop.turns[len(turns) : -1]),
            problem=loop.problem,
        )
        yield StreamEvent(0, finished)
    finally:
        running.add_done_callback(lambda _: loop.close())

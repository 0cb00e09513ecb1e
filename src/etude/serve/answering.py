"""From what a client asks to what it is told: one question, or several ways to answer it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from uuid import uuid4

from etude.assistant import Assistant
from etude.data.formats.tools import joined_results, offering, openai_calls, split_calls
from etude.serve.catalogue import Served
from etude.serve.engine import Engine, Finished, Item, Job, Limits
from etude.serve.errors import ApiError
from etude.serve.schemas import Asking, ChatRequest, CompletionRequest, Json, Turn
from etude.types import Message, Sampling


@dataclass(frozen=True)
class Question:
    """A question as the engine takes it."""

    served: Served
    assistant: Assistant
    """As served, or with what the caller adds."""
    turns: tuple[Message, ...]
    samplings: tuple[Sampling, ...]
    """One for each answer that is wanted."""
    max_tokens: int
    unmeasured: str
    """Why its answers cannot be as they were measured, "" if they may be."""
    calls: bool = False
    """Whether functions are on offer, so that calls in an answer are given as such."""

    @property
    def key(self) -> str:
        """The name of the assistant's own prompt, if it is unchanged."""
        return self.served.name if self.assistant.instructions == self.served.assistant.instructions else ""

    def measured(self, ended: Sequence[Finished] | None = None) -> Json:
        """Whether the answers are as they were measured, and why not. Before they end, a higher limit means no."""
        own, why = self.served.assistant.max_tokens, self.unmeasured
        longer = ended is None and self.max_tokens > own
        if not why and (longer or any(done.completion.answer_tokens > own for done in ended or ())):
            why = f"more than the {own:,} answer tokens of the assistant"
        return {"measured": not why, "measured_reason": why or None}


def chat_question(served: Served, asked: ChatRequest, limits: Limits, strict: bool) -> Question:
    """The question of a chat. Raises ApiError if it cannot be asked, and with `strict` for a system message."""
    system = [turn for turn in asked.messages if turn.role in ("system", "developer")]
    turns, offered = _with_tools(served, asked)
    if not turns or turns[-1].role != "user":
        raise ApiError(400, "messages must end with a message of the user.", "messages")
    if system and strict:
        what = "This server runs with --strict: a system message would change the prompt that was measured."
        raise ApiError(400, what, "messages", "system_message_refused")
    number = (asked.top_logprobs or 0) if asked.logprobs else None
    if asked.top_logprobs is not None and not asked.logprobs:
        raise ApiError(400, "top_logprobs needs logprobs: true.", "top_logprobs")
    added = "\n\n".join(turn.text for turn in system if turn.text.strip())
    most = asked.max_completion_tokens or asked.max_tokens
    wanted = asked.response_format
    if wanted and wanted.type == "json_schema" and not wanted.json_schema:
        raise ApiError(
            400, "response_format of type json_schema needs json_schema.", "response_format.json_schema"
        )
    schema = wanted.schema_text if wanted else ""
    found = _question(served, asked, turns, added, most, number, limits, schema)
    if offered in served.assistant.instructions:
        return replace(found, calls=bool(offered))
    why = found.unmeasured or "the request offers functions that the instructions do not name"
    return replace(found, calls=True, unmeasured=why)


def _with_tools(served: Served, asked: ChatRequest) -> tuple[tuple[Message, ...], str]:
    """The turns, as text, with the functions on offer; and these. Raises ApiError."""
    spoken = [turn for turn in asked.messages if turn.role not in ("system", "developer")]
    try:
        turns = joined_results(map(_message, spoken))
    except ValueError as error:
        raise ApiError(400, f"tool_calls cannot be read: {error}.", "messages") from error
    try:
        offered = asked.offered
    except ValueError as error:
        raise ApiError(400, f"tools cannot be read: {error}.", "tools") from error
    return offering(turns, offered, served.assistant.instructions), offered


def completion_question(served: Served, asked: CompletionRequest, limits: Limits) -> Question:
    """The question of a completion: the prompt is the user's turn."""
    turns = (Message("user", asked.text),)
    return _question(served, asked, turns, "", asked.max_tokens, asked.logprobs, limits)


def _message(turn: Turn) -> Message:
    return Message("assistant" if turn.role == "assistant" else "user", turn.text)


def _question(
    served: Served,
    asked: Asking,
    turns: tuple[Message, ...],
    added: str,
    most: int | None,
    logprobs: int | None,
    limits: Limits,
    schema: str = "",
) -> Question:
    if not turns[-1].content.strip():
        raise ApiError(400, "The last message is empty.", "messages")
    own = served.assistant
    instructions = "\n\n".join(part for part in (own.instructions, added) if part)
    max_tokens = min(most or own.max_tokens, limits.answer_tokens)
    assistant = replace(own, instructions=instructions, max_tokens=min(max_tokens, own.max_tokens))
    top_p = 1.0 if asked.top_p is None else asked.top_p
    sampling = Sampling(asked.temperature or 0.0, top_p, asked.seed, asked.stops, logprobs, schema)
    seeds = [None if asked.seed is None else asked.seed + number for number in range(asked.n or 1)]
    samplings = tuple(replace(sampling, seed=seed) for seed in seeds)
    changes = {"a system message": added, "a temperature": asked.temperature, "stop sequences": asked.stops}
    changes |= {"a form": schema, "fewer answer tokens": max_tokens < own.max_tokens}
    asks = ", ".join(what for what, there in changes.items() if there)
    unmeasured = served.unmeasured or (asks and f"the request has {asks}")
    return Question(served, assistant, turns, samplings, max_tokens, unmeasured)


@dataclass(frozen=True)
class Piece:
    """Something new of one of the answers."""

    index: int
    item: str | Finished


async def answers(engine: Engine, question: Question, streams: bool) -> AsyncGenerator[Piece, None]:
    """The pieces of all answers as they come, and the end of each. Raises what goes wrong; if nobody listens any more,
    the answers are given up."""
    loop, queue = asyncio.get_running_loop(), asyncio.Queue[tuple[int, Item]]()

    def deliver(index: int, item: Item) -> None:
        with suppress(RuntimeError):  # the loop is closed: nobody listens
            loop.call_soon_threadsafe(queue.put_nowait, (index, item))

    jobs = [
        Job(
            question.assistant,
            question.key,
            question.turns,
            lambda item, index=index: deliver(index, item),  # type: ignore[misc]
            sampling,
            question.max_tokens,
            streams,
        )
        for index, sampling in enumerate(question.samplings)
    ]
    engine.submit(*jobs)
    left = len(jobs)
    try:
        while left:
            index, item = await queue.get()
            if isinstance(item, Exception):
                raise item
            left -= isinstance(item, Finished)
            yield Piece(index, item)
    finally:
        for job in jobs:
            job.cancelled = True


def handover(done: Finished) -> str | None:
    """Why a person should see the question; None if the answer is in order."""
    if done.answer.failures:
        return f"the answer breaks its contract: {'; '.join(done.answer.failures)}"
    if done.answer.handed_over:
        return "the assistant is less sure than the promise of its task asks"
    return "the answer was cut at the length limit" if done.answer.truncated else None


def about(done: Finished) -> Json:
    """What is said of an answer beside its text."""
    answer, reason = done.answer, handover(done)
    said = {"form": answer.keeps_contract, "confidence": answer.confidence, "handover": reason is not None}
    return said | {"handover_reason": reason, "citations": list(answer.citations)}


def message_of(done: Finished, calls: bool) -> tuple[Json, str]:
    """What an answer says, with the functions that it calls apart where they were on offer; and how it ended."""
    beside, found = split_calls(done.answer.text) if calls else (done.answer.text, [])
    if not found:
        return {"content": done.answer.text}, done.completion.finish
    ids = [f"call-{uuid4().hex}" for _ in found]
    return {"content": beside or None, "tool_calls": openai_calls(found, ids)}, "tool_calls"


def logprobs_of(done: Finished) -> Json | None:
    """The log-probabilities as a chat has them."""
    if not done.scores:
        return None

    def told(text: str, logprob: float) -> Json:
        return {"token": text, "logprob": logprob, "bytes": list(text.encode())}

    tokens = [
        told(score.text, score.logprob) | {"top_logprobs": [told(*each) for each in score.likeliest]}
        for score in done.scores
    ]
    return {"content": tokens, "refusal": None}


def text_logprobs_of(done: Finished) -> Json | None:
    """The log-probabilities as a completion has them."""
    if not done.scores:
        return None
    texts = [score.text for score in done.scores]
    return {
        "tokens": texts,
        "token_logprobs": [score.logprob for score in done.scores],
        "top_logprobs": [dict(score.likeliest) for score in done.scores],
        "text_offset": [len("".join(texts[:at])) for at in range(len(texts))],
    }


def usage(ended: Sequence[Finished]) -> Json:
    """Tokens; the prompt counts once."""
    prompt = ended[0].completion.prompt_tokens
    written = sum(done.completion.answer_tokens for done in ended)
    return {
        "prompt_tokens": prompt,
        "completion_tokens": written,
        "total_tokens": prompt + written,
        "prompt_tokens_details": {"cached_tokens": ended[0].completion.cached_tokens},
    }


def new_id(kind: str) -> str:
    """An id for a response."""
    return f"{kind}-{uuid4().hex}"

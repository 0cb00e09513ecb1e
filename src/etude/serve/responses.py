"""Response bodies of chats and text completions, whole and in chunks."""

import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from uuid import uuid4

from etude.data.formats.tools import split_calls, to_openai_calls, to_openai_turns
from etude.serve.engine import FinishedAnswer
from etude.serve.generation import AnswerRequest, StreamEvent
from etude.serve.schemas import Json
from etude.types import Message, TokenScore
from etude.web.api_errors import to_api_error


class ChatKind:
    """How /v1/chat/completions formats answers."""

    kind = "chat.completion"
    chunk_kind = "chat.completion.chunk"
    prefix = "chatcmpl"

    def build_choice(self, finished: FinishedAnswer, has_tools: bool) -> Json:
        """Format a whole answer; with `has_tools`, calls are separated from its text."""
        content, finish = build_message(finished, has_tools)
        message = {"role": "assistant", **content, "refusal": None, **describe_answer(finished)}
        message |= describe_steps(finished.steps)
        return {
            "message": message,
            "logprobs": format_chat_logprobs(finished),
            "finish_reason": finish,
        }

    def build_delta(self, text: str, is_first: bool) -> Json:
        """Format new text of an answer."""
        role = {"role": "assistant"} if is_first else {}
        return {"delta": {**role, "content": text}, "logprobs": None, "finish_reason": None}

    def build_end(self, finished: FinishedAnswer, has_tools: bool) -> Json:
        """Format the last chunk of an answer; with `has_tools`, it contains the whole answer."""
        content, finish = build_message(finished, has_tools)
        for number, call in enumerate(content.get("tool_calls", ())):
            call["index"] = number
        delta = {**(content if has_tools else {}), **describe_answer(finished)}
        return {"delta": delta, "logprobs": format_chat_logprobs(finished), "finish_reason": finish}


class TextKind:
    """How /v1/completions formats answers."""

    kind = "text_completion"
    chunk_kind = "text_completion"
    prefix = "cmpl"

    def build_choice(self, finished: FinishedAnswer, has_tools: bool) -> Json:
        """Format a whole answer."""
        return self.build_end(finished, has_tools) | {"text": finished.answer.shown}

    def build_delta(self, text: str, is_first: bool) -> Json:
        """Format new text of an answer."""
        return {"text": text, "logprobs": None, "finish_reason": None}

    def build_end(self, finished: FinishedAnswer, has_tools: bool) -> Json:
        """Format the last chunk of an answer."""
        logprobs = _text_logprobs(finished.scores)
        finish = finished.completion.finish
        return {"text": "", "logprobs": logprobs, "finish_reason": finish} | describe_answer(
            finished
        )


CompletionKind = ChatKind | TextKind


def build_response(
    kind: CompletionKind,
    response_id: str,
    request: AnswerRequest,
    answers: Sequence[FinishedAnswer],
) -> Json:
    """Build the response with all answers."""
    choices = [
        {"index": index, **kind.build_choice(finished, request.has_tools)}
        for index, finished in enumerate(answers)
    ]
    head = _build_head(kind.kind, response_id, request, answers)
    return {**head, "choices": choices, "usage": _count_usage(request, answers)}


async def build_chunks(
    kind: CompletionKind,
    response_id: str,
    request: AnswerRequest,
    events: AsyncIterator[StreamEvent],
    with_usage: bool,
) -> AsyncIterator[Json]:
    """Yield the chunks of a stream. An error after the first event becomes the last chunk."""
    head = _build_head(kind.chunk_kind, response_id, request)
    num_sent: dict[int, int] = {}  # characters sent of each answer
    num_steps = Counter[int]()  # messages sent of each answer's steps
    answers: dict[int, FinishedAnswer] = {}
    no_usage = {"usage": None} if with_usage else {}
    try:
        async for event in events:
            index = event.index
            finished = event.item if isinstance(event.item, FinishedAnswer) else None
            text = finished.answer.shown[num_sent.get(index, 0) :] if finished else str(event.item)
            text = "" if request.has_tools else text  # only its end shows whether it is a call
            is_first = index not in num_sent
            num_sent[index] = num_sent.get(index, 0) + len(text)
            steps = describe_steps(event.item)["steps"] if isinstance(event.item, tuple) else []
            if text or is_first or steps:
                choice = {"index": index, **kind.build_delta(text, is_first)}
                if steps:
                    choice["delta"]["steps"] = steps[num_steps[index] :]
                    num_steps[index] = len(steps)
                yield {**head, "choices": [choice], **no_usage}
            if finished:
                answers[index] = finished
                choice = {"index": index, **kind.build_end(finished, request.has_tools)}
                yield {
                    **head,
                    **request.describe_measured([finished]),
                    "choices": [choice],
                    **no_usage,
                }
    except Exception as error:  # noqa: BLE001 - the status is already sent
        yield to_api_error(error).body
        return
    if with_usage:
        ordered = [answers[index] for index in sorted(answers)]
        measured = request.describe_measured(ordered)
        yield {**head, **measured, "choices": [], "usage": _count_usage(request, ordered)}


def create_response_id(kind: CompletionKind) -> str:
    """Return a new id for a response."""
    return f"{kind.prefix}-{uuid4().hex}"


def _build_head(
    kind: str,
    response_id: str,
    request: AnswerRequest,
    answers: Sequence[FinishedAnswer] | None = None,
) -> Json:
    return {
        "id": response_id,
        "object": kind,
        "created": int(time.time()),
        "model": request.served.name,
        "system_fingerprint": request.served.assistant.fingerprint,
        **request.describe_measured(answers),
    }


def get_handover_reason(finished: FinishedAnswer) -> str | None:
    """Return why a person should see the question; None if there is no reason."""
    if finished.problem:
        return f"the assistant was stopped: {finished.problem}"
    if finished.answer.failures:
        return f"the answer breaks its contract: {'; '.join(finished.answer.failures)}"
    if finished.answer.handed_over and finished.answer.limit:
        return f"the question is beyond the assistant's limits: {finished.answer.limit}"
    if finished.answer.handed_over:
        return "the assistant is less confident than its task requires"
    return "the answer was cut at the length limit" if finished.answer.truncated else None


def describe_answer(finished: FinishedAnswer) -> Json:
    """Return the fields that a response has in addition to OpenAI's."""
    answer = finished.answer
    reason = get_handover_reason(finished)
    return {
        "keeps_contract": answer.keeps_contract,
        "confidence": answer.confidence,
        "handover": reason is not None,
        "handover_reason": reason,
        "citations": list(answer.citations),
        **({"limit": answer.limit} if answer.limit else {}),
    }


def describe_steps(turns: Sequence[Message]) -> Json:
    """Return the field with calls and results as messages of a chat, each with an index, as clients
    add up chunks.
    """
    listed = to_openai_turns(
        [{"role": turn.role, "content": turn.content} for turn in turns], as_json=True
    )
    return (
        {"steps": [{"index": index, **message} for index, message in enumerate(listed)]}
        if listed
        else {}
    )


def build_message(finished: FinishedAnswer, has_tools: bool) -> tuple[Json, str]:
    """Return the content of an answer with its calls, and its finish reason."""
    text, calls = split_calls(finished.answer.shown) if has_tools else (finished.answer.shown, [])
    if finished.problem:
        return {"content": text}, "length"
    if not calls:
        return {"content": finished.answer.shown}, finished.completion.finish
    ids = [f"call-{uuid4().hex}" for _ in calls]
    return {"content": text or None, "tool_calls": to_openai_calls(calls, ids)}, "tool_calls"


def format_chat_logprobs(finished: FinishedAnswer) -> Json | None:
    """Format the log-probabilities of an answer's tokens; None if the request asked for none."""
    if not finished.scores:
        return None

    def format_token(text: str, logprob: float) -> Json:
        return {"token": text, "logprob": logprob, "bytes": list(text.encode())}

    tokens = [
        format_token(score.text, score.logprob)
        | {"top_logprobs": [format_token(*candidate) for candidate in score.likeliest]}
        for score in finished.scores
    ]
    return {"content": tokens, "refusal": None}


def _text_logprobs(scores: Sequence[TokenScore]) -> Json | None:
    if not scores:
        return None
    texts = [score.text for score in scores]
    return {
        "tokens": texts,
        "token_logprobs": [score.logprob for score in scores],
        "top_logprobs": [dict(score.likeliest) for score in scores],
        "text_offset": [len("".join(texts[:index])) for index in range(len(texts))],
    }


def _count_usage(request: AnswerRequest, answers: Sequence[FinishedAnswer]) -> Json:
    """Count tokens. If several answers share a prompt, its tokens count once."""
    firsts = [finished.completion for finished in answers[:: request.num_per_input]]
    prompt = sum(completion.prompt_tokens for completion in firsts)
    cached = sum(completion.cached_tokens for completion in firsts)
    generated = sum(finished.completion.answer_tokens for finished in answers)
    return {
        "prompt_tokens": prompt,
        "completion_tokens": generated,
        "total_tokens": prompt + generated,
        "prompt_tokens_details": {"cached_tokens": cached},
    }


def count_item_usage(request: AnswerRequest, answers: Sequence[FinishedAnswer]) -> Json:
    """Count tokens under the names of /v1/responses and /v1/decisions."""
    usage = _count_usage(request, answers)
    return {
        "input_tokens": usage["prompt_tokens"],
        "input_tokens_details": {**usage["prompt_tokens_details"], "cache_write_tokens": 0},
        "output_tokens": usage["completion_tokens"],
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": usage["total_tokens"],
    }

"""Responses of the two kinds of completions, whole and in chunks."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Sequence
from typing import Protocol

from etude.serve.answering import (
    Piece,
    Question,
    about,
    logprobs_of,
    message_of,
    text_logprobs_of,
    usage,
)
from etude.serve.engine import Finished
from etude.serve.errors import as_api_error
from etude.serve.schemas import Json


class Shape(Protocol):
    """A kind of completion."""

    kind: str
    chunk: str
    prefix: str

    def choice(self, done: Finished, calls: bool) -> Json:
        """A whole answer; with `calls`, the functions that it calls stand apart."""
        ...

    def piece(self, text: str, first: bool) -> Json:
        """A piece of one."""
        ...

    def end(self, done: Finished, calls: bool) -> Json:
        """The last chunk of one; with `calls`, all that it says."""
        ...


class Chat:
    """/v1/chat/completions."""

    kind, chunk, prefix = "chat.completion", "chat.completion.chunk", "chatcmpl"

    def choice(self, done: Finished, calls: bool) -> Json:
        """A message."""
        said, finish = message_of(done, calls)
        message = {"role": "assistant", **said, "refusal": None, **about(done)}
        return {"message": message, "logprobs": logprobs_of(done), "finish_reason": finish}

    def piece(self, text: str, first: bool) -> Json:
        """A part of a message."""
        role = {"role": "assistant"} if first else {}
        return {"delta": {**role, "content": text}, "logprobs": None, "finish_reason": None}

    def end(self, done: Finished, calls: bool) -> Json:
        """What is known at the end of a message."""
        said, finish = message_of(done, calls)
        for number, call in enumerate(said.get("tool_calls", ())):
            call["index"] = number
        delta = {**(said if calls else {}), **about(done)}
        return {"delta": delta, "logprobs": logprobs_of(done), "finish_reason": finish}


class Text:
    """/v1/completions."""

    kind, chunk, prefix = "text_completion", "text_completion", "cmpl"

    def choice(self, done: Finished, calls: bool) -> Json:
        """A text."""
        return self.end(done, calls) | {"text": done.answer.text}

    def piece(self, text: str, first: bool) -> Json:
        """A part of a text."""
        return {"text": text, "logprobs": None, "finish_reason": None}

    def end(self, done: Finished, calls: bool) -> Json:
        """What is known at the end of a text."""
        ended = {"text": "", "logprobs": text_logprobs_of(done), "finish_reason": done.completion.finish}
        return ended | about(done)


def head(kind: str, name: str, question: Question, ended: Sequence[Finished] | None = None) -> Json:
    """What every response and every chunk begins with."""
    return {
        "id": name,
        "object": kind,
        "created": int(time.time()),
        "model": question.served.name,
        "system_fingerprint": question.served.fingerprint,
        **question.measured(ended),
    }


def whole(shape: Shape, name: str, question: Question, ended: Sequence[Finished]) -> Json:
    """The response with all answers."""
    choices = [{"index": index, **shape.choice(done, question.calls)} for index, done in enumerate(ended)]
    return {**head(shape.kind, name, question, ended), "choices": choices, "usage": usage(ended)}


async def chunks(
    shape: Shape, name: str, question: Question, pieces: AsyncIterator[Piece], with_usage: bool
) -> AsyncIterator[Json]:
    """The chunks of a stream. An error after the first piece is the last chunk."""
    begin = head(shape.chunk, name, question)
    said: dict[int, int] = {}
    ended: dict[int, Finished] = {}
    empty = {"usage": None} if with_usage else {}
    try:
        async for piece in pieces:
            done = piece.item if isinstance(piece.item, Finished) else None
            text = done.answer.text[said.get(piece.index, 0) :] if done else str(piece.item)
            text = "" if question.calls else text  # whether it is a call is known at its end
            first = piece.index not in said
            said[piece.index] = said.get(piece.index, 0) + len(text)
            if text or first:
                yield {**begin, "choices": [{"index": piece.index, **shape.piece(text, first)}], **empty}
            if done:
                ended[piece.index] = done
                last = {**begin, **question.measured([done])}
                yield {
                    **last,
                    "choices": [{"index": piece.index, **shape.end(done, question.calls)}],
                    **empty,
                }
    except Exception as error:  # noqa: BLE001 - the status is sent already
        yield as_api_error(error).body
        return
    if with_usage:
        all_ended = [ended[index] for index in sorted(ended)]
        yield {**begin, **question.measured(all_ended), "choices": [], "usage": usage(all_ended)}

"""The response of /v1/responses, whole and as the events of a stream."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any
from uuid import uuid4

from etude.serve import responses
from etude.serve.engine import FinishedAnswer
from etude.serve.generation import AnswerRequest, StreamEvent
from etude.serve.schemas import Json
from etude.web.api_errors import to_api_error
from etude_openai.item_schemas import CreateResponseRequest


@dataclass(frozen=True)
class ResponseBuilder:
    """Builds the response to one request."""

    response_id: str
    body: CreateResponseRequest
    request: AnswerRequest
    is_stored: bool
    on_built: Callable[[Json], None]
    """Called with the finished response, in a thread, before the client gets it."""

    def build_body(self, answers: Sequence[FinishedAnswer]) -> Json:
        """Build the response with its answer."""
        (finished,) = answers
        return self._finish(finished, self._build_output(finished, _create_id("msg")))

    async def build_events(self, events: AsyncIterator[StreamEvent]) -> AsyncIterator[Json]:
        """Yield the events of a stream. An error after the first event makes the response fail."""
        numbers = count()

        def event(kind: str, **fields: Any) -> Json:
            return {"type": f"response.{kind}", "sequence_number": next(numbers), **fields}

        head = self._describe("in_progress", [])
        yield event("created", response=head)
        yield event("in_progress", response=head)
        message_id = _create_id("msg")
        sent = ""
        try:
            async for item in (stream_event.item async for stream_event in events):
                if isinstance(item, FinishedAnswer):
                    output = self._build_output(item, message_id)
                    for index, entry in enumerate(output):
                        for kind, fields in _list_events(entry, index, sent):
                            yield event(kind, **fields)
                    response = await asyncio.to_thread(self._finish, item, output)
                    yield event(response["status"], response=response)
                elif (
                    isinstance(item, str) and not self.request.has_tools
                ):  # otherwise only its end shows a call
                    for kind, fields in () if sent else _open_message(message_id):
                        yield event(kind, **fields)
                    sent += item
                    yield event("output_text.delta", **_locate(message_id), delta=item, logprobs=[])
        except Exception as error:  # noqa: BLE001 - the status is already sent
            failure = to_api_error(error)
            reason = {"code": failure.code or "server_error", "message": failure.message}
            yield event("failed", response={**head, "status": "failed", "error": reason})

    def _finish(self, finished: FinishedAnswer, output: list[Json]) -> Json:
        is_cut = output[0]["status"] == "incomplete"
        response = self._describe("incomplete" if is_cut else "completed", output, [finished])
        response |= {
            "incomplete_details": {"reason": "max_output_tokens"} if is_cut else None,
            "completed_at": None if is_cut else int(time.time()),
            "usage": responses.count_item_usage(self.request, [finished]),
            **responses.describe_answer(finished),
        }
        self.on_built(response)
        return response

    def _build_output(self, finished: FinishedAnswer, message_id: str) -> list[Json]:
        content, finish = responses.build_message(finished, self.request.has_tools)
        output: list[Json] = []
        if content["content"] or "tool_calls" not in content:
            logprobs = (responses.format_chat_logprobs(finished) or {}).get("content", [])
            block = {
                "type": "output_text",
                "text": content["content"],
                "annotations": [],
                "logprobs": logprobs,
            }
            status = "incomplete" if finish == "length" else "completed"
            message = {"id": message_id, "type": "message", "role": "assistant", "status": status}
            output.append(
                {**message, "content": [block], **responses.describe_steps(finished.steps)}
            )
        for call in content.get("tool_calls", ()):
            item = {"id": _create_id("fc"), "type": "function_call", "call_id": call["id"]}
            output.append({**item, **call["function"], "status": "completed"})
        return output

    def _describe(
        self, status: str, output: list[Json], answers: Sequence[FinishedAnswer] | None = None
    ) -> Json:
        body = self.body
        return {
            "id": self.response_id,
            "object": "response",
            "created_at": int(self.response_id[5:13], 16),
            "status": status,
            "error": None,
            "incomplete_details": None,
            "instructions": body.instructions,
            "max_output_tokens": body.max_output_tokens,
            "metadata": body.metadata or {},
            "model": self.request.served.name,
            "output": output,
            "parallel_tool_calls": True,
            "previous_response_id": body.previous_response_id,
            "store": self.is_stored,
            "temperature": body.temperature or 0.0,
            "text": body.text.model_dump(by_alias=True, exclude_none=True),
            "tool_choice": body.tool_choice or "auto",
            "tools": body.tools or [],
            "top_p": 1.0 if body.top_p is None else body.top_p,
            "truncation": "disabled",
            "usage": None,
            "system_fingerprint": self.request.served.assistant.fingerprint,
            **self.request.describe_measured(answers),
        }


def _create_id(prefix: str) -> str:
    return f"{prefix}_{uuid4().hex}"


def _locate(item_id: str) -> Json:
    """Return the fields of an event about the text of a message. The message is the first item and
    has one text.
    """
    return {"item_id": item_id, "output_index": 0, "content_index": 0}


def _open_message(item_id: str) -> list[tuple[str, Json]]:
    item = {
        "id": item_id,
        "type": "message",
        "role": "assistant",
        "status": "in_progress",
        "content": [],
    }
    block = {"type": "output_text", "text": "", "annotations": [], "logprobs": []}
    return [
        ("output_item.added", {"output_index": 0, "item": item}),
        ("content_part.added", {**_locate(item_id), "part": block}),
    ]


def _list_events(item: Json, index: int, sent: str) -> list[tuple[str, Json]]:
    """Return the events of an item; for a message, without the events of the text `sent`."""
    end = ("output_item.done", {"output_index": index, "item": item})
    if item["type"] == "function_call":
        location = {"item_id": item["id"], "output_index": index}
        arguments = item["arguments"]
        empty = {**item, "arguments": "", "status": "in_progress"}
        return [
            ("output_item.added", {"output_index": index, "item": empty}),
            ("function_call_arguments.delta", {**location, "delta": arguments}),
            (
                "function_call_arguments.done",
                {**location, "name": item["name"], "arguments": arguments},
            ),
            end,
        ]
    (block,) = item["content"]
    location = _locate(item["id"])
    logprobs = block["logprobs"]
    rest = block["text"][len(sent) :]
    return [
        *(() if sent else _open_message(item["id"])),
        *(
            [("output_text.delta", {**location, "delta": rest, "logprobs": logprobs})]
            if rest
            else ()
        ),
        ("output_text.done", {**location, "text": block["text"], "logprobs": logprobs}),
        ("content_part.done", {**location, "part": block}),
        end,
    ]

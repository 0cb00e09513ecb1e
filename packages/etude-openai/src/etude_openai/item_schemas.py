"""Bodies of /v1/responses and /v1/decisions. Their input, a text or a list of items, becomes a
chat.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, TypeAdapter, model_validator

from etude.serve.schemas import ChatRequest, Json, Metadata, RequestBody
from etude.web.api_errors import ApiError

LOGPROBS = "message.output_text.logprobs"  # the value of `include` that requests log-probabilities
HOSTED = {
    "background": "Wait for the response, or send the request to /v1/batches.",
    "conversation": "To continue a conversation, send previous_response_id.",
    "prompt": "Send the text of the prompt as instructions.",
}
"""Field for a feature that only OpenAI's servers have -> what to do instead."""
REQUIRED = {
    "message": ("role", "content"),
    "function_call": ("call_id", "name", "arguments"),
    "function_call_output": ("output",),
}
"""Type of an item -> the required fields."""
ID_PREFIXES = {"message": "msg", "function_call": "fc", "function_call_output": "fco"}


class ContentBlock(RequestBody):
    """A text in a message, or objects that the model reads as JSON."""

    type: Literal["input_text", "output_text", "text", "refusal", "input_json"]
    text: str = ""
    refusal: str = ""
    data: Json | list[Json] | None = None


Content = str | list[ContentBlock]


class Item(RequestBody):
    """A message, a call of a function by an earlier answer, or the result of a call."""

    type: Literal["message", "function_call", "function_call_output"] = "message"
    role: Literal["system", "developer", "user", "assistant"] | None = None
    content: Content | None = None
    call_id: str | None = None
    name: str | None = None
    arguments: str | None = None
    output: Content | None = None
    steps: list[Json] | None = None

    @model_validator(mode="after")
    def _check_fields(self) -> Item:
        for name in REQUIRED[self.type]:
            if getattr(self, name) is None:
                raise ValueError(f"an item of type {self.type} needs {name}")
        return self


Input = str | Annotated[list[Item], Field(min_length=1)]
ITEMS: TypeAdapter[list[Item]] = TypeAdapter(list[Item])


def list_items(value: Input) -> Sequence[Item]:
    """Return the items of an input. A text is a message of the user."""
    return [Item(role="user", content=value)] if isinstance(value, str) else value


def build_messages(items: Sequence[Item]) -> list[Json]:
    """Convert items to the messages of a chat. Calls belong to the turn of the assistant that they
    follow.
    """
    messages: list[Json] = []
    for item in items:
        if item.type == "function_call":
            if not messages or messages[-1]["role"] != "assistant":
                messages.append({"role": "assistant", "content": None})
            function = {"name": item.name, "arguments": item.arguments}
            call = {"id": item.call_id, "type": "function", "function": function}
            messages[-1].setdefault("tool_calls", []).append(call)
        elif item.type == "function_call_output":
            messages.append(
                {
                    "role": "tool",
                    "content": _join_content(item.output),
                    "tool_call_id": item.call_id,
                }
            )
        else:
            messages.append(
                {"role": item.role, "content": _join_content(item.content), "steps": item.steps}
            )
    return messages


def _join_content(content: Content | None) -> str:
    if content is None or isinstance(content, str):
        return content or ""
    has_json = any(block.type == "input_json" for block in content)
    texts = (
        json.dumps(block.data, ensure_ascii=False)
        if block.type == "input_json"
        else block.text or block.refusal
        for block in content
    )
    return ("\n" if has_json else "").join(texts)


def format_input_items(items: Sequence[Item], response_id: str) -> list[Json]:
    """Format the items before a response as the API lists them: each with an id, and with blocks as
    its content.
    """
    formatted = []
    for number, item in enumerate(items):
        item_id = f"{ID_PREFIXES[item.type]}_{response_id.removeprefix('resp_')}{number:04d}"
        body: Json = {"id": item_id, "type": item.type, "status": "completed"}
        body |= item.model_dump(mode="json", exclude_defaults=True)
        if isinstance(item.content, str):
            is_answer = item.role == "assistant"
            block = (
                {"type": "output_text", "annotations": []} if is_answer else {"type": "input_text"}
            )
            body["content"] = [{**block, "text": item.content}]
        formatted.append(body)
    return formatted


def list_unknown(body: RequestBody) -> Json:
    """List the fields of a body that its class does not have. A chat refuses them or lists them as
    ignored.
    """
    fields = (body.model_extra or {}).items()
    return {name: value for name, value in fields if name not in ChatRequest.model_fields}


def list_chat_fields(body: RequestBody) -> list[str]:
    """List the fields with a value that a chat has but the class of the body has not; they change
    nothing.
    """
    fields = (body.model_extra or {}).items()
    return sorted(
        name
        for name, value in fields
        if name in ChatRequest.model_fields and value not in (None, 0)
    )


class Option(RequestBody):
    """One option of a question: a choice has a value, a level has a label."""

    value: str | bool | None = None
    label: str | None = None


class Question(RequestBody):
    """A question: how likely a label is, which label is right, or which value of a scale of labels
    is right. An assistant reads only the input, so `instructions` does not change the answer. If
    the assistant answers several questions, `name` chooses one.
    """

    type: Literal["predicate", "choice", "score"]
    name: str | None = None
    instructions: Content
    choices: Annotated[list[Option], Field(min_length=2, max_length=255)] | None = None
    levels: Annotated[list[Option], Field(min_length=2, max_length=10)] | None = None

    @property
    def options(self) -> list[str | bool | None]:
        if self.type == "choice":
            return [option.value for option in self.choices or ()]
        return [option.label for option in self.levels or ()]


class DecisionRequest(RequestBody):
    """The body of /v1/decisions."""

    model_config = ConfigDict(strict=True, extra="allow")

    model: str
    input: Input
    questions: Annotated[list[Question], Field(min_length=1, max_length=400)]


class TextFormat(RequestBody):
    """The format of the answer's text."""

    type: Literal["text", "json_object", "json_schema"] = "text"
    name: str | None = None
    schema_: Annotated[Json | None, Field(alias="schema")] = None


class TextSettings(RequestBody):
    """Settings of the answer's text."""

    format: TextFormat = TextFormat()


class CreateResponseRequest(RequestBody):
    """The body of /v1/responses."""

    model_config = ConfigDict(strict=True, extra="allow")

    model: str
    input: Input
    instructions: str | None = None
    previous_response_id: str | None = None
    max_output_tokens: Annotated[int, Field(ge=1)] | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_logprobs: int | None = None
    include: list[str] | None = None
    text: TextSettings = TextSettings()
    tools: list[Json] | None = None
    tool_choice: Literal["none", "auto", "required"] | Json | None = None
    metadata: Metadata | None = None
    store: bool | None = None
    stream: bool | None = None
    background: bool | None = None
    conversation: Any = None
    prompt: Any = None

    def to_chat(self, items: Sequence[Item]) -> ChatRequest:
        """Convert to a chat about the items of the whole conversation. Raises ValidationError, and
        ApiError for features that a chat does not have.
        """
        hosted = {name: remedy for name, remedy in HOSTED.items() if getattr(self, name)}
        types = {str(tool.get("type")) for tool in self.tools or ()} - {"function"}
        hosted |= {
            f"tools of type {name}": "Use functions, which your program runs." for name in types
        }
        for name, remedy in hosted.items():
            raise ApiError(
                501, f"This server does not support {name}. {remedy}", name, "not_supported"
            )
        form = self.text.format
        choice = self.tool_choice
        system = [{"role": "developer", "content": self.instructions}] if self.instructions else []
        body = {
            "model": self.model,
            "messages": [*system, *build_messages(items)],
            "max_completion_tokens": self.max_output_tokens,
            "temperature": self.temperature,
            "top_p": self.top_p,
            "logprobs": bool(self.top_logprobs) or LOGPROBS in (self.include or ()),
            "top_logprobs": self.top_logprobs or None,
            "metadata": self.metadata,
            "tools": [to_chat_tool(tool) for tool in self.tools] if self.tools else None,
            "tool_choice": {"type": choice.get("type"), "function": choice}
            if isinstance(choice, dict)
            else choice,
            "response_format": {
                "type": form.type,
                "json_schema": form.schema_ and {"schema": form.schema_},
            },
        }
        return ChatRequest.model_validate({**list_unknown(self), **body})


def to_chat_tool(tool: Json) -> Json:
    """Convert a function of /v1/responses to one of a chat."""
    # Only these fields are in the rows with which a model was trained.
    function = {
        key: tool[key] for key in ("name", "description", "parameters") if tool.get(key) is not None
    }
    return {"type": "function", "function": function}

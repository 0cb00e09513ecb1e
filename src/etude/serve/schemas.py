"""Request bodies of OpenAI's API. Unknown fields are ignored; wrong values are refused by name."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from etude.data.formats.tools import format_tool_turn, format_tools
from etude.data.formats.turns import uses_tools

Json = dict[str, Any]
MAX_STOPS, MAX_CHOICES, MAX_LOGPROBS = 4, 8, 20
INT64 = 2**63


def _check_surrogates(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError("contains half a character (a lone surrogate)") from error
    return text


def _check_json(value: Any) -> Any:
    _check_surrogates(json.dumps(value, ensure_ascii=False))
    return value


Text = Annotated[str, AfterValidator(_check_surrogates)]
JsonObject = Annotated[dict[str, Any], AfterValidator(_check_json)]
Stop = Annotated[Text, Field(min_length=1)]


class RequestBody(BaseModel):
    """A JSON body; values are not converted between types."""

    model_config = ConfigDict(strict=True, extra="ignore")


class TextPart(RequestBody):
    """A part of a message; only text is accepted."""

    type: Literal["text"]
    text: Text


class ChatMessage(RequestBody):
    """One message of a chat."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: Text | list[TextPart] | None = None
    tool_calls: list[JsonObject] | None = None
    tool_call_id: Text | None = None

    @model_validator(mode="after")
    def _check_content(self) -> ChatMessage:
        if self.content is None and not self.tool_calls:
            raise ValueError("content is missing")
        return self

    @property
    def text(self) -> str:
        """The content as one text, including the functions that it calls."""
        content = self.content or ""
        text = content if isinstance(content, str) else "".join(block.text for block in content)
        turn = {"role": self.role, "tool_calls": self.tool_calls}
        return format_tool_turn(turn, text) if uses_tools(turn) else text


class StreamOptions(RequestBody):
    """Whether the last chunk contains the token counts."""

    include_usage: bool | None = None


class GenerationRequest(RequestBody):
    """What both kinds of completion have in common."""

    model: Text
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    stop: Stop | Annotated[list[Stop], Field(max_length=MAX_STOPS)] | None = None
    seed: Annotated[int, Field(ge=-INT64, lt=INT64)] | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(ge=0, le=1)] | None = None
    n: Annotated[int, Field(ge=1, le=MAX_CHOICES)] | None = None
    max_tokens: Annotated[int, Field(ge=1)] | None = None

    @property
    def stops(self) -> tuple[str, ...]:
        """The stop sequences."""
        return (self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ())


class NamedSchema(RequestBody):
    """A JSON schema."""

    schema_: Annotated[JsonObject, Field(alias="schema")]


class ResponseFormat(RequestBody):
    """The format that the answer must have."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: NamedSchema | None = None

    @property
    def schema_text(self) -> str:
        """The schema as JSON; "" for plain text."""
        if self.type == "text":
            return ""
        return json.dumps(self.json_schema.schema_ if self.json_schema else {"type": "object"})


class ChatRequest(GenerationRequest):
    """The body of /v1/chat/completions."""

    messages: Annotated[list[ChatMessage], Field(min_length=1)]
    max_completion_tokens: Annotated[int, Field(ge=1)] | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=MAX_LOGPROBS)] | None = None
    response_format: ResponseFormat | None = None
    tools: list[JsonObject] | None = None
    tool_choice: Literal["none", "auto"] | None = None

    @property
    def tools_text(self) -> str:
        """The functions on offer, as text. Raises ValueError if they have no names."""
        return "" if self.tool_choice == "none" else format_tools(self.tools)


class CompletionRequest(GenerationRequest):
    """The body of /v1/completions; the prompt is the user's turn."""

    prompt: Text | Annotated[list[Text], Field(min_length=1, max_length=1)]
    logprobs: Annotated[int, Field(ge=0, le=5)] | None = None

    @property
    def text(self) -> str:
        """The prompt as one text."""
        return self.prompt if isinstance(self.prompt, str) else self.prompt[0]


class FeedbackRequest(RequestBody):
    """The body of /v1/feedback: what a user says about an answer."""

    id: Text  # of the response
    index: int = 0  # which answer of the response
    thumb: Literal["up", "down"] | None = None
    correction: Text | None = None  # the right answer
    reason: Text = ""
    user: Text = "anonymous"  # who gives the feedback, if no API key says so


class ErrorDetail(BaseModel):
    """What was wrong, as OpenAI's clients read it."""

    message: str
    type: str
    param: str | None = None
    code: str | None = None


class ErrorBody(BaseModel):
    """The body of every error response."""

    error: ErrorDetail

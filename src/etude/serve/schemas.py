"""What clients send, as OpenAI's API has it: unknown fields are ignored, wrong values are refused by name."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from etude.data.formats.tools import as_text, offer
from etude.data.formats.turns import uses_tools

Json = dict[str, Any]
MOST_STOPS, MOST_CHOICES, MOST_LOGPROBS = 4, 8, 20
INT64 = 2**63


def _whole(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError("holds half a character (a lone surrogate)") from error
    return text


Text = Annotated[str, AfterValidator(_whole)]
Stop = Annotated[Text, Field(min_length=1)]


class Body(BaseModel):
    """A body in JSON, whose values have the right types already."""

    model_config = ConfigDict(strict=True, extra="ignore")


class Part(Body):
    """A part of a turn; only text is read."""

    type: Literal["text"]
    text: Text


class Turn(Body):
    """One message."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: Text | list[Part] | None = None
    tool_calls: list[Json] | None = None
    tool_call_id: Text | None = None

    @model_validator(mode="after")
    def _says_something(self) -> Turn:
        if self.content is None and not self.tool_calls:
            raise ValueError("content is missing")
        return self

    @property
    def text(self) -> str:
        """The content as one text, with the functions that it calls."""
        said = self.content or ""
        text = said if isinstance(said, str) else "".join(part.text for part in said)
        turn = {"role": self.role, "tool_calls": self.tool_calls}
        return as_text(turn, text) if uses_tools(turn) else text


class StreamOptions(Body):
    """Whether the last chunk tells the tokens."""

    include_usage: bool | None = None


class Asking(Body):
    """What both kinds of completions have in common."""

    model: Text
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    stop: Stop | Annotated[list[Stop], Field(max_length=MOST_STOPS)] | None = None
    seed: Annotated[int, Field(ge=-INT64, lt=INT64)] | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(ge=0, le=1)] | None = None
    n: Annotated[int, Field(ge=1, le=MOST_CHOICES)] | None = None
    max_tokens: Annotated[int, Field(ge=1)] | None = None

    @property
    def stops(self) -> tuple[str, ...]:
        """The stop sequences."""
        return (self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ())


class NamedSchema(Body):
    """A JSON schema."""

    schema_: Annotated[dict[str, Any], Field(alias="schema")]


class ResponseFormat(Body):
    """The form that is wanted."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: NamedSchema | None = None

    @property
    def schema_text(self) -> str:
        """The schema as JSON; "" for a text."""
        if self.type == "text":
            return ""
        return json.dumps(self.json_schema.schema_ if self.json_schema else {"type": "object"})


class ChatRequest(Asking):
    """The body of /v1/chat/completions."""

    messages: Annotated[list[Turn], Field(min_length=1)]
    max_completion_tokens: Annotated[int, Field(ge=1)] | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=MOST_LOGPROBS)] | None = None
    response_format: ResponseFormat | None = None
    tools: list[Json] | None = None
    tool_choice: Literal["none", "auto"] | None = None

    @property
    def offered(self) -> str:
        """The functions on offer, in words. Raises ValueError if they have no names."""
        return "" if self.tool_choice == "none" else offer(self.tools)


class CompletionRequest(Asking):
    """The body of /v1/completions: the prompt is the user's turn."""

    prompt: Text | Annotated[list[Text], Field(min_length=1, max_length=1)]
    logprobs: Annotated[int, Field(ge=0, le=5)] | None = None

    @property
    def text(self) -> str:
        """The prompt as one text."""
        return self.prompt if isinstance(self.prompt, str) else self.prompt[0]


class FeedbackRequest(Body):
    """The body of /v1/feedback: what somebody says about an answer."""

    id: Text
    """Of the response."""
    index: int = 0
    """Which of its answers."""
    thumb: Literal["up", "down"] | None = None
    correction: Text | None = None
    """The right answer."""
    reason: Text = ""
    user: Text = "anonymous"
    """Who says it, if no key does."""


class ErrorDetail(BaseModel):
    """What was wrong, as OpenAI's clients read it."""

    message: str
    type: str
    param: str | None = None
    code: str | None = None


class ErrorBody(BaseModel):
    """The body of every response that is an error."""

    error: ErrorDetail

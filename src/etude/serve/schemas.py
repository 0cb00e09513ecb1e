"""Request bodies of OpenAI's API. An error names the field with the wrong value; a response lists
ignored fields.
"""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from etude.data.formats.tools import format_tool_turn, format_tools
from etude.data.formats.turns import uses_tools

Json = dict[str, Any]
MAX_STOPS = 4
MAX_CHOICES = 8
MAX_LOGPROBS = 20
MAX_NAMED = 20  # ignored fields that a response names
INT64 = 2**63
Stop = Annotated[str, Field(min_length=1)]


Metadata = Annotated[
    dict[
        Annotated[str, StringConstraints(max_length=64)],
        Annotated[str, StringConstraints(max_length=512)],
    ],
    Field(max_length=16),
]
UNSUPPORTED: dict[str, Any] = {
    **dict.fromkeys(
        ("presence_penalty", "frequency_penalty", "logit_bias", "functions", "audio", "prediction")
    ),
    **dict.fromkeys(("web_search_options", "echo", "suffix", "min_p")),
    **{
        "function_call": "none",
        "modalities": ["text"],
        "best_of": 1,
        "top_k": -1,
        "repetition_penalty": 1,
    },
}
"""Fields that would change the answer -> the one value, besides zero and empty ones, that does not
change it.
"""


class RequestBody(BaseModel):
    """A JSON body; values are not converted between types."""

    model_config = ConfigDict(strict=True, extra="ignore")


class TextPart(RequestBody):
    """A part of a message; only text is accepted."""

    type: Literal["text"]
    text: str


class ChatMessage(RequestBody):
    """One message of a chat. An answer that the client sends back may have the steps before it."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | list[TextPart] | None = None
    tool_calls: list[Json] | None = None
    tool_call_id: str | None = None
    steps: list[ChatMessage] | None = None

    @model_validator(mode="after")
    def _check_content(self) -> ChatMessage:
        if self.content is None and not self.tool_calls:
            raise ValueError("content is missing")
        return self

    @property
    def text(self) -> str:
        content = self.content or ""
        text = content if isinstance(content, str) else "".join(block.text for block in content)
        turn = {"role": self.role, "tool_calls": self.tool_calls}
        return (
            format_tool_turn(turn, text)
            if self.role in ("assistant", "tool") and uses_tools(turn)
            else text
        )


class StreamOptions(RequestBody):
    """Whether the last chunk contains the token counts."""

    include_usage: bool | None = None


class GenerationRequest(RequestBody):
    """The fields that both kinds of completion have."""

    model_config = ConfigDict(strict=True, extra="allow")

    model: str
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
        return (self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ())

    @property
    def unknown(self) -> list[str]:
        """The fields with a value that this server does not know, at most MAX_NAMED."""
        fields = (self.model_extra or {}).items()
        return sorted(name for name, value in fields if value not in (None, 0))[:MAX_NAMED]

    @property
    def unsupported(self) -> list[str]:
        """The fields that would change the answer and that this server does not support."""
        values = self.model_extra or {}
        return [
            name
            for name in UNSUPPORTED
            if values.get(name) not in (None, UNSUPPORTED[name], 0, "", [], {})
        ]


class NamedFunction(RequestBody):
    """A function that the answer must call."""

    name: str


class NamedChoice(RequestBody):
    """The choice of one function."""

    type: Literal["function"]
    function: NamedFunction


class NamedSchema(RequestBody):
    """A JSON schema."""

    schema_: Annotated[Json, Field(alias="schema")]


class ResponseFormat(RequestBody):
    """The format that the answer must have."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: NamedSchema | None = None

    @property
    def schema_text(self) -> str:
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
    tools: list[Json] | None = None
    tool_choice: Literal["none", "auto", "required"] | NamedChoice | None = None
    metadata: Metadata | None = None

    @property
    def tools_text(self) -> str:
        """The offered functions, as text. Raises ValueError if they have no names."""
        return "" if self.tool_choice == "none" else format_tools(self.tools)

    @property
    def call_schema(self) -> str:
        """The JSON schema of the call that the answer must be; "" if it need not be a call. Raises
        ValueError if the request does not offer the function.
        """
        if self.tool_choice in (None, "none", "auto"):
            return ""
        name = self.tool_choice.function.name if isinstance(self.tool_choice, NamedChoice) else None
        functions = [tool.get("function", tool) for tool in self.tools or ()]
        calls = [
            {
                "type": "object",
                "properties": {
                    "name": {"const": function["name"]},
                    # with its own id, `$ref` resolves to the `$defs` of this schema
                    "arguments": {
                        **(function.get("parameters") or {"type": "object"}),
                        "$id": f"etude:{number}",
                    },
                },
                "required": ["name", "arguments"],
                "additionalProperties": False,
            }
            for number, function in enumerate(functions)
            if name in (None, function["name"])
        ]
        if not calls:
            raise ValueError(f"tools has no function {name!r}" if name else "tools has no function")
        return json.dumps({"anyOf": calls})


class CompletionRequest(GenerationRequest):
    """The body of /v1/completions; each prompt is a user's turn."""

    prompt: str | Annotated[list[str] | list[int] | list[list[int]], Field(min_length=1)]
    logprobs: Annotated[int, Field(ge=0, le=5)] | None = None

    @property
    def texts(self) -> list[str]:
        """The prompts. Raises ValueError for token ids."""
        prompts = [self.prompt] if isinstance(self.prompt, str) else self.prompt
        if not all(isinstance(prompt, str) for prompt in prompts):
            raise ValueError("token ids are not supported; send text")
        return prompts  # type: ignore[return-value]


class FeedbackRequest(RequestBody):
    """The body of /v1/feedback: what a user says about an answer."""

    id: str  # of the response
    index: int = 0  # which answer of the response
    thumb: Literal["up", "down"] | None = None
    correction: str | None = None  # the right answer
    reason: str = ""
    user: str = "anonymous"  # who gives the feedback, if no API key says so


class ErrorDetail(BaseModel):
    """An error in the format that OpenAI's clients read."""

    message: str
    type: str
    param: str | None = None
    code: str | None = None


class ErrorBody(BaseModel):
    """The body of every error response."""

    error: ErrorDetail

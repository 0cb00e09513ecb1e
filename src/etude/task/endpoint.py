"""A model behind an OpenAI-compatible URL, as the task file names it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

NO_LIMIT = 10**9
"""Tokens of a context that nobody has named."""
FORM = "{endpoint: URL, model: NAME, key: env:VARIABLE}"
"""How a task file names an endpoint."""
_NAME = re.compile(
    r"(?P<url>https?://[^\s@?#]+)#(?P<model>[^;]+)"
    r"(;key=(?P<key>\w+))?(;context=(?P<context>\d+))?(;options=(?P<options>\{.*\}))?"
)
_LOOPBACK = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True)
class Prices:
    """The user's own prices, per million tokens and per machine hour; None where none was given."""

    prompt: float | None = None
    cached: float | None = None
    answer: float | None = None
    per_hour: float | None = None
    data: float | None = None
    """What the examples cost to make, in all; counted with training."""

    @property
    def by_tokens(self) -> bool:
        """Whether a request is priced by its tokens, and not by the time that it takes a machine."""
        return self.prompt is not None and self.answer is not None

    def of_tokens(self, prompt: float, cached: float, answer: float) -> float:
        """The price of so many tokens, where `by_tokens`. Cached ones are among those of the prompt, and cost as much
        as the others where they have no price of their own."""
        assert self.prompt is not None
        assert self.answer is not None
        of_cached = self.prompt if self.cached is None else self.cached
        return ((prompt - cached) * self.prompt + cached * of_cached + answer * self.answer) / 1_000_000


@dataclass(frozen=True)
class Endpoint:
    """Where a model answers, and how it may be asked. It holds the name of the variable with the key, never the key.

    `name` stands for all that bears on an answer: what else is here may change between two starts of one run.
    """

    url: str
    """Up to what stands before `/chat/completions`."""
    model: str
    key: str | None = None
    """The environment variable that holds the key."""
    context: int = NO_LIMIT
    """Tokens that a prompt and its answer may have together."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Further members of each request, such as reasoning_effort; they replace ours."""
    prices: Prices | None = None
    at_once: int = 8
    """Requests that are under way together."""
    per_minute: float | None = None
    """The most requests that are begun in a minute."""
    timeout: float = 120.0
    """Seconds after which a request is given up and sent again."""
    max_requests: int | None = None
    """Requests of a run after which it stops."""
    max_cost: float | None = None
    """Money after which a run stops, in the unit of the prices."""

    @property
    def name(self) -> str:
        """The model's name in a ModelRef: `URL#MODEL;key=VARIABLE`."""
        more = [f"key={self.key}"] if self.key else []
        more += [f"context={self.context}"] if self.context != NO_LIMIT else []
        if self.options:
            more.append(f"options={json.dumps(dict(self.options), sort_keys=True, ensure_ascii=False)}")
        return ";".join([f"{self.url}#{self.model}", *more])

    @property
    def title(self) -> str:
        """Its name for readers."""
        return f"{self.model} at {self.url}"

    @property
    def on_this_machine(self) -> bool:
        """Whether what is sent stays on this machine."""
        return urlsplit(self.url).hostname in _LOOPBACK


def is_url(name: str) -> bool:
    """Whether a model's name means an endpoint."""
    return name.startswith(("http://", "https://"))


def endpoint_of(name: str) -> Endpoint | None:
    """The endpoint that a ModelRef names, asked as by default; None where the name is of no such form."""
    match = _NAME.fullmatch(name)
    if match is None:
        return None
    context, options = match["context"], match["options"]
    return Endpoint(
        url=match["url"],
        model=match["model"],
        key=match["key"],
        context=int(context) if context else NO_LIMIT,
        options=json.loads(options) if options else {},
    )


def why_unknown(name: str, key: str) -> str:
    """Why a URL under this key of a task means no model; "" where it does."""
    return "" if endpoint_of(name) else f"a URL alone names no model. Write `{key}:` as {FORM}."


def title(name: str) -> str:
    """The name of an endpoint for readers."""
    found = endpoint_of(name)
    return found.title if found else name

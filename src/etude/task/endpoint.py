"""A model behind an OpenAI-compatible URL, and prices."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

NO_LIMIT = 10**9  # tokens of an unknown context
ENDPOINT_SYNTAX = (
    "{endpoint: URL, model: NAME, key: env:VARIABLE}"  # syntax of an endpoint in a task file
)
DECISIONS = "decisions:"  # begins the name of an endpoint that is asked typed questions
SERVED = (
    "served:"  # begins the name of own weights that a server computes with: served:BASE@URL#NAME
)
_NAME = re.compile(
    rf"(?P<decides>{DECISIONS})?(?P<url>https?://[^\s@?#]+)#(?P<model>[^;]+)"
    r"(;key=(?P<key>\w+))?(;context=(?P<context>\d+))?(;options=(?P<options>\{.*\}))?"
)
_LOOPBACK = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True)
class Prices:
    """The user's own prices, per million tokens and per machine hour; None if unknown."""

    prompt: float | None = None
    cached: float | None = None
    answer: float | None = None
    per_hour: float | None = None
    data: float | None = None
    """Total cost of making the examples; counted with training."""

    @property
    def has_token_prices(self) -> bool:
        """Whether a request is priced by its tokens, and not by machine time."""
        return self.prompt is not None and self.answer is not None

    def price_tokens(self, prompt: float, cached: float, answer: float) -> float:
        """Return the price of these numbers of tokens; requires `has_token_prices`. `prompt`
        includes the `cached` tokens, which cost as much as the others unless they have a price of
        their own.
        """
        assert self.prompt is not None
        assert self.answer is not None
        cached_price = self.prompt if self.cached is None else self.cached
        return (
            (prompt - cached) * self.prompt + cached * cached_price + answer * self.answer
        ) / 1_000_000


@dataclass(frozen=True)
class Endpoint:
    """The URL of a model, and limits of its use. Contains the name of the variable with the API
    key, never the key.

    `name` contains everything that affects an answer; the other settings may change when a run is
    resumed.
    """

    url: str
    """Without `/chat/completions` or `/decisions`."""
    model: str
    key: str | None = None
    """The environment variable with the API key."""
    context: int = NO_LIMIT
    """Maximum tokens of a prompt and its answer together."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Further keys of each request, such as reasoning_effort; they replace ours."""
    prices: Prices | None = None
    at_once: int = 8
    """Maximum number of concurrent requests."""
    per_minute: float | None = None
    """Maximum number of requests started in a minute."""
    timeout: float = 120.0
    """Seconds until a request is cancelled and sent again."""
    max_requests: int | None = None
    """Requests after which a run stops."""
    max_cost: float | None = None
    """Cost after which a run stops, in the unit of the prices."""
    decides: bool = False
    """Whether it is a decision model, asked by `/decisions`."""

    @property
    def name(self) -> str:
        """The model's name in a ModelRef: `URL#MODEL;key=VARIABLE`."""
        # Only what affects an answer, in a fixed order: the name is part of fingerprints.
        fields = [f"{DECISIONS if self.decides else ''}{self.url}#{self.model}"]
        fields += [f"key={self.key}"] if self.key else []
        fields += [f"context={self.context}"] if self.context != NO_LIMIT else []
        if self.options:
            fields.append(
                f"options={json.dumps(dict(self.options), sort_keys=True, ensure_ascii=False)}"
            )
        return ";".join(fields)

    @property
    def title(self) -> str:
        return f"{self.model} at {self.url}"

    @property
    def is_local(self) -> bool:
        return urlsplit(self.url).hostname in _LOOPBACK


def is_url(name: str) -> bool:
    """Whether the name of a model is a URL."""
    return name.startswith(("http://", "https://"))


def parse_endpoint(name: str) -> Endpoint | None:
    """Return the endpoint of a ModelRef's name, with default limits; None for any other name."""
    match = _NAME.fullmatch(name)
    if match is None:
        return None
    context = match["context"]
    options = match["options"]
    return Endpoint(
        url=match["url"],
        model=match["model"],
        key=match["key"],
        context=int(context) if context else NO_LIMIT,
        options=json.loads(options) if options else {},
        decides=bool(match["decides"]),
    )


def split_served(name: str) -> tuple[str, str]:
    """Split the name of served weights into their name on this machine and the name of their
    endpoint, which is "" for weights that this machine computes with.
    """
    base, separator, endpoint = name.removeprefix(SERVED).partition("@http")
    return (base, "http" + endpoint) if name.startswith(SERVED) and separator else (name, "")


def format_endpoint(name: str) -> str:
    """Return the name of an endpoint for messages; any other name unchanged."""
    endpoint = parse_endpoint(name)
    return endpoint.title if endpoint else name

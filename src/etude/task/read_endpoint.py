"""The reader of an endpoint in a task file. What may be a secret is never shown."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import yaml

from etude.errors import quote_value
from etude.task.endpoint import NO_LIMIT, Endpoint, Prices
from etude.task.readers import nested, prose, ruled, text
from etude.task.rules import number
from etude.task.yaml_nodes import Page, Reader, got, plain

_URL = re.compile(r"https?://[^\s@?#]+")
_VARIABLE = re.compile(r"env:([A-Za-z_]\w*)")
PRICES: Mapping[str, Reader] = {name: ruled(number(0)) for name in ("prompt", "cached", "answer", "per_hour")}


def read_endpoint(page: Page, key: str, node: yaml.Node) -> Endpoint | None:
    """{endpoint: URL, model: NAME, key: env:VARIABLE, ...}. What may be a secret is never shown."""
    found: Endpoint | None = read_endpoint_with(page, key, node, {})["endpoint"]
    return found


def read_endpoint_with(page: Page, key: str, node: yaml.Node, more: Mapping[str, Reader]) -> dict[str, Any]:
    """An endpoint under "endpoint", and what stands beside it under the keys of `more`."""
    keys = {**_KEYS, **more}
    nodes = page.mapping(node, keys, key)
    values = {name: keys[name](page, f"{key}.{name}", part) for name, part in nodes.items()}
    beside = {name: values.pop(name) for name in more if name in values}
    for name in ("endpoint", "model"):
        if name not in nodes and (key, name) not in page.misspelt:
            page.fault(node, f"{key} names no {name}", "", f"add {name}: to {key}")
    given = {name: value for name, value in values.items() if value is not None}
    prices = given.get("prices")
    if "max_cost" in given and not (prices and prices.by_tokens):
        remedy = f"add prices: {{prompt: ..., answer: ...}} to {key}, per million tokens"
        page.fault(nodes["max_cost"], f"{key}.max_cost needs prices", "", remedy)
    whole = {"endpoint", "model"} <= given.keys()
    return {**beside, "endpoint": Endpoint(url=given.pop("endpoint"), **given) if whole else None}


def _url(page: Page, key: str, node: yaml.Node) -> str | None:
    url = prose(page, key, node)
    if url is None or (_URL.fullmatch(url) and _has_a_host(url)):
        return url and url.rstrip("/").removesuffix("/chat/completions")
    what = f"{key} must be a URL without password, ? and #"
    page.fault(node, what, "", "write such as https://api.example.com/v1, and the key under key:")
    return None


def _has_a_host(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port that is no number
        return False


def _model_name(page: Page, key: str, node: yaml.Node) -> str | None:
    name = text(page, key, node)
    if name and (";" in name or "\n" in name.strip()):
        page.fault(
            node,
            f"{key} is no name of a model",
            quote_value(name),
            "write it as the endpoint's own list has it",
        )
    return name and name.strip()


def _variable(page: Page, key: str, node: yaml.Node) -> str | None:
    match = _VARIABLE.fullmatch(str(node.value))
    if match is None:
        what = f"{key} must name an environment variable, which holds the key"
        page.fault(node, what, "", "export the key as a variable and write key: env:ITS_NAME")
    return match and match[1]


def _options(page: Page, key: str, node: yaml.Node) -> dict[str, Any] | None:
    if isinstance(node, yaml.MappingNode):
        return dict(plain(node))
    page.fault(node, f"{key} must be a mapping", got(node), f"write {key}: {{reasoning_effort: low}}")
    return None


_KEYS: Mapping[str, Reader] = {
    "endpoint": _url,
    "model": _model_name,
    "key": _variable,
    "context": ruled(number(1, NO_LIMIT, whole=True)),
    "options": _options,
    "prices": nested(PRICES, Prices),
    "at_once": ruled(number(1, 256, whole=True)),
    "per_minute": ruled(number(0, above=True)),
    "timeout": ruled(number(0, 3600, above=True)),
    "max_requests": ruled(number(1, whole=True)),
    "max_cost": ruled(number(0)),
}

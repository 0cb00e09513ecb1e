"""Readers of keys with URLs of model endpoints. A URL or key that may contain a secret is never
shown in an error.
"""

import re
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, get_args
from urllib.parse import urlsplit

import yaml

from etude.errors import InputError, quote_value
from etude.task import yaml_document as readers
from etude.task.definition import Engine
from etude.task.endpoint import NO_LIMIT, SERVED, Endpoint, Prices, is_url, parse_endpoint
from etude.task.rules import number
from etude.task.yaml_document import NodeReader, YamlDocument, rule_reader

_URL = re.compile(r"https?://[^\s@?#]+")
_VARIABLE = re.compile(r"env:([A-Za-z_]\w*)")
PRICES: Mapping[str, NodeReader] = {
    name: rule_reader(number(0)) for name in ("prompt", "cached", "answer", "per_hour")
}


def read_endpoint(document: YamlDocument, key: str, node: yaml.Node) -> Endpoint | None:
    """{endpoint: URL, model: NAME, key: env:VARIABLE, ...}."""
    endpoint: Endpoint | None = read_endpoint_with(document, key, node, {})["endpoint"]
    return endpoint


def read_endpoint_with(
    document: YamlDocument, key: str, node: yaml.Node, extra: Mapping[str, NodeReader]
) -> dict[str, Any]:
    """Return an endpoint under "endpoint", and the values of the `extra` keys next to it."""
    nodes = document.read_mapping(node, {**_ENDPOINT_KEYS, **extra}, key)
    values = readers.read_keys(document, key, nodes, {**_ENDPOINT_KEYS, **extra})
    extra_values = {name: values.pop(name) for name in extra if name in values}
    for name in ("endpoint", "model"):
        if name not in nodes:
            document.add_issue(node, f"{key} has no {name}", "", f"add {name}: to {key}")
    settings = {name: value for name, value in values.items() if value is not None}
    prices = settings.get("prices")
    if "max_cost" in settings and not (prices and prices.has_token_prices):
        remedy = f"add prices: {{prompt: ..., answer: ...}} to {key}, per million tokens"
        document.add_issue(nodes["max_cost"], f"{key}.max_cost needs prices", "", remedy)
    # If one of them is missing, that is reported above.
    is_complete = {"endpoint", "model"} <= settings.keys()
    endpoint = Endpoint(url=settings.pop("endpoint"), **settings) if is_complete else None
    return {**extra_values, "endpoint": endpoint}


def read_engine(document: YamlDocument, key: str, node: yaml.Node) -> str | Endpoint | None:
    """Return an engine of this machine, or a server: {endpoint: URL, model: NAME, ...} or
    URL#NAME.
    """
    if isinstance(node, yaml.MappingNode):
        return read_endpoint(document, key, node)
    text = readers.read_text(document, key, node)
    if text is None:
        return None
    try:
        return parse_engine(text, key)
    except InputError as error:
        for issue in error.issues:
            document.add_issue(node, f"{key}: {issue.message}", issue.value, issue.remedy)
        return None


def parse_engine(text: str, location: str) -> str:
    """Parse an Engine or URL#NAME to a task's `engine`. Raises InputError."""
    if text in get_args(Engine):
        return text
    endpoint = parse_endpoint(text) if is_url(text) else None
    if endpoint is None:
        remedy = "write local, llama_cpp, or URL#NAME with the base's name in the server's list"
        raise InputError.of(location, "this is not an engine", quote_value(text), remedy)
    return SERVED + endpoint.name


def read_url(document: YamlDocument, key: str, node: yaml.Node) -> str | None:
    """Return the URL of an endpoint, without `/chat/completions`."""
    url = readers.read_prose(document, key, node)
    if url is None:
        return None
    with suppress(ValueError):  # a port that is not a number
        parts = urlsplit(url)
        if _URL.fullmatch(url) and parts.hostname and parts.port != 0:
            return url.rstrip("/").removesuffix("/chat/completions").removesuffix("/decisions")
    message = f"{key} must be a URL without a password, ? or #"
    document.add_issue(
        node,
        message,
        "",
        "write for example https://api.example.com/v1, and put the API key under key:",
    )
    return None


def read_model_name(document: YamlDocument, key: str, node: yaml.Node) -> str | None:
    """Return the name of a model as its endpoint lists it."""
    name = readers.read_text(document, key, node)
    if name and (";" in name or "\n" in name.strip()):
        remedy = "write the name as the endpoint lists it"
        document.add_issue(node, f"{key} is not the name of a model", quote_value(name), remedy)
    return name and name.strip()


def read_variable(document: YamlDocument, key: str, node: yaml.Node) -> str | None:
    """Return the name of the environment variable in env:VARIABLE."""
    match = _VARIABLE.fullmatch(str(node.value))
    if match is None:
        message = f"{key} must be the name of an environment variable that contains the API key"
        document.add_issue(
            node, message, "", "export the API key as a variable and write key: env:ITS_NAME"
        )
    return match and match[1]


def read_options(document: YamlDocument, key: str, node: yaml.Node) -> dict[str, Any] | None:
    """Return further keys of each request."""
    if isinstance(node, yaml.MappingNode):
        return dict(readers.to_plain(node))
    remedy = f"write {key}: {{reasoning_effort: low}}"
    document.add_issue(node, f"{key} must be a mapping", readers.quote_node(node), remedy)
    return None


_ENDPOINT_KEYS: Mapping[str, NodeReader] = {
    "endpoint": read_url,
    "model": read_model_name,
    "key": read_variable,
    "context": rule_reader(number(1, NO_LIMIT, whole=True)),
    "options": read_options,
    "prices": readers.mapping_reader(PRICES, Prices),
    "at_once": rule_reader(number(1, 256, whole=True)),
    "per_minute": rule_reader(number(0, above=True)),
    "timeout": rule_reader(number(0, 3600, above=True)),
    "max_requests": rule_reader(number(1, whole=True)),
    "max_cost": rule_reader(number(0)),
}

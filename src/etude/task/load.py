"""From a task file to a Task: all keys, then their combinations."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from etude.errors import InputError, Issue, quote_value
from etude.task import definition, keys, settings, yaml_document
from etude.task.endpoint import Endpoint, Prices

_METRICS: Mapping[str, tuple[str, ...]] = {
    "classify": ("accuracy", "macro_f1"),
    "extract": ("exact_match", "passes", "chrf"),
    "answer": ("passes", "exact_match", "chrf", "token_f1", "calls"),
    "rewrite": ("passes", "exact_match", "chrf", "sari"),
}

_TOP_LEVEL = "the task file"  # name of the outermost mapping in an error
_REQUIRED = {
    "kind": "add a line such as kind: classify (or extract, answer, rewrite)",
    "model": "add a line such as model: smollm2-135m-instruct",
    "examples": "add a line such as examples: examples.jsonl",
}


def load_task(path: Path | str, needs_model: bool = True) -> definition.Task:
    """Reads a task file, or the task.yaml of a folder. Without `needs_model`, `model` may be absent, which gives "", or
    name something that does not exist.

    Raises InputError with every error of the file, each as file:line. Reads no rows.
    """
    file = Path(path)
    try:
        file.resolve()
    except (RuntimeError, OSError) as error:  # a link that leads back to itself
        issue = Issue(str(file), "a link that leads nowhere", quote_value(str(error)), "name the file itself")
        raise InputError([issue]) from error
    file = file / "task.yaml" if file.is_dir() else file
    # Each key by itself, then missing keys and combinations, so that one run reports every error.
    document = yaml_document.YamlDocument(file.name, file.resolve().parent, needs_model)
    root = yaml_document.parse_yaml(document, file)
    nodes = document.read_mapping(root, keys.KEYS, _TOP_LEVEL, settings.suggest_train_key)
    values = {key: keys.KEYS[key](document, key, node) for key, node in nodes.items()}
    for key, remedy in _REQUIRED.items() if isinstance(root, yaml.MappingNode) else ():
        is_needed = needs_model or key != "model"
        if is_needed and key not in nodes and (_TOP_LEVEL, key) not in document.misspelt:
            document.add_issue(None, f"the key {key!r} is missing", "", remedy)
    for key, message, value, remedy in _find_conflicts(nodes, values):
        document.add_issue(nodes[key], message, value, remedy)
    document.raise_issues()
    # Absent keys get the defaults of Task, which calls the budget by another name.
    fields = {key: value for key, value in values.items() if value is not None and key != "budget"}
    fields |= _collect_endpoints(fields)
    if isinstance(remote := fields.get("documents"), definition.RemoteDocuments):
        fields |= {"documents": remote.folder, "remote": remote}
    fields["notes"] = tuple(_list_notes(fields))
    # A test without columns of its own has those of the examples.
    if "test" in fields and fields["test"] == definition.RowSource(fields["test"].file):
        fields["test"] = replace(fields["examples"], file=fields["test"].file)
    file = file.resolve()
    fields = {"name": file.parent.name, "model": ""} | fields
    return definition.Task(**fields, budget_seconds=values.get("budget"), folder=file.parent, file=file)


def _find_conflicts(
    nodes: Mapping[str, yaml.Node], values: Mapping[str, Any]
) -> Iterator[tuple[str, str, str, str]]:
    """(key, message, value, remedy) for keys that are right alone and wrong together."""
    kind, metric, contract = (values.get(key) for key in ("kind", "metric", "contract"))
    if kind and metric and metric not in _METRICS[kind]:
        remedy = f"write one of: {', '.join(_METRICS[kind])}"
        yield "metric", f"this metric does not fit kind: {kind}", metric, remedy
    if metric == "passes" and not {"contract", "check"} & nodes.keys():
        message = "nothing to pass: no contract and no check"
        yield "metric", message, metric, "add contract: or check: to the task file"
    if kind and contract and contract.labels and kind != "classify":
        yield "contract", f"labels do not fit kind: {kind}", kind, "write kind: classify"
    if kind == "classify" and contract and (contract.fields or contract.json_schema is not None):
        remedy = "write kind: extract, or labels: instead"
        yield "contract", "fields and json_schema do not fit kind: classify", kind, remedy
    if values.get("handover") and kind and kind != "classify":
        remedy = "leave it out, or teach hand-overs with examples"
        yield "handover", "handover needs the probabilities of labels", kind, remedy
    if values.get("engine") == "llama_cpp" and kind == "classify":
        yield (
            "engine",
            "llama.cpp cannot be held to labels",
            "llama_cpp",
            "write engine: local, or leave it out",
        )
    examples, test = values.get("examples"), values.get("test")
    if examples and test and examples.file.resolve() == test.file.resolve():
        remedy = "delete test: to split one off"
        yield "test", "test names the same file as examples", test.file.name, remedy


def _collect_endpoints(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The keys that name an endpoint, by its name, and the endpoints. That of `model` gets the task's prices of tokens
    if it has none itself."""
    endpoints = {
        key: fields[key] for key in ("model", "prompt_model") if isinstance(fields.get(key), Endpoint)
    }
    prices = fields.get("prices")
    if "model" in endpoints and endpoints["model"].prices is None and prices and prices.has_token_prices:
        endpoints["model"] = replace(endpoints["model"], prices=prices)
    judge = [fields["judge"].endpoint] if fields.get("judge") else []
    # Reversed, so that `model` wins if two keys name the same endpoint.
    by_name = {endpoint.name: endpoint for endpoint in (*judge, *reversed(endpoints.values()))}
    return {key: endpoint.name for key, endpoint in endpoints.items()} | {"endpoints": by_name}


def _list_notes(fields: Mapping[str, Any]) -> Iterator[str]:
    """Settings that have no effect, or only part of it."""
    if fields.get("model") in fields["endpoints"] and "methods" not in fields:
        yield "model: is an endpoint, whose weights cannot be trained: the tuned methods are left out"
    if "prices" not in fields:
        return
    prices: Prices = fields["prices"]
    token_prices = {"prompt": prices.prompt, "answer": prices.answer}
    missing = [name for name, price in token_prices.items() if price is None]
    if missing and (len(missing) < len(token_prices) or prices.cached is not None):
        effect = "it has no price" if prices.per_hour is None else "its machine time is priced"
        yield f"prices: without {' and '.join(missing)} a request is not priced by its tokens; {effect}"
    if prices.per_hour is None:
        yield "prices: without per_hour training has no price, so break-even is reported in seconds"
    prompt_model = fields.get("prompt_model")
    is_priced = prompt_model in fields["endpoints"] and fields["endpoints"][prompt_model].prices
    if prices.has_token_prices and prompt_model not in (None, fields.get("model")) and not is_priced:
        yield "prices: those of tokens apply to model; answers of prompt_model are reported in tokens and seconds"

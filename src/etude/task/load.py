"""From the file to the task: all keys, then what they mean together."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from etude.errors import InputError, Issue, quote_value
from etude.task.definition import Remote, RowSource, Task
from etude.task.endpoint import Endpoint, Prices
from etude.task.foreign import meant_for_training
from etude.task.keys import KEYS
from etude.task.yaml_nodes import Page, compose

_METRICS: Mapping[str, tuple[str, ...]] = {
    "classify": ("accuracy", "macro_f1"),
    "extract": ("exact_match", "passes", "chrf"),
    "answer": ("passes", "exact_match", "chrf", "token_f1", "calls"),
    "rewrite": ("passes", "exact_match", "chrf", "sari"),
}

_WHOLE = "the task file"
"""What the outermost mapping is called in a fault."""
_REQUIRED = {
    "kind": "add a line such as kind: classify (or extract, answer, rewrite)",
    "model": "add a line such as model: smollm2-135m-instruct",
    "examples": "add a line such as examples: examples.jsonl",
}


def load_task(path: Path | str, needs_model: bool = True) -> Task:
    """Reads a task file, or the task.yaml of a folder. Where no model is needed, `model` may be absent, and is "" then,
    or name what is not there.

    Raises InputError with every fault of the file, each as file:line. Reads no rows.
    """
    file = Path(path)
    _follow(file)
    file = file / "task.yaml" if file.is_dir() else file
    page = Page(file.name, file.resolve().parent, needs_model)
    root = compose(page, file)
    nodes = page.mapping(root, KEYS, _WHOLE, meant_for_training)
    values = {key: KEYS[key](page, key, node) for key, node in nodes.items()}
    _check_required(page, root, nodes, () if needs_model else ("model",))
    _check_together(page, nodes, values)
    page.raise_faults()
    return _task(file.resolve(), values)


def _follow(file: Path) -> None:
    """Raises InputError for a link that leads back to itself."""
    try:
        file.resolve()
    except (RuntimeError, OSError) as error:
        fault = Issue(str(file), "a link that leads nowhere", quote_value(str(error)), "name the file itself")
        raise InputError([fault]) from error


def _check_required(
    page: Page, root: yaml.Node, nodes: Mapping[str, yaml.Node], spared: Collection[str]
) -> None:
    for key, remedy in _REQUIRED.items():
        if (
            key not in (*nodes, *spared)
            and (_WHOLE, key) not in page.misspelt
            and isinstance(root, yaml.MappingNode)
        ):
            page.fault(None, f"the key {key!r} is missing", "", remedy)


def _check_together(page: Page, nodes: Mapping[str, yaml.Node], values: Mapping[str, Any]) -> None:
    """Faults of keys that are right alone and wrong together."""
    kind, metric, contract = (values.get(key) for key in ("kind", "metric", "contract"))
    if kind and metric and metric not in _METRICS[kind]:
        remedy = f"write one of: {', '.join(_METRICS[kind])}"
        page.fault(nodes["metric"], f"this metric does not fit kind: {kind}", metric, remedy)
    if metric == "passes" and not {"contract", "check"} & nodes.keys():
        page.fault(
            nodes["metric"],
            "nothing to pass: no contract and no check",
            metric,
            "add contract: or check: to the task file",
        )
    if kind and contract and contract.labels and kind != "classify":
        page.fault(nodes["contract"], f"labels do not fit kind: {kind}", kind, "write kind: classify")
    if kind == "classify" and contract and (contract.fields or contract.json_schema is not None):
        remedy = "write kind: extract, or name labels: in their place"
        page.fault(nodes["contract"], "fields and json_schema do not fit kind: classify", kind, remedy)
    if values.get("handover") and kind and kind != "classify":
        remedy = "leave it out, or teach hand-overs with examples"
        page.fault(nodes["handover"], "handover needs the probabilities of labels", kind, remedy)
    examples, test = values.get("examples"), values.get("test")
    if examples and test and examples.file.resolve() == test.file.resolve():
        page.fault(
            nodes["test"],
            "test names the same file as examples",
            test.file.name,
            "delete test: to split one off",
        )


def _notes(given: Mapping[str, Any]) -> Iterator[str]:
    """What is set and has no effect, or not all of it."""
    if given.get("model") in given["endpoints"] and "methods" not in given:
        yield "model: is an endpoint, whose weights cannot be trained: the tuned methods are left out"
    if "prices" in given:
        yield from _missing_prices(given["prices"])
        other = given.get("prompt_model")
        priced = other in given["endpoints"] and given["endpoints"][other].prices
        if given["prices"].by_tokens and other not in (None, given.get("model")) and not priced:
            yield (
                "prices: those of tokens hold for model; what prompt_model answers is reported in tokens and seconds"
            )


def _missing_prices(prices: Prices) -> Iterator[str]:
    tokens = {"prompt": prices.prompt, "answer": prices.answer}
    missing = [name for name, price in tokens.items() if price is None]
    if missing and (len(missing) < len(tokens) or prices.cached is not None):
        instead = "it has no price" if prices.per_hour is None else "its machine time is priced"
        yield f"prices: without {' and '.join(missing)} a request is not priced by its tokens; {instead}"
    if prices.per_hour is None:
        yield "prices: without per_hour training has no price, so break-even is reported in seconds"


def _endpoints(given: Mapping[str, Any]) -> dict[str, Any]:
    """The keys that name an endpoint, by its name, and the endpoints. That of `model` has the task's prices of tokens
    where it names none itself."""
    found = {key: each for key in ("model", "prompt_model") if isinstance(each := given.get(key), Endpoint)}
    prices = given.get("prices")
    if "model" in found and found["model"].prices is None and prices and prices.by_tokens:
        found["model"] = replace(found["model"], prices=prices)
    judge = [given["judge"].endpoint] if given.get("judge") else []
    named = {each.name: each for each in (*judge, *reversed(found.values()))}
    return {key: each.name for key, each in found.items()} | {"endpoints": named}


def _task(file: Path, values: Mapping[str, Any]) -> Task:
    given = {key: value for key, value in values.items() if value is not None and key != "budget"}
    given |= _endpoints(given)
    if isinstance(remote := given.get("documents"), Remote):
        given |= {"documents": remote.kept, "remote": remote}
    given["notes"] = tuple(_notes(given))
    if "test" in given and given["test"] == RowSource(given["test"].file):
        given["test"] = replace(given["examples"], file=given["test"].file)
    given.setdefault("name", file.parent.name)
    given.setdefault("model", "")
    return Task(**given, budget_seconds=values.get("budget"), folder=file.parent, file=file)

"""The keys of a task file and how each is read."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

import yaml

from etude.base.files import parse_json
from etude.base.remedies import instead
from etude.errors import InputError, quote_value
from etude.task.check_function import CheckRef, function_fault
from etude.task.contract import Contract
from etude.task.definition import (
    METHOD_NAMES,
    EvidenceLevel,
    FactsChange,
    Judge,
    MetricName,
    RowSource,
    Usage,
)
from etude.task.endpoint import FORM, Endpoint, Prices, endpoint_of, is_url
from etude.task.foreign import meant
from etude.task.gates import gates
from etude.task.read_endpoint import PRICES, read_endpoint, read_endpoint_with
from etude.task.readers import budget, existing_file, near_file, nested, prose, ruled, text, texts
from etude.task.remote import documents
from etude.task.rules import number, one_of
from etude.task.settings import ABSENT, AROUND, SEED, SETTINGS, Weights, at_odds
from etude.task.yaml_nodes import Page, Reader, got, plain
from etude.types import Kind

_AS_FINE_TUNE = "write fine_tune, and under train: weights: lora (adapters) or weights: full (all weights)"


def _model(page: Page, key: str, node: yaml.Node) -> str | Endpoint | None:
    """A name of weights, or {endpoint: URL, model: NAME, ...}."""
    if isinstance(node, yaml.MappingNode):
        return read_endpoint(page, key, node)
    name = _weights(page, key, node)
    if name is None or not is_url(name):
        return name
    if page.needs_model and not endpoint_of(name):
        page.fault(node, f"the {key} is a URL alone", "", f"write {key}: {FORM}")
    return endpoint_of(name) or name


def _weights(page: Page, key: str, node: yaml.Node) -> str | None:
    """A name of weights; a path of the task's folder comes out absolute."""
    name = prose(page, key, node)
    if name is None:
        return None
    if is_url(name):
        return name
    path = page.folder / Path(name).expanduser()
    if path.exists():
        tidy = Path(os.path.normpath(path))
        # Behind a symbolic link `..` leads elsewhere.
        return str(tidy if tidy.exists() and tidy.samefile(path) else path)
    if name.startswith((".", "/", "~")) or name.endswith(".gguf"):
        if page.needs_model:
            page.fault(node, f"the {key} is not there", quote_value(name), near_file(path))
        return str(path)
    return name


def _rows(page: Page, key: str, node: yaml.Node) -> RowSource | None:
    """A file name, or {file: ..., input: ..., output: ...}."""
    if isinstance(node, yaml.ScalarNode):
        file = existing_file(page, key, node)
        return RowSource(file) if file else None
    if isinstance(node, yaml.SequenceNode):
        page.fault(node, f"{key} must be one file", got(node), f"write {key}: FILE or {key}: {{file: FILE}}")
        return None
    parts = page.mapping(node, _COLUMNS, key)
    values = {name: _COLUMNS[name](page, f"{key}.{name}", part) for name, part in parts.items()}
    if "file" not in parts and (key, "file") not in page.misspelt:
        page.fault(node, f"{key} names no file", "", f"add file: to {key}")
    if "messages" in parts and {"input", "output"} & parts.keys():
        page.fault(node, f"{key} names messages beside input or output", "", "keep messages, or the others")
    return RowSource(**values) if values.get("file") else None


def _contract(page: Page, key: str, node: yaml.Node) -> Contract | None:
    nodes = page.mapping(node, _CONTRACT, key)
    values = {name: _CONTRACT[name](page, f"{key}.{name}", part) for name, part in nodes.items()}
    given = {name: value for name, value in values.items() if value is not None}
    try:
        return Contract(**given) if given else None
    except InputError as error:
        for fault in error.issues:
            page.fault(
                nodes[fault.location.removeprefix("contract: ")], fault.message, fault.value, fault.remedy
            )
        return None


def _schema(page: Page, key: str, node: yaml.Node) -> Mapping[str, Any] | None:
    """A JSON schema written out, or the name of a .json file that holds it."""
    schema: Any = None
    if isinstance(node, yaml.ScalarNode):
        file = existing_file(page, key, node)
        if file is None or not file.exists():
            return None
        try:
            schema = parse_json(file.read_text(encoding="utf-8-sig"))
        except ValueError as error:
            page.fault(node, f"{key}: {file.name} is not JSON: {error}", got(node), "correct the file")
            return None
    else:
        schema = plain(node)
    if isinstance(schema, dict):
        return schema
    page.fault(
        node,
        f"{key} must be a mapping",
        type(schema).__name__,
        "write type: object, and properties: beside it",
    )
    return None


def _check_function(page: Page, key: str, node: yaml.Node) -> CheckRef | None:
    name = prose(page, key, node)
    if name is None:
        return None
    match = re.fullmatch(r"(?P<file>.+\.py):(?P<function>[^\W\d]\w*)", name)
    if not match:
        page.fault(
            node, f"{key} must name a file and a function", quote_value(name), "write it as checks.py:fits"
        )
        return None
    path = page.folder / Path(match["file"]).expanduser()
    if not path.is_file():
        page.fault(node, f"{key} names a file that is not there", quote_value(match["file"]), near_file(path))
        return None
    fault = function_fault(path, match["function"])
    if fault:
        page.fault(node, f"{key}: {fault[0]}", fault[1], fault[2])
    return CheckRef(path, match["function"])


def _train(page: Page, key: str, node: yaml.Node) -> dict[str, Any]:
    nodes = page.mapping(node, _TRAIN, key, meant)
    read = {name: _TRAIN[name](page, f"{key}.{name}", part) for name, part in nodes.items()}
    values = {name: value for name, value in read.items() if value is not None}
    for fault in at_odds(values):
        name = fault.location.removeprefix("train: ")
        page.fault(nodes[name], f"{key}.{name} {fault.message}", fault.value, fault.remedy)
    return values


def _methods(page: Page, key: str, node: yaml.Node) -> tuple[str, ...] | None:
    """The named methods in the order of the ladder."""
    if isinstance(node, yaml.ScalarNode) and node.value == "all":
        return METHOD_NAMES
    words = texts(page, key, node)
    if isinstance(node, yaml.SequenceNode) and not node.value:
        page.fault(node, f"{key} is empty", "[]", f"write all, or some of: {', '.join(METHOD_NAMES)}")
    for word in words:
        if word in METHOD_NAMES:
            continue
        if word.casefold() in (*ABSENT, *get_args(Weights)):
            page.fault(node, "no method of the ladder", quote_value(word), _AS_FINE_TUNE)
        else:
            page.fault(node, "unknown method", quote_value(word), instead(word, METHOD_NAMES))
    return tuple(name for name in METHOD_NAMES if name in words)


def _judge(page: Page, key: str, node: yaml.Node) -> Judge | None:
    """An endpoint with a rubric, and a file of answers that people have labelled."""
    values = read_endpoint_with(page, key, node, {"rubric": prose, "labels": existing_file})
    endpoint, rubric = values.pop("endpoint"), values.pop("rubric", None)
    if not rubric:
        page.fault(node, f"{key} has no rubric", "", f"add rubric: to {key}, what makes an answer right")
    return Judge(endpoint, rubric.strip(), values.get("labels")) if endpoint and rubric else None


_COLUMNS: Mapping[str, Reader] = {
    "file": existing_file,
    "input": texts,
    "output": text,
    "system": text,
    "messages": text,
    "id": text,
    "references": texts,
    "group": text,
    "tags": texts,
    "source": text,
}

_CONTRACT: Mapping[str, Reader] = {
    "labels": texts,
    "fields": texts,
    "json_schema": _schema,
    "regex": text,
    "max_words": ruled(number(1, whole=True)),
    "must_contain": texts,
    "must_not_contain": texts,
}

_USAGE: Mapping[str, Reader] = {
    "requests_per_month": ruled(number(0)),
    "facts_change": ruled(one_of(*get_args(FactsChange))),
}

_PRICES: Mapping[str, Reader] = {**PRICES, "data": ruled(number(0))}

_TRAIN: Mapping[str, Reader] = {name: ruled(rule) for name, rule in {**SETTINGS, **AROUND}.items()}

KEYS: Mapping[str, Reader] = {
    "name": text,
    "kind": ruled(one_of(*get_args(Kind))),
    "model": _model,
    "prompt_model": _model,
    "examples": _rows,
    "test": _rows,
    "documents": documents,
    "preferences": existing_file,
    "encoder": _weights,
    "instructions": prose,
    "wordings": texts,
    "contract": _contract,
    "check": _check_function,
    "metric": ruled(one_of(*get_args(MetricName))),
    "judge": _judge,
    "methods": _methods,
    "margin": ruled(number(0, 0.5, share=True)),
    "target": ruled(number(0, 1, share=True)),
    "budget": budget,
    "evidence": ruled(one_of(*get_args(EvidenceLevel))),
    "usage": nested(_USAGE, Usage),
    "prices": nested(_PRICES, Prices),
    "seed": ruled(SEED),
    "train": _train,
    "max_tokens": ruled(number(1, 32768, whole=True)),
    "handover": ruled(number(0, 0.5, above=True, share=True)),
    "suite": existing_file,
    "gates": gates,
}

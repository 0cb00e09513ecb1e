"""The keys of a task file, and the reader of each."""

import os
import re
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, get_args

import yaml

from etude.base import files, issues
from etude.errors import InputError, quote_value
from etude.task import check_function, contract, definition, settings, urls
from etude.task import yaml_document as readers
from etude.task.definition import METHOD_NAMES, RowSource
from etude.task.endpoint import ENDPOINT_SYNTAX, Endpoint, Prices, is_url, parse_endpoint
from etude.task.rules import number, one_of
from etude.task.yaml_document import NodeReader, YamlDocument
from etude.types import Kind

_TRAINING_METHOD_REMEDY = (
    "write fine_tune, and under train: weights: lora (adapters) or weights: full (all weights)"
)


def read_model(document: YamlDocument, key: str, node: yaml.Node) -> str | Endpoint | None:
    """A name of weights, or {endpoint: URL, model: NAME, ...}."""
    if isinstance(node, yaml.MappingNode):
        return urls.read_endpoint(document, key, node)
    name = read_weights(document, key, node)
    if name is None or not is_url(name):
        return name
    endpoint = parse_endpoint(name)
    if document.needs_model and not endpoint:
        document.add_issue(node, f"the {key} is only a URL", "", f"write {key}: {ENDPOINT_SYNTAX}")
    return endpoint or name


def read_weights(document: YamlDocument, key: str, node: yaml.Node) -> str | None:
    """A name of weights; a path relative to the task's folder becomes absolute."""
    name = readers.read_prose(document, key, node)
    if name is None or is_url(name):
        return name
    path = document.folder / Path(name).expanduser()
    if path.exists():
        normal = Path(os.path.normpath(path))
        # Behind a symbolic link `..` leads elsewhere.
        return str(normal if normal.exists() and normal.samefile(path) else path)
    # Anything else may be a hub id or a packaged model, which is resolved when it is loaded.
    if name.startswith((".", "/", "~")) or name.endswith(".gguf"):
        if document.needs_model:
            document.add_issue(
                node, f"the {key} does not exist", quote_value(name), readers.suggest_path(path)
            )
        return str(path)
    return name


def read_row_source(document: YamlDocument, key: str, node: yaml.Node) -> RowSource | None:
    """A file name, or {file: ..., input: ..., output: ...}."""
    if isinstance(node, yaml.ScalarNode):
        file = readers.read_file(document, key, node)
        return RowSource(file) if file else None
    if isinstance(node, yaml.SequenceNode):
        remedy = f"write {key}: FILE or {key}: {{file: FILE}}"
        document.add_issue(node, f"{key} must be one file", readers.quote_node(node), remedy)
        return None
    nodes = document.read_mapping(node, _COLUMNS, key)
    values = readers.read_keys(document, key, nodes, _COLUMNS)
    if "file" not in nodes and (key, "file") not in document.misspelt:
        document.add_issue(node, f"{key} has no file", "", f"add file: to {key}")
    if "messages" in nodes and {"input", "output"} & nodes.keys():
        message = f"{key} has messages beside input or output"
        document.add_issue(node, message, "", "keep messages, or the others")
    return RowSource(**values) if values.get("file") else None


def read_contract(document: YamlDocument, key: str, node: yaml.Node) -> contract.Contract | None:
    """The parts of a contract; None without any."""
    nodes = document.read_mapping(node, _CONTRACT, key)
    values = readers.read_keys(document, key, nodes, _CONTRACT)
    values = {name: value for name, value in values.items() if value is not None}
    try:
        return contract.Contract(**values) if values else None
    except InputError as error:
        for issue in error.issues:  # the contract knows no lines, the nodes do
            name = issue.location.removeprefix("contract: ")
            document.add_issue(nodes[name], issue.message, issue.value, issue.remedy)
        return None


def read_schema(document: YamlDocument, key: str, node: yaml.Node) -> Mapping[str, Any] | None:
    """A JSON schema, or the name of a .json file that contains it."""
    schema: Any = None
    if isinstance(node, yaml.ScalarNode):
        file = readers.read_file(document, key, node)
        if file is None or not file.exists():
            return None
        try:
            schema = files.parse_json(file.read_text(encoding="utf-8-sig"))
        except ValueError as error:
            message = f"{key}: {file.name} is not JSON: {error}"
            document.add_issue(node, message, readers.quote_node(node), "correct the file")
            return None
    else:
        schema = readers.to_plain(node)
    if isinstance(schema, dict):
        return schema
    remedy = "write type: object, and properties: beside it"
    document.add_issue(node, f"{key} must be a mapping", type(schema).__name__, remedy)
    return None


def read_check(document: YamlDocument, key: str, node: yaml.Node) -> check_function.CheckRef | None:
    """A check function, FILE.py:FUNCTION; its file is parsed, not run."""
    name = readers.read_prose(document, key, node)
    if name is None:
        return None
    match = re.fullmatch(r"(?P<file>.+\.py):(?P<function>[^\W\d]\w*)", name)
    if not match:
        message = f"{key} must name a file and a function"
        document.add_issue(node, message, quote_value(name), "write it as checks.py:fits")
        return None
    path = document.folder / Path(match["file"]).expanduser()
    if not path.is_file():
        message = f"{key} names a file that does not exist"
        document.add_issue(node, message, quote_value(match["file"]), readers.suggest_path(path))
        return None
    if error := check_function.find_signature_error(path, match["function"]):
        document.add_issue(node, f"{key}: {error[0]}", error[1], error[2])
    return check_function.CheckRef(path, match["function"])


def read_train(document: YamlDocument, key: str, node: yaml.Node) -> dict[str, Any]:
    """The settings of training."""
    nodes = document.read_mapping(node, _TRAIN, key, settings.suggest_setting)
    values = readers.read_keys(document, key, nodes, _TRAIN)
    values = {name: value for name, value in values.items() if value is not None}
    for issue in settings.find_conflicts(values):
        name = issue.location.removeprefix("train: ")
        document.add_issue(nodes[name], f"{key}.{name} {issue.message}", issue.value, issue.remedy)
    return values


def read_methods(document: YamlDocument, key: str, node: yaml.Node) -> tuple[str, ...] | None:
    """The listed methods in the order of the ladder."""
    if isinstance(node, yaml.ScalarNode) and node.value == "all":
        return METHOD_NAMES
    words = readers.read_texts(document, key, node)
    if isinstance(node, yaml.SequenceNode) and not node.value:
        remedy = f"write all, or some of: {', '.join(METHOD_NAMES)}"
        document.add_issue(node, f"{key} is empty", "[]", remedy)
    for word in words:
        if word in METHOD_NAMES:
            continue
        if word.casefold() in (*settings.ABSENT, *get_args(settings.Weights)):
            document.add_issue(node, "not a method of the ladder", quote_value(word), _TRAINING_METHOD_REMEDY)
        else:
            document.add_issue(
                node, "unknown method", quote_value(word), issues.suggest_instead(word, METHOD_NAMES)
            )
    return tuple(name for name in METHOD_NAMES if name in words)


def read_judge(document: YamlDocument, key: str, node: yaml.Node) -> definition.JudgeSettings | None:
    """An endpoint with a rubric, and a file of answers that people have labelled."""
    values = urls.read_endpoint_with(
        document, key, node, {"rubric": readers.read_prose, "labels": readers.read_file}
    )
    endpoint, rubric = values.pop("endpoint"), values.pop("rubric", None)
    if not rubric:
        remedy = f"add rubric: to {key}, with what makes an answer right"
        document.add_issue(node, f"{key} has no rubric", "", remedy)
    if not (endpoint and rubric):
        return None
    return definition.JudgeSettings(endpoint, rubric.strip(), values.get("labels"))


def read_gates(document: YamlDocument, key: str, node: yaml.Node) -> tuple[definition.Gate, ...]:
    """A list of gates, a sentence each."""
    gates = []
    for sentence in readers.read_texts(document, key, node):
        gate = definition.parse_gate(sentence)
        if gate is None:
            value = repr(sentence) if sentence else readers.quote_node(node)
            remedy = f"write a gate, for example {definition.GATE_EXAMPLES}"
            document.add_issue(node, f"{key}: not a gate", value, remedy)
        else:
            gates.append(gate)
    return tuple(gates)


def read_limits(document: YamlDocument, key: str, node: yaml.Node) -> tuple[definition.Limit, ...]:
    """Limits in the order of `LIMIT_ACTS`, each a sentence or {say: ..., examples: [...]}."""
    nodes = document.read_mapping(node, tuple(definition.LIMIT_ACTS), key)
    limits = []
    for name in definition.LIMIT_ACTS:
        if (limit_node := nodes.get(name)) is None:
            continue
        values: Mapping[str, Any]
        if isinstance(limit_node, yaml.MappingNode):
            limit_nodes = document.read_mapping(limit_node, _LIMIT, f"{key}.{name}")
            values = readers.read_keys(document, f"{key}.{name}", limit_nodes, _LIMIT)
            if "say" not in limit_nodes:
                remedy = "add say: with the sentence that is said then"
                document.add_issue(limit_node, f"{key}.{name} says nothing", "", remedy)
        else:
            values = {"say": readers.read_prose(document, f"{key}.{name}", limit_node)}
        limits.append(definition.Limit(name, values.get("say") or "", values.get("examples") or ()))
    return tuple(limits)


# The fields of RowSource, three of which are lists of columns.
_COLUMNS: Mapping[str, NodeReader] = {
    field.name: readers.read_texts if field.name in ("input", "references", "tags") else readers.read_text
    for field in fields(RowSource)
} | {"file": readers.read_file}

_CONTRACT: Mapping[str, NodeReader] = {
    "labels": readers.read_texts,
    "fields": readers.read_texts,
    "json_schema": read_schema,
    "regex": readers.read_text,
    "max_words": readers.rule_reader(number(1, whole=True)),
    "must_contain": readers.read_texts,
    "must_not_contain": readers.read_texts,
}

_LIMIT: Mapping[str, NodeReader] = {"say": readers.read_prose, "examples": readers.read_texts}

_USAGE: Mapping[str, NodeReader] = {
    "requests_per_month": readers.rule_reader(number(0)),
    "facts_change": readers.rule_reader(one_of(*get_args(definition.FactsChange))),
}

_TRAIN: Mapping[str, NodeReader] = {
    name: readers.rule_reader(rule) for name, rule in {**settings.SETTINGS, **settings.DATA_SETTINGS}.items()
}

KEYS: Mapping[str, NodeReader] = {
    "name": readers.read_text,
    "kind": readers.rule_reader(one_of(*get_args(Kind))),
    "model": read_model,
    "prompt_model": read_model,
    "examples": read_row_source,
    "test": read_row_source,
    "documents": urls.read_documents,
    "preferences": readers.read_file,
    "encoder": read_weights,
    "instructions": readers.read_prose,
    "wordings": readers.read_texts,
    "contract": read_contract,
    "check": read_check,
    "metric": readers.rule_reader(one_of(*get_args(definition.MetricName))),
    "judge": read_judge,
    "methods": read_methods,
    "margin": readers.rule_reader(number(0, 0.5, share=True)),
    "target": readers.rule_reader(number(0, 1, share=True)),
    "budget": readers.read_budget,
    "engine": readers.rule_reader(one_of(*get_args(definition.Engine))),
    "evidence": readers.rule_reader(one_of(*get_args(definition.EvidenceLevel))),
    "usage": readers.mapping_reader(_USAGE, definition.Usage),
    "prices": readers.mapping_reader({**urls.PRICES, "data": readers.rule_reader(number(0))}, Prices),
    "seed": readers.rule_reader(settings.SEED),
    "train": read_train,
    "max_tokens": readers.rule_reader(number(1, 32768, whole=True)),
    "handover": readers.rule_reader(number(0, 0.5, above=True, share=True)),
    "limits": read_limits,
    "suite": readers.read_file,
    "gates": read_gates,
}

"""The keys of a task file, and the reader of each."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal, get_args

import yaml

from etude import cluster
from etude.base import files, issues
from etude.errors import InputError, quote_value
from etude.task import check_function, contract, definition, settings, tool_class, urls
from etude.task import yaml_document as readers
from etude.task.definition import METHOD_NAMES, RowSource
from etude.task.endpoint import ENDPOINT_SYNTAX, Endpoint, Prices, is_url, parse_endpoint
from etude.task.rules import SWITCH, number, one_of
from etude.task.yaml_document import NodeReader, YamlDocument
from etude.types import Kind, TaskQuestion

_TRAINING_METHOD_REMEDY = "write fine_tune, which trains LoRA adapters"


def read_model(document: YamlDocument, key: str, node: yaml.Node) -> str | Endpoint | None:
    """Return the name of weights, or the endpoint of {endpoint: URL, model: NAME, ...}."""
    if isinstance(node, yaml.MappingNode):
        return urls.read_endpoint(document, key, node)
    name = read_weights(document, key, node)
    if name is None or not is_url(name):
        return name
    endpoint = parse_endpoint(name)
    if document.needs_model and not endpoint:
        document.add_issue(node, f"the {key} is only a URL", "", f"write {key}: {ENDPOINT_SYNTAX}")
    return endpoint or name


def read_decision_model(document: YamlDocument, key: str, node: yaml.Node) -> Endpoint | None:
    """{endpoint: URL, model: NAME, ...}."""
    endpoint = urls.read_endpoint(document, key, node)
    return endpoint and replace(endpoint, decides=True)


def read_weights(document: YamlDocument, key: str, node: yaml.Node) -> str | None:
    """Return the name of weights; a path relative to the task's folder becomes absolute."""
    name = readers.read_prose(document, key, node)
    if name is None or is_url(name):
        return name
    path = document.folder / Path(name).expanduser()
    if path.exists():
        normal = Path(os.path.normpath(path))
        # After a symbolic link, `..` means another folder.
        return str(normal if normal.exists() and normal.samefile(path) else path)
    # Anything else may be a hub id or a packaged model; it is resolved when the model is loaded.
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
    if "file" not in nodes:
        document.add_issue(node, f"{key} has no file", "", f"add file: to {key}")
    if "messages" in nodes and {"input", "output"} & nodes.keys():
        message = f"{key} has both messages and input or output"
        document.add_issue(node, message, "", "keep either messages, or input and output")
    return RowSource(**values) if values.get("file") else None


def read_contract(document: YamlDocument, key: str, node: yaml.Node) -> contract.Contract | None:
    """Return a contract; None if no part is set."""
    nodes = document.read_mapping(node, _CONTRACT, key)
    values = readers.read_keys(document, key, nodes, _CONTRACT)
    values = {name: value for name, value in values.items() if value is not None}
    if isinstance(values.get("labels"), Mapping):
        values["descriptions"] = values["labels"]
    try:
        return contract.Contract(**values) if values else None
    except InputError as error:
        for issue in error.issues:  # the contract knows no lines, the nodes do
            name = issue.location.removeprefix("contract: ")
            document.add_issue(nodes[name], issue.message, issue.value, issue.remedy)
        return None


def read_labels(
    document: YamlDocument, key: str, node: yaml.Node
) -> tuple[str, ...] | Mapping[str, str]:
    """Return a list of labels, or a mapping from labels to descriptions."""
    if isinstance(node, yaml.MappingNode):
        return dict(readers.text_mapping_reader(readers.read_prose)(document, key, node))
    return readers.read_texts(document, key, node)


def read_scale(document: YamlDocument, key: str, node: yaml.Node) -> tuple[str, ...]:
    """Return the labels from the lowest to the highest: at least three, each once."""
    labels = readers.read_texts(document, key, node)
    if not 3 <= len(labels) == len(set(labels)):
        message = f"{key} must list at least three different labels, the lowest first"
        document.add_issue(node, message, readers.quote_node(node), f"write {key}: [1, 2, 3, 4, 5]")
    return labels


def read_questions(document: YamlDocument, key: str, node: yaml.Node) -> tuple[TaskQuestion, ...]:
    """Return the questions of a mapping from names to questions."""
    questions = readers.text_mapping_reader(read_question)(document, key, node)
    return tuple(
        replace(question, name=name, column=question.column or name)
        for name, question in questions.items()
    )


def read_question(document: YamlDocument, key: str, node: yaml.Node) -> TaskQuestion:
    """Return a question without its name: a list of labels, or {ask: ..., labels or scale: ...,
    column: ...}.
    """
    if isinstance(node, yaml.SequenceNode):
        nodes: Mapping[str, yaml.Node] = {}
        values: Mapping[str, Any] = {"labels": read_labels(document, key, node)}
    else:
        nodes = document.read_mapping(node, tuple(_QUESTION), key)
        values = readers.read_keys(document, key, nodes, _QUESTION)
    labels = values.get("labels") or ()
    scale = values.get("scale") or ()
    if {"labels", "scale"} <= nodes.keys():
        document.add_issue(node, f"{key} has both labels and scale", "", "keep one of them")
    if len(labels) == 1:
        remedy = "list at least two, or leave out labels for all labels of the rows"
        document.add_issue(node, f"{key} has only one label", readers.quote_node(node), remedy)
    descriptions = labels if isinstance(labels, Mapping) else {}
    column = values.get("column") or ""
    return TaskQuestion(
        "", values.get("ask") or "", tuple(labels) or scale, descriptions, bool(scale), column
    )


def read_schema(document: YamlDocument, key: str, node: yaml.Node) -> Mapping[str, Any] | None:
    """Return a JSON schema, which may be in a .json file."""
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
    remedy = "write type: object, and properties: next to it"
    document.add_issue(node, f"{key} must be a mapping", type(schema).__name__, remedy)
    return None


def read_check(document: YamlDocument, key: str, node: yaml.Node) -> check_function.CheckRef | None:
    """Return a check function, FILE.py:FUNCTION. Its file is parsed, not run."""
    code = _read_code(document, key, node, "function, for example checks.py:fits")
    if code and (error := check_function.find_signature_error(*code)):
        document.add_issue(node, f"{key}: {error[0]}", error[1], error[2])
    return code and check_function.CheckRef(*code)


def read_tools(document: YamlDocument, key: str, node: yaml.Node) -> tool_class.ToolRef | None:
    """Return a class of tools, FILE.py:CLASS. Its file is parsed, not run."""
    code = _read_code(document, key, node, "class, for example desk.py:Desk")
    if code and (error := check_function.find_class_error(*code)):
        document.add_issue(node, f"{key}: {error[0]}", error[1], error[2])
    return code and tool_class.ToolRef(*code)


def _read_code(
    document: YamlDocument, key: str, node: yaml.Node, wanted: str
) -> tuple[Path, str] | None:
    """Return an existing file and a name in it."""
    name = readers.read_prose(document, key, node)
    if name is None:
        return None
    match = re.fullmatch(r"(?P<file>.+\.py):(?P<name>[^\W\d]\w*)", name)
    if not match:
        noun, _, example = wanted.partition(", for example ")
        document.add_issue(
            node, f"{key} must be a file and a {noun}", quote_value(name), f"write it as {example}"
        )
        return None
    path = document.folder / Path(match["file"]).expanduser()
    if not path.is_file():
        message = f"{key}: this file does not exist"
        document.add_issue(node, message, quote_value(match["file"]), readers.suggest_path(path))
        return None
    return path, match["name"]


def read_where(document: YamlDocument, key: str, node: yaml.Node) -> str | None:
    """Return where the work is done: in this process, or on a Ray cluster."""
    text = readers.read_text(document, key, node)
    if text and not cluster.is_where(text):
        document.add_issue(
            node,
            f"{key} is not a place to work",
            quote_value(text),
            f"write {cluster.WHERE_SYNTAX}",
        )
    return text


def read_train(document: YamlDocument, key: str, node: yaml.Node) -> dict[str, Any]:
    """Return the settings of training."""
    nodes = document.read_mapping(node, _TRAIN, key, settings.suggest_setting)
    values = readers.read_keys(document, key, nodes, _TRAIN)
    return {name: value for name, value in values.items() if value is not None}


def read_methods(document: YamlDocument, key: str, node: yaml.Node) -> tuple[str, ...] | None:
    """Return the listed methods in the order of the ladder."""
    if isinstance(node, yaml.ScalarNode) and node.value == "all":
        return METHOD_NAMES
    words = readers.read_texts(document, key, node)
    if isinstance(node, yaml.SequenceNode) and not node.value:
        remedy = f"write all, or some of: {', '.join(METHOD_NAMES)}"
        document.add_issue(node, f"{key} is empty", "[]", remedy)
    for word in words:
        if word in METHOD_NAMES:
            continue
        if word.casefold() in settings.WAYS_OF_TRAINING:
            document.add_issue(
                node, "not a method of the ladder", quote_value(word), _TRAINING_METHOD_REMEDY
            )
        else:
            document.add_issue(
                node,
                "unknown method",
                quote_value(word),
                issues.suggest_instead(word, METHOD_NAMES),
            )
    return tuple(name for name in METHOD_NAMES if name in words)


def read_judge(
    document: YamlDocument, key: str, node: yaml.Node
) -> definition.JudgeSettings | None:
    """Return an endpoint with a rubric, and a file of answers that people have labelled."""
    values = urls.read_endpoint_with(
        document, key, node, {"rubric": readers.read_prose, "labels": readers.read_file}
    )
    endpoint = values.pop("endpoint")
    rubric = values.pop("rubric", None)
    if not rubric:
        remedy = f"add rubric: to {key}, and describe what makes an answer right"
        document.add_issue(node, f"{key} has no rubric", "", remedy)
    if not (endpoint and rubric):
        return None
    return definition.JudgeSettings(endpoint, rubric.strip(), values.get("labels"))


def read_gates(document: YamlDocument, key: str, node: yaml.Node) -> tuple[definition.Gate, ...]:
    """Return a list of gates, one for each sentence."""
    gates = []
    for sentence in readers.read_texts(document, key, node):
        gate = definition.parse_gate(sentence)
        if gate is None:
            value = repr(sentence) if sentence else readers.quote_node(node)
            remedy = f"write a gate, for example {definition.GATE_EXAMPLES}"
            document.add_issue(node, f"{key}: this is not a gate", value, remedy)
        else:
            gates.append(gate)
    return tuple(gates)


def read_limits(document: YamlDocument, key: str, node: yaml.Node) -> tuple[definition.Limit, ...]:
    """Return limits in the order of `LIMIT_ACTS`, each from a sentence or {say: ..., examples:
    [...]}; `subjects` may be a list, with the sentence of `refused` or `out_of_scope`.
    """
    nodes = document.read_mapping(node, tuple(definition.LIMIT_ACTS), key)
    limits = {
        name: _read_limit(document, key, name, nodes[name])
        for name in definition.LIMIT_ACTS
        if name in nodes
    }
    if (subjects := limits.get("subjects")) and not subjects.say:
        sentences = (limits[name].say for name in ("refused", "out_of_scope") if name in limits)
        limits["subjects"] = replace(subjects, say=next(sentences, definition.SUBJECT_SENTENCE))
    return tuple(limits.values())


def _read_limit(document: YamlDocument, key: str, name: str, node: yaml.Node) -> definition.Limit:
    values: Mapping[str, Any]
    if name == "subjects" and isinstance(node, yaml.SequenceNode):
        return definition.Limit(name, "", readers.read_texts(document, f"{key}.{name}", node))
    if isinstance(node, yaml.MappingNode):
        limit_nodes = document.read_mapping(node, _LIMIT, f"{key}.{name}")
        values = readers.read_keys(document, f"{key}.{name}", limit_nodes, _LIMIT)
        if "say" not in limit_nodes:
            remedy = "add say: with the sentence that the assistant replies with"
            document.add_issue(node, f"{key}.{name} has no sentence", "", remedy)
    else:
        values = {"say": readers.read_prose(document, f"{key}.{name}", node)}
    return definition.Limit(name, values.get("say") or "", values.get("examples") or ())


def read_handover(document: YamlDocument, key: str, node: yaml.Node) -> definition.Handover:
    """Return the maximum share of wrong answers, alone or as a mapping with further keys."""
    if not isinstance(node, yaml.MappingNode):
        return definition.Handover(_HANDOVER["wrong"](document, key, node))
    values = readers.read_keys(
        document, key, document.read_mapping(node, _HANDOVER, key), _HANDOVER
    )
    return definition.Handover(
        **{name: value for name, value in values.items() if value is not None}
    )


_LISTED_COLUMNS = ("input", "references", "tags", "answers")
# The fields of RowSource, some of which are lists of columns.
_COLUMNS: Mapping[str, NodeReader] = {
    field.name: readers.read_texts if field.name in _LISTED_COLUMNS else readers.read_text
    for field in fields(RowSource)
    if field.name not in ("several", "labels", "questions")
} | {"file": readers.read_file, "skip_empty": readers.rule_reader(SWITCH)}

_CONTRACT: Mapping[str, NodeReader] = {
    "labels": read_labels,
    "fields": readers.read_texts,
    "json_schema": read_schema,
    "regex": readers.read_text,
    "max_words": readers.rule_reader(number(1, whole=True)),
    "must_contain": readers.read_texts,
    "must_not_contain": readers.read_texts,
}

_LIMIT: Mapping[str, NodeReader] = {"say": readers.read_prose, "examples": readers.read_texts}

_HANDOVER: Mapping[str, NodeReader] = {
    "wrong": readers.rule_reader(number(0, 0.5, above=True, share=True)),
    "right": readers.rule_reader(number(0, 1, above=True, share=True)),
    "say": readers.read_prose,
    "unanswerable": readers.read_prose,
}

_COSTS: Mapping[str, NodeReader] = {
    "wrong": readers.rule_reader(number(0)),
    "labels": readers.text_mapping_reader(readers.rule_reader(number(0))),
    "handover": readers.rule_reader(number(0, above=True)),
}

_USAGE: Mapping[str, NodeReader] = {
    "requests_per_month": readers.rule_reader(number(0)),
    "facts_change": readers.rule_reader(one_of(*get_args(definition.FactsChange))),
}

_QUESTION: Mapping[str, NodeReader] = {
    "ask": readers.read_prose,
    "labels": read_labels,
    "scale": read_scale,
    "column": readers.read_text,
}

_TRAIN: Mapping[str, NodeReader] = {
    name: readers.rule_reader(rule)
    for name, rule in {**settings.SETTINGS, **settings.DATA_SETTINGS}.items()
}


@dataclass(frozen=True)
class Key:
    """A key of the task file. The field of `Task` with the same name documents its value."""

    read: NodeReader
    is_for_verdict: bool = False
    """Whether it only compares and judges methods. It then does not affect how a method is fitted,
    unless it is in the method's `keys`: the retrieving methods read `documents`.
    """
    identity: Literal["value", "content", "none"] = "value"
    """What identifies a run: the key's value, the content of the files or the model that it names,
    or nothing.
    """


KEYS: Mapping[str, Key] = {
    "name": Key(readers.read_text),
    "kind": Key(readers.rule_reader(one_of(*get_args(Kind)))),
    "model": Key(read_model, identity="content"),
    "prompt_model": Key(read_model, identity="content"),
    "reflect_with": Key(read_model, identity="content"),
    "searched_prompt": Key(
        readers.mapping_reader({"calls": readers.rule_reader(number(30, whole=True))}, dict)
    ),
    "decision_model": Key(read_decision_model),
    "examples": Key(read_row_source, identity="content"),
    "test": Key(read_row_source, identity="content"),
    "made_rows": Key(read_row_source, identity="content"),
    "documents": Key(readers.read_path, is_for_verdict=True, identity="content"),
    "preferences": Key(readers.read_file, identity="content"),
    "encoder": Key(read_weights, identity="content"),
    "instructions": Key(readers.read_prose),
    "wordings": Key(readers.read_texts),
    "contract": Key(read_contract),
    "several": Key(readers.rule_reader(SWITCH)),
    "turns": Key(readers.rule_reader(one_of(*get_args(definition.Turns)))),
    "scale": Key(read_scale),
    "questions": Key(read_questions),
    "check": Key(read_check, is_for_verdict=True, identity="content"),
    "tools": Key(read_tools, identity="content"),
    "metric": Key(
        readers.rule_reader(one_of(*get_args(definition.MetricName))), is_for_verdict=True
    ),
    "judge": Key(read_judge, is_for_verdict=True, identity="content"),
    "methods": Key(read_methods, is_for_verdict=True),
    "margin": Key(readers.rule_reader(number(0, 0.5, share=True)), is_for_verdict=True),
    "target": Key(readers.rule_reader(number(0, 1, share=True)), is_for_verdict=True),
    "budget": Key(readers.read_budget, is_for_verdict=True),
    "where": Key(read_where, is_for_verdict=True, identity="none"),
    "weights": Key(readers.rule_reader(one_of("8bit", "4bit"))),
    "engine": Key(urls.read_engine, is_for_verdict=True),
    "evidence": Key(
        readers.rule_reader(one_of(*get_args(definition.EvidenceLevel))), is_for_verdict=True
    ),
    "usage": Key(readers.mapping_reader(_USAGE, definition.Usage), is_for_verdict=True),
    "prices": Key(
        readers.mapping_reader({**urls.PRICES, "data": readers.rule_reader(number(0))}, Prices),
        is_for_verdict=True,
    ),
    "seed": Key(readers.rule_reader(settings.SEED)),
    "train": Key(read_train),
    "max_tokens": Key(readers.rule_reader(number(1, 32768, whole=True))),
    "handover": Key(read_handover, is_for_verdict=True),
    "costs": Key(readers.mapping_reader(_COSTS, definition.ErrorCosts), is_for_verdict=True),
    "limits": Key(read_limits, is_for_verdict=True),
    "suite": Key(readers.read_file, is_for_verdict=True, identity="none"),
    "gates": Key(read_gates, is_for_verdict=True, identity="none"),
}

VERDICT_KEYS = tuple(name for name, key in KEYS.items() if key.is_for_verdict)

"""From a task file to a Task: all keys, then their combinations."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from etude.errors import InputError, Issue, quote_value
from etude.task import definition, keys, settings, yaml_document
from etude.task.contract import Contract, list_of_labels
from etude.task.endpoint import SERVED, Endpoint, Prices
from etude.task.questions import require_answers

# Metrics of classify -> the other key that they need.
_METRIC_KEYS: Mapping[str, str] = {
    "kappa": "scale",
    "sample_f1": "several",
    "subset_accuracy": "several",
    "micro_f1": "several",
    "question_mean": "questions",
}
_METRICS: Mapping[str, tuple[str, ...]] = {
    "classify": ("accuracy", "macro_f1", *_METRIC_KEYS),
    "extract": ("value_f1", "exact_match", "passes", "chrf"),
    "answer": ("passes", "exact_match", "chrf", "token_f1", "calls"),
    "rewrite": ("passes", "exact_match", "chrf", "sari"),
}

_CLASSIFY_KEYS = ("contract.labels", "several", "scale", "questions", "costs")
_EXCLUSIVE = (
    ("several", "scale", "keep one of the two"),
    ("handover", "several", "leave it out: a list of labels has no reliable probability"),
    ("costs", "several", "leave them out"),
    *(
        (key, "questions", "leave it out; each question has its own labels and metric")
        for key in ("scale", "contract.labels", "metric")
    ),
    (
        "several",
        "questions",
        "write two task files for the same rows, or a yes-or-no question per label",
    ),
    (
        "costs.labels",
        "questions",
        "leave out labels; wrong is the cost of a wrong answer to any question",
    ),
    (
        "costs.handover",
        "handover",
        "keep one: a maximum share of errors, or a minimum expected cost",
    ),
)
"""Two settings that cannot be used together, and what to do about the first."""
_TOP_LEVEL = "the task file"  # name of the outermost mapping in an error
_REQUIRED = {
    "kind": "add a line such as kind: classify (or extract, answer, rewrite)",
    "model": "add a line such as model: smollm2-135m-instruct",
    "examples": "add a line such as examples: examples.jsonl",
}


def load_task(path: Path | str, needs_model: bool = True) -> definition.Task:
    """Read a task file, or the task.yaml of a folder. Without `needs_model`, `model` may be absent
    (then it is "") or missing on disk.

    Raises InputError with every error of the file, each as file:line. Reads no rows.
    """
    file = Path(path)
    try:
        file.resolve()
    except (RuntimeError, OSError) as error:  # a link that leads back to itself
        issue = Issue(
            str(file),
            "the link cannot be followed",
            quote_value(str(error)),
            "give the file itself",
        )
        raise InputError([issue]) from error
    file = file / "task.yaml" if file.is_dir() else file
    # Each key alone, then missing keys and combinations, so that all errors are reported together.
    document = yaml_document.YamlDocument(file.name, file.resolve().parent, needs_model)
    root = yaml_document.parse_yaml(document, file)
    nodes = document.read_mapping(root, keys.KEYS, _TOP_LEVEL, settings.suggest_train_key)
    values = {key: keys.KEYS[key].read(document, key, node) for key, node in nodes.items()}
    for key, remedy in _REQUIRED.items() if isinstance(root, yaml.MappingNode) else ():
        is_needed = needs_model or key != "model"
        if is_needed and key not in nodes:
            document.add_issue(None, f"the key {key!r} is missing", "", remedy)
    conflicts = (
        *_find_conflicts(nodes, values),
        *_find_label_conflicts(values),
        *_find_weights_conflicts(values),
    )
    for key, message, value, remedy in conflicts:
        document.add_issue(nodes[key], message, value, remedy)
    document.raise_issues()
    # Absent keys get the defaults of Task. Its field for the budget has another name.
    fields = {key: value for key, value in values.items() if value is not None and key != "budget"}
    fields |= _collect_endpoints(fields)
    if bits := fields.pop("weights", None):
        fields["model"] = f"{fields.get('model', '')}:{bits}"
    fields["notes"] = tuple(_list_notes(fields))
    # A test without columns of its own has those of the examples.
    if "test" in fields and fields["test"] == definition.RowSource(fields["test"].file):
        fields["test"] = replace(fields["examples"], file=fields["test"].file)
    fields |= _resolve_labels(fields)
    file = file.resolve()
    fields = {"name": file.parent.name, "model": ""} | fields
    return definition.Task(
        **fields, budget_seconds=values.get("budget"), folder=file.parent, file=file
    )


def _find_conflicts(
    nodes: Mapping[str, yaml.Node], values: Mapping[str, Any]
) -> Iterator[tuple[str, str, str, str]]:
    """Yield (key, message, value, remedy) for keys that are valid alone but not together."""
    kind, metric, contract = (values.get(key) for key in ("kind", "metric", "contract"))
    if kind and metric and metric not in _METRICS[kind]:
        remedy = f"write one of: {', '.join(_METRICS[kind])}"
        yield "metric", f"this metric cannot be used with kind: {kind}", metric, remedy
    if metric == "passes" and not {"contract", "check"} & nodes.keys():
        message = "metric: passes needs a contract or a check"
        yield "metric", message, metric, "add contract: or check: to the task file"
    if kind == "classify" and contract and (contract.fields or contract.json_schema is not None):
        remedy = "write kind: extract, or labels: instead"
        yield "contract", "fields and json_schema cannot be used with kind: classify", kind, remedy
    handover = values.get("handover")
    if handover and handover.unanswerable and kind and kind != "answer":
        yield "handover", "handover.unanswerable needs kind: answer", kind, "leave out unanswerable"
    if values.get("turns") == "all" and kind in ("classify", "extract"):
        yield "turns", f"turns: all cannot be used with kind: {kind}", kind, "write turns: last"
    is_json = values.get("several") or values.get("questions")
    if values.get("engine") == "llama_cpp" and kind == "classify" and not is_json:
        yield (
            "engine",
            "llama.cpp cannot restrict answers to labels",
            "llama_cpp",
            "write engine: local, or leave it out",
        )
    examples = values.get("examples")
    test = values.get("test")
    if examples and test and examples.file.resolve() == test.file.resolve():
        remedy = "delete test: to split a test off the examples"
        yield "test", "test is the same file as examples", test.file.name, remedy


def _find_weights_conflicts(values: Mapping[str, Any]) -> Iterator[tuple[str, str, str, str]]:
    if not (bits := values.get("weights")):
        return
    message = f"{bits} cannot be used with"
    if isinstance(values.get("model"), Endpoint):
        yield "weights", f"{message} a model behind a URL", bits, "set it on that server"
    if values.get("engine") == "llama_cpp":
        yield (
            "weights",
            f"{message} engine: llama_cpp",
            bits,
            "choose a GGUF file of few bits as model:",
        )


def _find_label_conflicts(values: Mapping[str, Any]) -> Iterator[tuple[str, str, str, str]]:
    kind, metric, contract, scale = (
        values.get(key) for key in ("kind", "metric", "contract", "scale")
    )
    labels = contract.labels if contract else ()
    costs = values.get("costs") or definition.ErrorCosts()
    # Keys of the task file and those inside them.
    inner = {
        "contract.labels": labels,
        "costs.labels": costs.labels,
        "costs.handover": costs.handover,
    }
    set_values = {**values, **inner, "metric": metric not in (None, "question_mean")}
    for key in _CLASSIFY_KEYS if kind and kind != "classify" else ():
        if set_values.get(key):
            message = f"{key} cannot be used with kind: {kind}"
            yield key.partition(".")[0], message, str(kind), "write kind: classify, or leave it out"
    for key, other, remedy in _EXCLUSIVE:
        if set_values.get(key) and set_values.get(other):
            yield key.partition(".")[0], f"{key} and {other} cannot be used together", "", remedy
    if scale and labels and {*labels} != {*scale}:
        message = "scale and contract.labels are different"
        remedy = "leave out labels: under contract"
        yield "scale", message, ", ".join(labels), remedy
    if (key := _METRIC_KEYS.get(str(metric), "")) and not values.get(key):
        remedy = f"add {key}:, or write metric: accuracy"
        yield "metric", f"this metric needs the key {key}", str(metric), remedy
    if values.get("several") and metric == "accuracy":
        message = "this metric needs exactly one label per row"
        remedy = "write metric: subset_accuracy"
        yield "metric", message, "accuracy", remedy
    if labels and (unknown := sorted({*costs.labels} - {*labels})):
        message = "costs.labels has labels that are not under contract:"
        yield "costs", message, ", ".join(unknown), "correct them"


def _resolve_labels(fields: Mapping[str, Any]) -> dict[str, Any]:
    contract = fields.get("contract", Contract())
    several = fields.get("several")
    scale = fields.get("scale", ())
    questions = fields.get("questions", ())
    if not (several or scale or questions):
        return {}
    labels = contract.labels or scale
    reading = {"several": bool(several), "labels": labels, "questions": questions}
    changed = {
        key: replace(fields[key], **reading)
        for key in ("examples", "test", "made_rows")
        if key in fields
    }
    if scale:
        return changed | {"contract": replace(contract, labels=labels)}
    if questions and all(question.labels for question in questions):
        return changed | {"contract": require_answers(contract, questions)}
    return changed | ({"contract": list_of_labels(contract)} if labels else {})


def _collect_endpoints(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the names of the endpoints by key, and under "endpoints" all endpoints by name. The
    endpoint of `model` gets the token prices of the task if it has no prices.
    """
    endpoints = {
        key: fields[key]
        for key in ("model", "prompt_model", "reflect_with", "decision_model", "engine")
        if isinstance(fields.get(key), Endpoint)
    }
    prices = fields.get("prices")
    if (
        "model" in endpoints
        and endpoints["model"].prices is None
        and prices
        and prices.has_token_prices
    ):
        endpoints["model"] = replace(endpoints["model"], prices=prices)
    judge = [fields["judge"].endpoint] if fields.get("judge") else []
    # Reversed, so that `model` wins if two keys name the same endpoint.
    by_name = {endpoint.name: endpoint for endpoint in (*judge, *reversed(endpoints.values()))}
    names = {key: endpoint.name for key, endpoint in endpoints.items()}
    if "engine" in names:
        names["engine"] = SERVED + names["engine"]
    return names | {"endpoints": by_name}


def _list_notes(fields: Mapping[str, Any]) -> Iterator[str]:
    """Yield notes on settings that have no effect, or only a partial one."""
    if fields.get("model") in fields["endpoints"] and "methods" not in fields:
        yield (
            "model: is an endpoint, whose weights cannot be trained: the tuned methods are left out"
        )
    if "prices" not in fields:
        return
    prices: Prices = fields["prices"]
    token_prices = {"prompt": prices.prompt, "answer": prices.answer}
    missing = [name for name, price in token_prices.items() if price is None]
    if missing and (len(missing) < len(token_prices) or prices.cached is not None):
        effect = "has no price" if prices.per_hour is None else "is priced by its machine time"
        yield f"prices: without a price for {' and '.join(missing)} tokens, a request {effect}"
    if prices.per_hour is None:
        yield (
            "prices: without per_hour, training has no price, so break-even is reported in seconds"
        )
    prompt_model = fields.get("prompt_model")
    is_priced = prompt_model in fields["endpoints"] and fields["endpoints"][prompt_model].prices
    if (
        prices.has_token_prices
        and prompt_model not in (None, fields.get("model"))
        and not is_priced
    ):
        yield (
            "prices: token prices apply only to model; for prompt_model, tokens and seconds are "
            "reported"
        )

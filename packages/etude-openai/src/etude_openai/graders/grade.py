"""Grade one sample: string checks, text similarity, model graders, and a formula over graders.

A grader is the JSON object of OpenAI's API. `validate_grader` reports all its errors at once;
`grade` runs it.
"""

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from etude.errors import EtudeError, InputError, Issue, quote_value
from etude_openai.graders import similarity, templates

Json = Mapping[str, Any]
OPERATIONS: Mapping[str, Callable[[str, str], bool]] = {
    "eq": lambda text, reference: text == reference,
    "ne": lambda text, reference: text != reference,
    "neq": lambda text, reference: text != reference,  # the spelling of OpenAI's guide
    "like": lambda text, reference: reference in text,
    "ilike": lambda text, reference: reference.casefold() in text.casefold(),
}
REQUIRED: Mapping[str, Mapping[str, type | tuple[type, ...]]] = {
    "string_check": {"input": str, "reference": str, "operation": str},
    "text_similarity": {"input": str, "reference": str, "evaluation_metric": str},
    "score_model": {"input": list, "model": str},
    "label_model": {"input": list, "model": str, "labels": list, "passing_labels": list},
    "multi": {"graders": dict, "calculate_output": str},
}
"""Keys that each type of grader must have, in addition to type and name."""
USABLE: Mapping[str, Callable[[Any], bool]] = {
    "pass_threshold": lambda value: _is_number(value),
    "range": lambda value: (
        isinstance(value, list) and len(value) == 2 and all(map(_is_number, value))
    ),
    "labels": lambda value: all(isinstance(label, str) for label in value),
    "passing_labels": lambda value: all(isinstance(label, str) for label in value),
    "input": lambda value: (
        isinstance(value, str) or all(isinstance(turn, Mapping) for turn in value)
    ),
}
"""Keys of any grader -> whether a value of the right type can be used."""
SCORE_FORMAT = {
    "type": "object",
    "properties": {"result": {"type": "number"}},
    "required": ["result"],
}


@dataclass(frozen=True)
class Tools:
    """The models that graders may use. A grader that needs a tool that is None is refused."""

    ask: Callable[[str, Sequence[Json], Json, Callable[[], bool]], str] | None = None
    """(model, messages, JSON schema of the reply, is_wanted) -> the reply. The server lists the
    models.
    """
    models: frozenset[str] = frozenset()
    """Models that may grade."""
    embed: Callable[[Sequence[str]], Sequence[Sequence[float]]] | None = None
    """Texts -> embeddings, for the metric `cosine`."""
    is_wanted: Callable[[], bool] = lambda: True
    """Whether somebody still waits for the grade; otherwise slow graders stop."""


@dataclass(frozen=True)
class Grade:
    """One grader's result for one sample."""

    score: float
    """0 to 1, or within the `range` of a score_model grader; 0 after an error."""
    passed: bool
    """Whether the score reaches `pass_threshold` (default: 1 or the top of `range`), or the label
    is a passing one.
    """
    sub_scores: Mapping[str, float] = field(default_factory=dict)
    """For a multi grader: name -> score."""
    errors: tuple[str, ...] = ()
    """Names of the API's error flags that apply, such as sample_parse_error."""
    detail: str = ""
    """The error in a sentence; "" if there is none."""


def validate_grader(grader: Any, tools: Tools, location: str = "grader") -> None:
    """Raises InputError listing every error of a grader."""
    if issues := list(_issues(grader, tools, location, nested=False)):
        raise InputError(issues)


def _issues(grader: Any, tools: Tools, location: str, *, nested: bool) -> Iterator[Issue]:
    if not isinstance(grader, Mapping):
        yield Issue(
            location,
            "a grader must be an object",
            quote_value(grader),
            "write an object with type and name",
        )
        return
    kind = str(grader.get("type", ""))
    if kind not in REQUIRED or (nested and kind == "multi"):
        allowed = ", ".join(name for name in REQUIRED if not (nested and name == "multi"))
        message = (
            "this server runs no code of clients"
            if kind == "python"
            else "an unknown type of grader"
        )
        yield Issue(f"{location}.type", message, quote_value(kind), f"use one of {allowed}")
        return
    if not isinstance(grader.get("name"), str) or not grader["name"]:
        yield Issue(
            f"{location}.name",
            "the grader has no name",
            quote_value(grader.get("name")),
            "add a name",
        )
    missing = False
    for key, expected in REQUIRED[kind].items():
        if not isinstance(grader.get(key), expected):
            missing = True
            name = expected.__name__ if isinstance(expected, type) else "value"
            yield Issue(
                f"{location}.{key}", f"needs a {name}", quote_value(grader.get(key)), "set it"
            )
    for key, is_usable in USABLE.items():
        if not missing and grader.get(key) is not None and not is_usable(grader[key]):
            yield Issue(
                f"{location}.{key}",
                "has a value that cannot be used",
                quote_value(grader[key]),
                "correct it",
            )
            return
    if not missing:
        yield from _value_issues(grader, tools, location)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _value_issues(grader: Json, tools: Tools, location: str) -> Iterator[Issue]:
    match grader["type"]:
        case "string_check" if grader["operation"] not in OPERATIONS:
            remedy = "use eq, ne, like (contains) or ilike (contains, in any case)"
            operation = quote_value(grader["operation"])
            yield Issue(f"{location}.operation", "an unknown operation", operation, remedy)
        case "text_similarity":
            metric = grader["evaluation_metric"]
            metric_location = f"{location}.evaluation_metric"
            if metric == "cosine" and tools.embed is None:
                remedy = "use rouge_l or another metric that compares words"
                yield Issue(
                    metric_location, "this server has no encoder for cosine", metric, remedy
                )
            elif metric not in (*similarity.MEASURES, "cosine"):
                remedy = f"use one of {', '.join([*similarity.MEASURES, 'cosine'])}"
                yield Issue(metric_location, "an unknown metric", quote_value(metric), remedy)
        case "score_model" | "label_model":
            yield from _model_issues(grader, tools, location)
        case "multi":
            for name, inner in grader["graders"].items():
                yield from _issues(inner, tools, f"{location}.graders.{name}", nested=True)
            try:
                templates.check_formula(grader["calculate_output"], frozenset(grader["graders"]))
            except InputError as error:
                yield from error.issues


def _model_issues(grader: Json, tools: Tools, location: str) -> Iterator[Issue]:
    if tools.ask is None or grader["model"] not in tools.models:
        remedy = f"start the server with --grader {grader['model']}=URL#MODEL"
        model = quote_value(grader["model"])
        yield Issue(
            f"{location}.model", "this server has no grading model of this name", model, remedy
        )
    if grader["type"] == "label_model" and not set(grader["passing_labels"]) <= set(
        grader["labels"]
    ):
        labels = quote_value(grader["passing_labels"])
        message = "passing_labels must be among labels"
        yield Issue(f"{location}.passing_labels", message, labels, "use only values of labels")


def grade(grader: Json, item: Json, sample: Json, tools: Tools) -> Grade:
    """Grade one sample. No content of the sample raises an error: it gives a flag and a score of 0.

    `sample` has `output_text`, and may have output_json, output_tools and choices, as in the API.
    """
    try:
        match grader["type"]:
            case "string_check":
                text, reference = _texts(grader, item, sample)
                is_right = OPERATIONS[grader["operation"]](text, reference)
                return Grade(float(is_right), is_right)
            case "text_similarity":
                text, reference = _texts(grader, item, sample)
                if grader["evaluation_metric"] == "cosine":
                    assert tools.embed is not None, "a validated grader has what it needs"
                    score = max(0.0, similarity.cosine(*tools.embed([text, reference])))
                else:
                    score = similarity.MEASURES[grader["evaluation_metric"]](text, reference)
                return _with_threshold(grader, score)
            case "score_model":
                return _ask_for_score(grader, item, sample, tools)
            case "label_model":
                return _ask_for_label(grader, item, sample, tools)
            case _:
                grades = {
                    name: grade(inner, item, sample, tools)
                    for name, inner in grader["graders"].items()
                }
                scores = {name: result.score for name, result in grades.items()}
                errors = tuple(
                    dict.fromkeys(flag for result in grades.values() for flag in result.errors)
                )
                detail = " ".join(filter(None, (result.detail for result in grades.values())))
                score = templates.evaluate_formula(grader["calculate_output"], scores)
                is_enough = score >= grader.get("pass_threshold", 1.0)
                return Grade(score, is_enough and not errors, scores, errors, detail)
    except InputError as error:
        flag = (
            "formula_parse_error" if "calculate_output" in str(error) else "invalid_variable_error"
        )
        return Grade(0.0, False, errors=(flag,), detail=str(error))


def _texts(grader: Json, item: Json, sample: Json) -> tuple[str, str]:
    return (
        templates.render_template(grader["input"], item, sample),
        templates.render_template(grader["reference"], item, sample),
    )


def _with_threshold(grader: Json, score: float, default: float = 1.0) -> Grade:
    threshold = grader.get("pass_threshold")
    return Grade(score, score >= (default if threshold is None else threshold))


def _ask_for_score(grader: Json, item: Json, sample: Json, tools: Tools) -> Grade:
    low, high = grader.get("range") or (0.0, 1.0)
    reply, errors = _ask(grader, item, sample, tools, SCORE_FORMAT)
    try:
        result = float(json.loads(reply)["result"])
        if not math.isfinite(result):
            raise ValueError(reply)
    except (ValueError, KeyError, TypeError):
        detail = (
            errors[1] or f"The grading model did not reply with a number: {quote_value(reply)}."
        )
        return Grade(0.0, False, errors=(errors[0] or "model_grader_parse_error",), detail=detail)
    return _with_threshold(grader, min(high, max(low, result)), default=high)


def _ask_for_label(grader: Json, item: Json, sample: Json, tools: Tools) -> Grade:
    labels = grader["labels"]
    schema = {"type": "object", "properties": {"label": {"enum": labels}}, "required": ["label"]}
    reply, errors = _ask(grader, item, sample, tools, schema)
    try:
        label = json.loads(reply)["label"]
    except (ValueError, KeyError, TypeError):
        label = next((label for label in labels if label == reply.strip()), None)
    if label not in labels:
        detail = errors[1] or f"The grading model did not reply with a label: {quote_value(reply)}."
        return Grade(0.0, False, errors=(errors[0] or "model_grader_parse_error",), detail=detail)
    passed = label in grader["passing_labels"]
    return Grade(float(passed), passed)


def _ask(
    grader: Json, item: Json, sample: Json, tools: Tools, schema: Json
) -> tuple[str, tuple[str, str]]:
    messages = [
        {
            "role": turn.get("role", "user"),
            "content": templates.render_template(
                templates.read_content(turn.get("content")), item, sample
            ),
        }
        for turn in grader["input"]
    ]
    if (
        tools.ask is None or grader["model"] not in tools.models
    ):  # the server was restarted without it
        return "", (
            "model_grader_server_error",
            f"This server has no grading model {grader['model']}.",
        )
    try:
        return tools.ask(grader["model"], messages, schema, tools.is_wanted), ("", "")
    except EtudeError as error:
        return "", ("model_grader_server_error", str(error))

"""Convert items of a saved eval to rows of a task, and graders to criteria that use a row's right
answer.
"""

import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from etude.base.files import Json
from etude.base.formatting import format_count, format_names
from etude.errors import InputError, quote_value
from etude_openai.graders.grade import Tools, grade, validate_grader
from etude_openai.graders.templates import PLACEHOLDER, render_template
from etude_openai.saved.saved_evals import EvalItem, SavedEval
from etude_openai.saved.saved_objects import SavedFolder

ANSWER_NAMES = (
    *(
        "answer",
        "expected",
        "expected_output",
        "correct_answer",
        "ideal",
        "reference",
        "reference_answer",
    ),
    *("label", "correct_label", "ground_truth", "target", "completion", "output"),
)
"""Names of fields that usually contain the right answer, the most certain first."""
SAMPLE = "sample.output_text"
EXPECTED = "item.expected"
"""The paths that criteria read: the answer, and the right answer, which has the same name in all
tasks.
"""
BY_MODEL = "a model grades the answer; use judge: in the task file instead"
REASONS = {
    "score_model": BY_MODEL,
    "label_model": BY_MODEL,
    "python": "it contains code, and code is not run",
}
"""Type of grader -> why it is not imported."""
MIN_COVERAGE = 0.9
"""A model is compared only if it has answered at least this share of the items."""


@dataclass(frozen=True)
class ItemRows:
    """The items of an eval as rows."""

    name: str
    rows: list[Json]
    """{"messages": [..., the right answer], "answers": {model: stored answer}}."""
    models: list[str]
    """The models with a stored answer in every row."""
    criteria: list[Json]
    """Graders over `item.expected` and `sample.output_text`."""
    not_carried: list[str]
    """A description of each other grader."""
    sentences: list[str]
    """Sentences on what was read and left out."""

    @property
    def asks_equality(self) -> bool:
        """Whether the criteria require nothing but equality with the right answer."""
        return all(
            criterion.get("operation") == "eq"
            and {_parse_path(criterion["input"]), _parse_path(criterion["reference"])}
            == {EXPECTED, SAMPLE}
            for criterion in self.criteria
        )


def build_item_rows(
    saved: SavedFolder, evaluation: SavedEval, input_fields: Sequence[str], answer_field: str | None
) -> ItemRows | None:
    """Build the rows of an eval; None, with errors in the folder's issues, if its items have no
    right answer.
    """
    every_item = list(evaluation.items.values())
    if not every_item:
        remedy = "save the output items of its runs (client.evals.runs.output_items.list)"
        saved.add_issue(
            evaluation.location,
            "no run of the eval has items",
            quote_value(evaluation.name),
            remedy,
        )
        return None
    answer_field = answer_field or _find_answer_field(evaluation, every_item)
    if answer_field is None:
        message = "no grader compares the answer with a field of the item"
        remedy = (
            "set the field with the right answer: --answer FIELD (fields: "
            f"{', '.join(every_item[0].item)})"
        )
        saved.add_issue(evaluation.location, message, quote_value(evaluation.name), remedy)
        return None
    counts = Counter(model for item in every_item for model in item.answers)
    models = [model for model, count in counts.items() if count >= MIN_COVERAGE * len(every_item)]
    items = [item for item in every_item if set(models) <= item.answers.keys()]
    built = [_build_row(saved, item, input_fields, answer_field, models) for item in items]
    rows = [row for row in built if row]
    criteria, not_carried = _convert_criteria(evaluation, answer_field)
    sentences = [
        f"Eval {evaluation.name}: {format_count(len(items), 'item')}; item.{answer_field} is the "
        "right answer."
    ]
    if len(items) < len(every_item):
        sentences.append(
            "Items left out because the answer of a model is missing: "
            f"{len(every_item) - len(items):,}."
        )
    if few := [f"{model} ({count:,})" for model, count in counts.items() if model not in models]:
        sentences.append(f"Models left out because they answered too few items: {', '.join(few)}.")
    if len(rows) == len(items):
        sentences += _describe_models(models, items, rows, criteria)
    return ItemRows(evaluation.name, rows, models, criteria, not_carried, sentences)


def _find_answer_field(evaluation: SavedEval, items: Sequence[EvalItem]) -> str | None:
    fields: list[tuple[bool, str]] = []
    for criterion in evaluation.criteria:
        body = criterion if isinstance(criterion, dict) else {}
        sides = [_parse_path(body.get(key)) for key in ("input", "reference")]
        paths = [side for side in sides if side and side.startswith("item.")]
        if SAMPLE in sides and paths:
            fields.append((body.get("operation") != "eq", paths[0].removeprefix("item.")))
    by_name = (name for name in ANSWER_NAMES if all(name in item.item for item in items))
    return min(fields, key=lambda pair: pair[0])[1] if fields else next(by_name, None)


def _parse_path(template: Any) -> str | None:
    """Return the path of a template that consists of one placeholder; None for any other
    template.
    """
    match = PLACEHOLDER.fullmatch(template.strip()) if isinstance(template, str) else None
    return match[1] if match else None


def _build_row(
    saved: SavedFolder,
    item: EvalItem,
    input_fields: Sequence[str],
    answer_field: str,
    models: Sequence[str],
) -> Json | None:
    """Build one row; None, with an error, if the item lacks a field or the input of the models is
    unclear.
    """
    other_fields = [name for name in item.item if name != re.split(r"[.\[]", answer_field)[0]]
    fields = input_fields or (other_fields if len(other_fields) == 1 else [])
    try:
        expected, *texts = (
            render_template(f"{{{{item.{name}}}}}", item.item, {})
            for name in (answer_field, *fields)
        )
    except InputError as error:
        remedy = "correct the item, or choose other fields: --input FIELD, --answer FIELD"
        saved.add_issue(item.location, "the item lacks a field", error.issues[0].value, remedy)
        return None
    turns = [] if input_fields else item.turns
    turns = turns or ([{"role": "user", "content": "\n\n".join(texts)}] if texts else [])
    row: Json = {"messages": [*turns, {"role": "assistant", "content": expected}]}
    row |= {"answers": {model: item.answers[model] for model in models}} if models else {}
    try:
        json.dumps(row, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        saved.add_issue(
            item.location, "half of a character in the text", "", "write the whole character"
        )
        return None
    if not turns:
        remedy = f"choose the fields: --input FIELD (fields: {', '.join(item.item)})"
        saved.add_issue(
            item.location, "it is unclear which fields the models got as input", "", remedy
        )
        return None
    return row


def _convert_criteria(evaluation: SavedEval, answer_field: str) -> tuple[list[Json], list[str]]:
    """Return the criteria that read only the answer and the right answer, and a description of each
    other one.
    """
    criteria = []
    others = []
    for criterion in evaluation.criteria:
        body = criterion if isinstance(criterion, dict) else {}
        text = PLACEHOLDER.sub(
            lambda match: f"{{{{{EXPECTED if match[1] == f'item.{answer_field}' else match[1]}}}}}",
            json.dumps(body),
        )
        foreign = {match[1] for match in PLACEHOLDER.finditer(text)} - {EXPECTED, SAMPLE}
        try:
            validate_grader(body, Tools())
            reason = (
                f"it reads {format_names(sorted(foreign))}, which the rows do not have"
                if foreign
                else ""
            )
        except InputError as error:
            reason = REASONS.get(str(body.get("type")), error.issues[0].message)
        if reason:
            others.append(f"{body.get('name')} ({body.get('type')}): {reason}")
        else:
            criteria.append(json.loads(text))
    return criteria, others


def _describe_models(
    models: Sequence[str], items: Sequence[EvalItem], rows: Sequence[Json], criteria: Sequence[Json]
) -> Iterator[str]:
    for model in models:
        pairs = []
        for item, row in zip(items, rows, strict=True):
            results = item.passed.get(model, {})
            known = [
                results.get(criterion.get("id") or criterion["name"]) for criterion in criteria
            ]
            if known and None not in known:
                fields = {"expected": row["messages"][-1]["content"]}
                sample = {"output_text": row["answers"][model]}
                passed = all(
                    grade(criterion, fields, sample, Tools()).passed for criterion in criteria
                )
                pairs.append((all(known), passed))
        recorded, graded = (sum(column) for column in zip(*pairs, strict=True)) if pairs else (0, 0)
        num_equal = sum(before == now for before, now in pairs)
        counts = (
            f": {recorded:,} of {len(pairs):,} passed as recorded, {graded:,} as graded here "
            f"({num_equal:,} agree)"
        )
        yield f"Stored answers of {model}{counts if pairs else ''}."

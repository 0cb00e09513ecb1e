"""Several questions about each row. The answer to all of them is one text: a JSON object with a
label for each.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

from etude.task.contract import Contract
from etude.text.label_lists import read_label
from etude.types import Answer, Example, TaskQuestion


def join_answers(answers: Mapping[str, str]) -> str:
    """Write the answers, question -> label, as one text."""
    return json.dumps(answers, ensure_ascii=False)


@lru_cache(1 << 16)
def split_answers(text: str) -> Mapping[str, str]:
    """Read the answers of a text, question -> label; empty for a text that is not a JSON object."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return (
        {name: read_label(answer) for name, answer in value.items()}
        if isinstance(value, dict)
        else {}
    )


def tidy_answers(text: str, questions: Sequence[TaskQuestion]) -> str:
    """Write the answers of a text in the order of the questions, with the spelling of their labels;
    other texts, and objects without exactly these questions, are returned unchanged.
    """
    answers = split_answers(text)
    label_sets = {question.name: question.labels for question in questions}
    if answers.keys() != label_sets.keys():
        return text
    return join_answers(
        {name: read_label(answers[name], labels) for name, labels in label_sets.items()}
    )


def select_question(row: Example, name: str) -> Example:
    """Return the row as if it had only this question; its output is one label."""
    output, *references = (
        split_answers(text).get(name, "") for text in (row.output, *row.references)
    )
    return replace(row, output=output, references=tuple(references))


def select_answer(answer: Answer, question: TaskQuestion) -> Answer:
    """Return the answer to one question. A label that the question has not is kept as it is, and so
    it is wrong.
    """
    text = read_label(split_answers(answer.text).get(question.name, ""), question.labels)
    return replace(answer, text=text, value=text, confidence=answer.confidences.get(question.name))


def find_labels(
    questions: Iterable[TaskQuestion], rows: Iterable[Example]
) -> tuple[TaskQuestion, ...]:
    """Return the questions with their labels; those of a question that lists none are all labels of
    the rows.
    """
    outputs = [row.output for row in rows]
    return tuple(
        question
        if question.labels
        else replace(
            question, labels=tuple(sorted({split_answers(text)[question.name] for text in outputs}))
        )
        for question in questions
    )


def require_answers(contract: Contract, questions: Sequence[TaskQuestion]) -> Contract:
    """The contract with an object of one label for each question as the answer."""
    properties = {question.name: _describe(question) for question in questions}
    schema = {
        "type": "object",
        "properties": properties,
        "required": [*properties],
        "additionalProperties": False,
    }
    return replace(contract, json_schema=schema)


def _describe(question: TaskQuestion) -> dict[str, Any]:
    meanings = "; ".join(
        f"{label}: {text}" for label, text in question.descriptions.items() if text
    )
    description = " ".join(filter(None, (question.ask.strip(), meanings)))
    return {"enum": [*question.labels]} | ({"description": description} if description else {})

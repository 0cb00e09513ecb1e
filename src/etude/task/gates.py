"""Gates of a task file: what must hold before an assistant is released, one sentence each."""

from __future__ import annotations

import re

import yaml

from etude.task.definition import Gate
from etude.task.readers import texts
from etude.task.yaml_nodes import Page, got

_SENTENCE = re.compile(
    r"(?P<measure>[^<>=]*?[^<>=\s])\s*(?P<relation>>=|<=|=)\s*"
    r"(?:(?P<base>base)\s*(?:(?P<sign>[+-])\s*)?)?(?:(?P<number>\d+(?:\.\d+)?)\s*(?P<unit>%|points?)?)?\s*"
)
EXAMPLES = "contract >= 98%, over_refusal <= base + 2 points, canaries = 0"


def read_gate(sentence: str) -> Gate | None:
    """The gate of a sentence such as `over_refusal <= base + 2 points`; None if it is none."""
    match = _SENTENCE.fullmatch(sentence.strip())
    if match is None or (match["number"] is None and match["base"] is None):
        return None
    if match["base"] and match["number"] and not match["sign"]:
        return None
    number = float(match["number"] or 0) / (100 if match["unit"] else 1)
    counted, of_base = match["relation"] == "=", match["base"] is not None
    if (counted and (of_base or match["unit"])) or (not counted and number > 1):
        return None
    limit = -number if match["sign"] == "-" else number
    return Gate(match["measure"], match["relation"], limit, of_base, " ".join(sentence.split()))  # type: ignore[arg-type]


def gates(page: Page, key: str, node: yaml.Node) -> tuple[Gate, ...]:
    """A list of sentences."""
    found = []
    for sentence in texts(page, key, node):
        gate = read_gate(sentence)
        if gate is None:
            page.fault(
                node,
                f"{key}: no gate",
                repr(sentence) if sentence else got(node),
                f"write such as {EXAMPLES}",
            )
        else:
            found.append(gate)
    return tuple(found)

"""What a right answer is: kind, labels, fields and schema, from the outputs.

Outputs of rows that the split will put into the test are not looked at. Columns are guessed before, from all
rows: without them there is nothing to split.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from statistics import median
from typing import Any

from etude.base.files import parse_json
from etude.base.wording import count
from etude.data.dataset import COMPARED, TEST_LEAST, Dataset, shares_system
from etude.data.formats import Rows
from etude.data.formats.tools import split_calls
from etude.data.splits import split
from etude.data.starter.guess_columns import Roles
from etude.data.starter.schema import infer_schema
from etude.errors import InputError
from etude.privacy import find_by_form
from etude.task import RowSource
from etude.task.contract import Contract
from etude.text.normal_forms import normalise
from etude.types import Example, Kind

SEED = 0
"""The seed of a new task, which decides its split."""
SHARED = 0.95
"""Share of the outputs that must have a form for it to be proposed."""
_LABEL_NAMES = frozenset(("label", "category", "class", "intent", "topic", "sentiment"))
"""Names of columns that say that they hold labels, which then may repeat less: twice each instead of four times."""
MOST_LABELS = 0.5
"""Different labels as a share of the rows beyond which they are rather values."""
_FIELD_LINE = re.compile(r"^([^\W\d_][^:\n]{0,39}):(?:\s|$)", re.MULTILINE)


@dataclass(frozen=True)
class Draft:
    """Everything that is guessed from the rows, each guess with its reason."""

    rows: Rows
    target: Path
    roles: Roles
    test: RowSource | None = None
    """The user's own test, if there is one."""

    @property
    def columns(self) -> RowSource:
        """The columns as they were read."""
        return self.rows.source

    @property
    def reasons(self) -> Mapping[str, str]:
        """Role of a column -> what it was guessed from."""
        return self.roles.reasons

    @cached_property
    def examples(self) -> tuple[Example, ...]:
        """All rows."""
        return tuple(self.rows.examples)

    @cached_property
    def read(self) -> tuple[Example, ...]:
        """The rows outside the test, whose answers are read; all of them where they are too few to split."""
        kind = self.kind[0]
        if self.test or kind != "classify":
            return self._unlabelled
        return outside_test(self.examples, kind, SEED)

    @cached_property
    def refusal(self) -> str:
        """How many rows each side of a split would have that a comparison refuses to make; "" if it makes one."""
        try:
            split(
                Dataset(self.examples),
                self.kind[0],
                SEED,
                least=COMPARED._replace(test=0 if self.test else TEST_LEAST),
            )
        except InputError as error:
            return error.issues[0].value
        return ""

    @cached_property
    def outputs(self) -> list[str]:
        """The answers that are read."""
        return [example.output for example in self.read]

    @cached_property
    def kind(self) -> tuple[Kind, str]:
        """The kind of task, and what it was guessed from."""
        if self.calls:
            return "answer", "answers that call functions"
        return _guess_kind(self._unlabelled, self.columns.output or "")

    @cached_property
    def _unlabelled(self) -> tuple[Example, ...]:
        """The rows outside the test of any kind but classify, whose splits are the same."""
        return self.examples if self.test else outside_test(self.examples, "answer", SEED)

    @cached_property
    def contract(self) -> tuple[Contract, str]:
        """The contract, and what it was guessed from."""
        return guess_contract(self.kind[0], self.outputs)

    @property
    def measures_likeness(self) -> bool:
        """Whether the contract is but a length, which nearly every answer keeps, or answers call functions: it is
        offered and not set, so that likeness to the example answers, or the calls, are measured."""
        return self.kind[0] != "classify" and (self.calls or is_length_only(self.contract[0]))

    @cached_property
    def calls(self) -> bool:
        """Whether answers call functions."""
        return any(split_calls(row.output)[1] for row in self._unlabelled)

    @cached_property
    def num_hidden_labels(self) -> int:
        """Labels that occur in the test alone. The contract must name all labels or none."""
        return num_hidden_labels(self.contract[0], self.examples)

    @cached_property
    def systems(self) -> Counter[str]:
        """The system messages of the rows, each with its number of rows."""
        return Counter(system.strip() for system in self.rows.systems if system)

    @cached_property
    def without_system(self) -> list[str]:
        """`file:line` of the rows that have no system message."""
        rows = zip(self.rows.systems, self.examples, strict=True)
        return [example.location for system, example in rows if not system]

    @property
    def system(self) -> bool:
        """Whether the rows bring system messages of their own."""
        return bool(self.systems)

    @property
    def shares_system(self) -> bool:
        """Whether the rows' system message becomes the instructions of all."""
        return shares_system(self.rows.systems)


def outside_test(examples: tuple[Example, ...], kind: Kind, seed: int) -> tuple[Example, ...]:
    """The rows that a split as this kind does not put into the test; all where it cannot be made."""
    try:
        test = {example.id for example in split(Dataset(examples), kind, seed).test}
    except InputError:
        return examples
    return tuple(example for example in examples if example.id not in test)


def _guess_kind(examples: Sequence[Example], column: str) -> tuple[Kind, str]:
    """From the outputs, and from the name of their `column` where they are few."""
    outputs = [example.output for example in examples]
    labels, n = set(outputs), len(outputs)
    structured = sum(isinstance(json_value(output), dict | list) for output in outputs)
    if structured >= SHARED * n:
        return "extract", f"{structured:,} of {count(n, 'output')}, which {'is' if n == 1 else 'are'} JSON"
    named = column.casefold() in _LABEL_NAMES
    if 2 <= len(labels) <= n / (2 if named else 4) and all(
        len(label.split()) <= 8 and len(label) <= 80 for label in labels
    ):
        name = f", and the name {column}" if len(labels) > n / 4 else ""
        return (
            "classify",
            f"{len(labels)} short outputs that repeat over {n:,} rows{name}",
        )
    numbers = sum(isinstance(json_value(output), int | float) for output in outputs)
    if numbers >= SHARED * n:
        return "extract", f"{numbers:,} of {n:,} outputs, which are numbers"
    edit = _edit(examples)
    return edit or ("answer", "outputs that are no labels, no JSON and no edited inputs")


def _edit(examples: Sequence[Example]) -> tuple[Kind, str] | None:
    """Rewrite, if the outputs are their inputs edited: most words of an output are in its input."""
    shares, alike = [], []
    for example in examples:
        one, other = set(normalise(example.text).split()), set(normalise(example.output).split())
        if one and other:
            shares.append(len(one & other) / len(other))
            alike.append(len(one & other) / len(one | other))
    if not alike or median(shares) < 0.6 or median(alike) < 0.4:
        return None
    return "rewrite", f"the words of the outputs, of which {median(shares):.0%} are in their input (median)"


def guess_contract(kind: Kind, outputs: Sequence[str]) -> tuple[Contract, str]:
    """A contract that the outputs keep, and what it was guessed from; an empty one where its labels would not be fit to
    be listed. Personal data stands in none."""
    if kind == "classify":
        labels = tuple(sorted(set(outputs)))
        if any(map(find_by_form, labels)):
            return Contract(), "the labels hold personal data, which no contract should list"
        if len(labels) > MOST_LABELS * len(outputs):
            return Contract(), "nearly every row has a different label"
        return Contract(labels=labels), f"{len(labels)} labels, from the outputs"
    values = [value for value in map(json_value, outputs) if value is not None] if kind == "extract" else []
    if values and len(values) >= SHARED * len(outputs):
        why = f"json_schema, from {count(len(values), 'output')}"
        return Contract(json_schema=infer_schema(values)), why
    words, why = _guess_length(outputs)
    fields = infer_fields(outputs)
    if not fields:
        return Contract(max_words=words), why
    return Contract(fields=fields, max_words=words), f"fields {listed(fields)}, from the lines; {why}"


def is_length_only(contract: Contract) -> bool:
    """Whether nothing but a length could be guessed."""
    return not (contract.labels or contract.fields or contract.json_schema is not None)


def num_hidden_labels(contract: Contract, examples: Iterable[Example]) -> int:
    """Labels of the rows that a contract of labels lacks, for they occur in the test alone."""
    return len({row.output for row in examples} - set(contract.labels)) if contract.labels else 0


def contract_parts(contract: Contract) -> dict[str, Any]:
    """The parts that are guessed, as the task file writes them."""
    parts = {
        "labels": list(contract.labels),
        "fields": list(contract.fields),
        "json_schema": contract.json_schema,
        "max_words": contract.max_words,
    }
    return {"contract": {name: part for name, part in parts.items() if part}}


def _guess_length(outputs: Sequence[str]) -> tuple[int, str]:
    lengths = sorted(len(output.split()) for output in outputs)
    usual, longest = lengths[math.ceil(0.99 * len(lengths)) - 1], lengths[-1]
    words = max(math.ceil(1.2 * usual), longest)
    return words, f"max_words {words}, from the outputs: 99% have up to {usual} words, the longest {longest}"


def json_value(text: str) -> Any:
    """The JSON value of a text; None when it is none."""
    try:
        return parse_json(text)
    except ValueError:
        return None


def infer_fields(outputs: Sequence[str]) -> tuple[str, ...]:
    """Names of the lines `Name: text` that 95% of the outputs consist of; none when they do not.

    Of the outputs that have such lines at all: a name in fewer than 98% ends in "?", one in 5% or
    fewer is no field.
    """
    found = [list(dict.fromkeys(_FIELD_LINE.findall(output))) for output in outputs]
    found = [names for names in found if names]
    counts = Counter(name for names in found for name in names)
    places: dict[str, list[int]] = {name: [] for name in counts}
    for names in found:
        for place, name in enumerate(names):
            places[name].append(place)
    usual = [name for name, number in counts.items() if number > 0.05 * len(found) and not find_by_form(name)]
    usual.sort(key=lambda name: sum(places[name]) / counts[name])
    fields = tuple(name if counts[name] >= 0.98 * len(found) else f"{name}?" for name in usual)
    if all(name.endswith("?") for name in fields):
        return ()
    contract = Contract(fields=fields)
    kept = sum(not contract.check(output) for output in outputs)
    return fields if kept >= SHARED * len(outputs) else ()


def listed(names: str | Iterable[str]) -> str:
    """Names with commas between them."""
    return names if isinstance(names, str) else ", ".join(names)

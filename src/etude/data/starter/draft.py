"""Guesses from the outputs what a right answer is: kind, labels, fields and schema.

The outputs of rows that the split will put into the test are not read. The columns are guessed
before that, from all rows, because the split needs them.
"""

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from statistics import median
from typing import Any

from etude.base import files, formatting
from etude.data import dataset, formats, splits
from etude.data.formats import tools
from etude.data.formats.read import find_shared
from etude.data.starter.guess_columns import ColumnRoles
from etude.data.starter.label_forms import LABEL_NAMES, guess_labels, guess_scale
from etude.errors import InputError
from etude.privacy import find_by_format
from etude.task import RowSource
from etude.task.contract import Contract
from etude.text.label_lists import split_labels
from etude.text.likeness import are_repeated
from etude.text.normal_forms import normalise
from etude.types import Example, Kind

SEED = 0  # the seed of a new task, which decides its split
MIN_SHARE = 0.95  # share of the outputs that must fit a kind or a contract for it to be proposed
# Different values as a share of the rows above which they do not count as labels.
MAX_LABEL_SHARE = 0.5
_MIN_OBJECTS = 20  # objects from which a key that only one object has is ignored
_TYPE_NAMES: Mapping[type, str] = {
    **{
        bool: "boolean",
        int: "integer",
        float: "number",
        str: "string",
        list: "array",
        dict: "object",
    }
}
_FIELD_LINE = re.compile(r"^([^\W\d_][^:\n]{0,39}):(?:\s|$)", re.MULTILINE)


@dataclass(frozen=True)
class TaskDraft:
    """Everything that is guessed from the rows, each guess with its reason."""

    rows: formats.LoadedRows
    target: Path
    roles: ColumnRoles
    test: Path | None = None  # the user's own test, if there is one
    num_own_test_rows: int = 0

    @property
    def columns(self) -> RowSource:
        return self.rows.source

    @cached_property
    def examples(self) -> tuple[Example, ...]:
        return tuple(self.rows.examples)

    @cached_property
    def clustered(self) -> dataset.Dataset:  # cached, because it searches for near-duplicates once
        return dataset.Dataset(self.examples)

    @cached_property
    def readable(self) -> tuple[Example, ...]:
        """The rows outside the test, whose answers may be read; all rows if there are too few to
        split.
        """
        return self._list_outside_test(self._sides)

    @property
    def refusal(self) -> str:
        """The sizes of a split that a comparison would refuse; "" if it accepts the rows."""
        return self._sides if isinstance(self._sides, str) else ""

    @property
    def num_test_rows(self) -> int:
        """The rows of the test; 0 if the rows are too few to split."""
        return self.num_own_test_rows if self.test else len(self.examples) - len(self.readable)

    @cached_property
    def metric(self) -> str:
        """The metric that a comparison chooses if the task file sets none."""
        if self.scale or self.labels_of_lists:
            return "kappa" if self.scale else "sample_f1"
        if self.kind[0] == "classify":
            counts = Counter(self.train_outputs).values()
            return "macro_f1" if max(counts) / min(counts) > 5 else "accuracy"
        if self.kind[0] == "extract":
            return "value_f1"
        if not self.measures_likeness:
            return "passes"
        return "calls" if self.calls else "exact_match" if self.repeats_answers else "chrf"

    @cached_property
    def _split(self) -> splits.Split | str:
        return self._try_split("answer")

    @cached_property
    def _sides(self) -> splits.Split | str:
        has_labels = self.kind[0] == "classify" and not self.labels_of_lists
        return self._try_split("classify") if has_labels else self._split

    def _try_split(self, kind: Kind) -> splits.Split | str:
        """Split the rows as a comparison does; if it would refuse them, return the sizes."""
        minimum = dataset.COMPARE_MIN._replace(test=0 if self.test else dataset.MIN_TEST_ROWS)
        try:
            return splits.split(self.clustered, kind, SEED, minimum=minimum)
        except InputError as error:
            return error.issues[0].value

    def _list_outside_test(self, sides: splits.Split | str) -> tuple[Example, ...]:
        """List the rows that a split does not put into the test; all rows if they cannot be
        split.
        """
        test = set() if isinstance(sides, str) else {example.id for example in sides.test}
        return tuple(example for example in self.examples if example.id not in test)

    @cached_property
    def outputs(self) -> list[str]:
        return [example.output for example in self.readable]

    @cached_property
    def train_outputs(self) -> list[str]:
        """The answers by which a comparison chooses the metric: those of its training rows, if rows
        can be split.
        """
        return (
            self.outputs
            if isinstance(self._sides, str)
            else [row.output for row in self._sides.train]
        )

    @cached_property
    def kind(self) -> tuple[Kind, str]:
        if self.calls:
            return "answer", "answers that call functions"
        if self.labels_of_lists:
            return (
                "classify",
                f"{len(self.labels_of_lists)} short labels, several of which a row may have",
            )
        examples = self._unlabelled
        column = self.columns.output or ""
        outputs = [example.output for example in examples]
        values = list(map(_parse_value, outputs))
        # JSON comes first, because JSON records may also repeat; then labels, numbers and
        # rewriting; the default is free text.
        labels = set(outputs)
        num_rows = len(outputs)
        num_json = sum(isinstance(value, dict | list) for value in values)
        if num_json >= MIN_SHARE * num_rows:
            verb = "is" if num_rows == 1 else "are"
            return (
                "extract",
                f"{num_json:,} of {formatting.format_count(num_rows, 'output')}, which {verb} JSON",
            )
        # Under a name of labels, values need to occur only twice on average, instead of four times.
        min_repeats = 2 if column.casefold() in LABEL_NAMES else 4
        is_short = all(len(label.split()) <= 8 and len(label) <= 80 for label in labels)
        if 2 <= len(labels) <= num_rows / min_repeats and is_short:
            name = f", and the name {column}" if len(labels) > num_rows / 4 else ""
            return "classify", f"{len(labels)} different short outputs in {num_rows:,} rows{name}"
        num_numbers = sum(isinstance(value, int | float) for value in values)
        if num_numbers >= MIN_SHARE * num_rows:
            return "extract", f"{num_numbers:,} of {num_rows:,} outputs, which are numbers"
        # Rewrite, if the outputs are edited inputs: most words of an output are in its input.
        copied = []
        shared = []
        for example in examples:
            words = set(normalise(example.text).split())
            answer_words = set(normalise(example.output).split())
            if words and answer_words:
                copied.append(len(words & answer_words) / len(answer_words))
                shared.append(len(words & answer_words) / len(words | answer_words))
        if shared and median(copied) >= 0.6 and median(shared) >= 0.4:
            share = f"{median(copied):.0%}"
            return "rewrite", f"the words of the outputs: {share} of them are in the input (median)"
        return "answer", "outputs that are not labels, JSON or edited inputs"

    @cached_property
    def labels_of_lists(self) -> list[str]:
        return guess_labels(self._unlabelled, self.columns.output or "")

    @cached_property
    def scale(self) -> list[str]:
        """The scores from the lowest to the highest, if labels are scores."""
        is_one = self.kind[0] == "classify" and not self.labels_of_lists
        return guess_scale(sorted(set(self.outputs)), self.columns.output or "") if is_one else []

    @cached_property
    def _unlabelled(self) -> tuple[Example, ...]:
        """The rows outside the test for all kinds except classify, which have the same split."""
        return self._list_outside_test(self._split)

    @cached_property
    def contract(self) -> tuple[Contract, str]:
        if self.scale:
            return Contract(), "the labels are already in scale:"
        return guess_contract(self.kind[0], self._list_labels(self.readable))

    def _list_labels(self, examples: Sequence[Example]) -> list[str]:
        outputs = [example.output for example in examples]
        return (
            [label for output in outputs for label in split_labels(output)]
            if self.labels_of_lists
            else outputs
        )

    @property
    def contract_key(self) -> dict[str, Any]:
        """The guessed contract as `contract:` of the task file; empty if there is none."""
        contract = self.contract[0]
        values = {
            name: getattr(contract, name)
            for name in ("labels", "fields", "json_schema", "max_words")
        }
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in values.items()
            if value
        }

    @property
    def sets_contract(self) -> bool:
        return bool(self.contract_key) and not (self.measures_likeness or self.num_hidden_labels)

    @property
    def measures_likeness(self) -> bool:
        """Whether answers are compared with the examples and the contract is only suggested,
        because it would check only a length, or because the answers call functions.
        """
        contract = self.contract[0]
        has_form = contract.labels or contract.fields or contract.json_schema is not None
        return self.kind[0] != "classify" and (self.calls or not has_form)

    @cached_property
    def repeats_answers(self) -> bool:
        return self.kind[0] == "answer" and are_repeated(self.train_outputs)

    @cached_property
    def repeated_answer(self) -> tuple[str, int]:
        """The answer to a question that most rows share, and their number; ("", 0) if fewer than
        three do, or if nearly all answers are repeated.
        """
        counts = (
            Counter(self.outputs)
            if self.kind[0] == "answer" and not self.repeats_answers
            else Counter()
        )
        answer, number = next(iter(counts.most_common(1)), ("", 0))
        return (answer, number) if number >= 3 else ("", 0)

    @property
    def num_chats(self) -> int:
        """Rows with several turns of the assistant, each of which may be scored; 0 for kinds
        without chats.
        """
        rows = self.examples if self.kind[0] in ("answer", "rewrite") else ()
        return sum(any(turn.role == "assistant" for turn in row.input) for row in rows)

    @cached_property
    def calls(self) -> bool:
        return self.calls_earlier or any(
            tools.split_calls(row.output)[1] for row in self._unlabelled
        )

    @cached_property
    def calls_earlier(self) -> bool:
        """Whether answers before the last call functions, so that all answers must be scored."""
        turns = (
            turn
            for row in self._unlabelled
            for turn in row.input
            if turn.role == "assistant" and turn.trained
        )
        return any(tools.split_calls(turn.content)[1] for turn in turns)

    @cached_property
    def num_hidden_labels(self) -> int:
        """Labels that occur only in the test. The contract must list all labels or none."""
        known = self.scale or self.contract[0].labels
        return len({*self._list_labels(self.examples)} - {*known}) if known else 0

    @cached_property
    def systems(self) -> set[str]:
        return {system.strip() for system in self.rows.systems if system}

    @cached_property
    def rows_without_system(self) -> list[str]:
        """`file:line` of the rows that have no system message."""
        rows = zip(self.rows.systems, self.examples, strict=True)
        return [example.location for system, example in rows if not system]

    @property
    def shares_system(self) -> bool:
        """Whether the rows' system message becomes the instructions for all rows."""
        return bool(find_shared(self.rows.systems))


def guess_contract(kind: Kind, outputs: Sequence[str]) -> tuple[Contract, str]:
    """A contract that the outputs keep, without personal data, and the reason of the guess; an
    empty contract if its labels should not be listed.
    """
    if kind == "classify":
        labels = tuple(sorted(set(outputs)))
        if any(map(find_by_format, labels)):
            return Contract(), "the labels contain personal data, which a contract should not list"
        if len(labels) > MAX_LABEL_SHARE * len(outputs):
            return Contract(), "nearly every row has a different label"
        return Contract(labels=labels), f"{len(labels)} labels, from the outputs"
    values = (
        [value for value in map(_parse_value, outputs) if value is not None]
        if kind == "extract"
        else []
    )
    if values and len(values) >= MIN_SHARE * len(outputs):
        reason = f"json_schema, from {formatting.format_count(len(values), 'output')}"
        return Contract(json_schema=infer_schema(values)), reason
    # The length limit: 20% more words than 99% of the outputs have, but at least those of the
    # longest output.
    lengths = sorted(len(output.split()) for output in outputs)
    usual = lengths[math.ceil(0.99 * len(lengths)) - 1]
    longest = lengths[-1]
    words = max(math.ceil(1.2 * usual), longest)
    reason = (
        f"max_words {words}, from the outputs: 99% have up to {usual} words, and the longest has "
        f"{longest}"
    )
    fields = infer_fields(outputs)
    if fields:
        reason = f"fields {', '.join(fields)}, from the lines of the outputs; {reason}"
    return Contract(fields=fields, max_words=words), reason


def _parse_value(text: str) -> Any:
    try:
        return files.parse_json(text)
    except ValueError:
        return None


def infer_fields(outputs: Sequence[str]) -> tuple[str, ...]:
    """The names of the lines `Name: text` if at least 95% of the outputs consist of such lines;
    otherwise empty.

    Of the outputs with such lines, a name in fewer than 98% gets a "?", and a name in 5% or fewer
    is no field.
    """
    named = [
        names for output in outputs if (names := list(dict.fromkeys(_FIELD_LINE.findall(output))))
    ]
    counts = Counter(name for names in named for name in names)
    positions: dict[str, list[int]] = {name: [] for name in counts}
    for names in named:
        for position, name in enumerate(names):
            positions[name].append(position)
    usual = [
        name
        for name, number in counts.items()
        if number > 0.05 * len(named) and not find_by_format(name)
    ]
    # In the order in which they usually appear.
    usual.sort(key=lambda name: sum(positions[name]) / counts[name])
    fields = tuple(name if counts[name] >= 0.98 * len(named) else f"{name}?" for name in usual)
    if all(
        name.endswith("?") for name in fields
    ):  # none, or only optional ones, which any text would fit
        return ()
    # The fields must explain whole outputs, not just occur in them.
    contract = Contract(fields=fields)
    num_fitting = sum(not contract.check(output) for output in outputs)
    return fields if num_fitting >= MIN_SHARE * len(outputs) else ()


def infer_schema(values: Sequence[Any]) -> dict[str, Any]:
    """A JSON schema that all values match: types, and the keys of objects; keys that every object
    has are required.

    Keys that are personal data are left out; with many objects, so are keys that only one object
    has. If no key was left out, other keys are forbidden, so that decoding cannot invent any.
    Nested values are described alike.
    """
    types = {_TYPE_NAMES.get(type(value), "null") for value in values}
    # Every integer is a number.
    types -= {"integer"} if "number" in types else set()
    schema: dict[str, Any] = {}
    if types:
        schema["type"] = sorted(types) if len(types) > 1 else next(iter(types))
    if "object" in types:
        objects = [value for value in values if isinstance(value, dict)]
        counts = Counter(key for value in objects for key in value)
        min_count = 2 if len(objects) >= _MIN_OBJECTS else 1
        keys = [
            key for key, count in counts.items() if count >= min_count and not find_by_format(key)
        ]
        schema["properties"] = {
            key: infer_schema([value[key] for value in objects if key in value]) for key in keys
        }
        if required := [key for key in keys if counts[key] == len(objects)]:
            schema["required"] = required
        if len(keys) == len(counts):
            schema["additionalProperties"] = False
    items = [item for value in values if isinstance(value, list) for item in value]
    return schema | {"items": infer_schema(items)} if items else schema

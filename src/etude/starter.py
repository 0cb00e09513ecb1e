"""The first task file, guessed from a file of examples.

Every guess says what it was guessed from, in the file itself and to the caller. Columns are guessed
by their names first, then by what they hold. The contract is one that the rows themselves keep;
where up to 5% do not, the guess says which.
"""

from __future__ import annotations

import json
import math
import os
import re
import textwrap
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from statistics import median
from typing import Any

import yaml

from etude.contract import Contract
from etude.errors import Fault, InputError, shown
from etude.files import write_text
from etude.formats import Rows, guess_columns, peek_rows, read_rows
from etude.task import RowSource
from etude.text import normalise
from etude.types import Example, Kind

MODEL = "smollm2-135m-instruct"
"""The model of a new task: the packaged one."""
MOST_ROWS = 100_000
"""Rows looked at to guess columns."""
SHARED = 0.95
"""Share of the outputs that must have a form for it to be proposed."""

_GROUP_NAME = re.compile(
    r"(customer|user|client|account|patient|author|ticket|thread|conversation|session|dialog(ue)?|case|group)"
    r"([ _-]?(id|no|nr|number|key|name))?",
    re.IGNORECASE,
)
_ID_NAMES = {"id", "uuid", "guid", "key", "row_id", "example_id"}
_FIELD_LINE = re.compile(r"^([^\W\d_][^:\n]{0,39}):(?:\s|$)", re.MULTILINE)
_SPLIT_NAME = re.compile(r"(.*[ _-])?(split|fold|subset|partition)", re.IGNORECASE)
_PLAIN_STEMS = {"train", "training", "trainingset", "trainset", "data", "examples", "rows", "all", "dataset"}
_PLAIN_INPUTS = {"input", "prompt", "text", "body", "content", "query", "source", "request", "utterance"}
_PLAIN_OUTPUTS = {"output", "completion", "answer", "response", "target", "reply", "result", "label"}
_WIDTH = 100


@dataclass(frozen=True)
class StarterResult:
    """A task file that was written."""

    task_file: Path
    text: str
    guesses: tuple[str, ...]
    """What was guessed and from what, a sentence each."""


def start(path: Path, target: Path | None = None) -> StarterResult:
    """Writes a task file for the rows in `path`: to `target`, else task.yaml beside them.

    Raises InputError when the target is there already, when the rows cannot be read (every fault
    of the file) and when it stays unknown which columns are the input and the output.
    """
    target = target or path.with_name("task.yaml")
    _refuse_to_overwrite(target)
    cells = peek_rows(path, MOST_ROWS)
    if not cells:
        read_rows(RowSource(path))
    columns, reasons = _guess_roles(path, cells)
    draft = _Draft(read_rows(columns), target, reasons)
    text = "\n".join(_render(entry) for entry in _entries(draft))
    write_text(target, text)
    return StarterResult(target, text, tuple(draft.guesses()))


def _refuse_to_overwrite(target: Path) -> None:
    if target.exists():
        remedy = "delete it, write elsewhere with --output FILE, or go on with etude compare"
        raise InputError([Fault(str(target), "the task file is there already", "", remedy)])
    if not target.parent.is_dir():
        remedy = "make the folder first, or name another"
        raise InputError([Fault(str(target), "no such folder", shown(str(target.parent)), remedy)])


# Which columns mean what


@dataclass(frozen=True)
class _Column:
    """What a column holds, as far as guessing needs it. Values are the non-empty ones, as texts."""

    name: str
    values: tuple[str, ...]
    rows: int
    """Rows of the file."""

    @cached_property
    def counts(self) -> Counter[str]:
        return Counter(self.values)

    @cached_property
    def words(self) -> float:
        """Mean number of words."""
        return sum(len(value.split()) for value in self.values) / max(len(self.values), 1)

    @property
    def is_headed_by_a_value(self) -> bool:
        """Whether the name is rather a value: the file has no line of names, and rows are not guessed."""
        return len(self.name.split()) > 4 or self.name in self.counts

    @property
    def is_text(self) -> bool:
        full = len(self.values) >= 0.9 * self.rows
        return full and self.words >= 3 and len(self.counts) > 0.3 * len(self.values)

    @property
    def is_label(self) -> bool:
        few = 2 <= len(self.counts) <= len(self.values) / 4
        named = _SPLIT_NAME.fullmatch(self.name) or _GROUP_NAME.fullmatch(self.name)
        return few and not named and self.words <= 4 and len(self.values) >= 0.9 * self.rows

    @property
    def is_group(self) -> bool:
        """Named like a person or a thread, values repeated, and none so often that it cannot be split."""
        repeated = 20 <= len(self.counts) < len(self.values)
        return bool(_GROUP_NAME.fullmatch(self.name)) and repeated and self.largest <= 0.1

    @property
    def largest(self) -> float:
        """Share of the most frequent value among all rows."""
        return max(self.counts.values(), default=0) / self.rows

    @property
    def is_tag(self) -> bool:
        return self.is_label and len(self.counts) <= 20

    @property
    def is_id(self) -> bool:
        return self.name.casefold() in _ID_NAMES and len(self.counts) == len(self.values) == self.rows


def _profile(cells: Sequence[Mapping[str, Any]]) -> dict[str, _Column]:
    names = dict.fromkeys(name for row in cells for name in row)
    return {name: _Column(name, tuple(_column_values(cells, name)), len(cells)) for name in names}


def _column_values(cells: Sequence[Mapping[str, Any]], name: str) -> Iterator[str]:
    for row in cells:
        value = row.get(name)
        if isinstance(value, str | int | float) and str(value).strip():
            yield str(value).strip()


def _guess_roles(path: Path, cells: Sequence[Mapping[str, Any]]) -> tuple[RowSource, dict[str, str]]:
    """The columns, and for each role what it was guessed from."""
    profile = _profile(cells)
    source, why = _guess_input_and_output(path, cells, profile)
    reasons = {"columns": why}
    taken = {*source.input, source.output, source.messages, source.system, source.id, source.group}
    free = [column for name, column in profile.items() if name not in taken and name not in source.tags]
    for role, found, reason in _guess_extras(source, free):
        source = replace(source, **{role: found})
        reasons[role] = reason
    return source, reasons


def _guess_input_and_output(
    path: Path, cells: Sequence[Mapping[str, Any]], profile: Mapping[str, _Column]
) -> tuple[RowSource, str]:
    texts = sorted((c for c in profile.values() if c.is_text), key=lambda column: -column.words)
    labels = sorted((c for c in profile.values() if c.is_label), key=lambda column: -len(column.counts))
    by_name = [RowSource(path)]
    by_name += [RowSource(path, input=(column.name,)) for column in texts]
    by_name += [RowSource(path, output=column.name) for column in (*labels, *texts)]
    for source in by_name:
        try:
            return guess_columns(cells, source).source, "the names of the columns"
        except InputError as error:
            unknown = error
        if any(column.is_headed_by_a_value for column in profile.values()):
            raise unknown
    if len(texts) >= 2:
        return _pair_of_texts(path, texts, list(profile))
    if texts and labels:
        source = RowSource(path, input=(texts[0].name,), output=labels[0].name)
        return source, f"what they hold: long texts, and {len(labels[0].counts)} values that repeat"
    raise unknown


def _pair_of_texts(path: Path, texts: Sequence[_Column], order: Sequence[str]) -> tuple[RowSource, str]:
    """The longer of two texts is the input; of equally long ones, the first of the file."""
    longer, shorter = texts[0], texts[1]
    if longer.words > 1.5 * shorter.words:
        why = f"their length: {longer.words:.0f} and {shorter.words:.0f} words on average. Swap them if wrong"
        return RowSource(path, input=(longer.name,), output=shorter.name), why
    first, second = sorted((longer.name, shorter.name), key=order.index)
    return RowSource(path, input=(first,), output=second), "their order in the file. Swap them if wrong"


def _guess_extras(source: RowSource, free: Sequence[_Column]) -> Iterator[tuple[str, Any, str]]:
    """(role, column or columns, reason) for the roles that have no column yet."""
    ids = [column.name for column in free if column.is_id]
    if not source.id and ids:
        yield "id", ids[0], "its name, and no value repeats"
    groups = [column for column in free if column.is_group]
    if not source.group and groups:
        column = groups[0]
        yield "group", column.name, f"its name, and {len(column.counts)} values in {column.rows} rows"
    references = _further_outputs(source.output, free)
    if not source.references and references:
        yield "references", references, f"their names, which are that of {source.output} with other numbers"
    tags = tuple(column.name for column in free if column.is_tag and column not in groups)
    if not source.tags and tags:
        yield "tags", tags, "their few values, which repeat"


def _further_outputs(output: str | None, free: Sequence[_Column]) -> tuple[str, ...]:
    stem = re.sub(r"[ _-]?\d+$", "", output or "")
    same = re.compile(re.escape(stem) + r"[ _-]?\d+")
    return tuple(column.name for column in free if stem and same.fullmatch(column.name))


# What a right answer is


@dataclass(frozen=True)
class _Draft:
    """Everything that is guessed from the rows, each guess with its reason."""

    rows: Rows
    target: Path
    reasons: Mapping[str, str]

    @property
    def columns(self) -> RowSource:
        return self.rows.source

    @property
    def examples(self) -> tuple[Example, ...]:
        return self.rows.examples

    @cached_property
    def outputs(self) -> list[str]:
        return [example.output for example in self.examples]

    @cached_property
    def kind(self) -> tuple[Kind, str]:
        return _guess_kind(self.examples)

    @cached_property
    def contract(self) -> tuple[Contract, str]:
        return _guess_contract(self.kind[0], self.outputs)

    @cached_property
    def broken(self) -> list[str]:
        """`file:line` of the rows whose own output breaks the contract."""
        return [row.where for row in self.examples if self.contract[0].check(row.output)]

    @cached_property
    def system(self) -> bool:
        """Whether the rows bring system messages of their own."""
        return any(self.rows.systems)

    def guesses(self) -> Iterator[str]:
        """What was guessed, a sentence each."""
        yield f"kind: {self.kind[0]}, from {self.kind[1]}"
        yield f"columns: {_column_sentence(self.columns)}, from {self.reasons['columns']}"
        for role in ("id", "group", "references", "tags"):
            if role in self.reasons:
                yield f"{role}: {_listed(getattr(self.columns, role))}, from {self.reasons[role]}"
        yield f"contract: {self.contract[1]}"
        if self.broken:
            yield f"contract: {_broken_sentence(self.broken)}"
        yield from self.rows.notes


def _guess_kind(examples: Sequence[Example]) -> tuple[Kind, str]:
    outputs = [example.output for example in examples]
    labels, n = set(outputs), len(outputs)
    structured = sum(isinstance(_json(output), dict | list) for output in outputs)
    if structured >= SHARED * n:
        return "extract", f"{structured} of {n} outputs, which are JSON"
    if 2 <= len(labels) <= n / 4 and all(len(label.split()) <= 8 and len(label) <= 80 for label in labels):
        return "classify", f"{len(labels)} short outputs that repeat over {n} rows"
    contained, alike = _overlap(examples)
    if contained >= 0.6 and alike >= 0.4:
        return "rewrite", f"the words of the outputs, of which {contained:.0%} stand in their input (median)"
    return (
        "answer",
        f"outputs that are no labels, no JSON and no edited inputs ({contained:.0%} shared words)",
    )


def _overlap(examples: Sequence[Example]) -> tuple[float, float]:
    """Medians over the rows: share of the output's words found in the input, and Jaccard of both."""
    contained, alike = [0.0], [0.0]
    for example in examples:
        one, other = set(normalise(example.text).split()), set(normalise(example.output).split())
        if one and other:
            contained.append(len(one & other) / len(other))
            alike.append(len(one & other) / len(one | other))
    return median(contained), median(alike)


def _guess_contract(kind: Kind, outputs: Sequence[str]) -> tuple[Contract, str]:
    """A contract that the outputs keep, and what it was guessed from."""
    if kind == "classify":
        labels = tuple(sorted(set(outputs)))
        return Contract(labels=labels), f"{len(labels)} labels, from the outputs"
    if kind == "extract":
        values = [value for value in map(_json, outputs) if value is not None]
        return Contract(json_schema=infer_schema(values)), f"json_schema, from {len(values)} outputs"
    words, why = _guess_length(outputs)
    fields = infer_fields(outputs)
    if not fields:
        return Contract(max_words=words), why
    return Contract(fields=fields, max_words=words), f"fields {_listed(fields)}, from the lines; {why}"


def _guess_length(outputs: Sequence[str]) -> tuple[int, str]:
    lengths = sorted(len(output.split()) for output in outputs)
    usual, longest = lengths[math.ceil(0.99 * len(lengths)) - 1], lengths[-1]
    words = max(math.ceil(1.2 * usual), longest)
    return words, f"max_words {words}, from the outputs: 99% have up to {usual} words, the longest {longest}"


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def infer_schema(values: Sequence[Any]) -> dict[str, Any]:
    """A JSON schema that all values keep: types, the keys of objects, those in every object required.

    Other keys are not forbidden. Values of objects and lists are described in turn.
    """
    kinds = sorted({_json_type(value) for value in values})
    if {"integer", "number"} <= set(kinds):
        kinds.remove("integer")
    schema: dict[str, Any] = {"type": kinds[0] if len(kinds) == 1 else kinds} if kinds else {}
    if "object" in kinds:
        schema |= _object_schema([value for value in values if isinstance(value, dict)])
    items = [item for value in values if isinstance(value, list) for item in value]
    return schema | {"items": infer_schema(items)} if items else schema


def _object_schema(values: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    keys = list(dict.fromkeys(key for value in values for key in value))
    required = [key for key in keys if all(key in value for value in values)]
    properties = {key: infer_schema([value[key] for value in values if key in value]) for key in keys}
    return {"properties": properties} | ({"required": required} if required else {})


def _json_type(value: Any) -> str:
    names = {bool: "boolean", int: "integer", float: "number", str: "string", list: "array", dict: "object"}
    return names.get(type(value), "null")


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
    usual = [name for name, count in counts.items() if count > 0.05 * len(found)]
    usual.sort(key=lambda name: sum(places[name]) / counts[name])
    fields = tuple(name if counts[name] >= 0.98 * len(found) else f"{name}?" for name in usual)
    if all(name.endswith("?") for name in fields):
        return ()
    contract = Contract(fields=fields)
    kept = sum(not contract.check(output) for output in outputs)
    return fields if kept >= SHARED * len(outputs) else ()


# Writing it down


@dataclass(frozen=True)
class _Entry:
    """One key of the task file."""

    comment: str
    yaml: str
    active: bool = True
    """False for a key that is shown with a value but not set."""


def _entries(draft: _Draft) -> Iterator[_Entry]:
    """The keys of the task file in the order of reading."""
    count = len(draft.examples)
    yield _Entry(
        f"Written by etude init from {count} rows of {draft.columns.file.name}. Lines that begin with # are "
        "remarks. What is marked GUESS was guessed: correct it where it is wrong, then run etude compare.",
        "",
    )
    yield _Entry("What the report calls this task.", _yaml({"name": _name(draft)}))
    yield _Entry(
        "What a right answer is: classify (a label), extract (JSON), answer (a text), rewrite (the input, "
        f"improved). GUESS from {draft.kind[1]}.",
        _yaml({"kind": draft.kind[0]}),
    )
    yield _Entry(
        "The model that is prompted and tuned: a name known to Étude, a folder with safetensors, a .gguf "
        "file or a hub id.",
        _yaml({"model": MODEL}),
    )
    yield _Entry(
        "A bigger model for the methods that are not tuned. Without it the verdict says that none was tried.",
        _yaml({"prompt_model": "../models/bigger.gguf"}),
        active=False,
    )
    yield from _row_entries(draft)
    yield from _instruction_entries(draft)
    yield _contract_entry(draft)
    yield from _setting_entries(draft)


def _row_entries(draft: _Draft) -> Iterator[_Entry]:
    roles = ("id", "group", "references", "tags")
    extras = [f"{role} from {draft.reasons[role]}" for role in roles if role in draft.reasons]
    columns = f"GUESS from {draft.reasons['columns']}. " + "".join(f"GUESS of {extra}. " for extra in extras)
    yield _Entry(
        f"The rows, and which columns mean what. {columns}Rows of one group never stand on two sides of "
        "the split; results are shown apart by tags.",
        _yaml({"examples": _column_map(draft)}),
    )
    beside = _test_beside(draft.columns.file)
    comment = "Rows for the test alone, with the same columns. Without this line 20% of the examples are "
    comment += "split off and sealed."
    if beside:
        comment += f" {beside.name} stands beside the examples: take the # away to test on it."
    name = _relative(beside, draft.target) if beside else "test.jsonl"
    yield _Entry(comment, _yaml({"test": name}), active=False)


def _test_beside(file: Path) -> Path | None:
    """A file that by its name is the test of these examples."""
    found = [file.with_name(f"{stem}{file.suffix}") for stem in ("test", "test_set", "testset")]
    return next((path for path in found if path.is_file() and path != file), None)


def _instruction_entries(draft: _Draft) -> Iterator[_Entry]:
    text = f"instructions: |\n{textwrap.indent(_instructions(draft), '  ')}"
    if draft.system:
        comment = "What the model is told. Not set, because the rows bring it: their system message is taken."
    else:
        comment = (
            "What the model is told before the input. DRAFT from the guesses above: say it as you would "
        )
        comment += "say it to a new colleague, with the rules that decide hard cases."
    yield _Entry(comment, text, active=not draft.system)
    yield _Entry(
        "Your own alternatives to the instructions; the best on the dev rows is taken.",
        _yaml({"wordings": ["Another way to say it."]}),
        active=False,
    )


def _instructions(draft: _Draft) -> str:
    contract = draft.contract[0]
    match draft.kind[0]:
        case "classify":
            return f"Classify the message into one of:{_label_list(contract.labels)}"
        case "extract":
            keys = ", ".join((contract.json_schema or {}).get("properties", {}))
            return f"Extract from the text, as JSON{' with the keys ' + keys if keys else ''}."
        case "rewrite":
            first = "Rewrite the text. Keep its meaning."
        case _:
            first = _answer_sentence(draft.columns)
    return " ".join([first, *_field_sentences(contract.fields), *_length_sentences(draft.outputs)])


def _label_list(labels: Sequence[str]) -> str:
    """Short lists in a line, long ones a label a line."""
    line = f" {', '.join(labels)}."
    return line if len(line) <= _WIDTH else "".join(f"\n- {label}" for label in labels)


def _answer_sentence(columns: RowSource) -> str:
    names = [name.replace("_", " ").lower() for name in columns.input]
    output = (columns.output or "output").replace("_", " ").lower()
    given = " and ".join(name for name in names if name not in _PLAIN_INPUTS) or "message"
    if output not in _PLAIN_OUTPUTS:
        return f"Read the {given} and write the {output}."
    return "Follow the instruction." if "instruction" in names else f"Answer the {given}."


def _field_sentences(fields: Sequence[str]) -> Iterator[str]:
    if fields:
        yield f"Write these lines: {_listed(name.removesuffix('?') for name in fields)}."
    optional = [name.removesuffix("?") for name in fields if name.endswith("?")]
    if optional:
        yield f"Leave out {_listed(optional)} where it does not apply."


def _length_sentences(outputs: Sequence[str]) -> Iterator[str]:
    """The usual length, where there is one."""
    lengths = sorted(len(output.split()) for output in outputs)
    low, usual, high = (lengths[len(lengths) * part // 10] for part in (1, 5, 9))
    if high <= 3 * max(low, 1):
        yield f"Use about {usual} word{'s' if usual > 1 else ''}."


def _contract_entry(draft: _Draft) -> _Entry:
    contract, why = draft.contract
    parts: dict[str, Any] = {
        "labels": list(contract.labels),
        "fields": list(contract.fields),
        "json_schema": contract.json_schema,
        "max_words": contract.max_words,
    }
    comment = f"What can be checked in an answer without judging it. GUESS: {why}."
    if contract.fields:
        comment += ' A field that ends in "?" may be absent.'
    if draft.broken:
        comment += f" {_broken_sentence(draft.broken)}."
    comment += " Other parts: regex, must_contain, must_not_contain."
    return _Entry(comment, _yaml({"contract": {name: part for name, part in parts.items() if part}}))


def _broken_sentence(broken: Sequence[str]) -> str:
    more = f" and {len(broken) - 5} more" if len(broken) > 5 else ""
    return f"{len(broken)} rows break it and must be corrected: {', '.join(broken[:5])}{more}"


def _setting_entries(draft: _Draft) -> Iterator[_Entry]:
    if draft.kind[0] in ("answer", "rewrite"):
        yield _Entry(
            "A function of yours, (example, answer) -> bool or 0 to 1, that knows more than the form. "
            "Without one the verdict measures form only.",
            _yaml({"check": "checks.py:fits"}),
            active=False,
        )
    yield _Entry(f"What counts. {_metric_sentence(draft)}", _yaml({"metric": _metric(draft)}), active=False)
    yield _Entry("Which steps of the ladder are compared: all, or a list.", _yaml({"methods": "all"}))
    yield _Entry(
        "How much worse a simpler method may be and still be good enough: 0.02 is 2 points.",
        _yaml({"margin": 0.02}),
    )
    yield _Entry("A score that must be reached, if there is one.", _yaml({"target": 0.95}), active=False)
    yield _Entry("Time a comparison may take: 90s, 15m, 2h or none.", _yaml({"budget": "15m"}))
    yield _Entry(
        "What is known about the use to come; the advice rests on it.",
        _yaml({"usage": {"requests_per_month": 20000, "facts_change": "monthly"}}),
        active=False,
    )
    yield _Entry(
        "Your prices per million tokens and per machine hour. None are invented.",
        _yaml({"prices": {"prompt": 0.15, "cached": 0.08, "answer": 0.6, "per_hour": 0.1}}),
        active=False,
    )
    yield _Entry(
        "Longest answer in tokens. Chosen from the examples.", _yaml({"max_tokens": 256}), active=False
    )
    yield _Entry("The same seed gives the same split and the same result.", _yaml({"seed": 0}))


def _metric(draft: _Draft) -> str:
    if draft.kind[0] == "classify":
        return "macro_f1" if _imbalance(draft.outputs) > 5 else "accuracy"
    return "exact_match" if draft.kind[0] == "extract" else "passes"


def _metric_sentence(draft: _Draft) -> str:
    if draft.kind[0] == "classify":
        ratio = _imbalance(draft.outputs)
        return (
            f"Chosen by itself: accuracy, or macro_f1 above a class ratio of 5, and here it is {ratio:.0f}."
        )
    return "Chosen by itself as shown."


def _imbalance(labels: Sequence[str]) -> float:
    counts = Counter(labels).values()
    return max(counts) / min(counts)


def _column_map(draft: _Draft) -> dict[str, Any]:
    source = draft.columns
    file = {"file": _relative(source.file, draft.target)}
    roles = ("messages", "input", "output", "system", "id", "references", "group", "tags")
    parts = {role: getattr(source, role) for role in roles}
    plain = {role: list(part) if isinstance(part, tuple) else part for role, part in parts.items() if part}
    if len(source.input) == 1:
        plain["input"] = source.input[0]
    return file | plain


def _column_sentence(source: RowSource) -> str:
    if source.messages:
        return f"messages = {source.messages}"
    return f"input = {' + '.join(source.input)}, output = {source.output}"


def _listed(names: str | Iterable[str]) -> str:
    return names if isinstance(names, str) else ", ".join(names)


def _relative(file: Path, target: Path) -> str:
    """`file` as seen from the folder of `target`."""
    return Path(os.path.relpath(file.resolve(), target.resolve().parent)).as_posix()


def _name(draft: _Draft) -> str:
    file = draft.columns.file.resolve()
    return file.parent.name if file.stem.casefold() in _PLAIN_STEMS and file.parent.name else file.stem


def _yaml(value: Mapping[str, Any]) -> str:
    return yaml.safe_dump(dict(value), sort_keys=False, allow_unicode=True, width=_WIDTH).rstrip()


def _render(entry: _Entry) -> str:
    """Comment, key, blank line."""
    lines = textwrap.wrap(entry.comment, _WIDTH - 2, break_long_words=False, break_on_hyphens=False)
    remarks = [f"# {line}" for line in lines]
    body = entry.yaml.splitlines()
    return "\n".join([*remarks, *(body if entry.active else [f"# {line}" for line in body]), ""])

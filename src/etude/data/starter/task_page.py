"""The task file as it is written: every key with the reason for its value."""

from __future__ import annotations

import os
import textwrap
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from etude.base.wording import count
from etude.data.dataset import DEV_LEAST, TEST_LEAST, TRAIN_LEAST, least_rows
from etude.data.splits.sides import TEST_MOST, TEST_SHARE
from etude.data.starter.draft import SEED, Draft, contract_parts, listed
from etude.data.starter.guesses_in_words import (
    LIKENESS,
    bare_sentence,
    broken_sentence,
    hidden_sentence,
    rivals,
    spelling_sentence,
    systems_sentence,
)
from etude.task import RowSource, Task

MODEL = "smollm2-135m-instruct"
"""The model of a new task: the packaged one."""
_PLAIN_STEMS = {"train", "training", "trainingset", "trainset", "data", "examples", "rows", "all", "dataset"}
_PLAIN_INPUTS = {"input", "prompt", "text", "body", "content", "query", "source", "request", "utterance"}
_PLAIN_OUTPUTS = {"output", "completion", "answer", "response", "target", "reply", "result", "label"}
_WIDTH = 100


@dataclass(frozen=True)
class _Entry:
    """One key of the task file."""

    comment: str
    yaml: str
    active: bool = True
    """False for a key that is shown with a value but not set."""


def page(draft: Draft) -> str:
    """The whole task file."""
    return "\n".join(_render(entry) for entry in _entries(draft))


def _entries(draft: Draft) -> Iterator[_Entry]:
    """The keys of the task file in the order of reading."""
    yield _Entry(
        f"Written by etude init from {count(len(draft.examples), 'row')} of {draft.columns.file.name}. Lines that "
        "begin with # are remarks. What is marked GUESS was guessed: correct it where it is wrong, then run "
        "etude check (what is wrong with the rows), etude compare (which step is enough: a prompt, examples, "
        "fine-tuning) or etude train (fine-tuning alone)."
        f"{_unread_sentence(draft)}",
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


def _unread_sentence(draft: Draft) -> str:
    unread = len(draft.examples) - len(draft.read)
    if not unread:
        return ""
    return f" Kind, contract and lengths come without the answers of the {unread:,} rows that the split seals as test."


def _row_entries(draft: Draft) -> Iterator[_Entry]:
    roles = ("id", "group", "references", "tags")
    extras = [f"{role} from {draft.reasons[role]}" for role in roles if role in draft.reasons]
    columns = f"GUESS from {draft.reasons['columns']}{rivals(draft)}. " + "".join(
        f"GUESS of {extra}. " for extra in extras
    )
    yield _Entry(
        f"The rows, and which columns mean what. {columns}Rows of one group never stand on two sides of "
        f"the split; results are shown apart by tags.{_maybe_group(draft)}",
        _yaml({"examples": _column_map(draft)}) + _maybe_line(draft),
    )
    beside = _test_beside(draft.columns.file)
    comment = f"Rows for the test alone, with the same columns. {_split_sentence(len(draft.examples))}"
    if beside:
        comment += f" {beside.name} stands beside the examples: take the # away to test on it."
    name = _relative(beside, draft.target) if beside else "test.jsonl"
    yield _Entry(comment, _yaml({"test": name}), active=False)


def _split_sentence(rows: int) -> str:
    """What a split will do with so many rows."""
    most = min(TEST_MOST, rows - DEV_LEAST - TRAIN_LEAST)
    if most < TEST_LEAST:
        least, parts = least_rows(own_test=False)
        beside = least_rows(own_test=True)[0]
        needed = f"a comparison takes {least} ({parts}), with it {beside}"
        return f"Without this line the rows ({rows}) are too few: {needed}."
    test = min(max(round(TEST_SHARE * rows), TEST_LEAST), most)
    rule = f"{float(TEST_SHARE):.0%}, at least {TEST_LEAST} and at most {TEST_MOST:,}"
    return f"Without this line about {test:,} of the {rows:,} rows are split off and sealed ({rule})."


def _maybe_group(draft: Draft) -> str:
    if draft.roles.maybe_group is None:
        return ""
    column, reason = draft.roles.maybe_group
    return f" {column} may name a group ({reason}): take the # away if rows with one value belong together."


def _maybe_line(draft: Draft) -> str:
    """The line that sets the likely group, as a remark."""
    if draft.roles.maybe_group is None:
        return ""
    return f"\n  # {_yaml({'group': draft.roles.maybe_group[0]})}"


def _test_beside(file: Path) -> Path | None:
    """A file that by its name is the test of these examples."""
    found = [file.with_name(f"{stem}{file.suffix}") for stem in ("test", "test_set", "testset")]
    return next((path for path in found if path.is_file() and path != file), None)


def _instruction_entries(draft: Draft) -> Iterator[_Entry]:
    text = f"instructions: |\n{textwrap.indent(_instructions(draft), '  ')}"
    if draft.system and not draft.shares_system:
        comment = f"What the model is told. Not set. {systems_sentence(draft)}"
    elif draft.system:
        comment = "What the model is told. Not set, because the rows bring it: their system message is taken."
        comment += f" Note: {bare_sentence(draft)}" if draft.without_system else ""
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


def _instructions(draft: Draft) -> str:
    contract = draft.contract[0]
    match draft.kind[0]:
        case "classify":
            into = f" into one of:{_label_list(contract.labels)}" if contract.labels else "."
            return f"Classify the message{into}"
        case "extract" if (contract.json_schema or {}).get("type") in ("integer", "number"):
            return "Answer with the number alone."
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
        yield f"Write these lines: {listed(name.removesuffix('?') for name in fields)}."
    optional = [name.removesuffix("?") for name in fields if name.endswith("?")]
    if optional:
        yield f"Leave out {listed(optional)} where it does not apply."


def _length_sentences(outputs: Sequence[str]) -> Iterator[str]:
    """The usual length, where there is one."""
    lengths = sorted(len(output.split()) for output in outputs)
    low, usual, high = (lengths[len(lengths) * part // 10] for part in (1, 5, 9))
    if high <= 3 * max(low, 1):
        yield f"Use about {usual} word{'s' if usual > 1 else ''}."


def _contract_entry(draft: Draft) -> _Entry:
    contract = draft.contract[0]
    comment = f"What can be checked in an answer without judging it. {_contract_sentence(draft)}"
    if contract.fields:
        comment += ' A field that ends in "?" may be absent.'
    if draft.spellings:
        comment += f" {spelling_sentence(draft)}"
    if draft.broken:
        comment += f" {broken_sentence(draft.broken)}."
        if contract.json_schema is not None:
            comment += (
                " Where such a row is right, widen the schema: take the key out of required, or write both types as "
                "type: [integer, string]."
            )
    comment += " Other parts: regex, must_contain, must_not_contain."
    parts = contract_parts(contract)
    unset = draft.measures_likeness or draft.num_hidden_labels or not parts["contract"]
    body = _yaml(parts if parts["contract"] else {"contract": {"labels": ["first", "second"]}})
    return _Entry(comment, body, active=not unset)


def _contract_sentence(draft: Draft) -> str:
    if draft.num_hidden_labels:
        return f"Not set. {hidden_sentence(draft)}"
    if not contract_parts(draft.contract[0])["contract"]:
        return f"Not set, for {draft.contract[1]}."
    if not draft.measures_likeness:
        return f"GUESS: {draft.contract[1]}."
    return f"Not set: only a length could be guessed, which nearly every answer keeps ({draft.contract[1]})."


def _setting_entries(draft: Draft) -> Iterator[_Entry]:
    if draft.kind[0] in ("answer", "rewrite"):
        yield _Entry(
            "A function of yours, (example, answer) -> bool or 0 to 1, that knows whether an answer is right. "
            f"{LIKENESS if draft.measures_likeness else 'Without one the verdict measures form only.'}",
            _yaml({"check": "checks.py:fits"}),
            active=False,
        )
    yield _Entry(f"What counts. {_metric_sentence(draft)}", _yaml({"metric": _metric(draft)}), active=False)
    yield _Entry("Which steps of the ladder are compared: all, or a list.", _yaml({"methods": "all"}))
    yield _Entry(
        "How much worse a simpler method may be and still be good enough: 0.02 is 2 points.",
        _yaml({"margin": Task.margin}),
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
    yield _Entry("The same seed gives the same split and the same result.", _yaml({"seed": SEED}))


def _metric(draft: Draft) -> str:
    if draft.kind[0] == "classify":
        return "macro_f1" if _imbalance(draft.outputs) > 5 else "accuracy"
    if draft.kind[0] == "extract":
        return "exact_match"
    return "chrf" if draft.measures_likeness else "passes"


def _metric_sentence(draft: Draft) -> str:
    if draft.kind[0] == "classify":
        ratio = _imbalance(draft.outputs)
        return (
            f"Chosen by itself: accuracy, or macro_f1 above a class ratio of 5, and here it is {ratio:.0f}."
        )
    if draft.measures_likeness:
        return "Chosen by itself as shown; with check: or contract: it is passes."
    return "Chosen by itself as shown."


def _imbalance(labels: Sequence[str]) -> float:
    counts = Counter(labels).values()
    return max(counts) / min(counts)


def _column_map(draft: Draft) -> dict[str, Any]:
    source = draft.columns
    file = {"file": _relative(source.file, draft.target)}
    roles = ("messages", "input", "output", "system", "id", "references", "group", "tags")
    parts = {role: getattr(source, role) for role in roles}
    plain = {role: list(part) if isinstance(part, tuple) else part for role, part in parts.items() if part}
    if len(source.input) == 1:
        plain["input"] = source.input[0]
    return file | plain


def _relative(file: Path, target: Path) -> str:
    """`file` as seen from the folder of `target`."""
    return Path(os.path.relpath(file.resolve(), target.resolve().parent)).as_posix()


def _name(draft: Draft) -> str:
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

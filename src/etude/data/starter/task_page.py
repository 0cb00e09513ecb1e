"""The task file as it is written: every key with the reason for its value."""

from __future__ import annotations

import os
import textwrap
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from etude.base.pages import environment
from etude.base.wording import count
from etude.data.dataset import TEST_LEAST, least_rows
from etude.data.formats.columns import as_written
from etude.data.splits.sides import TEST_MOST, TEST_SHARE
from etude.data.starter.draft import SEED, Draft, contract_parts, listed
from etude.data.starter.guesses_in_words import (
    CALLS,
    LIKENESS,
    bare_sentence,
    hidden_sentence,
    systems_sentence,
)
from etude.task import RowSource, Task

MODEL = "smollm2-135m-instruct"
"""The model of a new task: the packaged one."""
DOCUMENTS = (".md", ".markdown", ".html", ".pdf", ".docx")
"""Suffixes of files in a folder that is taken for one of documents."""
_PLAIN_STEMS = {"train", "training", "trainingset", "trainset", "data", "examples", "rows", "all", "dataset"}
_PLAIN_INPUTS = {"input", "prompt", "text", "body", "content", "query", "source", "request", "utterance"}
_PLAIN_OUTPUTS = {"output", "completion", "answer", "response", "target", "reply", "result", "label"}
_WIDTH = 100


def page(draft: Draft) -> str:
    """The whole task file, from the template `task_page.yaml.j2`: there a line that begins with ## is a remark of any
    length, one that begins with # a key that is shown and not set."""
    templates = environment(Path(__file__).parent).overlay(autoescape=False)
    templates.filters |= {"yaml": _yaml, "active": _active}
    parts = contract_parts(draft.contract[0])
    beside = None if draft.test else _test_beside(draft.columns.file)
    documents = _documents_beside(draft.columns.file)
    unread = len(draft.examples) - len(draft.read)
    text = templates.get_template("task_page.yaml.j2").render(
        draft=draft,
        rows=count(len(draft.examples), "row"),
        unread=f"{unread:,}" if unread else "",
        name=_name(draft),
        model=MODEL,
        columns={"file": _relative(draft.columns.file, draft.target), **as_written(draft.columns)},
        split_sentence=_split_sentence(len(draft.examples)),
        beside=beside,
        test=_test(draft) if draft.test else _relative(beside, draft.target) if beside else "test.jsonl",
        systems_sentence=systems_sentence,
        bare_sentence=bare_sentence,
        instructions=_instructions(draft),
        contract=parts if parts["contract"] else None,
        contract_set=parts["contract"] and not (draft.measures_likeness or draft.num_hidden_labels),
        contract_sentence=_contract_sentence(draft),
        likeness=CALLS if draft.calls else LIKENESS,
        documents=_relative(documents, draft.target) if documents else "",
        metric=_metric(draft),
        margin=Task.margin,
        seed=SEED,
    )
    return "\n".join(map(_wrapped, text.split("\n"))) + "\n"


def _documents_beside(file: Path) -> Path | None:
    """The first folder beside the rows that holds documents."""
    folders = sorted(each for each in file.absolute().parent.iterdir() if os.access(each, os.R_OK | os.X_OK))
    holding = (each for each in folders if any(one.suffix.lower() in DOCUMENTS for one in each.glob("*")))
    return next(holding, None)


def _active(text: str, is_set: bool) -> str:
    """The lines of a key, as remarks if it is not set."""
    return text if is_set else "\n".join(f"# {line}" for line in text.splitlines())


def _wrapped(line: str) -> str:
    """A remark of any length on as many lines as it takes."""
    if not line.startswith("## "):
        return line
    lines = textwrap.wrap(line[3:], _WIDTH - 2, break_long_words=False, break_on_hyphens=False)
    return "\n".join(f"# {part}" for part in lines)


def _split_sentence(rows: int) -> str:
    least, parts = least_rows(own_test=False)
    if rows < least:
        beside = least_rows(own_test=True)[0]
        needed = f"a comparison takes {least} ({parts}), with it {beside}"
        return f"Without this line the rows ({rows}) are too few: {needed}."
    rule = f"{float(TEST_SHARE):.0%}, at least {TEST_LEAST} and at most {TEST_MOST:,}"
    return f"Without this line {rule} of the {rows:,} rows are split off and sealed."


def _test(draft: Draft) -> str | Mapping[str, Any]:
    """The test as the task file writes it: its columns only if they are not those of the examples."""
    source = draft.test or draft.columns
    file, columns = _relative(source.file, draft.target), as_written(source)
    return file if columns == as_written(draft.columns) else {"file": file, **columns}


def _test_beside(file: Path) -> Path | None:
    """A file that by its name is the test of these examples."""
    found = [file.with_name(f"{stem}{file.suffix}") for stem in ("test", "test_set", "testset")]
    return next((path for path in found if path.is_file() and path != file), None)


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
    lengths = sorted(len(output.split()) for output in outputs)
    low, usual, high = (lengths[len(lengths) * part // 10] for part in (1, 5, 9))
    if high <= 3 * max(low, 1):
        yield f"Use about {usual} word{'s' if usual > 1 else ''}."


def _contract_sentence(draft: Draft) -> str:
    parts = [_contract_guess(draft)]
    if draft.contract[0].fields:
        parts.append('A field that ends in "?" may be absent.')
    return " ".join(parts)


def _contract_guess(draft: Draft) -> str:
    if draft.num_hidden_labels:
        return f"Not set. {hidden_sentence(draft)}"
    if not contract_parts(draft.contract[0])["contract"]:
        return f"Not set, for {draft.contract[1]}."
    if not draft.measures_likeness:
        return f"GUESS: {draft.contract[1]}."
    if draft.calls:
        return "Not set, for answers call functions."
    return f"Not set: only a length could be guessed, which nearly every answer keeps ({draft.contract[1]})."


def _metric(draft: Draft) -> str:
    if draft.kind[0] == "classify":
        return "macro_f1" if _imbalance(draft.outputs) > 5 else "accuracy"
    if draft.kind[0] == "extract":
        return "exact_match"
    likeness = "calls" if draft.calls else "chrf"
    return likeness if draft.measures_likeness else "passes"


def _imbalance(labels: Sequence[str]) -> float:
    counts = Counter(labels).values()
    return max(counts) / min(counts)


def _relative(file: Path, target: Path) -> str:
    return Path(os.path.relpath(file.resolve(), target.resolve().parent)).as_posix()


def _name(draft: Draft) -> str:
    file = draft.columns.file.resolve()
    return file.parent.name if file.stem.casefold() in _PLAIN_STEMS and file.parent.name else file.stem


def _yaml(value: Mapping[str, Any]) -> str:
    return yaml.safe_dump(dict(value), sort_keys=False, allow_unicode=True, width=_WIDTH).rstrip()

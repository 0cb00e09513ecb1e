"""The contract that the answers keep, proposed where the task has none."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace

import yaml

from etude.base.wording import share
from etude.checks.material import Material
from etude.checks.record import FindingKind, finds
from etude.data.starter.draft import (
    contract_parts,
    guess_contract,
    is_length_only,
    num_hidden_labels,
    outside_test,
)
from etude.errors import InputError
from etude.task import Task
from etude.task.contract import Contract
from etude.text.spellings import usual_spellings
from etude.types import Example, Finding, Kind

LEAST_ROWS = 20
"""Answers below which nothing is proposed."""
MOST_ROWS = 20_000
"""Rows looked at; of a larger set an even sample, from which its own test is split off."""
MOST_TEXT = 1_500
"""Characters of a contract that are shown."""


@finds(FindingKind("no_contract", "note", "the contract that `etude init` would write, if the task has none"))
def proposed_contract(material: Material) -> Iterator[Finding]:
    """The lines of a contract, as `etude init` writes them; none where only a length could be guessed.

    Answers that the split puts into the test are not read for it.
    """
    task = material.task
    if task.contract is not None or len(material.rows) < LEAST_ROWS:
        return
    examples = _in_usual_spellings(_looked_at(material), task.kind)
    read = examples if material.test is not None else outside_test(examples, task.kind, task.seed)
    try:
        contract, _ = guess_contract(task.kind, [row.output for row in read])
    except InputError:  # names that a contract cannot hold
        return
    if is_length_only(contract) or len(contract.labels) == 1 or num_hidden_labels(contract, examples):
        return
    kept = _kept(contract, material, read)
    told = "all" if kept == 1 else f"{share(kept)} of the"
    yield material.finding(
        "no_contract",
        "note",
        [],
        f"The task has no contract; {told} answers keep this one, which etude init would write: "
        f"{_lines(task, contract)}",
        "Write it into the task file where it is meant: an answer that breaks it then counts as wrong.",
        numbers={"kept": kept},
    )


def _lines(task: Task, contract: Contract) -> str:
    """The contract as YAML on one line, which stays YAML where a terminal breaks it."""
    lines = yaml.safe_dump(
        contract_parts(contract), sort_keys=False, allow_unicode=True, default_flow_style=True, width=10**6
    ).strip()
    return lines[1:-1] if len(lines) <= MOST_TEXT else f"etude init {task.examples.file.name} writes it"


def _in_usual_spellings(examples: Sequence[Example], kind: Kind) -> tuple[Example, ...]:
    """Rows whose labels are written as most rows write them: rarer spellings are a fault and no label."""
    usual = usual_spellings(Counter(row.output for row in examples)) if kind == "classify" else {}
    return tuple(replace(row, output=usual.get(row.output, row.output)) for row in examples)


def _kept(contract: Contract, material: Material, read: Sequence[Example]) -> float:
    """Share of these rows whose answers, as they are written, keep the contract."""
    ids = {row.id for row in read}
    return sum(not contract.check(row.output) for row in _looked_at(material) if row.id in ids) / len(read)


def _looked_at(material: Material) -> tuple[Example, ...]:
    step = -(-len(material.rows) // MOST_ROWS)
    return tuple(row for place, row in enumerate(material.rows) if place % step == 0)

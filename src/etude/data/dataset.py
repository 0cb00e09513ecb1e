"""Dataset: an ordered, unchangeable list of examples that knows what was done to it.

Loading is where rows and task meet: the system message that all rows share becomes the task's
instructions, and rows that contradict the task are reported together, each with its line.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

from etude.base.remedies import instead, raise_faults
from etude.base.spool import Examples
from etude.base.wording import count, first_of
from etude.data.formats import Rows, read_rows, survey_rows
from etude.data.formats.tools import without_offer
from etude.errors import InputError, Issue, quote_value
from etude.task import Task
from etude.types import Example

TEST_LEAST, DEV_LEAST, TRAIN_LEAST = 50, 30, 20
"""Rows without which a split is refused: for the test, for choices, to train on."""


class Least(NamedTuple):
    """The fewest rows of each side with which rows are split."""

    train: int
    dev: int
    test: int
    """0: no test is split off."""


VERDICT_LEAST = 150
"""Rows below which the only advice on tuning is to collect more."""
COMPARED = Least(TRAIN_LEAST, DEV_LEAST, TEST_LEAST)
TRAINED = Least(TRAIN_LEAST, 10, 0)
"""For a training of rows that are too few for a comparison."""
APART_LEAST = VERDICT_LEAST - DEV_LEAST - TEST_LEAST
"""Rows that a comparison's split must leave to train on for a training to keep to it: with fewer no comparison comes to
a verdict on tuning, and a sealed test would cost the training most of its rows for nothing."""
SHOWN = Least(1, 0, 0)
"""For a look at rows that are too few for a training."""
MOST_BROKEN = 0.05
"""Up to this share of the answers may break the contract; beyond it the two do not belong together."""


@dataclass(frozen=True)
class Dataset:
    """Examples in their order. Ids are unique."""

    examples: tuple[Example, ...]
    history: tuple[str, ...] = ()
    """What was done to the rows since they were read, a sentence each."""
    notes: tuple[str, ...] = ()
    """What the user should know about how they were read, a sentence each."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "examples", tuple(self.examples))
        twice = [name for name, count in Counter(row.id for row in self.examples).items() if count > 1]
        if twice:
            where = ", ".join(row.location or "?" for row in self.examples if row.id == twice[0])
            raise InputError(
                [Issue(where, "rows share an id", quote_value(twice[0]), "give every row a different id")]
            )

    def __len__(self) -> int:
        return len(self.examples)

    def __iter__(self) -> Iterator[Example]:
        return iter(self.examples)

    def __getitem__(self, index: int) -> Example:
        return self.examples[index]

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 (hex) over the rows in their order; where they were read from does not count."""
        digest = hashlib.sha256()
        for row in self.examples:
            turns = [[turn.role, turn.content, *([] if turn.trained else [0])] for turn in row.input]
            parts = [row.id, turns, row.output, list(row.references), row.group, dict(row.tags)]
            parts += [] if row.source is None else [row.source]
            digest.update(json.dumps(parts, sort_keys=True).encode() + b"\n")
        return digest.hexdigest()

    def select(self, rows: Iterable[str | int], reason: str) -> Dataset:
        """The rows with these ids or positions, in the order given; the history says why.

        Raises KeyError for an id and IndexError for a position that is not there.
        """
        chosen = tuple(self._by_id[row] if isinstance(row, str) else self.examples[row] for row in rows)
        return Dataset(chosen, (*self.history, f"{reason}: {len(chosen):,} of {len(self):,} rows"))

    @cached_property
    def _by_id(self) -> dict[str, Example]:
        return {row.id: row for row in self.examples}


def load_dataset(task: Task, least: Least = COMPARED) -> tuple[Task, Dataset]:
    """Reads the task's examples; returns the task with the rows' system message as instructions, also for
    rows that have none, which is noted.

    What was guessed or changed while reading is added to the task's notes. Raises InputError with
    every fault of the rows: unreadable ones, labels outside the contract, system messages that
    conflict, fewer rows than `least` to train on, answers that break the contract where over 5% of them do. Up to that
    share they are named in the notes.
    """
    rows = read_rows(task.examples, task.kind)
    broken = _broken_answers(task, rows)
    faults = [*_system_faults(task, rows), *_foreign_labels(task, rows), *_whole_faults(task, rows, least)]
    raise_faults([*faults, *_too_many(broken, rows)], task.examples.file)
    instructions = task.instructions or next(filter(None, rows.systems), "")
    instructions = _offering(instructions, rows.tools)
    wordings = tuple(_offering(wording, rows.tools) for wording in task.wordings)
    notes = (*task.notes, *rows.notes, *_without_system(rows), *_note_of(broken, "the examples"))
    task = replace(
        task,
        instructions=instructions,
        wordings=wordings,
        own_system=any((*rows.systems, rows.tools)),
        notes=notes,
    )
    return task, Dataset(tuple(rows.examples), (_read_sentence(rows),))


def _offering(instructions: str, tools: str) -> str:
    return "\n\n".join(filter(None, (instructions.strip() if tools else instructions, tools)))


def load_test(task: Task) -> Dataset | None:
    """Reads the task's own test file; None when it names none.

    What was guessed or changed while reading, and up to 5% of answers that break the contract, stand
    in the dataset's notes. Pass the task that `load_dataset` returned, so that the system messages are compared. Raises
    InputError as `load_dataset` does, but for the number of rows.
    """
    if task.test is None:
        return None
    rows = read_rows(task.test, task.kind)
    broken = _broken_answers(task, rows)
    own = replace(task, instructions=without_offer(task.instructions))
    faults = [*_system_faults(own, rows), *_foreign_labels(task, rows), *_too_many(broken, rows)]
    if not task.instructions.endswith(rows.tools):
        what, remedy = "the test offers other functions than the examples", "offer the same in both"
        faults.append(Issue(task.test.file.name, what, quote_value(rows.tools), remedy, "tools"))
    raise_faults(faults, task.test.file)
    notes = (*rows.notes, *_without_system(rows), *_note_of(broken, "the test file"))
    return Dataset(tuple(rows.examples), (_read_sentence(rows),), notes)


class Survey(NamedTuple):
    """The rows of the task's examples that can be read, and what is said about them."""

    rows: Examples
    faults: tuple[Issue, ...]
    """Every one for which `load_dataset` would refuse or note the rows."""
    systems: Mapping[str, str]
    """Each system message, and the place where it first stands."""


def survey_dataset(task: Task) -> Survey:
    """The rows of the task's examples that can be read. Raises InputError only where no row can be read."""
    rows = survey_rows(task.examples, task.kind)
    systems: dict[str, str] = {}
    if any(rows.systems):
        for system, example in zip(rows.systems, rows.examples, strict=True):
            if system:
                systems.setdefault(system, example.location)
    return Survey(*_surveyed(task, rows, _whole_faults(task, rows)), systems)


def survey_test(task: Task) -> tuple[Examples, tuple[Issue, ...]] | None:
    """The same for the task's own test file; None when it names none."""
    return _surveyed(task, survey_rows(task.test, task.kind), ()) if task.test else None


def _surveyed(task: Task, rows: Rows, more: Iterable[Issue]) -> tuple[Examples, tuple[Issue, ...]]:
    if not len(rows.examples):
        raise_faults(rows.faults, rows.source.file)
    faults = (*rows.faults, *_system_faults(task, rows), *_foreign_labels(task, rows), *more)
    return rows.examples, (*faults, *_broken_answers(task, rows))


def _read_sentence(rows: Rows) -> str:
    return f"read from {rows.source.file.name}: {len(rows.examples):,} rows"


def _system_faults(task: Task, rows: Rows) -> Iterator[Issue]:
    """A system message that is not the instructions, not the same in all rows that have one, or in few rows only."""
    first: dict[str, str] = {}
    for system, example in zip(rows.systems, rows.examples, strict=True) if any(rows.systems) else ():
        if system:
            first.setdefault(system.strip(), example.location)
    others = {system: where for system, where in first.items() if system != task.instructions.strip()}
    if task.instructions and others:
        places = list(others.values())
        more = f", and so do others at {first_of(places[1:], 4)}" if len(others) > 1 else ""
        what = f"the system message conflicts with instructions: in the task file{more}"
        got = quote_value(next(iter(others)))
        yield Issue(places[0], what, got, "delete one of the two, or make them equal", "instructions")
    if task.instructions:
        return
    if len(first) > 1:
        yield from _differing_systems(rows, first)
    elif first and not shares_system(rows.systems):
        ((system, where),) = first.items()
        have = len([other for other in rows.systems if other])
        what = (
            f"only {have:,} of {count(len(rows.systems), 'row')} have a system message; the others have none"
        )
        remedy = (
            "write it as instructions: in the task file, if it is meant for all, or delete it from the rows"
        )
        yield Issue(where, what, quote_value(system), remedy, "instructions")


def shares_system(systems: Sequence[str | None]) -> bool:
    """Whether one system message may be taken for all rows: no other stands beside it, and most rows have it."""
    have = [system.strip() for system in systems if system]
    return len(set(have)) == 1 and 2 * len(have) > len(systems)


def _differing_systems(rows: Rows, first: Mapping[str, str]) -> Iterator[Issue]:
    """One fault for all system messages but the most frequent; `first` has the place where each begins to be used."""
    counts = Counter(system.strip() for system in rows.systems if system)
    num_none = len(rows.systems) - counts.total()
    none = f", {count(num_none, 'row')} {'has' if num_none == 1 else 'have'} none" if num_none else ""
    (usual, most), *_ = counts.most_common(1)
    others = [system for system in first if system != usual]
    what = (
        f"the rows have {len(first):,} different system messages{none}; one is in {most:,} of "
        f"{len(rows.systems):,} rows, first at {first[usual]}, the others begin at "
        f"{first_of(others, 4, told=first.__getitem__)}"
    )
    remedy = (
        "write what they share as instructions: in the task file and delete the system messages; what differs from row "
        "to row belongs in the user's turn"
    )
    yield Issue(first[others[0]], what, quote_value(others[0]), remedy, "instructions")


def _without_system(rows: Rows) -> Iterator[str]:
    """That some rows have a system message and others have none."""
    bare = [
        example.location for system, example in zip(rows.systems, rows.examples, strict=True) if not system
    ]
    if 0 < len(bare) < len(rows.examples):
        yield without_system(rows.source.file.name, len(rows.examples), len(bare), bare[0])


def without_system(file: str, total: int, bare: int, first: str) -> str:
    """What is said of `bare` rows without the system message that the others of all `total` rows share."""
    one = bare == 1
    return (
        f"{file}: the system message of {total - bare:,} of {total:,} rows is taken as the instructions of all. "
        f"{count(bare, 'row')} {'has' if one else 'have'} none ({'at' if one else 'the first at'} {first}), and "
        f"{'its answer was' if one else 'their answers were'} written without it: correct or delete what does not fit"
    )


def _foreign_labels(task: Task, rows: Rows) -> Iterator[Issue]:
    """Rows whose label the contract does not list."""
    labels = task.contract.labels if task.contract else ()
    for example in rows.examples if labels else ():
        if example.output not in labels:
            remedy = f"{instead(example.output, labels)}, or add it to labels: in the task file"
            yield Issue(
                example.location,
                "the label is not in the contract",
                quote_value(example.output),
                remedy,
                "label",
            )


def _broken_answers(task: Task, rows: Rows) -> list[Issue]:
    """Rows whose own answer breaks the contract, labels left aside."""
    if task.contract is None or task.contract.labels:
        return []
    found = ((example, task.contract.check(example.output)) for example in rows.examples)
    return [_broken_fault(example, failures) for example, failures in found if failures]


def _broken_fault(example: Example, failures: tuple[str, ...]) -> Issue:
    what = f"the answer breaks the contract: {'; '.join(failures)}"
    return Issue(
        example.location,
        what,
        quote_value(example.output),
        "correct the row, or loosen contract: in the task file",
        "contract",
    )


def _too_many(broken: list[Issue], rows: Rows) -> list[Issue]:
    return broken if len(broken) > MOST_BROKEN * len(rows.examples) else []


def _note_of(broken: list[Issue], place: str) -> tuple[str, ...]:
    places = first_of(broken, 10, told=lambda fault: fault.location)
    one = len(broken) == 1
    said = "answer of {} breaks the contract itself" if one else "answers of {} break the contract themselves"
    return (f"{len(broken):,} {said.format(place)}: {places}",) if broken else ()


def _whole_faults(task: Task, rows: Rows, least: Least = COMPARED) -> Iterator[Issue]:
    file, count = task.examples.file.name, len(rows.examples)
    if count < least.train:  # more may be enough to go on from an earlier split, as only a split can tell
        yield too_few(file, count, task.test is not None, least)
    elif task.kind == "classify" and count >= TRAIN_LEAST:
        yield from _label_faults(file, Counter(row.output for row in rows.examples))


def least_rows(own_test: bool, least: Least = COMPARED) -> tuple[int, str]:
    """The fewest rows that are taken beside a test of the user's own or without one, and for what."""
    test = 0 if own_test else least.test
    parts = [f"{test} for the test"] if test else []
    parts += [f"{least.dev} for choices (dev)", f"{least.train} to train on"]
    return least.dev + least.train + test, ", ".join(parts)


def too_few(file: str, count: int, own_test: bool, least: Least = COMPARED) -> Issue:
    """The fault of `count` rows, which are fewer than a comparison takes, or a training where `least` is its: the
    limit, and what can be done."""
    needed, parts = least_rows(own_test, least)
    missing = needed - count
    remedy = f"collect at least {missing} more row{'' if missing == 1 else 's'}"
    if not own_test and least.test:
        remedy += (
            f", or name a test file of your own under test:, beside which {least_rows(True)[0]} are enough"
        )
    remedy += f"; a verdict on tuning takes {VERDICT_LEAST} in all"
    compared = least.dev >= DEV_LEAST
    if compared:
        remedy += f". etude train, which compares nothing, takes {least_rows(True, TRAINED)[0]}"
    what = f"too few rows for a {'comparison' if compared else 'training'}; {needed} is the least: {parts}"
    got = f"{count} row{'' if count == 1 else 's'}"
    return Issue(file, what, got, remedy, "too_few")


def few_for_tuning(total: int) -> str:
    """What is said of rows that can be compared and are too few for a verdict on tuning."""
    return (
        f"{total} rows are too few for a verdict on tuning, which takes {VERDICT_LEAST} in all; the verdict will "
        "say how many to collect."
    )


def _label_faults(file: str, labels: Counter[str]) -> Iterator[Issue]:
    first, total = next(iter(labels)), labels.total()
    if len(labels) > total / 2:
        got = f"{len(labels):,} labels in {total:,} rows, such as {quote_value(first, 40)}"
        remedy = "set kind: answer, extract or rewrite, or name the column of the labels: output: COLUMN under examples"
        yield Issue(file, "the answers are no labels", got, remedy, "label")
    if len(labels) == 1:
        yield Issue(
            file, "every row has the same label", quote_value(first), "add rows with other labels", "label"
        )

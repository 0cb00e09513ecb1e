"""Dataset: an ordered, immutable list of examples with its history.

Loading combines rows and task: the system message that all rows share becomes the task's
instructions, and all rows that contradict the task are reported together, each with its line.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import NamedTuple, SupportsIndex, overload

from etude.base.formatting import format_command, format_count, list_first
from etude.base.issues import raise_issues, suggest_instead
from etude.data.formats import LoadedRows, read_rows, survey_rows
from etude.data.formats.read import find_shared
from etude.data.formats.tools import (
    append_tools,
    format_own_system,
    format_tools,
    get_defaults,
    split_calls,
    split_tools,
)
from etude.data.spool import Examples, Spool
from etude.errors import InputError, Issue, quote_value
from etude.task import Task
from etude.task.definition import Turns
from etude.task.questions import select_question
from etude.text.near_duplicates import cluster_near_duplicates
from etude.types import MADE, Example, Message

# rows that a comparison needs on each side
MIN_TEST_ROWS = 50
MIN_DEV_ROWS = 30
MIN_TRAIN_ROWS = 20


class MinRows(NamedTuple):
    """The fewest rows of each side with which rows are split."""

    train: int
    dev: int
    test: int  # 0: no test is split off


MIN_VERDICT_ROWS = 150  # with fewer rows, the verdict on tuning is only to collect more
COMPARE_MIN = MinRows(MIN_TRAIN_ROWS, MIN_DEV_ROWS, MIN_TEST_ROWS)
TRAIN_MIN = MinRows(MIN_TRAIN_ROWS, 10, 0)  # for training with too few rows for a comparison
MIN_TRAIN_ROWS_WITH_TEST = MIN_VERDICT_ROWS - MIN_DEV_ROWS - MIN_TEST_ROWS
"""Training seals a test, as a comparison would, only if this many rows are left to train on. With
fewer rows, no comparison reaches a verdict on tuning, so a test would only cost training rows.
"""
PREVIEW_MIN = MinRows(1, 0, 0)  # for a preview with too few rows for training
# Share of answers that may break the contract; if more do, the contract is an error.
MAX_BROKEN_SHARE = 0.05
FindIssues = Callable[[Task, LoadedRows], Iterator[Issue]]


@dataclass(frozen=True)
class Dataset:
    """Examples in their order. Ids are unique."""

    examples: tuple[Example, ...]
    history: tuple[str, ...] = ()  # the steps since the rows were read, one sentence each
    notes: tuple[str, ...] = ()  # notes for the user on the reading of the rows, one sentence each

    def __post_init__(self) -> None:
        # A list is converted, because only a tuple keeps the fingerprint valid. CountedRows are
        # tuples.
        if not isinstance(self.examples, tuple):
            object.__setattr__(self, "examples", tuple(self.examples))
        repeated = [
            name for name, count in Counter(row.id for row in self.examples).items() if count > 1
        ]
        if repeated:
            locations = ", ".join(
                row.location or "?" for row in self.examples if row.id == repeated[0]
            )
            remedy = "give every row a different id"
            raise InputError.of(
                locations, "rows have the same id", quote_value(repeated[0]), remedy
            )

    def __len__(self) -> int:
        return len(self.examples)

    def __iter__(self) -> Iterator[Example]:
        return iter(self.examples)

    def __getitem__(self, index: int) -> Example:
        return self.examples[index]

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 (hex) over the rows in their order, without their locations."""
        digest = hashlib.sha256()
        for row in self.examples:
            # Values are appended only if set, so that rows without them keep their fingerprint.
            turns = [
                [turn.role, turn.content, *([] if turn.trained else [0])] for turn in row.input
            ]
            values = [row.id, turns, row.output, list(row.references), row.group, dict(row.tags)]
            values += [] if row.source is None else [row.source]
            values += [dict(row.answers)] if row.answers else []
            values += [{"conversation": row.conversation}] if row.conversation else []
            digest.update(json.dumps(values, sort_keys=True).encode() + b"\n")
        return digest.hexdigest()

    @cached_property
    def whole(self) -> "Dataset":
        """The rows with all turns of their conversation: as many as the file has, even with `turns:
        all`.
        """
        rows = enumerate(tuple.__iter__(self.examples))  # without counting that they were read
        positions = [position for position, row in rows if row.is_whole]
        return (
            self if len(positions) == len(self) else self.select(positions, "whole conversations")
        )

    @cached_property
    def real(self) -> "Dataset":
        """The rows that no model wrote: the rows that the user has."""
        positions = [position for position, row in enumerate(self.examples) if not row.is_made]
        return (
            self
            if len(positions) == len(self)
            else self.select(positions, "rows that no model wrote")
        )

    @cached_property
    def near_duplicates(self) -> list[tuple[int, ...]]:
        """Positions of rows whose inputs are near-duplicates, in groups of two or more."""
        return cluster_near_duplicates([row.text for row in self.examples], alone=False)

    def select(self, rows: Iterable[str | int], reason: str) -> "Dataset":
        """The rows with these ids or positions, in the given order; `reason` goes into the history.

        Raises KeyError for an unknown id and IndexError for an unknown position.
        """
        selected = tuple(
            self._by_id[row] if isinstance(row, str) else self.examples[row] for row in rows
        )
        return Dataset(
            selected, (*self.history, f"{reason}: {len(selected):,} of {len(self):,} rows")
        )

    @cached_property
    def _by_id(self) -> dict[str, Example]:
        return {row.id: row for row in self.examples}


class CountedRows(tuple[Example, ...]):
    """Rows that record which of them were read: by iteration, by index or by slice."""

    read: set[int]
    """Positions of the rows that were read."""

    def __new__(cls, rows: Iterable[Example]) -> "CountedRows":
        """Copy `rows`; no row of the copy counts as read."""
        counted = super().__new__(cls, rows)
        counted.read = set()
        return counted

    def __iter__(self) -> Iterator[Example]:
        for position in range(len(self)):
            yield self[position]

    @overload
    def __getitem__(self, key: SupportsIndex) -> Example: ...
    @overload
    def __getitem__(self, key: slice) -> tuple[Example, ...]: ...
    def __getitem__(self, key: SupportsIndex | slice) -> Example | tuple[Example, ...]:
        positions = range(len(self))[key]
        self.read.update(positions if isinstance(positions, range) else (positions,))
        return super().__getitem__(key)

    def __add__(self, other: tuple[Example, ...]) -> tuple[Example, ...]:  # type: ignore[override]
        return (*self, *other)


def count_reads(rows: Dataset) -> tuple[Dataset, set[int]]:
    """Return a copy of `rows`, and a set to which the positions of rows are added when they are
    read from the copy.
    """
    counted = CountedRows(rows.examples)
    copy = replace(rows, examples=counted)
    counted.read.clear()  # the check of the ids above read all rows
    return copy, counted.read


def load_dataset(task: Task, minimum: MinRows = COMPARE_MIN) -> tuple[Task, Dataset]:
    """Reads the task's examples, and returns them with the task.

    A system message that the rows share becomes the task's instructions; a note reports rows
    without it. Different system messages or functions become the first turn of their row. Rows that
    a model wrote (`made_rows:`) follow the others. The task's notes list what was guessed or
    changed while reading.

    Raises InputError with every error of the rows: unreadable rows, labels outside the contract,
    conflicting system messages, and fewer rows than `minimum` to train on. Answers that break the
    contract are an error if they are over 5% of all; otherwise the notes list them.
    """
    try:
        rows = read_rows(task.examples, task.kind)
    except InputError as error:
        if any(issue.kind == "empty" for issue in error.issues):
            error.add_note(f"To leave out empty rows: {format_command('check', task.file)} --fix")
        raise
    rows, tool_issues = _offer_functions(task, split_turns(rows, task.turns))
    broken = _find_broken_answers(task, rows)
    # Errors of all kinds are raised together, so that one run reports everything that must be
    # corrected.
    issues = [*tool_issues, *_system_issues(task, rows), *_label_issues(task, rows)]
    issues += _size_issues(task, rows, minimum)
    labels = (task.contract and task.contract.labels) or {row.output for row in rows.examples}
    for label in sorted({*(task.costs.labels if task.costs else ())} - {*labels}):
        message = "costs.labels has a label that no row has"
        remedy = "correct it in the task file"
        issues.append(Issue(task.examples.file.name, message, quote_value(label), remedy))
    raise_issues(select_refused([*issues, *broken], len(rows.examples)), task.examples.file)
    instructions, tools = _find_shared_turn(rows, task.instructions)
    examples = (*_add_own_systems(rows, instructions, tools), *_read_made_rows(task))
    notes = (*task.notes, *rows.notes, *_list_notes(rows, broken, "the examples"))
    task = replace(
        task,
        instructions=append_tools(instructions, tools),
        wordings=tuple(append_tools(wording, tools) for wording in task.wordings),
        own_system=any((*rows.systems, *rows.offers)),
        row_systems=any(row.input[0].role == "system" for row in examples),
        notes=notes,
    )
    return task, Dataset(examples, (_describe_reading(rows),))


def _read_made_rows(task: Task) -> Iterator[Example]:
    """The rows of the task's `made_rows:`, marked as made whatever their file says. Raises
    InputError.
    """
    if task.made_rows:
        rows = read_rows(task.made_rows, task.kind)
        raise_issues([*_label_issues(task, rows)], task.made_rows.file)
        yield from (replace(row, source=MADE) for row in rows.examples)


def _offer_functions(task: Task, rows: LoadedRows) -> tuple[LoadedRows, list[Issue]]:
    """With `tools:`, return the rows with the functions of the class, unless rows have functions of
    their own; and the calls of functions that are not declared.
    """
    if task.tools is None:
        return rows, []
    try:
        functions = task.tools.describe().functions
    except InputError as error:
        return rows, list(error.issues)
    names = [function["name"] for function in functions]
    issues = []
    for row in rows.examples:
        texts = [row.output, *(turn.content for turn in row.input if turn.role == "assistant")]
        called = {call["name"] for text in texts if row.is_whole for call in split_calls(text)[1]}
        for name in sorted(called - {*names}):
            message = f"the row calls a function that {task.tools.name} does not have"
            issues.append(
                Issue(row.location, message, quote_value(name), suggest_instead(name, names))
            )
    if not any(rows.offers):
        rows = replace(rows, offers=(format_tools(list(functions)),) * len(rows.examples))
    return rows, issues


def _find_shared_turn(rows: LoadedRows, instructions: str) -> tuple[str, str]:
    """The instructions and functions of all rows without their own: one prompt for training and
    evaluation.
    """
    instructions = instructions or find_shared(rows.systems)
    has_own = any(system and system.strip() != instructions.strip() for system in rows.systems)
    return instructions, rows.tools if not has_own or all(rows.offers) else ""


def _add_own_systems(rows: LoadedRows, instructions: str, tools: str) -> Iterator[Example]:
    """The rows; a row gets a system turn if its system message or functions differ from the shared
    ones.
    """
    for row, system, offer in zip(rows.examples, rows.systems, rows.offers, strict=True):
        text = format_own_system(system, offer, instructions, tools)
        turns = (Message("system", text), *row.input) if text else row.input
        defaults = get_defaults(offer or tools)
        yield replace(row, input=turns, defaults=defaults) if text or defaults else row


def load_test(task: Task) -> Dataset | None:
    """Reads the task's own test file; None if it has none.

    The dataset's notes list what was guessed or changed while reading, and up to 5% of answers that
    break the contract. Pass the task that `load_dataset` returned, because it has the system
    message to compare with. Raises InputError like `load_dataset`, but not for too few rows.
    """
    if task.test is None:
        return None
    rows, issues = _offer_functions(task, split_turns(read_rows(task.test, task.kind), task.turns))
    broken = _find_broken_answers(task, rows)
    # `load_dataset` appended the functions to the instructions; the rows have them in a separate
    # column.
    instructions, tools = split_tools(task.instructions)
    issues += [
        *_system_issues(replace(task, instructions=instructions), rows),
        *_label_issues(task, rows),
    ]
    issues += select_refused(broken, len(rows.examples))
    if not task.row_systems and not {*rows.offers} <= {"", tools}:
        message = "the functions of the test differ from those of the examples"
        remedy = "use the same functions in both files"
        issues.append(
            Issue(task.test.file.name, message, quote_value(max(rows.offers)), remedy, "tools")
        )
    raise_issues(issues, task.test.file)
    notes = (*rows.notes, *_list_notes(rows, broken, "the test file"))
    examples = tuple(_add_own_systems(rows, instructions, tools))
    return Dataset(examples, (_describe_reading(rows),), notes)


def split_turns(rows: LoadedRows, turns: Turns) -> LoadedRows:
    """With `turns: all`, add the earlier questions of each conversation, each with the true turns
    before it.

    The questions of a conversation are in one group, so they are on one side of a split and count
    once in statistics. The tag `turn` breaks results down. Turns of weight 0 are not questions.
    References, stored answers and the source belong to the last answer only.
    """
    if turns == "last":
        return rows
    examples = Spool()
    positions = list[int]()
    for position, row in enumerate(rows.examples):
        for example in _list_questions(row):
            examples.append(example)
            positions.append(position)
    count = (
        f"{format_count(len(examples), 'question')} in "
        f"{format_count(len(rows.examples), 'conversation')}"
    )
    return replace(
        rows,
        examples=examples,
        systems=tuple(rows.systems[position] for position in positions),
        offers=tuple(rows.offers[position] for position in positions),
        notes=(*rows.notes, f"{rows.source.file.name}: turns: all: {count}"),
    )


def _list_questions(row: Example) -> Iterator[Example]:
    """The questions of a conversation, the last one with the row's own id."""
    ends = [place for place, turn in enumerate(row.input) if turn.role == "assistant"]
    earlier = [(number, place) for number, place in enumerate(ends, 1) if row.input[place].trained]
    group = row.group or (f"conversation {row.id}" if earlier else None)
    names = {1: "first", 2: "second"}
    row = replace(row, group=group, conversation=row.id)
    for number, place in earlier:
        yield replace(
            row,
            id=f"{row.id}/{number}",
            input=row.input[:place],
            output=row.input[place].content,
            tags={"turn": names.get(number, "later"), **row.tags},
            references=(),
            answers={},
            source=None,
        )
    yield replace(row, tags={"turn": names.get(len(ends) + 1, "later"), **row.tags})


class Survey(NamedTuple):
    """The rows of the task's examples that can be read, and the errors of all rows."""

    rows: Examples  # with their own system turns, as in `load_dataset`
    issues: tuple[Issue, ...]  # every error that `load_dataset` would raise or note
    systems: Mapping[str, str]  # system message -> location of the first row that has it
    shared_system: str = ""  # the system message that the rows share, if they do
    shared_tools: str = ""  # the functions that the rows share, as text


def survey_dataset(task: Task) -> Survey:
    """The rows of the task's examples that can be read. Raises InputError only if no row can be
    read.
    """
    rows = survey_rows(replace(task.examples, skip_empty=False), task.kind)
    systems: dict[str, str] = {}
    if any(rows.systems):
        for system, example in zip(rows.systems, rows.examples, strict=True):
            if system:
                systems.setdefault(system, example.location)
    examples, issues = _collect_issues(task, rows, _size_issues(task, rows))
    instructions, tools = _find_shared_turn(rows, split_tools(task.instructions)[0])
    if any(rows.systems) or any(rows.offers):
        examples = Spool()
        for row in _add_own_systems(rows, instructions, tools):
            examples.append(row)
    return Survey(examples, issues, systems, find_shared(rows.systems), tools)


def survey_test(task: Task) -> tuple[Examples, tuple[Issue, ...]] | None:
    """The rows of the task's own test file that can be read, and the errors; None if it has
    none.
    """
    return _collect_issues(task, survey_rows(task.test, task.kind), ()) if task.test else None


def _collect_issues(
    task: Task, rows: LoadedRows, size_issues: Iterable[Issue]
) -> tuple[Examples, tuple[Issue, ...]]:
    if not len(rows.examples):
        raise_issues(rows.issues, rows.source.file)
    examples = rows.examples
    (rows, tool_issues) = _offer_functions(task, split_turns(rows, task.turns))
    issues = (
        *rows.issues,
        *tool_issues,
        *_system_issues(task, rows),
        *_label_issues(task, rows),
        *size_issues,
    )
    return examples, (*issues, *_find_broken_answers(task, rows))


def _describe_reading(rows: LoadedRows) -> str:
    return f"read from {rows.source.file.name}: {len(rows.examples):,} rows"


def _system_issues(task: Task, rows: LoadedRows) -> Iterator[Issue]:
    """A shared system message that conflicts with the instructions; different system messages are
    not an error.
    """
    locations: dict[str, str] = {}
    for system, example in (
        zip(rows.systems, rows.examples, strict=True) if any(rows.systems) else ()
    ):
        if system:
            locations.setdefault(system.strip(), example.location)
    if (
        task.instructions
        and not task.row_systems
        and (find_shared(rows.systems) or task.own_system)
    ):
        conflicting = {
            system: row for system, row in locations.items() if system != task.instructions.strip()
        }
        if conflicting:
            first, *following = conflicting.values()
            also = f", like the system messages at {list_first(following, 4)}" if following else ""
            message = f"the system message conflicts with instructions: in the task file{also}"
            remedy = "delete one of the two, or make them equal"
            yield Issue(
                first, message, quote_value(next(iter(conflicting))), remedy, "instructions"
            )


def own_systems_note(file: str, num_systems: int, num_without: int) -> str:
    """The note on rows with different system messages."""
    none = ""
    if num_without:
        none = (
            f". For {format_count(num_without, 'row')} without a system message, the instructions "
            "are used"
        )
    if num_systems == 1:
        return f"{file}: the system message is used only for the rows that have it{none}"
    return (
        f"{file}: {num_systems:,} different system messages; each is used for its own rows "
        f"only{none}"
    )


def missing_system_note(file: str, total: int, num_without: int, first: str) -> str:
    """The note on `num_without` rows without the system message that the others of all `total` rows
    share.
    """
    is_one = num_without == 1
    return (
        f"{file}: the system message of {total - num_without:,} of {total:,} rows is used as the "
        f"instructions for all rows. {format_count(num_without, 'row')} "
        f"{'has' if is_one else 'have'} no system message ({'at' if is_one else 'the first at'} "
        f"{first}), so {'its answer was' if is_one else 'their answers were'} written without it. "
        f"Correct or delete {'the row' if is_one else 'the rows'} if necessary"
    )


def _label_issues(task: Task, rows: LoadedRows) -> Iterator[Issue]:
    find = partial(_find_wrong_labels, has_questions=bool(task.questions))
    return _by_question(find, task, rows)


def _find_wrong_labels(task: Task, rows: LoadedRows, has_questions: bool) -> Iterator[Issue]:
    """Rows whose label the contract does not list. On a scale, further right labels need a position
    too.
    """
    labels = task.contract.labels if task.contract else ()
    for row in rows.examples if labels or has_questions else ():
        others = [reference.strip() for reference in row.references] if task.scale else []
        for label in (row.output, *others):
            if has_questions and not label:
                remedy = "write the answer as one object with a label for each question"
                yield Issue(row.location, "there is no answer", "", remedy, "label")
            elif labels and label not in labels:
                message = f"the label is not {'on the scale' if task.scale else 'in the contract'}"
                key = "scale" if task.scale else "labels"
                remedy = f"{suggest_instead(label, labels)}, or add it to {key}: in the task file"
                yield Issue(row.location, message, quote_value(label), remedy, "label")


def _by_question(find: FindIssues, task: Task, rows: LoadedRows) -> Iterator[Issue]:
    if not task.questions:
        yield from find(task, rows)
    for name, question in task.split_questions().items():
        selected = replace(
            rows, examples=tuple(select_question(row, name) for row in rows.examples)
        )
        for issue in find(question, selected):
            yield replace(issue, message=f"{name}: {issue.message}")


def _find_broken_answers(task: Task, rows: LoadedRows) -> list[Issue]:
    """Rows whose own answer breaks the contract, apart from labels."""
    if task.contract is None or task.contract.labels or task.questions:
        return []
    remedy = "correct the row, or change contract: in the task file"
    return [
        Issue(
            row.location,
            f"the answer breaks the contract: {'; '.join(failures)}",
            quote_value(row.output),
            remedy,
            "contract",
        )
        for row in rows.examples
        if (failures := task.contract.check(row.output))
    ]


def select_refused(issues: Iterable[Issue], num_rows: int) -> list[Issue]:
    """Select the issues of a file that stop a comparison: all, except a few answers that break the
    contract.
    """
    issues = list(issues)
    num_broken = sum(issue.kind == "contract" for issue in issues)
    is_excessive = num_broken > MAX_BROKEN_SHARE * num_rows
    return [issue for issue in issues if is_excessive or issue.kind != "contract"]


def _list_notes(rows: LoadedRows, broken: Sequence[Issue], file: str) -> Iterator[str]:
    """Notes on rows with different system messages or without one, and on answers that break the
    contract.
    """
    missing = [
        example.location
        for system, example in zip(rows.systems, rows.examples, strict=True)
        if not system
    ]
    if (
        differing := len({system.strip() for system in rows.systems if system})
        if not find_shared(rows.systems)
        else 0
    ):
        yield own_systems_note(rows.source.file.name, differing, len(missing))
    elif 0 < len(missing) < len(rows.examples):
        yield missing_system_note(
            rows.source.file.name, len(rows.examples), len(missing), missing[0]
        )
    if broken:
        subject = f"answer of {file} breaks" if len(broken) == 1 else f"answers of {file} break"
        locations = list_first([issue.location for issue in broken], 10)
        yield f"{len(broken):,} {subject} the contract: {locations}"


def _size_issues(task: Task, rows: LoadedRows, minimum: MinRows = COMPARE_MIN) -> Iterator[Issue]:
    """Too few rows to train on, else outputs that are not labels."""
    file = task.examples.file.name
    num_rows = sum(row.is_whole and not row.is_made for row in rows.examples)
    # Rows of an earlier split keep their side, so only the split can decide whether the other sides
    # are large enough.
    if num_rows < minimum.train:
        yield too_few_rows(file, num_rows, task.test is not None, minimum)
        return
    yield from _by_question(_find_non_labels, task, rows)


def _find_non_labels(task: Task, rows: LoadedRows) -> Iterator[Issue]:
    """Outputs that are not labels, because there are too many different ones or only one."""
    file = task.examples.file.name
    num_rows = len(rows.examples)
    if task.kind == "classify" and num_rows >= MIN_TRAIN_ROWS:
        labels = Counter(label for row in rows.examples for label in task.list_labels(row.output))
        first = quote_value(next(iter(labels), "[]"), 40)
        if len(labels) > num_rows / 2:
            value = f"{len(labels):,} labels in {num_rows:,} rows, such as {first}"
            remedy = (
                "set kind: answer, extract or rewrite, or set output: under examples: to the "
                "column of the labels"
            )
            yield Issue(file, "the answers are not labels", value, remedy, "label")
        if len({row.output for row in rows.examples}) == 1:
            yield Issue(
                file, "every row has the same label", first, "add rows with other labels", "label"
            )


def count_min_rows(has_own_test: bool, minimum: MinRows = COMPARE_MIN) -> tuple[int, str]:
    """The fewest rows that are accepted, in all and, as text, for each side; the user's own test
    has no minimum.
    """
    num_test = 0 if has_own_test else minimum.test
    sides = [f"{num_test} for the test"] if num_test else []
    sides += [f"{minimum.dev} for choices (dev)", f"{minimum.train} to train on"]
    return minimum.dev + minimum.train + num_test, ", ".join(sides)


def too_few_rows(
    file: str, num_rows: int, has_own_test: bool, minimum: MinRows = COMPARE_MIN
) -> Issue:
    """The error of `num_rows` rows, fewer than a comparison or training needs: the minimum, and
    what to do.
    """
    needed, sides = count_min_rows(has_own_test, minimum)
    missing = needed - num_rows
    remedy = f"collect at least {missing} more row{'' if missing == 1 else 's'}"
    if not has_own_test and minimum.test:
        remedy += (
            f", or set test: to a test file of your own; then {count_min_rows(True)[0]} rows are "
            "enough"
        )
    remedy += f". A verdict on tuning needs {MIN_VERDICT_ROWS} rows in all"
    is_comparison = minimum.dev >= MIN_DEV_ROWS
    if is_comparison:
        remedy += (
            f". etude train, which compares nothing, needs {count_min_rows(True, TRAIN_MIN)[0]}"
        )
    purpose = "comparison" if is_comparison else "training"
    message = f"too few rows for a {purpose}; the minimum is {needed}: {sides}"
    return Issue(file, message, f"{num_rows} row{'' if num_rows == 1 else 's'}", remedy, "too_few")


def few_rows_note(total: int) -> str:
    """The note on rows that are enough for a comparison but too few for a verdict on tuning."""
    return (
        f"{total} rows are too few for a verdict on tuning, which needs {MIN_VERDICT_ROWS} rows "
        "in all. The verdict will state how many to collect."
    )

"""Plan a fix: which rows are changed or left out, and why.

A fix makes only changes that need no judgement. It never changes labels and reads no answer of the
test. In memory are one batch of rows, the surrogates, the values found, and a hash of 16 bytes for
each row.
"""

import hashlib
import json
from array import array
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from itertools import chain, islice

from etude.checks.rows.damaged_text import fix_encoding, is_leftover, remove_markup
from etude.data.dataset import Survey, survey_dataset, survey_test
from etude.data.formats.columns import list_columns
from etude.errors import InputError
from etude.index.documents import find_published_contacts
from etude.privacy import BLOCKING, Masker, OwnContact, Span
from etude.privacy.mask import known_values, lookup
from etude.repair import change_log, editable_rows
from etude.repair.row_drafts import Repair, RowDraft, RowDrafts, find_cached
from etude.task import Task
from etude.text.near_duplicates import find_near_matches

# Rows in memory at once
BATCH_ROWS = 4096
# Whether findings of a kind are to be fixed
IsWanted = Callable[[str], bool]


def plan_changes(
    task: Task,
    is_wanted: IsWanted,
    masker: Masker,
    earlier_surrogates: Collection[str] = (),
    survey: Survey | None = None,
) -> "ChangePlan":
    """Plan the changes to the task's examples; `survey` is given if they were read already.

    New surrogates are added to `masker`; those of an earlier fix are not
    masked again. Raises InputError if the file cannot be read or no row would be left.
    """
    survey = survey or survey_dataset(task)
    drafts = RowDrafts(task, survey)
    own_contact = OwnContact(find_published_contacts(task.documents))
    personal = _PersonalValues(is_wanted, masker, earlier_surrogates, own_contact)
    test = survey_test(task) if is_wanted("test_overlap") else None
    # Two rows are equal if all columns that are read, except the id, are equal.
    columns = editable_rows.resolve_columns(task.examples)
    compared = [name for name in list_columns(columns) if name != columns.id]
    repairs: list[Repair] = [("encoding", fix_encoding)] if is_wanted("encoding") else []

    # First pass over the rows: collect all personal values before any of them is masked.
    has_markup = dict[int, bool]()
    for draft in drafts if personal.kinds or is_wanted("markup") else ():
        if draft.id:
            row = draft.current
            texts = tuple(map(row.get_text, row.input_paths + row.answer_paths))
            has_markup[hash(texts)] = draft.has_markup
        personal.collect(draft, repairs)
    personal.close()
    if is_wanted("markup") and is_leftover(has_markup):
        repairs.append(("markup", remove_markup))

    # Second pass: fix the rows in batches.
    test_inputs = [row.text for row in test[0]] if test else []
    fixer = _RowFixer(is_wanted, repairs, personal, test_inputs, compared)
    plan = ChangePlan()
    rows = iter(drafts)
    while batch := list(islice(rows, BATCH_ROWS)):
        fixer.fix_batch(batch)
        for draft in batch:
            plan.add(draft)
    if plan.num_examples and not plan.num_kept:
        remedy = "look at the rows with etude check first"
        raise InputError.of(task.examples.file.name, "the fix would leave out all rows", "", remedy)
    return plan


@dataclass
class ChangePlan:
    """The planned changes, and the rows that they leave."""

    changes: change_log.ChangeList = field(default_factory=change_log.ChangeList)
    """In the order of the rows."""
    unwritten: list[int] = field(default_factory=list)
    """Lines of rows that need a change that the file format cannot hold."""
    num_examples: int = 0
    num_kept: int = 0
    """Examples that are not left out."""

    def add(self, draft: RowDraft) -> None:
        """Add a processed row."""
        if draft.id:
            self.num_examples += 1
            self.num_kept += not draft.is_left_out
        if draft.has_unwritten and not draft.is_left_out:
            self.unwritten.append(draft.original.line)
        if draft.kinds:
            self.changes.append(draft.to_change())


class _PersonalValues:
    """The personal values and secrets of the whole file.

    They are collected before anything is masked, so that a value with a label in only one row is
    masked in all rows, and no surrogate equals a value of another row.
    """

    def __init__(
        self,
        is_wanted: IsWanted,
        masker: Masker,
        earlier_surrogates: Collection[str],
        own_contact: OwnContact,
    ) -> None:
        self.kinds = frozenset(kind for kind in BLOCKING if is_wanted(f"privacy_{kind}"))
        self._masker = masker
        self._earlier_surrogates = lookup.SurrogateIndex(earlier_surrogates)
        self._own_contact = own_contact
        # Values that are masked in every row
        self._known_values = known_values.KnownValues()
        # (kind, text) of each value -> its number
        self._numbers: dict[tuple[str, str], int] = {}
        # For each occurrence of a value two numbers: the line of the row, and the value's number
        self._occurrences = array("Q")
        # Lines of the rows in which something is masked
        self._masked_lines: set[int] = set()

    def collect(self, draft: RowDraft, repairs: list[Repair]) -> None:
        """Collect the values of a row. Call `close` after the last row."""
        if not self.kinds:
            return
        draft.repair(repairs)
        for path in draft.trained_paths[len(draft.current.input_paths) :]:
            answer = draft.current.get_text(path)
            self._own_contact.add_answer(answer, find_cached(answer))
        for path in (*draft.trained_paths, *draft.current.other_paths):
            self._masker.keep_clear_of(draft.current.get_text(path))
        for span in chain.from_iterable(draft.find_personal(self._skip_surrogates).values()):
            number = self._numbers.setdefault((span.kind, span.text), len(self._numbers))
            self._occurrences.extend((draft.original.line, number))

    def close(self) -> None:
        own_numbers = set()
        for (kind, text), number in self._numbers.items():
            if self._own_contact.is_own(Span(0, len(text), kind, text, "")):
                own_numbers.add(number)
            elif known_values.is_distinctive(kind, text):
                self._known_values.add(kind, text)
        pairs = zip(self._occurrences[::2], self._occurrences[1::2], strict=True)
        self._masked_lines = {line for line, number in pairs if number not in own_numbers}
        self._numbers.clear()
        del self._occurrences[:]

    def mask(self, draft: RowDraft) -> None:
        if self.kinds:
            search = draft.original.line in self._masked_lines or draft.has_markup
            draft.mask(self.select_spans, self._known_values, self._masker, search)

    def select_spans(self, text: str, spans: Iterable[Span]) -> list[Span]:
        return self._skip_surrogates(
            text, (span for span in spans if not self._own_contact.is_own(span))
        )

    def _skip_surrogates(self, text: str, spans: Iterable[Span]) -> list[Span]:
        candidates = [span for span in spans if span.kind in self.kinds]
        if not candidates:
            return []
        indexes = (self._masker.surrogate_index, self._earlier_surrogates)
        surrogates = sorted(chain.from_iterable(index.find_in(text) for index in indexes))
        return [
            span
            for span in candidates
            if not any(start < span.end and span.start < end for start, end in surrogates)
        ]


@dataclass
class _RowFixer:
    """Fixes rows batch by batch. Fixing the result again changes nothing."""

    is_wanted: IsWanted
    repairs: list[Repair]
    personal: _PersonalValues
    test_inputs: list[str]
    columns: list[str]
    """Two rows are equal if these columns are equal."""
    row_hashes: set[bytes] = field(default_factory=set)
    """Hashes of the rows that stay."""

    def fix_batch(self, batch: list[RowDraft]) -> None:
        for draft in batch:
            if draft.issue_kind and self.is_wanted(draft.issue_kind):
                draft.leave_out(draft.issue_kind)
        examples = [draft for draft in batch if draft.id]
        self._leave_out_test_inputs(examples)
        for draft in examples:
            draft.repair(self.repairs)
            self.personal.mask(draft)
        # Rows that equal an earlier row except for the id.
        for draft in examples if self.is_wanted("repeated_input") else ():
            if not draft.is_left_out:
                cells = (draft.current.cells.get(name) for name in self.columns)
                values = [cell.strip() if isinstance(cell, str) else cell for cell in cells]
                text = json.dumps(values, sort_keys=True)
                row_hash = hashlib.blake2b(text.encode(), digest_size=16).digest()
                if row_hash in self.row_hashes:
                    draft.leave_out("repeated_input")
                self.row_hashes.add(row_hash)
        # A repaired input can equal a test input from which it differed before.
        self._leave_out_test_inputs(
            [draft for draft in examples if draft.current is not draft.original]
        )

    def _leave_out_test_inputs(self, drafts: Iterable[RowDraft]) -> None:
        active = [draft for draft in drafts if not draft.is_left_out]
        if self.test_inputs and active:
            for row, *_ in find_near_matches(
                [draft.input_text for draft in active], self.test_inputs
            ):
                active[row].leave_out("test_overlap")

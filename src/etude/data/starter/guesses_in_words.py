"""Sentences on what was guessed from the rows: all of them for the caller, some for the task file too."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from etude.base.wording import count, first_of
from etude.data.dataset import VERDICT_LEAST, few_for_tuning, least_rows, too_few, without_system
from etude.data.formats.turns import of_any_turn
from etude.data.starter.draft import Draft, contract_parts, listed
from etude.errors import quote_value
from etude.task import RowSource

LIKENESS = (
    "Without check: or contract:, what is measured is how alike an answer is to the example's (chrF): a right "
    "answer in other words scores low, a wrong one in the same words high."
)
CALLS = (
    "Without check: or contract:, what is measured is whether an answer calls the right functions; what it says in "
    "words is not."
)
_MOST_SYSTEMS = 3
_MOST_PLACES = 5


def guesses(draft: Draft) -> Iterator[str]:
    """What was guessed, a sentence each."""
    yield f"kind: {draft.kind[0]}, from {draft.kind[1]}"
    yield f"columns: {_column_sentence(draft.columns)}, from {draft.reasons['columns']}"
    if draft.test:
        yield f"test: {draft.test.file.name}, {_column_sentence(draft.test)}"
    if draft.refusal and draft.columns.group:
        name, number = draft.columns.group, len({row.group for row in draft.examples} - {None})
        yield (
            f"group: {name} has {count(number, 'value')}. Rows of one group stay on one side of the split, so a "
            f"comparison refuses these ({draft.refusal}). Name a column with more values, or rename {name} in the file "
            "if its rows need not stay together"
        )
    for role in ("id", "group", "tags"):
        if role in draft.reasons:
            yield f"{role}: {listed(getattr(draft.columns, role))}, from {draft.reasons[role]}"
    yield _contract_guess(draft)
    if draft.system and not draft.shares_system:
        yield f"instructions: none. {systems_sentence(draft)}"
    elif draft.system and draft.without_system:
        yield f"instructions: {bare_sentence(draft)}"
    yield from _left_out_sentences(draft)
    number = len(draft.examples)
    own_test = draft.test is not None
    if number < least_rows(own_test)[0]:
        fault = too_few(draft.columns.file.name, number, own_test)
        yield f"rows: {fault.message} (got {fault.value}); {fault.remedy}"
    elif number < VERDICT_LEAST:
        yield few_for_tuning(number)
    yield from draft.rows.notes


def _contract_guess(draft: Draft) -> str:
    if draft.calls:
        return f"contract: none, for answers call functions. {CALLS}"
    if draft.measures_likeness:
        return f"contract: none, for only a length could be guessed. {LIKENESS}"
    if draft.num_hidden_labels:
        return f"contract: none. {hidden_sentence(draft)}"
    none = "" if contract_parts(draft.contract[0])["contract"] else "none, for "
    return f"contract: {none}{draft.contract[1]}"


def _column_sentence(source: RowSource) -> str:
    if source.messages:
        return f"messages = {source.messages}"
    return f"input = {' + '.join(source.input)}, output = {source.output}"


def _left_out_sentences(draft: Draft) -> Iterator[str]:
    """That rows are left out that a comparison would refuse, and what to do."""
    by_cause: defaultdict[tuple[str, str], dict[str, None]] = defaultdict(dict)
    for fault in draft.rows.faults:
        by_cause[fault.kind, of_any_turn(fault.message)][fault.location] = None
    for (kind, what), found in by_cause.items():
        places = list(found)
        it, one = ("it", "is") if len(places) == 1 else ("them", "are")
        first = {"empty": f"Fill {it} in", "repeated_input": f"Delete {it}"}.get(kind, "")
        without = f"{first}, or let etude check --fix write the rows without {it}"
        remedy = without if first else f"Correct {it}"
        yield (
            f"rows: {count(len(places), 'row')} {one} left out here, as {what}: "
            f"{first_of(places, _MOST_PLACES)}. {remedy}: a comparison refuses {it}"
        )


def bare_sentence(draft: Draft) -> str:
    """That some rows have no system message."""
    bare = draft.without_system
    return f"{without_system(draft.columns.file.name, len(draft.examples), len(bare), bare[0])}."


def systems_sentence(draft: Draft) -> str:
    """How many system messages the rows bring, and what to do: a comparison takes one."""
    most_common = draft.systems.most_common(_MOST_SYSTEMS)
    most = [f"{quote_value(system, 40)} in {number:,}" for system, number in most_common]
    num_more = len(draft.systems) - len(most_common)
    more = f"; and {num_more:,} more" if num_more else ""
    more += f"; none in {len(draft.without_system):,}" if draft.without_system else ""
    kinds = (
        f"{len(draft.systems):,} different system messages" if len(draft.systems) > 1 else "a system message"
    )
    return (
        f"The rows bring {kinds} (rows: {'; '.join(most)}{more}), and a "
        "comparison, which takes one for all rows, refuses them. Write what they share as instructions: and delete "
        "them from the rows; what differs from row to row belongs in the user's turn."
    )


def hidden_sentence(draft: Draft) -> str:
    """That labels occur in the test alone, and what comes of it."""
    return (
        f"Labels that occur only in the test: {draft.num_hidden_labels}. So no labels are set here: they are "
        "read from the training rows, and an answer to those test rows counts as wrong."
    )

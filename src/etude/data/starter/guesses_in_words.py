"""Sentences on what was guessed from the rows: all of them for the caller, some for the task file too."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence

from etude.base.wording import count, first_of
from etude.data.dataset import VERDICT_LEAST, few_for_tuning, least_rows, too_few, without_system
from etude.data.formats.turns import of_any_turn
from etude.data.starter.draft import Draft, contract_parts, listed
from etude.errors import shown
from etude.task import RowSource
from etude.text.spellings import all_told, written_alike

LIKENESS = (
    "Without check: or contract:, what is measured is how alike an answer is to the example's (chrF): a right "
    "answer in other words scores low, a wrong one in the same words high."
)
_MOST_SYSTEMS = 3
_MOST_SPELLINGS = 5
_MOST_PLACES = 5
_MOST_RARE = 5
RARE = 10
"""Rows below which a label is hard to learn and its test result says little."""


def guesses(draft: Draft) -> Iterator[str]:
    """What was guessed, a sentence each."""
    yield f"kind: {draft.kind[0]}, from {draft.kind[1]}"
    yield f"columns: {_column_sentence(draft.columns)}, from {draft.reasons['columns']}"
    for role in ("id", "group", "references", "tags"):
        if role in draft.reasons:
            yield f"{role}: {listed(getattr(draft.columns, role))}, from {draft.reasons[role]}"
    if draft.roles.maybe_group:
        column, reason = draft.roles.maybe_group
        yield f"group: not set; {column} may be one ({reason}), see the task file"
    yield _contract_guess(draft)
    if labels := draft.contract[0].labels:
        yield f"labels: {_sizes_sentence(labels, draft)}"
    if draft.spellings:
        yield f"labels: {spelling_sentence(draft)}"
    if draft.broken:
        yield f"contract: {broken_sentence(draft.broken)}"
    if draft.system and not draft.shares_system:
        yield f"instructions: none. {systems_sentence(draft)}"
    elif draft.system and draft.without_system:
        yield f"instructions: {bare_sentence(draft)}"
    yield from _left_out_sentences(draft)
    yield from _few_sentences(draft)
    yield from draft.rows.notes


def _contract_guess(draft: Draft) -> str:
    if draft.measures_likeness:
        return "contract: none, for only a length could be guessed. " + LIKENESS
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
        by_cause[fault.kind, of_any_turn(fault.what)][fault.where] = None
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


def _few_sentences(draft: Draft) -> Iterator[str]:
    """That the rows are too few to compare, or for a verdict on tuning."""
    number = len(draft.examples)
    if number < least_rows(own_test=False)[0]:
        fault = too_few(draft.columns.file.name, number, own_test=False)
        yield f"rows: {fault.what} (got {fault.got}); {fault.remedy}"
    elif number < VERDICT_LEAST:
        yield few_for_tuning(number)


def bare_sentence(draft: Draft) -> str:
    """That some rows have no system message."""
    bare = draft.without_system
    return f"{without_system(draft.columns.file.name, len(draft.examples), len(bare), bare[0])}."


def systems_sentence(draft: Draft) -> str:
    """How many system messages the rows bring, and what to do: a comparison takes one."""
    told = draft.systems.most_common(_MOST_SYSTEMS)
    most = [f"{shown(system, 40)} in {number:,}" for system, number in told]
    num_more = len(draft.systems) - len(told)
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


def _sizes_sentence(labels: Sequence[str], draft: Draft) -> str:
    counts = written_alike(Counter(draft.outputs))
    rare = [label for label in labels if counts[label] < RARE]
    if not rare:
        return f"{len(labels):,}, each with at least {RARE} rows outside the test"
    few = f"{len(rare):,} of {len(labels):,} have fewer than {RARE} rows outside the test"
    named = first_of(sorted(rare, key=counts.__getitem__), _MOST_RARE, told=shown)
    return f"{few}: {named}. Collect more of them, or join labels that are treated alike"


def spelling_sentence(draft: Draft) -> str:
    """Labels that are written in several ways, and what comes of them."""
    told = all_told(draft.spellings, lambda position: draft.read[position].where, _MOST_SPELLINGS)
    return f"{told}. Every spelling counts as a separate class: write each label in one way."


def hidden_sentence(draft: Draft) -> str:
    """That labels occur in the test alone, and what comes of it."""
    return (
        f"Labels that occur only in the test: {draft.num_hidden_labels}. So no labels are set here: they are "
        "read from the training rows, and an answer to those test rows counts as wrong."
    )


def broken_sentence(broken: Sequence[str]) -> str:
    """How many rows break the contract, and the first of their places."""
    rows = count(len(broken), "row breaks", "rows break")
    return f"{rows} it and must be corrected: {first_of(broken, _MOST_PLACES)}"

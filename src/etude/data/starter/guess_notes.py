"""Sentences on what was guessed from the rows: all of them for the caller, some also for the task
file.
"""

from collections import defaultdict
from collections.abc import Iterator

from etude.base.formatting import format_count, list_first
from etude.data import dataset
from etude.data.formats.turns import mask_turn_numbers
from etude.data.starter.draft import TaskDraft

SIMILARITY_NOTE = (
    "Without check: or contract:, answers are scored by their similarity to the example's answer "
    "(chrF). A right answer in other words scores low, and a wrong answer in similar words scores "
    "high."
)
CALLS_NOTE = (
    "Without check: or contract:, an answer is right if it calls the right functions. Its text is "
    "ignored."
)
REPEATS_NOTE = (
    "Without check: or contract:, an answer is right if it equals the example's answer, apart "
    "from case and white space. This metric is used because answers repeat: the task is to choose "
    "among known answers."
)
_MAX_LOCATIONS = 5


def list_guesses(draft: TaskDraft) -> Iterator[str]:
    """What was guessed, one sentence each, beginning with input, output, kind, test and metric."""
    columns = draft.columns
    reasons = draft.roles.reasons
    text = " + ".join(columns.input)
    answer = columns.output or ""
    if columns.messages:
        text = f"the turns of {columns.messages} before the last"
        answer = f"the last turn of {columns.messages}"
    yield f"input: {text}, from {reasons['input']}"
    yield f"output: {answer}, from {reasons['output']}"
    yield f"kind: {draft.kind[0]}, from {draft.kind[1]}"
    yield f"test: {_describe_test(draft)}"
    yield f"metric: {draft.metric}"
    if draft.refusal and columns.group:
        values = format_count(len({row.group for row in draft.examples} - {None}), "value")
        yield (
            f"group: {columns.group} has {values}. Rows of one group stay on one side of the "
            f"split, so a comparison cannot split these rows ({draft.refusal}). Set group: to a "
            f"column with more values, or rename {columns.group} in the file if its rows need not "
            "stay together"
        )
    for role in ("id", "group", "tags"):
        if role in draft.roles.reasons:
            names = getattr(columns, role)
            yield (
                f"{role}: {names if isinstance(names, str) else ', '.join(names)}, from "
                f"{draft.roles.reasons[role]}"
            )
    if draft.num_chats:
        count = format_count(draft.num_chats, "row has", "rows have")
        every_turn = "all, because answers before the last call functions"
        choice = f"last, but {count} several turns of the assistant. turns: all scores each of them"
        yield f"turns: {every_turn if draft.calls_earlier else choice}"
    likeness = f" {get_likeness_note(draft)}" if draft.measures_likeness else ""
    yield f"contract: {describe_contract(draft)}{likeness}"
    if draft.systems and not draft.shares_system:
        yield f"instructions: {format_systems(draft)}"
    elif draft.systems and draft.rows_without_system:
        yield f"instructions: {format_missing_system(draft)}"
    yield from _list_left_out(draft)
    num_rows = len(draft.examples)
    has_own_test = draft.test is not None
    if num_rows < dataset.count_min_rows(has_own_test)[0]:
        issue = dataset.too_few_rows(columns.file.name, num_rows, has_own_test)
        yield f"rows: {issue.message} (got {issue.value}); {issue.remedy}"
    elif num_rows < dataset.MIN_VERDICT_ROWS:
        yield dataset.few_rows_note(num_rows)
    yield from draft.rows.notes


def describe_contract(draft: TaskDraft) -> str:
    """Return the reason of the contract, or why none is set."""
    reason = draft.contract[1]
    if draft.sets_contract:
        return reason
    if draft.num_hidden_labels:
        return (
            f"Not set. Labels that occur only in the test: {draft.num_hidden_labels}. Therefore "
            "no labels are set here: they are read from the training rows, and every answer to "
            "those test rows counts as wrong."
        )
    if draft.calls:
        reason = "answers call functions"
    elif draft.contract_key:
        reason = f"only a length could be guessed, which nearly every answer keeps ({reason})"
    return f"Not set, because {reason}."


def get_likeness_note(draft: TaskDraft) -> str:
    """Return the note on the metric of answers without check and contract."""
    return CALLS_NOTE if draft.calls else REPEATS_NOTE if draft.repeats_answers else SIMILARITY_NOTE


def _describe_test(draft: TaskDraft) -> str:
    if draft.test:
        return f"{format_count(draft.num_test_rows, 'row')} of {draft.test.name}"
    if draft.refusal:
        more = "; with turns: all, each answer of a conversation counts" if draft.num_chats else ""
        return f"none, because the rows cannot be split ({draft.refusal}){more}"
    return (
        f"{draft.num_test_rows:,} of {format_count(len(draft.examples), 'row')}, split off and "
        "sealed"
    )


def _list_left_out(draft: TaskDraft) -> Iterator[str]:
    """Sentences on rows that are left out because they are errors in a comparison, and what to
    do.
    """
    locations_by_cause: defaultdict[tuple[str, str], dict[str, None]] = defaultdict(dict)
    for issue in draft.rows.issues:
        locations_by_cause[issue.kind, mask_turn_numbers(issue.message)][issue.location] = None
    for (kind, message), rows in locations_by_cause.items():
        locations = list(rows)
        pronoun, verb = ("it", "is") if len(locations) == 1 else ("them", "are")
        remedy = {"empty": f"Fill {pronoun} in", "repeated_input": f"Delete {pronoun}"}.get(
            kind, ""
        )
        if remedy:
            remedy += f", or run etude check --fix, which leaves {pronoun} out"
        yield (
            f"rows: {format_count(len(locations), 'row')} {verb} left out here ({message}): "
            f"{list_first(locations, _MAX_LOCATIONS)}. In a comparison, such rows are errors. "
            f"{remedy or f'Correct {pronoun}'}"
        )


def format_missing_system(draft: TaskDraft) -> str:
    """Return the note on rows without a system message."""
    rows = draft.rows_without_system
    file = draft.columns.file.name
    return f"{dataset.missing_system_note(file, len(draft.examples), len(rows), rows[0])}."


def format_systems(draft: TaskDraft) -> str:
    """Return the note on rows with different system messages."""
    num_systems = len(draft.systems)
    num_without = len(draft.rows_without_system)
    kinds = f"{num_systems:,} different system messages" if num_systems > 1 else "a system message"
    bare = f", except {format_count(num_without, 'row')}" if num_without else ""
    return (
        f"The rows have {kinds}{bare}. Each row is asked with its own system message, and a row "
        "without one is asked with the instructions."
    )

"""The quick checks before a comparison or a training, and the notes on its labels.

The user is asked whether to train on rows with secrets, with personal data that is recognised by
its format or checksum, or with chat-template tokens, at which a model would learn to stop. No
answer counts as no. Only `etude check` runs the slower checks (wrong labels, unsupported fields,
style).
"""

import time
from collections import Counter
from collections.abc import Iterator, Sequence

from etude.base.formatting import format_count, format_time, list_first
from etude.checks import CHECKS, Material, check_material
from etude.checks.material import format_share, hash_texts
from etude.checks.output.terminal import format_locations
from etude.checks.rows.repeats import group_contradictions
from etude.data.dataset import Dataset
from etude.data.splits import Split
from etude.errors import Declined, parse_location
from etude.metrics import SKEWED, Metric
from etude.privacy import GRAVE
from etude.privacy.mask.surrogate_log import read_surrogates
from etude.runs import Run
from etude.runs.events import NoteEvent, OnEvent
from etude.runs.questions import Confirm, SensitiveQuestion
from etude.task import Task
from etude.task.questions import select_question
from etude.text.normal_forms import to_canonical
from etude.text.spellings import find_spellings, format_spellings, merge_spellings
from etude.types import Example, Finding

QUICK = tuple(check for check in CHECKS if check.quick)
MARKS = "turn_marks"
CONFIRMED_KINDS = (
    *(f"privacy_{kind}" for kind in GRAVE),
    MARKS,
)  # findings that the user must confirm
MAX_LISTED = 3  # inputs, labels of one input, and spellings that a note lists


def run_quick_checks(
    run: Run,
    task: Task,
    dataset: Dataset,
    test: Dataset | None,
    on_event: OnEvent,
    confirm: Confirm,
) -> tuple[Finding, ...]:
    """Run the quick checks, report them in one line and return their findings; skipped if the run
    is resumed.

    Raises Declined if the user does not confirm to train on sensitive rows.
    """
    if (run.folder / "split.json").exists():
        return ()
    start = time.perf_counter()
    surrogates = read_surrogates(task.examples.file)
    whole = dataset.whole  # as `etude check` reads the rows, whatever `turns:` says
    findings = check_material(
        Material(task, whole, test and test.whole, surrogates=surrogates), QUICK
    )
    rows = f"{format_count(len(whole), 'row')} in {format_time(time.perf_counter() - start)}"
    counts = (
        f"{one.kind} in {format_count(int(one.numbers.get('rows', len(one.rows))), 'row')}"
        for one in findings
    )
    more = "For details, run etude check TASK"
    summary = f"{', '.join(counts)}. {more}" if findings.items else "the quick checks found nothing"
    on_event(NoteEvent(f"Checked {rows}: {summary}.", detail=not findings.items))
    sensitive = findings.select_kinds(*CONFIRMED_KINDS)
    messages = [
        f"{item.message.removesuffix('.')} ({format_locations(item.locations)})."
        for item in sensitive
    ]
    if sensitive and not confirm(
        SensitiveQuestion("\n".join([*messages, "Train on these rows anyway?"]))
    ):
        remedies = [finding.remedy for finding in sensitive if finding.kind == MARKS]
        if any(finding.kind != MARKS for finding in sensitive):
            remedies.append(
                "Mask the values with `etude check TASK --fix`, delete the rows, or answer yes if "
                "the values belong to nobody."
            )
        remedies.append("To answer yes, use --yes, or confirm= in Python.")
        raise Declined(f"Nothing was run. {' '.join([*messages, *remedies])}")
    return findings.items


def list_label_notes(task: Task, split: Split, metric: Metric) -> list[str]:
    """List the notes on contradictory labels and on spellings, which a run reports before anything
    is fitted.
    """
    rows = [*split.train, *split.dev, *split.test]
    if not task.questions:
        return [*note_contradictions(task, rows), *note_spellings(task, rows, metric.name)]
    notes = []
    for part, (name, question) in zip(metric.parts, task.split_questions().items(), strict=True):
        selected = [select_question(row, name) for row in rows]
        own_notes = (
            *note_contradictions(question, selected),
            *note_spellings(question, selected, part.name),
        )
        notes += [f"{name}: {note}" for note in own_notes]
    return notes


def note_contradictions(task: Task, rows: Sequence[Example]) -> Iterator[str]:
    """Yield one sentence on the inputs with more than one label; nothing if there are none or the
    task has no labels.

    Inputs are compared as `etude check` compares them.
    """
    if task.kind != "classify":
        return
    rows = sorted(rows, key=lambda row: parse_location(row.location))
    inputs = hash_texts(to_canonical(row.text) for row in rows)
    labels = hash_texts(to_canonical(row.output) for row in rows)
    groups = [[rows[index] for index in group] for group in group_contradictions(inputs, labels)]
    if groups:
        yield (
            f"{format_count(len(groups), 'input has', 'inputs have')} more than one label, in "
            f"{format_share(sum(map(len, groups)), len(rows))}: "
            f"{list_first(groups, MAX_LISTED, '; ', _list_lines)}. These rows contradict each "
            "other, so no method can get all of them right. `etude check` lists them "
            "(contradiction)."
        )


def _list_lines(group: Sequence[Example]) -> str:
    """List the first row of each label: `rows.csv:3 and rows.csv:9`."""
    first = list({to_canonical(row.output): row for row in reversed(group)}.values())[::-1]
    more = [f"{len(first) - MAX_LISTED:,} more"] if len(first) > MAX_LISTED else []
    return " and ".join([*(row.location for row in first[:MAX_LISTED]), *more])


def note_spellings(task: Task, rows: Sequence[Example], metric: str) -> Iterator[str]:
    """Yield one sentence on labels that are written in several ways; nothing if there are none or
    the task has no labels. The sentence adds if these spellings are the only reason why macro-F1 is
    the metric.
    """
    if task.kind != "classify":
        return
    rows = sorted(rows, key=lambda row: parse_location(row.location))
    pairs = [(label, row) for row in rows for label in task.list_labels(row.output)]
    labels = [label for label, _ in pairs]
    spellings = find_spellings(labels)
    if not spellings:
        return
    text = format_spellings(spellings, lambda index: pairs[index][1].location, MAX_LISTED)
    note = (
        f"Labels: {text}. Every spelling counts as a separate class: write each label in one way."
    )
    sizes = merge_spellings(Counter(labels)).values()
    if metric == "macro_f1" and not task.metric and max(sizes) <= SKEWED * min(sizes):
        note += (
            " With one spelling per label, no class would be rare, and the metric would be "
            "accuracy, not macro-F1."
        )
    yield note

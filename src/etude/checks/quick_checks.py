"""The quick checks before a comparison, and the question whether to train on rows that hold secrets and the like.

The question is asked about personal data with a form or checksum, secrets, and marks of a chat template, at which a
model would learn to stop; no answer counts as no. Slower checks (wrong labels, unsupported fields, style) are left to
`etude check`.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from etude.base.wording import count, time_in_words
from etude.checks import CHECKS, Material, check_material
from etude.checks.labels.contradictions import contradictions, spelling_notes
from etude.checks.shown.terminal import places
from etude.data.dataset import Dataset
from etude.data.splits import Split
from etude.errors import Declined
from etude.metrics import Metric
from etude.privacy import GRAVE
from etude.repair import stand_ins
from etude.runs import Run
from etude.runs.events import NoteEvent, OnEvent
from etude.runs.questions import Confirm, Sensitive
from etude.task import Task
from etude.types import Finding

QUICK = tuple(check for check in CHECKS if check.quick)
PRIVATE = tuple(f"privacy_{kind}" for kind in GRAVE)
MARKS = "turn_marks"
ASKED = (*PRIVATE, MARKS)
"""Kinds of finding that are asked about."""


def run_quick_checks(
    run: Run, task: Task, dataset: Dataset, test: Dataset | None, on_event: OnEvent, confirm: Confirm
) -> tuple[Finding, ...]:
    """What the quick checks find, reported in a line; nothing if the run is resumed. Raises Declined on a no."""
    if (run.folder / "split.json").exists():
        return ()
    begin = time.perf_counter()
    found = check_material(Material(task, dataset, test, stand_ins=stand_ins(task.examples.file)), QUICK)
    summary = _summary(len(dataset), found.found, time.perf_counter() - begin)
    on_event(NoteEvent(summary, detail=not found.found))
    grave = found.of(*ASKED)
    said = [f"{finding.message.removesuffix('.')} ({places(finding.locations)})." for finding in grave]
    if grave and not confirm(Sensitive("\n".join([*said, "Train on these rows anyway?"]))):
        raise Declined(f"Nothing was run. {' '.join(said)} {_remedies(grave)}")
    return found.found


def row_notes(task: Task, parts: Split, metric: Metric) -> list[str]:
    """What is said of contradictory labels and spellings, before anything is fitted."""
    rows = [*parts.train, *parts.dev, *parts.test]
    return [*contradictions(task, rows), *spelling_notes(task, rows, metric.name)]


def _counted(found: Sequence[Finding]) -> str:
    """`empty 3, echo 1`: the rows of each finding."""
    return ", ".join(
        f"{finding.kind} {finding.numbers.get('rows', len(finding.rows)):,.0f}" for finding in found
    )


def _remedies(grave: Sequence[Finding]) -> str:
    """What to do about findings that were asked about."""
    kinds = {finding.kind for finding in grave}
    marks = "; ".join(finding.remedy for finding in grave if finding.kind == MARKS)
    mask = "Mask them with `etude check TASK --fix`, delete the rows, or say yes if they belong to nobody."
    yes = "To say yes: --yes, or confirm= in Python."
    return " ".join([*([marks] if marks else []), *([mask] if kinds - {MARKS} else []), yes])


def _summary(rows: int, found: Sequence[Finding], seconds: float) -> str:
    end = (
        f"rows with {_counted(found)}; for details: etude check TASK"
        if found
        else "nothing found by the quick checks"
    )
    return f"Checked {count(rows, 'row')} in {time_in_words(seconds)}: {end}."

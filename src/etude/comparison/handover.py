"""From which confidence on a classifier answers: chosen on dev for the error rate that the task allows."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import replace

from etude.assistant import Assistant
from etude.base.wording import bounds, share
from etude.evaluate import Scored, unit
from etude.stats import estimate
from etude.stats.surest import threshold
from etude.task import Task

SURE = 1.1
"""A threshold that no confidence reaches: everything is handed over."""


def with_handover(assistant: Assistant, task: Task, dev: Sequence[Scored]) -> tuple[Assistant, list[str]]:
    """The assistant that hands over below a confidence, and a note on it; unchanged if the task asks for none.

    If dev cannot show that any threshold keeps the promise, the assistant hands over everything. Of rows that count
    together one is taken, since the proof needs rows that are independent.
    """
    known = [
        (unit(row.example), row.answer.confidence, row.score.value == 1)
        for row in dev
        if row.answer.confidence is not None
    ]
    if task.handover is None or not known:
        return assistant, []
    random.Random(task.seed).shuffle(known)
    alone = {name: (sure, right) for name, sure, right in known}
    confidences, right = zip(*alone.values(), strict=True)
    found = threshold(confidences, right, task.handover)
    promise = f"at most {share(task.handover)} of what it answers is wrong"
    rows = f"{len(alone):,} dev rows" + (", one of each group" if len(alone) < len(known) else "")
    if found is None:
        note = f"hands over everything: {rows} cannot show for any confidence that {promise}"
        return replace(assistant, handover=SURE), [note]
    given = sum(sure >= found for _, sure, _ in known) / len(known)
    note = (
        f"hands over below a confidence of {found:.3f}, so that {promise} (95% sure, by {rows}); "
        f"it answers {share(given)} of dev"
    )
    return replace(assistant, handover=found), [note]


def marked(assistant: Assistant, rows: Sequence[Scored]) -> list[Scored]:
    """Rows that were answered before the threshold was known, marked as the assistant would hand them over."""
    least = assistant.handover
    if least is None:
        return list(rows)
    sure = [row.answer.confidence for row in rows]
    flags = [one is not None and one < least for one in sure]
    return [
        replace(row, answer=replace(row.answer, handed_over=flag))
        for row, flag in zip(rows, flags, strict=True)
    ]


def kept_promise(name: str, assistant: Assistant, rows: Sequence[Scored]) -> Iterator[str]:
    """How right the test rows are that an assistant answers, and what it hands over."""
    if assistant.handover is None:
        return
    units = [unit(row.example) for row in rows]
    right = [row.score.value for row in rows]
    given = [at for at, row in enumerate(rows) if not row.answer.handed_over]
    rest = len(rows) - len(given)
    if not given:
        yield f"{name} hands over all {rest:,} test rows"
        return
    found = estimate([right[at] for at in given], [units[at] for at in given])
    wrong = sum(value < 1 for value in right)
    caught = sum(right[at] < 1 for at, row in enumerate(rows) if row.answer.handed_over)
    yield (
        f"{name} hands over {share(rest / len(rows))} of the test rows, and is right on {share(found.value)} "
        f"({bounds(found)}, n = {found.n:,}) of the {share(len(given) / len(rows))} it answers (all rows: "
        f"{share(sum(right) / len(rows))}); {caught:,} of its {wrong:,} errors are among the {rest:,} handed over"
    )

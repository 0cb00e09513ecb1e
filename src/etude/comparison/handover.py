"""Hand unsure questions to people: the confidence below which a classifier does so, chosen on dev."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import replace

from etude.assistant import Assistant
from etude.base.formatting import format_interval, format_share
from etude.evaluate import ScoredAnswer, get_unit
from etude.stats import estimate
from etude.stats.calibration import choose_threshold
from etude.task import Task

NEVER_SURE = 1.1  # A threshold that no confidence reaches: everything is handed over.


def add_handover(
    assistant: Assistant, task: Task, dev: Sequence[ScoredAnswer]
) -> tuple[Assistant, list[str]]:
    """Return the assistant with a threshold for the task's allowed error rate (`handover:`), and a note on it.

    If dev cannot show for any threshold that the rate is kept, the assistant hands over everything. One row of each
    unit is used, because the proof needs independent rows.
    """
    confident_rows = [
        (get_unit(row.example), row.answer.confidence, row.score.value == 1)
        for row in dev
        if row.answer.confidence is not None
    ]
    if task.handover is None or not confident_rows:
        return assistant, []
    random.Random(task.seed).shuffle(confident_rows)
    independent_rows = {name: (confidence, right) for name, confidence, right in confident_rows}
    confidences, right = zip(*independent_rows.values(), strict=True)
    min_confidence = choose_threshold(confidences, right, task.handover)
    promise = f"at most {format_share(task.handover)} of what it answers is wrong"
    rows = f"{len(independent_rows):,} dev rows" + (
        ", one of each group" if len(independent_rows) < len(confident_rows) else ""
    )
    if min_confidence is None:
        note = f"hands over everything, because {rows} cannot show for any confidence that {promise}"
        return replace(assistant, handover=NEVER_SURE), [note]
    share_answered = sum(sure >= min_confidence for _, sure, _ in confident_rows) / len(confident_rows)
    note = (
        f"hands over below a confidence of {min_confidence:.3f}, so that {promise} (95% sure, by {rows}); "
        f"it answers {format_share(share_answered)} of dev"
    )
    return replace(assistant, handover=min_confidence), [note]


def mark_handed_over(assistant: Assistant, rows: Sequence[ScoredAnswer]) -> list[ScoredAnswer]:
    """Mark which of these rows the assistant hands over. They were answered before its threshold was known."""
    if (threshold := assistant.handover) is None:
        return list(rows)

    def mark(row: ScoredAnswer) -> ScoredAnswer:
        confidence = row.answer.confidence
        is_unsure = confidence is not None and confidence < threshold
        return replace(row, answer=replace(row.answer, handed_over=is_unsure))

    return [mark(row) for row in rows]


def describe_handover(name: str, assistant: Assistant, rows: Sequence[ScoredAnswer]) -> Iterator[str]:
    """Yield a note on how many test rows an assistant hands over, and how right it is on the others."""
    if assistant.handover is None:
        return
    units = [get_unit(row.example) for row in rows]
    scores = [row.score.value for row in rows]
    answered = [index for index, row in enumerate(rows) if not row.answer.handed_over]
    num_handed_over = len(rows) - len(answered)
    if not answered:
        yield f"{name} hands over all {num_handed_over:,} test rows"
        return
    accuracy = estimate([scores[index] for index in answered], [units[index] for index in answered])
    num_wrong = sum(value < 1 for value in scores)
    num_caught = sum(scores[index] < 1 for index, row in enumerate(rows) if row.answer.handed_over)
    share, share_answered = num_handed_over / len(rows), len(answered) / len(rows)
    yield (
        f"{name} hands over {format_share(share)} of the test rows. On the other {format_share(share_answered)} it is "
        f"right {format_share(accuracy.value)} of the time ({format_interval(accuracy)}, n = {accuracy.n:,}; all rows: "
        f"{format_share(sum(scores) / len(rows))}). Of its {num_wrong:,} errors, {num_caught:,} are handed over"
    )

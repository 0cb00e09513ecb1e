"""Labels that people read: the most suspicious ones, and a random sample, which shows how many are
wrong in all.
"""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from etude.checks.labels.wrong_labels import LAST_READ, complete_label, suggest_labels
from etude.feedback import Feedback
from etude.stats.intervals import wilson
from etude.studio.review_queue import ReviewItem, ReviewQueue, Source
from etude.studio.row_store import DataRow, RowFilter, RowStore

NUM_SAMPLED = 100  # labels that are drawn at random
MIN_SAMPLED = 10  # labels drawn at random that are read before all are estimated
STOP_SHARE = 1 / 3  # share of wrong labels among the last ones read, below which people stop


def queue_labels(queue: ReviewQueue, data: RowStore, assistant: str) -> None:
    """Queue the labels that a check has ranked, each with the label that its text suggests, and a
    sample of all.
    """
    rows = {row.id: row for row in data.search(RowFilter())[0]}
    suggested = suggest_labels(finding for finding, *_ in data.findings)
    ranked = [
        (rows[row_id], complete_label(label, rows[row_id].output))
        for row_id, label in suggested.items()
        if row_id in rows
    ]
    sampled = (
        random.Random(0).sample([*rows.values()], min(NUM_SAMPLED, len(rows))) if ranked else []
    )
    sources: dict[Source, list[tuple[DataRow, str]]] = {
        "labels": ranked,
        "sample": [(row, row.output) for row in sampled],
    }
    for source, pairs in sources.items():
        items = [
            ReviewItem(source, row.turns, assistant, label, row.output, urgency=rank)
            for rank, (row, label) in enumerate(pairs)
        ]
        queue.replace_source(source, items)


@dataclass(frozen=True)
class LabelReview:
    """The labels that people have read: whether each was wrong, in the order in which they were
    read.
    """

    ranked: Sequence[bool]
    sampled: Sequence[bool]
    """Those drawn at random that are not among the ranked ones."""
    num_rows: int

    @classmethod
    def read(
        cls, queue: ReviewQueue, entries: Mapping[str, Feedback], num_rows: int
    ) -> "LabelReview":
        """Read the reviews of a queue; `entries` are the entries of feedback by id."""

        def is_wrong(item: ReviewItem, entry: Feedback) -> bool:
            return entry.exclude or entry.correction not in (None, item.expected)

        ranked, sampled = (
            {
                item.input: is_wrong(item, entries[entry_id])
                for item, entry_id in queue.list_reviewed(source)
            }
            for source in ("labels", "sample")
        )
        others = [wrong for turns, wrong in sampled.items() if turns not in ranked]
        return cls([*ranked.values()], others, num_rows)

    @cached_property
    def is_enough(self) -> bool:
        """Whether too few of the labels that were read last were wrong to read on."""
        return (
            len(self.ranked) >= LAST_READ and sum(self.ranked[-LAST_READ:]) < STOP_SHARE * LAST_READ
        )

    def estimate_wrong(self) -> tuple[float, float, float] | None:
        """Estimate how many labels are wrong in all, with a 95% interval: those that were read, and
        the share in the sample (Wilson) of all others. None with too few read.
        """
        if len(self.sampled) < MIN_SAMPLED:
            return None
        num_wrong = sum(self.ranked)
        num_others = self.num_rows - len(self.ranked)
        shares = (
            sum(self.sampled) / len(self.sampled),
            *wilson(sum(self.sampled), len(self.sampled)),
        )
        middle, low, high = (num_wrong + share * num_others for share in shares)
        return middle, low, high

    def describe(self) -> str:
        """Describe how many were wrong; "" if none were read."""
        sentences = []
        if num := len(self.ranked):
            low, high = wilson(sum(self.ranked), num)
            sentences = [
                f"Of the first {num:,} labels, {sum(self.ranked):,} were wrong (95% interval "
                f"{low:.0%} to {high:.0%})."
            ]
        if self.is_enough:
            last = sum(self.ranked[-LAST_READ:])
            sentences += [
                f"You can stop: of the last {LAST_READ}, {last} were wrong, which is fewer than a "
                "third."
            ]
        if estimate := self.estimate_wrong():
            middle, low, high = (round(number) for number in estimate)
            sentences += [
                f"In all, about {middle:,} of {self.num_rows:,} labels are wrong ({low:,} to "
                f"{high:,}), by those that you read and {len(self.sampled):,} others drawn at "
                "random."
            ]
        return " ".join(sentences)

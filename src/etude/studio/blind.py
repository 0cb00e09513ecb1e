"""Two methods' answers to the same dev rows, compared by reviewers who do not see which method gave which answer."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from etude.base.formatting import format_interval, format_percent
from etude.feedback import Feedback, drop_undone
from etude.feedback.entry import Choice, utc_now
from etude.stats.intervals import estimate_sample
from etude.stats.sample import make_score_sample
from etude.studio.studio import Studio, load_dev_predictions
from etude.types import Message

Pair = tuple[tuple[Message, ...], frozenset[str]]
"""An input and two answers to it, in either order."""


@dataclass(frozen=True)
class BlindRow:
    """A dev row with two answers that differ."""

    input: tuple[Message, ...]
    answers: tuple[str, str]  # by the first and by the second method

    @property
    def pair(self) -> Pair:
        """The input and answers that identify feedback on the row."""
        return self.input, frozenset(self.answers)

    @property
    def key(self) -> str:
        """A hash of the row and its answers, in this order."""
        content = "\0".join((*self.answers, *(turn.content for turn in self.input)))
        return hashlib.sha256(content.encode()).hexdigest()

    def is_swapped(self, reviewer: str) -> bool:
        """Return whether this reviewer sees the second method's answer on the left."""
        # With a hash, the same reviewer sees the same order again after a reload.
        return bool(hashlib.sha256(f"{reviewer}\0{self.key}".encode()).digest()[0] % 2)


class BlindComparison:
    """The comparison of two methods of a run on its dev rows. Test rows are never displayed."""

    def __init__(self, studio: Studio, first: str, second: str) -> None:
        self.studio, self.methods = studio, (first, second)
        self.names = (f"{studio.run.name}/{first}", f"{studio.run.name}/{second}")
        second_answers = {line["id"]: line["answer"] for line in load_dev_predictions(studio.run, second)}
        inputs = studio.data.find_inputs(second_answers)
        self.rows = [
            BlindRow(inputs[line["id"]], (line["answer"], second_answers[line["id"]]))
            for line in load_dev_predictions(studio.run, first)
            if line["id"] in inputs and line["answer"] != second_answers[line["id"]]
        ]
        rows = {row.pair: row for row in self.rows}
        latest: dict[tuple[str, Pair], tuple[Feedback, BlindRow]] = {}
        for entry in drop_undone(studio.log.entries):
            if entry.choice and (pair := _get_pair(entry)) in rows:
                latest.pop((entry.reviewer, pair), None)  # the latest choices come last
                latest[entry.reviewer, pair] = entry, rows[pair]
        self.choices = [entry for entry, _ in latest.values()]
        """The latest choice of each reviewer on each row, also of other methods or runs with the same two answers."""
        self.values = [_score_choice(entry, row) for entry, row in latest.values()]

    def next_row(self, reviewer: str) -> tuple[int, BlindRow] | None:
        """Return the first row that the reviewer has not judged, with its number."""
        judged = {_get_pair(entry) for entry in self.choices if entry.reviewer == reviewer}
        return next(((number, row) for number, row in enumerate(self.rows) if row.pair not in judged), None)

    def find_judged(self, reviewer: str, back: int) -> tuple[int, BlindRow, str] | None:
        """Return the row that the reviewer judged last (`back` 1), or the row judged before that (2), with its number
        and the reviewer's button."""
        own = [entry for entry in self.choices if entry.reviewer == reviewer]
        if not 0 < back <= len(own):
            return None
        entry = own[-back]
        number = next(number for number, row in enumerate(self.rows) if row.pair == _get_pair(entry))
        row = self.rows[number]
        value = _score_choice(entry, row)
        if value == 0.5:
            return number, row, str(entry.choice)
        return number, row, "left" if (value == 1.0) != row.is_swapped(reviewer) else "right"

    def save_choice(self, row: BlindRow, reviewer: str, entry_id: str, button: str) -> None:
        """Save a reviewer's choice on a row: left, right, both or neither."""
        sides: tuple[Choice, Choice] = ("answer", "other")
        left, right = sides[::-1] if row.is_swapped(reviewer) else sides
        choices: dict[str, Choice] = {"left": left, "right": right, "both": "both", "neither": "neither"}
        fields = (entry_id, utc_now(), reviewer, self.names[0], row.input, row.answers[0])
        other = row.answers[1]
        entry = Feedback(*fields, choice=choices[button], other=other, other_assistant=self.names[1])
        self.studio.log.add(entry)

    @property
    def result(self) -> list[str]:
        """Sentences: the share of choices for the first method with its interval, and how often reviewers agree."""
        if not self.choices:
            return ["Nobody has compared these two methods yet."]
        share = estimate_sample(make_score_sample(self.values, [entry.text for entry in self.choices]))
        ties = sum(value == 0.5 for value in self.values)
        sentence = (
            f"Reviewers preferred {self.methods[0]} to {self.methods[1]} in {format_percent(share.value)} of "
            f"{len(self.values):,} choices (95% interval {format_interval(share)}, n = {share.n:,} rows). "
            f"Ties: {ties:,}; each counts as half a choice."
        )
        return [sentence, *_describe_agreement(self.choices, self.values)]


def _get_pair(entry: Feedback) -> Pair:
    return entry.input, frozenset((entry.answer, str(entry.other)))


def _score_choice(entry: Feedback, row: BlindRow) -> float:
    """1 for the first method's answer, 0 for the second's, 0.5 for a tie, whatever their order in the entry."""
    if entry.choice in ("both", "neither"):
        return 0.5
    return float((entry.answer == row.answers[0]) == (entry.choice == "answer"))


def _describe_agreement(choices: Sequence[Feedback], values: Sequence[float]) -> list[str]:
    by_row: dict[str, dict[str, float]] = {}
    for entry, value in zip(choices, values, strict=True):
        by_row.setdefault(entry.text, {})[entry.reviewer] = value
    shared = [list(row.values()) for row in by_row.values() if len(row) > 1]
    if not shared:
        return []
    agreement = estimate_sample(make_score_sample([float(len(set(row)) == 1) for row in shared]))
    share, interval = format_percent(agreement.value), format_interval(agreement)
    return [
        f"Reviewers agree on {share} of the {len(shared):,} rows with several judgements (95% interval {interval})."
    ]

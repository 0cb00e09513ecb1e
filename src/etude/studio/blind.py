"""Two methods' answers to the same dev rows, compared by people who do not see which is which."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from etude.base.wording import bounds, percent
from etude.feedback import Feedback, standing
from etude.feedback.entry import Choice, now
from etude.runs import Run
from etude.stats.intervals import estimate_sample
from etude.stats.sample import score_sample
from etude.studio.studio import Studio, on_dev
from etude.types import Message


@dataclass(frozen=True)
class BlindRow:
    """A dev row with two answers that differ."""

    input: tuple[Message, ...]
    answers: tuple[str, str]
    """Of the first and of the second method."""

    @property
    def pair(self) -> tuple[tuple[Message, ...], frozenset[str]]:
        """What tells it from other rows, in whatever order the answers are."""
        return self.input, frozenset(self.answers)

    @property
    def key(self) -> str:
        """A hash of the same, in the order of the answers."""
        said = "\0".join((*self.answers, *(turn.content for turn in self.input)))
        return hashlib.sha256(said.encode()).hexdigest()

    def swapped(self, who: str) -> bool:
        """Whether the second method's answer stands on the left for this person."""
        return bool(hashlib.sha256(f"{who}\0{self.key}".encode()).digest()[0] % 2)


class Blind:
    """The comparison of two methods of a run, on its dev rows; test rows are never shown."""

    def __init__(self, studio: Studio, first: str, second: str) -> None:
        self.names = (f"{studio.run.name}/{first}", f"{studio.run.name}/{second}")
        self.methods = (first, second)
        self.studio = studio
        self.rows = _rows(studio, studio.run, first, second)
        by_pair = {row.pair: row for row in self.rows}
        last = {
            (entry.who, pair): (entry, by_pair[pair])
            for entry in standing(studio.log.entries)
            if entry.choice and (pair := _pair(entry)) in by_pair
        }
        self.choices = [entry for entry, _ in last.values()]
        """The last word of each person on each row, also on the same two answers of other methods or runs."""
        self.values = [_value(entry, row) for entry, row in last.values()]

    def next(self, who: str) -> tuple[int, BlindRow] | None:
        """The first row that the person has not judged, with its position."""
        seen = {_pair(entry) for entry in self.choices if entry.who == who}
        pairs = enumerate(self.rows)
        return next((pair for pair in pairs if pair[1].pair not in seen), None)

    def keep(self, row: BlindRow, who: str, entry: str, said: str) -> None:
        """Keeps what a person says of a row: left, right, both or neither."""
        sides: tuple[Choice, Choice] = ("other", "answer") if row.swapped(who) else ("answer", "other")
        choices: dict[str, Choice] = {
            "left": sides[0],
            "right": sides[1],
            "both": "both",
            "neither": "neither",
        }
        answer, other = row.answers
        feedback = Feedback(
            entry,
            now(),
            who,
            self.names[0],
            row.input,
            answer,
            None,
            None,
            choices[said],
            other,
            self.names[1],
        )
        self.studio.log.add(feedback)

    @property
    def result(self) -> list[str]:
        """The share of choices for the first method with its interval, and how far people agree."""
        if not self.choices:
            return ["Nobody has compared these two yet."]
        found = estimate_sample(score_sample(self.values, [entry.text for entry in self.choices]))
        ties = sum(value == 0.5 for value in self.values)
        said = [
            f"{self.methods[0]} is preferred to {self.methods[1]} in {percent(found.value)} of "
            f"{len(self.values):,} choices (95% interval {bounds(found)}, n = {found.n:,} rows). "
            f"Ties, which count half: {ties:,}."
        ]
        return [*said, *_agreement(self.choices, self.values)]


def _rows(studio: Studio, run: Run, first: str, second: str) -> list[BlindRow]:
    others = {line["id"]: line["answer"] for line in on_dev(run, second)}
    inputs = studio.data.inputs(others)
    return [
        BlindRow(inputs[line["id"]], (line["answer"], others[line["id"]]))
        for line in on_dev(run, first)
        if line["id"] in inputs and line["answer"] != others.get(line["id"], line["answer"])
    ]


def _pair(entry: Feedback) -> tuple[tuple[Message, ...], frozenset[str]]:
    return entry.input, frozenset((entry.answer, str(entry.other)))


def _value(entry: Feedback, row: BlindRow) -> float:
    """1 for the first method's answer, 0 for the second's, 0.5 for a tie; the entry may hold them in another order."""
    if entry.choice in ("both", "neither"):
        return 0.5
    return float((entry.answer == row.answers[0]) == (entry.choice == "answer"))


def _agreement(choices: Sequence[Feedback], values: Sequence[float]) -> list[str]:
    by_row: dict[str, dict[str, float]] = {}
    for entry, value in zip(choices, values, strict=True):
        by_row.setdefault(entry.text, {})[entry.who] = value
    shared = [list(row.values()) for row in by_row.values() if len(row) > 1]
    if not shared:
        return []
    same = estimate_sample(score_sample([float(len(set(row)) == 1) for row in shared]))
    return [
        f"People agree on {percent(same.value)} of the {len(shared):,} rows that several have judged ({bounds(same)})."
    ]

"""From what people said to rows: right answers, preferences, judgements, and what stands in the way of each.

A person's last word on an answer counts, and of what several people say, what most of them say. Without a majority
a label or a record is left out; of free texts, several of which may be right, the one said last is taken.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from etude.base.files import parse_json
from etude.base.wording import count
from etude.data.splits import input_key
from etude.feedback.entry import Feedback, standing
from etude.feedback.sealed import Sealed
from etude.task import Task
from etude.types import Example, Finding, Message, Preference, Severity

T = TypeVar("T")


@dataclass(frozen=True)
class RightAnswer:
    """What people say is the right answer to an input."""

    key: str
    """`input_key` of the input."""
    input: tuple[Message, ...]
    output: str
    entries: tuple[Feedback, ...]
    """Those that gave this answer."""

    def differs(self, row: Example) -> bool:
        """Whether a row of this input has another answer."""
        return canonical(row.output) != canonical(self.output)


@dataclass(frozen=True)
class Judgement:
    """One input, one answer, whether it is good, who said so."""

    input: tuple[Message, ...]
    answer: str
    good: bool
    who: tuple[str, ...]


@dataclass
class Gathered:
    """What comes of a list of entries."""

    answers: list[RightAnswer] = field(default_factory=list)
    excluded: dict[str, tuple[Feedback, ...]] = field(default_factory=dict)
    """`input_key` of a row to be left out -> the entries that say so."""
    preferences: list[Preference] = field(default_factory=list)
    judgements: list[Judgement] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    """Their rows are ids of entries, their places who said it and when."""
    contrary: list[Feedback] = field(default_factory=list)
    """Entries left out because people disagree."""

    def note(
        self, kind: str, severity: Severity, entries: Sequence[Feedback], what: str, remedy: str
    ) -> None:
        """Adds a finding on entries, if there are any."""
        if entries:
            rows, where = zip(
                *((entry.id, f"{entry.who}, {entry.at[:10]}") for entry in entries), strict=True
            )
            message = f"{count(len(entries), 'entry', 'entries')} {what}."
            self.findings.append(Finding(kind, severity, rows, message, remedy, where))


def gather(entries: Sequence[Feedback], task: Task, sealed: Sealed) -> Gathered:
    """What comes of the entries, in the order in which inputs were first met; nothing of those on test rows and
    of those taken back."""
    found, entries = Gathered(), standing(entries)
    held_back = sealed.held_back(entries)
    what = "left out, because the input is a test row or nearly one, and the test is sealed"
    found.note("feedback_sealed", "warning", held_back, what, "Nothing to do")
    out = {entry.id for entry in held_back}
    words = _last_words([entry for entry in entries if entry.id not in out], found)
    found.excluded = dict(_excluded(words, found))
    found.answers = list(_right_answers(words, task, found))
    found.preferences = list(_preferences(words, found))
    found.judgements = list(_judgements(words, found))
    contrary = list({entry.id: entry for entry in found.contrary}.values())
    what = "left out, because people disagree and neither side has a majority"
    remedy = "Let one of them, or another person, review them again"
    found.note("feedback_contradiction", "warning", contrary, what, remedy)
    flagged = [entry for entry in words if entry.flag]
    found.note("feedback_flagged", "note", flagged, "left to an expert", "Let an expert review them")
    return found


def key_of(entry: Feedback) -> str:
    """`input_key` of the entry's input."""
    return input_key(Example(entry.id, entry.input, ""))


def _last_words(entries: Sequence[Feedback], found: Gathered) -> list[Feedback]:
    """Of one person's entries on the same answer, or on the same two, the last."""
    last: dict[object, Feedback] = {}
    for entry in entries:
        shown = frozenset((entry.answer, entry.other)) if entry.choice else entry.answer
        about = (entry.who, key_of(entry), shown)
        last.pop(about, None)
        last[about] = entry
    kept = {entry.id for entry in last.values()}
    earlier = [entry for entry in entries if entry.id not in kept]
    what = "not used, because the same person said something later on the same answer"
    found.note("feedback_repeated", "note", earlier, what, "Nothing to do")
    return list(last.values())


def _excluded(words: Sequence[Feedback], found: Gathered) -> Iterator[tuple[str, tuple[Feedback, ...]]]:
    """The rows that more people want left out than give a right answer to; of each person the last word counts."""
    for key, entries in _grouped([entry for entry in words if entry.exclude or entry.correction], key_of):
        last = {entry.who: entry for entry in entries}.values()
        out = [entry for entry in last if entry.exclude]
        if 2 * len(out) > len(last):
            yield key, tuple(out)
        elif out and 2 * len(out) == len(last):
            found.contrary += last


def _right_answers(words: Sequence[Feedback], task: Task, found: Gathered) -> Iterator[RightAnswer]:
    several: list[Feedback] = []
    broken: list[Feedback] = []
    for key, entries in _grouped(words, key_of):
        given = list({entry.who: entry for entry in entries if entry.correction is not None}.values())
        taken = _settled(given, entries, one_right=task.kind in ("classify", "extract"))
        output = str(taken[-1].correction).strip() if taken else ""
        if not given or key in found.excluded:
            continue
        if not taken:
            found.contrary += given
        elif task.contract and task.contract.check(output):
            broken += taken
        else:
            several += given if len(taken) < len(given) else []
            yield RightAnswer(key, taken[-1].input, output, tuple(taken))
    what = "from people who gave different answers to the same input; of each input the answer of most, or the last"
    found.note(
        "feedback_answers_differ", "note", several, f"{what}, is used", "Nothing to do if all are right"
    )
    remedy = "Correct them again, or change contract: in the task file"
    found.note(
        "feedback_contract", "warning", broken, "left out, because the correction breaks the contract", remedy
    )


def _settled(given: Sequence[Feedback], entries: Sequence[Feedback], one_right: bool) -> list[Feedback]:
    """Of the last correction of each person those with the answer that counts; none if people disagree on it."""
    votes = [group for _, group in _grouped(given, lambda entry: canonical(str(entry.correction)))]
    held = [
        group for group in votes if len(group) > len(_against(group, given if one_right else (), entries))
    ]
    return max(held, key=lambda group: (len(group), given.index(group[-1])), default=[])


def _against(group: Sequence[Feedback], rivals: Sequence[Feedback], entries: Sequence[Feedback]) -> set[str]:
    """People who gave another answer than the group, if only one can be right, or who say that its answer is bad."""
    output = canonical(str(group[0].correction))
    bad = {
        entry.who
        for entry in entries
        if canonical(entry.answer) == output and (entry.answer.strip(), False) in _claims(entry)
    }
    return ({entry.who for entry in rivals} | bad) - {entry.who for entry in group}


def _preferences(words: Sequence[Feedback], found: Gathered) -> Iterator[Preference]:
    """From corrections, each better than the answer it takes the place of, and from choices."""
    said = [(entry, pair) for entry in words if (pair := _better_and_worse(entry))]
    for _, group in _grouped(said, lambda each: (key_of(each[0]), frozenset(each[1]))):
        ways = [way for _, way in _grouped(group, lambda each: each[1])]
        most = max(ways, key=len)
        if 2 * len(most) > len(group):
            entry, (chosen, rejected) = most[0]
            yield Preference(entry.id, entry.input, chosen, rejected, _people(entry for entry, _ in most))
        else:
            found.contrary += [entry for entry, _ in group]


def _judgements(words: Sequence[Feedback], found: Gathered) -> Iterator[Judgement]:
    said = [(entry, *claim) for entry in words for claim in _claims(entry)]
    for (_, answer), group in _grouped(said, lambda each: (key_of(each[0]), each[1])):
        good, bad = (_people(entry for entry, _, says in group if says is way) for way in (True, False))
        if len(good) != len(bad):
            is_good = len(good) > len(bad)
            yield Judgement(group[0][0].input, answer, is_good, good if is_good else bad)
        else:
            found.contrary += [entry for entry, *_ in group]


def _better_and_worse(entry: Feedback) -> tuple[str, str] | None:
    if entry.correction is not None:
        pair = entry.correction.strip(), entry.answer.strip()
    elif entry.choice in ("answer", "other"):
        pair = entry.answer.strip(), str(entry.other).strip()
        pair = pair if entry.choice == "answer" else pair[::-1]
    else:
        return None
    return pair if pair[0] != pair[1] else None


def _claims(entry: Feedback) -> Iterator[tuple[str, bool]]:
    """Answers that the entry says are good, or bad."""
    answer = entry.answer.strip()
    if entry.correction is not None:
        yield entry.correction.strip(), True
        if entry.correction.strip() != answer:
            yield answer, False
    elif entry.thumb is not None:
        yield answer, entry.thumb == "up"
    elif entry.choice in ("both", "neither"):
        yield from ((text.strip(), entry.choice == "both") for text in (answer, str(entry.other)))


def _people(entries: Iterable[Feedback]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(entry.who for entry in entries))


def _grouped(parts: Iterable[T], key: Callable[[T], object]) -> list[tuple[Any, list[T]]]:
    """The parts by their key, in the order in which keys were first met."""
    groups: dict[object, list[T]] = {}
    for part in parts:
        groups.setdefault(key(part), []).append(part)
    return list(groups.items())


def rows_meant(rows: Sequence[Example], entries: Iterable[Feedback]) -> list[Example]:
    """Of the rows with one `input_key`, those that the entries are about: those with an entry's answer, if they differ
    in case or punctuation those with its input; all if no row has an entry's answer."""
    found = []
    for entry in entries:
        same = [row for row in rows if canonical(row.output) == canonical(entry.answer)]
        found += [row for row in same if row.input == entry.input] or same
    return found or list(rows)


def canonical(text: str) -> str:
    """A text without the spaces around it; a JSON value in one way of writing."""
    try:
        return json.dumps(parse_json(text), sort_keys=True)
    except ValueError:
        return text.strip()

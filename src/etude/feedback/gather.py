"""Turn feedback into right answers, preferences and judgements, with findings on entries that
cannot be used.

A person's last entry on an answer counts; among several people, the majority decides. Without a
majority, a label or a record is left out; of free texts, which can be right in several forms, the
last one is used.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import compress
from typing import Any, NamedTuple, TypeVar

from etude.base.files import Json, hash_text, parse_json
from etude.base.formatting import format_count
from etude.base.issues import check_known
from etude.data.formats.write import format_preference, format_rating
from etude.data.splits import input_key
from etude.feedback.entry import Feedback, drop_undone
from etude.feedback.sealed import SealedTest
from etude.task import Task
from etude.types import MADE, Example, Finding, Message, Preference, Severity

T = TypeVar("T")
EXPORTS = {"preferences": "trl", "openai": "openai", "kto": "kto"}
"""Value of `--as` -> the format of `etude convert`."""


@dataclass(frozen=True)
class RightAnswer:
    """The right answer to an input, by its reviewers."""

    key: str  # `hash_input` of the input
    input: tuple[Message, ...]
    output: str
    entries: tuple[Feedback, ...]  # the entries with this answer

    def differs(self, row: Example) -> bool:
        """Return whether a row with this input has a different answer."""
        return normalize_answer(row.output) != normalize_answer(self.output)


@dataclass(frozen=True)
class Judgement:
    """Whether an answer to an input is good, by most of the people who judged it."""

    input: tuple[Message, ...]
    answer: str
    is_good: bool


class RowEdit(NamedTuple):
    """A row that feedback changes."""

    row: Example
    entries: tuple[Feedback, ...]  # the feedback that asks for it
    answer: RightAnswer | None  # None to leave out the row


@dataclass
class GatheredFeedback:
    """The results of a list of entries."""

    answers: list[RightAnswer] = field(default_factory=list)
    excluded: dict[str, tuple[Feedback, ...]] = field(default_factory=dict)
    """`hash_input` of a row to be left out -> the entries that exclude it."""
    preferences: list[Preference] = field(default_factory=list)
    judgements: list[Judgement] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    """Their `rows` are ids of entries; their `locations` are reviewer and date."""
    disputed: list[Feedback] = field(
        default_factory=list
    )  # entries left out because reviewers disagree

    def list_edits(self, find_rows: Callable[[str], Sequence[Example]]) -> Iterator[RowEdit]:
        """Yield the rows to be corrected or left out; `find_rows` returns the rows with a
        `hash_input`.
        """
        for answer in self.answers:
            rows = (row for row in find_rows(answer.key) if answer.differs(row))
            yield from (RowEdit(row, answer.entries, answer) for row in rows)
        for key, entries in self.excluded.items():
            yield from (
                RowEdit(row, entries, None) for row in _select_rows(find_rows(key), entries)
            )

    def add_finding(
        self,
        kind: str,
        severity: Severity,
        entries: Sequence[Feedback],
        predicate: str,
        remedy: str,
    ) -> None:
        """Add a finding about entries, if there are any. The message is "3 entries" and the
        predicate.
        """
        if entries:
            ids = tuple(entry.id for entry in entries)
            locations = tuple(f"{entry.reviewer}, {entry.created[:10]}" for entry in entries)
            message = f"{format_count(len(entries), 'entry', 'entries')} {predicate}."
            self.findings.append(Finding(kind, severity, ids, message, remedy, locations))


def gather_feedback(
    entries: Sequence[Feedback], task: Task, sealed: SealedTest
) -> GatheredFeedback:
    """Compute the results of the entries by input, in order. Undone entries and those on test rows
    and made rows do not count.
    """
    gathered = GatheredFeedback()
    entries = drop_undone(entry for entry in entries if entry.assistant != MADE)
    # 1. Drop entries on test rows, then all but the last entry of each reviewer on each answer.
    on_test = list(compress(entries, sealed.find_overlaps([entry.input for entry in entries])))
    predicate = (
        "left out, because the input is in the sealed test, or is a near-duplicate of a test row"
    )
    gathered.add_finding("feedback_sealed", "warning", on_test, predicate, "Nothing to do")
    on_test_ids = {entry.id for entry in on_test}
    entries = _keep_latest([entry for entry in entries if entry.id not in on_test_ids], gathered)
    # 2. Decide by majority: the answer to each input, whether its row stays, and which answers are
    # better or good.
    gathered.excluded = dict(_find_excluded(entries, gathered))
    gathered.answers = list(_find_right_answers(entries, task, gathered))
    gathered.preferences = list(_find_preferences(entries, gathered))
    gathered.judgements = list(_find_judgements(entries, gathered))
    # 3. Report entries without a decision.
    disputed = list({entry.id: entry for entry in gathered.disputed}.values())
    predicate = "left out, because reviewers disagree and neither side has a majority"
    remedy = "Ask one of the reviewers, or another person, to review them again"
    gathered.add_finding("feedback_contradiction", "warning", disputed, predicate, remedy)
    latest = {(_key_of(entry), entry.answer): entry for entry in entries if not entry.choice}
    flagged = [entry for entry in latest.values() if entry.flag]
    gathered.add_finding(
        "feedback_flagged",
        "note",
        flagged,
        "flagged for an expert",
        "Experts review them in the studio",
    )
    return gathered


def _keep_latest(entries: Sequence[Feedback], gathered: GatheredFeedback) -> list[Feedback]:
    latest: dict[object, Feedback] = {}
    for entry in entries:
        answers = frozenset((entry.answer, entry.other)) if entry.choice else entry.answer
        subject = (entry.reviewer, _key_of(entry), answers)
        latest.pop(subject, None)
        latest[subject] = entry
    latest_ids = {entry.id for entry in latest.values()}
    earlier = [entry for entry in entries if entry.id not in latest_ids]
    predicate = "not used, because the same person added a later entry on the same answer"
    gathered.add_finding("feedback_repeated", "note", earlier, predicate, "Nothing to do")
    return list(latest.values())


def _find_excluded(
    entries: Sequence[Feedback], gathered: GatheredFeedback
) -> Iterator[tuple[str, tuple[Feedback, ...]]]:
    """Yield the rows that more reviewers exclude than correct; each reviewer's last entry
    counts.
    """
    relevant = [entry for entry in entries if entry.exclude or entry.correction]
    for key, group in _group_by(relevant, _key_of):
        latest = {entry.reviewer: entry for entry in group}.values()
        excluding = [entry for entry in latest if entry.exclude]
        if 2 * len(excluding) > len(latest):
            yield key, tuple(excluding)
        elif excluding and 2 * len(excluding) == len(latest):
            gathered.disputed += latest


def _find_right_answers(
    entries: Sequence[Feedback], task: Task, gathered: GatheredFeedback
) -> Iterator[RightAnswer]:
    differing: list[Feedback] = []
    broken: list[Feedback] = []
    for key, group in _group_by(entries, _key_of):
        corrections = list(
            {entry.reviewer: entry for entry in group if entry.correction is not None}.values()
        )
        if not corrections or key in gathered.excluded:
            continue
        winners = _choose_correction(corrections, group, task.kind in ("classify", "extract"))
        output = str(winners[-1].correction).strip() if winners else ""
        if not winners:
            gathered.disputed += corrections
        elif task.contract and task.contract.check(output):
            broken += winners
        else:
            differing += corrections if len(winners) < len(corrections) else []
            yield RightAnswer(key, winners[-1].input, output, tuple(winners))
    predicate = (
        "from reviewers who gave different answers to the same input. For each input, the most "
        "frequent answer is used, or the last one if none is more frequent"
    )
    gathered.add_finding(
        "feedback_answers_differ", "note", differing, predicate, "Nothing to do if all are right"
    )
    remedy = "Correct them again, or change contract: in the task file"
    gathered.add_finding(
        "feedback_contract",
        "warning",
        broken,
        "left out, because the correction breaks the contract",
        remedy,
    )


def _choose_correction(
    corrections: Sequence[Feedback], entries: Sequence[Feedback], only_one_right: bool
) -> list[Feedback]:
    """Return the corrections with the winning answer; empty if reviewers disagree.

    An answer needs more supporters than opponents. Opponents are reviewers who rejected it and, if
    only one answer can be right, reviewers who gave another answer.
    """
    candidates = []
    for _, group in _group_by(corrections, lambda entry: normalize_answer(str(entry.correction))):
        output = normalize_answer(str(group[0].correction))
        opponents = {
            entry.reviewer
            for entry in entries
            if normalize_answer(entry.answer) == output
            and (entry.answer.strip(), False) in list_claims(entry)
        }
        opponents |= {entry.reviewer for entry in corrections} if only_one_right else set()
        if len(group) > len(opponents - {entry.reviewer for entry in group}):
            candidates.append(group)
    return max(candidates, key=lambda group: (len(group), corrections.index(group[-1])), default=[])


def _find_preferences(
    entries: Sequence[Feedback], gathered: GatheredFeedback
) -> Iterator[Preference]:
    ordered = [(entry, pair) for entry in entries if (pair := _order_answers(entry))]
    for _, group in _group_by(ordered, lambda item: (_key_of(item[0]), frozenset(item[1]))):
        majority = max((items for _, items in _group_by(group, lambda item: item[1])), key=len)
        if 2 * len(majority) > len(group):
            entry, (better, worse) = majority[0]
            yield Preference(entry.id, entry.input, better, worse)
        else:
            gathered.disputed += [entry for entry, _ in group]


def _find_judgements(
    entries: Sequence[Feedback], gathered: GatheredFeedback
) -> Iterator[Judgement]:
    claims = [(entry, *claim) for entry in entries for claim in list_claims(entry)]
    for (_, answer), group in _group_by(claims, lambda claim: (_key_of(claim[0]), claim[1])):
        good, bad = (
            len({entry.reviewer for entry, _, is_good in group if is_good is side})
            for side in (True, False)
        )
        if good != bad:
            yield Judgement(group[0][0].input, answer, good > bad)
        else:
            gathered.disputed += [entry for entry, *_ in group]


def _order_answers(entry: Feedback) -> tuple[str, str] | None:
    """Return the better and the worse answer of an entry that ranks two answers; otherwise None."""
    if entry.correction is not None:
        pair = entry.correction.strip(), entry.answer.strip()
    elif entry.choice in ("answer", "other"):
        pair = entry.answer.strip(), str(entry.other).strip()
        pair = pair if entry.choice == "answer" else pair[::-1]
    else:
        return None
    return pair if pair[0] != pair[1] else None


def list_claims(entry: Feedback) -> Iterator[tuple[str, bool]]:
    """Yield each answer that the entry judges, and whether it is good."""
    answer = entry.answer.strip()
    if entry.correction is not None:
        yield entry.correction.strip(), True
        if entry.correction.strip() != answer:
            yield answer, False
    elif entry.thumb is not None:
        yield answer, entry.thumb == "up"
    elif entry.choice in ("both", "neither"):
        yield from ((text.strip(), entry.choice == "both") for text in (answer, str(entry.other)))


def hash_input(turns: tuple[Message, ...]) -> str:
    """Hash an input: its `input_key`; with an own system message, a hash of `input_key` and
    message.
    """
    key = input_key(Example("", turns, ""))
    if turns[0].role != "system":
        return key
    return hash_text(f"{key} {turns[0].content}", len(key))


def _key_of(entry: Feedback) -> str:
    return hash_input(entry.input)


def _group_by(items: Iterable[T], key: Callable[[T], object]) -> list[tuple[Any, list[T]]]:
    groups: dict[object, list[T]] = {}
    for item in items:
        groups.setdefault(key(item), []).append(item)
    return list(groups.items())


def _select_rows(rows: Sequence[Example], entries: Iterable[Feedback]) -> list[Example]:
    """Select the rows that the entries are about, among the rows with one `hash_input`.

    These are the rows with an entry's answer; if some of them have exactly its input, only these.
    If no row has an entry's answer, all rows are selected.
    """
    selected = []
    for entry in entries:
        same = [
            row for row in rows if normalize_answer(row.output) == normalize_answer(entry.answer)
        ]
        selected += [row for row in same if row.input == entry.input] or same
    return selected or list(rows)


def normalize_answer(text: str) -> str:
    """Strip a text; a JSON value is written in a canonical format."""
    try:
        return json.dumps(parse_json(text), sort_keys=True)
    except ValueError:
        return text.strip()


def export_rows(gathered: GatheredFeedback, name: str) -> Iterator[Json]:
    """Yield the rows: answers with their ratings for `kto`, else better and worse answers. Raises
    InputError for an unknown name.
    """
    check_known("--as", [name], EXPORTS, "an unknown format")
    if name == "kto":
        for rated in gathered.judgements:
            yield format_rating("", rated.input, rated.answer, rated.is_good)
        return
    for pair in gathered.preferences:
        yield from format_preference(EXPORTS[name], "", pair.input, pair.chosen, pair.rejected)

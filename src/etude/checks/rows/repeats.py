"""Repeats and contradictions: the same row twice, one input with two answers, test rows in train.

Texts count as the same when their `with_signs` forms are equal (normal_forms.py): without case and punctuation, with
symbols and operators. Near-duplicates are texts whose forms have a Jaccard similarity of 0.8 or more (text.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, combinations
from operator import ne

import numpy as np

from etude.base.wording import count
from etude.checks.material import Hashes, Material, groups_of, hashed, of_rows, rows_that
from etude.checks.record import TEXTS, FindingKind, finds
from etude.text.lexicon import SLIGHT
from etude.text.near_duplicates import near_matches
from etude.text.normal_forms import with_signs
from etude.types import Example, Finding

NEAR_SHARE = 0.01
"""Share of the rows from which near-duplicates are worth a word."""
ONE_ANSWER = 0.9
"""Share of the rows from which an answer is all that is learned."""
LEAST_ALIKE = 10
"""Rows with it from which that is said."""


@finds(FindingKind("repeated_input", "warning", "copies of an earlier row"), quick=True)
def repeated_inputs(material: Material) -> Iterator[Finding]:
    """Rows that repeat the input and answer of an earlier row; none of an input that `contradictions` names."""
    named = contradictory(material)
    groups = [group for group in _same_rows(material) if group[0] not in named]
    later = _later(groups)
    if later:
        yield material.finding(
            "repeated_input",
            "warning",
            later,
            f"{rows_that('repeat', len(later), len(material.rows))} the input and the answer of an earlier row.",
            "Delete the copies: a row that stands twice counts twice in training.",
            evidence=(material.shown_input(row) for group in groups for row in group[:2]),
            numbers={"rows": len(later), "inputs": len(groups), "of": len(material.rows)},
            fix="leaves out rows that are an earlier one to the letter"
            if any(_has_copies([material.rows[position] for position in group]) for group in groups)
            else "",
        )


def _first_of_each(group: Iterable[int], asked: Hashes) -> list[int]:
    """The first row of each input of a group."""
    return sorted({int(asked[row]): row for row in sorted(group, reverse=True)}.values())


def _later(groups: Iterable[Sequence[int]]) -> list[int]:
    """The rows of groups, but for the first of each, in order."""
    return sorted(position for group in groups for position in group[1:])


def _same_rows(material: Material) -> list[list[int]]:
    """Rows with the same input and the same answer, in groups of two or more."""
    pairs = zip(material.input_hashes.tolist(), material.output_hashes.tolist(), strict=True)
    return groups_of(hashed(f"{asked} {given}" for asked, given in pairs))


def contradictory(material: Material) -> set[int]:
    """The rows that `contradictions` names."""
    return set(chain.from_iterable(with_several_answers(material.input_hashes, material.output_hashes)))


def _has_copies(rows: Sequence[Example]) -> bool:
    found = {(row.input, row.output, row.references, row.group, tuple(row.tags.items())) for row in rows}
    return len(found) < len(rows)


@finds(FindingKind("repeated_output", "warning, note", "answers of an earlier row"), tasks=TEXTS)
def repeated_outputs(material: Material) -> Iterator[Finding]:
    """Rows whose free answer stands word for word in an earlier row, or nearly all of whose answers are one; none where
    all are copies of whole rows, which `repeated_inputs` names."""
    groups = [group for group in groups_of(material.output_hashes) if material.plain_outputs[group[0]]]
    later = sorted(set(_later(groups)).difference(_later(_same_rows(material))))
    if not later:
        return
    largest = max(groups, key=len)
    numbers = {"rows": len(later), "most": len(largest), "of": len(material.rows)}
    if len(largest) >= max(ONE_ANSWER * len(material.rows), LEAST_ALIKE):
        yield material.finding(
            "repeated_output",
            "warning",
            later,
            f"{rows_that('have', len(largest), len(material.rows))} one and the same answer: a model trained on them "
            "gives it whatever it is asked.",
            "See that the column of the answers is the right one and that no rows with other answers were left behind; "
            "collect more of those.",
            evidence=material.both(largest[:3]),
            numbers=numbers,
        )
    elif material.free:
        yield material.finding(
            "repeated_output",
            "note",
            later,
            f"{rows_that('repeat', len(later), len(material.rows))} the answer of an earlier row word for word, to "
            f"another input; the most frequent answer stands {len(largest):,} times.",
            "Nothing to do where one answer is right for several inputs; else write each its own.",
            evidence=material.both(largest[:3]),
            numbers=numbers,
        )


@finds(FindingKind("contradiction", "error, warning", "one input with several answers"), quick=True)
def contradictions(material: Material) -> Iterator[Finding]:
    """Inputs that stand with different answers."""
    groups = with_several_answers(material.input_hashes, material.output_hashes)
    if not groups:
        return
    rows = sorted(chain.from_iterable(groups))
    classify = material.task.kind == "classify"
    yield material.finding(
        "contradiction",
        "error" if classify or len(rows) > 0.1 * len(material.rows) else "warning",
        rows,
        f"{count(len(groups), 'input stands', 'inputs stand')} with more than one "
        f"{'label' if classify else 'answer'}: {of_rows(len(rows), len(material.rows))}. "
        "Whatever a model answers, some of these rows call it wrong.",
        "Keep the right answer of each and delete the others"
        + ("." if classify else ", or list them as references: of one row where several are right."),
        evidence=chain.from_iterable(
            material.both(_two_that_differ(group, material.output_hashes)) for group in groups
        ),
        numbers={"inputs": len(groups), "rows": len(rows), "of": len(material.rows)},
    )


def _two_that_differ(group: Sequence[int], *parts: Hashes) -> tuple[int, int]:
    """The first two rows of a group, each standing for those like it, that differ in all of these parts."""
    first: dict[tuple[int, ...], int] = {}
    for row in group:
        first.setdefault(tuple(int(part[row]) for part in parts), row)
    pairs = combinations(first.items(), 2)
    return next((row, other) for (one, row), (two, other) in pairs if all(map(ne, one, two)))


def with_several_answers(asked: Hashes, given: Hashes) -> list[list[int]]:
    """Positions of one input that stands with different answers, in groups, by their first member."""
    return [group for group in groups_of(asked) if len(np.unique(given[group])) > 1]


@finds(FindingKind("near_contradiction", "warning, note", "nearly one input with several answers"))
def near_contradictions(material: Material) -> Iterator[Finding]:
    """Inputs that differ in slight words alone and stand with different answers; rows of a contradiction are not
    named a second time."""
    asked, answers = material.input_hashes, material.output_hashes
    named = contradictory(material)
    groups = [
        group
        for group in groups_of(hashed(_essence(with_signs(text)) for text in material.inputs))
        if not named.issuperset(group)
        and _differs_across_inputs(asked[group].tolist(), answers[group].tolist())
    ]
    if not groups:
        return
    rows = sorted(set(chain.from_iterable(groups)) - named)
    yield material.finding(
        "near_contradiction",
        "warning" if material.task.kind == "classify" else "note",
        rows,
        f"{count(len(groups), 'group')} of inputs that differ in small words only "
        f"{'has' if len(groups) == 1 else 'have'} different answers: "
        f"{of_rows(len(rows), len(material.rows))}.",
        "Read them side by side; correct those that ask the same.",
        evidence=chain.from_iterable(
            material.both(_two_that_differ(group, asked, answers)) for group in groups
        ),
        numbers={"inputs": len(groups), "rows": len(rows), "of": len(material.rows)},
    )


def _differs_across_inputs(asked: Sequence[int], answers: Sequence[int]) -> bool:
    """Whether two different inputs of a group have different answers; one input alone is a contradiction."""
    sets: dict[int, set[int]] = {}
    for one, answer in zip(asked, answers, strict=True):
        sets.setdefault(one, set()).add(answer)
    return len({frozenset(found) for found in sets.values()}) > 1


def _essence(form: str) -> str:
    """The words and signs that carry an input, in their order; a text of fewer than three as it is."""
    words = [word for word in form.split() if word not in SLIGHT]
    return " ".join(words) if len(words) > 2 else form


@finds(FindingKind("near_duplicate", "note", "inputs that repeat another one in nearly the same words"))
def near_repeats(material: Material) -> Iterator[Finding]:
    """Rows whose input is a near-duplicate, and no repeat, of another row's."""
    asked = material.input_hashes
    found = [_first_of_each(group, asked) for group in material.near]
    found = [group for group in found if len(group) > 1]
    rows = _later(found)
    if len(rows) < NEAR_SHARE * len(asked):
        return
    yield material.finding(
        "near_duplicate",
        "note",
        rows,
        f"{rows_that('repeat', len(rows), len(material.rows))} the input of another in nearly the same words "
        f"({count(len(found), 'group')}; the largest has {max(map(len, found)):,} rows).",
        "Delete those that ask the same. A comparison never puts rows of one group on two sides of the split.",
        evidence=chain.from_iterable(
            map(material.shown_input, _two_that_differ(group, asked)) for group in found
        ),
        numbers={"rows": len(rows), "groups": len(found), "of": len(material.rows)},
    )


@finds(FindingKind("test_overlap", "warning", "examples whose input, or nearly the same one, is in the test"))
def test_overlap(material: Material) -> Iterator[Finding]:
    """Test rows whose input, or a near-duplicate of it, stands among the examples."""
    if material.test is None:
        return
    asked = [row.text for row in material.test]
    exact = int(np.isin(hashed(map(with_signs, asked)), material.input_hashes).sum())
    near = near_matches(asked, material.inputs)
    if not near:
        return
    of_test = {row: material.test[like].location for row, like, _ in near_matches(material.inputs, asked)}
    matches = list(of_test)
    yield material.finding(
        "test_overlap",
        "warning",
        matches,
        f"Near-duplicates of {len(near):,} of {count(len(asked), 'test row')} stand among the examples, "
        f"{f'{exact:,}' if exact else 'none'} of them as the very same input: "
        f"{of_rows(len(matches), len(material.rows))}. A test that was seen in training shows memory.",
        "`etude compare` leaves these examples out of training; delete them to train elsewhere.",
        about=_like(material, of_test.values()),
        evidence=(material.shown_input(position) for position in matches),
        fix="leaves these examples out",
        numbers={
            "test_rows": len(near),
            "same_input": exact,
            "rows": len(matches),
            "test": len(asked),
            "of": len(material.rows),
        },
    )


@finds(FindingKind("test_answers", "note", "examples whose answer is in the test word for word"), tasks=TEXTS)
def test_answers(material: Material) -> Iterator[Finding]:
    """Test rows whose whole answer stands among the examples, where answers are seldom repeated."""
    if material.test is None:
        return
    if len(np.unique(material.output_hashes)) < 0.3 * len(material.rows):
        return
    answers = material.answer_hashes(row.output for row in material.test)
    num = int(np.isin(answers, material.output_hashes).sum())
    if num <= 0.02 * len(answers):
        return
    rows = np.flatnonzero(np.isin(material.output_hashes, answers)).tolist()
    first = {answer: row.location for answer, row in zip(answers.tolist(), material.test, strict=True)}
    yield material.finding(
        "test_answers",
        "note",
        rows,
        f"The answers of {num:,} of {len(answers):,} test rows stand word for word among the examples: there the "
        "test shows memory as much as skill.",
        "Keep rows of one answer on one side (group:) to measure what is new.",
        about=_like(material, (first[answer] for answer in material.output_hashes[rows].tolist())),
        evidence=(material.shown_output(position) for position in rows),
        numbers={"test_rows": num, "test": len(answers), "rows": len(rows), "of": len(material.rows)},
    )


def _like(material: Material, places: Iterable[str]) -> list[str]:
    """The test row that each row is like; none is named of a test that is sealed."""
    return [f"like {place}" for place in places] if material.task.test else []

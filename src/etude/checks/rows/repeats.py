"""Repeats and contradictions: repeated rows, inputs with several answers, test rows among the
examples.

Texts are the same if their canonical forms are equal; these ignore case and punctuation, but not
symbols and operators (text/normal_forms.py). Near-duplicates are texts whose forms have a Jaccard
similarity of 0.8 or more (text/near_duplicates.py).
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, combinations
from operator import ne

import numpy as np

from etude.base.formatting import format_count
from etude.checks.kinds import TEXTS, FindingKind, finds
from etude.checks.material import (
    Hashes,
    Material,
    format_rows,
    format_share,
    group_equal,
    hash_texts,
)
from etude.text import lexicon
from etude.text.near_duplicates import find_near_matches
from etude.text.normal_forms import to_canonical
from etude.types import Finding

NEAR_SHARE = 0.01  # share of the rows from which near-duplicates are reported
ONE_ANSWER_SHARE = (
    0.9  # share of rows with the same answer from which a model would learn only that answer
)
MIN_ONE_ANSWER = 10  # the same as a number of rows
ERROR_SHARE = 0.1  # share of contradictory rows from which free answers are an error
MIN_DISTINCT_SHARE = 0.3  # share of distinct answers below which repeated answers are normal
TEST_ANSWER_SHARE = 0.02  # share of the test's answers from which repeated ones are reported


@finds(FindingKind("repeated_input", "warning", "copies of an earlier row"), quick=True)
def check_repeated_inputs(material: Material) -> Iterator[Finding]:
    """Find rows that repeat the input and answer of an earlier row; contradictory inputs are left
    out.
    """
    contradictory = find_contradictory_rows(material)
    groups = [group for group in _group_same_rows(material) if group[0] not in contradictory]
    rows = _list_later(groups)
    if rows:
        has_copies = any(
            len(
                {
                    (row.input, row.output, row.references, row.group, *row.tags.items())
                    for row in rows
                }
            )
            < len(rows)
            for rows in ([material.rows[row] for row in group] for group in groups)
        )
        yield material.finding(
            "repeated_input",
            "warning",
            rows,
            f"{format_rows('repeat', len(rows), len(material.rows))} the input and the answer of "
            "an earlier row.",
            "Delete the copies: a repeated row counts several times in training.",
            excerpts=(material.show_input(row) for group in groups for row in group[:2]),
            numbers={"rows": len(rows), "inputs": len(groups), "of": len(material.rows)},
            fix="leaves out rows that are exact copies of an earlier one" if has_copies else "",
        )


def _list_later(groups: Iterable[Sequence[int]]) -> list[int]:
    return sorted(row for group in groups for row in group[1:])


def _group_same_rows(material: Material) -> list[list[int]]:
    pairs = zip(material.input_hashes.tolist(), material.output_hashes.tolist(), strict=True)
    return group_equal(hash_texts(f"{source} {answer}" for source, answer in pairs))


@finds(
    FindingKind(
        "repeated_output", "warning, note", "answers that repeat the answer of an earlier row"
    ),
    tasks=TEXTS,
)
def check_repeated_outputs(material: Material) -> Iterator[Finding]:
    """Find rows with the free answer of an earlier row, and sets in which nearly all answers are
    the same.

    Copies of whole rows are left out, because `check_repeated_inputs` reports them.
    """
    groups = [
        group for group in group_equal(material.output_hashes) if material.plain_outputs[group[0]]
    ]
    rows = sorted(set(_list_later(groups)).difference(_list_later(_group_same_rows(material))))
    if not rows:
        return
    largest = max(groups, key=len)
    total = len(material.rows)
    numbers = {"rows": len(rows), "most": len(largest), "of": total}
    is_one = len(largest) >= max(ONE_ANSWER_SHARE * total, MIN_ONE_ANSWER)
    # A model learns the earlier answers of a conversation, too.
    if is_one and not all(
        any(turn.role == "assistant" for turn in material.rows[row].input) for row in largest
    ):
        yield material.finding(
            "repeated_output",
            "warning",
            rows,
            f"{format_rows('have', len(largest), total)} the same answer. A model trained on them "
            "always gives this answer.",
            "Check that the right column is used for the answers and that no rows are missing, or "
            "collect more rows with other answers.",
            excerpts=material.show_rows(largest[:3]),
            numbers=numbers,
        )
    elif material.is_free_text:
        yield material.finding(
            "repeated_output",
            "note",
            rows,
            f"{format_rows('repeat', len(rows), total)} the answer of an earlier row word for "
            f"word, for another input; the most frequent answer occurs {len(largest):,} times.",
            "Nothing to do if one answer is right for several inputs; if not, write an answer for "
            "each.",
            excerpts=material.show_rows(largest[:3]),
            numbers=numbers,
        )


@finds(
    FindingKind("contradiction", "error, warning", "inputs with several different answers"),
    quick=True,
    by_question=True,
)
def check_contradictions(material: Material) -> Iterator[Finding]:
    """Find inputs with different answers."""
    groups = group_contradictions(material.input_hashes, material.output_hashes)
    if not groups:
        return
    rows = sorted(chain.from_iterable(groups))
    is_classify = material.task.kind == "classify"
    remedy = "For each input, keep the right answer and delete the others."
    pairs = (_find_different_pair(group, material.output_hashes) for group in groups)
    yield material.finding(
        "contradiction",
        "error" if is_classify or len(rows) > ERROR_SHARE * len(material.rows) else "warning",
        rows,
        f"{format_count(len(groups), 'input has', 'inputs have')} more than one "
        f"{'label' if is_classify else 'answer'}: {format_share(len(rows), len(material.rows))}. "
        "These rows contradict each other, so no model can get all of them right.",
        remedy
        if is_classify
        else f"{remedy} If several are right, keep one row and list the other answers in its "
        "references.",
        excerpts=material.show_rows(chain.from_iterable(pairs)),
        numbers={"inputs": len(groups), "rows": len(rows), "of": len(material.rows)},
    )


def find_contradictory_rows(material: Material) -> set[int]:
    """Return the rows that `check_contradictions` reports."""
    return set(
        chain.from_iterable(group_contradictions(material.input_hashes, material.output_hashes))
    )


def group_contradictions(inputs: Hashes, answers: Hashes) -> list[list[int]]:
    """Group the positions of each input that has different answers, ordered by their first
    member.
    """
    return [group for group in group_equal(inputs) if len(np.unique(answers[group])) > 1]


def _find_different_pair(group: Sequence[int], *hashes: Hashes) -> tuple[int, int]:
    """Find the first two rows of a group that differ in each of these hashes."""
    first: dict[tuple[int, ...], int] = {}
    for row in group:
        first.setdefault(tuple(int(values[row]) for values in hashes), row)
    pairs = combinations(first.items(), 2)
    return next(
        (row, other) for (key, row), (other_key, other) in pairs if all(map(ne, key, other_key))
    )


@finds(
    FindingKind(
        "near_contradiction", "warning, note", "almost equal inputs with different answers"
    ),
    by_question=True,
)
def check_near_contradictions(material: Material) -> Iterator[Finding]:
    """Find inputs that differ only in filler words and have different answers, without rows of a
    contradiction.
    """
    inputs = material.input_hashes
    answers = material.output_hashes
    contradictory = find_contradictory_rows(material)
    groups = [
        group
        for group in group_equal(hash_texts(map(_remove_small_words, material.canonical_inputs)))
        if not contradictory.issuperset(group)
        and _differs_across_inputs(inputs[group].tolist(), answers[group].tolist())
    ]
    if not groups:
        return
    rows = sorted(set(chain.from_iterable(groups)) - contradictory)
    pairs = (_find_different_pair(group, inputs, answers) for group in groups)
    yield material.finding(
        "near_contradiction",
        "warning" if material.task.kind == "classify" else "note",
        rows,
        f"{format_count(len(groups), 'group')} of inputs that differ only in words such as 'the' "
        f"or 'please' {'has' if len(groups) == 1 else 'have'} different answers: "
        f"{format_share(len(rows), len(material.rows))}.",
        "Compare the rows of each group. If they ask the same question, give them the same answer.",
        excerpts=material.show_rows(chain.from_iterable(pairs)),
        numbers={"inputs": len(groups), "rows": len(rows), "of": len(material.rows)},
    )


def _differs_across_inputs(inputs: Sequence[int], answers: Sequence[int]) -> bool:
    """Whether two different inputs of a group have different answers; a single input would be a
    contradiction.
    """
    answers_of: dict[int, set[int]] = {}
    for source, answer in zip(inputs, answers, strict=True):
        answers_of.setdefault(source, set()).add(answer)
    return len(set(map(frozenset, answers_of.values()))) > 1


def _remove_small_words(form: str) -> str:
    """Remove the words that carry little meaning; a form with fewer than three other words is not
    changed.
    """
    words = [word for word in form.split() if word not in lexicon.SMALL_WORDS]
    return " ".join(words) if len(words) > 2 else form


@finds(FindingKind("near_duplicate", "note", "inputs that are almost equal to another input"))
def check_near_duplicates(material: Material) -> Iterator[Finding]:
    """Find rows whose input is a near-duplicate of another row's input, but not the same."""
    inputs = material.input_hashes
    groups = []
    for cluster in material.near_duplicates:
        # The first row of each distinct input.
        first = sorted({int(inputs[row]): row for row in sorted(cluster, reverse=True)}.values())
        groups += [first] if len(first) > 1 else []
    rows = _list_later(groups)
    if len(rows) < NEAR_SHARE * len(inputs):
        return
    pairs = (_find_different_pair(group, inputs) for group in groups)
    yield material.finding(
        "near_duplicate",
        "note",
        rows,
        f"{format_rows('repeat', len(rows), len(material.rows))} the input of another row in "
        f"nearly the same words ({format_count(len(groups), 'group')}; the largest has "
        f"{max(map(len, groups)):,} rows).",
        "Delete the rows that ask the same question. A comparison keeps all rows of a group on "
        "one side of the split.",
        excerpts=map(material.show_input, chain.from_iterable(pairs)),
        numbers={"rows": len(rows), "groups": len(groups), "of": len(material.rows)},
    )


@finds(
    FindingKind(
        "test_overlap", "warning", "examples whose input, or an almost equal one, is in the test"
    )
)
def check_test_overlap(material: Material) -> Iterator[Finding]:
    """Find examples whose input, or a near-duplicate of it, is in the test."""
    if material.test is None:
        return
    inputs = material.canonical_inputs
    test_inputs = [to_canonical(row.text) for row in material.test]
    num_same = int(np.isin(hash_texts(test_inputs), material.input_hashes).sum())
    num_near = len(find_near_matches(test_inputs, inputs, are_canonical=True))
    if not num_near:
        return
    matches = find_near_matches(inputs, test_inputs, are_canonical=True)
    rows = [row for row, _, _ in matches]
    yield material.finding(
        "test_overlap",
        "warning",
        rows,
        f"{format_rows('repeat', len(rows), len(material.rows))} {num_near:,} of "
        f"{format_count(len(test_inputs), 'test row')}: {num_same:,} exactly, "
        f"{num_near - num_same:,} as near-duplicates. A test on rows seen in training measures "
        "memorization.",
        "`etude compare` leaves these examples out of training. Delete them before you train with "
        "another program.",
        subjects=_describe_matches(
            material, (material.test[match].location for _, match, _ in matches)
        ),
        excerpts=map(material.show_input, rows),
        fix="leaves these examples out",
        numbers={
            **{"test_rows": num_near, "same_input": num_same, "rows": len(rows)},
            **{"test": len(test_inputs), "of": len(material.rows)},
        },
    )


@finds(
    FindingKind("test_answers", "note", "examples whose answer is also in the test, word for word"),
    tasks=TEXTS,
)
def check_test_answers(material: Material) -> Iterator[Finding]:
    """Find examples whose whole answer is also in the test, if answers are rarely repeated."""
    if material.test is None:
        return
    if len(np.unique(material.output_hashes)) < MIN_DISTINCT_SHARE * len(material.rows):
        return
    answers = material.hash_answers(row.output for row in material.test)
    number = int(np.isin(answers, material.output_hashes).sum())
    if number <= TEST_ANSWER_SHARE * len(answers):
        return
    rows = np.flatnonzero(np.isin(material.output_hashes, answers)).tolist()
    locations = {
        answer: row.location for answer, row in zip(answers.tolist(), material.test, strict=True)
    }
    matches = (locations[answer] for answer in material.output_hashes[rows].tolist())
    yield material.finding(
        "test_answers",
        "note",
        rows,
        f"{number:,} of {len(answers):,} test answers also occur word for word in the examples. "
        "On these rows the test measures memorization as well as skill.",
        "To measure only new answers, set group: to a column that is equal for rows with the same "
        "answer.",
        subjects=_describe_matches(material, matches),
        excerpts=map(material.show_output, rows),
        numbers={
            "test_rows": number,
            "test": len(answers),
            "rows": len(rows),
            "of": len(material.rows),
        },
    )


def _describe_matches(material: Material, locations: Iterable[str]) -> list[str]:
    """Return a reference to the test row that matches each row; empty if the test is sealed."""
    return [f"like {location}" for location in locations] if material.task.test else []

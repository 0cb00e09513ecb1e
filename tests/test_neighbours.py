"""Rows beside the rows nearest to them: one that is answered otherwise is named, and natural variety is left alone."""

from __future__ import annotations

import csv
import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from conftest import data_folder
from etude.checks.labels.neighbours import bags_of_words, neighbourhood, unlike_neighbours
from pairs import Pair, found_in, places_in

QUEUES = {
    "refund": "Open the order, choose return and wait three days for the money.",
    "password": "Press forgot on the login page and follow the letter we send.",
    "delivery": "Parcels leave our depot at noon; the tracking number shows where yours is.",
    "invoice": "Bills are kept under documents and can be printed from there.",
    "account": "Profiles are closed by the button at the bottom of the settings.",
}
WORDS = ("kindly", "today", "again", "quickly", "somehow", "really", "friend", "urgent", "phone", "laptop")


def desk(num: int = 150) -> list[Pair]:
    """Questions to a help desk, each of five kinds answered in one way."""
    draw = random.Random(2)
    kinds = list(QUEUES)
    return [
        (
            f"My {kinds[n % 5]} and {kinds[n % 5]}s, number {n}, {' '.join(draw.sample(WORDS, 2))}",
            QUEUES[kinds[n % 5]],
        )
        for n in range(num)
    ]


def test_rows_answered_otherwise_than_their_neighbours_are_named_beside_one_of_these() -> None:
    pairs = desk()
    assert not len(found_in(pairs, unlike_neighbours))
    wrong = (7, 60, 121)
    for place in wrong:
        pairs[place] = (pairs[place][0], "Our shop sells umbrellas, hats and gloves.")
    findings = found_in(pairs, unlike_neighbours)
    assert places_in(findings) == set(wrong)
    row, neighbour = (int(findings.found[0].evidence[place].row) for place in (0, 2))
    assert row in wrong
    assert neighbour % 5 == row % 5, "the neighbour asks for the same"


def test_nothing_is_said_where_likeness_of_inputs_does_not_decide_the_answer() -> None:
    draw = random.Random(3)
    pairs = [(asked, draw.choice(list(QUEUES.values()))) for asked, _ in desk()]
    assert not len(found_in(pairs, unlike_neighbours))


@given(st.lists(st.text("abcde ", max_size=12), min_size=2, max_size=8))
def test_texts_are_alike_as_far_as_they_share_words(texts: list[str]) -> None:
    found = bags_of_words(texts)
    alike = (found @ found.T).toarray()
    sets = [set(text.split()) for text in texts]
    for one, first in enumerate(sets):
        for other, second in enumerate(sets):
            assert (alike[one, other] > 0) == bool(first & second)
            if first == second and first:
                assert alike[one, other] == pytest.approx(1, abs=1e-5)
    assert alike.max(initial=0) <= 1 + 1e-5


def test_the_nearest_are_those_of_a_search_through_all_pairs() -> None:
    asked, given_ = zip(*desk(60), strict=True)
    found = neighbourhood(asked, given_)
    bags = bags_of_words(asked, 2)
    alike = (bags @ bags.T).toarray()
    np.fill_diagonal(alike, -1)
    assert len(found.rows)
    for row, nearest in zip(found.rows, found.nearest, strict=True):
        best = np.sort(alike[row])[::-1][: len(nearest)]
        assert alike[row][nearest] == pytest.approx(best, abs=1e-6)


@pytest.mark.data
def test_wrong_answers_to_real_questions_are_found() -> None:
    """Questions to a bank, each intent answered in one sentence; a twentieth of the answers are another's."""
    with (data_folder("banking77") / "test.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    draw = random.Random(5)
    labels = sorted({row["category"] for row in rows})
    wrong = set(draw.sample(range(len(rows)), len(rows) // 20))
    pairs = []
    for place, row in enumerate(rows):
        label = draw.choice(labels) if place in wrong else row["category"]
        pairs.append((row["text"], f"This is about {label.replace('_', ' ')}."))
    named = places_in(found_in(pairs, unlike_neighbours))
    assert len(named & wrong) >= 0.8 * len(named) > 0

"""Near-duplicates are exactly those that comparing every pair finds."""

import csv
import random
import time
import tracemalloc
from itertools import combinations

import numpy as np
import pytest
from conftest import data_folder
from hypothesis import given
from hypothesis import strategies as st

from etude.text.near_duplicates import cluster_near_duplicates, cluster_pairs, find_near_matches
from etude.text.normal_forms import to_canonical
from etude.text.shared_shingles import find_candidate_pairs

# Few letters and edited copies: near-duplicates of every degree are common.
WORDS = st.lists(
    st.sampled_from(["ab", "abc", "b", "Ca", "é", "ß", "漢字", "!", "+", "😀"]), max_size=9
).map(" ".join)
TEXTS = st.lists(WORDS | st.text(max_size=12), max_size=14)
THRESHOLDS = st.sampled_from([0.2, 0.5, 0.55, 0.7, 0.8, 0.9, 1.0])


def list_shingles(text: str) -> frozenset[str]:
    """The character 5-grams of the text's canonical form; a form of up to 5 characters is one
    shingle.
    """
    plain = to_canonical(text)
    return frozenset(plain[start : start + 5] for start in range(max(len(plain) - 5, 0) + 1))


def compute_jaccard(first: frozenset[str], second: frozenset[str]) -> float:
    return len(first & second) / len(first | second)


def compare_all(texts: list[str], threshold: float) -> list[tuple[int, int, float]]:
    sets = [list_shingles(text) for text in texts]
    pairs = [
        (i, j, compute_jaccard(sets[i], sets[j])) for i, j in combinations(range(len(texts)), 2)
    ]
    return [pair for pair in pairs if pair[2] >= threshold]


def create_copies(seed: int, n: int) -> list[str]:
    """Sentences of which every second is a copy of an earlier one with a few letters changed."""
    draw = random.Random(seed)
    texts: list[str] = []
    for _ in range(n):
        if texts and draw.random() < 0.5:
            letters = list(draw.choice(texts))
            for _ in range(draw.randrange(4)):
                letters[draw.randrange(len(letters))] = draw.choice("abcdef ")
            texts.append("".join(letters))
        else:
            texts.append("".join(draw.choice("abcdefgh ") for _ in range(draw.randrange(1, 90))))
    return texts


def test_a_short_text_is_one_shingle() -> None:
    assert list_shingles("Abc") == {"abc"}
    assert list_shingles("abcdef") == {"abcde", "bcdef"}
    assert list_shingles("!") == {"!"}
    assert list_shingles("") == {""}


def test_other_operators_and_emoji_are_no_near_duplicates() -> None:
    held = ["3 + 5 = ?", "👍", "!!!", "Where is my card?"]
    assert find_near_matches(["3 - 5 = ?", "👎", "???", "Where is my card? 🙂"], held) == [
        (3, 3, 12 / 14)
    ]


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("threshold", [0.6, 0.8, 1.0])
def test_pairs_that_share_parts_hold_every_near_duplicate_once(seed: int, threshold: float) -> None:
    plain = [to_canonical(text) for text in create_copies(seed, 150)]
    blocks = find_candidate_pairs(plain.__getitem__, threshold, np.arange(len(plain)), small=0)
    result = [
        (min(pair), max(pair))
        for block in blocks
        for pair in zip(*map(np.ndarray.tolist, block), strict=True)
    ]
    assert len(result) == len(set(result))
    assert {(i, j) for i, j, _ in compare_all(plain, threshold)} <= set(result)
    assert len(result) < 0.2 * len(plain) * (len(plain) - 1) / 2


@given(TEXTS, THRESHOLDS)
def test_clusters_are_the_components_of_the_pairs_of_brute_force(
    texts: list[str], threshold: float
) -> None:
    assert cluster_near_duplicates(texts, threshold) == cluster_pairs(
        len(texts), compare_all(texts, threshold)
    )


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("threshold", [0.3, 0.6, 0.8])
def test_clusters_of_edited_copies_are_those_of_brute_force(seed: int, threshold: float) -> None:
    texts = create_copies(seed, 150)
    assert cluster_near_duplicates(texts, threshold) == cluster_pairs(
        150, compare_all(texts, threshold)
    )


@given(TEXTS, TEXTS, THRESHOLDS)
def test_matches_are_the_nearest_of_brute_force(
    texts: list[str], others: list[str], threshold: float
) -> None:
    expected = []
    for position, text in enumerate(texts):
        alike = [compute_jaccard(list_shingles(text), list_shingles(other)) for other in others]
        if alike and max(alike) >= threshold:
            expected.append((position, alike.index(max(alike)), max(alike)))
    assert find_near_matches(texts, others, threshold) == expected


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), max_size=12))
def test_clusters_partition_and_follow_every_link(links: list[tuple[int, int]]) -> None:
    groups = cluster_pairs(10, links)
    of = {member: number for number, group in enumerate(groups) for member in group}
    assert sorted(member for group in groups for member in group) == list(range(10))
    assert all(of[first] == of[second] for first, second in links)
    assert len(groups) >= 10 - len(links)


def test_a_threshold_outside_its_range_is_refused() -> None:
    with pytest.raises(ValueError, match=r"Jaccard similarity above 0 .* not 0"):
        cluster_near_duplicates(["a"], 0)


@pytest.mark.real
def test_a_template_filled_in_thousands_of_times_is_one_cluster_quickly() -> None:
    texts = [f"Where is my order number {number:05d}, please tell me now" for number in range(5000)]
    started = time.process_time()
    assert cluster_near_duplicates(texts) == [tuple(range(5000))]
    assert time.process_time() - started < 10


def test_the_search_does_not_hold_all_pairs() -> None:
    plain = [to_canonical(text) for text in create_copies(1, 3000)]
    tracemalloc.start()
    num = sum(
        len(first)
        for first, _ in find_candidate_pairs(plain.__getitem__, 0.8, np.arange(len(plain)))
    )
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert num < 0.1 * len(plain) ** 2 / 2
    assert peak < 30 * 2**20, "all pairs take 72 MB"


@pytest.mark.data
def test_banking77_has_the_near_duplicates_known_of_it() -> None:
    folder = data_folder("banking77")
    with (folder / "train.csv").open(encoding="utf-8", newline="") as file:
        train = [row["text"] for row in csv.DictReader(file)]
    with (folder / "test.csv").open(encoding="utf-8", newline="") as file:
        test = [row["text"] for row in csv.DictReader(file)]
    assert len(train) - len({to_canonical(text) for text in train}) == 31
    known = {to_canonical(text) for text in train}
    assert sum(to_canonical(text) in known for text in test) == 25
    started = time.process_time()
    matches = find_near_matches(train, test), find_near_matches(test, train)
    assert time.process_time() - started < 20
    assert [*map(len, matches)] == [168, 151]

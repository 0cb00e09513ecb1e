"""Documents to passages, and the search over them."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from etude.data.formats.read import read_rows
from etude.errors import InputError, RunError
from etude.index.documents import read_passages
from etude.index.passages import MAX_WORDS, Passage, split_document
from etude.index.search import (
    KEYWORD_SCALE,
    QUESTIONS_AT_ONCE,
    Search,
    choose_best,
    find_gold_passages,
    load_search,
    split_words,
)
from etude.methods.shared.fitted_search import find_known_passages
from etude.task import RowSource

TEXTS = st.text(st.characters(codec="utf-8", categories=("L", "N", "P", "Z")), max_size=3000)


def test_a_short_document_is_one_passage_and_a_long_one_follows_its_headings() -> None:
    short = list(split_document("# Bears\n\nA bear sleeps.", "bears.md"))
    assert short == [Passage("# Bears\n\nA bear sleeps.", "bears.md")]
    body = " ".join(["word"] * (MAX_WORDS - 10))
    long = list(split_document(f"# Leave\n\n{body}\n\n## Sick\n\n{body}\n\n{body}", "leave.md"))
    assert [passage.section for passage in long] == [
        "Leave",
        "Leave > Sick",
        "Leave > Sick, part 2",
    ]
    assert all(passage.text.startswith("Leave") for passage in long), (
        "a passage can be understood alone"
    )
    assert long[1].name == "leave.md: Leave > Sick"


def test_a_text_without_spaces_is_cut_too() -> None:
    passages = list(split_document("\n\n".join(["熊冬天睡觉。" * 50] * 40), "bears.md"))
    assert len(passages) > 5
    assert max(len(passage.text) for passage in passages) <= 12 * MAX_WORDS


@given(st.lists(TEXTS, max_size=8))
def test_no_word_is_lost_between_a_document_and_its_passages(paragraphs: list[str]) -> None:
    text = "\n\n".join(paragraphs)
    kept = [word for passage in split_document(text, "a.txt") for word in split_words(passage.text)]
    assert set(split_words(text)) <= set(kept) | {
        part for word in split_words(text) for part in kept if part in word
    }


def test_a_folder_without_text_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no text"):
        read_passages(tmp_path)


def test_keywords_find_the_passage_that_shares_rare_words() -> None:
    texts = ["a bear sleeps in winter", "a bear counts stars", "the train counts hills"]
    search = Search([Passage(text, f"{number}.md") for number, text in enumerate(texts)])
    assert search.find(["who counts the stars?", "TRAIN"], 1) == [[1], [2]]
    assert search.find(["who counts the stars?"], 9)[0][0] == 1, "fewer passages than asked for"
    assert search.find([], 1) == []


def test_gold_passages_are_those_an_answer_was_written_from() -> None:
    passages = [
        Passage("Bear Counts the Stars. Ages 3-4.", "a"),
        Passage("The Last Train. Ages 8-9.", "b"),
    ]
    answers = ["Title: The Last Train", "Title: Bear Counts the Stars", "I do not know"]
    assert find_gold_passages(Search(passages), answers) == [1, 0, None]


@given(st.integers(1, 30), st.integers(1, 8), st.integers(0, 2**32 - 1))
def test_the_best_columns_are_those_of_a_full_sort(columns: int, k: int, seed: int) -> None:
    scores = np.random.default_rng(seed).integers(0, 5, (3, columns)).astype(np.float32)
    for row, found in zip(scores, choose_best(scores, k), strict=True):
        assert sorted(row[found], reverse=True) == sorted(row, reverse=True)[:k]


def test_both_searches_together_add_their_score() -> None:
    class Encoder:
        """Whose vectors are told."""

        def embed(self, texts: Sequence[str]) -> np.ndarray:
            return np.array([[0.0, 1.0]] * len(texts), dtype=np.float32)

    passages = [Passage("a bear", "a"), Passage("a train", "b"), Passage("the sea", "c")]
    vectors = np.array([[1, 0], [0.6, 0.8], [0, 1]], dtype=np.float32)
    search = Search(passages, "both", Encoder(), vectors)  # type: ignore[arg-type]
    assert search.find(["waves"], 3) == [[2, 1, 0]], "no word is shared, so meaning decides"
    (scores,) = search._score(["train"])
    np.testing.assert_allclose(
        scores, vectors[:, 1] + search.keywords.scores("train") / KEYWORD_SCALE, rtol=1e-6
    )
    many = ["train", "waves"] * QUESTIONS_AT_ONCE
    assert search.find(many, 2) == search.find(many[:2], 2) * QUESTIONS_AT_ONCE, (
        "however many are asked together"
    )
    assert search.find([], 1) == []


def test_the_source_of_a_row_names_its_passage(tmp_path: Path) -> None:
    passages = [
        Passage("Bear Counts", "a.md", "One"),
        Passage("The Last Train", "a.md", "Two"),
        Passage("c", "b.md"),
    ]
    file = tmp_path / "rows.csv"
    file.write_text(
        "input,output,doc\nq,The Train,a.md\nq,x,a.md: One\nq,Bear Counts,b.md\nq,y,\n",
        encoding="utf-8",
    )
    rows = read_rows(RowSource(file, ("input",), "output", source="doc")).examples
    assert find_known_passages(Search(passages), list(rows)) == [1, 0, 2, None]


def test_a_saved_search_finds_the_same(tmp_path: Path) -> None:
    search = Search([Passage("a bear", "a.md", "Bears"), Passage("a train", "b.md")])
    search.save(tmp_path / "search")
    again = load_search(tmp_path / "search", lambda name, folder: None)
    assert again.passages == tuple(search.passages)
    assert again.fingerprint == search.fingerprint
    assert again.find(["train"], 2) == search.find(["train"], 2)
    search.save(tmp_path / "twice")
    for one in (tmp_path / "search" / "words").iterdir():
        assert one.read_bytes() == (tmp_path / "twice" / "words" / one.name).read_bytes()
    (tmp_path / "twice" / "words" / "params.index.json").unlink()
    with pytest.raises(RunError, match="not an index of words"):
        load_search(tmp_path / "twice", lambda name, folder: None)
    lines = (tmp_path / "search" / "passages.jsonl").read_text(encoding="utf-8").splitlines()
    assert json.loads(lines[0]) == {"text": "a bear", "file": "a.md", "section": "Bears"}

"""Documents that no example speaks of, answers that speak of none, and sets that are smaller than usual."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from etude.checks import check
from etude.checks.rows.document_coverage import Document, Index, read_documents, uncovered_documents
from etude.checks.rows.enough import USUAL, few_rows
from etude.text.normal_forms import normalise
from pairs import Pair, found_in, places_in
from test_checks import clean

LUMA = Path(__file__).parents[1] / "examples" / "luma"
PLANTS = ("marigold", "juniper", "hawthorn", "lavender", "buttercup", "snowdrop")


def garden(folder: Path) -> Path:
    """A document on each plant, without headings, and two files that are none."""
    folder.mkdir()
    for plant in PLANTS:
        text = f"The {plant} likes {plant}soil, {plant}light and {plant}water; gardeners know that well."
        (folder / f"note on {plant}.txt").write_text(text, encoding="utf-8")
    (folder / "picture.txt").write_bytes(b"\xff\xfe\x00\xd8")
    (folder / ".hidden.md").write_text("# Hidden Page\n", encoding="utf-8")
    return folder


def test_documents_are_counted_and_named_when_no_example_has_their_title_or_words(tmp_path: Path) -> None:
    folder = garden(tmp_path / "garden")
    pairs: list[Pair] = [
        ("What does it say?", "See the Note on Marigold."),
        ("And of the other?", "Junipersoil, juniperlight and juniperwater, they say."),
        ("What of hawthorn?", "I know no more than the word hawthorn."),
        ("Note on lavender, please.", "I have none."),
    ]
    (found,) = found_in(pairs, uncovered_documents, documents=folder)
    assert "3 documents of 6 are in no example" in found.message
    for plant in ("hawthorn", "buttercup", "snowdrop"):
        assert f"note on {plant}.txt" in found.message


def test_answers_that_name_no_document_are_named_where_nearly_all_others_do(tmp_path: Path) -> None:
    folder = garden(tmp_path / "garden")
    pairs = [(asked, f"See the note on {PLANTS[place % 6]}.") for place, (asked, _) in enumerate(clean(40))]
    assert not len(found_in(pairs, uncovered_documents, documents=folder))
    pairs[9] = (pairs[9][0], "See the note on nettles.")
    findings = found_in(pairs, uncovered_documents, documents=folder)
    assert places_in(findings) == {9}
    mixed = [
        (asked, answer if place % 2 else "I do not know.") for place, (asked, answer) in enumerate(pairs)
    ]
    assert not places_in(found_in(mixed, uncovered_documents, documents=folder))


def test_the_books_that_no_example_of_luma_recommends_are_all_counted() -> None:
    """Against the titles in the answers, read by their line."""
    (found,) = check(LUMA, [uncovered_documents]).of("uncovered_documents")
    text = (LUMA / "examples.jsonl").read_text(encoding="utf-8")
    pages = [page.read_text(encoding="utf-8") for page in (LUMA / "catalogue").glob("*.md")]
    titles = [page.splitlines()[0].removeprefix("# ") for page in pages]
    assert found.numbers["of_documents"] == len(titles)
    assert found.numbers["documents"] == sum(f"Title: {title}\\n" not in text for title in titles)


@given(st.lists(st.sampled_from(["a", "bb", "ccc", "dd", "e"]), max_size=12), st.integers(1, 4), st.data())
def test_a_title_is_found_exactly_where_its_words_stand_in_order(
    words: list[str], length: int, data: st.DataObject
) -> None:
    title = tuple(data.draw(st.lists(st.sampled_from(["a", "bb", "ccc"]), min_size=length, max_size=length)))
    index = Index([Document("one", title, frozenset())])
    stands = f" {' '.join(title)} " in f" {' '.join(words)} "
    assert (index.spoken_of(" ".join(words)) == {0}) == stands


def test_a_folder_without_text_and_a_task_without_documents_have_no_finding(tmp_path: Path) -> None:
    assert not len(found_in(clean(), uncovered_documents))
    assert not len(found_in(clean(), uncovered_documents, documents=tmp_path))
    assert [one.name for one in read_documents(garden(tmp_path / "garden"))] == sorted(
        f"note on {plant}.txt" for plant in PLANTS
    )
    assert normalise("Note on marigold") == "note on marigold"


@pytest.mark.parametrize("kind", USUAL)
def test_few_rows_are_told_with_a_source_and_what_to_do_first(kind: str) -> None:
    pairs = [
        (asked, given_ if kind != "classify" else f"label {place % 2}")
        for place, (asked, given_) in enumerate(clean(40))
    ]
    (found,) = found_in(pairs, few_rows, kind)  # type: ignore[arg-type]
    assert found.severity == "warning"
    assert "arXiv" in found.message
    assert found.remedy.startswith("Improve the prompt or collect more first")
    enough = [pairs[place % 40] for place in range(1_000)]
    assert not len(found_in(enough, few_rows, kind))  # type: ignore[arg-type]

"""Texts and rows come back from their file as they were put in."""

import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from etude.base.disk_texts import BLOCK, DiskTexts
from etude.data.spool import Spool
from etude.types import Example, Message

ANY = st.text(st.characters())  # half characters among them


@given(st.lists(ANY, max_size=20), st.data())
def test_texts_come_back_in_any_order_and_while_more_are_added(
    texts: list[str], data: st.DataObject
) -> None:
    kept = DiskTexts()
    for number, text in enumerate(texts, 1):
        kept.append(text)
        place = data.draw(st.integers(0, number - 1))
        assert kept[place] == texts[place]
    assert list(kept) == kept[:] == texts
    assert kept[::-2] == texts[::-2]


def test_texts_longer_than_a_block_are_read_whole_and_in_order() -> None:
    texts = ["é" * length for length in (0, BLOCK // 2 - 1, 1, BLOCK, 3, 0, BLOCK * 2, 5)]
    assert list(DiskTexts(texts)) == texts


@given(
    ANY,
    ANY,
    st.lists(ANY, max_size=3),
    st.none() | ANY,
    st.dictionaries(ANY, ANY, max_size=3),
    st.booleans(),
)
def test_rows_come_back_whole(
    asked: str,
    given_: str,
    others: list[str],
    group: str | None,
    tags: dict[str, str],
    trained: bool,
) -> None:
    turns = (
        Message("user", asked),
        Message("assistant", given_, trained=trained),
        Message("user", asked),
    )
    rows = [
        Example(name, turns, given_, tuple(others), group, tags, f"rows.jsonl:{name}")
        for name in "abc"
    ]
    kept = Spool()
    for row in rows:
        kept.append(row)
    assert list(kept) == rows
    assert kept[1] == rows[1]
    assert len(kept) == 3


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full; to run: on Linux")
def test_a_full_disk_is_told_with_the_folder_of_the_temporary_file() -> None:
    with Path("/dev/full").open("r+b", buffering=0) as full:
        texts = DiskTexts(["a"])
        texts._file = full
        with pytest.raises(OSError, match="No space") as told:
            texts[0]
    assert told.value.filename == tempfile.gettempdir()

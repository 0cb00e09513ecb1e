"""Masking and ledger: one value, one surrogate, the way back, and no plain text left behind."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from etude.privacy import KINDS, Ledger, Masker, Span, find, find_all

TEXT = (
    "Mr. Arne Holm (arne@mail.example.net, +49 30 901820, card 4111 1111 1111 1111) lives at 12 Baker Street."
)


@given(st.lists(st.tuples(st.sampled_from(KINDS), st.text(min_size=1, max_size=20)), max_size=8))
def test_what_is_masked_comes_back(values: list[tuple[str, str]]) -> None:
    masker = Masker(b"k" * 32)
    for kind, value in values:
        masked = masker.mask(value, [Span(0, len(value), kind, value, "test")])
        assert masked != value
        assert masker.surrogate(kind, value) == masked
    for kind, value in values:
        back = masker.unmask(masker.surrogate(kind, value))
        assert back == value


def test_one_person_has_one_surrogate_and_two_have_two() -> None:
    masker = Masker()
    first, second = masker.surrogate("name", "Arne Holm"), masker.surrogate("name", "Berta Lund")
    assert first != second
    assert masker.surrogate("name", "Arne Holm") == first
    assert len({masker.surrogate("name", f"Person {number}") for number in range(500)}) == 500


def test_the_text_keeps_its_shape_and_loses_what_was_found() -> None:
    spans = find(TEXT)
    assert {span.kind for span in spans} == {"name", "email", "phone", "card", "address"}
    masked = Masker().mask(TEXT, spans)
    for span in spans:
        assert span.text not in masked
    assert [span.kind for span in find(masked)].count("email") == 1
    assert "(" in masked
    assert masked.startswith("Mr. ")


def test_the_same_key_masks_alike_and_another_key_otherwise() -> None:
    masked = [Masker(key).mask(TEXT, find(TEXT)) for key in (b"a" * 32, b"a" * 32, b"b" * 32)]
    assert masked[0] == masked[1] != masked[2]


def test_the_key_file_is_its_owner_s_and_brings_the_text_back(tmp_path: Path) -> None:
    masker = Masker()
    masked = masker.mask(TEXT, find(TEXT))
    file = tmp_path / "key.json"
    masker.save_key(file)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert Masker.load_key(file).unmask(masked) == TEXT
    with pytest.raises(FileExistsError):
        masker.save_key(file)


def test_the_ledger_knows_a_value_again_and_holds_none(tmp_path: Path) -> None:
    ledger = Ledger()
    spans = find(TEXT)
    ledger.add("row-7", spans)
    file, key_file = tmp_path / "ledger.jsonl", tmp_path / "ledger.key"
    ledger.save(file, key_file)
    written = file.read_text() + key_file.read_text()
    assert not [span.text for span in spans if span.text in written]
    assert stat.S_IMODE(key_file.stat().st_mode) == 0o600
    again = Ledger.load(file, key_file)
    (answers,) = find_all(["write to arne@mail.example.net or ring +49 (30) 901820"])
    assert {row for _, row in again.repeated(answers)} == {"row-7"}
    assert len(list(again.repeated(answers))) == 2
    assert not list(Ledger().repeated(answers))

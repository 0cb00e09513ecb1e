"""Masking: one surrogate for each value, exact unmasking, and key files."""

import ipaddress
import json
import re
import stat
import time
from itertools import pairwise
from pathlib import Path

import phonenumbers
import pytest
from hypothesis import given
from hypothesis import strategies as st
from stdnum import luhn

from etude.errors import RunError
from etude.privacy import KINDS, Masker, Span, find
from etude.privacy.mask.known_values import KnownValues
from etude.privacy.mask.lookup import MIN_UNIQUE_LENGTH, SurrogateIndex, WordFilter

TEXT = (
    "Mr. Arne Holm (arne@mail.example.net, +49 30 901820, card 4111 1111 1111 1111) lives at 12 "
    "Baker Street."
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
    first = masker.surrogate("name", "Arne Holm")
    second = masker.surrogate("name", "Berta Lund")
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


@pytest.mark.parametrize(
    "content", ["", "{", "[]", '{"key": "xy", "values": []}', '{"key": "00"}', "é"]
)
def test_a_damaged_key_is_an_error_with_a_remedy(tmp_path: Path, content: str) -> None:
    file = tmp_path / "key.json"
    file.write_text(content, encoding="latin-1")
    with pytest.raises(RunError, match=r"key\.json.*backup"):
        Masker.load_key(file)


def plain(text: str) -> str:
    return "".join(filter(str.isalnum, text)).casefold()


@pytest.mark.parametrize(
    ("kind", "ways"),
    [
        ("email", ["ann@acme.com", "Ann@Acme.com", "ANN@ACME.COM", "aNN@acme.com"]),
        ("phone", ["+1 415 555 2671", "+14155552671", "+1 (415) 555-2671"]),
        ("iban", ["GB29 NWBK 6016 1331 9268 19", "gb29nwbk60161331926819"]),
        ("name", ["Arne Holm", "arne holm", "ARNE  HOLM"]),
    ],
)
def test_all_spellings_of_a_value_share_a_surrogate_and_are_unmasked(
    kind: str, ways: list[str]
) -> None:
    for order in (ways, ways[::-1]):
        masker = Masker(b"k" * 32)
        surrogate = [masker.surrogate(kind, way) for way in order]
        assert len(set(map(plain, surrogate))) == 1
        assert [masker.unmask(value) for value in surrogate] == order
        assert all(
            one.islower() == way.islower() for one, way in zip(surrogate, order, strict=True)
        )
    assert Masker().surrogate("password", "Ab1-x") != Masker().surrogate("password", "ab1-x")


def test_unmasking_takes_time_by_the_length_of_the_text() -> None:
    masker = Masker(b"k" * 32)
    values = [f"ann{number}@corp{number}.example.com" for number in range(1500)]
    masked = [masker.surrogate("email", value) for value in values]
    started = time.process_time()
    assert [masker.unmask(f"ask {one}.") for one in masked] == [f"ask {value}." for value in values]
    assert time.process_time() - started < 1


@pytest.mark.parametrize(
    "kinds", [("phone", "id_number", "card"), ("card", "phone", "national_id")]
)
def test_a_number_has_one_surrogate_whatever_its_kind(kinds: tuple[str, ...]) -> None:
    for number in ("4155552671", "4111111111111111"):
        masker = Masker(b"k" * 32)
        surrogate = {masker.surrogate(kind, number) for kind in kinds}
        assert len(surrogate) == 1
        assert not luhn.is_valid(surrogate.pop())
        assert plain(masker.surrogate(kinds[1], f"{number[:3]}-{number[3:]}")) == masker.surrogate(
            kinds[0], number
        )
    assert "[" not in Masker(b"k" * 32).surrogate(
        "national_id", "415-555-2671"
    )  # whose form is that of a phone
    assert Masker(b"k" * 32).surrogate("phone", number) == Masker(b"k" * 32).surrogate(
        "id_number", number
    )


@given(
    st.lists(st.integers(0, 99).map("{:02d}".format), min_size=1, max_size=40, unique=True),
    st.integers(1, 5),
)
def test_unmasking_is_exact_if_surrogates_are_scarce(numbers: list[str], secret: int) -> None:
    text = " ".join(numbers) + "."
    spans = [
        Span(position, position + 2, "password", text[position : position + 2], "test")
        for position in range(0, len(text), 3)
    ]
    masker = Masker(b"k" * 32)
    masked = masker.mask(text, spans[:secret])
    assert masker.unmask(masked) == text
    assert not masker.surrogates & set(numbers)


def test_a_surrogate_is_nobody_s_number(tmp_path: Path) -> None:
    masker = Masker(b"k" * 32)
    addresses = [
        masker.surrogate("ip_address", f"8.8.{number // 200}.{number % 200}")
        for number in range(2000)
    ]
    assert len(set(addresses)) == 2000
    assert all(ipaddress.ip_address(address).is_private for address in addresses)
    for number in range(40):
        card = masker.surrogate("card", f"4111 1111 1111 {number:04d}")
        assert not luhn.is_valid(card.replace(" ", ""))
        for region, value in (
            ("DE", f"+49 30 901{number:03d}"),
            ("US", f"(415) 555-{2000 + number}"),
        ):
            phone = (
                phonenumbers.parse(masker.surrogate("phone", value), region)
                if region == "US"
                else None
            )
            assert phone is None or not phonenumbers.is_valid_number(phone)
            if region == "DE":
                assert not is_valid_phone(masker.surrogate("phone", value))


@pytest.mark.parametrize(
    ("form", "kept", "share"),
    [
        ("+49 (0){} 123456", r"\+[0-9]{2} \(0\)[1-9][0-9] [0-9]{6}", 1),
        ("0049 {} 123456", r"00[1-9][0-9] [0-9]{2} [0-9]{6}", 1),
        ("0{} 123456", r"0[1-9][0-9] [0-9]{6}", 0.8),
        ("(0{}) 123456", r"\(0[1-9][0-9]\) [0-9]{6}", 0.8),
    ],
)
def test_a_phone_keeps_the_zeros_that_are_dialled_before_it_where_the_plan_leaves_numbers_free(
    form: str, kept: str, share: float
) -> None:
    masker = Masker(b"k" * 32)
    values = [form.format(number) for number in range(30, 60)]
    surrogate = [masker.surrogate("phone", value) for value in values]
    assert sum(bool(re.fullmatch(kept, one)) for one in surrogate) >= share * len(surrogate)
    assert [re.sub(r"\d", "9", one) for one in surrogate] == [
        re.sub(r"\d", "9", one) for one in values
    ]
    for value, one in zip(values, surrogate, strict=True):
        if form.startswith("0{"):  # as it is written elsewhere
            assert masker.surrogate("phone", value.replace(" ", "-")) == one.replace(" ", "-")


def is_valid_phone(text: str) -> bool:
    """Whether a number with a country code may be somebody's."""
    try:
        return phonenumbers.is_valid_number(phonenumbers.parse(text, None))
    except phonenumbers.NumberParseException:
        return False


@pytest.mark.parametrize("value", ["hunter-2024", "Summer_2024", "DE_123456", "sk-Summer-2024"])
def test_a_surrogate_keeps_no_part_of_a_password(value: str) -> None:
    surrogate = Masker(b"k" * 32).surrogate("password", value)
    assert not [word for word in re.split(r"[-_]", value) if word in surrogate]
    assert Masker().surrogate("api_key", "ghp_" + "a1" * 18).startswith("ghp_")


@given(st.from_regex(r"[A-Z0-9]{9}|[0-9]{12}", fullmatch=True), st.data())
def test_a_number_is_found_again_whatever_stands_between(number: str, data: st.DataObject) -> None:
    values = KnownValues()
    values.add("id_number", number)
    gaps = data.draw(
        st.lists(st.sampled_from(["", " ", "-", ". "]), min_size=len(number), max_size=len(number))
    )
    spelling = "".join(letter + gap for letter, gap in zip(number, gaps, strict=True)).rstrip(" .-")
    for text, there in (
        (f"is it {spelling}? Yes: {number.lower()}, 12", 2),
        (f"a{number} {number}9 12", 0),
        (json.dumps({"n": number}), 1),
    ):
        spans = [span for span in values.find_spans(text) if plain(span.text) == number.lower()]
        assert len(spans) == there
        assert all(text[span.start : span.end] == span.text for span in spans)


def test_short_values_and_dates_are_not_looked_for_between_other_signs() -> None:
    values = KnownValues()
    values.add("password", "1234")
    values.add("phone", "20240101")
    values.add("password", 'x"1y')
    spans = {
        span.text
        for span in values.find_spans(
            'PIN 1234, 1,234 EUR, 12345, 2024-01-01, 20 24 01 01 {"a": "x\\"1y"}'
        )
    }
    assert spans == {"1234", "20 24 01 01", 'x\\"1y'}


PARTS = ["a", "Zoe", "7", "x9", "k" * 65, "\u00e9", "\u6f22", " ", "-", "._", "__-", " -- ", "\n"]
"""Runs of letters and digits, and what stands between them."""


@given(st.lists(st.sampled_from(PARTS), max_size=12))
def test_runs_of_a_text_are_known_alone_and_with_the_next_one(parts: list[str]) -> None:
    text = "".join(parts)
    seen = WordFilter()
    seen.add(text)
    runs = list(re.finditer(r"[A-Za-z0-9]+|[^\W_]", text))
    near = [pair for pair in pairwise(runs) if pair[1].start() - pair[0].end() < 4]
    pairs = {text[one.start() : other.end()] for one, other in near}
    assert all(seen.may_contain(part) for part in pairs.union(run[0] for run in runs))
    others = {f"{value[0]} {other[0]}" for value in runs for other in runs}
    assert not any(seen.may_contain(other) for other in others - pairs)


@given(
    st.lists(st.text("ab1-", min_size=1, max_size=14), max_size=5), st.text("ab1- ", max_size=30)
)
def test_the_longest_surrogate_at_each_place_stands(surrogate: list[str], text: str) -> None:
    text += "".join(surrogate[:1])
    spans = []
    position = 0
    while position < len(text):
        begun = [value for value in surrogate if text.startswith(value, position)]
        here = [value for value in begun if _is_whole(text, position, value)]
        end = position + max(map(len, here), default=0)
        spans += [(position, end)] if end > position else []
        position = max(end, position + 1)
    assert list(SurrogateIndex(surrogate).find_in(text)) == spans


def _is_whole(text: str, position: int, surrogate: str) -> bool:
    """Whether no letter or digit goes on beside a short one."""
    context = f" {text} "[position : position + len(surrogate) + 2]
    inner = not (context[0].isalnum() and surrogate[0].isalnum()) and not (
        context[-1].isalnum() and surrogate[-1].isalnum()
    )
    return len(surrogate) >= MIN_UNIQUE_LENGTH or inner


def test_many_values_that_begin_alike_cost_a_text_no_time() -> None:
    values = KnownValues()
    for number in range(3000):
        values.add("email", f"info@firm{number}.example.com")
    started = time.process_time()
    texts = [f"more info: INFO@firm{number}.example.com" for number in range(300)]
    spans = [span for text in texts for span in values.find_spans(text)]
    assert len(spans) == 300
    assert time.process_time() - started < 1

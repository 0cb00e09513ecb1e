"""Plain texts: JSON, escapes and combining marks are searched, and spans are moved back to the
original.
"""

import json
import unicodedata
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cases import read_cases
from etude.privacy import KINDS, Masker, Span, find
from etude.privacy.mask.known_values import KnownValues
from etude.privacy.plain import to_plain_text

CASES = read_cases(__file__)
PERSONAL = (
    "jo.doe@mail.example.net",
    "jo.doe@mail.example.net / CybPass!7",
    "jo.doe@mail.example.net:CybPass!7",
    "4111 1111 1111 1111",
    'password: x"y\\z1',
    "PASSWORD='a b c'",
    "+49 30\u00a0901820",
    "Éva@mail.example.net",
    "E\u0301va.doe\u0301@mail.example.net",
    "postgres://app:s3cr3t@db/main",
    "sk_live_aB3xK9q7Zz12aB3x",
    "passport LP5048339",
    "-----BEGIN PRIVATE KEY-----\nabc\n-----END PRIVATE KEY-----",
)
KEYS = st.sampled_from(
    ["email", "password", "plan2024", "é", "token", "n", "pass", "phone", "account"]
)
LEAVES = (
    st.sampled_from(PERSONAL)
    | st.text(max_size=8)
    | st.sampled_from(
        [4111111111111111, 3847283911, 0, -4, 1.5, 1e22, None, True, False, "gold-12", "Tue,1"]
    )
)
TREES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=8,
).filter(lambda tree: isinstance(tree, list | dict))
AROUND = st.sampled_from(["{}", "```json\n{}\n```", "Here it is: {}", "{}\n{}"])


def shape(value: Any) -> Any:
    """Keys and kinds of values."""
    if isinstance(value, dict):
        return {key: shape(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return list(map(shape, value))
    return "number" if type(value) in (int, float) else type(value).__name__


def inner_of(text: str, context: str) -> list[str]:
    """The JSON again, without what stands around it."""
    return (
        text.split("\n")
        if context == "{}\n{}"
        else [text.removeprefix("Here it is: ").strip("`json\n")]
    )


@example({"email": "amy.li@corp.io", "plan": "gold", "seats": 12}, True, True, "{}")
@example({"email": "a@b.io", "n": 1.5, "é": "é"}, True, True, "{}")
@example({"email": "re\u0301my@b.io", "e\u0301": "e\u0301"}, True, True, "{}")
@example({"type": "password", "plan2024": 12345}, True, True, "{}")
@example({"account": 3847283911, "password": [1234, 56078]}, True, True, "{}")
@example({"password": 1e22}, False, False, "{}")
@given(TREES, st.booleans(), st.booleans(), AROUND)
def test_masked_json_is_json_of_the_same_keys_and_structure(
    tree: Any, compact: bool, ascii_only: bool, context: str
) -> None:
    spelling = json.dumps(tree, ensure_ascii=ascii_only, separators=(",", ":") if compact else None)
    text = context.replace("{}", spelling)
    masker = Masker(b"k" * 32)
    spans = find(text)
    masked = masker.mask(text, spans)
    for piece in inner_of(masked, context):
        assert shape(json.loads(piece)) == shape(tree)
    assert masker.unmask(masked) == text
    assert all(text[span.start : span.end] == span.text for span in spans)


@given(TREES, st.sampled_from(KINDS), st.data())
def test_a_span_anywhere_in_json_is_kept_inside_its_values(
    tree: Any, kind: str, data: st.DataObject
) -> None:
    text = json.dumps(tree)
    plain = to_plain_text(text)
    start = data.draw(st.integers(0, len(plain.plain) - 1))
    end = data.draw(st.integers(start + 1, len(plain.plain)))
    span = Span(start, end, kind, plain.plain[start:end], "label")
    masked = Masker(b"k" * 32).mask(text, list(plain.to_original([span])))
    assert shape(json.loads(masked)) == shape(tree)


@pytest.mark.parametrize("text", CASES["addresses"])
def test_an_e_mail_address_among_other_values_is_no_login(text: str) -> None:
    assert [span.kind for span in find(text, review=False)] == ["email"]


def test_escapes_are_no_part_of_a_value_and_those_of_its_letters_are() -> None:
    text = json.dumps(
        {"a": 'see\njo@mail.example.net or "Éva@mail.example.net"', "b": "4111\u00a01111 1111 1111"}
    )
    assert [span.text for span in find(text, review=False)] == [
        "jo@mail.example.net",
        "\\u00c9va@mail.example.net",
        "4111\\u00a01111 1111 1111",
    ]


@pytest.mark.parametrize("kind", ["password", "email"])
def test_a_value_has_one_surrogate_with_and_without_escapes(kind: str) -> None:
    masker = Masker(b"k" * 32)
    value = "Ñu\u00a012-x@mail.example.net"
    spelling = json.dumps(value)[1:-1]
    first = masker.surrogate(kind, value)
    assert json.loads(f'"{masker.surrogate(kind, spelling)}"').casefold() == first.casefold()
    values = KnownValues()
    values.add(kind, value)
    assert [span.text for span in values.find_spans(json.dumps({"a": value}))] == [spelling]


@pytest.mark.parametrize("text", CASES["accents"])
def test_accents_that_are_marks_of_their_own_are_read_with_their_letter(text: str) -> None:
    marked = unicodedata.normalize("NFD", text)
    spans = find(marked)
    assert [unicodedata.normalize("NFC", span.text) for span in spans] == [
        span.text for span in find(text)
    ]
    assert all(marked[span.start : span.end] == span.text for span in spans)
    masker = Masker(b"k" * 32)
    masked = masker.mask(marked, spans)
    assert masker.unmask(masked) == marked
    ending = [
        unicodedata.normalize("NFC", piece)
        for piece in (marked[: spans[0].start], marked[spans[-1].end :])
    ]
    masked = unicodedata.normalize("NFC", masked)  # no mark is left to join a stand-in
    assert masked.startswith(ending[0])
    assert masked.endswith(ending[1])
    values = KnownValues()
    values.add(spans[0].kind, spans[0].text)
    assert [span.text for span in values.find_spans(marked)] == [spans[0].text]


def test_marks_that_no_letter_has_are_part_of_a_value() -> None:
    (span,) = find("to x\u0301y\u0332@wombat-mail.com now")
    assert span.text == "x\u0301y\u0332@wombat-mail.com"

"""Contracts: what keeps them, what breaks them, and that parsing and checking agree."""

import json
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from etude.errors import InputError
from etude.task.contract import Contract

WORDS = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), max_size=40)
CARD = Contract(fields=("Title", "Ages", "Gentle note?"))
ORDER = Contract(
    json_schema={
        "type": "object",
        "properties": {
            "item": {"type": "string"},
            "count": {"type": "integer"},
            "size": {"enum": ["S", "L"]},
        },
        "required": ["item", "count"],
        "additionalProperties": False,
    }
)
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=3),
    max_leaves=8,
)


@given(WORDS)
def test_a_label_parses_exactly_when_it_passes(text: str) -> None:
    contract = Contract(labels=("yes", "No.", "C++"))
    assert (contract.parse(text) is None) == bool(contract.check(text))


@given(WORDS)
def test_json_parses_exactly_when_it_is_json(text: str) -> None:
    failures = Contract(json_schema={}).check(text)
    try:
        json.loads(text.strip(), parse_constant=lambda _: 1 / 0)
    except (ValueError, ZeroDivisionError):
        assert failures in (("not JSON",), ("empty answer",))
    else:
        assert not failures


@given(JSON)
def test_a_json_value_comes_back_as_it_was(value: object) -> None:
    assert Contract(json_schema={"title": "anything"}).parse(json.dumps(value)) == value


@given(
    st.lists(
        st.sampled_from(["Title: a", "Ages: 3", "Gentle note: b", "more", "", "Ages:"]), max_size=6
    )
)
def test_fields_that_pass_parse_to_all_of_them(lines: list[str]) -> None:
    text = "\n".join(lines)
    value = CARD.parse(text)
    if not CARD.check(text):
        assert list(value) in (["Title", "Ages"], ["Title", "Ages", "Gentle note"])
        assert all(value.values())


@given(WORDS)
def test_checking_never_fails_itself(text: str) -> None:
    for contract in (
        CARD,
        ORDER,
        Contract(regex=r"\d+", max_words=3, must_contain=("a",), must_not_contain=("b",)),
    ):
        contract.check(text)
        contract.parse(text)


@pytest.mark.parametrize(
    "answer", ["billing", " Billing.", '"billing"', "BILLING!", "**billing**", "'billing'.\n"]
)
def test_a_label_is_read_without_case_quotes_and_final_stop(answer: str) -> None:
    assert Contract(labels=("billing", "refund")).parse(answer) == "billing"


@pytest.mark.parametrize("answer", ["billing or refund", "It is billing", "bill", "", "..."])
def test_anything_else_is_no_label(answer: str) -> None:
    assert Contract(labels=("billing", "refund")).check(answer) in (
        ("not a label",),
        ("empty answer",),
    )


def test_labels_that_differ_by_case_are_told_apart_or_not_at_all() -> None:
    contract = Contract(labels=("IT", "it"))
    assert [contract.parse(text) for text in ("IT", "it", "It")] == ["IT", "it", None]


@pytest.mark.parametrize(
    ("answer", "failures"),
    [
        ("Title: A\nAges: 3", ()),
        ("Title: A\nand B\nAges: 3\nGentle note: dark", ()),
        ("Title: A\n\nAges: 3\n", ()),
        ("Ages: 3\nTitle: A", ("fields out of order",)),
        ("Title: A", ("missing field: Ages",)),
        ("Title: A\nAges:", ("empty field: Ages",)),
        ("Sure!\nTitle: A\nAges: 3", ("text outside the fields",)),
        ("Title: A\nAges: 3\n\nAnything else?", ("text outside the fields",)),
        ("Title: A\nTitle: B\nAges: 3", ("field twice: Title",)),
    ],
)
def test_kinds_of_field_failures(answer: str, failures: tuple[str, ...]) -> None:
    assert CARD.check(answer) == failures


@pytest.mark.parametrize(
    ("value", "failures"),
    [
        ({"item": "cup", "count": 2, "size": "L"}, ()),
        ({"item": "cup"}, ("schema: missing key: count",)),
        ({}, ("schema: missing key: count", "schema: missing key: item")),
        ({"item": 3, "count": 1}, ("schema: item is not of type string",)),
        ({"item": "a", "count": 1, "size": "M"}, ("schema: size is not an allowed value",)),
        ({"item": "a", "count": 1, "x": 1}, ("schema: unknown key in the value",)),
    ],
)
def test_kinds_of_schema_failures_hold_no_values(value: object, failures: tuple[str, ...]) -> None:
    assert ORDER.check(json.dumps(value)) == failures


@pytest.mark.parametrize("answer", ["NaN", "{'a': 1}", "```json\n{}\n```", "{}{}", "[" * 100_000])
def test_what_a_strict_reader_refuses_is_not_json(answer: str) -> None:
    assert Contract(json_schema={"title": "any"}).check(answer) == ("not JSON",)


def test_a_schema_that_turns_in_a_circle_ends() -> None:
    assert Contract(json_schema={"$ref": "#"}).check("1") == ("schema: nested too deep",)


def test_texts_are_compared_without_case_and_the_regex_matches_whole() -> None:
    contract = Contract(
        regex=r"Dear .+", max_words=3, must_contain=("ANNA",), must_not_contain=("bob",)
    )
    assert contract.check("Dear anna") == ()
    assert contract.check("My dear Bob and friends") == (
        "does not match the regular expression",
        "over 3 words",
        "must contain: ANNA",
        "must not contain: bob",
    )


@pytest.mark.parametrize(
    "parts",
    [
        {"regex": "("},
        {"json_schema": {"type": "objekt"}},
        {"json_schema": {"$ref": "http://example.com/schema"}},
        {"json_schema": {"$ref": "#/definitions/none"}},
        {"fields": ("a:b",)},
        {"fields": ("?",)},
        {"fields": ("a", "a")},
        {"labels": ("a", "a")},
        {"labels": ("a",), "fields": ("b",)},
    ],
)
def test_unusable_parts_are_refused(parts: dict[str, object]) -> None:
    with pytest.raises(InputError):
        Contract(**parts)  # type: ignore[arg-type]


def test_a_schema_never_opens_a_socket(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("opened a socket")

    monkeypatch.setattr(socket, "socket", refuse)
    nested = {"$defs": {"part": {"type": "string"}}, "items": {"$ref": "#/$defs/part"}}
    assert Contract(json_schema=nested).check("[1]") == ("schema: [] is not of type string",)


def test_the_words_name_every_part() -> None:
    words = Contract(
        fields=("Title", "Note?"), max_words=60, must_contain=("x",), must_not_contain=("y", "z")
    ).describe()
    for part in (
        '"Title:", "Note:"',
        'Leave out "Note"',
        "at most 60 words",
        'contain "x"',
        '"y" or "z"',
    ):
        assert part in words
    assert "billing, refund" in Contract(labels=("billing", "refund")).describe()
    assert '"count" (whole number)' in ORDER.describe()
    assert '"size" (one of "S", "L", may be absent)' in ORDER.describe()
    assert Contract().describe() == ""


def test_the_skeleton_is_an_answer_form() -> None:
    assert CARD.skeleton() == "Title: ...\nAges: ...\nGentle note: ..."
    assert json.loads(ORDER.skeleton()) == {"item": "...", "count": 0, "size": "S | L"}
    assert CARD.check(CARD.skeleton()) == ()
    assert Contract(labels=("a", "b")).skeleton() == ""


def test_lists_become_tuples_so_that_contracts_compare() -> None:
    assert Contract(labels=["a"]) == Contract(labels=("a",))  # type: ignore[arg-type]

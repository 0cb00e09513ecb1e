"""Detectors of personal data and secrets: what they find, what they leave, and how long they
take.
"""

import random
import re
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import phonenumbers
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stdnum import iban, luhn
from stdnum.iso7064 import mod_97_10

from etude.base.word_lists import read_table
from etude.checks import Material, check
from etude.checks.output.terminal import to_json
from etude.checks.safety.personal import check_personal_data, check_review
from etude.data.dataset import Dataset
from etude.privacy import BLOCKING, KINDS, REVIEW, Span, find
from etude.privacy.detect import details
from etude.privacy.detect import value_labels as labels
from etude.privacy.detect.national import EIGHT_CHARACTERS, SCHEMES
from etude.privacy.find import find_for_review
from etude.privacy.names.of_emails import find_names_of
from etude.task import RowSource, Task
from etude.types import Example, Finding, Message

sys.path.insert(0, str(Path(__file__).parents[2] / "bench"))
from secret_forms import FORMS, plant_secrets

from cases import read_cases
from small_task import write_json_lines

CASES = read_cases(__file__)
AROUND = ("my {} is gone", "please check {}, thanks", "{}", "see ({}) again.")
"""Free text without any label."""
SPACELESS = ("番号は{}です", "我的{}，谢谢", "번호{}로", "เบอร์{}ครับ")


def kinds(text: str) -> dict[str, str]:
    return {span.kind: span.text for span in find(text)}


VALUES = {
    "email": (
        "jo.o'neil+list@mail.example.co.uk|UtaKörtig@пример.example.org|jo.doe (at) example (dot) "
        "org|ravi.k@oksbi"
    ),
    "phone": (
        "+49 30 901820|(905) 674-3793|020 7946 0018|07911 "
        "123456|066-907-4391x500|001-516-362-3521 ext. 12|1 (786) 834-4978|(08) 9472 7916|01 23 "
        "45 67 89|0171/123 45 67|612 34 56 78|32 12 34 56|011 44 20 7946 0018|+45 (0)32 12 34 "
        "56|+54 9 3131 7066|57 320 704 99 96|[415] 555-2671|( 415 ) 555 – 2671|(0 212) 123 45 "
        "67|11 91234-5678|415-555-2671 (ext. 123)|415-555-2671;ext=123|030 901820 Durchwahl "
        "12|4155552671 x123|415\u2014555\u20142671"
    ),
    "card": (
        "4532 1234 5678 9010|4111-1111-1111-1111|378282246310005|4111\u20131111\u20131111\u20131111"
        "|4111\u30001111\u30001111\u30001111"
    ),
    "ip_address": "81.2.69.142|181.22.34.56|2001:db8:85a3::8a2e:370:7334",
    "iban": (
        "GB29 NWBK 6016 1331 9268 "
        "19|DE89370400440532013000|GB29\u2013NWBK\u20136016\u20131331\u20139268\u201319"
    ),
    "national_id": (
        "536\u201290\u22124399|536-90-4399|AB 12 34 56 "
        "C|RSSMRA85T10A562S|12345678Z|390.533.447-05|756.9217.0769.85"
    ),
}
TOUCHED = {
    "card": "4111 1111 1111 1111|4111.1111.1111.1111",
    "iban": (
        "DE89370400440532013000|GB29\u202fNWBK\u202f6016\u202f1331\u202f9268\u202f19|DE89.3704.0044.0532.0130.00"
    ),
    "ip_address": "93.184.216.34",
    "national_id": "11010519491231002X",
    "email": "ann@web.example.de",
    "phone": "+49 30 901820",
}
"""Kind -> values that letters of scripts without spaces may touch."""


def list_values(table: dict[str, str]) -> list[tuple[str, str]]:
    return [(kind, value) for kind, values in table.items() for value in values.split("|")]


@pytest.mark.parametrize(
    ("around", "kind", "value"),
    [
        *((around, *value) for around in AROUND for value in list_values(VALUES)),
        *((around, *value) for around in SPACELESS for value in list_values(TOUCHED)),
    ],
)
def test_a_value_is_found_anywhere_in_a_text(around: str, kind: str, value: str) -> None:
    assert kinds(around.format(value)).get(kind) == value


@pytest.mark.parametrize(("text", "kind", "value"), CASES["labelled"])
def test_a_label_makes_a_number_personal(text: str, kind: str, value: str) -> None:
    assert kinds(text).get(kind) == value


@pytest.mark.parametrize("text", CASES["ordinary"])
def test_ordinary_text_raises_no_alarm(text: str) -> None:
    assert not [span for span in find(text) if span.kind in BLOCKING]


@given(st.integers(0, 10**14 - 1), st.sampled_from(["4", "51", "2221", "6011"]))
def test_a_card_needs_its_checksum_where_no_label_stands(number: int, issuer: str) -> None:
    body = (issuer + f"{number:014d}")[:15]
    right = luhn.calc_check_digit(body)
    wrong = str((int(right) + 1) % 10)
    assert kinds(f"look at {body}{right} now").get("card") == body + right
    assert "card" not in kinds(f"look at {body}{wrong} now")


@given(st.integers(0, 10**9 - 1), st.sampled_from(["978", "979"]))
def test_a_book_is_no_card(number: int, prefix: str) -> None:
    assert "card" not in kinds(f"the book {prefix}{number:010d} is lost")


@given(st.integers(10**17, 10**18 - 1))
def test_an_iban_needs_its_checksum_where_no_label_stands(number: int) -> None:
    right = "DE" + mod_97_10.calc_check_digits(f"{number}DE").zfill(2) + str(number)
    wrong = right[:2] + f"{(int(right[2:4]) + 1) % 97 + 2:02d}" + right[4:]
    spaced = iban.format(right)
    assert kinds(f"pay to {right} now").get("iban") == right
    assert kinds(f"pay to {spaced} 12 EUR now").get("iban") == spaced
    assert "iban" not in kinds(f"pay to {wrong} now")


@pytest.mark.parametrize("region", ["US", "GB", "DE", "FR", "IN", "BR", "JP", "ZA"])
@pytest.mark.parametrize(
    "form", [phonenumbers.PhoneNumberFormat.INTERNATIONAL, phonenumbers.PhoneNumberFormat.E164]
)
def test_each_region_s_example_number_is_found(region: str, form: int) -> None:
    number = phonenumbers.format_number(phonenumbers.example_number(region), form)
    assert kinds(f"mine is {number}, thanks").get("phone") == number


def test_a_label_names_every_number_of_a_list() -> None:
    spans = find("Call 9472 7916, 9472 7917 or 9472 7918 - of 1472 7919 rows")
    assert [span.text for span in spans] == ["9472 7916", "9472 7917", "9472 7918"]
    assert [span.text for span in find("tel: 030/901820-12, 9111 1111 1111 1112")] == [
        "030/901820-12"
    ]
    assert [span.text for span in find("SSN 987654321 and 987654322")] == ["987654321", "987654322"]


def test_an_address_that_runs_into_a_phone_number_is_kept_up_to_it() -> None:
    spans = find("12 Main Street, London 020 7946 0018")
    assert [(span.kind, span.text) for span in spans] == [
        ("address", "12 Main Street, London"),
        ("phone", "020 7946 0018"),
    ]


def test_every_planted_secret_is_found_whole() -> None:
    assert len(FORMS) >= 30
    for form, text, start, end in plant_secrets():
        spans = [span for span in find(text) if span.kind in BLOCKING]
        covered = {place for span in spans for place in range(span.start, span.end)}
        assert set(range(start, end)) <= covered, form


@given(st.text())
def test_spans_are_in_order_apart_and_true_to_the_text(text: str) -> None:
    end = 0
    for span in find(text):
        assert end <= span.start < span.end <= len(text)
        assert span.text == text[span.start : span.end]
        assert span.kind in KINDS
        end = span.end


FOUND = st.sampled_from(
    [
        "jo@mail.example.org",
        "Jo Doe lives at 12 Main Street",
        "born on 12 May 1980",
        "+49 30 901820",
        "SSN 536-90-4399",
        "password: 4 Main St",
        "my name is Anna Gold.",
        "token=ab12CD34ef56",
        "diagnosed with asthma 1.2.3.4",
    ]
)


@given(st.lists(FOUND | st.text(max_size=5), max_size=6), st.sampled_from([" ", "", "\n", ", "]))
def test_blocking_kinds_are_the_same_without_review(parts: list[str], joint: str) -> None:
    text = joint.join(parts)
    blocking = tuple(span for span in find(text) if span.kind in BLOCKING)
    assert find(text, review=False) == blocking
    assert find_for_review(text, blocking) == find(text)


@pytest.mark.parametrize(
    ("label", "value"),
    [
        *(
            (label, ": aB3xK9q7Zz12")
            for label in ("password", "pwd", "secret", "api key", "token", "credential")
        ),
        *((label, " aB3xK9q7Zz12aB3xK9q7Zz12") for label in ("basic", "bearer", "token")),
        ("signing_key", "=aB3xK9q7Zz12"),
        ("pin", " 4711"),
    ],
)
def test_every_spelling_of_a_label_has_a_stem(label: str, value: str) -> None:
    right = kinds(label + value)
    assert right
    for letter, other in (("i", "\u0130"), ("i", "\u0131"), ("s", "\u017f"), ("k", "\u212a")):
        assert kinds(label.replace(letter, other) + value) == right
    assert kinds(label.upper() + value) == right


def test_review_kinds_are_notes_and_block_nothing(tmp_path: Path) -> None:
    findings = [
        "Mr. John Smith was born 12 March 1980. He lives at 12 Baker Street, London NW1 6XE.",
        "My name is Anna Gold and I was diagnosed with asthma.",
        "Der Hund und die Katze sind mit der Maus auf dem Berg, und Herr Anton Huber ist nicht da.",
        "Der Hund und die Katze sind mit der Maus auf dem Berg, und Guten Tag Anton Huber ist "
        "nicht da.",
        "Where is my order?",
    ]
    write_json_lines(
        tmp_path / "rows.jsonl", ({"input": text, "output": "ok"} for text in findings)
    )
    (tmp_path / "task.yaml").write_text(
        "name: t\nkind: answer\nmodel: fake\nexamples: rows.jsonl\n"
    )
    spans = check(tmp_path / "task.yaml", (check_personal_data, check_review))
    assert {finding.kind: len(finding.rows) for finding in spans} == {
        "review_birth_date": 1,
        "review_address": 1,
        "review_name": 3,
        "review_health": 1,
    }
    assert all(one.severity == "note" and not one.fix and one.excerpts for one in spans)
    named = next(one for one in spans if one.kind == "review_name")
    assert [one.text for one in named.excerpts[:2]] == [
        "Mr. J••• S•••• was born 1• M•••• 1•••. He lives at 1• B•••• S•••••, L••••• N•• 6••.",
        "My name is A••• G••• and I was diagnosed with a•••••.",
    ]
    assert [one.text[low:high] for one in named.excerpts for low, high in one.spans] == [
        "J••• S••••",
        "A•••",
        "A•••• H••••",
    ]


@pytest.mark.parametrize(("text", "found"), CASES["names_and_addresses"])
def test_names_and_addresses_that_go_to_review(text: str, found: list[str]) -> None:
    assert [span.text for span in find(text) if span.kind in ("name", "address")] == found


def test_a_passage_to_review_is_short_and_covers_what_else_is_personal() -> None:
    rows = (
        Example(
            "a",
            (
                Message(
                    "user", f"{'word ' * 90}My name is Anna Gold, ann@corp.example.io{' word' * 90}"
                ),
            ),
            "ok",
        ),
        Example(
            "b", (Message("user", "Who wrote it?"),), "My name is Anna Gold, call +49 30 901820."
        ),
    )
    task = Task("t", "answer", "fake", RowSource(Path("rows.jsonl")), Path(), Path("task.yaml"))
    material = Material(task, Dataset(rows))
    (spans,) = check_review(material)
    assert [finding.column for finding in spans.excerpts] == ["input", "output"]
    assert max(len(one.text) for one in spans.excerpts) <= 162
    excerpts = " ".join(one.text for one in spans.excerpts)
    assert "is A••• G•••, •••" in excerpts
    assert not [part for part in ("nna", "old", "ann@", "9018") if part in excerpts]


def write_rows(file: Path, inputs: Sequence[str]) -> None:
    write_json_lines(file, ({"input": text, "output": "Title: a"} for text in inputs))


def find_kinds(folder: Path, kind: str, rows: list[tuple[str, str]]) -> dict[str, Finding]:
    """Kind -> what the checks of personal data find in such rows."""
    folder.mkdir(exist_ok=True)
    write_json_lines(
        folder / "rows.jsonl",
        ({"input": input_text, "output": answer} for input_text, answer in rows),
    )
    (folder / "task.yaml").write_text(f"name: t\nkind: {kind}\nmodel: fake\nexamples: rows.jsonl\n")
    return {
        finding.kind: finding
        for finding in check(folder / "task.yaml", (check_personal_data, check_review))
    }


def test_a_value_counts_on_each_side_where_it_stands(tmp_path: Path) -> None:
    rows = [
        (
            "My name is John Miller, passport number LP5048339.",
            '{"contact": "John Miller", "id": "LP5048339"}',
        ),
        ("Is LP7048339 mine?", "Passport number LP7048339 is yours."),
        ("Where is it?", "Here."),
    ]
    spans = find_kinds(tmp_path, "answer", rows)
    assert spans["privacy_id_number"].numbers == {"rows": 2, "inputs": 2, "outputs": 2, "of": 3}
    assert spans["review_name"].numbers == {"rows": 1, "inputs": 1, "outputs": 1, "of": 3}


def test_what_to_review_is_marked_once_and_in_order(tmp_path: Path) -> None:
    rows = [
        (
            "John Miller and I met, and my name is Ann Moor.",
            "Dear Ann Moor, my name is John Miller.",
        )
    ]
    (excerpts,) = find_kinds(tmp_path, "answer", rows)["review_name"].excerpts
    assert [excerpts.text[low:high] for low, high in excerpts.spans] == ["J••• M•••••", "A•• M•••"]


def test_excerpts_cover_the_value(tmp_path: Path) -> None:
    rows = [
        (
            "Is my Card 4111 1111 1111 1111 blocked, asks Anna Gruber?",
            "We call 4111 1111 1111 1111 blocked.",
        ),
        ("My password is bLue7horse, write to x@y.example", "Never tell us bLue7horse."),
        ("How?", "Thus."),
    ]
    spans = find_kinds(tmp_path, "answer", rows)
    excerpts = {
        kind: [finding.text for finding in spans[f"privacy_{kind}"].excerpts]
        for kind in ("card", "password", "email")
    }
    assert excerpts == {
        "card": ["Is my Card ••••••••••••••••••• blocked, asks A••• G•••••?"],
        "password": ["My password is ••••••••••, write to •••••••••••"],
        "email": ["My password is ••••••••••, write to •••••••••••"],
    }
    (card,) = spans["privacy_card"].excerpts
    assert [card.text[low:high] for low, high in card.spans] == ["•" * 19]


def test_a_value_that_only_the_answer_has_a_label_for_is_covered_in_the_input(
    tmp_path: Path,
) -> None:
    rows = [("I typed bLue7horse, it failed", "Your password is bLue7horse."), ("How?", "Thus.")]
    (excerpts,) = find_kinds(tmp_path, "answer", rows)["privacy_password"].excerpts
    assert (excerpts.column, excerpts.text) == ("input", "I typed ••••••••••, it failed")
    find_kinds(tmp_path, "answer", rows * 2)
    assert "bLue7horse" not in to_json(check(tmp_path / "task.yaml"))


def test_labels_are_searched_for_format_kinds(tmp_path: Path) -> None:
    labels = ["anna@corp.example.io", "passcode_forgotten", "pin: 4711", "refund"]
    spans = find_kinds(tmp_path, "classify", [(f"question {n}", labels[n % 4]) for n in range(20)])
    assert set(spans) == {"privacy_email"}
    finding = spans["privacy_email"]
    assert finding.numbers == {"rows": 5, "inputs": 0, "outputs": 5, "of": 20}
    assert "label" in finding.message
    assert "rename them" in finding.remedy
    assert not finding.fix


PIECES = (
    "1 |4111 1111 |+49|a@|@|a.b@c.|GB29|eyJ|eyJabc.|password |token: |sk-|://|-----BEGIN PRIVATE "
    "KEY-----|1.|:a|account |'|Anna |Zorbax y@z.com |12 Main |a-|aws key |(01) 2|0 |12-34 |tel "
    "12, |4*|GB29 *|my number is |xxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
).split("|")


PIECES += [
    "<pass>",
    "<a_pass>b",
    "$6$a$",
    "$argon2id$a",
    '"auth": "',
    "1 + ",
    "your_",
    "a_password",
]
PIECES += [
    "a-@",
    "Apt 1 ",
    "密码",
    "numéro de ",
    "Passwort ist ",
    "customer no. ",
    "@a.b / ",
    "login a / ",
]


@pytest.mark.parametrize("piece", PIECES)
def test_hostile_text_costs_time_in_proportion(piece: str) -> None:
    """Four times the text costs about four times the time, where a quadratic pattern would cost
    sixteen.
    """
    short, long = (f"{piece * (size // len(piece))} @" for size in (10_000, 40_000))
    find(short[:1000])
    limit = 9 * _seconds(short) + 0.02
    assert any(_seconds(long, tries=1) < limit for _ in range(3))


@pytest.mark.parametrize("piece", [" ", ">", "a.", "if: ", "a(", "; "])
def test_a_line_of_code_costs_time_in_proportion(piece: str) -> None:
    """Where a password stands beside it, the text is looked through for a program."""
    text = f"password := something\n{piece * (60_000 // len(piece))}x"
    assert _seconds(text, tries=1) < 2, "quadratic growth takes fifteen seconds"


def test_random_characters_cost_time_in_proportion() -> None:
    dice = random.Random(0)
    text = "".join(dice.choices("abcdefghij0123456789 .-+@:/='\"\n()ABCDEF_", k=20_000))
    find(text[:1000])
    assert _seconds(text) < 9 * _seconds(text[:5_000]) + 0.1


@pytest.mark.parametrize("kind", ["passwords", "numbers"])
@settings(max_examples=25)
@given(st.data())
def test_a_stem_stands_in_every_word_of_its_table(kind: str, data: st.DataObject) -> None:
    for words in read_table(labels.__file__, "value_labels.yaml")[kind].values():
        text = data.draw(st.from_regex("|".join(words).replace(" ", "[ -]?"), fullmatch=True))
        assert labels.may_have_label(text, kind), text


@given(
    st.from_regex(
        re.compile("|".join(read_table(details.__file__, "health.yaml")["conditions"])),
        fullmatch=True,
    )
)
def test_a_condition_of_a_person_is_a_detail_of_health(condition: str) -> None:
    assert [
        span.text for span in details.find_health_details(f"I have {condition}, they say.")
    ] == [condition]


@pytest.mark.parametrize(("text", "found"), CASES["health"])
def test_health_details_need_a_person(text: str, found: list[str]) -> None:
    assert [span.text for span in details.find_health_details(text)] == found


@pytest.mark.parametrize(("text", "kinds"), CASES["evidence"])
def test_names_and_addresses_need_evidence(text: str, kinds: list[str], tmp_path: Path) -> None:
    spans = find_kinds(tmp_path, "answer", [(text, "ok")])
    assert [kind.removeprefix("review_") for kind in spans if kind.startswith("review_")] == kinds


def test_kinds_either_block_or_go_to_review() -> None:
    assert (*BLOCKING, *REVIEW) == KINDS
    assert len(set(KINDS)) == len(KINDS)
    assert Span(0, 1, "email", "a", "form").kind in BLOCKING


def _seconds(text: str, tries: int = 3) -> float:
    """Processor time of the quickest of some searches, so that what else runs does not count."""
    times = []
    for _ in range(tries):
        started = time.process_time()
        find(text)
        times.append(time.process_time() - started)
    return min(times)


def test_the_page_says_which_national_numbers_need_a_label() -> None:
    page = " ".join(
        (Path(__file__).parents[2] / "docs" / "privacy.md").read_text(encoding="utf-8").split()
    )
    without_label = {scheme.rule for scheme in SCHEMES if scheme.label is None}
    named = {scheme.rule for scheme in SCHEMES if scheme.label is not None}
    for before, rules in (
        ("Format and checksum are enough", without_label - named),
        (
            "Separators or a date inside the number are enough, otherwise a label is needed",
            without_label & named,
        ),
        ("- A label is always needed", named - without_label),
    ):
        assert f"{before}: {', '.join(sorted(rules))}." in page


@pytest.mark.parametrize(("text", "secret"), CASES["settings"])
def test_passwords_in_files_of_settings_are_found_without_a_sign(text: str, secret: str) -> None:
    assert [span.text for span in find(text) if span.kind == "password"] == [secret]


@pytest.mark.parametrize("text", CASES["no_settings"])
def test_what_only_looks_like_settings_is_no_password(text: str) -> None:
    assert not [span for span in find(text) if span.kind in BLOCKING and span.kind != "email"]


@pytest.mark.parametrize(("text", "names"), CASES["greeted"])
def test_without_capitals_signs_show_that_a_greeted_word_is_a_name(
    text: str, names: list[str]
) -> None:
    assert [span.text for span in find(text) if span.kind == "name"] == names


def test_the_names_of_an_address_are_found_and_ordinary_words_are_not() -> None:
    text = (
        "I am Robert Lang. Robert called; a lang text. Lang, Robert. Björn Müller, not Anna Berg "
        "of the Sales Team"
    )
    addresses = ["robert.lang@x.org", "bmueller@x.org", "sales.team@x.org"]
    spans = [*find_names_of(addresses, text)]
    assert {span.text for span in spans} == {
        "Robert Lang",
        "Robert",
        "Lang",
        "Lang, Robert",
        "Björn Müller",
    }
    assert all(text[span.start : span.end] == span.text for span in spans)


@given(st.data())
@settings(max_examples=300, deadline=None)
def test_every_form_of_a_national_number_has_eight_characters(data: st.DataObject) -> None:
    scheme = data.draw(st.sampled_from(SCHEMES))
    assert EIGHT_CHARACTERS.search(data.draw(st.from_regex(scheme.form, fullmatch=True)))

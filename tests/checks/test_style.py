"""Style: what is split by chance is found and said in plain words, what the input tells is left
alone.
"""

import json
import random
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from conftest import data_folder
from hypothesis import given, settings
from hypothesis import strategies as st

from etude.checks import Material, check_material
from etude.checks.style.features import NOT_APPLICABLE, STYLES
from etude.checks.style.split_style import check_style, cross_validate_auc, is_split
from etude.data.dataset import Dataset
from etude.task import RowSource, Task
from etude.types import Example, Finding, Message

Pair = tuple[str, str]
WORDS = (
    "otter bridge comet violin bakery lantern orchid tunnel glacier mill harvest library ferry "
    "market"
).split()
BY_NAME = {style.name: style for style in STYLES}


def create_pairs(num: int = 120) -> list[Pair]:
    draw = random.Random(7)
    pairs = []
    for entry, other in (draw.sample(WORDS, 2) for _ in range(num)):
        answer = (
            f"The {entry} near the {other} is old, and the {draw.choice(WORDS)} beside it is older."
        )
        pairs.append((f"Tell of the {entry} and the {other}.", answer))
    return pairs


def find_styles(rows: Sequence[Pair]) -> dict[str, Finding]:
    """The findings of style in these inputs and answers."""
    examples = tuple(
        Example(
            str(position), (Message("user", question),), text, location=f"rows.jsonl:{position + 1}"
        )
        for position, (question, text) in enumerate(rows)
    )
    task = Task("t", "answer", "fake", RowSource(Path("rows.jsonl")), Path(), Path("task.yaml"))
    findings = check_material(Material(task, Dataset(examples)), (check_style,))
    return {kind: finding for finding in findings for kind in (finding.kind, *finding.other_kinds)}


def change_answers(
    change: Callable[[str], str], other: Callable[[str], str] = str, share: float = 0.5
) -> list[Pair]:
    """A share of the answers made one way by chance, the others the other way."""
    draw = random.Random(3)
    return [
        (question, (change if draw.random() < share else other)(text))
        for question, text in create_pairs()
    ]


def append(suffix: str) -> Callable[[str], str]:
    return lambda text: f"{text} {suffix}"


def prepend(prefix: str) -> Callable[[str], str]:
    return lambda text: f"{prefix} {text}"


PLANTED: dict[str, list[Pair]] = {
    "price": change_answers(append("It costs 12 euros.")),
    "price_form": change_answers(append("It costs €12."), append("It costs EUR 12.")),
    "greeting": change_answers(prepend("Hello!")),
    "list": change_answers(append("\n- It is old.\n- It is near.")),
    "markdown": change_answers(prepend("**Note.**")),
    "question": change_answers(append("Shall I go on?")),
    "emoji": change_answers(append("🎉")),
    "date": change_answers(
        append("It opened on 2019-05-01."), append("It opened on 1 May 2019."), 1 / 3
    ),
}


def test_every_feature_that_is_looked_for_is_planted_here() -> None:
    assert set(BY_NAME) <= set(PLANTED)


@pytest.mark.parametrize("name", PLANTED)
def test_what_is_split_by_chance_is_found_and_said_with_both_shares(name: str) -> None:
    result = find_styles(PLANTED[name])[f"style_{name}"]
    assert result.message.endswith("the inputs do not explain the difference.")
    assert result.message.count("%") >= 2
    assert result.numbers["rows"] == len(result.rows) > 0
    assert result.excerpts


def test_features_of_one_phrase_are_one_finding_that_every_gate_knows() -> None:
    result = find_styles(change_answers(prepend("Hello 😊")))
    one = result["style_greeting"]
    assert "style_emoji" in one.other_kinds
    assert result["style_emoji"] is one
    assert "contain an emoji" in one.message
    apart = [
        (question, text + " 😊" * (position % 3 == 0))
        for position, (question, text) in enumerate(PLANTED["greeting"])
    ]
    assert find_styles(apart)["style_emoji"] is not find_styles(apart)["style_greeting"]


def test_answers_written_alike_have_no_finding() -> None:
    assert not find_styles(create_pairs())


def test_the_sentence_is_the_one_a_person_would_say() -> None:
    share = sum("euros" in text for _, text in PLANTED["price"]) / len(PLANTED["price"])
    assert find_styles(PLANTED["price"])["style_price"].message == (
        f"{share:.0%} of the answers give a price and {1 - share:.0%} do not; the inputs do not "
        "explain the difference."
    )
    told = find_styles(PLANTED["date"])["style_date"].message
    assert "answers write dates like 12 March 2024 and" in told
    assert "% like 2024-03-12; the inputs" in told


@pytest.mark.parametrize(
    ("text", "form"),
    [
        ("It costs EUR 12.34.", 2),
        ("It costs 12.34 EUR.", 3),
        ("It costs €12.34.", 0),
        ("Es kostet 12,34 €.", 1),
        ("Es kostet 12,- €.", 1),
        ("1.299,00 zł za sztukę", 1),
        ("It costs US$ 35.", 0),
        ("CHF 19.90 each", 2),
        ("Twelve? No, 30 dollars.", 4),
        ("価格は1,200円です。", 1),
        ("$30 USD", NOT_APPLICABLE),
        ("Please try 5 or 6 of them.", NOT_APPLICABLE),
        ("It weighs 12 pounds.", NOT_APPLICABLE),
    ],
)
def test_a_price_is_known_in_each_form(text: str, form: int) -> None:
    assert BY_NAME["price_form"].find_side(text) == form
    assert BY_NAME["price"].find_side(text) == int(form == NOT_APPLICABLE and "$" not in text)


@pytest.mark.parametrize(
    ("name", "text", "side"),
    [
        ("date", "Install version 1.2.20 now.", NOT_APPLICABLE),
        ("date", "Ping 10.12.20.30 please.", NOT_APPLICABLE),
        ("date", "Seit dem 12.03.2024.", 2),
        ("emoji", "Five stars ⭐", 0),
        ("emoji", "⏰ It is time.", 0),
        ("emoji", "From a → b, © 2020 ™", 1),
        ("question", "何時ですか？", 0),
        ("list", "Es gibt:\n・一つ\n・二つ", 0),
    ],
)
def test_a_feature_is_known_and_nothing_else_is_taken_for_it(
    name: str, text: str, side: int
) -> None:
    assert BY_NAME[name].find_side(text) == side


def test_prices_that_all_answers_give_are_told_by_their_forms_alone() -> None:
    draw = random.Random(2)
    forms = ("EUR {}.{}", "{}.{} EUR", "€{}.{}", "{},{} €")
    rows = [
        (
            question,
            f"{text} It costs "
            f"{draw.choice(forms).format(draw.randint(5, 80), draw.randint(10, 99))}.",
        )
        for question, text in create_pairs()
    ]
    result = find_styles(rows)
    assert "style_price" not in result
    assert "style_price_form" in result


ASKED = {
    "price": "What does it cost?",
    "greeting": "Hello there.",
    "emoji": "With an emoji.",
    "date": "I was born on 2001-02-03.",
}


GREETINGS = (
    "Hallo!|Guten Tag, Frau Roth!|Liebe Frau Kern,|Bonjour,|Chère madame Petit,|¡Hola!|Estimada "
    "señora:|Buongiorno,|Goedemorgen,|Beste mevrouw Smit,|Olá,|Bom dia!"
).split("|")
DATES = (
    "12. März 2026|12 mars 2026|1er mai 2026|12 de marzo de 2026|12 marzo 2026|12 maart 2026".split(
        "|"
    )
)


@pytest.mark.parametrize("greeting", GREETINGS)
def test_greetings_are_known_in_seven_languages(greeting: str) -> None:
    body = "4711 " * 50
    assert BY_NAME["greeting"].find_side(f"{greeting} {body}") == 0
    assert BY_NAME["greeting"].find_side(body) == 1


@pytest.mark.parametrize(
    "text",
    [
        "Liebe ist alles.",
        "Cher sings in Rome.",
        "Die Grüße kamen an und waren alt.",
        "Dag is een woord.",
    ],
)
def test_words_of_greeting_within_a_sentence_are_none(text: str) -> None:
    assert BY_NAME["greeting"].find_side(text) == 1


@pytest.mark.parametrize("date", DATES)
def test_a_date_with_the_name_of_its_month_is_known_in_other_languages(date: str) -> None:
    form = [form.phrase for form in BY_NAME["date"].forms].index("like 12 March 2024")
    assert BY_NAME["date"].find_side(f"x {date}, x") == form
    result = find_styles(change_answers(append(f"Am {date}."), append("Am 12.03.2026.")))
    assert "like 12.03.2024" in result["style_date"].message


@pytest.mark.parametrize("name", ASKED)
def test_what_the_input_asks_for_is_no_finding(name: str) -> None:
    plain = create_pairs()
    other = {text for _, text in PLANTED[name]} - {text for _, text in plain}
    excerpts = min(other, key=len) if name == "date" else ""
    rows = []
    for (question, text), (_, unchanged) in zip(PLANTED[name], plain, strict=True):
        is_asked = _find_first_side(name, text, unchanged, excerpts)
        rows.append((f"{question} {ASKED[name]}" if is_asked else question, text))
    assert f"style_{name}" not in find_styles(rows)


def _find_first_side(name: str, text: str, plain: str, shown: str) -> bool:
    return BY_NAME[name].find_side(text) == 0 if shown else text != plain


def test_an_answer_that_follows_the_form_of_its_input_is_no_finding() -> None:
    """The forms differ from row to row, so that no word of the input tells, only its form."""
    draw = random.Random(5)
    rows = []
    for question, text in create_pairs():
        day = draw.randint(13, 28)
        year = draw.randint(1990, 2026)
        form = draw.choice((f"{day} May {year}", f"{year}-05-{day}"))
        rows.append((f"{question} Since {form}?", f"{text} Since {form}."))
    assert "style_date" not in find_styles(rows)


@settings(max_examples=50)
@given(st.text(max_size=80))
def test_a_side_is_shown_by_marks_inside_the_text(text: str) -> None:
    for style in STYLES:
        side = style.find_side(text)
        marks = style.find_spans(text)
        assert NOT_APPLICABLE <= side < len(style.phrases)
        assert all(0 <= low < high <= len(text) for low, high in marks)
        if 0 <= side < len(style.forms):
            assert len(marks) == 1


@given(st.integers(0, 400), st.integers(1, 400))
def test_a_split_is_surely_over_a_tenth(fewer: int, total: int) -> None:
    fewer = min(fewer, total)
    if is_split(fewer, total):
        assert fewer / total > 0.1
        assert is_split(10 * fewer, 10 * total)


def test_an_input_that_tells_is_near_one_and_chance_near_a_half() -> None:
    draw = random.Random(1)
    questions = [f"{draw.choice(WORDS)} {number}" for number in range(400)]
    assert (
        cross_validate_auc(questions, ["otter" in text or "mill" in text for text in questions])
        > 0.95
    )
    assert abs(cross_validate_auc(questions, [draw.random() < 0.5 for _ in questions]) - 0.5) < 0.12


@pytest.mark.data
def test_prices_and_dates_are_found_in_real_answers_and_nothing_in_consistent_ones() -> None:
    text = (data_folder("rasbt_preferences") / "instruction-data-with-preference.json").read_text(
        "utf-8"
    )
    rows = json.loads(text)
    draw = random.Random(0)
    questions = [f"{row['instruction']} {row['input']}" for row in rows]
    for name in ("output", "chosen", "rejected"):
        assert not find_styles(list(zip(questions, (row[name] for row in rows), strict=True)))
    price = [
        f" It costs ${number % 90 + 3}." if draw.random() < 0.5 else ""
        for number in range(len(rows))
    ]
    date = [
        draw.choice((" Since 2024-03-12.", " Since 12 March 2024.", " Since 3 May 2023."))
        for _ in rows
    ]
    planted = [
        "".join(parts) for parts in zip((row["chosen"] for row in rows), price, date, strict=True)
    ]
    assert {"style_price", "style_date"} <= set(
        find_styles(list(zip(questions, planted, strict=True)))
    )
